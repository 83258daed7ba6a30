//! Rows of a sinogram made fit for correlation: finite, without spikes, cut symmetrically about a trial centre.

use rustfft::num_complex::Complex64;
use rustfft::{Fft, FftPlanner};
use std::sync::Arc;

/// A copy of one detector row in f64 in which values that are not finite and single-pixel spikes (zingers, dead
/// pixels) are replaced by the median of their surroundings.
pub(super) fn clean_row(row: &[f32]) -> Vec<f64> {
    let mut out: Vec<f64> = row.iter().map(|&v| f64::from(v)).collect();
    fill_not_finite(&mut out);
    // At the ends, where the window would be one-sided, a slope would pass for a spike.
    let inner = 2..out.len().saturating_sub(2);
    let residual: Vec<f64> =
        (0..out.len()).map(|c| if inner.contains(&c) { out[c] - median5(&out, c) } else { 0.0 }).collect();
    let mut magnitude: Vec<f64> = residual.iter().map(|r| r.abs()).collect();
    let scale = 1.4826 * median(&mut magnitude);
    // In noise-free data the scale is about zero; an edge's rounding must not count as a spike then.
    let range = out.iter().fold(0.0f64, |m, v| m.max(v.abs()));
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

/// Median of the five values around `c`, which is at least two from either end.
fn median5(row: &[f64], c: usize) -> f64 {
    let mut w = [row[c - 2], row[c - 1], row[c], row[c + 1], row[c + 2]];
    w.sort_by(f64::total_cmp);
    w[2]
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
