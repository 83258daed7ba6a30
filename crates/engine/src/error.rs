//! What the engine itself can refuse or fail at.
//!
//! Rules: a message says what failed, on which run or file, why, and what to do next. [`Error::retry_helps`]
//! is part of the type, so no caller guesses from the text. What goes wrong *inside a step* is a
//! [`Failure`](crate::Failure), which is journaled; an `Error` is not.

use std::path::PathBuf;

use crate::model::RunId;

/// An answer of the engine that is not the one asked for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The database did not do what it was told; the text is SQLite's.
    #[error("{path}: the journal could not be {action}: {reason}{hint}", path = .path.display())]
    Store {
        /// The database file.
        path: PathBuf,
        /// What was tried: "opened", "read", "written".
        action: &'static str,
        /// SQLite's words.
        reason: String,
        /// What to do, beginning with "; " (or empty).
        hint: &'static str,
        /// Whether the same call may succeed later (busy, disk full).
        transient: bool,
    },
    /// The file was written by a newer beamrail.
    #[error(
        "{path}: the journal has schema {found}, this beamrail knows up to {known}; start the newer beamrail that \
         wrote it, or restore the copy it made before the upgrade", path = .path.display()
    )]
    NewerSchema {
        /// The database file.
        path: PathBuf,
        /// `user_version` of the file.
        found: i64,
        /// The newest schema of this program.
        known: i64,
    },
    /// The file is another program's database, or none at all.
    #[error(
        "{path}: this is not a beamrail journal ({reason}); name another file", path = .path.display()
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// How that was seen.
        reason: String,
    },
    /// SQLite's integrity check found damage.
    #[error(
        "{path}: the journal is damaged: {findings}; stop beamrail, keep a copy of the file, and restore the last \
         backup (or `sqlite3 FILE .recover`)", path = .path.display()
    )]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// The first lines of `PRAGMA integrity_check`.
        findings: String,
    },
    /// No run, deployment, pool or message of this name.
    #[error("there is no {what} {name}; list them to see the names")]
    NotFound {
        /// "run", "deployment", ...
        what: &'static str,
        /// The name that was asked for.
        name: String,
    },
    /// The input of a call is wrong.
    #[error("{what}: {reason}")]
    Invalid {
        /// The value at fault.
        what: String,
        /// Why, and what would be right.
        reason: String,
    },
    /// The transition table says no.
    #[error("run {run} stays as it is: {reason}")]
    Refused {
        /// The run.
        run: RunId,
        /// The table's reason.
        reason: String,
    },
    /// Another worker has the run; nothing was written.
    #[error(
        "run {run} belongs to another worker now (fencing number {ours}, the journal has {theirs}); this worker \
         stops working on it"
    )]
    LeaseLost {
        /// The run.
        run: RunId,
        /// The number this worker was given.
        ours: i64,
        /// The number of the present holder.
        theirs: i64,
    },
    /// The worker was stopped dead by a fault hook (tests).
    #[error("the worker was stopped dead by a fault hook; its runs are taken over when their leases end")]
    Crashed,
}

impl Error {
    /// Whether the same call can succeed later without anybody changing anything.
    pub fn retry_helps(&self) -> bool {
        matches!(self, Error::Store { transient: true, .. })
    }

    /// Whether the caller's input was at fault (exit code 2 or 3 on the command line).
    pub fn is_bad_input(&self) -> bool {
        matches!(self, Error::Invalid { .. } | Error::NotFound { .. } | Error::Refused { .. })
    }

    pub(crate) fn invalid(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Error::Invalid { what: what.into(), reason: reason.into() }
    }

    pub(crate) fn no_run(id: RunId) -> Self {
        Error::NotFound { what: "run", name: id.to_string() }
    }

    /// An error of SQLite, with what it means for the person who runs beamrail.
    pub(crate) fn sqlite(path: &std::path::Path, action: &'static str, error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let (hint, transient) = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                ("; another process holds it for long, see which with `fuser FILE`", true)
            }
            Some(ErrorCode::DiskFull) => ("; the disk is full, free some space", true),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                ("; the file or its folder cannot be written by this user", false)
            }
            Some(ErrorCode::CannotOpen) => ("; check that the folder exists and may be entered", false),
            Some(ErrorCode::SystemIoFailure) => {
                ("; the disk reported an error, look at the system's log before going on", true)
            }
            Some(ErrorCode::DatabaseCorrupt) => ("; the file is damaged, restore a backup", false),
            _ => ("", false),
        };
        Error::Store { path: path.to_path_buf(), action, reason: error.to_string(), hint, transient }
    }
}

/// The engine's results.
pub type Result<T> = std::result::Result<T, Error>;
