//! Rows of a sinogram made fit for correlation: finite, without spikes, cut symmetrically about a trial centre.

use pulp::{Arch, Simd, WithSimd};
use rustfft::num_complex::Complex64;
use rustfft::{Fft, FftPlanner};
use std::sync::Arc;

/// A copy of one detector row in f64 in which values that are not finite and single-pixel spikes (zingers, dead
/// pixels) are replaced by the median of their surroundings.
pub(super) fn clean_row(row: &[f32]) -> Vec<f64> {
    let mut out: Vec<f64> = row.iter().map(|&v| f64::from(v)).collect();
    fill_not_finite(&mut out);
    // At the ends, where the window would be one-sided, a slope would pass for a spike.
    let mut residual = vec![0.0; out.len()];
    Arch::new().dispatch(Residuals { row: &out, residual: &mut residual });
    // In noise-free data the scale is about zero; an edge's rounding must not count as a spike then.
    let range = out.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    if residual.iter().all(|r| r.abs() <= 0.25 * range) {
        return out;
    }
    let mut magnitude: Vec<f64> = residual.iter().map(|r| r.abs()).collect();
    let scale = 1.4826 * median(&mut magnitude);
    let limit = (12.0 * scale).max(0.25 * range);
    for (value, r) in out.iter_mut().zip(&residual) {
        if r.abs() > limit {
            *value -= r;
        }
    }
    out
}

/// Replaces values that are not finite by the last finite one before them (else the first after, else 0).
fn fill_not_finite(row: &mut [f64]) {
    if row.iter().all(|v| v.is_finite()) {
        return;
    }
    let mut last = row.iter().copied().find(|v| v.is_finite()).unwrap_or(0.0);
    for v in row {
        if v.is_finite() {
            last = *v;
        } else {
            *v = last;
        }
    }
}

/// What each value exceeds the median of the five around it by; 0 next to the ends.
struct Residuals<'a> {
    row: &'a [f64],
    residual: &'a mut [f64],
}

impl WithSimd for Residuals<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { row, residual } = self;
        let n = row.len();
        if n < 5 {
            return;
        }
        let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|k| &row[k..n - 4 + k]);
        for (i, residual) in residual[2..n - 2].iter_mut().enumerate() {
            *residual = c[i] - median5([a[i], b[i], c[i], d[i], e[i]]);
        }
    }
}

/// Median of five finite values, without branches.
#[inline(always)]
fn median5([a, b, c, d, e]: [f64; 5]) -> f64 {
    let order = |x: f64, y: f64| if x < y { (x, y) } else { (y, x) };
    let ((a, b), (c, d)) = (order(a, b), order(c, d));
    // The least and the largest of four are not it: the median is that of the middle two and the fifth.
    let (low, high) = order(order(a, c).1, order(b, d).0);
    order(low, order(high, e).0).1
}

/// Upper median; reorders `values`. 0 of none.
pub(super) fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// The part of a detector row that lies symmetrically about a trial centre, tapered, ready to be transformed.
///
/// The trial centre is a whole or half column, so that mirroring about it needs no interpolation. Rows are
/// differenced first: that removes offsets and the sample's broad shape, which would otherwise leak through
/// the window's edges when the sample is wider than the detector.
pub(super) struct Window {
    /// Trial centre, column.
    pub(super) center: f64,
    /// First column, and number of columns.
    start: usize,
    width: usize,
    /// Weights of the `width − 1` differences.
    taper: Vec<f64>,
    /// Transform length.
    pub(super) nfft: usize,
    fft: Arc<dyn Fft<f64>>,
}

impl Window {
    /// The widest window about the half column nearest to `center`; `None` when fewer than 8 columns are left.
    pub(super) fn new(columns: usize, center: f64) -> Option<Self> {
        let last = columns as i64 - 1;
        let twice = (2.0 * center).round() as i64;
        let start = (twice - last).max(0);
        let end = twice.min(last);
        let width = end - start + 1;
        if width < 8 || start < 0 || end > last {
            return None;
        }
        let (start, width) = (start as usize, width as usize);
        let n = width - 1;
        // Flat over the middle half, cosine flanks of a quarter each.
        let flank = (n as f64 / 4.0).max(1.0);
        let taper = (0..n)
            .map(|i| {
                let distance = (i.min(n - 1 - i) as f64 + 0.5) / flank;
                if distance >= 1.0 { 1.0 } else { 0.5 - 0.5 * (std::f64::consts::PI * distance).cos() }
            })
            .collect();
        let nfft = (n + n / 2).next_power_of_two();
        let fft = FftPlanner::new().plan_fft_forward(nfft);
        Some(Self { center: twice as f64 / 2.0, start, width, taper, nfft, fft })
    }

    /// Number of differences in the window.
    pub(super) fn len(&self) -> usize {
        self.taper.len()
    }

    /// Number of bins of a spectrum, 0 to Nyquist.
    pub(super) fn bins(&self) -> usize {
        self.nfft / 2 + 1
    }

    /// Angular frequency of a bin, radians a pixel.
    pub(super) fn omega(&self, bin: usize) -> f64 {
        std::f64::consts::TAU * bin as f64 / self.nfft as f64
    }

    /// Spectra of two rows at once, the second mirrored about the trial centre: bins 0 to Nyquist each.
    /// `base` (one row, or empty) is subtracted from both before anything else.
    pub(super) fn spectra(&self, row: &[f64], mirrored: &[f64], base: &[f64]) -> [Vec<Complex64>; 2] {
        let value = |r: &[f64], c: usize| r[c] - base.get(c).copied().unwrap_or(0.0);
        let end = self.start + self.width - 1;
        let mut data = vec![Complex64::ZERO; self.nfft];
        for (i, &weight) in self.taper.iter().enumerate() {
            let a = value(row, self.start + i + 1) - value(row, self.start + i);
            let b = value(mirrored, end - i - 1) - value(mirrored, end - i);
            data[i] = Complex64::new(a * weight, b * weight);
        }
        self.fft.process(&mut data);
        // Two real signals in one complex transform: separate them by their symmetry.
        let bins = self.bins();
        let mut first = Vec::with_capacity(bins);
        let mut second = Vec::with_capacity(bins);
        for k in 0..bins {
            let (z, w) = (data[k], data[(self.nfft - k) % self.nfft].conj());
            first.push((z + w) * 0.5);
            second.push((z - w) * Complex64::new(0.0, -0.5));
        }
        [first, second]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_is_symmetric_and_mirrors_exactly() {
        // A row and its mirror image about 10.5: the two spectra must be equal.
        let columns = 32;
        let row: Vec<f64> = (0..columns).map(|c| ((c * c) as f64 * 0.37).sin()).collect();
        let mirror: Vec<f64> = (0..columns).map(|c| if c <= 21 { row[21 - c] } else { 7.0 }).collect();
        let window = Window::new(columns, 10.4).unwrap();
        assert_eq!(window.center, 10.5);
        let [a, b] = window.spectra(&row, &mirror, &[]);
        for (x, y) in a.iter().zip(&b) {
            assert!((x - y).norm() < 1e-12);
        }
        assert!(Window::new(columns, 1.0).is_none());
        assert!(Window::new(columns, 40.0).is_none());
        assert!(Window::new(columns, -3.0).is_none());
    }

    #[test]
    fn the_median_of_five_is_the_third() {
        for i in 0..3125usize {
            let mut values = [1, 5, 25, 125, 625].map(|k| (i / k % 5) as f64);
            let found = median5(values);
            values.sort_by(f64::total_cmp);
            assert_eq!(found, values[2]);
        }
    }

    #[test]
    fn cleaning_removes_spikes_and_nan_and_leaves_the_rest() {
        let columns = 40;
        let row: Vec<f32> = (0..columns).map(|c| (c as f32 * 0.3).sin()).collect();
        let mut bad = row.clone();
        bad[7] = f32::NAN;
        bad[20] += 9.0;
        let cleaned = clean_row(&bad);
        for c in 0..columns {
            assert!((cleaned[c] - f64::from(row[c])).abs() < 0.5, "column {c}: {}", cleaned[c]);
        }
        let same = clean_row(&row);
        assert!(row.iter().zip(&same).all(|(&a, &b)| (f64::from(a) - b).abs() < 0.1));
    }
}
