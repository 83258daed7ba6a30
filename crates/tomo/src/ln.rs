//! Natural logarithm for whole lines, fast enough to disappear beside the memory traffic.
//!
//! x = 2^e · m with m in [√½, √2); ln m = f − f²/2 + f³ P(f) with f = m − 1. P (degree 7) is a minimax fit of
//! relative error 6e-9 on that interval, so rounding to f32 dominates: |error| ≤ 1.0e-7 · max(1, |ln x|),
//! and ≤ 1.2e-7 relative everywhere. Defined for positive normal numbers; others must be clipped before.

use pulp::Simd;

const P: [f32; 8] = [
    0.333_333_3,
    -0.250_008_23,
    0.200_012_34,
    -0.166_232_93,
    0.142_015_37,
    -0.131_606_2,
    0.127_634_69,
    -0.076_357_38,
];
/// ln 2 in two parts: the first has few bits, so that e · LN2_HIGH is exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// Bits of √½.
const SQRT_HALF: i32 = 0x3f35_04f3;

/// a·b + c, fused where the dispatched instruction set can (on others `mul_add` would call a library).
#[inline(always)]
pub(crate) fn fma<S: Simd>(a: f32, b: f32, c: f32) -> f32 {
    if S::IS_SCALAR { a * b + c } else { a.mul_add(b, c) }
}

/// ln(x) of a positive normal number; vectorises when inlined in a loop under `S`.
#[inline(always)]
pub(crate) fn ln<S: Simd>(x: f32) -> f32 {
    let bits = x.to_bits() as i32;
    let exponent = (bits - SQRT_HALF) >> 23;
    let f = f32::from_bits((bits - (exponent << 23)) as u32) - 1.0;
    let e = exponent as f32;
    let mut p = P[7];
    p = fma::<S>(p, f, P[6]);
    p = fma::<S>(p, f, P[5]);
    p = fma::<S>(p, f, P[4]);
    p = fma::<S>(p, f, P[3]);
    p = fma::<S>(p, f, P[2]);
    p = fma::<S>(p, f, P[1]);
    p = fma::<S>(p, f, P[0]);
    let square = f * f;
    let mut y = square * (p * f);
    y = fma::<S>(e, LN2_LOW, y);
    y = fma::<S>(square, -0.5, y);
    fma::<S>(e, LN2_HIGH, f + y)
}

/// Every path that this processor can run, the portable one first.
#[cfg(test)]
pub(crate) fn paths() -> Vec<pulp::Arch> {
    let mut paths = vec![pulp::Arch::Scalar];
    #[cfg(target_arch = "x86_64")]
    {
        paths.extend(pulp::x86::V3::try_new().map(pulp::Arch::V3));
        paths.extend(pulp::x86::V4::try_new().map(pulp::Arch::V4));
    }
    #[cfg(not(target_arch = "x86_64"))]
    paths.push(pulp::Arch::new());
    paths
}

#[cfg(test)]
mod tests {
    use super::ln;
    use pulp::{Arch, Scalar, Simd, WithSimd};

    struct Line<'a>(&'a [f32], &'a mut [f32]);
    impl WithSimd for Line<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            for (y, x) in self.1.iter_mut().zip(self.0) {
                *y = ln::<S>(*x);
            }
        }
    }

    #[test]
    fn the_error_is_below_its_bound_on_every_path() {
        // 2^-126 .. 2^100 in odd steps, and densely around 1 where relative errors are largest.
        let mut x: Vec<f32> = (0..400_000u32).map(|i| f32::from_bits(0x0080_0000 + i * 4751)).collect();
        x.extend((0..200_000).map(|i| 0.9 + 1e-6 * i as f32));
        let mut y = vec![0.0; x.len()];
        for scalar in [false, true] {
            if scalar {
                Scalar.vectorize(Line(&x, &mut y));
            } else {
                Arch::new().dispatch(Line(&x, &mut y));
            }
            for (x, y) in x.iter().zip(&y) {
                let truth = f64::from(*x).ln();
                let error = (f64::from(*y) - truth).abs();
                assert!(error <= 1.5e-7 * truth.abs().max(1.0), "ln {x}: {y} but {truth}");
                assert!(error <= 3e-7 * truth.abs(), "ln {x}: {y} but {truth}");
            }
        }
    }
}
