//! The errors of this crate.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// What can go wrong where bytes and jobs are.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {action} {}: {source}{}", path.display(), hint(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The disk or the quota is full. What this call had made was removed again.
    #[error("no room for {} ({source}); make room, then try again", path.display())]
    Full {
        /// The file that did not fit.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The site as a whole does not answer.
    #[error("site {site} cannot be reached: {why}; check that its file system is mounted")]
    Unreachable {
        /// Which site.
        site: String,
        /// Why.
        why: String,
    },
    /// There is nothing at a path.
    #[error("{} is not there; check the path, or whether it was deleted", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// A path leads through a symbolic link or out of its root.
    #[error("{} leads through a link or out of the site; nothing was followed, remove the link", path.display())]
    Link {
        /// The path.
        path: PathBuf,
    },
    /// A regular file was expected.
    #[error("{} is not a regular file; only files can be handled here", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Something else is at the destination; it was left alone.
    #[error("{} is there already and is not the same ({difference}); move it away or choose another place", path.display())]
    Exists {
        /// The destination.
        path: PathBuf,
        /// The first difference.
        difference: String,
    },
    /// The source is not what was to be copied.
    #[error("{} is not what was to be copied: {difference}; verify the source", path.display())]
    Source {
        /// The source.
        path: PathBuf,
        /// How it differs.
        difference: String,
    },
    /// The source changed while it was copied.
    #[error("{} changed while it was copied; nothing was kept, copy it once it is complete", path.display())]
    Changed {
        /// The source.
        path: PathBuf,
    },
    /// What is on the destination's disk is not what was written.
    #[error("{} was written and reads back as something else; the disk or the memory is not sound", path.display())]
    ReadBack {
        /// The destination.
        path: PathBuf,
    },
    /// A listing has more entries than allowed. A part of it would be worse than none.
    #[error("{} holds more than {limit} {what}; raise the limit or list a smaller folder", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
        /// The limit.
        limit: usize,
        /// Of what.
        what: &'static str,
    },
    /// Somebody else is doing the same thing.
    #[error("{} is being worked on by another process; wait for it to end", path.display())]
    Busy {
        /// What is locked.
        path: PathBuf,
    },
    /// The caller stopped the work.
    #[error("stopped; what was not finished was removed")]
    Cancelled,
    /// Two sites that cannot exchange bytes with each other.
    #[error("{from} cannot transfer to {to} by itself; configure a service that sees both")]
    NoWay {
        /// The source.
        from: String,
        /// The destination.
        to: String,
    },
    /// A value cannot be used.
    #[error("{name} {value:?}: {reason}")]
    Value {
        /// What it is for.
        name: &'static str,
        /// The value given.
        value: String,
        /// Why it cannot be used, and what can.
        reason: String,
    },
    /// Small files cannot pass to or from a collection.
    #[error(
        "small files of site {site} cannot be {what}: no folder of a collection is seen by this host; \
             give one site of kind globus its folder here (local = \"FOLDER\")"
    )]
    NoExchange {
        /// The site.
        site: String,
        /// "read", "written"
        what: &'static str,
    },
    /// Globus refused, failed or did not answer.
    #[error(transparent)]
    Globus(#[from] globus::Error),
    /// Custody refused, or a permit was too old.
    #[error(transparent)]
    Custody(#[from] custody::Error),
    /// A job could not be started or reached.
    #[error("job {job}: {reason}")]
    Job {
        /// Its folder.
        job: String,
        /// What went wrong and what to do.
        reason: String,
        /// Whether another try can help.
        retry: bool,
    },
}

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the same call can succeed later without anybody changing anything.
    pub fn retry_helps(&self) -> bool {
        match self {
            Self::Io { source, .. } => !matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied
                    | io::ErrorKind::ReadOnlyFilesystem
                    | io::ErrorKind::InvalidInput
            ),
            Self::Unreachable { .. } | Self::Changed { .. } | Self::Busy { .. } | Self::ReadBack { .. } => {
                true
            }
            Self::Custody(error) => error.retry_helps(),
            Self::Globus(error) => error.retry_helps(),
            Self::Job { retry, .. } => *retry,
            _ => false,
        }
    }

    /// Whether what was copied so far is kept for the next attempt: the disks are fine, one of them merely did
    /// not answer.
    pub(crate) fn can_resume(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Unreachable { .. }) && self.retry_helps()
    }

    /// An error of the operating system on `path`, told as what it means.
    pub(crate) fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let (source, path): (io::Error, _) = (source.into(), path.to_owned());
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full { path, source }
            }
            io::ErrorKind::NotFound => Self::Missing { path },
            // A link on the way (ELOOP), or a way out (EXDEV).
            _ if [Errno::LOOP, Errno::XDEV]
                .iter()
                .any(|e| source.raw_os_error() == Some(e.raw_os_error())) =>
            {
                Self::Link { path }
            }
            _ => Self::Io { action, path, source },
        }
    }
}

/// What helps, where that is known.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; check owner, group and mode (folders 2775, files 664)",
        io::ErrorKind::ReadOnlyFilesystem => "; the file system is mounted read-only",
        io::ErrorKind::StaleNetworkFileHandle => "; the network file system was remounted, try again",
        io::ErrorKind::TimedOut => "; the file system does not answer, try again",
        _ => "",
    }
}
