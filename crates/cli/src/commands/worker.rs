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
///
/// Where PREFECT_API_URL is set, it does the runs of a pool of that Prefect server (beamrail prefect setup makes it) and
/// shows them there; while the server is silent, what runs goes on and is told later.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    beam: BeamArgs,

    /// The pool to work for [default: "default"; on Prefect [prefect] pool of the configuration, else "beamrail"]
    #[arg(long, value_name = "POOL")]
    pub(super) pool: Option<String>,

    /// Only these queues of it; may be given several times
    #[arg(long, value_name = "QUEUE")]
    pub(super) queue: Vec<String>,

    /// Its name in Prefect [default: "beamrail HOST"]; two workers of one pool must not share one
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,

    /// Runs at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) concurrency: u16,

    /// End when nothing is due and nothing is at work
    #[arg(long)]
    pub(super) once: bool,

    /// Do nothing but say whether a worker of this host gives signs of life; the exit code is 1 where none does
    #[arg(long, conflicts_with = "once")]
    health: bool,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Works until told to stop.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if args.health {
        return super::health::health(&args.beam, args.json);
    }
    let beam = Beam::open_with_settings(&args.beam)?;
    if let Some(client) = super::prefect::client()? {
        return super::prefect::work(args, &beam, client);
    }
    beam.deploy_as_worker(None)?;
    let pool = args.pool.as_deref().unwrap_or("default");
    let stop = super::stop_on_signals()?;
    let worker = Worker::new(beam.engine.store(), beam.registry.clone())
        .pool(pool)
        .queues(args.queue.clone())
        .concurrency(args.concurrency.into());
    let mut worker = with_couriers(worker, &beam.config);
    // Where a test wants the process killed at a journal write.
    if let Some(kill) = engine::faults::KillAt::from_env() {
        worker = worker.faults(std::sync::Arc::new(kill));
    }
    say(&format!(
        "worker of pool {} for beamline {}: {} flows, journal {}",
        pool,
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
