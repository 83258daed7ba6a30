//! Random numbers that do not depend on the order of the work: every frame row has its own stream.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream is for. Two purposes never share random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Positions and sizes of the foam's voids.
    Foam = 1,
    /// The rotation centre, when none is given.
    Center = 2,
    /// The flat field's structure.
    FlatField = 3,
    /// The dark field's fixed pattern.
    DarkField = 4,
    /// Gain errors of columns (rings).
    Rings = 5,
    /// Dead columns and hot pixels.
    Defects = 6,
    /// Noise of dark frames.
    DarkFrame = 7,
    /// Noise of flat frames.
    FlatFrame = 8,
    /// Noise of projections.
    Projection = 9,
}

/// The stream of `seed` for a purpose, a frame and a row (ChaCha with 8 rounds; the three numbers
/// go into key and stream number, so all streams are independent).
pub(crate) fn stream(seed: u64, purpose: Purpose, frame: usize, row: usize) -> Stream {
    let mut key = [0u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8] = purpose as u8;
    key[16..24].copy_from_slice(&(frame as u64).to_le_bytes());
    let mut generator = ChaCha8Rng::from_seed(key);
    generator.set_stream(row as u64);
    Stream { generator }
}

/// One stream of random numbers.
pub(crate) struct Stream {
    generator: ChaCha8Rng,
}

impl Stream {
    /// Uniform in [0, 1) with 53 bits.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.generator.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Uniform in [low, high).
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Fills `out` with standard normals; `words` is scratch.
    #[inline(always)]
    pub(crate) fn normals(&mut self, out: &mut Vec<f32>, words: &mut Vec<u32>, count: usize) {
        let even = count.next_multiple_of(2);
        words.resize(even, 0);
        out.resize(even, 0.0);
        self.generator.fill_bytes(bytemuck::cast_slice_mut(words));
        // Bytes arrive in the order of the stream; on big-endian machines words differ in order only.
        for word in words.iter_mut() {
            *word = u32::from_le(*word);
        }
        super::kernels::normals(words, out);
    }

    /// A Poisson number with the given mean, exact (inversion by sequential search); for means below 100.
    /// A mean that is negative or not a number counts as 0.
    pub(crate) fn poisson(&mut self, mean: f64) -> f64 {
        if mean.is_nan() || mean <= 0.0 {
            return 0.0;
        }
        let uniform = self.uniform();
        let mut probability = (-mean).exp();
        let mut cumulated = probability;
        let mut count = 0.0;
        // 1000 is beyond 50 standard deviations at a mean of 100; it ends the search when rounding
        // keeps the cumulated probability just below the draw.
        while uniform >= cumulated && count < 1000.0 {
            count += 1.0;
            probability *= mean / count;
            cumulated += probability;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(seed: u64, purpose: Purpose, frame: usize, row: usize, count: usize) -> Vec<f32> {
        let (mut out, mut words) = (Vec::new(), Vec::new());
        stream(seed, purpose, frame, row).normals(&mut out, &mut words, count);
        out
    }

    #[test]
    fn normals_have_the_moments_and_tails_of_normals() {
        let count = 1 << 20;
        let x = draw(1, Purpose::Projection, 0, 0, count);
        let n = count as f64;
        let moment = |p: i32| x.iter().map(|&v| f64::from(v).powi(p)).sum::<f64>() / n;
        // Five standard errors of each estimate: var(x^p) = 1, 2, 15, 96 for p = 1..4.
        let limit = |variance: f64| 5.0 * (variance / n).sqrt();
        assert!(moment(1).abs() < limit(1.0));
        assert!((moment(2) - 1.0).abs() < limit(2.0));
        assert!(moment(3).abs() < limit(15.0));
        assert!((moment(4) - 3.0).abs() < limit(96.0));
        let beyond_three = x.iter().filter(|v| v.abs() > 3.0).count() as f64;
        let expected = 0.002_699_796 * n;
        assert!((beyond_three - expected).abs() < 5.0 * expected.sqrt(), "{beyond_three} {expected}");
        // Neighbours and the two halves of a pair are uncorrelated.
        let half = count / 2;
        for shift in [1, half] {
            let c = (0..count - shift).map(|i| f64::from(x[i] * x[i + shift])).sum::<f64>();
            assert!(c.abs() < 5.0 * n.sqrt(), "{shift} {c}");
        }
    }

    #[test]
    fn poisson_has_mean_and_variance_equal() {
        for mean in [0.05, 1.0, 7.5, 24.0, 90.0] {
            let mut stream = stream(3, Purpose::Projection, 1, 2);
            let n = 100_000;
            let x: Vec<f64> = (0..n).map(|_| stream.poisson(mean)).collect();
            let m = x.iter().sum::<f64>() / f64::from(n);
            let v = x.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / f64::from(n);
            let error = (mean / f64::from(n)).sqrt();
            assert!((m - mean).abs() < 5.0 * error, "{mean}: {m}");
            // var of the sample variance: (μ + 2 μ²)/n.
            let error = ((mean + 2.0 * mean * mean) / f64::from(n)).sqrt();
            assert!((v - mean).abs() < 5.0 * error, "{mean}: {v}");
        }
        assert_eq!(stream(3, Purpose::Foam, 0, 0).poisson(f64::NAN), 0.0);
    }

    #[test]
    fn streams_differ_by_every_part_of_their_name() {
        let base = draw(1, Purpose::Projection, 2, 3, 8);
        assert_eq!(base, draw(1, Purpose::Projection, 2, 3, 8));
        for other in [
            draw(2, Purpose::Projection, 2, 3, 8),
            draw(1, Purpose::FlatFrame, 2, 3, 8),
            draw(1, Purpose::Projection, 3, 3, 8),
            draw(1, Purpose::Projection, 2, 4, 8),
        ] {
            assert_ne!(base, other);
        }
    }
}
