//! The ALCF flow on three local sites with the real binary as the facility's program, and a worker that is killed.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests fail by panicking and show figures")]

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use beamline::{Beamline, Facility, FlowSettings, Home, ReconSettings};
use custody::{
    AreaPolicy, Custody, Kind, LedgerFilter, Level, RelPath, ScanName, Settings, SitePolicy, State,
};
use engine::faults::KillAt;
use engine::harness::try_sigkill;
use engine::{Clock, Engine, NewRun, Orchestrator, Run, StateType, Worker};
use serde_json::{Value, json};
use sites::{LocalCompute, LocalStorage, Storage};

const FOLDER: &str = "ALS-12345_user";
const STEM: &str = "20260101_120000_foam";
/// Where the child of a kill trial works.
const WORLD: &str = "BEAMRAIL_TEST_WORLD";

/// A small scan, simulated once.
static SCAN: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    simulate(&folder.path().join("scan.h5"), &["--seed", "7"]);
    folder
});

fn simulate(path: &Path, more: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_beamrail"));
    command.arg("simulate").arg(path).args(["--width", "96", "--rows", "40", "--angles", "120"]).args(more);
    let done = command.args(["--progress", "none"]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn beam(root: &Path) -> Arc<Beamline> {
    let mut sites: BTreeMap<String, Arc<dyn Storage>> = BTreeMap::new();
    let mut policy = Settings::default();
    for (site, days) in [("als", "3 days"), ("nersc", "7 days"), ("alcf", "2 days")] {
        std::fs::create_dir_all(root.join(site)).unwrap();
        sites.insert(site.to_owned(), Arc::new(LocalStorage::new(site, root.join(site))));
        let area = |path: &str, rule: &str| AreaPolicy {
            path: RelPath::new(path).unwrap(),
            retention: rule.parse().unwrap(),
            ..AreaPolicy::default()
        };
        let raw = area("raw", if site == "alcf" { "2 days" } else { "never" });
        let areas = [("raw".to_owned(), raw), ("scratch".to_owned(), area("scratch", days))].into();
        policy.sites.insert(site.to_owned(), SitePolicy { counted: site != "alcf", digests: true, areas });
    }
    let facility = Facility {
        compute: Arc::new(LocalCompute::new("polaris")),
        site: "alcf".to_owned(),
        site_root: root.join("alcf"),
        jobs: RelPath::new(".beamrail/jobs").unwrap(),
        command: PathBuf::from(env!("CARGO_BIN_EXE_beamrail")),
        args: vec!["--threads".to_owned(), "1".to_owned()],
        env: Vec::new(),
        queue_timeout: Duration::from_secs(600),
        run_timeout: Duration::from_secs(600),
        poll: Duration::from_millis(20),
    };
    let here = Facility { site: "als".to_owned(), site_root: root.join("als"), ..facility.clone() };
    let recon = ReconSettings {
        source: "als".to_owned(),
        facility: "polaris".to_owned(),
        return_to: vec!["nersc".to_owned(), "als".to_owned()],
        recipe: "default".to_owned(),
        set: Vec::new(),
        write: Vec::new(),
        attempts: 3,
    };
    let beam = Arc::new(Beamline {
        id: "8.3.2".to_owned(),
        sites,
        facilities: [("polaris".to_owned(), facility), ("here".to_owned(), here)].into(),
        custody: Arc::new(Custody::open(&root.join("custody.db")).unwrap()),
        policy,
        flows: FlowSettings {
            home: Home {
                detector: None,
                data_host: "als".to_owned(),
                archives: vec!["nersc".to_owned()],
                quick_look: Some("here".to_owned()),
            },
            recon: [("alcf_recon_flow".to_owned(), recon)].into(),
            ..FlowSettings::default()
        },
        settings: beamline::settings::Keeper::default(),
        clock: Clock::system(),
        orders: OnceLock::new(),
        runs: OnceLock::new(),
    });
    beam.custody.configure(&beam.policy, "test", beam.now()).unwrap();
    beam
}

fn put_scan(root: &Path, scan: &Path) {
    let raw = root.join("als/raw").join(FOLDER);
    std::fs::create_dir_all(&raw).unwrap();
    let place = raw.join(format!("{STEM}.h5"));
    if !place.exists() {
        std::fs::copy(scan, place).unwrap();
    }
}

/// Takes a run up until it ended or asks, with the point to be killed at from the environment.
async fn work(root: &Path, flow: &str, answers: Option<Value>) -> Run {
    let beam = beam(root);
    let engine = Arc::new(Engine::open(root.join("runs.db"), Clock::system()).unwrap());
    assert!(beam.runs.set(engine.clone()).is_ok());
    let path = format!("/global/raw/{FOLDER}/{STEM}.h5");
    let new = NewRun::of(flow, json!({ "file_path": path })).key(flow);
    let id = engine.create_run(new).await.unwrap().id;
    if let Some(center) = answers {
        engine.resume(id, [("center".to_owned(), center)].into()).await.unwrap();
    }
    // A short lease: what a killed worker held is taken over at once.
    let mut worker = Worker::new(engine.store(), beamline::flows::registry(&beam))
        .lease(Duration::from_millis(900))
        .poll(Duration::from_millis(50));
    if let Some(kill) = KillAt::from_env() {
        worker = worker.faults(Arc::new(kill));
    }
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let watching = async {
        loop {
            let run = engine.run(id).await.unwrap();
            if run.state.kind.is_terminal() || run.ask.is_some() && run.state.kind == StateType::Paused {
                let _ = stop.send(());
                return run;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let working = worker.run(async move {
        let _ = stopped.await;
    });
    let (worked, run) = tokio::join!(working, watching);
    worked.unwrap();
    run
}

/// Verified copies of a kind.
fn verified(root: &Path, kind: Kind) -> BTreeSet<String> {
    let custody = Custody::open(&root.join("custody.db")).unwrap();
    let copies = custody.copies(&ScanName::new(FOLDER, STEM).unwrap()).unwrap();
    let good = |copy: &&custody::CopyRecord| {
        copy.dataset.kind == kind
            && copy.state == State::Present
            && copy.level >= Some(Level::TransferChecksummed)
    };
    copies.iter().filter(good).map(|copy| copy.site.clone()).collect()
}

fn three() -> BTreeSet<String> {
    ["alcf", "als", "nersc"].map(str::to_owned).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_flow_with_the_real_program() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    put_scan(root, &SCAN.path().join("scan.h5"));
    let moved = work(root, "new_832_file_flow", None).await;
    assert_eq!(moved.state.kind, StateType::Completed, "{:?}", moved.error);
    let preview = moved.output.unwrap()["preview"].as_str().unwrap().to_owned();
    assert!(std::fs::read(root.join("als").join(preview)).unwrap().starts_with(b"\x89PNG"));
    let run = work(root, "alcf_recon_flow", None).await;
    assert_eq!(run.state.kind, StateType::Completed, "{:?}", run.error);
    for kind in Kind::ALL {
        assert_eq!(verified(root, kind), three(), "{kind}");
    }
    // Another judge than the flow: the command, at each home.
    for site in ["nersc", "als"] {
        let manifest = root.join(site).join(format!("scratch/{FOLDER}/rec{STEM}.manifest.json"));
        let judged =
            Command::new(env!("CARGO_BIN_EXE_beamrail")).arg("verify").arg(manifest).output().unwrap();
        assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_centre_that_the_program_does_not_believe_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    // Nothing but noise: no centre can be found in it.
    let empty = root.join("empty.h5");
    simulate(&empty, &["--noise", "0.000001", "--phantom", "foam", "--seed", "3"]);
    put_scan(root, &empty);
    let run = work(root, "alcf_recon_flow", None).await;
    assert_eq!(
        (run.state.kind, run.state.name.as_str()),
        (StateType::Paused, "Centre needed"),
        "{:?}",
        run.error
    );
    let picture = &run.ask.unwrap().evidence["picture"];
    let picture = root.join(picture["site"].as_str().unwrap()).join(picture["path"].as_str().unwrap());
    assert!(std::fs::read(picture).unwrap().starts_with(b"\x89PNG"));
    let run = work(root, "alcf_recon_flow", Some(json!(48.0))).await;
    assert_eq!(run.state.kind, StateType::Completed, "{:?}", run.error);
    assert_eq!(verified(root, Kind::Zarr), three());
}

/// Not a test of its own: what the kill trials run as another process.
#[tokio::test(flavor = "multi_thread")]
async fn child_of_the_kill_trials() {
    let Some(root) = std::env::var_os(WORLD).map(PathBuf::from) else { return };
    let run = work(&root, "alcf_recon_flow", None).await;
    assert_eq!(run.state.kind, StateType::Completed, "{:?}", run.error);
}

fn content_of(bytes: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Files, custody and ledger without what tells times: the report, and numbers that count attempts.
fn outcome(root: &Path) -> Value {
    let mut files = BTreeMap::new();
    let mut done = 0;
    let mut stack: Vec<PathBuf> = ["als", "nersc", "alcf"].map(|site| root.join(site)).into();
    while let Some(folder) = stack.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if path.is_dir() {
                stack.push(path);
            } else if name.contains("/.beamrail/") {
                if name.ends_with("progress.jsonl") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    done += text.lines().filter(|line| line.contains(r#""event":"done""#)).count();
                }
            } else {
                let told = name.ends_with(".report.json");
                let bytes = std::fs::read(&path).unwrap();
                files.insert(name, if told { 0 } else { content_of(&bytes) });
            }
        }
    }
    let custody = Custody::open(&root.join("custody.db")).unwrap();
    let copies = custody.copies(&ScanName::new(FOLDER, STEM).unwrap()).unwrap();
    let mut known: Vec<Value> = copies
        .iter()
        .map(|copy| {
            let content = copy.content.clone().filter(|_| copy.dataset.kind != Kind::Sidecars);
            json!([
                copy.dataset.kind,
                copy.site,
                copy.area,
                copy.base,
                copy.state,
                copy.level,
                copy.files,
                content
            ])
        })
        .collect();
    known.sort_by_key(Value::to_string);
    let filter = LedgerFilter { limit: 100_000, ..LedgerFilter::default() };
    let ledger: BTreeSet<String> = custody
        .ledger(&filter)
        .unwrap()
        .into_iter()
        .map(|entry| {
            let entry = serde_json::to_value(entry).unwrap();
            ["event", "kind", "site", "path"].map(|key| entry[key].to_string()).join(" ")
        })
        .collect();
    json!({ "files": files, "copies": known, "ledger": ledger, "reconstructions that ended well": done })
}

#[test]
fn a_killed_worker_costs_nothing() {
    // A sample over the whole journal, about 110 points; those around the job's submission are always in it.
    let points: Vec<u64> = match std::env::var_os("BEAMRAIL_LONG") {
        Some(_) => (1..=120).collect(),
        None => vec![9, 21, 23],
    };
    let scan = SCAN.path().join("scan.h5");
    let child = |root: &Path| {
        put_scan(root, &scan);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child_of_the_kill_trials", "--nocapture"]).env(WORLD, root);
        command
    };
    let report = try_sigkill(points, child, outcome);
    println!("alcf_recon_flow with the real program: {report}; {} workers were killed", report.points);
    assert!(report.failures.is_empty(), "{report}");
    assert!(report.points >= 3, "{report}");
}
