//! `tomopy` mode: the gridrec of TomoPy 1.15, its peculiarities included.
//!
//! What it computes (Dowd et al., SPIE 3772, 1999; Rivers and Wang, SPIE 6318, 2006) follows the published method, with
//! these traits of TomoPy's implementation kept because its results are what users compare with:
//! * the kernel, a prolate spheroidal wave function with C = 7 as a Legendre series, is tabulated at 512 points but cut
//!   at 2 grid cells (2.228 would be right) with the table stretched by 256 per cell, while the correction is not;
//! * the correction is looked up one pixel off the axis;
//! * the ramp is sampled in the frequency domain, and its zero frequency is skipped;
//! * the grid is the next power of two, and nothing is added against wrap-around;
//! * every projection weighs π / count, whatever the angles.
//!
//! The first two make its gain rise with the distance from the axis: a unit disc comes out as 1.12 in the middle and
//! 1.35 and more near the rim. Use `exact` mode for numbers that mean something.

use std::f64::consts::PI;
use std::sync::Arc;

use pulp::Simd;
use rustfft::num_complex::Complex32;
use rustfft::{Fft, FftPlanner};

use super::bands::BAND;
use super::inverse::Source;
use super::{GridrecOptions, Padding};

const C: f64 = 7.0;
const LAMBDA: f64 = 0.999_985_46;
const TABLE: usize = 512;
/// Half width in grid cells: 2C/π = 4.46 cut to 4, halved.
const REACH: f32 = 2.0;
/// Table entries per grid cell.
const SPACING: f32 = 256.0;
/// Coefficients of the even Legendre polynomials, from the method's publication.
const COEFFICIENTS: [f64; 11] = [
    57.67616,
    -89.31343,
    41.67596,
    -10.53599,
    1.662374,
    -0.1780527,
    0.01372983,
    -7.963169e-4,
    3.593372e-5,
    -1.295941e-6,
    3.817796e-8,
];

/// Sum of the Legendre series at x, −1..1.
fn legendre(x: f64) -> f64 {
    let (mut before, mut last, mut sum) = (1.0, x, COEFFICIENTS[0]);
    for j in 2..=20usize {
        let next = ((2 * j - 1) as f64 * x * last - (j - 1) as f64 * before) / j as f64;
        if j % 2 == 0 {
            sum += next * COEFFICIENTS[j / 2];
        }
        (before, last) = (last, next);
    }
    sum
}

fn kernel_table() -> Vec<f32> {
    let centre = legendre(0.0);
    (0..=TABLE).map(|i| (legendre(i as f64 / TABLE as f64) / centre) as f32).collect()
}

/// Grid size for a padded detector: the next power of two, at least 16.
pub(super) fn grid_size(padded: usize) -> usize {
    padded.next_power_of_two().max(16)
}

/// Correction factor of a pixel coordinate.
pub(super) fn correction(grid: usize) -> impl Fn(isize) -> f64 {
    let table = kernel_table();
    let norm = (PI / 2.0 / C / LAMBDA).sqrt() / 1.2;
    let step = (TABLE as f32) / (grid as f32 / 2.0 - 0.5);
    move |x| {
        // One pixel off: TomoPy centres its table on coordinate −1.
        let at = ((x + 1).unsigned_abs() as f32 * step).round() as usize;
        norm / f64::from(table[at.min(TABLE)])
    }
}

/// Plan of the gridding half.
pub(super) struct Plan {
    grid: usize,
    columns: usize,
    pad: usize,
    edge: bool,
    table: Vec<f32>,
    /// Filter, amplitude and shift of the rotation centre to the origin, per frequency.
    response: Vec<Complex32>,
    /// Cosine and sine of each angle.
    directions: Vec<(f32, f32)>,
    fft: Arc<dyn Fft<f32>>,
}

/// Buffers of one thread.
pub(super) struct Buffers {
    line: Vec<Complex32>,
    scratch: Vec<Complex32>,
    /// Frequency plane with its origin in the middle, (u, v).
    plane: Vec<Complex32>,
}

impl Plan {
    pub(super) fn new(options: &GridrecOptions) -> Self {
        let (pad, edge) = match options.padding {
            Padding::None => (0, false),
            Padding::Zero(pad) => (pad, false),
            Padding::Edge(pad) => (pad, true),
        };
        let grid = grid_size(options.columns + 2 * pad);
        // TomoPy computes in f32; its phases are off by up to 4e-4 rad at 2560 columns, and so are these.
        let center = (options.center + pad as f64) as f32;
        let norm = (PI / grid as f64 / options.angles.len() as f64) as f32;
        let turn = (2.0 * PI * f64::from(center) / grid as f64) as f32;
        let response = (0..grid / 2)
            .map(|j| {
                let filter = options.filter.tomopy(j as f64 / grid as f64) as f32;
                let phase = j as f32 * turn;
                Complex32::new(phase.cos(), -phase.sin()) * (filter * norm)
            })
            .collect();
        let directions = options.angles.iter().map(|a| ((*a as f32).cos(), (*a as f32).sin())).collect();
        let fft = FftPlanner::new().plan_fft_inverse(grid);
        let table = kernel_table();
        Self { grid, columns: options.columns, pad, edge, table, response, directions, fft }
    }

    pub(super) fn buffers(&self) -> Buffers {
        Buffers {
            line: vec![Complex32::default(); self.grid],
            scratch: vec![Complex32::default(); self.fft.get_inplace_scratch_len()],
            plane: vec![Complex32::default(); self.grid * self.grid],
        }
    }

    pub(super) fn buffer_bytes(&self) -> usize {
        (self.grid + self.fft.get_inplace_scratch_len() + self.grid * self.grid) * size_of::<Complex32>()
    }

    pub(super) fn shared_bytes(&self) -> usize {
        (self.response.len() + self.directions.len() + self.grid) * 8 + TABLE * 4
    }

    /// Points of the grid in each direction.
    pub(super) fn grid(&self) -> usize {
        self.grid
    }

    /// Grids both sinograms onto the plane.
    #[inline(always)]
    pub(super) fn spread(&self, buffers: &mut Buffers, sinograms: [&[f32]; 2]) {
        buffers.plane.fill(Complex32::default());
        let n = self.columns;
        for (angle, &(cos, sin)) in self.directions.iter().enumerate() {
            let rows = sinograms.map(|s| &s[angle * n..(angle + 1) * n]);
            let line = &mut buffers.line[..];
            line.fill(Complex32::default());
            for (value, (a, b)) in line[self.pad..].iter_mut().zip(rows[0].iter().zip(rows[1])) {
                *value = Complex32::new(*a, *b);
            }
            if self.edge {
                let (first, last) = (line[self.pad], line[self.pad + n - 1]);
                line[..self.pad].fill(first);
                line[self.pad + n..2 * self.pad + n].fill(last);
            }
            self.fft.process_with_scratch(line, &mut buffers.scratch);
            self.spread_line(line, cos, sin, &mut buffers.plane);
        }
    }

    /// Spreads one projection's spectrum, both halves, over the plane.
    #[inline(always)]
    fn spread_line(&self, line: &[Complex32], cos: f32, sin: f32, plane: &mut [Complex32]) {
        let grid = self.grid;
        let middle = (grid / 2) as f32;
        let limits = |at: f32| {
            ((at - REACH).ceil().max(1.0) as usize, ((at + REACH).floor().min((grid - 1) as f32)) as usize)
        };
        for j in 1..grid / 2 {
            let plus = self.response[j] * line[j];
            let minus = self.response[j].conj() * line[grid - j];
            let (u, v) = (j as f32 * cos + middle, j as f32 * sin + middle);
            let ((u0, u1), (v0, v1)) = (limits(u), limits(v));
            if u1 < u0 || v1 < v0 {
                continue;
            }
            let mut weights = [0.0f32; 5];
            let count = v1 - v0 + 1;
            for (k, weight) in weights.iter_mut().take(count).enumerate() {
                *weight = self.lookup((v - (v0 + k) as f32).abs());
            }
            for iu in u0..=u1 {
                let across = self.lookup((u - iu as f32).abs());
                let (row, mirror) = (iu * grid + v0, (grid - iu) * grid + grid - v0);
                for (k, weight) in weights.iter().take(count).enumerate() {
                    let weight = across * weight;
                    plane[row + k] += plus * weight;
                    plane[mirror - k] += minus * weight;
                }
            }
        }
    }

    #[inline(always)]
    fn lookup(&self, distance: f32) -> f32 {
        self.table[((distance * SPACING + 0.5) as usize).min(TABLE)]
    }
}

/// A gridded frequency plane.
pub(super) struct Plane<'a> {
    pub(super) plan: &'a Plan,
    pub(super) buffers: &'a Buffers,
}

impl Source for Plane<'_> {
    fn rows(&self) -> usize {
        self.plan.grid / 2 + 1
    }

    #[inline(always)]
    fn band<S: Simd>(&mut self, _: S, band: usize, plus: &mut [Complex32], minus: &mut [Complex32]) {
        let (grid, half) = (self.plan.grid, self.plan.grid / 2);
        let lines = plus.chunks_exact_mut(grid).zip(minus.chunks_exact_mut(grid));
        for (k, (plus, minus)) in lines.enumerate() {
            let u = band * BAND + k;
            for (line, natural) in [(plus, half + u), (minus, (half + grid).saturating_sub(u))] {
                let source = &self.buffers.plane[(natural % grid) * grid..][..grid];
                line[..half].copy_from_slice(&source[half..]);
                line[half..].copy_from_slice(&source[..half]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_is_a_bell() {
        let table = kernel_table();
        assert!((table[0] - 1.0).abs() < 1e-7);
        assert!(table.windows(2).all(|w| w[1] <= w[0] + 1e-6));
        assert!(table[TABLE] > 0.0 && table[TABLE] < 0.02, "{}", table[TABLE]);
    }
}
