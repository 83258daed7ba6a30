//! Files the way every writer here makes them: whole or not at all, with known size and digest.
//!
//! A file is written as `.<name>.part` beside its place and renamed when complete, so a crash leaves at
//! most a `.part` file, which the next attempt overwrites. The data is *not* synced file by file: that
//! would cost more than the writing. A job calls [`sync_filesystem`] or [`sync_files`] once before it
//! commits by its manifest; [`write_atomic`] does sync, and is meant for that one.
//!
//! Large files go past the system's cache (`O_DIRECT`) where the file system allows it.
//!
//! Folders get mode 2775 and files 664 whatever the umask, but only what was created here.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::pages::{PAGE, Pages};

/// Mode of folders: group-writable, new files inherit the group.
const FOLDER_MODE: u32 = 0o2775;
/// Mode of files: group-writable.
const FILE_MODE: u32 = 0o664;
/// From this size on a file's blocks are reserved and it is written past the system's cache.
const DIRECT: usize = 256 << 10;
/// Bytes of one request to the disk.
const REQUEST: usize = 8 << 20;
/// Syncs at once: each waits for the disk, not for a core.
const SYNCS: usize = 4;
/// Bytes that are gathered for one request where the data lies in pieces.
const BOUNCE: usize = 1 << 20;

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
/// The folder must exist. An existing file is replaced. On any error the
/// temporary file is removed and the final name is untouched.
pub fn write_file(root: &Path, relative: &str, pieces: &[&[u8]]) -> Result<FileRecord> {
    let size: usize = pieces.iter().map(|p| p.len()).sum();
    let part = part_name(&root.join(relative));
    place(root, relative, &part, |part| PartFile::create(part, size)?.append(pieces))?;
    Ok(record(relative, pieces))
}

/// The record that a file of `pieces`, one after the other, has under the name `relative`.
pub(crate) fn record(relative: &str, pieces: &[&[u8]]) -> FileRecord {
    let mut hasher = blake3::Hasher::new();
    for piece in pieces {
        hasher.update(piece);
    }
    FileRecord {
        path: relative.to_owned(),
        size: pieces.iter().map(|piece| piece.len() as u64).sum(),
        blake3: hasher.finalize().to_hex().to_string(),
    }
}

/// Writes the first `size` bytes of `pages` as the file `root`/`relative`, like [`write_file`] but straight
/// from memory to the disk. What lies behind `size` up to the page's end is written too, and cut off.
pub(crate) fn write_pages(root: &Path, relative: &str, pages: &[u8], size: usize) -> Result<()> {
    let part = part_name(&root.join(relative));
    place(root, relative, &part, |part| {
        let mut out = PartFile::create(part, size)?;
        let whole = pages.len().min(size.next_multiple_of(PAGE));
        out.write(&pages[..whole])?;
        out.end()
    })
}

/// As [`write_file`], for a small file that several processes may write at once, all with the same content:
/// parts of a job begin with the same metadata. Each has a temporary file of its own.
pub(crate) fn write_shared(root: &Path, relative: &str, bytes: &[u8]) -> Result<FileRecord> {
    let path = root.join(relative);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let part = part_name(&path.with_file_name(format!("{name}.{}", std::process::id())));
    place(root, relative, &part, |part| PartFile::create(part, bytes.len())?.append(&[bytes]))?;
    Ok(FileRecord {
        path: relative.to_owned(),
        size: bytes.len() as u64,
        blake3: blake3::hash(bytes).to_hex().to_string(),
    })
}

/// Removes what processes that were killed in [`write_shared`] left beside `path`.
pub(crate) fn remove_shared_parts(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    let prefix = format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy());
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io("list", folder, e))? {
        let entry = entry.map_err(|e| Error::io("list", folder, e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // The process's number between the file's name and the ending, doubled dots of hidden files aside.
        let middle = name.trim_start_matches('.').strip_prefix(prefix.trim_start_matches('.'));
        let ours =
            middle.and_then(|rest| rest.strip_suffix(".part")).is_some_and(|n| n.parse::<u32>().is_ok());
        if ours && name.starts_with('.') {
            std::fs::remove_file(entry.path()).map_err(|e| Error::io("remove", &entry.path(), e))?;
        }
    }
    Ok(())
}

/// Lets `write` make the temporary file `part` and gives it its name.
fn place(root: &Path, relative: &str, part: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let path = root.join(relative);
    let written = write(part).and_then(|()| {
        std::fs::rename(part, &path).map_err(|e| Error::io("rename the finished file to", &path, e))
    });
    if written.is_err() {
        // The error being reported matters more than a failure to clean up.
        let _ = std::fs::remove_file(part);
    }
    written
}

/// A temporary file that is written from its beginning to its end, past the system's cache where that
/// pays and the file system lets us: a buffered write costs a copy, fresh pages and their eviction, which
/// on a fast disk is many times what the disk takes.
struct PartFile<'a> {
    path: &'a Path,
    file: File,
    direct: bool,
    /// Bytes the file will have, and bytes written.
    size: usize,
    at: u64,
}

impl<'a> PartFile<'a> {
    /// Creates the file and reserves its blocks, so that a full disk shows before the work.
    fn create(path: &'a Path, size: usize) -> Result<Self> {
        let fail = |e| Error::io("write", path, e);
        let open = |direct: bool| {
            // A link under the temporary name (results folders are group-writable) is not followed.
            let mut flags = OFlags::NOFOLLOW;
            flags.set(OFlags::DIRECT, direct);
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .custom_flags(flags.bits() as i32)
                .open(path)
        };
        let mut direct = size >= DIRECT;
        let file = match open(direct) {
            Err(e) if direct && refuses_direct(&e) => {
                direct = false;
                open(false)
            }
            opened => opened,
        }
        .map_err(fail)?;
        set_file_mode(&file, path)?;
        if size >= DIRECT {
            preallocate(&file, size.next_multiple_of(if direct { PAGE } else { 1 }) as u64).map_err(fail)?;
        }
        Ok(Self { path, file, direct, size, at: 0 })
    }

    /// Writes all of `bytes`; directly where address, length and place in the file are whole pages.
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_raw(bytes).map_err(|e| Error::io("write", self.path, e))
    }

    fn write_raw(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let whole = bytes.as_ptr().addr().is_multiple_of(PAGE)
                && bytes.len().is_multiple_of(PAGE)
                && self.at.is_multiple_of(PAGE as u64);
            if self.direct && !whole {
                self.leave_direct()?;
            }
            let piece = &bytes[..bytes.len().min(REQUEST)];
            match self.file.write_at(piece, self.at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    self.at += written as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // Some file systems take the flag and refuse the write.
                Err(e) if self.direct && refuses_direct(&e) => self.leave_direct()?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Goes on through the system's cache.
    fn leave_direct(&mut self) -> io::Result<()> {
        let flags = rustix::fs::fcntl_getfl(&self.file)?;
        rustix::fs::fcntl_setfl(&self.file, flags - OFlags::DIRECT)?;
        self.direct = false;
        Ok(())
    }

    /// Writes pieces of any place and length: large files through a page-aligned buffer.
    fn append(mut self, pieces: &[&[u8]]) -> Result<()> {
        if !self.direct {
            pieces.iter().try_for_each(|piece| self.write(piece))?;
            return self.end();
        }
        let mut pages = Pages::zeroed(BOUNCE.min(self.size));
        let mut filled = 0;
        for piece in pieces {
            let mut piece = *piece;
            while !piece.is_empty() {
                let fits = piece.len().min(pages.len() - filled);
                pages[filled..filled + fits].copy_from_slice(&piece[..fits]);
                (filled, piece) = (filled + fits, &piece[fits..]);
                if filled == pages.len() {
                    self.write(&pages)?;
                    filled = 0;
                }
            }
        }
        self.write(&pages[..filled.next_multiple_of(PAGE)])?;
        self.end()
    }

    /// Cuts off what the last page holds too much.
    fn end(self) -> Result<()> {
        if self.at != self.size as u64 {
            self.file.set_len(self.size as u64).map_err(|e| Error::io("write", self.path, e))?;
        }
        Ok(())
    }
}

/// Whether a file system says that it has no direct I/O.
fn refuses_direct(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(code, Some(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP))
}

/// As [`set_mode`], on an open file.
fn set_file_mode(file: &File, path: &Path) -> Result<()> {
    match file.set_permissions(Permissions::from_mode(FILE_MODE)) {
        Ok(()) => Ok(()),
        Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) => Ok(()),
        Err(e) => Err(Error::io("set the mode of", path, e)),
    }
}

/// Reserves blocks. Only "no room" counts; a file system may not know the call.
fn preallocate(file: &File, size: u64) -> io::Result<()> {
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
    let written = PartFile::create(&part, bytes.len()).and_then(|out| out.append(&[bytes])).and_then(|()| {
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

/// Syncs the given files and their folders, several at a time, and lets the system forget their content:
/// results are larger than memory and nobody reads them at once.
pub fn sync_files<P: AsRef<Path> + Sync>(paths: &[P]) -> Result<()> {
    let sync = |p: &P| {
        let p = p.as_ref();
        let file = File::open(p).map_err(|e| Error::io("open", p, e))?;
        file.sync_data().map_err(|e| Error::io("sync", p, e))?;
        // Of what was written directly nothing is there; a refusal changes nothing.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        Ok(())
    };
    std::thread::scope(|scope| {
        let parts: Vec<_> = paths
            .chunks(paths.len().div_ceil(SYNCS).max(1))
            .map(|part| scope.spawn(move || part.iter().try_for_each(sync)))
            .collect();
        parts.into_iter().try_for_each(|part| {
            part.join().unwrap_or_else(|_| Err(Error::Cancelled { what: "syncing files".into() }))
        })
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

    /// A job killed while it wrote metadata left a file that its manifest did not know.
    #[test]
    fn leftovers_of_killed_processes_are_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for name in [".zattrs", "..zattrs.4711.part", "..zattrs.x.part", "..zgroup.1.part", "zattrs.1.part"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        remove_shared_parts(&dir.path().join(".zattrs")).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["..zattrs.x.part", "..zgroup.1.part", ".zattrs", "zattrs.1.part"]);
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
        for size in [100, 3 * PAGE, 5 * PAGE - 1] {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            let mut out = PartFile { path, file, direct: false, size, at: 0 };
            let error = out.write(&vec![1; size]).unwrap_err();
            assert!(error.is_disk_full(), "{error}");
        }
        let file = OpenOptions::new().write(true).open(path).unwrap();
        let error = PartFile { path, file, direct: false, size: 9, at: 0 }.append(&[&[1; 9]]).unwrap_err();
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

    #[test]
    fn direct_and_buffered_files_are_the_bytes_they_were_made_of() {
        let dir = tempfile::tempdir().unwrap();
        for size in
            [0, 1, DIRECT - 1, DIRECT, DIRECT + 1, BOUNCE, 3 * BOUNCE - 7, REQUEST + PAGE, REQUEST + 5]
        {
            let mut pages = Pages::zeroed(size);
            for (i, byte) in pages.iter_mut().enumerate() {
                *byte = ((i * 31) >> 4) as u8;
            }
            write_pages(dir.path(), "pages", &pages, size).unwrap();
            assert!(std::fs::read(dir.path().join("pages")).unwrap() == pages[..size], "{size}");
            // The same in odd pieces.
            let pieces: Vec<&[u8]> = pages[..size].chunks(100_003).collect();
            let record = write_file(dir.path(), "pieces", &pieces).unwrap();
            assert!(std::fs::read(dir.path().join("pieces")).unwrap() == pages[..size], "{size}");
            assert_eq!(record.blake3, blake3::hash(&pages[..size]).to_hex().to_string());
            // And from memory that direct I/O cannot take.
            let (odd, tail) = (dir.path().join("odd"), &pages[1.min(size)..size]);
            let mut out = PartFile::create(&odd, size.max(DIRECT)).unwrap();
            out.write(tail).unwrap();
            assert!(std::fs::read(&odd).unwrap()[..tail.len()] == *tail, "{size}");
        }
        let left = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 3);
    }
}
