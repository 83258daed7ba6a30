//! Flows and their runs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::{Client, body, strip};
use crate::error::{Error, Result, optional};
use crate::http::{Again, scattered};
use crate::state::{Answer, Proposal, State, StateType, Verdict};

/// A flow as the server has it: a name, no code.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Flow {
    /// Its id.
    pub id: Uuid,
    /// Its name, unique.
    pub name: String,
}

/// How the server tries a failed run or task again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// So many more times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// After so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_delay: Option<u32>,
}

/// A run as the server has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct FlowRun {
    /// Its id.
    pub id: Uuid,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// Its flow.
    pub flow_id: Uuid,
    /// What made it.
    #[serde(default)]
    pub deployment_id: Option<Uuid>,
    /// Parameters.
    #[serde(default)]
    pub parameters: Value,
    /// The key that it was made under.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The task that it is the sub-flow of.
    #[serde(default)]
    pub parent_task_run_id: Option<Uuid>,
    /// Where it stands.
    #[serde(default)]
    pub state: Option<State>,
    /// How often it began.
    #[serde(default)]
    pub run_count: u32,
    /// When it was made.
    pub created: Timestamp,
    /// When it was meant to begin.
    #[serde(default)]
    pub expected_start_time: Option<Timestamp>,
    /// When it may begin.
    #[serde(default)]
    pub next_scheduled_start_time: Option<Timestamp>,
    /// When it began.
    #[serde(default)]
    pub start_time: Option<Timestamp>,
    /// When it ended.
    #[serde(default)]
    pub end_time: Option<Timestamp>,
    /// Who has it ("host:pid").
    #[serde(default)]
    pub infrastructure_pid: Option<String>,
    /// Its pool.
    #[serde(default)]
    pub work_pool_name: Option<String>,
    /// Its queue.
    #[serde(default)]
    pub work_queue_name: Option<String>,
    /// How it is tried again.
    #[serde(default)]
    pub empirical_policy: Policy,
}

impl FlowRun {
    /// The type of its state; a run without one was never scheduled.
    pub fn state_type(&self) -> Option<StateType> {
        self.state.as_ref().map(|state| state.kind)
    }
}

/// A run to be made.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NewFlowRun {
    /// For people; `None`: the server makes one up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Parameters; a deployment's are laid under them.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub parameters: Value,
    /// The same key gives the same run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Tags. No limit of the server hangs on the tags of runs.
    pub tags: Vec<String>,
    /// Labels (3.x).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How the server tries it again.
    pub empirical_policy: Policy,
    /// The task that it is the sub-flow of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_task_run_id: Option<Uuid>,
    /// Its first state; `None`: SCHEDULED for now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Proposal>,
}

/// How often a fault of the server is asked again before it counts as an answer.
const FAULTS: u32 = 4;

impl Client {
    /// The flow of this name, made if there is none.
    ///
    /// # Errors
    /// What the server says.
    pub async fn flow(&self, name: &str) -> Result<Flow> {
        self.post(&["flows", ""], &json!({ "name": name })).await
    }

    /// The flow of this id.
    ///
    /// # Errors
    /// What the server says.
    pub async fn flow_by_id(&self, id: Uuid) -> Result<Option<Flow>> {
        optional(self.get(&["flows", &id.to_string()]).await)
    }

    /// Makes a run of a deployment. The same idempotency key gives the run of before, whatever the parameters.
    ///
    /// # Errors
    /// The parameters do not fit the deployment's schema (a conflict); what the server says.
    pub async fn run_deployment(&self, deployment: Uuid, new: &NewFlowRun) -> Result<FlowRun> {
        let mut new = new.clone();
        // Without a key, a repeated request would make two runs.
        new.idempotency_key.get_or_insert_with(|| Uuid::now_v7().to_string());
        new.state.get_or_insert_with(|| Proposal::new(StateType::Scheduled).at(Timestamp::now()));
        let body = self.run_body(&new).await?;
        self.post(&["deployments", &deployment.to_string(), "create_flow_run"], &body).await
    }

    /// Makes a run that no worker is given: one that is reported, not one that is to be done.
    ///
    /// # Errors
    /// What the server says.
    pub async fn create_flow_run(&self, flow: Uuid, new: &NewFlowRun) -> Result<FlowRun> {
        let mut new = new.clone();
        new.idempotency_key.get_or_insert_with(|| Uuid::now_v7().to_string());
        let mut body = self.run_body(&new).await?;
        body["flow_id"] = json!(flow);
        self.post(&["flow_runs", ""], &body).await
    }

    async fn run_body(&self, new: &NewFlowRun) -> Result<Value> {
        let mut body = body(new);
        if !self.version().await?.has_labels() {
            strip(&mut body, &["labels"]);
        }
        Ok(body)
    }

    /// A run.
    ///
    /// # Errors
    /// What the server says.
    pub async fn flow_run(&self, id: Uuid) -> Result<Option<FlowRun>> {
        optional(self.get(&["flow_runs", &id.to_string()]).await)
    }

    /// All runs that a filter in Prefect's words finds (`{"flow_runs": {"state": ...}}`).
    ///
    /// # Errors
    /// What the server says.
    pub async fn flow_runs(&self, filter: Value) -> Result<Vec<FlowRun>> {
        self.all(&["flow_runs", "filter"], &filter).await
    }

    /// The first runs that a filter in Prefect's words finds, 200 at most, in its own order (`sort`).
    ///
    /// # Errors
    /// What the server says.
    pub async fn first_flow_runs(&self, filter: Value, limit: usize) -> Result<Vec<FlowRun>> {
        let mut body = filter;
        body["limit"] = limit.min(200).into();
        self.post(&["flow_runs", "filter"], &body).await
    }

    /// The states that a run went through, in order.
    ///
    /// # Errors
    /// What the server says.
    pub async fn flow_run_states(&self, run: Uuid) -> Result<Vec<State>> {
        let id = run.to_string();
        let mut states: Vec<State> =
            self.get_with(&["flow_run_states", ""], &[("flow_run_id", id.as_str())]).await?;
        states.sort_by_key(|state| state.timestamp);
        Ok(states)
    }

    /// Who works on it. Without it, the server cancels a run that has not begun without telling anybody.
    ///
    /// # Errors
    /// What the server says.
    pub async fn set_infrastructure(&self, run: Uuid, pid: &str) -> Result<()> {
        self.patch(&["flow_runs", &run.to_string()], &json!({ "infrastructure_pid": pid })).await
    }

    /// Proposes a state for a run. Every proposal carries a transition id, so a lost answer costs nothing.
    ///
    /// # Errors
    /// What the server says, and its own faults after a few tries.
    pub async fn propose(&self, run: Uuid, proposal: &Proposal) -> Result<Verdict> {
        let mut proposal = proposal.clone();
        proposal.state_details.transition_id.get_or_insert_with(Uuid::now_v7);
        let id = run.to_string();
        let path = ["flow_runs", id.as_str(), "set_state"];
        let body = json!({ "state": proposal, "force": false });
        let mut fault = String::new();
        for attempt in 0..FAULTS {
            if attempt > 0 {
                tokio::time::sleep(scattered(self.settings().patience.first * 4)).await;
            }
            let answer: Answer = self.ask(Method::POST, &path, Some(&body), Again::Safe).await?.into()?;
            match answer.verdict() {
                Ok(verdict) => return Ok(verdict),
                Err(words) => fault = words,
            }
        }
        Err(self.faulty(&path, fault))
    }

    pub(crate) fn faulty(&self, path: &[&str], reason: String) -> Error {
        Error::Refused {
            server: self.http.server(),
            what: format!("POST /{}", path.join("/")),
            status: 500,
            reason,
        }
    }

    /// Puts a state without asking the rules of orchestration.
    ///
    /// # Errors
    /// What the server says.
    pub async fn force(&self, run: Uuid, proposal: &Proposal) -> Result<()> {
        let body = json!({ "state": proposal, "force": true });
        self.post::<Value>(&["flow_runs", &run.to_string(), "set_state"], &body).await.map(drop)
    }

    /// Lets a paused run go on: it is SCHEDULED "Resuming" and polled again.
    ///
    /// # Errors
    /// What the server says.
    pub async fn resume(&self, run: Uuid) -> Result<Verdict> {
        let id = run.to_string();
        let path = ["flow_runs", id.as_str(), "resume"];
        let answer: Answer = self.post(&path, &json!({})).await?;
        answer.verdict().map_err(|words| self.faulty(&path, words))
    }

    /// As [`resume`](Self::resume), with the answer to what the run asked. One that does not fit its form is rejected.
    ///
    /// # Errors
    /// What the server says.
    pub async fn resume_with(&self, run: Uuid, input: &Value) -> Result<Verdict> {
        let id = run.to_string();
        let path = ["flow_runs", id.as_str(), "resume"];
        let answer: Answer = self.post(&path, &json!({ "run_input": input })).await?;
        answer.verdict().map_err(|words| self.faulty(&path, words))
    }

    /// Removes a run.
    ///
    /// # Errors
    /// What the server says.
    pub async fn delete_flow_run(&self, run: Uuid) -> Result<()> {
        optional(self.delete(&["flow_runs", &run.to_string()]).await).map(drop)
    }
}
