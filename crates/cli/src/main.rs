//! The `beamrail` command: from a synchrotron microCT scan to a volume.
//!
//! One file a command in [`commands`]; the flags are clap definitions there, from which help, shell
//! completions and man pages come. Results go to stdout, everything else to stderr, and the exit code
//! says how it ended ([`exit::Exit`]).

// Doc comments of flags are their help on the terminal, where rec<scan> means what it says.
#![allow(rustdoc::invalid_html_tags)]

mod cli;
mod commands;
mod exit;
mod grid;
mod output;
mod progress;

use std::process::ExitCode;

use clap::Parser;

use cli::Cli;
use exit::Exit;

fn main() -> ExitCode {
    no_core_dumps();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are "errors" to clap that go to stdout. A closed pipe there is no failure.
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    match cli.run() {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            failure.print();
            failure.exit.into()
        }
    }
}

/// Credentials come from the environment and live in memory: neither is written to a disk when a process is
/// brought down, nor shown to other processes of the same user. Jobs that are started inherit the limit, and set
/// the rest for themselves. Where the system has neither, the work goes on without.
fn no_core_dumps() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    // The limit does not hold where the kernel hands cores to a program (systemd-coredump); this does.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
