//! Messages that must go out: kept until delivered, tried again, and shown when they cannot be.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::writer::Tx;
use super::{rows, us};
use crate::clock::add;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::failure::Failure;
use crate::model::RunId;

/// A message of the outbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its number.
    pub id: i64,
    /// What it is about; decides who delivers it.
    pub topic: String,
    /// The idempotency key: a receiver that saw it before ignores it.
    pub key: String,
    /// The content.
    pub payload: Value,
    /// The run that sent it.
    pub run: Option<RunId>,
    /// When it was put here.
    pub created: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next; `None` when delivered or dead.
    pub next_try: Option<Timestamp>,
    /// Why the last try failed.
    pub last_error: Option<String>,
    /// When it was delivered.
    pub delivered: Option<Timestamp>,
    /// When it was given up; a person can requeue it.
    pub dead: Option<Timestamp>,
}

const MESSAGE: &str =
    "id, topic, key, payload, run, created, attempts, next_try, last_error, delivered, dead";

fn message(row: &rusqlite::Row<'_>) -> rusqlite::Result<Message> {
    let run: Option<String> = row.get(4)?;
    Ok(Message {
        id: row.get(0)?,
        topic: row.get(1)?,
        key: row.get(2)?,
        payload: rows::json(row, 3)?,
        run: run.and_then(|id| id.parse().ok()),
        created: rows::time(row, 5)?,
        attempts: row.get(6)?,
        next_try: rows::time_or_none(row, 7)?,
        last_error: row.get(8)?,
        delivered: rows::time_or_none(row, 9)?,
        dead: rows::time_or_none(row, 10)?,
    })
}

/// Keeps a message; the same topic and key is the same message. Returns whether it is new.
pub(crate) fn put(tx: &Tx<'_>, topic: &str, key: &str, payload: &Value, run: Option<RunId>) -> Result<bool> {
    let added = tx.execute(
        "INSERT INTO outbox (topic, key, payload, run, created, next_try) VALUES (?1, ?2, ?3, ?4, ?5, ?5)
         ON CONFLICT (topic, key) DO NOTHING",
        params![topic, key, rows::text(payload), run.map(|run| run.to_string()), us(tx.now)],
    )?;
    tx.announce(Event::Outbox { topic: topic.to_owned() });
    Ok(added > 0)
}

/// Takes the next due message of one of these topics for `hold`, so that nobody else delivers it meanwhile.
pub(crate) fn take(tx: &Tx<'_>, topics: &[String], hold: Duration) -> Result<Option<Message>> {
    let sql = format!(
        "UPDATE outbox SET locked_until = ?2, attempts = attempts + 1 WHERE id = (
           SELECT id FROM outbox WHERE next_try <= ?1 AND (locked_until IS NULL OR locked_until <= ?1)
             AND topic IN (SELECT value FROM json_each(?3)) ORDER BY next_try, id LIMIT 1)
         RETURNING {MESSAGE}"
    );
    tx.row(&sql, params![us(tx.now), us(add(tx.now, hold)), rows::text(&topics)], message)
}

/// Notes the outcome of a try. A fatal failure, or one too many, makes it a dead letter.
pub(crate) fn settle(
    tx: &Tx<'_>,
    taken: &Message,
    outcome: &std::result::Result<(), Failure>,
    retry: &crate::step::Retry,
) -> Result<()> {
    let seed = format!("outbox/{}", taken.id);
    let (delivered, dead, next, error) = match outcome {
        Ok(()) => (Some(tx.now), None, None, None),
        Err(failure) => match retry.wait(taken.attempts, failure, &seed) {
            Some(wait) => (None, None, Some(add(tx.now, wait)), Some(failure.message.as_str())),
            None => (None, Some(tx.now), None, Some(failure.message.as_str())),
        },
    };
    // Only of the try that is noted: a slow deliverer whose hold ended does not undo a later one.
    tx.execute(
        "UPDATE outbox SET delivered = ?3, dead = ?4, next_try = ?5, last_error = ?6, locked_until = NULL
         WHERE id = ?1 AND attempts = ?2 AND delivered IS NULL",
        params![taken.id, taken.attempts, delivered.map(us), dead.map(us), next.map(us), error],
    )?;
    Ok(())
}

/// A dead letter is tried again.
pub(crate) fn requeue(tx: &Tx<'_>, id: i64) -> Result<()> {
    let found = tx.execute(
        "UPDATE outbox SET dead = NULL, attempts = 0, next_try = ?2, locked_until = NULL
         WHERE id = ?1 AND delivered IS NULL",
        params![id, us(tx.now)],
    )?;
    if found == 0 {
        return Err(Error::NotFound { what: "undelivered message", name: id.to_string() });
    }
    Ok(())
}

/// Messages that wait or are dead, oldest first.
pub(crate) fn undelivered(connection: &Connection) -> rusqlite::Result<Vec<Message>> {
    connection
        .prepare_cached(&format!(
            "SELECT {MESSAGE} FROM outbox WHERE delivered IS NULL ORDER BY id LIMIT 1000"
        ))?
        .query_map([], message)?
        .collect()
}

/// Whether one of these topics has a message to deliver.
pub(crate) fn anything(connection: &Connection, topics: &[String], now: Timestamp) -> Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM outbox WHERE next_try <= ?1
               AND (locked_until IS NULL OR locked_until <= ?1) AND topic IN (SELECT value FROM json_each(?2)))",
        )
        .and_then(|mut statement| statement.query_row(params![us(now), rows::text(&topics)], |row| row.get(0)))
        .map_err(|error| Error::sqlite(std::path::Path::new(connection.path().unwrap_or_default()), "read", &error))
}
