//! Limits of what runs at once, with leases: places that are let go when nobody renews them (3.x).
//!
//! They stand in for limits on tags of tasks, which dead-lock a server on SQLite.

use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Client;
use crate::error::{Error, Result, optional};
use crate::http::Again;
use crate::version::ServerVersion;

/// A limit as the server has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Limit {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Places.
    pub limit: u32,
    /// Places taken.
    #[serde(default)]
    pub active_slots: u32,
}

/// Places that are ours for a while.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Lease {
    /// Its id: renew or give it back by it.
    pub lease_id: Uuid,
}

/// The answer to a wish for places.
#[derive(Debug, Clone, PartialEq)]
pub enum Taken {
    /// They are ours until the lease ends.
    Lease(Lease),
    /// None is free; ask again after this.
    Full {
        /// The server's advice, or a guess.
        again: Duration,
    },
}

/// The server's bounds of a lease.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(86_400);
const HINT: &str = "upgrade the server to Prefect 3.5 or later";

impl Client {
    /// Makes a limit; `false` if there is one of this name.
    ///
    /// # Errors
    /// What the server says.
    pub async fn create_limit(&self, name: &str, places: u32) -> Result<bool> {
        let body = json!({ "name": name, "limit": places, "active": true });
        self.created(&["v2", "concurrency_limits", ""], &body).await
    }

    /// A limit.
    ///
    /// # Errors
    /// What the server says.
    pub async fn limit(&self, name: &str) -> Result<Option<Limit>> {
        optional(self.get(&["v2", "concurrency_limits", name]).await)
    }

    /// Takes places under all these limits, or none. A lost answer may leave places taken until its lease ends;
    /// so keep leases short and renew them.
    ///
    /// # Errors
    /// There is no such limit; the server has no leases; what the server says.
    pub async fn take_places(&self, limits: &[&str], places: u32, lease: Duration) -> Result<Taken> {
        self.need(ServerVersion::has_leases, "leases of limits", HINT).await?;
        let lease = lease.clamp(SHORTEST, LONGEST).as_secs();
        let body =
            json!({ "slots": places, "names": limits, "mode": "concurrency", "lease_duration": lease });
        let path = ["v2", "concurrency_limits", "increment-with-lease"];
        // 423 Locked: no place is free.
        match self.ask(Method::POST, &path, Some(&body), Again::Unsafe).await {
            Ok(reply) => reply.into().map(Taken::Lease),
            Err(Error::Refused { status: 423, .. }) => Ok(Taken::Full { again: Duration::from_secs(5) }),
            Err(error) => Err(error),
        }
    }

    /// Keeps places for longer; `false`: the lease has ended, and somebody else may have them.
    ///
    /// # Errors
    /// What the server says.
    pub async fn renew_places(&self, lease: &Lease, duration: Duration) -> Result<bool> {
        let id = lease.lease_id.to_string();
        let path = ["v2", "concurrency_limits", "leases", id.as_str(), "renew"];
        let body = json!({ "lease_duration": duration.clamp(SHORTEST, LONGEST).as_secs() });
        match self.post::<Value>(&path, &body).await {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.status(), Some(404 | 410)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives places back. One that has ended is given back already.
    ///
    /// # Errors
    /// What the server says.
    pub async fn give_places_back(&self, lease: &Lease) -> Result<()> {
        let body = json!({ "lease_id": lease.lease_id });
        let given = self.post::<Value>(&["v2", "concurrency_limits", "decrement-with-lease"], &body).await;
        optional(given).map(drop)
    }
}
