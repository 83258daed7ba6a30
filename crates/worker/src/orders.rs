//! Runs for later, made in Prefect: visible there, moved and cancelled there. They come through the outbox, so that a
//! silent server delays them and a repeated message makes none twice.

use beamline::Order;
use beamline::config::Config;
use engine::{Failure, Message, NewRun};
use prefect::Client;

use crate::error::Error;
use crate::starts::make;

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
    let mut new = NewRun::of(&order.flow, order.parameters).named(order.name).key(order.key).at(order.at);
    new.tags = order.tags;
    match make(client, config, &order.flow, new).await {
        Ok(_) => Ok(()),
        // Somebody will set it up.
        Err(error @ Error::NoDeployment { .. }) => Err(Failure::retryable(error.to_string())),
        Err(error) if error.retry_helps() => Err(Failure::retryable(error.to_string())),
        Err(error) => Err(Failure::fatal(error.to_string())),
    }
}
