//! Gridding of both modes: samples on rays through the origin, spread onto the frequency grid band by band.
//!
//! Only half of the plane is kept, rows u ≥ 0: a cell holds the value at its grid point and the one at the opposite
//! point (2 × complex, 16 bytes). The half plane never exists as a whole. Its rows are made eight at a time, from the
//! origin upwards, in a belt of sixteen rows that stays in the second-level cache: a sample belongs to the band of the
//! first row that its kernel touches and reaches at most into the next band. A finished band is handed on as sixteen
//! rows of the plane (u and −u), and the next one takes its place.
//!
//! Every ray runs through the origin to both sides; what of its negative half reaches rows u ≥ 0 is spread as well, so
//! no row needs a contribution from rows below 0.

use bytemuck::{cast_slice, cast_slice_mut};
use pulp::{Simd, WithSimd};
use rustfft::num_complex::Complex32;

use super::lines::Sample;
use super::order::Order;
use crate::aligned::Aligned;
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

    /// Where one is on a ray.
    type Walk;

    /// At sample `j` (negative: on the negative half axis) of a ray.
    fn walk(&self, ray: usize, j: i32) -> Self::Walk;

    /// The grid points and weights of the sample one is at, then on to the next.
    fn step<S: Simd>(&self, simd: S, ray: usize, walk: &mut Self::Walk, place: &mut Place);
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
}

impl Layout {
    /// `length` is the distance of a ray's last sample from the origin in cells, `count` how many samples it has.
    pub(crate) fn new(grid: usize, length: f64, count: usize) -> Self {
        let origin = (length.ceil() as usize + LANES + 1).next_multiple_of(PAIR);
        let last = count.saturating_sub(1);
        let core = ((CORE / length * last as f64) as usize).min(last);
        Self { grid, length, core, origin }
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

    /// Floats of the ring.
    fn ring_len(&self) -> usize {
        (self.origin + LANES) * 2 / PAIR * (RING * PAIR * 4)
    }

    /// Cells to either side of v = 0 that can be other than zero in row `u` and the rows above it; an odd number.
    fn extent(&self, u: usize) -> usize {
        let nearest = u.saturating_sub(LANES) as f64;
        let half = (self.length * self.length - nearest * nearest).max(0.0).sqrt();
        (half.ceil() as usize + LANES).min(self.origin - 1) | 1
    }
}

/// Two neighbouring cells of every row of the ring: (row, number). A sample touches four of these, one piece of memory.
type Block = [[f32; 4 * PAIR]; RING];
/// The same, (row, cell and its opposite).
type Complexes = [[u64; 2 * PAIR]; RING];
/// Blocks that a sample touches.
const WINDOW: usize = LANES / PAIR;
/// Blocks that are handed on row by row while they are in the first-level cache.
const CHUNK: usize = 32;

/// The ring of rows.
pub(crate) struct Ring {
    cells: Aligned,
    /// Rows 0 to RING of the core.
    core: Vec<[f64; 4]>,
}

impl Ring {
    pub(crate) fn new(layout: &Layout) -> Self {
        Self { cells: Aligned::zeros(layout.ring_len()), core: vec![[0.0; 4]; RING * CORE_ROW] }
    }

    pub(crate) fn bytes(layout: &Layout) -> usize {
        Aligned::bytes(layout.ring_len()) + RING * CORE_ROW * 32
    }
}

/// What gridding needs to know, all of it fixed by the plan but the samples.
pub(crate) struct Gridding<'a, R> {
    pub(crate) layout: &'a Layout,
    pub(crate) rule: R,
    pub(crate) order: &'a Order,
    /// Those of all bands, and those of the core.
    pub(crate) samples: [&'a [Sample]; 2],
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
            ring.cells.fill(0.0);
            // Rows −8 to −1 are nobody's; what their samples spread into rows 0.. counts.
            self.spread_band(simd, ring, -1);
            move_up(ring.cells.cast_mut::<Complexes>());
            if R::CORE {
                self.add_core(simd, ring);
            }
        }
        self.spread_band(simd, ring, band as i32);
        self.hand_on(ring, band * BAND, stride, plus, minus);
    }

    /// Spreads the samples of the core into rows 0 to RING.
    #[inline(always)]
    fn add_core<S: Simd>(&self, simd: S, ring: &mut Ring) {
        ring.core.fill([0.0; 4]);
        let mut place = Place::default();
        for index in 0..self.rule.rays() {
            let samples = self.order.core(self.samples[1], index);
            let opposite =
                samples.iter().enumerate().skip(1).map(|(j, [a, b, c, d])| (-(j as i32), [*c, *d, *a, *b]));
            for (j, value) in (0..).zip(samples.iter().copied()).chain(opposite) {
                self.rule.step(simd, index, &mut self.rule.walk(index, j), &mut place);
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
        // Small grids have rows shorter than the core's, which then ends in zeros.
        let skip = RING.saturating_sub(self.layout.origin);
        let first = self.layout.origin.saturating_sub(RING);
        let blocks = ring.cells.cast_mut::<Block>();
        for (row, core) in ring.core.chunks_exact(CORE_ROW).enumerate() {
            for (core, at) in core[skip..].iter().zip(first..) {
                let Some(block) = blocks.get_mut(at / PAIR) else { break };
                let cell = block[row][at % PAIR * 4..].iter_mut();
                cell.zip(core).for_each(|(cell, core)| *cell += *core as f32);
            }
        }
    }

    /// Spreads all samples whose kernel begins in a row of this band.
    #[inline(always)]
    fn spread_band<S: Simd>(&self, simd: S, ring: &mut Ring, band: i32) {
        let blocks = ring.cells.cast_mut::<Block>();
        match self.rule.width() {
            5 => self.spread_width::<S, 5>(simd, blocks, band),
            6 => self.spread_width::<S, 6>(simd, blocks, band),
            _ => self.spread_width::<S, 7>(simd, blocks, band),
        }
    }

    #[inline(always)]
    fn spread_width<S: Simd, const WIDTH: usize>(&self, simd: S, blocks: &mut [Block], band: i32) {
        let core = self.layout.core as i32;
        let origin = self.layout.origin as i32;
        let first_row = band * BAND as i32;
        let mut place = Place::default();
        for (ray, (first, samples)) in self.order.band(self.samples[0], band).enumerate() {
            // The core, from −`core` on, has been added already.
            let near = (-core - first).clamp(0, samples.len() as i32);
            let far = (core + 1 - first).clamp(near, samples.len() as i32);
            for (j, samples) in [(first, &samples[..near as usize]), (first + far, &samples[far as usize..])]
            {
                let mut walk = self.rule.walk(ray, j);
                for sample in samples {
                    self.rule.step(simd, ray, &mut walk, &mut place);
                    // A kernel begins in the band, or a row or two further where rounding decides.
                    place.row = (place.row - first_row).clamp(0, (RING - WIDTH) as i32);
                    let at = (origin + place.column) as usize / PAIR;
                    let Some(window) = blocks.get_mut(at..).and_then(|blocks| blocks.first_chunk_mut())
                    else {
                        continue;
                    };
                    spread::<S, WIDTH>(simd, window, &place, sample);
                }
            }
        }
    }

    /// Writes the rows from u on and their opposites as lines of the grid, `stride` values apart, in wrap-around order,
    /// frequencies beyond Nyquist folded back, and makes way for the next.
    #[inline(always)]
    fn hand_on(
        &self,
        ring: &mut Ring,
        u: usize,
        stride: usize,
        plus: &mut [Complex32],
        minus: &mut [Complex32],
    ) {
        let Layout { grid, origin, .. } = *self.layout;
        let extent = self.layout.extent(u);
        // An odd number: cells v = 0 to `inner` are whole blocks, and so are v = −1 to −`inner` − 1.
        let inner = extent.min(grid / 2 - 1);
        let (before, after) = ring.cells.cast_mut::<Complexes>().split_at_mut(origin / PAIR);
        let near = inner.div_ceil(PAIR);
        {
            let (plus, minus): (&mut [u64], &mut [u64]) = (cast_slice_mut(plus), cast_slice_mut(minus));
            for first in (0..near).step_by(CHUNK) {
                let last = (first + CHUNK).min(near);
                let there = before.len() - last..before.len() - first;
                for k in 0..BAND {
                    // A line is longer than the grid: v = 0 comes last, too, where lines run backwards.
                    let plus = plus[k * stride..][..grid].as_chunks_mut().0;
                    let minus = minus[k * stride + 1..][..grid].as_chunks_mut().0;
                    let half = grid / PAIR;
                    copy(
                        &after[first..last],
                        k,
                        &mut plus[first..last],
                        &mut minus[half - last..half - first],
                    );
                    copy(
                        &before[there.clone()],
                        k,
                        &mut plus[half - last..half - first],
                        &mut minus[first..last],
                    );
                }
                move_up(&mut after[first..last]);
                move_up(&mut before[there]);
            }
        }
        for k in 0..BAND {
            let (plus, minus) = (&mut plus[k * stride..][..=grid], &mut minus[k * stride..][..=grid]);
            minus[0] = minus[grid];
            plus[inner + 1..grid - inner - 1].fill(Complex32::default());
            minus[inner + 2..grid - inner].fill(Complex32::default());
            for beyond in inner + 1..=extent {
                let there =
                    (beyond > inner + 1).then(|| (&before[(origin - beyond) / PAIR], 2 * grid - beyond));
                let here = Some((&after[beyond / PAIR], beyond));
                for (block, v) in [here, there].into_iter().flatten() {
                    let pair: &[[Complex32; 2]] = cast_slice(&block[k]);
                    let [here, opposite] = pair[beyond % PAIR];
                    plus[v % grid] += here;
                    minus[(2 * grid - v) % grid] += opposite;
                }
            }
        }
        let last = extent / PAIR + 1;
        move_up(&mut after[near..last]);
        let there = before.len().saturating_sub(last)..before.len() - near;
        move_up(&mut before[there]);
    }
}

/// The next band takes the place of one that has been handed on.
#[inline(always)]
fn move_up(blocks: &mut [Complexes]) {
    for block in blocks {
        let (band, next) = block.split_at_mut(BAND);
        band.copy_from_slice(next);
        next.fill([0; 2 * PAIR]);
    }
}

/// Copies row `k` of some blocks: the cells to `plus`, their opposites in reverse order to `minus`.
#[inline(always)]
fn copy(blocks: &[Complexes], k: usize, plus: &mut [[u64; 2]], minus: &mut [[u64; 2]]) {
    // Four blocks fill a cache line of either.
    let (fours, rest) = blocks.as_chunks::<4>();
    let (plus_fours, plus) = plus.as_chunks_mut::<4>();
    let (minus, minus_fours) = minus.as_rchunks_mut::<4>();
    for (blocks, (plus, minus)) in fours.iter().zip(plus_fours.iter_mut().zip(minus_fours.iter_mut().rev())) {
        let [p, q, r, s] = [&blocks[0][k], &blocks[1][k], &blocks[2][k], &blocks[3][k]];
        *plus = [[p[0], p[2]], [q[0], q[2]], [r[0], r[2]], [s[0], s[2]]];
        *minus = [[s[3], s[1]], [r[3], r[1]], [q[3], q[1]], [p[3], p[1]]];
    }
    for (block, (plus, minus)) in rest.iter().zip(plus.iter_mut().zip(minus.iter_mut().rev())) {
        let [a, b, c, d] = block[k];
        *plus = [a, c];
        *minus = [d, b];
    }
}

/// Adds a sample to the blocks that it touches.
#[inline(always)]
fn spread<S: Simd, const WIDTH: usize>(
    simd: S,
    window: &mut [Block; WINDOW],
    place: &Place,
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
    for (row, weight) in (place.row as usize..).zip(&place.main[..WIDTH]) {
        let weight = simd.splat_f32s(*weight);
        let strip = strip.chunks_exact(4 * PAIR / S::F32_LANES);
        for (block, strip) in window.iter_mut().zip(strip) {
            let (cells, _) = S::as_mut_simd_f32s(&mut block[row]);
            for (cell, value) in cells.iter_mut().zip(strip) {
                *cell = simd.mul_add_e_f32s(weight, *value, *cell);
            }
        }
    }
}
