//! 360° scans with the rotation axis near an edge of the detector (half acquisition): the two half turns are
//! put side by side into a 180° sinogram of nearly twice the width.
//!
//! With rotation centre c, column j of projection i + N/2 sees what column 2c − j of projection i sees. With the
//! axis near the right edge the halves share `overlap` = 2(n − c) − 1 columns, near the left 2c + 1.

use crate::error::{Error, Result, check_len};

/// The edge of the detector that the rotation axis is nearer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Rotation centre in the left half.
    Left,
    /// Rotation centre in the right half.
    Right,
}

/// How the halves are joined.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StitchOptions {
    /// Columns that both halves see; may be fractional.
    pub overlap: f64,
    /// Where the axis is.
    pub side: Side,
    /// Shift the second half by the fraction of `overlap` (cubic interpolation) so that both halves have the
    /// same centre; else the overlap is rounded, as TomoPy does.
    pub subpixel: bool,
}

impl StitchOptions {
    /// From the rotation centre of the 360° sinogram (0-based column) of `columns` columns.
    pub fn from_center(center: f64, columns: usize) -> Self {
        let n = columns as f64;
        let right = center > (n - 1.0) / 2.0;
        let overlap = if right { 2.0 * (n - center) - 1.0 } else { 2.0 * center + 1.0 };
        Self { overlap, side: if right { Side::Right } else { Side::Left }, subpixel: true }
    }
}

/// A plan for one sinogram size. Shared by threads.
#[derive(Debug, Clone, PartialEq)]
pub struct Stitcher {
    angles: usize,
    columns: usize,
    side: Side,
    /// Whole columns of overlap.
    overlap: usize,
    /// By how much the second half is sampled to the left of its pixels.
    shift: f64,
}

impl Stitcher {
    /// Plans for 360° sinograms of (angles, columns). Of an odd number of angles the last is not used.
    pub fn new(options: StitchOptions, angles: usize, columns: usize) -> Result<Self> {
        if angles < 2 || columns < 2 {
            let size = format!("{angles} × {columns}");
            return Err(Error::parameter(
                "sinogram",
                size,
                "stitching needs at least 2 angles and 2 columns",
            ));
        }
        let overlap = options.overlap.round();
        if !(0.0..=columns as f64).contains(&overlap) {
            let reason = format!("it must lie between 0 and the {columns} columns; check centre and side");
            return Err(Error::parameter("overlap", options.overlap, reason));
        }
        let shift = if options.subpixel { options.overlap - overlap } else { 0.0 };
        Ok(Self { angles, columns, side: options.side, overlap: overlap as usize, shift })
    }

    /// (angles, columns) of the result.
    pub fn shape(&self) -> (usize, usize) {
        (self.angles / 2, 2 * self.columns - self.overlap)
    }

    /// Rotation centre of the result.
    pub fn center(&self) -> f64 {
        let middle = (2 * self.columns - self.overlap - 1) as f64 / 2.0;
        match self.side {
            Side::Right => middle - self.shift / 2.0,
            Side::Left => middle + self.shift / 2.0,
        }
    }

    /// Joins a 360° sinogram (angles, columns) into `out`, of [`Self::shape`]. In the overlap the weights go
    /// linearly from one half to the other.
    pub fn apply(&self, sinogram: &[f32], out: &mut [f32]) -> Result<()> {
        let (half, width) = self.shape();
        check_len("sinogram", sinogram.len(), self.angles * self.columns)?;
        check_len("stitched sinogram", out.len(), half * width)?;
        let (n, overlap) = (self.columns, self.overlap);
        let mut mirrored = vec![0.0; n];
        for (i, line) in out.chunks_exact_mut(width).enumerate() {
            let first = &sinogram[i * n..(i + 1) * n];
            let second = &sinogram[(i + half) * n..(i + half + 1) * n];
            self.mirror(second, &mut mirrored);
            let (left, right) = match self.side {
                Side::Right => (first, mirrored.as_slice()),
                Side::Left => (mirrored.as_slice(), first),
            };
            line[..n - overlap].copy_from_slice(&left[..n - overlap]);
            line[n..].copy_from_slice(&right[overlap..]);
            for k in 0..overlap {
                let weight = if overlap > 1 { k as f32 / (overlap - 1) as f32 } else { 0.5 };
                line[n - overlap + k] = (1.0 - weight) * left[n - overlap + k] + weight * right[k];
            }
        }
        Ok(())
    }

    /// The second half turn in the direction of the first, moved by the fraction of a column.
    fn mirror(&self, second: &[f32], out: &mut [f32]) {
        let n = second.len();
        if self.shift.abs() < 1e-6 {
            out.iter_mut().zip(second.iter().rev()).for_each(|(o, x)| *o = *x);
            return;
        }
        // Whole pixels put column j at 2·middle − j; it belongs at 2·center − j.
        let move_right = 2.0 * (self.center() - (2 * n - self.overlap - 1) as f64 / 2.0);
        for (k, o) in out.iter_mut().enumerate() {
            *o = cubic(second, (n - 1 - k) as f64 + move_right);
        }
    }
}

/// Catmull-Rom interpolation of a line at `x`, border values continued.
fn cubic(line: &[f32], x: f64) -> f32 {
    let base = x.floor();
    let t = x - base;
    let at = |d: f64| f64::from(line[(base + d).clamp(0.0, (line.len() - 1) as f64) as usize]);
    let (a, b, c, d) = (at(-1.0), at(0.0), at(1.0), at(2.0));
    let value = b + 0.5 * t * (c - a + t * (2.0 * a - 5.0 * b + 4.0 * c - d + t * (3.0 * (b - c) + d - a)));
    value as f32
}

/// What [`find_overlap`] found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overlap {
    /// Columns that both halves see, to a fraction.
    pub overlap: f64,
    /// Where the axis is.
    pub side: Side,
    /// Rotation centre of the 360° sinogram (0-based column).
    pub center: f64,
    /// Mean squared difference of the halves in the overlap, over the variance there: 0 for equal halves,
    /// about 2 for unrelated ones.
    pub cost: f64,
    /// Median of that cost over all overlaps that were tried.
    pub typical_cost: f64,
}

/// Smallest overlap that is tried, in columns.
pub const SMALLEST_OVERLAP: usize = 8;

/// Finds the overlap of the half turns of a 360° sinogram (angles, columns) on either side, to a fraction of a
/// column, by the least difference of the halves where they overlap.
///
/// An overlap of the full width (axis in the middle) is found as well. Data without features is an error.
pub fn find_overlap(sinogram: &[f32], angles: usize, columns: usize) -> Result<Overlap> {
    check_len("sinogram", sinogram.len(), angles.saturating_mul(columns))?;
    if angles < 2 || columns < 2 * SMALLEST_OVERLAP {
        let reason =
            format!("finding the overlap needs at least 2 angles and {} columns", 2 * SMALLEST_OVERLAP);
        return Err(Error::parameter("sinogram", format!("{angles} × {columns}"), reason));
    }
    if !sinogram.iter().all(|x| x.is_finite()) {
        return Err(Error::data(
            "sinogram",
            "it holds values that are not finite; normalise and clip it first",
        ));
    }
    let half = angles / 2;
    let pairs: Vec<Pair> = (0..half).map(|i| Pair::new(sinogram, i, half, columns)).collect();
    // Coarse: some angles, every overlap. Fine: all angles, the neighbourhood.
    let some: Vec<&Pair> = pairs.iter().step_by(half.div_ceil(48)).collect();
    let mut tried = Vec::new();
    for side in [Side::Left, Side::Right] {
        tried.extend((SMALLEST_OVERLAP..=columns).map(|overlap| (cost(&some, side, overlap), side, overlap)));
    }
    tried.retain(|(cost, ..)| cost.is_finite());
    tried.sort_by(|a, b| a.0.total_cmp(&b.0));
    let Some((_, side, coarse)) = tried.first().copied() else {
        return Err(Error::data("sinogram", "it has no features to compare; use another detector row"));
    };
    let typical_cost = tried[tried.len() / 2].0;
    let all: Vec<&Pair> = pairs.iter().collect();
    let near = coarse.saturating_sub(3).max(SMALLEST_OVERLAP)..=(coarse + 3).min(columns);
    let fine: Vec<(usize, f64)> = near.map(|overlap| (overlap, cost(&all, side, overlap))).collect();
    let Some(best) = fine.iter().enumerate().min_by(|a, b| a.1.1.total_cmp(&b.1.1)).map(|(k, _)| k) else {
        return Err(Error::data("sinogram", "it has no features to compare; use another detector row"));
    };
    let (overlap, smallest) = fine[best];
    let fraction = match (best.checked_sub(1).and_then(|k| fine.get(k)), fine.get(best + 1)) {
        (Some((_, a)), Some((_, c))) if a + c > 2.0 * smallest => 0.5 * (a - c) / (a + c - 2.0 * smallest),
        _ => 0.0,
    };
    let overlap = overlap as f64 + fraction;
    let center = match side {
        Side::Right => columns as f64 - (overlap + 1.0) / 2.0,
        Side::Left => (overlap - 1.0) / 2.0,
    };
    Ok(Overlap { overlap, side, center, cost: smallest, typical_cost })
}

/// A projection, and the one half a turn later mirrored.
struct Pair<'a> {
    first: &'a [f32],
    mirrored: Vec<f32>,
}

impl<'a> Pair<'a> {
    fn new(sinogram: &'a [f32], i: usize, half: usize, n: usize) -> Self {
        let second = &sinogram[(i + half) * n..(i + half + 1) * n];
        Self { first: &sinogram[i * n..(i + 1) * n], mirrored: second.iter().rev().copied().collect() }
    }
}

/// Mean squared difference over the mean variance of both sides; NaN without variance.
fn cost(pairs: &[&Pair], side: Side, overlap: usize) -> f64 {
    let (mut difference, mut sum, mut squares, mut count) = (0.0f64, 0.0f64, 0.0f64, 0usize);
    for pair in pairs {
        let n = pair.first.len();
        let (a, b) = match side {
            Side::Right => (&pair.first[n - overlap..], &pair.mirrored[..overlap]),
            Side::Left => (&pair.first[..overlap], &pair.mirrored[n - overlap..]),
        };
        // Sums of a line in f32 vectorise; over lines in f64.
        let (mut d, mut s, mut q) = ([0.0f32; 8], [0.0f32; 8], [0.0f32; 8]);
        for (a, b) in a.chunks(8).zip(b.chunks(8)) {
            for (l, (a, b)) in a.iter().zip(b).enumerate() {
                d[l] += (a - b) * (a - b);
                s[l] += a + b;
                q[l] += a * a + b * b;
            }
        }
        let total = |lanes: [f32; 8]| lanes.iter().map(|x| f64::from(*x)).sum::<f64>();
        difference += total(d);
        sum += total(s);
        squares += total(q);
        count += overlap;
    }
    let n = count as f64;
    let variance = squares / (2.0 * n) - (sum / (2.0 * n)).powi(2);
    if variance > 1e-9 * squares / n { difference / n / variance } else { f64::NAN }
}
