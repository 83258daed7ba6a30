//! `beamrail reconcile`: compare the disks with what is known.

use engine::{NewRun, Orchestrator};
use serde_json::{Value, json};

use super::beam::{Beam, BeamArgs};
use super::live::ending;
use crate::exit::Failure;
use crate::grid::Grid;
use crate::output;
use crate::progress::Mode;

/// Compare the disks with what is known: missed scans, vanished and changed copies, files that nobody registered
///
/// What vanished is written down as lost, what changed is looked at again and counts for nothing until it is right.
/// Nothing is deleted.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    beam: BeamArgs,

    /// Register raw scans that were there before beamrail, after reading them
    #[arg(long)]
    adopt: bool,

    /// Start the dispatcher for raw scans at the data host that no run has seen
    #[arg(long)]
    start_missed: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the flow and prints what it found.
pub(crate) fn run(args: &Args, progress: Mode) -> Result<(), Failure> {
    let beam = Beam::open_with_settings(&args.beam)?;
    beam.deploy()?;
    let parameters = json!({ "adopt": args.adopt, "start_missed": args.start_missed });
    let new = NewRun::of("reconcile", parameters).named("reconcile, by hand");
    let id = beam.wait(beam.engine.start("reconcile", new))?.id;
    let run = super::run::wait_for(&beam, id, progress)?;
    ending(&beam, &run)?;
    let found = run.output.unwrap_or_default();
    if args.json {
        return output::print_json(&found);
    }
    let mut grid = Grid::new(&["finding", "what", "what to do"]);
    let list = |key: &str| found.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    for (key, finding, advice) in [
        ("missed", "missed scan", "beamrail run dispatcher --file PATH, or reconcile --start-missed"),
        ("vanished", "vanished", "written down as lost; see beamrail custody show SCAN"),
        ("changed", "changed", "does not count until it is right again; see beamrail custody show SCAN"),
        ("unregistered", "not registered", "raw scans: reconcile --adopt"),
        ("unreachable", "not reached", "nothing is concluded for it; beamrail check"),
        ("adopted", "adopted", ""),
    ] {
        for one in list(key) {
            let text = match &one {
                Value::Number(copy) => {
                    let copy = copy.as_i64().unwrap_or_default();
                    let record = beam.beamline.custody.copy(custody::CopyId(copy))?;
                    format!("{} at {}", record.dataset, record.site)
                }
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            grid.row([finding.into(), text, advice.into()]);
        }
    }
    if grid.is_empty() {
        return output::print("the disks hold what is known, and nothing else");
    }
    output::print(&grid.text())
}
