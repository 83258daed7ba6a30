//! Counting what was done, and telling it at a bearable pace.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::error::Result;
use crate::storage::{Progress, Watch};

/// Progress is told at most this often.
const PACE_MS: u64 = 100;

/// The progress of one transfer, shared by its threads.
pub(crate) struct Meter<'a> {
    watch: &'a Watch,
    begun: Instant,
    total_bytes: u64,
    total_files: u64,
    bytes: AtomicU64,
    files: AtomicU64,
    copied: AtomicU64,
    reused: AtomicU64,
    /// When to tell next, milliseconds since the beginning.
    next: AtomicU64,
}

impl<'a> Meter<'a> {
    pub fn new(watch: &'a Watch, total_bytes: u64, total_files: u64) -> Self {
        let zero = || AtomicU64::new(0);
        let (bytes, files, copied, reused, next) = (zero(), zero(), zero(), zero(), zero());
        Self { watch, begun: Instant::now(), total_bytes, total_files, bytes, files, copied, reused, next }
    }

    /// The caller's wish to stop.
    pub fn watch(&self) -> &Watch {
        self.watch
    }

    /// An error once the caller wants to stop.
    pub fn check(&self) -> Result<()> {
        self.watch.check()
    }

    /// Bytes that were copied now.
    pub fn copied(&self, n: u64) {
        self.copied.fetch_add(n, Ordering::Relaxed);
        self.advance(n);
    }

    /// Bytes that need not be copied.
    pub fn reused(&self, n: u64) {
        self.reused.fetch_add(n, Ordering::Relaxed);
        self.advance(n);
    }

    /// A file that is finished.
    pub fn file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes copied and bytes reused so far.
    pub fn sums(&self) -> (u64, u64) {
        (self.copied.load(Ordering::Relaxed), self.reused.load(Ordering::Relaxed))
    }

    /// Since the beginning.
    pub fn elapsed(&self) -> std::time::Duration {
        self.begun.elapsed()
    }

    /// Tells how far the work is, whatever was told before.
    pub fn tell(&self) {
        let seconds = self.begun.elapsed().as_secs_f64().max(1e-3);
        self.watch.tell(&Progress {
            bytes: self.bytes.load(Ordering::Relaxed),
            total_bytes: self.total_bytes,
            files: self.files.load(Ordering::Relaxed),
            total_files: self.total_files,
            rate: self.copied.load(Ordering::Relaxed) as f64 / seconds,
            faults: 0,
            note: None,
        });
    }

    fn advance(&self, n: u64) {
        self.bytes.fetch_add(n, Ordering::Relaxed);
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (next, later) = (self.next.load(Ordering::Relaxed), now.saturating_add(PACE_MS));
        // One thread wins the right to tell; the others go on working.
        if now >= next
            && self.next.compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.tell();
        }
    }
}
