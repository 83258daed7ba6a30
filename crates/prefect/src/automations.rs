//! Automations: what the server does by itself (3.x).

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Client;
use crate::error::Result;
use crate::version::ServerVersion;

/// An automation as the server has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Automation {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Switched on.
    #[serde(default)]
    pub enabled: bool,
    /// When it acts.
    #[serde(default)]
    pub trigger: Value,
}

const HINT: &str = "upgrade the server to Prefect 3";

/// The automation that marks a run as CRASHED whose worker has been silent for so long. Workers send
/// `prefect.flow-run.heartbeat`. A run that rests (paused, waiting for its next try, waiting for a place) sends
/// none, so each of those ends the wait.
pub fn zombies(name: &str, silence: Duration) -> Value {
    let rests = [
        "heartbeat",
        "Completed",
        "Failed",
        "Cancelled",
        "Crashed",
        "Paused",
        "Suspended",
        "AwaitingRetry",
        "AwaitingConcurrencySlot",
        "Scheduled",
        "Resuming",
        "Sleeping",
    ];
    let expect: Vec<String> = rests.iter().map(|what| format!("prefect.flow-run.{what}")).collect();
    json!({
        "name": name,
        "description": "Marks runs as crashed whose worker gives no sign of life any more.",
        "enabled": true,
        "trigger": {
            "type": "event", "posture": "Proactive", "after": ["prefect.flow-run.heartbeat"], "expect": expect,
            "match": { "prefect.resource.id": ["prefect.flow-run.*"] }, "for_each": ["prefect.resource.id"],
            "threshold": 1, "within": silence.as_secs().max(10),
        },
        "actions": [{
            "type": "change-flow-run-state", "state": "CRASHED",
            "message": "The worker of this run gave no sign of life any more.",
        }],
        "actions_on_trigger": [], "actions_on_resolve": [],
    })
}

impl Client {
    /// All automations.
    ///
    /// # Errors
    /// The server has none (2.x); what the server says.
    pub async fn automations(&self) -> Result<Vec<Automation>> {
        self.need(ServerVersion::has_events, "automations", HINT).await?;
        self.all(&["automations", "filter"], &json!({})).await
    }

    /// Makes an automation (names are not unique: look first).
    ///
    /// # Errors
    /// The server has none (2.x); what the server says.
    pub async fn create_automation(&self, automation: &Value) -> Result<Automation> {
        self.need(ServerVersion::has_events, "automations", HINT).await?;
        self.post(&["automations", ""], automation).await
    }

    /// Removes an automation.
    ///
    /// # Errors
    /// What the server says.
    pub async fn delete_automation(&self, id: Uuid) -> Result<()> {
        crate::error::optional(self.delete(&["automations", &id.to_string()]).await).map(drop)
    }
}
