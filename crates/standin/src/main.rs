//! `beamrail-standin`: services for demonstrations and tests, on the loopback interface.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use standin::globus::{Compute, Config, Standin};

/// Stand-ins for services that cannot run offline. Never for production.
#[derive(Parser)]
#[command(name = "beamrail-standin", version)]
struct Cli {
    #[command(subcommand)]
    service: Service,
}

#[derive(Subcommand)]
enum Service {
    /// Globus Auth, Transfer, Flows and Compute. Prints one line of JSON once it listens.
    Globus(Globus),
}

#[derive(clap::Args)]
struct Globus {
    /// Address on the loopback interface; port 0 is a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Folder for the state, which survives a restart.
    #[arg(long)]
    state: PathBuf,
    /// A folder served as a collection: NAME=UUID=DIR.
    #[arg(long = "collection", value_name = "NAME=UUID=DIR")]
    collections: Vec<String>,
    /// Name of a collection that wants the scope data_access.
    #[arg(long, value_name = "NAME")]
    needs_consent: Vec<String>,
    /// Name of a collection that refuses writes.
    #[arg(long, value_name = "NAME")]
    read_only: Vec<String>,
    /// A confidential client: ID:SECRET.
    #[arg(long = "client", value_name = "ID:SECRET")]
    clients: Vec<String>,
    /// UUID of the compute endpoint; made and kept if absent.
    #[arg(long)]
    endpoint: Option<String>,
    /// Who executes compute tasks: local, or amqp:URL for a real endpoint behind RabbitMQ.
    #[arg(long, default_value = "local")]
    compute: String,
    /// Python for local tasks; for amqp, one that has pika.
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Seconds for which a token is good.
    #[arg(long, default_value_t = 172_800)]
    token_lifetime: u64,
}

fn main() -> ExitCode {
    let Service::Globus(arguments) = Cli::parse().service;
    match serve(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Nobody is left to tell if this cannot be written.
            let _ = writeln!(std::io::stderr(), "error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: Globus) -> Result<(), String> {
    // Before anything else: a signal that comes early must stop what was started.
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| format!("signals: {error}"))?;
    let standin = Standin::start(config(arguments)?).map_err(|error| error.to_string())?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", standin.announcement())
        .and_then(|()| out.flush())
        .map_err(|error| format!("stdout: {error}"))?;
    signals.forever().next();
    drop(standin);
    Ok(())
}

fn config(arguments: Globus) -> Result<Config, String> {
    let compute = match arguments.compute.split_once(':') {
        None if arguments.compute == "local" => Compute::Local { python: arguments.python },
        Some(("amqp", url)) => Compute::Amqp {
            url: if url.starts_with("//") { format!("amqp:{url}") } else { url.to_owned() },
            python: arguments.python,
        },
        _ => return Err(format!("--compute {}: give local, or amqp:URL", arguments.compute)),
    };
    let mut config = Config::new(arguments.state).listen(arguments.listen).compute(compute);
    config = config.token_lifetime(arguments.token_lifetime);
    for collection in &arguments.collections {
        let parts: Vec<&str> = collection.splitn(3, '=').collect();
        let [name, id, folder] = parts[..] else {
            return Err(format!("--collection {collection}: give NAME=UUID=DIR"));
        };
        config = config.collection(name, id, folder);
    }
    for name in &arguments.needs_consent {
        config = config.needs_consent(name);
    }
    for name in &arguments.read_only {
        config = config.read_only(name);
    }
    for client in &arguments.clients {
        let (id, secret) = client.split_once(':').ok_or("--client: give ID:SECRET")?;
        config = config.client(id, secret);
    }
    Ok(match &arguments.endpoint {
        Some(id) => config.endpoint(id),
        None => config,
    })
}
