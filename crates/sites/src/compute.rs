//! What every place that computes can do.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// A facility. A job is known by its folder, which is chosen before anything is started (from run and step), so
/// that a caller that crashed finds its job again by asking to start the same one.
#[async_trait]
pub trait Compute: Send + Sync {
    /// The facility's name.
    fn facility(&self) -> &str;

    /// Starts a job, or finds the one that was started in the same folder for the same attempt (or a later
    /// one): running, finished or dead, it is not started again. A higher attempt starts a job anew that
    /// has ended, and finds one that runs.
    async fn start(&self, spec: &JobSpec) -> Result<JobHandle>;

    /// How a job is. Reads nothing but its folder and what the system says of its processes.
    async fn state(&self, handle: &JobHandle) -> Result<JobState>;

    /// Ends a job: asks it by its folder, and after `grace` ends its processes. Returns how it is then.
    async fn cancel(&self, handle: &JobHandle, grace: Duration) -> Result<JobState>;

    /// The last lines of what the job said.
    async fn log_tail(&self, handle: &JobHandle, bytes: u64) -> Result<String>;

    /// Runs a command to its end where the job folder `spec.job_dir` is, which gets no `--job-dir`; the same folder
    /// and attempt find the same call again. `None` where such a command can as well be run here.
    async fn run_there(&self, spec: &JobSpec, patience: Duration) -> Result<Option<Said>> {
        let _ = (spec, patience);
        Ok(None)
    }
}

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The program, looked up in PATH if it has no slash.
    pub program: PathBuf,
    /// Its arguments, `--job-dir` left out.
    pub args: Vec<String>,
    /// The job folder; `--job-dir` gets it.
    pub job_dir: PathBuf,
    /// Added to the environment.
    pub env: Vec<(String, String)>,
    /// Which attempt this is, from 1. A caller that comes back after a crash gives the same number; one
    /// that tries again after a failure gives the next.
    pub attempt: u32,
}

/// What identifies a started job. Worth keeping, though its folder is enough to find it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobHandle {
    /// The job folder.
    pub job_dir: PathBuf,
    /// Which attempt was started last.
    pub attempt: u32,
    /// The host it was started on.
    pub host: String,
    /// Its process, the leader of its session.
    pub pid: Option<u32>,
    /// When that process began, in clock ticks since boot: a number that was used again has another.
    pub start_ticks: Option<u64>,
    /// Which boot of the host.
    pub boot: String,
    /// The task or job of the service that runs it, where one does.
    #[serde(default)]
    pub task: Option<String>,
}

/// How a command ended, and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// The end of what it printed.
    pub stdout: String,
    /// The end of that and of its errors.
    pub tail: String,
}

/// How a job ended, from its `status.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// 0 done, 1 failed, 2 usage, 3 bad input, 4 a service, 130 interrupted.
    pub exit_code: i32,
    /// What failed and what to do.
    pub error: Option<String>,
    /// Whether another try can succeed.
    pub retry_helps: bool,
    /// Digest of the manifest, once the results are committed.
    pub manifest: Option<String>,
    /// When it ended.
    pub finished: String,
}

/// How a job is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum JobState {
    /// Nothing was started in that folder.
    NotStarted,
    /// It waits for its turn: at the service, in the batch system's queue, for a worker.
    Queued {
        /// The service's word for it.
        why: String,
    },
    /// Its processes run.
    Running {
        /// The last line of `progress.jsonl`.
        progress: Option<serde_json::Value>,
    },
    /// It ended and said how. Only an exit code of 0 with a manifest is a success.
    Finished(JobStatus),
    /// Its processes are gone and it did not say how it ended: killed, out of memory, a reboot.
    Died {
        /// The end of its log.
        log: String,
    },
}

impl JobState {
    /// Whether nothing more will happen.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Finished(_) | Self::Died { .. })
    }

    /// The manifest's digest of a job that succeeded; everything else is no success.
    pub fn succeeded(&self) -> Option<&str> {
        match self {
            Self::Finished(JobStatus { exit_code: 0, manifest: Some(manifest), .. }) => Some(manifest),
            _ => None,
        }
    }
}
