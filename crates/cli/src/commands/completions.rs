//! `beamrail completions`: completion for shells.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::Failure;
use crate::output;

/// Print a script that completes beamrail's commands and flags in a shell
///
/// For example: beamrail completions bash > ~/.local/share/bash-completion/completions/beamrail
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    // Into memory first: the generator panics when its writer fails, and stdout may be a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "beamrail", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
