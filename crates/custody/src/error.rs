//! The errors of this crate.

use std::path::{Path, PathBuf};

use crate::ledger::Refusal;

/// What can go wrong when custody is asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
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
    /// Custody does not know what was named.
    #[error("custody knows no {what}; {hint}")]
    Unknown {
        /// What was looked for.
        what: String,
        /// Where to look.
        hint: &'static str,
    },
    /// A permit was refused. The refusal stands in the ledger.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// A copy is not what it should be. It is no longer counted.
    #[error(
        "the copy of {dataset} at {site} failed its verification: {findings}; compare it with another copy, then transfer it again"
    )]
    Verification {
        /// Of which dataset.
        dataset: String,
        /// Where.
        site: String,
        /// What is wrong.
        findings: String,
    },
    /// A raw file differs from the one that custody knows by the same name.
    #[error(
        "{dataset} at {site} is not the file that custody knows by this name ({difference}); find out which is right, rename the other"
    )]
    Differs {
        /// Of which dataset.
        dataset: String,
        /// Where the other one is.
        site: String,
        /// The first difference.
        difference: String,
    },
    /// A site did not answer, so nothing could be verified. What is recorded stays as it was.
    #[error("{site} cannot be reached: {why}; try again when it answers")]
    Unreachable {
        /// Which site.
        site: String,
        /// Why.
        why: String,
    },
    /// Something else is being done with the same files.
    #[error("{what}; wait for it to end, then try again")]
    Busy {
        /// What is being done.
        what: String,
    },
    /// A permit was too old when it was to be used.
    #[error("permit {id} expired at {expired}; nothing was done, ask custody again")]
    Expired {
        /// The permit.
        id: String,
        /// When it expired.
        expired: jiff::Timestamp,
    },
    /// The database could not be read or written.
    #[error("cannot {action} in custody's database {}: {source}{}", path.display(), database_hint(source))]
    Database {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// SQLite's answer.
        source: rusqlite::Error,
    },
    /// The database was made by a newer beamrail.
    #[error("custody's database {} has schema {found}, this version knows {known}; use a newer beamrail", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema known here.
        known: i64,
    },
    /// A stored record cannot be read.
    #[error("custody's database holds a {what} that cannot be read ({reason}); restore it from a backup")]
    Damaged {
        /// Which record.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the same call can succeed later without anybody changing anything.
    pub fn retry_helps(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.reasons.iter().all(crate::Reason::passes_with_time),
            Self::Expired { .. } | Self::Unreachable { .. } | Self::Busy { .. } => true,
            Self::Database { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(
                    rusqlite::ErrorCode::DatabaseBusy
                        | rusqlite::ErrorCode::DatabaseLocked
                        | rusqlite::ErrorCode::DiskFull
                        | rusqlite::ErrorCode::SystemIoFailure
                )
            ),
            _ => false,
        }
    }

    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// A failure of the database at `path`.
    pub(crate) fn database(action: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        Self::Database { action, path: path.to_owned(), source }
    }

    /// A stored record that cannot be read.
    pub(crate) fn damaged(what: &'static str, reason: impl ToString) -> Self {
        Self::Damaged { what, reason: reason.to_string() }
    }
}

/// What helps, where that is known.
fn database_hint(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            "; another process holds it, try again"
        }
        Some(rusqlite::ErrorCode::DiskFull) => "; make room, then try again",
        Some(rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::CannotOpen) => {
            "; check the rights on the file and its folder"
        }
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
            "; restore it from a backup"
        }
        _ => "",
    }
}
