//! Back-projection of one detector row about several centres at once.
//!
//! Another centre moves the projections by a number of columns, the same at every point. So the rows of up to eight
//! centres are laid side by side, each moved by its whole columns, and a point looks all of them up at one place; what is
//! left of the move, less than a column, is the lane's own.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Centres at once.
pub(super) const LANES: usize = 8;
/// Projections whose rows are laid out together: their share of an image line stays in the first-level cache.
const AT_ONCE: usize = 4;

/// Where the points of an image lie.
pub(super) struct Grid {
    /// Points along each side.
    pub(super) size: usize,
    /// Distance of neighbouring points, columns.
    pub(super) spacing: f64,
    /// The points of each line that are wanted.
    pub(super) ranges: Vec<std::ops::Range<usize>>,
}

/// Filtered rows about up to [`LANES`] centres.
pub(super) struct Rows<'a> {
    /// Rows of each centre, all of one length.
    pub(super) rows: Vec<&'a [Vec<f32>]>,
    /// Position of the rotation axis in the rows of each centre.
    pub(super) axes: Vec<f64>,
    /// Angle of each row, and its weight.
    pub(super) angles: &'a [(f64, f32)],
}

type Lanes = [f32; LANES];

impl Rows<'_> {
    /// One image a centre.
    pub(super) fn images(&self, grid: &Grid) -> Vec<Vec<f32>> {
        let size = grid.size;
        let mut image = vec![[0.0; LANES]; size * size];
        let width = self.rows.first().and_then(|rows| rows.first()).map_or(0, Vec::len);
        if width >= 2 {
            let lines = size.div_ceil(rayon::current_num_threads()).max(1);
            image.par_chunks_mut(lines * size).enumerate().for_each(|(part, image)| {
                Arch::new().dispatch(Part { rows: self, grid, width, first: part * lines, image });
            });
        }
        (0..self.axes.len()).map(|lane| image.iter().map(|point| point[lane]).collect()).collect()
    }
}

/// Some lines of the images, from line `first` on.
struct Part<'a> {
    rows: &'a Rows<'a>,
    grid: &'a Grid,
    width: usize,
    first: usize,
    image: &'a mut [Lanes],
}

impl WithSimd for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // A point's lanes are one vector of 256 bits; longer ones would be half empty.
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = (&simd as &dyn std::any::Any).downcast_ref::<pulp::x86::V4>() {
            return self.with_simd(**simd);
        }
        let Self { rows, grid, width, first, image } = self;
        let base = rows.axes.first().copied().unwrap_or_default();
        // Lanes without a centre of their own repeat the first one's.
        let lane = |lane: usize| if lane < rows.axes.len() { lane } else { 0 };
        let moves: [f64; LANES] = std::array::from_fn(|k| rows.axes[lane(k)] - base);
        let whole = moves.map(|by| by.floor() as isize);
        let part: Lanes = std::array::from_fn(|k| (moves[k] - whole[k] as f64) as f32);
        // So far beyond either end every lane sees the end's value.
        let margin = whole.iter().map(|by| by.unsigned_abs()).max().unwrap_or(0) + 3;
        let length = width + 2 * margin;
        let limit = (length - 3) as f32;
        let mut laid = vec![[0.0; LANES]; AT_ONCE * length];
        let middle = 0.5 * (grid.size as f64 - 1.0);
        for (block, angles) in rows.angles.chunks(AT_ONCE).enumerate() {
            for (index, (laid, (_, weight))) in laid.chunks_exact_mut(length).zip(angles).enumerate() {
                let row = |k: usize| rows.rows[lane(k)][block * AT_ONCE + index].as_slice();
                lay_out(laid, std::array::from_fn(row), whole, margin, *weight);
            }
            for (y, line) in (first..).zip(image.chunks_exact_mut(grid.size)) {
                let (up, range) = (middle - y as f64, grid.ranges[y].clone());
                for (laid, (angle, _)) in laid.chunks_exact(length).zip(angles) {
                    let (sin, cos) = angle.sin_cos();
                    let start = margin as f64 + base + grid.spacing * (up * sin - middle * cos);
                    let (start, step) = (start as f32, (cos * grid.spacing) as f32);
                    for (x, point) in range.clone().zip(&mut line[range.clone()]) {
                        let s = (start + step * x as f32).clamp(0.0, limit);
                        let at = s as i32;
                        let rest = s - at as f32;
                        let Some([a, b, c]) = laid.get(at as usize..).and_then(|l| l.first_chunk()) else {
                            continue;
                        };
                        add(simd, point, [a, b, c], rest, &part);
                    }
                }
            }
        }
    }
}

/// Adds the values at `rest` columns, less than one, plus each lane's own part of a column behind `a`.
#[inline(always)]
fn add<S: Simd>(simd: S, point: &mut Lanes, [a, b, c]: [&Lanes; 3], rest: f32, part: &Lanes) {
    let ((point, part), one) =
        ((S::as_mut_simd_f32s(point).0, S::as_simd_f32s(part).0), simd.splat_f32s(1.0));
    let [a, b, c] = [a, b, c].map(|lanes| S::as_simd_f32s(lanes).0);
    for (i, (point, part)) in point.iter_mut().zip(part).enumerate() {
        let here = simd.add_f32s(simd.splat_f32s(rest), *part);
        let near = simd.min_f32s(here, one);
        let far = simd.sub_f32s(here, near);
        let value = simd.mul_add_e_f32s(near, simd.sub_f32s(b[i], a[i]), a[i]);
        let value = simd.mul_add_e_f32s(far, simd.sub_f32s(c[i], b[i]), value);
        *point = simd.add_f32s(*point, value);
    }
}

/// Lays the rows of all lanes side by side, each moved by its whole columns; the ends go on.
#[inline(always)]
fn lay_out(laid: &mut [Lanes], rows: [&[f32]; LANES], whole: [isize; LANES], margin: usize, weight: f32) {
    for (k, (row, by)) in rows.into_iter().zip(whole).enumerate() {
        let [first, .., last] = row else { continue };
        // Where column 0 comes to lie: at least 3 from the beginning.
        let from = (margin as isize - by) as usize;
        let (before, rest) = laid.split_at_mut(from);
        let (inner, after) = rest.split_at_mut(row.len());
        before.iter_mut().for_each(|lanes| lanes[k] = first * weight);
        inner.iter_mut().zip(row).for_each(|(lanes, value)| lanes[k] = value * weight);
        after.iter_mut().for_each(|lanes| lanes[k] = last * weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_centre_gets_the_image_it_would_get_alone() {
        let (size, width) = (24, 40);
        let angles: Vec<(f64, f32)> = (0..7).map(|i| (0.4 * f64::from(i), 0.1 + 0.01 * i as f32)).collect();
        let values: Vec<Vec<f32>> =
            (0..7).map(|i| (0..width).map(|c| ((i * 13 + c * c) as f32 * 0.37).sin()).collect()).collect();
        let grid = Grid { size, spacing: 1.7, ranges: vec![0..size; size] };
        let axes = [19.5, 7.25, 19.0, 33.9, 20.75];
        let all = Rows { rows: vec![&values; 5], axes: axes.to_vec(), angles: &angles }.images(&grid);
        for (axis, image) in axes.into_iter().zip(&all) {
            let alone = Rows { rows: vec![&values], axes: vec![axis], angles: &angles }.images(&grid);
            for (i, (a, b)) in image.iter().zip(&alone[0]).enumerate() {
                let (x, y) = ((i % size) as f64 - 11.5, 11.5 - (i / size) as f64);
                let plain: f64 = values
                    .iter()
                    .zip(&angles)
                    .map(|(row, (angle, weight))| {
                        let s = (axis + 1.7 * (x * angle.cos() + y * angle.sin())).clamp(0.0, 39.0);
                        let at = (s as usize).min(width - 2);
                        let (a, b) = (f64::from(row[at]), f64::from(row[at + 1]));
                        f64::from(*weight) * (a + (s - at as f64) * (b - a))
                    })
                    .sum();
                assert!(
                    (f64::from(*a) - plain).abs() < 1e-4 && (a - b).abs() < 1e-4,
                    "{axis} {i}: {a} {b} {plain}"
                );
            }
        }
    }
}
