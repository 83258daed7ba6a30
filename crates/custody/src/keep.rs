//! What keeps data: people's holds, runs that use it, papers to make it again, announcements.

use jiff::Timestamp;
use serde::Serialize;

use crate::ledger::{Event, Line};
use crate::names::{DatasetId, ScanName};
use crate::records::{CopyId, State};
use crate::store::{Db, get, maybe_time, pack, time, to_ms, unpack};
use crate::{Custody, Error, Result};

/// What derived data can be made again from, all of which must be kept before its last copy may go.
pub const PAPERS: [&str; 3] = ["recipe", "report", "manifest"];

/// A person's wish that nothing of a scan be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// Its number.
    pub id: i64,
    /// Which scan.
    pub scan: ScanName,
    /// Who.
    pub who: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub placed_at: Timestamp,
    /// Until when, if it ends by itself.
    pub until: Option<Timestamp>,
    /// When it was released, if it was.
    pub released_at: Option<Timestamp>,
}

/// A run that uses a dataset at a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Use {
    /// Which run.
    pub run: String,
    /// Which dataset.
    pub dataset: DatasetId,
    /// Where.
    pub site: String,
    /// Since when.
    pub since: Timestamp,
}

impl Custody {
    /// Holds a scan: nothing of it is deleted anywhere, until it is released or `until` has passed.
    pub fn hold(
        &self,
        scan: &ScanName,
        who: &str,
        reason: &str,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<i64> {
        if who.trim().is_empty() {
            let reason = "say who holds it".into();
            return Err(Error::Value { name: "who", value: who.into(), reason });
        }
        self.write("hold a scan", now, |db| {
            let settings = db.settings()?.1;
            let id = db.sight(&settings, scan, None, who)?.id;
            let number = db.insert(
                "INSERT INTO holds (scan, who, reason, placed_at, until) VALUES (?, ?, ?, ?, ?)",
                (id, who, reason, to_ms(db.latest), until.map(to_ms)),
            )?;
            let text = format!("hold {number}: {reason}");
            db.ledger(now, Event::Held, Line { scan: Some(scan), who: Some(who), text, ..Line::default() })?;
            Ok(number)
        })
    }

    /// Releases all holds on a scan; returns how many there were.
    pub fn release(&self, scan: &ScanName, who: &str, now: Timestamp) -> Result<usize> {
        self.write("release a scan", now, |db| {
            let Some(id) = db.scan_id(scan)? else {
                return Err(Error::Unknown {
                    what: format!("scan {scan}"),
                    hint: "`beamrail custody list` shows what is known",
                });
            };
            let released = db.run(
                "UPDATE holds SET released_at = ?, released_by = ? WHERE scan = ? AND released_at IS NULL",
                (to_ms(db.latest), who, id),
            )?;
            if released > 0 {
                let text = format!("{released} hold(s) released");
                let line = Line { scan: Some(scan), who: Some(who), text, ..Line::default() };
                db.ledger(now, Event::Released, line)?;
            }
            Ok(released)
        })
    }

    /// The holds on a scan, or on all, released ones included.
    pub fn holds(&self, scan: Option<&ScanName>) -> Result<Vec<Hold>> {
        self.read("list holds", |db| {
            db.all(
                "SELECT holds.*, scans.folder, scans.stem FROM holds JOIN scans ON scans.id = holds.scan
                 WHERE (?1 IS NULL OR (folder = ?1 AND stem = ?2)) ORDER BY holds.id",
                (scan.map(|s| s.folder().as_str()), scan.map(ScanName::stem)),
                hold,
            )
        })
    }

    /// Notes that a run uses a dataset at a site; it is not deleted there until the use ends. Telling it
    /// again renews `until`.
    pub fn begin_use(
        &self,
        dataset: &DatasetId,
        site: &str,
        run: &str,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<()> {
        self.write("note a use", now, |db| {
            let settings = db.settings()?.1;
            let scan = db.sight(&settings, &dataset.scan, None, run)?.id;
            let kind = dataset.kind.name();
            let renewed = db.run(
                "UPDATE uses SET until = ? WHERE scan = ? AND kind = ? AND site = ? AND run = ? AND ended_at IS NULL",
                (until.map(to_ms), scan, kind, site, run),
            )?;
            if renewed == 0 {
                db.run(
                    "INSERT INTO uses (scan, kind, site, run, since, until) VALUES (?, ?, ?, ?, ?, ?)",
                    (scan, kind, site, run, to_ms(db.latest), until.map(to_ms)),
                )?;
            }
            Ok(())
        })
    }

    /// Ends all uses and all open transfers of a run.
    pub fn end_uses(&self, run: &str, now: Timestamp) -> Result<()> {
        self.write("end uses", now, |db| {
            let at = to_ms(db.latest);
            db.run("UPDATE uses SET ended_at = ? WHERE run = ? AND ended_at IS NULL", (at, run))?;
            db.run(
                "UPDATE transfers SET ended_at = ?, outcome = 'the run ended' WHERE run = ? AND ended_at IS NULL",
                (at, run),
            )?;
            Ok(())
        })
    }

    /// The uses that have not ended.
    pub fn uses(&self) -> Result<Vec<Use>> {
        self.read("list uses", |db| {
            db.all(
                "SELECT uses.*, scans.folder, scans.stem FROM uses JOIN scans ON scans.id = uses.scan
                 WHERE ended_at IS NULL ORDER BY uses.id",
                [],
                |row| {
                    let scan = ScanName::new(get::<String>(row, "folder")?, get::<String>(row, "stem")?)?;
                    Ok(Use {
                        run: get(row, "run")?,
                        dataset: DatasetId::new(scan, get::<String>(row, "kind")?.parse()?),
                        site: get(row, "site")?,
                        since: time(get(row, "since")?)?,
                    })
                },
            )
        })
    }

    /// Keeps a paper of a scan for good ([`PAPERS`], or another name). The same bytes are kept once.
    pub fn keep_paper(
        &self,
        scan: &ScanName,
        paper: &str,
        run: &str,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<()> {
        if bytes.is_empty() {
            let reason = "it is empty; give the file's content".into();
            return Err(Error::Value { name: "paper", value: paper.into(), reason });
        }
        self.write("keep a paper", now, |db| {
            let settings = db.settings()?.1;
            let id = db.sight(&settings, scan, None, run)?.id;
            let digest = blake3::hash(bytes).to_hex().to_string();
            db.run(
                "INSERT OR IGNORE INTO papers (scan, paper, at, run, digest, packed) VALUES (?, ?, ?, ?, ?, ?)",
                (id, paper, to_ms(db.latest), run, digest, pack(bytes)?),
            )?;
            Ok(())
        })
    }

    /// Every version of a paper with the run that made it, oldest first.
    pub fn paper_versions(&self, scan: &ScanName, paper: &str) -> Result<Vec<(String, Vec<u8>)>> {
        self.read("read the versions of a paper", |db| {
            let Some(id) = db.scan_id(scan)? else { return Ok(Vec::new()) };
            let sql = "SELECT run, packed FROM papers WHERE scan = ? AND paper = ? ORDER BY id";
            let packed = db.all(sql, (id, paper), |row| {
                Ok((get::<String>(row, "run")?, get::<Vec<u8>>(row, "packed")?))
            })?;
            packed.into_iter().map(|(run, packed)| Ok((run, unpack(&packed)?))).collect()
        })
    }

    /// The newest version of a paper.
    pub fn paper(&self, scan: &ScanName, paper: &str) -> Result<Option<Vec<u8>>> {
        self.read("read a paper", |db| {
            let Some(id) = db.scan_id(scan)? else { return Ok(None) };
            let sql = "SELECT packed FROM papers WHERE scan = ? AND paper = ? ORDER BY id DESC LIMIT 1";
            let packed: Option<Vec<u8>> = db.one(sql, (id, paper), |row| get(row, "packed"))?;
            packed.map(|packed| unpack(&packed)).transpose()
        })
    }

    /// A number that changes with every new version of a paper: what was read of one is good as long as it stands.
    pub fn paper_version(&self, scan: &ScanName, paper: &str) -> Result<Option<i64>> {
        self.read("look for a paper", |db| {
            let Some(id) = db.scan_id(scan)? else { return Ok(None) };
            let sql = "SELECT id FROM papers WHERE scan = ? AND paper = ? ORDER BY id DESC LIMIT 1";
            db.one(sql, (id, paper), |row| get(row, "id"))
        })
    }

    /// The names of a scan's papers.
    pub fn papers(&self, scan: &ScanName) -> Result<Vec<String>> {
        self.read("list papers", |db| {
            let Some(id) = db.scan_id(scan)? else { return Ok(Vec::new()) };
            db.all("SELECT DISTINCT paper FROM papers WHERE scan = ? ORDER BY paper", [id], |row| {
                get(row, "paper")
            })
        })
    }

    /// Notes that the date of a deletion was told to those concerned (see `Plan::announce`). The notice
    /// period begins now. Telling it again changes nothing.
    pub fn announced(&self, id: CopyId, due: Timestamp, by: &str, now: Timestamp) -> Result<()> {
        self.write("note an announcement", now, |db| {
            let record = db.copy(id)?;
            if record.state != State::Present {
                let reason =
                    format!("it is {}; only copies that are there are announced", record.state.name());
                return Err(Error::Value { name: "copy", value: id.to_string(), reason });
            }
            let at = db.latest;
            // One from the future is void: the clock was wrong, so the notice begins anew.
            let standing = "SELECT announced_at FROM announcements WHERE copy = ? AND announced_at <= ?";
            if db.one(standing, (id.0, to_ms(at)), |row| get::<i64>(row, "announced_at"))?.is_some() {
                return Ok(());
            }
            let due = due.max(db.settings()?.1.notice.after(at));
            db.run(
                "INSERT OR REPLACE INTO announcements (copy, announced_at, due, who) VALUES (?, ?, ?, ?)",
                (id.0, to_ms(at), to_ms(due), by),
            )?;
            let line = Line {
                dataset: Some(&record.dataset),
                site: Some(&record.site),
                path: Some(record.base.as_str()),
                who: Some(by),
                text: format!("the last copy goes on {due}"),
                ..Line::default()
            };
            db.ledger(now, Event::Announced, line)
        })
    }
}

/// A row of `holds`, joined with `scans`.
pub(crate) fn hold(row: &rusqlite::Row<'_>) -> Result<Hold> {
    Ok(Hold {
        id: get(row, "id")?,
        scan: ScanName::new(get::<String>(row, "folder")?, get::<String>(row, "stem")?)?,
        who: get(row, "who")?,
        reason: get(row, "reason")?,
        placed_at: time(get(row, "placed_at")?)?,
        until: maybe_time(get(row, "until")?)?,
        released_at: maybe_time(get(row, "released_at")?)?,
    })
}

/// When a copy's end was announced, and for when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Announced {
    pub at: Timestamp,
    pub due: Timestamp,
}

impl Db<'_> {
    /// The announcement of a copy.
    pub(crate) fn announcement(&self, id: CopyId) -> Result<Option<Announced>> {
        self.one("SELECT * FROM announcements WHERE copy = ?", [id.0], |row| {
            Ok(Announced { at: time(get(row, "announced_at")?)?, due: time(get(row, "due")?)? })
        })
    }
}
