//! A worker: claims runs, executes their flows, renews its leases, delivers messages, and stops cleanly.

use std::collections::{BTreeMap, HashMap};
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::task::JoinSet;

use crate::clock::add;
use crate::context::active::Control;
use crate::courier::Courier;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::execute::{Outcome, execute};
use crate::failure::Failure;
use crate::faults::{Faults, NoFaults};
use crate::flow::Registry;
use crate::model::RunId;
use crate::state::StateType;
use crate::store::Store;
use crate::store::claims::{self, Claim, Renewed};
use crate::store::outbox::Message;
use crate::store::runs::Lease;

/// Claims and executes runs of the flows in its registry.
pub struct Worker {
    store: Store,
    registry: Registry,
    name: String,
    pool: String,
    queues: Vec<String>,
    concurrency: usize,
    lease: Duration,
    poll: Duration,
    patience: Duration,
    drain: Duration,
    faults: Arc<dyn Faults>,
    courier: Courier,
}

/// What a worker did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Runs claimed (a run that rested in between counts again).
    pub claimed: u64,
    /// Runs that left it, by the type of the state they were left in.
    pub left: BTreeMap<StateType, u64>,
    /// Runs that were lost to it: another worker took over, or the journal could not be written.
    pub lost: u64,
    /// Messages delivered.
    pub delivered: u64,
}

/// A run at work.
struct Held {
    lease: Lease,
    control: Arc<Control>,
    renewed: Timestamp,
}

/// Everything that moves while a worker works.
struct Shift {
    tasks: JoinSet<(RunId, i64, Outcome)>,
    held: HashMap<RunId, Held>,
    delivery: JoinSet<Result<u64>>,
    summary: Summary,
    beat: Timestamp,
    tick: Timestamp,
}

impl Worker {
    /// A worker of pool "default", all queues, 8 runs at once, leases of 30 s.
    pub fn new(store: &Store, registry: Registry) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let unique = store.new_id().0.as_simple().to_string();
        let name = format!("{host}:{}:{}", std::process::id(), unique.get(24..).unwrap_or_default());
        Worker {
            store: store.clone(),
            registry,
            name,
            pool: "default".to_owned(),
            queues: Vec::new(),
            concurrency: 8,
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            patience: Duration::from_secs(5),
            drain: Duration::from_secs(10),
            faults: Arc::new(NoFaults),
            courier: Courier::default(),
        }
    }

    /// With a name that tells it from others (default: host, pid and a random part).
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Of this pool.
    #[must_use]
    pub fn pool(mut self, pool: impl Into<String>) -> Self {
        self.pool = pool.into();
        self
    }

    /// Only of these queues.
    #[must_use]
    pub fn queues<Q: Into<String>>(mut self, queues: impl IntoIterator<Item = Q>) -> Self {
        self.queues = queues.into_iter().map(Into::into).collect();
        self
    }

    /// So many runs at once.
    #[must_use]
    pub fn concurrency(mut self, runs: usize) -> Self {
        self.concurrency = runs.max(1);
        self
    }

    /// A run whose worker has been silent for so long is taken over. Renewed after a third of it.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How often to look for runs that other processes made.
    #[must_use]
    pub fn poll(mut self, poll: Duration) -> Self {
        self.poll = poll;
        self
    }

    /// Waits of a flow that are shorter are waited for in place; longer ones let go of the worker.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How long runs may go on after the worker was told to stop, before they are handed back.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// With faults (tests).
    #[must_use]
    pub fn faults(mut self, faults: Arc<dyn Faults>) -> Self {
        self.faults = faults;
        self
    }

    /// Delivers messages of this topic. A retryable failure is tried again for about four days; a fatal one makes
    /// the message a dead letter.
    #[must_use]
    pub fn deliver<F, W>(mut self, topic: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Message) -> W + Send + Sync + 'static,
        W: Future<Output = std::result::Result<(), Failure>> + Send + 'static,
    {
        self.courier.add(topic.into(), handler);
        self
    }

    /// Works until `stop` ends; then runs get the drain time and are handed back.
    ///
    /// # Errors
    /// The journal cannot be used, or a fault hook stopped the worker dead.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<Summary> {
        self.work(stop, false).await
    }

    /// Works until nothing is due and nothing is at work; what is paused or due later stays.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_until_idle(self) -> Result<Summary> {
        self.work(pending(), true).await
    }

    async fn work(self, stop: impl Future<Output = ()>, until_idle: bool) -> Result<Summary> {
        // Before anything is done on the word of a damaged journal.
        self.store.check(false).await?;
        let clock = self.store.clock().clone();
        let mut events = self.store.events();
        let mut shift = Shift {
            tasks: JoinSet::new(),
            held: HashMap::new(),
            delivery: JoinSet::new(),
            summary: Summary::default(),
            beat: clock.now(),
            tick: clock.now(),
        };
        let mut stop = pin!(stop);
        let mut stopping: Option<Timestamp> = None;
        let mut given_back = false;
        loop {
            if clock.now() >= shift.beat {
                self.renew(&mut shift).await?;
            }
            if stopping.is_none() && clock.now() >= shift.tick {
                shift.tick = add(clock.now(), self.poll);
                Engine::on(self.store.clone()).tick().await?;
                if !shift.held.is_empty() && self.asked().await? {
                    self.renew(&mut shift).await?;
                }
            }
            let claimed = if stopping.is_none() { self.claim(&mut shift).await? } else { 0 };
            if stopping.is_none() && shift.delivery.is_empty() && self.courier.anything(&self.store).await? {
                // Beside the loop: a slow receiver must not cost the leases.
                shift.delivery.spawn(self.courier.clone().deliver(self.store.clone()));
            }
            let idle = shift.tasks.is_empty() && shift.delivery.is_empty() && claimed == 0;
            if idle && (stopping.is_some() || until_idle) {
                self.farewell().await;
                return Ok(shift.summary);
            }
            if stopping.is_some_and(|end| clock.now() >= end) && !given_back {
                given_back = true;
                shift.held.values().for_each(|held| held.control.give_back());
            }
            let next = add(clock.now(), self.poll).min(shift.beat).min(shift.tick);
            let next = stopping.filter(|_| !given_back).map_or(next, |end| next.min(end));
            tokio::select! {
                () = &mut stop, if stopping.is_none() => stopping = Some(add(clock.now(), self.drain)),
                Some(done) = shift.tasks.join_next() => self.left(&mut shift, done).await?,
                control = news(&mut events) => if control { self.renew(&mut shift).await? },
                Some(done) = shift.delivery.join_next() => {
                    // A journal that cannot be written shows at the next renewal; a panic is the handler's own.
                    shift.summary.delivered += done.ok().and_then(std::result::Result::ok).unwrap_or_default();
                }
                () = clock.sleep_until(next) => (),
            }
        }
    }

    /// Nobody is to count on this worker any more. What cannot be written says itself when its time is over.
    async fn farewell(&self) {
        let (name, pool) = (self.name.clone(), self.pool.clone());
        let _ = self.store.write(move |tx| claims::sign_of_life(tx, &name, &pool, tx.now)).await;
    }

    async fn claim(&self, shift: &mut Shift) -> Result<usize> {
        let free = self.concurrency.saturating_sub(shift.held.len());
        if free == 0 {
            return Ok(0);
        }
        let ask = Claim {
            worker: self.name.clone(),
            pool: self.pool.clone(),
            queues: self.queues.clone(),
            flows: self.registry.iter().map(|flow| flow.name().to_owned()).collect(),
            most: free,
            lease: self.lease,
            holds: shift.held.keys().copied().collect(),
        };
        // Looking costs no transaction; most looks find nothing.
        let look = ask.clone();
        let now = self.store.clock().now();
        if !self.store.read(move |connection| claims::anything(connection, &look, now)).await? {
            return Ok(0);
        }
        let claimed = match self.store.write(move |tx| claims::claim(tx, &ask)).await {
            Ok(claimed) => claimed,
            Err(error) if error.retry_helps() => return Ok(0),
            Err(error) => return Err(error),
        };
        let count = claimed.len();
        for (run, lease) in claimed {
            let Some(flow) = self.registry.get(&run.flow).cloned() else { continue };
            let control = Arc::new(Control::new());
            let (id, fence) = (run.id, lease.fence);
            let held =
                Held { lease: lease.clone(), control: control.clone(), renewed: self.store.clock().now() };
            shift.held.insert(id, held);
            shift.summary.claimed += 1;
            let work =
                execute(self.store.clone(), flow, run, lease, control, self.faults.clone(), self.patience);
            shift.tasks.spawn(async move { (id, fence, work.await) });
        }
        Ok(count)
    }

    /// A run has left this worker.
    async fn left(
        &self,
        shift: &mut Shift,
        done: std::result::Result<(RunId, i64, Outcome), tokio::task::JoinError>,
    ) -> Result<()> {
        let Ok((id, fence, outcome)) = done else {
            // The engine's own code panicked; the run's lease ends and it is taken up again.
            shift.summary.lost += 1;
            return Ok(());
        };
        if shift.held.get(&id).is_some_and(|held| held.lease.fence == fence) {
            shift.held.remove(&id);
        }
        match outcome {
            Outcome::Stored(state) => *shift.summary.left.entry(state.kind).or_default() += 1,
            Outcome::Lost(error @ Error::Crashed) => {
                shift.tasks.shutdown().await;
                return Err(error);
            }
            Outcome::Lost(_) => shift.summary.lost += 1,
        }
        Ok(())
    }

    /// Whether another process asks something of a run that this worker holds.
    async fn asked(&self) -> Result<bool> {
        let name = self.name.clone();
        self.store.read(move |connection| claims::asked(connection, &name)).await
    }

    /// Renews all leases and hears what is asked of the runs.
    async fn renew(&self, shift: &mut Shift) -> Result<()> {
        let now = self.store.clock().now();
        shift.beat = add(now, self.lease / 3);
        let leases: Vec<Lease> = shift.held.values().map(|held| held.lease.clone()).collect();
        let (lease, name, pool) = (self.lease, self.name.clone(), self.pool.clone());
        let renewed = self
            .store
            .write(move |tx| {
                claims::sign_of_life(tx, &name, &pool, add(tx.now, lease))?;
                claims::renew(tx, &leases, lease)
            })
            .await;
        let renewed = match renewed {
            Ok(renewed) => renewed,
            Err(error) if error.retry_helps() => {
                // As long as the leases hold, a full disk may pass; after that others may have the runs.
                for held in shift.held.values().filter(|held| add(held.renewed, self.lease) <= now) {
                    held.control.lose(error.clone());
                }
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for (run, found) in renewed {
            let Some(held) = shift.held.get_mut(&run) else { continue };
            match found {
                Renewed::Lost => {
                    let lease = &held.lease;
                    let lost = Error::LeaseLost { run, ours: lease.fence, theirs: lease.fence + 1 };
                    held.control.lose(lost);
                }
                Renewed::Held { cancel, pause } => {
                    held.renewed = now;
                    if let Some(reason) = cancel {
                        held.control.cancel(reason);
                    }
                    if let Some(reason) = pause {
                        held.control.pause(reason);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Waits for a change that a worker should look at. `true`: something is asked of a run at work.
async fn news(events: &mut Receiver<Event>) -> bool {
    loop {
        match events.recv().await {
            Ok(Event::Control { .. }) | Err(RecvError::Lagged(_)) => return true,
            Ok(Event::Run { state, .. }) if state.kind == StateType::Scheduled => return false,
            Ok(Event::Run { state, .. }) if state.kind.is_terminal() => return false,
            Ok(Event::Outbox { .. }) => return false,
            Ok(_) => (),
            Err(RecvError::Closed) => pending::<()>().await,
        }
    }
}
