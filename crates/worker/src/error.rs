//! What stops a worker, or holds it up.

use std::path::PathBuf;

/// What went wrong.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Prefect's server.
    #[error(transparent)]
    Prefect(#[from] prefect::Error),
    /// The journal.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The file that says which run of Prefect is which run here.
    #[error("{path}: the list of Prefect's runs cannot be used: {reason}; check the disk and the folder's owner", path = .path.display())]
    Ledger {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        reason: String,
    },
    /// The file that says what deployments were before they were taken over.
    #[error("{path}: what deployments were before they were taken over cannot be used: {reason}; check the disk and the folder's owner", path = .path.display())]
    Saved {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// Custody's records.
    #[error("the records of copies cannot be used: {0}")]
    Records(String),
    /// There is nothing to make a run of.
    #[error("Prefect has no deployment {flow}/{name}; `beamrail prefect setup` makes it")]
    NoDeployment {
        /// The flow.
        flow: String,
        /// The deployment.
        name: String,
    },
    /// The pool is for other workers.
    #[error(
        "work pool {pool} is of type {kind}, not beamrail: other workers may take its runs; name another pool, or set one up with `beamrail prefect setup`"
    )]
    WrongPool {
        /// The pool.
        pool: String,
        /// Its type.
        kind: String,
    },
}

impl Error {
    /// Whether the same can succeed later without anybody changing anything.
    pub fn retry_helps(&self) -> bool {
        match self {
            Error::Prefect(error) => error.retry_helps(),
            Error::Engine(error) => error.retry_helps(),
            Error::Records(_) => true,
            Error::Ledger { .. }
            | Error::Saved { .. }
            | Error::NoDeployment { .. }
            | Error::WrongPool { .. } => false,
        }
    }
}

/// The worker's results.
pub type Result<T> = std::result::Result<T, Error>;
