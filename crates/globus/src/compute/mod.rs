//! Globus Compute: functions registered with the service, and tasks that run them at an endpoint.

mod pack;
mod pickle;
mod runner;
mod task;
mod template;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::http::{As, Body, Call, Inner, Repeat, Service};
use crate::scope::Scope;

pub use pack::{Dialect, arguments, function, pack, result, unpack};
pub use runner::{RUNNER_NAME, RUNNER_SOURCE, Ran, RunnerSpec, RunnerStatus};
pub use task::{Phase, TaskDetails, TaskInfo, is_loss};
pub use template::EndpointTemplate;

/// How results are to come back, by the name of the SDK's class.
const JSON_RESULTS: &str = "globus_compute_sdk.serialize.JSONData";
/// The version of the SDK that we speak like.
const SDK: &str = "4.19.0";
/// Tasks of one question.
const BATCH: usize = 500;

/// Globus Compute.
#[derive(Debug, Clone, Copy)]
pub struct Compute<'a> {
    pub(crate) inner: &'a Inner,
}

/// A function to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// The function's name in its source.
    pub name: String,
    /// Python that defines it, with nothing but the standard library.
    pub source: String,
    /// What a person reads.
    pub description: Option<String>,
    /// How the workers want it.
    pub dialect: Dialect,
}

/// Calls of one function at one endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// The function's UUID.
    pub function: String,
    /// The positional arguments of each task.
    pub tasks: Vec<Vec<Value>>,
    /// The group that the tasks belong to, a UUID. Chosen beforehand, it finds the tasks of a submission whose
    /// answer was lost.
    pub task_group: Option<String>,
    /// What the endpoint's template asks for.
    pub user_endpoint_config: Map<String, Value>,
    /// What the engine needs for a task: nodes, ranks.
    pub resource_specification: Map<String, Value>,
    /// How the workers want it.
    pub dialect: Dialect,
}

/// Tasks that were taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// The service's number for the submission.
    pub request_id: Option<String>,
    /// The group that the tasks belong to.
    pub task_group_id: String,
    /// Where they run.
    pub endpoint_id: String,
    /// The tasks' UUIDs, by function.
    pub tasks: BTreeMap<String, Vec<String>>,
}

/// A group of tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskGroup {
    /// Its UUID.
    pub taskgroup_id: String,
    /// The service's affair.
    #[serde(default)]
    pub create_websockets_queue: Option<bool>,
    /// Its tasks.
    #[serde(default)]
    pub tasks: Vec<GroupedTask>,
}

/// A task of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupedTask {
    /// Its UUID.
    pub id: String,
    /// "2021-05-05T15:00:00.000000"
    #[serde(default)]
    pub created_at: Option<String>,
}

/// A registered function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Its UUID.
    pub function_uuid: String,
    /// Its name in its source.
    #[serde(default)]
    pub function_name: Option<String>,
    /// As it was registered.
    #[serde(default)]
    pub function_code: Option<String>,
    /// What a person reads.
    #[serde(default)]
    pub description: Option<String>,
    /// The versions that it was registered by.
    #[serde(default)]
    pub metadata: Option<Value>,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are Compute's own, and its documentation is theirs")]
pub struct ComputeEndpoint {
    pub uuid: String,
    pub name: Option<String>,
    pub display_name: Option<String>,
    pub description: Option<String>,
    pub endpoint_version: Option<String>,
    pub sdk_version: Option<String>,
    pub hostname: Option<String>,
    pub ip_address: Option<String>,
    pub local_user: Option<String>,
    pub multi_user: Option<bool>,
    pub public: Option<bool>,
    pub subscription_uuid: Option<String>,
    pub endpoint_config: Option<String>,
    pub user_config_template: Option<String>,
    pub user_config_schema: Option<Value>,
    /// What this version does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// How an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// "online", "offline", "initialized", "stopping"
    pub status: String,
    /// Its workers and tasks.
    #[serde(default)]
    pub details: EndpointLoad,
}

/// What an endpoint has to do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are Compute's own")]
pub struct EndpointLoad {
    pub managers: Option<u64>,
    pub total_workers: Option<u64>,
    pub idle_workers: Option<u64>,
    pub pending_tasks: Option<u64>,
    pub outstanding_tasks: Option<u64>,
}

/// The service's versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are Compute's own")]
pub struct ComputeVersion {
    pub api: String,
    pub git_sha: Option<String>,
    pub min_sdk_version: Option<String>,
    pub min_endpoint_version: Option<String>,
}

impl EndpointStatus {
    /// Whether tasks reach it.
    pub fn is_online(&self) -> bool {
        self.status == "online"
    }
}

impl Function {
    /// What is sent to register it.
    pub fn body(&self) -> Value {
        let code = function(&self.name, &self.source, self.dialect);
        let mut body = json!({
            "function_name": self.name,
            "function_code": code,
            "serialized": true,
            "meta": {
                "python_version": "3.11.0",
                "sdk_version": SDK,
                "serde_identifier": self.dialect.identifier(),
            },
        });
        if let (Some(description), Value::Object(body)) = (&self.description, &mut body) {
            body.insert("description".into(), json!(description));
        }
        body
    }
}

impl Submission {
    /// What is sent to submit it.
    pub fn body(&self) -> Value {
        let payload = |args: &Vec<Value>| arguments(args, &Map::new(), self.dialect);
        let payloads: Vec<String> = self.tasks.iter().map(payload).collect();
        let mut body = json!({ "create_queue": false, "tasks": { self.function.as_str(): payloads } });
        if let Value::Object(body) = &mut body {
            if let Some(group) = &self.task_group {
                body.insert("task_group_id".into(), json!(group));
            }
            if !self.resource_specification.is_empty() {
                body.insert("resource_specification".into(), json!(self.resource_specification));
            }
            if !self.user_endpoint_config.is_empty() {
                body.insert("user_endpoint_config".into(), json!(self.user_endpoint_config));
            }
            if self.dialect == Dialect::Text {
                body.insert("result_serializers".into(), json!([JSON_RESULTS]));
            }
        }
        body
    }
}

impl Compute<'_> {
    fn who(&self) -> As {
        As::Bearer(Scope::compute())
    }

    fn get(&self, path: &[&str]) -> Call {
        Call::get(Service::Compute, path, self.who())
    }

    fn post(&self, path: &[&str], body: Value, repeat: Repeat) -> Call {
        Call::post(Service::Compute, path, self.who(), Body::Json(body), repeat)
    }

    /// Registers a function; returns its UUID. Registering twice makes two, which does no harm.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn register(&self, function: &Function) -> Result<String> {
        let call = self.post(&["v3", "functions"], function.body(), Repeat::Safe);
        Ok(self.inner.call(&call).await?.parse::<Registered>()?.function_uuid)
    }

    /// A registered function.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn function(&self, id: &str) -> Result<Registered> {
        self.inner.call(&self.get(&["v2", "functions", id])).await?.parse()
    }

    /// Submits tasks. Compute has no number that would make a second submission the same one: this is sent
    /// again only where the service said that it took nothing. If it ends as [`Error::Uncertain`], look into
    /// [`Submission::task_group`] by [`Compute::task_group`].
    ///
    /// # Errors
    /// See [`Error`]; [`Error::TooLarge`] for arguments beyond the limit.
    pub async fn submit(&self, endpoint: &str, submission: &Submission) -> Result<Submitted> {
        let body = submission.body();
        let size = body.to_string().len();
        let limit = self.inner.settings.limits.compute_payload;
        if size > limit {
            let advice = "put large arguments into a file in the job folder";
            return Err(Error::TooLarge { what: "the submission", size, limit, advice });
        }
        let path = ["v3", "endpoints", endpoint, "submit"];
        let answer = self.inner.call(&self.post(&path, body, Repeat::OnlyIfRefused)).await?;
        let submitted: Submitted = answer.parse()?;
        let taken = submitted.tasks.get(&submission.function).map_or(0, Vec::len);
        match taken == submission.tasks.len() {
            true => Ok(submitted),
            false => Err(answer.unexpected(format!("{taken} of {} tasks", submission.tasks.len()))),
        }
    }

    /// The tasks of a group; `None` if there is no such group.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn task_group(&self, id: &str) -> Result<Option<TaskGroup>> {
        match self.inner.call(&self.get(&["v2", "taskgroup", id])).await {
            Ok(answer) => Ok(Some(answer.parse()?)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A task.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn task(&self, id: &str) -> Result<TaskInfo> {
        self.inner.call(&self.get(&["v2", "tasks", id])).await?.parse()
    }

    /// Many tasks at once, by their UUIDs.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn tasks<S: AsRef<str>>(&self, ids: &[S]) -> Result<BTreeMap<String, TaskInfo>> {
        #[derive(Deserialize)]
        struct Batch {
            results: BTreeMap<String, TaskInfo>,
        }
        let mut found = BTreeMap::new();
        for some in ids.chunks(BATCH) {
            let some: Vec<&str> = some.iter().map(AsRef::as_ref).collect();
            let call = self.post(&["v2", "batch_status"], json!({ "task_ids": some }), Repeat::Safe);
            found.extend(self.inner.call(&call).await?.parse::<Batch>()?.results);
        }
        Ok(found)
    }

    /// An endpoint.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn endpoint(&self, id: &str) -> Result<ComputeEndpoint> {
        self.inner.call(&self.get(&["v2", "endpoints", id])).await?.parse()
    }

    /// How an endpoint is.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn endpoint_status(&self, id: &str) -> Result<EndpointStatus> {
        self.inner.call(&self.get(&["v2", "endpoints", id, "status"])).await?.parse()
    }

    /// The service's versions.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn version(&self) -> Result<ComputeVersion> {
        self.inner.call(&self.get(&["v2", "version"]).query("service", "all")).await?.parse()
    }
}
