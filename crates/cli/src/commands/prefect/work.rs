//! `beamrail worker` on a Prefect server.

use std::time::Duration;

use ::prefect::Client;
use serde_json::json;
use worker::Options;

use super::super::beam::{Beam, PREFECT_LEDGER};
use super::super::live::say;
use super::super::stop_on_signals;
use super::super::worker::{Args, with_couriers};
use crate::exit::Failure;
use crate::output;

/// Does the runs of a pool until told to stop.
pub(crate) fn work(args: &Args, beam: &Beam, client: Client) -> Result<(), Failure> {
    if args.once {
        return Err(Failure::usage("--once is for the journal alone: runs of a Prefect server never end")
            .hint("unset PREFECT_API_URL, or leave --once out"));
    }
    let server = client.settings().api.to_string();
    beam.deploy_as_worker(Some(&server))?;
    let stop = stop_on_signals()?;
    let pool = args.pool.clone().unwrap_or_else(|| beam.config.prefect.pool.clone());
    let mut options = Options {
        queues: args.queue.clone(),
        concurrency: args.concurrency.into(),
        aliases: beam.config.aliases(&beam.registry),
        ..Options::new(&pool)
    };
    if let Some(name) = &args.name {
        options.name.clone_from(name);
    }
    say(&format!(
        "worker {:?} of pool {pool} at {server} for beamline {}: {} flows, journal {}",
        options.name,
        beam.config.beamline.id,
        beam.registry.iter().count(),
        beam.config.journal().display()
    ));
    let ledger = beam.config.state.join(PREFECT_LEDGER);
    let (config, orders, reports) = (beam.config.clone(), client.clone(), client.clone());
    let kill = engine::faults::KillAt::from_env();
    let worker =
        worker::Worker::new(client, beam.engine.clone(), beam.registry.clone(), &ledger, options, say)?
            .of(&beam.beamline)
            .configure(move |worker| {
                let worker = with_couriers(worker, &config).deliver(worker::ORDERS, move |message| {
                    let (client, config) = (orders.clone(), config.clone());
                    async move { worker::deliver_order(&client, &config, &message).await }
                });
                let worker = worker.deliver(worker::REPORTS, move |message| {
                    let client = reports.clone();
                    async move { worker::deliver_report(&client, &message).await }
                });
                match kill {
                    Some(kill) => worker.faults(std::sync::Arc::new(kill)),
                    None => worker,
                }
            });
    let stopped = async move {
        while !stop.requested() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let summary = beam.wait(worker.run(stopped))?;
    if args.json {
        return output::print_json(&json!({
            "claimed": summary.claimed, "given_back": summary.given_back, "requests": summary.requests,
            "busy": summary.busy,
        }));
    }
    say(&format!(
        "claimed {} runs, gave {} back; {} requests, {} of which the server was too busy for",
        summary.claimed, summary.given_back, summary.requests, summary.busy
    ));
    Ok(())
}
