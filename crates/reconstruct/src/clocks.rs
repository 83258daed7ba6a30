//! Wall and CPU seconds by stage, added up over all threads without locks.

use std::sync::Arc;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use volume::Spent;

/// A stage of the job whose time is accounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Finding the rotation centre.
    Center,
    /// Pictures: evidence, quick look, preview.
    Pictures,
    /// The raw file's digest (beside computing).
    Digest,
    /// Reading the scan, and waiting for it, beside computing; its own threads included.
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
    /// TIFF slices: header and digest, and the threads that write them.
    Tiff,
    /// OME-Zarr level 0 and lower levels: averaging, compression, digest, and the threads that write.
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
    stages: [Arc<Spent>; NAMES.len()],
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

/// CPU seconds of the whole process so far.
pub fn process_cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

impl Clocks {
    /// Runs `work`, adding its time to `stage`. Work that hands over to other threads (rayon) is counted
    /// on this thread only; see [`Clocks::time_all`].
    pub fn time<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        self.spent(stage).time(work)
    }

    /// As [`Clocks::time`] for work that now and then does a part that belongs to another stage: what it times with the
    /// clock that it is given counts there.
    pub fn time_apart<T>(&self, stage: Stage, part: Stage, work: impl FnOnce(&Spent) -> T) -> T {
        let (all, apart) = (Spent::default(), Spent::default());
        let result = all.time(|| work(&apart));
        let (all, apart) = (all.nanoseconds(), apart.nanoseconds());
        self.spent(part).add(apart.0, apart.1);
        self.spent(stage).add(all.0.saturating_sub(apart.0), all.1.saturating_sub(apart.1));
        result
    }

    /// The clock of one stage, for threads that keep their own.
    pub fn spent(&self, stage: Stage) -> &Arc<Spent> {
        &self.stages[stage as usize]
    }

    /// Like [`Clocks::time`] for work that uses every thread while nothing else computes: CPU time of the
    /// whole process is counted.
    pub fn time_all<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let (cpu, wall) = (process_cpu_s(), Instant::now());
        let result = work();
        let spent = ((process_cpu_s() - cpu).max(0.0) * 1e9) as u64;
        self.spent(stage).add(spent, wall.elapsed().as_nanos() as u64);
        result
    }

    /// The table, stages that took no time left out. `cpu_s` are the CPU seconds of the process in the same
    /// span: what no stage accounts for (opening, journals) becomes `other`.
    pub fn table(&self, cpu_s: f64) -> Vec<StageTime> {
        let mut lines: Vec<StageTime> = NAMES
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let (cpu_s, busy_s) = self.stages[index].seconds();
                StageTime { stage: (*name).to_owned(), cpu_s, busy_s }
            })
            .filter(|line| line.cpu_s + line.busy_s > 0.0)
            .collect();
        let known: f64 = lines.iter().map(|line| line.cpu_s).sum();
        lines.push(StageTime { stage: "other".into(), cpu_s: (cpu_s - known).max(0.0), busy_s: 0.0 });
        lines
    }
}
