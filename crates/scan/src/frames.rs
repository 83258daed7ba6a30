//! An ordered set of frames, possibly spread over datasets and files, read in parallel.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

use crate::array::{Array, Buffers};
use crate::h5::bytes::H5Error;
use crate::{DataType, Error, Result, Samples};

/// Frames of equal size in the order in which they are used.
#[derive(Debug)]
pub(crate) struct FrameSet {
    pub(crate) arrays: Vec<Array>,
    /// (array, index in it) of each frame.
    pub(crate) order: Vec<(u32, u32)>,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) dtype: DataType,
}

/// Bytes of one read of whole contiguous projections.
const READ_BYTES: usize = 8 << 20;

/// Consecutive frames that one thread reads at a time.
struct Run {
    array: usize,
    frames: Range<usize>,
}

impl FrameSet {
    /// All frames of one stack, or those picked by `order`.
    pub(crate) fn new(arrays: Vec<Array>, order: Vec<(u32, u32)>) -> Option<Self> {
        let first = arrays.first()?;
        let (rows, columns, dtype) = (first.rows, first.columns, first.delivers());
        Some(Self { arrays, order, rows, columns, dtype })
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// True where a part of a frame was never written.
    pub(crate) fn missing(&self, frame: usize) -> bool {
        let (array, index) = self.order[frame];
        self.arrays[array as usize].frame_missing(index as usize)
    }

    /// Frames that share chunks.
    pub(crate) fn depth(&self) -> usize {
        self.arrays.iter().map(Array::depth).max().unwrap_or(1).clamp(1, self.len().max(1))
    }

    /// Bytes of stored samples.
    pub(crate) fn bytes(&self) -> u64 {
        let frame = (self.rows * self.columns) as u64;
        let size = self.arrays.first().map_or(0, |a| a.data_type.size()) as u64;
        self.len() as u64 * frame * size
    }

    fn runs(&self, frames: Range<usize>, rows: usize) -> Vec<Run> {
        let mut out: Vec<Run> = Vec::new();
        for &(array, index) in &self.order[frames] {
            let (array, index) = (array as usize, index as usize);
            let source = &self.arrays[array];
            let depth = source.depth();
            let frame_bytes = rows * self.columns * self.dtype.bytes();
            let joins = |run: &Run| {
                run.array == array
                    && run.frames.end == index
                    && if depth > 1 {
                        run.frames.start / depth == index / depth
                    } else {
                        rows == self.rows
                            && matches!(source.storage(), crate::Storage::Contiguous)
                            && (run.frames.len() + 1) * frame_bytes <= READ_BYTES
                    }
            };
            match out.last_mut() {
                Some(run) if joins(run) => run.frames.end += 1,
                _ => out.push(Run { array, frames: index..index + 1 }),
            }
        }
        out
    }

    /// Reads `rows` of `frames` into `into`, resized to (frames, rows, columns).
    pub(crate) fn read(
        &self,
        frames: Range<usize>,
        rows: Range<usize>,
        into: &mut Samples,
        threads: &Threads,
    ) -> Result<()> {
        let frame = rows.len() * self.columns;
        into.reshape(self.dtype, frames.len() * frame);
        let bytes = frame * self.dtype.bytes();
        let mut rest = into.as_bytes_mut();
        let mut work = Vec::new();
        for run in self.runs(frames, rows.len()) {
            let (part, after) = rest.split_at_mut(run.frames.len() * bytes);
            work.push((run, part));
            rest = after;
        }
        threads.each(work, |(run, out), buffers| {
            let array = &self.arrays[run.array];
            array.read(run.frames.clone(), rows.clone(), out, buffers).map_err(|e| explain(array, e))
        })
    }

    /// Memory that a read of so many rows takes beyond its buffer.
    pub(crate) fn read_memory(&self, rows: usize, threads: usize) -> u64 {
        self.arrays.iter().map(|a| a.scratch_bytes(rows)).max().unwrap_or(0).saturating_mul(threads as u64)
    }
}

/// A reading error with the names of file and dataset.
pub(crate) fn explain(array: &Array, error: H5Error) -> Error {
    let path = array.file_path();
    match error {
        H5Error::Io(source) => Error::Io { path, doing: format!("read {}", array.path), source },
        H5Error::Bad(reason) | H5Error::Missing(reason) => {
            Error::Damaged { path, reason: format!("{}: {reason}", array.path) }
        }
        H5Error::Unsupported(what) => unsupported(path, array.path.clone(), what),
    }
}

/// An [`Error::Unsupported`] with the usual way out.
pub(crate) fn unsupported(path: std::path::PathBuf, dataset: String, what: String) -> Error {
    let advice = if what.starts_with("the filter") {
        "rewrite the file without it (h5repack -f NONE in.h5 out.h5)".to_string()
    } else {
        "rewrite the data as plain datasets of uint8, uint16 or float32".to_string()
    };
    Error::Unsupported { path, dataset, what, advice }
}

/// Threads of one read, and the buffers that they reuse.
#[derive(Debug)]
pub(crate) struct Threads {
    pub(crate) count: usize,
    pool: Mutex<Vec<Buffers>>,
    /// CPU time of helpers, in nanoseconds.
    pub(crate) helpers_cpu_ns: AtomicU64,
}

impl Threads {
    pub(crate) fn new(count: usize) -> Self {
        Self { count: count.max(1), pool: Mutex::new(Vec::new()), helpers_cpu_ns: AtomicU64::new(0) }
    }

    fn take(&self) -> Buffers {
        self.pool.lock().ok().and_then(|mut p| p.pop()).unwrap_or_default()
    }

    fn give(&self, buffers: Buffers) {
        if let Ok(mut pool) = self.pool.lock()
            && pool.len() < self.count
        {
            pool.push(buffers);
        }
    }

    /// Runs `job` on every item, on several threads, and gives the first error.
    ///
    /// Own threads, not rayon's: a read must not queue behind the computing that it feeds.
    pub(crate) fn each<T: Send>(
        &self,
        work: Vec<T>,
        job: impl Fn(T, &mut Buffers) -> Result<()> + Sync,
    ) -> Result<()> {
        let helpers = self.count.min(work.len());
        if helpers <= 1 {
            let mut buffers = self.take();
            let done = work.into_iter().try_for_each(|item| job(item, &mut buffers));
            self.give(buffers);
            return done;
        }
        let queue = Mutex::new((work.into_iter(), None));
        let serve = || {
            let mut buffers = self.take();
            loop {
                let next = match queue.lock() {
                    Ok(mut q) if q.1.is_none() => q.0.next(),
                    _ => None,
                };
                let Some(item) = next else { break };
                if let Err(e) = job(item, &mut buffers)
                    && let Ok(mut q) = queue.lock()
                {
                    q.1.get_or_insert(e);
                }
            }
            self.give(buffers);
        };
        std::thread::scope(|scope| {
            for _ in 1..helpers {
                // A machine without threads to spare reads with those it has.
                let help = || {
                    serve();
                    let time = clock_gettime(ClockId::ThreadCPUTime);
                    let spent = time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
                    self.helpers_cpu_ns.fetch_add(spent, Ordering::Relaxed);
                };
                let _ = std::thread::Builder::new().name("scan-read".into()).spawn_scoped(scope, help);
            }
            serve();
        });
        match queue.into_inner() {
            Ok((_, Some(e))) => Err(e),
            _ => Ok(()),
        }
    }
}
