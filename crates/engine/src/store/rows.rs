//! Rows of the tables to values and back.

use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::Type;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::model::{Artifact, ArtifactKind, HistoryEntry, Level, LogLine, Run, RunId, Step, StepKind};
use crate::state::{State, StateType};

type Sql<T> = rusqlite::Result<T>;

/// The columns of [`run`], in any query.
pub(crate) const RUN: &str = "id, flow, name, parameters, tags, state_type, state_name, state_message, \
     state_details, state_time, created, due, expected, started, ended, parent, deployment, pool, queue, \
     attempt, generation, worker, lease_until, output, error, ask";

/// The columns of [`step`].
pub(crate) const STEP: &str = "run, generation, key, name, kind, position, state_type, state_name, \
     state_message, state_details, state_time, attempt, submission, input, output, error, handle, acted, \
     started, attempt_started, running_since, ended, wake";

fn bad(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

pub(crate) fn id(row: &Row<'_>, column: usize) -> Sql<RunId> {
    RunId::from_str(row.get_ref(column)?.as_str()?).map_err(|error| bad(column, error))
}

fn id_or_none(row: &Row<'_>, column: usize) -> Sql<Option<RunId>> {
    match row.get_ref(column)?.as_str_or_null()? {
        Some(text) => RunId::from_str(text).map(Some).map_err(|error| bad(column, error)),
        None => Ok(None),
    }
}

pub(crate) fn time(row: &Row<'_>, column: usize) -> Sql<Timestamp> {
    Timestamp::from_microsecond(row.get(column)?).map_err(|error| bad(column, error))
}

pub(crate) fn time_or_none(row: &Row<'_>, column: usize) -> Sql<Option<Timestamp>> {
    match row.get::<_, Option<i64>>(column)? {
        Some(us) => Timestamp::from_microsecond(us).map(Some).map_err(|error| bad(column, error)),
        None => Ok(None),
    }
}

pub(crate) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Sql<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(|error| bad(column, error))
}

pub(crate) fn json_or_none<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Sql<Option<T>> {
    match row.get_ref(column)?.as_str_or_null()? {
        Some(text) => serde_json::from_str(text).map(Some).map_err(|error| bad(column, error)),
        None => Ok(None),
    }
}

pub(crate) fn state_type(row: &Row<'_>, column: usize) -> Sql<StateType> {
    StateType::from_str(row.get_ref(column)?.as_str()?).map_err(|error| bad(column, error))
}

/// Five columns: type, name, message, details, time.
fn state(row: &Row<'_>, first: usize) -> Sql<State> {
    Ok(State {
        kind: state_type(row, first)?,
        name: row.get(first + 1)?,
        message: row.get(first + 2)?,
        details: json(row, first + 3)?,
        time: time(row, first + 4)?,
    })
}

pub(crate) fn run(row: &Row<'_>) -> Sql<Run> {
    Ok(Run {
        id: id(row, 0)?,
        flow: row.get(1)?,
        name: row.get(2)?,
        parameters: json(row, 3)?,
        tags: json(row, 4)?,
        state: state(row, 5)?,
        created: time(row, 10)?,
        due: time_or_none(row, 11)?,
        expected: time(row, 12)?,
        started: time_or_none(row, 13)?,
        ended: time_or_none(row, 14)?,
        parent: id_or_none(row, 15)?,
        deployment: row.get(16)?,
        pool: row.get(17)?,
        queue: row.get(18)?,
        attempt: row.get(19)?,
        generation: row.get(20)?,
        worker: row.get(21)?,
        lease_until: time_or_none(row, 22)?,
        output: json_or_none(row, 23)?,
        error: json_or_none(row, 24)?,
        ask: json_or_none(row, 25)?,
    })
}

pub(crate) fn step(row: &Row<'_>) -> Sql<Step> {
    Ok(Step {
        run: id(row, 0)?,
        generation: row.get(1)?,
        key: row.get(2)?,
        name: row.get(3)?,
        kind: StepKind::parse(row.get_ref(4)?.as_str()?),
        position: row.get(5)?,
        state: state(row, 6)?,
        attempt: row.get(11)?,
        submission: row.get(12)?,
        input: row.get(13)?,
        output: json_or_none(row, 14)?,
        error: json_or_none(row, 15)?,
        handle: json_or_none(row, 16)?,
        acted: row.get(17)?,
        started: time_or_none(row, 18)?,
        attempt_started: time_or_none(row, 19)?,
        running_since: time_or_none(row, 20)?,
        ended: time_or_none(row, 21)?,
        wake: time_or_none(row, 22)?,
    })
}

/// Columns `id, run, step, type, name, message, details, time`.
pub(crate) fn history(row: &Row<'_>) -> Sql<HistoryEntry> {
    Ok(HistoryEntry { id: row.get(0)?, run: id(row, 1)?, step: row.get(2)?, state: state(row, 3)? })
}

/// Columns `id, run, step, time, level, message`.
pub(crate) fn log(row: &Row<'_>) -> Sql<LogLine> {
    Ok(LogLine {
        id: row.get(0)?,
        run: id(row, 1)?,
        step: row.get(2)?,
        time: time(row, 3)?,
        level: Level::from_number(row.get(4)?),
        message: row.get(5)?,
    })
}

/// Columns `run, step, key, kind, data, description, updated`.
pub(crate) fn artifact(row: &Row<'_>) -> Sql<Artifact> {
    Ok(Artifact {
        run: id(row, 0)?,
        step: row.get(1)?,
        key: row.get(2)?,
        kind: ArtifactKind::parse(row.get_ref(3)?.as_str()?),
        data: json(row, 4)?,
        description: row.get(5)?,
        updated: time(row, 6)?,
    })
}

/// JSON as it is stored.
pub(crate) fn text(value: &impl serde::Serialize) -> String {
    // Values, failures and questions have string keys only and always serialise.
    serde_json::to_string(value).unwrap_or_else(|_| Value::Null.to_string())
}
