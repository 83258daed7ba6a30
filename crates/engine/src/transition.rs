//! The one table of transitions: what happens when a state is proposed for a run or a step.
//!
//! It is a pure function over what is known ([`Facts`]), and every write of a state goes through it. The
//! answers are Prefect's verdicts. [`crate::conformance`] holds the rows that a back end must show, and marks
//! where this one is stricter: what has completed stays completed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::state::{StateType, names};

/// Whose state it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entity {
    /// A run of a flow.
    Run,
    /// A step of a run.
    Step,
}

/// What the decision depends on, besides the two states.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts {
    /// The time now.
    pub now: Timestamp,
    /// When the run or step may begin.
    pub due: Option<Timestamp>,
    /// A worker holds it, or outside work is alive that somebody must stop.
    pub held: bool,
    /// Places are free under every limit that applies.
    pub slot_free: bool,
    /// Retries that are left, and when the next would begin.
    pub retry_at: Option<Timestamp>,
    /// Steps of the run are at work.
    pub steps_running: bool,
    /// The proposal is a person's wish to try again.
    pub asked_again: bool,
    /// This very transition was stored before (its id is known).
    pub seen_before: bool,
}

impl Facts {
    /// Nothing stands in the way.
    pub fn at(now: Timestamp) -> Self {
        Facts { now, slot_free: true, ..Facts::default() }
    }
}

/// The answer to a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Store it.
    Accept,
    /// Store another state instead (`None`: keep the present one).
    Reject {
        /// The state that takes its place: type and name.
        instead: Option<(StateType, &'static str)>,
        /// Why.
        reason: &'static str,
    },
    /// Store nothing and stop working on it.
    Abort {
        /// Why.
        reason: &'static str,
    },
    /// Store nothing and ask again at this time.
    Wait {
        /// When.
        until: Timestamp,
    },
}

/// Decides about `proposed`. `current` is `None` for a run or step that is being created.
pub fn decide(entity: Entity, current: Option<StateType>, proposed: StateType, facts: &Facts) -> Verdict {
    use StateType::{Cancelled, Cancelling, Completed, Crashed, Failed, Paused, Pending, Running, Scheduled};
    let abort = |reason| Verdict::Abort { reason };
    let instead = |kind, name, reason| Verdict::Reject { instead: Some((kind, name)), reason };
    let keep = |reason| Verdict::Reject { instead: None, reason };
    if facts.seen_before {
        return keep("this transition has been made already");
    }
    let Some(current) = current else {
        return match proposed {
            Cancelling => abort("what does not exist yet cannot be stopped"),
            _ => Verdict::Accept,
        };
    };
    match (current, proposed) {
        // What has ended stays ended; only a person may ask for another try of what did not complete.
        (Completed, _) => abort("it has completed, and what has completed stays so"),
        (from, Scheduled) if from.is_terminal() => match (entity, facts.asked_again) {
            (Entity::Run, _) | (Entity::Step, true) => Verdict::Accept,
            (Entity::Step, false) => abort("it has ended; a finished step stays finished"),
        },
        (from, _) if from.is_terminal() => abort("it is in a terminal state already"),

        // A run that is being cancelled can only end so (or in the death of its program).
        (Cancelling, Cancelled | Crashed) => Verdict::Accept,
        (Cancelling, Cancelling) => keep("it is being cancelled already"),
        (Cancelling, _) => keep("it is being cancelled, and goes to no state other than Cancelled"),
        (_, Cancelling) if !facts.held => instead(Cancelled, "Cancelled", "nobody was working on it"),

        (Pending, Pending) => abort("it is in a PENDING state and cannot transition to a PENDING state"),
        (Running | Paused, Pending) => {
            abort("it has begun; it is scheduled again before it is claimed again")
        }
        (Scheduled, Pending) if !facts.slot_free => {
            instead(Scheduled, names::AWAITING_SLOT, "a concurrency limit is reached")
        }
        (_, Running) => match facts.due {
            Some(due) if due > facts.now && current != Running => Verdict::Wait { until: due },
            _ if current == Running && entity == Entity::Run => abort("it is running already"),
            _ => Verdict::Accept,
        },
        (Running, Failed) if facts.retry_at.is_some() => {
            instead(Scheduled, names::AWAITING_RETRY, "retries are left")
        }
        (Running, Paused) if facts.steps_running => keep("steps of it are running; it pauses between steps"),
        (Scheduled | Pending, Paused) => keep("it is not running; a scheduled run is held back by its queue"),
        (Scheduled, Completed) if entity == Entity::Run => abort("it has not run"),
        _ => Verdict::Accept,
    }
}
