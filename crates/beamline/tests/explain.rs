//! Where the time of a run went: from a journal to seconds, and against the timings that were recorded in
//! production.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use beamline::explain::{Measured, Reconstruction, Spent, Stage, StepTime, compare, measure};
use engine::{HistoryEntry, Run, RunId, State, StateType, Step, StepKind};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

fn at(seconds: f64) -> Timestamp {
    let start: Timestamp = "2026-03-01T08:00:00Z".parse().unwrap();
    start.checked_add(SignedDuration::try_from_secs_f64(seconds).unwrap()).unwrap()
}

fn id(number: u128) -> RunId {
    serde_json::from_value(json!(format!("0190a000-0000-7000-8000-{number:012x}"))).unwrap()
}

/// A completed run that was due at 0.
fn run(ended: f64, started: f64) -> Run {
    Run {
        id: id(1),
        flow: "alcf_recon_flow".into(),
        name: "x".into(),
        parameters: json!({}),
        tags: vec![],
        state: State::new(StateType::Completed, at(ended)),
        created: at(0.0),
        due: None,
        expected: at(0.0),
        started: Some(at(started)),
        ended: Some(at(ended)),
        parent: None,
        deployment: None,
        pool: "default".into(),
        queue: "default".into(),
        attempt: 1,
        generation: 1,
        worker: None,
        lease_until: None,
        output: None,
        error: None,
        ask: None,
    }
}

fn step(key: &str, kind: StepKind, from: f64, to: f64, output: Value) -> Step {
    Step {
        run: id(1),
        generation: 1,
        key: key.into(),
        name: key.into(),
        kind,
        position: 0,
        state: State::new(StateType::Completed, at(to)),
        attempt: 1,
        submission: 1,
        input: None,
        output: Some(output),
        error: None,
        handle: None,
        acted: true,
        started: Some(at(from)),
        attempt_started: Some(at(from)),
        running_since: None,
        ended: Some(at(to)),
        wake: None,
    }
}

fn entry(number: i64, step: Option<&str>, kind: StateType, seconds: f64) -> HistoryEntry {
    HistoryEntry {
        id: number,
        run: id(1),
        step: step.map(str::to_owned),
        state: State::new(kind, at(seconds)),
    }
}

fn close(a: f64, b: f64) -> bool {
    // The journal keeps microseconds.
    (a - b).abs() < 1e-5
}

/// The document's first trial (8.51 GB in 3.3 min, 22.9 min of computing, 55.29 GB back in 3.8 min), with 40 s of
/// waiting for a worker and 95 s in the queue.
fn first_trial() -> Measured {
    let run = run(1975.0, 40.0);
    let raw = step(
        "raw to alcf",
        StepKind::Local,
        40.0,
        243.0,
        json!({"copied": 8_510_000_000_u64, "seconds": 198.0}),
    );
    let mut job = step("reconstruct", StepKind::External, 243.0, 1732.0, json!({}));
    job.running_since = Some(at(338.0));
    // Home as two transfers side by side.
    let tiff = step(
        "tiff to nersc",
        StepKind::Local,
        1732.0,
        1966.0,
        json!({"copied": 39_800_000_000_u64, "seconds": 228.0}),
    );
    let zarr = step(
        "zarr to nersc",
        StepKind::Local,
        1732.0,
        1900.0,
        json!({"copied": 15_490_000_000_u64, "seconds": 160.0}),
    );
    let note = step("retention", StepKind::Local, 1970.0, 1972.0, json!({}));
    let history = [
        entry(1, None, StateType::Scheduled, 0.0),
        entry(2, None, StateType::Running, 40.0),
        entry(3, None, StateType::Completed, 1975.0),
    ];
    let report =
        json!({"wall_s": 1374.0, "slices": 980, "threads": 64, "host": "x3005c0s1b0n0", "stages": []});
    measure(&run, &[raw, job, tiff, zarr, note], &history, Some(&report), at(1975.0))
}

#[test]
fn every_second_is_put_down_to_something() {
    let one = first_trial();
    let spent = |kind: Spent| one.spent.get(&kind).copied().unwrap_or(0.0);
    assert!(close(one.total_s, 1975.0));
    assert!(close(one.spent.values().sum::<f64>(), 1975.0), "{:?}", one.spent);
    assert!(close(spent(Spent::Waiting), 40.0), "{:?}", one.spent);
    assert!(close(spent(Spent::Queue), 95.0));
    assert!(close(spent(Spent::Compute), 1374.0));
    // 198 s in, and the longer of the two ways home.
    assert!(close(spent(Spent::Transfer), 198.0 + 228.0));
    // 5 s after the transfer in, 20 s after the job, 6 s after the longer transfer home.
    assert!(close(spent(Spent::Verification), 5.0 + 20.0 + 6.0), "{:?}", one.spent);
    assert!(close(spent(Spent::Other), 9.0));
    let raw = &one.steps[0];
    assert_eq!((raw.kind, raw.bytes), (Spent::Transfer, Some(8_510_000_000)));
    assert!(close(raw.rate().unwrap(), 8_510_000_000.0 / 198.0));
    assert!(close(raw.verify_s, 5.0) && close(one.steps[1].queue_s, 95.0));
}

#[test]
fn retries_and_questions_are_waiting() {
    let run = run(100.0, 0.0);
    let mut copy = step("raw to alcf", StepKind::Local, 0.0, 50.0, json!({"copied": 10, "seconds": 10.0}));
    copy.attempt = 2;
    copy.attempt_started = Some(at(40.0));
    let ask = step("center", StepKind::Input, 50.0, 90.0, json!(1280.0));
    let history = [
        entry(1, None, StateType::Running, 0.0),
        entry(2, Some("raw to alcf"), StateType::Running, 0.0),
        entry(3, Some("raw to alcf"), StateType::Scheduled, 10.0),
        entry(4, Some("raw to alcf"), StateType::Running, 40.0),
        entry(5, None, StateType::Paused, 50.0),
        entry(6, None, StateType::Running, 90.0),
        entry(7, None, StateType::Completed, 100.0),
    ];
    let one = measure(&run, &[copy, ask], &history, None, at(100.0));
    let spent = |kind: Spent| one.spent.get(&kind).copied().unwrap_or(0.0);
    // While the run itself is RUNNING and its only step rests, the moment is the run's own ("other").
    assert!(close(spent(Spent::Transfer), 20.0), "{:?}", one.spent);
    assert!(close(spent(Spent::Person), 40.0), "{:?}", one.spent);
    assert!(close(one.spent.values().sum::<f64>(), 100.0));
    assert!(compare(one, &[]).abnormal.iter().any(|finding| finding.text.contains("begun 2 times")));
}

#[test]
fn nonsense_times_add_up_all_the_same() {
    // A clock that went back, steps outside the run, ends before beginnings: no panic, and the sum holds.
    let mut seed = 7_u64;
    let mut number = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as f64 / f64::from(1_u32 << 31) * 400.0 - 100.0
    };
    for _ in 0..300 {
        let run = run(number(), number());
        let mut steps = Vec::new();
        for name in ["raw to a", "reconstruct", "verify x", "center"] {
            let kind = if name == "reconstruct" { StepKind::External } else { StepKind::Local };
            let mut one = step(name, kind, number(), number(), json!({"copied": 5, "seconds": number()}));
            one.running_since = Some(at(number()));
            one.attempt_started = Some(at(number()));
            steps.push(one);
        }
        let history: Vec<_> = (0..6).map(|n| entry(n, None, StateType::Running, number())).collect();
        let one = measure(&run, &steps, &history, Some(&json!({"wall_s": number()})), at(number()));
        let sum: f64 = one.spent.values().sum();
        assert!(close(sum, one.total_s), "{sum} of {}", one.total_s);
        assert!(one.spent.values().all(|seconds| *seconds >= 0.0));
        let explained = compare(one.clone(), &[one.clone(), one]);
        assert!(serde_json::to_value(explained).is_ok());
    }
}

fn shared() -> Option<PathBuf> {
    let folder = match std::env::var_os("BEAMRAIL_SHARED") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")),
    };
    folder.is_dir().then_some(folder)
}

/// The durations of a hundred runs of production.
fn production(flow: &str) -> Option<Vec<f64>> {
    let path = shared()?.join(format!("data/production/{flow}_successful_runs.csv"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let durations: Vec<f64> =
        text.lines().skip(1).filter_map(|line| line.rsplit(',').next()?.trim().parse().ok()).collect();
    assert_eq!(durations.len(), 100);
    Some(durations)
}

fn whole(seconds: f64) -> Measured {
    Measured {
        run: id(2),
        flow: "x".into(),
        state: StateType::Completed,
        total_s: seconds,
        spent: BTreeMap::new(),
        steps: vec![],
        reconstruction: None,
    }
}

#[test]
fn production_runs_are_set_against_production() {
    let Some(mut alcf) = production("alcf_recon_flow") else {
        println!("skipped: no shared data");
        return;
    };
    let past: Vec<Measured> = alcf.iter().map(|seconds| whole(*seconds)).collect();
    alcf.sort_by(f64::total_cmp);
    // The slowest run (1965 s) is abnormal, and it alone; the median is the one that was published (1,114 s).
    let total = compare(whole(alcf[99]), &past).total.unwrap();
    assert!(total.slow && (total.median - 1114.0).abs() < 5.0, "{total:?}");
    let slow = alcf.iter().filter(|seconds| compare(whole(**seconds), &past).total.unwrap().slow).count();
    assert_eq!(slow, 1, "so many of 100 runs are called abnormal");
    // The document's first trial, 1,800 s in all, is beyond what 9 of 10 runs took, its second (618 s) is not.
    assert!(compare(whole(1800.0), &past).total.unwrap().rank > 0.9);
    assert!(!compare(whole(618.0), &past).total.unwrap().slow);
}

/// Runs like the document's second trial (0.31 min, 9.09 min, 0.90 min), each as much longer or shorter than the
/// middle one as a run of production was.
fn like_the_second_trial(production: &[f64]) -> Vec<Measured> {
    let mut sorted = production.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = (sorted[49] + sorted[50]) / 2.0;
    let one = |factor: f64| Measured {
        steps: vec![
            transfer("raw to alcf", 8_510_000_000, 18.6 * factor),
            StepTime { kind: Spent::Compute, bytes: None, ..transfer("reconstruct", 0, 545.4 * factor) },
            transfer("tiff to nersc", 39_800_000_000, 54.0 * factor),
            transfer("zarr to nersc", 15_490_000_000, 40.0 * factor),
        ],
        ..whole(618.0 * factor)
    };
    production.iter().map(|seconds| one(seconds / median)).collect()
}

fn transfer(name: &str, bytes: u64, seconds: f64) -> StepTime {
    StepTime {
        key: name.into(),
        name: name.into(),
        kind: Spent::Transfer,
        seconds,
        queue_s: 0.0,
        work_s: seconds,
        verify_s: 0.0,
        bytes: Some(bytes),
        attempts: 1,
    }
}

#[test]
fn the_documents_discrepancy_is_explained() {
    let Some(alcf) = production("alcf_recon_flow") else {
        println!("skipped: no shared data");
        return;
    };
    let explained = compare(first_trial(), &like_the_second_trial(&alcf));
    let names: Vec<&str> = explained.abnormal.iter().map(|finding| finding.what.as_str()).collect();
    // Costliest first; the queue, too, which the second trial did not have.
    assert_eq!(names[0], "step reconstruct", "{names:?}");
    for name in ["step raw to alcf", "step tiff to nersc", "step zarr to nersc", "queue of reconstruct"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    let raw = explained.abnormal.iter().find(|finding| finding.what == "step raw to alcf").unwrap();
    assert!(raw.text.contains("at 43 MB/s, usually 45"), "{}", raw.text);
    assert!((raw.lost_s - (198.0 - 18.6)).abs() < 5.0, "{}", raw.lost_s);
    let against = &explained.steps_against["raw to alcf"];
    assert_eq!((against.unit, against.count), ("B/s", 100));
    assert!(against.p10 < against.median && against.median < against.p90);

    // The second trial itself has nothing to explain.
    let past = like_the_second_trial(&alcf);
    let middle = past.iter().min_by(|a, b| (a.total_s - 618.0).abs().total_cmp(&(b.total_s - 618.0).abs()));
    let calm = compare(middle.unwrap().clone(), &past);
    assert!(calm.abnormal.is_empty(), "{:?}", calm.abnormal);
}

fn reconstructed(slices: u64, slow: &[(&str, f64, f64)]) -> Measured {
    let stages = ["read", "correct", "sinogram", "gridrec", "tiff", "zarr", "sync"];
    let stages = stages.iter().enumerate().map(|(index, name)| {
        let busy = slices as f64 * 0.02 * (index + 1) as f64;
        let found = slow.iter().find(|(slow, ..)| slow == name);
        let (busy, part) = found.map_or((busy, 0.95), |(_, factor, part)| (busy * factor, *part));
        Stage { stage: (*name).to_owned(), busy_s: busy, cpu_s: busy * part }
    });
    let job =
        Reconstruction { wall_s: 100.0, slices, threads: 8, host: "x3005".into(), stages: stages.collect() };
    Measured { reconstruction: Some(job), ..whole(100.0) }
}

#[test]
fn the_stage_that_was_slowed_down_is_named() {
    // Scans of different sizes: a stage is compared by the slice.
    let past: Vec<Measured> = (1..30).map(|n| reconstructed(500 + 40 * n, &[])).collect();
    assert!(compare(reconstructed(2160, &[]), &past).abnormal.is_empty());
    for stage in ["read", "gridrec", "zarr", "sync"] {
        for (factor, part, words) in [(4.0, 0.1, "mostly waiting"), (2.5, 0.95, "computing")] {
            let explained = compare(reconstructed(980, &[(stage, factor, part)]), &past);
            let [finding] = explained.abnormal.as_slice() else { panic!("{:?}", explained.abnormal) };
            assert_eq!(finding.what, format!("stage {stage}"));
            assert!(finding.text.contains(words) && finding.text.contains("x3005"), "{}", finding.text);
            assert!(explained.stages_against[stage].slow);
        }
        // 20 % more is nothing to run after.
        assert!(compare(reconstructed(980, &[(stage, 1.2, 0.9)]), &past).abnormal.is_empty());
    }
    // Too few earlier runs prove nothing.
    assert!(compare(reconstructed(980, &[("read", 4.0, 0.1)]), &past[..4]).abnormal.is_empty());
}
