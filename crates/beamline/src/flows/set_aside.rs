//! Results of an earlier run make room for new ones: they are renamed, stay in custody, and go by their rule.
//! Nothing is overwritten, nothing is doubled.

use custody::{CopyRecord, Kind, Level, NewCopy, RelPath, State, Verification};
use engine::StepContext;
use sites::{Digests, Storage};

use crate::error::Result;
use crate::runtime::Beamline;

/// Moves other results of the same kind at `site`/`base` to `<base>/replaced/<copy>/`. Done again after a crash, it
/// goes on where it was.
pub(super) async fn set_aside(
    beam: &Beamline,
    step: &StepContext,
    wanted: &CopyRecord,
    site: &str,
    base: &RelPath,
    run: &str,
) -> Result<()> {
    for old in beam.custody.copies(&wanted.dataset.scan)? {
        let same = old.is_like(wanted) && old.content == wanted.content;
        if old.dataset.kind == wanted.dataset.kind && old.site == site && old.base == *base && !same {
            move_away(beam, step, &old, run).await?;
        }
    }
    Ok(())
}

/// Moves all results of a scan at `site`/`base` away.
pub(super) async fn set_all_aside(
    beam: &Beamline,
    step: &StepContext,
    scan: &custody::ScanName,
    site: &str,
    base: &RelPath,
) -> Result<()> {
    let run = step.identity().run.to_string();
    for old in beam.custody.copies(scan)? {
        if old.dataset.kind != Kind::Raw && old.site == site && old.base == *base {
            move_away(beam, step, &old, &run).await?;
        }
    }
    Ok(())
}

async fn move_away(beam: &Beamline, step: &StepContext, old: &CopyRecord, run: &str) -> Result<()> {
    // A lost one may be half moved, by this step before a crash.
    if !matches!(old.state, State::Present | State::Suspect | State::Lost) {
        return Ok(());
    }
    let storage = beam.site(&old.site)?;
    let files = beam.custody.files(old.id)?;
    let aside = old.base.join(&RelPath::new(format!("replaced/{}", old.id.0))?);
    if old.state == State::Lost && storage.stat(&aside).await?.is_none() {
        return Ok(());
    }
    let why = format!("set aside in {aside} for the results of run {run}");
    beam.custody.mark_lost(old.id, &why, run, beam.now())?;
    storage.make_folder(&aside).await?;
    for top in files.tops() {
        let top = RelPath::new(top)?;
        let (from, to) = (old.base.join(&top), aside.join(&top));
        if storage.stat(&to).await?.is_none() && storage.stat(&from).await?.is_some() {
            storage.rename(&from, &to).await?;
        }
    }
    if known_there(beam, old, &aside)? {
        return Ok(());
    }
    step.info(format!("{} at {}: {why}", old.dataset, old.site));
    let new = NewCopy {
        dataset: old.dataset.clone(),
        site: old.site.clone(),
        area: old.area.clone(),
        base: aside.clone(),
        files: files.clone(),
        by: run.to_owned(),
    };
    let id = beam.custody.register(&new, beam.now())?;
    let seen = storage.observe(&aside, &files, Digests::None, beam.now()).await;
    // A rename changes no byte, so the copy is worth what it was; digests were not read again, though.
    let level = old.level.unwrap_or(Level::Sized).min(Level::TransferChecksummed);
    let verification = Verification { level, seen, by: format!("{run} (renamed from {})", old.id) };
    match beam.custody.verify(id, &verification, beam.now()) {
        // What was damaged before stays suspect; it is out of the way, which is what was wanted.
        Ok(_) | Err(custody::Error::Verification { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn known_there(beam: &Beamline, old: &CopyRecord, aside: &RelPath) -> Result<bool> {
    let copies = beam.custody.copies(&old.dataset.scan)?;
    Ok(copies.iter().any(|one| one.site == old.site && one.base == *aside && one.state == State::Present))
}

/// Whether anything with the names of this scan's results is in a folder.
pub(super) async fn anything_there(
    storage: &dyn Storage,
    base: &RelPath,
    scan: &custody::ScanName,
) -> Result<bool> {
    for ending in ["", ".zarr", ".manifest.json", ".work", ".report.json"] {
        let path = base.join(&RelPath::new(format!("rec{}{ending}", scan.stem()))?);
        if storage.stat(&path).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
