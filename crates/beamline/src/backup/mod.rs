//! Backups of the beamline's records, made while workers work, and their way back.
//!
//! A backup is a folder with a copy of each database and `backup.json`, written last: without it the folder is no
//! backup. Databases are copied one after the other, each as it stood at one moment (SQLite's `VACUUM INTO`): first
//! what was told to Prefect, then the journal, then custody. So a copy never knows of something that a copy before
//! it has still to do: what is told, done or registered a second time is recognised, what was skipped would be lost.

mod restore;
mod take;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

pub use restore::put_back;
pub use take::{take, thin_out};

/// The list of a backup's files.
const LIST: &str = "backup.json";
/// The databases of a state folder, in the order in which they are copied.
const DATABASES: [&str; 3] = ["prefect.db", "runs.db", "custody.db"];
/// What deployments in Prefect were before they were taken over.
const TAKEOVER: &str = "prefect-takeover.json";
/// Notes on submissions to Globus, a small file each.
const NOTES: &str = "globus";

/// What went wrong with a backup.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder.
    #[error("{}: cannot {action}: {source}{}", path.display(), if source.kind() == std::io::ErrorKind::StorageFull { "; make room" } else { "" })]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A database.
    #[error("{}: cannot {action}: {source}", path.display())]
    Database {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// SQLite's answer.
        source: rusqlite::Error,
    },
    /// A copy is not what it should be.
    #[error("{}: {reason}; take another backup", path.display())]
    Damaged {
        /// The copy.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is nothing to copy.
    #[error("{}: there is nothing to back up; the journal and the records are made by the first command that uses them", path.display())]
    Nothing {
        /// The state folder.
        path: PathBuf,
    },
    /// It is another beamline's.
    #[error("{}: this is a backup of beamline {found}, and the configuration is of {wanted}; name the right one", path.display())]
    Foreign {
        /// The backup.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
    },
    /// Somebody works on the records.
    #[error("{}: it is in use; stop the workers, watch and serve of this beamline first (systemctl stop 'beamrail-*')", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
}

type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the same can succeed later without anybody changing anything.
    pub fn retry_helps(&self) -> bool {
        matches!(self, Error::InUse { .. })
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { action, path, source }
    }

    fn database(action: &'static str, path: &Path) -> impl Fn(rusqlite::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Database { action, path: path.clone(), source }
    }
}

/// A backup, as its list describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Of which beamline.
    pub beamline: String,
    /// By which version of beamrail.
    pub version: String,
    /// When its first copy was begun.
    pub taken: Timestamp,
    /// Its files, in the order in which they were copied.
    pub files: Vec<Copy>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// Its path in the backup and in the state folder.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
    /// BLAKE3 of its content, as read back from the disk.
    pub blake3: String,
    /// Rows of each table; empty for what is no database.
    pub rows: BTreeMap<String, u64>,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The backup.
    pub backup: Backup,
    /// Where what was there before is now.
    pub before: Option<PathBuf>,
}

/// Syncs a copy, checks it as a database, and reads all of it.
fn read_back(folder: &Path, name: &str) -> Result<Copy> {
    let path = folder.join(name);
    let file = std::fs::File::open(&path).map_err(Error::io("open", &path))?;
    file.sync_all().map_err(Error::io("sync", &path))?;
    let rows = if name.ends_with(".db") { examine(&path)? } else { BTreeMap::new() };
    let (bytes, blake3) = digest(&path)?;
    Ok(Copy { name: name.to_owned(), bytes, blake3, rows })
}

fn digest(path: &Path) -> Result<(u64, String)> {
    let mut hasher = blake3::Hasher::new();
    let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    hasher.update_reader(file).map_err(Error::io("read", path))?;
    Ok((hasher.count(), hasher.finalize().to_hex().to_string()))
}

/// SQLite's full check of a copy, and how many rows each table has.
fn examine(path: &Path) -> Result<BTreeMap<String, u64>> {
    let look = || -> rusqlite::Result<(Vec<String>, BTreeMap<String, u64>)> {
        // Read-only and immutable: a check leaves no files beside the copy.
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let place = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let connection = Connection::open_with_flags(format!("file:{place}?immutable=1"), flags)?;
        let mut findings: Vec<String> = connection
            .prepare("PRAGMA integrity_check(5)")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        findings.retain(|line| line != "ok");
        let orphans: i64 =
            connection.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))?;
        if orphans > 0 {
            findings.push(format!("{orphans} rows belong to rows that are not there"));
        }
        let tables: Vec<String> = connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let mut rows = BTreeMap::new();
        for table in tables {
            let count: i64 =
                connection.query_row(&format!("SELECT count(*) FROM \"{table}\""), [], |row| row.get(0))?;
            rows.insert(table, u64::try_from(count).unwrap_or(0));
        }
        Ok((findings, rows))
    };
    let (findings, rows) = look().map_err(Error::database("check", path))?;
    if findings.is_empty() {
        return Ok(rows);
    }
    Err(Error::Damaged { path: path.to_path_buf(), reason: findings.join("; ") })
}

fn sync_folder(path: &Path) -> Result<()> {
    std::fs::File::open(path).and_then(|folder| folder.sync_all()).map_err(Error::io("sync", path))
}

/// Reads a backup's list, and every file that it names: sizes, digests, SQLite's check.
///
/// # Errors
/// It is no backup, or not whole.
pub fn verify(folder: &Path) -> Result<Backup> {
    let backup = list(folder)?;
    for copy in &backup.files {
        let path = folder.join(&copy.name);
        let (bytes, blake3) = digest(&path)?;
        if (bytes, &blake3) != (copy.bytes, &copy.blake3) {
            let reason = format!("it has {bytes} bytes with digest {blake3}, not those of the list");
            return Err(Error::Damaged { path, reason });
        }
        if copy.name.ends_with(".db") {
            examine(&path)?;
        }
    }
    Ok(backup)
}

fn list(folder: &Path) -> Result<Backup> {
    let path = folder.join(LIST);
    let text = std::fs::read(&path).map_err(Error::io("read the list of the backup", &path))?;
    let backup: Backup = serde_json::from_slice(&text)
        .map_err(|error| Error::Damaged { path: path.clone(), reason: error.to_string() })?;
    let plain = |name: &str| {
        DATABASES.contains(&name) || name == TAKEOVER || name.strip_prefix("globus/").is_some_and(is_plain)
    };
    match backup.files.iter().find(|copy| !plain(&copy.name)) {
        None => Ok(backup),
        Some(copy) => {
            Err(Error::Damaged { path, reason: format!("it names {:?}, which no backup has", copy.name) })
        }
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\'])
}
