//! Which run of Prefect is which run here, and how far it was reported: the outbox towards Prefect.
//!
//! The journal's history is append-only and numbered, so what is still to be told is everything after a number.
//! A number is written after the server has answered; what is told twice is recognised by the server (natural
//! keys, transition ids).

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use engine::RunId;
use prefect::StateType;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params};
use uuid::Uuid;

use crate::error::{Error, Result};

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The claim is being made.
    Claiming,
    /// It is ours: done here, told there.
    Held,
    /// It was given back, and waits in Prefect for a worker.
    Back,
    /// Told to its end, or somebody else's.
    Closed,
}

impl Phase {
    fn as_str(self) -> &'static str {
        match self {
            Phase::Claiming => "claiming",
            Phase::Held => "held",
            Phase::Back => "back",
            Phase::Closed => "closed",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "claiming" => Phase::Claiming,
            "held" => Phase::Held,
            "back" => Phase::Back,
            _ => Phase::Closed,
        }
    }
}

/// A run of Prefect and its run here.
#[derive(Debug, Clone)]
pub struct Row {
    /// Prefect's run.
    pub flow_run: Uuid,
    /// Ours.
    pub run: RunId,
    /// Its name there.
    pub name: String,
    /// Its flow there.
    pub flow: Uuid,
    /// Its deployment there.
    pub deployment: Option<Uuid>,
    /// The transition that claims it.
    pub claim: Uuid,
    /// Whose turn it is.
    pub phase: Phase,
    /// A sub-run: reported, never polled.
    pub child: bool,
    /// The last entry of the history that was told.
    pub history: i64,
    /// The last log line that was told.
    pub logs: i64,
}

/// The file.
pub struct Ledger {
    path: PathBuf,
    connection: Mutex<Connection>,
    id: Uuid,
}

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS owner (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS runs (
  flow_run TEXT PRIMARY KEY NOT NULL, run TEXT NOT NULL UNIQUE, name TEXT NOT NULL, flow TEXT NOT NULL,
  deployment TEXT, claim TEXT NOT NULL, phase TEXT NOT NULL, child INTEGER NOT NULL DEFAULT 0,
  history INTEGER NOT NULL DEFAULT 0, logs INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS runs_open ON runs (phase) WHERE phase <> 'closed';
CREATE TABLE IF NOT EXISTS tasks (
  flow_run TEXT NOT NULL, step TEXT NOT NULL, generation INTEGER NOT NULL, task TEXT NOT NULL,
  kind TEXT NOT NULL DEFAULT 'PENDING', runs INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (flow_run, step, generation)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS artifacts (
  flow_run TEXT NOT NULL, key TEXT NOT NULL, artifact TEXT NOT NULL, updated INTEGER NOT NULL,
  PRIMARY KEY (flow_run, key)
) WITHOUT ROWID;
";

/// A task of Prefect.
#[derive(Debug, Clone, Copy)]
pub struct Task {
    /// Its id there.
    pub id: Uuid,
    /// The type of state that it was told last.
    pub kind: StateType,
    /// How often it began.
    pub runs: u32,
}

const ROW: &str = "flow_run, run, name, flow, deployment, claim, phase, child, history, logs";

fn id(row: &SqlRow<'_>, index: usize) -> rusqlite::Result<Uuid> {
    let text: String = row.get(index)?;
    Uuid::parse_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error))
    })
}

fn row(row: &SqlRow<'_>) -> rusqlite::Result<Row> {
    let (deployment, phase): (Option<String>, String) = (row.get(4)?, row.get(6)?);
    Ok(Row {
        flow_run: id(row, 0)?,
        run: RunId(id(row, 1)?),
        name: row.get(2)?,
        flow: id(row, 3)?,
        deployment: deployment.and_then(|text| Uuid::parse_str(&text).ok()),
        claim: id(row, 5)?,
        phase: Phase::parse(&phase),
        child: row.get(7)?,
        history: row.get(8)?,
        logs: row.get(9)?,
    })
}

impl Ledger {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn open(path: &Path) -> Result<Self> {
        let explain =
            |error: rusqlite::Error| Error::Ledger { path: path.to_path_buf(), reason: error.to_string() };
        let connection = sqlite::open(path).map_err(explain)?;
        let prepare = || -> rusqlite::Result<Uuid> {
            connection.execute_batch(TABLES)?;
            let fresh = Uuid::now_v7().to_string();
            connection.execute(
                "INSERT INTO owner (id) SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM owner)",
                [&fresh],
            )?;
            connection.query_row("SELECT id FROM owner", [], |row| id(row, 0))
        };
        let id = prepare().map_err(explain)?;
        Ok(Ledger { path: path.to_path_buf(), connection: Mutex::new(connection), id })
    }

    /// Tells this worker's claims from those of others, over restarts.
    pub fn mark(&self) -> String {
        let id = self.id.as_simple().to_string();
        id.get(20..).unwrap_or(&id).to_owned()
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn explain(&self) -> impl Fn(rusqlite::Error) -> Error {
        let path = self.path.clone();
        move |error| Error::Ledger { path: path.clone(), reason: error.to_string() }
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Result<()> {
        self.lock().execute(sql, values).map(drop).map_err(self.explain())
    }

    /// Adds a run, before anything is asked of the server about it. One that is there keeps its run here and how
    /// far it was told.
    pub fn put(&self, new: &Row) -> Result<()> {
        self.execute(
            "INSERT INTO runs (flow_run, run, name, flow, deployment, claim, phase, child)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (flow_run) DO UPDATE SET claim = excluded.claim, phase = excluded.phase",
            params![
                new.flow_run.to_string(),
                new.run.to_string(),
                new.name,
                new.flow.to_string(),
                new.deployment.map(|id| id.to_string()),
                new.claim.to_string(),
                new.phase.as_str(),
                new.child
            ],
        )
    }

    /// Changes whose turn it is.
    pub fn set_phase(&self, flow_run: Uuid, phase: Phase) -> Result<()> {
        self.execute(
            "UPDATE runs SET phase = ?2 WHERE flow_run = ?1",
            params![flow_run.to_string(), phase.as_str()],
        )
    }

    /// The run of Prefect.
    pub fn by_flow_run(&self, flow_run: Uuid) -> Result<Option<Row>> {
        self.one("flow_run", &flow_run.to_string())
    }

    /// The run here.
    pub fn by_run(&self, run: RunId) -> Result<Option<Row>> {
        self.one("run", &run.to_string())
    }

    fn one(&self, column: &str, value: &str) -> Result<Option<Row>> {
        self.lock()
            .prepare_cached(&format!("SELECT {ROW} FROM runs WHERE {column} = ?1"))
            .and_then(|mut statement| statement.query_row([value], row).optional())
            .map_err(self.explain())
    }

    /// All that are not closed.
    pub fn open_rows(&self) -> Result<Vec<Row>> {
        self.lock()
            .prepare_cached(&format!("SELECT {ROW} FROM runs WHERE phase <> 'closed' ORDER BY run"))
            .and_then(|mut statement| statement.query_map([], row)?.collect())
            .map_err(self.explain())
    }

    /// Notes that the history was told up to here.
    pub fn told(&self, flow_run: Uuid, history: i64) -> Result<()> {
        self.execute(
            "UPDATE runs SET history = ?2 WHERE flow_run = ?1",
            params![flow_run.to_string(), history],
        )
    }

    /// Notes that log lines were told up to here.
    pub fn told_logs(&self, flow_run: Uuid, logs: i64) -> Result<()> {
        self.execute("UPDATE runs SET logs = ?2 WHERE flow_run = ?1", params![flow_run.to_string(), logs])
    }

    /// The task of a step, of its latest generation or of this one.
    pub fn task(&self, flow_run: Uuid, step: &str, generation: u32) -> Result<Option<Task>> {
        self.lock()
            .prepare_cached(
                "SELECT task, kind, runs FROM tasks WHERE flow_run = ?1 AND step = ?2 AND generation = ?3",
            )
            .and_then(|mut statement| {
                statement.query_row(params![flow_run.to_string(), step, generation], task).optional()
            })
            .map_err(self.explain())
    }

    /// All tasks of a run.
    pub fn tasks(&self, flow_run: Uuid) -> Result<Vec<(String, u32, Task)>> {
        self.lock()
            .prepare_cached("SELECT task, kind, runs, step, generation FROM tasks WHERE flow_run = ?1")
            .and_then(|mut statement| {
                let found = statement
                    .query_map([flow_run.to_string()], |row| Ok((row.get(3)?, row.get(4)?, task(row)?)))?;
                found.collect()
            })
            .map_err(self.explain())
    }

    /// Notes a task, or what it was told.
    pub fn put_task(&self, flow_run: Uuid, step: &str, generation: u32, task: &Task) -> Result<()> {
        self.execute(
            "INSERT OR REPLACE INTO tasks (flow_run, step, generation, task, kind, runs) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![flow_run.to_string(), step, generation, task.id.to_string(), task.kind.as_str(), task.runs],
        )
    }

    /// A number that was kept under a name.
    pub fn note(&self, name: &str) -> Result<Option<i64>> {
        self.lock()
            .prepare_cached("SELECT value FROM notes WHERE name = ?1")
            .and_then(|mut statement| statement.query_row([name], |row| row.get(0)).optional())
            .map_err(self.explain())
    }

    /// Keeps a number under a name.
    pub fn set_note(&self, name: &str, value: i64) -> Result<()> {
        self.execute("INSERT OR REPLACE INTO notes (name, value) VALUES (?1, ?2)", params![name, value])
    }

    /// The artifact of a key, and the time of the content that it was told.
    pub fn artifact(&self, flow_run: Uuid, key: &str) -> Result<Option<(Uuid, i64)>> {
        self.lock()
            .prepare_cached("SELECT artifact, updated FROM artifacts WHERE flow_run = ?1 AND key = ?2")
            .and_then(|mut statement| {
                let read = |row: &SqlRow<'_>| Ok((id(row, 0)?, row.get(1)?));
                statement.query_row([flow_run.to_string().as_str(), key], read).optional()
            })
            .map_err(self.explain())
    }

    /// Notes an artifact.
    pub fn put_artifact(&self, flow_run: Uuid, key: &str, artifact: Uuid, updated: i64) -> Result<()> {
        self.execute(
            "INSERT OR REPLACE INTO artifacts (flow_run, key, artifact, updated) VALUES (?1, ?2, ?3, ?4)",
            params![flow_run.to_string(), key, artifact.to_string(), updated],
        )
    }
}

fn task(row: &SqlRow<'_>) -> rusqlite::Result<Task> {
    let kind: String = row.get(1)?;
    let kind = serde_json::from_value(kind.into()).unwrap_or(StateType::Pending);
    Ok(Task { id: id(row, 0)?, kind, runs: row.get(2)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_is_the_same_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prefect.db");
        let ledger = Ledger::open(&path).unwrap();
        let (mark, flow_run) = (ledger.mark(), Uuid::now_v7());
        let new = Row {
            flow_run,
            run: RunId(Uuid::now_v7()),
            name: "n".into(),
            flow: Uuid::nil(),
            deployment: None,
            claim: Uuid::now_v7(),
            phase: Phase::Claiming,
            child: false,
            history: 0,
            logs: 0,
        };
        ledger.put(&new).unwrap();
        ledger.told(flow_run, 7).unwrap();
        ledger
            .put_task(flow_run, "copy", 1, &Task { id: Uuid::max(), kind: StateType::Running, runs: 2 })
            .unwrap();
        drop(ledger);
        let ledger = Ledger::open(&path).unwrap();
        assert_eq!(ledger.mark(), mark);
        // Claimed once more: how far it was told stays.
        ledger.put(&Row { claim: Uuid::nil(), phase: Phase::Held, ..new.clone() }).unwrap();
        let row = ledger.by_run(new.run).unwrap().unwrap();
        assert_eq!((row.history, row.phase, row.claim), (7, Phase::Held, Uuid::nil()));
        assert_eq!(ledger.task(flow_run, "copy", 1).unwrap().unwrap().runs, 2);
        assert!(ledger.task(flow_run, "copy", 2).unwrap().is_none());
        ledger.set_phase(flow_run, Phase::Closed).unwrap();
        assert!(ledger.open_rows().unwrap().is_empty());
    }
}
