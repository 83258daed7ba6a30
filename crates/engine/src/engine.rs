//! The embedded back end: the journal with an [`Orchestrator`] around it.

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::model::{
    Artifact, Counts, Created, HistoryEntry, LogLine, NewRun, Page, Run, RunFilter, RunId, Step,
};
use crate::orchestrator::Orchestrator;
use crate::state::State;
use crate::store::outbox::{self, Message};
use crate::store::{Store, queries, runs};

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

    /// The journal.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The clock of the journal.
    pub fn clock(&self) -> &Clock {
        self.store.clock()
    }

    /// Messages that wait or were given up, oldest first.
    ///
    /// # Errors
    /// What the journal says.
    pub async fn undelivered(&self) -> Result<Vec<Message>> {
        let path = self.store.path().to_path_buf();
        self.store
            .read(move |connection| {
                outbox::undelivered(connection).map_err(|error| Error::sqlite(&path, "read", &error))
            })
            .await
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

#[async_trait]
impl Orchestrator for Engine {
    async fn create_run(&self, new: NewRun) -> Result<Created> {
        if !new.parameters.is_object() {
            let reason = format!("they are {}, and must be an object", new.parameters);
            return Err(Error::Invalid { what: format!("parameters of {}", new.flow), reason });
        }
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

    fn events(&self) -> broadcast::Receiver<Event> {
        self.store.events()
    }
}
