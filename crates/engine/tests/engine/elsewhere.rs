//! Runs whose id was given elsewhere, so that another host finds the same outside work.

use std::time::Duration;

use engine::{Clock, Context, Engine, Failure, Flow, NewRun, Orchestrator, Registry, RunFilter, RunId};
use engine::{StateType, StepOptions, Worker};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::noon;

async fn child(context: Context, _: Value) -> Result<Value, Failure> {
    context.step("work", StepOptions::new(), |_| async { Ok(json!(null)) }).await
}

async fn parent(context: Context, _: Value) -> Result<Value, Failure> {
    context.sub_run("child", NewRun::of("child", json!({}))).await
}

fn registry() -> Registry {
    Registry::new().with(Flow::new("child", child)).with(Flow::new("parent", parent))
}

/// The same run on two hosts, that know nothing of each other, has the same sub-run.
#[tokio::test]
async fn a_sub_run_has_the_same_id_on_every_host() {
    let id = RunId::derived(noon(), Uuid::max(), "run");
    assert_eq!(id, RunId::derived(noon(), Uuid::max(), "run"));
    assert_ne!(id, RunId::derived(noon(), Uuid::max(), "another"));
    let later = RunId::derived(noon() + Duration::from_secs(1), Uuid::nil(), "run");
    assert!(id < later, "sorting by id sorts by time");
    let mut children = Vec::new();
    for _ in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::open(folder.path().join("runs.db"), Clock::system()).unwrap();
        assert!(engine.create_run_as(id, NewRun::of("parent", json!({}))).await.unwrap().is_new);
        assert!(!engine.create_run_as(id, NewRun::of("parent", json!({}))).await.unwrap().is_new);
        Worker::new(engine.store(), registry()).run_until_idle().await.unwrap();
        assert_eq!(engine.run(id).await.unwrap().state.kind, StateType::Completed);
        let filter = RunFilter { parent: Some(id), ..RunFilter::default() };
        children.push(engine.runs(filter).await.unwrap().items[0].id);
    }
    assert_eq!(children[0], children[1]);
}

/// A run in a queue that no worker serves waits, whatever it had done.
#[tokio::test]
async fn a_queue_holds_a_run_back() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path().join("runs.db"), Clock::system()).unwrap();
    let id = engine.create_run(NewRun::of("child", json!({})).on("default", "ours")).await.unwrap().id;
    engine.put_in_queue(id, "away").await.unwrap();
    Worker::new(engine.store(), registry()).queues(["ours"]).run_until_idle().await.unwrap();
    assert_eq!(engine.run(id).await.unwrap().state.kind, StateType::Scheduled);
    engine.put_in_queue(id, "ours").await.unwrap();
    Worker::new(engine.store(), registry()).queues(["ours"]).run_until_idle().await.unwrap();
    assert_eq!(engine.run(id).await.unwrap().state.kind, StateType::Completed);
}
