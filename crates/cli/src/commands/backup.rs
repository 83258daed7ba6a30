//! `beamrail backup`: a copy of journal and records, while workers work.

use std::path::PathBuf;

use beamline::backup;
use beamline::config::Config;
use jiff::Timestamp;
use serde_json::json;

use super::beam::BeamArgs;
use super::live::say;
use crate::exit::Failure;
use crate::grid::Grid;
use crate::output;

/// Copy journal and records into a new folder, checked and read back; workers go on meanwhile
///
/// The folder is named after the time (UTC) and made in FOLDER, which should be on another disk or machine. What is in
/// it: the journal of runs, custody's records, what was told to Prefect, notes on submissions to Globus. No data of
/// scans, no credentials, and not the configuration. `beamrail restore` puts it back.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    beam: BeamArgs,

    /// Where backups are kept
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,

    /// Take older backups of this beamline in FOLDER away, so that so many are left
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Takes a backup, and thins out.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let config = Config::load(args.beam.config.as_deref())?;
    let (folder, taken) = backup::take(&config, &args.folder, Timestamp::now())?;
    let gone = match args.keep {
        Some(keep) => backup::thin_out(&config, &args.folder, keep as usize)?,
        None => Vec::new(),
    };
    if args.json {
        return output::print_json(&json!({ "folder": folder, "backup": taken, "removed": gone }));
    }
    let mut grid = Grid::new(&["file", "bytes", "rows", "digest"]);
    for copy in &taken.files {
        let rows: u64 = copy.rows.values().sum();
        let digest = copy.blake3.get(..16).unwrap_or(&copy.blake3).to_owned();
        grid.row([copy.name.clone(), output::bytes(copy.bytes), rows.to_string(), digest]);
    }
    say(&grid.text());
    for old in &gone {
        say(&format!("removed {}", old.display()));
    }
    output::print(&folder.display().to_string())
}
