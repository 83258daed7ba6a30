//! The inner loops of [`crate::normalize`]: one detector line, plain loops that vectorise under `pulp`.

use crate::ln::{fma, ln};
use crate::normalize::Sample;
use pulp::{Arch, Simd, WithSimd};

/// Smallest flat − dark that is divided by, as in TomoPy.
const SMALLEST_BEAM: f32 = 1e-6;

/// flat − dark of a line: of one group, or on the straight line between two.
pub(crate) enum Reference<'a> {
    One(&'a [f32]),
    Between(&'a [f32], &'a [f32], f32),
}

/// (raw − dark) / max(beam, 1e-6) · gain of one line. All slices have the same length.
pub(crate) struct Transmission<'a, T> {
    pub(crate) raw: &'a [T],
    pub(crate) dark: &'a [f32],
    pub(crate) reference: Reference<'a>,
    pub(crate) gain: f32,
    pub(crate) out: &'a mut [f32],
}

impl<T: Sample> WithSimd for Transmission<'_, T> {
    /// Number of results that are not finite.
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        let Self { raw, dark, reference, gain, out } = self;
        let n = out.len().min(raw.len()).min(dark.len());
        let (raw, dark, out) = (&raw[..n], &dark[..n], &mut out[..n]);
        let mut bad = 0u32;
        match reference {
            Reference::One(beam) => {
                let beam = &beam[..n];
                for j in 0..n {
                    out[j] = divide(raw[j].to_f32() - dark[j], beam[j]) * gain;
                    bad += u32::from(!finite(out[j]));
                }
            }
            Reference::Between(before, after, weight) => {
                let (before, after) = (&before[..n], &after[..n]);
                for j in 0..n {
                    let beam = fma::<S>(weight, after[j] - before[j], before[j]);
                    out[j] = divide(raw[j].to_f32() - dark[j], beam) * gain;
                    bad += u32::from(!finite(out[j]));
                }
            }
        }
        bad as usize
    }
}

#[inline(always)]
fn divide(signal: f32, beam: f32) -> f32 {
    signal / if beam < SMALLEST_BEAM { SMALLEST_BEAM } else { beam }
}

#[inline(always)]
fn finite(x: f32) -> bool {
    x.abs() <= f32::MAX
}

struct MinusLog<'a> {
    minimum: f32,
    line: &'a mut [f32],
}

impl WithSimd for MinusLog<'_> {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        let minimum = self.minimum;
        let mut clipped = 0u32;
        for value in self.line.iter_mut() {
            let x = *value;
            clipped += u32::from(x < minimum);
            *value = -ln::<S>(if x > minimum { x } else { minimum });
        }
        clipped as usize
    }
}

/// −ln(max(x, minimum)) in place; returns how many values were raised. `minimum` is positive and normal.
pub(crate) fn minus_log(arch: Arch, minimum: f32, line: &mut [f32]) -> usize {
    arch.dispatch(MinusLog { minimum, line })
}

/// Replaces values that are not finite by the straight line between the nearest finite ones in the line,
/// at the ends by the nearest; a line without any becomes 1 (no attenuation).
pub(crate) fn repair(line: &mut [f32]) {
    let mut last: Option<usize> = None;
    for j in 0..=line.len() {
        if j < line.len() && !line[j].is_finite() {
            continue;
        }
        let first = last.map_or(0, |k| k + 1);
        let (left, right) = (last.map(|k| line[k]), line.get(j).copied());
        for k in first..j {
            line[k] = match (left, right) {
                (Some(a), Some(b)) => a + (b - a) * ((k + 1 - first) as f32 / (j + 1 - first) as f32),
                (Some(a), None) => a,
                (None, Some(b)) => b,
                (None, None) => 1.0,
            };
        }
        last = Some(j);
    }
}

#[cfg(test)]
mod tests {
    use super::{MinusLog, Reference, Transmission, repair};
    use crate::ln::paths;

    #[test]
    fn every_path_agrees_with_the_portable_one() {
        let n = 1003;
        let raw: Vec<u16> = (0..n).map(|i| ((i * 7919) % 5000) as u16).collect();
        let dark: Vec<f32> = (0..n).map(|i| 100.0 + (i % 7) as f32).collect();
        let flats: Vec<Vec<f32>> =
            [3000.0, 3300.0].map(|f| (0..n).map(|i| f + (i % 11) as f32).collect()).into();
        let mut results = paths().into_iter().map(|arch| {
            let mut line = vec![0.0f32; n];
            let reference = Reference::Between(&flats[0], &flats[1], 0.3);
            let work = Transmission { raw: &raw, dark: &dark, reference, gain: 1.1, out: &mut line };
            assert_eq!(arch.dispatch(work), 0);
            let clipped = arch.dispatch(MinusLog { minimum: 0.01, line: &mut line });
            (clipped, line)
        });
        let (clipped, plain) = results.next().unwrap();
        assert!(clipped > 0);
        for (more, fast) in results {
            assert_eq!(clipped, more);
            assert!(plain.iter().zip(&fast).all(|(a, b)| (a - b).abs() < 1e-6 * a.abs().max(1.0)));
        }
    }

    #[test]
    fn gaps_become_straight_lines() {
        let nan = f32::NAN;
        let mut line = [nan, 1.0, nan, f32::INFINITY, 4.0, nan];
        repair(&mut line);
        assert_eq!(line, [1.0, 1.0, 2.0, 3.0, 4.0, 4.0]);
        let mut blank = [nan, nan];
        repair(&mut blank);
        assert_eq!(blank, [1.0, 1.0]);
        repair(&mut []);
    }
}
