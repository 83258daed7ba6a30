//! Putting a backup back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};

use super::{DATABASES, Error, Restored, Result, read_back, sync_folder, verify};
use crate::config::Config;

/// Puts a backup back. What is in the state folder is moved into a folder beside it there, not deleted.
///
/// # Errors
/// The backup is not whole or another beamline's; the records are in use.
pub fn put_back(config: &Config, folder: &Path, now: Timestamp) -> Result<Restored> {
    let backup = verify(folder)?;
    if backup.beamline != config.beamline.id {
        let (found, wanted) = (backup.beamline, config.beamline.id.clone());
        return Err(Error::Foreign { path: folder.to_path_buf(), found, wanted });
    }
    let state = &config.state;
    std::fs::create_dir_all(state).map_err(Error::io("make the folder", state))?;
    // Copied beside their places first: what is there stays until all of the backup is there.
    let made = tempfile::Builder::new().prefix(".restoring").tempdir_in(state);
    let made = made.map_err(Error::io("make a folder in", state))?;
    let fresh = made.path();
    for copy in &backup.files {
        let to = fresh.join(&copy.name);
        let within = to.parent().unwrap_or(fresh);
        std::fs::create_dir_all(within).map_err(Error::io("make the folder", within))?;
        std::fs::copy(folder.join(&copy.name), &to).map_err(Error::io("copy", &to))?;
        if read_back(fresh, &copy.name)?.blake3 != copy.blake3 {
            let reason = "it was read back with another digest than it was written with".to_owned();
            return Err(Error::Damaged { path: to, reason });
        }
    }
    let before = move_aside(state, now)?;
    for copy in &backup.files {
        let (from, to) = (fresh.join(&copy.name), state.join(&copy.name));
        // Notes that are there are newer than the backup's.
        if copy.name.ends_with(".db") || !to.exists() {
            let within = to.parent().unwrap_or(state);
            std::fs::create_dir_all(within).map_err(Error::io("make the folder", within))?;
            std::fs::rename(&from, &to).map_err(Error::io("rename into its place", &to))?;
        }
    }
    sync_folder(state)?;
    Ok(Restored { backup, before })
}

/// Moves the databases of a state folder aside, unless somebody has them open.
fn move_aside(state: &Path, now: Timestamp) -> Result<Option<PathBuf>> {
    let there: Vec<PathBuf> =
        DATABASES.iter().map(|name| state.join(name)).filter(|path| path.exists()).collect();
    if there.is_empty() {
        return Ok(None);
    }
    for path in &there {
        if in_use(path) {
            return Err(Error::InUse { path: path.clone() });
        }
    }
    let aside = state.join(format!("before-restore-{}", now.strftime("%Y%m%dT%H%M%SZ")));
    std::fs::create_dir(&aside).map_err(Error::io("make the folder", &aside))?;
    for name in DATABASES {
        for suffix in ["", "-wal", "-shm"] {
            let file = format!("{name}{suffix}");
            match std::fs::rename(state.join(&file), aside.join(&file)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("move aside", &state.join(&file))(error));
                }
                _ => (),
            }
        }
    }
    sync_folder(&aside)?;
    Ok(Some(aside))
}

/// Whether another connection has it open: only the last one may leave the write-ahead log.
fn in_use(path: &Path) -> bool {
    let leave = || -> rusqlite::Result<String> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(Duration::ZERO)?;
        connection.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))
    };
    match leave() {
        Ok(mode) => mode.eq_ignore_ascii_case("wal"),
        Err(error) => matches!(
            error.sqlite_error_code(),
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
        ),
    }
}
