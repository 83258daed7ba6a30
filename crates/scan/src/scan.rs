//! The one interface over all layouts: [`Scan`].

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::checks;
use crate::completeness::{Verdict, judge, open_file};
use crate::frames::Threads;
use crate::h5::file::File;
use crate::layout::{self, Parts, Reference, Source};
use crate::{Error, Layout, Result, Samples, ScanInfo};

/// Detector rows that a job reads at a time; compressed chunks no taller need no spool.
const BLOCK_ROWS: usize = 32;

/// What the caller knows better than the file.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Read as this layout instead of detecting it.
    pub layout: Option<Layout>,
    /// Path of the projections (or, for `als`, of the group of frames) inside the file.
    pub dataset: Option<String>,
    /// Time point to read, 0-based ([`Layout::Sls`]).
    pub time_point: Option<usize>,
    /// Rotation range in degrees, both ends included, for files without angles.
    pub range_degrees: Option<f64>,
    /// Go on with the frames that were written where others are missing.
    pub allow_incomplete: bool,
    /// Threads that one read may use; `None`: one per core, at most 8.
    pub threads: Option<usize>,
}

/// An open scan. Reads take `&self` and may run on any thread while others compute.
#[derive(Debug)]
pub struct Scan {
    info: ScanInfo,
    parts: Parts,
    threads: Threads,
    /// Means over all rows, kept where reading a few rows decodes whole frames.
    flat_means: Mutex<Option<Arc<Vec<FrameGroup>>>>,
    dark_means: Mutex<Option<Arc<Vec<FrameGroup>>>>,
}

/// Flat or dark frames taken together.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameGroup {
    /// Projection index at which they were taken (0 before the first, `projections - 1` after the last).
    pub position: f64,
    /// Frames averaged; 0 when the values were not measured but assumed.
    pub frames: usize,
    /// Mean over the frames, accumulated in `f64`: (rows, columns) of the row range asked for.
    pub mean: Vec<f32>,
}

/// Opens a scan, its layout detected.
///
/// # Errors
/// Those of [`open_with`].
pub fn open(path: impl AsRef<Path>) -> Result<Scan> {
    open_with(path, &OpenOptions::default())
}

/// Opens a scan: checks that the file is whole, finds the layout, resolves the angles, looks at a sample
/// of the frames.
///
/// # Errors
/// Whatever makes the file unusable, with [`Error::is_bad_input`]; [`Error::Parameter`] for options that
/// the file cannot meet; [`Error::Io`] where the machine fails.
pub fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Scan> {
    let path = path.as_ref();
    let (handle, size) = open_file(path)?;
    let (answer, superblock) = judge(path, &handle, size)?;
    let owned = path.to_path_buf();
    let superblock = match (answer.verdict, superblock) {
        (Verdict::Complete, Some(superblock)) => superblock,
        (Verdict::StillOpen(reason), _) => return Err(Error::StillOpen { path: owned, reason }),
        (Verdict::Truncated(_), _) => {
            // Cut inside its superblock, a file cannot say how long it should be.
            let what = if answer.end_of_file.is_some() { "its content" } else { "its superblock" };
            let expected = answer.end_of_file.unwrap_or(size + 1);
            return Err(Error::Truncated { path: owned, what: what.into(), expected, actual: size });
        }
        (Verdict::NotHdf5(reason), _) => return Err(Error::NotHdf5 { path: owned, reason }),
        (Verdict::Unknown(reason), _) => return Err(Error::Damaged { path: owned, reason }),
        (Verdict::Complete, None) => {
            return Err(Error::Damaged { path: owned, reason: "no superblock".into() });
        }
    };
    let file = Arc::new(File::new(handle, path, size, &superblock));
    let parts = layout::read(&Source::new(path, &file, options))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = Threads::new(options.threads.filter(|&n| n > 0).unwrap_or(cores.min(8)));
    let (info, parts) = checks::check(path, size, parts, options, &threads)?;
    Ok(Scan { info, parts, threads, flat_means: Mutex::default(), dark_means: Mutex::default() })
}

impl Scan {
    /// Geometry, angles, metadata and warnings.
    pub fn info(&self) -> &ScanInfo {
        &self.info
    }

    /// Flat fields of a row range, one entry per group in the order of the file; never empty. Where the
    /// file has none, one entry of `frames` 0 with the value that the warnings state.
    ///
    /// # Errors
    /// [`Error::Parameter`] for rows outside the detector; reading errors.
    pub fn read_flats(&self, rows: Range<usize>) -> Result<Vec<FrameGroup>> {
        self.read_reference(&self.parts.flats, &self.flat_means, rows, 1.0)
    }

    /// Dark fields of a row range, as [`Scan::read_flats`].
    ///
    /// # Errors
    /// [`Error::Parameter`] for rows outside the detector; reading errors.
    pub fn read_darks(&self, rows: Range<usize>) -> Result<Vec<FrameGroup>> {
        self.read_reference(&self.parts.darks, &self.dark_means, rows, 0.0)
    }

    fn read_reference(
        &self,
        reference: &Reference,
        kept: &Mutex<Option<Arc<Vec<FrameGroup>>>>,
        rows: Range<usize>,
        assumed: f64,
    ) -> Result<Vec<FrameGroup>> {
        self.check_range("rows", &rows, self.info.rows)?;
        let Some(set) = &reference.set else {
            let value = reference.value.unwrap_or(assumed) as f32;
            let mean = vec![value; rows.len() * self.info.columns];
            return Ok(vec![FrameGroup { position: 0.0, frames: 0, mean }]);
        };
        if !set.arrays.iter().any(|a| a.locked_rows() > BLOCK_ROWS) {
            return means(reference, rows, &self.threads);
        }
        let whole = {
            let mut kept = kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match &*kept {
                Some(whole) => whole.clone(),
                None => kept.insert(Arc::new(means(reference, 0..self.info.rows, &self.threads)?)).clone(),
            }
        };
        let part = rows.start * self.info.columns..rows.end * self.info.columns;
        Ok(whole.iter().map(|g| FrameGroup { mean: g.mean[part.clone()].to_vec(), ..*g }).collect())
    }

    /// A row range of all projections: (projections, rows, columns). `into` is reused and resized.
    ///
    /// # Errors
    /// [`Error::Parameter`] for rows outside the detector; reading errors.
    pub fn read_rows(&self, rows: Range<usize>, into: &mut Samples) -> Result<()> {
        self.check_range("rows", &rows, self.info.rows)?;
        self.parts.projections.read(0..self.info.projections, rows, into, &self.threads)
    }

    /// Whole projections: (n, rows, columns). `into` is reused and resized.
    ///
    /// # Errors
    /// [`Error::Parameter`] for projections that the scan does not have; reading errors.
    pub fn read_projections(&self, projections: Range<usize>, into: &mut Samples) -> Result<()> {
        self.check_range("projections", &projections, self.info.projections)?;
        self.parts.projections.read(projections, 0..self.info.rows, into, &self.threads)
    }

    /// A row range of some projections: (n, rows, columns). `into` is reused and resized.
    ///
    /// # Errors
    /// [`Error::Parameter`] for ranges that the scan does not have; reading errors.
    pub fn read_block(
        &self,
        projections: Range<usize>,
        rows: Range<usize>,
        into: &mut Samples,
    ) -> Result<()> {
        self.check_range("projections", &projections, self.info.projections)?;
        self.check_range("rows", &rows, self.info.rows)?;
        self.parts.projections.read(projections, rows, into, &self.threads)
    }

    /// CPU time that threads started for reading have taken so far, in nanoseconds. The caller's own thread,
    /// which reads with them, is not in it.
    pub fn helpers_cpu_ns(&self) -> u64 {
        self.threads.helpers_cpu_ns.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Memory in bytes that reading so many rows takes beyond the buffer, flats and darks included.
    pub fn read_memory_bytes(&self, rows: usize) -> u64 {
        let rows = rows.min(self.info.rows);
        let sets =
            [Some(&self.parts.projections), self.parts.flats.set.as_ref(), self.parts.darks.set.as_ref()];
        let scratch =
            sets.iter().flatten().map(|s| s.read_memory(rows, self.threads.count)).max().unwrap_or(0);
        let kept: u64 = [&self.parts.flats, &self.parts.darks]
            .iter()
            .filter(|r| r.set.as_ref().is_some_and(|s| s.arrays.iter().any(|a| a.locked_rows() > BLOCK_ROWS)))
            .map(|r| (r.groups.len() * self.info.rows * self.info.columns * 4) as u64)
            .sum();
        scratch + kept
    }

    /// True when reading a few rows costs decompressing many: read the projections once, in order, in
    /// steps of [`Scan::projection_step`], and spool them.
    pub fn needs_spool(&self) -> bool {
        self.parts.projections.arrays.iter().any(|a| a.locked_rows() > BLOCK_ROWS)
    }

    /// Projections per chunk: ranges that begin at multiples of it decompress every chunk once.
    pub fn projection_step(&self) -> usize {
        self.parts.projections.depth()
    }

    fn check_range(&self, name: &'static str, range: &Range<usize>, limit: usize) -> Result<()> {
        if range.start < range.end && range.end <= limit {
            return Ok(());
        }
        Err(Error::Parameter {
            name,
            value: format!("{}..{}", range.start, range.end),
            reason: format!("must be a range within 0..{limit} that is not empty"),
        })
    }
}

/// Mean of every group, frame after frame in `f64`, so that the result does not depend on threads.
pub(crate) fn means(reference: &Reference, rows: Range<usize>, threads: &Threads) -> Result<Vec<FrameGroup>> {
    let Some(set) = &reference.set else { return Ok(Vec::new()) };
    let pixels = rows.len() * set.columns;
    let step = set.depth().max(threads.count).min(64);
    let mut frames = Samples::empty(set.dtype);
    let mut out = Vec::with_capacity(reference.groups.len());
    let mut sum = vec![0f64; pixels];
    for group in &reference.groups {
        sum.fill(0.0);
        let mut at = group.frames.start;
        while at < group.frames.end {
            // Steps end where chunks end, so that no chunk is decoded twice.
            let end = ((at / step + 1) * step).min(group.frames.end);
            set.read(at..end, rows.clone(), &mut frames, threads)?;
            match &frames {
                Samples::U8(v) => add(&mut sum, v, f64::from),
                Samples::U16(v) => add(&mut sum, v, f64::from),
                Samples::F32(v) => add(&mut sum, v, f64::from),
            }
            at = end;
        }
        let count = group.frames.len() as f64;
        let mean = sum.iter().map(|s| (s / count) as f32).collect();
        out.push(FrameGroup { position: group.position, frames: group.frames.len(), mean });
    }
    Ok(out)
}

fn add<T: Copy>(sum: &mut [f64], frames: &[T], value: impl Fn(T) -> f64) {
    for frame in frames.chunks_exact(sum.len()) {
        for (s, &x) in sum.iter_mut().zip(frame) {
            *s += value(x);
        }
    }
}
