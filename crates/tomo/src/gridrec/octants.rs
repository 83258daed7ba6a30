//! Gridding of `exact` mode: samples on rays through the origin, spread onto the frequency grid.
//!
//! The plane is kept as four octants, each with its mirror image through the origin in the same cells: a cell holds the
//! value at a grid point and at its opposite (2 × complex, 16 bytes). In its octant every ray runs mainly along the row
//! index and less along the cells of a row, to the positive side of both. That makes gridding a sum in registers: for
//! each row, the few samples whose kernel reaches it are added up over a short strip of cells (their number is fixed for
//! a ray), and the strip is added to the row in memory once. Spreading sample by sample instead would read and write
//! each cell six times and wait for its own writes.

use rustfft::num_complex::Complex32;

use super::lines::Sample;
use crate::kernel::{Kernel, LANES, TERMS, WIDTH};

/// First row and first cell of an octant: half the kernel before the origin.
pub(crate) const HALO: i32 = (WIDTH / 2) as i32;
/// Cells of a row beyond its own index: half the kernel twice, and rounding of strips to whole vectors.
const SLACK: i32 = 18;
/// Samples of a ray gridded at a time, so that their weights stay in the first-level cache.
pub(crate) const BAND: usize = 64;
/// Zero cells before the side weights of a sample, so that a strip may begin before it.
const LEAD: usize = 7;
/// Floats of side weights per sample: lead, taps, and zeros behind, four equal lanes per cell.
const SIDE: usize = 4 * (LEAD + 2 * WIDTH + 1);
/// Zero main weights before and after the taps of a sample.
const MARGIN: i32 = 3;
const MAIN: usize = WIDTH + 2 * MARGIN as usize;
/// Most samples that can reach one row; rays advance at least half a row per sample.
const MOST: usize = 2 * WIDTH;

/// One projection's line through the frequency plane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ray {
    /// Which octant: bit 0 rows are v (else u), bit 1 cells run to the negative side.
    pub(crate) octant: usize,
    /// The ray runs to negative rows: its two half axes are exchanged.
    pub(crate) flip: bool,
    /// Rows and cells per sample; 0.5 <= main, 0 <= side <= main.
    main: f64,
    side: f64,
}

impl Ray {
    /// The ray at an angle in radians whose samples lie `step` grid cells apart.
    pub(crate) fn new(angle: f64, step: f64) -> Self {
        let (sin, cos) = angle.sin_cos();
        let transposed = sin.abs() > cos.abs();
        let (main, side) = if transposed { (sin, cos) } else { (cos, sin) };
        let flip = main < 0.0;
        let side = if flip { -side } else { side };
        let octant = usize::from(transposed) + 2 * usize::from(side < 0.0);
        Self { octant, flip, main: main.abs() * step, side: side.abs() * step }
    }

    /// Slope within the octant, 0 to 1: rays in this order touch neighbouring cells.
    pub(crate) fn slope(&self) -> f64 {
        self.side / self.main
    }
}

/// Where the rows of an octant begin; shared by all four.
pub(crate) struct Layout {
    grid: usize,
    last: i32,
    /// First cell of each row, row −HALO first, and the total.
    starts: Vec<usize>,
}

impl Layout {
    /// Octants of a grid for rays that end `length` cells from the origin.
    pub(crate) fn new(grid: usize, length: f64) -> Self {
        let last = length.ceil() as i32 + HALO;
        let rows = (last + HALO + 1) as usize;
        let mut starts = Vec::with_capacity(rows + 1);
        let mut total = 0;
        for row in 0..rows as i32 {
            starts.push(total);
            total += ((row - HALO).abs() + HALO + SLACK) as usize;
        }
        starts.push(total);
        Self { grid, last, starts }
    }

    /// Cells of one octant.
    pub(crate) fn cells(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    /// Rows of an octant: −HALO to the last.
    fn last_row(&self) -> i32 {
        self.last
    }

    /// Cells of a row; the first lies at −HALO.
    fn row(&self, row: i32) -> std::ops::Range<usize> {
        let at = (row + HALO) as usize;
        self.starts[at]..self.starts[at + 1]
    }
}

/// Weights of the samples of one band of one ray.
pub(crate) struct Weights {
    main: Vec<[f32; MAIN]>,
    side: Vec<[f32; SIDE]>,
    main_base: Vec<i32>,
    side_base: Vec<i32>,
}

impl Weights {
    pub(crate) fn new() -> Self {
        let count = BAND + MOST;
        Self {
            main: vec![[0.0; MAIN]; count],
            side: vec![[0.0; SIDE]; count],
            main_base: vec![0; count],
            side_base: vec![0; count],
        }
    }
}

#[inline(always)]
fn fused<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Kernel values at the six grid points around a sample; the last two lanes are zero.
#[inline(always)]
fn taps<const FMA: bool>(kernel: &Kernel, z: f32) -> [f32; LANES] {
    let mut sum = kernel.taps[TERMS - 1];
    for term in kernel.taps[..TERMS - 1].iter().rev() {
        for (value, c) in sum.iter_mut().zip(term) {
            *value = fused::<FMA>(*value, z, *c);
        }
    }
    sum
}

/// Spreads the samples of one band (`first` is the index of its first frequency) of a ray over its octant.
#[inline(always)]
pub(crate) fn spread<const FMA: bool>(
    layout: &Layout,
    kernel: &Kernel,
    weights: &mut Weights,
    ray: &Ray,
    first: usize,
    samples: &[Sample],
    cells: &mut [Sample],
) {
    let count = samples.len();
    if count == 0 || count > BAND {
        return;
    }
    let half = f64::from(HALO);
    for i in 0..count {
        let j = (first + i) as f64;
        let (m, s) = (j * ray.main, j * ray.side);
        let (mb, sb) = ((m - half).ceil(), (s - half).ceil());
        let main = taps::<FMA>(kernel, (mb - m + half - 0.5) as f32);
        let side = taps::<FMA>(kernel, (sb - s + half - 0.5) as f32);
        weights.main_base[i] = mb as i32;
        weights.side_base[i] = sb as i32;
        weights.main[i][MARGIN as usize..MARGIN as usize + WIDTH].copy_from_slice(&main[..WIDTH]);
        let target = &mut weights.side[i][4 * LEAD..4 * (LEAD + WIDTH)];
        for (cell, weight) in target.chunks_exact_mut(4).zip(side) {
            cell.fill(weight);
        }
    }
    let per_row = (WIDTH as f64 / ray.main).ceil() as usize;
    let per_row = per_row.min(MOST);
    // Samples after the band weigh nothing.
    for i in count..count + per_row {
        weights.main[i] = [0.0; MAIN];
        weights.main_base[i] = weights.main_base[count - 1];
        weights.side_base[i] = weights.side_base[count - 1];
    }
    let span = WIDTH + (WIDTH as f64 * ray.slope()).ceil() as usize;
    match span.div_ceil(2) {
        0..=3 => rows::<3, FMA>(layout, weights, per_row, samples, cells),
        4 => rows::<4, FMA>(layout, weights, per_row, samples, cells),
        5 => rows::<5, FMA>(layout, weights, per_row, samples, cells),
        _ => rows::<6, FMA>(layout, weights, per_row, samples, cells),
    }
}

/// Adds a band to its rows, `PAIRS` pairs of cells per row.
#[inline(always)]
fn rows<const PAIRS: usize, const FMA: bool>(
    layout: &Layout,
    weights: &Weights,
    per_row: usize,
    samples: &[Sample],
    cells: &mut [Sample],
) {
    let count = samples.len();
    let main_base = &weights.main_base[..count + per_row];
    let side_base = &weights.side_base[..count + per_row];
    let last_row = (main_base[count - 1] + WIDTH as i32 - 1).min(layout.last_row());
    let mut low = 0;
    for row in main_base[0]..=last_row {
        while low + 1 < count && main_base[low] + (WIDTH as i32) <= row {
            low += 1;
        }
        let base = side_base[low];
        let mut sums = [[0.0f32; 8]; PAIRS];
        for i in low..low + per_row {
            let tap = (row - main_base[i] + MARGIN).clamp(0, MAIN as i32 - 1) as usize;
            let weight = weights.main[i][tap];
            let d = samples[i.min(count - 1)];
            let value = [d[0], d[1], d[2], d[3], d[0], d[1], d[2], d[3]].map(|x| x * weight);
            let start = 4 * (LEAD - ((side_base[i] - base) as usize).min(LEAD));
            let strip = &weights.side[i][start..start + 8 * PAIRS];
            for (sum, weight) in sums.iter_mut().zip(strip.chunks_exact(8)) {
                for lane in 0..8 {
                    sum[lane] = fused::<FMA>(value[lane], weight[lane], sum[lane]);
                }
            }
        }
        let range = layout.row(row);
        let start = range.start + (base + HALO) as usize;
        let target = &mut cells[start..start + 2 * PAIRS];
        for (pair, sum) in target.chunks_exact_mut(2).zip(&sums) {
            for lane in 0..4 {
                pair[0][lane] += sum[lane];
                pair[1][lane] += sum[lane + 4];
            }
        }
    }
}

/// Fills grid rows u.. (wrap-around order) with the sum of the four octants, frequencies beyond Nyquist folded back.
#[inline(always)]
pub(crate) fn fill(layout: &Layout, octants: &[Vec<Sample>; 4], u: usize, lines: &mut [Complex32]) {
    lines.fill(Complex32::default());
    for (k, line) in lines.chunks_exact_mut(layout.grid).enumerate() {
        add_along(layout, octants, (u + k) as i32, line);
    }
    add_across(layout, octants, u as i32, lines);
}

/// Adds the octants whose rows are grid rows to grid row `at`.
#[inline(always)]
fn add_along(layout: &Layout, octants: &[Vec<Sample>; 4], at: i32, line: &mut [Complex32]) {
    let grid = layout.grid as i32;
    for (octant, forwards) in [(0, true), (2, false)] {
        // A row and the opposite of a row lie at the same grid row where their indices agree modulo the grid.
        for (row, opposite) in [(at, false), (at - grid, false), (-at, true), (grid - at, true)] {
            if (-HALO..=layout.last_row()).contains(&row) {
                let cells = &octants[octant][layout.row(row)];
                match (opposite, forwards) {
                    (false, true) => add_run::<0, true>(cells, line),
                    (false, false) => add_run::<0, false>(cells, line),
                    (true, false) => add_run::<2, true>(cells, line),
                    (true, true) => add_run::<2, false>(cells, line),
                }
            }
        }
    }
}

/// Adds the cells of a row, values or (`PART` 2) opposite values, at v = s or (not `FORWARDS`) v = −s.
#[inline(always)]
fn add_run<const PART: usize, const FORWARDS: bool>(cells: &[Sample], line: &mut [Complex32]) {
    let grid = line.len();
    let (before, after) = cells.split_at(HALO as usize);
    let add = |value: &mut Complex32, cell: &Sample| *value += Complex32::new(cell[PART], cell[PART + 1]);
    if FORWARDS {
        line[grid - before.len()..].iter_mut().zip(before).for_each(|(v, c)| add(v, c));
        line.iter_mut().zip(after).for_each(|(v, c)| add(v, c));
    } else {
        // s = −3, −2, −1 at v = 3, 2, 1; then 0 at 0 and 1, 2, ... from the end backwards.
        line[1..=before.len()].iter_mut().zip(before.iter().rev()).for_each(|(v, c)| add(v, c));
        add(&mut line[0], &after[0]);
        line.iter_mut().rev().zip(&after[1..]).for_each(|(v, c)| add(v, c));
    }
}

/// Adds the octants whose rows are grid columns to grid rows u...
#[inline(always)]
fn add_across(layout: &Layout, octants: &[Vec<Sample>; 4], u: i32, lines: &mut [Complex32]) {
    let grid = layout.grid as i32;
    let count = (lines.len() / layout.grid) as i32;
    for (octant, sign) in [(1, 1), (3, -1)] {
        for turn in [0, grid] {
            // Cell s of a row lies at u = sign · s, its opposite at u = −sign · s.
            for (part, sign) in [(0, sign), (2, -sign)] {
                let ends = [sign * (u - turn), sign * (u + count - 1 - turn)];
                let (low, high) = (ends[0].min(ends[1]) + HALO, ends[0].max(ends[1]) + HALO);
                if high < 0 {
                    continue;
                }
                // Rows too short to reach the first of these cells are passed over.
                let first = (low - HALO - SLACK + 1).max(-HALO);
                for row in first..=layout.last_row() {
                    let cells = &octants[octant][layout.row(row)];
                    let v = (if part == 0 { row } else { -row }).rem_euclid(grid) as usize;
                    let from = low.max(0);
                    let to = (high + 1).min(cells.len() as i32);
                    for s in from..to {
                        let k = (sign * (s - HALO) + turn - u) as usize;
                        let cell = &cells[s as usize];
                        lines[k * layout.grid + v] += Complex32::new(cell[part], cell[part + 1]);
                    }
                }
            }
        }
    }
}
