//! Gridding of both modes: samples on rays through the origin, spread onto the frequency grid band by band.
//!
//! Only half of the plane is kept, rows u ≥ 0: a cell holds the value at its grid point and the one at the opposite
//! point (2 × complex, 16 bytes). The half plane never exists as a whole. Its rows are made eight at a time, from the
//! origin upwards, in a ring of sixteen rows that stays in the second-level cache: a sample belongs to the band of the
//! first row that its kernel touches and reaches at most into the next band. A finished band is handed on as sixteen
//! rows of the plane (u and −u), and forgotten.
//!
//! Every ray runs through the origin to both sides; what of its negative half reaches rows u ≥ 0 is spread as well, so
//! no row needs a contribution from rows below 0.

use bytemuck::cast_slice_mut;
use pulp::{Simd, WithSimd};
use rustfft::num_complex::Complex32;

use super::aligned::Aligned;
use super::lines::Sample;
use super::order::Order;
use crate::kernel::{LANES, PAIR};

/// Rows of a band.
pub(crate) const BAND: usize = 8;
/// Rows of the ring: a band and what the kernel reaches beyond it.
const RING: usize = 16;
/// Floats that a sample touches in a row.
pub(crate) const STRIP: usize = 4 * LANES;
/// Next to the origin, up to this many cells away, all rays meet and hundreds of samples fall on a cell: they are summed
/// in f64.
const CORE: f64 = 11.0;
/// Cells of the core's rows: v from −RING to RING.
const CORE_ROW: usize = 2 * RING + 1;

/// How samples lie in the plane and what they weigh there.
pub(crate) trait Rule {
    /// Whether samples next to the origin are summed in f64, the origin's own included; else the origin is left out.
    const CORE: bool;

    /// Number of rays, each through the origin, towards rows u ≥ 0.
    fn rays(&self) -> usize;

    /// Rows from sample to sample of a ray, not negative.
    fn slope(&self, ray: usize) -> f64;

    /// Kernel width in cells, at most 7.
    fn width(&self) -> usize;

    /// A sample this many rows before a row surely begins in it or before, one further behind surely after it or in it.
    fn reach(&self) -> f64;

    /// The grid points and weights of sample `j` (negative: on the negative half axis) of a ray.
    fn place<S: Simd>(&self, simd: S, ray: usize, j: i32, place: &mut Place);
}

/// Where a sample goes, and with which weights: eight in either direction, zero beyond the kernel.
///
/// The first cell's number is even, so that a strip consists of whole aligned vectors of two cells: one that is loaded
/// again soon after was stored in the same pieces.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Place {
    /// Weights of neighbouring cells, each four times: for the four numbers of a cell.
    pub(crate) side: [f32; STRIP],
    /// Weights of rows.
    pub(crate) main: [f32; LANES],
    /// First row and first cell.
    pub(crate) row: i32,
    pub(crate) column: i32,
}

impl Default for Place {
    fn default() -> Self {
        Self { side: [0.0; STRIP], main: [0.0; LANES], row: 0, column: 0 }
    }
}

/// Geometry of the half plane.
pub(crate) struct Layout {
    grid: usize,
    /// Distance of the last sample from the origin in cells.
    length: f64,
    /// Frequencies of the core.
    core: usize,
    /// Cells of a row before v = 0.
    origin: usize,
    /// Cells from row to row; not a multiple of a page, so that rows do not compete for the same cache lines.
    stride: usize,
}

impl Layout {
    /// `length` is the distance of a ray's last sample from the origin in cells, `count` how many samples it has.
    pub(crate) fn new(grid: usize, length: f64, count: usize) -> Self {
        let origin = (length.ceil() as usize + LANES + 1).next_multiple_of(PAIR);
        let stride = (2 * origin + 2 * LANES).next_multiple_of(256) + 12;
        let last = count.saturating_sub(1);
        let core = ((CORE / length * last as f64) as usize).min(last);
        Self { grid, length, core, origin, stride }
    }

    /// The same without samples that are summed in f64.
    pub(crate) fn without_core(mut self) -> Self {
        self.core = 0;
        self
    }

    /// Rows of the half plane, row 0 included.
    pub(crate) fn rows(&self) -> usize {
        self.length.ceil() as usize + LANES / 2 + 1
    }

    /// The order of `count` samples a ray.
    pub(crate) fn order(&self, rule: &impl Rule, count: usize) -> Order {
        let reach = 0.5 * rule.width() as f64 + 0.01;
        let begin = |ray: usize| (-reach / rule.slope(ray)).floor().max(1.0 - count as f64) as i32;
        let end = |band: i32, ray: usize| {
            // Where rounding decides, a sample may be taken one row too early, which the ring has room for (the kernel
            // reaches at most eight rows further), but never too late.
            let end = f64::from(band + 1) * BAND as f64 + rule.reach();
            (end / rule.slope(ray)).ceil().min(count as f64) as i32
        };
        Order::new(rule.rays(), self.rows().div_ceil(BAND), count, self.core, begin, end)
    }

    /// Cells to either side of v = 0 that can be other than zero in row `u` and the rows above it.
    fn extent(&self, u: usize) -> usize {
        let nearest = u.saturating_sub(LANES) as f64;
        let half = (self.length * self.length - nearest * nearest).max(0.0).sqrt();
        (half.ceil() as usize + LANES).min(self.origin)
    }
}

/// The ring of rows.
pub(crate) struct Ring {
    cells: Aligned,
    /// Rows 0 to RING of the core.
    core: Vec<[f64; 4]>,
}

impl Ring {
    pub(crate) fn new(layout: &Layout) -> Self {
        Self { cells: Aligned::zeros(RING * layout.stride * 4), core: vec![[0.0; 4]; RING * CORE_ROW] }
    }

    pub(crate) fn bytes(layout: &Layout) -> usize {
        Aligned::bytes(RING * layout.stride * 4) + RING * CORE_ROW * 32
    }
}

/// What gridding needs to know, all of it fixed by the plan but the samples.
pub(crate) struct Gridding<'a, R> {
    pub(crate) layout: &'a Layout,
    pub(crate) rule: R,
    pub(crate) order: &'a Order,
    /// Those of all bands, and those of the core.
    pub(crate) samples: &'a [Vec<Sample>; 2],
}

/// One band to be made: row u in `plus`, row −u in `minus`, rows `stride` values apart.
pub(crate) struct Band<'a, R> {
    pub(crate) gridding: Gridding<'a, R>,
    pub(crate) ring: &'a mut Ring,
    pub(crate) band: usize,
    pub(crate) stride: usize,
    pub(crate) plus: &'a mut [Complex32],
    pub(crate) minus: &'a mut [Complex32],
}

impl<R: Rule> Band<'_, R> {
    /// Vectors of two cells do best here, where the processor has longer ones too.
    #[inline(always)]
    pub(crate) fn run<S: Simd>(self, simd: S) {
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = (&simd as &dyn std::any::Any).downcast_ref::<pulp::x86::V4>() {
            return self.with_simd(**simd);
        }
        self.with_simd(simd);
    }
}

impl<R: Rule> WithSimd for Band<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.gridding.band(simd, self.ring, self.band, self.stride, self.plus, self.minus);
    }
}

impl<R: Rule> Gridding<'_, R> {
    /// Makes the rows of a band in turn, from band 0: row u in `plus`, row −u in `minus`.
    #[inline(always)]
    fn band<S: Simd>(
        &self,
        simd: S,
        ring: &mut Ring,
        band: usize,
        stride: usize,
        plus: &mut [Complex32],
        minus: &mut [Complex32],
    ) {
        if band == 0 {
            ring.cells.get_mut().fill(0.0);
            // Rows −8 to −1 are nobody's; what their samples spread into rows 0.. counts.
            self.spread_band(simd, ring, -1);
            self.clear(ring, RING - BAND, 0);
            if R::CORE {
                self.add_core(simd, ring);
            }
        }
        self.spread_band(simd, ring, band as i32);
        let (grid, first) = (self.layout.grid, band * BAND);
        let lines = plus.chunks_exact_mut(stride).zip(minus.chunks_exact_mut(stride));
        for (k, (plus, minus)) in lines.take(BAND).enumerate() {
            self.hand_on(ring, first + k, &mut plus[..grid], &mut minus[..grid]);
        }
    }

    /// Spreads the samples of the core into rows 0 to RING.
    #[inline(always)]
    fn add_core<S: Simd>(&self, simd: S, ring: &mut Ring) {
        ring.core.fill([0.0; 4]);
        let mut place = Place::default();
        for index in 0..self.rule.rays() {
            let samples = self.order.core(&self.samples[1], index);
            let opposite =
                samples.iter().enumerate().skip(1).map(|(j, [a, b, c, d])| (-(j as i32), [*c, *d, *a, *b]));
            for (j, value) in (0..).zip(samples.iter().copied()).chain(opposite) {
                self.rule.place(simd, index, j, &mut place);
                let value = value.map(f64::from);
                let column = place.column + RING as i32;
                for (k, main) in place.main.into_iter().enumerate() {
                    let row = place.row + k as i32;
                    if row < 0 || main == 0.0 {
                        continue;
                    }
                    let at = row as usize * CORE_ROW + column as usize;
                    for (cell, side) in ring.core[at..at + LANES].iter_mut().zip(place.side.chunks_exact(4)) {
                        let weight = f64::from(main * side[0]);
                        cell.iter_mut().zip(value).for_each(|(cell, value)| *cell += weight * value);
                    }
                }
            }
        }
        let rows = ring
            .cells
            .get_mut()
            .chunks_exact_mut(4 * self.layout.stride)
            .zip(ring.core.chunks_exact(CORE_ROW));
        for (row, core) in rows {
            // Small grids have rows shorter than the core's, which then ends in zeros.
            let skip = RING.saturating_sub(self.layout.origin);
            let row = row[4 * self.layout.origin.saturating_sub(RING)..].chunks_exact_mut(4);
            for (cell, core) in row.zip(&core[skip..]) {
                cell.iter_mut().zip(core).for_each(|(cell, core)| *cell += *core as f32);
            }
        }
    }

    /// Zeroes the band that begins in ring row `slot` and held rows from `u`.
    fn clear(&self, ring: &mut Ring, slot: usize, u: usize) {
        let extent = self.layout.extent(u) + LANES;
        let origin = self.layout.origin;
        let range = 4 * origin.saturating_sub(extent)..4 * (origin + extent).min(self.layout.stride);
        for row in ring.cells.get_mut().chunks_exact_mut(4 * self.layout.stride).skip(slot).take(BAND) {
            row[range.clone()].fill(0.0);
        }
    }

    /// Spreads all samples whose kernel begins in a row of this band.
    #[inline(always)]
    fn spread_band<S: Simd>(&self, simd: S, ring: &mut Ring, band: i32) {
        let cells = ring.cells.get_mut();
        match self.rule.width() {
            5 => self.spread_width::<S, 5>(simd, cells, band),
            6 => self.spread_width::<S, 6>(simd, cells, band),
            _ => self.spread_width::<S, 7>(simd, cells, band),
        }
    }

    #[inline(always)]
    fn spread_width<S: Simd, const WIDTH: usize>(&self, simd: S, cells: &mut [f32], band: i32) {
        let core = self.layout.core as u32;
        let first_row = band * BAND as i32;
        let stride = 4 * self.layout.stride;
        let mut lines = [0u32; RING];
        for (k, line) in lines.iter_mut().enumerate() {
            let slot = (first_row + k as i32).rem_euclid(RING as i32) as usize;
            *line = (slot * stride + 4 * self.layout.origin) as u32;
        }
        let mut place = Place::default();
        for (ray, (first, samples)) in self.order.band(&self.samples[0], band).enumerate() {
            for (j, sample) in (first..).zip(samples) {
                if j.unsigned_abs() <= core {
                    continue;
                }
                self.rule.place(simd, ray, j, &mut place);
                let Some(lines) = lines.get((place.row - first_row) as usize..) else { continue };
                let Some(lines) = lines.first_chunk::<WIDTH>() else { continue };
                spread::<S, WIDTH>(simd, cells, &place, lines, sample);
            }
        }
    }

    /// Writes row u and its opposite as lines of the grid, in wrap-around order, frequencies beyond Nyquist folded back,
    /// and leaves zeros in the ring.
    #[inline(always)]
    fn hand_on(&self, ring: &mut Ring, u: usize, plus: &mut [Complex32], minus: &mut [Complex32]) {
        let Layout { grid, origin, stride, .. } = *self.layout;
        let row = &mut ring.cells.get_mut()[(u % RING) * 4 * stride..][..4 * stride];
        let extent = self.layout.extent(u);
        let inner = extent.min(grid / 2 - 1);
        {
            let cells: &mut [[u64; 2]] = cast_slice_mut(row);
            let (plus, minus): (&mut [u64], &mut [u64]) = (cast_slice_mut(plus), cast_slice_mut(minus));
            plus[inner + 1..grid - inner].fill(0);
            minus[inner + 1..grid - inner].fill(0);
            let (before, after) = cells[origin - inner..=origin + inner].split_at_mut(inner);
            if let Some(middle) = after.first_mut() {
                [plus[0], minus[0]] = std::mem::take(middle);
            }
            take(&mut after[1..], &mut plus[1..=inner], &mut minus[grid - inner..]);
            take(before, &mut plus[grid - inner..], &mut minus[1..=inner]);
        }
        let cells: &mut [[Complex32; 2]] = cast_slice_mut(row);
        for beyond in inner + 1..=extent {
            for (cell, v) in [(origin + beyond, beyond), (origin - beyond, 2 * grid - beyond)] {
                let [here, opposite] = std::mem::take(&mut cells[cell]);
                plus[v % grid] += here;
                minus[(2 * grid - v) % grid] += opposite;
            }
        }
    }
}

/// Moves the first halves of cells to `plus`, the second ones in reverse order to `minus`.
#[inline(always)]
fn take(cells: &mut [[u64; 2]], plus: &mut [u64], minus: &mut [u64]) {
    /// Cells that are cleared together, while they are in the first-level cache.
    const CHUNK: usize = 64;
    let chunks = cells.chunks_mut(CHUNK).zip(plus.chunks_mut(CHUNK)).zip(minus.rchunks_mut(CHUNK));
    for ((cells, plus), minus) in chunks {
        for (value, cell) in plus.iter_mut().zip(&*cells) {
            *value = cell[0];
        }
        for (value, cell) in minus.iter_mut().rev().zip(&*cells) {
            *value = cell[1];
        }
        cells.fill([0; 2]);
    }
}

/// Adds a sample to the lines of cells that begin (with the cell v = 0) at `lines`.
#[inline(always)]
fn spread<S: Simd, const WIDTH: usize>(
    simd: S,
    cells: &mut [f32],
    place: &Place,
    lines: &[u32; WIDTH],
    sample: &Sample,
) {
    let mut value = [0.0; 16];
    value.as_chunks_mut().0.fill(*sample);
    let (side, value) = (S::as_simd_f32s(&place.side).0, S::as_simd_f32s(&value).0);
    // At most eight vectors (of the portable path: as many as there are numbers).
    let mut strip = [simd.splat_f32s(0.0); STRIP];
    let strip = &mut strip[..side.len()];
    for (i, (strip, side)) in strip.iter_mut().zip(side).enumerate() {
        *strip = simd.mul_f32s(*side, value[i % value.len()]);
    }
    for (line, weight) in lines.iter().zip(place.main) {
        // 32 bits, so that one comparison tells whether the range is one.
        let start = line.wrapping_add_signed(4 * place.column) as usize;
        let Some(row) = cells.get_mut(start..start + STRIP) else { return };
        let weight = simd.splat_f32s(weight);
        let (row, _) = S::as_mut_simd_f32s(row);
        for (cell, value) in row.iter_mut().zip(&*strip) {
            *cell = simd.mul_add_e_f32s(weight, *value, *cell);
        }
    }
}
