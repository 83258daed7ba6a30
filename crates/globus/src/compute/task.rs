//! A task as Compute tells of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pack;
use crate::error::{Error, Result};

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It waits: for the endpoint, for nodes of the batch system, for a worker.
    Waiting,
    /// A worker runs it.
    Running,
    /// It returned a value.
    Succeeded,
    /// It raised an error, or was lost.
    Failed,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskInfo {
    /// Its UUID.
    pub task_id: String,
    /// "waiting-for-nodes", "running", "success", …
    #[serde(default)]
    pub status: String,
    /// What it returned, packed; see [`TaskInfo::value`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// The error that it raised, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
    /// Why it failed, where the service tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds since 1970, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_t: Option<Value>,
    /// The worker's system, versions and times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<TaskDetails>,
    /// What this version does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Where and when a task ran.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TaskDetails {
    /// "Linux-5.19.0-1025-aws-x86_64-with-glibc2.35"
    pub os: Option<String>,
    /// "3.10.4"
    pub python_version: Option<String>,
    /// "0.3.5.1"
    pub dill_version: Option<String>,
    /// "2.3.2"
    pub globus_compute_sdk_version: Option<String>,
    /// When each phase began: `execution-start` and its like, seconds since 1970.
    #[serde(default)]
    pub task_transitions: BTreeMap<String, f64>,
    /// What this version does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl TaskInfo {
    /// How far it is. A status that is not known is taken for waiting, as the SDK takes it for pending.
    pub fn phase(&self) -> Phase {
        match self.status.as_str() {
            "success" => Phase::Succeeded,
            "failed" => Phase::Failed,
            "execution-start" | "execution-end" | "running" => Phase::Running,
            _ => Phase::Waiting,
        }
    }

    /// When a worker began with it, seconds since 1970, where the service tells.
    pub fn began(&self) -> Option<f64> {
        self.details.as_ref()?.task_transitions.get("execution-start").copied()
    }

    /// What it returned.
    ///
    /// # Errors
    /// It did not succeed; then the error's text is in [`TaskInfo::failure`]. Or the value cannot be read.
    pub fn value(&self) -> Result<Value> {
        match (self.phase(), &self.result) {
            (Phase::Succeeded, Some(text)) => pack::result(text),
            (Phase::Succeeded, None) => Err(self.unreadable("the service keeps no result of it any more")),
            _ => Err(self.unreadable("it did not succeed")),
        }
    }

    fn unreadable(&self, reason: &str) -> Error {
        Error::Payload { what: "a task's result", reason: format!("task {}: {reason}", self.task_id) }
    }

    /// Why it failed, if it did: the worker's traceback, or the service's reason.
    pub fn failure(&self) -> Option<String> {
        if self.phase() != Phase::Failed {
            return None;
        }
        // On an error the "result" is the bare traceback.
        let text = self.exception.as_deref().or(self.reason.as_deref()).or(self.result.as_deref());
        Some(text.unwrap_or("it failed, and nobody says why").trim().to_owned())
    }

    /// Whether the worker, its node or the endpoint went away: the program may have run, or still run.
    pub fn is_lost(&self) -> bool {
        self.failure().is_some_and(|text| is_loss(&text))
    }
}

/// Whether a failure's text says that the worker, its node or the endpoint went away.
pub fn is_loss(text: &str) -> bool {
    let lost = ["WorkerLost", "ManagerLost", "EndpointInterchange", "TASK_TTL", "EngineShutdown"];
    lost.iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn phases_results_and_failures_are_told_apart() {
        let task = |status: &str, result: &str| -> TaskInfo {
            serde_json::from_value(json!({"task_id": "t", "status": status, "result": result})).unwrap()
        };
        for (status, phase) in [
            ("received", Phase::Waiting),
            ("waiting-for-ep", Phase::Waiting),
            ("waiting-for-nodes", Phase::Waiting),
            ("waiting-for-launch", Phase::Waiting),
            ("execution-start", Phase::Running),
            ("running", Phase::Running),
            ("success", Phase::Succeeded),
            ("failed", Phase::Failed),
            ("new-in-2030", Phase::Waiting),
        ] {
            assert_eq!(task(status, "").phase(), phase, "{status}");
        }
        assert_eq!(task("success", "11\n[1]").value().unwrap(), json!([1]));
        assert!(task("running", "11\n[1]").value().is_err());
        let failed = task("failed", "Traceback\nparsl.WorkerLost: gone");
        assert!(failed.is_lost() && failed.failure().unwrap().ends_with("gone"));
        assert!(!task("failed", "Traceback\nZeroDivisionError").is_lost());
        assert_eq!(task("success", "11\n1").failure(), None);
    }
}
