//! Globus Flows: flows kept by the service, and their runs.

mod definition;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::Result;
use crate::http::{As, Body, Call, Inner, Repeat, Service};
use crate::scope::Scope;

pub use definition::{COMPUTE_ACTION, ReconstructionFlow, TRANSFER_ACTION};

/// Globus Flows.
#[derive(Debug, Clone, Copy)]
pub struct Flows<'a> {
    pub(crate) inner: &'a Inner,
}

/// What a flow is to be. What is `None` is left as it is, or to the service's default.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct FlowDocument {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<Value>,
    /// A JSON schema of what a run is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// A second line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subtitle: Option<String>,
    /// What a person reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who may start runs, as URNs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_starters: Option<Vec<String>>,
    /// Who may see it, as URNs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_viewers: Option<Vec<String>>,
    /// Who may change it, as URNs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_administrators: Option<Vec<String>>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keywords: Option<Vec<String>>,
    /// The subscription that it counts for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<String>,
}

/// A flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the service's own, and its documentation is theirs")]
pub struct Flow {
    pub id: String,
    pub title: String,
    pub subtitle: Option<String>,
    pub description: Option<String>,
    #[serde(default)]
    pub definition: Value,
    #[serde(default)]
    pub input_schema: Value,
    /// The scope that starts its runs.
    pub globus_auth_scope: Option<String>,
    pub globus_auth_username: Option<String>,
    pub principal_urn: Option<String>,
    pub flow_owner: Option<String>,
    #[serde(default)]
    pub flow_viewers: Vec<String>,
    #[serde(default)]
    pub flow_starters: Vec<String>,
    #[serde(default)]
    pub flow_administrators: Vec<String>,
    #[serde(default)]
    pub run_managers: Vec<String>,
    #[serde(default)]
    pub run_monitors: Vec<String>,
    #[serde(default)]
    pub administered_by: Vec<String>,
    #[serde(default)]
    pub runnable_by: Vec<String>,
    #[serde(default)]
    pub visible_to: Vec<String>,
    #[serde(default)]
    pub keywords: Vec<String>,
    #[serde(default)]
    pub types: Vec<String>,
    pub action_url: Option<String>,
    pub flow_url: Option<String>,
    pub api_version: Option<String>,
    pub created_at: Option<String>,
    pub created_by: Option<String>,
    pub updated_at: Option<String>,
    pub log_supported: Option<bool>,
    pub synchronous: Option<bool>,
    pub subscription_id: Option<String>,
    pub user_role: Option<String>,
    /// What this version does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// How a run is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum RunStatus {
    /// It works.
    Active,
    /// It waits for somebody: a consent is missing.
    Inactive,
    /// All is done. The only success.
    Succeeded,
    /// An action failed, or it was cancelled.
    Failed,
    /// It is being ended.
    Ended,
    /// Something that this version does not know.
    Other(String),
}

impl From<String> for RunStatus {
    fn from(text: String) -> Self {
        match text.as_str() {
            "ACTIVE" => Self::Active,
            "INACTIVE" => Self::Inactive,
            "SUCCEEDED" => Self::Succeeded,
            "FAILED" => Self::Failed,
            "ENDED" => Self::Ended,
            _ => Self::Other(text),
        }
    }
}

impl From<RunStatus> for String {
    fn from(status: RunStatus) -> Self {
        match status {
            RunStatus::Active => "ACTIVE".into(),
            RunStatus::Inactive => "INACTIVE".into(),
            RunStatus::Succeeded => "SUCCEEDED".into(),
            RunStatus::Failed => "FAILED".into(),
            RunStatus::Ended => "ENDED".into(),
            RunStatus::Other(text) => text,
        }
    }
}

impl RunStatus {
    /// Whether nothing more will happen by itself.
    pub fn is_over(&self) -> bool {
        !matches!(self, Self::Active | Self::Other(_))
    }
}

/// A run of a flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the service's own, and its documentation is theirs")]
pub struct FlowRun {
    pub run_id: String,
    pub flow_id: Option<String>,
    pub flow_title: Option<String>,
    pub flow_description: Option<String>,
    pub flow_last_updated: Option<String>,
    pub status: RunStatus,
    pub display_status: Option<String>,
    pub label: Option<String>,
    #[serde(default)]
    pub tags: Vec<String>,
    /// Where it is, what came out of it, or why it failed.
    #[serde(default)]
    pub details: Value,
    pub start_time: Option<String>,
    pub completion_time: Option<String>,
    pub run_owner: Option<String>,
    #[serde(default)]
    pub run_managers: Vec<String>,
    #[serde(default)]
    pub run_monitors: Vec<String>,
    pub action_id: Option<String>,
    pub created_by: Option<String>,
    #[serde(default)]
    pub manage_by: Vec<String>,
    #[serde(default)]
    pub monitor_by: Vec<String>,
    #[serde(default)]
    pub search: Option<Value>,
    pub user_role: Option<String>,
    /// What this version does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// An entry of a run's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    /// "2023-04-25T18:54:30.683000+00:00"
    pub time: String,
    /// "FlowStarted", "ActionCompleted", …
    pub code: String,
    /// What a person reads.
    #[serde(default)]
    pub description: String,
    /// More.
    #[serde(default)]
    pub details: Value,
}

impl FlowRun {
    /// Why it failed or waits, in one line.
    pub fn why(&self) -> String {
        let text = |at: &str| self.details.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let said = [text("/code"), text("/description"), text("/details/cause")];
        let said: Vec<&str> = said.into_iter().filter(|one| !one.is_empty()).collect();
        if said.is_empty() { String::from(self.status.clone()) } else { said.join(": ") }
    }

    /// Whether somebody ended it.
    pub fn is_cancelled(&self) -> bool {
        let code = self.details.pointer("/code").and_then(Value::as_str).unwrap_or_default().to_lowercase();
        self.status == RunStatus::Ended || code.contains("cancel")
    }

    /// What the function of a [`ReconstructionFlow`] returned, once the run has succeeded.
    pub fn returned(&self) -> Option<Value> {
        let action = self.details.get("output")?.get(definition::RECONSTRUCT)?.get("details")?;
        let found = action.pointer("/results/0/output").or_else(|| action.pointer("/result/0"));
        found.or_else(|| action.get("result")).cloned()
    }
}

impl Flows<'_> {
    fn scope(&self, part: &str) -> Result<As> {
        Ok(As::Bearer(Scope::flows(part)?))
    }

    /// Creates a flow. Not repeated if no answer comes: a free client may have one flow only.
    ///
    /// # Errors
    /// See [`crate::Error`].
    pub async fn create(&self, document: &FlowDocument) -> Result<Flow> {
        let (who, body) = (self.scope("manage_flows")?, Body::Json(json!(document)));
        let call = Call::post(Service::Flows, &["flows"], who, body, Repeat::OnlyIfRefused);
        self.inner.call(&call).await?.parse()
    }

    /// Changes a flow.
    ///
    /// # Errors
    /// See [`crate::Error`].
    pub async fn update(&self, flow: &str, document: &FlowDocument) -> Result<Flow> {
        let (who, body) = (self.scope("manage_flows")?, Body::Json(json!(document)));
        self.inner.call(&Call::put(Service::Flows, &["flows", flow], who, body)).await?.parse()
    }

    /// A flow.
    ///
    /// # Errors
    /// See [`crate::Error`].
    pub async fn get(&self, flow: &str) -> Result<Flow> {
        let who = self.scope("view_flows")?;
        self.inner.call(&Call::get(Service::Flows, &["flows", flow], who)).await?.parse()
    }

    /// Deletes a flow.
    ///
    /// # Errors
    /// See [`crate::Error`].
    pub async fn delete(&self, flow: &str) -> Result<()> {
        let who = self.scope("manage_flows")?;
        match self.inner.call(&Call::delete(Service::Flows, &["flows", flow], who)).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other.map(drop),
        }
    }

    /// Starts a run, with the flow's own scope and those that it needs of collections. Not repeated if no
    /// answer comes ([`crate::Error::Uncertain`]): look for a run of this label by [`Flows::runs`].
    ///
    /// # Errors
    /// See [`crate::Error`].
    pub async fn run(
        &self,
        flow: &str,
        scope: Scope,
        body: &Value,
        label: &str,
        tags: &[String],
    ) -> Result<FlowRun> {
        let mut document = json!({ "body": body, "label": label });
        if let (Value::Object(document), false) = (&mut document, tags.is_empty()) {
            document.insert("tags".into(), json!(tags));
        }
        let (path, body) = (["flows", flow, "run"], Body::Json(document));
        let call = Call::post(Service::Flows, &path, As::Bearer(scope), body, Repeat::OnlyIfRefused);
        self.inner.call(&call).await?.parse()
    }

    /// A run.
    ///
    /// # Errors
    /// See [`crate::Error`].
    pub async fn run_status(&self, run: &str) -> Result<FlowRun> {
        let who = self.scope("run_status")?;
        self.inner.call(&Call::get(Service::Flows, &["runs", run], who)).await?.parse()
    }

    /// The newest runs of a flow, one page.
    ///
    /// # Errors
    /// See [`crate::Error`].
    pub async fn runs(&self, flow: &str) -> Result<Vec<FlowRun>> {
        #[derive(Deserialize)]
        struct Runs {
            runs: Vec<FlowRun>,
        }
        let call = Call::get(Service::Flows, &["runs"], self.scope("run_status")?);
        Ok(self.inner.call(&call.query("filter_flow_id", flow)).await?.parse::<Runs>()?.runs)
    }

    /// The run of a flow that has this tag, among the newest `pages` pages of its runs.
    ///
    /// # Errors
    /// See [`crate::Error`].
    pub async fn tagged(&self, flow: &str, tag: &str, pages: usize) -> Result<Option<FlowRun>> {
        #[derive(Deserialize)]
        struct Runs {
            runs: Vec<FlowRun>,
            #[serde(default)]
            has_next_page: bool,
            marker: Option<String>,
        }
        let mut marker = None::<String>;
        for _ in 0..pages {
            let call = Call::get(Service::Flows, &["runs"], self.scope("run_status")?);
            let call = call.query("filter_flow_id", flow);
            let call = if let Some(marker) = &marker { call.query("marker", marker) } else { call };
            let page: Runs = self.inner.call(&call).await?.parse()?;
            if let Some(found) = page.runs.into_iter().find(|run| run.tags.iter().any(|one| one == tag)) {
                return Ok(Some(found));
            }
            match page.marker.filter(|next| page.has_next_page && marker.as_ref() != Some(next)) {
                Some(next) => marker = Some(next),
                None => break,
            }
        }
        Ok(None)
    }

    /// A run's whole log, oldest first.
    ///
    /// # Errors
    /// See [`crate::Error`].
    pub async fn log(&self, run: &str) -> Result<Vec<LogEntry>> {
        #[derive(Deserialize)]
        struct Log {
            entries: Vec<LogEntry>,
            #[serde(default)]
            has_next_page: bool,
            marker: Option<String>,
        }
        let (mut entries, mut marker) = (Vec::new(), None::<String>);
        loop {
            let call = Call::get(Service::Flows, &["runs", run, "log"], self.scope("run_status")?);
            let call = if let Some(marker) = &marker { call.query("marker", marker) } else { call };
            let answer = self.inner.call(&call).await?;
            let page: Log = answer.parse()?;
            entries.extend(page.entries);
            match page.marker.filter(|_| page.has_next_page) {
                None => return Ok(entries),
                same if same == marker => return Err(answer.unexpected("its pages go round in a circle")),
                next => marker = next,
            }
        }
    }

    /// Asks a run to end. A run that has ended stays as it is.
    ///
    /// # Errors
    /// See [`crate::Error`].
    pub async fn cancel(&self, run: &str) -> Result<FlowRun> {
        let who = self.scope("run_manage")?;
        let call = Call::post(Service::Flows, &["runs", run, "cancel"], who, Body::Nothing, Repeat::Safe);
        self.inner.call(&call).await?.parse()
    }
}
