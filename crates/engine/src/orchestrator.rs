//! What stands between flows and whoever triggers or displays them: one trait, two back ends.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::broadcast;

use crate::deployment::Deployment;
use crate::error::Result;
use crate::event::Event;
use crate::model::{
    Artifact, Counts, Created, HistoryEntry, LogLine, NewRun, Page, Run, RunFilter, RunId, Step,
};
use crate::state::State;

/// Creates, shows and steers runs. Implemented by [`Engine`](crate::Engine) on SQLite.
#[async_trait]
pub trait Orchestrator: Send + Sync {
    /// Makes a run, or finds the one of the same idempotency key.
    async fn create_run(&self, new: NewRun) -> Result<Created>;
    /// One run.
    async fn run(&self, id: RunId) -> Result<Run>;
    /// A page of runs, newest first.
    async fn runs(&self, filter: RunFilter) -> Result<Page<Run>>;
    /// How many runs are in which type of state.
    async fn counts(&self) -> Result<Counts>;
    /// The steps of a run, in the order in which they began.
    async fn steps(&self, id: RunId) -> Result<Vec<Step>>;
    /// The states that the run and its steps went through, in order.
    async fn history(&self, id: RunId) -> Result<Vec<HistoryEntry>>;
    /// The states of all runs after this entry: what a display that polls shows next.
    async fn history_since(&self, after: i64, limit: u32) -> Result<Vec<HistoryEntry>>;
    /// Log lines of a run after this one.
    async fn logs(&self, id: RunId, after: i64, limit: u32) -> Result<Vec<LogLine>>;
    /// What a run shows.
    async fn artifacts(&self, id: RunId) -> Result<Vec<Artifact>>;
    /// The latest artifact of this key, of whatever run.
    async fn latest_artifact(&self, key: &str) -> Result<Option<Artifact>>;
    /// Stops a run and its outside work. Returns where it stands now: CANCELLED, or CANCELLING.
    async fn cancel(&self, id: RunId, reason: &str) -> Result<State>;
    /// Lets a running run stop between two steps and wait.
    async fn pause(&self, id: RunId, reason: &str) -> Result<()>;
    /// Lets a paused run go on, with the answers it asked for.
    async fn resume(&self, id: RunId, answers: BTreeMap<String, Value>) -> Result<State>;
    /// Tries a run again that did not complete; finished steps are kept, or with `from_start` none.
    async fn retry(&self, id: RunId, from_start: bool) -> Result<State>;
    /// Makes or replaces a deployment.
    async fn deploy(&self, deployment: Deployment) -> Result<()>;
    /// All deployments, by name.
    async fn deployments(&self) -> Result<Vec<Deployment>>;
    /// Takes a deployment away; its runs stay.
    async fn remove_deployment(&self, name: &str) -> Result<()>;
    /// Holds its schedules back, or lets them go on.
    async fn pause_deployment(&self, name: &str, paused: bool) -> Result<()>;
    /// Makes a run of a deployment: its flow, place and defaults, with the parameters, tags, key and time of
    /// `over`.
    async fn start(&self, deployment: &str, over: NewRun) -> Result<Created>;
    /// Changes as they happen.
    fn events(&self) -> broadcast::Receiver<Event>;
}
