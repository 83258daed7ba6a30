//! The clock of the benchmarks.

use rustix::time::{ClockId, clock_gettime};

/// Seconds this thread has spent on a processor, so that a busy machine does not count.
pub fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
