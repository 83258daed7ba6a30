//! The demo's three sites: their configuration and folders, the scan that appears, and Globus's stand-in.

use std::path::{Path, PathBuf};
use std::process::Command;

use beamline::config::Environment;
use jiff::Timestamp;
use scan::simulate::{SimulateOptions, Simulated};
use standin::globus::{Config, Standin, new_id};

use super::super::simulate::simulate;
use super::{Args, Size};
use crate::exit::{Exit, Failure};
use crate::progress::Progress;

/// The sites' folders, and the collections that they are on Globus.
const SITES: [(&str, &str); 3] = [
    ("als", "a15a15a1-0000-4000-8000-000000000832"),
    ("nersc", "4e25c000-0000-4000-8000-000000000832"),
    ("alcf", "a1cf0000-0000-4000-8000-000000000832"),
];
/// The client of the demo's Globus. It stays the same, so that a demo goes on with what an earlier one began.
const CLIENT: &str = "be4331a1-0000-4000-8000-000000000832";
/// The experiment folder of demo scans.
const EXPERIMENT: &str = "DEMO-00832_user";

/// What happens between the sites. What is in force in production is in the same words.
const FLOWS: &str = r#"
[flows.new_832_file_flow]
send_to = ["nersc"]

[flows.alcf_recon_flow]
source = "nersc"
facility = "polaris"
return_to = ["nersc", "als"]
recipe = "default"

[flows.dispatcher]
flows = ["new_832_file_flow", "alcf_recon_flow"]

[watch]
flow = "dispatcher"
quiet = "1 s"
"#;

/// The three sites in one folder, as local ones or as collections of which this host sees als.
fn configuration(folder: &Path, globus: bool) -> String {
    let mut text = "# Written by `beamrail demo`: three sites in one folder.\n[beamline]\nid = \"demo\"\n\
                    data_host = \"als\"\n\n[state]\nfolder = \"state\"\n"
        .to_owned();
    let retention = |site: &str| match site {
        "als" => r#"{ scratch = "3 days" }"#,
        "nersc" => r#"{ scratch = "7 days" }"#,
        _ => r#"{ raw = "2 days", scratch = "2 days" }"#,
    };
    for (site, collection) in SITES {
        text += &format!("\n[sites.{site}]\n");
        text += &match globus {
            false => format!("kind = \"local\"\nroot = \"{site}\"\n"),
            true => format!("kind = \"globus\"\ncollection = \"{collection}\"\nroot = \"/\"\n"),
        };
        if globus && site == "als" {
            text += "local = \"als\"\n";
        }
        text += &format!("raw = \"raw\"\nscratch = \"scratch\"\nretention = {}\n", retention(site));
    }
    text += "\n[facilities.polaris]\n";
    text += &match globus {
        false => "kind = \"local\"\nsite = \"alcf\"\ncommand = \"beamrail\"\n".to_owned(),
        true => format!(
            "kind = \"globus-compute\"\nsite = \"alcf\"\nsite_root = {:?}\n\
             endpoint = \"${{GLOBUS_COMPUTE_ENDPOINT}}\"\ncommand = {:?}\npoll = \"1 s\"\n",
            folder.join("alcf"),
            std::env::current_exe().unwrap_or_else(|_| "beamrail".into())
        ),
    };
    text + FLOWS
}

/// Globus on this host: the three folders as collections, and an endpoint that runs jobs here. Its secret is
/// made up, and known to this process alone.
pub(super) fn globus(folder: &Path) -> Result<(Standin, Environment), Failure> {
    let python = Command::new("python3").arg("--version").output();
    if !python.is_ok_and(|done| done.status.success()) {
        return Err(Failure::new(
            Exit::Failed,
            "the demo's compute endpoint needs python3, which does not run",
        )
        .hint("install python3, or leave --globus out"));
    }
    let secret = new_id();
    let mut config = Config::new(folder.join("globus")).client(CLIENT, &secret);
    for (site, collection) in SITES {
        config = config.collection(site, collection, folder.join(site));
    }
    let standin = Standin::start(config)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot stand in for Globus: {error}")))?;
    let mut variables = standin.env();
    variables.push(("GLOBUS_CLIENT_ID".to_owned(), CLIENT.to_owned()));
    variables.push(("GLOBUS_CLIENT_SECRET".to_owned(), secret));
    let environment = Environment::before(move |name| {
        variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    });
    Ok((standin, environment))
}

/// What Globus's stand-in was asked for, in words.
pub(super) fn asked(standin: &Standin) -> String {
    let counts = standin.counts();
    let submissions = counts["submissions"].as_object();
    let posts = submissions.into_iter().flatten().filter_map(|(_, one)| one["posts"].as_u64());
    let payloads = counts["jobs"]["by_payload"].as_object();
    let jobs = payloads.into_iter().flatten().filter_map(|(_, number)| number.as_u64());
    let twice = |all: Vec<u64>| all.iter().filter(|number| **number > 1).count();
    let (posts, jobs): (Vec<u64>, Vec<u64>) = (posts.collect(), jobs.collect());
    format!(
        "\nGlobus was asked for {} transfers and deletions and {} compute tasks, for {} of them twice",
        posts.len(),
        jobs.len(),
        twice(posts) + twice(jobs)
    )
}

/// A foam with all that beam and camera usually do to a scan.
fn options(size: Size) -> SimulateOptions {
    let (width, rows, angles) = size.shape();
    SimulateOptions {
        width,
        rows,
        angles,
        sample: "demo foam".into(),
        seed: 832,
        ..SimulateOptions::default()
    }
}

/// The folder with the sites and the configuration. What is in it from before stays.
pub(super) fn prepare(dir: &Path, globus: bool) -> Result<PathBuf, Failure> {
    let fail = |what: &Path, error: std::io::Error| {
        Failure::new(Exit::Failed, format!("cannot create {}: {error}", what.display()))
    };
    std::fs::create_dir_all(dir).map_err(|error| fail(dir, error))?;
    let folder = dir.canonicalize().map_err(|error| fail(dir, error))?;
    for (site, _) in SITES {
        for area in ["raw", "scratch"] {
            let path = folder.join(site).join(area);
            std::fs::create_dir_all(&path).map_err(|error| fail(&path, error))?;
        }
    }
    let config = folder.join("beamrail.toml");
    std::fs::write(&config, configuration(&folder, globus)).map_err(|error| fail(&config, error))?;
    Ok(folder)
}

/// Simulates a scan, or copies the one that is given, to where the detector would put it: under a temporary name
/// first. A new name each time, so a demo can be run again.
pub(super) fn appear(
    args: &Args,
    raw: &Path,
    now: Timestamp,
    progress: &Progress,
) -> Result<(PathBuf, Option<Simulated>), Failure> {
    let folder = raw.join(EXPERIMENT);
    let fail = |what: &Path, error: std::io::Error| {
        Failure::new(Exit::Failed, format!("cannot write {}: {error}", what.display()))
    };
    std::fs::create_dir_all(&folder).map_err(|error| fail(&folder, error))?;
    let stamp = now.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y%m%d_%H%M%S").to_string();
    let text = match &args.scan {
        Some(scan) => {
            let stem = scan.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            stem.trim_start_matches('.').to_owned()
        }
        None => "demo_foam".to_owned(),
    };
    let file = folder.join(format!("{stamp}_{text}.h5"));
    let part = folder.join(format!(".{stamp}_{text}.h5"));
    let truth = match &args.scan {
        Some(scan) => {
            // Looked at first, so that a bad one is told before anything is made of it.
            scan::open(scan)?;
            std::fs::copy(scan, &part).map_err(|error| fail(&part, error))?;
            None
        }
        None => Some(simulate(&part, &options(args.size), true, progress)?),
    };
    progress.close();
    std::fs::rename(&part, &file).map_err(|error| fail(&file, error))?;
    Ok((file, truth))
}
