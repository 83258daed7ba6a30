//! Wall and CPU seconds by stage, added up over all threads without locks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A stage of the job whose time is accounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Finding the rotation centre.
    Center,
    /// Pictures: evidence, quick look, preview.
    Pictures,
    /// The raw file's digest (beside computing).
    Digest,
    /// Reading the scan: waiting for it, beside computing. The CPU time of its own threads is in `other`.
    Read,
    /// Filters on whole projections and their spool.
    Spool,
    /// Flat and dark field, −log, in one pass.
    Correct,
    /// Stripe removal and other filters on sinograms.
    Sinogram,
    /// The reconstruction proper.
    Gridrec,
    /// Filters on slices, conversion to integers, histogram.
    Slice,
    /// TIFF slices: encoding, digest, hand-over to the system.
    Tiff,
    /// OME-Zarr level 0 and lower levels: averaging, compression, digest, hand-over.
    Zarr,
    /// Waiting for the disk to have it all (on the sync thread, beside computing).
    Sync,
}

/// Names in the order of [`Stage`].
const NAMES: [&str; 12] = [
    "center", "pictures", "digest", "read", "spool", "correct", "sinogram", "gridrec", "slice", "tiff",
    "zarr", "sync",
];

/// The clocks of all stages.
#[derive(Debug, Default)]
pub struct Clocks {
    cpu: [AtomicU64; NAMES.len()],
    busy: [AtomicU64; NAMES.len()],
}

/// One line of the stage table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StageTime {
    /// Name of the stage.
    pub stage: String,
    /// CPU seconds of all threads in it.
    pub cpu_s: f64,
    /// Seconds that threads spent in it, waiting included, added over threads.
    pub busy_s: f64,
}

fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// CPU seconds of the whole process so far.
pub fn process_cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

impl Clocks {
    /// Runs `work`, adding its time to `stage`. Work that hands over to other threads (rayon) is counted
    /// on this thread only; see [`Clocks::time_all`].
    pub fn time<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let (cpu, wall) = (thread_cpu_ns(), Instant::now());
        let result = work();
        self.cpu[stage as usize].fetch_add(thread_cpu_ns().saturating_sub(cpu), Ordering::Relaxed);
        self.busy[stage as usize].fetch_add(wall.elapsed().as_nanos() as u64, Ordering::Relaxed);
        result
    }

    /// Like [`Clocks::time`] for work that uses every thread while nothing else computes: CPU time of the
    /// whole process is counted.
    pub fn time_all<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let (cpu, wall) = (process_cpu_s(), Instant::now());
        let result = work();
        let spent = ((process_cpu_s() - cpu).max(0.0) * 1e9) as u64;
        self.cpu[stage as usize].fetch_add(spent, Ordering::Relaxed);
        self.busy[stage as usize].fetch_add(wall.elapsed().as_nanos() as u64, Ordering::Relaxed);
        result
    }

    /// The table, stages that took no time left out. `cpu_s` are the CPU seconds of the process in the same
    /// span: what no stage accounts for (reading on other threads, opening, journals) becomes `other`.
    pub fn table(&self, cpu_s: f64) -> Vec<StageTime> {
        let mut lines: Vec<StageTime> = NAMES
            .iter()
            .enumerate()
            .map(|(index, name)| StageTime {
                stage: (*name).to_owned(),
                cpu_s: self.cpu[index].load(Ordering::Relaxed) as f64 * 1e-9,
                busy_s: self.busy[index].load(Ordering::Relaxed) as f64 * 1e-9,
            })
            .filter(|line| line.cpu_s + line.busy_s > 0.0)
            .collect();
        let known: f64 = lines.iter().map(|line| line.cpu_s).sum();
        lines.push(StageTime { stage: "other".into(), cpu_s: (cpu_s - known).max(0.0), busy_s: 0.0 });
        lines
    }
}
