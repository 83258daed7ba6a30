//! A client of Prefect servers, by REST and websocket: 2.20, 3.8 and 3.9.
//!
//! What a worker that is not Python needs: pools, queues and polls, claims and states with their verdicts,
//! tasks with the edges of their graph, logs, artifacts, deployments, blocks, variables, automations, limits
//! and events. It knows no flow and keeps no journal; it can be used by itself.
//!
//! ```no_run
//! use prefect::{Client, NewFlowRun, Proposal, Settings, StateType, Verdict};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(Settings::new("http://127.0.0.1:4200/api")?)?;
//! println!("Prefect {}", client.version().await?);
//! let due = client.poll("beamline", &["bl832".to_owned()], jiff::Timestamp::now(), 10).await?;
//! for run in due {
//!     // The poll locks nothing: whoever is accepted has it.
//!     if let Verdict::Accept(_) = client.propose(run.id, &Proposal::new(StateType::Pending)).await? {
//!         client.set_infrastructure(run.id, "host-a:4711").await?;
//!         client.propose(run.id, &Proposal::new(StateType::Running)).await?;
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! What servers do that one would not expect, and what is done about it here:
//!
//! - Busy answers (503 on SQLite, one in five calls) are repeated with growing, scattered waits.
//! - Each proposal for a run carries a transition id; "already made" is a success. Tasks have no such guard, so
//!   a task is read after a lost answer. An ABORT that is a fault is asked again.
//! - Creations use natural keys, so asking twice makes one thing.
//! - Unknown fields are refused, and 2.20 and 3.x know different ones: each call asks
//!   [`ServerVersion`] first.
//! - The API version is the same on 2.20 and 3.9, so the server's version is asked for.
//! - The user agent is our own: as "prefect/..." the server would expect renewals of leases and let go of
//!   places that nobody renews.
//! - Tasks carry no tags: under a tag with a limit, an SQLite server stops all clients for a minute.
//! - Log lines have no worker's id: servers would refuse the whole batch.
//! - Validation errors repeat what was sent; of them only place and message are shown.

mod artifacts;
mod automations;
mod blocks;
mod client;
mod deployments;
mod error;
mod events;
mod flow_runs;
mod http;
mod inputs;
mod limits;
mod logs;
mod pools;
mod secret;
mod settings;
mod socket;
mod state;
mod task_runs;
mod variables;
mod version;
mod watch;

pub use artifacts::{Artifact, Content, artifact_key};
pub use automations::{Automation, zombies};
pub use blocks::{Block, BlockType};
pub use client::Client;
pub use deployments::{Deployment, LimitSeen, NewDeployment, NewSchedule, ScheduleSeen, Times};
pub use error::{Error, Result};
pub use events::{Event, EventFilter, Resource, RunResource, TaskSeen};
pub use flow_runs::{Flow, FlowRun, NewFlowRun, Policy};
pub use http::Tally;
pub use inputs::Keyset;
pub use limits::{Lease, Limit, Taken};
pub use logs::Log;
pub use pools::{WorkPool, WorkQueue, WorkerSeen};
pub use secret::Secret;
pub use settings::{Credentials, Patience, Settings};
pub use socket::{Emitter, Subscription};
pub use state::{Proposal, State, StateDetails, StateType, Verdict};
pub use task_runs::{NewTaskRun, TaskRun};
pub use version::ServerVersion;
pub use watch::Cancellations;
