//! Steps whose work lives outside this process: a transfer, a batch job, a child process.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use super::local::StepContext;
use super::opened::{Opened, to_value};
use crate::failure::{Failure, FailureKind};
use crate::faults::StepFault;
use crate::model::{Level, RunId, Step};

/// A name for outside work that can be derived again from run and step: the same after a crash, another for
/// each new submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The run.
    pub run: RunId,
    /// The run's generation.
    pub generation: u32,
    /// The step's key.
    pub key: String,
    /// Which submission, from 1.
    pub submission: u32,
}

impl Identity {
    pub(super) fn of(step: &Step) -> Self {
        Identity {
            run: step.run,
            generation: step.generation,
            key: step.key.clone(),
            submission: step.submission.max(1),
        }
    }

    /// A UUID of it, for services that take one (v5, of the text).
    pub fn uuid(&self) -> Uuid {
        Uuid::new_v5(&self.run.0, self.to_string().as_bytes())
    }

    /// A name of letters, digits and hyphens, at most 60 long, for job names and labels.
    pub fn label(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let key: String = self.key.chars().map(plain).take(30).collect();
        let id = self.uuid().as_simple().to_string();
        format!("beamrail-{key}-{}", id.get(..20).unwrap_or(&id))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.run, self.generation, self.key, self.submission)
    }
}

/// Work outside this process, started exactly once.
///
/// The engine calls [`prepare`](Self::prepare), writes the handle into the journal, asks [`find`](Self::find)
/// whether the work exists, calls [`start`](Self::start) only if it does not, writes the handle it returns, and
/// calls [`wait`](Self::wait). After a crash or a lost answer between the two writes it goes on with `find`, with
/// the same handle. After the second write it only waits. `find` comes first even when nothing was begun: the
/// journal may be one that was restored from a backup, or that of another host.
///
/// Failures: a *fatal* one ends the step; if it says [`work_lives`](Failure::work_lives), a run that is tried again
/// looks for the same work first. A *retryable* one of `start` leads to `find` first; one of `wait`
/// means "could not see" and waits for the same work again, unless it says
/// [`work_ended`](Failure::work_ended), which makes a new submission under a new identity.
pub trait External: Send + Sync + 'static {
    /// What finds the work again; it is in the journal, so no secrets.
    type Handle: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;
    /// What the work gives.
    type Output: Serialize + DeserializeOwned + Send;

    /// Makes the handle of work that is to be started. It changes nothing outside (fetching a number to
    /// submit under is allowed). The simplest handle is made of `identity`.
    fn prepare(&self, identity: &Identity) -> impl Future<Output = Result<Self::Handle, Failure>> + Send;

    /// The act. Returns the handle with what is known now (a job number).
    fn start(
        &self,
        handle: &Self::Handle,
        step: &StepContext,
    ) -> impl Future<Output = Result<Self::Handle, Failure>> + Send;

    /// Looks for work that was perhaps started under this handle.
    fn find(
        &self,
        handle: &Self::Handle,
    ) -> impl Future<Output = Result<Option<Self::Handle>, Failure>> + Send;

    /// Waits for the end and verifies the outcome.
    fn wait(
        &self,
        handle: &Self::Handle,
        step: &StepContext,
    ) -> impl Future<Output = Result<Self::Output, Failure>> + Send;

    /// Stops the work. Stopping what has ended or never was is a success.
    fn cancel(&self, handle: &Self::Handle) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// The life of an external step.
pub(super) async fn run<E: External>(opened: &Opened, work: Arc<E>) -> Result<E::Output, Failure> {
    let _busy = opened.busy();
    if let Some(output) = opened.replay()? {
        return Ok(output);
    }
    loop {
        if let Err(failure) = opened.gate().await {
            return Err(abandon(opened, &work, failure).await?);
        }
        let step = opened.begin().await?;
        let (context, _stop) = StepContext::new(opened, &step);
        let result = once(opened, &work, &step, &context).await;
        opened.active.forget_stop(&opened.declared.key);
        match result {
            Ok(output) => {
                opened.complete(&output).await?;
                return Ok(output);
            }
            Err(failure) => {
                // What the journal knows of the handle now decides how the next attempt begins.
                opened.failed(&step, failure).await?;
            }
        }
    }
}

/// The run is being cancelled before this step was taken up here: what an earlier worker started is stopped.
async fn abandon<E: External>(opened: &Opened, work: &Arc<E>, failure: Failure) -> Result<Failure, Failure> {
    let left = opened.known().filter(|step| step.handle.is_some() && !step.state.kind.is_terminal());
    let Some(step) = left else { return Ok(failure) };
    let handle: E::Handle = read(&step)?;
    let handle = if step.acted { Some(handle) } else { work.find(&handle).await.unwrap_or(Some(handle)) };
    let failure = match handle {
        Some(handle) => stop(opened, work, &handle, failure).await,
        None => failure,
    };
    opened.end(failure).await
}

async fn once<E: External>(
    opened: &Opened,
    work: &Arc<E>,
    step: &Step,
    context: &StepContext,
) -> Result<E::Output, Failure> {
    let fault = opened.active.faults.step(step.run, &step.key, step.attempt);
    if let StepFault::FailBefore(failure) = fault {
        return Err(failure);
    }
    let handle = if step.acted {
        read(step)?
    } else {
        let handle = act(opened, work, step, context, fault == StepFault::Repeat).await?;
        let recorded = to_value(&handle)?;
        opened.write("acted", move |tx, entry| entry.acted(tx, &recorded)).await?;
        handle
    };
    keep_stop(opened, work, &handle);
    let outcome = tokio::select! {
        result = work.wait(&handle, context) => result,
        reason = opened.active.control.wait_cancel() => {
            Err(stop(opened, work, &handle, Failure::cancelled(reason)).await)
        }
        failure = context.overtime(&opened.options) => {
            Err(stop(opened, work, &handle, failure).await)
        }
    };
    match (outcome, fault) {
        // Its outcome is lost, as if looking had failed: the next attempt looks at the same work.
        (Ok(_), StepFault::FailAfter(failure)) => Err(failure),
        (outcome, _) => outcome,
    }
}

/// Starts the work, or finds it started. `forget` plays a lost answer.
async fn act<E: External>(
    opened: &Opened,
    work: &Arc<E>,
    step: &Step,
    context: &StepContext,
    forget: bool,
) -> Result<E::Handle, Failure> {
    let intent = if step.handle.is_some() {
        read(step)?
    } else {
        let intent = work.prepare(&Identity::of(step)).await?;
        let recorded = to_value(&intent)?;
        opened.write("intend", move |tx, entry| entry.intend(tx, &recorded)).await?;
        intent
    };
    // Also before the first start that this journal knows of: it may have been restored from a backup, or the
    // run been begun on another host.
    if let Some(found) = work.find(&intent).await? {
        context.log(Level::Info, "found the outside work that was started before");
        return Ok(found);
    }
    // From here on the work may exist, whatever becomes of this future.
    keep_stop(opened, work, &intent);
    let started = work.start(&intent, context).await?;
    if !forget {
        return Ok(started);
    }
    match work.find(&intent).await? {
        Some(found) => Ok(found),
        None => work.start(&intent, context).await,
    }
}

fn keep_stop<E: External>(opened: &Opened, work: &Arc<E>, handle: &E::Handle) {
    let (work, handle) = (work.clone(), handle.clone());
    opened.active.keep_stop(
        &opened.declared.key,
        Box::new(move || {
            let (work, handle) = (work.clone(), handle.clone());
            Box::pin(async move { work.cancel(&handle).await })
        }),
    );
}

fn read<H: DeserializeOwned>(step: &Step) -> Result<H, Failure> {
    serde_json::from_value(step.handle.clone().unwrap_or_default()).map_err(|error| {
        Failure::fatal(format!("step {}: its recorded handle cannot be read any more: {error}", step.key))
            .with_code("non-deterministic")
    })
}

/// Stops the outside work, within the time for it; the failure says whether that is certain.
async fn stop<E: External>(opened: &Opened, work: &Arc<E>, handle: &E::Handle, failure: Failure) -> Failure {
    let limit = opened.options.cancel_timeout.unwrap_or(Duration::from_secs(60));
    let stopped = stop_within(opened.active.store.clock(), limit, || work.cancel(handle)).await;
    match stopped {
        Ok(()) => failure,
        Err(error) => unconfirmed(failure, &error, to_value(handle).unwrap_or_default()),
    }
}

/// Calls `cancel` until it succeeds, at most for `limit`.
pub(crate) async fn stop_within<W>(
    clock: &crate::clock::Clock,
    limit: Duration,
    cancel: impl Fn() -> W,
) -> Result<(), Failure>
where
    W: Future<Output = Result<(), Failure>>,
{
    let end = crate::clock::add(clock.now(), limit);
    let mut wait = Duration::from_millis(500);
    loop {
        let result = tokio::select! {
            result = cancel() => result,
            () = clock.sleep_until(end) => Err(Failure::fatal(format!("no answer within {limit:?}"))),
        };
        match result {
            Err(failure) if failure.kind == FailureKind::Retryable && clock.now() < end => {
                clock.sleep(wait).await;
                wait *= 2;
            }
            other => return other,
        }
    }
}

/// The failure of a step whose outside work may live on.
pub(crate) fn unconfirmed(failure: Failure, why: &Failure, handle: Value) -> Failure {
    let message =
        format!("{}; whether the outside work {handle} stopped is unconfirmed: {why}", failure.message);
    let details = json!({ "unconfirmed": handle });
    Failure { message, ..failure }.with_details(details)
}
