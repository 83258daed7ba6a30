//! What every place that stores bytes can do, wherever it is.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use custody::{DeletePermit, DeleteReceipt, FileList, Level, Observation, RelPath, Seen, TransferPermit};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A site's storage. Paths are relative to its root, never lead out of it, and no link is followed.
///
/// Bytes leave a site only by [`Storage::transfer`], which takes custody's permit, and files are deleted only
/// by [`Storage::delete`], which takes custody's other permit.
#[async_trait]
pub trait Storage: Send + Sync {
    /// The site's name, as custody knows it.
    fn site(&self) -> &str;

    /// Where the bytes are, for whoever has to move them there.
    fn place(&self) -> Place;

    /// One file, folder or link; `None` if there is nothing.
    async fn stat(&self, path: &RelPath) -> Result<Option<Seen>>;

    /// Everything below a folder, paths relative to it, sorted. More than the limits allow is an error, as
    /// a listing that was cut short would tell of files that vanished.
    async fn list(&self, folder: &RelPath, limits: ListLimits) -> Result<Vec<Seen>>;

    /// A small file; a larger one than `at_most` bytes is an error.
    async fn read_small(&self, path: &RelPath, at_most: u64) -> Result<Vec<u8>>;

    /// Writes a small file whole or not at all, in the place of an older one.
    async fn write_small(&self, path: &RelPath, bytes: &[u8]) -> Result<()>;

    /// Makes a folder and those above it.
    async fn make_folder(&self, path: &RelPath) -> Result<()>;

    /// Renames within the site. An existing destination is an error.
    async fn rename(&self, from: &RelPath, to: &RelPath) -> Result<()>;

    /// BLAKE3 of a file, read from the disk.
    async fn digest(&self, path: &RelPath, watch: &Watch) -> Result<String>;

    /// Bytes that can be written; `None` where the site does not tell.
    async fn free_space(&self) -> Result<Option<u64>>;

    /// Looks at a copy, for custody: its files, and all that is in its own folders. A site that does not
    /// answer is an answer too, so this does not fail; a file that cannot be read has no digest.
    async fn observe(
        &self,
        base: &RelPath,
        files: &FileList,
        digests: Digests,
        now: Timestamp,
    ) -> Observation;

    /// Copies exactly the permit's files to another site and verifies them there. `key` names the work
    /// across attempts: the same key goes on where an attempt broke off.
    async fn transfer(
        &self,
        permit: TransferPermit,
        target: &dyn Storage,
        key: &str,
        watch: &Watch,
        now: Timestamp,
    ) -> Result<Transferred>;

    /// Deletes exactly the permit's files, if they look as they did when it was minted, and then the folders
    /// that are empty. Files that stay are in the receipt, which custody wants.
    async fn delete(&self, permit: DeletePermit, now: Timestamp) -> Result<DeleteReceipt>;

    /// This storage as a folder that this process sees, if it is one; a transfer between two such is a copy.
    fn as_local(&self) -> Option<&crate::LocalStorage> {
        None
    }
}

/// Where a storage's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// A folder that this process sees.
    Folder(PathBuf),
    /// A folder of a Globus collection.
    Collection {
        /// Its id.
        id: String,
        /// The site's root in it.
        root: String,
        /// Whether its data needs a consent of its own.
        data_access: bool,
    },
}

/// How much a listing may hold.
#[derive(Debug, Clone, Copy)]
pub struct ListLimits {
    /// Files, folders and links together.
    pub entries: usize,
    /// Folders in folders.
    pub depth: usize,
}

impl Default for ListLimits {
    fn default() -> Self {
        Self { entries: 5_000_000, depth: 64 }
    }
}

/// Which files an observation reads for their digest.
#[derive(Debug, Clone)]
pub enum Digests {
    /// None: names, sizes and times only.
    None,
    /// These.
    Of(Vec<RelPath>),
    /// All.
    All,
}

/// What a transfer did.
#[derive(Debug, Clone)]
pub struct Transferred {
    /// The permit's number; tell [`custody::Custody::end_transfer`].
    pub permit: String,
    /// How well the destination was verified.
    pub level: Level,
    /// The destination as it was found at the end, for [`custody::Custody::verify`].
    pub seen: Observation,
    /// The files, with the digests of what was read at the source.
    pub files: FileList,
    /// Bytes that were copied by this call.
    pub copied: u64,
    /// Bytes that were there already, from an earlier attempt, and were found to be right.
    pub reused: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// What the service that moved the files says of them, where one did.
    pub evidence: Option<Evidence>,
}

/// The word of a service for a transfer: what a copy that counts as transfer-checksummed rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// "Globus Transfer"
    pub service: String,
    /// Its task.
    pub task: String,
    /// Whether it compared the checksums of both ends.
    pub verified: bool,
    /// The files that it moved and tells checksums of, by path in the copy. A file that was there already was
    /// compared and not moved, and is not told of.
    pub checksums: BTreeMap<String, Checksum>,
    /// Why there are no checksums of what was moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// A checksum as a service tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// "MD5", "SHA256"
    pub algorithm: String,
    /// Its digits.
    pub value: String,
}

/// How far a work is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// Bytes read or written for good.
    pub bytes: u64,
    /// Of so many.
    pub total_bytes: u64,
    /// Files finished.
    pub files: u64,
    /// Of so many.
    pub total_files: u64,
    /// Bytes per second since the beginning.
    pub rate: f64,
    /// How often something went wrong and was tried again.
    pub faults: u64,
    /// A word on what holds it up.
    pub note: Option<String>,
}

/// Whom progress is told, about ten times a second at most.
type Observer = Arc<dyn Fn(&Progress) + Send + Sync>;

/// How a caller follows a work and stops it.
#[derive(Clone, Default)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    observer: Option<Observer>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("stopped", &self.is_stopped()).finish_non_exhaustive()
    }
}

impl Watch {
    /// Progress goes to `observer`, from any thread.
    pub fn new(observer: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        Self { stop: Arc::default(), observer: Some(Arc::new(observer)) }
    }

    /// Asks the work to stop; it ends with [`Error::Cancelled`].
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// An error once it was asked to stop.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_stopped() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Tells the observer.
    pub(crate) fn tell(&self, progress: &Progress) {
        if let Some(observer) = &self.observer {
            observer(progress);
        }
    }
}
