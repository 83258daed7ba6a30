//! Phase correlation of two projections half a turn apart: ours, by angle and sub-pixel; and the production
//! script's, reproduced number for number for the recipe that must agree with it.

use super::auto::{self, Rows};
use super::overlap::TurnRows;
use super::pairs::{Coverage, pair_180};
use super::seam::Seam;
use super::verdict;
use super::{Estimate, Input, Method, Options};
use crate::error::{Error, Result, check_len};
use rustfft::num_complex::Complex32;
use rustfft::{Fft, FftPlanner};
use std::sync::Arc;

/// Looks for the centre in the pair of whole projections, or, without one, in the pair that each sinogram holds.
///
/// The pair is the one nearest to 180° apart. When it misses that, the high frequencies that the missing angle
/// makes incomparable do not count, so the answer is less accurate but not wrong.
///
/// # Errors
/// When there is neither a pair nor a sinogram, or no two projections are anywhere near 180° apart.
pub fn find(input: &Input, options: &Options) -> Result<Estimate> {
    let Some((first, second, error)) = pair_180(input.angles) else {
        let reason = "no two projections lie about 180 degrees apart; set the centre by hand";
        return Err(Error::parameter("angles", input.angles.len(), reason));
    };
    let coverage = Coverage::new(input.angles);
    let mut rows: Vec<(usize, Rows)> = Vec::new();
    match input.pair {
        Some((a, b, count)) if count >= 8 => {
            rows.push((count / 2, Rows::Turn(TurnRows::of_projections(a, b, input.columns, error))));
        }
        Some((a, b, count)) if count > 0 => {
            for row in 0..count {
                let range = row * input.columns..(row + 1) * input.columns;
                let both = [&a[range.clone()], &b[range]].concat();
                rows.push((row, Rows::Seams(vec![Seam::pair(0, 1, error).rows(&both, input.columns)])));
            }
        }
        _ => {
            super::need_sinograms(input)?;
            for (row, sinogram) in input.sinograms {
                rows.push((
                    *row,
                    Rows::Seams(vec![Seam::pair(first, second, error).rows(sinogram, input.columns)]),
                ));
            }
        }
    }
    let mut found = auto::look(input, options, &coverage, &rows);
    found.how = "one pair of projections half a turn apart".to_owned();
    Ok(verdict::judge(&found, Method::PhaseCorrelation))
}

/// The two projections that the production script compares: the first, and the last but one of the first half
/// turn (of the scan, or of its first half when it covers more than 300°). `None` for scans too short for that.
pub fn production_pair(projections: usize, range_degrees: f64) -> Option<(usize, usize)> {
    let last = if range_degrees > 300.0 { projections / 2 } else { projections }.checked_sub(1)?;
    (last >= 2).then_some((0, last - 1))
}

/// The centre as the production script finds it: TomoPy's `find_center_pc` with tolerance 0.25, which is
/// scikit-image's `phase_cross_correlation` (phase normalised, 4 × upsampled) of the first projection with the
/// mirrored second. Both are (rows, columns), normalised by flat and dark fields, neither clipped nor logged.
///
/// The result is a multiple of 0.125 column. It is an answer without a verdict: it says nothing of its worth.
///
/// # Errors
/// When the projections are empty or do not have the shape given.
pub fn production_phase_correlation(
    first: &[f32],
    second: &[f32],
    rows: usize,
    columns: usize,
) -> Result<f64> {
    check_len("first projection", first.len(), rows * columns)?;
    check_len("second projection", second.len(), rows * columns)?;
    if first.is_empty() {
        return Err(Error::data("projection pair", "it holds no pixels; check the rows chosen"));
    }
    let plan = Plane::new(rows, columns);
    let mut product = plan.transform(|r, c| first[r * columns + c]);
    let other = plan.transform(|r, c| second[r * columns + columns - 1 - c]);
    // Phases only. scikit-image divides by at least 100 times the number type's rounding.
    let least = 100.0 * f32::EPSILON;
    for (p, q) in product.iter_mut().zip(&other) {
        *p *= q.conj();
        *p /= p.norm().max(least);
    }
    drop(other);
    let mut correlation = product.clone();
    plan.inverse(&mut correlation);
    let mut best = (-1.0f32, 0usize);
    for (i, v) in correlation.iter().enumerate() {
        if v.norm() > best.0 {
            best = (v.norm(), i);
        }
    }
    // The plane is kept transposed, (columns, rows).
    let whole = [signed(best.1 % rows, rows), signed(best.1 / rows, columns)];
    drop(correlation);
    let shift = upsampled(&product, rows, columns, whole);
    Ok((columns as f64 + shift - 1.0) / 2.0)
}

/// A transform's index as a shift, those beyond the middle negative.
fn signed(index: usize, n: usize) -> f64 {
    if index > n / 2 { index as f64 - n as f64 } else { index as f64 }
}

/// Upsampling of the correlation, 1 / tolerance.
const FACTOR: f64 = 4.0;

/// The column shift refined to 1/4 pixel: the correlation evaluated around `whole` = (row, column) shift by a
/// small matrix transform (Guizar-Sicairos 2008), the place of its largest magnitude taken.
fn upsampled(product: &[Complex32], rows: usize, columns: usize, whole: [f64; 2]) -> f64 {
    let size = (FACTOR * 1.5).ceil() as usize;
    let middle = (size as f64 / 2.0).trunc();
    let kernel = |n: usize, whole: f64| -> Vec<rustfft::num_complex::Complex64> {
        let mut out = Vec::with_capacity(n * size);
        for k in 0..n {
            let frequency =
                if k < n.div_ceil(2) { k as f64 } else { k as f64 - n as f64 } / (n as f64 * FACTOR);
            for u in 0..size {
                let at = u as f64 - middle + whole * FACTOR;
                out.push(rustfft::num_complex::Complex64::cis(std::f64::consts::TAU * at * frequency));
            }
        }
        out
    };
    let (over_rows, over_columns) = (kernel(rows, whole[0]), kernel(columns, whole[1]));
    let mut table = vec![rustfft::num_complex::Complex64::ZERO; size * size];
    for c in 0..columns {
        let mut partial = vec![rustfft::num_complex::Complex64::ZERO; size];
        for r in 0..rows {
            let p = product[c * rows + r];
            let p = rustfft::num_complex::Complex64::new(f64::from(p.re), f64::from(p.im));
            for u in 0..size {
                partial[u] += p * over_rows[r * size + u];
            }
        }
        for u in 0..size {
            for v in 0..size {
                table[u * size + v] += partial[u] * over_columns[c * size + v];
            }
        }
    }
    let mut best = (-1.0, 0);
    for (i, v) in table.iter().enumerate() {
        if v.norm() > best.0 {
            best = (v.norm(), i % size);
        }
    }
    whole[1] + (best.1 as f64 - middle) / FACTOR
}

/// Plane transforms, kept transposed in between: (columns, rows).
struct Plane {
    rows: usize,
    columns: usize,
    along_row: Arc<dyn Fft<f32>>,
    along_column: Arc<dyn Fft<f32>>,
    back_row: Arc<dyn Fft<f32>>,
    back_column: Arc<dyn Fft<f32>>,
}

impl Plane {
    fn new(rows: usize, columns: usize) -> Self {
        let mut planner = FftPlanner::new();
        Self {
            rows,
            columns,
            along_row: planner.plan_fft_forward(columns),
            along_column: planner.plan_fft_forward(rows),
            back_row: planner.plan_fft_inverse(columns),
            back_column: planner.plan_fft_inverse(rows),
        }
    }

    /// Transform of an image given by its pixels; values that are not finite count as 0. (columns, rows).
    fn transform(&self, pixel: impl Fn(usize, usize) -> f32) -> Vec<Complex32> {
        let (rows, columns) = (self.rows, self.columns);
        let mut out = vec![Complex32::ZERO; rows * columns];
        let mut line = vec![Complex32::ZERO; columns];
        for r in 0..rows {
            for (c, v) in line.iter_mut().enumerate() {
                let value = pixel(r, c);
                *v = Complex32::new(if value.is_finite() { value } else { 0.0 }, 0.0);
            }
            self.along_row.process(&mut line);
            for (c, v) in line.iter().enumerate() {
                out[c * rows + r] = *v;
            }
        }
        self.along_column.process(&mut out);
        out
    }

    /// Inverse, times rows · columns, in place; stays (columns, rows).
    fn inverse(&self, data: &mut [Complex32]) {
        let (rows, columns) = (self.rows, self.columns);
        self.back_column.process(data);
        let mut line = vec![Complex32::ZERO; columns];
        for r in 0..rows {
            for (c, v) in line.iter_mut().enumerate() {
                *v = data[c * rows + r];
            }
            self.back_row.process(&mut line);
            for (c, v) in line.iter().enumerate() {
                data[c * rows + r] = *v;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn production_pair_is_two_off_the_end() {
        assert_eq!(production_pair(1313, 180.0), Some((0, 1311)));
        assert_eq!(production_pair(2625, 360.0), Some((0, 1310)));
        assert_eq!(production_pair(3, 180.0), Some((0, 1)));
        assert_eq!(production_pair(2, 180.0), None);
        assert_eq!(production_pair(0, 180.0), None);
    }

    #[test]
    fn production_shift_of_an_image_moved_by_whole_pixels() {
        let (rows, columns) = (12, 40);
        let value = |r: usize, c: i64| {
            ((r * 7) as f32 + 3.1 * c as f32).sin() + ((c * c) as f32 * 0.13 + r as f32).cos()
        };
        // second(c) = first(2·23 − c): the centre is 23, the shift 2·23 − 39 = 7.
        let first: Vec<f32> = (0..rows * columns).map(|i| value(i / columns, (i % columns) as i64)).collect();
        let second: Vec<f32> =
            (0..rows * columns).map(|i| value(i / columns, 46 - (i % columns) as i64)).collect();
        let center = production_phase_correlation(&first, &second, rows, columns).unwrap();
        assert!((center - 23.0).abs() <= 0.125, "{center}");
        assert!(production_phase_correlation(&first[1..], &second, rows, columns).is_err());
        assert!(production_phase_correlation(&[], &[], 0, 8).is_err());
        let flat = vec![1.0; rows * columns];
        assert!(production_phase_correlation(&flat, &flat, rows, columns).is_ok());
    }
}
