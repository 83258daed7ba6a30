//! Calls of the runner as runs of a Globus flow.
//!
//! A run has no number that would make a second one the same, so it carries a tag that is made from endpoint, job
//! folder and attempt, and a note on this host's disk says that it was about to be started.

use std::path::Path;

use custody::RelPath;
use globus::compute::{Phase, RunnerSpec, is_loss};
use globus::flows::{FlowRun, ReconstructionFlow, RunStatus};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::call::Told;
use super::compute::GlobusCompute;
use super::{label, notes};
use crate::error::Result;

/// Pages of runs that are looked through for one that may have been started.
const PAGES: usize = 50;
/// Characters that Flows takes in a label.
const LABEL: usize = 64;
/// Bytes of the runner's answer: all states of a run together may have 200 KB.
const ANSWER: usize = 60_000;
/// By how much the clocks of facility and service may differ, in nanoseconds.
const SKEW: i64 = 60_000_000_000;

/// Of one run, under its tag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct RunNote {
    /// The job folder, for a person who looks.
    job: String,
    /// The run, once the service told.
    run: Option<String>,
}

impl GlobusCompute {
    /// The run with this tag, if it was started.
    pub(super) async fn run_of(&self, flow: &str, tag: &str) -> Result<Option<String>> {
        let note: Option<RunNote> = notes::read(notes::file(self.link.notes(), "run", tag)).await?;
        // Without a note it was not started from here; another host that took the work over looks at the newest.
        let pages = match note {
            Some(RunNote { run: Some(run), .. }) => return Ok(Some(run)),
            Some(_) => PAGES,
            None => 1,
        };
        Ok(self.link.client()?.flows().tagged(flow, tag, pages).await?.map(|run| run.run_id))
    }

    /// Starts a run of the flow with this tag.
    pub(super) async fn start_run(&self, flow: &str, spec: &RunnerSpec, tag: &str) -> Result<String> {
        let (client, function) = (self.link.client()?, self.function().await?);
        let file = notes::file(self.link.notes(), "run", tag);
        let note = RunNote { job: spec.job_dir.clone(), run: None };
        // On the disk before it is sent: from here on a crash looks for it.
        notes::write(file.clone(), &note).await?;
        let spec = RunnerSpec { limit: ANSWER, ..spec.clone() };
        let input = ReconstructionFlow::input(&self.settings.endpoint, &function, &json!({ "spec": spec }));
        let name = spec.job_dir.rsplit('/').next().unwrap_or_default();
        let name: String = label(&format!("beamrail {name}")).chars().take(LABEL).collect();
        let scope = ReconstructionFlow::default().scope(flow)?;
        let run = client.flows().run(flow, scope, &input, &name, &[tag.to_owned()]).await?;
        notes::write(file, &RunNote { run: Some(run.run_id.clone()), ..note }).await?;
        Ok(run.run_id)
    }

    /// How a run is. One that waits for somebody is ended, so that it does not go on behind our back.
    pub(super) async fn look_at_run(&self, dir: &Path, id: &str) -> Result<Told> {
        let run = self.link.client()?.flows().run_status(id).await?;
        let told = |phase, words| {
            let (failure, value) = (None, None);
            Told { phase, words, failure, lost: false, cancelled: run.is_cancelled(), value }
        };
        Ok(match &run.status {
            RunStatus::Succeeded => {
                // A flow of somebody else's may answer elsewhere; that is no answer of the runner.
                let value = Some(Ok(run.returned().unwrap_or_default()));
                Told { value, ..told(Phase::Succeeded, String::from(run.status.clone())) }
            }
            RunStatus::Failed | RunStatus::Ended => {
                let why = format!("run {id} of the flow: {}", run.why());
                let lost = is_loss(&why);
                Told { lost, failure: Some(why), ..told(Phase::Failed, String::from(run.status.clone())) }
            }
            RunStatus::Inactive => {
                self.end_run(id).await?;
                let why = format!(
                    "run {id} of the flow waits for somebody ({}) and was ended; the flow's owner: give the consent \
                     that it asks for (globus flows run resume {id} names it), then start the run again",
                    run.why()
                );
                return Err(self.wrong(&dir.display().to_string(), &why, false));
            }
            RunStatus::Active | RunStatus::Other(_) => match self.launched(dir, &run).await {
                true => told(Phase::Running, "running".to_owned()),
                false => told(Phase::Waiting, run.why()),
            },
        })
    }

    /// Whether the runner has begun: Flows does not tell, the job folder does.
    async fn launched(&self, dir: &Path, run: &FlowRun) -> bool {
        let file = self.relative(dir).and_then(|dir| Some(dir.join(&RelPath::new("launch.json").ok()?)));
        let Some(file) = file else { return false };
        let Ok(Some(seen)) = self.site.stat(&file).await else { return false };
        // One of an earlier attempt is older than this run.
        let started = run.start_time.as_deref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let started = started.and_then(|at| i64::try_from(at.as_nanosecond()).ok());
        match (started, seen.mtime_ns) {
            (Some(started), Some(written)) => written.saturating_add(SKEW) >= started,
            _ => true,
        }
    }

    /// Ends a run at the service. What the facility does ends by the job folder alone.
    pub(super) async fn end_run(&self, id: &str) -> Result<()> {
        match self.link.client()?.flows().cancel(id).await {
            // It has ended by itself.
            Err(error) if error.api().is_some_and(|api| api.status == 409) => Ok(()),
            other => other.map(drop).map_err(Into::into),
        }
    }
}
