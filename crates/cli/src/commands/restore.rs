//! `beamrail restore`: put a backup of journal and records back.

use std::path::PathBuf;

use beamline::backup;
use beamline::config::Config;
use engine::Clock;
use jiff::Timestamp;
use serde_json::json;

use super::beam::{Beam, BeamArgs, time, who};
use super::live::say;
use crate::exit::Failure;
use crate::output;

/// Put a backup of journal and records back, checked file by file
///
/// Nobody may work on the records meanwhile. What was there is moved into a folder before-restore-TIME of the state
/// folder. Runs that had not ended when the backup was taken go on; work outside that was begun since then is found
/// again where it can be. Deletion is switched off: let `beamrail reconcile` look at the disks before it is on again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    beam: BeamArgs,

    /// The backup: a folder that `beamrail backup` made
    #[arg(value_name = "BACKUP")]
    folder: PathBuf,

    /// Only check the backup: every file there, its digest and SQLite's own check right
    #[arg(long)]
    verify: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Checks the backup, puts it back, and tells the records that they are old.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if args.verify {
        let backup = backup::verify(&args.folder)?;
        if args.json {
            return output::print_json(&backup);
        }
        let (files, at) = (backup.files.len(), time(backup.taken));
        return output::print(&format!(
            "{files} files of beamline {}, taken {at}: all right",
            backup.beamline
        ));
    }
    let config = Config::load(args.beam.config.as_deref())?;
    let done = backup::put_back(&config, &args.folder, Timestamp::now())?;
    let beam = Beam::with(config, Clock::system())?;
    let was_on = beam.beamline.custody.deletion_is_on()?;
    beam.beamline.custody.switch_deletion(false, &format!("restore by {}", who()), beam.now())?;
    let runs = beam.wait(beam.engine.restored(done.backup.taken))?;
    if args.json {
        return output::print_json(&json!({
            "backup": done.backup, "before": done.before, "open_runs": runs, "deletion_was_on": was_on,
        }));
    }
    if let Some(before) = &done.before {
        say(&format!("what was there before: {}", before.display()));
    }
    say("next: beamrail reconcile, which compares the disks with these records; then start the workers");
    if was_on {
        say("deletion was on and is off now: `beamrail prune on`, once reconcile has nothing to say");
    }
    let at = time(done.backup.taken);
    output::print(&format!("restored the records of {at}; {runs} runs that had not ended go on"))
}
