//! What the flows share: the scan of a trigger, its export mark, its raw file at a site, retries.

use std::sync::Arc;
use std::time::Duration;

use custody::{CopyId, DatasetId, FileEntry, FileList, Kind, Level, NewCopy, Observation, Reach, RelPath};
use custody::{ScanName, SeenKind, Verification};
use engine::{Context, Failure, Retry, StepContext, StepOptions};
use sites::{Digests, Storage};

use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::runtime::{Beamline, area};

/// How long a run's use of a dataset keeps it from deletion, should the run never say that it ended.
const USE: Duration = Duration::from_secs(3 * 86_400);
/// The result of a step or flow.
pub(super) type Outcome<T> = std::result::Result<T, Failure>;

/// For steps that ask only this process and one site.
pub(super) fn patient() -> StepOptions {
    StepOptions::new().retry(Retry::attempts(5))
}

/// For steps that move bytes: a site may be away for a while.
pub(super) fn transferring() -> StepOptions {
    let retry = Retry::attempts(8).first(Duration::from_secs(5));
    StepOptions::new().retry(retry).run_timeout(Duration::from_secs(24 * 3600)).retry_timeouts()
}

/// The scan that a trigger's path names.
pub(super) fn scan_of(file_path: &str) -> Outcome<Identity> {
    Identity::of_trigger(file_path)
        .map_err(|refused| Failure::fatal(format!("file_path {refused}")).with_code("bad-input"))
}

/// Gives the scan its export mark, at first sight for good; says whether it is controlled.
pub(super) async fn sight(
    beam: &Arc<Beamline>,
    context: &Context,
    scan: &ScanName,
    flag: Option<bool>,
) -> Outcome<bool> {
    let run = context.id().to_string();
    let work = |_| {
        let run = &run;
        async move {
            let known = beam.custody.mark(scan).map_err(Error::from)?;
            let silent = |why: String| {
                Failure::retryable(format!("whether {scan} is export-controlled cannot be known: {why}"))
            };
            let flag = beam.settings.flag(scan, flag, known.is_some()).await.map_err(silent)?;
            let mark = beam.custody.sight(scan, flag, run, beam.now()).map_err(Error::from)?;
            if mark.controlled {
                // Before anything moves, for another worker may be asked about this scan next; and each time, for the
                // try that marked it may have broken off before it told.
                beam.settings.tell_controlled(scan).await.map_err(silent)?;
            }
            Ok(mark.controlled)
        }
    };
    context.step("sight", patient().input(&(scan, flag)), work).await
}

/// Registers the raw file at a site as a copy, and keeps it there while this run uses it. What it is worth is
/// found out when it is read.
pub(super) async fn take_raw(
    beam: &Arc<Beamline>,
    context: &Context,
    scan: &ScanName,
    site: &str,
) -> Outcome<CopyId> {
    let run = context.id().to_string();
    let work = |step: StepContext| {
        let (beam, run) = (beam.clone(), run.clone());
        async move { Ok(look_at_raw(&beam, &step, scan, site, &run).await?) }
    };
    context.step(&format!("raw at {site}"), patient().input(&(scan, site)), work).await
}

async fn look_at_raw(
    beam: &Beamline,
    step: &StepContext,
    scan: &ScanName,
    site: &str,
    run: &str,
) -> Result<CopyId> {
    let storage = beam.site(site)?;
    let base = beam.base(site, area::RAW, scan)?;
    let name = RelPath::new(format!("{}.h5", scan.stem()))?;
    let path = base.join(&name);
    let bad = |reason: String| Error::Value { name: "scan", value: format!("{path} at {site}"), reason };
    let found = storage.stat(&path).await?.ok_or_else(|| bad("it is not there; check the path".into()))?;
    if found.kind != SeenKind::File {
        return Err(bad("it is not a regular file; give the scan itself".into()));
    }
    if let Some(local) = storage.as_local() {
        // A half-written scan must not begin its journey. Where the file cannot be read, the job will tell.
        let file = local.root().join(path.as_str());
        let whole = tokio::task::spawn_blocking(move || scan::completeness(file)).await;
        if let Ok(Ok(found)) = whole {
            use scan::Verdict::{NotHdf5, StillOpen, Truncated};
            if let StillOpen(why) | Truncated(why) | NotHdf5(why) = found.verdict {
                return Err(bad(format!("it is not complete: {why}; wait for its end, or take it again")));
            }
        }
    }
    let dataset = DatasetId::new(scan.clone(), Kind::Raw);
    let files = FileList::new(vec![FileEntry { path: name, size: found.size, blake3: None }])?;
    let (site, by) = (site.to_owned(), run.to_owned());
    let new = NewCopy { dataset, site, area: area::RAW.into(), base, files, by };
    let id = beam.custody.register(&new, beam.now())?;
    let record = beam.custody.copy(id)?;
    if record.level < Some(Level::Sized) {
        let seen = storage.observe(&new.base, &new.files, Digests::None, beam.now()).await;
        let verification = Verification { level: Level::Sized, seen, by: run.to_owned() };
        beam.custody.verify(id, &verification, beam.now())?;
    }
    begin_use(beam, &new.dataset, &new.site, run)?;
    step.info(format!("{path} at {}: {} bytes", new.site, found.size));
    Ok(id)
}

/// Keeps a dataset at a site from deletion for this run.
pub(super) fn begin_use(beam: &Beamline, dataset: &DatasetId, site: &str, run: &str) -> Result<()> {
    let until = beam.now().checked_add(USE).ok();
    Ok(beam.custody.begin_use(dataset, site, run, until, beam.now())?)
}

/// Nothing is used by this run any more.
pub(super) async fn release(beam: &Arc<Beamline>, context: &Context) -> Outcome<()> {
    let run = context.id().to_string();
    let work = |_| {
        let ended = beam.custody.end_uses(&run, beam.now());
        async move { Ok(ended.map_err(Error::from)?) }
    };
    context.step("release", patient(), work).await
}

/// What is seen of a copy now, with digests that were read a moment ago by whoever moved it.
pub(super) async fn observe_with(
    storage: &dyn Storage,
    base: &RelPath,
    files: &FileList,
    read: &FileList,
    now: jiff::Timestamp,
) -> Observation {
    let mut seen = storage.observe(base, files, Digests::None, now).await;
    if let Reach::Seen(found) = &mut seen.reach {
        for one in found {
            one.blake3 = read.find(&one.path).and_then(|entry| entry.blake3.clone());
        }
    }
    seen
}

/// The path by which triggers name a dataset's copy in an area: `<folder>/rec<stem>.zarr`.
pub(super) fn relative_path(dataset: &DatasetId) -> String {
    let (folder, stem) = (dataset.scan.folder(), dataset.scan.stem());
    let name = match dataset.kind {
        Kind::Raw => format!("{stem}.h5"),
        Kind::Tiff => format!("rec{stem}"),
        Kind::Zarr => format!("rec{stem}.zarr"),
        Kind::Sidecars => format!("rec{stem}.manifest.json"),
    };
    if folder.is_root() { name } else { format!("{folder}/{name}") }
}

/// A few files of a list, spread evenly: enough to notice a disk that returns rubbish.
pub(super) fn sample(files: &FileList, most: usize) -> Vec<RelPath> {
    let entries = files.entries();
    let stride = entries.len().div_ceil(most.max(1)).max(1);
    entries.iter().step_by(stride).map(|entry| entry.path.clone()).collect()
}
