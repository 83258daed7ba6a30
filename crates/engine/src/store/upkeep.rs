//! Limits, queues and pools; late marks; the end of history.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::writer::Tx;
use super::{rows, runs, us};
use crate::clock::sub;
use crate::error::Result;
use crate::model::Level;
use crate::state::{State, StateType, names};

/// A run that was not claimed so long after its time is late.
const LATE: Duration = Duration::from_secs(15);
/// Marked late in one transaction; the rest at the next look.
const LATE_BATCH: i64 = 500;

/// A place for work: its workers take runs from its queues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// At most so many runs at once; `None`: no limit.
    pub concurrency: Option<u32>,
    /// Nothing is claimed from it.
    pub paused: bool,
}

/// A queue in a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// The pool.
    pub pool: String,
    /// Its name.
    pub name: String,
    /// Lower goes first; 100 if it was never set.
    pub priority: u32,
    /// At most so many runs at once; `None`: no limit.
    pub concurrency: Option<u32>,
    /// Nothing is claimed from it.
    pub paused: bool,
}

/// A worker that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSeen {
    /// Its name.
    pub name: String,
    /// Its pool.
    pub pool: String,
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// beamrail's version.
    pub version: String,
    /// When it began.
    pub started: Timestamp,
    /// When it last said that it lives.
    pub seen: Timestamp,
    /// When it counts as gone unless it says so again.
    pub until: Timestamp,
}

impl WorkerSeen {
    /// Whether it counts as alive. A sign of life from the future is one under another clock (a demonstration's runs
    /// ahead), and says nothing about now.
    pub fn lives(&self, now: Timestamp) -> bool {
        let skew = SignedDuration::from_secs(10);
        self.until > now && now.checked_add(skew).is_ok_and(|latest| self.seen <= latest)
    }
}

pub(crate) fn put_pool(tx: &Tx<'_>, pool: &Pool) -> Result<()> {
    tx.execute(
        "INSERT INTO pools (name, concurrency, paused) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET concurrency = ?2, paused = ?3",
        params![pool.name, pool.concurrency, pool.paused],
    )?;
    Ok(())
}

pub(crate) fn put_queue(tx: &Tx<'_>, queue: &Queue) -> Result<()> {
    tx.execute(
        "INSERT INTO queues (pool, name, priority, concurrency, paused) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (pool, name) DO UPDATE SET priority = ?3, concurrency = ?4, paused = ?5",
        params![queue.pool, queue.name, queue.priority, queue.concurrency, queue.paused],
    )?;
    Ok(())
}

/// A limit over all pools of runs with this tag; `None` takes it away.
pub(crate) fn put_limit(tx: &Tx<'_>, tag: &str, slots: Option<u32>) -> Result<()> {
    match slots {
        Some(slots) => tx.execute(
            "INSERT INTO limits (tag, slots) VALUES (?1, ?2) ON CONFLICT (tag) DO UPDATE SET slots = ?2",
            params![tag, slots],
        )?,
        None => tx.execute("DELETE FROM limits WHERE tag = ?1", [tag])?,
    };
    Ok(())
}

pub(crate) fn queues(connection: &Connection) -> rusqlite::Result<Vec<Queue>> {
    connection
        .prepare_cached(
            "SELECT pool, name, priority, concurrency, paused FROM queues ORDER BY pool, priority, name",
        )?
        .query_map([], |row| {
            Ok(Queue {
                pool: row.get(0)?,
                name: row.get(1)?,
                priority: row.get(2)?,
                concurrency: row.get(3)?,
                paused: row.get(4)?,
            })
        })?
        .collect()
}

pub(crate) fn workers(connection: &Connection) -> rusqlite::Result<Vec<WorkerSeen>> {
    connection
        .prepare_cached(
            "SELECT name, pool, host, pid, version, started, seen, until FROM workers ORDER BY seen DESC LIMIT 1000",
        )?
        .query_map([], |row| {
            Ok(WorkerSeen {
                name: row.get(0)?,
                pool: row.get(1)?,
                host: row.get(2)?,
                pid: row.get(3)?,
                version: row.get(4)?,
                started: rows::time(row, 5)?,
                seen: rows::time(row, 6)?,
                until: rows::time(row, 7)?,
            })
        })?
        .collect()
}

/// So many numbers of the history are left out when a journal is restored.
const GAP: i64 = 1_000_000;

/// Notes that the journal was restored, in each run that has not ended.
pub(crate) fn restored(tx: &Tx<'_>, taken: Timestamp) -> Result<usize> {
    let why = format!("the journal was restored from the backup of {taken}");
    // Both tables number their rows by the highest number so far.
    let runs = tx.execute(
        "INSERT INTO history (id, run, type, name, message, details, time, fence)
         SELECT (SELECT coalesce(max(id), 0) + ?1 FROM history) + row_number() OVER (ORDER BY id), id,
           state_type, state_name, ?2, state_details, ?3, fence FROM runs WHERE ended IS NULL",
        params![GAP, why, us(tx.now)],
    )?;
    let line = format!("{why}; work outside that was begun since then is looked for before it is started");
    tx.execute(
        "INSERT INTO logs (id, run, time, level, message)
         SELECT (SELECT coalesce(max(id), 0) + ?1 FROM logs) + row_number() OVER (ORDER BY id), id, ?2, ?3, ?4
         FROM runs WHERE ended IS NULL",
        params![GAP, us(tx.now), Level::Warning.number(), line],
    )?;
    Ok(runs)
}

const LATE_ONES: &str =
    "state_type = 'SCHEDULED' AND state_name = 'Scheduled' AND worker IS NULL AND due < ?1";

/// Whether a run is late and not marked.
pub(crate) fn any_late(connection: &Connection, now: Timestamp) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(&format!("SELECT EXISTS (SELECT 1 FROM runs WHERE due IS NOT NULL AND {LATE_ONES})"))?
        .query_row([us(sub(now, LATE))], |row| row.get(0))
}

/// Marks runs whose time has passed.
pub(crate) fn mark_late(tx: &Tx<'_>) -> Result<usize> {
    let late = tx.rows(
        &format!("SELECT id FROM runs WHERE due IS NOT NULL AND {LATE_ONES} ORDER BY due LIMIT {LATE_BATCH}"),
        [us(sub(tx.now, LATE))],
        |row| rows::id(row, 0),
    )?;
    for id in &late {
        runs::enter(tx, *id, &State::new(StateType::Scheduled, tx.now).named(names::LATE))?;
    }
    Ok(late.len())
}

/// Deletes runs that ended before `before`, with all that belongs to them, at most `most`. A run stays while
/// the run that started it, or one that it started, has not ended. Keys stay used.
pub(crate) fn forget_runs(tx: &Tx<'_>, before: Timestamp, most: u32) -> Result<usize> {
    tx.execute(
        "DELETE FROM runs WHERE id IN (
           SELECT r.id FROM runs r WHERE r.ended < ?1
             AND r.state_type IN ('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED')
             AND NOT EXISTS (SELECT 1 FROM runs p WHERE p.id = r.parent AND p.ended IS NULL)
             AND NOT EXISTS (SELECT 1 FROM runs c WHERE c.parent = r.id AND c.ended IS NULL)
           ORDER BY r.ended LIMIT ?2)",
        params![us(before), most],
    )
}

/// Deletes delivered messages and workers gone before `before`. Dead letters stay until somebody looks.
pub(crate) fn forget_rest(tx: &Tx<'_>, before: Timestamp) -> Result<()> {
    tx.execute("DELETE FROM outbox WHERE delivered < ?1", [us(before)])?;
    tx.execute("DELETE FROM workers WHERE until < ?1", [us(before)])?;
    Ok(())
}
