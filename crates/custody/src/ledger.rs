//! What was done and what was refused: append-only, kept for good.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::names::{DatasetId, Kind, ScanName};
use crate::reason::Reason;
use crate::store::{Db, get, time, to_ms};
use crate::{Custody, Error, Result};

/// What an entry of the ledger tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// Files were deleted.
    Deleted,
    /// A deletion was begun and not finished.
    DeletionFailed,
    /// A deletion or a transfer was refused.
    Refused,
    /// A permit to delete was minted.
    DeletionPermitted,
    /// A permit to transfer was minted.
    TransferPermitted,
    /// A transfer ended, well or not.
    TransferEnded,
    /// A copy was registered.
    Registered,
    /// A copy that was there before was registered.
    Adopted,
    /// A copy was verified.
    Verified,
    /// A verification failed.
    VerificationFailed,
    /// A copy is no longer where it was.
    Lost,
    /// A person holds a scan.
    Held,
    /// A hold ended.
    Released,
    /// The export mark was set or changed.
    Marked,
    /// The date of a deletion was announced.
    Announced,
    /// The operator switched deletion on or off.
    Switched,
    /// The policy changed.
    PolicyChanged,
    /// Settings that are kept elsewhere could not be read.
    SettingsSilent,
    /// Settings that are kept elsewhere are known, again or for the first time.
    SettingsHeard,
    /// The operator accepted a clock that had gone back.
    ClockAccepted,
}

impl Event {
    /// The name in the database.
    fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Counts up.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: Event,
    /// Of which scan.
    pub scan: Option<ScanName>,
    /// Of which of its datasets.
    pub kind: Option<Kind>,
    /// Where.
    pub site: Option<String>,
    /// Which folder or file.
    pub path: Option<String>,
    /// Who did it: a person, a run.
    pub who: Option<String>,
    /// How many files.
    pub files: Option<u64>,
    /// How many bytes.
    pub bytes: Option<u64>,
    /// In words.
    pub text: String,
    /// Why it was refused, each reason with its code.
    pub reasons: Vec<Reason>,
    /// Numbers of permit, plan and witness, and the like.
    pub detail: Value,
}

/// Something that was not allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// `deletion` or `transfer`.
    pub action: String,
    /// Of which dataset.
    pub dataset: DatasetId,
    /// At (or to) which place.
    pub place: String,
    /// All that speaks against it.
    pub reasons: Vec<Reason>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = if self.action == "transfer" { "to" } else { "at" };
        write!(f, "{} of {} {direction} {} refused: ", self.action, self.dataset, self.place)?;
        for (i, reason) in self.reasons.iter().enumerate() {
            write!(f, "{}{reason}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// A line to be written; what is not set stays empty.
#[derive(Default)]
pub(crate) struct Line<'a> {
    pub dataset: Option<&'a DatasetId>,
    pub scan: Option<&'a ScanName>,
    pub site: Option<&'a str>,
    pub path: Option<&'a str>,
    pub who: Option<&'a str>,
    pub files: Option<u64>,
    pub bytes: Option<u64>,
    pub text: String,
    pub reasons: &'a [Reason],
    pub detail: Value,
}

impl Db<'_> {
    /// Appends a line.
    pub(crate) fn ledger(&self, at: Timestamp, event: Event, line: Line<'_>) -> Result<()> {
        let scan = line.scan.or(line.dataset.map(|d| &d.scan));
        let reasons = serde_json::to_string(line.reasons).map_err(|e| Error::damaged("ledger entry", e))?;
        self.run(
            "INSERT INTO ledger (at, event, folder, stem, kind, site, path, who, files, bytes, text, reasons, detail)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                to_ms(at),
                event.name(),
                scan.map(|s| s.folder().as_str()),
                scan.map(ScanName::stem),
                line.dataset.map(|d| d.kind.name()),
                line.site,
                line.path,
                line.who,
                line.files.map(|n| i64::try_from(n).unwrap_or(i64::MAX)),
                line.bytes.map(|n| i64::try_from(n).unwrap_or(i64::MAX)),
                line.text,
                reasons,
                line.detail.to_string(),
            ),
        )?;
        Ok(())
    }

    /// Writes a refusal down.
    ///
    /// The answer is not this transaction's failure, which would take the line back: return it as a value.
    pub(crate) fn refuse(&self, at: Timestamp, refusal: Refusal, path: &str, detail: Value) -> Result<Error> {
        let line = Line {
            dataset: Some(&refusal.dataset),
            site: Some(&refusal.place),
            path: Some(path),
            text: refusal.to_string(),
            reasons: &refusal.reasons,
            detail,
            ..Line::default()
        };
        self.ledger(at, Event::Refused, line)?;
        Ok(Error::Refused(Box::new(refusal)))
    }
}

/// Which entries to read; what is not set does not restrict.
#[derive(Debug, Clone, Default)]
pub struct LedgerFilter {
    /// Only this scan.
    pub scan: Option<ScanName>,
    /// Only this event.
    pub event: Option<Event>,
    /// Only entries after this one.
    pub after: Option<i64>,
    /// At most so many, the newest (0: all).
    pub limit: usize,
}

impl Custody {
    /// Entries of the ledger, oldest first.
    pub fn ledger(&self, filter: &LedgerFilter) -> Result<Vec<Entry>> {
        let limit =
            if filter.limit == 0 { i64::MAX } else { i64::try_from(filter.limit).unwrap_or(i64::MAX) };
        let scan = filter.scan.as_ref();
        let parameters = (
            scan.map(|s| s.folder().as_str()),
            scan.map(ScanName::stem),
            filter.event.map(Event::name),
            filter.after.unwrap_or(0),
            limit,
        );
        self.read("read the ledger", |db| {
            let mut entries = db.all(
                "SELECT * FROM ledger WHERE (?1 IS NULL OR (folder = ?1 AND stem = ?2))
                 AND (?3 IS NULL OR event = ?3) AND id > ?4 ORDER BY id DESC LIMIT ?5",
                parameters,
                entry,
            )?;
            entries.reverse();
            Ok(entries)
        })
    }
}

fn entry(row: &rusqlite::Row<'_>) -> Result<Entry> {
    let damaged = |e: serde_json::Error| Error::damaged("ledger entry", e);
    let scan = match (get::<Option<String>>(row, "folder")?, get::<Option<String>>(row, "stem")?) {
        (Some(folder), Some(stem)) => Some(ScanName::new(folder, stem)?),
        _ => None,
    };
    let count = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok());
    Ok(Entry {
        id: get(row, "id")?,
        at: time(get(row, "at")?)?,
        event: serde_json::from_value(Value::String(get(row, "event")?)).map_err(damaged)?,
        scan,
        kind: get::<Option<String>>(row, "kind")?.map(|kind| kind.parse()).transpose()?,
        site: get(row, "site")?,
        path: get(row, "path")?,
        who: get(row, "who")?,
        files: count(get(row, "files")?),
        bytes: count(get(row, "bytes")?),
        text: get(row, "text")?,
        reasons: serde_json::from_str(&get::<String>(row, "reasons")?).map_err(damaged)?,
        detail: serde_json::from_str(&get::<String>(row, "detail")?).map_err(damaged)?,
    })
}
