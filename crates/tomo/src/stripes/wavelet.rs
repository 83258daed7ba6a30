//! Daubechies filters of any order from 1 to 20, computed, and the bookkeeping of the discrete wavelet
//! transform with half-sample symmetric extension (PyWavelets' `symmetric` mode).
//!
//! Spectral factorisation (I. Daubechies, Ten Lectures on Wavelets, section 6.1): the roots y of
//! Σ C(N−1+k, k) y^k give pairs z, 1/z with z + 1/z = 2 − 4y; those inside the unit circle and an N-fold
//! root at −1 make the minimum-phase low-pass filter, as PyWavelets tabulates it.

use crate::error::{Error, Result};

/// Highest order that is offered; beyond it PyWavelets' own use ends and f64 roots lose digits.
pub const MAX_ORDER: usize = 20;

type Complex = rustfft::num_complex::Complex<f64>;

/// The four filters of an orthogonal wavelet, each 2 · order long.
#[derive(Debug, Clone, PartialEq)]
pub struct Wavelet {
    /// Analysis low-pass.
    pub analysis_low: Vec<f64>,
    /// Analysis high-pass.
    pub analysis_high: Vec<f64>,
    /// Synthesis low-pass.
    pub synthesis_low: Vec<f64>,
    /// Synthesis high-pass.
    pub synthesis_high: Vec<f64>,
}

impl Wavelet {
    /// The Daubechies wavelet with `order` vanishing moments ("db5" has order 5).
    pub fn daubechies(order: usize) -> Result<Self> {
        if !(1..=MAX_ORDER).contains(&order) {
            let reason = format!("Daubechies wavelets are offered from 1 to {MAX_ORDER} (5 is usual)");
            return Err(Error::parameter("wavelet", order, reason));
        }
        let low = scaling_filter(order);
        let high: Vec<f64> = low.iter().enumerate().map(|(k, h)| if k % 2 == 0 { -h } else { *h }).collect();
        let reversed = |filter: &[f64]| filter.iter().rev().copied().collect::<Vec<f64>>();
        Ok(Self {
            analysis_low: reversed(&low),
            synthesis_high: reversed(&high),
            analysis_high: high,
            synthesis_low: low,
        })
    }

    /// Number of taps, 2 · order.
    pub fn taps(&self) -> usize {
        self.analysis_low.len()
    }

    /// Length of either half of the transform of `n` values.
    pub fn half_len(&self, n: usize) -> usize {
        (n + self.taps() - 1) / 2
    }
}

/// Index into an array of `n` ≥ 1 values of element `i` of its half-sample symmetric extension
/// (… b a | a b … z | z y …, repeated for ever).
pub fn reflect(i: isize, n: usize) -> usize {
    let period = 2 * n as isize;
    let i = i.rem_euclid(period) as usize;
    if i < n { i } else { 2 * n - 1 - i }
}

fn scaling_filter(order: usize) -> Vec<f64> {
    // (x + 1)^N · Π (x − z), highest power first; each real pair of conjugate factors stays real in the end.
    let one = Complex::new(1.0, 0.0);
    let mut product = vec![one];
    for _ in 0..order {
        product = times_linear(&product, one);
    }
    for y in roots(order) {
        let b = one - y * 2.0;
        let root = (b * b - 1.0).sqrt();
        let (plus, minus) = (b + root, b - root);
        let z = if plus.norm() < 1.0 { plus } else { minus };
        product = times_linear(&product, -z);
    }
    let sum: f64 = product.iter().map(|c| c.re).sum();
    product.iter().map(|c| c.re * std::f64::consts::SQRT_2 / sum).collect()
}

/// polynomial · (x + a), highest power first.
fn times_linear(polynomial: &[Complex], a: Complex) -> Vec<Complex> {
    let mut out = polynomial.to_vec();
    out.push(Complex::default());
    for (k, c) in polynomial.iter().enumerate() {
        out[k + 1] += c * a;
    }
    out
}

/// All roots of Σ_{k<N} C(N−1+k, k) y^k by Aberth's simultaneous iteration.
fn roots(order: usize) -> Vec<Complex> {
    let degree = order - 1;
    let mut coefficients = vec![1.0f64];
    for k in 1..order {
        coefficients.push(coefficients[k - 1] * (degree + k) as f64 / k as f64);
    }
    // The roots lie near the circle |y| = ½ (for N → ∞ on |4y(1 − y)| = 1).
    let start = |i: usize| Complex::from_polar(0.5, 0.4 + std::f64::consts::TAU * i as f64 / degree as f64);
    let mut y: Vec<Complex> = (0..degree).map(start).collect();
    for _ in 0..200 {
        let mut change = 0.0f64;
        for i in 0..degree {
            let (mut p, mut slope) = (Complex::default(), Complex::default());
            for c in coefficients.iter().rev() {
                slope = slope * y[i] + p;
                p = p * y[i] + *c;
            }
            let newton = p / slope;
            let repulsion: Complex = (0..degree).filter(|j| *j != i).map(|j| (y[i] - y[j]).inv()).sum();
            let step = newton / (Complex::new(1.0, 0.0) - newton * repulsion);
            if step.is_finite() {
                y[i] -= step;
                change = change.max(step.norm());
            }
        }
        if change < 1e-16 {
            break;
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_filters() {
        let db2 = Wavelet::daubechies(2).unwrap();
        // (1 + √3, 3 + √3, 3 − √3, 1 − √3) / (4 √2)
        let s = 3f64.sqrt();
        let exact = [1.0 + s, 3.0 + s, 3.0 - s, 1.0 - s].map(|x| x / (4.0 * 2f64.sqrt()));
        for (a, b) in db2.synthesis_low.iter().zip(exact) {
            assert!((a - b).abs() < 1e-15);
        }
        // PyWavelets 1.8, pywt.Wavelet('db5').rec_lo.
        let db5 = Wavelet::daubechies(5).unwrap();
        for (a, b) in db5.synthesis_low.iter().zip(DB5) {
            assert!((a - b).abs() < 1e-14, "{a} {b}");
        }
        let db1 = Wavelet::daubechies(1).unwrap();
        assert!((db1.analysis_high[1] - 0.5f64.sqrt()).abs() < 1e-15 && db1.analysis_high[0] < 0.0);
    }

    const DB5: [f64; 10] = [
        0.160_102_397_974_192_93,
        0.603_829_269_797_189_6,
        0.724_308_528_437_772_9,
        0.138_428_145_901_320_74,
        -0.242_294_887_066_382_03,
        -0.032_244_869_584_638_375,
        0.077_571_493_840_045_72,
        -0.006_241_490_212_798_274,
        -0.012_580_751_999_081_999,
        0.003_335_725_285_473_771_2,
    ];

    #[test]
    fn every_order_is_orthonormal_with_its_vanishing_moments() {
        for order in 1..=MAX_ORDER {
            let w = Wavelet::daubechies(order).unwrap();
            let n = w.taps();
            for shift in 0..order {
                let dot = |a: &[f64], b: &[f64]| (2 * shift..n).map(|k| a[k] * b[k - 2 * shift]).sum::<f64>();
                let unit = if shift == 0 { 1.0 } else { 0.0 };
                // 1e-8: far below f32; the roots of order 20 cost the digits.
                assert!((dot(&w.synthesis_low, &w.synthesis_low) - unit).abs() < 1e-8, "order {order}");
                assert!(dot(&w.synthesis_low, &w.synthesis_high).abs() < 1e-8, "order {order}");
            }
            for moment in 0..order.min(6) {
                let sum: f64 =
                    (0..n).map(|k| (k as f64 / n as f64).powi(moment as i32) * w.synthesis_high[k]).sum();
                assert!(sum.abs() < 1e-8, "order {order}, moment {moment}: {sum}");
            }
        }
        assert!(Wavelet::daubechies(0).is_err() && Wavelet::daubechies(21).is_err());
    }

    #[test]
    fn reflection() {
        let at: Vec<usize> = (-4..7).map(|i| reflect(i, 3)).collect();
        assert_eq!(at, [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0]);
        assert!((-5..5).all(|i| reflect(i, 1) == 0));
    }
}
