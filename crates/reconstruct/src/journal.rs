//! The work folder of an unfinished job: a lock, the plan, and one append-only journal per part.
//! A slab of slices counts as done when its line is in a journal, and its line is written only
//! after every file it names has been synced. A line torn by a crash is cut off on opening.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use volume::{FileRecord, Histogram};

use crate::report::Quality;
use crate::{Error, Result};

/// What is known about one finished slab of slices.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SlabRecord {
    /// Slab index: slices 32·slab to 32·slab + 31 of the volume.
    pub slab: usize,
    /// Every file written with it: TIFFs, chunks of level 0, and of lower levels that became complete.
    pub files: Vec<FileRecord>,
    /// Sampled distribution of the stored values inside the field of view.
    pub histogram: Histogram,
    /// Counts of odd pixels met on the way.
    pub quality: Quality,
}

/// The work folder, locked.
#[derive(Debug)]
pub struct WorkFolder {
    path: PathBuf,
    _lock: File,
}

impl WorkFolder {
    /// Creates (or reuses) the folder and takes its lock: `exclusive` for a whole job, a plan or a finish,
    /// shared for a part that runs beside other parts.
    pub fn open(path: &Path, exclusive: bool) -> Result<Self> {
        volume::fs::create_folder(path)?;
        let file_path = path.join("lock");
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&file_path)
            .map_err(|source| Error::io("cannot open", &file_path, source))?;
        let wanted = if exclusive {
            FlockOperation::NonBlockingLockExclusive
        } else {
            FlockOperation::NonBlockingLockShared
        };
        match flock(&lock, wanted) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = lock.read_to_string(&mut holder);
                return Err(Error::Busy { path: file_path, holder: holder.trim().to_owned() });
            }
            // Some network file systems have no flock; the journal still keeps the results right.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::NOLCK) => {}
            Err(error) => return Err(Error::io("cannot lock", &file_path, error.into())),
        }
        let holder = format!("{} process {}", crate::report::host_name(), std::process::id());
        let _ = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| lock.write_all(holder.as_bytes()));
        Ok(Self { path: path.to_path_buf(), _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the plan is.
    pub fn plan_path(&self) -> PathBuf {
        self.path.join("plan.json")
    }

    /// Where the picture of the centre's candidates is kept for the final preview.
    pub fn picture_path(&self) -> PathBuf {
        self.path.join("center.json")
    }

    /// A scratch file for projections, `purpose` in its name.
    pub fn spool_path(&self, purpose: &str) -> PathBuf {
        self.path.join(format!("spool-{purpose}-{}.raw", std::process::id()))
    }

    /// Every slab that any journal of this folder holds, the last record of each.
    pub fn records(&self) -> Result<Vec<SlabRecord>> {
        let mut all = std::collections::BTreeMap::new();
        for path in self.journals()? {
            for record in read_journal(&path)?.0 {
                all.insert(record.slab, record);
            }
        }
        Ok(all.into_values().collect())
    }

    fn journals(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let entries =
            std::fs::read_dir(&self.path).map_err(|source| Error::io("cannot list", &self.path, source))?;
        for entry in entries {
            let path = entry.map_err(|source| Error::io("cannot list", &self.path, source))?.path();
            if path.extension().is_some_and(|ending| ending == "jsonl") {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Removes the folder after the commit: only the files that jobs put there, then the folder itself.
    pub fn remove(self) -> Result<()> {
        for entry in
            std::fs::read_dir(&self.path).map_err(|source| Error::io("cannot list", &self.path, source))?
        {
            let path = entry.map_err(|source| Error::io("cannot list", &self.path, source))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let ours = matches!(name, "lock" | "plan.json" | "center.json")
                || (name.starts_with("part-") && name.ends_with(".jsonl"))
                || (name.starts_with("spool-") && name.ends_with(".raw"))
                || volume::fs::is_part_name(name);
            if ours {
                std::fs::remove_file(&path).map_err(|source| Error::io("cannot remove", &path, source))?;
            }
        }
        // Left standing if somebody keeps other files there.
        let _ = std::fs::remove_dir(&self.path);
        Ok(())
    }
}

/// The journal that one part appends to.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens the journal of part `index` of `of` for appending, after cutting off a torn last line.
    pub fn open(work: &WorkFolder, index: usize, of: usize) -> Result<Self> {
        let path = work.path().join(format!("part-{index}-of-{of}.jsonl"));
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|source| Error::io("cannot open", &path, source))?;
        if let Err(rustix::io::Errno::WOULDBLOCK) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            return Err(Error::Busy { path, holder: format!("part {index}/{of}") });
        }
        let (_, valid) = read_journal(&path)?;
        file.set_len(valid)
            .and_then(|()| file.seek(SeekFrom::End(0)))
            .map_err(|source| Error::io("cannot repair", &path, source))?;
        Ok(Self { path, file })
    }

    /// Appends one record and syncs it. The files it names must be on disk already.
    pub fn append(&mut self, record: &SlabRecord) -> Result<()> {
        let mut line = serde_json::to_vec(record)
            .map_err(|error| Error::io("cannot encode", &self.path, error.into()))?;
        line.push(b'\n');
        self.file
            .write_all(&line)
            .and_then(|()| self.file.sync_data())
            .map_err(|source| Error::io("cannot append to", &self.path, source))
    }
}

/// Reads the complete lines of a journal and how many bytes they take.
fn read_journal(path: &Path) -> Result<(Vec<SlabRecord>, u64)> {
    let file = File::open(path).map_err(|source| Error::io("cannot open", path, source))?;
    let mut reader = BufReader::new(file);
    let (mut records, mut valid, mut line) = (Vec::new(), 0u64, Vec::new());
    loop {
        line.clear();
        let read =
            reader.read_until(b'\n', &mut line).map_err(|source| Error::io("cannot read", path, source))?;
        if read == 0 || line.last() != Some(&b'\n') {
            return Ok((records, valid));
        }
        // A line that does not parse was torn by a crash; whatever follows was never acknowledged.
        let Ok(record) = serde_json::from_slice(&line) else { return Ok((records, valid)) };
        records.push(record);
        valid += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(slab: usize) -> SlabRecord {
        SlabRecord {
            slab,
            files: vec![FileRecord { path: format!("a/{slab}"), size: 7, blake3: "00".into() }],
            histogram: Histogram::default(),
            quality: Quality::default(),
        }
    }

    #[test]
    fn a_torn_line_is_cut_off_and_the_rest_kept() {
        let folder = tempfile::tempdir().unwrap();
        let work = WorkFolder::open(&folder.path().join("w"), true).unwrap();
        let mut journal = Journal::open(&work, 1, 1).unwrap();
        journal.append(&record(0)).unwrap();
        journal.append(&record(1)).unwrap();
        drop(journal);
        let path = work.path().join("part-1-of-1.jsonl");
        let whole = std::fs::read(&path).unwrap();
        let first = whole.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        for cut in first..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut journal = Journal::open(&work, 1, 1).unwrap();
            assert_eq!(work.records().unwrap().len(), 1, "cut at {cut}");
            journal.append(&record(5)).unwrap();
            let slabs: Vec<_> = work.records().unwrap().iter().map(|record| record.slab).collect();
            assert_eq!(slabs, [0, 5]);
        }
    }

    #[test]
    fn two_jobs_do_not_share_a_folder_but_parts_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w");
        let whole = WorkFolder::open(&path, true).unwrap();
        assert!(matches!(WorkFolder::open(&path, true), Err(Error::Busy { .. })));
        assert!(matches!(WorkFolder::open(&path, false), Err(Error::Busy { .. })));
        drop(whole);
        let _first = WorkFolder::open(&path, false).unwrap();
        let second = WorkFolder::open(&path, false).unwrap();
        let journal = Journal::open(&second, 1, 2).unwrap();
        assert!(matches!(Journal::open(&second, 1, 2), Err(Error::Busy { .. })));
        drop(journal);
        second.remove().unwrap();
    }
}
