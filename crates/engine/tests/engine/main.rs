//! What the engine does, by behaviour. One program, so that SQLite is linked once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod backup;
mod common;
mod conformance;
mod elsewhere;
mod external;
mod faults;
mod history;
mod kill;
mod leases;
mod outbox;
mod resume;
mod schedules;
mod upgrade;
mod waits;
