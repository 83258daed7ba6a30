//! Files the way every writer here makes them: whole or not at all, with known size and digest.
//!
//! A file is written as `.<name>.part` beside its place and renamed when complete, so a crash leaves at
//! most a `.part` file, which the next attempt overwrites. The data is *not* synced file by file: that
//! would cost more than the writing. A job calls [`sync_filesystem`] or [`sync_files`] once before it
//! commits by its manifest; [`write_atomic`] does sync, and is meant for that one.
//!
//! Folders get mode 2775 and files 664 whatever the umask, but only what was created here.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Mode of folders: group-writable, new files inherit the group.
const FOLDER_MODE: u32 = 0o2775;
/// Mode of files: group-writable.
const FILE_MODE: u32 = 0o664;
/// From this size on the file's blocks are reserved first, so that a full disk shows before the work.
const PREALLOCATE: u64 = 16 << 20;

/// A file that was written: its place, size and digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileRecord {
    /// Path relative to the results folder, with `/` separators.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// BLAKE3 of the content, 64 hexadecimal digits.
    pub blake3: String,
}

/// Creates a folder and those above it that are missing; only new ones get their mode set.
pub fn create_folder(path: &Path) -> Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_folder(parent)?;
    }
    match std::fs::create_dir(path) {
        Ok(()) => set_mode(path, FOLDER_MODE),
        // Another thread or process was faster; it sets the mode.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(e) => Err(Error::io("create the folder", path, e)),
    }
}

/// Sets a mode; file systems that know no modes (or refuse) are left as they are.
fn set_mode(path: &Path, mode: u32) -> Result<()> {
    match std::fs::set_permissions(path, Permissions::from_mode(mode)) {
        Ok(()) => Ok(()),
        Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) => Ok(()),
        Err(e) => Err(Error::io("set the mode of", path, e)),
    }
}

/// The temporary name that `path` has while it is written.
fn part_name(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".part");
    path.with_file_name(name)
}

/// Whether a file name is one that an unfinished write leaves behind.
pub fn is_part_name(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".part")
}

/// Writes `pieces` one after the other as the file `root`/`relative` and returns its record.
///
/// The folder must exist. An existing file is replaced. Hashing goes along with writing; nothing is
/// copied. On any error the temporary file is removed and the final name is untouched.
pub fn write_file(root: &Path, relative: &str, pieces: &[&[u8]]) -> Result<FileRecord> {
    let path = root.join(relative);
    let part = part_name(&path);
    let written = write_part(&part, pieces).and_then(|(size, digest)| {
        std::fs::rename(&part, &path).map_err(|e| Error::io("rename the finished file to", &path, e))?;
        Ok(FileRecord { path: relative.to_owned(), size, blake3: digest })
    });
    if written.is_err() {
        // The error being reported matters more than a failure to clean up.
        let _ = std::fs::remove_file(&part);
    }
    written
}

/// Writes the temporary file; returns size and digest.
fn write_part(part: &Path, pieces: &[&[u8]]) -> Result<(u64, String)> {
    let fail = |e| Error::io("write", part, e);
    // A link under the temporary name (results folders are group-writable) is not followed.
    let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(flags)
        .open(part)
        .map_err(fail)?;
    set_file_mode(&file, part)?;
    write_pieces(&mut file, pieces).map_err(fail)
}

/// Writes and hashes in one go; returns size and digest.
fn write_pieces(file: &mut File, pieces: &[&[u8]]) -> io::Result<(u64, String)> {
    let size = pieces.iter().map(|p| p.len() as u64).sum();
    preallocate(file, size)?;
    let mut hasher = blake3::Hasher::new();
    for piece in pieces {
        file.write_all(piece)?;
        hasher.update(piece);
    }
    Ok((size, hasher.finalize().to_hex().to_string()))
}

/// As [`set_mode`], on an open file.
fn set_file_mode(file: &File, path: &Path) -> Result<()> {
    match file.set_permissions(Permissions::from_mode(FILE_MODE)) {
        Ok(()) => Ok(()),
        Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) => Ok(()),
        Err(e) => Err(Error::io("set the mode of", path, e)),
    }
}

/// Reserves blocks for a large file. Only "no room" counts; a file system may not know the call.
fn preallocate(file: &File, size: u64) -> io::Result<()> {
    if size < PREALLOCATE {
        return Ok(());
    }
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, size) {
        Err(e @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)) => Err(e.into()),
        _ => Ok(()),
    }
}

/// Writes a small file so that it survives a power cut: temporary name, sync, rename, sync of the folder.
/// An existing file is replaced.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        create_folder(parent)?;
    }
    let part = part_name(path);
    let written = write_part(&part, &[bytes]).and_then(|_| {
        File::open(&part).and_then(|f| f.sync_all()).map_err(|e| Error::io("sync", &part, e))?;
        std::fs::rename(&part, path).map_err(|e| Error::io("rename the finished file to", path, e))?;
        sync_folder(path)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    written
}

/// Syncs the folder that holds `path`, which makes a rename durable.
fn sync_folder(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| Error::io("sync the folder", folder, e))
}

/// Syncs the given files and their folders, several at a time.
pub fn sync_files<P: AsRef<Path> + Sync>(paths: &[P]) -> Result<()> {
    paths.par_iter().try_for_each(|p| {
        let p = p.as_ref();
        File::open(p).and_then(|f| f.sync_all()).map_err(|e| Error::io("sync", p, e))
    })?;
    let mut folders: Vec<&Path> = paths.iter().filter_map(|p| p.as_ref().parent()).collect();
    folders.sort();
    folders.dedup();
    folders.iter().try_for_each(|f| sync_folder(&f.join("x")))
}

/// Syncs the whole file system that holds `path` (syncfs): one call instead of thousands.
///
/// Errors of writes that the system did in the background are reported here by Linux 5.8 and newer.
pub fn sync_filesystem(path: &Path) -> Result<()> {
    let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
    rustix::fs::syncfs(&file).map_err(|e| Error::io("sync the file system of", path, e.into()))
}

/// Splits an output path into its results folder and its name within it.
pub(crate) fn split_output(path: &Path) -> Result<(PathBuf, String)> {
    let name = path.file_name().and_then(|n| n.to_str()).filter(|n| !n.is_empty());
    let Some(name) = name else {
        return Err(Error::parameter("output", path.display(), "must end in a file name in UTF-8"));
    };
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((parent.to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_record_mode_and_no_leftover() {
        let dir = tempfile::tempdir().unwrap();
        create_folder(&dir.path().join("a/b")).unwrap();
        let record = write_file(dir.path(), "a/b/c", &[b"hello ", b"world"]).unwrap();
        assert_eq!(record.size, 11);
        assert_eq!(record.blake3, blake3::hash(b"hello world").to_hex().to_string());
        let mode = |p: &str| std::fs::metadata(dir.path().join(p)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("a"), mode("a/b"), mode("a/b/c")), (0o2775, 0o2775, 0o664));
        assert_eq!(std::fs::read_dir(dir.path().join("a/b")).unwrap().count(), 1);
    }

    #[test]
    fn a_planted_link_is_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("victim"), "safe").unwrap();
        std::os::unix::fs::symlink("victim", dir.path().join(".x.part")).unwrap();
        assert!(write_file(dir.path(), "x", &[b"new"]).is_err());
        assert_eq!(std::fs::read(dir.path().join("victim")).unwrap(), b"safe");
    }

    #[test]
    fn a_full_disk_is_told_and_leaves_nothing() {
        // /dev/full answers every write with ENOSPC, which stands for a disk that fills up.
        let path = Path::new("/dev/full");
        let mut file = OpenOptions::new().write(true).open(path).unwrap();
        let error = Error::io("write", path, write_pieces(&mut file, &[&[1u8; 100]]).unwrap_err());
        assert!(error.is_disk_full(), "{error}");
        assert!(error.to_string().contains("make room, then resume"), "{error}");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        write_file(dir.path(), "x", &[b"old"]).unwrap();
        // A folder under the temporary name makes the write fail before the rename.
        std::fs::create_dir(dir.path().join(".x.part")).unwrap();
        assert!(write_file(dir.path(), "x", &[b"new"]).is_err());
        assert!(write_atomic(&dir.path().join("x"), b"new").is_err());
        assert_eq!(std::fs::read(dir.path().join("x")).unwrap(), b"old");
    }
}
