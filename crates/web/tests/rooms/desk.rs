//! A beamline of two local sites in a fresh folder with a dashboard in front, and people with tokens.

use std::path::PathBuf;
use std::sync::Arc;

use beamline::Beamline;
use beamline::config::Config;
use custody::{
    CopyId, DatasetId, FileEntry, FileList, Kind, Level, NewCopy, Observation, Reach, RelPath, ScanName,
    Seen, Verification,
};
use engine::{Clock, Engine, Orchestrator};
use serde_json::{Value, json};
use web::{Access, App, Role, Server, Shared};

use crate::client::{Answer, Client};

pub const FOLDER: &str = "ALS-1_user";
pub const STEM: &str = "foam";
pub const SCAN: &str = "ALS-1_user/foam";
/// Of whoever may look only.
const LOOKS: &str = "look-0123456789abcdef0123456789";
const OPERATES: &str = "operate-0123456789abcdef0123456789";
const ADMINISTERS: &str = "administer-0123456789abcdef0123456789";

const CONFIG: &str = r#"
[beamline]
id = "8.3.2"
data_host = "data"
[state]
folder = "state"
[sites.data]
kind = "local"
root = "data"
raw = "raw"
scratch = "scratch"
retention = { scratch = "7 days" }
[sites.alcf]
kind = "local"
root = "alcf"
raw = "raw"
scratch = "scratch"
retention = { raw = "2 days after the copy at data is verified", scratch = "2 days" }
[export]
folders = ["EC-*"]
allowed_sites = ["data"]
[facilities.polaris]
kind = "local"
site = "alcf"
command = "beamrail"
[flows.alcf_recon_flow]
source = "data"
facility = "polaris"
return_to = ["data"]
set = { "stripes.sigma" = 2.5 }
"#;

/// Everything, for as long as it lives.
pub struct Desk {
    pub folder: PathBuf,
    pub engine: Engine,
    pub beamline: Arc<Beamline>,
    pub runtime: tokio::runtime::Runtime,
    pub app: Shared,
    client: Client,
    _temporary: tempfile::TempDir,
}

impl Desk {
    pub fn open() -> Self {
        Self::at(Clock::system())
    }

    pub fn at(clock: Clock) -> Self {
        let mut access = Access::default();
        for (who, role, token) in [
            ("anna", Role::Look, LOOKS),
            ("ben", Role::Operate, OPERATES),
            ("cleo", Role::Administer, ADMINISTERS),
        ] {
            access.add(who, role, token).unwrap();
        }
        Self::with_access(clock, access)
    }

    fn with_access(clock: Clock, access: Access) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().to_path_buf();
        for site in ["data", "alcf"] {
            for area in ["raw", "scratch"] {
                std::fs::create_dir_all(folder.join(site).join(area).join(FOLDER)).unwrap();
            }
        }
        let path = folder.join("beamrail.toml");
        std::fs::write(&path, CONFIG).unwrap();
        let config = Config::read(&path).unwrap();
        let (engine, beamline) = config.open(clock, None).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let app: Shared = App::new(config.clone(), engine.clone(), beamline.clone(), access).unwrap();
        let shown = app.clone();
        let address = runtime.block_on(async {
            for one in config.deployments(&beamline::flows::registry(&beamline)) {
                engine.deploy(one).await.unwrap();
            }
            let router = web::router(&app);
            let server = Server::bind(app, "127.0.0.1:0".parse().unwrap(), router).await.unwrap();
            let address = server.address();
            tokio::spawn(server.serve(std::future::pending()));
            address
        });
        let client = Client { address, headers: Vec::new() };
        Self { folder, engine, beamline, runtime, app: shown, client, _temporary: temporary }
    }

    /// Somebody who looks.
    pub fn anna(&self) -> Client {
        self.with(LOOKS)
    }

    /// Somebody who operates.
    pub fn ben(&self) -> Client {
        self.with(OPERATES)
    }

    /// Somebody who administers.
    pub fn cleo(&self) -> Client {
        self.with(ADMINISTERS)
    }

    fn with(&self, token: &str) -> Client {
        self.client.clone().with("Authorization", &format!("Bearer {token}"))
    }

    /// Ben in a browser: a session's cookie, so that forms need their token.
    pub fn browser(&self) -> Client {
        let csrf = self.client.csrf("/login");
        let answer = self.client.post("/login", &[("csrf", &csrf), ("token", OPERATES)]);
        let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        self.client.clone().with("Cookie", &cookie)
    }

    /// A copy whose files need not be there.
    pub fn copy(
        &self,
        stem: &str,
        site: &str,
        area: &str,
        kind: Kind,
        files: &[(&str, u64)],
        run: &str,
    ) -> CopyId {
        let folder = RelPath::new(area).unwrap().join(&RelPath::new(FOLDER).unwrap());
        self.copy_in(stem, site, area, folder, kind, files, run)
    }

    #[allow(clippy::too_many_arguments, reason = "a copy is all of that")]
    pub fn copy_in(
        &self,
        stem: &str,
        site: &str,
        area: &str,
        base: RelPath,
        kind: Kind,
        files: &[(&str, u64)],
        run: &str,
    ) -> CopyId {
        let digest = |size: u64| Some(blake3::hash(&size.to_le_bytes()).to_hex().to_string());
        let entries = files.iter().map(|(file, size)| FileEntry::new(*file, *size, digest(*size)).unwrap());
        let name = ScanName::new(FOLDER, stem).unwrap();
        let new = NewCopy {
            dataset: DatasetId::new(name, kind),
            site: site.into(),
            area: area.into(),
            base: base.clone(),
            files: FileList::new(entries.collect()).unwrap(),
            by: run.into(),
        };
        let seen = |(file, size): &(&str, u64)| Seen { blake3: digest(*size), ..Seen::file(*file, *size) };
        let now = self.engine.clock().now();
        let reach = Reach::Seen(files.iter().map(seen).collect());
        let seen = Observation { site: site.into(), base, observed_at: now, reach };
        let verification = Verification { level: Level::Digested, seen, by: run.into() };
        self.beamline.custody.adopt(&new, &verification, now).unwrap().id
    }

    /// A raw scan that can be read, at the data host, known to custody.
    pub fn raw(&self) {
        let options = scan::simulate::SimulateOptions {
            width: 96,
            rows: 4,
            angles: 121,
            center: Some(49.25),
            flat_cycle: 0,
            ..Default::default()
        };
        let path = self.folder.join("data/raw").join(FOLDER).join(format!("{STEM}.h5"));
        scan::simulate::simulate(&path, &options, &mut |_| ()).unwrap();
        let size = std::fs::metadata(&path).unwrap().len();
        self.copy(STEM, "data", "raw", Kind::Raw, &[(&format!("{STEM}.h5"), size)], "test");
    }

    /// The report of a reconstruction, as custody keeps it.
    pub fn report(&self, run: &str, recipe: &reconstruct::Recipe, center: f64) {
        let report = json!({ "plan": { "recipe": recipe, "center": { "center": center } } }).to_string();
        let name = ScanName::new(FOLDER, STEM).unwrap();
        let now = self.engine.clock().now();
        self.beamline.custody.keep_paper(&name, "report", run, report.as_bytes(), now).unwrap();
    }

    /// What the audit log says, line by line.
    pub fn audit(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.folder.join("state/audit.jsonl")).unwrap();
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.into_iter().filter(|line| line["action"].is_string()).collect()
    }
}

/// The path that an answer leads to.
pub fn location(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{}", answer.text());
    answer.header("location").unwrap().to_owned()
}

/// The page at `path` once it holds one of these texts.
pub fn wait_for(client: &Client, path: &str, texts: &[&str]) -> String {
    for _ in 0..600 {
        let page = client.get(path).text();
        if texts.iter().any(|text| page.contains(text)) {
            return page;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{path} never said {texts:?}: {}", client.get(path).text());
}
