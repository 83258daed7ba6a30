//! Reading: runs, pages of runs, steps, histories, logs, artifacts; and the writes that nobody waits for.

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::runs::Lease;
use super::writer::Tx;
use super::{Store, rows, us};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::model::{Artifact, Counts, HistoryEntry, Level, LogLine, Page, Run, RunFilter, RunId, Step};

/// The most items of one page.
const MOST: u32 = 1000;

fn explain(connection: &Connection) -> impl Fn(rusqlite::Error) -> Error {
    let path = std::path::PathBuf::from(connection.path().unwrap_or_default());
    move |error| Error::sqlite(&path, "read", &error)
}

pub(crate) fn run(connection: &Connection, id: RunId) -> Result<Run> {
    connection
        .prepare_cached(&format!("SELECT {} FROM runs WHERE id = ?1", rows::RUN))
        .and_then(|mut statement| statement.query_row([id.to_string()], rows::run).optional())
        .map_err(explain(connection))?
        .ok_or_else(|| Error::no_run(id))
}

/// A page of runs, newest first. Pages are found by id, so deep ones cost no more than the first.
pub(crate) fn list(connection: &Connection, filter: &RunFilter) -> Result<Page<Run>> {
    let mut conditions: Vec<String> = Vec::new();
    let mut values: Vec<Sql> = Vec::new();
    let mut must = |condition: &str, value: Sql| {
        values.push(value);
        conditions.push(condition.replace('?', &format!("?{}", values.len())));
    };
    let text = |value: &str| Sql::Text(value.to_owned());
    for (column, value) in [
        ("flow = ?", &filter.flow),
        ("state_name = ?", &filter.state_name),
        ("deployment = ?", &filter.deployment),
        ("pool = ?", &filter.pool),
        ("instr(lower(name), lower(?)) > 0", &filter.name_contains),
    ] {
        if let Some(value) = value {
            must(column, text(value));
        }
    }
    for tag in &filter.tags {
        must("id IN (SELECT run FROM run_tags WHERE tag = ?)", text(tag));
    }
    if let Some(parent) = filter.parent {
        must("parent = ?", Sql::Text(parent.to_string()));
    }
    if let Some(from) = filter.created_from {
        must("created >= ?", Sql::Integer(us(from)));
    }
    if let Some(before) = filter.created_before {
        must("created < ?", Sql::Integer(us(before)));
    }
    if let Some(before) = filter.before {
        must("id < ?", Sql::Text(before.to_string()));
    }
    if !filter.states.is_empty() {
        // Written out, so that SQLite sees which part of the index it needs.
        let names: Vec<_> = filter.states.iter().map(|kind| format!("'{}'", kind.as_str())).collect();
        conditions.push(format!("state_type IN ({})", names.join(", ")));
    }
    let limit = if filter.limit == 0 { 100 } else { filter.limit.min(MOST) };
    let filtered =
        if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
    let sql = format!("SELECT {} FROM runs {filtered} ORDER BY id DESC LIMIT {}", rows::RUN, limit + 1);
    let mut items: Vec<Run> = connection
        .prepare_cached(&sql)
        .and_then(|mut statement| statement.query_map(params_from_iter(values), rows::run)?.collect())
        .map_err(explain(connection))?;
    let more = items.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next = if more { items.last().map(|run| run.id) } else { None };
    Ok(Page { items, next })
}

pub(crate) fn counts(connection: &Connection) -> Result<Counts> {
    connection
        .prepare_cached("SELECT state_type, count(*) FROM runs GROUP BY state_type")
        .and_then(|mut statement| {
            statement
                .query_map([], |row| Ok((rows::state_type(row, 0)?, row.get::<_, i64>(1)?.unsigned_abs())))?
                .collect()
        })
        .map_err(explain(connection))
}

pub(crate) fn steps(connection: &Connection, id: RunId) -> Result<Vec<Step>> {
    let run = run(connection, id)?;
    super::steps::of_run(connection, id, run.generation).map_err(explain(connection))
}

/// States of one run, or of all, after the entry `after`.
pub(crate) fn history(
    connection: &Connection,
    run: Option<RunId>,
    after: i64,
    limit: u32,
) -> Result<Vec<HistoryEntry>> {
    let filter = if run.is_some() { "run = ?3 AND" } else { "?3 IS NULL AND" };
    let sql = format!(
        "SELECT id, run, step, type, name, message, details, time FROM history
         WHERE {filter} id > ?1 ORDER BY id LIMIT ?2"
    );
    connection
        .prepare_cached(&sql)
        .and_then(|mut statement| {
            let run = run.map(|run| run.to_string());
            statement.query_map(params![after, limit, run], rows::history)?.collect()
        })
        .map_err(explain(connection))
}

pub(crate) fn logs(connection: &Connection, run: RunId, after: i64, limit: u32) -> Result<Vec<LogLine>> {
    connection
        .prepare_cached(
            "SELECT id, run, step, time, level, message FROM logs WHERE run = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
        )
        .and_then(|mut statement| {
            statement.query_map(params![run.to_string(), after, limit], rows::log)?.collect()
        })
        .map_err(explain(connection))
}

/// The newest lines, oldest first.
pub(crate) fn log_tail(connection: &Connection, run: RunId, limit: u32) -> Result<Vec<LogLine>> {
    let mut lines: Vec<LogLine> = connection
        .prepare_cached(
            "SELECT id, run, step, time, level, message FROM logs WHERE run = ?1 ORDER BY id DESC LIMIT ?2",
        )
        .and_then(|mut statement| statement.query_map(params![run.to_string(), limit], rows::log)?.collect())
        .map_err(explain(connection))?;
    lines.reverse();
    Ok(lines)
}

const ARTIFACT: &str = "run, step, key, kind, data, description, updated";

pub(crate) fn artifacts(connection: &Connection, run: RunId) -> Result<Vec<Artifact>> {
    connection
        .prepare_cached(&format!("SELECT {ARTIFACT} FROM artifacts WHERE run = ?1 ORDER BY updated, key"))
        .and_then(|mut statement| statement.query_map([run.to_string()], rows::artifact)?.collect())
        .map_err(explain(connection))
}

/// The latest artifact of this key, of whatever run.
pub(crate) fn latest_artifact(connection: &Connection, key: &str) -> Result<Option<Artifact>> {
    connection
        .prepare_cached(&format!(
            "SELECT {ARTIFACT} FROM artifacts WHERE key = ?1 ORDER BY updated DESC LIMIT 1"
        ))
        .and_then(|mut statement| statement.query_row([key], rows::artifact).optional())
        .map_err(explain(connection))
}

/// A log line by the holder of the lease; dropped without it.
pub(crate) fn post_log(store: &Store, lease: &Lease, step: Option<String>, level: Level, message: String) {
    let (lease, time) = (lease.clone(), store.clock().now());
    store.post(move |tx| {
        lease.check(tx)?;
        insert_log(tx, lease.run, step, time, level, message)
    });
}

pub(crate) fn insert_log(
    tx: &Tx<'_>,
    run: RunId,
    step: Option<String>,
    time: jiff::Timestamp,
    level: Level,
    message: String,
) -> Result<()> {
    tx.execute(
        "INSERT INTO logs (run, step, time, level, message) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![run.to_string(), step, us(time), level.number(), message],
    )?;
    let line = LogLine { id: tx.conn.last_insert_rowid(), run, step, time, level, message };
    tx.announce(Event::Log { line });
    Ok(())
}

/// An artifact by the holder of the lease; dropped without it.
pub(crate) fn post_artifact(store: &Store, lease: &Lease, artifact: Artifact) {
    let lease = lease.clone();
    store.post(move |tx| {
        lease.check(tx)?;
        tx.execute(
            "INSERT INTO artifacts (run, key, step, kind, data, description, updated)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (run, key) DO UPDATE SET step = ?3, kind = ?4, data = ?5, description = ?6, updated = ?7",
            params![
                artifact.run.to_string(),
                artifact.key,
                artifact.step,
                artifact.kind.as_str(),
                rows::text(&artifact.data),
                artifact.description,
                us(artifact.updated)
            ],
        )?;
        tx.announce(Event::Artifact { run: artifact.run, key: artifact.key });
        Ok(())
    });
}
