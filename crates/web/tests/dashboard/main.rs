//! The dashboard over HTTP: what it shows, what it refuses, and to whom.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test fails by panicking")]

mod actions;
mod api;
mod beam;
mod client;
mod described;
mod history;
mod pages;
mod refused;
mod roles;
