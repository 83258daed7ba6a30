//! The tables, and how a file comes to have them.

use std::path::Path;

use rusqlite::Connection;

use crate::error::{Error, Result};

/// "beam" in ASCII: tells our files from other SQLite databases.
const APPLICATION_ID: i64 = 0x6265_616d;

/// One entry for each schema version. An entry that was released is never changed; a new one is added.
pub(super) const MIGRATIONS: &[&str] = &[V1];

const V1: &str = "
CREATE TABLE runs (
  id TEXT PRIMARY KEY NOT NULL, flow TEXT NOT NULL, name TEXT NOT NULL,
  parameters TEXT NOT NULL, tags TEXT NOT NULL,
  state_type TEXT NOT NULL, state_name TEXT NOT NULL, state_message TEXT,
  state_details TEXT NOT NULL DEFAULT 'null', state_time INTEGER NOT NULL,
  created INTEGER NOT NULL, due INTEGER, expected INTEGER NOT NULL, started INTEGER, ended INTEGER,
  parent TEXT, deployment TEXT, pool TEXT NOT NULL, queue TEXT NOT NULL,
  attempt INTEGER NOT NULL DEFAULT 0, generation INTEGER NOT NULL DEFAULT 1,
  retries INTEGER NOT NULL DEFAULT 0, retry_delay INTEGER NOT NULL DEFAULT 0,
  fence INTEGER NOT NULL DEFAULT 0, worker TEXT, lease_until INTEGER,
  cancel_asked TEXT, pause_asked TEXT,
  ask TEXT, inputs TEXT NOT NULL DEFAULT '{}', waits_for TEXT,
  output TEXT, error TEXT
);
-- Only what can be claimed or takes a place; a long history costs the claim nothing.
CREATE INDEX runs_due ON runs (pool, due) WHERE due IS NOT NULL;
CREATE INDEX runs_active ON runs (pool, queue, lease_until)
  WHERE state_type IN ('PENDING', 'RUNNING', 'CANCELLING');
CREATE INDEX runs_state ON runs (state_type, id);
CREATE INDEX runs_flow ON runs (flow, id);
CREATE INDEX runs_parent ON runs (parent) WHERE parent IS NOT NULL;
CREATE INDEX runs_waiting ON runs (waits_for) WHERE waits_for IS NOT NULL;
CREATE INDEX runs_deployment ON runs (deployment, id) WHERE deployment IS NOT NULL;
CREATE INDEX runs_ended ON runs (ended) WHERE ended IS NOT NULL;
CREATE TABLE run_tags (tag TEXT NOT NULL, run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  PRIMARY KEY (tag, run)) WITHOUT ROWID;
CREATE INDEX run_tags_run ON run_tags (run);
-- Outlives the run: a key that was used stays used after the history was cleaned up.
CREATE TABLE run_keys (flow TEXT NOT NULL, key TEXT NOT NULL, run TEXT NOT NULL, created INTEGER NOT NULL,
  PRIMARY KEY (flow, key)) WITHOUT ROWID;

CREATE TABLE steps (
  run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE, generation INTEGER NOT NULL, key TEXT NOT NULL,
  name TEXT NOT NULL, kind TEXT NOT NULL, position INTEGER NOT NULL,
  state_type TEXT NOT NULL, state_name TEXT NOT NULL, state_message TEXT,
  state_details TEXT NOT NULL DEFAULT 'null', state_time INTEGER NOT NULL,
  attempt INTEGER NOT NULL DEFAULT 0, submission INTEGER NOT NULL DEFAULT 0,
  input TEXT, output TEXT, error TEXT, handle TEXT, acted INTEGER NOT NULL DEFAULT 0,
  keeps_failure INTEGER NOT NULL DEFAULT 0,
  started INTEGER, attempt_started INTEGER, running_since INTEGER, ended INTEGER, wake INTEGER,
  PRIMARY KEY (run, generation, key)
) WITHOUT ROWID;

CREATE TABLE history (
  id INTEGER PRIMARY KEY, run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE, step TEXT,
  type TEXT NOT NULL, name TEXT NOT NULL, message TEXT, details TEXT NOT NULL, time INTEGER NOT NULL,
  fence INTEGER NOT NULL
);
CREATE INDEX history_run ON history (run, id);
CREATE TRIGGER history_append_only BEFORE UPDATE ON history
  BEGIN SELECT RAISE(ABORT, 'the history of states is append-only'); END;

CREATE TABLE logs (
  id INTEGER PRIMARY KEY, run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE, step TEXT,
  time INTEGER NOT NULL, level INTEGER NOT NULL, message TEXT NOT NULL
);
CREATE INDEX logs_run ON logs (run, id);

CREATE TABLE artifacts (
  run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE, key TEXT NOT NULL, step TEXT,
  kind TEXT NOT NULL, data TEXT NOT NULL, description TEXT, updated INTEGER NOT NULL,
  PRIMARY KEY (run, key)
) WITHOUT ROWID;
CREATE INDEX artifacts_key ON artifacts (key, updated);

CREATE TABLE pools (name TEXT PRIMARY KEY NOT NULL, concurrency INTEGER, paused INTEGER NOT NULL DEFAULT 0)
  WITHOUT ROWID;
CREATE TABLE queues (pool TEXT NOT NULL, name TEXT NOT NULL, priority INTEGER NOT NULL DEFAULT 100,
  concurrency INTEGER, paused INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (pool, name)) WITHOUT ROWID;
CREATE TABLE limits (tag TEXT PRIMARY KEY NOT NULL, slots INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE workers (name TEXT PRIMARY KEY NOT NULL, pool TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL,
  version TEXT NOT NULL, started INTEGER NOT NULL, seen INTEGER NOT NULL, until INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE deployments (
  name TEXT PRIMARY KEY NOT NULL, flow TEXT NOT NULL, definition TEXT NOT NULL, concurrency INTEGER,
  paused INTEGER NOT NULL DEFAULT 0, updated INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE schedules (
  deployment TEXT NOT NULL REFERENCES deployments (name) ON DELETE CASCADE, id TEXT NOT NULL,
  definition TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (deployment, id)
) WITHOUT ROWID;

CREATE TABLE outbox (
  id INTEGER PRIMARY KEY, topic TEXT NOT NULL, key TEXT NOT NULL, payload TEXT NOT NULL, run TEXT,
  created INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, next_try INTEGER, locked_until INTEGER,
  last_error TEXT, delivered INTEGER, dead INTEGER, UNIQUE (topic, key)
);
CREATE INDEX outbox_due ON outbox (next_try) WHERE next_try IS NOT NULL;
";

/// Makes the file ours or brings it up to date: to the last of these `migrations`.
pub(super) fn prepare(connection: &mut Connection, path: &Path, migrations: &[&str]) -> Result<()> {
    // At one moment: another process may be making the file right now.
    let look = || -> rusqlite::Result<(i64, i64, i64)> {
        let view = connection.unchecked_transaction()?;
        let tables = view.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let pragma = |name: &str| view.pragma_query_value(None, name, |row| row.get(0));
        Ok((pragma("application_id")?, pragma("user_version")?, tables))
    };
    let (id, found, tables) = look().map_err(|error| explain(path, &error))?;
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    if id != APPLICATION_ID && (id != 0 || tables > 0) {
        let reason = format!("its application_id is {id:#x} and it has {tables} tables and indexes");
        return Err(Error::NotOurs { path: path.to_path_buf(), reason });
    }
    if found > known {
        return Err(Error::NewerSchema { path: path.to_path_buf(), found, known });
    }
    if found == known {
        return Ok(());
    }
    if found > 0 {
        check(connection, path, false)?;
        keep_copy(connection, path, found)?;
    }
    migrate(connection, found, migrations).map_err(|error| Error::sqlite(path, "brought up to date", &error))
}

/// All missing versions in one transaction: the file has the old schema or the new one, never half.
fn migrate(connection: &mut Connection, found: i64, migrations: &[&str]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive)?;
    // Another process may have done it while this one waited.
    let now: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let first = usize::try_from(now.max(found)).unwrap_or(0);
    for sql in migrations.iter().skip(first) {
        transaction.execute_batch(sql)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", migrations.len() as i64)?;
    transaction.commit()
}

fn keep_copy(connection: &Connection, path: &Path, version: i64) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".schema{version}"));
    let copy = Path::new(&name);
    if copy.exists() {
        return Ok(());
    }
    connection
        .execute("VACUUM INTO ?1", [copy.to_string_lossy()])
        .map(drop)
        .map_err(|error| Error::sqlite(path, "copied before the upgrade", &error))
}

/// `quick_check`, or with `full` `integrity_check` (slow on a large file).
pub(super) fn check(connection: &Connection, path: &Path, full: bool) -> Result<()> {
    let sql = if full { "PRAGMA integrity_check(5)" } else { "PRAGMA quick_check(5)" };
    let findings: Vec<String> = connection
        .prepare(sql)
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
        .map_err(|error| explain(path, &error))?;
    if findings.len() == 1 && findings.first().is_some_and(|line| line == "ok") {
        return Ok(());
    }
    Err(Error::Corrupt { path: path.to_path_buf(), findings: findings.join("; ") })
}

/// Errors at opening: a file that is no database is not ours, a damaged one is damaged.
pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            Error::NotOurs { path: path.to_path_buf(), reason: "it is no SQLite file".to_owned() }
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            Error::Corrupt { path: path.to_path_buf(), findings: error.to_string() }
        }
        _ => Error::sqlite(path, "opened", error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::{
        Clock, Context, Engine, Flow, NewRun, Orchestrator, Registry, StateType, StepOptions, Worker,
    };
    use serde_json::{Value, json};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// What a next version might do: a column, a table, and new values in old rows.
    const V2: &str = "ALTER TABLE runs ADD COLUMN note TEXT; CREATE TABLE notes (text TEXT NOT NULL);
        UPDATE runs SET note = flow;";

    /// One that looked at the file while another made it could take the half of it for a stranger's.
    #[test]
    fn a_fresh_journal_can_be_opened_by_many_at_once() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..20 {
            let path = folder.path().join(format!("{round}.db"));
            let start = std::sync::Barrier::new(8);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        start.wait();
                        Store::open(&path, Clock::system()).map(drop).unwrap();
                    });
                }
            });
        }
    }

    /// A run is begun by a worker of schema 1 that dies; a worker of schema 2 goes on with it.
    #[tokio::test]
    async fn a_run_begun_by_an_older_version_is_resumed_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.db");
        let (begun, dies) = (Arc::new(AtomicU32::new(0)), Arc::new(crate::faults::CrashAt::point(9)));
        let flow = |begun: Arc<AtomicU32>| {
            let work = move |context: Context, _: Value| {
                let begun = begun.clone();
                async move {
                    let begun = &begun;
                    for _ in 0..3 {
                        context
                            .step("add", StepOptions::new(), |_| async move {
                                begun.fetch_add(1, Ordering::SeqCst);
                                Ok(())
                            })
                            .await?;
                    }
                    Ok("done")
                }
            };
            Registry::new().with(Flow::new("old", work))
        };
        let clock = Clock::manual("2026-11-23T12:00:00Z".parse().unwrap());
        let old = Engine::open(&path, clock.clone()).unwrap();
        let id = old.create_run(NewRun::of("old", json!({}))).await.unwrap().id;
        let worker = Worker::new(old.store(), flow(begun.clone())).faults(dies);
        worker.run_until_idle().await.unwrap_err();
        drop(old);
        let before = begun.load(Ordering::SeqCst);
        clock.advance(std::time::Duration::from_secs(31));

        let new = Engine::on(Store::open_with(&path, clock, &[V1, V2]).unwrap());
        Worker::new(new.store(), flow(begun.clone())).run_until_idle().await.unwrap();
        assert_eq!(new.run(id).await.unwrap().state.kind, StateType::Completed);
        let after = begun.load(Ordering::SeqCst);
        assert!(before >= 1 && after <= 4, "what had ended is not done again: {before}, then {after}");
        let raw = Connection::open(&path).unwrap();
        let note: String = raw.query_row("SELECT note FROM runs", [], |row| row.get(0)).unwrap();
        assert_eq!(note, "old", "the migration saw the old rows");
        // The old file stays beside it, as the old version can use it; the new one it refuses.
        let kept = folder.path().join("runs.db.schema1");
        assert!(Engine::open(&kept, Clock::system()).unwrap().run(id).await.is_ok());
        assert!(matches!(
            Engine::open(&path, Clock::system()),
            Err(Error::NewerSchema { found: 2, known: 1, .. })
        ));
    }

    /// A migration that fails leaves the file as it was.
    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.db");
        drop(Engine::open(&path, Clock::system()).unwrap());
        let broken = "ALTER TABLE runs ADD COLUMN note TEXT; SELECT * FROM nowhere;";
        assert!(Store::open_with(&path, Clock::system(), &[V1, broken]).is_err());
        assert!(Engine::open(&path, Clock::system()).is_ok(), "the old version goes on");
        let raw = Connection::open(&path).unwrap();
        assert!(raw.prepare("SELECT note FROM runs").is_err());
    }
}
