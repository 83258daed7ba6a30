//! Where the job's projections come from: the scan itself, a binned scan, or a spool of projections
//! that were filtered or decompressed beforehand. Everything after this sees one shape and one call.

use std::ops::Range;

use rayon::prelude::*;
use scan::{FrameGroup, Samples, Scan};
use tomo::normalize::{FlatGroup, NormalizeOptions, Normalizer, Sample};
use tomo::outliers::OutlierOptions;

use crate::spool::Spool;
use crate::{Error, Result};

/// What lies in a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spooled {
    /// Raw counts; flat and dark field are still to be applied.
    Counts,
    /// Transmission; only −log is left.
    Transmission,
}

/// Rows of all projections in memory, with what turns them into sinograms.
#[derive(Default)]
pub struct Block {
    /// (projections, rows, columns).
    pub samples: Option<Samples>,
    /// Flat and dark field of these rows.
    pub normalizer: Option<Normalizer>,
}

/// Projections of a scan, ready for reconstruction.
pub struct Source {
    scan: Scan,
    binning: usize,
    normalize: NormalizeOptions,
    angle_factors: Option<Vec<f32>>,
    outliers_1d: Option<OutlierOptions>,
    spool: Option<(Spool, Spooled)>,
}

impl Source {
    /// The scan as it is, reduced by `binning`, corrected as `normalize` says.
    pub fn new(scan: Scan, binning: usize, normalize: NormalizeOptions) -> Self {
        Self { scan, binning: binning.max(1), normalize, angle_factors: None, outliers_1d: None, spool: None }
    }

    /// Divides each projection by its own factor (flat method `region`).
    pub fn set_angle_factors(&mut self, factors: Vec<f32>) {
        self.angle_factors = Some(factors);
    }

    /// Removes zingers along the angles of each sinogram, before anything else.
    pub fn set_outliers_1d(&mut self, options: OutlierOptions) {
        self.outliers_1d = Some(options);
    }

    /// Reads from `spool` from now on.
    pub fn set_spool(&mut self, spool: Spool, holds: Spooled) {
        self.spool = Some((spool, holds));
    }

    /// The scan behind it.
    pub fn scan(&self) -> &Scan {
        &self.scan
    }

    /// Projections.
    pub fn projections(&self) -> usize {
        self.scan.info().projections
    }

    /// Detector rows, after binning; rows that do not fill a bin are left out.
    pub fn rows(&self) -> usize {
        self.scan.info().rows / self.binning
    }

    /// Detector columns, after binning.
    pub fn columns(&self) -> usize {
        self.scan.info().columns / self.binning
    }

    /// Detector pixels averaged along each axis.
    pub fn binning(&self) -> usize {
        self.binning
    }

    /// Bytes that one row of all projections takes in memory while it is read and computed.
    pub fn row_bytes(&self) -> u64 {
        let values = self.projections() as u64 * self.columns() as u64;
        let stored = self.scan.info().dtype.bytes() as u64;
        let samples =
            if self.spool.is_some() || self.binning > 1 || self.outliers_1d.is_some() { 4 } else { stored };
        let raw = if self.binning > 1 { stored * (self.binning * self.binning) as u64 } else { 0 };
        let flats = 4 * self.columns() as u64 * 4;
        values * (samples + raw) + flats
    }

    /// Bytes that one row of one projection takes where it is read from.
    pub fn line_bytes(&self) -> u64 {
        let info = self.scan.info();
        match &self.spool {
            Some(_) => 4 * self.columns() as u64,
            None => (info.columns * info.dtype.bytes() * self.binning) as u64,
        }
    }

    /// Reads `rows` of all projections into `block`, reusing its memory.
    pub fn read(&self, rows: Range<usize>, block: &mut Block) -> Result<()> {
        let mut samples = block.samples.take().unwrap_or_else(|| Samples::empty(self.scan.info().dtype));
        match &self.spool {
            Some((spool, _)) => {
                let mut values = match samples {
                    Samples::F32(values) => values,
                    _ => Vec::new(),
                };
                spool.read_rows(rows.clone(), &mut values)?;
                samples = Samples::F32(values);
            }
            None if self.binning == 1 => self.scan.read_rows(rows.clone(), &mut samples)?,
            None => {
                let mut raw = Samples::empty(self.scan.info().dtype);
                self.scan.read_rows(self.raw_rows(&rows), &mut raw)?;
                samples = Samples::F32(self.bin(&raw, self.projections(), rows.len()));
            }
        }
        if let Some(options) = self.outliers_1d {
            samples = Samples::F32(self.without_outliers(&samples, options)?);
        }
        block.samples = Some(samples);
        block.normalizer = Some(self.normalizer(rows)?);
        Ok(())
    }

    /// As [`Source::read`], with `pool` for what is more than reading.
    pub fn read_in(&self, pool: &rayon::ThreadPool, rows: Range<usize>, block: &mut Block) -> Result<()> {
        // Plain reads have threads of their own; a worker that only waited for them would be missed.
        if self.binning > 1 { pool.install(|| self.read(rows, block)) } else { self.read(rows, block) }
    }

    /// Projections as they are (binned), (n, rows, columns), all rows.
    pub fn read_projections(&self, projections: Range<usize>, into: &mut Samples) -> Result<()> {
        let count = projections.len();
        self.scan.read_projections(projections, into)?;
        if self.binning > 1 {
            *into = Samples::F32(self.bin(into, count, self.rows()));
        }
        Ok(())
    }

    /// Flat and dark field of `rows`, as the recipe wants them applied.
    pub fn normalizer(&self, rows: Range<usize>) -> Result<Normalizer> {
        self.normalizer_with(rows, self.normalize)
    }

    /// The same for whole projections as transmission, without −log.
    pub fn transmission(&self) -> Result<Normalizer> {
        self.normalizer_with(0..self.rows(), NormalizeOptions { log: false, ..self.normalize })
    }

    fn normalizer_with(&self, rows: Range<usize>, options: NormalizeOptions) -> Result<Normalizer> {
        let pixels = rows.len() * self.columns();
        let corrected = matches!(self.spool, Some((_, Spooled::Transmission)));
        let (dark, flats, options) = if corrected {
            let mean = NormalizeOptions {
                method: tomo::normalize::FlatMethod::Mean,
                exposure_ratio: 1.0,
                ..options
            };
            (vec![0.0; pixels], vec![FlatGroup::new(0.0, vec![1.0; pixels])], mean)
        } else {
            let groups = self.scan.read_darks(self.raw_rows(&rows))?;
            let dark = mean_of(self.binned_groups(groups, rows.len()), pixels);
            let flats = self.binned_groups(self.scan.read_flats(self.raw_rows(&rows))?, rows.len());
            (dark, flats, options)
        };
        let normalizer =
            Normalizer::new(options, self.columns(), rows.len(), self.projections(), dark, flats)
                .map_err(Error::numerics("flat and dark field"))?;
        Ok(match &self.angle_factors {
            Some(factors) if !corrected => normalizer.with_angle_factors(factors.clone()),
            _ => normalizer,
        })
    }

    fn raw_rows(&self, rows: &Range<usize>) -> Range<usize> {
        rows.start * self.binning..rows.end * self.binning
    }

    fn binned_groups(&self, groups: Vec<FrameGroup>, rows: usize) -> Vec<FlatGroup> {
        groups
            .into_iter()
            .map(|group| {
                let mean =
                    if self.binning == 1 { group.mean } else { self.bin(&Samples::F32(group.mean), 1, rows) };
                FlatGroup { position: group.position, mean, frames: group.frames }
            })
            .collect()
    }

    /// Averages squares of `binning` pixels of `frames` frames of `rows` binned rows.
    fn bin(&self, raw: &Samples, frames: usize, rows: usize) -> Vec<f32> {
        let width = self.scan.info().columns;
        let raw_rows = raw.len() / (frames * width).max(1);
        let mut out = vec![0f32; frames * rows * self.columns()];
        match raw {
            Samples::U8(data) => self.bin_frames(data, raw_rows, rows, &mut out),
            Samples::U16(data) => self.bin_frames(data, raw_rows, rows, &mut out),
            Samples::F32(data) => self.bin_frames(data, raw_rows, rows, &mut out),
        }
        out
    }

    fn bin_frames<T: Sample>(&self, data: &[T], raw_rows: usize, rows: usize, out: &mut [f32]) {
        let (width, columns, b) = (self.scan.info().columns, self.columns(), self.binning);
        let share = 1.0 / (b * b) as f32;
        out.par_chunks_mut(columns.max(1)).enumerate().for_each(|(line, target)| {
            let (frame, row) = (line / rows, line % rows);
            let first = (frame * raw_rows + row * b) * width;
            for (column, value) in target.iter_mut().enumerate() {
                let mut sum = 0f32;
                for r in 0..b {
                    let start = first + r * width + column * b;
                    sum += data[start..start + b].iter().map(|sample| sample.to_f32()).sum::<f32>();
                }
                *value = sum * share;
            }
        });
    }

    fn without_outliers(&self, samples: &Samples, options: OutlierOptions) -> Result<Vec<f32>> {
        let mut block = samples.to_f32();
        tomo::outliers::remove_outliers_1d(&mut block, self.projections(), &options)
            .map_err(Error::numerics("outliers"))?;
        Ok(block)
    }

    /// Blocks of scattered rows, for finding the centre and quick looks. A compressed scan is passed through
    /// once, whatever the number of rows.
    pub fn blocks(&self, wanted: &[Range<usize>]) -> Result<Vec<Block>> {
        let mut blocks: Vec<Block> = wanted.iter().map(|_| Block::default()).collect();
        if self.spool.is_some() || !self.scan.needs_spool() {
            for (rows, block) in wanted.iter().zip(&mut blocks) {
                self.read(rows.clone(), block)?;
            }
            return Ok(blocks);
        }
        let (projections, columns, frame) =
            (self.projections(), self.columns(), self.rows() * self.columns());
        let mut stacks: Vec<Vec<f32>> =
            wanted.iter().map(|rows| Vec::with_capacity(projections * rows.len() * columns)).collect();
        let step = self.scan.projection_step().max(1);
        let batch = BATCH.div_ceil(step) * step;
        let mut samples = Samples::empty(self.scan.info().dtype);
        for first in (0..projections).step_by(batch) {
            let range = first..(first + batch).min(projections);
            self.read_projections(range.clone(), &mut samples)?;
            for index in 0..range.len() {
                for (rows, stack) in wanted.iter().zip(&mut stacks) {
                    extend(
                        stack,
                        &samples,
                        index * frame + rows.start * columns..index * frame + rows.end * columns,
                    );
                }
            }
        }
        for ((rows, stack), block) in wanted.iter().zip(stacks).zip(&mut blocks) {
            block.samples = Some(Samples::F32(stack));
            block.normalizer = Some(self.normalizer(rows.clone())?);
        }
        Ok(blocks)
    }

    /// −log sinograms of single rows: (row, (projections, columns)).
    pub fn sinograms(&self, rows: &[usize]) -> Result<Vec<(usize, Vec<f32>)>> {
        let wanted: Vec<Range<usize>> = rows.iter().map(|&row| row..row + 1).collect();
        let blocks = self.blocks(&wanted)?;
        rows.iter()
            .zip(blocks)
            .map(|(&row, block)| {
                let mut sinogram = vec![0f32; self.projections() * self.columns()];
                if let (Some(samples), Some(normalizer)) = (&block.samples, &block.normalizer) {
                    sinogram_row(normalizer, samples, 0, 0..self.projections(), &mut sinogram)
                        .map_err(Error::numerics("flat and dark field"))?;
                }
                Ok((row, sinogram))
            })
            .collect()
    }
}

/// Appends part of a buffer as floats.
fn extend(stack: &mut Vec<f32>, samples: &Samples, range: Range<usize>) {
    match samples {
        Samples::U8(data) => stack.extend(data[range].iter().map(|&value| f32::from(value))),
        Samples::U16(data) => stack.extend(data[range].iter().map(|&value| f32::from(value))),
        Samples::F32(data) => stack.extend_from_slice(&data[range]),
    }
}

/// Projections handled at once where whole projections pass through.
pub const BATCH: usize = 16;

/// One row of a block as a −log sinogram, a range of its angles, whatever the type of the samples.
pub fn sinogram_row(
    normalizer: &Normalizer,
    samples: &Samples,
    row: usize,
    angles: Range<usize>,
    out: &mut [f32],
) -> tomo::Result<tomo::normalize::Counts> {
    match samples {
        Samples::U8(data) => normalizer.sinogram_part(data, row, angles, out),
        Samples::U16(data) => normalizer.sinogram_part(data, row, angles, out),
        Samples::F32(data) => normalizer.sinogram_part(data, row, angles, out),
    }
}

/// One whole projection as transmission, whatever the type of the samples.
pub fn projection(
    normalizer: &Normalizer,
    index: usize,
    samples: &Samples,
    frame: usize,
    out: &mut [f32],
) -> Result<()> {
    let range = frame * out.len()..(frame + 1) * out.len();
    match samples {
        Samples::U8(data) => normalizer.projection(index, &data[range], out),
        Samples::U16(data) => normalizer.projection(index, &data[range], out),
        Samples::F32(data) => normalizer.projection(index, &data[range], out),
    }
    .map_err(Error::numerics("flat and dark field"))?;
    Ok(())
}

/// Mean of all frames of all groups.
fn mean_of(groups: Vec<FlatGroup>, pixels: usize) -> Vec<f32> {
    let frames: f64 = groups.iter().map(|group| group.frames.max(1) as f64).sum();
    let mut sum = vec![0f64; pixels];
    for group in &groups {
        let weight = group.frames.max(1) as f64 / frames;
        sum.iter_mut().zip(&group.mean).for_each(|(sum, &value)| *sum += weight * f64::from(value));
    }
    sum.into_iter().map(|value| value as f32).collect()
}
