//! Stand-ins for services that cannot run offline: for demonstrations and tests, never for production.
//!
//! A stand-in listens on the loopback interface only, moves real files between local folders, and fails
//! on demand ([`globus::Fault`]). It keeps its state in one file, so it can be killed and started again
//! in the middle of a transfer, as the services it stands for are.

// The documents of the services have more fields than the macro `json!` counts by default.
#![recursion_limit = "256"]

pub mod globus;
