//! `beamrail globus`: set-up and diagnosis of Globus.

mod files;
mod program;
mod setup;
mod tasks;

use std::sync::Arc;

use beamline::config::{Config, SiteKind, expand};
use globus::{Globus, Settings};
use sites::{GlobusStorage, Link};

use super::beam::BeamArgs;
use crate::exit::{Exit, Failure};
use crate::output::{self, Table};
use crate::progress::Mode;

/// Globus: set-up and diagnosis
///
/// Credentials come from the environment: GLOBUS_CLIENT_ID and GLOBUS_CLIENT_SECRET, or files that GLOBUS_CLIENT_ID_FILE
/// and GLOBUS_CLIENT_SECRET_FILE name.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    beam: BeamArgs,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Who the client is, and which services accept it
    Whoami {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    Ls(files::Ls),
    Transfer(files::Transfer),
    Task(tasks::Task),
    /// Endpoints of Globus Compute
    Endpoint {
        #[command(subcommand)]
        what: Endpoint,
    },
    Setup(setup::Setup),
}

#[derive(Debug, clap::Subcommand)]
enum Endpoint {
    Status(tasks::Status),
}

/// Does what was asked for.
pub(crate) fn run(args: &Args, progress: Mode) -> Result<(), Failure> {
    match &args.command {
        Command::Whoami { json } => whoami(*json),
        Command::Ls(ls) => files::ls(&args.beam, ls),
        Command::Transfer(transfer) => files::transfer(&args.beam, transfer, progress),
        Command::Task(task) => tasks::task(task),
        Command::Endpoint { what: Endpoint::Status(status) } => tasks::endpoint(&args.beam, status),
        Command::Setup(setup) => setup::setup(&args.beam, setup),
    }
}

/// A client of its own, for what needs no beamline.
fn client() -> Result<Globus, Failure> {
    Ok(Globus::new(Settings::from_env(|name| std::env::var(name).ok())?)?)
}

/// Threads to wait on.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(|error| Failure::new(Exit::Failed, format!("cannot start threads: {error}")))
}

/// A site of the configuration as a collection.
pub(super) fn collection(config: &Config, link: &Arc<Link>, name: &str) -> Result<GlobusStorage, Failure> {
    let globus: Vec<&str> = config
        .sites
        .iter()
        .filter(|(_, site)| site.kind == SiteKind::Globus)
        .map(|(name, _)| name.as_str())
        .collect();
    let site = config.sites.get(name).filter(|site| site.kind == SiteKind::Globus).ok_or_else(|| {
        Failure::usage(format!("there is no site {name} of kind globus")).hint(globus.join(", "))
    })?;
    let id = site.more.get("collection").map(String::as_str).unwrap_or_default();
    let id = expand(id, variable).map_err(|missing| {
        Failure::new(Exit::BadInput, format!("site {name}: {missing} is not set"))
            .hint(format!("set {missing} in the environment of beamrail"))
    })?;
    let root = site.root.to_string_lossy();
    Ok(GlobusStorage::new(name, link.clone(), id, root).with_data_access(site.data_access))
}

/// A variable of the environment; an empty one counts as not set.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

fn whoami(json: bool) -> Result<(), Failure> {
    let (globus, runtime) = (client()?, runtime()?);
    let user = runtime.block_on(globus.auth().userinfo())?;
    let pending = runtime.block_on(globus.transfer().pending())?;
    let version = runtime.block_on(globus.compute().version());
    if json {
        return output::print_json(&serde_json::json!({
            "client": globus.settings().credentials.id, "identity": user, "pending_transfers": pending,
            "compute": version.ok().map(|version| version.api),
        }));
    }
    let mut table = Table::default();
    table.row("client", globus.settings().credentials.id.clone());
    table.row("identity", user.text());
    table.row("transfer", format!("accepted; {pending} tasks pending"));
    table.row(
        "compute",
        match version {
            Ok(version) => format!("accepted; version {}", version.api),
            Err(error) => format!("refused: {error}"),
        },
    );
    output::print(&table.text())
}
