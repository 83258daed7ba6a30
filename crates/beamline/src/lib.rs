//! A beamline: its configuration, the names and places of its scans, and the flows that carry a scan from the
//! detector to a volume that a person can look at, across sites and facilities, and look after every copy.
//!
//! Flows are ordinary async functions over [`engine::Context`], one file each in [`flows`]. They act through a
//! [`Beamline`]: its sites move bytes, its facilities compute, its custody decides what may go where and when.

pub mod backup;
pub mod check;
pub mod config;
mod error;
pub mod explain;
pub mod flows;
pub mod identity;
pub mod init;
mod runtime;
pub mod settings;
mod starts;
pub mod watch;

pub use error::{Error, Result};
pub use runtime::{
    Beamline, DispatcherSettings, Facility, FlowSettings, Home, Order, ReconSettings, area, prune_flow,
    prune_tag,
};
pub use starts::{NotStarted, Ordered, Starts};
