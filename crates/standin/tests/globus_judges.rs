//! The stand-in, judged by Globus's own software: the SDK, the command line, the compute SDK.
//!
//! `make judges` installs them into `.tools/`; without them these tests say that they were skipped.

mod common;

use common::{Site, judge, tool};

#[test]
fn the_official_sdk_moves_files() {
    let Some(python) = tool("globus-sdk/bin/python") else { return };
    judge(&Site::start(), &python, "sdk_transfer.py");
}

#[test]
fn the_official_sdk_runs_flows_and_functions() {
    let Some(python) = tool("globus-sdk/bin/python") else { return };
    judge(&Site::start(), &python, "sdk_flows.py");
}

#[test]
fn the_official_command_line_finds_nothing_amiss() {
    let Some(python) = tool("globus-cli/bin/python") else { return };
    judge(&Site::start(), &python, "cli.py");
}
