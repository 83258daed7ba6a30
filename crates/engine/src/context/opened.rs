//! What all kinds of steps share: the key, the replay from the journal, the retries.

use std::future::Future;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::active::{Active, Busy, Resting};
use crate::error::Result;
use crate::failure::{Failure, FailureKind};
use crate::model::{Step, StepKind};
use crate::state::StateType;
use crate::step::StepOptions;
use crate::store::steps::{Declared, Entry};
use crate::store::writer::Tx;

/// A step that has its key and awaits its turn.
pub(super) struct Opened {
    pub active: Arc<Active>,
    pub declared: Declared,
    pub options: StepOptions,
    pub entry: Entry,
}

impl Opened {
    pub fn new(
        active: &Arc<Active>,
        scope: &str,
        name: &str,
        kind: StepKind,
        options: StepOptions,
    ) -> std::result::Result<Self, Failure> {
        let Some(key) = active.name_step(scope, name, options.key.as_deref()) else {
            let key = options.key.as_deref().unwrap_or(name);
            return Err(Failure::fatal(format!(
                "step {scope}{key}: this key was used before in this run; give each step its own \
                 (StepOptions::key), or put the parts into scopes"
            ))
            .with_code("non-deterministic"));
        };
        let declared = Declared {
            key: key.clone(),
            name: name.to_owned(),
            kind,
            input: options.input.clone(),
            keeps_failure: options.keeps_failure,
        };
        let entry = Entry { lease: active.lease.clone(), generation: active.run.generation, key };
        Ok(Opened { active: active.clone(), declared, options, entry })
    }

    pub fn busy(&self) -> Busy {
        self.active.busy()
    }

    pub fn known(&self) -> Option<Step> {
        self.active.step(&self.declared.key)
    }

    /// The recorded end of the step, if it has one; an error if the journal has another step in its place.
    pub fn replay<T: DeserializeOwned>(&self) -> std::result::Result<Option<T>, Failure> {
        let Some(step) = self.known() else { return Ok(None) };
        let key = &step.key;
        let changed = |what: &str, was: String, is: String| {
            Err(Failure::fatal(format!(
                "step {key}: the journal of this run has {what} {was} under this key, the flow now asks for \
                 {is}; the flow's code or what it decides by has changed since. Retry the run from the start, \
                 or go on with the version that began it"
            ))
            .with_code("non-deterministic"))
        };
        if step.name != self.declared.name {
            return changed("a step named", format!("{:?}", step.name), format!("{:?}", self.declared.name));
        }
        if step.kind != self.declared.kind {
            return changed(
                "a step of kind",
                step.kind.as_str().to_owned(),
                self.declared.kind.as_str().to_owned(),
            );
        }
        if let (Some(was), Some(is)) = (&step.input, &self.declared.input)
            && was != is
        {
            return changed("a step with the input (digest)", was.clone(), is.clone());
        }
        match step.state.kind {
            StateType::Completed => {
                serde_json::from_value(step.output.unwrap_or_default()).map(Some).map_err(|error| {
                    let text = format!(
                        "step {key}: its recorded output cannot be read any more: {error}; retry the run from the \
                         start"
                    );
                    Failure::fatal(text).with_code("non-deterministic")
                })
            }
            kind if kind.is_terminal() => {
                let lost = || Failure::fatal(format!("step {key} ended as {} before", step.state.name));
                Err(step.error.clone().unwrap_or_else(lost))
            }
            _ => Ok(None),
        }
    }

    /// One journal write about this step.
    pub async fn write<T, F>(&self, what: &'static str, write: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>, &Entry) -> Result<T> + Send + 'static,
    {
        let entry = self.entry.clone();
        self.active.journal(what, Some(&self.declared.key), move |tx| write(tx, &entry)).await
    }

    /// Waits where a step may wait: for a pause of the run, for the time of a retry that was journaled.
    pub async fn gate(&self) -> std::result::Result<(), Failure> {
        if let Some(reason) = self.active.control.paused() {
            let why = Resting::Pause { reason };
            self.active.rest(why, std::future::pending()).await?;
        }
        if let Some(step) = self.known()
            && let Some(wake) = step.wake
            && step.state.kind == StateType::Scheduled
        {
            self.rest_until(wake, step.state.message.unwrap_or_default()).await?;
        }
        match self.active.control.cancelled() {
            Some(reason) => Err(Failure::cancelled(reason)),
            None => Ok(()),
        }
    }

    async fn rest_until(&self, wake: jiff::Timestamp, why: String) -> std::result::Result<(), Failure> {
        let why = Resting::Retry { wake, why };
        self.active.rest(why, self.active.store.clock().sleep_until(wake)).await
    }

    pub async fn begin(&self) -> Result<Step> {
        let declared = self.declared.clone();
        self.write("begin", move |tx, entry| entry.begin(tx, &declared)).await
    }

    /// Ends the step well. (The output is made JSON here, so that it need not be `Sync`.)
    pub fn complete<T: Serialize>(
        &self,
        output: &T,
    ) -> impl Future<Output = std::result::Result<(), Failure>> + Send + use<'_, T> {
        let output = serde_json::to_value(output);
        async move {
            let output = output.map_err(|error| {
                Failure::fatal(format!("step {}: its output is no JSON: {error}", self.declared.key))
            })?;
            self.write("complete", move |tx, entry| entry.complete(tx, &output)).await?;
            Ok(())
        }
    }

    /// After a failure: waits for the next attempt, or ends the step with it.
    pub async fn failed(&self, step: &Step, failure: Failure) -> std::result::Result<(), Failure> {
        let mut failure = failure;
        failure.step.get_or_insert_with(|| self.declared.key.as_str().into());
        let seed = format!("{}/{}", self.active.lease.run, self.declared.key);
        if let Some(wait) = self.options.retries().wait(step.attempt, &failure, &seed) {
            let wake = crate::clock::add(self.active.now(), wait);
            let recorded = failure.clone();
            self.write("retry", move |tx, entry| entry.retry_at(tx, &recorded, wake)).await?;
            return match self.rest_until(wake, failure.message.clone()).await {
                Ok(()) => Ok(()),
                Err(cancelled) => Err(self.end(cancelled).await?),
            };
        }
        Err(self.end(failure).await?)
    }

    /// Ends the step with this failure, and gives it back to be returned.
    pub async fn end(&self, failure: Failure) -> std::result::Result<Failure, Failure> {
        if failure.kind == FailureKind::LostLease {
            // Nothing may be written; whoever gave it knows why.
            let lease = &self.active.lease;
            let lost = crate::Error::LeaseLost { run: lease.run, ours: lease.fence, theirs: lease.fence + 1 };
            self.active.control.lose(lost);
            return std::future::pending().await;
        }
        let recorded = failure.clone();
        self.write("fail", move |tx, entry| entry.fail(tx, &recorded)).await?;
        Ok(failure)
    }
}

/// A recorded value as a JSON `Value`.
pub(super) fn to_value(value: &impl Serialize) -> std::result::Result<Value, Failure> {
    serde_json::to_value(value).map_err(|error| Failure::fatal(format!("a handle is no JSON: {error}")))
}
