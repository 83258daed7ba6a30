//! Events: what the server tells of, and what it is told (3.x).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::{Client, body};
use crate::error::Result;
use crate::state::{State, StateType};
use crate::version::ServerVersion;

/// A resource: labels, one of which is its id.
pub type Resource = BTreeMap<String, String>;

/// An event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its id; sent twice it is stored once.
    pub id: Uuid,
    /// When.
    pub occurred: Timestamp,
    /// What: "prefect.flow-run.Cancelling".
    pub event: String,
    /// About what.
    pub resource: Resource,
    /// And what that belongs to.
    #[serde(default)]
    pub related: Vec<Resource>,
    /// More.
    #[serde(default)]
    pub payload: Value,
    /// The event before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<Uuid>,
}

fn resource(id: String) -> Resource {
    Resource::from([("prefect.resource.id".to_owned(), id)])
}

fn related(kind: &str, role: &str, id: Uuid) -> Resource {
    let mut labels = resource(format!("prefect.{kind}.{id}"));
    labels.insert("prefect.resource.role".to_owned(), role.to_owned());
    labels
}

/// What an event of a run is told with.
#[derive(Debug, Clone, PartialEq)]
pub struct RunResource {
    /// The run.
    pub flow_run: Uuid,
    /// Its name.
    pub name: String,
    /// Its flow.
    pub flow: Uuid,
    /// Its deployment.
    pub deployment: Option<Uuid>,
}

impl RunResource {
    fn related(&self) -> Vec<Resource> {
        let mut all = vec![related("flow", "flow", self.flow)];
        all.extend(self.deployment.map(|id| related("deployment", "deployment", id)));
        all
    }
}

impl Event {
    /// An event of now.
    pub fn new(event: impl Into<String>, about: Resource) -> Self {
        Event {
            id: Uuid::now_v7(),
            occurred: Timestamp::now(),
            event: event.into(),
            resource: about,
            related: Vec::new(),
            payload: json!({}),
            follows: None,
        }
    }

    /// The sign of life of a run, that [`zombies`](crate::zombies) waits for.
    pub fn heartbeat(run: &RunResource) -> Self {
        let mut about = resource(format!("prefect.flow-run.{}", run.flow_run));
        about.insert("prefect.resource.name".to_owned(), run.name.clone());
        Event { related: run.related(), ..Event::new("prefect.flow-run.heartbeat", about) }
    }

    /// The event of a task's state that was stored by REST, so that it appears in the feed too. Its id and time
    /// are the state's: the server then stores no second state.
    pub fn of_task(run: &RunResource, task: &TaskSeen<'_>, state: &State) -> Option<Self> {
        let (id, occurred) = (state.id?, state.timestamp?);
        let name = state.label().to_owned();
        let mut about = resource(format!("prefect.task-run.{}", task.id));
        for (label, value) in [
            ("prefect.resource.name", task.name.to_owned()),
            ("prefect.run-count", task.run_count.to_string()),
            ("prefect.state-message", state.message.clone().unwrap_or_default()),
            ("prefect.state-name", name.clone()),
            ("prefect.state-timestamp", occurred.to_string()),
            ("prefect.state-type", state.kind.to_string()),
            ("prefect.orchestration", "client".to_owned()),
        ] {
            about.insert(label.to_owned(), value);
        }
        let mut of_run = related("flow-run", "flow-run", run.flow_run);
        of_run.insert("prefect.resource.name".to_owned(), run.name.clone());
        let mut all = vec![of_run];
        all.extend(run.related());
        let before = task
            .before
            .map(|kind| json!({ "type": kind, "name": kind.as_str(), "message": "", "state_details": {} }));
        let payload = json!({
            "intended": { "from": task.before, "to": state.kind },
            "initial_state": before,
            "validated_state": {
                "type": state.kind, "name": name, "message": state.message.clone().unwrap_or_default(),
                "state_details": {}, "data": null,
            },
            "task_run": {
                "name": task.name, "task_key": task.task_key, "dynamic_key": task.dynamic_key, "tags": [],
                "task_inputs": {}, "empirical_policy": {}, "run_count": task.run_count,
                "flow_run_run_count": 1, "labels": {},
            },
        });
        let event = Event::new(format!("prefect.task-run.{name}"), about);
        Some(Event { id, occurred, related: all, payload, ..event })
    }

    /// The id of the run that it is about.
    pub fn flow_run(&self) -> Option<Uuid> {
        let id = self.resource.get("prefect.resource.id")?;
        id.strip_prefix("prefect.flow-run.")?.parse().ok()
    }
}

/// What an event of a task is told with.
#[derive(Debug, Clone)]
pub struct TaskSeen<'a> {
    /// The task.
    pub id: Uuid,
    /// Its name.
    pub name: &'a str,
    /// What it does.
    pub task_key: &'a str,
    /// Which one of these.
    pub dynamic_key: &'a str,
    /// How often it began.
    pub run_count: u32,
    /// The type of its state before.
    pub before: Option<StateType>,
}

/// Which events are wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventFilter {
    /// With one of these names.
    pub names: Vec<String>,
    /// About, or related to, one of these resources (`prefect.work-pool.ID`).
    pub any_resource: Vec<String>,
    /// From this time on; `None`: from now.
    pub since: Option<Timestamp>,
}

impl EventFilter {
    pub(crate) fn body(&self) -> Value {
        let since = self.since.unwrap_or_else(Timestamp::now);
        // Far enough for any connection.
        let until = since.checked_add(jiff::SignedDuration::from_hours(24 * 365)).unwrap_or(Timestamp::MAX);
        let mut filter = json!({ "occurred": { "since": since, "until": until } });
        if !self.names.is_empty() {
            filter["event"] = json!({ "name": self.names });
        }
        if !self.any_resource.is_empty() {
            filter["any_resource"] = json!({ "id": self.any_resource });
        }
        filter
    }
}

#[derive(Deserialize)]
struct Found {
    events: Vec<Event>,
}

const HINT: &str = "upgrade the server to Prefect 3";

impl Client {
    /// Tells the server of events. It has them in memory when it answers, in the database a moment later.
    ///
    /// # Errors
    /// The server has no events (2.x); what the server says.
    pub async fn emit(&self, events: &[Event]) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        self.need(ServerVersion::has_events, "events", HINT).await?;
        self.post::<Value>(&["events"], &body(&events)).await.map(drop)
    }

    /// The latest events that a filter finds, at most 50.
    ///
    /// # Errors
    /// The server has no events (2.x); what the server says.
    pub async fn events(&self, filter: &EventFilter) -> Result<Vec<Event>> {
        self.need(ServerVersion::has_events, "events", HINT).await?;
        let found: Found =
            self.post(&["events", "filter"], &json!({ "filter": filter.body(), "limit": 50 })).await?;
        Ok(found.events)
    }
}
