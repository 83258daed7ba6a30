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

use super::bands::{Band, Gridding, Layout, Place, Ring, Rule};
use super::inverse::Source;
use super::lines::Sample;
use super::order::Order;
use super::{GridrecOptions, Padding};
use crate::aligned::Aligned;
use crate::kernel::LANES;

const C: f64 = 7.0;
const LAMBDA: f64 = 0.999_985_46;
const TABLE: usize = 512;
/// Half width in grid cells: 2C/π = 4.46 cut to 4, halved.
const REACH: f32 = 2.0;
/// Grid points within reach of a position.
const WIDTH: usize = 5;
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
    /// By slope.
    directions: Vec<Direction>,
    layout: Layout,
    order: Order,
    fft: Arc<dyn Fft<f32>>,
}

/// One projection's line through the frequency plane.
struct Direction {
    projection: usize,
    cos: f32,
    sin: f32,
}

impl Direction {
    /// It runs to negative u: its half axes are exchanged for gridding.
    fn flip(&self) -> bool {
        self.cos < 0.0
    }
}

/// Buffers of one thread.
pub(super) struct Buffers {
    line: Aligned,
    scratch: Aligned,
    /// One projection's samples, then those of all, as [`Order`] has them.
    samples: Aligned,
    ordered: [Aligned; 2],
    ring: Ring,
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
        let mut directions: Vec<Direction> = options
            .angles
            .iter()
            .enumerate()
            .map(|(projection, a)| Direction { projection, cos: (*a as f32).cos(), sin: (*a as f32).sin() })
            .collect();
        let order = |d: &Direction| if d.flip() { (-d.sin).atan2(-d.cos) } else { d.sin.atan2(d.cos) };
        directions.sort_by(|a, b| order(a).total_cmp(&order(b)).then(a.projection.cmp(&b.projection)));
        let layout = Layout::new(grid, (grid / 2) as f64, grid / 2).without_core();
        let fft = FftPlanner::new().plan_fft_inverse(grid);
        let table = kernel_table();
        let order = layout.order(&TableRule { grid, table: &table, directions: &directions }, grid / 2);
        Self { grid, columns: options.columns, pad, edge, table, response, directions, layout, order, fft }
    }

    pub(super) fn buffers(&self) -> Buffers {
        Buffers {
            line: Aligned::zeros(2 * self.grid),
            scratch: Aligned::zeros(2 * self.fft.get_inplace_scratch_len()),
            samples: Aligned::zeros(4 * self.order.line_len()),
            ordered: self.order.buffers(),
            ring: Ring::new(&self.layout),
        }
    }

    pub(super) fn buffer_bytes(&self) -> usize {
        Aligned::bytes(2 * self.grid)
            + Aligned::bytes(2 * self.fft.get_inplace_scratch_len())
            + Aligned::bytes(4 * self.order.line_len())
            + self.order.buffer_bytes()
            + Ring::bytes(&self.layout)
    }

    pub(super) fn shared_bytes(&self) -> usize {
        (self.response.len() + self.directions.len() + self.grid) * 8 + TABLE * 4 + self.order.shared_bytes()
    }

    /// Points of the grid in each direction.
    pub(super) fn grid(&self) -> usize {
        self.grid
    }

    /// Filters both sinograms into samples on rays.
    #[inline(always)]
    pub(super) fn filter(&self, buffers: &mut Buffers, sinograms: [&[f32]; 2]) {
        let (n, grid) = (self.columns, self.grid);
        let Buffers { line, scratch, samples, ordered, .. } = buffers;
        let (line, scratch) = (line.cast_mut::<Complex32>(), scratch.cast_mut());
        let samples = samples.cast_mut::<Sample>();
        let [bands, core] = ordered.each_mut().map(Aligned::cast_mut);
        for (at, direction) in self.directions.iter().enumerate() {
            let rows = sinograms.map(|s| &s[direction.projection * n..(direction.projection + 1) * n]);
            line.fill(Complex32::default());
            for (value, (a, b)) in line[self.pad..].iter_mut().zip(rows[0].iter().zip(rows[1])) {
                *value = Complex32::new(*a, *b);
            }
            if self.edge {
                let (first, last) = (line[self.pad], line[self.pad + n - 1]);
                line[..self.pad].fill(first);
                line[self.pad + n..2 * self.pad + n].fill(last);
            }
            self.fft.process_with_scratch(line, scratch);
            for (j, (sample, response)) in samples.iter_mut().zip(&self.response).enumerate() {
                let plus = *response * line[j];
                let minus = response.conj() * line[(grid - j) % grid];
                *sample = if direction.flip() {
                    [minus.re, minus.im, plus.re, plus.im]
                } else {
                    [plus.re, plus.im, minus.re, minus.im]
                };
            }
            self.order.put([&mut *bands, &mut *core], at, samples);
        }
    }
}

/// A gridded frequency plane.
pub(super) struct Plane<'a> {
    pub(super) plan: &'a Plan,
    pub(super) buffers: &'a mut Buffers,
}

impl Source for Plane<'_> {
    fn rows(&self) -> usize {
        self.plan.grid / 2 + 1
    }

    #[inline(always)]
    fn band<S: Simd>(
        &mut self,
        simd: S,
        band: usize,
        stride: usize,
        plus: &mut [Complex32],
        minus: &mut [Complex32],
    ) {
        let Plan { layout, order, grid, table, directions, .. } = self.plan;
        let Buffers { ordered: samples, ring, .. } = &mut *self.buffers;
        let rule = TableRule { grid: *grid, table, directions };
        let gridding = Gridding { layout, rule, order, samples: samples.each_ref().map(Aligned::cast) };
        Band { gridding, ring, band, stride, plus, minus }.run(simd);
    }
}

/// TomoPy's positions, cuts and table look-ups.
struct TableRule<'a> {
    grid: usize,
    table: &'a [f32],
    directions: &'a [Direction],
}

impl TableRule<'_> {
    /// First grid index and weights along one axis of a position, counted from the grid's corner; with `mirror` those of
    /// the opposite grid points, in their order, counted from the middle in either case.
    #[inline(always)]
    fn axis(&self, at: f32, mirror: bool) -> (i32, [f32; LANES]) {
        let grid = self.grid as i32;
        let first = ((at - REACH).ceil() as i32).max(1);
        let last = ((at + REACH).floor() as i32).min(grid - 1);
        let mut weights = [0.0; LANES];
        for k in 0..WIDTH as i32 {
            let i = if mirror { last - k } else { first + k };
            let distance = (at - i as f32).abs();
            let weight = self.table[((distance * SPACING + 0.5) as usize).min(TABLE)];
            weights[k as usize] = if first <= i && i <= last { weight } else { 0.0 };
        }
        (if mirror { grid / 2 - last } else { first - grid / 2 }, weights)
    }
}

impl Rule for TableRule<'_> {
    type Walk = i32;

    const CORE: bool = false;

    #[inline(always)]
    fn rays(&self) -> usize {
        self.directions.len()
    }

    #[inline(always)]
    fn slope(&self, ray: usize) -> f64 {
        f64::from(self.directions[ray].cos.abs())
    }

    #[inline(always)]
    fn width(&self) -> usize {
        WIDTH
    }

    fn reach(&self) -> f64 {
        // A kernel begins at the next whole number from position − 2 on, computed in f32.
        f64::from(REACH) + 2e-3
    }

    #[inline(always)]
    fn walk(&self, _: usize, j: i32) -> i32 {
        j
    }

    #[inline(always)]
    fn step<S: Simd>(&self, _: S, ray: usize, walk: &mut i32, place: &mut Place) {
        let j = *walk;
        *walk += 1;
        let direction = &self.directions[ray];
        let mirror = direction.flip() != (j < 0);
        let (at, middle) = (j.unsigned_abs() as f32, (self.grid / 2) as f32);
        (place.row, place.main) = self.axis(at * direction.cos + middle, mirror);
        let (column, side) = self.axis(at * direction.sin + middle, mirror);
        place.column = column & !1;
        let side = [0.0].into_iter().skip(1 - (column & 1) as usize).chain(side);
        for (wide, side) in place.side.as_chunks_mut::<4>().0.iter_mut().zip(side) {
            *wide = [side; 4];
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
