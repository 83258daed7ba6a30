//! Copies come and go: registered, adopted, lost, listed.

use jiff::Timestamp;

use crate::files::{FileList, Observation, Reach, SeenKind};
use crate::ledger::{Event, Line};
use crate::names::{DatasetId, Kind, ScanName};
use crate::path::RelPath;
use crate::records::{COPY, CopyId, CopyRecord, State, copy};
use crate::store::{Db, get, to_ms};
use crate::{Custody, Error, FileEntry, Result, Verification};

/// A copy that custody is told of.
#[derive(Debug, Clone)]
pub struct NewCopy {
    /// Of which dataset.
    pub dataset: DatasetId,
    /// At which site.
    pub site: String,
    /// In which of its areas.
    pub area: String,
    /// The folder that the list is relative to, from the site's root (the area's path included).
    pub base: RelPath,
    /// Its files, as they should be.
    pub files: FileList,
    /// The run that made it, or who says so.
    pub by: String,
}

impl Observation {
    /// A list of the regular files that were seen, for data of which there is no manifest.
    pub fn file_list(&self) -> Result<FileList> {
        let Reach::Seen(seen) = &self.reach else {
            return Err(Error::Unreachable { site: self.site.clone(), why: "it did not answer".into() });
        };
        let files = seen.iter().filter(|one| one.kind != SeenKind::Folder).map(|one| match one.kind {
            SeenKind::File => FileEntry::new(one.path.as_str(), one.size, one.blake3.clone()),
            _ => Err(Error::Value {
                name: "file",
                value: one.path.clone(),
                reason: "it is a link or a device; only regular files can be registered".into(),
            }),
        });
        FileList::new(files.collect::<Result<_>>()?)
    }
}

impl Custody {
    /// Registers a copy. It counts only after [`Custody::verify`]. Telling the same again changes nothing
    /// and returns the same copy. Other derived results in the same place replace the old record; another
    /// raw file under the same name is refused.
    pub fn register(&self, new: &NewCopy, now: Timestamp) -> Result<CopyId> {
        self.write("register a copy", now, |db| {
            let settings = db.settings()?.1;
            db.register(&settings, new, Event::Registered)
        })
    }

    /// Registers and verifies in one step what was there before beamrail.
    pub fn adopt(&self, new: &NewCopy, verification: &Verification, now: Timestamp) -> Result<CopyRecord> {
        self.write("adopt a copy", now, |db| {
            let settings = db.settings()?.1;
            let id = db.register(&settings, new, Event::Adopted)?;
            // Unlike in `verify`, a failure takes the registration back with it.
            db.verify(&settings, id, verification, now)?
        })
    }

    /// Notes that a copy vanished: it does not count any more, whatever it was.
    pub fn mark_lost(&self, id: CopyId, why: &str, by: &str, now: Timestamp) -> Result<()> {
        self.write("mark a copy as lost", now, |db| {
            let lost = db.copy(id)?;
            if !lost.state.is_there() {
                return Ok(());
            }
            db.set_state(id, State::Lost, db.latest)?;
            let line = Line {
                dataset: Some(&lost.dataset),
                site: Some(&lost.site),
                path: Some(lost.base.as_str()),
                who: Some(by),
                files: Some(lost.files),
                bytes: Some(lost.bytes),
                text: format!("the copy vanished: {why}"),
                ..Line::default()
            };
            db.ledger(now, Event::Lost, line)
        })
    }

    /// A copy by its name.
    pub fn copy(&self, id: CopyId) -> Result<CopyRecord> {
        self.read("read a copy", |db| db.copy(id))
    }

    /// The files of a copy.
    pub fn files(&self, id: CopyId) -> Result<FileList> {
        self.read("read a file list", |db| db.list_of(id))
    }

    /// All copies of a scan, gone ones included; empty if custody does not know it.
    pub fn copies(&self, scan: &ScanName) -> Result<Vec<CopyRecord>> {
        self.read("list the copies of a scan", |db| match db.scan_id(scan)? {
            Some(id) => db.copies_of(id),
            None => Ok(Vec::new()),
        })
    }

    /// All copies that are expected on disks, by site and folder.
    pub fn present(&self, site: Option<&str>) -> Result<Vec<CopyRecord>> {
        self.read("list copies", |db| {
            let sql = format!(
                "{COPY} WHERE copies.state IN ('present', 'suspect', 'deleting') AND (?1 IS NULL OR site = ?1)
                 ORDER BY site, base, copies.id"
            );
            db.all(&sql, [site], copy)
        })
    }

    /// All scans that custody has seen, newest first.
    pub fn scans(&self, limit: usize) -> Result<Vec<ScanName>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read("list scans", |db| {
            db.all("SELECT folder, stem FROM scans ORDER BY id DESC LIMIT ?", [limit], |row| {
                ScanName::new(get::<String>(row, "folder")?, get::<String>(row, "stem")?)
            })
        })
    }
}

impl Db<'_> {
    /// See [`Custody::register`].
    pub(crate) fn register(&self, settings: &crate::Settings, new: &NewCopy, event: Event) -> Result<CopyId> {
        let area = settings.area(&new.site, &new.area).ok_or_else(|| Error::Unknown {
            what: format!("area {} at {}", new.area, new.site),
            hint: "name an area of the configuration",
        })?;
        if !new.base.is_within(&area.path) {
            let reason = format!("it is outside the area {} ({})", new.area, area.path);
            return Err(Error::Value { name: "folder", value: new.base.to_string(), reason });
        }
        let scan = self.sight(settings, &new.dataset.scan, None, &new.by)?;
        let copies = self.copies_of(scan.id)?;
        let (shape, content) = (new.files.shape(), new.files.content());
        let alike = |one: &CopyRecord| {
            one.shape == shape && (one.content.is_none() || content.is_none() || one.content == content)
        };
        for other in
            copies.iter().filter(|one| one.dataset.kind == Kind::Raw && new.dataset.kind == Kind::Raw)
        {
            let known = other.state == State::Present && other.level >= Some(settings.level);
            if known && !alike(other) {
                return Err(Error::Differs {
                    dataset: new.dataset.to_string(),
                    site: new.site.clone(),
                    difference: format!("names, sizes or digests differ from the copy at {}", other.site),
                });
            }
        }
        let here = |one: &&CopyRecord| {
            one.dataset.kind == new.dataset.kind && one.site == new.site && one.base == new.base
        };
        let standing = |one: &&CopyRecord| !matches!(one.state, State::Deleted | State::Replaced);
        for old in copies.iter().filter(here).filter(standing) {
            if self.has_live_permit(old.id, self.latest)? {
                return Err(Error::Busy {
                    what: format!("{} at {} is being deleted", old.dataset, old.site),
                });
            }
            if alike(old) && old.area == new.area && old.state != State::Deleting {
                if old.state == State::Lost {
                    self.set_state(old.id, State::Suspect, self.latest)?;
                }
                return Ok(old.id);
            }
            self.set_state(old.id, State::Replaced, self.latest)?;
        }
        self.refuse_overlap(new)?;
        let list = self.store_list(&new.files)?;
        let id = self.insert(
            "INSERT INTO copies (scan, kind, site, area, base, state, registered_at, list, files, bytes, shape, content, run)
             VALUES (?, ?, ?, ?, ?, 'present', ?, ?, ?, ?, ?, ?, ?)",
            (
                scan.id,
                new.dataset.kind.name(),
                &new.site,
                &new.area,
                new.base.as_str(),
                to_ms(self.latest),
                list,
                i64::try_from(new.files.count()).unwrap_or(i64::MAX),
                i64::try_from(new.files.bytes()).unwrap_or(i64::MAX),
                shape,
                content,
                &new.by,
            ),
        )?;
        for claim in claims(new)? {
            self.run("INSERT INTO claims VALUES (?, ?, ?)", (&new.site, claim.as_str(), id))?;
        }
        let line = Line {
            dataset: Some(&new.dataset),
            site: Some(&new.site),
            path: Some(new.base.as_str()),
            who: Some(&new.by),
            files: Some(new.files.count()),
            bytes: Some(new.files.bytes()),
            text: format!("copy {id} in area {}", new.area),
            ..Line::default()
        };
        self.ledger(self.latest, event, line)?;
        Ok(CopyId(id))
    }

    /// Two copies may not own the same files: deleting one would delete the other.
    fn refuse_overlap(&self, new: &NewCopy) -> Result<()> {
        for claim in claims(new)? {
            let mut around = vec![claim.clone()];
            while let Some((up, _)) = around.last().and_then(|path| path.split()) {
                if up.is_root() {
                    break;
                }
                around.push(up);
            }
            let names = serde_json::to_string(&around).map_err(|e| Error::damaged("claim", e))?;
            // Everything below the claim sorts between "claim/" and "claim0", the next letter after the slash.
            let (below, beyond) = (format!("{claim}/"), format!("{claim}0"));
            let owner = self.one(
                "SELECT claims.copy, claims.path FROM claims JOIN copies ON copies.id = claims.copy
                 WHERE claims.site = ?1 AND copies.state IN ('present', 'suspect', 'deleting')
                 AND (claims.path IN (SELECT value FROM json_each(?2)) OR (claims.path > ?3 AND claims.path < ?4))",
                (&new.site, names, below, beyond),
                |row| Ok((get::<i64>(row, "copy")?, get::<String>(row, "path")?)),
            )?;
            if let Some((id, path)) = owner {
                let owner = self.copy(CopyId(id))?;
                return Err(Error::Value {
                    name: "folder",
                    value: claim.to_string(),
                    reason: format!("{path} belongs to {} already; use another place", owner.dataset),
                });
            }
        }
        Ok(())
    }
}

/// What a copy owns, from the site's root.
fn claims(new: &NewCopy) -> Result<Vec<RelPath>> {
    new.files.tops().into_iter().map(|top| Ok(new.base.join(&RelPath::new(top)?))).collect()
}
