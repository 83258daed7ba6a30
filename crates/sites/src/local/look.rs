//! Looking: stat, recursive listings, observations for custody, digests.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use custody::{FileList, Observation, Reach, RelPath, Seen, SeenKind};
use jiff::Timestamp;
use rustix::fs::{self, Advice, AtFlags, Dir, FileType, Stat};

use super::beneath::{Root, mtime_ns, text};
use crate::error::{Error, Result};
use crate::storage::{Digests, ListLimits, Watch};

/// How many threads read small files; most of the time they wait.
pub(crate) const THREADS: usize = 8;
/// Bytes in a buffer for reading.
pub(crate) const BUFFER: usize = 1 << 20;

/// What a `stat` says, in custody's words.
pub(crate) fn seen(path: String, stat: &Stat) -> Seen {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => SeenKind::File,
        FileType::Directory => SeenKind::Folder,
        FileType::Symlink => SeenKind::Link,
        _ => SeenKind::Other,
    };
    Seen {
        path,
        kind,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime_ns: Some(mtime_ns(stat)),
        blake3: None,
        identity: Some(format!("{}:{}", stat.st_dev, stat.st_ino)),
    }
}

/// Everything below `folder`; paths begin with `prefix`. Sorted.
pub(crate) fn list(root: &Root, folder: &RelPath, prefix: &str, limits: ListLimits) -> Result<Vec<Seen>> {
    let mut found = Vec::new();
    let mut stack = vec![(folder.clone(), prefix.to_owned(), 0)];
    while let Some((folder, prefix, depth)) = stack.pop() {
        // Opened by path, one at a time: a wide tree would use up the open files.
        let fd = root.folder(&folder)?;
        let fail = |e| Error::io("list", &root.full(&folder), e);
        for entry in Dir::read_from(&fd).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            if found.len() >= limits.entries {
                let (path, limit) = (root.full(&folder), limits.entries);
                return Err(Error::TooMany { path, limit, what: "entries" });
            }
            let join =
                |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            let name = match text(entry.file_name()) {
                Ok(name) => name,
                Err(lossy) => {
                    let path = join(&lossy);
                    found.push(Seen { kind: SeenKind::Other, ..Seen::file(path, 0) });
                    continue;
                }
            };
            let stat = match fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // It went while we looked.
                Err(rustix::io::Errno::NOENT) => continue,
                Err(e) => return Err(fail(e)),
            };
            let one = seen(join(name), &stat);
            if one.kind == SeenKind::Folder {
                if depth + 1 >= limits.depth {
                    let (path, limit) = (root.full(&folder), limits.depth);
                    return Err(Error::TooMany { path, limit, what: "levels of folders" });
                }
                stack.push((folder.join(&RelPath::new(name)?), one.path.clone(), depth + 1));
            }
            found.push(one);
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// An observation of a copy; see [`crate::Storage::observe`].
pub(crate) fn observe(
    site: &str,
    root: Result<Root>,
    base: &RelPath,
    files: &FileList,
    digests: &Digests,
    now: Timestamp,
) -> Observation {
    let reach = match root.and_then(|root| look(&root, base, files, digests)) {
        Ok(seen) => Reach::Seen(seen),
        Err(error) => Reach::Unreachable(error.to_string()),
    };
    Observation { site: site.to_owned(), base: base.clone(), observed_at: now, reach }
}

fn look(root: &Root, base: &RelPath, files: &FileList, digests: &Digests) -> Result<Vec<Seen>> {
    let mut found = Vec::new();
    for top in files.tops() {
        let path = base.join(&RelPath::new(top)?);
        let Some(stat) = root.stat(&path)? else { continue };
        let one = seen(top.to_owned(), &stat);
        if one.kind == SeenKind::Folder {
            found.extend(list(root, &path, top, ListLimits::default())?);
        }
        found.push(one);
    }
    let wanted = |path: &str| match digests {
        Digests::None => false,
        Digests::Of(paths) => paths.iter().any(|p| p.as_str() == path),
        Digests::All => files.find(path).is_some(),
    };
    let read: Vec<(usize, RelPath)> = found
        .iter()
        .enumerate()
        .filter(|(_, one)| one.kind == SeenKind::File && wanted(&one.path))
        .filter_map(|(at, one)| Some((at, base.join(&RelPath::new(one.path.as_str()).ok()?))))
        .collect();
    let results = parallel(&read, |(at, path)| {
        // A file that cannot be read has no digest, and custody draws its conclusion.
        let file = root.read(path).ok()?;
        let hash = hash_file(&file, &Watch::default(), &|_| ()).ok()?;
        let stat = fs::fstat(&file).ok()?;
        Some((*at, hash, stat))
    });
    for (at, hash, stat) in results.into_iter().flatten() {
        if let Some(one) = found.get_mut(at) {
            // As it is after reading: if it changed meanwhile, its time or its place tells.
            *one = Seen { blake3: Some(hash), ..seen(one.path.clone(), &stat) };
        }
    }
    Ok(found)
}

/// BLAKE3 of an open file, from the disk where the system lets go of its cache. Holes are not read.
pub(crate) fn hash_file(file: &File, watch: &Watch, done: &dyn Fn(u64)) -> std::io::Result<String> {
    let size = file.metadata()?.len();
    // Advice only: what is dirty or mapped stays cached.
    let _ = fs::fadvise(file, 0, None, Advice::DontNeed);
    let _ = fs::fadvise(file, 0, None, Advice::Sequential);
    let mut hasher = blake3::Hasher::new();
    for segment in segments(file, 0, size) {
        hash_range(file, &segment?, &mut hasher, watch, &mut |_, bytes| {
            done(bytes.len() as u64);
            Ok(())
        })?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// A stretch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub start: u64,
    pub end: u64,
    /// Whether it is a hole, which reads as zeros.
    pub hole: bool,
}

/// The data and the holes of a file from `start` to `end`, in order. Where the file system tells nothing, it is
/// all data.
pub(crate) fn segments(
    file: &File,
    start: u64,
    end: u64,
) -> impl Iterator<Item = std::io::Result<Segment>> + use<'_> {
    let mut at = start;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let data = match fs::seek(file, fs::SeekFrom::Data(at)) {
            Ok(data) => data.clamp(at, end),
            Err(rustix::io::Errno::NXIO) => end,
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => at,
            Err(e) => {
                at = end;
                return Some(Err(e.into()));
            }
        };
        let segment = if data > at {
            Segment { start: at, end: data, hole: true }
        } else {
            let hole = fs::seek(file, fs::SeekFrom::Hole(at)).unwrap_or(end);
            Segment { start: at, end: if hole > at { hole.min(end) } else { end }, hole: false }
        };
        at = segment.end;
        Some(Ok(segment))
    })
}

/// Hashes a stretch, handing each piece (offset, bytes) to `each`. Ends early, without an error, at the end of
/// the file: whoever cares compares the length.
pub(crate) fn hash_range(
    file: &File,
    segment: &Segment,
    hasher: &mut blake3::Hasher,
    watch: &Watch,
    each: &mut dyn FnMut(u64, &[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut buffer = vec![0u8; BUFFER.min(usize::try_from(segment.end - segment.start).unwrap_or(BUFFER))];
    let mut at = segment.start;
    while at < segment.end {
        if watch.is_stopped() {
            return Err(std::io::Error::other(Error::Cancelled));
        }
        let want = buffer.len().min(usize::try_from(segment.end - at).unwrap_or(usize::MAX));
        let Some(piece) = buffer.get_mut(..want) else { break };
        let n = if segment.hole { want } else { file.read_at(piece, at)? };
        if n == 0 {
            break;
        }
        let piece = piece.get(..n).unwrap_or_default();
        hasher.update(piece);
        each(at, piece)?;
        at += n as u64;
    }
    Ok(())
}

/// Does `work` on each item, on several threads; the results are in order.
pub(crate) fn parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { break };
                    let result = work(item);
                    results.lock().unwrap_or_else(PoisonError::into_inner).insert(at, result);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

/// Syncs a folder, so that names survive a power cut.
pub(crate) fn sync_folder(root: &Root, folder: &OwnedFd, path: &RelPath) -> Result<()> {
    match fs::fsync(folder.as_fd()) {
        // Some network file systems have no such thing.
        Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
        Err(e) => Err(Error::io("sync the folder", &root.full(path), e)),
    }
}
