//! Writes about runs. Every state goes through [`decide`](crate::transition::decide) and into the history.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{named_params, params};
use serde_json::Value;

use super::rows;
use super::us;
use super::writer::Tx;
use crate::clock::add;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::failure::Failure;
use crate::model::{Ask, Created, NewRun, Run, RunId};
use crate::state::{State, StateType, names};
use crate::transition::{Entity, Facts, Verdict, decide};

/// The right to write about a run: worthless once the journal has a higher number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub run: RunId,
    pub fence: i64,
    pub worker: String,
}

impl Lease {
    /// Refuses unless this lease is the last that was given.
    pub fn check(&self, tx: &Tx<'_>) -> Result<()> {
        let theirs = tx
            .row("SELECT fence FROM runs WHERE id = ?1", [self.run.to_string()], |row| row.get::<_, i64>(0))?
            .ok_or_else(|| Error::no_run(self.run))?;
        if theirs == self.fence {
            return Ok(());
        }
        Err(Error::LeaseLost { run: self.run, ours: self.fence, theirs })
    }
}

/// A name for people: "alcf_recon_flow-9f2c".
fn made_name(flow: &str, id: RunId) -> String {
    let id = id.0.as_simple().to_string();
    format!("{flow}-{}", id.get(26..).unwrap_or(&id))
}

/// Makes a run, or finds the one of the same idempotency key.
pub(crate) fn create(tx: &Tx<'_>, id: RunId, new: &NewRun) -> Result<Created> {
    if let Some(key) = &new.idempotency_key {
        let known = tx.row(
            "SELECT run FROM run_keys WHERE flow = ?1 AND key = ?2",
            [new.flow.as_str(), key],
            |row| rows::id(row, 0),
        )?;
        if let Some(id) = known {
            return Ok(Created { id, is_new: false });
        }
        tx.execute(
            "INSERT INTO run_keys (flow, key, run, created) VALUES (?1, ?2, ?3, ?4)",
            params![new.flow, key, id.to_string(), us(tx.now)],
        )?;
    }
    let due = new.at.unwrap_or(tx.now);
    let state = State::new(StateType::Scheduled, tx.now);
    tx.execute(
        "INSERT INTO runs (id, flow, name, parameters, tags, state_type, state_name, state_time, created, due,
           expected, parent, deployment, pool, queue, retries, retry_delay)
         VALUES (:id, :flow, :name, :parameters, :tags, :type, :state, :now, :now, :due, :due, :parent,
           :deployment, :pool, :queue, :retries, :retry_delay)",
        named_params! {
            ":id": id.to_string(), ":flow": new.flow,
            ":name": new.name.clone().unwrap_or_else(|| made_name(&new.flow, id)),
            ":parameters": rows::text(&new.parameters), ":tags": rows::text(&new.tags),
            ":type": state.kind.as_str(), ":state": state.name, ":now": us(tx.now), ":due": us(due),
            ":parent": new.parent.map(|parent| parent.to_string()), ":deployment": new.deployment,
            ":pool": new.pool, ":queue": new.queue, ":retries": new.retries,
            ":retry_delay": i64::try_from(new.retry_delay.as_micros()).unwrap_or(i64::MAX),
        },
    )?;
    for tag in &new.tags {
        tx.execute(
            "INSERT OR IGNORE INTO run_tags (tag, run) VALUES (?1, ?2)",
            params![tag, id.to_string()],
        )?;
    }
    record(tx, id, &new.flow, &state)?;
    Ok(Created { id, is_new: true })
}

/// The run as this transaction sees it.
pub(crate) fn get(tx: &Tx<'_>, id: RunId) -> Result<Run> {
    tx.row(&format!("SELECT {} FROM runs WHERE id = ?1", rows::RUN), [id.to_string()], rows::run)?
        .ok_or_else(|| Error::no_run(id))
}

/// Stores a state that was accepted: the run's row, the history, the announcement.
pub(crate) fn enter(tx: &Tx<'_>, run: RunId, state: &State) -> Result<()> {
    let flow = tx
        .row(
            "UPDATE runs SET state_type = ?2, state_name = ?3, state_message = ?4, state_details = ?5,
               state_time = ?6 WHERE id = ?1 RETURNING flow",
            params![
                run.to_string(),
                state.kind.as_str(),
                state.name,
                state.message,
                rows::text(&state.details),
                us(state.time)
            ],
            |row| row.get::<_, String>(0),
        )?
        .ok_or_else(|| Error::no_run(run))?;
    record(tx, run, &flow, state)
}

fn record(tx: &Tx<'_>, run: RunId, flow: &str, state: &State) -> Result<()> {
    append(tx, run, None, state)?;
    tx.announce(Event::Run { run, flow: flow.to_owned(), state: state.clone() });
    Ok(())
}

/// Adds to the append-only history.
pub(crate) fn append(tx: &Tx<'_>, run: RunId, step: Option<&str>, state: &State) -> Result<()> {
    tx.execute(
        "INSERT INTO history (run, step, type, name, message, details, time, fence)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, (SELECT fence FROM runs WHERE id = ?1))",
        params![
            run.to_string(),
            step,
            state.kind.as_str(),
            state.name,
            state.message,
            rows::text(&state.details),
            us(state.time)
        ],
    )?;
    Ok(())
}

/// Proposes a state and stores what the table answers. A refusal is an error.
pub(crate) fn propose(tx: &Tx<'_>, run: &Run, state: State, facts: &Facts) -> Result<State> {
    let refused = |reason: &str| Error::Refused { run: run.id, reason: reason.to_owned() };
    match decide(Entity::Run, Some(run.state.kind), state.kind, facts) {
        Verdict::Accept => {
            enter(tx, run.id, &state)?;
            Ok(state)
        }
        Verdict::Reject { instead: Some((kind, name)), reason } => {
            let message = state.message.unwrap_or_else(|| reason.to_owned());
            let other = State { kind, name: name.to_owned(), message: Some(message), ..state };
            enter(tx, run.id, &other)?;
            Ok(other)
        }
        Verdict::Reject { instead: None, reason } | Verdict::Abort { reason } => Err(refused(reason)),
        Verdict::Wait { until } => Err(refused(&format!("it is due at {until}"))),
    }
}

/// PENDING to RUNNING by the worker that claimed it. A run that is being cancelled stays so.
pub(crate) fn begin(tx: &Tx<'_>, lease: &Lease) -> Result<Run> {
    lease.check(tx)?;
    let run = get(tx, lease.run)?;
    if run.state.kind != StateType::Cancelling {
        let again = run.attempt > 1;
        let state = State::new(StateType::Running, tx.now);
        propose(tx, &run, if again { state.named(names::RETRYING) } else { state }, &Facts::at(tx.now))?;
    }
    tx.execute(
        "UPDATE runs SET started = coalesce(started, ?2), ask = NULL, waits_for = NULL WHERE id = ?1",
        params![run.id.to_string(), us(tx.now)],
    )?;
    get(tx, lease.run)
}

/// How a run ended, as the worker saw it.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    pub state: State,
    pub output: Option<Value>,
    pub error: Option<Failure>,
}

/// The worker's last write about a run: its end, or the retry that takes its place.
pub(crate) fn finish(tx: &Tx<'_>, lease: &Lease, ending: Ending) -> Result<State> {
    lease.check(tx)?;
    let run = get(tx, lease.run)?;
    let mut ending = ending;
    if run.state.kind == StateType::Cancelling && ending.state.kind != StateType::Crashed {
        // It was cancelled while it ended; the table knows no other way out.
        let was = format!("cancelled; its flow had ended as {}", ending.state.name);
        if ending.state.kind != StateType::Cancelled {
            ending.state = State::new(StateType::Cancelled, tx.now).because(was);
        }
    }
    let (retries, delay): (u32, i64) = tx
        .row("SELECT retries, retry_delay FROM runs WHERE id = ?1", [run.id.to_string()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .unwrap_or_default();
    let helps = ending.error.as_ref().is_some_and(Failure::retry_helps);
    let retry_at = (retries > 0 && helps).then(|| {
        let delay = Duration::from_micros(u64::try_from(delay).unwrap_or(0));
        add(tx.now, delay.max(ending.error.as_ref().and_then(|e| e.retry_after).unwrap_or_default()))
    });
    let facts = Facts { retry_at, ..Facts::at(tx.now) };
    super::steps::close_open(tx, &run, "the flow ended without waiting for this step")?;
    let stored = propose(tx, &run, ending.state, &facts)?;
    if stored.kind == StateType::Scheduled {
        tx.execute("UPDATE runs SET retries = retries - 1 WHERE id = ?1", [run.id.to_string()])?;
        super::steps::reopen_failed(tx, &run)?;
        return release(tx, run.id, retry_at).map(|()| stored);
    }
    tx.execute(
        "UPDATE runs SET output = ?2, error = ?3, ended = ?4 WHERE id = ?1",
        params![
            run.id.to_string(),
            ending.output.as_ref().map(rows::text),
            ending.error.as_ref().map(rows::text),
            us(tx.now)
        ],
    )?;
    release(tx, run.id, None)?;
    wake_waiting(tx, run.id)?;
    Ok(stored)
}

/// Lets go of a run: no lease, a new fencing number (the former holder can write nothing more).
pub(crate) fn release(tx: &Tx<'_>, run: RunId, due: Option<Timestamp>) -> Result<()> {
    tx.execute(
        "UPDATE runs SET fence = fence + 1, worker = NULL, lease_until = NULL, due = ?2 WHERE id = ?1",
        params![run.to_string(), due.map(us)],
    )?;
    Ok(())
}

/// Runs that sleep until `run` has ended may be claimed now.
pub(crate) fn wake_waiting(tx: &Tx<'_>, run: RunId) -> Result<()> {
    tx.execute(
        "UPDATE runs SET due = ?2, waits_for = NULL WHERE waits_for = ?1 AND worker IS NULL",
        params![run.to_string(), us(tx.now)],
    )?;
    Ok(())
}

/// Why a run lets go of its worker for a while.
#[derive(Debug, Clone)]
pub(crate) struct Rest {
    pub state: State,
    pub due: Option<Timestamp>,
    pub ask: Option<Ask>,
    pub child: Option<RunId>,
}

/// The worker lets a run rest: paused, sleeping, awaiting a retry or a sub-run.
pub(crate) fn rest(tx: &Tx<'_>, lease: &Lease, rest: Rest) -> Result<State> {
    lease.check(tx)?;
    let run = get(tx, lease.run)?;
    if run.state.kind == StateType::Cancelling {
        // Cancelled in the same moment: stays claimable, so that a worker carries it out.
        release(tx, run.id, Some(tx.now))?;
        return Ok(run.state);
    }
    let stored = propose(tx, &run, rest.state, &Facts::at(tx.now))?;
    let mut due = rest.due;
    if let Some(child) = rest.child {
        let child = get(tx, child)?;
        if child.state.kind.is_terminal() {
            due = Some(tx.now);
        }
    }
    tx.execute(
        "UPDATE runs SET ask = ?2, waits_for = ?3, pause_asked = NULL WHERE id = ?1",
        params![run.id.to_string(), rest.ask.as_ref().map(rows::text), rest.child.map(|id| id.to_string())],
    )?;
    release(tx, run.id, due)?;
    Ok(stored)
}

/// Answers that people gave: by the key of the question.
pub(crate) fn inputs(tx: &Tx<'_>, run: RunId) -> Result<BTreeMap<String, Value>> {
    Ok(tx
        .row("SELECT inputs FROM runs WHERE id = ?1", [run.to_string()], |row| rows::json(row, 0))?
        .unwrap_or_default())
}

/// A person wants the run to stop. Sub-runs stop with it.
pub(crate) fn cancel(tx: &Tx<'_>, id: RunId, reason: &str) -> Result<State> {
    let run = get(tx, id)?;
    let live_outside = super::steps::live_outside(tx, &run)?;
    let facts = Facts { held: run.worker.is_some() || live_outside, ..Facts::at(tx.now) };
    let wanted = State::new(StateType::Cancelling, tx.now).because(reason);
    let stored = propose(tx, &run, wanted, &facts)?;
    let children = tx.rows(
        "SELECT id FROM runs WHERE parent = ?1
           AND state_type NOT IN ('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED', 'CANCELLING')",
        [id.to_string()],
        |row| rows::id(row, 0),
    )?;
    for child in children {
        cancel(tx, child, &format!("the run that started it, {id}, was cancelled"))?;
    }
    if stored.kind == StateType::Cancelled {
        super::steps::close_open(tx, &run, reason)?;
        tx.execute("UPDATE runs SET ended = ?2 WHERE id = ?1", params![id.to_string(), us(tx.now)])?;
        release(tx, id, None)?;
        wake_waiting(tx, id)?;
    } else {
        let due = run.worker.is_none().then_some(tx.now);
        tx.execute(
            "UPDATE runs SET cancel_asked = ?2, due = ?3 WHERE id = ?1",
            params![id.to_string(), reason, due.map(us)],
        )?;
        tx.announce(Event::Control { run: id });
    }
    Ok(stored)
}

/// A person wants the run to stop between two steps and wait.
pub(crate) fn pause(tx: &Tx<'_>, id: RunId, reason: &str) -> Result<()> {
    let run = get(tx, id)?;
    if !matches!(run.state.kind, StateType::Running | StateType::Pending) {
        let reason = format!("it is {}, and only a running run can be paused", run.state.name);
        return Err(Error::Refused { run: id, reason });
    }
    tx.execute("UPDATE runs SET pause_asked = ?2 WHERE id = ?1", params![id.to_string(), reason])?;
    tx.announce(Event::Control { run: id });
    Ok(())
}

/// A paused run goes on, with the answers it asked for.
pub(crate) fn resume(tx: &Tx<'_>, id: RunId, answers: &BTreeMap<String, Value>) -> Result<State> {
    let run = get(tx, id)?;
    if run.state.kind != StateType::Paused {
        let reason = format!("it is {}, and only a paused run can be resumed", run.state.name);
        return Err(Error::Refused { run: id, reason });
    }
    let mut known = inputs(tx, id)?;
    if let Some(ask) = &run.ask {
        let given = answers.get(&ask.key).ok_or_else(|| {
            Error::invalid(
                format!("run {id}"),
                format!("it waits for {:?} ({}); give it with --set {}=VALUE", ask.key, ask.message, ask.key),
            )
        })?;
        crate::schema::check(&ask.schema, given).map_err(|reason| Error::invalid(&ask.key, reason))?;
        known.insert(ask.step.clone(), given.clone());
    }
    if let Some(unknown) = answers.keys().find(|key| run.ask.as_ref().is_none_or(|ask| ask.key != **key)) {
        let asked = run.ask.as_ref().map_or("nothing".to_owned(), |ask| format!("{:?}", ask.key));
        return Err(Error::invalid(unknown, format!("the run asked for {asked}; leave it out")));
    }
    tx.execute("UPDATE runs SET inputs = ?2 WHERE id = ?1", params![id.to_string(), rows::text(&known)])?;
    let state = State::new(StateType::Scheduled, tx.now).named(names::RESUMING);
    let stored = propose(tx, &run, state, &Facts::at(tx.now))?;
    release(tx, id, Some(tx.now))?;
    Ok(stored)
}

/// A person wants a run that did not complete to be tried again. Finished steps are kept, or with
/// `from_start` none.
pub(crate) fn retry(tx: &Tx<'_>, id: RunId, from_start: bool, reason: &str) -> Result<State> {
    let run = get(tx, id)?;
    if !run.state.kind.is_terminal() {
        let reason = format!("it is {}; only a run that has ended is tried again", run.state.name);
        return Err(Error::Refused { run: id, reason });
    }
    let facts = Facts { asked_again: true, ..Facts::at(tx.now) };
    let state = State::new(StateType::Scheduled, tx.now).named(names::AWAITING_RETRY).because(reason);
    let stored = propose(tx, &run, state, &facts)?;
    tx.execute(
        "UPDATE runs SET ended = NULL, error = NULL, output = NULL, cancel_asked = NULL, pause_asked = NULL,
           ask = NULL, generation = generation + ?2, inputs = CASE WHEN ?2 THEN '{}' ELSE inputs END
         WHERE id = ?1",
        params![id.to_string(), from_start],
    )?;
    if !from_start {
        super::steps::reopen_failed(tx, &run)?;
    }
    release(tx, id, Some(tx.now))?;
    Ok(stored)
}

/// A worker that stops gives the run back: it goes on from its journal, wherever.
pub(crate) fn hand_back(tx: &Tx<'_>, lease: &Lease, reason: &str) -> Result<()> {
    lease.check(tx)?;
    let run = get(tx, lease.run)?;
    if run.state.kind != StateType::Cancelling {
        let state = State::new(StateType::Scheduled, tx.now).named(names::AWAITING_RETRY).because(reason);
        propose(tx, &run, state, &Facts::at(tx.now))?;
    }
    release(tx, run.id, Some(tx.now))
}
