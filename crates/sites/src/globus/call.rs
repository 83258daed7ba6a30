//! A call of the runner function, whichever way it goes: as a task of Compute, or as a run of a Globus flow.

use std::path::Path;
use std::time::{Duration, Instant};

use globus::compute::{Dialect, Function, Phase, RUNNER_SOURCE, Ran, RunnerSpec, Submission, TaskInfo};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::compute::GlobusCompute;
use super::notes;
use crate::error::{Error, Result};

/// How often a lost submission is looked for.
const LOOKS: u32 = 5;

/// The runner function as it was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RegisteredRunner {
    function: String,
}

/// How a call is.
pub(super) struct Told {
    pub phase: Phase,
    /// The service's word for it.
    pub words: String,
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// Whether it failed because the worker went away.
    pub lost: bool,
    /// Whether somebody ended it at the service.
    pub cancelled: bool,
    /// What the function returned, once it did.
    pub value: Option<globus::Result<Value>>,
}

impl Told {
    fn of(info: &TaskInfo) -> Self {
        Self {
            phase: info.phase(),
            words: info.status.clone(),
            failure: info.failure(),
            lost: info.is_lost(),
            cancelled: false,
            value: (info.phase() == Phase::Succeeded).then(|| info.value()),
        }
    }

    /// What the runner says of the program.
    pub fn ran(self) -> globus::Result<Ran> {
        Ran::read(self.value.unwrap_or(Ok(Value::Null))?)
    }
}

/// Whether nobody knows if a submission was taken: no answer came, or one of a service in trouble.
fn unsure(error: &globus::Error) -> bool {
    matches!(error, globus::Error::Uncertain { .. }) || error.api().is_some_and(|api| api.status >= 500)
}

impl GlobusCompute {
    /// The group of one attempt's task.
    pub(super) fn group(&self, dir: &Path, attempt: u32) -> String {
        let name = format!("beamrail/{}/{}/{attempt}", self.settings.endpoint, dir.display());
        Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string()
    }

    /// The call of one attempt, if it was submitted.
    pub(super) async fn call_of(&self, dir: &Path, attempt: u32) -> Result<Option<String>> {
        self.found(&self.group(dir, attempt)).await
    }

    /// The call of a group, if the service knows it.
    async fn found(&self, group: &str) -> Result<Option<String>> {
        if let Some(flow) = &self.settings.flow {
            return self.run_of(flow, group).await;
        }
        let found = self.link.client()?.compute().task_group(group).await?;
        // More than one was submitted twice; the folder's lock lets one run, and both tell the same.
        Ok(found.and_then(|group| group.tasks.into_iter().next()).map(|task| task.id))
    }

    /// Submits one call of the runner, which is found by its group; returns what the service calls it. Where nobody
    /// knows whether it was taken, it is looked for, and sent once more if it is not there.
    pub(super) async fn submit(&self, spec: &RunnerSpec, group: String) -> Result<String> {
        let mut more = true;
        loop {
            let sent = match &self.settings.flow {
                Some(flow) => self.start_run(flow, spec, &group).await,
                None => self.submit_task(spec, &group).await,
            };
            match sent {
                Err(Error::Globus(error)) if unsure(&error) => {
                    if let Some(call) = self.look_for(&group).await? {
                        return Ok(call);
                    }
                    if !more {
                        return Err(error.into());
                    }
                    more = false;
                }
                other => return other,
            }
        }
    }

    /// Looks several times for a call: what was taken may be shown later.
    async fn look_for(&self, group: &str) -> Result<Option<String>> {
        let retry = self.link.client()?.settings().retry.clone();
        for look in 0..LOOKS {
            if look > 0 {
                tokio::time::sleep(retry.wait(look, None)).await;
            }
            if let Some(call) = self.found(group).await? {
                return Ok(Some(call));
            }
        }
        Ok(None)
    }

    /// How a call is.
    pub(super) async fn look(&self, dir: &Path, call: &str) -> Result<Told> {
        match &self.settings.flow {
            Some(_) => self.look_at_run(dir, call).await,
            None => Ok(Told::of(&self.link.client()?.compute().task(call).await?)),
        }
    }

    /// How the endpoint's workers want to be spoken to.
    async fn dialect(&self) -> Result<Dialect> {
        let mut known = self.dialect.lock().await;
        if let Some(dialect) = *known {
            return Ok(dialect);
        }
        let endpoint = self.link.client()?.compute().endpoint(&self.settings.endpoint).await;
        let dialect = match endpoint {
            Ok(endpoint) => Dialect::of(endpoint.endpoint_version.as_deref()),
            // Whoever may submit need not be allowed to look.
            Err(error) if error.is_denied() || error.is_not_found() => Dialect::default(),
            Err(error) => return Err(error.into()),
        };
        *known = Some(dialect);
        Ok(dialect)
    }

    /// The runner function: the configured one, the one that was registered before, or a new one.
    pub async fn function(&self) -> Result<String> {
        let dialect = self.dialect().await?;
        if let Some(function) = &self.settings.function {
            return Ok(function.clone());
        }
        let client = self.link.client()?;
        // Another source, another service or another client is another function.
        let (service, who) = (&client.settings().compute, &client.settings().credentials.id);
        let key = format!("{service} {who} {} {RUNNER_SOURCE}", dialect.identifier());
        let file = notes::file(self.link.notes(), "function", &key);
        if let Some(RegisteredRunner { function }) = notes::read(file.clone()).await? {
            return Ok(function);
        }
        let function = client.compute().register(&Function::runner(dialect)).await?;
        notes::write(file, &RegisteredRunner { function: function.clone() }).await?;
        Ok(function)
    }

    /// Submits a task of the runner into a group.
    async fn submit_task(&self, spec: &RunnerSpec, group: &str) -> Result<String> {
        let client = self.link.client()?;
        let function = self.function().await?;
        let mut submission = Submission {
            function: function.clone(),
            tasks: vec![spec.arguments()],
            task_group: Some(group.to_owned()),
            user_endpoint_config: self.settings.config.clone(),
            resource_specification: Map::new(),
            dialect: self.dialect().await?,
        };
        let compute = client.compute();
        let submitted = match compute.submit(&self.settings.endpoint, &submission).await {
            Ok(submitted) => submitted,
            // A service that does not let us choose the group: then the folder's lock is what there is.
            Err(error)
                if error.api().is_some_and(|api| api.message.to_lowercase().contains("task group")) =>
            {
                submission.task_group = None;
                compute.submit(&self.settings.endpoint, &submission).await?
            }
            Err(error) => return Err(error.into()),
        };
        let task = submitted.tasks.get(&function).and_then(|tasks| tasks.first()).cloned();
        task.ok_or_else(|| self.wrong(&spec.job_dir, "the service took it and names no task", true))
    }

    /// Runs a command at the facility to its end, for checks and set-up.
    ///
    /// # Errors
    /// It could not be submitted, did not end in time, or its answer cannot be read.
    pub async fn ask(&self, args: &[&str], command: &Path, folder: &str, patience: Duration) -> Result<Ran> {
        let dir = self.site_root.join(folder);
        let args = args.iter().map(ToString::to_string).collect();
        let spec = RunnerSpec::new(command.to_string_lossy(), args, dir.to_string_lossy());
        let call = self.submit(&spec_within(spec, patience), self.group(&dir, 1)).await?;
        self.answer(&dir, &call, patience).await
    }

    /// What a call of the runner came to, once it has ended.
    pub(super) async fn answer(&self, dir: &Path, call: &str, patience: Duration) -> Result<Ran> {
        let (folder, begun) = (dir.display().to_string(), Instant::now());
        loop {
            let told = self.look(dir, call).await?;
            match told.phase {
                Phase::Succeeded => {
                    return told.ran().map_err(|error| self.wrong(&folder, &error.to_string(), false));
                }
                Phase::Failed => {
                    let text = format!("the worker failed: {}", told.failure.unwrap_or_default());
                    return Err(self.wrong(&folder, &text, told.lost));
                }
                phase if begun.elapsed() > patience => {
                    let text =
                        format!("it is still {phase:?} ({}) after {} s", told.words, patience.as_secs());
                    return Err(self.wrong(&folder, &text, true));
                }
                _ => tokio::time::sleep(self.settings.poll.max(Duration::from_millis(50))).await,
            }
        }
    }
}

/// A call that the worker itself ends after that time.
pub(super) fn spec_within(spec: RunnerSpec, patience: Duration) -> RunnerSpec {
    RunnerSpec { walltime: Some(patience.as_secs_f64()), ..spec }
}
