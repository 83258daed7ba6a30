//! The flow that the beamline's set-up asks for: reconstruct by Compute, then bring the results home by Transfer.

use serde_json::{Map, Value, json};

use super::FlowDocument;
use crate::error::Result;
use crate::scope::Scope;

/// The action that runs functions.
pub const COMPUTE_ACTION: &str = "https://compute.actions.globus.org/fxap";
/// The action that transfers.
pub const TRANSFER_ACTION: &str = "https://actions.globus.org/transfer/transfer";
/// Seconds that an action may take before the flow gives it up.
const WAIT: u64 = 86_400;

/// A flow of one reconstruction, and where its results go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReconstructionFlow {
    /// Whether a transfer of the results follows.
    pub transfer_out: bool,
    /// Mapped collections whose data the transfer needs.
    pub data_access: Vec<String>,
}

impl ReconstructionFlow {
    /// The flow's states. A run is given `endpoint`, `function` and `kwargs`; and for the transfer `source`,
    /// `destination` (`id` each) and `items`.
    pub fn definition(&self) -> Value {
        let mut compute = json!({
            "Comment": "Reconstruct at the facility",
            "Type": "Action",
            "ActionUrl": COMPUTE_ACTION,
            "Parameters": {
                "endpoint.$": "$.input.compute.endpoint",
                "function.$": "$.input.compute.function",
                "kwargs.$": "$.input.compute.kwargs",
            },
            "ResultPath": "$.Reconstruct",
            "WaitTime": WAIT,
        });
        let mut states = Map::new();
        if let Value::Object(compute) = &mut compute {
            match self.transfer_out {
                true => drop(compute.insert("Next".into(), json!("TransferOut"))),
                false => drop(compute.insert("End".into(), json!(true))),
            }
        }
        states.insert("Reconstruct".into(), compute);
        if self.transfer_out {
            let transfer = json!({
                "Comment": "Bring the results home",
                "Type": "Action",
                "ActionUrl": TRANSFER_ACTION,
                "Parameters": {
                    "source_endpoint.$": "$.input.transfer.source.id",
                    "destination_endpoint.$": "$.input.transfer.destination.id",
                    "DATA.$": "$.input.transfer.items",
                    "label.$": "$.input.transfer.label",
                    "verify_checksum": true,
                },
                "ResultPath": "$.TransferOut",
                "WaitTime": WAIT,
                "End": true,
            });
            states.insert("TransferOut".into(), transfer);
        }
        json!({ "Comment": "beamrail reconstruction", "StartAt": "Reconstruct", "States": states })
    }

    /// What a run is given, as a JSON schema.
    pub fn input_schema(&self) -> Value {
        let text = json!({ "type": "string" });
        let compute = json!({
            "type": "object",
            "required": ["endpoint", "function", "kwargs"],
            "properties": { "endpoint": text, "function": text, "kwargs": { "type": "object" } },
            "additionalProperties": false,
        });
        let place = json!({ "type": "object", "required": ["id"], "properties": { "id": text } });
        let transfer = json!({
            "type": "object",
            "required": ["source", "destination", "items", "label"],
            "properties": {
                "source": place, "destination": place, "label": text,
                "items": { "type": "array", "minItems": 1, "items": { "type": "object" } },
            },
            "additionalProperties": false,
        });
        let mut parts = json!({ "compute": compute });
        let mut required = vec!["compute"];
        if let (true, Value::Object(parts)) = (self.transfer_out, &mut parts) {
            parts.insert("transfer".into(), transfer);
            required.push("transfer");
        }
        json!({
            "type": "object",
            "required": ["input"],
            "properties": {
                "input": {
                    "type": "object", "required": required, "properties": parts, "additionalProperties": false,
                },
            },
            "additionalProperties": false,
        })
    }

    /// The flow, to be created or changed.
    pub fn document(&self, title: impl Into<String>) -> FlowDocument {
        FlowDocument {
            title: Some(title.into()),
            definition: Some(self.definition()),
            input_schema: Some(self.input_schema()),
            ..FlowDocument::default()
        }
    }

    /// The scope that a run needs: the flow's own, with Transfer and the data of mapped collections below.
    ///
    /// # Errors
    /// An id is not one word.
    pub fn scope(&self, flow: &str) -> Result<Scope> {
        let scope = Scope::flow(flow)?;
        if self.data_access.is_empty() {
            return Ok(scope);
        }
        Ok(scope.with(Scope::transfer_with_data_access(&self.data_access)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_leads_on_or_ends() {
        for transfer_out in [false, true] {
            let flow = ReconstructionFlow { transfer_out, data_access: Vec::new() };
            let definition = flow.definition();
            let states = definition["States"].as_object().unwrap();
            let mut at = definition["StartAt"].as_str().unwrap();
            let mut seen = 1;
            while let Some(next) = states[at].get("Next").and_then(Value::as_str) {
                at = next;
                seen += 1;
            }
            assert_eq!(states[at]["End"], json!(true));
            assert_eq!(seen, states.len());
            assert_eq!(
                flow.input_schema()["properties"]["input"]["required"].as_array().unwrap().len(),
                seen
            );
        }
    }

    #[test]
    fn data_access_is_below_transfer_below_the_flow() {
        let flow = ReconstructionFlow { transfer_out: true, data_access: vec!["c1".into()] };
        let scope = flow.scope("a-b").unwrap().to_string();
        assert_eq!(
            scope,
            "https://auth.globus.org/scopes/a-b/flow_a_b_user[urn:globus:auth:scope:transfer.api.globus.org:all\
             [*https://auth.globus.org/scopes/c1/data_access]]"
        );
    }
}
