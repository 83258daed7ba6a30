//! A transfer of many files: each folder of a dataset appears whole.
//!
//! A folder is built as `.TOP.KEY.part` beside its place and renamed when all its files were read back. Beside it
//! grows `.TOP.KEY.done.part`, a line for each file that is finished, with the source's identity; an attempt that
//! finds it takes those files as done if neither side changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use custody::{FileEntry, FileList, RelPath, SeenKind};
use rustix::fs::{self, AtFlags, FlockOperation, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::beneath::{FILE_MODE, rename_new};
use super::copy::{Copier, Identity, adorn, part_name, stopped_or};
use super::look::{hash_file, list, parallel, seen, sync_folder};
use crate::error::{Error, Result};
use crate::storage::ListLimits;

/// Files up to this size are copied many at a time and synced together.
const SMALL: u64 = 8 << 20;
/// So many small files are synced, read back and noted at a time.
const BATCH: usize = 2_000;

/// A file that is finished.
#[derive(Serialize, Deserialize)]
struct Done {
    path: RelPath,
    digest: String,
    source: Identity,
    /// When the copy was last changed, to see whether it still is what was read back.
    mtime_ns: Option<i64>,
}

/// The folder in which a dataset's folder is built.
struct Site {
    base: RelPath,
    folder: RelPath,
    part: String,
    notes: String,
    _lock: OwnedFd,
}

impl Copier<'_> {
    /// Copies the files of `list` from one base to another; returns the list with all digests.
    pub fn copy_all(&self, from: &RelPath, list: &FileList, to: &RelPath) -> Result<FileList> {
        let made = self.target.make_folder(to)?;
        let result = self.copy_tops(from, list, to);
        if result.is_err() {
            // Folders that only this attempt wanted; one that is in use stays.
            for folder in made.iter().rev() {
                if let Ok((parent, name)) = self.target.parent(folder) {
                    let _ = fs::unlinkat(&parent, name, AtFlags::REMOVEDIR);
                }
            }
        }
        result
    }

    fn copy_tops(&self, from: &RelPath, list: &FileList, to: &RelPath) -> Result<FileList> {
        let own = list.own_folders();
        let mut entries = Vec::new();
        for entry in list.entries().iter().filter(|entry| !entry.path.as_str().contains('/')) {
            let digest = self.copy(&from.join(&entry.path), entry, to, entry.path.as_str())?;
            self.meter.file();
            entries.push(FileEntry { blake3: Some(digest), ..entry.clone() });
        }
        for top in own {
            let prefix = RelPath::new(top)?;
            let files: Vec<FileEntry> =
                list.entries().iter().filter(|entry| entry.path.is_within(&prefix)).cloned().collect();
            entries.extend(self.copy_folder(from, &prefix, files, to)?);
        }
        Ok(FileList::new(entries)?)
    }

    /// Copies one folder of a dataset.
    fn copy_folder(
        &self,
        from: &RelPath,
        top: &RelPath,
        files: Vec<FileEntry>,
        to: &RelPath,
    ) -> Result<Vec<FileEntry>> {
        let place = to.join(top);
        if self.target.stat(&place)?.is_some() {
            let same = self.compare_folder(from, top, files, to)?;
            self.forget_notes(to, top);
            return Ok(same);
        }
        let site = self.build_site(to, top)?;
        let result = self.fill_folder(from, top, &files, &site);
        match result {
            Ok(done) => {
                let dir = self.target.folder(&site.base)?;
                match rename_new(dir.as_fd(), &site.part, dir.as_fd(), top.as_str()) {
                    Ok(()) => {}
                    Err(Errno::EXIST | Errno::NOTEMPTY) => {
                        self.clear(&site);
                        return self.compare_folder(from, top, files, to);
                    }
                    Err(e) => return Err(Error::io("rename to", &self.target.full(&place), e)),
                }
                sync_folder(self.target, &dir, &site.base)?;
                let _ = fs::unlinkat(&dir, site.notes.as_str(), AtFlags::empty());
                Ok(done)
            }
            Err(error) => {
                if !error.can_resume() {
                    self.clear(&site);
                }
                Err(error)
            }
        }
    }

    /// Removes the notes of an attempt that was killed after the folder had its name and before they went.
    fn forget_notes(&self, base: &RelPath, top: &RelPath) {
        if let Ok(dir) = self.target.folder(base) {
            let _ = fs::unlinkat(&dir, self.notes_name(top).as_str(), AtFlags::empty());
        }
    }

    fn notes_name(&self, top: &RelPath) -> String {
        part_name(top.as_str(), &format!("{}.done", self.key))
    }

    /// Makes and locks the folder to build in.
    fn build_site(&self, base: &RelPath, top: &RelPath) -> Result<Site> {
        let (part, notes) = (part_name(top.as_str(), self.key), self.notes_name(top));
        let folder = base.join(&RelPath::new(part.as_str())?);
        self.target.make_folder(&folder)?;
        let lock = self.target.folder(&folder)?;
        let busy = || Error::Busy { path: self.target.full(&folder) };
        if let Err(Errno::WOULDBLOCK) = fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            return Err(busy());
        }
        let mine = fs::fstat(&lock).map_err(|e| Error::io("stat", &self.target.full(&folder), e))?;
        let named = self.target.stat(&folder)?.ok_or_else(busy)?;
        if (mine.st_dev, mine.st_ino) != (named.st_dev, named.st_ino) {
            return Err(busy());
        }
        Ok(Site { base: base.clone(), folder, part, notes, _lock: lock })
    }

    /// Copies what is not done yet.
    fn fill_folder(
        &self,
        from: &RelPath,
        top: &RelPath,
        files: &[FileEntry],
        site: &Site,
    ) -> Result<Vec<FileEntry>> {
        let mut notes = self.open_notes(site)?;
        let noted = read_notes(&mut notes);
        let mut folders: BTreeSet<RelPath> = BTreeSet::new();
        for entry in files {
            let inside = entry.path.below(top).unwrap_or_default();
            folders.extend(inside.split().map(|(folder, _)| folder).filter(|folder| !folder.is_root()));
        }
        for folder in &folders {
            self.target.make_folder(&site.folder.join(folder))?;
        }
        let mut digests: BTreeMap<RelPath, String> = BTreeMap::new();
        let mut todo = Vec::new();
        for entry in files {
            match noted.get(&entry.path).filter(|done| self.stands(done, entry, from, top, site)) {
                Some(done) => {
                    self.meter.reused(entry.size);
                    self.meter.file();
                    digests.insert(entry.path.clone(), done.digest.clone());
                }
                None => todo.push(entry),
            }
        }
        let (small, large): (Vec<&FileEntry>, Vec<&FileEntry>) =
            todo.into_iter().partition(|entry| entry.size <= SMALL);
        for batch in small.chunks(BATCH) {
            self.meter.check()?;
            let done = self.copy_batch(from, top, batch, site)?;
            note(&mut notes, &done, || self.target.full(&site.folder))?;
            digests.extend(done.into_iter().map(|done| (done.path, done.digest)));
        }
        for entry in large {
            let source = from.join(&entry.path);
            let file = self.open_source(&source, entry)?;
            let identity =
                Identity::of(&file).map_err(|e| Error::io("stat", &self.source.full(&source), e))?;
            let inside = site.folder.join(&entry.path.below(top).unwrap_or_default());
            let Some((folder, name)) = inside.split() else { continue };
            // What an earlier attempt finished and did not note is compared there.
            let digest = self.copy(&source, entry, &folder, name)?;
            let mtime_ns = self.target.stat(&inside)?.map(|stat| super::beneath::mtime_ns(&stat));
            let done = Done { path: entry.path.clone(), digest: digest.clone(), source: identity, mtime_ns };
            note(&mut notes, &[done], || self.target.full(&site.folder))?;
            self.meter.file();
            digests.insert(entry.path.clone(), digest);
        }
        self.sweep(top, files, site)?;
        fs::syncfs(&site._lock).map_err(|e| Error::io("sync", &self.target.full(&site.folder), e))?;
        Ok(files
            .iter()
            .map(|entry| FileEntry { blake3: digests.get(&entry.path).cloned(), ..entry.clone() })
            .collect())
    }

    /// Whether a file that was noted is still what it was, on both sides.
    fn stands(&self, done: &Done, entry: &FileEntry, from: &RelPath, top: &RelPath, site: &Site) -> bool {
        let source = self.source.stat(&from.join(&entry.path)).ok().flatten();
        let inside = site.folder.join(&entry.path.below(top).unwrap_or_default());
        let copy = self.target.stat(&inside).ok().flatten().map(|stat| seen(String::new(), &stat));
        source.is_some_and(|stat| Identity::from(&stat) == done.source)
            && copy.is_some_and(|copy| copy.size == entry.size && copy.mtime_ns == done.mtime_ns)
            && entry.blake3.as_ref().is_none_or(|expected| expected.eq_ignore_ascii_case(&done.digest))
    }

    /// Copies many small files: write all, sync the file system once, drop the cache, read all back.
    fn copy_batch(
        &self,
        from: &RelPath,
        top: &RelPath,
        batch: &[&FileEntry],
        site: &Site,
    ) -> Result<Vec<Done>> {
        let written: Vec<Done> = parallel(batch, |entry| self.write_one(from, top, entry, site))
            .into_iter()
            .collect::<Result<_>>()?;
        fs::syncfs(&site._lock).map_err(|e| Error::io("sync", &self.target.full(&site.folder), e))?;
        let read = |done: &Done| {
            self.meter.check()?;
            let path = site.folder.join(&done.path.below(top).unwrap_or_default());
            let full = || self.target.full(&path);
            let found = hash_file(&self.target.read(&path)?, self.meter.watch(), &|_| ())
                .map_err(|e| stopped_or(self.meter.watch(), Error::io("read back", &full(), e)))?;
            self.meter.file();
            if found == done.digest { Ok(()) } else { Err(Error::ReadBack { path: full() }) }
        };
        parallel(&written, read).into_iter().collect::<Result<Vec<()>>>()?;
        Ok(written)
    }

    /// Writes one small file into the folder that is being built.
    fn write_one(&self, from: &RelPath, top: &RelPath, entry: &FileEntry, site: &Site) -> Result<Done> {
        self.meter.check()?;
        let source = from.join(&entry.path);
        let fail = |e| Error::io("read", &self.source.full(&source), e);
        let mut file = self.open_source(&source, entry)?;
        let before = Identity::of(&file).map_err(|e| fail(e.into()))?;
        let mut bytes = Vec::with_capacity(usize::try_from(entry.size).unwrap_or(0));
        (&mut file).take(entry.size.saturating_add(1)).read_to_end(&mut bytes).map_err(fail)?;
        self.unchanged(&file, &source, &before)?;
        if bytes.len() as u64 != entry.size {
            return Err(Error::Changed { path: self.source.full(&source) });
        }
        let digest = blake3::hash(&bytes).to_hex().to_string();
        self.expect(&source, entry, &digest)?;
        let inside = site.folder.join(&entry.path.below(top).unwrap_or_default());
        let full = || self.target.full(&inside);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let fd =
            self.target.open_at(&inside, flags, FILE_MODE).map_err(|e| Error::io("write", &full(), e))?;
        let mut copy = File::from(fd);
        copy.write_all(&bytes).map_err(|e| Error::io("write", &full(), e))?;
        let mtime =
            fs::fstat(&file).map(|stat| super::beneath::mtime_ns(&stat)).map_err(|e| fail(e.into()))?;
        adorn(&copy, mtime);
        let mtime_ns = fs::fstat(&copy).ok().map(|stat| super::beneath::mtime_ns(&stat));
        self.meter.copied(entry.size);
        Ok(Done { path: entry.path.clone(), digest, source: before, mtime_ns })
    }

    /// Takes away what an earlier attempt left in our folder and does not belong to the dataset.
    fn sweep(&self, top: &RelPath, files: &[FileEntry], site: &Site) -> Result<()> {
        let wanted: BTreeSet<RelPath> = files.iter().filter_map(|entry| entry.path.below(top)).collect();
        for one in list(self.target, &site.folder, "", ListLimits::default())? {
            let path = RelPath::new(one.path.as_str())?;
            if one.kind != SeenKind::Folder && !wanted.contains(&path) {
                self.unlink(&site.folder.join(&path), AtFlags::empty());
            }
        }
        Ok(())
    }

    /// Removes the folder that was being built: nothing half-made stays behind.
    fn clear(&self, site: &Site) {
        if let Ok(all) = list(self.target, &site.folder, "", ListLimits::default()) {
            // Sorted backwards, what is in a folder comes before it.
            for one in all.iter().rev() {
                if let Ok(path) = RelPath::new(one.path.as_str()) {
                    let folder = one.kind == SeenKind::Folder;
                    let flags = if folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
                    self.unlink(&site.folder.join(&path), flags);
                }
            }
        }
        self.unlink(&site.folder, AtFlags::REMOVEDIR);
        if let Ok(notes) = RelPath::new(site.notes.as_str()) {
            self.unlink(&site.base.join(&notes), AtFlags::empty());
        }
    }

    fn unlink(&self, path: &RelPath, flags: AtFlags) {
        if let Ok((folder, name)) = self.target.parent(path) {
            let _ = fs::unlinkat(&folder, name, flags);
        }
    }

    /// A folder that is there already must be the same, file by file, with nothing besides.
    fn compare_folder(
        &self,
        from: &RelPath,
        top: &RelPath,
        files: Vec<FileEntry>,
        to: &RelPath,
    ) -> Result<Vec<FileEntry>> {
        let place = to.join(top);
        let exists = |path: &RelPath, difference: &str| Error::Exists {
            path: self.target.full(path),
            difference: difference.into(),
        };
        let stat = self.target.stat(&place)?.map(|stat| seen(String::new(), &stat));
        if stat.is_none_or(|stat| stat.kind != SeenKind::Folder) {
            return Err(exists(&place, "it is not a folder"));
        }
        let known: BTreeSet<&str> = files.iter().map(|entry| entry.path.as_str()).collect();
        let all = list(self.target, &place, top.as_str(), ListLimits::default())?;
        if let Some(extra) =
            all.iter().find(|one| one.kind != SeenKind::Folder && !known.contains(one.path.as_str()))
        {
            return Err(exists(&place, &format!("it holds {} besides", extra.path)));
        }
        let there: BTreeSet<&str> = all.iter().map(|one| one.path.as_str()).collect();
        if let Some(missing) = files.iter().find(|entry| !there.contains(entry.path.as_str())) {
            return Err(exists(&place, &format!("it lacks {}", missing.path)));
        }
        let same = |entry: &FileEntry| {
            self.meter.check()?;
            let path = to.join(&entry.path);
            let Some((folder, name)) = path.split() else { return Ok(entry.clone()) };
            let digest = self.copy(&from.join(&entry.path), entry, &folder, name)?;
            self.meter.file();
            Ok(FileEntry { blake3: Some(digest), ..entry.clone() })
        };
        parallel(&files, same).into_iter().collect()
    }

    /// Opens the notes of the folder that is being built.
    fn open_notes(&self, site: &Site) -> Result<File> {
        let path = site.base.join(&RelPath::new(site.notes.as_str())?);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::NONBLOCK;
        let fd = self.target.open_at(&path, flags, FILE_MODE);
        fd.map(File::from).map_err(|e| Error::io("write", &self.target.full(&path), e))
    }
}

/// The files that were noted. A line that was cut off by a crash ends the reading.
fn read_notes(notes: &mut File) -> BTreeMap<RelPath, Done> {
    let mut text = String::new();
    if notes.read_to_string(&mut text).is_err() {
        return BTreeMap::new();
    }
    let lines = text.lines().map_while(|line| serde_json::from_str::<Done>(line).ok());
    lines.map(|done| (done.path.clone(), done)).collect()
}

/// Notes files as finished; they were synced and read back.
fn note(notes: &mut File, done: &[Done], path: impl Fn() -> std::path::PathBuf) -> Result<()> {
    let mut text = Vec::new();
    for one in done {
        serde_json::to_writer(&mut text, one)
            .map_err(|e| Error::io("note the progress of", &path(), std::io::Error::other(e)))?;
        text.push(b'\n');
    }
    notes
        .write_all(&text)
        .and_then(|()| notes.sync_data())
        .map_err(|e| Error::io("note the progress of", &path(), e))
}
