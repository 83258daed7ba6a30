//! `rec<stem>.report.json`: what was done to which scan, how long it took and what was odd. It differs
//! from run to run (host, times); what must not differ is in the manifest.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::clocks::StageTime;
use crate::plan::Plan;
use crate::{Error, Result};

/// Version of the layout of `report.json`.
pub const SCHEMA: u32 = 1;

/// A warning about the input, as recorded.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Warning {
    /// A stable code, such as `pixel-size-missing`.
    pub code: String,
    /// What it means and what was assumed.
    pub message: String,
}

/// Odd pixels met while correcting, added over all rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quality {
    /// Values that were NaN or infinite and were replaced.
    pub not_finite: u64,
    /// Transmissions below the recipe's minimum that were raised to it.
    pub clipped: u64,
    /// All values seen.
    pub total: u64,
}

impl Quality {
    /// Adds another count.
    pub fn add(&mut self, other: &Self) {
        self.not_finite += other.not_finite;
        self.clipped += other.clipped;
        self.total += other.total;
    }
}

/// The whole report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of beamrail that finished the job.
    pub beamrail: String,
    /// Scan, recipe, centre, geometry and options as resolved.
    pub plan: Plan,
    /// BLAKE3 of the raw file, in hexadecimal.
    pub input_blake3: String,
    /// Warnings about the input.
    pub warnings: Vec<Warning>,
    /// Odd pixels.
    pub quality: Quality,
    /// Seconds by stage in the process that finished the job (a resumed job counts its last attempt).
    pub stages: Vec<StageTime>,
    /// Wall seconds of that process from start to commit.
    pub wall_s: f64,
    /// CPU seconds of that process.
    pub cpu_s: f64,
    /// Slices that this process reconstructed.
    pub slices: u64,
    /// Peak resident memory in bytes.
    pub peak_memory: u64,
    /// The budget it was given.
    pub memory_budget: u64,
    /// Worker threads.
    pub threads: usize,
    /// Bytes of results.
    pub bytes_written: u64,
    /// Bytes of the raw file.
    pub bytes_input: u64,
    /// Contrast window proposed to viewers.
    pub window: [f32; 2],
    /// Sampled distribution of the stored values inside the field of view.
    pub histogram: volume::Histogram,
    /// File name of the manifest.
    pub manifest: String,
    /// BLAKE3 of the manifest.
    pub manifest_blake3: String,
    /// Host that finished the job.
    pub host: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// When it was committed, RFC 3339.
    pub finished: String,
}

impl Report {
    /// Writes the report atomically.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::io("cannot encode", path, error.into()))?;
        Ok(volume::fs::write_atomic(path, &text)?)
    }
}

/// The name of this host.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The time now, RFC 3339 in UTC, to the second.
pub fn now() -> String {
    jiff::Timestamp::now().round(jiff::Unit::Second).map_or_else(|_| String::new(), |time| time.to_string())
}

/// Peak resident memory of this process in bytes; 0 where the system does not say.
pub fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok())
        .map_or(0, |kilobytes| kilobytes * 1024)
}
