//! What can go wrong while a scan is simulated.

use std::path::PathBuf;

/// Result of the simulator.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the simulator; the message says what failed, why, and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option is out of its range or contradicts another one.
    #[error("simulate: option `{name}` is {value}: {reason}")]
    Option {
        /// Name of the option in [`super::SimulateOptions`].
        name: &'static str,
        /// The value given.
        value: String,
        /// What is allowed.
        reason: String,
    },
    /// The output file is there already.
    #[error("{path} exists; choose another name, or overwrite it deliberately")]
    Exists {
        /// The output file.
        path: PathBuf,
    },
    /// The disk is too small for the file.
    #[error(
        "{path} needs {needed} bytes and its disk has {free} free; free some space or simulate a smaller scan"
    )]
    Space {
        /// The output file.
        path: PathBuf,
        /// Bytes that the file will take at most.
        needed: u64,
        /// Bytes free for this user.
        free: u64,
    },
    /// The operating system refused something.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The HDF5 library refused something.
    #[error(
        "cannot {action} in {path}: {reason}; check that the disk is not full and the folder is writable"
    )]
    Hdf5 {
        /// What was tried.
        action: String,
        /// On which file.
        path: PathBuf,
        /// The library's reason.
        reason: String,
    },
    /// A file holds no record of a simulation.
    #[error("{path} holds no truth: {reason}; only files written by `beamrail simulate` do")]
    NoTruth {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
}

impl Error {
    /// An option that is out of range.
    pub(crate) fn option(name: &'static str, value: impl ToString, reason: impl Into<String>) -> Self {
        Error::Option { name, value: value.to_string(), reason: reason.into() }
    }

    /// Wraps an error of the HDF5 library; for use in `map_err`.
    pub(crate) fn hdf5(
        action: impl Into<String>,
        path: &std::path::Path,
    ) -> impl FnOnce(hdf5_metno::Error) -> Self {
        let (action, path) = (action.into(), path.to_path_buf());
        move |error| Error::Hdf5 { action, path, reason: error.to_string() }
    }

    /// Wraps an error of the operating system; for use in `map_err`.
    pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Error::Io { action, path, source }
    }
}
