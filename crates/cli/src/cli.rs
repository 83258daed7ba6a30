//! The command line as a whole.

use clap::{Parser, Subcommand};

use crate::commands::{
    center, completions, demo, inspect, man, recipes, reconstruct, simulate, verify, zarr,
};
use crate::exit::Failure;
use crate::progress::Mode;

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed; 2 usage; 3 bad input; 130 interrupted.
Results go to stdout, messages and progress to stderr.";

/// From a synchrotron microCT scan to a volume
///
/// beamrail reads a raw scan (HDF5), finds the rotation centre, reconstructs slice by slice in bounded
/// memory, and writes TIFF slices and a multi-resolution OME-Zarr in the same pass.
#[derive(Debug, Parser)]
#[command(name = "beamrail", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    /// How progress is shown: bar on a terminal and plain lines otherwise (auto), one of the two, a
    /// JSON object a line (json), or not at all (none)
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "HOW")]
    progress: Mode,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Reconstruct(reconstruct::Args),
    Center(center::Args),
    Inspect(inspect::Args),
    Simulate(simulate::Args),
    Zarr(zarr::Args),
    Verify(verify::Args),
    Recipes(recipes::Args),
    Completions(completions::Args),
    Man(man::Args),
}

impl Cli {
    /// Does what was asked for.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let progress = self.progress;
        match self.command {
            Command::Demo(args) => demo::run(&args, progress),
            Command::Reconstruct(args) => reconstruct::run(&args, progress),
            Command::Center(args) => center::run(&args, progress),
            Command::Inspect(args) => inspect::run(&args),
            Command::Simulate(args) => simulate::run(&args, progress),
            Command::Zarr(args) => zarr::run(&args, progress),
            Command::Verify(args) => verify::run(&args, progress),
            Command::Recipes(args) => recipes::run(&args),
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => man::run(&args),
        }
    }
}
