//! Copies as the database keeps them.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::Row;
use serde::{Deserialize, Serialize};

use crate::files::FileList;
use crate::names::{DatasetId, Level, ScanName};
use crate::path::RelPath;
use crate::store::{Db, get, maybe_time, pack, time, to_ms, unpack};
use crate::{Error, Result};

/// Names a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CopyId(pub i64);

impl fmt::Display for CopyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "copy {}", self.0)
    }
}

/// What has become of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is there, as far as is known.
    Present,
    /// Its last verification failed. It does not count until one succeeds.
    Suspect,
    /// A permit to delete it was minted; parts may be gone. It does not count.
    Deleting,
    /// It was deleted.
    Deleted,
    /// It vanished.
    Lost,
    /// Other results were written in its place.
    Replaced,
}

impl State {
    const ALL: [Self; 6] =
        [Self::Present, Self::Suspect, Self::Deleting, Self::Deleted, Self::Lost, Self::Replaced];

    /// The name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Suspect => "suspect",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
            Self::Lost => "lost",
            Self::Replaced => "replaced",
        }
    }

    /// Whether files of it are expected on the disk.
    pub fn is_there(self) -> bool {
        matches!(self, Self::Present | Self::Suspect | Self::Deleting)
    }
}

impl FromStr for State {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|s| s.name() == text).ok_or_else(|| Error::damaged("state", text))
    }
}

/// A dataset at a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyRecord {
    /// Its name.
    pub id: CopyId,
    /// Of which dataset.
    #[serde(flatten)]
    pub dataset: DatasetId,
    /// At which site.
    pub site: String,
    /// In which of its areas.
    pub area: String,
    /// The folder that the file list is relative to, from the site's root.
    pub base: RelPath,
    /// What has become of it.
    pub state: State,
    /// How well it was verified, if it was.
    pub level: Option<Level>,
    /// When custody was told of it.
    pub registered_at: Timestamp,
    /// When it was first verified as well as policy asks; its age counts from here.
    pub first_verified_at: Option<Timestamp>,
    /// When it was last verified at its level.
    pub verified_at: Option<Timestamp>,
    /// By what: a run, a transfer, a person.
    pub verified_by: Option<String>,
    /// Number of files.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// Equal for copies with the same names and sizes.
    pub shape: String,
    /// Equal for copies with the same digests, where those are known.
    pub content: Option<String>,
    /// The run that made it.
    pub run: Option<String>,
    /// The permit under which it is being, or was, deleted.
    pub permit: Option<String>,
}

impl CopyRecord {
    /// Whether two copies hold the same, as far as is known.
    pub fn is_like(&self, other: &Self) -> bool {
        let differ = matches!((&self.content, &other.content), (Some(a), Some(b)) if a != b);
        self.shape == other.shape && !differ
    }
}

/// The columns that [`copy`] reads; `scans` is joined for the name.
pub(crate) const COPY: &str = "SELECT copies.*, scans.folder, scans.stem FROM copies
    JOIN scans ON scans.id = copies.scan";

/// A row of [`COPY`].
pub(crate) fn copy(row: &Row<'_>) -> Result<CopyRecord> {
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    let scan = ScanName::new(get::<String>(row, "folder")?, get::<String>(row, "stem")?)?;
    Ok(CopyRecord {
        id: CopyId(get(row, "id")?),
        dataset: DatasetId::new(scan, get::<String>(row, "kind")?.parse()?),
        site: get(row, "site")?,
        area: get(row, "area")?,
        base: RelPath::new(get::<String>(row, "base")?)?,
        state: get::<String>(row, "state")?.parse()?,
        level: get::<Option<String>>(row, "level")?.map(|text| text.parse()).transpose()?,
        registered_at: time(get(row, "registered_at")?)?,
        first_verified_at: maybe_time(get(row, "first_verified_at")?)?,
        verified_at: maybe_time(get(row, "verified_at")?)?,
        verified_by: get(row, "verified_by")?,
        files: count(get(row, "files")?),
        bytes: count(get(row, "bytes")?),
        shape: get(row, "shape")?,
        content: get(row, "content")?,
        run: get(row, "run")?,
        permit: get(row, "permit")?,
    })
}

impl Db<'_> {
    /// A copy by its name.
    pub fn copy(&self, id: CopyId) -> Result<CopyRecord> {
        let sql = format!("{COPY} WHERE copies.id = ?");
        self.one(&sql, [id.0], copy)?.ok_or_else(|| Error::Unknown {
            what: id.to_string(),
            hint: "`beamrail custody list` shows what is known",
        })
    }

    /// All copies of a scan, gone ones included.
    pub fn copies_of(&self, scan: i64) -> Result<Vec<CopyRecord>> {
        self.all(&format!("{COPY} WHERE copies.scan = ? ORDER BY copies.id"), [scan], copy)
    }

    /// The number of a scan.
    pub fn scan_id(&self, scan: &ScanName) -> Result<Option<i64>> {
        let sql = "SELECT id FROM scans WHERE folder = ? AND stem = ?";
        self.one(sql, (scan.folder().as_str(), scan.stem()), |row| get(row, "id"))
    }

    /// The files of a copy.
    pub fn list_of(&self, id: CopyId) -> Result<FileList> {
        let sql = "SELECT packed FROM lists JOIN copies ON copies.list = lists.id WHERE copies.id = ?";
        let packed: Option<Vec<u8>> = self.one(sql, [id.0], |row| get(row, "packed"))?;
        let packed = packed.ok_or_else(|| Error::damaged("file list", "missing"))?;
        serde_json::from_slice(&unpack(&packed)?).map_err(|e| Error::damaged("file list", e))
    }

    /// Stores a list once; returns its name.
    pub fn store_list(&self, list: &FileList) -> Result<String> {
        let text = serde_json::to_vec(list).map_err(|e| Error::damaged("file list", e))?;
        let id = blake3::hash(&text).to_hex().to_string();
        self.run("INSERT OR IGNORE INTO lists VALUES (?, ?)", (&id, pack(&text)?))?;
        Ok(id)
    }

    /// The times of a copy's files when it was verified, in the order of its list.
    pub fn mtimes_of(&self, id: CopyId) -> Result<Option<Vec<Option<i64>>>> {
        let sql = "SELECT mtimes FROM copies WHERE id = ?";
        let packed: Option<Option<Vec<u8>>> = self.one(sql, [id.0], |row| get(row, "mtimes"))?;
        let Some(packed) = packed.flatten() else { return Ok(None) };
        serde_json::from_slice(&unpack(&packed)?).map(Some).map_err(|e| Error::damaged("file times", e))
    }

    /// Whether a permit to delete this copy can still be used.
    pub fn has_live_permit(&self, id: CopyId, now: Timestamp) -> Result<bool> {
        let sql = "SELECT 1 AS live FROM permits WHERE copy = ? AND ended_at IS NULL AND expires_at >= ?";
        Ok(self.one(sql, (id.0, to_ms(now)), |row| get::<i64>(row, "live"))?.is_some())
    }

    /// Changes what has become of a copy.
    pub fn set_state(&self, id: CopyId, state: State, at: Timestamp) -> Result<()> {
        let ended = (!state.is_there()).then(|| to_ms(at));
        self.run("UPDATE copies SET state = ?, ended_at = ? WHERE id = ?", (state.name(), ended, id.0))?;
        if !matches!(state, State::Present | State::Deleting) {
            self.run("DELETE FROM announcements WHERE copy = ?", [id.0])?;
        }
        if matches!(state, State::Deleted | State::Replaced) {
            self.run("DELETE FROM claims WHERE copy = ?", [id.0])?;
        }
        Ok(())
    }
}
