//! Errors of a reconstruction job: what failed, on which file, why, what to do next, and whether
//! trying the same again can help.

use std::path::{Path, PathBuf};

/// How a job ended that did not produce a volume. Decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The scan, the recipe or the options cannot give a volume; trying again changes nothing.
    BadInput,
    /// The command was put wrongly (contradicting options, a part before its plan).
    Usage,
    /// Something outside failed (disk full, a file vanished); the job can be resumed.
    Failed,
    /// Stopped on request; the job can be resumed.
    Interrupted,
}

/// Everything that can end a job early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The scan could not be opened or read.
    #[error(transparent)]
    Scan(#[from] scan::Error),
    /// A numerical step refused its input.
    #[error("{step}: {source}")]
    Numerics {
        /// The step of the reconstruction, in the recipe's words.
        step: &'static str,
        /// What the kernel said.
        source: tomo::Error,
    },
    /// Results could not be written or read back.
    #[error(transparent)]
    Volume(#[from] volume::Error),
    /// A recipe or an option is wrong.
    #[error(transparent)]
    Recipe(#[from] crate::recipe::Error),
    /// The rotation centre found is not believed.
    #[error(
        "the rotation centre is not believed: {reason} (best guess column {center:.2}, confidence {confidence:.2}, verdict {verdict}); \
         look at {evidence} and set it with --center PX, or accept the guess with --set center.accept_unbelieved=true"
    )]
    Center {
        /// Why, in a sentence.
        reason: String,
        /// The best guess, 0-based detector column.
        center: f64,
        /// 0 to 1.
        confidence: f64,
        /// found, ambiguous, at_edge or featureless.
        verdict: String,
        /// The picture of candidates, or how to make one.
        evidence: String,
    },
    /// Input that cannot be reconstructed, in one sentence that says what to do.
    #[error("{0}")]
    BadInput(String),
    /// Options that contradict each other or the state of the output folder.
    #[error("{0}")]
    Usage(String),
    /// There are results already.
    #[error("{path} exists already; pass --overwrite to replace it or --resume to go on with an interrupted job", path = path.display())]
    Exists {
        /// What exists.
        path: PathBuf,
    },
    /// Another process works on the same outputs.
    #[error("another process ({holder}) works on {path}; wait for it or choose another output folder", path = path.display())]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// Host and process id as recorded in the lock.
        holder: String,
    },
    /// The disk cannot hold the results.
    #[error(
        "{path} has {available} free and the results need about {needed}; free some space, choose another folder with -o, \
         or write less (--write zarr, --dtype uint16, --rows a:b)", path = path.display()
    )]
    DiskSpace {
        /// The output folder.
        path: PathBuf,
        /// Bytes needed, for people.
        needed: String,
        /// Bytes free, for people.
        available: String,
    },
    /// A file of the job itself could not be read or written.
    #[error("{action} {path}: {source}", path = path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A worker thread ended without an answer; a defect of beamrail.
    #[error("the {0} thread ended unexpectedly; resume the job, and report this if it happens again")]
    Thread(&'static str),
    /// Stopped on request.
    #[error("stopped on request; go on with --resume")]
    Interrupted,
}

/// The result of a job step.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An I/O failure with its file.
    pub fn io(action: &'static str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { action, path: path.as_ref().to_path_buf(), source }
    }

    /// A numerical failure with the step it happened in.
    pub fn numerics(step: &'static str) -> impl FnOnce(tomo::Error) -> Self {
        move |source| Self::Numerics { step, source }
    }

    /// The class of the failure.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Scan(error) if error.is_bad_input() => Kind::BadInput,
            Self::Volume(volume::Error::Parameter { .. } | volume::Error::Exists { .. }) => Kind::BadInput,
            Self::Volume(volume::Error::Cancelled { .. }) => Kind::Interrupted,
            Self::Numerics { .. }
            | Self::Recipe(_)
            | Self::Center { .. }
            | Self::BadInput(_)
            | Self::Exists { .. } => Kind::BadInput,
            Self::Usage(_) => Kind::Usage,
            Self::Interrupted => Kind::Interrupted,
            _ => Kind::Failed,
        }
    }

    /// Whether the same command can succeed later without anybody changing its input.
    pub fn retry_helps(&self) -> bool {
        match self {
            Self::Scan(error) => error.retry_helps(),
            _ => matches!(self.kind(), Kind::Failed | Kind::Interrupted),
        }
    }
}
