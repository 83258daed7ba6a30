//! The worker on real Prefect servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and shows figures"
)]

mod common;
mod one;
mod proxy;
#[path = "../../../../tests/prefect/server.rs"]
mod server;
mod storm;
