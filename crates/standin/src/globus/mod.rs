//! Globus on the loopback interface: Auth, Transfer v0.10, Flows and the web service of Compute.
//!
//! One port serves all four; their paths do not meet. Collections are folders. What it does is judged
//! by Globus's own SDK, command line and compute endpoint (`tests/globus_judges.rs`).
//!
//! ```no_run
//! let standin = standin::globus::Standin::start(
//!     standin::globus::Config::new("state")
//!         .client("11111111-1111-4111-8111-111111111111", "secret")
//!         .collection("nersc", "22222222-2222-4222-8222-222222222222", "/tmp/nersc"),
//! )?;
//! println!("{}", standin.base_url());
//! # Ok::<(), standin::globus::StartError>(())
//! ```

mod actions;
mod auth;
mod bridge;
mod compute;
mod control;
mod copying;
mod deleting;
mod endpoints;
mod faults;
mod fileops;
mod flowruns;
mod flows;
mod folder;
mod http;
mod jobs;
mod moving;
mod server;
mod state;
mod submit;
mod task;
mod tasks;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

pub use faults::{Fault, Kind};
pub use http::new_id;
use state::World;

/// A folder that is served as a collection.
#[derive(Clone, Debug, Serialize)]
pub struct Collection {
    /// Display name.
    pub name: String,
    /// The collection's UUID.
    pub id: String,
    /// The folder; nothing outside it is ever read or written.
    #[serde(rename = "path")]
    pub folder: PathBuf,
    /// A mapped collection: file operations want the dependent scope `data_access`.
    pub needs_consent: bool,
    /// Writes are refused with a permission error.
    pub read_only: bool,
}

/// Who executes compute tasks.
#[derive(Clone, Debug)]
pub enum Compute {
    /// A local process a task, with this Python.
    Local {
        /// Interpreter; its standard library is enough.
        python: PathBuf,
    },
    /// A real endpoint behind RabbitMQ.
    Amqp {
        /// `amqp://user:password@host:port/%2F`.
        url: String,
        /// A Python that has `pika` (the environment of globus-compute-endpoint has).
        python: PathBuf,
    },
}

/// How a stand-in is set up.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) state: PathBuf,
    pub(crate) collections: Vec<Collection>,
    pub(crate) clients: Vec<(String, String)>,
    pub(crate) endpoint: Option<String>,
    pub(crate) compute: Compute,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) token_lifetime: u64,
    pub(crate) retry_delay: Duration,
    pub(crate) active_limit: usize,
    pub(crate) pending_limit: usize,
    pub(crate) workers: usize,
}

impl Config {
    /// A stand-in on a free port, with its state in the folder `state`, without clients or collections.
    pub fn new(state: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            state: state.into(),
            collections: Vec::new(),
            clients: Vec::new(),
            endpoint: None,
            compute: Compute::Local { python: "python3".into() },
            environment: Vec::new(),
            token_lifetime: 172_800,
            retry_delay: Duration::from_millis(500),
            active_limit: 3,
            pending_limit: 100,
            workers: 4,
        }
    }

    /// Listens here instead of on a free port; only loopback addresses are accepted.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Adds a confidential client.
    pub fn client(mut self, id: &str, secret: &str) -> Self {
        self.clients.push((id.to_owned(), secret.to_owned()));
        self
    }

    /// Adds a guest collection.
    pub fn collection(mut self, name: &str, id: &str, folder: impl Into<PathBuf>) -> Self {
        self.collections.push(Collection {
            name: name.to_owned(),
            id: id.to_owned(),
            folder: folder.into(),
            needs_consent: false,
            read_only: false,
        });
        self
    }

    /// Makes the collection of this name a mapped one, which wants `data_access`.
    pub fn needs_consent(mut self, name: &str) -> Self {
        self.each(name, |collection| collection.needs_consent = true);
        self
    }

    /// Makes the collection of this name refuse writes.
    pub fn read_only(mut self, name: &str) -> Self {
        self.each(name, |collection| collection.read_only = true);
        self
    }

    /// The UUID of the compute endpoint; without it one is made and kept.
    pub fn endpoint(mut self, id: &str) -> Self {
        self.endpoint = Some(id.to_owned());
        self
    }

    /// Who executes compute tasks; `python3` on this machine by default.
    pub fn compute(mut self, compute: Compute) -> Self {
        self.compute = compute;
        self
    }

    /// A variable in the environment of compute tasks, such as `PATH`.
    pub fn worker_env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Seconds for which a new token is good; 48 hours by default.
    pub fn token_lifetime(mut self, seconds: u64) -> Self {
        self.token_lifetime = seconds;
        self
    }

    /// How long a transfer waits after a fault before it tries again.
    pub fn retry_delay(mut self, delay: Duration) -> Self {
        self.retry_delay = delay;
        self
    }

    fn each(&mut self, name: &str, set: impl Fn(&mut Collection)) {
        self.collections.iter_mut().filter(|collection| collection.name == name).for_each(set);
    }
}

/// Why a stand-in could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is not on the loopback interface.
    #[error("the stand-in listens on the loopback interface only, not on {0}; give --listen 127.0.0.1:0")]
    NotLoopback(SocketAddr),
    /// The port is taken, or the like.
    #[error("the stand-in cannot listen on {0}: {1}; give another port, or 0 for a free one")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// A folder or the state file cannot be used.
    #[error("{0}: {1}; check the folder and its permissions")]
    File(PathBuf, #[source] std::io::Error),
    /// The state file was written by something else.
    #[error("{0} is not the state of a stand-in ({1}); name another folder, or remove the file")]
    State(PathBuf, #[source] serde_json::Error),
}

/// A running stand-in. It stops, and ends the compute tasks that it started, when this is dropped.
pub struct Standin {
    world: Arc<World>,
    server: Option<server::Server>,
}

impl Standin {
    /// Starts the service on threads of its own; usable from any test, async or not.
    ///
    /// # Errors
    /// If the address cannot be listened on, or the state or a collection's folder cannot be used.
    pub fn start(config: Config) -> Result<Self, StartError> {
        if !config.listen.ip().is_loopback() {
            return Err(StartError::NotLoopback(config.listen));
        }
        let world = World::open(config)?;
        let server = server::Server::start(&world)?;
        world.take_up_again();
        Ok(Self { world, server: Some(server) })
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn base_url(&self) -> String {
        self.world.url()
    }

    /// The UUID of the compute endpoint.
    pub fn endpoint(&self) -> String {
        self.world.endpoint()
    }

    /// Variables that point the official SDK and command line here. No secrets: they are the caller's.
    pub fn env(&self) -> Vec<(String, String)> {
        let url = format!("{}/", self.base_url());
        let mut variables: Vec<_> = ["AUTH", "TRANSFER", "FLOWS", "COMPUTE", "GROUPS", "SEARCH", "TIMERS"]
            .iter()
            .map(|service| (format!("GLOBUS_SDK_SERVICE_URL_{service}"), url.clone()))
            .collect();
        variables.push(("GLOBUS_COMPUTE_ENDPOINT".to_owned(), self.endpoint()));
        variables
    }

    /// Arms a fault; gives its number, for [`Standin::disarm`].
    pub fn fault(&self, fault: Fault) -> u64 {
        self.world.arm(fault)
    }

    /// Removes a fault; what it held up goes on.
    pub fn disarm(&self, number: u64) {
        self.world.disarm(Some(number));
    }

    /// What has been asked and done so far, as `GET /standin/counts` tells it.
    pub fn counts(&self) -> Value {
        self.world.read(control::counts)
    }

    /// Everything a program that started the stand-in wants to know, as one JSON object.
    pub fn announcement(&self) -> Value {
        let url = self.base_url();
        json!({
            "base_url": url,
            "auth": url, "transfer": url, "flows": url, "compute": url,
            "env": self.env().into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            "collections": self.world.config.collections,
            "endpoint": self.endpoint(),
            "pid": std::process::id(),
        })
    }

    /// The folder that holds the state.
    pub fn state(&self) -> &Path {
        &self.world.config.state
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        self.world.stop();
        if let Some(server) = self.server.take() {
            server.stop();
        }
        self.world.close();
    }
}
