//! Tries a flow under every fault: each step repeated, failing once, failing always; the worker stopped dead
//! before and after each journal write, in this process or by a real SIGKILL.
//!
//! The caller says how a fresh world is made (a folder, the flows that act on it) and what counts as its
//! outcome. Every trial must end with the outcome of an undisturbed run:
//!
//! ```
//! # use engine::{Context, Flow, NewRun, Registry, StepOptions, ResultExt, harness::Harness};
//! # use serde_json::{Value, json};
//! # #[tokio::main] async fn main() {
//! let registry = |world: &std::path::Path| {
//!     let file = world.join("copy");
//!     Registry::new().with(Flow::new("copy", move |context: Context, _: Value| {
//!         let file = file.clone();
//!         async move {
//!             let write = |_| async { std::fs::write(&file, "scan").fatal("writing") };
//!             context.step("write", StepOptions::new(), write).await
//!         }
//!     }))
//! };
//! let outcome = |world: &std::path::Path| json!(std::fs::read_to_string(world.join("copy")).ok());
//! let report = Harness::new(NewRun::of("copy", json!({})), registry, outcome).try_all().await;
//! assert!(report.failures.is_empty(), "{report}");
//! # }
//! ```

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::context::join_all;
use crate::engine::Engine;
use crate::error::Error;
use crate::failure::Failure;
use crate::faults::{CrashAt, Faults, NoFaults, StepFault};
use crate::flow::Registry;
use crate::model::{NewRun, RunId};
use crate::orchestrator::Orchestrator;
use crate::state::StateType;
use crate::worker::Worker;

type MakeFlows = dyn Fn(&Path) -> Registry + Send + Sync;
type Outcome = dyn Fn(&Path) -> Value + Send + Sync;

/// Trials of one flow.
pub struct Harness {
    new: NewRun,
    registry: Box<MakeFlows>,
    outcome: Box<Outcome>,
    stride: u64,
}

/// What was tried, and what went otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Journal points of an undisturbed run.
    pub points: u64,
    /// Steps of an undisturbed run.
    pub steps: u64,
    /// Trials made.
    pub trials: u64,
    /// One sentence for each trial whose outcome differed.
    pub failures: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} trials ({} journal points, {} steps)", self.trials, self.points, self.steps)?;
        write!(f, ", {} with another outcome", self.failures.len())?;
        self.failures.iter().try_for_each(|failure| write!(f, "\n  {failure}"))
    }
}

/// Plays one fault on one step: the first time, or every time.
struct OneStep {
    key: String,
    fault: StepFault,
    always: bool,
    played: std::sync::atomic::AtomicBool,
}

impl Faults for OneStep {
    fn step(&self, _: RunId, key: &str, _: u32) -> StepFault {
        use std::sync::atomic::Ordering::SeqCst;
        if key == self.key && (!self.played.swap(true, SeqCst) || self.always) {
            return self.fault.clone();
        }
        StepFault::None
    }
}

/// Writes next to an act that must happen once: tried whatever the stride.
const ACTS: [&str; 5] = ["intend", "acted", "sub-run", "start-run", "send"];

/// The time between a crash and the next worker: longer than any lease.
const LATER: Duration = Duration::from_secs(60);

impl Harness {
    /// Trials of the flow of `new`. `registry` makes the flows for a fresh, empty folder; `outcome` reads the
    /// folder when the run has ended (what the journal holds is compared as well).
    pub fn new(
        new: NewRun,
        registry: impl Fn(&Path) -> Registry + Send + Sync + 'static,
        outcome: impl Fn(&Path) -> Value + Send + Sync + 'static,
    ) -> Self {
        Harness { new, registry: Box::new(registry), outcome: Box::new(outcome), stride: 1 }
    }

    /// Only every so-manieth journal point, and those around acts that must happen once: a sample for every day.
    #[must_use]
    pub fn stride(mut self, stride: u64) -> Self {
        self.stride = stride.max(1);
        self
    }

    /// All trials.
    pub async fn try_all(&self) -> Report {
        let mut report = Report::default();
        let counter = Arc::new(CrashAt::never());
        let baseline = match self.trial(counter.clone(), None).await {
            Ok(outcome) => outcome,
            Err(error) => {
                report.failures.push(format!("undisturbed: {error}"));
                return report;
            }
        };
        report.points = counter.seen();
        report.trials = 1;
        let mut keys: Vec<String> = counter.points().into_iter().filter_map(|point| point.step).collect();
        keys.sort();
        keys.dedup();
        report.steps = u64::try_from(keys.len()).unwrap_or(u64::MAX);
        let mut trials: Vec<(String, Arc<dyn Faults>, Option<u64>)> = Vec::new();
        for key in keys {
            let failure = Failure::retryable("a fault of the harness").after(Duration::from_millis(1));
            let faults = [
                ("repeated", StepFault::Repeat, false),
                ("failing once before", StepFault::FailBefore(failure.clone()), false),
                ("failing once after", StepFault::FailAfter(failure), false),
                ("failing always", StepFault::FailBefore(Failure::fatal("a fault of the harness")), true),
            ];
            for (name, fault, always) in faults {
                let faults = OneStep { key: key.clone(), fault, always, played: false.into() };
                trials.push((format!("step {key} {name}"), Arc::new(faults), None));
            }
        }
        for (number, point) in (1..).zip(counter.points()) {
            if ACTS.contains(&point.what) || number % self.stride == 0 {
                let moment = if point.written { "after" } else { "before" };
                let step = point.step.as_deref().unwrap_or("the run");
                let name =
                    format!("stopped dead at journal point {number}, {moment} {} of {step}", point.what);
                trials.push((name, Arc::new(NoFaults), Some(number)));
            }
        }
        // Side by side: a trial mostly waits for the disk.
        let mut trials = trials.into_iter();
        loop {
            let some = trials.by_ref().take(8).map(|(name, faults, crash)| async move {
                let outcome = self.trial(faults, crash).await;
                Ok::<_, Failure>((name, outcome))
            });
            let some = join_all(some).await.unwrap_or_default();
            if some.is_empty() {
                break;
            }
            for (name, outcome) in some {
                report.judge(&name, &baseline, outcome);
            }
        }
        report
    }

    /// One trial in a fresh world. A run that failed by the fault is tried again without it.
    async fn trial(&self, faults: Arc<dyn Faults>, crash: Option<u64>) -> Result<Value, String> {
        let world = tempfile_in(&std::env::temp_dir()).map_err(|error| error.to_string())?;
        let result = self.trial_in(&world.path, faults, crash).await.map_err(|error| error.to_string());
        result.map(|run| json!({ "run": run, "world": (self.outcome)(&world.path.join("world")) }))
    }

    async fn trial_in(
        &self,
        folder: &Path,
        faults: Arc<dyn Faults>,
        crash: Option<u64>,
    ) -> crate::Result<Value> {
        let world = folder.join("world");
        let made = std::fs::create_dir(&world);
        made.map_err(|error| Error::invalid(world.display().to_string(), error.to_string()))?;
        let journal = folder.join("runs.db");
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let engine = Engine::open(&journal, clock.clone())?;
        let id = engine.create_run(self.new.clone()).await?.id;
        if let Some(point) = crash {
            let worker =
                Worker::new(engine.store(), (self.registry)(&world)).faults(Arc::new(CrashAt::point(point)));
            match until_ended(&clock, worker, &engine, id).await {
                Ok(()) | Err(Error::Crashed) => (),
                Err(error) => return Err(error),
            }
            clock.advance(LATER);
        }
        // As after a restart: another connection, other closures.
        drop(engine);
        let engine = Engine::open(&journal, clock.clone())?;
        let worker = Worker::new(engine.store(), (self.registry)(&world)).faults(faults);
        until_ended(&clock, worker, &engine, id).await?;
        if matches!(engine.run(id).await?.state.kind, StateType::Failed | StateType::Crashed) {
            engine.retry(id, false).await?;
            let worker = Worker::new(engine.store(), (self.registry)(&world));
            until_ended(&clock, worker, &engine, id).await?;
        }
        let run = engine.run(id).await?;
        Ok(json!({ "state": run.state.kind, "output": run.output, "error": run.error }))
    }
}

/// Works until the run has ended or rests for good; time passes whenever nothing else does.
async fn until_ended(clock: &Clock, worker: Worker, engine: &Engine, id: RunId) -> crate::Result<()> {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = worker.run(async move {
        let _ = stopped.await;
    });
    let watch = async {
        loop {
            let run = engine.run(id).await?;
            let rests = run.state.kind == StateType::Paused && run.due.is_none();
            if run.state.kind.is_terminal() || rests {
                let _ = stop.send(());
                return Ok::<(), Error>(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            clock.advance(Duration::from_millis(500));
        }
    };
    let mut worker = std::pin::pin!(worker);
    tokio::select! {
        ended = &mut worker => ended.map(drop),
        watched = watch => {
            watched?;
            worker.await.map(drop)
        }
    }
}

impl Report {
    fn judge(&mut self, trial: &str, baseline: &Value, outcome: Result<Value, String>) {
        self.trials += 1;
        match outcome {
            Ok(outcome) if outcome == *baseline => (),
            Ok(outcome) => {
                self.failures
                    .push(format!("{trial}: the outcome is {outcome}; undisturbed it is {baseline}"));
            }
            Err(error) => self.failures.push(format!("{trial}: {error}")),
        }
    }
}

/// A fresh folder that goes with the value.
struct Fresh {
    path: std::path::PathBuf,
}

fn tempfile_in(parent: &Path) -> std::io::Result<Fresh> {
    let path = parent.join(format!("beamrail-trial-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&path)?;
    Ok(Fresh { path })
}

impl Drop for Fresh {
    #[expect(
        clippy::disallowed_methods,
        reason = "this run made the folder, under a name that nobody else has"
    )]
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Runs a program again and again, killed by SIGKILL at a journal point (it must use
/// [`KillAt::from_env`](crate::faults::KillAt::from_env)), then undisturbed, each time in a fresh folder, and
/// compares what is left with an undisturbed run. `child` makes the command for a folder; the harness sets
/// the variable. `points` are the journal points to try; those beyond the program's last are not killed and
/// count as trials all the same.
pub fn try_sigkill(
    points: impl IntoIterator<Item = u64>,
    child: impl Fn(&Path) -> std::process::Command,
    outcome: impl Fn(&Path) -> Value,
) -> Report {
    let mut report = Report::default();
    let run = |folder: &Path, kill: Option<u64>| {
        let mut command = child(folder);
        command.env_remove(crate::faults::KILL_AT);
        if let Some(point) = kill {
            command.env(crate::faults::KILL_AT, point.to_string());
        }
        command.output().map_err(|error| format!("{command:?} did not start: {error}"))
    };
    let trial = |point: Option<u64>, killed: &mut u64| -> Result<Value, String> {
        let fresh = tempfile_in(&std::env::temp_dir()).map_err(|error| error.to_string())?;
        if let Some(point) = point {
            let ended = run(&fresh.path, Some(point))?;
            *killed += u64::from(ended.status.code().is_none());
        }
        let ended = run(&fresh.path, None)?;
        if !ended.status.success() {
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            return Err(format!("afterwards it ended with {}: {said}", ended.status));
        }
        Ok(outcome(&fresh.path))
    };
    let baseline = match trial(None, &mut 0) {
        Ok(baseline) => baseline,
        Err(error) => {
            report.failures.push(format!("undisturbed: {error}"));
            return report;
        }
    };
    for point in points {
        let result = trial(Some(point), &mut report.points);
        report.judge(&format!("killed at journal point {point}"), &baseline, result);
    }
    report
}
