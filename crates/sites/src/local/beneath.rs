//! Opening files below a root without ever leaving it or following a link.
//!
//! The kernel does it where it can (`openat2` with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, Linux 5.6). Where it
//! cannot, the path is walked part by part, each opened with O_NOFOLLOW in the folder opened before.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use custody::RelPath;
use rustix::fs::{self, AtFlags, Mode, OFlags, RenameFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// Mode of folders: group-writable, new files inherit the group.
pub(crate) const FOLDER_MODE: Mode = Mode::from_raw_mode(0o2775);
/// Mode of files: group-writable.
pub(crate) const FILE_MODE: Mode = Mode::from_raw_mode(0o664);

/// An open root. It stays the same folder if the path is moved or another file system is mounted over it.
pub(crate) struct Root {
    fd: OwnedFd,
    path: PathBuf,
    /// Whether the kernel is asked; false in tests of the other way.
    kernel: bool,
}

impl Root {
    /// Opens a root. Links above it and the root itself being one are the administrator's business.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { fd: fs::open(path, flags, Mode::empty())?, path: path.to_owned(), kernel: true })
    }

    /// As [`Root::open`], walking by hand.
    #[cfg(test)]
    pub fn open_walking(path: &Path) -> std::io::Result<Self> {
        Ok(Self { kernel: false, ..Self::open(path)? })
    }

    /// The path for messages.
    pub fn full(&self, path: &RelPath) -> PathBuf {
        if path.is_root() { self.path.clone() } else { self.path.join(path.as_str()) }
    }

    /// Opens what is at `path`.
    pub fn open_at(&self, path: &RelPath, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        match self.open_as_told(path, flags, mode) {
            // Where a folder is asked for, the kernel calls a link in its place "not a directory".
            Err(Errno::NOTDIR) => match self.open_as_told(path, OFlags::PATH, Mode::empty()) {
                Ok(fd) if fs::fstat(&fd).is_ok_and(|stat| kind(&stat).is_symlink()) => Err(Errno::LOOP),
                Err(Errno::LOOP) => Err(Errno::LOOP),
                _ => Err(Errno::NOTDIR),
            },
            other => other,
        }
    }

    fn open_as_told(&self, path: &RelPath, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let name = if path.is_root() { "." } else { path.as_str() };
        if self.kernel {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            loop {
                match fs::openat2(&self.fd, name, flags, mode, resolve) {
                    // Somebody renames folders on the way; the kernel wants to be asked again.
                    Err(Errno::AGAIN) => continue,
                    // An old kernel, or a sandbox that forbids the call.
                    Err(Errno::NOSYS | Errno::PERM) => break,
                    other => return other,
                }
            }
        }
        self.walk(path, flags, mode)
    }

    fn walk(&self, path: &RelPath, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        let Some((folder, name)) = path.split() else {
            return fs::openat(&self.fd, ".", flags, mode);
        };
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut at: Option<OwnedFd> = None;
        for part in folder.parts() {
            let from = at.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
            at = Some(match fs::openat(from, part, step, Mode::empty()) {
                // With O_DIRECTORY the kernel calls a link "not a directory".
                Err(Errno::NOTDIR) if is_link(from, part) => return Err(Errno::LOOP),
                other => other?,
            });
        }
        fs::openat(at.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd), name, flags, mode)
    }

    /// Opens a folder, to work in it.
    pub fn folder(&self, path: &RelPath) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        self.open_at(path, flags, Mode::empty())
            .map_err(|e| Error::io("open the folder", &self.full(path), e))
    }

    /// Opens a regular file for reading.
    pub fn read(&self, path: &RelPath) -> Result<File> {
        // Without O_NONBLOCK, a pipe in the place of a file would hang us.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let full = || self.full(path);
        let fd = self.open_at(path, flags, Mode::empty()).map_err(|e| match e {
            Errno::NXIO => Error::NotAFile { path: full() },
            e => Error::io("open", &full(), e),
        })?;
        let stat = fs::fstat(&fd).map_err(|e| Error::io("stat", &full(), e))?;
        match is_file(&stat) {
            true => Ok(File::from(fd)),
            false => Err(Error::NotAFile { path: full() }),
        }
    }

    /// The folder that holds `path`, and the last part of it.
    pub fn parent<'p>(&self, path: &'p RelPath) -> Result<(OwnedFd, &'p str)> {
        let (folder, name) = path.split().ok_or_else(|| Error::NotAFile { path: self.full(path) })?;
        Ok((self.folder(&folder)?, name))
    }

    /// What is at `path`, a link as itself.
    pub fn stat(&self, path: &RelPath) -> Result<Option<Stat>> {
        if path.is_root() {
            return fs::fstat(&self.fd).map(Some).map_err(|e| Error::io("stat", &self.path, e));
        }
        let (folder, name) = match self.parent(path) {
            Err(Error::Missing { .. }) => return Ok(None),
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotADirectory => {
                return Ok(None);
            }
            other => other?,
        };
        match fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::io("stat", &self.full(path), e)),
        }
    }

    /// Makes a folder and those above it; returns those that were made, topmost first. Only they get the mode.
    pub fn make_folder(&self, path: &RelPath) -> Result<Vec<RelPath>> {
        let mut made = Vec::new();
        let mut at = RelPath::root();
        for part in path.parts() {
            let folder = self.folder(&at)?;
            at = at.join(&RelPath::new(part)?);
            let fail = |action, e| Error::io(action, &self.full(&at), e);
            match fs::mkdirat(&folder, part, FOLDER_MODE) {
                Ok(()) => {
                    let new = self.folder(&at)?;
                    // mkdir obeys the umask and drops the group bit; file systems without modes refuse this.
                    let _ = fs::fchmod(&new, FOLDER_MODE);
                    fs::fsync(&folder).map_err(|e| fail("sync", e))?;
                    made.push(at.clone());
                }
                Err(Errno::EXIST) => {}
                Err(e) => return Err(fail("make the folder", e)),
            }
        }
        self.folder(path)?;
        Ok(made)
    }

    /// Bytes that can be written by us.
    pub fn free_space(&self) -> Result<u64> {
        let folder = self.folder(&RelPath::root())?;
        let told = fs::fstatvfs(&folder).map_err(|e| Error::io("ask for the room of", &self.path, e))?;
        Ok(told.f_bavail.saturating_mul(told.f_frsize))
    }
}

/// Renames without replacing, also where the file system does not know how.
pub(crate) fn rename_new(
    from: BorrowedFd<'_>,
    old: &str,
    to: BorrowedFd<'_>,
    new: &str,
) -> rustix::io::Result<()> {
    match fs::renameat_with(from, old, to, new, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        other => return other,
    }
    match fs::linkat(from, old, to, new, AtFlags::empty()) {
        Ok(()) => fs::unlinkat(from, old, AtFlags::empty()),
        // Folders have no second names: look, then rename. A rename cannot replace a folder with files in it.
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::ISDIR) => {
            match fs::statat(to, new, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(Errno::EXIST),
                Err(Errno::NOENT) => fs::renameat(from, old, to, new),
                Err(e) => Err(e),
            }
        }
        Err(e) => Err(e),
    }
}

fn is_link(folder: BorrowedFd<'_>, name: &str) -> bool {
    fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| kind(&stat).is_symlink())
}

fn kind(stat: &Stat) -> fs::FileType {
    fs::FileType::from_raw_mode(stat.st_mode)
}

/// Whether this is a regular file.
pub(crate) fn is_file(stat: &Stat) -> bool {
    kind(stat).is_file()
}

/// When a file was changed, nanoseconds since 1970.
pub(crate) fn mtime_ns(stat: &Stat) -> i64 {
    stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(i64::try_from(stat.st_mtime_nsec).unwrap_or(0))
}

/// A name of a directory entry, if it is UTF-8.
pub(crate) fn text(name: &std::ffi::CStr) -> std::result::Result<&str, String> {
    use std::os::unix::ffi::OsStrExt;
    name.to_str().map_err(|_| OsStr::from_bytes(name.to_bytes()).to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_way_of_opening_follows_links_or_climbs_out() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/b/c"), "inside").unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("out")).unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("in")).unwrap();
        std::os::unix::fs::symlink("c", dir.path().join("a/b/d")).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(dir.path().join("pipe")).status().unwrap();
        assert!(fifo.success());
        for root in [Root::open(dir.path()).unwrap(), Root::open_walking(dir.path()).unwrap()] {
            let path = |text: &str| RelPath::new(text).unwrap();
            assert!(root.read(&path("a/b/c")).is_ok());
            for link in ["out/secret", "in/b/c", "a/b/d", "out"] {
                let error = root.read(&path(link)).unwrap_err();
                assert!(matches!(error, Error::Link { .. }), "{link}: {error}");
            }
            assert!(matches!(root.read(&path("a/b/x")), Err(Error::Missing { .. })));
            assert!(matches!(root.read(&path("a/b")), Err(Error::NotAFile { .. })));
            assert!(matches!(root.read(&path("pipe")), Err(Error::NotAFile { .. })));
            assert!(matches!(root.make_folder(&path("out/new")), Err(Error::Link { .. })));
            assert!(root.stat(&path("out")).unwrap().is_some());
        }
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    }
}
