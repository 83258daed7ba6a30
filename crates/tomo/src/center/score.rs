//! The score of every centre: a log-likelihood, kept as its spectrum so that any sub-pixel centre can be asked.

use rustfft::FftPlanner;
use rustfft::num_complex::Complex64;

/// L(c) = 2 Re Σ G(ω) exp(−2iω(c − c₀)): how well mirroring about c explains the data, c₀ the trial centre.
#[derive(Clone)]
pub(super) struct Score {
    /// Trial centre c₀, column.
    pub(super) center: f64,
    /// Length of the transform that the bins belong to.
    pub(super) nfft: usize,
    /// Part of the bins that are independent of each other (the rest is padding).
    pub(super) independent: f64,
    /// G, bins 0 to Nyquist.
    pub(super) bins: Vec<Complex64>,
}

/// A score on a regular grid of centres.
pub(super) struct Curve {
    /// Centre of the first value, and the spacing.
    pub(super) first: f64,
    pub(super) step: f64,
    pub(super) values: Vec<f64>,
    /// Robust standard deviation of the values: what chance alone gives.
    pub(super) scale: f64,
    /// The same if all phases were random.
    pub(super) random: f64,
    /// The value if all frequencies agreed on one centre.
    pub(super) attainable: f64,
}

impl Score {
    /// Value, first and second derivative with respect to the centre.
    pub(super) fn derivatives(&self, center: f64) -> [f64; 3] {
        let turn = std::f64::consts::TAU / self.nfft as f64;
        let delta = center - self.center;
        let mut out = [0.0; 3];
        for (k, g) in self.bins.iter().enumerate() {
            let rate = -2.0 * turn * k as f64;
            let rotated = g * Complex64::cis(rate * delta);
            out[0] += 2.0 * rotated.re;
            out[1] -= 2.0 * rate * rotated.im;
            out[2] -= 2.0 * rate * rate * rotated.re;
        }
        out
    }

    /// The score at every quarter column that the transform can tell apart, about the trial centre.
    pub(super) fn curve(&self) -> Curve {
        const OVERSAMPLING: usize = 2;
        let n = self.nfft * OVERSAMPLING;
        let mut data = vec![Complex64::ZERO; n];
        for (k, &g) in self.bins.iter().enumerate() {
            data[k] = g;
        }
        FftPlanner::new().plan_fft_forward(n).process(&mut data);
        // exp(−2iωδ) with ω = 2πk/nfft and 2δ = j/oversampling: entry j, negative j from the end.
        let half = n / 2;
        let step = 0.5 / OVERSAMPLING as f64;
        let raw: Vec<f64> = (0..n).map(|i| 2.0 * data[(i + n - half) % n].re).collect();
        let attainable = 2.0 * self.bins.iter().map(|g| g.norm()).sum::<f64>();
        // What chance gives, seen in the curve, and never less than random phases would: far shifts leave little
        // to compare and look calmer than near ones.
        let independent = self.independent.max(1e-3);
        let random = (2.0 * self.bins.iter().map(|g| g.norm_sqr()).sum::<f64>() / independent).sqrt();
        let scale = chance(&raw).max(random);
        Curve { first: self.center - half as f64 * step, step, scale, random, attainable, values: raw }
    }

    /// Adds another score with the same trial centre and transform, weighted.
    pub(super) fn add(&mut self, other: &Self, weight: f64) {
        for (a, b) in self.bins.iter_mut().zip(&other.bins) {
            *a += b * weight;
        }
    }

    /// Climbs from `start` to the nearest maximum, no further than `reach` columns: its place and curvature
    /// (negative at a maximum); `None` when there is none in reach.
    pub(super) fn maximum(&self, start: f64, reach: f64) -> Option<(f64, f64)> {
        // Sample finely first: Newton's method from the wrong side of an inflection runs away.
        let samples = 32;
        let mut best = (f64::NEG_INFINITY, start);
        for i in 0..=samples {
            let c = start + reach * (2.0 * f64::from(i) / f64::from(samples) - 1.0);
            let value = self.derivatives(c)[0];
            if value > best.0 {
                best = (value, c);
            }
        }
        let mut c = best.1;
        let mut low = c - 2.0 * reach / f64::from(samples);
        let mut high = c + 2.0 * reach / f64::from(samples);
        for _ in 0..40 {
            let [_, slope, bend] = self.derivatives(c);
            if slope > 0.0 {
                low = c;
            } else {
                high = c;
            }
            let newton = c - slope / bend;
            c = if bend < 0.0 && newton > low && newton < high { newton } else { 0.5 * (low + high) };
            if high - low < 1e-7 || slope == 0.0 {
                break;
            }
        }
        let bend = self.derivatives(c)[2];
        (bend < 0.0 && (c - start).abs() < reach * 0.999).then_some((c, bend))
    }
}

/// Robust standard deviation of values about 0, the exact zeros (nothing to compare) left out.
pub(super) fn chance(values: &[f64]) -> f64 {
    let mut magnitude: Vec<f64> = values.iter().filter(|v| **v != 0.0).map(|v| v.abs()).collect();
    1.4826 * super::prepare::median(&mut magnitude)
}

impl Score {
    /// Standard deviation of the centre about a maximum, other maxima within ±3 columns included: in noise the
    /// right one may be the second. The likelihood is flattened (square root), since no data is quite as the
    /// model has it.
    pub(super) fn spread(&self, center: f64, bend: f64) -> f64 {
        let top = self.derivatives(center)[0];
        let (mut total, mut square) = (0.0, 0.0);
        for i in -48i32..=48 {
            let offset = f64::from(i) / 16.0;
            let weight = (0.5 * (self.derivatives(center + offset)[0] - top)).exp();
            total += weight;
            square += weight * offset * offset;
        }
        let wide = (square / total).sqrt();
        let narrow = (-2.0 / bend).sqrt();
        // A maximum narrower than the grid is described by its curvature alone.
        if wide.is_finite() { wide.max(narrow) } else { narrow }
    }
}

impl Curve {
    /// Sum of curves on the same grid; `None` of none.
    pub(super) fn sum<'a>(curves: impl Iterator<Item = &'a Self>) -> Option<Self> {
        let mut sum: Option<Self> = None;
        for curve in curves {
            match &mut sum {
                None => {
                    sum = Some(Self { values: curve.values.clone(), ..*curve });
                }
                Some(sum) => {
                    sum.values.iter_mut().zip(&curve.values).for_each(|(a, b)| *a += b);
                    sum.attainable += curve.attainable;
                    sum.random = sum.random.hypot(curve.random);
                }
            }
        }
        if let Some(sum) = &mut sum {
            sum.scale = chance(&sum.values).max(sum.random);
        }
        sum
    }

    /// Value at the grid point nearest to a centre; `None` outside.
    pub(super) fn at(&self, center: f64) -> Option<f64> {
        let i = ((center - self.first) / self.step).round();
        if i < 0.0 { None } else { self.values.get(i as usize).copied() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn score_of_a_known_shift_peaks_there() {
        // G of unit magnitude with the phase of a shift 2δ = 2·1.3: peak at c₀ + 1.3.
        let nfft = 64;
        let bins = (0..33).map(|k| Complex64::cis(std::f64::consts::TAU * k as f64 / 64.0 * 2.6)).collect();
        let score = Score { center: 20.0, nfft, independent: 1.0, bins };
        let (c, bend) = score.maximum(21.0, 1.0).unwrap();
        assert!((c - 21.3).abs() < 1e-6 && bend < 0.0);
        let curve = score.curve();
        let best =
            (0..curve.values.len()).max_by(|&a, &b| curve.values[a].total_cmp(&curve.values[b])).unwrap();
        assert!((curve.first + best as f64 * curve.step - 21.3).abs() <= 0.13);
    }
}
