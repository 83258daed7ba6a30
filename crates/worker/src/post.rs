//! A worker's part in custody: owner, or one that reports to the owner.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use beamline::Beamline;
use beamline::config::CUSTODY_QUEUE;

use crate::bridge::Bridge;
use crate::error::Result;
use crate::owner::owner_or;
use crate::reports::collect;
use crate::worker::Options;

/// How often it is asked who the owner is.
const LOOK: Duration = Duration::from_secs(30);

/// What a worker knows of custody.
pub(crate) struct Post {
    pub beam: Arc<Beamline>,
    owner: AtomicBool,
    known: Mutex<Option<(Instant, Vec<String>)>>,
}

impl Post {
    /// Of a worker that does not know yet: not the owner.
    pub fn new(beam: &Arc<Beamline>) -> Self {
        Self { beam: beam.clone(), owner: AtomicBool::new(false), known: Mutex::new(None) }
    }

    /// Whether this worker's state folder holds custody.
    pub fn is_owner(&self) -> bool {
        self.owner.load(Ordering::Relaxed)
    }

    /// The queues to poll: custody's is the owner's alone, and the owner's whatever else it serves.
    pub async fn queues(&self, bridge: &Bridge, options: &Options) -> Result<Vec<String>> {
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((asked, queues)) = lock().as_ref()
            && asked.elapsed() < LOOK
        {
            return Ok(queues.clone());
        }
        let mark = bridge.ledger.mark();
        let owner = owner_or(&bridge.client, &mark, &bridge.host).await?;
        let mine = owner.mark == mark;
        if self.owner.swap(mine, Ordering::Relaxed) != mine || lock().is_none() {
            (bridge.tell)(&match mine {
                true => "custody is here: prune and reconcile run on this worker".to_owned(),
                false => {
                    format!("custody is with {} since {}; copies are reported there", owner.host, owner.since)
                }
            });
        }
        let there = bridge.client.work_queues(&options.pool).await?;
        let there = there.into_iter().map(|queue| queue.name);
        let asked = |name: &String| options.queues.is_empty() || options.queues.contains(name);
        let queues: Vec<String> =
            there.filter(|name| if name == CUSTODY_QUEUE { mine } else { asked(name) }).collect();
        *lock() = Some((Instant::now(), queues.clone()));
        Ok(queues)
    }

    /// Reports what is new here to the owner.
    pub async fn report(&self, bridge: &Bridge) -> Result<()> {
        if self.is_owner() || self.known.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Ok(());
        }
        collect(&self.beam, &bridge.engine, &bridge.ledger, &bridge.host).await.map(drop)
    }
}
