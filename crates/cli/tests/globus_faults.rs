//! Every fault of a request at every call that the ALCF flow makes: the run ends well, or red with words that help
//! and well when it is tried again; and nothing is submitted twice. Which calls these are is learnt from a run
//! without faults, so none is left out.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, and say what they skip"
)]

mod common;
#[path = "common/globus.rs"]
mod globus;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use beamline::Beamline;
use beamline::config::{Config, Environment};
use engine::{Clock, Engine, NewRun, Orchestrator, Run, RunId, StateType, Worker};
use globus::{CLIENT, SCAN, SECRET, World};
use serde_json::{Value, json};
use standin::globus::{Fault, Kind};

/// How much faster than the world's the engine's clock runs: what is waited for is not looked at here.
const FASTER: f64 = 5.0;
/// Combinations of fault and call that `make test` tries, of all that `make test-long` tries.
const SAMPLE: usize = 1;

/// One scan for all worlds.
fn scan() -> &'static PathBuf {
    static SCAN_FILE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let made = SCAN_FILE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("scan.h5");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_beamrail"));
        command.args(["simulate", "--width", "96", "--rows", "16", "--angles", "91", "--progress", "none"]);
        assert!(command.arg(&file).status().unwrap().success());
        (folder, file)
    });
    &made.1
}

/// A beamline in this process, with its own Globus.
struct Bench {
    world: World,
    engine: Engine,
    beam: Arc<Beamline>,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    /// With the job as a task of Compute, or as a run of a flow.
    fn new(flow: bool) -> Self {
        let world = World::new();
        let raw = world.dir.file("nersc/raw").join(format!("{SCAN}.h5"));
        std::fs::create_dir_all(raw.parent().unwrap()).unwrap();
        std::fs::copy(scan(), &raw).unwrap();
        if flow {
            world.ok(&["globus", "setup", "--flow"]);
        }
        let mut config = Config::read(&world.dir.file("beamrail.toml")).unwrap();
        let variables = world.standin.env();
        config.environment = Environment::before(move |name| match name {
            "GLOBUS_CLIENT_ID" => Some(CLIENT.to_owned()),
            "GLOBUS_CLIENT_SECRET" => Some(SECRET.to_owned()),
            _ => variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()),
        });
        let clock = Clock::scaled(jiff::Timestamp::now(), FASTER);
        let (engine, beam) = config.open(clock, None).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { world, engine, beam, runtime }
    }

    fn start(&self) -> RunId {
        let file = json!({ "file_path": format!("{SCAN}.h5") });
        let new = NewRun::of("alcf_recon_flow", file);
        self.runtime.block_on(self.engine.create_run(new)).unwrap().id
    }

    /// Works until the run is over, waits before another try included; how it is then.
    fn work(&self, id: RunId) -> Run {
        self.runtime.block_on(async {
            loop {
                let registry = beamline::flows::registry(&self.beam);
                Worker::new(self.engine.store(), registry).run_until_idle().await.unwrap();
                let run = self.engine.run(id).await.unwrap();
                if run.state.kind != StateType::Scheduled {
                    return run;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        })
    }

    fn again(&self, id: RunId) -> Run {
        self.runtime.block_on(self.engine.retry(id, false)).unwrap();
        self.work(id)
    }

    /// Calls by method and path so far, with a star for what differs from run to run.
    fn calls(&self) -> BTreeMap<(String, String), u64> {
        let counts = self.world.standin.counts();
        let calls = counts["calls"].as_object().unwrap();
        let parts = calls.iter().map(|(call, times)| {
            let (method, path) = call.split_once(' ').unwrap();
            ((method.to_owned(), path.replace("{id}", "*")), times.as_u64().unwrap())
        });
        parts.collect()
    }

    /// Everything is home and was asked for once: seven transfers with a label each, one job.
    #[track_caller]
    fn sound(&self, flow: bool, told: &str) {
        self.world.sound();
        let counts = self.world.standin.counts();
        let mut labels: BTreeMap<&str, u64> = BTreeMap::new();
        for one in counts["submissions"].as_object().unwrap().values() {
            let label = one["label"].as_str().unwrap_or_default();
            if label.contains(" run ") {
                *labels.entry(label).or_default() += 1;
            }
        }
        assert!(labels.len() == 7 && labels.values().all(|times| *times == 1), "{told}: {labels:?}");
        let jobs = (&counts["jobs"]["accepted"], &counts["jobs"]["started"], &counts["flow_runs"]);
        let runs = Value::from(u64::from(flow));
        assert_eq!(jobs, (&Value::from(1), &Value::from(1), &runs), "{told}");
    }
}

fn kinds() -> [Kind; 9] {
    let status = |status| Kind::Status { status, code: None, message: None, retry_after: None };
    [
        Kind::RateLimit { retry_after: Some(0) },
        Kind::RateLimit { retry_after: None },
        status(503),
        status(500),
        Kind::LostAnswer,
        Kind::LostRequest,
        Kind::ExpiredToken,
        Kind::Slow { milliseconds: 50 },
        Kind::Permission,
    ]
}

/// The calls that a run makes, by one without faults.
fn calls(flow: bool) -> &'static Vec<(String, String)> {
    static CALLS: [OnceLock<Vec<(String, String)>>; 2] = [OnceLock::new(), OnceLock::new()];
    CALLS[usize::from(flow)].get_or_init(|| {
        let bench = Bench::new(flow);
        let before = bench.calls();
        let run = bench.work(bench.start());
        assert_eq!(run.state.kind, StateType::Completed, "{:?}", run.state);
        bench.sound(flow, "without faults");
        let mut calls = bench.calls();
        calls.retain(|call, times| *times > before.get(call).copied().unwrap_or_default());
        calls.into_keys().collect()
    })
}

/// A run that meets one fault; `true` if it ended well without help.
fn met(flow: bool, kind: &Kind, method: &str, path: &str) -> bool {
    let bench = Bench::new(flow);
    let told = format!("{kind:?} at {method} {path}");
    let fault = bench.world.standin.fault(Fault::new(kind.clone()).on(method, path));
    let id = bench.start();
    let run = bench.work(id);
    bench.world.standin.disarm(fault);
    let well = run.state.kind == StateType::Completed;
    if !well {
        let said = run.state.message.clone().unwrap_or_default();
        // Behind the last semicolon or colon stands what to do, and by whom.
        assert!(run.state.kind == StateType::Failed && said.contains("; "), "{told}: {:?}", run.state);
        assert!(!said.contains(SECRET), "{told} shows the secret");
        // What a person has to put right, and nothing else: rights, and credentials that are refused.
        let advice: &[&str] = match kind {
            Kind::Permission => &["permission", "allow", "check its id and secret"],
            Kind::ExpiredToken if path.ends_with("/token") => &["check its id and secret"],
            _ => &[],
        };
        assert!(advice.iter().any(|words| said.contains(words)), "{told}: {said}");
        let run = bench.again(id);
        assert_eq!(run.state.kind, StateType::Completed, "{told}, tried again: {:?}", run.state);
    }
    bench.sound(flow, &told);
    well
}

fn long() -> bool {
    std::env::var_os("BEAMRAIL_LONG").is_some()
}

/// One kind at every call, of both ways to the endpoint.
fn everywhere(kind: &Kind) {
    if !long() {
        println!("skipped: slow; set BEAMRAIL_LONG=1");
        return;
    }
    let (mut tried, mut well, mut wrong) = (0, 0, Vec::new());
    for flow in [false, true] {
        // What both ways have in common is tried on the direct one.
        let direct: &[(String, String)] = if flow { calls(false) } else { &[] };
        for (method, path) in calls(flow).iter().filter(|call| !direct.contains(call)) {
            tried += 1;
            // All are tried before the first that is wrong fails the test.
            match std::panic::catch_unwind(|| met(flow, kind, method, path)) {
                Ok(ended_well) => well += usize::from(ended_well),
                Err(_) => wrong.push(format!("{method} {path}")),
            }
        }
    }
    println!(
        "{kind:?}: {tried} calls, {well} runs ended well, {} red and well when tried again",
        tried - well
    );
    assert!(wrong.is_empty(), "{kind:?} at {wrong:?}");
    assert!(tried > 15, "a run makes more kinds of calls than {tried}");
}

#[test]
fn a_sample_of_faults_and_calls() {
    if long() {
        println!("skipped: all of them are tried");
        return;
    }
    // Numbers of a fixed sequence: the same sample each time, none chosen by hand.
    let mut number: u64 = 832;
    let mut next = |below: usize| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (number >> 33) as usize % below
    };
    for at in 0..SAMPLE {
        // Every other one through a flow.
        let flow = at % 2 == 1;
        let (calls, kinds) = (calls(flow), kinds());
        let ((method, path), kind) = (&calls[next(calls.len())], &kinds[next(kinds.len())]);
        met(flow, kind, method, path);
    }
}

#[test]
fn too_many_requests_everywhere() {
    everywhere(&kinds()[0]);
}

#[test]
fn too_many_requests_without_a_time_everywhere() {
    everywhere(&kinds()[1]);
}

#[test]
fn unavailable_everywhere() {
    everywhere(&kinds()[2]);
}

#[test]
fn internal_errors_everywhere() {
    everywhere(&kinds()[3]);
}

#[test]
fn lost_answers_everywhere() {
    everywhere(&kinds()[4]);
}

#[test]
fn lost_requests_everywhere() {
    everywhere(&kinds()[5]);
}

#[test]
fn expired_tokens_everywhere() {
    everywhere(&kinds()[6]);
}

#[test]
fn slow_answers_everywhere() {
    everywhere(&kinds()[7]);
}

#[test]
fn denials_everywhere() {
    everywhere(&kinds()[8]);
}
