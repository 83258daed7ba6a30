//! `beamrail prefect status`: what the server has, what differs, who works, and which settings are in force.

use ::prefect::{Client, WorkerSeen};
use serde_json::{Value, json};

use super::super::beam::{Beam, BeamArgs, time};
use super::super::live::say;
use super::{as_json, kept, needed, table, wanted};
use crate::exit::Failure;
use crate::grid::Grid;
use crate::output::{self, Table};

/// Show what the Prefect server has for this beamline, and what differs from the configuration
///
/// Settings are shown with the place where they are in force: a block or variable of Prefect, else the configuration.
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// The pool [default: [prefect] pool of the configuration, else "beamrail"]
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is asked of the server.
struct Seen {
    workers: Vec<WorkerSeen>,
    settings: Vec<(String, String, Value)>,
    owner: Option<worker::Owner>,
}

/// Shows it.
pub(super) fn status(args: &BeamArgs, status: &Status) -> Result<(), Failure> {
    let beam = Beam::open(args)?;
    let client = needed()?;
    let wanted = wanted(&beam, &client, status.pool.as_ref(), false)?;
    let pool = wanted.pool.clone();
    let plan = beam.wait(worker::plan(&client, wanted))?;
    let version = beam.wait(client.version())?.to_string();
    let seen = beam.wait(look(&client, &beam, &pool))?;
    let waiting = beam.wait(beam.engine.undelivered())?.len();
    let server = client.settings().api.as_str();
    if status.json {
        let workers: Vec<Value> = seen
            .workers
            .iter()
            .map(
                |one| json!({ "name": one.name, "status": one.status, "last_sign": one.last_heartbeat_time }),
            )
            .collect();
        let settings: Vec<Value> = seen
            .settings
            .iter()
            .map(|(name, place, value)| json!({ "name": name, "from": place, "value": value }))
            .collect();
        return output::print_json(&json!({
            "server": server, "version": version, "pool": pool, "drift": !plan.is_done(),
            "items": as_json(&plan.items), "workers": workers, "settings": settings, "outbox": waiting,
            "custody": seen.owner,
        }));
    }
    let mut head = Table::default();
    head.row("server", format!("{server}, Prefect {version}"));
    head.row("pool", pool);
    let owner = match &seen.owner {
        Some(owner) => format!("with {} since {}", owner.host, time(owner.since)),
        None => "with the first worker that starts".to_owned(),
    };
    head.row("custody", owner);
    head.row("waiting to be told", waiting.to_string());
    output::print(&head.text())?;
    let mut grid = Grid::new(&["worker", "state", "last sign of life"]);
    for one in &seen.workers {
        let last = one.last_heartbeat_time.map(time).unwrap_or_default();
        grid.row([one.name.clone(), one.status.clone().unwrap_or_default(), last]);
    }
    if grid.is_empty() {
        say("no worker has been seen: beamrail worker");
    } else {
        output::print(&format!("\n{}", grid.text()))?;
    }
    output::print(&format!("\n{}", table(&plan.items, &worker::saved(&kept(&beam))?, false)))?;
    let mut grid = Grid::new(&["setting", "from", "value"]);
    for (name, place, value) in &seen.settings {
        grid.row([name.clone(), place.clone(), value.to_string()]);
    }
    output::print(&format!("\n{}", grid.text()))?;
    if !plan.is_done() {
        say("what is missing or differs is put right by: beamrail prefect setup");
    }
    Ok(())
}

async fn look(client: &Client, beam: &Beam, pool: &str) -> Result<Seen, worker::Error> {
    let workers = match client.work_pool(pool).await? {
        Some(_) => client.workers(pool).await?,
        None => Vec::new(),
    };
    let initial = beamline::settings::initial(&beam.config);
    let mut settings = Vec::new();
    for name in beamline::settings::names(&beam.config) {
        let found = client.find_setting(&name).await?;
        let own = || initial.iter().find(|(one, _)| *one == name).map(|(_, value)| value.clone());
        let (place, value) = match found {
            Some(found) => found,
            None => match own() {
                Some(value) => ("the configuration".to_owned(), value),
                None => continue,
            },
        };
        settings.push((name, place, value));
    }
    Ok(Seen { workers, settings, owner: worker::owner(client).await? })
}
