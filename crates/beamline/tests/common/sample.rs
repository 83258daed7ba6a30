//! A seeded sample of the trials that the engine's harness makes of a flow: enough for every day.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::faults::{CrashAt, Faults, StepFault};
use engine::harness::Report;
use engine::{Clock, Engine, Error, Failure, NewRun, Orchestrator, Registry, RunId, StateType, Worker};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::outcome;

/// One fault on one step.
struct OnStep {
    key: String,
    fault: StepFault,
    always: bool,
    played: AtomicBool,
}

impl Faults for OnStep {
    fn step(&self, _: RunId, key: &str, _: u32) -> StepFault {
        let now = key == self.key && (!self.played.swap(true, Ordering::SeqCst) || self.always);
        if now { self.fault.clone() } else { StepFault::None }
    }
}

/// `count` journal points at which the worker stops dead, and `count` faults of steps.
pub async fn try_some(new: NewRun, registry: &(dyn Fn(&Path) -> Registry + Sync), count: u64) -> Report {
    let counter = Arc::new(CrashAt::never());
    let baseline = trial(&new, registry, counter.clone()).await;
    let mut keys: Vec<String> = counter.points().into_iter().filter_map(|point| point.step).collect();
    keys.sort();
    keys.dedup();
    let mut report =
        Report { points: counter.seen(), steps: keys.len() as u64, trials: 1, failures: Vec::new() };
    assert_eq!(baseline["state"], "COMPLETED", "undisturbed: {baseline}");
    // Another sample each day would make a test that fails now and then; another seed is another commit's.
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below.max(1)
    };
    let stretch = report.points / count.max(1);
    for part in 0..count {
        let point = 1 + part * stretch + next(stretch);
        let found = trial(&new, registry, Arc::new(CrashAt::point(point))).await;
        judge(&mut report, &format!("stopped dead at journal point {point}"), &baseline, &found);
    }
    for part in 0..count {
        let key = keys[usize::try_from(next(report.steps)).unwrap()].clone();
        let failure = Failure::retryable("a fault of the test").after(Duration::from_millis(1));
        let (name, fault, always) = match part % 4 {
            0 => ("repeated", StepFault::Repeat, false),
            1 => ("failing once before", StepFault::FailBefore(failure), false),
            2 => ("failing once after", StepFault::FailAfter(failure), false),
            _ => ("failing always", StepFault::FailBefore(Failure::fatal("a fault of the test")), true),
        };
        let faults = OnStep { key: key.clone(), fault, always, played: AtomicBool::new(false) };
        let found = trial(&new, registry, Arc::new(faults)).await;
        judge(&mut report, &format!("step {key} {name}"), &baseline, &found);
    }
    report
}

fn judge(report: &mut Report, what: &str, baseline: &Value, found: &Value) {
    report.trials += 1;
    if found != baseline {
        report.failures.push(format!("{what}: {}", difference(baseline, found)));
    }
}

/// The first things that differ, for people.
fn difference(expected: &Value, found: &Value) -> String {
    let lines = |value: &Value| -> Vec<String> {
        serde_json::to_string_pretty(value).unwrap().lines().map(str::to_owned).collect()
    };
    let (expected, found) = (lines(expected), lines(found));
    let missing = expected.iter().filter(|line| !found.contains(line)).take(8);
    let extra = found.iter().filter(|line| !expected.contains(line)).take(8);
    let text: Vec<String> =
        missing.map(|line| format!("- {line}")).chain(extra.map(|line| format!("+ {line}"))).collect();
    text.join("\n    ")
}

/// One trial in a fresh world; what failed by the fault is tried again without it.
async fn trial(
    new: &NewRun,
    registry: &(dyn Fn(&Path) -> Registry + Sync),
    faults: Arc<dyn Faults>,
) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let world = folder.path().join("world");
    std::fs::create_dir(&world).unwrap();
    let journal = folder.path().join("runs.db");
    let clock = Clock::manual(Timestamp::UNIX_EPOCH);
    let engine = Engine::open(&journal, clock.clone()).unwrap();
    let id = engine.create_run(new.clone()).await.unwrap().id;
    let worker = Worker::new(engine.store(), registry(&world)).faults(faults);
    if let Err(error) = work(&clock, worker, &engine, id).await {
        assert!(matches!(error, Error::Crashed), "{error}");
        clock.advance(Duration::from_secs(60));
    }
    drop(engine);
    let engine = Engine::open(&journal, clock.clone()).unwrap();
    for _ in 0..2 {
        let worker = Worker::new(engine.store(), registry(&world));
        work(&clock, worker, &engine, id).await.unwrap();
        if engine.run(id).await.unwrap().state.kind == StateType::Completed {
            break;
        }
        engine.retry(id, false).await.unwrap();
    }
    let run = engine.run(id).await.unwrap();
    json!({ "state": run.state.kind, "error": run.error, "world": outcome::all(&world) })
}

async fn work(clock: &Clock, worker: Worker, engine: &Engine, id: RunId) -> engine::Result<()> {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut working = std::pin::pin!(worker.run(async move {
        let _ = stopped.await;
    }));
    let watching = async {
        loop {
            if engine.run(id).await?.state.kind.is_terminal() {
                let _ = stop.send(());
                return Ok::<(), Error>(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            clock.advance(Duration::from_millis(500));
        }
    };
    tokio::select! {
        ended = &mut working => ended.map(drop),
        watched = watching => {
            watched?;
            working.await.map(drop)
        }
    }
}
