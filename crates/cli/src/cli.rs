//! The command line as a whole.

use clap::{Parser, Subcommand};

use crate::commands::{
    backup, center, check, completions, custody, demo, globus, init, inspect, man, prefect, prune, recipes,
    reconcile, reconstruct, restore, run, runs, serve, simulate, verify, view, watch, worker, zarr,
};
use crate::exit::Failure;
use crate::progress::Mode;

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed; 2 usage; 3 bad input; 4 a site or service did not answer or refused;
130 interrupted.
Results go to stdout, messages and progress to stderr.";

/// From a synchrotron microCT scan to a volume
///
/// beamrail reads a raw scan (HDF5), finds the rotation centre, reconstructs slice by slice in bounded
/// memory, and writes TIFF slices and a multi-resolution OME-Zarr in the same pass. With a configuration
/// (beamrail init) it carries scans between sites and facilities, and looks after every copy.
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
    View(view::Args),
    Recipes(recipes::Args),
    Init(init::Args),
    Check(check::Args),
    Run(run::Args),
    Runs(runs::Args),
    Watch(watch::Args),
    Worker(worker::Args),
    Serve(serve::Args),
    Custody(custody::Args),
    Prune(prune::Args),
    Reconcile(reconcile::Args),
    Backup(backup::Args),
    Restore(restore::Args),
    Globus(globus::Args),
    Prefect(prefect::Args),
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
            Command::View(args) => view::run(&args),
            Command::Recipes(args) => recipes::run(&args),
            Command::Init(args) => init::run(&args),
            Command::Check(args) => check::run(&args),
            Command::Run(args) => run::run(&args, progress),
            Command::Runs(args) => runs::run(&args, progress),
            Command::Watch(args) => watch::run(&args),
            Command::Worker(args) => worker::run(&args),
            Command::Serve(args) => serve::run(&args),
            Command::Custody(args) => custody::run(&args),
            Command::Prune(args) => prune::run(&args, progress),
            Command::Reconcile(args) => reconcile::run(&args, progress),
            Command::Backup(args) => backup::run(&args),
            Command::Restore(args) => restore::run(&args),
            Command::Globus(args) => globus::run(&args, progress),
            Command::Prefect(args) => prefect::run(&args),
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => man::run(&args),
        }
    }
}
