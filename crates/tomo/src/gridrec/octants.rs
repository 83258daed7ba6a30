//! Gridding of `exact` mode: samples on rays through the origin, spread onto the frequency grid.
//!
//! The plane is kept as four octants, each with its mirror image through the origin in the same cells: a cell holds the
//! value at a grid point and at its opposite (2 × complex, 16 bytes). In its octant every ray runs mainly along the row
//! index and less along the cells of a row, to the positive side of both. That makes gridding a sum in registers: for
//! each row, the few samples whose kernel reaches it are added up over a short strip of cells (their number is fixed for
//! a ray), and the strip is added to the row in memory once. Spreading sample by sample instead would read and write
//! each cell six times and wait for its own writes.
//!
//! Cells are stored in tiles of 8 rows × 4 cells, so that a ray, which visits a strip in every row, meets the next row's
//! strip in the next cache line instead of on another page.

use rustfft::num_complex::Complex32;

use super::lines::Sample;
use crate::kernel::{Kernel, LANES, TERMS, WIDTH};

/// Two neighbouring cells of a row.
#[derive(Clone, Copy, Default)]
#[repr(C, align(32))]
pub(crate) struct Pair([f32; 8]);

/// Rows of a tile; row −TILE is the first of an octant.
pub(crate) const TILE: usize = 8;
/// Cells of a tile's row, in pairs; cell −4 is the first of a row.
const GROUP: usize = 2;
/// Rows and cells before the origin that the kernel can reach, rounded up to whole groups.
const BEFORE: i32 = 4;
/// Cells of a row beyond its own index: the kernel's width twice, and rounding of strips to whole pairs.
const SLACK: i32 = 2 * WIDTH as i32 + 6;
/// Samples of a ray gridded at a time, so that their weights stay in the first-level cache.
pub(crate) const BAND: usize = 64;
/// Zero cells before the side weights of a sample, so that a strip may begin before it.
const LEAD: usize = WIDTH + 2;
/// Longest strip in pairs.
const LONGEST: usize = WIDTH + 1;
/// Floats of side weights per sample: lead, taps, and zeros behind, four equal lanes per cell.
const SIDE: usize = 4 * (LEAD + 2 * LONGEST);
/// Zero main weights before the taps of a sample: at the head of a band a strip takes samples that begin later.
const MARGIN: i32 = WIDTH as i32;
/// Main weights per sample, zeros included; a power of two, so that an index can be masked.
const MAIN: usize = 16;
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

/// Where the tiles of an octant lie; the same for all four.
pub(crate) struct Layout {
    grid: usize,
    /// First pair of each row of tiles, and the total.
    starts: Vec<usize>,
}

impl Layout {
    /// Octants of a grid (a multiple of the tile) for rays that end `length` cells from the origin.
    pub(crate) fn new(grid: usize, length: f64) -> Self {
        let rows = length.ceil() as usize + BEFORE as usize + 1 + TILE;
        let mut starts = vec![0];
        let mut total = 0;
        for block in 0..rows.div_ceil(TILE) {
            let cells = block * TILE + (BEFORE + SLACK) as usize;
            total += cells.div_ceil(2 * GROUP) * GROUP * TILE;
            starts.push(total);
        }
        Self { grid, starts }
    }

    /// Pairs of one octant.
    pub(crate) fn pairs(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    /// Rows of tiles.
    fn blocks(&self) -> usize {
        self.starts.len() - 1
    }

    /// Groups of four cells in a row of tiles; the first holds cells −4 to −1.
    fn groups(&self, block: usize) -> usize {
        (self.starts[block + 1] - self.starts[block]) / (GROUP * TILE)
    }
}

/// A sample of one band of one ray with its weights.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Weighted {
    side: [f32; SIDE],
    main: [f32; MAIN],
    value: Sample,
    main_base: i32,
    side_base: i32,
}

/// The samples of one band of one ray.
pub(crate) struct Weights {
    samples: Vec<Weighted>,
    /// Side weights one per tap, before they are laid out.
    taps: Vec<[f32; LANES]>,
}

impl Weights {
    pub(crate) fn new() -> Self {
        let empty =
            Weighted { side: [0.0; SIDE], main: [0.0; MAIN], value: [0.0; 4], main_base: 0, side_base: 0 };
        Self { samples: vec![empty; BAND + MOST], taps: vec![[0.0; LANES]; BAND] }
    }

    pub(crate) fn bytes() -> usize {
        (BAND + MOST) * size_of::<Weighted>() + BAND * size_of::<[f32; LANES]>()
    }
}

/// Whole part of a small number, rounded to the nearest, as integer and as number.
///
/// Adding 1.5 · 2⁵² leaves no room for a fraction; the integer then stands in the lowest bits. A cast would do, at ten
/// times the cost, since it must mind numbers that do not fit.
#[inline(always)]
fn nearest(x: f64) -> (i32, f64) {
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    let shifted = x + MAGIC;
    (shifted.to_bits() as i32, shifted - MAGIC)
}

#[inline(always)]
fn fused<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Kernel values at the grid points around a sample; the lanes beyond are zero.
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
    cells: &mut [Pair],
) {
    let count = samples.len();
    if count == 0 || count > BAND {
        return;
    }
    // The first of the taps is the whole number next above position − width/2.
    let half = 0.5 * (WIDTH as f64 - 1.0);
    let Weights { samples: weighted, taps: side_taps } = weights;
    for (i, ((target, side), value)) in weighted.iter_mut().zip(side_taps.iter_mut()).zip(samples).enumerate()
    {
        let j = (first + i) as f64;
        let (m, s) = (j * ray.main - half, j * ray.side - half);
        let ((mb, m_whole), (sb, s_whole)) = (nearest(m), nearest(s));
        let main = taps::<FMA>(kernel, (m_whole - m) as f32);
        target.main[MARGIN as usize..MARGIN as usize + LANES].copy_from_slice(&main);
        *side = taps::<FMA>(kernel, (s_whole - s) as f32);
        target.value = *value;
        target.main_base = mb - MARGIN;
        target.side_base = sb;
    }
    for (target, side) in weighted.iter_mut().zip(side_taps.iter()).take(count) {
        let cells = &mut target.side[4 * LEAD..4 * (LEAD + LANES)];
        for (cell, weight) in cells.chunks_exact_mut(4).zip(side) {
            cell.fill(*weight);
        }
    }
    let per_row = ((WIDTH as f64 / ray.main).ceil() as usize).min(MOST);
    // Samples after the band weigh nothing.
    let (main_base, side_base) = (weighted[count - 1].main_base, weighted[count - 1].side_base);
    for target in &mut weighted[count..count + per_row] {
        target.main = [0.0; MAIN];
        target.main_base = main_base;
        target.side_base = side_base;
    }
    let weighted = &weighted[..count + per_row];
    // The kernel, what the ray drifts over its width, and one cell to begin at an even one.
    let span = WIDTH + (WIDTH as f64 * ray.slope()).ceil() as usize + 1;
    match span.div_ceil(2) {
        0..=4 => rows::<4, FMA>(layout, weighted, per_row, cells),
        5 => rows::<5, FMA>(layout, weighted, per_row, cells),
        6 => rows::<6, FMA>(layout, weighted, per_row, cells),
        7 => rows::<7, FMA>(layout, weighted, per_row, cells),
        _ => rows::<LONGEST, FMA>(layout, weighted, per_row, cells),
    }
}

/// Adds a band, of which `per_row` samples at a time reach a row, in strips of `PAIRS` pairs of cells.
#[inline(always)]
fn rows<const PAIRS: usize, const FMA: bool>(
    layout: &Layout,
    weighted: &[Weighted],
    per_row: usize,
    cells: &mut [Pair],
) {
    let count = weighted.len() - per_row;
    let first_row = weighted[0].main_base + MARGIN;
    let last_row = weighted[count - 1].main_base + MARGIN + WIDTH as i32 - 1;
    let mut low = 0;
    for row in first_row..=last_row {
        while low + 1 < count && weighted[low].main_base + MARGIN + (WIDTH as i32) <= row {
            low += 1;
        }
        let base = weighted[low].side_base & !1;
        let mut sums = [[0.0f32; 8]; PAIRS];
        for sample in &weighted[low..low + per_row] {
            let weight = sample.main[(row - sample.main_base) as usize % MAIN];
            let d = sample.value;
            let value = [d[0], d[1], d[2], d[3], d[0], d[1], d[2], d[3]];
            let start = 4 * (LEAD - ((sample.side_base - base) as usize).min(LEAD));
            let strip = &sample.side[start..start + 8 * PAIRS];
            for (sum, side) in sums.iter_mut().zip(strip.chunks_exact(8)) {
                for lane in 0..8 {
                    sum[lane] = fused::<FMA>(value[lane] * weight, side[lane], sum[lane]);
                }
            }
        }
        let row = (row + TILE as i32) as usize;
        let (block, within) = (row / TILE, row % TILE);
        let tiles = &mut cells[layout.starts[block]..layout.starts[block + 1]];
        let first = ((base + BEFORE) / 2) as usize;
        for (p, sum) in sums.iter().enumerate() {
            let pair = first + p;
            let at = (pair / GROUP) * (GROUP * TILE) + within * GROUP + pair % GROUP;
            for (value, more) in tiles[at].0.iter_mut().zip(sum) {
                *value += more;
            }
        }
    }
}

/// Fills grid rows u.. (wrap-around order) with the sum of the four octants, frequencies beyond Nyquist folded back.
#[inline(always)]
pub(crate) fn fill(layout: &Layout, octants: &[Vec<Pair>; 4], u: usize, lines: &mut [Complex32]) {
    lines.fill(Complex32::default());
    for (k, line) in lines.chunks_exact_mut(layout.grid).enumerate() {
        add_along(layout, octants, (u + k) as i32, line);
    }
    add_across(layout, octants, u as i32, lines);
}

/// Adds the octants whose rows are grid rows to grid row `at`.
#[inline(always)]
fn add_along(layout: &Layout, octants: &[Vec<Pair>; 4], at: i32, line: &mut [Complex32]) {
    let grid = layout.grid as i32;
    for (octant, forwards) in [(0, true), (2, false)] {
        // A row and the opposite of a row lie at the same grid row where their indices agree modulo the grid.
        for (row, opposite) in [(at, false), (at - grid, false), (-at, true), (grid - at, true)] {
            let row = row + TILE as i32;
            if row < 0 || row as usize / TILE >= layout.blocks() {
                continue;
            }
            let (block, within) = (row as usize / TILE, row as usize % TILE);
            let tiles = &octants[octant][layout.starts[block]..layout.starts[block + 1]];
            match (opposite, forwards) {
                (false, true) => add_run::<0, true>(tiles, within, line),
                (false, false) => add_run::<0, false>(tiles, within, line),
                (true, false) => add_run::<2, true>(tiles, within, line),
                (true, true) => add_run::<2, false>(tiles, within, line),
            }
        }
    }
}

/// Adds the cells of a row, values or (`PART` 2) opposite values, at v = s or (not `FORWARDS`) v = −s.
#[inline(always)]
fn add_run<const PART: usize, const FORWARDS: bool>(tiles: &[Pair], within: usize, line: &mut [Complex32]) {
    let grid = line.len();
    let add = |value: &mut Complex32, pair: &Pair, half: usize| {
        *value += Complex32::new(pair.0[4 * half + PART], pair.0[4 * half + PART + 1]);
    };
    for (group, tile) in tiles.chunks_exact(GROUP * TILE).enumerate() {
        let pairs = &tile[within * GROUP..(within + 1) * GROUP];
        // Cells −4 to −1 come first.
        if FORWARDS {
            let v = if group == 0 { grid - 4 } else { 4 * group - 4 };
            for (i, value) in line[v..v + 4].iter_mut().enumerate() {
                add(value, &pairs[i / 2], i % 2);
            }
        } else {
            let v = if group == 0 { 5 } else { grid + 5 - 4 * group };
            for i in 0..4 {
                add(&mut line[(v - 1 - i) % grid], &pairs[i / 2], i % 2);
            }
        }
    }
}

/// Adds the octants whose rows are grid columns to grid rows u...
#[inline(always)]
fn add_across(layout: &Layout, octants: &[Vec<Pair>; 4], u: i32, lines: &mut [Complex32]) {
    let grid = layout.grid as i32;
    let count = (lines.len() / layout.grid) as i32;
    for (octant, sign) in [(1, 1), (3, -1)] {
        for turn in [0, grid] {
            // Cell s of a row lies at u = sign · s, its opposite at u = −sign · s.
            for (part, sign) in [(0, sign), (2, -sign)] {
                let ends = [sign * (u - turn) + BEFORE, sign * (u + count - 1 - turn) + BEFORE];
                let (low, high) = (ends[0].min(ends[1]).max(0), ends[0].max(ends[1]));
                if high < 0 {
                    continue;
                }
                for block in 0..layout.blocks() {
                    let cells = 4 * layout.groups(block) as i32;
                    if cells <= low {
                        continue;
                    }
                    let tiles = &octants[octant][layout.starts[block]..layout.starts[block + 1]];
                    let row = (block * TILE) as i32 - TILE as i32;
                    for s in low..=high.min(cells - 1) {
                        let k = (sign * (s - BEFORE) + turn - u) as usize;
                        let line = &mut lines[k * layout.grid..(k + 1) * layout.grid];
                        let column = &tiles[(s as usize / 4) * (GROUP * TILE)..][..GROUP * TILE];
                        let (pair, lane) = ((s as usize / 2) % GROUP, 4 * (s as usize % 2) + part);
                        let values = column.iter().skip(pair).step_by(GROUP);
                        let values = values.map(|p| Complex32::new(p.0[lane], p.0[lane + 1]));
                        if part == 0 {
                            let v = if row < 0 { row + grid } else { row } as usize;
                            line[v..v + TILE].iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                        } else {
                            // v = −row, downwards; row 0 alone is its own opposite.
                            let v = if row < 0 { -row } else { grid - row } as usize;
                            let (head, tail) = if row == 0 { (Some(0), v) } else { (None, v + 1) };
                            let mut values = values;
                            if let (Some(at), Some(value)) =
                                (head, if row == 0 { values.next() } else { None })
                            {
                                line[at] += value;
                            }
                            line[..tail].iter_mut().rev().zip(values).for_each(|(sum, value)| *sum += value);
                        }
                    }
                }
            }
        }
    }
}
