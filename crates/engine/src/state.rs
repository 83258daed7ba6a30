//! States of runs and steps. Types and names are Prefect's, so both back ends speak of the same things.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The type of a state; what the engine decides by. The name beside it is for people.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum StateType {
    /// Will be claimed when it is due.
    Scheduled,
    /// Claimed by a worker, not begun.
    Pending,
    /// At work.
    Running,
    /// Ended well, outputs checked.
    Completed,
    /// Ended by an error of the work.
    Failed,
    /// Ended by the death of the program (a panic).
    Crashed,
    /// Is being cancelled; outside work is being stopped.
    Cancelling,
    /// Was cancelled.
    Cancelled,
    /// Waits for a person.
    Paused,
}

impl StateType {
    /// All types, in the order of a run's life.
    pub const ALL: [StateType; 9] = [
        StateType::Scheduled,
        StateType::Pending,
        StateType::Running,
        StateType::Paused,
        StateType::Cancelling,
        StateType::Completed,
        StateType::Failed,
        StateType::Crashed,
        StateType::Cancelled,
    ];

    /// Prefect's spelling: "SCHEDULED".
    pub fn as_str(self) -> &'static str {
        match self {
            StateType::Scheduled => "SCHEDULED",
            StateType::Pending => "PENDING",
            StateType::Running => "RUNNING",
            StateType::Completed => "COMPLETED",
            StateType::Failed => "FAILED",
            StateType::Crashed => "CRASHED",
            StateType::Cancelling => "CANCELLING",
            StateType::Cancelled => "CANCELLED",
            StateType::Paused => "PAUSED",
        }
    }

    /// The name that a state of this type has by default: "Scheduled".
    pub fn default_name(self) -> &'static str {
        match self {
            StateType::Scheduled => "Scheduled",
            StateType::Pending => "Pending",
            StateType::Running => "Running",
            StateType::Completed => "Completed",
            StateType::Failed => "Failed",
            StateType::Crashed => "Crashed",
            StateType::Cancelling => "Cancelling",
            StateType::Cancelled => "Cancelled",
            StateType::Paused => "Paused",
        }
    }

    /// Whether nothing comes after it.
    pub fn is_terminal(self) -> bool {
        matches!(self, StateType::Completed | StateType::Failed | StateType::Crashed | StateType::Cancelled)
    }

    /// Whether a worker has the run, so that it takes a place within limits.
    pub fn is_active(self) -> bool {
        matches!(self, StateType::Pending | StateType::Running | StateType::Cancelling)
    }
}

impl fmt::Display for StateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for StateType {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        StateType::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| {
            let names: Vec<_> = StateType::ALL.iter().map(|kind| kind.as_str()).collect();
            crate::Error::invalid(format!("state {text:?}"), format!("states are {}", names.join(", ")))
        })
    }
}

/// Names that states carry besides their type's default.
pub mod names {
    /// SCHEDULED, and its time has passed.
    pub const LATE: &str = "Late";
    /// SCHEDULED again after a failure, a hand-back or a lost worker.
    pub const AWAITING_RETRY: &str = "AwaitingRetry";
    /// SCHEDULED while a limit is full.
    pub const AWAITING_SLOT: &str = "AwaitingConcurrencySlot";
    /// SCHEDULED until a sub-run ends.
    pub const AWAITING_SUBRUN: &str = "AwaitingSubrun";
    /// SCHEDULED by a sleep of the flow.
    pub const SLEEPING: &str = "Sleeping";
    /// SCHEDULED after a pause.
    pub const RESUMING: &str = "Resuming";
    /// RUNNING, not for the first time.
    pub const RETRYING: &str = "Retrying";
    /// PAUSED, holding no place in a worker.
    pub const SUSPENDED: &str = "Suspended";
    /// PENDING while an external step is being started.
    pub const SUBMITTING: &str = "Submitting";
    /// FAILED by a timeout.
    pub const TIMED_OUT: &str = "TimedOut";
}

/// One state: an entry in the append-only history of a run or step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// What the engine decides by.
    #[serde(rename = "type")]
    pub kind: StateType,
    /// What a person reads.
    pub name: String,
    /// Why.
    pub message: Option<String>,
    /// Facts for programs.
    #[serde(default)]
    pub details: Value,
    /// When it was entered.
    pub time: Timestamp,
}

impl State {
    /// A state with its type's name and no message.
    pub fn new(kind: StateType, time: Timestamp) -> Self {
        State { kind, name: kind.default_name().to_owned(), message: None, details: Value::Null, time }
    }

    /// With another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// With a reason.
    #[must_use]
    pub fn because(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// With facts.
    #[must_use]
    pub fn with(mut self, details: Value) -> Self {
        self.details = details;
        self
    }
}
