//! Clients of Globus Auth, Transfer, Compute and Flows, usable on their own.
//!
//! [`Globus`] is one confidential client (an id with a secret): it gets and renews its tokens, keeps the services'
//! rates, and tries again what Globus's own SDK tries again. Its four services are [`Globus::auth`],
//! [`Globus::transfer`], [`Globus::compute`] and [`Globus::flows`].
//!
//! ```no_run
//! # async fn example() -> globus::Result<()> {
//! use globus::{Globus, Settings, transfer::{Item, TransferDocument}};
//!
//! let globus = Globus::new(Settings::from_env(|name| std::env::var(name).ok())?)?;
//! let transfer = globus.transfer();
//! let id = transfer.submission_id().await?; // keep it on disk before the next line
//! let mut document = TransferDocument::new(id, "SOURCE-UUID", "DESTINATION-UUID");
//! document.items.push(Item::folder("/raw/", "/copy/"));
//! let accepted = transfer.submit_transfer(&document).await?;
//! let ended = transfer.wait(&accepted.task_id, |task| drop(task.bytes_transferred)).await?;
//! ended.outcome().success()?;
//! # Ok(())
//! # }
//! ```
//!
//! A request that may be sent twice without harm is repeated after network errors and 5xx answers; one that may
//! not (a compute task, a run of a flow) only where the service said that it did not take it. Otherwise it ends as
//! [`Error::Uncertain`], and the caller looks for what it asked for.

mod auth;
mod config;
mod error;
mod http;
mod limiter;
mod retry;
mod scope;
mod secret;

pub mod compute;
pub mod flows;
pub mod transfer;

use std::sync::Arc;

pub use auth::{Auth, Identity, UserInfo};
pub use config::{Credentials, Limits, Settings, VerifyTls};
pub use error::{Error, Result};
pub use http::{Answer, Service};
pub use retry::{Jitter, RetryPolicy};
pub use scope::Scope;
pub use secret::Secret;

/// One confidential client and the services that it uses. Cloning shares tokens, rates and connections.
#[derive(Debug, Clone)]
pub struct Globus {
    inner: Arc<http::Inner>,
}

impl Globus {
    /// A client with these settings. Nothing is sent yet.
    ///
    /// # Errors
    /// The certificates that the settings name cannot be read.
    pub fn new(settings: Settings) -> Result<Self> {
        Ok(Self { inner: Arc::new(http::Inner::new(settings)?) })
    }

    /// Who the client is, and its tokens.
    pub fn auth(&self) -> Auth<'_> {
        Auth { inner: &self.inner }
    }

    /// Transfers, deletions, listings.
    pub fn transfer(&self) -> transfer::Transfer<'_> {
        transfer::Transfer { inner: &self.inner }
    }

    /// Functions and tasks.
    pub fn compute(&self) -> compute::Compute<'_> {
        compute::Compute { inner: &self.inner }
    }

    /// Flows and their runs.
    pub fn flows(&self) -> flows::Flows<'_> {
        flows::Flows { inner: &self.inner }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }
}
