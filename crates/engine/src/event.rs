//! What changed, as it is committed: for live views and for workers that wait.

use serde::Serialize;

use crate::model::{LogLine, RunId};
use crate::state::State;

/// A change in the journal.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A run entered a state.
    Run {
        /// The run.
        run: RunId,
        /// Its flow.
        flow: String,
        /// The state.
        state: State,
    },
    /// A step entered a state.
    Step {
        /// The run.
        run: RunId,
        /// The step's key.
        step: String,
        /// The state.
        state: State,
    },
    /// A line was logged.
    Log {
        /// The line.
        line: LogLine,
    },
    /// An artifact was written.
    Artifact {
        /// The run.
        run: RunId,
        /// Its key.
        key: String,
    },
    /// A person wants something of the worker that holds the run: cancel, pause.
    Control {
        /// The run.
        run: RunId,
    },
    /// A message was put into the outbox.
    Outbox {
        /// What it is about.
        topic: String,
    },
}
