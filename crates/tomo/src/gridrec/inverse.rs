//! Second half of gridrec: the two-dimensional transform of a filled frequency grid, cropped straight into the images.
//!
//! Only the rows of the image that exist are transformed in the second direction, eight at a time, and each comes out of
//! its transform as one image row: correction, crop, scale and mask happen on the way, with no grid-sized pass after.

use std::sync::Arc;

use rustfft::num_complex::Complex32;
use rustfft::{Fft, FftPlanner};

use super::frame::Frame;

/// Image rows transformed together; 8 complex values of 8 bytes are one cache line.
pub(crate) const BLOCK: usize = 8;

/// Plan of the transform from a `grid` × `grid` frequency plane to two images.
pub(crate) struct Inverse {
    pub(crate) grid: usize,
    frame: Frame,
    fft: Arc<dyn Fft<f32>>,
    /// Factor of each image column, and of each image row (the latter with the scale).
    column_factor: Vec<f32>,
    row_factor: Vec<f32>,
}

/// Buffers of one thread.
pub(crate) struct Buffers {
    /// `BLOCK` grid rows, or `BLOCK` grid columns.
    lines: Vec<Complex32>,
    /// Half-transformed plane: (block of image rows, grid row, image row in the block).
    half: Vec<Complex32>,
    scratch: Vec<Complex32>,
}

impl Inverse {
    /// `correction` gives the factor of a pixel coordinate, for both axes alike.
    pub(crate) fn new(grid: usize, frame: Frame, scale: f32, correction: impl Fn(isize) -> f64) -> Self {
        let column_factor = (0..frame.size).map(|i| correction(frame.x(i)) as f32).collect();
        let row_factor =
            (0..frame.size).map(|i| (correction(frame.y(i)) * f64::from(scale)) as f32).collect();
        let fft = FftPlanner::new().plan_fft_forward(grid);
        Self { grid, frame, fft, column_factor, row_factor }
    }

    fn half_len(&self) -> usize {
        self.frame.size.div_ceil(BLOCK) * BLOCK * self.grid
    }

    pub(crate) fn buffers(&self) -> Buffers {
        Buffers {
            lines: vec![Complex32::default(); BLOCK * self.grid],
            half: vec![Complex32::default(); self.half_len()],
            scratch: vec![Complex32::default(); self.fft.get_inplace_scratch_len()],
        }
    }

    pub(crate) fn buffer_bytes(&self) -> usize {
        (BLOCK * self.grid + self.half_len() + self.fft.get_inplace_scratch_len()) * size_of::<Complex32>()
    }

    pub(crate) fn shared_bytes(&self) -> usize {
        // The plan's twiddle factors are about as long as the transform.
        self.grid * 16 + self.frame.size * 24
    }

    /// Transforms the plane that `fill` supplies and writes the images.
    ///
    /// `fill(u, rows)` must fill consecutive grid rows u, u+1, ... (0-based, in wrap-around order, `grid` values each).
    pub(crate) fn run(
        &self,
        buffers: &mut Buffers,
        fill: impl FnMut(usize, &mut [Complex32]),
        images: [&mut [f32]; 2],
        simd: bool,
    ) {
        if simd {
            pulp::Arch::new().dispatch(Run { plan: self, buffers, fill, images });
        } else {
            self.run_here(buffers, fill, images);
        }
    }

    #[inline(always)]
    fn run_here(
        &self,
        buffers: &mut Buffers,
        mut fill: impl FnMut(usize, &mut [Complex32]),
        images: [&mut [f32]; 2],
    ) {
        let grid = self.grid;
        let mut u = 0;
        while u < grid {
            let rows = BLOCK.min(grid - u);
            let lines = &mut buffers.lines[..rows * grid];
            fill(u, lines);
            self.fft.process_with_scratch(lines, &mut buffers.scratch);
            self.scatter(u, lines, &mut buffers.half);
            u += rows;
        }
        let [first, second] = images;
        let stride = BLOCK * grid;
        let size = self.frame.size;
        let blocks = first.chunks_mut(BLOCK * size).zip(second.chunks_mut(BLOCK * size));
        for (block, (first, second)) in blocks.enumerate() {
            let lines = &mut buffers.lines[..];
            gather(&buffers.half[block * stride..(block + 1) * stride], lines);
            let rows = first.len() / size;
            self.fft.process_with_scratch(&mut lines[..rows * grid], &mut buffers.scratch);
            let outputs = first.chunks_exact_mut(size).zip(second.chunks_exact_mut(size));
            for (k, (first, second)) in outputs.enumerate() {
                self.output(block * BLOCK + k, &lines[k * grid..(k + 1) * grid], first, second);
            }
        }
    }

    /// Stores transformed grid rows u.. by image row: the values of one block of image rows stay together.
    #[inline(always)]
    fn scatter(&self, u: usize, lines: &[Complex32], half: &mut [Complex32]) {
        let grid = self.grid;
        let stride = BLOCK * grid;
        for (block, target) in half.chunks_exact_mut(stride).enumerate() {
            // Image row r lies at y = size − 1 − axis − r: the block runs downwards in v.
            let top = self.frame.y(block * BLOCK);
            let top = if top >= 0 { top as usize } else { (top + grid as isize) as usize };
            for (row, line) in lines.chunks_exact(grid).enumerate() {
                let cell = &mut target[(u + row) * BLOCK..(u + row + 1) * BLOCK];
                if top >= BLOCK - 1 {
                    for (value, source) in cell.iter_mut().zip(line[top + 1 - BLOCK..=top].iter().rev()) {
                        *value = *source;
                    }
                } else {
                    for (k, value) in cell.iter_mut().enumerate() {
                        *value = line[(top + grid - k) % grid];
                    }
                }
            }
        }
    }

    /// Writes one transformed image row to both images.
    #[inline(always)]
    fn output(&self, row: usize, line: &[Complex32], first: &mut [f32], second: &mut [f32]) {
        let span = self.frame.spans[row].clone();
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

/// The transform under the processor's vector instructions.
struct Run<'a, F> {
    plan: &'a Inverse,
    buffers: &'a mut Buffers,
    fill: F,
    images: [&'a mut [f32]; 2],
}

impl<F: FnMut(usize, &mut [Complex32])> pulp::WithSimd for Run<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        self.plan.run_here(self.buffers, self.fill, self.images);
    }
}

/// Turns (grid row, k) into k lines of grid rows.
#[inline(always)]
fn gather(half: &[Complex32], lines: &mut [Complex32]) {
    let grid = half.len() / BLOCK;
    for (u, cell) in half.chunks_exact(BLOCK).enumerate() {
        for (k, value) in cell.iter().enumerate() {
            lines[k * grid + u] = *value;
        }
    }
}
