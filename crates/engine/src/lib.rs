//! Durable runs on SQLite.
//!
//! A *flow* is an ordinary async function over a [`Context`]. Each of its steps is journaled before and after:
//! when the process dies and another takes the run up, finished steps are not repeated, they return what the
//! journal has. A step that starts work outside ([`External`]) has the work's identity on disk before the
//! act, and finds the work again.
//!
//! ```
//! use engine::{Clock, Context, Engine, Failure, Flow, NewRun, Orchestrator, Registry, Retry, RunFilter};
//! use engine::{StateType, StepOptions, Worker};
//! use serde::{Deserialize, Serialize};
//! use serde_json::json;
//!
//! #[derive(Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Parameters {
//!     path: String,
//! }
//!
//! #[derive(Serialize)]
//! struct Moved {
//!     bytes: u64,
//! }
//!
//! async fn move_scan(context: Context, parameters: Parameters) -> Result<Moved, Failure> {
//!     let options = StepOptions::new().retry(Retry::attempts(5)).input(&parameters.path);
//!     let path = &parameters.path;
//!     let bytes = context
//!         .step("copy", options, |step| async move {
//!             step.info(format!("copying {path}"));
//!             Ok(8_510_000_000)
//!         })
//!         .await?;
//!     context.send("catalogue", path, json!({ "bytes": bytes })).await?;
//!     Ok(Moved { bytes })
//! }
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?; let journal = folder.path().join("runs.db");
//! let engine = Engine::open(journal, Clock::system())?;
//! let registry = Registry::new().with(Flow::new("move_scan", move_scan));
//!
//! let new = NewRun::of("move_scan", json!({ "path": "a/scan.h5" })).key("a/scan.h5");
//! let run = engine.create_run(new.clone()).await?.id;
//! assert_eq!(engine.create_run(new).await?.id, run, "the same key is the same run");
//!
//! Worker::new(engine.store(), registry).run_until_idle().await?;
//!
//! let run = engine.run(run).await?;
//! assert_eq!(run.state.kind, StateType::Completed);
//! assert_eq!(run.output, Some(json!({ "bytes": 8_510_000_000_u64 })));
//! # Ok(()) }
//! ```
//!
//! Rules for flows: what touches the world is in a step; steps are named in the same order on every
//! execution, or have a key of their own ([`StepOptions::key`], [`Context::scope`]); side-by-side steps are
//! joined in the flow's own task (`tokio::join!`, [`join_all`]), not spawned.

pub mod clock;
pub mod conformance;
mod context;
mod courier;
mod deployment;
mod engine;
pub mod error;
pub mod event;
mod execute;
pub mod failure;
pub mod faults;
mod flow;
pub mod harness;
pub mod model;
mod orchestrator;
pub mod schema;
pub mod state;
mod step;
mod store;
pub mod transition;
mod worker;

pub use clock::Clock;
pub use context::{Context, External, Identity, StepContext, join_all};
pub use courier::Courier;
pub use deployment::{CatchUp, Deployment, Schedule, When};
pub use engine::Engine;
pub use error::{Error, Result};
pub use event::Event;
pub use failure::{Failure, FailureKind, ResultExt};
pub use flow::{Flow, Registry};
pub use model::{
    Artifact, ArtifactKind, Ask, Counts, Created, HistoryEntry, Level, LogLine, NewRun, Page, Run, RunFilter,
    RunId, Step, StepKind,
};
pub use orchestrator::Orchestrator;
pub use state::{State, StateType};
pub use step::{OnCancel, Retry, StepOptions};
pub use store::Store;
pub use store::outbox::Message;
pub use store::upkeep::{Pool, Queue, WorkerSeen};
pub use worker::{Summary, Worker};
