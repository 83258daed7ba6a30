//! The memory budget: how much a job may take, and how it is divided.

use crate::{Error, Result};

/// Most that a job takes unasked: beyond this more memory does not make it faster.
const DEFAULT_CAP: u64 = 16 << 30;

/// Room left for code, thread stacks, HDF5 metadata and allocator slack.
const OVERHEAD: u64 = 96 << 20;

/// A quarter of the machine's memory, at most 16 GiB, at least 1 GiB.
pub fn default_budget() -> u64 {
    let info = rustix::system::sysinfo();
    let total = u64::from(info.mem_unit) * info.totalram as u64;
    (total / 4).clamp(1 << 30, DEFAULT_CAP)
}

/// Reads `2GiB`, `1.5G`, `800 MB`, `4096` (bytes). Units of 1024 for `K M G T` with or without `i`/`iB`,
/// units of 1000 for `kB MB GB TB`.
pub fn parse_size(text: &str) -> Result<u64> {
    let wrong = || Error::Usage(format!("'{text}' is not a size; write for example 2GiB, 800MB or 1.5G"));
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
    let number: f64 = trimmed[..split].parse().map_err(|_| wrong())?;
    let unit = match trimmed[split..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "ki" | "kib" => 1024.0,
        "m" | "mi" | "mib" => 1024f64.powi(2),
        "g" | "gi" | "gib" => 1024f64.powi(3),
        "t" | "ti" | "tib" => 1024f64.powi(4),
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        _ => return Err(wrong()),
    };
    let bytes = number * unit;
    if bytes.is_finite() && bytes >= 1.0 { Ok(bytes as u64) } else { Err(wrong()) }
}

/// Bytes for people: `1.5 GB`, units of 1000, one decimal.
pub fn human_bytes(bytes: u64) -> String {
    let value = bytes as f64;
    for (unit, size) in [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)] {
        if value >= size {
            return format!("{:.1} {unit}", value / size);
        }
    }
    format!("{bytes} B")
}

/// What a job needs per thing it holds, all in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Demand {
    /// One detector row of all projections as it is read, with what belongs to it (flats, darks).
    pub input_row: u64,
    /// One detector row of one projection as it is stored: rows that are read together lie together.
    pub line: u64,
    /// One slice of the result as stored, with its file's header.
    pub slice: u64,
    /// Slices in one slab of output (32, or fewer for a thinner volume).
    pub slab_rows: u64,
    /// Lower pyramid levels that are pending while slabs arrive.
    pub pyramid: u64,
    /// Scratch of one worker thread.
    pub workspace: u64,
    /// Tables and buffers shared by all threads, and those of the quick look.
    pub shared: u64,
    /// One encoded chunk on its way to the disk.
    pub chunk: u64,
}

/// How the budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Detector rows per read.
    pub unit_rows: usize,
    /// Reads that are in memory at once: those computed, and one coming in.
    pub blocks: usize,
    /// Worker threads.
    pub threads: usize,
    /// Buffers for slices: a slab, and some to go on with while it is encoded.
    pub slices: usize,
    /// Buffers for encoded chunks.
    pub encoders: usize,
    /// Threads that write.
    pub writers: usize,
    /// What the budget has to allow, in bytes.
    pub peak: u64,
}

impl Layout {
    /// Memory in bytes that a job of `slices` slices will be seen to take: what so many can fill of what is planned,
    /// without the reserve. The parts are upper bounds; their slack is about what the program itself takes.
    pub fn expected(&self, slices: usize, demand: &Demand) -> u64 {
        let slices = slices as u64;
        // Level `n` has slices >> n of a 4^n-th of the area, and holds a slab of them at most.
        let levels: u64 =
            (1..16).map(|level| (demand.slab_rows.min(slices >> level) * demand.slice) >> (2 * level)).sum();
        demand.pyramid.min(levels)
            + demand.shared
            + slices.min(self.slices as u64) * demand.slice
            + slices.min((self.blocks * self.unit_rows) as u64) * demand.input_row
            + self.threads as u64 * demand.workspace
            + self.encoders as u64 * demand.chunk
    }

    fn new(rows: u64, threads: u64, spare: u64, demand: &Demand) -> Self {
        // Each worker has a pair in work and one to go on with.
        let blocks = 1 + (4 * threads).div_ceil(rows).clamp(1, 16);
        let slices = demand.slab_rows + spare;
        let writers = threads.clamp(2, 8);
        // One for each thread that fills it or writes it, and as many again in between.
        let encoders = threads + 2 * writers;
        let peak = OVERHEAD
            + demand.pyramid
            + demand.shared
            + slices * demand.slice
            + blocks * rows * demand.input_row
            + threads * demand.workspace
            + encoders * demand.chunk;
        Self {
            unit_rows: rows as usize,
            blocks: blocks as usize,
            threads: threads as usize,
            slices: slices as usize,
            encoders: encoders as usize,
            writers: writers as usize,
            peak,
        }
    }
}

/// Bytes from which on a longer read is not quicker, while its buffer costs more to touch first.
const READ: u64 = 64 << 10;

/// Divides `budget` bytes: as many of the `threads` as fit, then slices beside the output slab that let
/// computing go on while it is encoded, then as many rows per read as fit (32, 16, ... 2), but no more than make
/// reads of a good length.
pub fn plan(budget: u64, threads: usize, demand: &Demand) -> Result<Layout> {
    for count in (1..=threads as u64).rev() {
        for spare in [2 * count, count.next_multiple_of(2), 0] {
            for rows in
                [32u64, 16, 8, 4, 2].into_iter().filter(|rows| *rows == 2 || rows / 2 * demand.line < READ)
            {
                let layout = Layout::new(rows, count, spare, demand);
                if layout.peak <= budget {
                    return Ok(layout);
                }
            }
        }
    }
    Err(Error::Usage(format!(
        "--memory {} is too little for this scan: at least {} is needed (a slab of {} slices of the result, and two rows of all projections)",
        human_bytes(budget),
        human_bytes(Layout::new(2, 1, 0, demand).peak),
        demand.slab_rows
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_units() {
        assert_eq!(parse_size("2GiB").unwrap(), 2 << 30);
        assert_eq!(parse_size("1.5G").unwrap(), 3 << 29);
        assert_eq!(parse_size("800 MB").unwrap(), 800_000_000);
        assert_eq!(parse_size("4096").unwrap(), 4096);
        for bad in ["", "GiB", "-1G", "2 parsecs", "1..5G", "0", "1e400G"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_record_scan_fits_two_gibibytes() {
        let demand = Demand {
            input_row: 2560 * 1696 * 2,
            line: 0,
            slice: 2560 * 2560 * 4,
            slab_rows: 32,
            pyramid: 2560 * 2560 * 4 * 32 / 3,
            workspace: 120 << 20,
            shared: 50 << 20,
            chunk: 8 << 20,
        };
        let layout = plan(2 << 30, 2, &demand).unwrap();
        assert_eq!(layout.threads, 2);
        assert!(layout.peak <= 2 << 30);
        assert!(layout.slices > 32, "computing goes on while a slab is encoded");
        assert!(plan(1 << 30, 2, &demand).is_err());
        assert_eq!(plan(64 << 30, 8, &demand).unwrap().unit_rows, 32);
        for (line, rows) in [(100, 32), (4096, 16), (2 * 2560, 16), (40_000, 2), (1 << 20, 2)] {
            let demand = Demand { line, ..demand };
            assert_eq!(plan(64 << 30, 8, &demand).unwrap().unit_rows, rows, "{line}");
        }
    }
}
