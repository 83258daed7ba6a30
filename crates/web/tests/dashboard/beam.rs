//! A beamline of three local sites in a fresh folder, with scans, copies and runs as a test wants them, and a
//! dashboard in front.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use beamline::Beamline;
use beamline::config::Config;
use custody::{
    DatasetId, FileEntry, FileList, Kind, Level, NewCopy, Observation, Reach, RelPath, ScanName, Seen,
    Verification,
};
use engine::{
    ArtifactKind, Ask, Clock, Context, Engine, Failure, Flow, NewRun, Orchestrator, Registry, RunId,
    StepOptions, Worker,
};
use serde::Deserialize;
use serde_json::{Value, json};
use web::{Access, App, Server, Shared};

use crate::client::Client;

const CONFIG: &str = r#"
[beamline]
id = "8.3.2"
data_host = "als"
[state]
folder = "state"
[sites.als]
kind = "local"
root = "als"
raw = "raw"
scratch = "scratch"
[sites.nersc]
kind = "local"
root = "nersc"
raw = "raw"
scratch = "scratch"
retention = { scratch = "7 days" }
[sites.alcf]
kind = "local"
root = "alcf"
raw = "raw"
scratch = "scratch"
retention = { raw = "2 days", scratch = "2 days" }
[facilities.polaris]
kind = "local"
site = "alcf"
command = "beamrail"
[flows.new_832_file_flow]
send_to = ["nersc"]
[flows.alcf_recon_flow]
source = "nersc"
facility = "polaris"
return_to = ["nersc", "als"]
[flows.dispatcher]
flows = ["new_832_file_flow", "alcf_recon_flow"]
[web]
hosts = ["dash.example.org"]
"#;

/// Everything, for as long as it lives.
pub struct Beam {
    pub folder: PathBuf,
    pub engine: Engine,
    pub beamline: Arc<Beamline>,
    pub config: Config,
    pub address: SocketAddr,
    pub runtime: tokio::runtime::Runtime,
    _temporary: tempfile::TempDir,
}

impl Beam {
    /// Everybody may do everything, as on a desk.
    pub fn open() -> Self {
        Self::with(Access::default())
    }

    pub fn with(access: Access) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().to_path_buf();
        for site in ["als", "nersc", "alcf"] {
            for area in ["raw", "scratch"] {
                std::fs::create_dir_all(folder.join(site).join(area)).unwrap();
            }
        }
        let path = folder.join("beamrail.toml");
        std::fs::write(&path, CONFIG).unwrap();
        let config = Config::read(&path).unwrap();
        let (engine, beamline) = config.open(Clock::system(), None).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let app: Shared = App::new(config.clone(), engine.clone(), beamline.clone(), access).unwrap();
        let address = runtime.block_on(async {
            let router = web::router(&app);
            let server = Server::bind(app, "127.0.0.1:0".parse().unwrap(), router).await.unwrap();
            let address = server.address();
            tokio::spawn(server.serve(std::future::pending()));
            address
        });
        Self { folder, engine, beamline, config, address, runtime, _temporary: temporary }
    }

    pub fn client(&self) -> Client {
        Client { address: self.address, headers: Vec::new() }
    }

    /// A scan with a verified raw copy at these sites, and results at the others.
    pub fn scan(&self, folder: &str, stem: &str, raw: &[&str], results: &[&str]) -> ScanName {
        let name = ScanName::new(folder, stem).unwrap();
        for site in raw {
            self.copy(&name, site, "raw", Kind::Raw, &[format!("{stem}.h5")]);
        }
        for site in results {
            let slices: Vec<String> = (0..6).map(|z| format!("rec{stem}/{stem}_{z:05}.tiff")).collect();
            self.copy(&name, site, "scratch", Kind::Tiff, &slices);
            self.copy(&name, site, "scratch", Kind::Sidecars, &[format!("rec{stem}.report.json")]);
        }
        name
    }

    pub fn copy(&self, name: &ScanName, site: &str, area: &str, kind: Kind, files: &[String]) {
        let digest = blake3::hash(b"x").to_hex().to_string();
        let entries: Vec<FileEntry> = files
            .iter()
            .map(|file| FileEntry::new(file.as_str(), 8_510_000, Some(digest.clone())).unwrap())
            .collect();
        let base = RelPath::new(area).unwrap().join(name.folder());
        let new = NewCopy {
            dataset: DatasetId::new(name.clone(), kind),
            site: site.into(),
            area: area.into(),
            base: base.clone(),
            files: FileList::new(entries).unwrap(),
            by: "test".into(),
        };
        let seen =
            |file: &String| Seen { blake3: Some(digest.clone()), ..Seen::file(file.as_str(), 8_510_000) };
        let now = self.engine.clock().now();
        let seen = Observation {
            site: site.into(),
            base,
            observed_at: now,
            reach: Reach::Seen(files.iter().map(seen).collect()),
        };
        let verification = Verification { level: Level::Digested, seen, by: "test".into() };
        self.beamline.custody.adopt(&new, &verification, now).unwrap();
    }

    /// A run of `flow` about a scan that does what `what` says, done as far as it goes by itself.
    pub fn run(&self, flow: &str, scan: &str, what: &str) -> RunId {
        let id = self.start(flow, scan, what);
        self.work();
        id
    }

    pub fn start(&self, flow: &str, scan: &str, what: &str) -> RunId {
        let new = NewRun::of(flow, json!({ "what": what }))
            .named(format!("{flow}: {scan}"))
            .tag(format!("scan:{scan}"));
        self.runtime.block_on(self.engine.create_run(new)).unwrap().id
    }

    pub fn work(&self) {
        let worker = Worker::new(self.engine.store(), registry());
        self.runtime.block_on(worker.run_until_idle()).unwrap();
    }

    /// Works in the background for as long as the beamline lives.
    pub fn keep_working(&self) {
        let worker = Worker::new(self.engine.store(), registry());
        self.runtime.spawn(worker.run(std::future::pending()));
    }

    pub fn wait_for(&self, id: RunId, kind: engine::StateType) {
        for _ in 0..400 {
            if self.runtime.block_on(self.engine.run(id)).unwrap().state.kind == kind {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        panic!("{id} never became {kind}");
    }
}

#[derive(Debug, Deserialize, schemars::JsonSchema)]
struct Parameters {
    what: String,
}

fn registry() -> Registry {
    ["alcf_recon_flow", "new_832_file_flow", "dispatcher"]
        .into_iter()
        .fold(Registry::new(), |registry, name| registry.with(Flow::new(name, pretend)))
}

/// A flow that ends as it is told to.
async fn pretend(context: Context, parameters: Parameters) -> Result<Value, Failure> {
    let _: Value = context
        .step("raw to alcf", StepOptions::new(), |step| async move {
            step.info("copying <b>8.51 GB</b>");
            Ok(json!({ "copied": 8_510_000_000_u64, "bytes": 8_510_000_000_u64, "seconds": 0.001 }))
        })
        .await?;
    match parameters.what.as_str() {
        "fail" => {
            let log = "Traceback: <script>alert(1)</script>\nout of memory";
            let message = format!("the job in /x failed: exit code 1; its log ends with:\n{log}");
            let failure = Failure::fatal(message).with_code("job-failed").with_details(json!({ "log": log }));
            let fails = |_| std::future::ready(Err(failure.clone()));
            let _: Value = context.step("reconstruct", StepOptions::new(), fails).await?;
        }
        "ask" => {
            let shown = json!("alcf:scratch/rec.center.png");
            context.artifact("center-evidence", ArtifactKind::Image, shown, Some("candidates"));
            let ask = Ask::new("Centre needed", "two peaks (0.6). Then: runs resume X --set center=PX")
                .evidence(json!({ "picture": { "site": "alcf", "path": "scratch/f/rec.center.png" } }));
            let center: f64 = context.pause_for_input("center", ask).await?;
            return Ok(json!({ "center": center }));
        }
        "forever" => {
            context
                .step("reconstruct", StepOptions::new(), |step| async move {
                    step.progress(0.62, "slices");
                    std::future::pending::<()>().await;
                    Ok(())
                })
                .await?;
        }
        _ => {}
    }
    Ok(json!({ "done": true }))
}
