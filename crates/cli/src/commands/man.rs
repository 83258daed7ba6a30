//! `beamrail man`: manual pages.

use std::path::PathBuf;

use clap::CommandFactory;

use crate::cli::Cli;
use crate::exit::{Exit, Failure};
use crate::output;

/// Write manual pages, one for beamrail and one for each command
///
/// For example: beamrail man --out ~/.local/share/man/man1
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder for the pages; made if it is not there. Without it the main page goes to stdout
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Writes the pages, and prints their paths.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut command = Cli::command().disable_help_subcommand(true);
    // Gives every command its full name (beamrail-inspect) and the flags that all share.
    command.build();
    let Some(folder) = &args.out else {
        let mut page = Vec::new();
        man(command).render(&mut page)?;
        return output::print(&String::from_utf8_lossy(&page));
    };
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Failed, format!("cannot write to {}: {error}", folder.display()))
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut written = String::new();
    let mut left = vec![command];
    while let Some(command) = left.pop() {
        left.extend(command.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned());
        let path = man(command).generate_to(folder).map_err(failed)?;
        written += &format!("{}\n", path.display());
    }
    output::print(&written)
}

/// The page of one command.
fn man(command: clap::Command) -> clap_mangen::Man {
    clap_mangen::Man::new(command)
        .source(concat!("beamrail ", env!("CARGO_PKG_VERSION")))
        .manual("beamrail manual")
}
