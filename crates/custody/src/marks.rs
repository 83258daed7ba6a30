//! Export marks: decided at first sight of a scan, sticky, raised by anybody, lowered only on purpose.

use jiff::Timestamp;
use serde::Serialize;

use crate::ledger::{Event, Line};
use crate::names::ScanName;
use crate::settings::matches;
use crate::store::{Db, get, time, to_ms};
use crate::{Custody, Error, Result, Settings};

/// A scan's export mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// Whether it is export-controlled.
    pub controlled: bool,
    /// What decided: `flag`, `folder`, `default`, or `operator`.
    pub source: String,
    /// When.
    pub at: Timestamp,
    /// Who brought the scan, or changed the mark.
    pub by: String,
}

/// A scan's row.
pub(crate) struct ScanRow {
    pub id: i64,
    pub mark: Mark,
}

impl Custody {
    /// Tells custody of a scan, with the flag it came with, if any. The first call decides its mark: a
    /// folder that matches a pattern makes it controlled; else the flag says; else the configured default.
    /// Later calls return the same mark, except that a flag `true` raises it.
    pub fn sight(&self, scan: &ScanName, flag: Option<bool>, by: &str, now: Timestamp) -> Result<Mark> {
        self.write("note a scan", now, |db| {
            let settings = db.settings()?.1;
            db.sight(&settings, scan, flag, by).map(|row| row.mark)
        })
    }

    /// A scan's mark, if custody has seen it.
    pub fn mark(&self, scan: &ScanName) -> Result<Option<Mark>> {
        self.read("read an export mark", |db| Ok(db.scan_row(scan)?.map(|row| row.mark)))
    }

    /// Changes a mark on purpose. Goes into the ledger with person and reason.
    pub fn set_mark(
        &self,
        scan: &ScanName,
        controlled: bool,
        who: &str,
        why: &str,
        now: Timestamp,
    ) -> Result<Mark> {
        if who.trim().is_empty() || why.trim().is_empty() {
            let reason = "a person and a reason are needed to change an export mark".into();
            return Err(Error::Value { name: "who and why", value: format!("{who} {why}"), reason });
        }
        self.write("change an export mark", now, |db| {
            let settings = db.settings()?.1;
            let row = db.sight(&settings, scan, None, who)?;
            let mark = Mark { controlled, source: "operator".into(), at: db.latest, by: who.into() };
            db.store_mark(row.id, scan, &mark, why)?;
            Ok(mark)
        })
    }
}

impl Db<'_> {
    /// See [`Custody::sight`].
    pub(crate) fn sight(
        &self,
        settings: &Settings,
        scan: &ScanName,
        flag: Option<bool>,
        by: &str,
    ) -> Result<ScanRow> {
        if let Some(mut row) = self.scan_row(scan)? {
            if flag == Some(true) && !row.mark.controlled {
                row.mark = Mark { controlled: true, source: "flag".into(), at: self.latest, by: by.into() };
                self.store_mark(row.id, scan, &row.mark, "a later request carried the flag")?;
            }
            return Ok(row);
        }
        let folder = scan.folder().as_str();
        let by_folder = settings.export.folders.iter().any(|p| {
            // A nested folder is matched as a whole and by its first part, the experiment.
            matches(p, folder) || folder.split('/').next().is_some_and(|first| matches(p, first))
        });
        let (controlled, source) = match flag {
            _ if by_folder => (true, "folder"),
            Some(flag) => (flag, "flag"),
            None => (settings.export.default, "default"),
        };
        let mark = Mark { controlled, source: source.into(), at: self.latest, by: by.into() };
        let id = self.insert(
            "INSERT INTO scans (folder, stem, first_seen, controlled, mark_source, marked_at, marked_by)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
            (folder, scan.stem(), to_ms(self.latest), controlled, source, to_ms(self.latest), by),
        )?;
        self.mark_line(scan, &mark, "first sight")?;
        Ok(ScanRow { id, mark })
    }

    /// A scan's row.
    pub(crate) fn scan_row(&self, scan: &ScanName) -> Result<Option<ScanRow>> {
        let sql = "SELECT * FROM scans WHERE folder = ? AND stem = ?";
        self.one(sql, (scan.folder().as_str(), scan.stem()), |row| {
            let mark = Mark {
                controlled: get(row, "controlled")?,
                source: get(row, "mark_source")?,
                at: time(get(row, "marked_at")?)?,
                by: get(row, "marked_by")?,
            };
            Ok(ScanRow { id: get(row, "id")?, mark })
        })
    }

    fn store_mark(&self, id: i64, scan: &ScanName, mark: &Mark, why: &str) -> Result<()> {
        self.run(
            "UPDATE scans SET controlled = ?, mark_source = ?, marked_at = ?, marked_by = ? WHERE id = ?",
            (mark.controlled, &mark.source, to_ms(mark.at), &mark.by, id),
        )?;
        self.mark_line(scan, mark, why)
    }

    fn mark_line(&self, scan: &ScanName, mark: &Mark, why: &str) -> Result<()> {
        let what = if mark.controlled { "export-controlled" } else { "not export-controlled" };
        let text = format!("{what}, by {}: {why}", mark.source);
        let line = Line { scan: Some(scan), who: Some(&mark.by), text, ..Line::default() };
        self.ledger(self.latest, Event::Marked, line)
    }
}
