//! The whole path with Globus's own endpoint: `beamrail run alcf_recon_flow`, transfers of the stand-in, RabbitMQ,
//! the real globus-compute-endpoint 4.19, `beamrail reconstruct` in its worker, results brought home, custody.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, and say what they skip"
)]

mod common;
#[path = "../../../tests/globus/endpoint.rs"]
mod endpoint;
#[path = "common/globus.rs"]
mod globus;

use endpoint::{Services, Workers};
use globus::{CLIENT, SECRET, World};

/// The flow of the beamline, with workers from somewhere.
fn whole_path(workers: impl FnOnce(&World, &Services) -> Workers) -> Option<Services> {
    let mut services = endpoint::begin()?;
    let world = World::with(|config| services.config(config), "");
    world.scan();
    let workers = workers(&world, &services);
    services.start(&world.standin.base_url(), (CLIENT, SECRET), &workers);
    let run = world.reconstruct();
    assert_eq!(run.code, 0, "{}\n{}\n{}", run.stderr, world.standin.counts(), services.told());
    world.sound();
    assert_eq!(world.posts(), [1; 7]);
    assert_eq!(world.standin.counts()["jobs"]["accepted"], 1);
    let shown = world.ok(&["custody", "show", globus::SCAN, "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let at = |site: &str, kind: &str| {
        let copies = shown["copies"].as_array().unwrap().iter();
        copies.filter(|copy| copy["site"] == site && copy["kind"] == kind).count()
    };
    for site in ["alcf", "nersc", "als"] {
        assert_eq!((at(site, "tiff"), at(site, "zarr")), (1, 1), "{site}: {}", shown["copies"]);
    }
    services.stop();
    Some(services)
}

#[test]
fn the_flow_runs_through_a_real_endpoint() {
    whole_path(|_, _| Workers::Local);
}

/// The endpoint starts with the very files that the set-up prints for Polaris, but for the seconds between two looks
/// of its at the batch system, and what is of this machine.
#[test]
fn the_flow_runs_in_a_pbs_job() {
    if std::env::var_os("BEAMRAIL_LONG").is_none() {
        println!("skipped: slow; set BEAMRAIL_LONG=1");
        return;
    }
    let printed = |world: &World, services: &Services| {
        let init = format!("export PATH={}", services.path());
        let words =
            ["globus", "setup", "polaris", "--endpoint-config", "--interface", "lo", "--worker-init", &init];
        let text = world.ok(&words);
        let part = |from: &str, to: &str| {
            let (_, rest) = text.split_once(from).unwrap();
            rest.split_once(to).unwrap().0.split_once('\n').unwrap().1.to_owned()
        };
        let template =
            part("# ---- endpoint 4.x: user_config_template.yaml.j2", "# ---- endpoint before 4.0");
        assert!(template.contains("strategy_period: 60\n"), "{template}");
        let template = template.replace("strategy_period: 60\n", "strategy_period: 2\n");
        Workers::Pbs(part("# ---- endpoint 4.x: config.yaml", "# ---- endpoint 4.x: user"), template)
    };
    let Some(services) = whole_path(printed) else { return };
    let (asked, job) = services.batch();
    assert!(
        asked.contains("qsub ") && asked.contains("-q demand") && asked.contains("-A IRIBeta"),
        "{asked}"
    );
    assert!(asked.contains("mpiexec --cpu-bind none --depth=64 --ppn 1 -n 1 "), "{asked}");
    for line in
        ["#PBS -l filesystems=home:eagle", "#PBS -l select=1:ncpus=64:ngpus=4", "#PBS -l walltime=12:00:00"]
    {
        assert!(job.lines().any(|one| one == line), "{line} is not in\n{job}");
    }
}
