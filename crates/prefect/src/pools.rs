//! Work pools, their queues and workers.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Client;
use crate::error::{Result, optional};
use crate::flow_runs::FlowRun;

/// A pool as the server has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct WorkPool {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// The kind of worker that it is for.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether its runs are held back.
    #[serde(default)]
    pub is_paused: bool,
    /// At most so many runs at once.
    #[serde(default)]
    pub concurrency_limit: Option<u32>,
    /// "READY" while a worker is there.
    #[serde(default)]
    pub status: Option<String>,
    /// The forms of the interface and the settings of a job.
    #[serde(default)]
    pub base_job_template: Value,
}

/// A queue in a pool.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct WorkQueue {
    /// Its id.
    pub id: Uuid,
    /// Its name in the pool.
    pub name: String,
    /// Lower is earlier.
    #[serde(default)]
    pub priority: Option<u32>,
    /// At most so many runs at once; kept by the poll alone.
    #[serde(default)]
    pub concurrency_limit: Option<u32>,
    /// Whether its runs are held back.
    #[serde(default)]
    pub is_paused: bool,
}

/// A worker that gave a sign of life.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct WorkerSeen {
    /// Its name.
    pub name: String,
    /// "ONLINE" or "OFFLINE".
    #[serde(default)]
    pub status: Option<String>,
    /// The last sign.
    #[serde(default)]
    pub last_heartbeat_time: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Polled {
    flow_run: FlowRun,
}

impl Client {
    /// A pool.
    ///
    /// # Errors
    /// What the server says.
    pub async fn work_pool(&self, name: &str) -> Result<Option<WorkPool>> {
        optional(self.get(&["work_pools", name]).await)
    }

    /// All pools.
    ///
    /// # Errors
    /// What the server says.
    pub async fn work_pools(&self) -> Result<Vec<WorkPool>> {
        self.all(&["work_pools", "filter"], &json!({})).await
    }

    /// Makes a pool of this type; `false` if there is one of this name, of whatever type.
    ///
    /// # Errors
    /// What the server says.
    pub async fn create_work_pool(
        &self,
        name: &str,
        kind: &str,
        about: &str,
        template: &Value,
    ) -> Result<bool> {
        let body = json!({ "name": name, "type": kind, "description": about, "base_job_template": template });
        self.created(&["work_pools", ""], &body).await
    }

    /// Pauses a pool, lets it go on, or sets its limit.
    ///
    /// # Errors
    /// What the server says.
    pub async fn update_work_pool(&self, name: &str, change: &Value) -> Result<()> {
        self.patch(&["work_pools", name], change).await
    }

    /// Removes a pool with its queues.
    ///
    /// # Errors
    /// What the server says.
    pub async fn delete_work_pool(&self, name: &str) -> Result<()> {
        optional(self.delete(&["work_pools", name]).await).map(drop)
    }

    /// A queue.
    ///
    /// # Errors
    /// What the server says.
    pub async fn work_queue(&self, pool: &str, name: &str) -> Result<Option<WorkQueue>> {
        optional(self.get(&["work_pools", pool, "queues", name]).await)
    }

    /// The queues of a pool.
    ///
    /// # Errors
    /// What the server says.
    pub async fn work_queues(&self, pool: &str) -> Result<Vec<WorkQueue>> {
        self.all(&["work_pools", pool, "queues", "filter"], &json!({})).await
    }

    /// Makes a queue; `false` if there is one of this name.
    ///
    /// # Errors
    /// What the server says.
    pub async fn create_work_queue(
        &self,
        pool: &str,
        name: &str,
        priority: Option<u32>,
        limit: Option<u32>,
    ) -> Result<bool> {
        let body = json!({ "name": name, "priority": priority, "concurrency_limit": limit });
        self.created(&["work_pools", pool, "queues"], &body).await
    }

    /// Pauses a queue, lets it go on, or sets limit and priority.
    ///
    /// # Errors
    /// What the server says.
    pub async fn update_work_queue(&self, pool: &str, name: &str, change: &Value) -> Result<()> {
        self.patch(&["work_pools", pool, "queues", name], change).await
    }

    /// A sign of life. The worker is ONLINE at once, and OFFLINE some intervals after the last.
    ///
    /// # Errors
    /// What the server says.
    pub async fn heartbeat(&self, pool: &str, worker: &str, interval_seconds: u64) -> Result<()> {
        let body = json!({ "name": worker, "heartbeat_interval_seconds": interval_seconds });
        self.post::<Value>(&["work_pools", pool, "workers", "heartbeat"], &body).await.map(drop)
    }

    /// The workers of a pool.
    ///
    /// # Errors
    /// What the server says.
    pub async fn workers(&self, pool: &str) -> Result<Vec<WorkerSeen>> {
        self.all(&["work_pools", pool, "workers", "filter"], &json!({})).await
    }

    /// Takes a worker off the list.
    ///
    /// # Errors
    /// What the server says.
    pub async fn delete_worker(&self, pool: &str, worker: &str) -> Result<()> {
        optional(self.delete(&["work_pools", pool, "workers", worker]).await).map(drop)
    }

    /// The runs that are due before this time, in the order of the queues' priority. It claims nothing: that
    /// is proposing PENDING. A queue that does not exist is an error (404).
    ///
    /// # Errors
    /// What the server says.
    pub async fn poll(
        &self,
        pool: &str,
        queues: &[String],
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<FlowRun>> {
        let mut body = json!({ "scheduled_before": before, "limit": limit });
        if !queues.is_empty() {
            body["work_queue_names"] = json!(queues);
        }
        let found: Vec<Polled> = self.post(&["work_pools", pool, "get_scheduled_flow_runs"], &body).await?;
        Ok(found.into_iter().map(|polled| polled.flow_run).collect())
    }

    /// Makes something by its name; `false`: it is there already.
    pub(crate) async fn created(&self, path: &[&str], body: &Value) -> Result<bool> {
        match self.post::<Value>(path, body).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }
}
