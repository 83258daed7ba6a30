//! Taking backups, and taking old ones away.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};

use super::{Backup, DATABASES, Error, LIST, NOTES, Result, TAKEOVER, list, read_back, sync_folder};
use crate::config::Config;

/// Copies the records of a beamline into a new folder in `target`, named after the time, and reads them back.
///
/// # Errors
/// Nothing to copy, a full disk, a damaged database. What was begun is taken away again.
pub fn take(config: &Config, target: &Path, now: Timestamp) -> Result<(PathBuf, Backup)> {
    let state = &config.state;
    if !config.journal().is_file() && !config.custody_database().is_file() {
        return Err(Error::Nothing { path: state.clone() });
    }
    std::fs::create_dir_all(target).map_err(Error::io("make the folder", target))?;
    let name = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let done = target.join(&name);
    // Takes itself away again unless all is there.
    let partial = tempfile::Builder::new().prefix(&format!(".{name}.")).suffix(".partial").tempdir_in(target);
    let partial = partial.map_err(Error::io("make a folder in", target))?;
    let backup = copy_all(config, partial.path(), now)?;
    std::fs::rename(partial.path(), &done).map_err(Error::io("rename it into its place", &done))?;
    let _ = partial.keep();
    sync_folder(target)?;
    Ok((done, backup))
}

fn copy_all(config: &Config, partial: &Path, now: Timestamp) -> Result<Backup> {
    let mut files = Vec::new();
    for name in DATABASES {
        let (from, to) = (config.state.join(name), partial.join(name));
        if from.is_file() {
            let open = Connection::open_with_flags(&from, OpenFlags::SQLITE_OPEN_READ_WRITE);
            let copied = open.and_then(|connection| {
                connection.busy_timeout(Duration::from_secs(20))?;
                connection.execute("VACUUM INTO ?1", [to.to_string_lossy()])
            });
            copied.map_err(Error::database("copy", &from))?;
            files.push(read_back(partial, name)?);
        }
    }
    let takeover = config.state.join(TAKEOVER).is_file().then(|| TAKEOVER.to_owned());
    for name in takeover.into_iter().chain(notes(&config.state)?) {
        let to = partial.join(&name);
        let folder = to.parent().unwrap_or(partial);
        std::fs::create_dir_all(folder).map_err(Error::io("make the folder", folder))?;
        std::fs::copy(config.state.join(&name), &to).map_err(Error::io("copy", &to))?;
        files.push(read_back(partial, &name)?);
        sync_folder(folder)?;
    }
    let (beamline, version) = (config.beamline.id.clone(), env!("CARGO_PKG_VERSION").to_owned());
    let backup = Backup { beamline, version, taken: now, files };
    let list = partial.join(LIST);
    let text = serde_json::to_vec_pretty(&backup).unwrap_or_default();
    let mut file = std::fs::File::create_new(&list).map_err(Error::io("make", &list))?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(Error::io("write", &list))?;
    sync_folder(partial)?;
    Ok(backup)
}

/// The notes on submissions. Those that come and go meanwhile are of work that the journal finds by other means.
fn notes(state: &Path) -> Result<Vec<String>> {
    let folder = state.join(NOTES);
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("list", &folder))?,
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".json") && !name.starts_with('.'))
        .map(|name| format!("{NOTES}/{name}"))
        .collect();
    names.sort();
    Ok(names)
}

/// Takes the oldest backups of this beamline in `target` away, but for the `keep` newest. Only what a readable list
/// names is deleted. Returns the folders that went.
///
/// # Errors
/// A file cannot be deleted.
pub fn thin_out(config: &Config, target: &Path, keep: usize) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(target).map_err(Error::io("list", target))?;
    let mut all: Vec<(Timestamp, PathBuf, Backup)> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter_map(|path| list(&path).ok().map(|backup| (backup.taken, path, backup)))
        .filter(|(_, _, backup)| backup.beamline == config.beamline.id)
        .collect();
    all.sort_by_key(|(taken, ..)| std::cmp::Reverse(*taken));
    let mut gone = Vec::new();
    for (_, folder, backup) in all.into_iter().skip(keep.max(1)) {
        // The list first: half of a backup is none.
        for name in std::iter::once(LIST).chain(backup.files.iter().map(|copy| copy.name.as_str())) {
            let path = folder.join(name);
            std::fs::remove_file(&path).map_err(Error::io("delete", &path))?;
        }
        // What else somebody put there stays, and its folder with it.
        let _ = std::fs::remove_dir(folder.join(NOTES));
        let _ = std::fs::remove_dir(&folder);
        gone.push(folder);
    }
    Ok(gone)
}
