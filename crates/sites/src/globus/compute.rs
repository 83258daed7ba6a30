//! Facilities behind Globus Compute.
//!
//! A job is one task, or one run of a Globus flow (`flow.rs`), that runs the registered runner function, which starts the program with its job folder. Which
//! task that is follows from endpoint, folder and attempt: tasks are submitted into a group whose number is made
//! from these, so that a caller that crashed, or lost the answer, finds its task in the group. Should a task be
//! submitted twice all the same, the folder's lock lets one of the two run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use custody::RelPath;
use globus::compute::{Dialect, Phase, RunnerSpec};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::Link;
use super::call::{Told, spec_within};
use crate::compute::{Compute, JobHandle, JobSpec, JobState, JobStatus, Said};
use crate::error::{Error, Result};
use crate::storage::Storage;

/// How often the job folder is read through a collection; directly, each time.
const PROGRESS: Duration = Duration::from_secs(120);
/// A line of progress is at the end of a file that is not larger.
const LARGEST: u64 = 8 << 20;
/// How long a job that was asked to end may take beyond its grace.
const BEYOND: Duration = Duration::from_secs(30);

/// What the configuration says of an endpoint.
#[derive(Debug, Clone, Default)]
pub struct GlobusEndpoint {
    /// Its UUID.
    pub endpoint: String,
    /// The runner function's UUID, if it was registered beforehand.
    pub function: Option<String>,
    /// The Globus flow that runs the function, if it does not go to the endpoint directly.
    pub flow: Option<String>,
    /// What the endpoint's template asks for: account, queue, nodes.
    pub config: Map<String, Value>,
    /// Seconds that a job may run.
    pub walltime: Option<f64>,
    /// How often a job is looked at while somebody waits for its end.
    pub poll: Duration,
}

/// An endpoint of Globus Compute as a facility.
pub struct GlobusCompute {
    facility: String,
    pub(super) link: Arc<Link>,
    pub(super) settings: GlobusEndpoint,
    pub(super) site: Arc<dyn Storage>,
    pub(super) site_root: PathBuf,
    /// The last progress of each job, and when it was read.
    progress: Mutex<HashMap<PathBuf, (Instant, Option<Value>)>>,
    pub(super) dialect: Mutex<Option<Dialect>>,
}

impl GlobusCompute {
    /// The facility `facility`, whose jobs see the site's root as `site_root`.
    pub fn new(
        facility: impl Into<String>,
        link: Arc<Link>,
        settings: GlobusEndpoint,
        site: Arc<dyn Storage>,
        site_root: impl Into<PathBuf>,
    ) -> Self {
        let (facility, site_root) = (facility.into(), site_root.into());
        let (progress, dialect) = (Mutex::default(), Mutex::default());
        Self { facility, link, settings, site, site_root, progress, dialect }
    }

    fn handle(&self, dir: &Path, attempt: u32, task: Option<String>) -> JobHandle {
        JobHandle {
            job_dir: dir.to_path_buf(),
            attempt,
            host: self.facility.clone(),
            pid: None,
            start_ticks: None,
            boot: String::new(),
            task,
        }
    }

    pub(super) fn wrong(&self, job: &str, reason: &str, retry: bool) -> Error {
        Error::Job { job: job.to_owned(), reason: format!("{reason} (facility {})", self.facility), retry }
    }

    /// A path of the facility as the site knows it.
    pub(super) fn relative(&self, path: &Path) -> Option<RelPath> {
        RelPath::new(path.strip_prefix(&self.site_root).ok()?.to_str()?).ok()
    }

    /// The last line of `progress.jsonl`, as far as it can be had.
    async fn progress(&self, dir: &Path) -> Option<Value> {
        let path = self.relative(dir)?.join(&RelPath::new("progress.jsonl").ok()?);
        let near = self.site.as_local().is_some();
        let mut known = self.progress.lock().await;
        if let Some((when, value)) = known.get(dir)
            && !near
            && when.elapsed() < PROGRESS
        {
            return value.clone();
        }
        if !near && (self.link.exchange().is_none() || !known.contains_key(dir)) {
            // The first look is not worth a transfer: the job has just begun.
            known.insert(dir.to_path_buf(), (Instant::now(), None));
            return None;
        }
        let value = self.site.read_small(&path, LARGEST).await.ok().and_then(|bytes| {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            text.lines().rev().find_map(|line| serde_json::from_str(line).ok())
        });
        known.insert(dir.to_path_buf(), (Instant::now(), value.clone()));
        value
    }

    /// Ends what waits at the service: Compute cannot do that, Flows can.
    async fn end_call(&self, handle: &JobHandle) -> Result<()> {
        match (&handle.task, &self.settings.flow) {
            (Some(run), Some(_)) => self.end_run(run).await,
            _ => Ok(()),
        }
    }

    /// What an ended call says of its job.
    fn over(told: Told) -> JobState {
        if let Some(failure) = told.failure {
            let lost = if told.lost { "the worker or its node was lost. " } else { "" };
            let ended = if told.cancelled { "it was cancelled at Globus. " } else { "" };
            return JobState::Died { log: format!("{lost}{ended}{failure}") };
        }
        let status = |exit_code: i32, error: Option<String>, manifest: Option<String>, retry_helps: bool| {
            JobState::Finished(JobStatus { exit_code, error, retry_helps, manifest, finished: String::new() })
        };
        let ran = match told.ran() {
            Ok(ran) => ran,
            // It has ended, so another try is a new one.
            Err(error) => return status(1, Some(error.to_string()), None, false),
        };
        if let Some(told) = ran.status {
            let finished = told.finished;
            let JobState::Finished(state) =
                status(told.exit_code, told.error, told.manifest, told.retry_helps)
            else {
                return JobState::NotStarted;
            };
            return JobState::Finished(JobStatus { finished, ..state });
        }
        match (ran.how.as_str(), ran.rc) {
            ("cancelled" | "cancelled before it began", _) => {
                status(130, Some("cancelled".to_owned()), None, true)
            }
            ("walltime", _) => {
                status(1, Some("it did not end within its walltime; raise walltime".to_owned()), None, false)
            }
            (how, Some(127)) => {
                let error = format!("{how}; check the facility's command (beamrail check)");
                status(127, Some(error), None, false)
            }
            // An ordinary program's end (--version, verify): its exit code is all that it says.
            (_, Some(rc)) if rc != 0 => status(rc, Some(ran.tail()), None, false),
            _ => JobState::Died { log: ran.tail() },
        }
    }

    /// The flow through which jobs go, if they do.
    pub fn flow(&self) -> Option<&str> {
        self.settings.flow.as_deref()
    }

    /// The endpoint's UUID.
    pub fn endpoint(&self) -> &str {
        &self.settings.endpoint
    }
}

#[async_trait]
impl Compute for GlobusCompute {
    fn facility(&self) -> &str {
        &self.facility
    }

    async fn start(&self, spec: &JobSpec) -> Result<JobHandle> {
        let dir = &spec.job_dir;
        if let Some(task) = self.call_of(dir, spec.attempt).await? {
            return Ok(self.handle(dir, spec.attempt, Some(task)));
        }
        // An earlier attempt that is not over is the job.
        if spec.attempt > 1
            && let Some(task) = self.call_of(dir, spec.attempt - 1).await?
        {
            let told = self.look(dir, &task).await?;
            if matches!(told.phase, Phase::Waiting | Phase::Running) {
                return Ok(self.handle(dir, spec.attempt - 1, Some(task)));
            }
        }
        let folder = dir.to_str().ok_or_else(|| {
            self.wrong(&dir.display().to_string(), "its folder's name is no text; rename it", false)
        })?;
        let mut args = spec.args.clone();
        args.extend(["--job-dir".to_owned(), folder.to_owned()]);
        let mut runner = RunnerSpec::new(spec.program.to_string_lossy(), args, folder);
        runner.env = spec.env.iter().cloned().collect();
        runner.attempt = spec.attempt;
        runner.walltime = self.settings.walltime;
        let task = self.submit(&runner, self.group(dir, spec.attempt)).await?;
        Ok(self.handle(dir, spec.attempt, Some(task)))
    }

    async fn state(&self, handle: &JobHandle) -> Result<JobState> {
        let task = match &handle.task {
            Some(task) => task.clone(),
            None => match self.call_of(&handle.job_dir, handle.attempt).await? {
                Some(task) => task,
                None => return Ok(JobState::NotStarted),
            },
        };
        let told = match self.look(&handle.job_dir, &task).await {
            // The service forgets tasks after some weeks. The folder's lock keeps a living one from company.
            Err(Error::Globus(error)) if error.is_not_found() => return Ok(JobState::NotStarted),
            told => told?,
        };
        match told.phase {
            Phase::Waiting => Ok(JobState::Queued { why: told.words }),
            Phase::Running => Ok(JobState::Running { progress: self.progress(&handle.job_dir).await }),
            Phase::Succeeded | Phase::Failed => Ok(Self::over(told)),
        }
    }

    async fn cancel(&self, handle: &JobHandle, grace: Duration) -> Result<JobState> {
        let state = self.state(handle).await?;
        if state.is_over() || state == JobState::NotStarted {
            return Ok(state);
        }
        let job = handle.job_dir.display().to_string();
        let Some(folder) = self.relative(&handle.job_dir) else {
            let reason = "its folder is not below site_root, so nothing can be put there; correct site_root";
            return Err(self.wrong(&job, reason, false));
        };
        // Compute cannot cancel a task. The runner looks for this file, also before it starts anything.
        self.site.make_folder(&folder).await?;
        let wish = format!("{{\"attempt\": {}}}\n", handle.attempt);
        self.site.write_small(&folder.join(&RelPath::new("cancel")?), wish.as_bytes()).await?;
        let begun = Instant::now();
        loop {
            match self.state(handle).await? {
                state if state.is_over() => return Ok(state),
                // Nothing will run: the task ends as soon as it begins.
                JobState::Queued { .. } => {
                    self.end_call(handle).await?;
                    let error = Some("cancelled while it waited".to_owned());
                    let (manifest, finished) = (None, String::new());
                    let status = JobStatus { exit_code: 130, error, retry_helps: true, manifest, finished };
                    return Ok(JobState::Finished(status));
                }
                _ if begun.elapsed() > grace + BEYOND => {
                    self.end_call(handle).await?;
                    return Err(self.wrong(&job, "it was asked to end and does not", true));
                }
                _ => tokio::time::sleep(self.settings.poll.max(Duration::from_millis(50))).await,
            }
        }
    }

    async fn log_tail(&self, handle: &JobHandle, bytes: u64) -> Result<String> {
        let Some(task) = handle.task.clone().or(self.call_of(&handle.job_dir, handle.attempt).await?) else {
            return Ok(String::new());
        };
        let told = self.look(&handle.job_dir, &task).await?;
        let text = match (&told.failure, told.phase) {
            (Some(failure), _) => failure.clone(),
            (None, Phase::Succeeded) => told.ran()?.tail(),
            // While it runs, Compute says nothing.
            _ => String::new(),
        };
        let keep = usize::try_from(bytes).unwrap_or(usize::MAX);
        let start = text.char_indices().map(|(at, _)| at).find(|at| text.len() - at <= keep);
        Ok(start.and_then(|at| text.get(at..)).unwrap_or_default().to_owned())
    }

    async fn run_there(&self, spec: &JobSpec, patience: Duration) -> Result<Option<Said>> {
        let dir = &spec.job_dir;
        let call = match self.call_of(dir, spec.attempt).await? {
            Some(call) => call,
            None => {
                let program = spec.program.to_string_lossy();
                let runner = RunnerSpec::new(program, spec.args.clone(), dir.to_string_lossy());
                let env = spec.env.iter().cloned().collect();
                let runner = RunnerSpec { env, attempt: spec.attempt, ..runner };
                self.submit(&spec_within(runner, patience), self.group(dir, spec.attempt)).await?
            }
        };
        let ran = self.answer(dir, &call, patience).await?;
        Ok(Some(Said { exit_code: ran.rc, tail: ran.tail(), stdout: ran.stdout }))
    }
}
