//! The one interface over all layouts: [`Scan`].

use std::ops::Range;
use std::path::Path;

use crate::{Error, Layout, Result, Samples, ScanInfo};

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
    /// Threads that one read may use; 0 or `None`: one per core, at most 8.
    pub threads: Option<usize>,
}

/// An open scan. Reads take `&self` and may run on any thread while others compute.
#[derive(Debug)]
pub struct Scan {
    info: ScanInfo,
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

/// Opens a scan.
///
/// # Errors
/// Everything for which [`Error::is_bad_input`] holds.
pub fn open_with(path: impl AsRef<Path>, _options: &OpenOptions) -> Result<Scan> {
    Err(Error::NotHdf5 { path: path.as_ref().to_path_buf(), reason: "reader under construction".into() })
}

impl Scan {
    /// Geometry, angles, metadata and warnings.
    pub fn info(&self) -> &ScanInfo {
        &self.info
    }

    /// Flat fields of a row range, one entry per group; never empty.
    pub fn read_flats(&self, _rows: Range<usize>) -> Result<Vec<FrameGroup>> {
        Ok(Vec::new())
    }

    /// Dark fields of a row range, one entry per group; never empty.
    pub fn read_darks(&self, _rows: Range<usize>) -> Result<Vec<FrameGroup>> {
        Ok(Vec::new())
    }

    /// A row range of all projections: (projections, rows, columns).
    pub fn read_rows(&self, _rows: Range<usize>, _into: &mut Samples) -> Result<()> {
        Ok(())
    }

    /// Whole projections: (n, rows, columns).
    pub fn read_projections(&self, _projections: Range<usize>, _into: &mut Samples) -> Result<()> {
        Ok(())
    }

    /// Memory in bytes that reading so many rows takes beyond the buffer.
    pub fn read_memory_bytes(&self, _rows: usize) -> u64 {
        0
    }

    /// True when reading a few rows costs decompressing many: read the projections once, in order, in
    /// steps of [`Scan::projection_step`], and spool them.
    pub fn needs_spool(&self) -> bool {
        false
    }

    /// Projections per chunk: ranges at multiples of it decompress every chunk once.
    pub fn projection_step(&self) -> usize {
        1
    }
}
