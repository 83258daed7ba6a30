//! The three inner loops of the simulator: chords of ellipses, the exponential, random normals.
//!
//! Everything here is plain arithmetic on slices without branches on data, so that the compiler vectorises it
//! inside the run-time dispatch of the caller. Only IEEE-exact operations are used (add, multiply,
//! divide, square root, bit moves; never a fused multiply-add, never the C library), so that a seed
//! gives the same bits at every vector width.

/// Arc sine of |x| ≤ 1 to 2 ulp: the rational approximation of `x` on [0, 1/2] with the half-angle
/// identity asin x = π/2 − 2 asin √((1 − x)/2) above (the method and coefficients of fdlibm's
/// `e_asin.c`, Sun Microsystems 1993).
#[inline(always)]
fn asin(x: f64) -> f64 {
    let magnitude = x.abs();
    let large = magnitude > 0.5;
    let half_angle = 0.5 * (1.0 - magnitude);
    let z = if large { half_angle } else { magnitude * magnitude };
    let s = if large { half_angle.sqrt() } else { magnitude };
    let p = z
        * (1.666_666_666_666_666_6e-1
            + z * (-3.255_658_186_224_009e-1
                + z * (2.012_125_321_348_629_3e-1
                    + z * (-4.005_553_450_067_941e-2
                        + z * (7.915_349_942_898_145e-4 + z * 3.479_331_075_960_212e-5)))));
    let q = 1.0
        + z * (-2.403_394_911_734_414
            + z * (2.020_945_760_233_505_7 + z * (-6.882_839_716_054_533e-1 + z * 7.703_815_055_590_194e-2)));
    let r = s + s * (p / q);
    let positive = if large { std::f64::consts::FRAC_PI_2 - 2.0 * r } else { r };
    positive.copysign(x)
}

/// Area of the unit disc left of `t`, less half the disc: ∫₀ᵗ 2 √(1 − s²) ds, for −1 ≤ t ≤ 1.
#[inline(always)]
pub(crate) fn disc_area(t: f64) -> f64 {
    let t = t.clamp(-1.0, 1.0);
    t * ((1.0 - t) * (1.0 + t)).sqrt() + asin(t)
}

/// Adds the shadow of one ellipse to a detector row.
///
/// `row[k]` gains the line integral averaged over the pixel [k − ½, k + ½]: `weight` times the
/// difference of [`disc_area`] at the pixel's edges, which is exact at any size of the ellipse.
/// `center` is the shadow's middle (detector column), `half_width` its half width in pixels.
#[inline(always)]
pub(crate) fn add_shadow(row: &mut [f64], center: f64, half_width: f64, weight: f64, edges: &mut [f64]) {
    let last_column = row.len() as f64 - 1.0;
    // NaN and shadows beside the detector both fail this test.
    if !(center + half_width > -0.5 && center - half_width < last_column + 0.5) {
        return;
    }
    let first = (center - half_width + 0.5).floor().max(0.0);
    let last = (center + half_width + 0.5).floor().min(last_column);
    let (begin, end) = (first as usize, last as usize);
    if end < begin {
        return;
    }
    let pixels = &mut row[begin..=end];
    let edges = &mut edges[..pixels.len() + 1];
    let inverse = 1.0 / half_width;
    let offset = first - 0.5 - center;
    for (i, edge) in edges.iter_mut().enumerate() {
        *edge = disc_area((f64::from(i as i32) + offset) * inverse);
    }
    for (pixel, pair) in pixels.iter_mut().zip(edges.windows(2)) {
        *pixel += weight * (pair[1] - pair[0]);
    }
}

/// Replaces attenuations by transmissions exp(−a), relative error below 1e-14 for |a| ≤ 700.
#[inline(always)]
pub(crate) fn transmit(values: &mut [f64]) {
    // Adding 1.5·2⁵² rounds to an integer, which then stands in the low bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    const LN2_HIGH: f64 = 0.693_147_180_369_123_8;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    for value in values {
        let x = (-*value).clamp(-700.0, 700.0);
        let shifted = x * std::f64::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = (x - n * LN2_HIGH) - n * LN2_LOW;
        // Taylor series; |r| ≤ ln 2 / 2, so the first neglected term is below 7e-15.
        let mut e = 1.0 / 39_916_800.0;
        for factorial in
            [3_628_800.0, 362_880.0, 40_320.0, 5_040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0f64]
        {
            e = e * r + 1.0 / factorial;
        }
        let exponent = shifted.to_bits().wrapping_add(1023) << 52;
        *value = e * f64::from_bits(exponent);
    }
}

/// Turns pairs of random words into pairs of standard normals (Box and Muller 1958), in place of `out`.
///
/// `words` and `out` have the same even length. The logarithm and the sine are series of their own
/// (errors below 1e-6); 31 random bits in the radius reach 6.5 standard deviations.
#[inline(always)]
pub(crate) fn normals(words: &[u32], out: &mut [f32]) {
    let half = words.len() / 2;
    let (radius_words, angle_words) = words.split_at(half);
    let (first, second) = out.split_at_mut(half);
    for (((&w, &v), a), b) in
        radius_words.iter().zip(angle_words).zip(first.iter_mut()).zip(second.iter_mut())
    {
        let u = ((w >> 1) as i32) as f32 * (1.0 / 2_147_483_648.0) + (1.0 / 4_294_967_296.0);
        let radius = (-2.0 * ln_below_one(u)).max(0.0).sqrt();
        // The top two bits choose the quadrant, the others an angle in [−π/4, π/4).
        let fraction = (((v << 2) as i32) >> 2) as f32 * (1.0 / 536_870_912.0);
        let angle = fraction * std::f32::consts::FRAC_PI_4;
        let square = angle * angle;
        let sin = angle * (1.0 + square * (-1.0 / 6.0 + square * (1.0 / 120.0 - square * (1.0 / 5040.0))));
        let cos = 1.0
            + square * (-0.5 + square * (1.0 / 24.0 + square * (-1.0 / 720.0 + square * (1.0 / 40320.0))));
        let odd = v & 0x4000_0000 != 0;
        let flip = (v & 0x8000_0000) | 0x3f80_0000;
        let radius = radius * f32::from_bits(flip);
        *a = radius * if odd { sin } else { cos };
        *b = radius * if odd { cos } else { -sin };
    }
}

/// Natural logarithm of 0 < u ≤ 1 in single precision: exponent and mantissa apart, then
/// ln m = 2 artanh((m − 1)/(m + 1)) as a series.
#[inline(always)]
fn ln_below_one(u: f32) -> f32 {
    let bits = u.to_bits();
    // Brings the mantissa to [√½, √2).
    let shifted = bits.wrapping_sub(0x3f35_04f3);
    let exponent = (shifted as i32) >> 23;
    let mantissa = f32::from_bits((shifted & 0x007f_ffff).wrapping_add(0x3f35_04f3));
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let series =
        2.0 * s * (1.0 + square * (1.0 / 3.0 + square * (0.2 + square * (1.0 / 7.0 + square / 9.0))));
    exponent as f32 * std::f32::consts::LN_2 + series
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All three loops over the same input, inlined into whatever calls it.
    #[inline(always)]
    fn all(words: &[u32]) -> (Vec<f64>, Vec<f32>) {
        let mut row = vec![0.0; words.len()];
        let mut edges = vec![0.0; words.len() + 1];
        for (i, pair) in words.chunks_exact(2).enumerate() {
            let half_width = 0.3 + f64::from(pair[1] % 500) / 7.0;
            add_shadow(&mut row, i as f64 * 2.3 - 5.1, half_width, 0.5, &mut edges);
        }
        transmit(&mut row);
        let mut normal = vec![0.0; words.len()];
        normals(words, &mut normal);
        (row, normal)
    }

    struct All<'a>(&'a [u32]);
    impl pulp::WithSimd for All<'_> {
        type Output = (Vec<f64>, Vec<f32>);

        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _: S) -> Self::Output {
            all(self.0)
        }
    }

    #[test]
    fn wide_vectors_give_the_bits_of_narrow_ones() {
        let words: Vec<u32> = (0..998u32).map(|i| i.wrapping_mul(2_654_435_769) ^ (i << 7)).collect();
        let (row, normal) = pulp::Arch::new().dispatch(All(&words));
        let (narrow_row, narrow_normal) = all(&words);
        assert!(row.iter().zip(&narrow_row).all(|(a, b)| a.to_bits() == b.to_bits()));
        assert!(normal.iter().zip(&narrow_normal).all(|(a, b)| a.to_bits() == b.to_bits()));
        assert!(row.iter().any(|&v| v < 0.9));
    }

    #[test]
    fn arc_sine_agrees_with_the_c_library() {
        for i in -100_000..=100_000 {
            let x = f64::from(i) * 1e-5;
            assert!((asin(x) - x.asin()).abs() <= 5e-16, "{x}");
        }
    }

    #[test]
    fn exponential_agrees_with_the_c_library() {
        let x: Vec<f64> = (0..70_000).map(|i| -5.0 + f64::from(i) * 1e-3).collect();
        let mut y = x.clone();
        transmit(&mut y);
        for (x, y) in x.iter().zip(&y) {
            assert!((y / (-x).exp() - 1.0).abs() < 2e-14, "{x} {y}");
        }
        let mut extremes = [0.0, 1e9, f64::INFINITY];
        transmit(&mut extremes);
        assert_eq!(extremes[0], 1.0);
        assert!(extremes[1] > 0.0 && extremes[1] < 1e-300 && extremes[2] < 1e-300);
    }

    #[test]
    fn logarithm_agrees_with_the_c_library() {
        for i in 1..100_000 {
            let u = i as f32 * 1e-5;
            assert!((ln_below_one(u) - u.ln()).abs() <= 1e-6 * (1.0 + u.ln().abs()), "{u}");
        }
        assert!(ln_below_one(1.0).abs() < 1e-7);
    }

    #[test]
    fn a_shadow_is_the_chord_averaged_over_each_pixel() {
        // Against Gauss-free brute force: 20,000 midpoint samples a pixel.
        for (center, half_width) in
            [(10.3, 4.7), (10.0, 0.2), (10.5, 0.4), (-1.0, 3.0), (19.9, 2.5), (8.0, 90.0)]
        {
            let mut row = vec![0.0; 20];
            let mut edges = vec![0.0; 21];
            add_shadow(&mut row, center, half_width, half_width * half_width, &mut edges);
            for (k, &value) in row.iter().enumerate() {
                let samples = 20_000;
                let mean = (0..samples)
                    .map(|i| {
                        let u = k as f64 - 0.5 + (f64::from(i) + 0.5) / f64::from(samples) - center;
                        2.0 * (half_width * half_width - u * u).max(0.0).sqrt()
                    })
                    .sum::<f64>()
                    / f64::from(samples);
                // The midpoint rule's own error at the rim, where the slope is infinite, is ~1e-6.
                assert!(
                    (value - mean).abs() < 5e-6 * half_width.max(1.0),
                    "{center} {half_width} {k}: {value} {mean}"
                );
            }
        }
    }

    #[test]
    fn shadows_beside_the_detector_or_not_a_number_leave_it_alone() {
        for (center, half_width) in
            [(-9.0, 3.0), (40.0, 3.0), (f64::NAN, 3.0), (5.0, f64::NAN), (f64::INFINITY, 1.0)]
        {
            let mut row = vec![0.0; 8];
            add_shadow(&mut row, center, half_width, 1.0, &mut [0.0; 9]);
            assert!(row.iter().all(|&v| v == 0.0));
        }
    }
}
