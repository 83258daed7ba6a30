//! What the tests share: a journal in a fresh folder, a clock that stands still, a world outside.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::{Clock, Engine, Orchestrator, Registry, RunId, StateType, Worker};
use jiff::Timestamp;
use serde_json::Value;

/// A Monday, 12:00 UTC.
pub fn noon() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

pub struct Bench {
    pub folder: tempfile::TempDir,
    pub clock: Clock,
    pub engine: Engine,
}

impl Bench {
    /// A clock that is moved by hand.
    pub fn new() -> Self {
        Self::with(Clock::manual(noon()))
    }

    /// A clock that runs a thousand times as fast.
    pub fn fast() -> Self {
        Self::with(Clock::scaled(noon(), 1000.0))
    }

    pub fn with(clock: Clock) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::open(folder.path().join("runs.db"), clock.clone()).unwrap();
        Bench { folder, clock, engine }
    }

    /// A second program that opens the same journal.
    pub fn other(&self) -> Engine {
        Engine::open(self.folder.path().join("runs.db"), self.clock.clone()).unwrap()
    }

    pub fn worker(&self, registry: &Registry) -> Worker {
        Worker::new(self.engine.store(), registry.clone())
    }

    pub async fn work(&self, registry: &Registry) {
        self.worker(registry).run_until_idle().await.unwrap();
    }

    pub async fn kind(&self, run: RunId) -> StateType {
        self.engine.run(run).await.unwrap().state.kind
    }

    /// "SCHEDULED/Scheduled", ... of the run (`step` `None`) or a step, in order.
    pub async fn states(&self, run: RunId, step: Option<&str>) -> Vec<String> {
        let history = self.engine.history(run).await.unwrap();
        history
            .into_iter()
            .filter(|entry| entry.step.as_deref() == step)
            .map(|entry| format!("{}/{}", entry.state.kind, entry.state.name))
            .collect()
    }

    pub async fn until(&self, run: RunId, wanted: StateType) {
        for _ in 0..2000 {
            if self.kind(run).await == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("run {run} is {} and not {wanted}", self.kind(run).await);
    }
}

/// A service outside: jobs by name, with how often each was started and cancelled.
#[derive(Clone, Default)]
pub struct World(pub Arc<Mutex<BTreeMap<String, Job>>>);

#[derive(Clone, Default, Debug, PartialEq)]
pub struct Job {
    pub started: u32,
    pub cancelled: u32,
    pub done: bool,
    pub result: Value,
}

impl World {
    pub fn start(&self, name: &str) {
        self.0.lock().unwrap().entry(name.to_owned()).or_default().started += 1;
    }

    pub fn knows(&self, name: &str) -> bool {
        self.0.lock().unwrap().contains_key(name)
    }

    pub fn jobs(&self) -> Vec<Job> {
        self.0.lock().unwrap().values().cloned().collect()
    }

    pub fn cancel(&self, name: &str) {
        self.0.lock().unwrap().entry(name.to_owned()).or_default().cancelled += 1;
    }

    pub fn is_done(&self, name: &str) -> bool {
        self.0.lock().unwrap().get(name).is_some_and(|job| job.done)
    }
}
