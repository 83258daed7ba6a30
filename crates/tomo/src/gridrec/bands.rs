//! Gridding of `exact` mode: samples on rays through the origin, spread onto the frequency grid band by band.
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
use crate::kernel::{Kernel, LANES};

/// Rows of a band.
pub(crate) const BAND: usize = 8;
/// Rows of the ring: a band and what the kernel reaches beyond it.
const RING: usize = 16;
/// Floats that a sample touches in a row.
const STRIP: usize = 4 * LANES;
/// Next to the origin, up to this many cells away, all rays meet and hundreds of samples fall on a cell: they are summed
/// in f64.
const CORE: f64 = 11.0;
/// Cells of the core's rows: v from −RING to RING.
const CORE_ROW: usize = 2 * RING + 1;
/// Samples whose weights are computed before they are spread.
const BATCH: usize = 32;

/// One projection's line through the frequency plane, towards u ≥ 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ray {
    /// The projection runs to negative u: its two half axes are exchanged.
    pub(crate) flip: bool,
    /// Grid cells per sample.
    u: f64,
    v: f64,
}

impl Ray {
    /// The ray at an angle in radians whose samples lie `step` grid cells apart.
    pub(crate) fn new(angle: f64, step: f64) -> Self {
        let (sin, cos) = angle.sin_cos();
        let flip = cos < 0.0;
        let sign = if flip { -step } else { step };
        Self { flip, u: cos * sign, v: sin * sign }
    }

    /// Rays in this order touch neighbouring cells.
    pub(crate) fn order(&self) -> f64 {
        self.v.atan2(self.u)
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
        let origin = length.ceil() as usize + LANES + 1;
        let stride = (2 * origin + 2 * LANES).next_multiple_of(256) + 12;
        let last = count.saturating_sub(1);
        let core = ((CORE / length * last as f64) as usize).min(last);
        Self { grid, length, core, origin, stride }
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

/// Where a sample goes, and with which weights.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct Place {
    main: [f32; LANES],
    strip: [f32; STRIP],
    row: i32,
    column: usize,
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
        let place = Place { main: [0.0; LANES], strip: [0.0; STRIP], row: 0, column: 0 };
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
#[derive(Clone, Copy)]
pub(crate) struct Gridding<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) kernel: &'a Kernel,
    pub(crate) rays: &'a [Ray],
    /// (tile, ray, frequency in the tile), `count` frequencies each.
    pub(crate) samples: &'a [Tile],
    pub(crate) count: usize,
}

/// Neighbouring frequencies of one ray. A band takes a few frequencies of many rays, so those lie together.
pub(crate) type Tile = [Sample; TILE];
pub(crate) const TILE: usize = 8;

/// Binary places of a fixed-point cell coordinate.
const PLACES: u32 = 32;

fn fixed(x: f64) -> i64 {
    (x * f64::from(2.0f32.powi(PLACES as i32))).round() as i64
}

impl Gridding<'_> {
    /// Makes the rows of a band in turn, from band 0: row u in `plus`, row −u in `minus`.
    #[inline(always)]
    pub(crate) fn band<S: Simd>(
        &self,
        simd: S,
        ring: &mut Ring,
        band: usize,
        plus: &mut [Complex32],
        minus: &mut [Complex32],
    ) {
        if band == 0 {
            ring.cells.fill(0.0);
            self.start(ring);
            // Rows −8 to −1 are nobody's; what their samples spread into rows 0.. counts.
            self.spread_band(simd, ring, -1);
            self.clear(ring, RING - BAND, 0);
            self.add_core::<S>(ring);
        }
        self.spread_band(simd, ring, band as i32);
        let (grid, first) = (self.layout.grid, band * BAND);
        let lines = plus.chunks_exact_mut(grid).zip(minus.chunks_exact_mut(grid));
        for (k, (plus, minus)) in lines.take(BAND).enumerate() {
            self.hand_on(ring, first + k, plus, minus);
        }
        self.clear(ring, first % RING, first);
    }

    fn start(&self, ring: &mut Ring) {
        let reach = 0.5 * self.kernel.width() as f64;
        let least = 1.0 - self.count as f64;
        for (next, ray) in ring.next.iter_mut().zip(self.rays) {
            *next = (-reach / ray.u).floor().max(least) as i32;
        }
    }

    /// A sample of a ray, its half axes exchanged on the negative side.
    #[inline(always)]
    fn sample(&self, index: usize, j: i32) -> Sample {
        let at = j.unsigned_abs() as usize;
        let s = self.samples[at / TILE * self.rays.len() + index][at % TILE];
        if j < 0 { [s[2], s[3], s[0], s[1]] } else { s }
    }

    /// Fixed-point coordinates of a sample, from which its kernel's first row or cell and the offset follow.
    #[inline(always)]
    fn position(&self, cells: f64, j: i32) -> i64 {
        fixed(f64::from(j) * cells + 1.0 - 0.5 * self.kernel.width() as f64)
    }

    /// Spreads the samples of the core into rows 0 to RING.
    #[inline(always)]
    fn add_core<S: Simd>(&self, ring: &mut Ring) {
        ring.core.fill([0.0; 4]);
        let core = self.layout.core as i32;
        for (index, ray) in self.rays.iter().enumerate() {
            for j in -core..=core {
                let (u, v) = (self.position(ray.u, j), self.position(ray.v, j));
                let (main, side) = (self.kernel.weights::<S>(u as u32), self.kernel.weights::<S>(v as u32));
                let value = self.sample(index, j).map(f64::from);
                let (row, column) = ((u >> PLACES) as i32, (v >> PLACES) as i32 + RING as i32);
                for (k, main) in main.into_iter().enumerate() {
                    let row = row + k as i32;
                    if row < 0 || main == 0.0 {
                        continue;
                    }
                    let at = row as usize * CORE_ROW + column as usize;
                    for (cell, side) in ring.core[at..at + LANES].iter_mut().zip(side) {
                        let weight = f64::from(main * side);
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
        let half = 0.5 * (self.kernel.width() as f64 - 1.0);
        // A kernel begins at the whole number nearest to position − half. Rounding may put a sample one row into the
        // next band, which the ring has room for where the kernel is narrower than a band, never one row back.
        let end = f64::from(band + 1) * BAND as f64 - 0.5 + half + 1e-6;
        for (index, ray) in self.rays.iter().enumerate() {
            let from = ring.next[index];
            let to = (end / ray.u).ceil().min(self.count as f64) as i32;
            if to <= from {
                continue;
            }
            ring.next[index] = to;
            let mut first = from;
            while first < to {
                let last = to.min(first + BATCH as i32);
                self.spread_batch(simd, ring, index, first, last);
                first = last;
            }
        }
    }

    #[inline(always)]
    fn spread_batch<S: Simd>(&self, simd: S, ring: &mut Ring, index: usize, first: i32, last: i32) {
        let (width, ray) = (self.kernel.width(), &self.rays[index]);
        let (step_u, step_v) = (fixed(ray.u), fixed(ray.v));
        let (mut u, mut v) = (self.position(ray.u, first), self.position(ray.v, first));
        v += (self.layout.origin as i64) << PLACES;
        let Ring { cells, places, .. } = ring;
        let mut count = 0;
        for j in first..last {
            if j.unsigned_abs() as usize > self.layout.core {
                let place = &mut places[count];
                place.main = self.kernel.weights::<S>(u as u32);
                let side = self.kernel.weights::<S>(v as u32);
                let value = self.sample(index, j);
                let mut strip = [0.0; STRIP];
                for k in 0..STRIP {
                    strip[k] = side[k / 4] * value[k % 4];
                }
                place.strip = strip;
                place.row = (u >> PLACES) as i32;
                place.column = (v >> PLACES) as usize;
                count += 1;
            }
            u += step_u;
            v += step_v;
        }
        for place in &places[..count] {
            match width {
                6 => self.spread_one::<S, 6>(simd, cells, place),
                7 => self.spread_one::<S, 7>(simd, cells, place),
                _ => self.spread_one::<S, 8>(simd, cells, place),
            }
        }
    }

    #[inline(always)]
    fn spread_one<S: Simd, const WIDTH: usize>(&self, simd: S, cells: &mut [f32], place: &Place) {
        let stride = 4 * self.layout.stride;
        let column = 4 * place.column;
        let (strip, _) = S::as_simd_f32s(&place.strip);
        for k in 0..WIDTH {
            let slot = (place.row + k as i32) as usize % RING;
            let weight = simd.splat_f32s(place.main[k]);
            let Some(row) = cells.get_mut(slot * stride + column..) else { return };
            let Some(row) = row.first_chunk_mut::<STRIP>() else { return };
            let (row, _) = S::as_mut_simd_f32s(row);
            for (cell, value) in row.iter_mut().zip(strip) {
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
