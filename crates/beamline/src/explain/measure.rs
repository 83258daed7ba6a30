//! From the journal to seconds.

use std::collections::BTreeMap;

use engine::{HistoryEntry, Run, StateType, Step, StepKind};
use jiff::Timestamp;
use serde_json::Value;

use super::{Measured, Reconstruction, Spent, Stage, StepTime};

/// A stretch of time that something took.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from: Timestamp,
    to: Timestamp,
    kind: Spent,
}

/// Measures a run. `now` ends what has not ended.
pub fn measure(
    run: &Run,
    steps: &[Step],
    history: &[HistoryEntry],
    report: Option<&Value>,
    now: Timestamp,
) -> Measured {
    let begin = run.expected.max(run.created);
    let end = run.ended.unwrap_or(now).max(begin);
    let reconstruction = report.map(reconstruction);
    let mut stretches = Vec::new();
    let mut times = Vec::new();
    for step in steps.iter().filter(|step| step.generation == run.generation) {
        let states = states_of(history, step);
        let job = reconstruction.as_ref().filter(|_| step.kind == StepKind::External);
        let (time, parts) = step_time(step, &states, job, end);
        stretches.extend(parts);
        times.push(time);
    }
    // The run's own states: what it spent while no step was at work.
    let own: Vec<_> = history.iter().filter(|entry| entry.step.is_none()).collect();
    for (index, entry) in own.iter().enumerate() {
        let until = own.get(index + 1).map_or(end, |next| next.state.time);
        let kind = match entry.state.kind {
            StateType::Paused => Spent::Person,
            StateType::Running | StateType::Cancelling => Spent::Other,
            _ => Spent::Waiting,
        };
        stretches.push(Stretch { from: entry.state.time, to: until, kind });
    }
    Measured {
        run: run.id,
        flow: run.flow.clone(),
        state: run.state.kind,
        total_s: seconds(begin, end),
        spent: sweep(begin, end, &stretches),
        steps: times,
        reconstruction,
    }
}

/// The states of a step's present generation, in order.
fn states_of<'h>(history: &'h [HistoryEntry], step: &Step) -> Vec<&'h HistoryEntry> {
    let since = step.started.unwrap_or(Timestamp::MIN);
    let its = |entry: &&HistoryEntry| entry.step.as_deref() == Some(&step.key) && entry.state.time >= since;
    history.iter().filter(its).collect()
}

fn step_time(
    step: &Step,
    states: &[&HistoryEntry],
    job: Option<&Reconstruction>,
    end: Timestamp,
) -> (StepTime, Vec<Stretch>) {
    let from = step.started.unwrap_or(end);
    let to = step.ended.unwrap_or(end).max(from);
    let moved = step.output.as_ref().and_then(transfer);
    let kind = match (step.kind, &moved) {
        (StepKind::External, _) => Spent::Compute,
        (StepKind::Input, _) => Spent::Person,
        (StepKind::Sleep, _) => Spent::Waiting,
        (StepKind::Subrun, _) => Spent::Subrun,
        (_, Some(_)) => Spent::Transfer,
        (_, None) if step.name.starts_with("verify") || step.name == "scrub" => Spent::Verification,
        // A transfer that has not ended, or failed, has no output to tell it by; its name does.
        (_, None) if step.name.contains(" to ") => Spent::Transfer,
        _ => Spent::Other,
    };
    let mut parts = Vec::new();
    let mut add = |from: Timestamp, to: Timestamp, kind: Spent| {
        if to > from {
            parts.push(Stretch { from, to, kind });
        }
    };
    // Between two tries it waits; the last try is looked at more closely below.
    let last = step.attempt_started.filter(|at| *at >= from && *at <= to).unwrap_or(from);
    for (index, entry) in states.iter().enumerate() {
        let until = states.get(index + 1).map_or(to, |next| next.state.time).min(last);
        let resting = matches!(entry.state.kind, StateType::Scheduled);
        add(entry.state.time.min(last), until, if resting { Spent::Waiting } else { kind });
    }
    let running = step.running_since.filter(|at| *at >= last && *at <= to);
    let begun = match step.kind {
        // Of outside work that was never seen to run, all was queue.
        StepKind::External => running.unwrap_or(to),
        _ => last,
    };
    let work_s = match (&moved, job) {
        (Some((_, taken)), _) => taken.min(seconds(begun, to)),
        (None, Some(job)) => job.wall_s.min(seconds(begun, to)),
        (None, None) => seconds(begun, to),
    };
    let worked = after(begun, work_s).min(to);
    add(last, begun, Spent::Queue);
    add(begun, worked, kind);
    add(worked, to, Spent::Verification);
    let time = StepTime {
        key: step.key.clone(),
        name: step.name.clone(),
        kind,
        seconds: seconds(from, to),
        queue_s: seconds(last, begun),
        work_s,
        verify_s: seconds(worked, to),
        bytes: moved.map(|(bytes, _)| bytes),
        attempts: step.attempt,
    };
    (time, parts)
}

/// Bytes and seconds of a step that moved some.
fn transfer(output: &Value) -> Option<(u64, f64)> {
    Some((output.get("copied")?.as_u64()?, output.get("seconds")?.as_f64().filter(|s| *s >= 0.0)?))
}

fn reconstruction(report: &Value) -> Reconstruction {
    let number = |key: &str| report.get(key).and_then(Value::as_f64).filter(|n| n.is_finite()).unwrap_or(0.0);
    let count = |key: &str| report.get(key).and_then(Value::as_u64).unwrap_or(0);
    let stages = report.get("stages").and_then(Value::as_array).into_iter().flatten();
    let stages = stages.filter_map(|stage| {
        Some(Stage {
            stage: stage.get("stage")?.as_str()?.to_owned(),
            busy_s: stage.get("busy_s")?.as_f64()?,
            cpu_s: stage.get("cpu_s")?.as_f64()?,
        })
    });
    Reconstruction {
        wall_s: number("wall_s"),
        slices: count("slices"),
        threads: count("threads"),
        host: report.get("host").and_then(Value::as_str).unwrap_or_default().to_owned(),
        stages: stages.collect(),
    }
}

/// Of things that go on side by side, the one that a moment is put down to.
fn weight(kind: Spent) -> u8 {
    match kind {
        Spent::Compute => 7,
        Spent::Transfer => 6,
        Spent::Verification => 5,
        Spent::Subrun => 4,
        Spent::Queue => 3,
        Spent::Person => 2,
        Spent::Other => 1,
        Spent::Waiting => 0,
    }
}

/// Gives every moment between `begin` and `end` to one kind; moments that nothing covers are waiting.
fn sweep(begin: Timestamp, end: Timestamp, stretches: &[Stretch]) -> BTreeMap<Spent, f64> {
    let mut edges: Vec<Timestamp> = stretches.iter().flat_map(|one| [one.from, one.to]).collect();
    edges.extend([begin, end]);
    edges.retain(|at| *at >= begin && *at <= end);
    edges.sort_unstable();
    edges.dedup();
    let mut spent = BTreeMap::new();
    for pair in edges.windows(2) {
        let [from, to] = pair else { continue };
        let covers = stretches.iter().filter(|one| one.from <= *from && one.to >= *to);
        // A run that waits (for a person, a retry) waits while a step of it does; a paused run has no
        // step at work.
        let kind = covers.map(|one| one.kind).max_by_key(|kind| weight(*kind)).unwrap_or(Spent::Waiting);
        *spent.entry(kind).or_insert(0.0) += seconds(*from, *to);
    }
    spent
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

fn after(at: Timestamp, seconds: f64) -> Timestamp {
    jiff::SignedDuration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|span| at.checked_add(span).ok())
        .unwrap_or(at)
}
