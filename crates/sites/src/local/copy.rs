//! One file, copied so that it can be trusted.
//!
//! The file is written as `.NAME.KEY.part` beside its place, hashed while it is read, synced, read back from the
//! disk and compared, and only then renamed to its name, which never replaces anything. The source is looked at
//! before and after: if it changed, nothing is kept. Beside a large part lies `.NAME.KEY.at.part`, which says how
//! far it is, of which source, and the digest so far; an attempt that finds the same source goes on from there.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use custody::{FileEntry, RelPath};
use rustix::fs::{self, AtFlags, FallocateFlags, FlockOperation, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::beneath::{FILE_MODE, Root, mtime_ns, rename_new};
use super::look::{Segment, hash_file, hash_range, segments, sync_folder};
use super::meter::Meter;
use crate::error::{Error, Result};
use crate::storage::Watch;

/// So many bytes are synced and noted at a time.
const CHECKPOINT: u64 = 256 << 20;
/// From this size on the blocks are reserved first, so that a full disk shows before the work.
const RESERVE: u64 = 16 << 20;

/// Which source a part is of. Equal: provably the same file, unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    mtime_ns: i64,
    ctime: (i64, u64),
}

impl Identity {
    /// The identity of an open file.
    pub fn of(file: &File) -> rustix::io::Result<Self> {
        fs::fstat(file).map(|stat| Self::from(&stat))
    }
}

impl From<&Stat> for Identity {
    fn from(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: mtime_ns(stat),
            ctime: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// How far a part is.
#[derive(Debug, Serialize, Deserialize)]
struct At {
    source: Identity,
    done: u64,
    prefix: String,
}

/// What files are copied with.
pub(crate) struct Copier<'a> {
    pub source: &'a Root,
    pub target: &'a Root,
    /// Names the work across attempts.
    pub key: &'a str,
    pub meter: &'a Meter<'a>,
}

/// The temporary name of `name` in this work.
pub(crate) fn part_name(name: &str, key: &str) -> String {
    format!(".{name}.{key}.part")
}

impl Copier<'_> {
    /// Copies one file to `folder`/`name`; returns its digest. What is there already is compared.
    pub fn copy(&self, from: &RelPath, entry: &FileEntry, folder: &RelPath, name: &str) -> Result<String> {
        let file = self.open_source(from, entry)?;
        let to = folder.join(&RelPath::new(name)?);
        if self.target.stat(&to)?.is_some() {
            let digest = self.compare(&file, from, entry, &to)?;
            self.meter.reused(entry.size);
            return Ok(digest);
        }
        let dir = self.target.folder(folder)?;
        let part = Part::take(self, folder, dir, name)?;
        let result = self.fill(&file, from, entry, &part).and_then(|digest| {
            match rename_new(part.dir.as_fd(), &part.name, part.dir.as_fd(), name) {
                Ok(()) => {
                    part.forget(&[&part.note]);
                    sync_folder(self.target, &part.dir, folder)?;
                }
                // Somebody else was faster; if it is the same, all is well.
                Err(Errno::EXIST) => {
                    part.forget(&[&part.name, &part.note]);
                    self.compare(&file, from, entry, &to)?;
                }
                Err(e) => return Err(Error::io("rename to", &self.target.full(&to), e)),
            }
            Ok(digest)
        });
        if result.as_ref().is_err_and(|error| !error.can_resume()) {
            part.forget(&[&part.name, &part.note]);
        }
        result
    }

    /// Opens a source and checks that it is what the permit names.
    pub fn open_source(&self, from: &RelPath, entry: &FileEntry) -> Result<File> {
        let file = self.source.read(from)?;
        let size = Identity::of(&file).map_err(|e| Error::io("stat", &self.source.full(from), e))?.size;
        if size == entry.size {
            return Ok(file);
        }
        let difference = format!("it has {size} bytes, expected {}", entry.size);
        Err(Error::Source { path: self.source.full(from), difference })
    }

    /// Checks that the digest is the one that is expected, where one is.
    pub fn expect(&self, from: &RelPath, entry: &FileEntry, digest: &str) -> Result<()> {
        match entry.blake3.as_deref() {
            Some(expected) if !expected.eq_ignore_ascii_case(digest) => Err(Error::Source {
                path: self.source.full(from),
                difference: format!("its BLAKE3 is {digest}, expected {expected}"),
            }),
            _ => Ok(()),
        }
    }

    /// Checks that an open source is still what it was, under the same name too.
    pub fn unchanged(&self, file: &File, from: &RelPath, before: &Identity) -> Result<()> {
        let changed = || Error::Changed { path: self.source.full(from) };
        let after = Identity::of(file).map_err(|e| Error::io("stat", &self.source.full(from), e))?;
        let named = self.source.stat(from)?.ok_or_else(changed)?;
        if after == *before && Identity::from(&named) == *before { Ok(()) } else { Err(changed()) }
    }

    /// Compares what is at the destination with the source, byte by byte in effect; returns the digest.
    fn compare(&self, file: &File, from: &RelPath, entry: &FileEntry, to: &RelPath) -> Result<String> {
        let path = || self.target.full(to);
        let differs = |difference: String| Err(Error::Exists { path: path(), difference });
        let found = match self.target.read(to) {
            Err(Error::NotAFile { .. } | Error::Link { .. }) => return differs("it is not a file".into()),
            other => other?,
        };
        let size = found.metadata().map_err(|e| Error::io("stat", &path(), e))?.len();
        if size != entry.size {
            return differs(format!("it has {size} bytes, the source {}", entry.size));
        }
        let watch = self.meter.watch();
        let hash = |file: &File, path: std::path::PathBuf| {
            hash_file(file, watch, &|_| ()).map_err(|e| stopped_or(watch, Error::io("read", &path, e)))
        };
        let theirs = hash(&found, path())?;
        let ours = hash(file, self.source.full(from))?;
        self.expect(from, entry, &ours)?;
        if ours == theirs { Ok(ours) } else { differs("it has another content".into()) }
    }

    /// Fills a part from the source, from where it stands; returns the digest of both.
    fn fill(&self, file: &File, from: &RelPath, entry: &FileEntry, part: &Part<'_>) -> Result<String> {
        let source_path = self.source.full(from);
        let part_path = self.target.full(&part.path);
        let read_error =
            |e: std::io::Error| stopped_or(self.meter.watch(), Error::io("read", &source_path, e));
        let before = Identity::of(file).map_err(|e| Error::io("stat", &source_path, e))?;
        let mut hasher = blake3::Hasher::new();
        let mut done = part.resume(&before, &mut hasher, self.meter.watch())?;
        self.meter.reused(done);
        let cloned = done == 0 && part.clone_from(file);
        if done == 0 && !cloned {
            part.reserve(file, entry.size).map_err(|e| Error::io("write", &part_path, e))?;
        }
        for segment in segments(file, done, entry.size) {
            let segment = segment.map_err(read_error)?;
            while done < segment.end {
                self.meter.check()?;
                let end = segment.end.min(done.saturating_add(CHECKPOINT));
                let stretch = Segment { start: done, end, hole: segment.hole };
                let write_failed = std::cell::Cell::new(false);
                hash_range(file, &stretch, &mut hasher, self.meter.watch(), &mut |at, bytes| {
                    self.meter.copied(bytes.len() as u64);
                    if segment.hole || cloned {
                        return Ok(());
                    }
                    part.file.write_all_at(bytes, at).inspect_err(|_| write_failed.set(true))
                })
                .map_err(|e| match write_failed.get() {
                    true => Error::io("write", &part_path, e),
                    false => read_error(e),
                })?;
                done = end;
                if done < entry.size && !segment.hole {
                    part.checkpoint(&before, done, &hasher)?;
                }
            }
        }
        let digest = hasher.finalize().to_hex().to_string();
        self.unchanged(file, from, &before)?;
        self.expect(from, entry, &digest)?;
        part.finish(entry.size, &before)?;
        let back = hash_file(&part.file, self.meter.watch(), &|_| ())
            .map_err(|e| stopped_or(self.meter.watch(), Error::io("read back", &part_path, e)))?;
        if back == digest { Ok(digest) } else { Err(Error::ReadBack { path: part_path }) }
    }
}

/// The caller's wish to stop comes out of a read as an error of its own.
pub(crate) fn stopped_or(watch: &Watch, error: Error) -> Error {
    if watch.is_stopped() { Error::Cancelled } else { error }
}

/// A file that is being written under its temporary name. The lock says that nobody else writes it.
struct Part<'a> {
    target: &'a Root,
    dir: OwnedFd,
    folder: RelPath,
    path: RelPath,
    name: String,
    note: String,
    file: File,
}

impl<'a> Part<'a> {
    /// Opens and locks the part of `name`.
    fn take(copier: &Copier<'a>, folder: &RelPath, dir: OwnedFd, name: &str) -> Result<Self> {
        let (target, part) = (copier.target, part_name(name, copier.key));
        let path = folder.join(&RelPath::new(part.as_str())?);
        let fail = |action, e| Error::io(action, &target.full(&path), e);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = fs::openat(&dir, part.as_str(), flags, FILE_MODE).map_err(|e| fail("write", e))?;
        match fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(Error::Busy { path: target.full(&path) }),
            // A file system without locks: the temporary name has to do.
            Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) | Ok(()) => {}
            Err(e) => return Err(fail("lock", e)),
        }
        // Whoever held the lock before may have renamed the file meanwhile; then this is its result, not a part.
        let mine = fs::fstat(&fd).map_err(|e| fail("stat", e))?;
        let named = fs::statat(&dir, part.as_str(), AtFlags::SYMLINK_NOFOLLOW);
        if !named.is_ok_and(|named| (named.st_dev, named.st_ino) == (mine.st_dev, mine.st_ino)) {
            return Err(Error::Busy { path: target.full(&path) });
        }
        if !super::beneath::is_file(&mine) || mine.st_nlink != 1 {
            return Err(Error::NotAFile { path: target.full(&path) });
        }
        let note = part_name(name, &format!("{}.at", copier.key));
        Ok(Self { target, dir, folder: folder.clone(), path, name: part, note, file: File::from(fd) })
    }

    /// How many bytes of an earlier attempt stand: the source must be the same, and the bytes on the disk
    /// must have the digest that was noted. Feeds them to the hasher. Else the part is emptied.
    fn resume(&self, source: &Identity, hasher: &mut blake3::Hasher, watch: &Watch) -> Result<u64> {
        if let Some(at) = self.noted().filter(|at| at.source == *source && at.done <= source.size) {
            let mut earlier = blake3::Hasher::new();
            for segment in segments(&self.file, 0, at.done) {
                let full = || self.target.full(&self.path);
                let segment = segment.map_err(|e| Error::io("read", &full(), e))?;
                hash_range(&self.file, &segment, &mut earlier, watch, &mut |_, _| Ok(()))
                    .map_err(|e| stopped_or(watch, Error::io("read", &full(), e)))?;
            }
            if earlier.count() == at.done && earlier.finalize().to_hex().as_str() == at.prefix {
                *hasher = earlier;
                return Ok(at.done);
            }
        }
        self.file.set_len(0).map_err(|e| Error::io("write", &self.target.full(&self.path), e))?;
        Ok(0)
    }

    fn noted(&self) -> Option<At> {
        let path = self.folder.join(&RelPath::new(self.note.as_str()).ok()?);
        let bytes = super::read_small(self.target, &path, 64 << 10).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Lets the file share the source's blocks, where the file system can.
    fn clone_from(&self, source: &File) -> bool {
        fs::ioctl_ficlone(&self.file, source).is_ok()
    }

    /// Reserves the blocks of a large file without holes.
    fn reserve(&self, source: &File, size: u64) -> rustix::io::Result<()> {
        let sparse = segments(source, 0, size).any(|segment| segment.is_ok_and(|segment| segment.hole));
        if size < RESERVE || sparse {
            return Ok(());
        }
        match fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, size) {
            Err(e @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => Err(e),
            _ => Ok(()),
        }
    }

    /// Syncs what there is and notes how far that is.
    fn checkpoint(&self, source: &Identity, done: u64, hasher: &blake3::Hasher) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io("sync", &self.target.full(&self.path), e))?;
        let at = At { source: source.clone(), done, prefix: hasher.finalize().to_hex().to_string() };
        let path = self.folder.join(&RelPath::new(self.note.as_str())?);
        let text = serde_json::to_vec(&at)
            .map_err(|e| Error::io("encode", &self.target.full(&path), std::io::Error::other(e)))?;
        super::write_small(self.target, &path, &text)
    }

    /// Sets size, mode and time, and syncs.
    fn finish(&self, size: u64, source: &Identity) -> Result<()> {
        let fail = |action, e: std::io::Error| Error::io(action, &self.target.full(&self.path), e);
        self.file.set_len(size).map_err(|e| fail("write", e))?;
        adorn(&self.file, source.mtime_ns);
        self.file.sync_all().map_err(|e| fail("sync", e))
    }

    /// Takes temporary names away.
    fn forget(&self, names: &[&String]) {
        for name in names {
            let _ = fs::unlinkat(&self.dir, name.as_str(), AtFlags::empty());
        }
    }
}

/// Mode and time of a finished file. File systems that know neither are left as they are.
pub(crate) fn adorn(file: &File, mtime: i64) {
    let _ = fs::fchmod(file, Mode::from_raw_mode(FILE_MODE.as_raw_mode()));
    let time = Timespec { tv_sec: mtime.div_euclid(1_000_000_000), tv_nsec: mtime.rem_euclid(1_000_000_000) };
    let _ = fs::futimens(file, &Timestamps { last_access: time, last_modification: time });
}
