//! Second half of gridrec: the two-dimensional transform of a frequency grid, cropped straight into the images.
//!
//! The grid is never held as a whole. Its rows arrive in bands, u and −u together, are transformed, and only the columns
//! that are image rows are kept. Those are transformed in the second direction, eight at a time, and each comes out of
//! its transform as one image row: correction, crop, scale and mask happen on the way, with no grid-sized pass after.

use std::ops::Range;
use std::sync::Arc;

use bytemuck::{cast_slice, cast_slice_mut};
use pulp::Simd;
use rustfft::num_complex::Complex32;
use rustfft::{Fft, FftPlanner};

use super::Done;
use super::bands::BAND;
use super::frame::Frame;
use crate::aligned::Aligned;

/// Image rows transformed together; 8 complex values of 8 bytes are one cache line.
pub(crate) const BLOCK: usize = 8;
/// After so many blocks finished rows are shown: enough to be worth a call, few enough to be in the cache still.
const SHOWN: usize = 2;

/// What makes the rows of the frequency plane.
pub(crate) trait Source {
    /// Number of rows u ≥ 0, row 0 included; those from the Nyquist row on are folded back.
    fn rows(&self) -> usize;

    /// Fills rows u = band · [`BAND`].. and their opposites −u, each in wrap-around order; bands come in turn, from 0, and
    /// rows lie `stride` values apart.
    fn band<S: Simd>(
        &mut self,
        simd: S,
        band: usize,
        stride: usize,
        plus: &mut [Complex32],
        minus: &mut [Complex32],
    );
}

/// Plan of the transform from a `grid` × `grid` frequency plane to two images.
pub(crate) struct Inverse {
    pub(crate) grid: usize,
    frame: Frame,
    fft: Arc<dyn Fft<f32>>,
    /// First of the blocks of y that hold image rows (in multiples of the block, may be negative), and their number.
    first: isize,
    blocks: usize,
    /// Complex values from line to line; not a multiple of a page.
    stride: usize,
    /// Factor of each image column, and of each image row (the latter with the scale).
    column_factor: Vec<f32>,
    row_factor: Vec<f32>,
}

/// Buffers of one thread.
pub(crate) struct Buffers {
    /// Grid rows of a band and their opposites, or a block of grid columns.
    lines: Aligned,
    /// Half-transformed plane: (block of y, grid row, y in the block).
    half: Aligned,
    scratch: Aligned,
}

impl Inverse {
    /// `correction` gives the factor of a pixel coordinate, for both axes alike; `grid` is a multiple of [`BLOCK`].
    pub(crate) fn new(grid: usize, frame: Frame, scale: f32, correction: impl Fn(isize) -> f64) -> Self {
        let column_factor = (0..frame.size).map(|i| correction(frame.x(i)) as f32).collect();
        let row_factor =
            (0..frame.size).map(|i| (correction(frame.y(i)) * f64::from(scale)) as f32).collect();
        let fft = FftPlanner::new().plan_fft_forward(grid);
        let block = |row: usize| frame.y(row).div_euclid(BLOCK as isize);
        let (first, last) = (block(frame.size - 1), block(0));
        let blocks = (last - first + 1) as usize;
        let stride = (grid + 8).next_multiple_of(512) + 8;
        Self { grid, frame, fft, first, blocks, stride, column_factor, row_factor }
    }

    fn lines_len(&self) -> usize {
        2 * BAND * self.stride
    }

    fn half_len(&self) -> usize {
        self.blocks * BLOCK * self.grid
    }

    pub(crate) fn buffers(&self) -> Buffers {
        Buffers {
            lines: Aligned::zeros(2 * self.lines_len()),
            half: Aligned::zeros(2 * self.half_len()),
            scratch: Aligned::zeros(2 * self.fft.get_inplace_scratch_len()),
        }
    }

    pub(crate) fn buffer_bytes(&self) -> usize {
        [self.lines_len(), self.half_len(), self.fft.get_inplace_scratch_len()]
            .map(|values| Aligned::bytes(2 * values))
            .into_iter()
            .sum()
    }

    pub(crate) fn shared_bytes(&self) -> usize {
        // The plan's twiddle factors are about as long as the transform.
        self.grid * 16 + self.frame.size * 24
    }

    /// Transforms the plane that `source` supplies and writes the images from their first row to their last; `done` is
    /// shown what is finished.
    #[inline(always)]
    pub(crate) fn run<S: Simd>(
        &self,
        simd: S,
        buffers: &mut Buffers,
        source: &mut impl Source,
        images: [&mut [f32]; 2],
        done: &mut Done<'_>,
    ) {
        let (grid, rows) = (self.grid, source.rows());
        let nyquist = grid / 2;
        let Buffers { lines: all, half, scratch } = buffers;
        let (all, half, scratch) = (all.cast_mut::<Complex32>(), half.cast_mut(), scratch.cast_mut());
        for band in 0..rows.max(nyquist + 1).div_ceil(BAND) {
            let (plus, minus) = all.split_at_mut(BAND * self.stride);
            let here = band * BAND..((band + 1) * BAND).min(rows.max(nyquist + 1));
            source.band(simd, band, self.stride, plus, minus);
            for (sign, lines) in [(false, plus), (true, minus)] {
                let lines = &mut lines[..here.len() * self.stride];
                for line in lines.chunks_exact_mut(self.stride) {
                    self.fft.process_with_scratch(&mut line[..grid], scratch);
                }
                self.scatter(here.clone(), sign, lines, half);
            }
        }
        let [first, second] = images;
        let size = self.frame.size;
        let mut finished = 0;
        // Image rows run against y.
        for (block, half) in half.chunks_exact(BLOCK * grid).enumerate().rev() {
            let lines = &mut all[..BLOCK * self.stride];
            gather(half, lines, self.stride);
            for (k, line) in lines.chunks_exact_mut(self.stride).enumerate().rev() {
                let y = (self.first + block as isize) * BLOCK as isize + k as isize;
                let row = size as isize - 1 - self.frame.axis as isize - y;
                if row < 0 || row as usize >= size {
                    continue;
                }
                let row = row as usize;
                let line = &mut line[..grid];
                self.fft.process_with_scratch(line, scratch);
                let targets = [&mut first[row * size..][..size], &mut second[row * size..][..size]];
                self.output(row, line, targets);
                finished = (row + 1) * size;
            }
            if block % SHOWN == 0 {
                done([&first[..finished], &second[..finished]]);
            }
        }
    }

    /// Stores transformed grid rows u (or −u) by blocks of y. The rows beyond Nyquist are added to those they fold to;
    /// of the two that meet at Nyquist the first is stored and the second added.
    #[inline(always)]
    fn scatter(&self, rows: Range<usize>, opposite: bool, lines: &[Complex32], half: &mut [Complex32]) {
        let (grid, nyquist) = (self.grid, self.grid / 2);
        for (block, target) in half.chunks_exact_mut(BLOCK * grid).enumerate() {
            let y = ((self.first + block as isize) * BLOCK as isize).rem_euclid(grid as isize) as usize;
            for (line, u) in lines.chunks_exact(self.stride).zip(rows.clone()) {
                let source = &line[y..y + BLOCK];
                let at = if opposite { 2 * grid - u } else { u } % grid;
                let cell = &mut target[at * BLOCK..(at + 1) * BLOCK];
                let (stored, added) = if opposite { (u > 0, u >= nyquist) } else { (true, u > nyquist) };
                if added {
                    cell.iter_mut().zip(source).for_each(|(value, more)| *value += more);
                } else if stored {
                    cell.copy_from_slice(source);
                }
            }
        }
    }

    /// Writes one transformed image row to both images.
    #[inline(always)]
    fn output(&self, row: usize, line: &[Complex32], images: [&mut [f32]; 2]) {
        let span = self.frame.spans[row].clone();
        let [first, second] = images;
        for image in [&mut *first, &mut *second] {
            image[..span.start].fill(0.0);
            image[span.end..].fill(0.0);
        }
        let factor = self.row_factor[row];
        let axis = self.frame.axis;
        let negative = span.start..span.end.min(axis).max(span.start);
        let positive = span.start.max(axis).min(span.end)..span.end;
        for (range, shift) in [(negative, self.grid - axis), (positive.clone(), 0)] {
            if range.is_empty() {
                continue;
            }
            let from = if shift > 0 { range.start + shift } else { range.start - axis };
            let values = &line[from..from + range.len()];
            let targets = first[range.clone()].iter_mut().zip(second[range.clone()].iter_mut());
            for ((value, weight), (a, b)) in values.iter().zip(&self.column_factor[range]).zip(targets) {
                let weight = factor * weight;
                *a = value.re * weight;
                *b = value.im * weight;
            }
        }
    }
}

/// Turns (grid row, k) into k lines of grid rows, `stride` apart.
#[inline(always)]
fn gather(half: &[Complex32], lines: &mut [Complex32], stride: usize) {
    let (half, lines): (&[u64], &mut [u64]) = (cast_slice(half), cast_slice_mut(lines));
    for (block, cells) in half.as_chunks::<{ BLOCK * BLOCK }>().0.iter().enumerate() {
        for k in 0..BLOCK {
            let values: [u64; BLOCK] = std::array::from_fn(|u| cells[u * BLOCK + k]);
            lines[k * stride + block * BLOCK..][..BLOCK].copy_from_slice(&values);
        }
    }
}
