//! The errors of this crate.
//!
//! Each message says what failed, on which file or value, why, and what to do next.

use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong when volumes are written, read or verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation failed; the hint names what helps where that is known (full disk, rights).
    #[error("cannot {action} {}: {source}{}", path.display(), hint(source))]
    Io {
        /// What was tried, as a verb ("write", "read", "rename").
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The output is already there; nothing was touched.
    #[error("{} exists already; choose another output, or overwrite or resume it on purpose", path.display())]
    Exists {
        /// The file or folder that was found.
        path: PathBuf,
    },
    /// A parameter is out of its range or contradicts another.
    #[error("{name} = {value}: {reason}")]
    Parameter {
        /// The parameter's name.
        name: &'static str,
        /// The value given.
        value: String,
        /// Why it cannot be used, and what can.
        reason: String,
    },
    /// An array has not the length that its shape asks for.
    #[error("{what} holds {found} voxels, expected {expected}; check the shape of the volume")]
    Shape {
        /// Which array.
        what: String,
        /// Voxels expected.
        expected: usize,
        /// Voxels found.
        found: usize,
    },
    /// A file was found but its content is not what it should be.
    #[error("{} is not usable: {reason}", path.display())]
    Format {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// A part of a volume that is needed has not been written.
    #[error("{} is missing: the volume is incomplete; resume the job that writes it", path.display())]
    Incomplete {
        /// The first file that is missing.
        path: PathBuf,
    },
    /// The caller stopped the work.
    #[error("{what} was stopped; what was written so far is incomplete")]
    Cancelled {
        /// What was stopped.
        what: String,
    },
}

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An input/output error on `path` while doing `action`.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    /// A file whose content is wrong.
    pub(crate) fn format(path: &Path, reason: impl Into<String>) -> Self {
        Self::Format { path: path.to_owned(), reason: reason.into() }
    }

    /// A parameter that cannot be used.
    pub(crate) fn parameter(name: &'static str, value: impl ToString, reason: impl Into<String>) -> Self {
        Self::Parameter { name, value: value.to_string(), reason: reason.into() }
    }

    /// Whether the disk (or the quota) is full: the job can be resumed once there is room.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// What a person can do about an operating system error.
fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull => "; the disk is full: make room, then resume",
        io::ErrorKind::QuotaExceeded => "; the quota is used up: make room, then resume",
        io::ErrorKind::PermissionDenied => "; check who may write there",
        io::ErrorKind::ReadOnlyFilesystem => "; the file system is mounted read-only",
        _ => "",
    }
}
