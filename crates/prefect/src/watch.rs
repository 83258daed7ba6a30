//! Which runs a person wants stopped: pushed where the server pushes, polled everywhere.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::client::Client;
use crate::error::Result;
use crate::events::EventFilter;
use crate::state::StateType;

/// Runs of a pool that went to CANCELLING. Ends when dropped.
///
/// The push comes within a tenth of a second; the poll makes up for broken connections, servers without events
/// and what happened before. A run is told again at each poll until it is CANCELLED.
pub struct Cancellations {
    told: mpsc::Receiver<Uuid>,
    tasks: Vec<JoinHandle<()>>,
}

impl Cancellations {
    /// Begins to watch. `pool` is its name; nothing is asked yet.
    pub fn watch(client: &Client, pool: &str, every: Duration) -> Self {
        let (tell, told) = mpsc::channel(256);
        let polling = tokio::spawn(poll(client.clone(), pool.to_owned(), every, tell.clone()));
        let listening = tokio::spawn(listen(client.clone(), pool.to_owned(), every, tell));
        Cancellations { told, tasks: vec![polling, listening] }
    }

    /// The next run to be stopped.
    pub async fn next(&mut self) -> Option<Uuid> {
        self.told.recv().await
    }
}

impl Drop for Cancellations {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Client {
    /// The runs of a pool that are to be stopped.
    ///
    /// # Errors
    /// What the server says.
    pub async fn cancelling(&self, pool: &str) -> Result<Vec<Uuid>> {
        let filter = json!({
            "flow_runs": { "state": { "type": { "any_": [StateType::Cancelling] } } },
            "work_pools": { "name": { "any_": [pool] } },
        });
        Ok(self.flow_runs(filter).await?.into_iter().map(|run| run.id).collect())
    }
}

async fn poll(client: Client, pool: String, every: Duration, tell: mpsc::Sender<Uuid>) {
    loop {
        // A server that is away has nobody who cancels; the next look finds what it says then.
        for run in client.cancelling(&pool).await.unwrap_or_default() {
            if tell.send(run).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(every).await;
    }
}

async fn listen(client: Client, pool: String, every: Duration, tell: mpsc::Sender<Uuid>) {
    let mut seen = HashSet::new();
    loop {
        match client.version().await {
            Ok(version) if !version.has_events() => return,
            Ok(_) => {
                // It ends when the connection breaks; the poll bridges the gap.
                let _ = pushed(&client, &pool, &tell, &mut seen).await;
            }
            Err(_) => (),
        }
        if tell.is_closed() {
            return;
        }
        tokio::time::sleep(every).await;
    }
}

async fn pushed(
    client: &Client,
    pool: &str,
    tell: &mpsc::Sender<Uuid>,
    seen: &mut HashSet<Uuid>,
) -> Result<()> {
    let Some(pool) = client.work_pool(pool).await? else { return Ok(()) };
    let filter = EventFilter {
        names: vec!["prefect.flow-run.Cancelling".to_owned()],
        any_resource: vec![format!("prefect.work-pool.{}", pool.id)],
        since: None,
    };
    let mut events = client.subscribe(&filter).await?;
    loop {
        let event = events.next().await?;
        let run = event.flow_run().filter(|_| seen.insert(event.id));
        if let Some(run) = run
            && tell.send(run).await.is_err()
        {
            return Ok(());
        }
    }
}
