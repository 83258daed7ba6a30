//! Task runs, made and moved by REST: stored when answered, on 2.20 and 3.x alike.
//!
//! The server does not protect them: a finished task may run again, and a state sent twice is stored twice. So
//! an answer that was lost is looked for before anything is sent again.

use std::collections::BTreeMap;

use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::{Client, body};
use crate::error::{Result, optional};
use crate::flow_runs::Policy;
use crate::http::{Again, scattered};
use crate::state::{Answer, Proposal, State, StateType, Verdict};

/// A task as the server has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TaskRun {
    /// Its id.
    pub id: Uuid,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// Its run.
    #[serde(default)]
    pub flow_run_id: Option<Uuid>,
    /// What it does.
    pub task_key: String,
    /// Which one of these.
    pub dynamic_key: String,
    /// Where it stands.
    #[serde(default)]
    pub state: Option<State>,
    /// How often it began.
    #[serde(default)]
    pub run_count: u32,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// When it began.
    #[serde(default)]
    pub start_time: Option<Timestamp>,
    /// When it ended.
    #[serde(default)]
    pub end_time: Option<Timestamp>,
}

/// A task to be made. It has no tags on purpose: under a tag that has a limit, an SQLite server stops all its
/// clients for a minute when the task begins.
#[derive(Debug, Clone)]
pub struct NewTaskRun {
    /// Its run.
    pub flow_run_id: Uuid,
    /// For people.
    pub name: String,
    /// What it does; with `dynamic_key` it names the task in its run.
    pub task_key: String,
    /// Which one of these.
    pub dynamic_key: String,
    /// The tasks whose results it takes, by the input's name: the edges of the graph.
    pub inputs: BTreeMap<String, Vec<Uuid>>,
    /// How the server tries it again.
    pub policy: Policy,
}

#[derive(Serialize)]
struct Input {
    input_type: &'static str,
    id: Uuid,
}

impl Client {
    /// The task of this key in its run, made if there is none.
    ///
    /// # Errors
    /// What the server says.
    pub async fn task_run(&self, new: &NewTaskRun) -> Result<TaskRun> {
        let inputs: BTreeMap<&str, Vec<Input>> = new
            .inputs
            .iter()
            .map(|(name, ids)| {
                let ids = ids.iter().map(|id| Input { input_type: "task_run", id: *id }).collect();
                (name.as_str(), ids)
            })
            .collect();
        let body = json!({
            "name": new.name, "flow_run_id": new.flow_run_id, "task_key": new.task_key,
            "dynamic_key": new.dynamic_key, "tags": [], "empirical_policy": body(&new.policy),
            "task_inputs": body(&inputs), "state": Proposal::new(StateType::Pending),
        });
        self.post(&["task_runs", ""], &body).await
    }

    /// A task.
    ///
    /// # Errors
    /// What the server says.
    pub async fn task_run_by_id(&self, id: Uuid) -> Result<Option<TaskRun>> {
        optional(self.get(&["task_runs", &id.to_string()]).await)
    }

    /// The tasks of a run.
    ///
    /// # Errors
    /// What the server says.
    pub async fn task_runs(&self, flow_run: Uuid) -> Result<Vec<TaskRun>> {
        let filter = json!({ "flow_runs": { "id": { "any_": [flow_run] } } });
        self.all(&["task_runs", "filter"], &filter).await
    }

    /// The states that a task went through, in order.
    ///
    /// # Errors
    /// What the server says.
    pub async fn task_run_states(&self, task: Uuid) -> Result<Vec<State>> {
        let id = task.to_string();
        let mut states: Vec<State> =
            self.get_with(&["task_run_states", ""], &[("task_run_id", id.as_str())]).await?;
        states.sort_by_key(|state| state.timestamp);
        Ok(states)
    }

    /// Proposes a state for a task. When the answer is lost, the task is read before anything is sent again.
    ///
    /// # Errors
    /// What the server says, and its own faults after a few tries.
    pub async fn propose_task(&self, task: Uuid, proposal: &Proposal) -> Result<Verdict> {
        let id = task.to_string();
        let path = ["task_runs", id.as_str(), "set_state"];
        // Servers know no transitions of tasks, but they keep the id: it tells our state from an equal one.
        let mut proposal = proposal.clone();
        let transition = *proposal.state_details.transition_id.get_or_insert_with(Uuid::now_v7);
        let body = json!({ "state": proposal, "force": false });
        let mut fault = String::new();
        for attempt in 0..self.settings().patience.tries.max(1) {
            if attempt > 0 {
                tokio::time::sleep(scattered(self.settings().patience.first * 4)).await;
            }
            let answer = match self.ask(Method::POST, &path, Some(&body), Again::Unsafe).await {
                Ok(reply) => reply.into::<Answer>()?,
                Err(error) if error.may_have_happened() => {
                    let state = self.task_run_by_id(task).await?.and_then(|found| found.state);
                    match state {
                        Some(state) if state.state_details.transition_id == Some(transition) => {
                            return Ok(Verdict::Accept(state));
                        }
                        _ => {
                            fault = error.to_string();
                            continue;
                        }
                    }
                }
                Err(error) => return Err(error),
            };
            match answer.verdict() {
                Ok(verdict) => return Ok(verdict),
                Err(words) => fault = words,
            }
        }
        Err(self.faulty(&path, fault))
    }

    /// The graph that the operator sees of a run: its nodes with what they follow.
    ///
    /// # Errors
    /// What the server says.
    pub async fn graph(&self, flow_run: Uuid) -> Result<Value> {
        self.get(&["flow_runs", &flow_run.to_string(), "graph-v2"]).await
    }
}
