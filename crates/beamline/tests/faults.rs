//! Each flow with every step repeated, failing once and always, and its worker stopped dead at the journal's writes:
//! files, custody and ledger are those of an undisturbed run, nothing ran twice to its end, nothing was copied twice.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking and show figures"
)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use common::{FOLDER, STEM, beam_with, file_path, outcome, put_scan, put_scan_at};
use custody::Age;
use engine::harness::{Harness, Report};
use engine::{Clock, Context, Failure, Flow, NewRun, Registry};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Which worlds a trial begins in.
#[derive(Clone, Copy, PartialEq)]
enum World {
    /// The scan is at the detector.
    New,
    /// The scan is at NERSC.
    Archived,
    /// Moved and reconstructed; two days later, with deletion switched on.
    Due,
}

/// A day on which copies at ALCF are due, and that goes on fast: permits run out within the test.
static LATER: LazyLock<Clock> = LazyLock::new(|| {
    let later = Timestamp::now().checked_add(Duration::from_secs(2 * 86_400 + 7200)).unwrap();
    Clock::scaled(later, 50.0)
});

/// A folder in which a scan was moved and reconstructed, made once.
static DONE: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let bench = std::thread::spawn(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let bench = common::Bench::with(|beam| beam.policy.permit_valid = Age::seconds(5));
            bench.reconstructed().await;
            bench
        })
    });
    bench.join().unwrap().folder
});

fn prepare(root: &Path, world: World) -> Registry {
    let fresh = !root.join("custody.db").exists();
    match world {
        World::New => put_scan(root, FOLDER, STEM),
        World::Archived => put_scan_at(root, "nersc", FOLDER, STEM),
        World::Due if fresh => {
            // With its times: custody knows them.
            let from: PathBuf = DONE.path().join(".");
            assert!(Command::new("cp").arg("-a").arg(from).arg(root).status().unwrap().success());
        }
        World::Due => (),
    }
    let clock = if world == World::Due { LATER.clone() } else { Clock::system() };
    let beam = beam_with(root, clock.clone(), |beam| beam.policy.permit_valid = Age::seconds(5));
    if world == World::Due && fresh {
        beam.custody.switch_deletion(true, "operator", clock.now()).unwrap();
    }
    let registry = beamline::flows::registry(&beam);
    // The outputs of the flows tell times; the trial's own does not.
    registry.with(Flow::new("trial", |context: Context, new: Value| async move {
        let flow = new["flow"].as_str().unwrap_or_default().to_owned();
        let done: Result<Value, Failure> =
            context.sub_run("the flow", NewRun::of(flow, new["parameters"].clone())).await;
        done.map(|_| "done")
    }))
}

fn harness(flow: &str, parameters: &Value, world: World, stride: u64) -> Harness {
    let new = NewRun::of("trial", json!({ "flow": flow, "parameters": parameters }));
    Harness::new(new, move |root: &Path| prepare(root, world), outcome::all).stride(stride)
}

/// Every step; of the journal's writes a sample, or with `BEAMRAIL_LONG` all.
async fn try_flow(flow: &str, parameters: Value, world: World) {
    let long = std::env::var_os("BEAMRAIL_LONG").is_some();
    let begun = std::time::Instant::now();
    let report: Report = match long {
        true => harness(flow, &parameters, world, 1).try_all().await,
        false => {
            common::sample::try_some(
                NewRun::of("trial", json!({ "flow": flow, "parameters": parameters })),
                &|root: &Path| prepare(root, world),
                5,
            )
            .await
        }
    };
    println!("{flow}: {report}; {:.1} s", begun.elapsed().as_secs_f64());
    assert!(report.trials > 5, "{report}");
    assert!(report.failures.is_empty(), "{flow}: {report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_move_survives_everything() {
    try_flow("new_832_file_flow", json!({ "file_path": file_path() }), World::New).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reconstruction_at_alcf_survives_everything() {
    try_flow("alcf_recon_flow", json!({ "file_path": file_path() }), World::Archived).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reconstruction_at_nersc_survives_everything() {
    try_flow("nersc_recon_flow", json!({ "file_path": file_path() }), World::Archived).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dispatcher_survives_everything() {
    try_flow("dispatcher", json!({ "file_path": file_path() }), World::New).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_survives_everything() {
    try_flow("prune_alcf_scratch", json!({}), World::Due).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reconciling_survives_everything() {
    try_flow("reconcile", json!({ "adopt": true }), World::Archived).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_flight_check_survives_everything() {
    try_flow("transfer_check", json!({}), World::New).await;
}
