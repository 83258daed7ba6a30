//! The client against a server that misbehaves on cue, and against real ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and shows figures"
)]

mod conformance;
mod fake;
mod misbehaviour;
mod real;
#[path = "../../../../tests/prefect/server.rs"]
mod server;
