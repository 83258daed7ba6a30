//! A run at work in a worker: its lease, what the journal says of its steps, and what is asked of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::{Future, pending};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::failure::Failure;
use crate::faults::{Fault, Faults, Point};
use crate::flow::Boxed;
use crate::model::{Ask, Run, RunId, Step};
use crate::store::Store;
use crate::store::runs::Lease;
use crate::store::writer::Tx;

/// What others ask of a run at work. Set by the worker, seen by steps.
#[derive(Debug)]
pub(crate) struct Control {
    cancel: watch::Sender<Option<String>>,
    pause: watch::Sender<Option<String>>,
    lost: watch::Sender<Option<Error>>,
    give_back: watch::Sender<bool>,
}

impl Control {
    pub fn new() -> Self {
        Control {
            cancel: watch::Sender::new(None),
            pause: watch::Sender::new(None),
            lost: watch::Sender::new(None),
            give_back: watch::Sender::new(false),
        }
    }

    /// The worker stops: the run is handed back where it stands.
    pub fn give_back(&self) {
        self.give_back.send_replace(true);
    }

    /// Ends when the run is to be handed back.
    pub async fn wait_give_back(&self) {
        let mut wanted = self.give_back.subscribe();
        let ended = wanted.wait_for(|wanted| *wanted).await.is_err();
        if ended {
            pending::<()>().await;
        }
    }

    pub fn cancel(&self, reason: String) {
        self.cancel.send_if_modified(|asked| {
            asked.is_none() && {
                *asked = Some(reason);
                true
            }
        });
    }

    pub fn pause(&self, reason: String) {
        self.pause.send_if_modified(|asked| {
            asked.is_none() && {
                *asked = Some(reason);
                true
            }
        });
    }

    /// This worker may not or cannot write any more: the flow is dropped where it stands.
    pub fn lose(&self, why: Error) {
        self.lost.send_if_modified(|lost| {
            lost.is_none() && {
                *lost = Some(why);
                true
            }
        });
    }

    pub fn cancelled(&self) -> Option<String> {
        self.cancel.borrow().clone()
    }

    pub fn paused(&self) -> Option<String> {
        self.pause.borrow().clone()
    }

    /// Ends when the run is to be cancelled, with the reason.
    pub async fn wait_cancel(&self) -> String {
        let mut asked = self.cancel.subscribe();
        let reason = asked.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match reason {
            Some(reason) => reason,
            None => pending().await,
        }
    }

    /// Ends when the run is lost to this worker.
    pub async fn wait_lost(&self) -> Error {
        let mut lost = self.lost.subscribe();
        let lost = lost.wait_for(Option::is_some).await.ok().and_then(|lost| lost.clone());
        match lost {
            Some(error) => error,
            None => pending().await,
        }
    }
}

/// Why a branch of a flow rests. If all do, the run lets go of its worker.
#[derive(Debug, Clone)]
pub(crate) enum Resting {
    Sleep { wake: Timestamp },
    Retry { wake: Timestamp, why: String },
    Input { ask: Box<Ask> },
    Child { run: RunId },
    Pause { reason: String },
}

impl Resting {
    pub fn wake(&self) -> Option<Timestamp> {
        match self {
            Resting::Sleep { wake } | Resting::Retry { wake, .. } => Some(*wake),
            Resting::Input { .. } | Resting::Child { .. } | Resting::Pause { .. } => None,
        }
    }
}

/// Stops the outside work of a step whose future is gone.
pub(crate) type Stop = Box<dyn Fn() -> Boxed<std::result::Result<(), Failure>> + Send + Sync>;

pub(crate) struct Active {
    pub store: Store,
    pub lease: Lease,
    pub run: Run,
    pub control: Arc<Control>,
    pub faults: Arc<dyn Faults>,
    pub inputs: BTreeMap<String, Value>,
    /// Waits shorter than this are waited for in place.
    pub patience: Duration,
    /// Keys handed out in this execution: uses of a name, and keys.
    names: Mutex<(HashMap<String, u32>, HashSet<String>)>,
    steps: Mutex<HashMap<String, Step>>,
    busy: AtomicUsize,
    resting: Mutex<(u64, BTreeMap<u64, Resting>)>,
    live: Mutex<BTreeMap<String, Stop>>,
}

/// Counts a step as being at work until dropped.
pub(crate) struct Busy(Arc<Active>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

struct RestGuard<'a>(&'a Active, u64);

impl Drop for RestGuard<'_> {
    fn drop(&mut self) {
        lock(&self.0.resting).1.remove(&self.1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Active {
    pub fn new(
        store: Store,
        lease: Lease,
        run: Run,
        control: Arc<Control>,
        faults: Arc<dyn Faults>,
        steps: Vec<Step>,
        inputs: BTreeMap<String, Value>,
        patience: Duration,
    ) -> Self {
        let steps = steps.into_iter().map(|step| (step.key.clone(), step)).collect();
        Active {
            store,
            lease,
            run,
            control,
            faults,
            inputs,
            patience,
            names: Mutex::default(),
            steps: Mutex::new(steps),
            busy: AtomicUsize::new(0),
            resting: Mutex::default(),
            live: Mutex::default(),
        }
    }

    pub fn now(&self) -> Timestamp {
        self.store.clock().now()
    }

    pub fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::SeqCst);
        Busy(self.clone())
    }

    /// The key of a step: as given, or made of its name and how often that was used. `None`: used already.
    pub fn name_step(&self, scope: &str, name: &str, given: Option<&str>) -> Option<String> {
        let mut names = lock(&self.names);
        let key = match given {
            Some(key) => format!("{scope}{key}"),
            None => {
                let uses = names.0.entry(format!("{scope}{name}")).or_default();
                *uses += 1;
                if *uses == 1 { format!("{scope}{name}") } else { format!("{scope}{name}#{uses}") }
            }
        };
        names.1.insert(key.clone()).then_some(key)
    }

    pub fn step(&self, key: &str) -> Option<Step> {
        lock(&self.steps).get(key).cloned()
    }

    /// One journal write, with the fault hooks around it. Never returns if the run is lost to this worker:
    /// the flow must not go on, not even to handle an error.
    pub async fn journal<T, F>(&self, what: &'static str, step: Option<&str>, write: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T> + Send + 'static,
    {
        self.point(false, what, step).await;
        let result = self.store.write(write).await;
        if let Err(error @ (Error::LeaseLost { .. } | Error::Store { .. } | Error::Corrupt { .. })) = &result
        {
            self.control.lose(error.clone());
            return pending().await;
        }
        self.point(true, what, step).await;
        result
    }

    pub async fn point(&self, written: bool, what: &'static str, step: Option<&str>) {
        let point = Point { written, run: self.lease.run, step: step.map(str::to_owned), what };
        if self.faults.at(&point) == Fault::Crash {
            self.control.lose(Error::Crashed);
            pending::<()>().await;
        }
    }

    /// Rests until `over`, or until the run is cancelled. Meanwhile the run may be taken off its worker.
    pub async fn rest(
        &self,
        why: Resting,
        over: impl Future<Output = ()>,
    ) -> std::result::Result<(), Failure> {
        let _guard = {
            let mut resting = lock(&self.resting);
            resting.0 += 1;
            let number = resting.0;
            resting.1.insert(number, why);
            RestGuard(self, number)
        };
        tokio::select! {
            biased;
            reason = self.control.wait_cancel() => Err(Failure::cancelled(reason)),
            () = over => Ok(()),
        }
    }

    /// What all branches rest for, if all do and for long. Asked after the flow was polled.
    pub fn rests(&self) -> Option<Vec<Resting>> {
        let resting = lock(&self.resting);
        if resting.1.is_empty() || resting.1.len() < self.busy.load(Ordering::SeqCst) {
            return None;
        }
        let soon = crate::clock::add(self.now(), self.patience);
        if resting.1.values().filter_map(Resting::wake).any(|wake| wake <= soon) {
            return None;
        }
        Some(resting.1.values().cloned().collect())
    }

    pub fn keep_stop(&self, key: &str, stop: Stop) {
        lock(&self.live).insert(key.to_owned(), stop);
    }

    pub fn forget_stop(&self, key: &str) {
        lock(&self.live).remove(key);
    }

    /// Outside work that the flow started and did not wait for.
    pub fn take_stops(&self) -> BTreeMap<String, Stop> {
        std::mem::take(&mut lock(&self.live))
    }
}
