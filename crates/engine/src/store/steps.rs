//! Writes about steps. Each needs the lease; each goes through the transition table and into the history.

use jiff::Timestamp;
use rusqlite::{Connection, named_params, params};
use serde_json::Value;

use super::rows;
use super::runs::{self, Lease};
use super::us;
use super::writer::Tx;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::failure::{Failure, FailureKind};
use crate::model::{Run, RunId, Step, StepKind};
use crate::state::{State, StateType, names};
use crate::transition::{Entity, Facts, Verdict, decide};

/// What the flow says of a step before it begins.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    pub key: String,
    pub name: String,
    pub kind: StepKind,
    pub input: Option<String>,
    pub keeps_failure: bool,
}

/// Writes about one step of one generation under one lease.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub lease: Lease,
    pub generation: u32,
    pub key: String,
}

/// All steps of a generation, in the order in which they began.
pub(crate) fn of_run(connection: &Connection, run: RunId, generation: u32) -> rusqlite::Result<Vec<Step>> {
    connection
        .prepare_cached(&format!(
            "SELECT {} FROM steps WHERE run = ?1 AND generation = ?2 ORDER BY position, key",
            rows::STEP
        ))?
        .query_map(params![run.to_string(), generation], rows::step)?
        .collect()
}

impl Entry {
    fn get(&self, tx: &Tx<'_>) -> Result<Option<Step>> {
        let sql = format!("SELECT {} FROM steps WHERE run = ?1 AND generation = ?2 AND key = ?3", rows::STEP);
        tx.row(&sql, params![self.lease.run.to_string(), self.generation, self.key], rows::step)
    }

    fn must(&self, tx: &Tx<'_>) -> Result<Step> {
        self.get(tx)?
            .ok_or_else(|| Error::NotFound { what: "step", name: format!("{}/{}", self.lease.run, self.key) })
    }

    /// Stores a state if the table accepts it.
    fn enter(&self, tx: &Tx<'_>, from: &Step, state: &State, facts: &Facts) -> Result<()> {
        match decide(Entity::Step, Some(from.state.kind), state.kind, facts) {
            Verdict::Accept => store_state(tx, from, state),
            Verdict::Reject { reason, .. } | Verdict::Abort { reason } => {
                let reason = format!("step {}: {reason}", self.key);
                Err(Error::Refused { run: self.lease.run, reason })
            }
            Verdict::Wait { until } => {
                let reason = format!("step {} is due at {until}", self.key);
                Err(Error::Refused { run: self.lease.run, reason })
            }
        }
    }

    /// An attempt begins. External steps enter PENDING "Submitting" until the act is done.
    pub fn begin(&self, tx: &Tx<'_>, declared: &Declared) -> Result<Step> {
        self.lease.check(tx)?;
        let known = self.get(tx)?;
        let again = known.is_some();
        // The death of a worker is no failure of the step: it does not use up a retry.
        let taken_over = known
            .as_ref()
            .is_some_and(|step| matches!(step.state.kind, StateType::Pending | StateType::Running));
        let known = match known {
            Some(step) => step,
            None => {
                self.insert(tx, declared)?;
                self.must(tx)?
            }
        };
        if known.state.kind.is_terminal() {
            let reason = format!("step {} has ended; a finished step stays finished", self.key);
            return Err(Error::Refused { run: self.lease.run, reason });
        }
        let attached = known.handle.is_some() && known.acted;
        let state = match declared.kind {
            StepKind::External if !attached => {
                State::new(StateType::Pending, tx.now).named(names::SUBMITTING)
            }
            _ if again => State::new(StateType::Running, tx.now).named(names::RETRYING),
            _ => State::new(StateType::Running, tx.now),
        };
        // A step that a dead worker left PENDING or RUNNING is taken up again as it is.
        if !(again && known.state.kind == state.kind && state.kind == StateType::Pending) {
            if state.kind == StateType::Pending && known.state.kind == StateType::Running {
                let state = State::new(StateType::Scheduled, tx.now).named(names::AWAITING_RETRY);
                store_state(tx, &known, &state)?;
            }
            store_state(tx, &known, &state)?;
        }
        // A new submission gets a new identity; one that is known is found again under its own.
        tx.execute(
            "UPDATE steps SET attempt = attempt + :counts, submission = submission + (handle IS NULL), wake = NULL,
               started = coalesce(started, :now), error = NULL,
               attempt_started = CASE WHEN acted THEN coalesce(attempt_started, :now) ELSE :now END,
               running_since = CASE WHEN acted THEN running_since END
             WHERE run = :run AND generation = :generation AND key = :key",
            named_params! { ":now": us(tx.now), ":run": self.lease.run.to_string(),
                ":generation": self.generation, ":key": self.key, ":counts": !taken_over },
        )?;
        self.must(tx)
    }

    /// Whether a person asked for another try of it after it had ended badly.
    pub fn is_reopened(&self, tx: &Tx<'_>) -> Result<bool> {
        Ok(self.get(tx)?.is_some_and(|step| step.state.kind == StateType::Scheduled))
    }

    fn insert(&self, tx: &Tx<'_>, declared: &Declared) -> Result<()> {
        tx.execute(
            "INSERT INTO steps (run, generation, key, name, kind, position, state_type, state_name, state_time,
               input, keeps_failure)
             VALUES (:run, :generation, :key, :name, :kind,
               (SELECT count(*) FROM steps WHERE run = :run AND generation = :generation),
               'SCHEDULED', 'Scheduled', :now, :input, :keeps)",
            named_params! { ":run": self.lease.run.to_string(), ":generation": self.generation,
                ":key": self.key, ":name": declared.name, ":kind": declared.kind.as_str(),
                ":now": us(tx.now), ":input": declared.input, ":keeps": declared.keeps_failure },
        )?;
        Ok(())
    }

    fn set(&self, tx: &Tx<'_>, assignment: &str, value: impl rusqlite::ToSql) -> Result<()> {
        let sql = format!("UPDATE steps SET {assignment} WHERE run = ?1 AND generation = ?2 AND key = ?3");
        tx.execute(&sql, params![self.lease.run.to_string(), self.generation, self.key, value])?;
        Ok(())
    }

    /// The handle of outside work, before the act.
    pub fn intend(&self, tx: &Tx<'_>, handle: &Value) -> Result<()> {
        self.lease.check(tx)?;
        self.set(tx, "handle = ?4, acted = 0", rows::text(handle))
    }

    /// The act is done (or was found done): the outside work lives under this handle.
    pub fn acted(&self, tx: &Tx<'_>, handle: &Value) -> Result<()> {
        self.lease.check(tx)?;
        let step = self.must(tx)?;
        if step.state.kind == StateType::Pending {
            self.enter(tx, &step, &State::new(StateType::Running, tx.now), &Facts::at(tx.now))?;
        }
        self.set(tx, "handle = ?4, acted = 1", rows::text(handle))
    }

    /// It has left somebody's queue and really runs.
    pub fn running(&self, tx: &Tx<'_>) -> Result<()> {
        self.lease.check(tx)?;
        self.set(tx, "running_since = coalesce(running_since, ?4)", us(tx.now))
    }

    /// It waits: for a time, a person, a sub-run.
    pub fn wait(&self, tx: &Tx<'_>, state: State, wake: Option<Timestamp>) -> Result<()> {
        self.lease.check(tx)?;
        let step = self.must(tx)?;
        store_state(tx, &step, &State { time: tx.now, ..state })?;
        self.set(tx, "wake = ?4", wake.map(us))
    }

    /// It ended well. The output is what a resumed run is given.
    pub fn complete(&self, tx: &Tx<'_>, output: &Value) -> Result<()> {
        self.lease.check(tx)?;
        let step = self.must(tx)?;
        self.enter(tx, &step, &State::new(StateType::Completed, tx.now), &Facts::at(tx.now))?;
        self.set(tx, "output = ?4", rows::text(output))?;
        self.set(tx, "wake = NULL, ended = ?4", us(tx.now))
    }

    /// It failed and is tried again at `wake`.
    pub fn retry_at(&self, tx: &Tx<'_>, failure: &Failure, wake: Timestamp) -> Result<()> {
        self.lease.check(tx)?;
        let step = self.must(tx)?;
        let state =
            State::new(StateType::Scheduled, tx.now).named(names::AWAITING_RETRY).because(&failure.message);
        store_state(tx, &step, &state)?;
        if failure.work_ended {
            self.set(tx, "handle = NULL, acted = 0, running_since = ?4", None::<i64>)?;
        }
        self.set(tx, "error = ?4", rows::text(failure))?;
        self.set(tx, "wake = ?4", us(wake))
    }

    /// It ended badly.
    pub fn fail(&self, tx: &Tx<'_>, failure: &Failure) -> Result<()> {
        self.lease.check(tx)?;
        let step = self.must(tx)?;
        let state = match failure.kind {
            FailureKind::Cancelled => State::new(StateType::Cancelled, tx.now),
            // Not an end: it begins again when the person is done.
            FailureKind::NeedsInput => State::new(StateType::Paused, tx.now).named(names::SUSPENDED),
            _ if failure.code.as_deref().is_some_and(|code| code.ends_with("-timeout")) => {
                State::new(StateType::Failed, tx.now).named(names::TIMED_OUT)
            }
            _ => State::new(StateType::Failed, tx.now),
        };
        let ended = state.kind.is_terminal();
        self.enter(tx, &step, &state.because(&failure.message), &Facts::at(tx.now))?;
        self.set(tx, "error = ?4", rows::text(failure))?;
        self.set(tx, "wake = NULL, ended = ?4", ended.then_some(us(tx.now)))
    }
}

fn store_state(tx: &Tx<'_>, step: &Step, state: &State) -> Result<()> {
    tx.execute(
        "UPDATE steps SET state_type = ?4, state_name = ?5, state_message = ?6, state_details = ?7,
           state_time = ?8 WHERE run = ?1 AND generation = ?2 AND key = ?3",
        params![
            step.run.to_string(),
            step.generation,
            step.key,
            state.kind.as_str(),
            state.name,
            state.message,
            rows::text(&state.details),
            us(state.time)
        ],
    )?;
    runs::append(tx, step.run, Some(&step.key), state)?;
    tx.announce(Event::Step { run: step.run, step: step.key.clone(), state: state.clone() });
    Ok(())
}

fn current(tx: &Tx<'_>, run: &Run) -> Result<Vec<Step>> {
    of_run(tx.conn, run.id, run.generation).map_err(|error| tx.explain(&error))
}

/// Steps that nobody will end any more are CANCELLED: a run that has ended has no running steps.
pub(crate) fn close_open(tx: &Tx<'_>, run: &Run, reason: &str) -> Result<()> {
    for step in current(tx, run)? {
        if step.state.kind.is_terminal() {
            continue;
        }
        store_state(tx, &step, &State::new(StateType::Cancelled, tx.now).because(reason))?;
        tx.execute(
            "UPDATE steps SET ended = ?4, wake = NULL WHERE run = ?1 AND generation = ?2 AND key = ?3",
            params![step.run.to_string(), step.generation, step.key, us(tx.now)],
        )?;
    }
    Ok(())
}

/// Before another try of the run: what failed or was cancelled may begin again, except failures that the
/// flow declared to be answers. Outside work that may still live keeps its handle.
pub(crate) fn reopen_failed(tx: &Tx<'_>, run: &Run) -> Result<()> {
    for step in current(tx, run)? {
        let ended_badly = step.state.kind.is_terminal() && step.state.kind != StateType::Completed;
        if !ended_badly {
            continue;
        }
        let alive = step.error.as_ref().is_some_and(|error| {
            let unseen = step.acted && error.kind == FailureKind::Retryable;
            (unseen || error.work_lives) && !error.work_ended
        });
        let state = State::new(StateType::Scheduled, tx.now).named(names::AWAITING_RETRY);
        let changed = tx.execute(
            "UPDATE steps SET ended = NULL, wake = NULL, output = NULL, attempt = 0,
               handle = CASE WHEN ?4 OR kind = 'subrun' THEN handle END, acted = acted AND ?4
             WHERE run = ?1 AND generation = ?2 AND key = ?3 AND NOT keeps_failure",
            params![step.run.to_string(), step.generation, step.key, alive],
        )?;
        if changed > 0 {
            store_state(tx, &step, &state.because("the run is tried again"))?;
        }
    }
    Ok(())
}

/// Whether work outside may live that only the flow can stop.
pub(crate) fn live_outside(tx: &Tx<'_>, run: &Run) -> Result<bool> {
    let live = |step: &Step| {
        step.kind == StepKind::External && step.handle.is_some() && !step.state.kind.is_terminal()
    };
    Ok(current(tx, run)?.iter().any(live))
}
