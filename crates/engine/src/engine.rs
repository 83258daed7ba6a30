//! The embedded back end: the journal with an [`Orchestrator`] around it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use serde_json::Value;
use tokio::sync::broadcast;

use crate::clock::{Clock, sub};
use crate::deployment::Deployment;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::model::{
    Artifact, Counts, Created, HistoryEntry, LogLine, NewRun, Page, Run, RunFilter, RunId, Step,
};
use crate::orchestrator::Orchestrator;
use crate::state::State;
use crate::store::outbox::{self, Message};
use crate::store::upkeep::{self, Pool, Queue, WorkerSeen};
use crate::store::{Store, deployments, queries, runs};

/// Runs in one SQLite file. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    store: Store,
}

impl Engine {
    /// Opens the journal at `path`, or makes it.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(path: impl AsRef<Path>, clock: Clock) -> Result<Self> {
        Ok(Engine { store: Store::open(path, clock)? })
    }

    /// The back end on a journal that is open already.
    pub fn on(store: Store) -> Self {
        Engine { store }
    }

    /// The journal.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The clock of the journal.
    pub fn clock(&self) -> &Clock {
        self.store.clock()
    }

    async fn look<T, F>(&self, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let path = self.store.path().to_path_buf();
        let explained = move |connection: &Connection| {
            query(connection).map_err(|error| Error::sqlite(&path, "read", &error))
        };
        self.store.read(explained).await
    }

    /// Makes the runs that schedules ask for, and marks late ones. Workers call it every poll; calling it more
    /// often or from several processes does no harm. Returns the runs made.
    ///
    /// # Errors
    /// What the journal says.
    pub async fn tick(&self) -> Result<Vec<RunId>> {
        let now = self.clock().now();
        if !self.look(move |c| Ok(deployments::anything(c, now)? || upkeep::any_late(c, now)?)).await? {
            return Ok(Vec::new());
        }
        let store = self.store.clone();
        // The ids are made beforehand: work in the writer must not hold the store.
        let ids: Vec<RunId> = (0..4096).map(|_| store.new_id()).collect();
        self.store
            .write(move |tx| {
                let mut ids = ids.into_iter();
                let made =
                    deployments::tick(tx, || ids.next().unwrap_or_else(|| RunId(uuid::Uuid::now_v7())))?;
                upkeep::mark_late(tx)?;
                Ok(made)
            })
            .await
    }

    /// As [`create_run`](Orchestrator::create_run), under an id that was derived elsewhere
    /// ([`RunId::derived`]). A run that has this id is left as it is.
    ///
    /// # Errors
    /// As [`create_run`](Orchestrator::create_run).
    pub async fn create_run_as(&self, id: RunId, new: NewRun) -> Result<Created> {
        checked(&new)?;
        self.store
            .write(move |tx| {
                let there = tx.row("SELECT 1 FROM runs WHERE id = ?1", [id.to_string()], |_| Ok(()))?;
                if there.is_some() {
                    return Ok(Created { id, is_new: false });
                }
                runs::create(tx, id, &new)
            })
            .await
    }

    /// Moves a run, and what it started and waits for, to another queue of its pool: one that no worker here
    /// serves holds it back. A worker that has it keeps it.
    ///
    /// # Errors
    /// What the journal says.
    pub async fn put_in_queue(&self, id: RunId, queue: &str) -> Result<()> {
        let queue = queue.to_owned();
        let sql = "WITH RECURSIVE family (id) AS (
                     SELECT ?1 UNION SELECT runs.id FROM runs JOIN family ON runs.parent = family.id)
                   UPDATE runs SET queue = ?2 WHERE id IN (SELECT id FROM family) AND queue <> ?2";
        self.store.write(move |tx| tx.execute(sql, [id.to_string(), queue]).map(drop)).await
    }

    /// Sets a pool's limit, or pauses it.
    ///
    /// # Errors
    /// What the journal says.
    pub async fn set_pool(&self, pool: Pool) -> Result<()> {
        self.store.write(move |tx| upkeep::put_pool(tx, &pool)).await
    }

    /// Sets a queue's priority and limit, or pauses it.
    ///
    /// # Errors
    /// What the journal says.
    pub async fn set_queue(&self, queue: Queue) -> Result<()> {
        self.store.write(move |tx| upkeep::put_queue(tx, &queue)).await
    }

    /// The queues that were set.
    ///
    /// # Errors
    /// What the journal says.
    pub async fn queues(&self) -> Result<Vec<Queue>> {
        self.look(upkeep::queues).await
    }

    /// At most so many runs with this tag at once, over all pools; `None`: no limit.
    ///
    /// # Errors
    /// What the journal says.
    pub async fn set_limit(&self, tag: &str, slots: Option<u32>) -> Result<()> {
        let tag = tag.to_owned();
        self.store.write(move |tx| upkeep::put_limit(tx, &tag, slots)).await
    }

    /// Workers that were seen, the latest first.
    ///
    /// # Errors
    /// What the journal says.
    pub async fn workers(&self) -> Result<Vec<WorkerSeen>> {
        self.look(upkeep::workers).await
    }

    /// Tells the journal that it is a backup that was put back: each run that has not ended gets a line about it in
    /// its log, and its state once more in the history. Numbers of the history go on far behind those that the lost
    /// journal may have used, so that what was told to others under a number is not taken for something else.
    /// Returns how many runs go on.
    ///
    /// # Errors
    /// What the journal says.
    pub async fn restored(&self, taken: jiff::Timestamp) -> Result<usize> {
        self.store.write(move |tx| upkeep::restored(tx, taken)).await
    }

    /// Deletes what ended more than `age` ago: runs with their steps, states, logs and artifacts, delivered
    /// messages, workers long gone. Never a run that has not ended, nor one whose sub-runs or parent have not.
    /// An idempotency key stays used. Returns how many runs went.
    ///
    /// # Errors
    /// What the journal says.
    pub async fn forget(&self, age: Duration) -> Result<usize> {
        let before = sub(self.clock().now(), age);
        let mut forgotten = 0;
        loop {
            // In small transactions, so that nobody waits long.
            let gone = self.store.write(move |tx| upkeep::forget_runs(tx, before, 200)).await?;
            forgotten += gone;
            if gone == 0 {
                break;
            }
        }
        self.store.write(move |tx| upkeep::forget_rest(tx, before)).await?;
        Ok(forgotten)
    }

    /// The number of the newest entry of the history of all runs, 0 in an empty journal: what a display that polls
    /// compares with the one it had.
    ///
    /// # Errors
    /// What the journal says.
    pub async fn last_change(&self) -> Result<i64> {
        self.look(|connection| {
            connection
                .prepare_cached("SELECT coalesce(max(id), 0) FROM history")
                .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        })
        .await
    }

    /// The newest lines of a run's log, at most so many, oldest first.
    ///
    /// # Errors
    /// What the journal says.
    pub async fn log_tail(&self, id: RunId, limit: u32) -> Result<Vec<LogLine>> {
        self.store.read(move |connection| queries::log_tail(connection, id, limit)).await
    }

    /// Messages that wait or were given up, oldest first.
    ///
    /// # Errors
    /// What the journal says.
    pub async fn undelivered(&self) -> Result<Vec<Message>> {
        self.look(outbox::undelivered).await
    }

    /// Tries a message again that was given up.
    ///
    /// # Errors
    /// There is no such undelivered message.
    pub async fn requeue(&self, message: i64) -> Result<()> {
        self.store.write(move |tx| outbox::requeue(tx, message)).await
    }

    /// Puts a message into the outbox from outside a flow. Returns whether it is new.
    ///
    /// # Errors
    /// What the journal says.
    pub async fn send(&self, topic: &str, key: &str, payload: Value) -> Result<bool> {
        let (topic, key) = (topic.to_owned(), key.to_owned());
        self.store.write(move |tx| outbox::put(tx, &topic, &key, &payload, None)).await
    }
}

fn checked(new: &NewRun) -> Result<()> {
    if new.parameters.is_object() {
        return Ok(());
    }
    let reason = format!("they are {}, and must be an object", new.parameters);
    Err(Error::Invalid { what: format!("parameters of {}", new.flow), reason })
}

#[async_trait]
impl Orchestrator for Engine {
    async fn create_run(&self, new: NewRun) -> Result<Created> {
        checked(&new)?;
        let id = self.store.new_id();
        self.store.write(move |tx| runs::create(tx, id, &new)).await
    }

    async fn run(&self, id: RunId) -> Result<Run> {
        self.store.read(move |connection| queries::run(connection, id)).await
    }

    async fn runs(&self, filter: RunFilter) -> Result<Page<Run>> {
        self.store.read(move |connection| queries::list(connection, &filter)).await
    }

    async fn counts(&self) -> Result<Counts> {
        self.store.read(queries::counts).await
    }

    async fn steps(&self, id: RunId) -> Result<Vec<Step>> {
        self.store.read(move |connection| queries::steps(connection, id)).await
    }

    async fn history(&self, id: RunId) -> Result<Vec<HistoryEntry>> {
        self.store.read(move |connection| queries::history(connection, Some(id), 0, u32::MAX)).await
    }

    async fn history_since(&self, after: i64, limit: u32) -> Result<Vec<HistoryEntry>> {
        self.store.read(move |connection| queries::history(connection, None, after, limit)).await
    }

    async fn logs(&self, id: RunId, after: i64, limit: u32) -> Result<Vec<LogLine>> {
        self.store.read(move |connection| queries::logs(connection, id, after, limit)).await
    }

    async fn artifacts(&self, id: RunId) -> Result<Vec<Artifact>> {
        self.store.read(move |connection| queries::artifacts(connection, id)).await
    }

    async fn latest_artifact(&self, key: &str) -> Result<Option<Artifact>> {
        let key = key.to_owned();
        self.store.read(move |connection| queries::latest_artifact(connection, &key)).await
    }

    async fn cancel(&self, id: RunId, reason: &str) -> Result<State> {
        let reason = reason.to_owned();
        self.store.write(move |tx| runs::cancel(tx, id, &reason)).await
    }

    async fn pause(&self, id: RunId, reason: &str) -> Result<()> {
        let reason = reason.to_owned();
        self.store.write(move |tx| runs::pause(tx, id, &reason)).await
    }

    async fn resume(&self, id: RunId, answers: BTreeMap<String, Value>) -> Result<State> {
        self.store.write(move |tx| runs::resume(tx, id, &answers)).await
    }

    async fn retry(&self, id: RunId, from_start: bool) -> Result<State> {
        self.store.write(move |tx| runs::retry(tx, id, from_start, "tried again on request")).await
    }

    async fn deploy(&self, deployment: Deployment) -> Result<()> {
        self.store.write(move |tx| deployments::put(tx, &deployment)).await
    }

    async fn deployments(&self) -> Result<Vec<Deployment>> {
        self.look(deployments::list).await
    }

    async fn remove_deployment(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.store.write(move |tx| deployments::remove(tx, &name)).await
    }

    async fn pause_deployment(&self, name: &str, paused: bool) -> Result<()> {
        let name = name.to_owned();
        self.store.write(move |tx| deployments::pause(tx, &name, paused)).await
    }

    async fn start(&self, deployment: &str, over: NewRun) -> Result<Created> {
        let (id, name) = (self.store.new_id(), deployment.to_owned());
        self.store.write(move |tx| deployments::start(tx, id, &name, over)).await
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.store.events()
    }
}
