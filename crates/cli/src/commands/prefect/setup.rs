//! `beamrail prefect setup`: what Prefect must have for this beamline, made.

use serde_json::json;

use super::super::beam::{Beam, BeamArgs, PREFECT_LEDGER};
use super::super::live::say;
use super::{as_json, kept, needed, table, wanted};
use crate::exit::Failure;
use crate::output;

/// Make what Prefect must have: pool, queues, deployments, schedules, settings, an automation
///
/// Run it again after each change of the configuration and each new version: it makes what is missing, puts right what
/// differs, and leaves alone what people wrote: settings, secrets, what is paused. Deployments that workers of another
/// pool serve are not touched without --takeover.
#[derive(Debug, clap::Args)]
pub(crate) struct Setup {
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// Point deployments of these names at our pool that other workers serve; what they were is kept for --rollback
    #[arg(long, conflicts_with = "rollback")]
    takeover: bool,

    /// Put all deployments back that were taken over, and make nothing
    #[arg(long)]
    rollback: bool,

    /// The pool [default: [prefect] pool of the configuration, else "beamrail"]
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,

    /// Copy the Globus credentials from the environment into Secret blocks that do not exist. Whoever reaches the server
    /// can read those; without this flag credentials stay in the environment
    #[arg(long)]
    secrets: bool,

    /// Make this state folder custody's owner, in the place of another that is gone for good. What that one knew of
    /// copies is lost with it: nothing that it alone knew is deleted, until `reconcile` finds it
    #[arg(long)]
    custody_here: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Compares, and does what is missing.
pub(super) fn setup(args: &BeamArgs, setup: &Setup) -> Result<(), Failure> {
    let beam = Beam::open(args)?;
    let client = needed()?;
    if setup.rollback {
        return rollback(&beam, &client, setup);
    }
    if setup.custody_here && !setup.dry_run {
        let mark = worker::mark(&beam.config.state.join(PREFECT_LEDGER))?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        if let Some(before) = beam.wait(worker::take_custody(&client, &mark, &host))? {
            say(&format!("custody was with {} since {}; it is here now", before.host, before.since));
        }
    }
    let wanted = wanted(&beam, &client, setup.pool.as_ref(), setup.secrets)?;
    let pool = wanted.pool.clone();
    let plan = beam.wait(worker::plan(&client, wanted))?;
    let mut taken = Vec::new();
    if !setup.dry_run {
        beam.wait(plan.apply(&client))?;
        if setup.takeover {
            taken = beam.wait(worker::take_over(&client, &plan, &kept(&beam)))?;
        }
    }
    let version = beam.wait(client.version())?.to_string();
    let server = client.settings().api.as_str();
    if setup.json {
        return output::print_json(&json!({
            "server": server, "version": version, "pool": pool, "dry_run": setup.dry_run,
            "was_done": plan.is_done(), "items": as_json(&plan.items), "taken_over": taken,
        }));
    }
    let saved = worker::saved(&kept(&beam))?;
    output::print(&table(&plan.items, &saved, !setup.dry_run))?;
    for name in &taken {
        say(&format!("{name} is taken over; beamrail prefect setup --rollback puts it back"));
    }
    say(&match (plan.is_done() && taken.is_empty(), setup.dry_run) {
        (true, _) => format!("Prefect {version} at {server} has all it needs"),
        (false, true) => "nothing was done: this was a dry run".to_owned(),
        (false, false) => format!("Prefect {version} at {server} is set up; start workers: beamrail worker"),
    });
    Ok(())
}

fn rollback(beam: &Beam, client: &::prefect::Client, setup: &Setup) -> Result<(), Failure> {
    let file = kept(beam);
    let server = client.settings().api.as_str();
    if setup.dry_run {
        let saved = worker::saved(&file)?.into_iter().filter(|one| one.server == server);
        let names: Vec<String> =
            saved.map(|one| format!("{}/{} to pool {}", one.flow, one.name, one.pool())).collect();
        if setup.json {
            return output::print_json(&json!({ "dry_run": true, "would_put_back": names }));
        }
        return output::print(&if names.is_empty() {
            "nothing was taken over".to_owned()
        } else {
            names.join("\n")
        });
    }
    let back = beam.wait(worker::put_back(client, &file))?;
    if setup.json {
        let back: Vec<_> = back.iter().map(|(name, left)| json!({ "name": name, "differs": left })).collect();
        return output::print_json(&json!({ "put_back": back }));
    }
    if back.is_empty() {
        say("nothing was taken over");
    }
    for (name, left) in &back {
        output::print(&match left.is_empty() {
            true => format!("{name} is what it was"),
            false => format!(
                "{name} differs still from what it was: {}; {} keeps it",
                left.join(", "),
                file.display()
            ),
        })?;
    }
    Ok(())
}
