//! A reconstruction as work outside: started once, found again after a crash, believed only by its files.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use custody::{CopyId, RelPath, ScanName};
use engine::{External, Failure, Identity, StepContext, StepOptions};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sites::{JobHandle, JobSpec, JobState, JobStatus};

use super::copy::lasting;
use super::work::Outcome;
use super::{results, room};
use crate::error::{Error, Result};
use crate::runtime::{Beamline, Facility};

/// The code of a failure that means: this facility cannot work now, another may.
pub const FACILITY_DOWN: &str = "facility-down";
/// How a job says that it does not believe the rotation centre that it found.
pub const CENTER_NEEDED_TEXT: &str = "rotation centre is not believed";
/// Bytes of a job's log that an error shows.
const LOG: u64 = 4 << 10;
/// How long a job may take to end by itself when it is asked to.
const GRACE: Duration = Duration::from_secs(20);

/// A job at a facility.
pub(super) struct Job {
    pub beam: Arc<Beamline>,
    pub facility: String,
    pub scan: ScanName,
    pub run: String,
    /// Everything after `beamrail reconstruct SCAN`, but for where results go and what becomes of old ones.
    pub args: Vec<String>,
    pub goal: Goal,
}

/// What the job is to leave behind.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Goal {
    /// The whole volume, in the scratch area.
    Volume,
    /// A quick look, in the job folder.
    QuickLook,
}

/// What finds the job again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Handle {
    spec: JobSpec,
    started: Option<JobHandle>,
}

/// How a job ended that is not a failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum JobOutcome {
    /// The results are there, verified and in custody.
    Made(Made),
    /// The quick look is there.
    Looked {
        /// The picture, from the site's root.
        preview: String,
    },
    /// It wants a person to say where the rotation centre is. Nothing was made but a picture to judge by.
    CenterNeeded(Asked),
}

/// Results at the facility's site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// The manifest's digest, by the job and by the file.
    pub manifest: String,
    /// The copies, in custody: TIFF, Zarr, sidecars.
    pub copies: Vec<(custody::Kind, CopyId)>,
    /// Files of all of them.
    pub files: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// The job folder, as the facility sees it.
    pub job: PathBuf,
}

/// What a person is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// What the job said.
    pub message: String,
    /// The site that has the picture.
    pub site: String,
    /// The picture, from the site's root.
    pub picture: String,
}

impl Job {
    fn place(&self) -> Result<(&Facility, RelPath, RelPath)> {
        let facility = self.beam.facility(&self.facility)?;
        let raw = self.beam.base(&facility.site, crate::area::RAW, &self.scan)?;
        let scratch = self.beam.base(&facility.site, crate::area::SCRATCH, &self.scan)?;
        Ok((facility, raw, scratch))
    }

    fn spec(&self, identity: &Identity) -> Result<JobSpec> {
        let (facility, raw, scratch) = self.place()?;
        let seen = |path: &RelPath| facility.site_root.join(path.as_str());
        let job_dir = seen(&facility.jobs).join(identity.label());
        let scan = seen(&raw).join(format!("{}.h5", self.scan.stem()));
        let output = match self.goal {
            Goal::Volume => seen(&scratch),
            Goal::QuickLook => job_dir.join("out"),
        };
        let mut args = vec!["reconstruct".to_owned(), text(&scan), "--output".into(), text(&output)];
        args.extend(self.args.iter().cloned());
        if self.goal == Goal::QuickLook {
            args.extend(["--quick".to_owned(), "--overwrite".into()]);
        }
        args.extend(facility.args.iter().cloned());
        let (program, env) = (facility.command.clone(), facility.env.clone());
        Ok(JobSpec { program, args, job_dir, env, attempt: identity.submission })
    }

    /// What a job's end means.
    async fn judge(&self, handle: &Handle, status: &JobStatus, step: &StepContext) -> Outcome<JobOutcome> {
        let facility = self.beam.facility(&self.facility)?;
        if status.exit_code != 0 {
            return self.explain(handle, status, facility).await;
        }
        match self.goal {
            Goal::Volume => {
                let Some(manifest) = &status.manifest else {
                    return Err(self
                        .failure(handle, "ended without a manifest, so nothing is committed")
                        .await);
                };
                let made =
                    results::accept(&self.beam, step, &self.scan, &facility.site, manifest, &self.run).await;
                let (copies, files, bytes) = made?;
                let job = handle.spec.job_dir.clone();
                Ok(JobOutcome::Made(Made { manifest: manifest.clone(), copies, files, bytes, job }))
            }
            Goal::QuickLook => {
                let name = handle.spec.job_dir.file_name().map(|name| name.to_string_lossy().into_owned());
                let name = name.unwrap_or_default();
                let preview = format!("{name}/out/rec{}.preview.png", self.scan.stem());
                let preview = facility.jobs.join(&RelPath::new(preview).map_err(Error::from)?);
                let found = self.beam.site(&facility.site)?.stat(&preview).await.map_err(Error::from)?;
                match found.filter(|found| found.size > 0) {
                    Some(_) => Ok(JobOutcome::Looked { preview: preview.as_str().to_owned() }),
                    None => Err(self.failure(handle, "ended well and left no picture").await),
                }
            }
        }
    }

    /// Why a job failed, and whether another try can help.
    async fn explain(&self, handle: &Handle, status: &JobStatus, facility: &Facility) -> Outcome<JobOutcome> {
        let message = status.error.clone().unwrap_or_else(|| format!("exit code {}", status.exit_code));
        if status.exit_code == 3 && message.contains(CENTER_NEEDED_TEXT) {
            let (_, _, scratch) = self.place()?;
            let picture = format!("rec{}.center.png", self.scan.stem());
            let picture = scratch.join(&RelPath::new(picture).map_err(Error::from)?);
            let (site, picture) = (facility.site.clone(), picture.as_str().to_owned());
            return Ok(JobOutcome::CenterNeeded(Asked { message, site, picture }));
        }
        let failure = self.failure(handle, &format!("failed: {message}")).await;
        let code = match status.exit_code {
            2 => "bad-recipe",
            3 => "bad-input",
            130 => "job-interrupted",
            _ => "job-failed",
        };
        let again = status.retry_helps || status.exit_code == 130;
        let kind = if again { engine::FailureKind::Retryable } else { engine::FailureKind::Fatal };
        Err(Failure { kind, work_ended: again, ..failure }.with_code(code))
    }

    /// A failure with the end of the job's log.
    async fn failure(&self, handle: &Handle, what: &str) -> Failure {
        let log = match self.beam.facility(&self.facility) {
            Ok(facility) => facility.compute.log_tail(&handle.found(), LOG).await.unwrap_or_default(),
            Err(_) => String::new(),
        };
        let dir = handle.spec.job_dir.display();
        let said = if log.is_empty() { String::new() } else { format!("; its log ends with:\n{log}") };
        Failure::fatal(format!("the job in {dir} at {} {what}{said}", self.facility))
            .with_details(json!({ "job": dir.to_string(), "log": log }))
    }

    /// The facility did not let itself be asked about a job, which may run all the same.
    fn unseen(&self, what: &str, error: &sites::Error) -> Failure {
        self.down(what, error).work_lives()
    }

    /// The facility did not do what it was asked, or did not answer.
    fn down(&self, what: &str, error: &sites::Error) -> Failure {
        let text = format!("facility {}: cannot {what}: {error}", self.facility);
        let failure = if error.retry_helps() { Failure::retryable(text) } else { Failure::fatal(text) };
        failure.with_code(FACILITY_DOWN)
    }
}

impl Handle {
    /// The job, by its folder if that is all that is known.
    fn found(&self) -> JobHandle {
        let unknown = || JobHandle {
            job_dir: self.spec.job_dir.clone(),
            attempt: self.spec.attempt,
            host: String::new(),
            pid: None,
            start_ticks: None,
            boot: String::new(),
            task: None,
        };
        self.started.clone().unwrap_or_else(unknown)
    }
}

impl External for Job {
    type Handle = Handle;
    type Output = JobOutcome;

    async fn prepare(&self, identity: &Identity) -> Outcome<Handle> {
        Ok(Handle { spec: self.spec(identity)?, started: None })
    }

    async fn start(&self, handle: &Handle, step: &StepContext) -> Outcome<Handle> {
        let facility = self.beam.facility(&self.facility)?;
        let mut handle = handle.clone();
        if self.goal == Goal::Volume {
            let leftovers = room::make(&self.beam, step, &self.scan, &facility.site, &self.run).await?;
            // A submission after the first goes on with what the one before it left.
            let anew = leftovers && handle.spec.attempt == 1;
            handle.spec.args.push(if anew { "--overwrite" } else { "--resume" }.to_owned());
        }
        let started = facility.compute.start(&handle.spec).await;
        let started = started.map_err(|error| self.down("start a job", &error))?;
        step.info(format!("job {} at {}", handle.spec.job_dir.display(), self.facility));
        Ok(Handle { started: Some(started), ..handle })
    }

    async fn find(&self, handle: &Handle) -> Outcome<Option<Handle>> {
        let facility = self.beam.facility(&self.facility)?;
        let state = facility.compute.state(&handle.found()).await;
        match state.map_err(|error| self.unseen("look for a job", &error))? {
            JobState::NotStarted => Ok(None),
            _ => Ok(Some(handle.clone())),
        }
    }

    async fn wait(&self, handle: &Handle, step: &StepContext) -> Outcome<JobOutcome> {
        let facility = self.beam.facility(&self.facility)?;
        let mut far = None;
        loop {
            let state = facility.compute.state(&handle.found()).await;
            match state.map_err(|error| self.unseen("look at a job", &error))? {
                // The wait for nodes counts by itself, until something runs.
                JobState::Queued { why } => step.progress(0.0, &format!("waits: {why}")),
                JobState::Running { progress } => {
                    step.running().await?;
                    let known = progress.as_ref().and_then(read_progress);
                    far = known.or(far);
                    match &far {
                        Some((part, what)) => step.progress(*part, what),
                        // Where nobody can look into the job's folder, its time is all that is known.
                        None => {
                            let begun = step.running_for().unwrap_or_default();
                            step.progress(0.0, &format!("runs for {}", lasting(begun.as_secs_f64())));
                        }
                    }
                }
                JobState::Finished(status) => return self.judge(handle, &status, step).await,
                JobState::Died { .. } => {
                    let what = "is gone and did not say how it ended (killed, out of memory, a reboot)";
                    let failure = self.failure(handle, what).await;
                    let kind = engine::FailureKind::Retryable;
                    return Err(Failure { kind, ..failure }.with_code("job-died").work_ended());
                }
                JobState::NotStarted => {
                    let text = format!("job {} was never started", handle.spec.job_dir.display());
                    return Err(Failure::retryable(text).with_code("job-died").work_ended());
                }
            }
            tokio::time::sleep(facility.poll).await;
        }
    }

    async fn cancel(&self, handle: &Handle) -> Outcome<()> {
        let facility = self.beam.facility(&self.facility)?;
        let ended = facility.compute.cancel(&handle.found(), GRACE).await;
        ended.map(drop).map_err(|error| self.unseen("end a job", &error))
    }
}

/// How the step of a job is done.
pub(super) fn options(facility: &Facility, attempts: u32, input: &impl Serialize) -> StepOptions {
    let retry = engine::Retry::attempts(attempts.max(1)).first(Duration::from_secs(10));
    StepOptions::new()
        .retry(retry)
        .input(input)
        .queue_timeout(facility.queue_timeout)
        .run_timeout(facility.run_timeout)
        .cancel_timeout(GRACE + Duration::from_secs(40))
}

/// The part that is done, by a line of `progress.jsonl`.
fn read_progress(line: &Value) -> Option<(f64, String)> {
    let line = line.get("progress").unwrap_or(line);
    let number = |key: &str| line.get(key).and_then(Value::as_f64);
    let part = number("done")? / number("total").filter(|total| *total > 0.0)?;
    Some((part, line.get("stage").and_then(Value::as_str).unwrap_or("slices").to_owned()))
}

fn text(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}
