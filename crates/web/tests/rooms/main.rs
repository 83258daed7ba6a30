//! Reconstructing again, storage, facilities and settings, over HTTP: what they do, what they refuse, and to whom.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test fails by panicking")]

mod again;
#[path = "../dashboard/client.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod client;
mod desk;
mod looking;
mod settings;
mod sides;
mod sites;
mod storage;
