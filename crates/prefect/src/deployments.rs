//! Deployments: a flow with defaults, a place to run, a form of parameters and schedules.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::{Client, body, strip};
use crate::error::{Result, optional};

/// A deployment as the server has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Deployment {
    /// Its id.
    pub id: Uuid,
    /// Its name; with the flow's it is unique.
    pub name: String,
    /// Its flow.
    pub flow_id: Uuid,
    /// A sentence for people.
    #[serde(default)]
    pub description: Option<String>,
    /// Default parameters.
    #[serde(default)]
    pub parameters: Value,
    /// The schema behind the form.
    #[serde(default)]
    pub parameter_openapi_schema: Option<Value>,
    /// Whether runs must fit it.
    #[serde(default)]
    pub enforce_parameter_schema: bool,
    /// Its pool.
    #[serde(default)]
    pub work_pool_name: Option<String>,
    /// Its queue.
    #[serde(default)]
    pub work_queue_name: Option<String>,
    /// Whether its schedules are held back.
    #[serde(default)]
    pub paused: bool,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The version that whoever made it gave it.
    #[serde(default)]
    pub version: Option<String>,
    /// Where a Python worker finds the code.
    #[serde(default)]
    pub entrypoint: Option<String>,
    /// Schedules.
    #[serde(default)]
    pub schedules: Vec<ScheduleSeen>,
    /// The limit of runs at once (3.x).
    #[serde(default)]
    pub global_concurrency_limit: Option<LimitSeen>,
}

/// A schedule as the server has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ScheduleSeen {
    /// Its id.
    #[serde(default)]
    pub id: Option<Uuid>,
    /// The times, in Prefect's words.
    pub schedule: Value,
    /// Switched on.
    #[serde(default)]
    pub active: bool,
}

/// The limit of a deployment as the server has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LimitSeen {
    /// At most so many runs at once.
    pub limit: u32,
    /// So many now.
    #[serde(default)]
    pub active_slots: u32,
}

/// A deployment to be made, or to replace the one of the same flow and name.
#[derive(Debug, Clone, Serialize)]
pub struct NewDeployment {
    /// Its name.
    pub name: String,
    /// Its flow.
    pub flow_id: Uuid,
    /// A sentence for people, Markdown.
    pub description: String,
    /// A version.
    pub version: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Default parameters.
    pub parameters: Value,
    /// The JSON schema of the parameters: the form of the interface.
    pub parameter_openapi_schema: Value,
    /// Whether runs must fit it.
    pub enforce_parameter_schema: bool,
    /// Its pool.
    pub work_pool_name: String,
    /// Its queue; made if there is none of this name.
    pub work_queue_name: String,
    /// Whether its schedules are held back.
    pub paused: bool,
    /// At most so many runs at once (3.x).
    pub concurrency_limit: Option<u32>,
    /// Schedules.
    pub schedules: Vec<NewSchedule>,
    /// Labels (3.x).
    pub labels: BTreeMap<String, String>,
}

/// A schedule to be made.
#[derive(Debug, Clone, Serialize)]
pub struct NewSchedule {
    /// Switched on.
    pub active: bool,
    /// The times.
    pub schedule: Times,
    /// Its name in the deployment (3.x).
    pub slug: Option<String>,
    /// Parameters laid over those of the deployment (3.x).
    #[serde(skip_serializing_if = "Value::is_null")]
    pub parameters: Value,
}

/// The times of a schedule.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Times {
    /// Five fields of cron in a time zone.
    Cron {
        /// "0 3 * * *"
        cron: String,
        /// "America/Los_Angeles"
        timezone: String,
    },
    /// Every so many seconds from a time on.
    Interval {
        /// Seconds.
        interval: f64,
        /// One of the times.
        anchor_date: Timestamp,
        /// A time zone.
        timezone: String,
    },
}

impl Client {
    /// The deployment `flow/name`.
    ///
    /// # Errors
    /// What the server says.
    pub async fn deployment(&self, flow: &str, name: &str) -> Result<Option<Deployment>> {
        optional(self.get(&["deployments", "name", flow, name]).await)
    }

    /// All that the server says of the deployment `flow/name`, in its own words: to be kept, and put back.
    ///
    /// # Errors
    /// What the server says.
    pub async fn whole_deployment(&self, flow: &str, name: &str) -> Result<Option<Value>> {
        optional(self.get(&["deployments", "name", flow, name]).await)
    }

    /// The deployment of this id.
    ///
    /// # Errors
    /// What the server says.
    pub async fn deployment_by_id(&self, id: Uuid) -> Result<Option<Deployment>> {
        optional(self.get(&["deployments", &id.to_string()]).await)
    }

    /// All deployments.
    ///
    /// # Errors
    /// What the server says.
    pub async fn deployments(&self) -> Result<Vec<Deployment>> {
        self.all(&["deployments", "filter"], &json!({})).await
    }

    /// Makes a deployment, or replaces the one of the same flow and name; the id stays.
    ///
    /// # Errors
    /// What the server says.
    pub async fn put_deployment(&self, new: &NewDeployment) -> Result<Deployment> {
        let mut body = body(new);
        let version = self.version().await?;
        if !version.has_labels() {
            strip(&mut body, &["labels"]);
        }
        if version.has_deployment_limits() {
            if new.concurrency_limit.is_some() {
                body["concurrency_options"] = json!({ "collision_strategy": "ENQUEUE" });
            }
        } else {
            strip(&mut body, &["concurrency_limit"]);
            for schedule in body["schedules"].as_array_mut().into_iter().flatten() {
                strip(schedule, &["slug", "parameters"]);
            }
        }
        self.post(&["deployments", ""], &body).await
    }

    /// Changes fields of a deployment, in Prefect's words.
    ///
    /// # Errors
    /// What the server says.
    pub async fn update_deployment(&self, id: Uuid, change: &Value) -> Result<()> {
        self.patch(&["deployments", &id.to_string()], change).await
    }

    /// Removes a deployment; its runs stay.
    ///
    /// # Errors
    /// What the server says.
    pub async fn delete_deployment(&self, id: Uuid) -> Result<()> {
        optional(self.delete(&["deployments", &id.to_string()]).await).map(drop)
    }
}
