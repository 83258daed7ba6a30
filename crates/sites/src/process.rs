//! Jobs as processes of this host.
//!
//! The job's identity is its folder. `launch.lock` in it is locked by whoever starts the job and handed to the job
//! as its standard input, so that the lock lives exactly as long as the job's processes: it tells whether one
//! runs, even if we crashed between starting it and noting its number. `launch.json` holds process number and
//! start time, for ending it. The job runs in a session of its own and outlives us.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::compute::{Compute, JobHandle, JobSpec, JobState, JobStatus};
use crate::error::{Error, Result};

/// How often a job that is being ended is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long a job has after SIGTERM before SIGKILL.
const TERMINATE: Duration = Duration::from_secs(5);
/// How much of a log an error shows.
const TAIL: u64 = 4 << 10;

/// This host as a facility.
#[derive(Debug, Clone)]
pub struct LocalCompute {
    facility: String,
}

impl LocalCompute {
    /// This host, under the name that the configuration gives it.
    pub fn new(facility: impl Into<String>) -> Self {
        Self { facility: facility.into() }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::Job {
        job: "(local)".into(),
        reason: format!("the thread that watched it broke: {e}"),
        retry: true,
    })?
}

#[async_trait]
impl Compute for LocalCompute {
    fn facility(&self) -> &str {
        &self.facility
    }

    async fn start(&self, spec: &JobSpec) -> Result<JobHandle> {
        let spec = spec.clone();
        blocking(move || start(&spec)).await
    }

    async fn state(&self, handle: &JobHandle) -> Result<JobState> {
        let dir = handle.job_dir.clone();
        blocking(move || state(&dir)).await
    }

    async fn cancel(&self, handle: &JobHandle, grace: Duration) -> Result<JobState> {
        let dir = handle.job_dir.clone();
        blocking(move || cancel(&dir, grace)).await
    }

    async fn log_tail(&self, handle: &JobHandle, bytes: u64) -> Result<String> {
        let dir = handle.job_dir.clone();
        blocking(move || Ok(tail(&dir, bytes))).await
    }
}

/// Starts a job or finds it.
fn start(spec: &JobSpec) -> Result<JobHandle> {
    let dir = &spec.job_dir;
    std::fs::create_dir_all(dir).map_err(|e| Error::io("make the job folder", dir, e))?;
    let Some(lock) = take_lock_patiently(dir)? else {
        return Ok(read_handle(dir).unwrap_or_else(|| handle(dir, spec.attempt, None)));
    };
    if let Some(handle) = read_handle(dir).filter(|handle| handle.attempt >= spec.attempt) {
        // It was started and runs no more: how it ended is in the folder, and is not made undone here.
        if dir.join("status.json").exists() || handle.pid.is_some() {
            return Ok(handle);
        }
    }
    let program = find(&spec.program)?;
    for stale in ["status.json", "cancel"].map(|name| dir.join(name)) {
        match std::fs::remove_file(&stale) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove", &stale, e)),
            _ => {}
        }
    }
    // Written before the act: a job of which nothing else is known was at least meant to be.
    write_handle(dir, &handle(dir, spec.attempt, None))?;
    let log_path = dir.join("output");
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .and_then(|log| Ok((log.try_clone()?, log)))
        .map_err(|e| Error::io("open", &log_path, e))?;
    // `setsid` makes the session and becomes the program, keeping its number; without it, a process group.
    let mut command = match find(Path::new("setsid")) {
        Ok(setsid) => {
            let mut command = Command::new(setsid);
            command.arg(&program);
            command
        }
        Err(_) => {
            let mut command = Command::new(&program);
            command.process_group(0);
            command
        }
    };
    command.args(&spec.args).arg("--job-dir").arg(dir).envs(spec.env.iter().cloned());
    command.stdin(Stdio::from(lock)).stdout(Stdio::from(log.0)).stderr(Stdio::from(log.1));
    let mut child = command.spawn().map_err(|e| Error::Job {
        job: dir.display().to_string(),
        reason: format!("{} does not start ({e}); check the facility's command", program.display()),
        retry: false,
    })?;
    let pid = child.id();
    // Before the wait below takes the number away, also of a job that ends at once.
    let started = handle(dir, spec.attempt, Some(pid));
    std::thread::spawn(move || child.wait());
    write_handle(dir, &started)?;
    Ok(started)
}

/// How the job of a folder is.
fn state(dir: &Path) -> Result<JobState> {
    if !dir.is_dir() {
        return Ok(JobState::NotStarted);
    }
    // Looked at first: a job that ends between the two looks has written its status by then.
    // Shared, so that two who look at the same time do not take each other for the job.
    let runs = lock_with(dir, FlockOperation::NonBlockingLockShared)?.is_none();
    if runs {
        return Ok(JobState::Running { progress: last_progress(dir) });
    }
    let path = dir.join("status.json");
    match std::fs::read(&path) {
        Ok(bytes) => {
            serde_json::from_slice::<JobStatus>(&bytes).map(JobState::Finished).map_err(|e| Error::Job {
                job: dir.display().to_string(),
                reason: format!("its status.json cannot be read ({e}); look into its log"),
                retry: false,
            })
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(match read_handle(dir) {
            Some(JobHandle { pid: Some(_), .. }) => JobState::Died { log: tail(dir, TAIL) },
            _ => JobState::NotStarted,
        }),
        Err(e) => Err(Error::io("read", &path, e)),
    }
}

/// Asks, waits, ends.
fn cancel(dir: &Path, grace: Duration) -> Result<JobState> {
    let wait = |long: Duration| -> Result<Option<JobState>> {
        let begun = Instant::now();
        loop {
            match state(dir)? {
                JobState::Running { .. } if begun.elapsed() < long => std::thread::sleep(LOOK),
                JobState::Running { .. } => return Ok(None),
                over => return Ok(Some(over)),
            }
        }
    };
    if let Some(over) = wait(Duration::ZERO)? {
        return Ok(over);
    }
    let path = dir.join("cancel");
    File::create(&path).map_err(|e| Error::io("write", &path, e))?;
    if let Some(over) = wait(grace)? {
        return Ok(over);
    }
    for signal in [Signal::TERM, Signal::KILL] {
        signal_group(dir, signal)?;
        if let Some(over) = wait(TERMINATE)? {
            return Ok(over);
        }
    }
    Err(Error::Job {
        job: dir.display().to_string(),
        reason: "its processes do not end; look at them on the host".into(),
        retry: true,
    })
}

/// Signals the job's process group, if the process with its number is still the one that was started.
fn signal_group(dir: &Path, signal: Signal) -> Result<()> {
    let fail =
        |reason: &str| Error::Job { job: dir.display().to_string(), reason: reason.into(), retry: false };
    let handle =
        read_handle(dir).ok_or_else(|| fail("its launch.json is missing; end its processes by hand"))?;
    if handle.host != host() {
        return Err(fail(&format!("it runs on {}; end it from there", handle.host)));
    }
    // If we crashed before the number was noted, the job's own lock has it.
    let number = handle.pid.or_else(|| own_number(dir));
    let Some((number, pid)) = number.and_then(|n| Some((n, Pid::from_raw(i32::try_from(n).ok()?)?))) else {
        return Err(fail("its process is not known; end it by hand"));
    };
    let same =
        handle.boot == boot() && (handle.start_ticks.is_none() || handle.start_ticks == start_ticks(number));
    if !same {
        // The leader is gone; what it left behind cannot be told from a stranger with its number.
        return Err(fail("its leading process is gone and others hold its lock; end them by hand"));
    }
    match kill_process_group(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(e) => Err(fail(&format!("cannot be signalled: {e}"))),
    }
}

/// Locks a job folder; `None` if the job (or somebody starting it) holds the lock. Somebody who only looks
/// holds it for a moment.
fn take_lock_patiently(dir: &Path) -> Result<Option<File>> {
    for _ in 0..10 {
        if let Some(lock) = lock_with(dir, FlockOperation::NonBlockingLockExclusive)? {
            return Ok(Some(lock));
        }
        std::thread::sleep(LOOK / 4);
    }
    Ok(None)
}

fn lock_with(dir: &Path, operation: FlockOperation) -> Result<Option<File>> {
    let path = dir.join("launch.lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|e| Error::io("open", &path, e))?;
    match flock(&lock, operation) {
        Ok(()) => Ok(Some(lock)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(Error::io("lock", &path, e)),
    }
}

/// The program as a whole path, so that a wrong name is told here and not by a process that ends at once.
fn find(program: &Path) -> Result<PathBuf> {
    let missing = || Error::Job {
        job: program.display().to_string(),
        reason: "no such program; check the facility's command and PATH".into(),
        retry: false,
    };
    if program.components().count() > 1 {
        return std::path::absolute(program).ok().filter(|p| p.is_file()).ok_or_else(missing);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| p.is_file()).ok_or_else(missing)
}

fn handle(dir: &Path, attempt: u32, pid: Option<u32>) -> JobHandle {
    let start_ticks = pid.and_then(start_ticks);
    JobHandle { job_dir: dir.to_owned(), attempt, host: host(), pid, start_ticks, boot: boot(), task: None }
}

fn read_handle(dir: &Path) -> Option<JobHandle> {
    let handle: JobHandle = serde_json::from_slice(&std::fs::read(dir.join("launch.json")).ok()?).ok()?;
    Some(JobHandle { job_dir: dir.to_owned(), ..handle })
}

fn write_handle(dir: &Path, handle: &JobHandle) -> Result<()> {
    let (path, part) = (dir.join("launch.json"), dir.join(".launch.json.part"));
    let write = || -> std::io::Result<()> {
        std::fs::write(&part, serde_json::to_vec(handle)?)?;
        File::open(&part)?.sync_all()?;
        std::fs::rename(&part, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|e| Error::io("write", &path, e))
}

/// The process number in the lock that the job itself wrote.
fn own_number(dir: &Path) -> Option<u32> {
    let lock: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.join("lock")).ok()?).ok()?;
    u32::try_from(lock.get("pid")?.as_u64()?).ok()
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// When a process began, in clock ticks since boot; `None` if there is none of this number.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and parentheses; the fields begin after the last one. Start time is field 22.
    stat.get(stat.rfind(')')? + 1..)?.split_whitespace().nth(19)?.parse().ok()
}

/// The last complete line of the progress.
fn last_progress(dir: &Path) -> Option<serde_json::Value> {
    let text = end_of(&dir.join("progress.jsonl"), TAIL)?;
    text.lines().rev().find_map(|line| serde_json::from_str(line).ok())
}

/// The end of the log, and of what was said beside it.
fn tail(dir: &Path, bytes: u64) -> String {
    let parts = ["log", "output"].map(|name| end_of(&dir.join(name), bytes).unwrap_or_default());
    parts.map(|part| part.trim_end().to_owned()).join("\n").trim().to_owned()
}

fn end_of(path: &Path, bytes: u64) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let size = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(bytes))).ok()?;
    let mut text = Vec::new();
    file.take(bytes).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}
