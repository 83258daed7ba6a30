//! 360° scans: every projection has its mirrored partner half a turn on, wherever the axis lies.
//!
//! With the axis near the middle the partners overlap fully; near either side (half acquisition, which doubles
//! the field of view) only in a strip about the axis. The coarse search correlates all pairs for every possible
//! centre, each normalised to the strip that it makes overlap; the fine one weighs frequencies by their noise.
//! What stays in place during a full turn (rings, the beam's shape) is subtracted first: the mean over a full
//! turn is itself symmetric about the centre, so that costs no accuracy.

use super::likeness::disc_correlation;
use super::pairs::{Circle, Coverage};
use super::prepare::{Window, clean_row};
use super::score::{Curve, Score, chance};
use super::seam::{response, smooth};
use super::{Estimate, Input, Method, Options, need_sinograms};
use crate::error::{Error, Result};
use rustfft::FftPlanner;
use rustfft::num_complex::Complex64;
use std::f64::consts::PI;

/// Most projections of which the partner is used; more change nothing but the time.
const MOST: usize = 256;

/// Fewest columns that may overlap.
pub(super) const LEAST_OVERLAP: usize = 12;

/// Looks for the centre of a 360° scan.
///
/// # Errors
/// When there is no sinogram, or the angles cover less than a full turn.
pub fn find(input: &Input, options: &Options) -> Result<Estimate> {
    need_sinograms(input)?;
    let coverage = Coverage::new(input.angles);
    if !coverage.is_full_turn() {
        let range = format!("{:.1} degrees", coverage.span().to_degrees());
        return Err(Error::parameter(
            "method",
            range,
            "the overlap needs a scan over 360 degrees; use another method",
        ));
    }
    let mut estimate = super::auto::correlate(input, options, &coverage)?;
    estimate.method = Method::Overlap;
    Ok(estimate)
}

/// Mirrored pairs of one sinogram of a full turn.
pub(super) struct TurnRows {
    /// Row, its partner about half a turn on, and the angle by which they miss half a turn.
    pairs: Vec<(usize, usize, f64)>,
    /// Cleaned rows that occur in pairs.
    rows: Vec<Vec<f64>>,
    /// Mean over all angles.
    mean: Vec<f64>,
    columns: usize,
}

impl TurnRows {
    pub(super) fn new(input: &Input, coverage: &Coverage, sinogram: &[f32]) -> Self {
        let columns = input.columns;
        let circle = Circle::new(input.angles);
        // The first half of the turn has all pairs once.
        let half: Vec<usize> = coverage
            .order
            .iter()
            .zip(&coverage.angles)
            .filter(|(_, a)| **a - coverage.angles[0] < PI)
            .map(|p| *p.0)
            .collect();
        let count = half.len().min(MOST);
        let mut place = vec![usize::MAX; input.angles.len()];
        let mut rows = Vec::new();
        let mut stored = |index: usize| {
            if place[index] == usize::MAX {
                place[index] = rows.len();
                rows.push(clean_row(&sinogram[index * columns..(index + 1) * columns]));
            }
            place[index]
        };
        let mut pairs = Vec::new();
        for k in 0..count {
            let index = half[k * half.len() / count];
            let Some((below, above)) = circle.neighbours(input.angles[index] + PI) else { continue };
            let (near, far) = if below.1.abs() <= above.1.abs() { (below, above) } else { (above, below) };
            if near.1.abs() > 3.0 * coverage.step || near.0 == index {
                continue;
            }
            let a = stored(index);
            pairs.push((a, stored(near.0), near.1));
            // Between two projections the partner is missed to one side: take the other side too.
            if near.1.abs() > 0.05 * coverage.step && far.1.abs() < 1.5 * coverage.step && far.0 != index {
                pairs.push((a, stored(far.0), far.1));
            }
        }
        let mut mean = vec![0.0; columns];
        for row in &rows {
            for (m, v) in mean.iter_mut().zip(row) {
                *m += v;
            }
        }
        for m in &mut mean {
            *m /= rows.len().max(1) as f64;
        }
        Self { pairs, rows, mean, columns }
    }

    /// Pairs made of the rows of two whole projections, (rows, columns) each, `error` from half a turn apart.
    /// Nothing tells what does not rotate from what does in two projections: nothing is subtracted.
    pub(super) fn of_projections(first: &[f32], second: &[f32], columns: usize, error: f64) -> Self {
        let count = first.len() / columns;
        let used = count.min(2 * MOST);
        let mut rows = Vec::with_capacity(2 * used);
        let mut pairs = Vec::with_capacity(used);
        for k in 0..used {
            let at = k * count / used * columns;
            rows.push(clean_row(&first[at..at + columns]));
            rows.push(clean_row(&second[at..at + columns]));
            pairs.push((2 * k, 2 * k + 1, error));
        }
        Self { pairs, rows, mean: vec![0.0; columns], columns }
    }

    /// How well the pairs agree for every half column, in standard deviations of chance.
    pub(super) fn curve(&self) -> Curve {
        let n = self.columns;
        let nfft = (2 * n).next_power_of_two();
        let mut planner = FftPlanner::new();
        let forward = planner.plan_fft_forward(nfft);
        let mut product = vec![Complex64::ZERO; nfft];
        let mut data = vec![Complex64::ZERO; nfft];
        let mut energy = [vec![0.0; n], vec![0.0; n]];
        for &(i, j, _) in &self.pairs {
            data.fill(Complex64::ZERO);
            let (a, b) = (self.slope(i), self.slope(j));
            for c in 0..n {
                data[c] = Complex64::new(a[c], b[c]);
                energy[0][c] += a[c] * a[c];
                energy[1][c] += b[c] * b[c];
            }
            forward.process(&mut data);
            for k in 0..nfft {
                // Transforms of a and b from that of a + ib; their product is the convolution a ∗ b.
                let (z, w) = (data[k], data[(nfft - k) % nfft].conj());
                product[k] += (z + w) * (z - w) * Complex64::new(0.0, -0.25);
            }
        }
        planner.plan_fft_inverse(nfft).process(&mut product);
        let sums: Vec<Vec<f64>> = energy
            .iter()
            .map(|e| {
                std::iter::once(0.0)
                    .chain(e.iter().scan(0.0, |s, v| {
                        *s += v;
                        Some(*s)
                    }))
                    .collect()
            })
            .collect();
        let total = sums[0][n].max(sums[1][n]);
        let mut values = Vec::with_capacity(2 * n - 1);
        for k in 0..2 * n - 1 {
            let (low, high) = (k.saturating_sub(n - 1), k.min(n - 1));
            let overlap = high + 1 - low;
            let a = sums[0][high + 1] - sums[0][low];
            let b = sums[1][high + 1] - sums[1][low];
            // Mirroring turns the sign of a slope.
            let agreement = -product[k].re / nfft as f64;
            let usable = overlap >= LEAST_OVERLAP && a.min(b) > 1e-9 * total && total > 0.0;
            values.push(if usable { agreement / (a * b).sqrt() * (overlap as f64).sqrt() } else { 0.0 });
        }
        // In units of chance, so that rows add with weights that do not depend on their contrast.
        let scale = chance(&values);
        if scale > 0.0 {
            values.iter_mut().for_each(|v| *v /= scale);
        }
        let attainable = values.iter().fold(0.0f64, |m, v| m.max(*v));
        Curve {
            first: 0.0,
            step: 0.5,
            values,
            scale: if scale > 0.0 { 1.0 } else { 0.0 },
            random: 0.0,
            attainable,
        }
    }

    /// Slope of a stored row less the mean, over ±2 columns; 0 at the ends, where it would see the edge.
    fn slope(&self, row: usize) -> Vec<f64> {
        let n = self.columns;
        let v = |c: usize| self.rows[row][c] - self.mean[c];
        (0..n)
            .map(
                |c| if c < 2 || c + 2 >= n { 0.0 } else { v(c + 2) - v(c - 2) + 2.0 * (v(c + 1) - v(c - 1)) },
            )
            .collect()
    }

    /// The score about a trial centre; `None` when the window there holds nothing to compare.
    pub(super) fn score(&self, window: &Window) -> Option<Score> {
        const BAND: usize = 8;
        let bins = window.bins();
        let last = self.columns as f64 - 1.0;
        let radius = window.center.max(last - window.center);
        let mut cross = vec![Complex64::ZERO; bins];
        let mut power = vec![0.0; bins.div_ceil(BAND)];
        let mut common = vec![0.0; bins.div_ceil(BAND)];
        for &(i, j, error) in &self.pairs {
            let [a, b] = window.spectra(&self.rows[i], &self.rows[j], &self.mean);
            for k in 1..bins {
                // Partners that miss half a turn have only the low frequencies in common.
                let z = 2.0 * window.omega(k) * radius * (0.5 * error).sin();
                cross[k] += a[k].conj() * b[k] * disc_correlation(z).max(0.0);
                power[k / BAND] += 0.5 * (a[k].norm_sqr() + b[k].norm_sqr());
            }
        }
        for k in 1..bins {
            common[k / BAND] += cross[k].norm();
        }
        let (power, common) = (smooth(&power), smooth(&common));
        // With many pairs their agreement itself tells signal from noise, frequency by frequency.
        let accident = 1.0 / (self.pairs.len() as f64).sqrt();
        let independent = window.len() as f64 / window.nfft as f64;
        let mut any = false;
        for k in 1..bins {
            let (p, c) = (power[k / BAND], common[k / BAND]);
            let omega = window.omega(k);
            if p <= 0.0 || response(omega) <= 0.0 {
                cross[k] = Complex64::ZERO;
                continue;
            }
            let coherence = (((c / p).powi(2) - accident * accident).max(0.0).sqrt()
                * (1.0 - (omega / PI).powi(6)))
            .min(0.98);
            // −Σ⁻¹ of two values of power P and coherence γ: γ / (P (1 − γ²)), per pair.
            cross[k] *= coherence / (1.0 - coherence * coherence) / p * self.pairs.len() as f64 * independent;
            any |= coherence > 0.0;
        }
        any.then_some(Score { center: window.center, nfft: window.nfft, independent, bins: cross })
    }
}
