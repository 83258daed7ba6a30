//! `beamrail prefect`: set-up and diagnosis of a Prefect server.

mod setup;
mod start;
mod status;
mod work;

use std::collections::BTreeSet;
use std::path::PathBuf;

use ::prefect::{Client, Secret, Settings};
use worker::{Change, Item, Saved, Wanted};

use super::beam::{Beam, BeamArgs};
use crate::exit::{Exit, Failure};
use crate::grid::Grid;
pub(crate) use start::{Start, start};
pub(crate) use work::work;

/// Prefect: set-up and diagnosis
///
/// The server is that of PREFECT_API_URL (http://HOST:4200/api), with PREFECT_API_AUTH_STRING (user:password) or
/// PREFECT_API_KEY; each of the two may be a file that the variable with _FILE at its end names.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    beam: BeamArgs,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Setup(setup::Setup),
    Status(status::Status),
}

/// Does what was asked for.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Setup(setup) => setup::setup(&args.beam, setup),
        Command::Status(status) => status::status(&args.beam, status),
    }
}

/// A client, where PREFECT_API_URL names a server.
pub(crate) fn client() -> Result<Option<Client>, Failure> {
    let names = ["PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_API_KEY"];
    let mut given = Vec::new();
    for name in names {
        given.push((name, variable(name)?));
    }
    let get = |name: &str| given.iter().find(|(one, _)| *one == name).and_then(|(_, value)| value.clone());
    let Some(settings) = Settings::from_env(get)? else { return Ok(None) };
    Ok(Some(Client::new(settings)?))
}

/// A client; without a server's name there is nothing to do.
fn needed() -> Result<Client, Failure> {
    client()?.ok_or_else(|| {
        Failure::usage("PREFECT_API_URL is not set, so there is no Prefect server to speak to")
            .hint("PREFECT_API_URL=http://HOST:4200/api, in the environment")
    })
}

/// A variable of the environment, or the content of the file that `NAME_FILE` names.
///
/// # Errors
/// The file cannot be read. Its content is not told.
pub(crate) fn variable(name: &str) -> Result<Option<String>, Failure> {
    let plain = |name: &str| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
    if let Some(text) = plain(name) {
        return Ok(Some(text));
    }
    let Some(file) = plain(&format!("{name}_FILE")) else { return Ok(None) };
    match std::fs::read_to_string(&file) {
        Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned())),
        Err(error) => Err(Failure::new(Exit::BadInput, format!("{name}_FILE: cannot read {file}: {error}"))),
    }
}

/// The file that keeps what deployments were before they were taken over.
fn kept(beam: &Beam) -> PathBuf {
    beam.config.state.join("prefect-takeover.json")
}

/// What should be in Prefect. `secrets`: with their values.
fn wanted(beam: &Beam, client: &Client, pool: Option<&String>, secrets: bool) -> Result<Wanted, Failure> {
    let config = &beam.config;
    let server = client.settings().api.as_str();
    let taken: BTreeSet<String> = worker::saved(&kept(beam))?
        .into_iter()
        .filter(|one| one.server == server)
        .map(|one| format!("{}/{}", one.flow, one.name))
        .collect();
    let mut values = Vec::new();
    for (name, of) in beamline::settings::SECRETS {
        let value = if secrets { variable(of)?.map(Secret::new) } else { None };
        values.push((name.to_owned(), value));
    }
    Ok(Wanted {
        priorities: config.prefect_priorities(),
        settings: beamline::settings::initial(config),
        secrets: values,
        taken,
        ..Wanted::new(
            pool.unwrap_or(&config.prefect.pool).clone(),
            config.prefect_deployments(&beam.registry),
        )
    })
}

/// A plan for people. `done`: it was acted on.
fn table(items: &[(Item, Change)], saved: &[Saved], done: bool) -> String {
    let mut grid = Grid::new(&["what", "name", "state"]);
    for (item, change) in items {
        grid.row([item.kind().to_owned(), item.name(), words(item, change, saved, done)]);
    }
    grid.text()
}

fn words(item: &Item, change: &Change, saved: &[Saved], done: bool) -> String {
    match change {
        Change::Same => "there".to_owned(),
        Change::Missing if done => "made".to_owned(),
        Change::Missing => "missing".to_owned(),
        Change::Differs(fields) if done => format!("put right: {}", fields.join(", ")),
        Change::Differs(fields) => format!("differs: {}", fields.join(", ")),
        Change::Foreign(pool) => {
            format!("left alone: workers of pool {pool} serve it; --takeover points it here")
        }
        Change::TakenOver => {
            let was = saved.iter().find(|one| format!("{}/{}", one.flow, one.name) == item.name());
            let pool = was.map_or("another pool", Saved::pool);
            format!("taken over from pool {pool}; --rollback puts it back")
        }
        Change::Absent => {
            let of = beamline::settings::SECRETS.iter().find(|(name, _)| *name == item.name());
            let of = of.map_or("", |(_, of)| of);
            match variable(of) {
                Ok(Some(_)) => format!("not in Prefect; taken from the environment ({of})"),
                _ => format!("not in Prefect, and {of} is not set"),
            }
        }
    }
}

/// A plan for programs.
fn as_json(items: &[(Item, Change)]) -> serde_json::Value {
    let one = |(item, change): &(Item, Change)| {
        let (state, fields, pool) = match change {
            Change::Same => ("there", None, None),
            Change::Missing => ("missing", None, None),
            Change::Differs(fields) => ("differs", Some(fields), None),
            Change::Foreign(pool) => ("foreign", None, Some(pool)),
            Change::TakenOver => ("taken-over", None, None),
            Change::Absent => ("absent", None, None),
        };
        serde_json::json!({
            "kind": item.kind(), "name": item.name(), "state": state, "fields": fields, "pool": pool,
        })
    };
    items.iter().map(one).collect()
}
