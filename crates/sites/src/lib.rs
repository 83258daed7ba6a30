//! Where bytes and jobs go: the [`Storage`] and [`Compute`] traits, and the adapters: for what this process sees
//! itself, and for Globus.
//!
//! Nothing here decides. Bytes leave a site only with custody's `TransferPermit`, files are deleted only with its
//! `DeletePermit`, and both name the very files. What is reported as done was read back from where it went.

mod compute;
mod error;
mod globus;
mod local;
mod process;
mod storage;

pub use compute::{Compute, JobHandle, JobSpec, JobState, JobStatus, Said};
pub use error::{Error, Result};
pub use globus::{Exchange, GlobusCompute, GlobusEndpoint, GlobusStorage, Link};
pub use local::LocalStorage;
pub use process::LocalCompute;
pub use storage::{Checksum, Digests, Evidence, ListLimits, Place, Progress, Storage, Transferred, Watch};
