#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests assert by panicking, and clean up their own folders"
)]
//! The job as a user runs it: the real binary, fresh folders, one module a behaviour.

mod centers;
mod memory;
mod numbers;
mod parts;
mod real_scans;
mod resume;
mod support;
