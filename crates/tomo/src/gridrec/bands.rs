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

use bytemuck::{cast_slice, cast_slice_mut};
use pulp::Simd;
use rustfft::num_complex::Complex32;

use super::lines::Sample;
use crate::kernel::LANES;

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
/// Samples, of several rays, whose weights are computed before they are spread: fetching one from far memory then does
/// not wait for spreading the one before.
const BATCH: usize = 64;

/// How samples lie in the plane and what they weigh there.
pub(crate) trait Rule {
    /// Whether samples next to the origin are summed in f64, the origin's own included; else the origin is left out.
    const CORE: bool;

    /// Number of rays, each through the origin, towards rows u ≥ 0.
    fn rays(&self) -> usize;

    /// Rows from sample to sample of a ray, not negative.
    fn slope(&self, ray: usize) -> f64;

    /// Kernel width in cells, at most 8.
    fn width(&self) -> usize;

    /// A sample this many rows before a row surely begins in it or before, one further behind surely after it or in it.
    fn reach(&self) -> f64;

    /// The grid points and weights of sample `j` (negative: on the negative half axis) of a ray.
    fn place<S: Simd>(&self, simd: S, ray: usize, j: i32, place: &mut Place);
}

/// Where a sample goes, and with which weights: eight in either direction, zero beyond the kernel.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Place {
    /// Weights of neighbouring cells, each four times: for the four numbers of a cell.
    pub(crate) side: [f32; STRIP],
    /// The sample, four times.
    value: [f32; 16],
    /// Weights of rows.
    pub(crate) main: [f32; LANES],
    /// First row and first cell.
    pub(crate) row: i32,
    pub(crate) column: i32,
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
        let origin = length.ceil() as usize + LANES + 1;
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

    /// Cells to either side of v = 0 that can be other than zero in row `u` and the rows above it.
    fn extent(&self, u: usize) -> usize {
        let nearest = u.saturating_sub(LANES) as f64;
        let half = (self.length * self.length - nearest * nearest).max(0.0).sqrt();
        (half.ceil() as usize + LANES).min(self.origin)
    }
}

/// The ring of rows, and how far each ray has come.
pub(crate) struct Ring {
    cells: Vec<f32>,
    next: Vec<i32>,
    places: Vec<Place>,
    /// Rows 0 to RING of the core.
    core: Vec<[f64; 4]>,
}

impl Ring {
    pub(crate) fn new(layout: &Layout, rays: usize) -> Self {
        let place = Place { side: [0.0; STRIP], value: [0.0; 16], main: [0.0; LANES], row: 0, column: 0 };
        Self {
            cells: vec![0.0; RING * layout.stride * 4],
            next: vec![0; rays],
            places: vec![place; BATCH],
            core: vec![[0.0; 4]; RING * CORE_ROW],
        }
    }

    pub(crate) fn bytes(layout: &Layout, rays: usize) -> usize {
        RING * layout.stride * size_of::<Sample>()
            + rays * 4
            + BATCH * size_of::<Place>()
            + RING * CORE_ROW * 32
    }
}

/// What gridding needs to know, all of it fixed by the plan but the samples.
pub(crate) struct Gridding<'a, R> {
    pub(crate) layout: &'a Layout,
    pub(crate) rule: R,
    /// (tile, ray, frequency in the tile), `count` frequencies each.
    pub(crate) samples: &'a [Tile],
    pub(crate) count: usize,
}

/// Neighbouring frequencies of one ray. A band takes a few frequencies of many rays, so those lie together.
pub(crate) type Tile = [Sample; TILE];
pub(crate) const TILE: usize = 8;

impl<R: Rule> Gridding<'_, R> {
    /// Makes the rows of a band in turn, from band 0: row u in `plus`, row −u in `minus`.
    #[inline(always)]
    pub(crate) fn band<S: Simd>(
        &self,
        simd: S,
        ring: &mut Ring,
        band: usize,
        stride: usize,
        plus: &mut [Complex32],
        minus: &mut [Complex32],
    ) {
        if band == 0 {
            ring.cells.fill(0.0);
            self.start(ring);
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
        self.clear(ring, first % RING, first);
    }

    fn start(&self, ring: &mut Ring) {
        let reach = 0.5 * self.rule.width() as f64 + 0.01;
        let least = 1.0 - self.count as f64;
        for (ray, next) in ring.next.iter_mut().enumerate() {
            *next = (-reach / self.rule.slope(ray)).floor().max(least) as i32;
        }
    }

    /// A sample of a ray, its half axes exchanged on the negative side.
    #[inline(always)]
    fn sample(&self, index: usize, j: i32) -> Sample {
        let at = j.unsigned_abs() as usize;
        let s = self.samples[at / TILE * self.rule.rays() + index][at % TILE];
        if j < 0 { [s[2], s[3], s[0], s[1]] } else { s }
    }

    /// Spreads the samples of the core into rows 0 to RING.
    #[inline(always)]
    fn add_core<S: Simd>(&self, simd: S, ring: &mut Ring) {
        ring.core.fill([0.0; 4]);
        let core = self.layout.core as i32;
        for index in 0..self.rule.rays() {
            for j in -core..=core {
                let place = &mut ring.places[0];
                self.rule.place(simd, index, j, place);
                let value = self.sample(index, j).map(f64::from);
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
        let rows = ring.cells.chunks_exact_mut(4 * self.layout.stride).zip(ring.core.chunks_exact(CORE_ROW));
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
        for row in ring.cells.chunks_exact_mut(4 * self.layout.stride).skip(slot).take(BAND) {
            row[range.clone()].fill(0.0);
        }
    }

    /// Spreads all samples whose kernel begins in a row of this band.
    #[inline(always)]
    fn spread_band<S: Simd>(&self, simd: S, ring: &mut Ring, band: i32) {
        // Where rounding decides, a sample may be taken one row too early, which the ring has room for (the kernel reaches
        // at most eight rows further), but never too late.
        let end = f64::from(band + 1) * BAND as f64 + self.rule.reach();
        let core = self.layout.core as u32;
        let mut count = 0;
        for index in 0..self.rule.rays() {
            let from = ring.next[index];
            let to = (end / self.rule.slope(index)).ceil().min(self.count as f64) as i32;
            if to <= from {
                continue;
            }
            ring.next[index] = to;
            for j in (from..to).filter(|j| j.unsigned_abs() > core) {
                let place = &mut ring.places[count];
                self.rule.place(simd, index, j, place);
                let value = self.sample(index, j);
                place.value.as_chunks_mut().0.fill(value);
                count += 1;
                if count == BATCH {
                    self.spread(simd, ring, count);
                    count = 0;
                }
            }
        }
        self.spread(simd, ring, count);
    }

    #[inline(always)]
    fn spread<S: Simd>(&self, simd: S, ring: &mut Ring, count: usize) {
        let Ring { cells, places, .. } = ring;
        for place in &places[..count] {
            match self.rule.width() {
                5 => self.spread_one::<S, 5>(simd, cells, place),
                6 => self.spread_one::<S, 6>(simd, cells, place),
                7 => self.spread_one::<S, 7>(simd, cells, place),
                _ => self.spread_one::<S, 8>(simd, cells, place),
            }
        }
    }

    #[inline(always)]
    fn spread_one<S: Simd, const WIDTH: usize>(&self, simd: S, cells: &mut [f32], place: &Place) {
        let stride = 4 * self.layout.stride;
        let column = 4 * (place.column + self.layout.origin as i32) as usize;
        let (side, value) = (S::as_simd_f32s(&place.side).0, S::as_simd_f32s(&place.value).0);
        // At most eight vectors (of the portable path: as many as there are numbers).
        let mut strip = [simd.splat_f32s(0.0); STRIP];
        let strip = &mut strip[..side.len()];
        for (i, (strip, side)) in strip.iter_mut().zip(side).enumerate() {
            *strip = simd.mul_f32s(*side, value[i % value.len()]);
        }
        for k in 0..WIDTH {
            let slot = (place.row + k as i32) as usize % RING;
            let weight = simd.splat_f32s(place.main[k]);
            let Some(row) = cells.get_mut(slot * stride + column..) else { return };
            let Some(row) = row.first_chunk_mut::<STRIP>() else { return };
            let (row, _) = S::as_mut_simd_f32s(row);
            for (cell, value) in row.iter_mut().zip(&*strip) {
                *cell = simd.mul_add_e_f32s(weight, *value, *cell);
            }
        }
    }

    /// Writes row u and its opposite as lines of the grid, in wrap-around order, frequencies beyond Nyquist folded back.
    #[inline(always)]
    fn hand_on(&self, ring: &Ring, u: usize, plus: &mut [Complex32], minus: &mut [Complex32]) {
        let Layout { grid, origin, stride, .. } = *self.layout;
        let row = &ring.cells[(u % RING) * 4 * stride..][..4 * stride];
        let cells: &[[u64; 2]] = cast_slice(row);
        let (plus, minus): (&mut [u64], &mut [u64]) = (cast_slice_mut(plus), cast_slice_mut(minus));
        let extent = self.layout.extent(u);
        let inner = extent.min(grid / 2 - 1);
        plus[inner + 1..grid - inner].fill(0);
        minus[inner + 1..grid - inner].fill(0);
        let (before, after) = (&cells[origin - inner..origin], &cells[origin..=origin + inner]);
        for (value, cell) in plus[..=inner].iter_mut().zip(after) {
            *value = cell[0];
        }
        for (value, cell) in plus[grid - inner..].iter_mut().zip(before) {
            *value = cell[0];
        }
        minus[0] = after[0][1];
        for (value, cell) in minus[1..=inner].iter_mut().zip(before.iter().rev()) {
            *value = cell[1];
        }
        for (value, cell) in minus[grid - inner..].iter_mut().zip(after[1..].iter().rev()) {
            *value = cell[1];
        }
        let (plus, minus): (&mut [Complex32], &mut [Complex32]) =
            (cast_slice_mut(plus), cast_slice_mut(minus));
        let cells: &[[Complex32; 2]] = cast_slice(cells);
        for beyond in inner + 1..=extent {
            for (cell, v) in [(origin + beyond, beyond), (origin - beyond, 2 * grid - beyond)] {
                plus[v % grid] += cells[cell][0];
                minus[(2 * grid - v) % grid] += cells[cell][1];
            }
        }
    }
}
