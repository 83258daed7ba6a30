//! A facility that pretends to compute, and storage that counts what it copies. Both can be dropped and opened anew.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use custody::{DeletePermit, DeleteReceipt, FileList, Observation, RelPath, Seen, TransferPermit};
use jiff::Timestamp;
use serde_json::json;
use sites::{
    Compute, Digests, JobHandle, JobSpec, JobState, JobStatus, ListLimits, LocalStorage, Place, Storage,
};
use sites::{Transferred, Watch};
use volume::{FileRecord, Manifest};

/// An HDF5 file of which the completeness test says that it cannot tell, so that no scan has to be simulated.
pub fn scan_bytes() -> Vec<u8> {
    let mut bytes = b"\x89HDF\r\n\x1a\n".to_vec();
    bytes.push(99);
    bytes.extend((0..20_000u32).flat_map(u32::to_le_bytes));
    bytes
}

/// The jobs at work in this process. What is in a job folder and not here has died with its process.
static AT_WORK: LazyLock<Mutex<BTreeSet<PathBuf>>> = LazyLock::new(Mutex::default);

/// Pretends. `<root>/fake.json` says how: `{"down": true}`, `{"center": true}`, `{"slow_ms": 50}`, `{"fail": "why"}`.
pub struct FakeCompute {
    root: PathBuf,
}

impl FakeCompute {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn says(&self, site: &str) -> serde_json::Value {
        let of = |name: String| std::fs::read(self.root.join(name)).ok();
        let text = of(format!("fake.{site}.json")).or_else(|| of("fake.json".to_owned()));
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    fn site_of(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.root).unwrap();
        below.components().next().unwrap().as_os_str().to_string_lossy().into_owned()
    }
}

fn status(dir: &Path, exit_code: i32, error: Option<&str>, manifest: Option<String>) {
    let status = JobStatus {
        exit_code,
        error: error.map(str::to_owned),
        retry_helps: false,
        manifest,
        finished: "2026-01-01T00:00:00Z".to_owned(),
    };
    let part = dir.join("status.part");
    std::fs::write(&part, serde_json::to_vec(&status).unwrap()).unwrap();
    std::fs::rename(part, dir.join("status.json")).unwrap();
}

#[async_trait]
impl Compute for FakeCompute {
    fn facility(&self) -> &str {
        "fake"
    }

    async fn start(&self, spec: &JobSpec) -> sites::Result<JobHandle> {
        let says = self.says(&self.site_of(&spec.job_dir));
        if says["down"] == true {
            let (job, reason) = ("(none)".to_owned(), "the endpoint is offline".to_owned());
            return Err(sites::Error::Job { job, reason, retry: true });
        }
        let dir = spec.job_dir.clone();
        let handle = JobHandle {
            job_dir: dir.clone(),
            attempt: spec.attempt,
            host: "here".into(),
            pid: None,
            start_ticks: None,
            boot: String::new(),
            task: None,
        };
        std::fs::create_dir_all(&dir).unwrap();
        if dir.join("started").exists() {
            return Ok(handle);
        }
        AT_WORK.lock().unwrap().insert(dir.clone());
        std::fs::write(dir.join("started"), spec.args.join("\n")).unwrap();
        let (args, log) = (spec.args.clone(), self.root.join("jobs.log"));
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(says["slow_ms"].as_u64().unwrap_or(3)));
            work(&args, &dir, &log, &says);
            AT_WORK.lock().unwrap().remove(&dir);
        });
        Ok(handle)
    }

    async fn state(&self, handle: &JobHandle) -> sites::Result<JobState> {
        let dir = &handle.job_dir;
        if !dir.join("started").exists() {
            return Ok(JobState::NotStarted);
        }
        let runs = AT_WORK.lock().unwrap().contains(dir);
        match std::fs::read(dir.join("status.json")) {
            Ok(bytes) => Ok(JobState::Finished(serde_json::from_slice(&bytes).unwrap())),
            Err(_) if runs => Ok(JobState::Running { progress: None }),
            Err(_) => Ok(JobState::Died { log: "killed".to_owned() }),
        }
    }

    async fn cancel(&self, handle: &JobHandle, _: Duration) -> sites::Result<JobState> {
        while AT_WORK.lock().unwrap().contains(&handle.job_dir) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.state(handle).await
    }

    async fn log_tail(&self, _: &JobHandle, _: u64) -> sites::Result<String> {
        Ok("the last line of the log".to_owned())
    }
}

/// What `beamrail reconstruct` would do, in small.
fn work(args: &[String], dir: &Path, log: &Path, says: &serde_json::Value) {
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1).cloned()
    };
    let flag = |name: &str| args.iter().any(|arg| arg == name);
    let scan = PathBuf::from(&args[1]);
    let stem = scan.file_stem().unwrap().to_string_lossy().into_owned();
    let out = PathBuf::from(value("--output").unwrap());
    std::fs::create_dir_all(&out).unwrap();
    let Ok(raw) = std::fs::read(&scan) else {
        return status(dir, 3, Some("the scan is not there"), None);
    };
    if flag("--quick") {
        std::fs::write(out.join(format!("rec{stem}.preview.png")), b"picture").unwrap();
        return status(dir, 0, None, None);
    }
    if let Some(why) = says["fail"].as_str() {
        return status(dir, 1, Some(why), None);
    }
    if says["center"] == true && value("--center").is_none() {
        std::fs::write(out.join(format!("rec{stem}.center.png")), b"candidates").unwrap();
        let why = "the rotation centre is not believed: two candidates (best guess column 64.00)";
        return status(dir, 3, Some(why), None);
    }
    let manifest_path = out.join(format!("rec{stem}.manifest.json"));
    if manifest_path.exists() && flag("--resume") {
        let manifest = Manifest::read(&manifest_path).unwrap();
        return status(dir, 0, None, Some(manifest.digest()));
    }
    let input = blake3::hash(&raw).to_hex().to_string();
    let center = value("--center").unwrap_or_default();
    let mut files = Vec::new();
    let mut put = |path: String, text: String| {
        let full = out.join(&path);
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(&full, &text).unwrap();
        let blake3 = blake3::hash(text.as_bytes()).to_hex().to_string();
        files.push(FileRecord { path, size: text.len() as u64, blake3 });
    };
    for slice in 0..3 {
        put(format!("rec{stem}/{stem}_{slice:05}.tiff"), format!("slice {slice} of {input} at {center}"));
    }
    for path in [".zgroup", "scale0/image/0/0/0", "scale0/image/0/0/1"] {
        put(format!("rec{stem}.zarr/{path}"), format!("{path} of {input} at {center}"));
    }
    put(format!("rec{stem}.preview.png"), format!("preview at {center}"));
    let manifest = Manifest::new(format!("rec{stem}"), files).unwrap();
    let recipe = serde_json::to_value(reconstruct::Recipe::builtin("default").unwrap()).unwrap();
    let report = json!({ "plan": { "recipe": recipe }, "input_blake3": input, "center": center });
    std::fs::write(out.join(format!("rec{stem}.report.json")), report.to_string()).unwrap();
    manifest.write(&manifest_path).unwrap();
    // Relative: worlds are copied.
    let root = log.parent().unwrap();
    let mut log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    writeln!(log, "{}", out.strip_prefix(root).unwrap().display()).unwrap();
    status(dir, 0, None, Some(manifest.digest()));
}

/// Local storage that writes down what its transfers copied.
pub struct Counting {
    inner: LocalStorage,
    log: PathBuf,
}

impl Counting {
    pub fn new(site: &str, root: &Path, log: &Path) -> Self {
        Self { inner: LocalStorage::new(site, root), log: log.to_owned() }
    }
}

#[async_trait]
impl Storage for Counting {
    fn site(&self) -> &str {
        self.inner.site()
    }
    fn place(&self) -> Place {
        self.inner.place()
    }
    async fn stat(&self, path: &RelPath) -> sites::Result<Option<Seen>> {
        self.inner.stat(path).await
    }
    async fn list(&self, folder: &RelPath, limits: ListLimits) -> sites::Result<Vec<Seen>> {
        self.inner.list(folder, limits).await
    }
    async fn read_small(&self, path: &RelPath, at_most: u64) -> sites::Result<Vec<u8>> {
        self.inner.read_small(path, at_most).await
    }
    async fn write_small(&self, path: &RelPath, bytes: &[u8]) -> sites::Result<()> {
        self.inner.write_small(path, bytes).await
    }
    async fn make_folder(&self, path: &RelPath) -> sites::Result<()> {
        self.inner.make_folder(path).await
    }
    async fn rename(&self, from: &RelPath, to: &RelPath) -> sites::Result<()> {
        self.inner.rename(from, to).await
    }
    async fn digest(&self, path: &RelPath, watch: &Watch) -> sites::Result<String> {
        self.inner.digest(path, watch).await
    }
    async fn free_space(&self) -> sites::Result<Option<u64>> {
        self.inner.free_space().await
    }
    async fn observe(
        &self,
        base: &RelPath,
        files: &FileList,
        digests: Digests,
        now: Timestamp,
    ) -> Observation {
        self.inner.observe(base, files, digests, now).await
    }
    async fn transfer(
        &self,
        permit: TransferPermit,
        target: &dyn Storage,
        key: &str,
        watch: &Watch,
        now: Timestamp,
    ) -> sites::Result<Transferred> {
        let request = permit.request();
        let (what, bytes) = (format!("{} to {}", request.dataset, request.to), request.files.bytes());
        let done = self.inner.transfer(permit, target, key, watch, now).await?;
        let line = json!({ "what": what, "bytes": bytes, "copied": done.copied });
        let mut log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        writeln!(log, "{line}").unwrap();
        Ok(done)
    }
    async fn delete(&self, permit: DeletePermit, now: Timestamp) -> sites::Result<DeleteReceipt> {
        self.inner.delete(permit, now).await
    }
    fn as_local(&self) -> Option<&LocalStorage> {
        Some(&self.inner)
    }
}
