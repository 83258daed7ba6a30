//! Sites and facilities behind Globus, on the stand-in: its collections are folders, its transfers move real files,
//! its tasks run real programs, and it fails as it is told.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod bench;
mod compute;
mod storage;
mod transfers;
