//! The dashboard: is my scan in, how does it look, what is stuck, what will be deleted.
//!
//! Pages are made on the server and work without scripts; a script keeps them live. Beside them stand a JSON API with
//! its OpenAPI description, health, readiness and metrics. Before all of them stand the guards of [`router()`]: rates,
//! host names, who somebody is and what they may do, and that an action comes from our own page.
//!
//! This crate decides nothing: runs are steered through [`engine::Orchestrator`], copies through [`custody`].

mod access;
mod act;
mod api;
mod app;
mod assets;
mod audit;
mod data;
mod elsewhere;
mod fault;
mod guard;
mod health;
mod live;
mod looks;
mod metrics;
mod pages;
mod rate;
mod router;
mod server;
mod session;
mod words;

use std::net::SocketAddr;

pub use access::{Access, By, Role, Visitor};
pub use app::{App, Shared};
pub use fault::{Fault, Problem};
pub use router::router;
pub use server::Server;

/// Where it listens unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8320";

/// Why the dashboard cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something that decides who may come in cannot be used.
    #[error("{what}: {reason}")]
    Access {
        /// Which file or setting.
        what: String,
        /// Why, and what would be right.
        reason: String,
    },
    /// Everybody could do everything.
    #[error(
        "{listen} can be reached from elsewhere, and nobody would have to say who they are; set \
         BEAMRAIL_WEB_ACCESS_FILE to a file with lines ROLE NAME TOKEN, or listen on 127.0.0.1 behind a proxy that \
         authenticates"
    )]
    Open {
        /// The address.
        listen: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {listen}: {source}; give another address with --listen")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
}
