//! A real process, killed by a real SIGKILL at journal points, and started again on the same file.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use engine::faults::{Faults, KillAt, NoFaults};
use engine::harness::try_sigkill;
use engine::{Clock, Engine, NewRun, Orchestrator, StateType, Worker};
use serde_json::json;

use crate::faults::{files, flows};

const FOLDER: &str = "BEAMRAIL_TEST_FOLDER";

/// The program that is killed: this test, run by `every_point_survives_sigkill`. Alone it does nothing.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        println!("skipped: it is the child of every_point_survives_sigkill");
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(work(Path::new(&folder)));
}

async fn work(folder: &Path) {
    // Fifty times as fast: the lease of the dead worker ends in 0.2 s.
    let clock = Clock::scaled(jiff::Timestamp::now(), 50.0);
    let engine = Engine::open(folder.join("runs.db"), clock).unwrap();
    let run = engine.create_run(NewRun::of("all", json!({})).key("the one")).await.unwrap().id;
    let faults: Arc<dyn Faults> = match KillAt::from_env() {
        Some(kill) => Arc::new(kill),
        None => Arc::new(NoFaults),
    };
    let worker = Worker::new(engine.store(), flows(folder)).faults(faults).lease(Duration::from_secs(10));
    let watched = engine.clone();
    let ended = async move {
        while !watched.run(run).await.unwrap().state.kind.is_terminal() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    worker.poll(Duration::from_millis(250)).run(ended).await.unwrap();
    let run = engine.run(run).await.unwrap();
    assert_eq!(run.state.kind, StateType::Completed, "{run:#?}");
    std::fs::write(folder.join("output"), run.output.unwrap().to_string()).unwrap();
}

#[test]
fn every_point_survives_sigkill() {
    let long = std::env::var_os("BEAMRAIL_LONG").is_some();
    let program = std::env::current_exe().unwrap();
    let child = |folder: &Path| {
        let mut command = Command::new(&program);
        command.args(["kill::child", "--exact", "--nocapture"]).env(FOLDER, folder);
        command
    };
    // A sample for every day: a prime step reaches writes of each kind, before and after.
    let points = (1..=100).step_by(if long { 1 } else { 11 });
    let report = try_sigkill(points, child, files);
    println!("killed {} times: {report}", report.points);
    assert!(report.failures.is_empty(), "{report}");
    assert!(report.points >= if long { 60 } else { 5 }, "only {} kills", report.points);
}
