//! The table that every back end must show, row by row, and where the embedded one is stricter.
//!
//! Prefect's answers were seen on servers 2.20 and 3.9. A back end is a [`Judge`]; [`check`] asks it all rows of
//! its side. The transition function of this crate is one, a real Prefect server (in the tests of the `prefect`
//! crate) another.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::state::StateType::{
    self, Cancelled, Cancelling, Completed, Crashed, Failed, Paused, Pending, Running, Scheduled,
};
use crate::transition::{Entity, Facts, Verdict, decide};

/// The answer of a table, without its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The proposed state is stored.
    Accept,
    /// Another state is stored: this type.
    Instead(StateType),
    /// Refused; the present state stays, and the worker may go on by it.
    Keep,
    /// Refused; the worker stops.
    Abort,
    /// Ask again later.
    Wait,
}

/// A circumstance of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// Nothing in particular.
    Nothing,
    /// No place is free under a concurrency limit.
    LimitFull,
    /// Its time is two days off.
    NotDue,
    /// A retry is left.
    RetryLeft,
    /// No worker has it.
    Unheld,
    /// A worker has it.
    Held,
    /// A step of the run is running.
    StepRunning,
    /// A person asks for another try.
    AskedAgain,
    /// The transition was made before, and the answer was lost.
    Resent,
}

/// Which back ends show a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Both give this answer.
    Both(Answer),
    /// The embedded one is stricter.
    Stricter {
        /// The answer of the embedded back end.
        embedded: Answer,
        /// The answer of a Prefect server.
        prefect: Answer,
    },
    /// Not seen on a Prefect server.
    Embedded(Answer),
}

/// A row: in `from`, given something, `to` is proposed.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// What it is about.
    pub name: &'static str,
    /// A run or a step.
    pub entity: Entity,
    /// The present state; `None`: it is being created.
    pub from: Option<StateType>,
    /// The proposed one.
    pub to: StateType,
    /// The circumstance.
    pub given: Given,
    /// The answers.
    pub side: Side,
}

const fn row(
    name: &'static str,
    entity: Entity,
    from: StateType,
    to: StateType,
    given: Given,
    side: Side,
) -> Row {
    Row { name, entity, from: Some(from), to, given, side }
}

use Answer::{Abort, Accept, Instead, Keep, Wait};
use Entity::{Run, Step};
use Given::{AskedAgain, Held, LimitFull, NotDue, Nothing, Resent, RetryLeft, StepRunning, Unheld};
use Side::{Both, Embedded, Stricter};

const fn stricter(embedded: Answer, prefect: Answer) -> Side {
    Stricter { embedded, prefect }
}

/// The rows.
pub const TABLE: &[Row] = &[
    Row { name: "a run is made", entity: Run, from: None, to: Scheduled, given: Nothing, side: Both(Accept) },
    Row {
        name: "nothing is stopped before it is",
        entity: Run,
        from: None,
        to: Cancelling,
        given: Nothing,
        side: Embedded(Abort),
    },
    row("claim", Run, Scheduled, Pending, Nothing, Both(Accept)),
    row("second claim", Run, Pending, Pending, Nothing, Both(Abort)),
    row("claim under a full limit", Run, Scheduled, Pending, LimitFull, Both(Instead(Scheduled))),
    row("begin", Run, Pending, Running, Nothing, Both(Accept)),
    row("begin before its time", Run, Pending, Running, NotDue, Both(Wait)),
    row("a lost answer is resent", Run, Pending, Running, Resent, Both(Keep)),
    row("claim of a running run", Run, Running, Pending, Nothing, Embedded(Abort)),
    row("begin twice", Run, Running, Running, Nothing, Embedded(Abort)),
    row("complete", Run, Running, Completed, Nothing, Both(Accept)),
    row("fail", Run, Running, Failed, Nothing, Both(Accept)),
    row("fail with a retry left", Run, Running, Failed, RetryLeft, Both(Instead(Scheduled))),
    row("crash", Run, Running, Crashed, Nothing, Both(Accept)),
    row("hand back", Run, Running, Scheduled, Nothing, Both(Accept)),
    row("a worker died before it began", Run, Pending, Scheduled, Nothing, Both(Accept)),
    row("complete without having run", Run, Scheduled, Completed, Nothing, Embedded(Abort)),
    row("try a failed run again", Run, Failed, Scheduled, AskedAgain, Both(Accept)),
    row("try a crashed run again", Run, Crashed, Scheduled, AskedAgain, Both(Accept)),
    row("try a cancelled run again", Run, Cancelled, Scheduled, AskedAgain, Both(Accept)),
    row("try a completed run again", Run, Completed, Scheduled, AskedAgain, stricter(Abort, Accept)),
    row("complete twice", Run, Completed, Completed, Nothing, stricter(Abort, Accept)),
    row("a late finisher of a completed run", Run, Completed, Failed, Nothing, Embedded(Abort)),
    row("a late finisher of a failed run", Run, Failed, Completed, Nothing, Embedded(Abort)),
    row("a failed run runs on", Run, Failed, Running, Nothing, Embedded(Abort)),
    row("crash of a completed run", Run, Completed, Crashed, Nothing, Both(Abort)),
    row("crash of a failed run", Run, Failed, Crashed, Nothing, Both(Abort)),
    row("crash of a cancelled run", Run, Cancelled, Crashed, Nothing, Both(Abort)),
    row("cancel a running run", Run, Running, Cancelling, Held, Both(Accept)),
    row("cancel a run that nobody has", Run, Scheduled, Cancelling, Unheld, Both(Instead(Cancelled))),
    row("cancel a paused run", Run, Paused, Cancelling, Unheld, Embedded(Instead(Cancelled))),
    row("cancel twice", Run, Cancelling, Cancelling, Held, Embedded(Keep)),
    row("cancelled in the end", Run, Cancelling, Cancelled, Held, Both(Accept)),
    row("complete while being cancelled", Run, Cancelling, Completed, Held, Both(Keep)),
    row("fail while being cancelled", Run, Cancelling, Failed, Held, Embedded(Keep)),
    row("schedule while being cancelled", Run, Cancelling, Scheduled, Held, Embedded(Keep)),
    row("crash while being cancelled", Run, Cancelling, Crashed, Held, Embedded(Accept)),
    row("cancel a completed run", Run, Completed, Cancelling, Nothing, Embedded(Abort)),
    row("pause", Run, Running, Paused, Nothing, Both(Accept)),
    // A server lets the run pause and holds back its next step instead.
    row("pause while a step runs", Run, Running, Paused, StepRunning, stricter(Keep, Accept)),
    row("pause before it runs", Run, Scheduled, Paused, Nothing, Embedded(Keep)),
    row("resume", Run, Paused, Scheduled, Nothing, Both(Accept)),
    row("claim of a paused run", Run, Paused, Pending, Nothing, Embedded(Abort)),
    row("a step begins", Step, Scheduled, Running, Nothing, Both(Accept)),
    row("a step begins before its time", Step, Scheduled, Running, NotDue, Both(Wait)),
    row("a step fails with a retry left", Step, Running, Failed, RetryLeft, Both(Instead(Scheduled))),
    row("a step is taken up again", Step, Running, Running, Nothing, Both(Accept)),
    row("a step completes", Step, Running, Completed, Nothing, Both(Accept)),
    row("a finished step runs again", Step, Completed, Running, Nothing, stricter(Abort, Accept)),
    row("a finished step is failed", Step, Completed, Failed, Nothing, Embedded(Abort)),
    row("a failed step runs again by itself", Step, Failed, Running, Nothing, Embedded(Abort)),
    row("a failed step is scheduled by itself", Step, Failed, Scheduled, Nothing, Embedded(Abort)),
    row("a failed step is tried again on request", Step, Failed, Scheduled, AskedAgain, Embedded(Accept)),
    row("a finished step is tried again on request", Step, Completed, Scheduled, AskedAgain, Embedded(Abort)),
];

/// Something that answers proposals.
#[async_trait]
pub trait Judge: Send + Sync {
    /// Brings a run or step into the row's state and circumstance, proposes, and says what came back. `None`:
    /// this back end cannot set the circumstance up.
    async fn answer(&self, row: &Row) -> Option<Answer>;
}

/// Which column of the table a back end must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// The embedded engine's.
    Embedded,
    /// A Prefect server's.
    Prefect,
}

/// Asks all rows of a column; returns the rows asked and the rows that were answered otherwise.
pub async fn check(judge: &dyn Judge, column: Column) -> (usize, Vec<(Row, Answer)>) {
    let (mut asked, mut wrong) = (0, Vec::new());
    for row in TABLE {
        let expected = match (row.side, column) {
            (Both(answer), _) => answer,
            (Stricter { embedded, .. }, Column::Embedded) => embedded,
            (Stricter { prefect, .. }, Column::Prefect) => prefect,
            (Embedded(answer), Column::Embedded) => answer,
            (Embedded(_), Column::Prefect) => continue,
        };
        if let Some(answer) = judge.answer(row).await {
            asked += 1;
            if answer != expected {
                wrong.push((*row, answer));
            }
        }
    }
    (asked, wrong)
}

/// The transition function of this crate as a judge.
#[derive(Debug, Clone, Copy, Default)]
pub struct Function;

#[async_trait]
impl Judge for Function {
    async fn answer(&self, row: &Row) -> Option<Answer> {
        let now = Timestamp::UNIX_EPOCH;
        let later = crate::clock::add(now, std::time::Duration::from_secs(172_800));
        let mut facts = Facts::at(now);
        match row.given {
            Nothing | Unheld => (),
            LimitFull => facts.slot_free = false,
            NotDue => facts.due = Some(later),
            RetryLeft => facts.retry_at = Some(later),
            Held => facts.held = true,
            StepRunning => facts.steps_running = true,
            AskedAgain => facts.asked_again = true,
            Resent => facts.seen_before = true,
        }
        Some(match decide(row.entity, row.from, row.to, &facts) {
            Verdict::Accept => Accept,
            Verdict::Reject { instead: Some((kind, _)), .. } => Instead(kind),
            Verdict::Reject { instead: None, .. } => Keep,
            Verdict::Abort { .. } => Abort,
            Verdict::Wait { .. } => Wait,
        })
    }
}
