//! `beamrail prune`: what may be deleted, the deletion, and what was deleted.

use clap::Subcommand;
use custody::{Entry, Event, LedgerFilter, Plan};
use engine::{NewRun, Orchestrator};
use serde_json::json;

use super::beam::{Beam, BeamArgs, time, who};
use super::live::{ending, say};
use crate::exit::Failure;
use crate::grid::Grid;
use crate::output::{self, bytes};
use crate::progress::Mode;

/// Delete copies whose time is over, and say why each may go or may not
///
/// Deletion starts switched off: there are plans, and nothing is deleted, until `beamrail prune on`. Each copy is
/// judged when the plan is made and again at the moment of the act: age, policy, holds, runs that use it, and the
/// files of another verified copy.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    beam: BeamArgs,

    /// Print JSON
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what may go, what may not and why, and what waits for its time (what `beamrail prune` does)
    Plan,
    /// Make a plan and act on it
    Run,
    /// Print the ledger of deletions and refusals
    History {
        /// At most so many lines, the newest
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// Switch deletion on: from now on plans are acted on
    On,
    /// Switch deletion off: plans only
    Off,
}

/// Plans, prunes, tells, switches.
pub(crate) fn run(args: &Args, progress: Mode) -> Result<(), Failure> {
    let beam = Beam::open_with_settings(&args.beam)?;
    let custody = &beam.beamline.custody;
    match &args.command {
        None | Some(Command::Plan) => {
            beam.wait(beam.beamline.refresh())?;
            if let Some((source, why)) = custody.authority()?.and_then(|one| Some((one.source, one.silent?)))
            {
                say(&format!("nothing would be deleted now: settings in {source} are not known: {why}"));
            }
            let plan = custody.plan(beam.now())?;
            if args.json { output::print_json(&plan) } else { output::print(&describe(&beam, &plan)?) }
        }
        Some(Command::Run) => act(&beam, progress, args.json),
        Some(Command::History { limit }) => history(&beam, *limit, args.json),
        Some(switch @ (Command::On | Command::Off)) => {
            let on = matches!(switch, Command::On);
            custody.switch_deletion(on, &who(), beam.now())?;
            if args.json {
                return output::print_json(&json!({ "deletion": on }));
            }
            output::print(match on {
                true => "deletion is on: what a plan lets go is deleted when prune runs",
                false => "deletion is off: there are plans, and nothing is deleted",
            })
        }
    }
}

/// A plan for people.
pub(crate) fn describe(beam: &Beam, plan: &Plan) -> Result<String, Failure> {
    let count = |n: usize, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    let mut text = format!(
        "plan {}: {} may go, {}; {} refused; {} waiting for their time; deletion is {}\n",
        plan.id,
        count(plan.items.len(), "copy", "copies"),
        bytes(plan.bytes()),
        plan.refused.len(),
        plan.waiting.len(),
        if plan.switched_on { "on" } else { "off (beamrail prune on)" }
    );
    let mut grid = Grid::new(&["goes", "site", "area", ">files", ">bytes", "why"]);
    for item in &plan.items {
        let sites: std::collections::BTreeSet<&str> =
            item.witnesses.iter().map(|witness| witness.site.as_str()).collect();
        let sites: Vec<&str> = sites.into_iter().collect();
        grid.row([
            item.dataset.to_string(),
            item.site.clone(),
            item.area.clone(),
            item.files.to_string(),
            bytes(item.bytes),
            format!("due since {}; rests on the copies at {}", time(item.due), sites.join(", ")),
        ]);
    }
    if !grid.is_empty() {
        text += &format!("\n{}", grid.text());
    }
    let mut grid = Grid::new(&["stays", "site", "why"]);
    for one in &plan.refused {
        let why: Vec<String> = one.refusal.reasons.iter().map(ToString::to_string).collect();
        grid.row([one.refusal.dataset.to_string(), one.refusal.place.clone(), why.join("; ")]);
    }
    if !grid.is_empty() {
        text += &format!("\n{}", grid.text());
    }
    let mut grid = Grid::new(&["waits", "site", "may go"]);
    for one in &plan.waiting {
        let due = one.due.map_or("not by time alone".to_owned(), |due| format!("from {}", time(due)));
        grid.row([one.dataset.to_string(), one.site.clone(), due]);
    }
    if !grid.is_empty() {
        text += &format!("\n{}", grid.text());
    }
    for one in &plan.announce {
        text += &format!(
            "\nto be announced: the last copy of {} at {} goes on {}",
            one.dataset,
            one.site,
            time(one.due)
        );
    }
    for copy in &plan.scrub {
        let record = beam.beamline.custody.copy(*copy)?;
        text += &format!("\nto be read in full first: {} at {}", record.dataset, record.site);
    }
    Ok(text)
}

/// Runs the flow that prunes everywhere.
fn act(beam: &Beam, progress: Mode, as_json: bool) -> Result<(), Failure> {
    beam.deploy()?;
    let new = NewRun::of("prune", json!({})).named("prune, by hand");
    let id = beam.wait(beam.engine.start("prune", new))?.id;
    let run = super::run::wait_for(beam, id, progress)?;
    ending(beam, &run)?;
    let output = run.output.clone().unwrap_or_default();
    if as_json {
        return output::print_json(&output);
    }
    let items = output.get("items").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
    let mut grid = Grid::new(&["copy", "of", "site", "became", ">bytes", "why"]);
    let mut freed = 0;
    for item in &items {
        let text =
            |key: &str| item.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        let size = item.get("bytes").and_then(serde_json::Value::as_u64);
        let became = text("became");
        if became == "deleted" {
            freed += size.unwrap_or_default();
        }
        let copy = item.get("copy").and_then(serde_json::Value::as_i64).unwrap_or_default();
        let record = beam.beamline.custody.copy(custody::CopyId(copy))?;
        grid.row([
            copy.to_string(),
            record.dataset.to_string(),
            record.site,
            became,
            size.map(bytes).unwrap_or_default(),
            text("why"),
        ]);
    }
    if !grid.is_empty() {
        output::print(&grid.text())?;
    }
    let on = output.get("switched_on").and_then(serde_json::Value::as_bool).unwrap_or_default();
    if !on {
        say("deletion is off, so nothing was deleted: beamrail prune on");
    }
    let stay = output.get("refused").and_then(serde_json::Value::as_array).map_or(0, Vec::len);
    if stay > 0 {
        say(&format!("{stay} more copies are due and stay: beamrail prune plan says why"));
    }
    output::print(&format!("{} are free now", bytes(freed)))
}

/// The ledger's lines about deletions.
fn history(beam: &Beam, limit: usize, as_json: bool) -> Result<(), Failure> {
    let events = [
        Event::Deleted,
        Event::DeletionFailed,
        Event::DeletionPermitted,
        Event::Refused,
        Event::Announced,
        Event::Switched,
        Event::Lost,
        Event::SettingsSilent,
        Event::SettingsHeard,
    ];
    let mut entries: Vec<Entry> = Vec::new();
    for event in events {
        let filter = LedgerFilter { event: Some(event), limit, ..LedgerFilter::default() };
        entries.extend(beam.beamline.custody.ledger(&filter)?);
    }
    entries.sort_by_key(|entry| entry.id);
    let entries: Vec<&Entry> = entries.iter().skip(entries.len().saturating_sub(limit)).collect();
    if as_json {
        return output::print_json(&entries);
    }
    let mut grid = Grid::new(&["when", "what", "scan", "site", ">files", ">bytes", ""]);
    for entry in entries {
        let scan = entry.scan.as_ref().map(ToString::to_string).unwrap_or_default();
        let kind = entry.kind.map(|kind| format!(" ({kind})")).unwrap_or_default();
        grid.row([
            time(entry.at),
            json!(entry.event).as_str().unwrap_or_default().to_owned(),
            format!("{scan}{kind}"),
            entry.site.clone().unwrap_or_default(),
            entry.files.map(|n| n.to_string()).unwrap_or_default(),
            entry.bytes.map(bytes).unwrap_or_default(),
            entry.text.clone(),
        ]);
    }
    if grid.is_empty() {
        say("nothing was deleted or refused");
    }
    output::print(&grid.text())
}
