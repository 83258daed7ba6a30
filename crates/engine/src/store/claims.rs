//! Claims: who may work on which run, within which limits; leases and their renewal.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::params;
use serde_json::json;

use super::rows;
use super::runs::{self, Lease};
use super::us;
use super::writer::Tx;
use crate::clock::add;
use crate::error::Result;
use crate::failure::Failure;
use crate::model::{Run, RunId};
use crate::state::{State, StateType, names};
use crate::transition::Facts;

/// So many workers may be lost in a row by one run before it is given up.
const MOST_LOSSES: u32 = 9;

/// What a worker asks for.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub worker: String,
    pub pool: String,
    /// Empty: all queues.
    pub queues: Vec<String>,
    /// The flows that it has code for.
    pub flows: HashSet<String>,
    pub most: usize,
    pub lease: Duration,
    /// Runs that it holds: their lease is its own business.
    pub holds: HashSet<RunId>,
}

/// Places taken and places there are.
struct Limits {
    pool: (i64, Option<i64>),
    queues: HashMap<String, (i64, Option<i64>, bool)>,
    tags: HashMap<String, (i64, i64)>,
    deployments: HashMap<String, (i64, Option<i64>, bool)>,
}

/// Counts the active runs once for a claim, not once a candidate.
fn limits(tx: &Tx<'_>, pool: &str) -> Result<Option<Limits>> {
    let (concurrency, paused) = tx
        .row("SELECT concurrency, paused FROM pools WHERE name = ?1", [pool], |row| {
            Ok((row.get(0)?, row.get::<_, bool>(1)?))
        })?
        .unwrap_or((None, false));
    if paused {
        return Ok(None);
    }
    let active = "state_type IN ('PENDING', 'RUNNING', 'CANCELLING')";
    let mut queues: HashMap<String, (i64, Option<i64>, bool)> = HashMap::new();
    let known = tx.rows("SELECT name, concurrency, paused FROM queues WHERE pool = ?1", [pool], |row| {
        Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?))
    })?;
    for (name, concurrency, paused) in known {
        queues.insert(name, (0, concurrency, paused));
    }
    let sql = format!("SELECT queue, count(*) FROM runs WHERE pool = ?1 AND {active} GROUP BY queue");
    let mut total = 0;
    for (queue, count) in
        tx.rows(&sql, [pool], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?
    {
        total += count;
        queues.entry(queue).or_insert((0, None, false)).0 = count;
    }
    let mut tags = HashMap::new();
    // Limits by tag hold over all pools.
    for (tag, slots) in tx.rows("SELECT tag, slots FROM limits", [], |row| Ok((row.get(0)?, row.get(1)?)))? {
        tags.insert(tag, (0, slots));
    }
    let mut deployments = HashMap::new();
    let known = tx.rows("SELECT name, concurrency, paused FROM deployments", [], |row| {
        Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?))
    })?;
    for (name, concurrency, paused) in known {
        deployments.insert(name, (0, concurrency, paused));
    }
    if !tags.is_empty() || !deployments.is_empty() {
        let sql = format!("SELECT tags, deployment FROM runs WHERE {active}");
        let running = tx.rows(&sql, [], |row| {
            Ok((rows::json::<Vec<String>>(row, 0)?, row.get::<_, Option<String>>(1)?))
        })?;
        for (run_tags, deployment) in running {
            for tag in run_tags {
                if let Some(taken) = tags.get_mut(&tag) {
                    taken.0 += 1;
                }
            }
            if let Some(taken) = deployment.and_then(|name| deployments.get_mut(&name)) {
                taken.0 += 1;
            }
        }
    }
    Ok(Some(Limits { pool: (total, concurrency), queues, tags, deployments }))
}

impl Limits {
    fn free(&self, run: &Candidate) -> bool {
        let under = |taken: i64, most: Option<i64>| most.is_none_or(|most| taken < most);
        under(self.pool.0, self.pool.1)
            && self.queues.get(&run.queue).is_none_or(|(taken, most, paused)| !paused && under(*taken, *most))
            && run.tags.iter().all(|tag| self.tags.get(tag).is_none_or(|(taken, most)| taken < most))
            && run
                .deployment
                .as_ref()
                .and_then(|name| self.deployments.get(name))
                .is_none_or(|(taken, most, _)| under(*taken, *most))
    }

    fn take(&mut self, run: &Candidate) {
        self.pool.0 += 1;
        self.queues.entry(run.queue.clone()).or_insert((0, None, false)).0 += 1;
        for tag in &run.tags {
            if let Some(taken) = self.tags.get_mut(tag) {
                taken.0 += 1;
            }
        }
        if let Some(taken) = run.deployment.as_ref().and_then(|name| self.deployments.get_mut(name)) {
            taken.0 += 1;
        }
    }
}

struct Candidate {
    id: RunId,
    flow: String,
    queue: String,
    tags: Vec<String>,
    deployment: Option<String>,
}

fn candidate(row: &rusqlite::Row<'_>) -> rusqlite::Result<Candidate> {
    Ok(Candidate {
        id: rows::id(row, 0)?,
        flow: row.get(1)?,
        queue: row.get(2)?,
        tags: rows::json(row, 3)?,
        deployment: row.get(4)?,
    })
}

/// Takes due runs and runs whose worker stopped answering: lease, new fencing number, PENDING.
pub(crate) fn claim(tx: &Tx<'_>, ask: &Claim) -> Result<Vec<(Run, Lease)>> {
    let wanted = |run: &Candidate| {
        ask.flows.contains(&run.flow)
            && !ask.holds.contains(&run.id)
            && (ask.queues.is_empty() || ask.queues.contains(&run.queue))
    };
    let mut claimed = Vec::new();
    // Lost ones first: they hold their places already, so no limit is asked.
    let lost = tx.rows(
        "SELECT id, flow, queue, tags, deployment FROM runs
         WHERE pool = ?1 AND state_type IN ('PENDING', 'RUNNING', 'CANCELLING') AND lease_until < ?2
         ORDER BY lease_until",
        params![ask.pool, us(tx.now)],
        candidate,
    )?;
    for run in lost.iter().filter(|run| wanted(run)) {
        if claimed.len() < ask.most {
            let (run, lease) = take_over(tx, ask, run.id)?;
            match losses(tx, run.id)? {
                lost if lost > MOST_LOSSES => give_up(tx, &run, &lease, lost)?,
                _ => claimed.push((run, lease)),
            }
        }
    }
    if claimed.len() == ask.most {
        return Ok(claimed);
    }
    let Some(mut limits) = limits(tx, &ask.pool)? else { return Ok(claimed) };
    let mut statement = tx
        .conn
        .prepare_cached(
            "SELECT r.id, r.flow, r.queue, r.tags, r.deployment, r.state_type FROM runs r
             LEFT JOIN queues q ON q.pool = r.pool AND q.name = r.queue
             WHERE r.pool = ?1 AND r.due <= ?2 AND r.worker IS NULL
             ORDER BY coalesce(q.priority, 100), r.due, r.id",
        )
        .map_err(|error| tx.explain(&error))?;
    let mut found = statement.query(params![ask.pool, us(tx.now)]).map_err(|error| tx.explain(&error))?;
    let mut picked = Vec::new();
    while claimed.len() + picked.len() < ask.most {
        let Some(row) = found.next().map_err(|error| tx.explain(&error))? else { break };
        let run = candidate(row).map_err(|error| tx.explain(&error))?;
        let stopping = rows::state_type(row, 5).map_err(|error| tx.explain(&error))? == StateType::Cancelling;
        if wanted(&run) && (stopping || limits.free(&run)) {
            if !stopping {
                limits.take(&run);
            }
            picked.push(run.id);
        }
    }
    drop(found);
    drop(statement);
    for id in picked {
        claimed.push(take(tx, ask, id)?);
    }
    Ok(claimed)
}

/// A due run.
fn take(tx: &Tx<'_>, ask: &Claim, id: RunId) -> Result<(Run, Lease)> {
    let run = runs::get(tx, id)?;
    if run.state.kind == StateType::Paused {
        // A pause with an end: the flow sees that its time is up.
        let state =
            State::new(StateType::Scheduled, tx.now).named(names::RESUMING).because("the wait is over");
        runs::propose(tx, &run, state, &Facts::at(tx.now))?;
    }
    if run.state.kind != StateType::Cancelling {
        let run = runs::get(tx, id)?;
        let facts = Facts { due: run.due, ..Facts::at(tx.now) };
        let state = State::new(StateType::Pending, tx.now).because(format!("claimed by {}", ask.worker));
        runs::propose(tx, &run, state, &facts)?;
    }
    grant(tx, ask, id)
}

/// A run whose worker stopped answering.
fn take_over(tx: &Tx<'_>, ask: &Claim, id: RunId) -> Result<(Run, Lease)> {
    let run = runs::get(tx, id)?;
    if run.state.kind != StateType::Cancelling {
        let lost = run.worker.as_deref().unwrap_or("its worker");
        let since = run.lease_until.map_or_else(String::new, |at| format!("; its lease ended at {at}"));
        let state = State::new(StateType::Scheduled, tx.now)
            .named(names::AWAITING_RETRY)
            .because(format!("{lost} stopped answering{since}"))
            .with(json!({ "lost": lost }));
        runs::propose(tx, &run, state, &Facts::at(tx.now))?;
        let run = runs::get(tx, id)?;
        let state = State::new(StateType::Pending, tx.now).because(format!("taken over by {}", ask.worker));
        runs::propose(tx, &run, state, &Facts::at(tx.now))?;
    }
    grant(tx, ask, id)
}

/// How many workers a run has lost one after the other, without a step that ended between.
fn losses(tx: &Tx<'_>, run: RunId) -> Result<u32> {
    let count = tx.row(
        "SELECT count(*) FROM history WHERE run = ?1 AND step IS NULL AND json_extract(details, '$.lost') IS NOT NULL
           AND id > coalesce((SELECT max(id) FROM history WHERE run = ?1
             AND ((step IS NOT NULL AND type = 'COMPLETED') OR type IN ('FAILED', 'CRASHED'))), 0)",
        [run.to_string()],
        |row| row.get(0),
    )?;
    Ok(count.unwrap_or(0))
}

/// A run that takes its workers down one after the other (their memory, say) would take all others with them.
fn give_up(tx: &Tx<'_>, run: &Run, lease: &Lease, lost: u32) -> Result<()> {
    let message = format!(
        "{lost} workers in a row stopped answering while they did this run, and no step ended in between; see the \
         log of the last one, {}, then retry the run",
        run.worker.as_deref().unwrap_or("unknown")
    );
    let ending = runs::Ending {
        state: State::new(StateType::Crashed, tx.now).because(&message),
        output: None,
        error: Some(Failure::fatal(message).with_code("workers-lost")),
    };
    runs::finish(tx, lease, ending).map(drop)
}

fn grant(tx: &Tx<'_>, ask: &Claim, id: RunId) -> Result<(Run, Lease)> {
    let fence = tx
        .row(
            "UPDATE runs SET fence = fence + 1, worker = ?2, lease_until = ?3, due = NULL, attempt = attempt + 1
             WHERE id = ?1 RETURNING fence",
            params![id.to_string(), ask.worker, us(add(tx.now, ask.lease))],
            |row| row.get(0),
        )?
        .ok_or_else(|| crate::Error::no_run(id))?;
    Ok((runs::get(tx, id)?, Lease { run: id, fence, worker: ask.worker.clone() }))
}

/// What a renewal found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Renewed {
    Held { cancel: Option<String>, pause: Option<String> },
    Lost,
}

/// Renews the leases of a worker, and its own sign of life. A lease that ran out and that nobody took is
/// renewed as well: what counts is the fencing number.
pub(crate) fn renew(tx: &Tx<'_>, leases: &[Lease], duration: Duration) -> Result<Vec<(RunId, Renewed)>> {
    let until = us(add(tx.now, duration));
    let mut found = Vec::with_capacity(leases.len());
    for lease in leases {
        let held = tx.row(
            "UPDATE runs SET lease_until = ?3 WHERE id = ?1 AND fence = ?2 RETURNING cancel_asked, pause_asked",
            params![lease.run.to_string(), lease.fence, until],
            |row| Ok(Renewed::Held { cancel: row.get(0)?, pause: row.get(1)? }),
        )?;
        found.push((lease.run, held.unwrap_or(Renewed::Lost)));
    }
    Ok(found)
}

/// A worker says that it lives.
pub(crate) fn sign_of_life(tx: &Tx<'_>, worker: &str, pool: &str, until: Timestamp) -> Result<()> {
    tx.execute(
        "INSERT INTO workers (name, pool, host, pid, version, started, seen, until)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7)
         ON CONFLICT (name) DO UPDATE SET seen = ?6, until = ?7, pool = ?2",
        params![
            worker,
            pool,
            rustix::system::uname().nodename().to_string_lossy(),
            std::process::id(),
            env!("CARGO_PKG_VERSION"),
            us(tx.now),
            us(until)
        ],
    )?;
    Ok(())
}

/// Whether a claim could find something. Cheap, and needs no transaction.
pub(crate) fn anything(connection: &rusqlite::Connection, ask: &Claim, now: Timestamp) -> Result<bool> {
    let path = std::path::PathBuf::from(connection.path().unwrap_or_default());
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM runs WHERE pool = ?1 AND due <= ?2 AND worker IS NULL)
               OR EXISTS (SELECT 1 FROM runs WHERE pool = ?1 AND lease_until < ?2
                 AND state_type IN ('PENDING', 'RUNNING', 'CANCELLING'))",
        )
        .and_then(|mut statement| statement.query_row(params![ask.pool, us(now)], |row| row.get(0)))
        .map_err(|error| crate::Error::sqlite(&path, "read", &error))
}

/// Whether a run of this worker is to be cancelled or paused.
pub(crate) fn asked(connection: &rusqlite::Connection, worker: &str) -> Result<bool> {
    let path = std::path::PathBuf::from(connection.path().unwrap_or_default());
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM runs WHERE worker = ?1
               AND state_type IN ('PENDING', 'RUNNING', 'CANCELLING')
               AND (cancel_asked IS NOT NULL OR pause_asked IS NOT NULL))",
        )
        .and_then(|mut statement| statement.query_row([worker], |row| row.get(0)))
        .map_err(|error| crate::Error::sqlite(&path, "read", &error))
}
