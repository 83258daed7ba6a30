//! `beamrail check`: is everything there that the configuration names, and who must do what.

use std::time::Duration;

use beamline::check::{self, Depth, Look, Verdict};
use beamline::config::Config;

use super::beam::BeamArgs;
use crate::exit::{Exit, Failure};
use crate::grid::Grid;
use crate::output;

/// Preflight: sites, facilities, credentials, permissions, space
///
/// Checks everything that the configuration names, or only what is named here. Exit code 0: all is well or only
/// worth a warning; 4: something would fail.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    beam: BeamArgs,

    /// Only these sites and facilities
    #[arg(value_name = "SITE|FACILITY")]
    names: Vec<String>,

    /// Seconds to wait for the answer of a worker behind a queue
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Looks at everything.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let config = Config::load(args.beam.config.as_deref())?;
    for name in &args.names {
        if !config.sites.contains_key(name) && !config.facilities.contains_key(name) {
            let known: Vec<&str> =
                config.sites.keys().chain(config.facilities.keys()).map(String::as_str).collect();
            return Err(Failure::usage(format!("there is no site or facility {name}")).hint(known.join(", ")));
        }
    }
    let wanted = |name: &String| args.names.is_empty() || args.names.contains(name);
    let depth = Depth { writes: true, patience: Some(Duration::from_secs(args.patience)) };
    let mut all = if args.names.is_empty() { check::state(&config) } else { Vec::new() };
    super::globus::runtime()?.block_on(async {
        for name in config.sites.keys().filter(|name| wanted(name)) {
            all.extend(check::site(&config, name, depth).await);
        }
        for name in config.facilities.keys().filter(|name| wanted(name)) {
            all.extend(check::facility(&config, name, depth).await);
        }
    });
    let faults = all.iter().filter(|look| look.verdict == Verdict::Fault).count();
    if args.json {
        output::print_json(&all)?;
    } else {
        output::print(&table(&all))?;
    }
    match faults {
        0 => Ok(()),
        1 => Err(Failure::new(Exit::Service, "one check failed; the table says who must do what")),
        n => Err(Failure::new(Exit::Service, format!("{n} checks failed; the table says who must do what"))),
    }
}

fn table(all: &[Look]) -> String {
    let mut grid = Grid::new(&["place", "check", "", "found", "to do"]);
    for look in all {
        let mark = match look.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "WARNING",
            Verdict::Fault => "FAULT",
        };
        let action = look.action.clone().unwrap_or_default();
        grid.row([look.place.clone(), look.what.clone(), mark.into(), look.found.clone(), action]);
    }
    grid.text()
}
