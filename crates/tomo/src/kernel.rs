//! The gridding kernel of `exact` mode: Kaiser-Bessel, six or seven grid cells wide, as a table of its taps.
//!
//! A sample at a non-integer frequency is spread over the nearest grid points with the kernel's values; after the
//! inverse transform the image is divided by the kernel's Fourier transform, which is known in closed form. What remains
//! is aliasing: the kernel's transform one grid period away. The shape parameter is chosen to make that least for the
//! given ratio of grid to image.

use std::f64::consts::PI;

use pulp::Simd;

/// Taps are kept in a row of eight lanes; those beyond the kernel's width are zero.
pub(crate) const LANES: usize = 8;
/// Lanes of a row with each tap four times.
pub(crate) const WIDE: usize = 4 * LANES;
/// Such a row begins at a multiple of this many cells, with a zero before the first tap where need be.
pub(crate) const PAIR: usize = 2;
/// A row with each tap four times, and with the zeros before.
const SHIFTED: usize = WIDE + 4 * (PAIR - 1);
/// Binary digits of the offset that choose an entry of the table; between entries it is interpolated, with an error (at
/// most 3e-5 of the peak, 1e-5 rms) well below the aliasing. 20 KiB stay in the first-level cache.
const BITS: u32 = 6;
const ENTRIES: usize = 1 << BITS;

/// The taps at the beginning of an entry, and by how much they change over 2^−24 of it.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Entry<const N: usize> {
    value: [f32; N],
    slope: [f32; N],
}

/// Kaiser-Bessel kernel with its shape parameter.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    width: usize,
    beta: f64,
    table: Box<[Entry<LANES>; ENTRIES]>,
    /// The same with each tap four times, after a zero.
    wide: Box<[Entry<SHIFTED>; ENTRIES]>,
}

/// Entry of the table, and the distance from its beginning in units of 2^−24 of its width.
#[inline(always)]
fn split(fraction: u32) -> (usize, f32) {
    ((fraction >> (32 - BITS)) as usize, ((fraction << BITS) >> 8) as i32 as f32)
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
fn transform(width: usize, beta: f64, x: f64) -> f64 {
    let w = width as f64;
    w * sinhc_root(beta * beta - (PI * w * x).powi(2)) / bessel_i0(beta)
}

/// Mean square of the aliased share over an image that takes `fraction` of the grid.
fn aliasing(width: usize, beta: f64, fraction: f64) -> f64 {
    let points = 48;
    (0..=points)
        .map(|i| {
            let x = 0.5 * fraction * f64::from(i) / f64::from(points);
            let wanted = transform(width, beta, x);
            [-2.0, -1.0, 1.0, 2.0]
                .iter()
                .map(|m| (transform(width, beta, x + m) / wanted).powi(2))
                .sum::<f64>()
        })
        .sum()
}

impl Kernel {
    /// The best kernel of `width` (up to seven) cells for an image that takes `fraction` (below 1) of the grid.
    pub(crate) fn new(width: usize, fraction: f64) -> Self {
        let width = width.clamp(2, LANES + 1 - PAIR);
        let fraction = fraction.clamp(0.05, 0.95);
        let (mut beta, mut least) = (0.0, f64::INFINITY);
        for step in 0..300 {
            let candidate = (1.2 + 0.005 * f64::from(step)) * width as f64;
            let value = aliasing(width, candidate, fraction);
            if value < least {
                (beta, least) = (candidate, value);
            }
        }
        let mut table = Box::new([Entry { value: [0.0; LANES], slope: [0.0; LANES] }; ENTRIES]);
        for (i, entry) in table.iter_mut().enumerate() {
            for k in 0..width {
                let shift = k as f64 - 0.5 * (width as f64 - 1.0);
                // Offset of the taps from the sample, 0.5 down to -0.5.
                let at =
                    |x: f64| Self::value_with(width, beta, 0.5 - (i as f64 + x) / ENTRIES as f64 + shift);
                let (start, middle, end) = (at(0.0), at(0.5), at(1.0));
                entry.value[k] = (0.5 * middle - 0.25 * (end - 3.0 * start)) as f32;
                entry.slope[k] = ((end - start) / 16_777_216.0) as f32;
            }
        }
        let widened = |taps: [f32; LANES]| std::array::from_fn(|i| if i < 4 { 0.0 } else { taps[i / 4 - 1] });
        let wide = Box::new(table.map(|e| Entry { value: widened(e.value), slope: widened(e.slope) }));
        Self { width, beta, table, wide }
    }

    /// Width in grid cells.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Values at the `width` grid points around a sample.
    ///
    /// With x the sample's position less (width − 1)/2, the first of them is the whole number next to x, and `fraction`
    /// are the 32 binary digits after the point of x + 1/2.
    #[inline(always)]
    pub(crate) fn weights<S: Simd>(&self, simd: S, fraction: u32, weights: &mut [f32; LANES]) {
        let (entry, rest) = split(fraction);
        let (Entry { value, slope }, rest) = (&self.table[entry], simd.splat_f32s(rest));
        let (value, slope) = (S::as_simd_f32s(value).0, S::as_simd_f32s(slope).0);
        for (weight, (value, slope)) in S::as_mut_simd_f32s(weights).0.iter_mut().zip(value.iter().zip(slope))
        {
            *weight = simd.mul_add_e_f32s(rest, *slope, *value);
        }
    }

    /// The same, each of them four times, and with `shift` (0 or 1) zeros before the first.
    #[inline(always)]
    pub(crate) fn wide_weights<S: Simd>(
        &self,
        simd: S,
        fraction: u32,
        shift: usize,
        weights: &mut [f32; WIDE],
    ) {
        let (entry, rest) = split(fraction);
        let (entry, rest) = (&self.wide[entry], simd.splat_f32s(rest));
        let from = if shift == 0 { 4 } else { 0 };
        let (value, slope) = (&entry.value[from..from + WIDE], &entry.slope[from..from + WIDE]);
        let (value, slope) = (S::as_simd_f32s(value).0, S::as_simd_f32s(slope).0);
        for (weight, (value, slope)) in S::as_mut_simd_f32s(weights).0.iter_mut().zip(value.iter().zip(slope))
        {
            *weight = simd.mul_add_e_f32s(rest, *slope, *value);
        }
    }

    fn value_with(width: usize, beta: f64, t: f64) -> f64 {
        let r = 1.0 - (2.0 * t / width as f64).powi(2);
        if r < 0.0 { 0.0 } else { bessel_i0(beta * r.sqrt()) / bessel_i0(beta) }
    }

    /// Kernel value at a distance of `t` grid cells, for tests.
    #[cfg(test)]
    pub(crate) fn value(&self, t: f64) -> f64 {
        Self::value_with(self.width, self.beta, t)
    }

    /// Factor that undoes the kernel's effect at a pixel `x` pixels from the axis, for a grid of `grid` points.
    pub(crate) fn correction(&self, x: f64, grid: usize) -> f64 {
        1.0 / transform(self.width, self.beta, x / grid as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulp::Scalar;

    #[test]
    fn the_table_follows_the_kernel() {
        for width in [6, 7] {
            let kernel = Kernel::new(width, 1.0 / 1.2);
            for step in 0..1000u32 {
                let fraction = step * 4_294_967;
                let z = 0.5 - f64::from(fraction) / f64::from(u32::MAX);
                let (mut taps, mut wide) = ([f32::NAN; LANES], [f32::NAN; WIDE]);
                kernel.weights(Scalar, fraction, &mut taps);
                for shift in [0, 1] {
                    kernel.wide_weights(Scalar, fraction, shift, &mut wide);
                    let wanted = std::iter::repeat_n(&0.0, shift).chain(&taps).flat_map(|t| [*t; 4]);
                    assert!(wide.iter().zip(wanted).all(|(a, b)| *a == b));
                }
                for (k, tap) in taps.into_iter().enumerate() {
                    let exact = kernel.value(z + k as f64 - 0.5 * (width as f64 - 1.0));
                    let wanted = if k < width { exact } else { 0.0 };
                    assert!((f64::from(tap) - wanted).abs() < 3e-5, "{width}, tap {k} at {z}: {tap} {exact}");
                }
            }
        }
    }

    #[test]
    fn correction_is_the_inverse_of_the_numeric_transform() {
        let kernel = Kernel::new(7, 0.8);
        for x in [0.0, 100.0, 250.0, 400.0] {
            let steps = 200_000;
            let sum: f64 = (0..steps)
                .map(|i| {
                    let t = 7.0 * ((f64::from(i) + 0.5) / f64::from(steps) - 0.5);
                    kernel.value(t) * (2.0 * PI * x * t / 1000.0).cos()
                })
                .sum::<f64>()
                * 7.0
                / f64::from(steps);
            assert!((sum * kernel.correction(x, 1000) - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn aliasing_is_small_at_the_ratios_in_use() {
        for (fraction, limit) in [(1.0 / 1.2, 2e-4), (1.0 / 1.25, 8e-5), (0.5, 1e-6)] {
            let kernel = Kernel::new(7, fraction);
            let rms = (aliasing(7, kernel.beta, fraction) / 49.0).sqrt();
            assert!(rms < limit, "{fraction}: {rms}");
        }
    }
}
