//! `beamrail worker`: do the runs that others start.

use std::io::Write;
use std::time::Duration;

use beamline::config::Config;
use engine::{Failure as RunFailure, Message, Worker};

use super::beam::{Beam, BeamArgs};
use super::live::say;
use crate::exit::Failure;
use crate::output;

/// Do runs: claim them, execute their flows, survive what happens
///
/// Runs go on where they were when the worker or its machine dies; another worker of the same journal takes them over
/// after 30 s. On SIGTERM or Ctrl-C, runs get 10 s and are handed back; work outside goes on and is found again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    beam: BeamArgs,

    /// The pool to work for
    #[arg(long, value_name = "POOL", default_value = "default")]
    pool: String,

    /// Only these queues of it
    #[arg(long, value_name = "QUEUE")]
    queue: Vec<String>,

    /// Runs at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: u16,

    /// End when nothing is due and nothing is at work
    #[arg(long)]
    once: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Works until told to stop.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let beam = Beam::open(&args.beam)?;
    beam.deploy()?;
    let stop = super::stop_on_signals()?;
    let worker = Worker::new(beam.engine.store(), beam.registry.clone())
        .pool(&args.pool)
        .queues(args.queue.clone())
        .concurrency(args.concurrency.into());
    let mut worker = with_couriers(worker, &beam.config);
    // Where a test wants the process killed at a journal write.
    if let Some(kill) = engine::faults::KillAt::from_env() {
        worker = worker.faults(std::sync::Arc::new(kill));
    }
    say(&format!(
        "worker of pool {} for beamline {}: {} flows, journal {}",
        args.pool,
        beam.config.beamline.id,
        beam.registry.iter().count(),
        beam.config.journal().display()
    ));
    let stopped = async move {
        while !stop.requested() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let summary = beam
        .wait(async { if args.once { worker.run_until_idle().await } else { worker.run(stopped).await } })?;
    let left: serde_json::Map<String, serde_json::Value> =
        summary.left.iter().map(|(kind, count)| (kind.to_string(), (*count).into())).collect();
    if args.json {
        return output::print_json(&serde_json::json!({
            "claimed": summary.claimed, "left": left, "lost": summary.lost, "delivered": summary.delivered,
        }));
    }
    let left: Vec<String> = left.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    say(&format!("worked on {} runs: {}", summary.claimed, left.join(", ")));
    Ok(())
}

/// A worker that delivers what this version can deliver: announcements go into a file of the state folder and to
/// stderr. Messages for a catalogue stay in the outbox until there is one.
pub(crate) fn with_couriers(worker: Worker, config: &Config) -> Worker {
    let file = config.state.join("announcements.jsonl");
    worker.deliver("announcement", move |message: Message| {
        let file = file.clone();
        async move {
            let line = serde_json::json!({ "key": message.key, "announcement": message.payload });
            let written = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(&file)
                .and_then(|mut file| writeln!(file, "{line}").and_then(|()| file.sync_data()));
            written.map_err(|error| RunFailure::retryable(format!("{}: {error}", file.display())))?;
            say(&format!("announcement: {}", message.payload));
            Ok(())
        }
    })
}
