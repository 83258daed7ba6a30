//! A small filtered back-projection for judging centres: fast on few points, indifferent to exact gain.

use super::pairs::Coverage;
use super::tiles::{Grid, LANES, Rows};
use rustfft::FftPlanner;
use rustfft::num_complex::Complex32;

/// One detector row's projections, thinned in angle, to be reconstructed about any centre.
pub(super) struct Slice {
    /// Rows, each `columns` long.
    rows: Vec<Vec<f32>>,
    /// Angle of each row, and the angle it stands for (its weight).
    angles: Vec<(f64, f32)>,
    pub(super) columns: usize,
    full_turn: bool,
    /// Rows filtered once, when that does not depend on the centre.
    filtered: Option<Filtered>,
}

/// Filtered rows on a line wider than the detector: entry `offset` belongs to column 0.
struct Filtered {
    rows: Vec<Vec<f32>>,
    offset: usize,
}

impl Slice {
    /// Takes at most `angles` projections, binned by `bin` columns.
    pub(super) fn new(
        sinogram: &[f32],
        columns: usize,
        coverage: &Coverage,
        angles: usize,
        bin: usize,
    ) -> Self {
        let bin = bin.clamp(1, (columns / 8).max(1));
        let binned = columns / bin;
        let count = coverage.order.len();
        let full_turn = coverage.is_full_turn();
        let used = count.min(angles.max(1));
        let mut rows = Vec::with_capacity(used);
        let mut list = Vec::with_capacity(used);
        for k in 0..used {
            let at = k * count / used;
            let source = &sinogram[coverage.order[at] * columns..][..columns];
            let row = (0..binned)
                .map(|c| {
                    let part = &source[c * bin..(c + 1) * bin];
                    let sum: f32 = part.iter().map(|v| if v.is_finite() { *v } else { 0.0 }).sum();
                    sum / bin as f32
                })
                .collect();
            rows.push(row);
            list.push(coverage.angles[at]);
        }
        // Each projection stands for half the way to its neighbours; a scan's ends for a typical step.
        let typical = coverage.span() / (used.max(2) - 1) as f64;
        let weights = (0..used)
            .map(|k| {
                let before = if k > 0 { list[k] - list[k - 1] } else { typical };
                let after = if k + 1 < used { list[k + 1] - list[k] } else { typical };
                (list[k], (0.5 * (before + after)).min(3.0 * typical) as f32)
            })
            .collect();
        let mut slice = Self { rows, angles: weights, columns: binned, full_turn, filtered: None };
        if !full_turn {
            slice.filtered = Some(slice.filter(None));
        }
        slice
    }

    /// Ramp-filters all rows (Shepp–Logan window). Over a full turn every ray near the axis is measured twice:
    /// with `center` given, a linear blend over the overlap shares it out, and the rest is taken as it is.
    fn filter(&self, center: Option<f64>) -> Filtered {
        let n = self.columns;
        // Over a full turn with the axis at the side, a filtered row reaches as far beyond the detector.
        let offset = if center.is_some() { n } else { 0 };
        let nfft = (2 * (n + 2 * offset)).next_power_of_two();
        let mut planner = FftPlanner::new();
        let (forward, inverse) = (planner.plan_fft_forward(nfft), planner.plan_fft_inverse(nfft));
        let ramp: Vec<f32> = (0..nfft)
            .map(|k| {
                let f = k.min(nfft - k) as f64 / nfft as f64;
                let x = std::f64::consts::PI * f;
                let window = if x > 0.0 { x.sin() / x } else { 1.0 };
                // Half the smallest step stands for the ramp's value at zero frequency.
                (f.max(0.25 / nfft as f64) * window / nfft as f64) as f32
            })
            .collect();
        let share: Vec<f32> =
            (0..n).map(|c| center.map_or(1.0, |center| blend(c as f64, center, n))).collect();
        let mut out: Vec<Vec<f32>> = Vec::with_capacity(self.rows.len());
        let mut data = vec![Complex32::ZERO; nfft];
        for pair in self.rows.chunks(2) {
            data.fill(Complex32::ZERO);
            let second = pair.get(1);
            let value =
                |c: usize| Complex32::new(pair[0][c] * share[c], second.map_or(0.0, |row| row[c] * share[c]));
            for c in 0..n {
                data[offset + c] = value(c);
            }
            if center.is_none() {
                // A sample wider than the detector: go on with the edge values, half the room each side.
                let room = (nfft - n) / 2;
                for i in 0..room {
                    data[n + i] = value(n - 1);
                    data[nfft - 1 - i] = value(0);
                }
            }
            forward.process(&mut data);
            data.iter_mut().zip(&ramp).for_each(|(d, r)| *d *= r);
            inverse.process(&mut data);
            let width = n + 2 * offset;
            out.push(data[..width].iter().map(|z| z.re).collect());
            if second.is_some() {
                out.push(data[..width].iter().map(|z| z.im).collect());
            }
        }
        Filtered { rows: out, offset }
    }

    /// Reconstructs `size` × `size` points, `spacing` columns apart, about each centre, the axis in their middle. Points
    /// that no projection sees are left at what the others give, and those more than `reach` columns from the axis at 0.
    pub(super) fn images(&self, centers: &[f64], size: usize, spacing: f64, reach: f64) -> Vec<Vec<f32>> {
        let ranges = (0..size).map(|y| within(y, size, reach / spacing)).collect();
        let grid = Grid { size, spacing, ranges };
        let about = |centers: &[f64]| {
            let made: Vec<Filtered>;
            let filtered: Vec<&Filtered> = match &self.filtered {
                Some(filtered) => vec![filtered; centers.len()],
                None => {
                    made = centers.iter().map(|center| self.filter(Some(*center))).collect();
                    made.iter().collect()
                }
            };
            let rows = filtered.iter().map(|filtered| filtered.rows.as_slice()).collect();
            let axes = filtered.iter().zip(centers).map(|(f, center)| f.offset as f64 + center).collect();
            Rows { rows, axes, angles: &self.angles }.images(&grid)
        };
        centers.chunks(LANES).flat_map(about).collect()
    }

    /// Radius, in columns, of the circle about the axis that every direction sees (from one side or the other).
    pub(super) fn radius(&self, center: f64) -> f64 {
        let last = self.columns as f64 - 1.0;
        if self.full_turn { center.max(last - center) } else { center.min(last - center) }
    }
}

/// The points of line `y` that lie within a radius of the middle; no point within it is left out.
fn within(y: usize, size: usize, radius: f64) -> std::ops::Range<usize> {
    let middle = 0.5 * (size as f64 - 1.0);
    let half = (radius * radius - (y as f64 - middle).powi(2)).max(0.0).sqrt() + 1.0;
    let (from, to) = ((middle - half).max(0.0) as usize, (middle + half).min(size as f64) as usize);
    from..(to + 1).min(size)
}

/// The share of a ray at column `c` that the projection counts; its partner half a turn on counts the rest.
fn blend(c: f64, center: f64, columns: usize) -> f32 {
    let last = columns as f64 - 1.0;
    let half = center.min(last - center);
    if half <= 0.0 {
        return 1.0;
    }
    // The overlap lies about the axis; beyond it only one side sees.
    let towards_long_side = if center <= 0.5 * last { c - center } else { center - c };
    (0.5 + 0.5 * (towards_long_side / half).clamp(-1.0, 1.0)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_every_point_within_the_radius() {
        for (size, radius) in [(1, 0.1), (7, 3.0), (8, 2.5), (256, 128.0), (64, 1e9), (9, f64::INFINITY)] {
            let middle = 0.5 * (size as f64 - 1.0);
            for (y, x) in (0..size).flat_map(|y| (0..size).map(move |x| (y, x))) {
                let inside = (x as f64 - middle).hypot(y as f64 - middle) <= radius;
                assert!(!inside || within(y, size, radius).contains(&x), "{size}, {radius}: {x}, {y}");
            }
        }
        assert!(within(10, 256, 5.0).len() < 4);
    }

    #[test]
    fn shares_of_partners_add_up_to_one() {
        for (center, columns) in [(10.25, 64), (50.5, 64), (31.5, 64)] {
            for c in 0..columns {
                let mirrored = 2.0 * center - c as f64;
                if (0.0..=columns as f64 - 1.0).contains(&mirrored) {
                    let sum = blend(c as f64, center, columns) + blend(mirrored, center, columns);
                    assert!((sum - 1.0).abs() < 1e-6);
                }
            }
        }
    }
}
