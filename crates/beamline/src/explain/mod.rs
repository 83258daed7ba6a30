//! Where the time of a run went, and what about it was abnormal.
//!
//! A run is *measured* ([`measure()`]) from its journal alone: its steps, their states, and the report of its
//! reconstruction. Every moment between the time it was due and its end belongs to one kind of time, so the kinds
//! add up to the whole. It is then *compared* ([`compare()`]) with earlier runs of the same flow, step by step:
//! transfers by their rate, stages of the reconstruction by their seconds per slice, the rest by their length.

mod compare;
mod measure;

use std::collections::BTreeMap;

use custody::Custody;
use engine::{Orchestrator, RunFilter, RunId, StateType};
use serde::Serialize;
use serde_json::Value;

pub use compare::{Against, Finding, compare};
pub use measure::measure;

use crate::error::Result;

/// How many earlier runs a run is compared with.
const PAST: u32 = 100;

/// What time was spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spent {
    /// Not yet taken up by a worker, or between two tries.
    Waiting,
    /// Waiting for a person.
    Person,
    /// In a facility's queue.
    Queue,
    /// Moving bytes.
    Transfer,
    /// Computing.
    Compute,
    /// Checking what was made or moved.
    Verification,
    /// In steps of another kind.
    Other,
    /// In the steps of a run that it waited for.
    Subrun,
}

/// One step, measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepTime {
    /// Its key in the journal.
    pub key: String,
    /// Its name, by which it is compared.
    pub name: String,
    /// Mostly.
    pub kind: Spent,
    /// From its first beginning to its end.
    pub seconds: f64,
    /// In a facility's queue.
    pub queue_s: f64,
    /// The part that the kind names: moving, computing.
    pub work_s: f64,
    /// Checking.
    pub verify_s: f64,
    /// Bytes moved, of a transfer.
    pub bytes: Option<u64>,
    /// How often it was begun.
    pub attempts: u32,
}

impl StepTime {
    /// Bytes per second, of a transfer that moved any.
    pub fn rate(&self) -> Option<f64> {
        self.bytes.filter(|bytes| *bytes > 0 && self.work_s > 0.0).map(|bytes| bytes as f64 / self.work_s)
    }
}

/// A stage of a reconstruction.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stage {
    /// Its name.
    pub stage: String,
    /// Seconds that threads spent in it, added over threads.
    pub busy_s: f64,
    /// CPU seconds of all threads.
    pub cpu_s: f64,
}

/// What a reconstruction's report says.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct Reconstruction {
    /// From beginning to end.
    pub wall_s: f64,
    /// Slices made.
    pub slices: u64,
    /// Threads that worked.
    pub threads: u64,
    /// The machine.
    pub host: String,
    /// Its stages.
    pub stages: Vec<Stage>,
}

/// A run, measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// Which run.
    pub run: RunId,
    /// Of which flow.
    pub flow: String,
    /// Where it stands.
    pub state: StateType,
    /// From the time it was due to its end, or to now.
    pub total_s: f64,
    /// The same, by what it was spent on; adds up to the whole.
    pub spent: BTreeMap<Spent, f64>,
    /// Its steps, in order.
    pub steps: Vec<StepTime>,
    /// Its reconstruction, where it had one.
    pub reconstruction: Option<Reconstruction>,
}

/// A run, measured and compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The run.
    #[serde(flatten)]
    pub measured: Measured,
    /// How many earlier runs it was compared with.
    pub past: usize,
    /// The whole against theirs.
    pub total: Option<Against>,
    /// Each step against theirs, by the step's key.
    pub steps_against: BTreeMap<String, Against>,
    /// Each stage against theirs, in seconds per slice.
    pub stages_against: BTreeMap<String, Against>,
    /// What was abnormal, the costliest first.
    pub abnormal: Vec<Finding>,
}

/// Measures a run and compares it with up to a hundred completed runs of its flow before it.
///
/// # Errors
/// There is no such run, or the journal cannot be read.
pub async fn explain(runs: &dyn Orchestrator, custody: &Custody, id: RunId) -> Result<Explanation> {
    let one = measured(runs, custody, id).await?;
    let filter = RunFilter {
        flow: Some(one.flow.clone()),
        states: vec![StateType::Completed],
        before: Some(id),
        limit: PAST,
        ..RunFilter::default()
    };
    let mut past = Vec::new();
    for run in runs.runs(filter).await?.items {
        past.push(measured(runs, custody, run.id).await?);
    }
    Ok(compare(one, &past))
}

/// Measures a run by its journal and the report that custody keeps.
///
/// # Errors
/// There is no such run, or the journal cannot be read.
pub async fn measured(runs: &dyn Orchestrator, custody: &Custody, id: RunId) -> Result<Measured> {
    let run = runs.run(id).await?;
    let steps = runs.steps(id).await?;
    let history = runs.history(id).await?;
    let report = report(custody, run.output.as_ref());
    let now = history.iter().map(|entry| entry.state.time).max().unwrap_or(run.created);
    let now = if run.ended.is_some() { now } else { now.max(jiff::Timestamp::now()) };
    Ok(measure(&run, &steps, &history, report.as_ref(), now))
}

/// The report of the reconstruction that this output is of: custody keeps it, and the manifest's digest tells
/// whether it is that one.
fn report(custody: &Custody, output: Option<&Value>) -> Option<Value> {
    let output = output?;
    let (folder, stem) =
        output.get("scan")?.as_str().map(|scan| scan.rsplit_once('/').unwrap_or(("", scan)))?;
    let made = output.pointer("/made/manifest")?.as_str()?;
    let scan = custody::ScanName::new(folder, stem).ok()?;
    let report: Value = serde_json::from_slice(&custody.paper(&scan, "report").ok()??).ok()?;
    let same = report.get("manifest_blake3").and_then(Value::as_str).is_some_and(|digest| digest == made);
    same.then_some(report)
}
