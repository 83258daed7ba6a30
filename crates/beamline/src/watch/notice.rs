//! Word from the file system that something changed.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

/// inotify on folders. Where it cannot be had (limits, other systems' file systems), looks come by time alone.
pub struct Notice {
    fd: Option<OwnedFd>,
    watched: BTreeSet<PathBuf>,
    /// Folders that could not be watched because of a limit.
    refused: usize,
}

impl Notice {
    /// On these folders and the experiment folders in them.
    pub fn new(folders: &[PathBuf]) -> Self {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok();
        let mut notice = Self { fd, watched: BTreeSet::new(), refused: 0 };
        for folder in folders {
            notice.add_all(folder);
        }
        notice
    }

    /// How many folders are watched, and how many could not be.
    pub fn counts(&self) -> (usize, usize) {
        (self.watched.len(), self.refused)
    }

    /// Watches a folder and the folders in it.
    fn add_all(&mut self, folder: &Path) {
        self.add(folder);
        let inner = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let folders = inner.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        for entry in folders.collect::<Vec<_>>() {
            self.add(&entry.path());
        }
    }

    fn add(&mut self, folder: &Path) {
        let Some(fd) = &self.fd else { return };
        if self.watched.contains(folder) {
            return;
        }
        let flags = WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::ONLYDIR
            | WatchFlags::DONT_FOLLOW;
        match inotify::add_watch(fd, folder, flags) {
            Ok(_) => drop(self.watched.insert(folder.to_path_buf())),
            Err(_) => self.refused += 1,
        }
    }

    /// Whether something happened since the last call. Does not wait.
    pub fn came(&mut self, folders: &[PathBuf]) -> bool {
        let Some(fd) = &self.fd else { return false };
        let mut buffer = [MaybeUninit::<u8>::uninit(); 16 << 10];
        let mut reader = Reader::new(fd, &mut buffer);
        let (mut came, mut new_folder) = (false, false);
        while let Ok(event) = reader.next() {
            came = true;
            new_folder |= event.events().intersects(ReadFlags::ISDIR | ReadFlags::QUEUE_OVERFLOW);
        }
        if new_folder {
            // A folder of that name may be another one now.
            self.watched.clear();
            for folder in folders {
                self.add_all(folder);
            }
        }
        came
    }
}
