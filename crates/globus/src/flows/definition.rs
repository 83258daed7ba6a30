//! The flow that the beamline's set-up asks for: reconstruct by Compute, then bring the results home by Transfer.

use serde_json::{Value, json};

use super::{Flow, FlowDocument};
use crate::error::Result;
use crate::scope::Scope;

/// The action that runs functions.
pub const COMPUTE_ACTION: &str = "https://compute.actions.globus.org/fxap";
/// The action that transfers.
pub const TRANSFER_ACTION: &str = "https://actions.globus.org/transfer/transfer";
/// The state that reconstructs.
pub(super) const RECONSTRUCT: &str = "Reconstruct";
/// Seconds that an action may take before the flow gives it up.
const WAIT: u64 = 86_400;

/// A flow of one reconstruction, after which a transfer of the results follows where a run asks for one.
///
/// Whether it follows is the run's choice and not the definition's, because a client without a subscription may
/// keep one flow only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReconstructionFlow {
    /// Mapped collections whose data the transfer needs.
    pub data_access: Vec<String>,
}

impl ReconstructionFlow {
    /// The flow's states. A run is given `compute` with `endpoint`, `function` and `kwargs`; and, where results are
    /// to go on, `transfer` with `source`, `destination` (`id` each), `items` and `label`.
    pub fn definition(&self) -> Value {
        json!({
            "Comment": "beamrail reconstruction",
            "StartAt": RECONSTRUCT,
            "States": {
                RECONSTRUCT: {
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
                    "Next": "WhereTo",
                },
                "WhereTo": {
                    "Comment": "Whether the run asks for a transfer",
                    "Type": "Choice",
                    "Choices": [{ "Variable": "$.input.transfer", "IsPresent": true, "Next": "TransferOut" }],
                    "Default": "Done",
                },
                "TransferOut": {
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
                },
                "Done": { "Type": "Pass", "End": true },
            },
        })
    }

    /// What a run of the reconstruction alone is given.
    pub fn input(endpoint: &str, function: &str, kwargs: &Value) -> Value {
        json!({ "input": { "compute": { "endpoint": endpoint, "function": function, "kwargs": kwargs } } })
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
        let parts = json!({ "compute": compute, "transfer": transfer });
        json!({
            "type": "object",
            "required": ["input"],
            "properties": {
                "input": {
                    "type": "object", "required": ["compute"], "properties": parts, "additionalProperties": false,
                },
            },
            "additionalProperties": false,
        })
    }

    /// Whether a flow of the service says all that this one says; what the service adds of its own does no harm.
    pub fn is_like(&self, flow: &Flow) -> bool {
        says(&flow.definition, &self.definition())
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

/// Whether everything in `wanted` is in `found`.
fn says(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| found.get(key).is_some_and(|found| says(found, wanted)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| says(found, wanted))
        }
        _ => found == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_reached_and_leads_on_or_ends() {
        let flow = ReconstructionFlow::default();
        let definition = flow.definition();
        let states = definition["States"].as_object().unwrap();
        let (mut seen, mut next) = (Vec::new(), vec![definition["StartAt"].as_str().unwrap()]);
        while let Some(at) = next.pop() {
            let state = &states[at];
            seen.push(at);
            let mut on: Vec<&str> =
                [&state["Next"], &state["Default"]].into_iter().filter_map(Value::as_str).collect();
            on.extend(
                state["Choices"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|choice| choice["Next"].as_str()),
            );
            assert_ne!(on.is_empty(), state["End"] != json!(true), "{at}");
            next.extend(on);
        }
        seen.sort_unstable();
        assert_eq!(seen, ["Done", "Reconstruct", "TransferOut", "WhereTo"]);
        let input = ReconstructionFlow::input("e", "f", &json!({}));
        let schema = &flow.input_schema()["properties"]["input"];
        for key in schema["required"].as_array().unwrap() {
            assert!(input["input"].get(key.as_str().unwrap()).is_some(), "{key}");
        }
    }

    #[test]
    fn a_flow_that_says_more_is_like_and_one_that_says_else_is_not() {
        let wanted = ReconstructionFlow::default().definition();
        let mut found = wanted.clone();
        found["States"]["Reconstruct"]["ExceptionOnActionFailure"] = json!(true);
        assert!(says(&found, &wanted));
        found["States"]["Reconstruct"]["ActionUrl"] = json!("https://example.org/");
        assert!(!says(&found, &wanted));
        assert!(!says(&json!({}), &wanted));
    }

    #[test]
    fn data_access_is_below_transfer_below_the_flow() {
        let flow = ReconstructionFlow { data_access: vec!["c1".into()] };
        let scope = flow.scope("a-b").unwrap().to_string();
        assert_eq!(
            scope,
            "https://auth.globus.org/scopes/a-b/flow_a_b_user[urn:globus:auth:scope:transfer.api.globus.org:all\
             [*https://auth.globus.org/scopes/c1/data_access]]"
        );
    }
}
