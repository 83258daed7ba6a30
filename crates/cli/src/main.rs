//! The `beamrail` command.
fn main() {}
