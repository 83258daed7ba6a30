//! Verification: a copy counts once somebody looked at all of it and found it right.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::files::{Expectation, FileList, Observation, Reach, Seen, compare, summary};
use crate::ledger::{Event, Line};
use crate::names::{Kind, Level};
use crate::records::{CopyId, CopyRecord, State};
use crate::store::{CLOCK_TOLERANCE, Db, pack, to_ms};
use crate::{Custody, Error, FileEntry, Result, Settings};

/// A look at all files of a copy, and how thorough it was.
#[derive(Debug, Clone)]
pub struct Verification {
    /// How thorough. [`Level::Digested`] needs the digest of every file in `seen`;
    /// [`Level::TransferChecksummed`] is the word of the service that brought them, named in `by`.
    pub level: Level,
    /// What was found.
    pub seen: Observation,
    /// By what: a run, a transfer's id, a person.
    pub by: String,
}

impl Custody {
    /// Compares what was seen with what should be there. If all is right, the copy counts at that level.
    /// If not, it is `suspect` and does not count, and the error says why. An unreachable site changes
    /// nothing. Digests seen for the first time are kept as the truth.
    pub fn verify(&self, id: CopyId, verification: &Verification, now: Timestamp) -> Result<CopyRecord> {
        self.write("verify a copy", now, |db| {
            let settings = db.settings()?.1;
            db.verify(&settings, id, verification, now)
        })?
    }
}

impl Db<'_> {
    /// See [`Custody::verify`]. The outer error rolls back; the inner one is a result to be kept.
    pub(crate) fn verify(
        &self,
        settings: &Settings,
        id: CopyId,
        verification: &Verification,
        now: Timestamp,
    ) -> Result<Result<CopyRecord>> {
        let record = self.copy(id)?;
        let list = self.list_of(id)?;
        if matches!(record.state, State::Deleted | State::Replaced) {
            let reason = format!("it is {}; register it again", record.state.name());
            return Err(Error::Value { name: "copy", value: id.to_string(), reason });
        }
        if self.has_live_permit(id, now)? {
            return Err(Error::Busy {
                what: format!("{} at {} is being deleted", record.dataset, record.site),
            });
        }
        let seen = fresh(settings, &record, &verification.seen, now)?;
        let every: Vec<_> = list.entries().iter().map(|entry| entry.path.clone()).collect();
        let expect = Expectation {
            latest: Some(CLOCK_TOLERANCE.after(now)),
            read: if verification.level == Level::Digested { &every } else { &[] },
            ..Expectation::default()
        };
        let findings = compare(&list, &expect, seen);
        let line = Line {
            dataset: Some(&record.dataset),
            site: Some(&record.site),
            path: Some(record.base.as_str()),
            who: Some(&verification.by),
            files: Some(record.files),
            bytes: Some(record.bytes),
            ..Line::default()
        };
        if !findings.is_empty() {
            let text = summary(&findings);
            self.set_state(id, State::Suspect, self.latest)?;
            self.run("UPDATE copies SET level = NULL, first_verified_at = NULL WHERE id = ?", [id.0])?;
            self.ledger(now, Event::VerificationFailed, Line { text: text.clone(), ..line })?;
            let (dataset, site) = (record.dataset.to_string(), record.site);
            return Ok(Err(Error::Verification { dataset, site, findings: text }));
        }
        let truth = with_digests(&list, seen)?;
        if let Err(differs) = self.agree(settings, &record, &truth)? {
            self.set_state(id, State::Suspect, self.latest)?;
            self.ledger(now, Event::VerificationFailed, Line { text: differs.to_string(), ..line })?;
            return Ok(Err(differs));
        }
        self.store_verification(settings, &record, &list, &truth, verification, seen)?;
        let text = format!("verified as {}", verification.level);
        self.ledger(now, Event::Verified, Line { text, ..line })?;
        self.copy(id).map(Ok)
    }

    /// Writes level, digests and times of a successful verification.
    fn store_verification(
        &self,
        settings: &Settings,
        record: &CopyRecord,
        list: &FileList,
        truth: &FileList,
        verification: &Verification,
        seen: &[Seen],
    ) -> Result<()> {
        let at = self.latest;
        let recorded = self.mtimes_of(record.id)?;
        let expect = Expectation { mtimes: recorded.as_deref(), ..Expectation::default() };
        let touched = recorded.is_some() && !compare(list, &expect, seen).is_empty();
        let level = verification.level;
        if record.state == State::Present && !touched && record.level > Some(level) {
            // A lesser look that found nothing new takes nothing away, and renews nothing.
            return Ok(());
        }
        // The age counts on through a renewed verification, unless the copy was away or may be another.
        let ages_on = record.state == State::Present && !(touched && level < Level::Digested);
        let first = record.first_verified_at.filter(|first| ages_on && *first <= at);
        let first = first.or((level >= settings.level).then_some(at));
        let by_path: BTreeMap<&str, &Seen> = seen.iter().map(|one| (one.path.as_str(), one)).collect();
        let mtime = |entry: &FileEntry| by_path.get(entry.path.as_str()).and_then(|one| one.mtime_ns);
        let mtimes: Vec<Option<i64>> = list.entries().iter().map(mtime).collect();
        let mtimes = serde_json::to_vec(&mtimes).map_err(|e| Error::damaged("file times", e))?;
        self.set_state(record.id, State::Present, at)?;
        if !ages_on {
            self.run("DELETE FROM announcements WHERE copy = ?", [record.id.0])?;
        }
        self.run(
            "UPDATE copies SET level = ?, first_verified_at = ?, verified_at = ?, verified_by = ?, list = ?,
             content = ?, mtimes = ? WHERE id = ?",
            (
                level.name(),
                first.map(to_ms),
                to_ms(at),
                &verification.by,
                self.store_list(truth)?,
                truth.content(),
                pack(&mtimes)?,
                record.id.0,
            ),
        )?;
        Ok(())
    }

    /// A raw file's digest is the same everywhere, or somebody has to find out which file is the scan.
    fn agree(&self, settings: &Settings, record: &CopyRecord, truth: &FileList) -> Result<Result<()>> {
        if record.dataset.kind != Kind::Raw {
            return Ok(Ok(()));
        }
        let scan = self.scan_id(&record.dataset.scan)?.unwrap_or_default();
        let content = truth.content();
        for other in self.copies_of(scan)? {
            let counts = other.dataset.kind == Kind::Raw
                && other.id != record.id
                && other.state == State::Present
                && other.level >= Some(settings.level);
            if counts && other.content.is_some() && content.is_some() && other.content != content {
                return Ok(Err(Error::Differs {
                    dataset: record.dataset.to_string(),
                    site: record.site.clone(),
                    difference: format!("its digest differs from that of the copy at {}", other.site),
                }));
            }
        }
        Ok(Ok(()))
    }
}

/// What was seen, if it was this copy and just now.
fn fresh<'a>(
    settings: &Settings,
    record: &CopyRecord,
    seen: &'a Observation,
    now: Timestamp,
) -> Result<&'a [Seen]> {
    let refuse =
        |value: String, reason: &str| Err(Error::Value { name: "observation", value, reason: reason.into() });
    if seen.site != record.site || seen.base != record.base {
        return refuse(format!("{} at {}", seen.base, seen.site), "it is of another place than the copy");
    }
    // A verification may take long (it reads everything); what must not be is one from the future or of old.
    let oldest = settings.plan_valid.before(now);
    if seen.observed_at < oldest || seen.observed_at > CLOCK_TOLERANCE.after(now) {
        return refuse(seen.observed_at.to_string(), "it was not made just now; look again");
    }
    match &seen.reach {
        Reach::Seen(seen) => Ok(seen),
        Reach::Unreachable(why) => Err(Error::Unreachable { site: record.site.clone(), why: why.clone() }),
    }
}

/// The list with the digests that were read filled in where none was known.
fn with_digests(list: &FileList, seen: &[Seen]) -> Result<FileList> {
    let by_path: BTreeMap<&str, &Seen> = seen.iter().map(|one| (one.path.as_str(), one)).collect();
    let entries = list.entries().iter().map(|entry| {
        let read = || by_path.get(entry.path.as_str()).and_then(|one| one.blake3.clone());
        FileEntry { blake3: entry.blake3.clone().or_else(read), ..entry.clone() }
    });
    FileList::new(entries.collect())
}
