//! Results are believed by their manifest and their files, and are in custody from then on.

use custody::{
    CopyId, DatasetId, FileEntry, FileList, Kind, Level, NewCopy, Reach, RelPath, ScanName, State,
};
use custody::{PAPERS, Verification};
use engine::{Failure, StepContext};
use reconstruct::Recipe;
use serde_json::Value;
use sites::{Digests, JobSpec};
use volume::Manifest;

use super::job::Made;
use super::work::{Outcome, begin_use, sample};
use crate::error::{Error, Result};
use crate::runtime::{Beamline, area};

/// A manifest or report is not larger.
const LARGEST: u64 = 512 << 20;
/// How many files are read for their digest, where files can be read.
const SAMPLE: usize = 8;

/// Checks what a job left in the scratch area of `site`, registers and verifies it, and keeps the papers. The same
/// again changes nothing.
pub(super) async fn accept(
    beam: &Beamline,
    step: &StepContext,
    scan: &ScanName,
    site: &str,
    digest: &str,
    run: &str,
) -> Outcome<(Vec<(Kind, CopyId)>, u64, u64)> {
    let base = beam.base(site, area::SCRATCH, scan)?;
    let storage = beam.site(site)?;
    let name = |ending: &str| RelPath::new(format!("rec{}.{ending}", scan.stem())).map_err(Error::from);
    let manifest_bytes = storage.read_small(&base.join(&name("manifest.json")?), LARGEST).await;
    let manifest_bytes = manifest_bytes.map_err(Error::from)?;
    let found = blake3::hash(&manifest_bytes).to_hex().to_string();
    if found != digest {
        let text = format!("{base} at {site}: its manifest is {found}, the job wrote {digest}");
        return Err(Failure::fatal(format!("{text}; somebody changed it, reconstruct again"))
            .with_code("not-verified"));
    }
    let manifest = read_manifest(&manifest_bytes, &base, site)?;
    let report_bytes =
        storage.read_small(&base.join(&name("report.json")?), LARGEST).await.map_err(Error::from)?;
    let recipe = read_report(beam, scan, &report_bytes)?;
    let [tiff, zarr, mut beside] = split(scan, &manifest)?;
    for (ending, bytes) in [("report.json", &report_bytes), ("manifest.json", &manifest_bytes)] {
        let blake3 = Some(blake3::hash(bytes).to_hex().to_string());
        beside.push(FileEntry { path: name(ending)?, size: bytes.len() as u64, blake3 });
    }
    let (mut copies, mut files, mut bytes) = (Vec::new(), 0, 0);
    for (kind, entries) in [(Kind::Tiff, tiff), (Kind::Zarr, zarr), (Kind::Sidecars, beside)] {
        if entries.is_empty() {
            continue;
        }
        let list = FileList::new(entries).map_err(Error::from)?;
        files += list.count();
        bytes += list.bytes();
        copies
            .push((kind, register(beam, DatasetId::new(scan.clone(), kind), site, &base, list, run).await?));
    }
    let papers = [recipe.as_bytes(), report_bytes.as_slice(), manifest_bytes.as_slice()];
    for (paper, bytes) in PAPERS.iter().zip(papers) {
        beam.custody.keep_paper(scan, paper, run, bytes, beam.now()).map_err(Error::from)?;
    }
    step.info(format!("{files} files, {bytes} bytes, manifest {digest}"));
    Ok((copies, files, bytes))
}

/// Registers a dataset that was made at `site`, and looks whether every file is there with its size, and a few with
/// their content.
async fn register(
    beam: &Beamline,
    dataset: DatasetId,
    site: &str,
    base: &RelPath,
    files: FileList,
    run: &str,
) -> Result<CopyId> {
    let read = match beam.policy.sites.get(site).is_some_and(|policy| policy.digests) {
        true => Digests::Of(sample(&files, SAMPLE)),
        false => Digests::None,
    };
    let (area, base, by) = (area::SCRATCH.to_owned(), base.clone(), run.to_owned());
    let new = NewCopy { dataset, site: site.to_owned(), area, base, files, by };
    let id = beam.custody.register(&new, beam.now())?;
    let seen = beam.site(site)?.observe(&new.base, &new.files, read, beam.now()).await;
    let verification = Verification { level: Level::Sized, seen, by: run.to_owned() };
    beam.custody.verify(id, &verification, beam.now())?;
    begin_use(beam, &new.dataset, site, run)?;
    Ok(id)
}

/// Reads every byte of copies that no transfer has read, where that can be done: results that stay where they were
/// made are to count as well.
pub(super) async fn read_all(beam: &Beamline, copies: &[(Kind, CopyId)], run: &str) -> Result<()> {
    for (_, id) in copies {
        let record = beam.custody.copy(*id)?;
        let reads = beam.policy.sites.get(&record.site).is_some_and(|policy| policy.digests);
        if !reads || record.state != State::Present || record.level >= Some(beam.policy.level) {
            continue;
        }
        let files = beam.custody.files(*id)?;
        let seen = beam.site(&record.site)?.observe(&record.base, &files, Digests::All, beam.now()).await;
        let verification = Verification { level: Level::Digested, seen, by: run.to_owned() };
        beam.custody.verify(*id, &verification, beam.now())?;
    }
    Ok(())
}

/// What cannot be read from here is read by the facility: it compares every file with the manifest, whose digest is
/// known, and custody counts that. Nothing is asked where all copies count already.
pub(super) async fn read_there(
    beam: &Beamline,
    step: &StepContext,
    scan: &ScanName,
    facility: &str,
    made: &Made,
    run: &str,
) -> Outcome<()> {
    let (name, facility) = (facility, beam.facility(facility)?);
    let mut copies = Vec::new();
    for (_, id) in &made.copies {
        let record = beam.custody.copy(*id).map_err(Error::from)?;
        if record.site == facility.site
            && record.state == State::Present
            && record.level < Some(beam.policy.level)
        {
            copies.push(record);
        }
    }
    let Some(base) = copies.first().map(|record| record.base.clone()) else { return Ok(()) };
    let seen = |path: &RelPath| facility.site_root.join(path.as_str());
    let manifest = seen(&base).join(format!("rec{}.manifest.json", scan.stem()));
    let words = ["verify", "--json", "--progress", "none"].map(str::to_owned);
    let spec = JobSpec {
        program: facility.command.clone(),
        args: words.into_iter().chain([manifest.to_string_lossy().into_owned()]).collect(),
        job_dir: seen(&facility.jobs).join(step.identity().label()),
        env: facility.env.clone(),
        attempt: step.attempt(),
    };
    let patience = facility.queue_timeout + facility.run_timeout;
    let told = facility.compute.run_there(&spec, patience).await.map_err(Error::from)?;
    let Some(told) = told else { return Ok(()) };
    let found: Value = serde_json::from_str(&told.stdout).unwrap_or_default();
    let whole =
        found["ok"] == true && found["level"] == "digested" && found["digest"] == made.manifest.as_str();
    if told.exit_code != Some(0) || !whole {
        let text = format!("{base} at {name}: beamrail verify there says {}", told.tail);
        return Err(Failure::fatal(format!("{text}; reconstruct again")).with_code("not-verified"));
    }
    for record in copies {
        let files = beam.custody.files(record.id).map_err(Error::from)?;
        let storage = beam.site(&record.site)?;
        let mut look = storage.observe(&record.base, &files, Digests::None, beam.now()).await;
        if let Reach::Seen(found) = &mut look.reach {
            // What the facility has read is what the list says: both are the manifest's, or were read from here.
            for one in found.iter_mut() {
                one.blake3 = files.find(&one.path).and_then(|entry| entry.blake3.clone());
            }
        }
        let by = format!("{run} (beamrail verify at {name})");
        let verification = Verification { level: Level::Digested, seen: look, by };
        beam.custody.verify(record.id, &verification, beam.now()).map_err(Error::from)?;
    }
    step.info(format!("all results were read at {name} and are as the manifest says"));
    Ok(())
}

fn read_manifest(bytes: &[u8], base: &RelPath, site: &str) -> Outcome<Manifest> {
    let bad = |reason: String| {
        Failure::fatal(format!(
            "the manifest in {base} at {site} cannot be used: {reason}; reconstruct again"
        ))
        .with_code("not-verified")
    };
    let parsed: Manifest = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
    // Built anew, because that is where paths and digests are checked.
    Manifest::new(parsed.name(), parsed.files().to_vec()).map_err(|error| bad(error.to_string()))
}

/// The manifest's files by dataset: TIFF, Zarr, beside them.
fn split(scan: &ScanName, manifest: &Manifest) -> Outcome<[Vec<FileEntry>; 3]> {
    let tiffs = format!("rec{}/", scan.stem());
    let zarr = format!("rec{}.zarr/", scan.stem());
    let beside = format!("rec{}.", scan.stem());
    let mut parts = [Vec::new(), Vec::new(), Vec::new()];
    for file in manifest.files() {
        let at = match &file.path {
            path if path.starts_with(&tiffs) => 0,
            path if path.starts_with(&zarr) => 1,
            path if path.starts_with(&beside) && !path.contains('/') => 2,
            path => {
                let text = format!("the manifest of {scan} lists {path}, which is no result of this scan");
                return Err(Failure::fatal(text).with_code("not-verified"));
            }
        };
        let entry = FileEntry::new(file.path.as_str(), file.size, Some(file.blake3.clone()));
        if let Some(part) = parts.get_mut(at) {
            part.push(entry.map_err(Error::from)?);
        }
    }
    Ok(parts)
}

/// The recipe of a report, as TOML; the report must be of the scan that custody knows.
fn read_report(beam: &Beamline, scan: &ScanName, bytes: &[u8]) -> Outcome<String> {
    let bad =
        |reason: String| Failure::fatal(format!("the report of {scan}: {reason}")).with_code("not-verified");
    let report: Value = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
    if let Some(input) = report.get("input_blake3").and_then(Value::as_str) {
        for copy in beam.custody.copies(scan).map_err(Error::from)? {
            if copy.dataset.kind != Kind::Raw || copy.state != State::Present || copy.content.is_none() {
                continue;
            }
            let files = beam.custody.files(copy.id).map_err(Error::from)?;
            let known = files.entries().first().and_then(|entry| entry.blake3.clone());
            if known.is_some_and(|known| !known.eq_ignore_ascii_case(input)) {
                let site = &copy.site;
                return Err(bad(format!("it is of another file than the scan that custody knows at {site}")));
            }
        }
    }
    let recipe = report.get("plan").and_then(|plan| plan.get("recipe")).cloned().unwrap_or_default();
    match serde_json::from_value::<Recipe>(recipe.clone()) {
        Ok(recipe) => Ok(recipe.to_toml()),
        // A newer beamrail at the facility may know more parameters; its words are kept as they are.
        Err(_) if recipe.is_object() => Ok(recipe.to_string()),
        Err(error) => Err(bad(format!("it holds no recipe ({error})"))),
    }
}
