//! The job folder (`--job-dir`): how whoever started a job from afar follows it. It holds `lock`
//! (host, process, start, attempt), `progress.jsonl`, `log`, and an atomic `status.json` at the end.
//! A file named `cancel` that appears in it stops the job.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::progress::{Event, Observer, Stop};
use crate::{Error, Result};

/// Who runs the job, in `lock`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lock {
    /// Host name.
    pub host: String,
    /// Process id on that host.
    pub pid: u32,
    /// When it began, RFC 3339.
    pub started: String,
    /// 1 for the first start, one more for each start after that.
    pub attempt: u32,
}

/// How the job ended, in `status.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The exit code of the process: 0 done, 1 failed, 2 usage, 3 bad input, 130 interrupted.
    pub exit_code: i32,
    /// What failed and what to do, if something did.
    pub error: Option<String>,
    /// Whether the same job can succeed on another try.
    pub retry_helps: bool,
    /// Digest of the manifest, once the volume is committed.
    pub manifest: Option<String>,
    /// When it ended, RFC 3339.
    pub finished: String,
}

/// An open job folder; also the observer that writes its progress.
pub struct JobFolder<'a> {
    path: PathBuf,
    progress: Mutex<File>,
    log: Mutex<File>,
    next: &'a dyn Observer,
    _lock: File,
}

impl<'a> JobFolder<'a> {
    /// Opens `path` as a job folder, taking its lock. Events go to `progress.jsonl` and on to `next`.
    pub fn open(path: &Path, next: &'a dyn Observer) -> Result<Self> {
        volume::fs::create_folder(path)?;
        let lock_path = path.join("lock");
        let lock = append(&lock_path)?;
        if let Err(rustix::io::Errno::WOULDBLOCK) =
            rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        {
            let holder = std::fs::read_to_string(&lock_path).unwrap_or_default();
            return Err(Error::Busy { path: lock_path, holder: holder.trim().to_owned() });
        }
        let attempt = std::fs::read(&lock_path)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Lock>(&bytes).ok())
            .map_or(1, |lock| lock.attempt.saturating_add(1));
        let mine = Lock {
            host: crate::report::host_name(),
            pid: std::process::id(),
            started: crate::report::now(),
            attempt,
        };
        let text = serde_json::to_vec(&mine)
            .map_err(|error| Error::io("cannot encode", &lock_path, error.into()))?;
        // Written in place, not renamed: the flock belongs to this very file.
        lock.set_len(0)
            .and_then(|()| (&lock).write_all(&text))
            .and_then(|()| lock.sync_all())
            .map_err(|source| Error::io("cannot write", &lock_path, source))?;
        for stale in ["status.json", "cancel"] {
            let stale = path.join(stale);
            // A cancel is for the attempt that was running when it was placed; a new attempt starts clean.
            if attempt > 1 && stale.exists() {
                std::fs::remove_file(&stale).map_err(|source| Error::io("cannot remove", &stale, source))?;
            }
        }
        let progress = Mutex::new(append(&path.join("progress.jsonl"))?);
        let log = Mutex::new(append(&path.join("log"))?);
        Ok(Self { path: path.to_path_buf(), progress, log, next, _lock: lock })
    }

    /// Watches for the file `cancel` until `over` is set, and asks `stop` when it appears.
    pub fn watch(&self, stop: &Stop, over: &AtomicBool) {
        let cancel = self.path.join("cancel");
        while !over.load(Ordering::Relaxed) {
            if cancel.exists() {
                stop.request();
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Writes `status.json`, once, atomically, at the end.
    pub fn finish(&self, status: &Status) -> Result<()> {
        let path = self.path.join("status.json");
        let text = serde_json::to_vec_pretty(status)
            .map_err(|error| Error::io("cannot encode", &path, error.into()))?;
        Ok(volume::fs::write_atomic(&path, &text)?)
    }
}

fn append(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .open(path)
        .map_err(|source| Error::io("cannot open", path, source))
}

impl Observer for JobFolder<'_> {
    fn event(&self, event: &Event) {
        // Progress is for watching: a full disk must not end a job through it, the results' own writes will say so.
        if let (Ok(mut line), Ok(mut file)) = (serde_json::to_vec(event), self.progress.lock()) {
            line.push(b'\n');
            let _ = file.write_all(&line);
        }
        let text = match event {
            Event::Stage { message, .. } => Some(message.clone()),
            Event::Warning { code, message } => Some(format!("warning [{code}]: {message}")),
            Event::Center { center, confidence, verdict } => {
                Some(format!("rotation centre {center:.2} ({verdict}, confidence {confidence:.2})"))
            }
            Event::Done { digest, seconds, .. } => Some(format!("done in {seconds:.1} s, manifest {digest}")),
            Event::QuickLook { .. } | Event::Progress { .. } => None,
        };
        if let (Some(text), Ok(mut file)) = (text, self.log.lock()) {
            let _ = writeln!(file, "{} {text}", crate::report::now());
        }
        self.next.event(event);
    }
}
