//! What the journal holds, as values: runs, steps, logs, artifacts, and the filters that list them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::failure::Failure;
use crate::state::{State, StateType};

/// The identity of a run: a UUID v7, so that sorting by id sorts by creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub Uuid);

impl RunId {
    /// An id that another host finds again: of this time, and of `name` in the name space `of`.
    pub fn derived(time: Timestamp, of: Uuid, name: &str) -> Self {
        let millis = u64::try_from(time.as_millisecond()).unwrap_or(0);
        let hash = Uuid::new_v5(&of, name.as_bytes());
        let mut rest = [0; 10];
        rest.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
        RunId(uuid::Builder::from_unix_timestamp_millis(millis, &rest).into_uuid())
    }

    /// The id of a run that this run starts under `name`: the same wherever this run is done.
    pub(crate) fn child(self, name: &str) -> Self {
        let parts = self.0.get_timestamp().map_or((0, 0), |time| time.to_unix());
        let seconds = i64::try_from(parts.0).unwrap_or(0);
        let time = Timestamp::new(seconds, i32::try_from(parts.1).unwrap_or(0)).unwrap_or_default();
        RunId::derived(time, self.0, name)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.as_hyphenated().encode_lower(&mut [0; 36]))
    }
}

impl FromStr for RunId {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::from_str(text)
            .map(RunId)
            .map_err(|error| crate::Error::invalid(format!("run id {text:?}"), error.to_string()))
    }
}

/// A run to be created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewRun {
    /// The flow's name.
    pub flow: String,
    /// What a person calls it; made from the flow and the id if absent.
    pub name: Option<String>,
    /// The flow's parameters, a JSON object.
    pub parameters: Value,
    /// Words to find and limit it by.
    pub tags: Vec<String>,
    /// The run that started it.
    pub parent: Option<RunId>,
    /// The same key for the same flow gives the same run.
    pub idempotency_key: Option<String>,
    /// Not before this time; `None` is now.
    pub at: Option<Timestamp>,
    /// The deployment it was made by.
    pub deployment: Option<String>,
    /// The pool whose workers take it.
    pub pool: String,
    /// The queue in the pool.
    pub queue: String,
    /// How often the whole run is tried again after it failed.
    pub retries: u32,
    /// The wait before each of those.
    pub retry_delay: Duration,
}

impl NewRun {
    /// A run of `flow` in the pool and queue "default".
    pub fn of(flow: impl Into<String>, parameters: Value) -> Self {
        NewRun {
            flow: flow.into(),
            name: None,
            parameters,
            tags: Vec::new(),
            parent: None,
            idempotency_key: None,
            at: None,
            deployment: None,
            pool: "default".to_owned(),
            queue: "default".to_owned(),
            retries: 0,
            retry_delay: Duration::ZERO,
        }
    }

    /// With a name for people.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// With a tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// With an idempotency key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Not before this time.
    #[must_use]
    pub fn at(mut self, at: Timestamp) -> Self {
        self.at = Some(at);
        self
    }

    /// In this pool and queue.
    #[must_use]
    pub fn on(mut self, pool: impl Into<String>, queue: impl Into<String>) -> Self {
        self.pool = pool.into();
        self.queue = queue.into();
        self
    }

    /// Tried again so often after a failure, with this wait before each.
    #[must_use]
    pub fn retried(mut self, retries: u32, delay: Duration) -> Self {
        self.retries = retries;
        self.retry_delay = delay;
        self
    }
}

/// The answer to a creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// The run, new or of before.
    pub id: RunId,
    /// `false`: the idempotency key was known, nothing was made.
    pub is_new: bool,
}

/// A run as the journal has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Identity.
    pub id: RunId,
    /// The flow's name.
    pub flow: String,
    /// For people.
    pub name: String,
    /// The flow's parameters.
    pub parameters: Value,
    /// Words to find and limit it by.
    pub tags: Vec<String>,
    /// Where it stands.
    pub state: State,
    /// When it was made.
    pub created: Timestamp,
    /// When it may be claimed next; `None` while held, paused or ended.
    pub due: Option<Timestamp>,
    /// When it was meant to begin.
    pub expected: Timestamp,
    /// When it first began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// The run that started it.
    pub parent: Option<RunId>,
    /// The deployment that made it.
    pub deployment: Option<String>,
    /// Pool.
    pub pool: String,
    /// Queue in the pool.
    pub queue: String,
    /// How often a worker took it up.
    pub attempt: u32,
    /// 1, and one more for each retry "from the start".
    pub generation: u32,
    /// The worker that holds it.
    pub worker: Option<String>,
    /// Until when, unless it renews.
    pub lease_until: Option<Timestamp>,
    /// What the flow returned.
    pub output: Option<Value>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// What it waits for a person to say, while paused.
    pub ask: Option<Ask>,
}

/// A question to a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// The key under which the answer is given (`runs resume ID --set KEY=VALUE`).
    pub key: String,
    /// The step that asks.
    #[serde(default)]
    pub step: String,
    /// The name of the paused state: "Centre needed".
    pub title: String,
    /// What is asked, and why.
    pub message: String,
    /// The JSON schema of the answer.
    #[serde(default)]
    pub schema: Value,
    /// What to judge by: pictures, numbers, paths.
    #[serde(default)]
    pub evidence: Value,
}

impl Ask {
    /// A question.
    pub fn new(title: impl Into<String>, message: impl Into<String>) -> Self {
        Ask {
            key: String::new(),
            step: String::new(),
            title: title.into(),
            message: message.into(),
            schema: Value::Null,
            evidence: Value::Null,
        }
    }

    /// With something to judge by.
    #[must_use]
    pub fn evidence(mut self, evidence: Value) -> Self {
        self.evidence = evidence;
        self
    }
}

/// What kind of step it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Work of this process.
    Local,
    /// Work outside, with a handle.
    External,
    /// A question to a person.
    Input,
    /// A wait.
    Sleep,
    /// A run of another flow.
    Subrun,
    /// A message put into the outbox.
    Message,
}

impl StepKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            StepKind::Local => "local",
            StepKind::External => "external",
            StepKind::Input => "input",
            StepKind::Sleep => "sleep",
            StepKind::Subrun => "subrun",
            StepKind::Message => "message",
        }
    }

    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "external" => StepKind::External,
            "input" => StepKind::Input,
            "sleep" => StepKind::Sleep,
            "subrun" => StepKind::Subrun,
            "message" => StepKind::Message,
            _ => StepKind::Local,
        }
    }
}

/// A step as the journal has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The run.
    pub run: RunId,
    /// The run's generation that it belongs to.
    pub generation: u32,
    /// Its name in the journal, unique in the generation.
    pub key: String,
    /// The name that the flow gave it.
    pub name: String,
    /// What it is.
    pub kind: StepKind,
    /// The order in which steps were first begun.
    pub position: u32,
    /// Where it stands.
    pub state: State,
    /// How often it was begun.
    pub attempt: u32,
    /// Which submission of outside work is current (external steps).
    pub submission: u32,
    /// The digest of its declared input.
    pub input: Option<String>,
    /// What it returned.
    pub output: Option<Value>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// The handle of the outside work.
    pub handle: Option<Value>,
    /// Whether the act was seen to succeed (else the handle is an intent).
    pub acted: bool,
    /// When it first began.
    pub started: Option<Timestamp>,
    /// When this attempt began.
    pub attempt_started: Option<Timestamp>,
    /// When this attempt began to really run (after waiting in somebody's queue).
    pub running_since: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// When it goes on (sleep, retry).
    pub wake: Option<Timestamp>,
}

/// An entry of the append-only history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Increases by time of writing; page on with it.
    pub id: i64,
    /// The run.
    pub run: RunId,
    /// The step's key, or `None` for the run itself.
    pub step: Option<String>,
    /// The state that was entered.
    #[serde(flatten)]
    pub state: State,
}

/// How loud a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For the person who looks for a fault.
    Debug,
    /// What happens.
    Info,
    /// What somebody should look at.
    Warning,
    /// What went wrong.
    Error,
}

impl Level {
    /// Prefect's (Python's) number: 10, 20, 30, 40.
    pub fn number(self) -> i64 {
        match self {
            Level::Debug => 10,
            Level::Info => 20,
            Level::Warning => 30,
            Level::Error => 40,
        }
    }

    pub(crate) fn from_number(number: i64) -> Self {
        match number {
            ..=10 => Level::Debug,
            11..=20 => Level::Info,
            21..=30 => Level::Warning,
            _ => Level::Error,
        }
    }
}

/// A line of a run's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Increases by time of writing; page on with it.
    pub id: i64,
    /// The run.
    pub run: RunId,
    /// The step's key, if it is about one.
    pub step: Option<String>,
    /// When.
    pub time: Timestamp,
    /// How loud.
    pub level: Level,
    /// The text.
    pub message: String,
}

/// What an artifact shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArtifactKind {
    /// Text; `data` is a string.
    Markdown,
    /// `data` is an array of objects.
    Table,
    /// `data` is a number, 0 to 1.
    Progress,
    /// `data` is a URL or path as a string.
    Image,
    /// `data` is a URL as a string.
    Link,
}

impl ArtifactKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ArtifactKind::Markdown => "markdown",
            ArtifactKind::Table => "table",
            ArtifactKind::Progress => "progress",
            ArtifactKind::Image => "image",
            ArtifactKind::Link => "link",
        }
    }

    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "table" => ArtifactKind::Table,
            "progress" => ArtifactKind::Progress,
            "image" => ArtifactKind::Image,
            "link" => ArtifactKind::Link,
            _ => ArtifactKind::Markdown,
        }
    }
}

/// Something a run shows. Of several with one key the latest counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Artifact {
    /// The run.
    pub run: RunId,
    /// The step's key, if it belongs to one.
    pub step: Option<String>,
    /// Lower-case letters, digits and hyphens (Prefect's rule); other characters become hyphens.
    pub key: String,
    /// What it shows.
    pub kind: ArtifactKind,
    /// The content, see [`ArtifactKind`].
    pub data: Value,
    /// A sentence beside it.
    pub description: Option<String>,
    /// When it was last written.
    pub updated: Timestamp,
}

/// Which runs to list. Everything that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunFilter {
    /// Of this flow.
    pub flow: Option<String>,
    /// In one of these types of states (empty: any).
    pub states: Vec<StateType>,
    /// In a state of this name.
    pub state_name: Option<String>,
    /// With all of these tags.
    pub tags: Vec<String>,
    /// Whose name holds this text.
    pub name_contains: Option<String>,
    /// Of this deployment.
    pub deployment: Option<String>,
    /// Of this pool.
    pub pool: Option<String>,
    /// Started by this run.
    pub parent: Option<RunId>,
    /// Created at or after this.
    pub created_from: Option<Timestamp>,
    /// Created before this.
    pub created_before: Option<Timestamp>,
    /// Older than this run (the `next` of the page before).
    pub before: Option<RunId>,
    /// At most so many; 0 is 100.
    pub limit: u32,
}

/// A page of a listing, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Give it as `before` for the next page; `None` at the end.
    pub next: Option<RunId>,
}

/// How many runs are in which type of state.
pub type Counts = BTreeMap<StateType, u64>;
