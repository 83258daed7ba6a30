//! What the tests share: a beamline of four local sites in a folder, and facilities that only pretend to compute.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

pub mod fake;
pub mod outcome;
pub mod sample;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use beamline::{Beamline, DispatcherSettings, Facility, FlowSettings, Home, ReconSettings};
use custody::{Age, AreaPolicy, Custody, ExportPolicy, RelPath, ScanName, Settings, SitePolicy};
use engine::{Clock, Engine, NewRun, Orchestrator, Registry, Run, StateType, Worker};
use jiff::Timestamp;
use serde_json::{Value, json};
use sites::Storage;

use fake::{Counting, FakeCompute};

pub const FOLDER: &str = "ALS-12345_user";
pub const STEM: &str = "20260101_120000_foam";

/// The path that a trigger at the detector gives.
pub fn file_path() -> String {
    format!("/global/raw/{FOLDER}/{STEM}.h5")
}

pub fn scan() -> ScanName {
    ScanName::new(FOLDER, STEM).unwrap()
}

/// The policy: the document's days, and what it keeps.
pub fn policy() -> Settings {
    let area = |path: &str, rule: &str| AreaPolicy {
        path: RelPath::new(path).unwrap(),
        retention: rule.parse().unwrap(),
        ..AreaPolicy::default()
    };
    let site = |counted: bool, raw: &str, scratch: &str| SitePolicy {
        counted,
        digests: true,
        areas: [("raw", area("raw", raw)), ("scratch", area("scratch", scratch))]
            .map(|(name, area)| (name.to_owned(), area))
            .into(),
    };
    Settings {
        sites: BTreeMap::from([
            ("als".to_owned(), site(false, "1 day after the copy at data is verified", "never")),
            ("data".to_owned(), site(true, "never", "3 days")),
            ("nersc".to_owned(), site(true, "never", "7 days")),
            ("alcf".to_owned(), site(false, "2 days", "2 days")),
        ]),
        services: ["catalogue".to_owned()].into(),
        export: ExportPolicy {
            folders: vec!["EC-*".to_owned()],
            allowed_sites: ["als".to_owned(), "data".to_owned()].into(),
            ..ExportPolicy::default()
        },
        permit_valid: Age::seconds(30),
        ..Settings::default()
    }
}

/// The scan at the detector: bytes that begin as an HDF5 file's that nobody can judge.
pub fn put_scan(root: &Path, folder: &str, stem: &str) {
    put_scan_at(root, "als", folder, stem);
}

pub fn put_scan_at(root: &Path, site: &str, folder: &str, stem: &str) {
    let dir = root.join(site).join("raw").join(folder);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(format!("{stem}.h5")), fake::scan_bytes()).unwrap();
}

/// A beamline in `root`, which is made if it is empty.
pub fn beam(root: &Path, clock: Clock) -> Arc<Beamline> {
    beam_with(root, clock, |_| ())
}

pub fn beam_with(root: &Path, clock: Clock, change: impl FnOnce(&mut Beamline)) -> Arc<Beamline> {
    let mut sites: BTreeMap<String, Arc<dyn Storage>> = BTreeMap::new();
    for site in ["als", "data", "nersc", "alcf"] {
        let folder = root.join(site);
        std::fs::create_dir_all(&folder).unwrap();
        sites.insert(site.to_owned(), Arc::new(Counting::new(site, &folder, &root.join("transfers.log"))));
    }
    let facility = |site: &str| Facility {
        compute: Arc::new(FakeCompute::new(root)),
        site: site.to_owned(),
        site_root: root.join(site),
        jobs: RelPath::new(".beamrail/jobs").unwrap(),
        command: PathBuf::from("beamrail"),
        args: Vec::new(),
        env: Vec::new(),
        queue_timeout: Duration::from_secs(24 * 3600),
        run_timeout: Duration::from_secs(24 * 3600),
        poll: Duration::from_millis(2),
    };
    let recon = |source: &str, facility: &str, homes: &[&str]| ReconSettings {
        source: source.to_owned(),
        facility: facility.to_owned(),
        return_to: homes.iter().map(|home| (*home).to_owned()).collect(),
        recipe: "default".to_owned(),
        set: Vec::new(),
        write: Vec::new(),
        attempts: 4,
    };
    let custody = Arc::new(Custody::open(&root.join("custody.db")).unwrap());
    let policy = policy();
    let mut beam = Beamline {
        id: "8.3.2".to_owned(),
        sites,
        facilities: [
            ("polaris", facility("alcf")),
            ("perlmutter", facility("nersc")),
            ("here", facility("data")),
        ]
        .map(|(name, facility)| (name.to_owned(), facility))
        .into(),
        custody,
        policy,
        flows: FlowSettings {
            home: Home {
                detector: Some("als".to_owned()),
                data_host: "data".to_owned(),
                archives: vec!["nersc".to_owned()],
                quick_look: Some("here".to_owned()),
            },
            recon: BTreeMap::from([
                ("alcf_recon_flow".to_owned(), recon("nersc", "polaris", &["nersc", "data"])),
                ("nersc_recon_flow".to_owned(), recon("nersc", "perlmutter", &["data"])),
            ]),
            dispatcher: DispatcherSettings {
                new_file: true,
                recon: vec!["alcf_recon_flow".to_owned()],
                fallback: vec!["nersc_recon_flow".to_owned()],
            },
            prune_aliases: [("prune_spot832".to_owned(), ("als".to_owned(), "raw".to_owned()))].into(),
            catalogue: Some("catalogue".to_owned()),
        },
        settings: beamline::settings::Keeper::default(),
        clock,
        orders: OnceLock::new(),
        runs: OnceLock::new(),
    };
    change(&mut beam);
    // Once: another policy in between would void every plan.
    beam.custody.configure(&beam.policy, "test", beam.clock.now()).unwrap();
    Arc::new(beam)
}

/// A beamline with its journal, in a fresh folder.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub clock: Clock,
    pub beam: Arc<Beamline>,
    pub engine: Arc<Engine>,
    pub registry: Registry,
}

impl Bench {
    /// A clock that is moved by hand, from now.
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    pub fn with(change: impl FnOnce(&mut Beamline)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp::now());
        let beam = beam_with(folder.path(), clock.clone(), change);
        let engine = Arc::new(Engine::open(folder.path().join("runs.db"), clock.clone()).unwrap());
        assert!(beam.runs.set(engine.clone()).is_ok());
        let registry = beamline::flows::registry(&beam);
        Bench { folder, clock, beam, engine, registry }
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a flow until it ended or rests; waits pass at once.
    pub async fn run(&self, flow: &str, parameters: Value) -> Run {
        let id = self.engine.create_run(NewRun::of(flow, parameters)).await.unwrap().id;
        self.until_ended(id).await
    }

    pub async fn until_ended(&self, id: engine::RunId) -> Run {
        let worker = Worker::new(self.engine.store(), self.registry.clone());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let working = worker.run(async move {
            let _ = stopped.await;
        });
        let watching = async {
            loop {
                let run = self.engine.run(id).await.unwrap();
                let rests = run.state.kind == StateType::Paused && run.due.is_none() && run.ask.is_some();
                if run.state.kind.is_terminal() || rests {
                    let _ = stop.send(());
                    return run;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
                self.clock.advance(Duration::from_millis(500));
            }
        };
        let (worked, run) = tokio::join!(working, watching);
        worked.unwrap();
        run
    }

    /// Runs and wants it green; its output.
    pub async fn green(&self, flow: &str, parameters: Value) -> Value {
        let run = self.run(flow, parameters).await;
        assert_eq!(run.state.kind, StateType::Completed, "{flow}: {:?}", run.error);
        run.output.unwrap()
    }

    /// The move, then the reconstruction at ALCF.
    pub async fn reconstructed(&self) -> Value {
        put_scan(self.root(), FOLDER, STEM);
        self.green("new_832_file_flow", json!({ "file_path": file_path() })).await;
        self.green("alcf_recon_flow", json!({ "file_path": file_path() })).await
    }

    /// Everything that is due, done.
    pub async fn work(&self) {
        Worker::new(self.engine.store(), self.registry.clone()).run_until_idle().await.unwrap();
    }
}

pub const DAY: Duration = Duration::from_secs(86_400);
