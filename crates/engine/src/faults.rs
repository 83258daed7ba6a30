//! Hooks for tests that break things on purpose: at each journal write, and in each step.
//!
//! Production workers use [`NoFaults`]. The harness ([`crate::harness`]) and kill tests use the others.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::failure::Failure;
use crate::model::RunId;

/// A moment just before or after a journal write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// `false`: the write has not been asked for; `true`: it is on disk.
    pub written: bool,
    /// The run.
    pub run: RunId,
    /// The step's key, if it is a write about one.
    pub step: Option<String>,
    /// What is written: "begin", "intend", "acted", "complete", "finish", ...
    pub what: &'static str,
}

/// What a hook wants at a journal point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Go on.
    None,
    /// The worker stops dead: it writes nothing more, not even its leases back.
    Crash,
}

/// What a hook wants of an attempt of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum StepFault {
    /// Nothing.
    None,
    /// Do it twice, as after a crash between the act and its record.
    Repeat,
    /// Fail without doing it.
    FailBefore(Failure),
    /// Do it, then fail.
    FailAfter(Failure),
}

/// The hook.
pub trait Faults: Send + Sync {
    /// Called before and after each journal write of a run by its worker.
    fn at(&self, point: &Point) -> Fault {
        let _ = point;
        Fault::None
    }

    /// Called before each attempt of a step.
    fn step(&self, run: RunId, key: &str, attempt: u32) -> StepFault {
        let _ = (run, key, attempt);
        StepFault::None
    }
}

/// No faults.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFaults;

impl Faults for NoFaults {}

/// Counts journal points and stops the worker dead at one of them (from 1).
#[derive(Debug, Default)]
pub struct CrashAt {
    at: Option<u64>,
    seen: AtomicU64,
    points: Mutex<Vec<Point>>,
}

impl CrashAt {
    /// Only counts.
    pub fn never() -> Self {
        Self::default()
    }

    /// Stops at this point.
    pub fn point(at: u64) -> Self {
        CrashAt { at: Some(at), ..Self::default() }
    }

    /// How many points were passed.
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::SeqCst)
    }

    /// The points, in order.
    pub fn points(&self) -> Vec<Point> {
        self.points.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Faults for CrashAt {
    fn at(&self, point: &Point) -> Fault {
        self.points.lock().unwrap_or_else(PoisonError::into_inner).push(point.clone());
        let number = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        if self.at == Some(number) { Fault::Crash } else { Fault::None }
    }
}

/// The variable that [`KillAt::from_env`] reads.
pub const KILL_AT: &str = "BEAMRAIL_KILL_AT";

/// Ends this process with SIGKILL at a journal point: nothing is flushed, no destructor runs.
#[derive(Debug)]
pub struct KillAt {
    at: u64,
    seen: AtomicU64,
}

impl KillAt {
    /// At the point that `BEAMRAIL_KILL_AT` names (from 1); `None` if the variable is not set.
    pub fn from_env() -> Option<Self> {
        let at = std::env::var(KILL_AT).ok()?.parse().ok()?;
        Some(KillAt { at, seen: AtomicU64::new(0) })
    }
}

impl Faults for KillAt {
    fn at(&self, _: &Point) -> Fault {
        if self.seen.fetch_add(1, Ordering::SeqCst) + 1 == self.at {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            return Fault::Crash;
        }
        Fault::None
    }
}
