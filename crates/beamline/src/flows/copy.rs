//! One copy of a dataset from a site to another: permitted, moved, registered, verified. Whichever flow asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use custody::{CopyId, CopyRecord, Kind, Level, NewCopy, State, TransferRequest, Verification};
use engine::{Context, OnCancel, StepContext};
use serde::{Deserialize, Serialize};
use sites::{Digests, Progress, Transferred, Watch};

use super::set_aside::set_aside;
use super::work::{Outcome, observe_with, transferring};
use crate::error::Result;
use crate::runtime::Beamline;

/// A verified copy, and what it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Copied {
    /// The copy, in custody.
    pub copy: CopyId,
    /// Which of the scan's datasets.
    pub kind: Kind,
    /// From where.
    pub from: String,
    /// To where.
    pub to: String,
    /// How many files.
    pub files: u64,
    /// How many bytes the dataset has.
    pub bytes: u64,
    /// Bytes that were copied.
    pub copied: u64,
    /// Bytes that were there already and were found right.
    pub reused: u64,
    /// How long the transfer took.
    pub seconds: f64,
    /// How well the copy is verified.
    pub level: Level,
}

/// Copies what `source` is to an area of `to`. A verified copy that is there already is enough.
pub(super) async fn copy(
    beam: &Arc<Beamline>,
    context: &Context,
    source: CopyId,
    kind: Kind,
    to: &str,
    area: &str,
) -> Outcome<Copied> {
    let run = context.id().to_string();
    let options = transferring().input(&(source, to, area)).on_cancel(OnCancel::Finish);
    let work = |step: StepContext| {
        let (beam, run, to, area) = (beam.clone(), run.clone(), to.to_owned(), area.to_owned());
        async move { Ok(transfer(&beam, &step, &run, source, &to, &area).await?) }
    };
    context.step(&format!("{kind} to {to}"), options, work).await
}

async fn transfer(
    beam: &Beamline,
    step: &StepContext,
    run: &str,
    source: CopyId,
    to: &str,
    area: &str,
) -> Result<Copied> {
    let record = beam.custody.copy(source)?;
    let files = beam.custody.files(source)?;
    let to_base = beam.base(to, area, &record.dataset.scan)?;
    if let Some(there) = standing(beam, &record, to, &to_base, run).await? {
        step.info(format!("{} is at {to} already, verified", record.dataset));
        let level = there.level.unwrap_or(Level::Listed);
        let reused = there.bytes;
        return Ok(copied(&record, &there, to, 0, reused, 0.0, level));
    }
    if record.dataset.kind != Kind::Raw {
        set_aside(beam, step, &record, to, &to_base, run).await?;
    }
    let request = TransferRequest {
        dataset: record.dataset.clone(),
        from: record.site.clone(),
        from_base: record.base.clone(),
        to: to.to_owned(),
        to_base: to_base.clone(),
        files,
        run: run.to_owned(),
    };
    let permit = beam.custody.permit_transfer(&request, beam.now())?;
    let id = permit.id().to_owned();
    let (from, target) = (beam.site(&record.site)?, beam.site(to)?);
    let key = format!("{run}/{}/{to}", record.dataset);
    let watch = watch(step);
    let moving = from.transfer(permit, target.as_ref(), &key, &watch, beam.now());
    let moved = stoppable(step, &watch, moving).await;
    let kept = match moved {
        Ok(done) => keep(beam, &record, to, area, run, &done).await,
        Err(error) => Err(error.into()),
    };
    let failure = kept.as_ref().err().map(ToString::to_string);
    beam.custody.end_transfer(&id, failure.as_deref(), beam.now())?;
    kept
}

/// Registers and verifies what arrived, and the source, every byte of which was read for it.
async fn keep(
    beam: &Beamline,
    record: &CopyRecord,
    to: &str,
    area: &str,
    run: &str,
    done: &Transferred,
) -> Result<Copied> {
    let by = match &done.evidence {
        Some(evidence) => format!("{run} ({}; {} task {})", done.permit, evidence.service, evidence.task),
        None => format!("{run} ({})", done.permit),
    };
    // The source first: where the destination is found verified after a crash, the source is too.
    if record.level < Some(Level::TransferChecksummed) && done.level >= Level::TransferChecksummed {
        let from = beam.site(&record.site)?;
        let files = beam.custody.files(record.id)?;
        let seen = observe_with(from.as_ref(), &record.base, &files, &done.files, beam.now()).await;
        let verification = Verification { level: Level::TransferChecksummed, seen, by: by.clone() };
        beam.custody.verify(record.id, &verification, beam.now())?;
    }
    let new = NewCopy {
        dataset: record.dataset.clone(),
        site: to.to_owned(),
        area: area.to_owned(),
        base: done.seen.base.clone(),
        files: done.files.clone(),
        by: run.to_owned(),
    };
    let id = beam.custody.register(&new, beam.now())?;
    let verification = Verification { level: done.level, seen: done.seen.clone(), by };
    let there = beam.custody.verify(id, &verification, beam.now())?;
    if let Some(evidence) = &done.evidence {
        let text = serde_json::to_vec_pretty(evidence).unwrap_or_default();
        let paper = format!("transfer-{}-{to}", record.dataset.kind);
        beam.custody.keep_paper(&record.dataset.scan, &paper, run, &text, beam.now())?;
    }
    Ok(copied(record, &there, to, done.copied, done.reused, done.elapsed.as_secs_f64(), done.level))
}

fn copied(
    record: &CopyRecord,
    there: &CopyRecord,
    to: &str,
    copied: u64,
    reused: u64,
    seconds: f64,
    level: Level,
) -> Copied {
    Copied {
        copy: there.id,
        kind: record.dataset.kind,
        from: record.site.clone(),
        to: to.to_owned(),
        files: there.files,
        bytes: there.bytes,
        copied,
        reused,
        seconds,
        level,
    }
}

/// The verified copy of the same content that is there already and looks as it did, if there is one. A source whose
/// content nobody knows yet has to be read: then it is compared byte by byte.
async fn standing(
    beam: &Beamline,
    record: &CopyRecord,
    to: &str,
    base: &custody::RelPath,
    run: &str,
) -> Result<Option<CopyRecord>> {
    let needed = Some(beam.policy.level);
    let known = beam.custody.copies(&record.dataset.scan)?.into_iter().find(|one| {
        one.dataset.kind == record.dataset.kind
            && one.site == to
            && one.base == *base
            && one.state == State::Present
            && one.level >= needed
            && one.is_like(record)
            && record.content.is_some()
            && one.content == record.content
    });
    let Some(known) = known else { return Ok(None) };
    let files = beam.custody.files(known.id)?;
    let seen = beam.site(to)?.observe(base, &files, Digests::None, beam.now()).await;
    let look = Verification { level: Level::Sized, seen, by: run.to_owned() };
    match beam.custody.verify(known.id, &look, beam.now()) {
        // Touched since: then the lesser look is all that is known, and it is compared byte by byte.
        Ok(found) => Ok(Some(found).filter(|found| found.level >= needed)),
        Err(custody::Error::Verification { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Shows the transfer's progress as the step's.
pub(super) fn watch(step: &StepContext) -> Watch {
    let (step, last) = (step.clone(), AtomicU64::new(u64::MAX));
    let said = std::sync::Mutex::new(None);
    Watch::new(move |progress: &Progress| {
        let part = progress.bytes as f64 / progress.total_bytes.max(1) as f64;
        // Told about ten times a second; the journal wants whole percents.
        let percent = (part * 100.0) as u64;
        // A fault is news as well.
        let news = (progress.faults, progress.note.clone());
        let mut said = said.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let same = said.replace(news.clone()) == Some(news);
        if last.swap(percent, Ordering::Relaxed) != percent || !same {
            step.progress(part, &told(progress));
        }
    })
}

/// Bytes, files, pace, time left, faults, and what holds it up.
fn told(progress: &Progress) -> String {
    let Progress { bytes, total_bytes, files, total_files, rate, faults, note } = progress;
    let (unit, name) = if *total_bytes < 1_000_000_000 { (1e6, "MB") } else { (1e9, "GB") };
    let (done, all) = (*bytes as f64 / unit, *total_bytes as f64 / unit);
    let mut text =
        format!("{done:.1} of {all:.1} {name}, {files} of {total_files} files, {:.1} MB/s", rate / 1e6);
    let left = total_bytes.saturating_sub(*bytes);
    if *rate >= 1.0 && left > 0 {
        text += &format!(", {} left", lasting(left as f64 / rate));
    }
    if *faults > 0 {
        text += &format!(", {faults} faults");
    }
    match note {
        Some(note) => format!("{text}; {note}"),
        None => text,
    }
}

/// A time to come or gone, as precise as a person wants it.
pub(super) fn lasting(seconds: f64) -> String {
    match seconds {
        short if short < 120.0 => format!("{short:.0} s"),
        some if some < 7200.0 => format!("{:.0} min", some / 60.0),
        long => format!("{:.1} h", long / 3600.0),
    }
}

/// Lets a transfer end by itself when the run is cancelled or the step's time is over.
pub(super) async fn stoppable<T>(
    step: &StepContext,
    watch: &Watch,
    work: impl Future<Output = sites::Result<T>>,
) -> sites::Result<T> {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = step.cancelled() => watch.stop(),
    }
    work.await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_under_way_tells_bytes_pace_time_and_faults() {
        let progress = Progress {
            bytes: 2_000_000_000,
            total_bytes: 8_510_000_000,
            files: 0,
            total_files: 1,
            rate: 43e6,
            faults: 2,
            note: Some("PERMISSION_DENIED".into()),
        };
        assert_eq!(
            told(&progress),
            "2.0 of 8.5 GB, 0 of 1 files, 43.0 MB/s, 3 min left, 2 faults; PERMISSION_DENIED"
        );
        let begun = Progress { bytes: 0, total_bytes: 5_000, rate: 0.0, faults: 0, note: None, ..progress };
        assert_eq!(told(&begun), "0.0 of 0.0 MB, 0 of 1 files, 0.0 MB/s");
        let times = [lasting(59.4), lasting(600.0), lasting(9000.0)];
        assert_eq!(times, ["59 s", "10 min", "2.5 h"]);
    }
}
