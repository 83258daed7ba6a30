//! The gridding kernel of `exact` mode: Kaiser-Bessel, seven grid cells wide, as polynomials per tap.
//!
//! A sample at a non-integer frequency is spread over the seven nearest grid points with the kernel's values; after the
//! inverse transform the image is divided by the kernel's Fourier transform, which is known in closed form. What remains
//! is aliasing: the kernel's transform one grid period away. The shape parameter is chosen to make that least for the
//! given ratio of grid to image.

use std::f64::consts::PI;

/// Kernel width in grid cells.
pub(crate) const WIDTH: usize = 7;
/// Polynomial coefficients per tap; the fit's error (about 1e-7) is below f32 rounding of the result.
pub(crate) const TERMS: usize = 10;
/// Taps are kept in a row of eight lanes, the last one zero.
pub(crate) const LANES: usize = 8;

/// Kaiser-Bessel kernel with its shape parameter.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    beta: f64,
    /// `taps[d][k]`: coefficient of z^d for tap k, z in −0.5..0.5 being the offset of the taps from the sample.
    pub(crate) taps: [[f32; LANES]; TERMS],
}

/// Modified Bessel function of order 0, by its power series (all terms positive, so no cancellation).
fn bessel_i0(x: f64) -> f64 {
    let quarter = 0.25 * x * x;
    let (mut term, mut sum, mut k) = (1.0, 1.0, 1.0);
    while term > 1e-17 * sum {
        term *= quarter / (k * k);
        sum += term;
        k += 1.0;
    }
    sum
}

/// sinh(√z)/√z, continued to sin(√−z)/√−z for negative z.
fn sinhc_root(z: f64) -> f64 {
    if z > 1e-12 {
        z.sqrt().sinh() / z.sqrt()
    } else if z < -1e-12 {
        (-z).sqrt().sin() / (-z).sqrt()
    } else {
        1.0
    }
}

/// Fourier transform of the kernel at `x` cycles per grid period (pixels over grid size).
fn transform(beta: f64, x: f64) -> f64 {
    let w = WIDTH as f64;
    w * sinhc_root(beta * beta - (PI * w * x).powi(2)) / bessel_i0(beta)
}

/// Mean square of the aliased share over an image that takes `fraction` of the grid.
fn aliasing(beta: f64, fraction: f64) -> f64 {
    let points = 48;
    (0..=points)
        .map(|i| {
            let x = 0.5 * fraction * f64::from(i) / f64::from(points);
            let wanted = transform(beta, x);
            [-2.0, -1.0, 1.0, 2.0].iter().map(|m| (transform(beta, x + m) / wanted).powi(2)).sum::<f64>()
        })
        .sum()
}

impl Kernel {
    /// The best kernel for an image that takes `fraction` (below 1) of the grid in each direction.
    pub(crate) fn new(fraction: f64) -> Self {
        let fraction = fraction.clamp(0.05, 0.95);
        let mut beta = 9.0;
        let mut least = f64::INFINITY;
        for step in 0..240 {
            let candidate = 9.0 + 0.05 * f64::from(step);
            let value = aliasing(candidate, fraction);
            if value < least {
                (beta, least) = (candidate, value);
            }
        }
        let mut taps = [[0.0; LANES]; TERMS];
        for k in 0..WIDTH {
            let shift = k as f64 - 0.5 * (WIDTH as f64 - 1.0);
            for (d, c) in polynomial(|z| Self::value_with(beta, z + shift)).iter().enumerate() {
                taps[d][k] = *c as f32;
            }
        }
        Self { beta, taps }
    }

    fn value_with(beta: f64, t: f64) -> f64 {
        let r = 1.0 - (2.0 * t / WIDTH as f64).powi(2);
        if r < 0.0 { 0.0 } else { bessel_i0(beta * r.sqrt()) / bessel_i0(beta) }
    }

    /// Kernel value at a distance of `t` grid cells, for tests.
    #[cfg(test)]
    pub(crate) fn value(&self, t: f64) -> f64 {
        Self::value_with(self.beta, t)
    }

    /// Factor that undoes the kernel's effect at a pixel `x` pixels from the axis, for a grid of `grid` points.
    pub(crate) fn correction(&self, x: f64, grid: usize) -> f64 {
        1.0 / transform(self.beta, x / grid as f64)
    }
}

/// Power-basis coefficients on −0.5..0.5 of the polynomial through `TERMS` Chebyshev nodes of `f`.
fn polynomial(f: impl Fn(f64) -> f64) -> [f64; TERMS] {
    // Newton's divided differences, expanded to powers of z; stable enough in f64 for ten nodes.
    let nodes: Vec<f64> = (0..TERMS).map(|i| 0.5 * (PI * (i as f64 + 0.5) / TERMS as f64).cos()).collect();
    let mut difference: Vec<f64> = nodes.iter().map(|&z| f(z)).collect();
    for order in 1..TERMS {
        for i in (order..TERMS).rev() {
            difference[i] = (difference[i] - difference[i - 1]) / (nodes[i] - nodes[i - order]);
        }
    }
    let mut powers = [0.0; TERMS];
    for i in (0..TERMS).rev() {
        for d in (1..TERMS).rev() {
            powers[d] = powers[d - 1] - nodes[i] * powers[d];
        }
        powers[0] = difference[i] - nodes[i] * powers[0];
    }
    powers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_follow_the_kernel() {
        let kernel = Kernel::new(1.0 / 1.2);
        for step in 0..=100 {
            let z = f64::from(step) / 100.0 - 0.5;
            for k in 0..WIDTH {
                let fitted: f64 = (0..TERMS).rev().fold(0.0, |sum, d| sum * z + f64::from(kernel.taps[d][k]));
                let exact = kernel.value(z + k as f64 - 0.5 * (WIDTH as f64 - 1.0));
                assert!((fitted - exact).abs() < 4e-7, "tap {k} at {z}: {fitted} {exact}");
            }
        }
    }

    #[test]
    fn correction_is_the_inverse_of_the_numeric_transform() {
        let kernel = Kernel::new(0.8);
        for x in [0.0, 100.0, 250.0, 400.0] {
            let steps = 200_000;
            let sum: f64 = (0..steps)
                .map(|i| {
                    let t = WIDTH as f64 * ((f64::from(i) + 0.5) / f64::from(steps) - 0.5);
                    kernel.value(t) * (2.0 * PI * x * t / 1000.0).cos()
                })
                .sum::<f64>()
                * WIDTH as f64
                / f64::from(steps);
            assert!((sum * kernel.correction(x, 1000) - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn aliasing_is_small_at_the_ratios_in_use() {
        for (fraction, limit) in [(1.0 / 1.2, 2e-4), (1.0 / 1.25, 8e-5), (0.5, 1e-6)] {
            let kernel = Kernel::new(fraction);
            let rms = (aliasing(kernel.beta, fraction) / 49.0).sqrt();
            assert!(rms < limit, "{fraction}: {rms}");
        }
    }
}
