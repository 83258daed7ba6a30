//! What a task came to, and what to do about it. SUCCEEDED is the only success.

use std::fmt;

use super::task::{Event, Task, TaskStatus};
use crate::error::{Error, Result};

/// What holds an active task up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The client may not read or write a path.
    PermissionDenied,
    /// A source is not there.
    FileNotFound,
    /// The destination is full.
    Quota,
    /// A collection does not answer.
    EndpointDown,
    /// Somebody's credentials ended, or a consent is missing.
    Credentials,
    /// Checksums differ; files are sent again.
    Checksum,
    /// Anything else; Globus tries again by itself.
    Other,
}

impl Fault {
    /// By Transfer's word for it.
    pub fn of(word: &str) -> Self {
        let word = word.to_uppercase();
        let has = |parts: &[&str]| parts.iter().any(|part| word.contains(part));
        if has(&["PERMISSION", "NOT_AUTHORIZED", "PATH_NOT_ALLOWED"]) {
            Self::PermissionDenied
        } else if has(&["FILE_NOT_FOUND", "PATH_NOT_FOUND", "NO_SUCH_FILE"]) {
            Self::FileNotFound
        } else if has(&["QUOTA", "NO_SPACE", "DISK_FULL"]) {
            Self::Quota
        } else if has(&["CREDENTIAL", "CONSENT", "AUTHENTICATION", "ACTIVATION"]) {
            Self::Credentials
        } else if has(&["CONNECT", "ENDPOINT_ERROR", "TIMEOUT", "GC_NOT", "UNREACHABLE", "GCP_PAUSED"]) {
            Self::EndpointDown
        } else if has(&["CHECKSUM", "VERIFY"]) {
            Self::Checksum
        } else {
            Self::Other
        }
    }

    /// Whether waiting cannot help: somebody has to act first.
    pub fn is_hopeless(self) -> bool {
        matches!(self, Self::PermissionDenied | Self::FileNotFound | Self::Credentials)
    }

    /// Who must do what.
    pub fn advice(self) -> &'static str {
        match self {
            Self::PermissionDenied => {
                "the administrators of both collections: give this client read permission at the source and \
                 write permission at the destination"
            }
            Self::FileNotFound => {
                "a source file is not there; check the path, or whether it was deleted meanwhile"
            }
            Self::Quota => "the destination is full; make room there (beamrail prune plan), then try again",
            Self::EndpointDown => {
                "a collection does not answer; its administrator: start its endpoint. Globus tries again by itself"
            }
            Self::Credentials => {
                "credentials ended or a consent is missing; operator: beamrail check, then do what it says"
            }
            Self::Checksum => {
                "files arrive damaged and are sent again; the administrators of the collections: check disks and network"
            }
            Self::Other => "Globus tries again by itself; its event list says more (beamrail globus task)",
        }
    }
}

/// What a task came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All was done.
    Succeeded,
    /// It works, or waits for its turn.
    Active,
    /// It tries, and something is in its way.
    Held(Fault),
    /// An administrator paused it.
    Paused,
    /// It waits for somebody to act.
    Inactive,
    /// Its deadline passed.
    DeadlineExpired,
    /// Somebody cancelled it.
    Cancelled,
    /// An error ended it.
    Failed(Fault),
    /// It says that it succeeded, and left files out.
    Incomplete {
        /// How many.
        skipped: u64,
    },
    /// A status that this version does not know.
    Unknown,
}

/// A task that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFailure {
    /// The task.
    pub task_id: String,
    /// What people called it.
    pub label: Option<String>,
    /// What it came to.
    pub outcome: Outcome,
    /// Transfer's words.
    pub said: String,
    /// The last faults of its event list, if they were read.
    pub events: Vec<String>,
}

impl Task {
    /// What it came to, or how it is.
    pub fn outcome(&self) -> Outcome {
        let skipped = self.subtasks_skipped_errors.unwrap_or(0);
        match &self.status {
            TaskStatus::Succeeded if skipped > 0 => Outcome::Incomplete { skipped },
            TaskStatus::Succeeded => Outcome::Succeeded,
            TaskStatus::Inactive => Outcome::Inactive,
            TaskStatus::Active if self.is_paused => Outcome::Paused,
            TaskStatus::Active => match self.nice_status.as_deref() {
                None | Some("" | "OK" | "Queued" | "QUEUED") => Outcome::Active,
                Some(word) => Outcome::Held(Fault::of(word)),
            },
            TaskStatus::Failed => {
                let code =
                    self.fatal_error.as_ref().map(|error| error.code.to_uppercase()).unwrap_or_default();
                if code.contains("DEADLINE") || code.contains("EXPIRED") && !code.contains("CREDENTIAL") {
                    Outcome::DeadlineExpired
                } else if code.contains("CANCEL") || self.canceled_by_admin.is_some() {
                    Outcome::Cancelled
                } else {
                    let word = self.nice_status.as_deref().filter(|_| code.is_empty()).unwrap_or(&code);
                    Outcome::Failed(Fault::of(word))
                }
            }
            TaskStatus::Other(_) => Outcome::Unknown,
        }
    }

    /// The failure that this task is, unless it succeeded; `events` are the newest of its event list.
    pub fn failure(&self, events: &[Event]) -> Option<TaskFailure> {
        let outcome = self.outcome();
        if outcome == Outcome::Succeeded {
            return None;
        }
        let fatal = self.fatal_error.as_ref().map(|error| format!("{}: {}", error.code, error.description));
        let admin = self.canceled_by_admin_message.clone();
        let nice = self.nice_status_short_description.clone().or(self.nice_status.clone());
        let status = String::from(self.status.clone());
        let said = fatal.or(admin).or(nice).unwrap_or(status);
        let text = |event: &Event| {
            let details = match &event.details {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Null => String::new(),
                other => other.to_string(),
            };
            let text = format!("{} {}: {}", event.time, event.code, details).replace('\n', " ");
            text.chars().take(300).collect()
        };
        let events = events.iter().filter(|event| event.is_error).take(3).map(text).collect();
        Some(TaskFailure { task_id: self.task_id.clone(), label: self.label.clone(), outcome, said, events })
    }

    /// How long it will take at its present pace, of so many bytes in all.
    pub fn time_left(&self, total_bytes: u64) -> Option<std::time::Duration> {
        let rate = self.effective_bytes_per_second;
        let left = total_bytes.checked_sub(self.bytes_transferred)?;
        left.checked_div(rate).map(std::time::Duration::from_secs)
    }
}

impl Outcome {
    /// Nothing but success is a success.
    ///
    /// # Errors
    /// [`Error::Task`] for everything else.
    pub fn success(self) -> Result<()> {
        match self {
            Self::Succeeded => Ok(()),
            outcome => {
                let (task_id, said, events) = ("(task)".to_owned(), String::new(), Vec::new());
                Err(Error::Task(Box::new(TaskFailure { task_id, label: None, outcome, said, events })))
            }
        }
    }

    /// Whether nothing more will happen.
    pub fn is_over(&self) -> bool {
        matches!(
            self,
            Self::Succeeded
                | Self::DeadlineExpired
                | Self::Cancelled
                | Self::Failed(_)
                | Self::Incomplete { .. }
        )
    }

    fn text(&self) -> String {
        match self {
            Self::Succeeded => "succeeded".into(),
            Self::Active => "is still at work".into(),
            Self::Held(fault) => format!("is held up by a fault; {}", fault.advice()),
            Self::Paused => "is paused by a collection's administrator; ask them why, it goes on when they let it".into(),
            Self::Inactive => {
                "is inactive: it waits for credentials or a consent; operator: beamrail check, then do what it says"
                    .into()
            }
            Self::DeadlineExpired => {
                "did not end before its deadline; look at its faults, then run it again: what arrived is not sent twice"
                    .into()
            }
            Self::Cancelled => "was cancelled".into(),
            Self::Failed(fault) => format!("failed; {}", fault.advice()),
            Self::Incomplete { skipped } => format!(
                "left out {skipped} files that could not be read at the source; look at its skipped errors, then run it again"
            ),
            Self::Unknown => "has a status that this version does not know; update beamrail".into(),
        }
    }
}

impl TaskFailure {
    /// Whether the same again can succeed without anybody changing anything.
    pub fn retry_helps(&self) -> bool {
        match &self.outcome {
            Outcome::DeadlineExpired | Outcome::Active => true,
            Outcome::Failed(fault) | Outcome::Held(fault) => {
                matches!(fault, Fault::EndpointDown | Fault::Checksum | Fault::Other)
            }
            _ => false,
        }
    }
}

impl fmt::Display for TaskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Globus task {}", self.task_id)?;
        if let Some(label) = &self.label {
            write!(f, " ({label})")?;
        }
        write!(f, " {}", self.outcome.text())?;
        if !self.said.is_empty() {
            write!(f, ". Globus says: {}", self.said)?;
        }
        for event in &self.events {
            write!(f, "\n  {event}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn task(more: Value) -> Task {
        let mut task = json!({"task_id": "t", "type": "TRANSFER", "status": "ACTIVE", "is_paused": false});
        if let (Some(task), Value::Object(more)) = (task.as_object_mut(), more) {
            task.extend(more);
        }
        serde_json::from_value(task).unwrap()
    }

    #[test]
    fn nothing_but_success_is_a_success() {
        let fatal =
            |code: &str| json!({"status": "FAILED", "fatal_error": {"code": code, "description": "d"}});
        for (more, expected, retry) in [
            (json!({"status": "SUCCEEDED"}), Outcome::Succeeded, false),
            (
                json!({"status": "SUCCEEDED", "subtasks_skipped_errors": 2}),
                Outcome::Incomplete { skipped: 2 },
                false,
            ),
            (json!({"nice_status": "OK"}), Outcome::Active, true),
            (json!({"nice_status": "Queued"}), Outcome::Active, true),
            (json!({"is_paused": true, "nice_status": "PAUSED_BY_ADMIN"}), Outcome::Paused, false),
            (json!({"nice_status": "PERMISSION_DENIED"}), Outcome::Held(Fault::PermissionDenied), false),
            (json!({"nice_status": "FILE_NOT_FOUND"}), Outcome::Held(Fault::FileNotFound), false),
            (json!({"nice_status": "QUOTA_EXCEEDED"}), Outcome::Held(Fault::Quota), false),
            (json!({"nice_status": "CONNECT_FAILED"}), Outcome::Held(Fault::EndpointDown), true),
            (json!({"status": "INACTIVE"}), Outcome::Inactive, false),
            (fatal("DEADLINE_EXPIRED"), Outcome::DeadlineExpired, true),
            (fatal("EXPIRED"), Outcome::DeadlineExpired, true),
            (fatal("CANCELED"), Outcome::Cancelled, false),
            (fatal("QUOTA_EXCEEDED"), Outcome::Failed(Fault::Quota), false),
            (fatal("CREDENTIAL_EXPIRED"), Outcome::Failed(Fault::Credentials), false),
            (json!({"status": "FAILED"}), Outcome::Failed(Fault::Other), true),
            (json!({"status": "FAILED", "canceled_by_admin": "BOTH"}), Outcome::Cancelled, false),
            (json!({"status": "SOMETHING"}), Outcome::Unknown, false),
        ] {
            let task = task(more.clone());
            assert_eq!(task.outcome(), expected, "{more}");
            let failure = task.failure(&[]);
            assert_eq!(failure.is_none(), expected == Outcome::Succeeded, "{more}");
            assert_eq!(failure.is_some_and(|failure| failure.retry_helps()), retry, "{more}");
        }
    }

    #[test]
    fn a_failure_says_who_must_do_what() {
        let task = task(json!({"label": "scan 1", "nice_status": "PERMISSION_DENIED"}));
        let event = Event {
            code: "PERMISSION_DENIED".into(),
            description: String::new(),
            details: json!("Path not allowed: /x"),
            is_error: true,
            time: "now".into(),
        };
        let text = task.failure(&[event]).unwrap().to_string();
        for part in
            ["task t (scan 1)", "give this client read permission", "\n  now PERMISSION_DENIED: Path not"]
        {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(task.time_left(100), None);
    }
}
