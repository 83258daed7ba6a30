//! How alike a sample's projections are, and what couples those on both sides of a seam.
//!
//! The Fourier values of projections are jointly Gaussian with a covariance Σ that depends on the angles between them.
//! Of Σ⁻¹ only the block that couples one side with the other is asked for, and of that only its product with the values:
//! with Σ = L Lᵀ it is the scalar product of L⁻¹(first, 0) and L⁻¹(0, second), which the elimination yields on its way.
//!
//! Loops run over groups of [`LANES`] numbers. No sum changes its order by it and nothing is fused, so every processor gets
//! the same bits.

use std::f64::consts::TAU;

use pulp::{Arch, Scalar, Simd, WithSimd};
use rustfft::num_complex::Complex64;

/// Numbers that are treated together, and frequencies that share one covariance.
pub(super) const LANES: usize = 8;
/// Such a group.
type Group = [f64; LANES];

/// What the covariance of a band is made of.
pub(super) struct Model {
    /// Distance in the plane of frequencies of two values a unit of sin(Δφ/2) apart.
    pub(super) distance: f64,
    /// Power that turns with the sample, power of each value alone, and power that all of one side share.
    pub(super) signal: f64,
    pub(super) own: f64,
    pub(super) pedestal: f64,
}

/// Projections on two sides of a seam.
pub(super) struct Sides {
    first: usize,
    count: usize,
    /// Groups of a row of the covariance.
    groups: usize,
    /// sin(Δφ/2) of all pairs, (count, groups).
    sines: Vec<Group>,
    /// Upper triangle of the covariance, each row followed by real and imaginary parts of a value of the first side and
    /// of the second.
    rows: Vec<Group>,
}

/// Groups behind a row of the covariance: those of the first side, then of the second.
const VALUES: usize = 2;

impl Sides {
    /// `angles` in radians, the first `first` of them those of the first side.
    pub(super) fn new(angles: &[f64], first: usize) -> Self {
        let count = angles.len();
        let groups = count.div_ceil(LANES);
        let sine = |a: f64, j: usize| angles.get(j).map_or(0.0, |b| (0.5 * (a - b)).sin());
        let sines = angles
            .iter()
            .flat_map(|a| (0..groups).map(move |g| std::array::from_fn(|l| sine(*a, g * LANES + l))))
            .collect();
        let rows = vec![[0.0; LANES]; count * (groups + 2 * VALUES)];
        Self { first, count, groups, sines, rows }
    }

    /// −Σ conj(first) (Σ⁻¹) second at each of `bins` (at most [`LANES`]) of the spectra; `None` where the covariance is
    /// not positive definite.
    pub(super) fn couple(
        &mut self,
        model: &Model,
        spectra: &[Vec<Complex64>],
        bins: std::ops::Range<usize>,
    ) -> Option<[Complex64; LANES]> {
        let (groups, stride) = (self.groups, self.groups + 2 * VALUES);
        for (i, (row, spectrum)) in self.rows.chunks_exact_mut(stride).zip(spectra).enumerate() {
            let values = &mut row[groups..];
            values.fill([0.0; LANES]);
            let at = if i < self.first { 0 } else { VALUES };
            for (lane, value) in spectrum[bins.clone()].iter().enumerate() {
                values[at][lane] = value.re;
                values[at + 1][lane] = value.im;
            }
        }
        if !Arch::new().dispatch(Eliminate { sides: self, model }) {
            return None;
        }
        let mut sums = [Complex64::ZERO; LANES];
        for row in self.rows.chunks_exact(stride).skip(self.first) {
            let [a, b, c, d] = [0, 1, 2, 3].map(|k| row[groups + k]);
            for (lane, sum) in sums.iter_mut().enumerate() {
                *sum -= Complex64::new(a[lane], -b[lane]) * Complex64::new(c[lane], d[lane]);
            }
        }
        Some(sums)
    }
}

/// Makes the covariance and eliminates it, which turns the values behind into L⁻¹ values. False when it is not positive
/// definite.
struct Eliminate<'a> {
    sides: &'a mut Sides,
    model: &'a Model,
}

impl WithSimd for Eliminate<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let Sides { first, count, groups, sines, rows } = self.sides;
        let (first, count, groups, model) = (*first, *count, *groups, self.model);
        let stride = groups + 2 * VALUES;
        for (i, (row, sines)) in rows.chunks_exact_mut(stride).zip(sines.chunks_exact(groups)).enumerate() {
            let begin = i / LANES;
            let (distance, signal) = (simd.splat_f64s(model.distance), simd.splat_f64s(model.signal));
            for (cells, sines) in row.iter_mut().zip(sines).skip(begin) {
                let (cells, sines) = (S::as_mut_simd_f64s(cells).0, S::as_simd_f64s(sines).0);
                for (cell, sine) in cells.iter_mut().zip(sines) {
                    *cell = simd.mul_f64s(signal, disc_correlations(simd, simd.mul_f64s(distance, *sine)));
                }
            }
            // Of the rows only what follows the diagonal is used.
            let side = if i < first { i..first } else { i..count };
            row[..groups].as_flattened_mut()[side].iter_mut().for_each(|cell| *cell += model.pedestal);
            row[begin][i % LANES] += model.own;
        }
        for k in 0..count {
            let (above, rest) = rows.split_at_mut((k + 1) * stride);
            let row = &mut above[k * stride..];
            let pivot = row[k / LANES][k % LANES];
            if !(pivot > 0.0 && pivot.is_finite()) {
                return false;
            }
            // Values of the second side are zero in the rows of the first.
            let end = groups + if k < first { VALUES } else { 2 * VALUES };
            let root = pivot.sqrt();
            row[k / LANES..end].iter_mut().flatten().for_each(|value| *value /= root);
            for (j, other) in (k + 1..count).zip(rest.chunks_exact_mut(stride)) {
                let (begin, factor) = (j / LANES, row[j / LANES][j % LANES]);
                let factor = simd.splat_f64s(factor);
                for (cells, more) in other[begin..end].iter_mut().zip(&row[begin..end]) {
                    let (cells, more) = (S::as_mut_simd_f64s(cells).0, S::as_simd_f64s(more).0);
                    for (cell, more) in cells.iter_mut().zip(more) {
                        *cell = simd.sub_f64s(*cell, simd.mul_f64s(*more, factor));
                    }
                }
            }
        }
        true
    }
}

/// Mean of [`disc_correlation`] over distances, each times `scale`.
pub(super) fn mean_correlation(distances: &[f64], scale: f64) -> f64 {
    Arch::new().dispatch(Mean { distances, scale })
}

struct Mean<'a> {
    distances: &'a [f64],
    scale: f64,
}

impl WithSimd for Mean<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let (groups, rest) = self.distances.as_chunks::<LANES>();
        let mut sums: Group = [0.0; LANES];
        for group in groups {
            let (sums, group) = (S::as_mut_simd_f64s(&mut sums).0, S::as_simd_f64s(group).0);
            for (sum, distance) in sums.iter_mut().zip(group) {
                let distance = simd.mul_f64s(simd.splat_f64s(self.scale), *distance);
                *sum = simd.add_f64s(*sum, disc_correlations(simd, distance));
            }
        }
        let rest: f64 = rest.iter().map(|distance| disc_correlation(self.scale * distance)).sum();
        (sums.iter().sum::<f64>() + rest) / self.distances.len() as f64
    }
}

/// Taylor's series of the cosine in x², good to 1e-10 up to π.
const COSINE: [f64; 11] = [
    1.0,
    -1.0 / 2.0,
    1.0 / 24.0,
    -1.0 / 720.0,
    1.0 / 40_320.0,
    -1.0 / 3_628_800.0,
    1.0 / 479_001_600.0,
    -1.0 / 87_178_291_200.0,
    1.0 / 20_922_789_888_000.0,
    -1.0 / 6_402_373_705_728_000.0,
    1.0 / 2_432_902_008_176_640_000.0,
];
/// Added and taken away again, it rounds to a whole number.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// 2 J₁(z)/z, the correlation of a uniform disc's Fourier values a distance z apart.
pub(super) fn disc_correlation(z: f64) -> f64 {
    disc_correlations(Scalar, z)
}

/// The same of several distances. J₁ by the rational approximations of Abramowitz & Stegun 9.4.4 and 9.4.6 (error below
/// 1e-7), both computed, since a choice between numbers is quicker than one between ways.
#[inline(always)]
fn disc_correlations<S: Simd>(simd: S, z: S::f64s) -> S::f64s {
    let z = simd.abs_f64s(z);
    let three = simd.splat_f64s(3.0);
    let third = simd.mul_f64s(z, simd.splat_f64s(1.0 / 3.0));
    let near = polynomial(
        simd,
        &[1.0, -1.124_999_7, 0.421_871_46, -0.079_085_78, 0.008_866_38, -0.000_635_22, 0.000_022_18],
        simd.mul_f64s(third, third),
    );
    let far = simd.max_f64s(z, three);
    let t = simd.div_f64s(three, far);
    let amplitude = polynomial(
        simd,
        &[1.595_769_12, 0.000_003_12, 0.033_193_34, 0.000_342_1, -0.004_990_22, 0.002_273_06, -0.000_400_66],
        t,
    );
    let phase = polynomial(
        simd,
        &[
            -2.356_194_49,
            0.124_996_12,
            0.000_056_50,
            -0.006_378_79,
            0.000_743_48,
            0.000_798_24,
            -0.000_291_66,
        ],
        t,
    );
    let phase = simd.add_f64s(far, phase);
    let round = simd.splat_f64s(ROUND);
    let turns = simd.mul_f64s(phase, simd.splat_f64s(1.0 / TAU));
    let turns = simd.sub_f64s(simd.add_f64s(turns, round), round);
    let angle = simd.sub_f64s(phase, simd.mul_f64s(turns, simd.splat_f64s(TAU)));
    let cosine = polynomial(simd, &COSINE, simd.mul_f64s(angle, angle));
    let falling = simd.mul_f64s(far, simd.sqrt_f64s(far));
    let value = simd.div_f64s(simd.mul_f64s(amplitude, cosine), falling);
    simd.select_f64s(simd.greater_than_f64s(z, three), value, near)
}

/// Value at `t` of a polynomial, the constant term first.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(simd: S, terms: &[f64; N], t: S::f64s) -> S::f64s {
    let terms = terms.iter().rev();
    terms.fold(simd.splat_f64s(0.0), |sum, term| simd.add_f64s(simd.mul_f64s(sum, t), simd.splat_f64s(*term)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bessel_values_from_tables() {
        // J1(1) = 0.4400505857, J1(5) = -0.3275791376, J1(20) = 0.0668331242, J1(1000) = 0.00472831190709
        let table = [
            (1.0, 0.440_050_585_7),
            (5.0, -0.327_579_137_6),
            (20.0, 0.066_833_124_2),
            (1000.0, 0.004_728_311_907),
        ];
        for (z, j) in table {
            assert!((disc_correlation(z) - 2.0 * j / z).abs() < 1e-7, "z {z}");
        }
        assert!((disc_correlation(0.0) - 1.0).abs() < 1e-12);
        let distances: Vec<f64> = (0..19).map(|i| 0.4 * f64::from(i)).collect();
        let mean = distances.iter().map(|z| disc_correlation(2.0 * z)).sum::<f64>() / 19.0;
        assert!((mean_correlation(&distances, 2.0) - mean).abs() < 1e-12);
    }

    /// Σ⁻¹ by Gauss-Jordan elimination.
    fn inverse(mut a: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        let n = a.len();
        for (i, row) in a.iter_mut().enumerate() {
            row.extend((0..n).map(|j| f64::from(u8::from(i == j))));
        }
        for k in 0..n {
            let pivot = a[k][k];
            a[k].iter_mut().for_each(|value| *value /= pivot);
            for i in (0..n).filter(|i| *i != k) {
                let factor = a[i][k];
                let row = a[k].clone();
                a[i].iter_mut().zip(row).for_each(|(value, more)| *value -= factor * more);
            }
        }
        a.into_iter().map(|row| row[n..].to_vec()).collect()
    }

    #[test]
    fn coupling_is_that_of_the_inverse_covariance() {
        let angles: Vec<f64> = (0..13).map(|i| 0.07 * f64::from(i) + 0.001 * f64::from(i * i)).collect();
        let (first, n) = (6, angles.len());
        let spectra: Vec<Vec<Complex64>> = (0..n)
            .map(|i| (0..9).map(|k| Complex64::cis((i * 7 + k * 3) as f64) * (1.0 + k as f64)).collect())
            .collect();
        let model = Model { distance: 30.0, signal: 2.0, own: 0.3, pedestal: 5.0 };
        let covariance = |i: usize, j: usize| {
            2.0 * disc_correlation(30.0 * (0.5 * (angles[i] - angles[j])).sin())
                + if i == j { 0.3 } else { 0.0 }
                + if (i < first) == (j < first) { 5.0 } else { 0.0 }
        };
        let inverse = inverse((0..n).map(|i| (0..n).map(|j| covariance(i, j)).collect()).collect());
        let found = Sides::new(&angles, first).couple(&model, &spectra, 2..9).unwrap();
        for bin in 2..9 {
            let mut sum = Complex64::ZERO;
            for i in 0..first {
                for j in first..n {
                    sum -= spectra[i][bin].conj() * inverse[i][j] * spectra[j][bin];
                }
            }
            assert!((sum - found[bin - 2]).norm() < 1e-9 * sum.norm().max(1.0), "{sum} {}", found[bin - 2]);
        }
        let bad = Model { distance: 30.0, signal: 1.0, own: -3.0, pedestal: 0.0 };
        assert!(Sides::new(&angles, first).couple(&bad, &spectra, 2..9).is_none());
    }
}
