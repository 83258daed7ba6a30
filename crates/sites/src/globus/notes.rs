//! Notes on this host's disk: what was submitted, before it is.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Of one transfer, under its key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// What it is about, for a person who looks.
    pub key: String,
    /// The number of the submission.
    pub submission: Option<String>,
    /// The task, once the service told.
    pub task: Option<String>,
    /// How many submissions ended without success before this one.
    pub failed: u32,
    /// First parts of paths that were at the destination before us, and looked right: compared, not replaced.
    pub there: Vec<String>,
    /// Whether everything is in its place.
    pub placed: bool,
    /// Bytes that the task moved.
    pub copied: u64,
}

/// The short name of a key.
pub(super) fn short(key: &str) -> String {
    blake3::hash(key.as_bytes()).to_hex().chars().take(16).collect()
}

/// A note's file.
pub(super) fn file(folder: &Path, kind: &str, key: &str) -> PathBuf {
    folder.join(format!("{kind}-{}.json", short(key)))
}

/// Reads a note; `None` if there is none.
pub(super) async fn read<T: DeserializeOwned + Send + 'static>(path: PathBuf) -> Result<Option<T>> {
    blocking(move || match std::fs::read(&path) {
        // A damaged note is not passed over: what it said may be under way.
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| Error::io("read", &path, std::io::Error::other(e))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("read", &path, e)),
    })
    .await
}

/// Writes a note so that it outlives a crash of the host.
pub(super) async fn write(path: PathBuf, note: &impl Serialize) -> Result<()> {
    let text =
        serde_json::to_vec_pretty(note).map_err(|e| Error::io("write", &path, std::io::Error::other(e)))?;
    blocking(move || {
        let folder = path.parent().unwrap_or(Path::new(".")).to_path_buf();
        let fail = |e| Error::io("write", &path, e);
        std::fs::create_dir_all(&folder).map_err(fail)?;
        let new = path.with_extension("new");
        let mut file = std::fs::File::create(&new).map_err(fail)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(fail)?;
        std::fs::rename(&new, &path).map_err(fail)?;
        std::fs::File::open(&folder).and_then(|folder| folder.sync_all()).map_err(fail)
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::io("reach", Path::new("(notes)"), std::io::Error::other(e)))?
}
