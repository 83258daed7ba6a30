//! What a job tells while it runs, and how it is asked to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

/// One event of a job, in the order in which they happen. Serialised as one JSON object a line by
/// `--progress json` and in `progress.jsonl` of a job folder.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A stage begins: `open`, `center`, `quick`, `spool`, `reconstruct`, `levels`, `preview`, `commit`.
    Stage {
        /// The stage's name.
        name: &'static str,
        /// What it does, for people.
        message: String,
    },
    /// Something odd about the input that does not stop the job; also in the report.
    Warning {
        /// A stable code, such as `pixel-size-missing`.
        code: String,
        /// What it means and what was assumed.
        message: String,
    },
    /// The rotation centre is known.
    Center {
        /// 0-based detector column.
        center: f64,
        /// 0 to 1; 1 for a centre that was given.
        confidence: f64,
        /// found, ambiguous, at_edge, featureless or given.
        verdict: String,
    },
    /// The quick look is there to be opened.
    QuickLook {
        /// The preview picture.
        preview: PathBuf,
        /// Seconds since the job began.
        seconds: f64,
    },
    /// Long work goes on.
    Progress {
        /// The stage.
        stage: &'static str,
        /// Units done, of `total` (rows, projections or files).
        done: u64,
        /// All units.
        total: u64,
        /// Units a second, over the whole stage.
        rate: f64,
        /// Seconds left at this rate.
        left_s: f64,
        /// Bytes of results written so far.
        bytes: u64,
    },
    /// The volume is there, verified and committed.
    Done {
        /// The manifest.
        manifest: PathBuf,
        /// Digest of the manifest.
        digest: String,
        /// Seconds since the job began.
        seconds: f64,
    },
}

/// Receives the events of a job; called from the thread that runs it.
pub trait Observer: Sync {
    /// One event. Must return quickly.
    fn event(&self, event: &Event);
}

/// An observer that looks away.
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _event: &Event) {}
}

/// Asks a running job to stop at the next safe point. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A stop that nobody has asked for.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ask. The job returns [`crate::Error::Interrupted`] within about one slice's time.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// The flag itself, for signal handlers.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    /// Has somebody asked?
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error if somebody has asked.
    pub fn check(&self) -> crate::Result<()> {
        if self.requested() { Err(crate::Error::Interrupted) } else { Ok(()) }
    }
}

/// Turns counts into [`Event::Progress`] with rate and time left.
pub struct Meter<'a> {
    observer: &'a dyn Observer,
    stage: &'static str,
    total: u64,
    began: std::time::Instant,
}

impl<'a> Meter<'a> {
    /// Starts the clock of a stage of `total` units.
    pub fn new(observer: &'a dyn Observer, stage: &'static str, total: u64) -> Self {
        Self { observer, stage, total, began: std::time::Instant::now() }
    }

    /// Reports that `done` units are complete and `bytes` written.
    pub fn report(&self, done: u64, bytes: u64) {
        let seconds = self.began.elapsed().as_secs_f64().max(1e-6);
        let rate = done as f64 / seconds;
        let left_s = if rate > 0.0 { self.total.saturating_sub(done) as f64 / rate } else { 0.0 };
        self.observer.event(&Event::Progress {
            stage: self.stage,
            done,
            total: self.total,
            rate,
            left_s,
            bytes,
        });
    }
}
