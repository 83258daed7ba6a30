//! States, proposals and verdicts.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// What a server decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StateType {
    /// Will run.
    Scheduled,
    /// A worker has it.
    Pending,
    /// Runs.
    Running,
    /// Ended well.
    Completed,
    /// Ended badly.
    Failed,
    /// Was stopped.
    Cancelled,
    /// Its program died.
    Crashed,
    /// Waits for a person.
    Paused,
    /// Is being stopped.
    Cancelling,
}

impl StateType {
    /// Whether it has ended.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::Crashed)
    }

    /// As Prefect writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "SCHEDULED",
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::Crashed => "CRASHED",
            Self::Paused => "PAUSED",
            Self::Cancelling => "CANCELLING",
        }
    }
}

impl fmt::Display for StateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Facts about a state. Fields that are `None` are not sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateDetails {
    /// When it may begin (SCHEDULED).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled_time: Option<Timestamp>,
    /// Until when it waits (PAUSED).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_timeout: Option<Timestamp>,
    /// Whether the process ends meanwhile (PAUSED, "Suspended").
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pause_reschedule: bool,
    /// Names the pause; the same pause is made once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_key: Option<String>,
    /// Where the form of what is asked is, and where the answer goes (PAUSED): [`crate::Keyset::details`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_input_keyset: Option<Value>,
    /// Names the transition; the same transition is made once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transition_id: Option<Uuid>,
    /// The run that a task of type "sub-flow" stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child_flow_run_id: Option<Uuid>,
}

/// A state that a server has.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct State {
    /// Its id.
    #[serde(default)]
    pub id: Option<Uuid>,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: StateType,
    /// What people read.
    #[serde(default)]
    pub name: Option<String>,
    /// When it was entered.
    #[serde(default)]
    pub timestamp: Option<Timestamp>,
    /// Why.
    #[serde(default)]
    pub message: Option<String>,
    /// Facts.
    #[serde(default)]
    pub state_details: StateDetails,
}

impl State {
    /// Its name, or that of its type.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(self.kind.as_str())
    }
}

/// A state to be proposed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Proposal {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: StateType,
    /// What people read; `None`: the type's name.
    pub name: Option<String>,
    /// Why.
    pub message: Option<String>,
    /// Facts.
    pub state_details: StateDetails,
    /// A result, for the few states that carry one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl Proposal {
    /// This type.
    pub fn new(kind: StateType) -> Self {
        Proposal { kind, name: None, message: None, state_details: StateDetails::default(), data: None }
    }

    /// Under another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// With a reason.
    #[must_use]
    pub fn because(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Not before this time.
    #[must_use]
    pub fn at(mut self, at: Timestamp) -> Self {
        self.state_details.scheduled_time = Some(at);
        self
    }

    /// As this transition: sent again under the same id it is made once. Without one, each proposal gets its
    /// own when it is made; give it where the proposal must survive this process.
    #[must_use]
    pub fn transition(mut self, id: Uuid) -> Self {
        self.state_details.transition_id = Some(id);
        self
    }

    /// PAUSED, with the process gone, until somebody resumes it or the time has come.
    pub fn suspended(key: impl Into<String>, until: Timestamp) -> Self {
        let mut suspended = Proposal::new(StateType::Paused).named("Suspended");
        suspended.state_details.pause_key = Some(key.into());
        suspended.state_details.pause_timeout = Some(until);
        suspended.state_details.pause_reschedule = true;
        suspended
    }
}

/// The answer to a proposal. The HTTP status says nothing about it.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Stored (now, or by the same transition before).
    Accept(State),
    /// The server put or kept another state: obey it.
    Reject {
        /// Where it stands.
        state: Option<State>,
        /// Why.
        reason: String,
    },
    /// Nothing was stored; stop working on it.
    Abort {
        /// Why.
        reason: String,
    },
    /// Nothing was stored; ask again later.
    Wait {
        /// After so long.
        delay: Duration,
        /// Why.
        reason: String,
    },
}

impl Verdict {
    /// Whether the proposed state is stored.
    pub fn is_accept(&self) -> bool {
        matches!(self, Verdict::Accept(_))
    }
}

/// A verdict as it is sent.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    pub state: Option<State>,
    pub status: Status,
    #[serde(default)]
    pub details: Option<Details>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Status {
    Accept,
    Reject,
    Abort,
    Wait,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Details {
    pub reason: Option<String>,
    pub delay_seconds: Option<f64>,
}

/// What the server says about a transition that it has seen; it is no refusal.
const MADE_BEFORE: &str = "already made this state transition";
/// How an ABORT begins that is a fault of the server and no verdict.
const FAULT: &str = "Error validating state:";

impl Answer {
    /// The verdict, or `Err` with the server's words where it is a fault.
    pub fn verdict(self) -> Result<Verdict, String> {
        let details = self.details.unwrap_or_default();
        let reason = details.reason.unwrap_or_default();
        match (self.status, self.state) {
            (Status::Accept, Some(state)) => Ok(Verdict::Accept(state)),
            (Status::Accept, None) => Err("ACCEPT without a state".to_owned()),
            (Status::Reject, Some(state)) if reason.contains(MADE_BEFORE) => Ok(Verdict::Accept(state)),
            (Status::Reject, state) => Ok(Verdict::Reject { state, reason }),
            (Status::Abort, _) if reason.starts_with(FAULT) => Err(reason),
            (Status::Abort, _) => Ok(Verdict::Abort { reason }),
            (Status::Wait, _) => {
                let seconds = details.delay_seconds.filter(|s| s.is_finite()).unwrap_or(1.0).clamp(0.0, 1e9);
                Ok(Verdict::Wait { delay: Duration::from_secs_f64(seconds), reason })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn verdict(answer: Value) -> Result<Verdict, String> {
        serde_json::from_value::<Answer>(answer).unwrap().verdict()
    }

    #[test]
    fn the_answers_that_were_seen() {
        let state = json!({"id": "01a20388-a06d-767d-99b0-fc974405abbb", "type": "RUNNING", "name": "Running",
            "timestamp": "2026-11-22T13:53:35.302800+00:00", "state_details": {"transition_id": null, "extra": 1}});
        let accept =
            verdict(json!({"state": state, "status": "ACCEPT", "details": {"type": "accept_details"}}));
        assert!(accept.unwrap().is_accept());
        let resent = verdict(json!({"state": state, "status": "REJECT", "details":
            {"type": "reject_details", "reason": "This run has already made this state transition."}}));
        assert!(resent.unwrap().is_accept(), "a lost answer was no refusal");
        let fault = verdict(json!({"state": null, "status": "ABORT", "details":
            {"type": "abort_details", "reason": "Error validating state: KeyError('x')"}}));
        assert!(fault.is_err(), "a fault is no verdict");
        let wait = verdict(json!({"state": null, "status": "WAIT", "details":
            {"type": "wait_details", "delay_seconds": 172800, "reason": "Scheduled time is in the future"}}));
        assert!(matches!(wait, Ok(Verdict::Wait { delay, .. }) if delay.as_secs() == 172_800));
        let bad = verdict(json!({"state": null, "status": "WAIT", "details": {"delay_seconds": -5}}));
        assert!(matches!(bad, Ok(Verdict::Wait { delay, .. }) if delay.is_zero()));
    }
}
