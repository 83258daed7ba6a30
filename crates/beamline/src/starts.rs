//! Who makes runs. By default that is the journal of this state folder; where a service hands runs to workers on many
//! hosts, they are made there, so that everybody sees them, and the journal gets them from there.

use async_trait::async_trait;
use engine::{NewRun, RunId};

/// A service that makes runs and hands them to workers.
#[async_trait]
pub trait Starts: Send + Sync {
    /// Makes a run of the flow. The same key for the same flow gives the same run.
    ///
    /// # Errors
    /// Why there is none; nothing was written here.
    async fn start(&self, flow: &str, new: NewRun) -> std::result::Result<Ordered, NotStarted>;

    /// How a run stands there, by its id there.
    ///
    /// # Errors
    /// Why that is not known.
    async fn seen(&self, there: &str) -> std::result::Result<Ordered, NotStarted>;
}

/// A run that was made there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    /// Its id in the journal of whichever worker takes it.
    pub run: RunId,
    /// Its id there.
    pub there: String,
    /// What people call it.
    pub name: String,
    /// How it stands, in the service's word.
    pub state: String,
    /// Its page there.
    pub page: String,
}

/// Why no run was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NotStarted {
    /// What failed, where, and what to do.
    pub why: String,
    /// Whether the same can succeed later without anybody changing anything.
    pub retry_helps: bool,
}
