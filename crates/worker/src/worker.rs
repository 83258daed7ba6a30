//! The worker: heartbeat, poll, claim, do, report, cancel, drain.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use beamline::Beamline;
use engine::{Engine, Orchestrator, Registry, StateType as Local};
use jiff::Timestamp;
use prefect::{Cancellations, Client, Event};
use tokio::sync::watch;
use uuid::Uuid;

use crate::bridge::{Bridge, Claimed, OURS, POOL, Tell};
use crate::error::{Error, Result};
use crate::ledger::{Ledger, Phase};
use crate::post::Post;

/// The type of pools that this worker serves.
pub const POOL_TYPE: &str = "beamrail";

/// How a worker works.
#[derive(Clone)]
pub struct Options {
    /// The pool in Prefect.
    pub pool: String,
    /// Its queues; empty: all.
    pub queues: Vec<String>,
    /// Runs at once.
    pub concurrency: usize,
    /// Flows that have other names here, by their names in Prefect.
    pub aliases: std::collections::BTreeMap<String, String>,
    /// Its name in Prefect.
    pub name: String,
    /// How often to look for runs.
    pub poll: Duration,
    /// How often to give signs of life.
    pub beat: Duration,
    /// How long runs may go on after the worker was told to stop.
    pub drain: Duration,
    /// How long a worker may be silent before another takes its runs of this journal over.
    pub lease: Duration,
}

impl Options {
    /// A worker of this pool, under the host's name.
    pub fn new(pool: impl Into<String>) -> Self {
        Options {
            pool: pool.into(),
            queues: Vec::new(),
            concurrency: 8,
            aliases: std::collections::BTreeMap::new(),
            name: format!("beamrail {}", host()),
            poll: Duration::from_secs(5),
            beat: Duration::from_secs(30),
            drain: Duration::from_secs(10),
            lease: Duration::from_secs(30),
        }
    }
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What a worker did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Runs claimed from Prefect.
    pub claimed: u64,
    /// Runs that were given back at the end.
    pub given_back: u64,
    /// Requests to the server.
    pub requests: u64,
    /// Those that it was too busy for.
    pub busy: u64,
}

/// Does the runs of a pool on a journal.
pub struct Worker {
    bridge: Arc<Bridge>,
    options: Options,
    configure: Box<dyn FnOnce(engine::Worker) -> engine::Worker + Send>,
}

impl Worker {
    /// A worker. `ledger` is a file beside the journal. `tell` is told what people should know.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn new(
        client: Client,
        engine: Engine,
        registry: Registry,
        ledger: &Path,
        options: Options,
        tell: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self> {
        let tell: Tell = Arc::new(tell);
        let bridge = Bridge {
            client,
            engine,
            registry,
            ledger: Ledger::open(ledger)?,
            aliases: options.aliases.clone(),
            custody: None,
            host: host(),
            tell,
            flows: std::sync::Mutex::default(),
            claimed: std::sync::atomic::AtomicU64::new(0),
        };
        Ok(Worker { bridge: Arc::new(bridge), options, configure: Box::new(|worker| worker) })
    }

    /// A worker of a beamline: it finds out who holds custody, leaves what only that one does to it, and reports to it.
    #[must_use]
    pub fn of(mut self, beam: &Arc<Beamline>) -> Self {
        if let Some(bridge) = Arc::get_mut(&mut self.bridge) {
            bridge.custody = Some(Post::new(beam));
        }
        self
    }

    /// With more for the worker on the journal: couriers, faults.
    #[must_use]
    pub fn configure(mut self, with: impl FnOnce(engine::Worker) -> engine::Worker + Send + 'static) -> Self {
        self.configure = Box::new(with);
        self
    }

    /// Works until `stop` ends; then runs get the drain time, are reported, and what has not ended is given back.
    ///
    /// # Errors
    /// The journal cannot be used, or the pool is another kind of worker's.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<Summary> {
        let Worker { bridge, options, configure } = self;
        bridge.put_away().await?;
        let (halt, halted) = watch::channel(false);
        let inner = engine::Worker::new(bridge.engine.store(), bridge.registry.clone())
            .pool(POOL)
            .queues(["default", OURS])
            .concurrency(options.concurrency.saturating_mul(2))
            .lease(options.lease)
            .drain(options.drain);
        let inner = configure(inner);
        let mut doing = tokio::spawn(inner.run(ended(halted.clone())));
        let mut claiming = tokio::spawn(claims(bridge.clone(), options.clone(), halted.clone()));
        let mut reporting = tokio::spawn(reports(bridge.clone(), halted.clone()));
        let asides = [
            tokio::spawn(cancellations(bridge.clone(), options.pool.clone())),
            tokio::spawn(signs_of_life(bridge.clone(), options.clone())),
            tokio::spawn(heeds(bridge.clone(), options.poll * 2)),
        ];
        let mut stop = std::pin::pin!(stop);
        // Only a journal that cannot be used, or a pool of others, ends one of these before it is told to.
        let early = tokio::select! {
            () = &mut stop => None,
            done = &mut doing => Some(flat(done).err()),
            done = &mut claiming => Some(joined(done).err()),
        };
        let _ = halt.send(true);
        let failed = match early {
            None => joined(claiming.await).err().or(flat(doing.await).err()),
            Some(failed) => {
                doing.abort();
                claiming.abort();
                failed
            }
        };
        let _ = (&mut reporting).await;
        asides.iter().for_each(tokio::task::JoinHandle::abort);
        let mut summary = Summary { claimed: bridge_claims(&bridge), ..Summary::default() };
        if failed.is_none() {
            summary.given_back = finish(&bridge, &options).await;
        }
        let tally = bridge.client.tally();
        (summary.requests, summary.busy) = (tally.requests, tally.busy);
        failed.map_or(Ok(summary), Err)
    }
}

fn bridge_claims(bridge: &Bridge) -> u64 {
    bridge.claimed.load(std::sync::atomic::Ordering::Relaxed)
}

fn joined<T>(done: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<()> {
    match done {
        Ok(result) => result.map(drop),
        // A panic in the worker's own code: the journal is whole, and another start goes on.
        Err(_) => Err(Error::Engine(engine::Error::Crashed)),
    }
}

fn flat<T>(done: std::result::Result<engine::Result<T>, tokio::task::JoinError>) -> Result<()> {
    joined(done.map(|result| result.map_err(Error::from)))
}

async fn ended(mut halted: watch::Receiver<bool>) {
    // The sender lives as long as the worker.
    let _ = halted.wait_for(|halted| *halted).await;
}

/// The last words: what is left to tell, what is given back, and that we are gone. The server has a short while.
async fn finish(bridge: &Bridge, options: &Options) -> u64 {
    let work = async {
        let mut again = HashSet::new();
        push_all(bridge, &mut again).await?;
        let given = bridge.give_back().await?;
        bridge.client.delete_worker(&options.pool, &options.name).await?;
        Ok::<_, Error>(given)
    };
    match tokio::time::timeout(Duration::from_secs(20), work).await {
        Ok(Ok(given)) => given,
        Ok(Err(error)) => {
            (bridge.tell)(&format!("the rest is told at the next start: {error}"));
            0
        }
        Err(_) => {
            (bridge.tell)("the rest is told at the next start: Prefect was slow to answer");
            0
        }
    }
}

/// Looks for runs and claims them.
async fn claims(bridge: Arc<Bridge>, options: Options, mut halted: watch::Receiver<bool>) -> Result<()> {
    let mut settled = false;
    let mut away = false;
    let mut strangers = HashSet::new();
    loop {
        let looked = look(&bridge, &options, &mut settled, &mut strangers).await;
        match looked {
            Ok(()) if away => {
                away = false;
                (bridge.tell)("Prefect answers again");
            }
            Ok(()) => (),
            Err(error @ (Error::WrongPool { .. } | Error::Engine(_) | Error::Ledger { .. }))
                if !error.retry_helps() =>
            {
                return Err(error);
            }
            Err(error) => {
                if !away {
                    (bridge.tell)(&format!("runs go on, and are reported later: {error}"));
                }
                away = true;
            }
        }
        tokio::select! {
            _ = halted.wait_for(|halted| *halted) => return Ok(()),
            () = tokio::time::sleep(options.poll) => (),
        }
    }
}

async fn look(
    bridge: &Bridge,
    options: &Options,
    settled: &mut bool,
    strangers: &mut HashSet<Uuid>,
) -> Result<()> {
    if !*settled {
        if let Some(pool) = bridge.client.work_pool(&options.pool).await?
            && pool.kind != POOL_TYPE
        {
            return Err(Error::WrongPool { pool: options.pool.clone(), kind: pool.kind });
        }
        bridge
            .client
            .create_work_pool(&options.pool, POOL_TYPE, "Workers of beamrail", &serde_json::json!({}))
            .await?;
        for queue in &options.queues {
            bridge.client.create_work_queue(&options.pool, queue, None, None).await?;
        }
        bridge.client.heartbeat(&options.pool, &options.name, options.beat.as_secs().max(1)).await?;
        bridge.settle().await?;
        *settled = true;
    }
    let held = bridge.ledger.open_rows()?.iter().filter(|row| !row.child && row.phase == Phase::Held).count();
    let free = options.concurrency.saturating_sub(held);
    if free == 0 {
        return Ok(());
    }
    let now = Timestamp::now();
    let queues = match &bridge.custody {
        Some(post) => post.queues(bridge, options).await?,
        None => options.queues.clone(),
    };
    let due = bridge.client.poll(&options.pool, &queues, now, free).await?;
    for run in due {
        // The claim is accepted days before its time; so the time is our business.
        if run.next_scheduled_start_time.is_some_and(|at| at > now) {
            continue;
        }
        match bridge.claim(&run).await? {
            Claimed::Ours => {
                bridge.claimed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            Claimed::Refused => (),
            Claimed::Unknown if strangers.insert(run.flow_id) => {
                let flow = bridge.flow_name(run.flow_id).await?.unwrap_or_default();
                (bridge.tell)(&format!("flow {flow} is unknown here; its runs wait for another worker"));
            }
            Claimed::Unknown => (),
        }
    }
    Ok(())
}

/// Reports as things happen; what fails is told again after a while.
async fn reports(bridge: Arc<Bridge>, mut halted: watch::Receiver<bool>) {
    const TICK: Duration = Duration::from_millis(500);
    let mut again: HashSet<Uuid> = bridge
        .ledger
        .open_rows()
        .map(|rows| rows.into_iter().map(|row| row.flow_run).collect())
        .unwrap_or_default();
    let mut events = bridge.engine.events();
    loop {
        let pause = if push_all(&bridge, &mut again).await.is_ok() { TICK } else { TICK * 6 };
        tokio::select! {
            _ = halted.wait_for(|halted| *halted) => return,
            // One push for what happens together.
            () = async {
                let _ = tokio::time::timeout(pause, events.recv()).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                while events.try_recv().is_ok() {}
            } => (),
        }
    }
}

/// Pushes all open runs. A server that is away ends it: the others would wait as long.
async fn push_all(bridge: &Bridge, again: &mut HashSet<Uuid>) -> Result<()> {
    let mut refused = Ok(());
    for row in bridge.ledger.open_rows()? {
        let unsure = again.contains(&row.flow_run);
        match bridge.push(row.flow_run, unsure).await {
            Ok(()) => {
                again.remove(&row.flow_run);
            }
            Err(error) => {
                again.insert(row.flow_run);
                let helps = error.retry_helps();
                if !helps {
                    (bridge.tell)(&format!("run {} cannot be reported: {error}", row.name));
                    if matches!(&error, Error::Prefect(error) if error.is_not_found()) {
                        bridge.ledger.set_phase(row.flow_run, Phase::Closed)?;
                    }
                }
                refused = Err(error);
                if helps {
                    return refused;
                }
            }
        }
    }
    refused
}

async fn cancellations(bridge: Arc<Bridge>, pool: String) {
    let mut watch = Cancellations::watch(&bridge.client, &pool, Duration::from_secs(10));
    while let Some(run) = watch.next().await {
        if let Err(error) = bridge.cancel(run).await {
            (bridge.tell)(&format!("run {run} could not be cancelled: {error}"));
        }
    }
}

/// What people do that is not pushed.
async fn heeds(bridge: Arc<Bridge>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        // A server that is away is told of by the poll.
        let _ = bridge.heed().await;
        if let Some(post) = &bridge.custody
            && let Err(error) = post.report(&bridge).await
        {
            (bridge.tell)(&format!("copies cannot be reported to custody's owner: {error}"));
        }
    }
}

/// The worker's and its runs' signs of life.
async fn signs_of_life(bridge: Arc<Bridge>, options: Options) {
    loop {
        let begun = Instant::now();
        // Nobody is there to hear it, or hears the next.
        let _ = beat(&bridge, &options).await;
        tokio::time::sleep(options.beat.saturating_sub(begun.elapsed())).await;
    }
}

async fn beat(bridge: &Bridge, options: &Options) -> Result<()> {
    bridge.client.heartbeat(&options.pool, &options.name, options.beat.as_secs().max(1)).await?;
    if !bridge.client.version().await?.has_events() {
        return Ok(());
    }
    let mut beats = Vec::new();
    for row in bridge.ledger.open_rows()? {
        if row.phase == Phase::Held && bridge.engine.run(row.run).await?.state.kind != Local::Paused {
            beats.push(Event::heartbeat(&bridge.resource(&row)));
        }
    }
    Ok(bridge.client.emit(&beats).await?)
}
