//! What can go wrong with a scan, and whose fault it is.
//!
//! Every message says which file, what was found, why it cannot be used and what to do next.

use std::io;
use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Failure to read, check or write a scan.
///
/// [`Error::is_bad_input`] tells a file that cannot be used from a machine that failed;
/// [`Error::retry_helps`] tells whether the same call may succeed later, unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation.
    #[error(
        "{path}: cannot {doing}: {source}; check the path and the permissions, and that its file system is there"
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// The operation, as a verb phrase ("open", "read 4096 bytes at offset 512").
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// No HDF5 signature.
    #[error("{path}: not an HDF5 file: {reason}; give a raw scan (.h5, .hdf5, .nxs)")]
    NotHdf5 {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        reason: String,
    },
    /// The file ends before the data that it describes.
    #[error(
        "{path}: truncated: {what} ends at byte {expected}, the file has {actual} bytes; copy or transfer it again, or wait until it is complete"
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The thing that is cut.
        what: String,
        /// First byte after it, by the file's own account.
        expected: u64,
        /// Size of the file.
        actual: u64,
    },
    /// A writer has not closed the file.
    #[error("{path}: still being written: {reason}; try again when the acquisition has closed it")]
    StillOpen {
        /// The file.
        path: PathBuf,
        /// The evidence.
        reason: String,
    },
    /// Fewer frames were written than the file was laid out for.
    #[error("{path}: {dataset} is incomplete: {reason}")]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// Path of the dataset inside the file.
        dataset: String,
        /// What is missing, and what to do.
        reason: String,
    },
    /// Sound HDF5 that holds no scan of a known layout.
    #[error(
        "{path}: HDF5 without a scan: looked for {looked_for}; found {found}. Name the layout or the dataset if the scan is stored elsewhere"
    )]
    NoScan {
        /// The file.
        path: PathBuf,
        /// The layouts tried, with what each needs.
        looked_for: String,
        /// What the root of the file holds.
        found: String,
    },
    /// The structure of the HDF5 file contradicts itself.
    #[error("{path}: damaged HDF5: {reason}; copy or transfer it again from the source")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The contradiction.
        reason: String,
    },
    /// A dataset is absent, empty, or of a size that does not fit the others.
    #[error("{path}: {dataset}: {reason}")]
    Dataset {
        /// The file.
        path: PathBuf,
        /// Path of the dataset inside the file.
        dataset: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// No usable rotation angles.
    #[error("{path}: no usable rotation angles: {reason}")]
    Angles {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// Values that are not numbers, too many to repair.
    #[error("{path}: {dataset}: {reason}")]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// Path of the dataset inside the file.
        dataset: String,
        /// How many, where.
        reason: String,
    },
    /// HDF5 features that this reader lacks.
    #[error("{path}: {dataset}: {what} is not supported; {advice}")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Path of the object inside the file.
        dataset: String,
        /// The feature.
        what: String,
        /// How to get round it.
        advice: String,
    },
    /// A call asked for rows, projections or options that the scan does not have.
    #[error("{name} = {value}: {reason}")]
    Parameter {
        /// Parameter of the call.
        name: &'static str,
        /// Its value.
        value: String,
        /// Why it is refused, and what is allowed.
        reason: String,
    },
    /// Writing a simulated scan failed inside the HDF5 library.
    #[error("{path}: cannot write: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the library said.
        reason: String,
    },
}

impl Error {
    /// An [`Error::Io`] with its path and operation.
    pub fn io(path: &Path, doing: impl Into<String>, source: io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), doing: doing.into(), source }
    }

    /// True when the file itself (or its absence) is at fault; false when the machine or the caller is.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::IsADirectory
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::InvalidFilename
                    | io::ErrorKind::UnexpectedEof
            ),
            Self::Parameter { .. } | Self::Write { .. } => false,
            _ => true,
        }
    }

    /// True when the same call may succeed later without anybody changing anything but time: a file
    /// still being written or transferred, a file system that hiccups.
    pub fn retry_helps(&self) -> bool {
        match self {
            Self::StillOpen { .. } | Self::Truncated { .. } | Self::Incomplete { .. } => true,
            Self::Io { source, .. } => !matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied
                    | io::ErrorKind::IsADirectory
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::InvalidFilename
            ),
            _ => false,
        }
    }
}
