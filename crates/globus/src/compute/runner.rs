//! The function that starts a program at a facility and tells how it ended.
//!
//! It is plain Python with nothing but the standard library, so that any worker from Python 3.6 on runs it.
//! Compute says nothing before a task's end and cannot cancel it; so the job's folder carries both: progress is
//! read there, and a file `cancel` put there ends the job's whole process group. The folder's lock makes a task
//! that was submitted twice run once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Dialect, Function};
use crate::error::{Error, Result};

/// The function's source.
pub const RUNNER_SOURCE: &str = include_str!("runner.py");
/// The function's name.
pub const RUNNER_NAME: &str = "beamrail_job";

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunnerSpec {
    /// The program.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// The job's folder, as the facility sees it.
    pub job_dir: String,
    /// Added to the environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Which attempt this is, from 1: a later one starts a job anew that has ended.
    pub attempt: u32,
    /// A file whose content comes along with the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
    /// Seconds after which the program is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub walltime: Option<f64>,
    /// Seconds that it has to end by itself when asked to.
    pub grace: f64,
    /// Seconds between two looks.
    pub poll: f64,
    /// Bytes of an answer; a larger one stays in the folder.
    pub limit: usize,
    /// Characters of each log that are told.
    pub tail: usize,
}

impl RunnerSpec {
    /// A program with its job folder.
    pub fn new(program: impl Into<String>, args: Vec<String>, job_dir: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            args,
            job_dir: job_dir.into(),
            env: BTreeMap::new(),
            attempt: 1,
            report: None,
            walltime: None,
            grace: 20.0,
            poll: 1.0,
            limit: 200_000,
            tail: 8192,
        }
    }

    /// The function's arguments.
    pub fn arguments(&self) -> Vec<Value> {
        vec![json!(self)]
    }
}

/// How the program says that it ended, from `status.json` in its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerStatus {
    /// Its exit code.
    pub exit_code: i32,
    /// What failed and what to do.
    #[serde(default)]
    pub error: Option<String>,
    /// Whether another try can succeed.
    #[serde(default)]
    pub retry_helps: bool,
    /// Digest of the manifest, once the results are committed.
    #[serde(default)]
    pub manifest: Option<String>,
    /// When it ended.
    #[serde(default)]
    pub finished: String,
}

/// What the function returned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ran {
    /// The exit code; negative for a signal, `None` where an earlier call ran it and it did not say.
    pub rc: Option<i32>,
    /// "ended", "cancelled", "walltime", "adopted", "ended before", …
    pub how: String,
    /// The end of its output.
    #[serde(default)]
    pub stdout: String,
    /// The end of its errors.
    #[serde(default)]
    pub stderr: String,
    /// The end of its log.
    #[serde(default)]
    pub log: String,
    /// What it says itself.
    #[serde(default)]
    pub status: Option<RunnerStatus>,
    /// The report's content.
    #[serde(default)]
    pub report: Option<String>,
    /// Where the whole answer is, if it was too large.
    #[serde(default)]
    pub file: Option<String>,
    /// The host that it ran on.
    #[serde(default)]
    pub host: String,
    /// The worker's Python.
    #[serde(default)]
    pub python: String,
    /// How long the function took.
    #[serde(default)]
    pub seconds: f64,
}

impl Ran {
    /// Reads what the function returned.
    ///
    /// # Errors
    /// It is something else: another function was registered under this UUID.
    pub fn read(value: Value) -> Result<Self> {
        serde_json::from_value(value).map_err(|e| Error::Payload {
            what: "the runner's answer",
            reason: format!("{e}; the registered function may be another one, run beamrail globus setup"),
        })
    }

    /// The end of all that the program said.
    pub fn tail(&self) -> String {
        let parts = [&self.stdout, &self.stderr, &self.log];
        let parts: Vec<&str> = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).collect();
        parts.join("\n")
    }
}

impl Function {
    /// The runner.
    pub fn runner(dialect: Dialect) -> Self {
        Self {
            name: RUNNER_NAME.into(),
            source: RUNNER_SOURCE.into(),
            description: Some("beamrail: start a program with a job folder, tell how it ended".into()),
            dialect,
        }
    }
}
