//! What a flow is given: its steps, waits, questions, sub-runs and messages, all journaled.

pub(crate) mod active;
mod external;
mod local;
mod opened;
mod waits;

use std::future::Future;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use external::{External, Identity};
pub(crate) use external::{stop_within, unconfirmed};
pub use local::StepContext;

use crate::clock::Clock;
use crate::failure::Failure;
use crate::model::{Artifact, ArtifactKind, Ask, Level, NewRun, Run, RunId, StepKind};
use crate::step::StepOptions;
use crate::store::queries;
use active::Active;
use opened::Opened;

/// The journal of a run, as its flow sees it. Cheap to clone.
///
/// Every method that returns a future *opens* its step when it is called and works when it is awaited, so
/// the order of calls in the code gives the keys, whatever the order in which side-by-side steps end.
#[derive(Clone)]
pub struct Context {
    active: Arc<Active>,
    scope: String,
}

impl Context {
    pub(crate) fn new(active: Arc<Active>) -> Self {
        Context { active, scope: String::new() }
    }

    /// The run.
    pub fn run(&self) -> &Run {
        &self.active.run
    }

    /// The run's id.
    pub fn id(&self) -> RunId {
        self.active.run.id
    }

    /// The clock to wait by and stamp with. What a step decides by time belongs into the step.
    pub fn clock(&self) -> &Clock {
        self.active.store.clock()
    }

    /// The same run with `name/` before the keys of its steps: for parts of a flow that run side by side or
    /// in a loop.
    #[must_use]
    pub fn scope(&self, name: &str) -> Context {
        Context { active: self.active.clone(), scope: format!("{}{name}/", self.scope) }
    }

    /// Whether the run is being cancelled; steps then fail with
    /// [`FailureKind::Cancelled`](crate::FailureKind::Cancelled).
    pub fn is_cancelled(&self) -> bool {
        self.active.control.cancelled().is_some()
    }

    fn open(&self, name: &str, kind: StepKind, options: StepOptions) -> Result<Opened, Failure> {
        Opened::new(&self.active, &self.scope, name, kind, options)
    }

    /// Work of this process, journaled before and after. A resumed run does not repeat it: it is given the
    /// recorded output. A crash in between repeats it, so `work` must be idempotent (what is outside this
    /// process belongs into [`external`](Self::external)).
    ///
    /// # Errors
    /// What `work` failed with after its retries; a timeout; a cancellation; code "non-deterministic" if the
    /// journal has another step under this key.
    pub fn step<T, F, W>(
        &self,
        name: &str,
        options: StepOptions,
        work: F,
    ) -> impl Future<Output = Result<T, Failure>> + Send + use<T, F, W>
    where
        T: Serialize + DeserializeOwned + Send,
        F: FnMut(StepContext) -> W + Send,
        W: Future<Output = Result<T, Failure>> + Send,
    {
        let opened = self.open(name, StepKind::Local, options);
        async move { local::run(&opened?, work).await }
    }

    /// Work outside this process, started once: see [`External`].
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn external<E: External>(
        &self,
        name: &str,
        options: StepOptions,
        work: E,
    ) -> impl Future<Output = Result<E::Output, Failure>> + Send + use<E> {
        let opened = self.open(name, StepKind::External, options);
        async move { external::run(&opened?, Arc::new(work)).await }
    }

    /// Asks a person. The run is PAUSED under `ask.title` until `runs resume ID --set name=VALUE` (or
    /// [`Orchestrator::resume`](crate::Orchestrator::resume)); meanwhile it holds no worker.
    ///
    /// # Errors
    /// A cancellation.
    pub fn pause_for_input<T>(
        &self,
        name: &str,
        ask: Ask,
    ) -> impl Future<Output = Result<T, Failure>> + Send + use<T>
    where
        T: Serialize + DeserializeOwned + schemars::JsonSchema + Send,
    {
        let opened = self.open(name, StepKind::Input, StepOptions::new());
        let mut ask = ask;
        ask.key = name.to_owned();
        if ask.schema.is_null() {
            ask.schema = schemars::schema_for!(T).to_value();
        }
        async move { waits::input(&opened?, ask).await }
    }

    /// Waits, durably: a long wait holds no worker and survives restarts.
    ///
    /// # Errors
    /// A cancellation.
    pub fn sleep(
        &self,
        name: &str,
        duration: std::time::Duration,
    ) -> impl Future<Output = Result<(), Failure>> + Send + use<> {
        let at = crate::clock::add(self.active.now(), duration);
        self.sleep_until(name, at)
    }

    /// Waits until `at`, durably. A resumed run waits for the time that was journaled first.
    ///
    /// # Errors
    /// A cancellation.
    pub fn sleep_until(
        &self,
        name: &str,
        at: Timestamp,
    ) -> impl Future<Output = Result<(), Failure>> + Send + use<> {
        let opened = self.open(name, StepKind::Sleep, StepOptions::new());
        async move { waits::sleep(&opened?, at).await }
    }

    /// Runs another flow as a run of its own and waits for its output. While it waits, this run holds no
    /// worker. Cancelling this run cancels it.
    ///
    /// # Errors
    /// The sub-run's failure; a cancellation.
    pub fn sub_run<T: DeserializeOwned + Send>(
        &self,
        name: &str,
        new: NewRun,
    ) -> impl Future<Output = Result<T, Failure>> + Send + use<T> {
        let opened = self.open(name, StepKind::Subrun, StepOptions::new());
        async move { waits::sub_run(&opened?, new).await }
    }

    /// Creates a run and does not wait for it (a pruning in seven days). Exactly once.
    ///
    /// # Errors
    /// A cancellation.
    pub fn start_run(
        &self,
        name: &str,
        new: NewRun,
    ) -> impl Future<Output = Result<RunId, Failure>> + Send + use<> {
        let opened = self.open(name, StepKind::Message, StepOptions::new());
        async move { waits::start_run(&opened?, new).await }
    }

    /// Puts a message into the outbox: it is delivered at least once, under `key`, whatever happens here.
    /// The same topic and key is the same message.
    ///
    /// # Errors
    /// A cancellation.
    pub fn send(
        &self,
        topic: &str,
        key: &str,
        payload: Value,
    ) -> impl Future<Output = Result<(), Failure>> + Send + use<> {
        let opened = self.open(&format!("send {topic}"), StepKind::Message, StepOptions::new());
        let (topic, key) = (topic.to_owned(), key.to_owned());
        async move { waits::send(&opened?, topic, key, payload).await }
    }

    /// Logs a line of the run. Not waited for.
    pub fn log(&self, level: Level, message: impl Into<String>) {
        queries::post_log(&self.active.store, &self.active.lease, None, level, message.into());
    }

    /// Logs what happens.
    pub fn info(&self, message: impl Into<String>) {
        self.log(Level::Info, message);
    }

    /// Logs what somebody should look at.
    pub fn warn(&self, message: impl Into<String>) {
        self.log(Level::Warning, message);
    }

    /// Shows something on the run's page. Of several with one key the latest counts. Not waited for, but on
    /// disk before any later step.
    pub fn artifact(&self, key: &str, kind: ArtifactKind, data: Value, description: Option<&str>) {
        let artifact = Artifact {
            run: self.id(),
            step: None,
            key: artifact_key(key),
            kind,
            data,
            description: description.map(str::to_owned),
            updated: self.active.now(),
        };
        queries::post_artifact(&self.active.store, &self.active.lease, artifact);
    }
}

/// Prefect takes lower-case letters, digits and hyphens.
pub(crate) fn artifact_key(key: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    key.chars().map(plain).collect::<String>().trim_matches('-').to_owned()
}

/// Awaits all, side by side, each to its end, and returns the outputs in order, or the first failure in
/// order. Unlike `try_join`, a failure drops nobody else's work.
///
/// # Errors
/// The first failure, in the order given.
pub async fn join_all<T, W>(steps: impl IntoIterator<Item = W>) -> Result<Vec<T>, Failure>
where
    W: Future<Output = Result<T, Failure>>,
{
    use std::task::Poll;
    let mut waiting: Vec<_> = steps.into_iter().map(|step| (Box::pin(step), None)).collect();
    std::future::poll_fn(|task| {
        let mut ready = true;
        for (step, result) in &mut waiting {
            if result.is_none() {
                match step.as_mut().poll(task) {
                    Poll::Ready(done) => *result = Some(done),
                    Poll::Pending => ready = false,
                }
            }
        }
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, result)| result).collect()
}
