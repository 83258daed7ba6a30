//! Steps done by this process.

use std::future::{Future, pending};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::watch;

use super::active::Active;
use super::external::Identity;
use super::opened::Opened;
use crate::clock::add;
use crate::failure::Failure;
use crate::faults::StepFault;
use crate::model::{Artifact, ArtifactKind, Level, Step};
use crate::step::{OnCancel, StepOptions};
use crate::store::queries;
use crate::store::steps::Entry;

/// What an attempt of a step is given.
#[derive(Clone)]
pub struct StepContext {
    active: Arc<Active>,
    entry: Entry,
    step: Arc<Step>,
    running: watch::Sender<Option<jiff::Timestamp>>,
    stop: watch::Receiver<bool>,
}

/// Tells the work that its step is over, when the step's future ends or is dropped.
pub(super) struct StopGuard(watch::Sender<bool>);

impl Drop for StopGuard {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

impl StepContext {
    pub(super) fn new(opened: &Opened, step: &Step) -> (Self, StopGuard) {
        let (stop, stopped) = watch::channel(false);
        let context = StepContext {
            active: opened.active.clone(),
            entry: opened.entry.clone(),
            step: Arc::new(step.clone()),
            running: watch::Sender::new(step.running_since),
            stop: stopped,
        };
        (context, StopGuard(stop))
    }

    /// The step's key.
    pub fn key(&self) -> &str {
        &self.step.key
    }

    /// The attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.step.attempt
    }

    /// A name for what this step makes outside, the same after a crash.
    pub fn identity(&self) -> Identity {
        Identity::of(&self.step)
    }

    /// Whether to stop: the run is being cancelled, or this attempt is over (timeout, lost lease). For
    /// blocking work, which no dropped future ends.
    pub fn is_cancelled(&self) -> bool {
        *self.stop.borrow() || self.active.control.cancelled().is_some()
    }

    /// Ends when the work should stop.
    pub async fn cancelled(&self) {
        let mut stop = self.stop.clone();
        tokio::select! {
            _ = self.active.control.wait_cancel() => (),
            _ = stop.wait_for(|stop| *stop) => (),
        }
    }

    /// The work has left somebody's queue and really runs: the run timeout counts from here.
    ///
    /// # Errors
    /// As a journal write.
    pub async fn running(&self) -> Result<(), Failure> {
        if self.running.borrow().is_some() {
            return Ok(());
        }
        let entry = self.entry.clone();
        self.active.journal("running", Some(&self.step.key), move |tx| entry.running(tx)).await?;
        self.running.send_replace(Some(self.active.now()));
        Ok(())
    }

    /// How long the work has really run, once it does.
    pub fn running_for(&self) -> Option<std::time::Duration> {
        let since = (*self.running.borrow())?;
        std::time::Duration::try_from(self.active.now().duration_since(since)).ok()
    }

    /// Shows how far it is, 0 to 1, under the step's key. Not waited for.
    pub fn progress(&self, part: f64, what: &str) {
        let artifact = Artifact {
            run: self.active.lease.run,
            step: Some(self.step.key.clone()),
            key: super::artifact_key(&self.step.key),
            kind: ArtifactKind::Progress,
            data: json!(part.clamp(0.0, 1.0)),
            description: (!what.is_empty()).then(|| what.to_owned()),
            updated: self.active.now(),
        };
        queries::post_artifact(&self.active.store, &self.active.lease, artifact);
    }

    /// Logs a line of this step. Not waited for.
    pub fn log(&self, level: Level, message: impl Into<String>) {
        let key = Some(self.step.key.clone());
        queries::post_log(&self.active.store, &self.active.lease, key, level, message.into());
    }

    /// Logs what happens.
    pub fn info(&self, message: impl Into<String>) {
        self.log(Level::Info, message);
    }

    /// Logs what somebody should look at.
    pub fn warn(&self, message: impl Into<String>) {
        self.log(Level::Warning, message);
    }

    /// Runs `work` on a thread that may block. It should ask [`is_cancelled`](Self::is_cancelled) now and then.
    ///
    /// # Errors
    /// What `work` fails with; a fatal failure if it panics.
    pub async fn blocking<T, F>(&self, work: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&StepContext) -> Result<T, Failure> + Send + 'static,
    {
        let context = self.clone();
        let key = self.step.key.clone();
        tokio::task::spawn_blocking(move || work(&context)).await.unwrap_or_else(|error| {
            Err(Failure::fatal(format!("step {key}: its work ended abruptly: {error}")))
        })
    }

    /// Ends with the failure when the step takes too long.
    pub(super) async fn overtime(&self, options: &StepOptions) -> Failure {
        let clock = self.active.store.clock();
        let started = self.step.attempt_started.unwrap_or_else(|| clock.now());
        let mut running = self.running.subscribe();
        let timeout = |what: &str, code: &str, limit: std::time::Duration| {
            let text = format!("step {}: {what} for more than {limit:?}", self.step.key);
            let failure =
                if options.timeout_retries { Failure::retryable(text) } else { Failure::fatal(text) };
            failure.with_code(code).work_ended()
        };
        loop {
            let since = *running.borrow_and_update();
            if let (None, Some(limit)) = (since, options.queue_timeout) {
                tokio::select! {
                    () = clock.sleep_until(add(started, limit)) => {
                        return timeout("it waited in a queue", "queue-timeout", limit);
                    }
                    _ = running.changed() => continue,
                }
            }
            match options.run_timeout {
                Some(limit) => tokio::select! {
                    () = clock.sleep_until(add(since.unwrap_or(started), limit)) => {
                        return timeout("it ran", "run-timeout", limit);
                    }
                    changed = running.changed() => if changed.is_err() { pending::<()>().await; },
                },
                None => pending::<()>().await,
            }
        }
    }
}

/// The life of a local step.
pub(super) async fn run<T, F, W>(opened: &Opened, mut work: F) -> Result<T, Failure>
where
    T: Serialize + DeserializeOwned + Send,
    F: FnMut(StepContext) -> W + Send,
    W: Future<Output = Result<T, Failure>> + Send,
{
    let _busy = opened.busy();
    if let Some(output) = opened.replay()? {
        return Ok(output);
    }
    loop {
        opened.gate().await?;
        let step = opened.begin().await?;
        let fault = opened.active.faults.step(step.run, &step.key, step.attempt);
        let result = match fault {
            StepFault::FailBefore(failure) => Err(failure),
            StepFault::None => attempt(opened, &step, &mut work).await,
            StepFault::Repeat => match attempt(opened, &step, &mut work).await {
                Ok(_) => attempt(opened, &step, &mut work).await,
                failed => failed,
            },
            StepFault::FailAfter(failure) => attempt(opened, &step, &mut work).await.and(Err(failure)),
        };
        match result {
            Ok(output) => {
                opened.complete(&output).await?;
                return Ok(output);
            }
            Err(failure) => opened.failed(&step, failure).await?,
        }
    }
}

async fn attempt<T, F, W>(opened: &Opened, step: &Step, work: &mut F) -> Result<T, Failure>
where
    F: FnMut(StepContext) -> W + Send,
    W: Future<Output = Result<T, Failure>> + Send,
{
    let (context, _stop) = StepContext::new(opened, step);
    let cancelled = async {
        let reason = opened.active.control.wait_cancel().await;
        if opened.options.on_cancel == OnCancel::Finish {
            pending::<()>().await;
        }
        reason
    };
    tokio::select! {
        result = work(context.clone()) => result,
        reason = cancelled => Err(Failure::cancelled(reason)),
        failure = context.overtime(&opened.options) => Err(failure),
    }
}
