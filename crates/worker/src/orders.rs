//! Runs for later, made in Prefect: visible there, moved and cancelled there. They come through the outbox, so that a
//! silent server delays them and a repeated message makes none twice.

use beamline::Order;
use beamline::config::Config;
use engine::{Failure, Message};
use prefect::{Client, NewFlowRun, Proposal, StateType};

/// The outbox's topic.
pub const ORDERS: &str = "prefect-run";

/// Makes the run that a message orders.
///
/// # Errors
/// The server is silent, or the deployment is missing: later may do. The message cannot be read, or the server refuses
/// it: it may not.
pub async fn deliver_order(client: &Client, config: &Config, message: &Message) -> Result<(), Failure> {
    let order: Order = serde_json::from_value(message.payload.clone())
        .map_err(|error| Failure::fatal(format!("message {}: {error}", message.key)))?;
    let (flow, name) = config.deployment_of(&order.flow);
    let explain = |error: prefect::Error| match error.retry_helps() {
        true => Failure::retryable(error.to_string()),
        false => Failure::fatal(error.to_string()),
    };
    let found = client.deployment(&flow, &name).await.map_err(explain)?;
    let deployment = found.ok_or_else(|| {
        Failure::retryable(format!(
            "Prefect has no deployment {flow}/{name}; `beamrail prefect setup` makes it"
        ))
    })?;
    let new = NewFlowRun {
        name: Some(order.name),
        parameters: order.parameters,
        idempotency_key: Some(order.key),
        tags: order.tags,
        state: Some(Proposal::new(StateType::Scheduled).at(order.at)),
        ..NewFlowRun::default()
    };
    client.run_deployment(deployment.id, &new).await.map_err(explain)?;
    Ok(())
}
