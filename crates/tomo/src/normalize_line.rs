//! The inner loops of [`crate::normalize`]: one detector line, plain loops that vectorise under `pulp`.

use crate::ln::{fma, ln};
use pulp::{Arch, Simd, WithSimd};

/// A raw detector sample.
pub trait Sample: Copy + Send + Sync + 'static {
    /// The sample as `f32` (exact for the integer types).
    fn to_f32(self) -> f32;
}
impl Sample for u8 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from(self)
    }
}
impl Sample for u16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from(self)
    }
}
impl Sample for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

/// Bytes of a cache line.
const CACHE_LINE: usize = 64;
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
    /// What −ln is taken of at least, in the same pass; without, the transmission itself is the result.
    pub(crate) log: Option<f32>,
    pub(crate) out: &'a mut [f32],
}

impl<T: Sample> WithSimd for Transmission<'_, T> {
    /// Number of transmissions that are not finite, and of those that were raised.
    type Output = (usize, usize);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> (usize, usize) {
        match self.log {
            Some(minimum) => self.line::<S, true>(minimum),
            None => self.line::<S, false>(0.0),
        }
    }
}

impl<T: Sample> Transmission<'_, T> {
    #[inline(always)]
    fn line<S: Simd, const LOG: bool>(self, minimum: f32) -> (usize, usize) {
        let Self { raw, dark, reference, gain, out, .. } = self;
        let n = out.len().min(raw.len()).min(dark.len());
        let (raw, dark, out) = (&raw[..n], &dark[..n], &mut out[..n]);
        let (mut bad, mut clipped) = (0u32, 0u32);
        match reference {
            Reference::One(beam) => {
                let beam = &beam[..n];
                for j in 0..n {
                    let x = divide(raw[j].to_f32() - dark[j], beam[j]) * gain;
                    bad += u32::from(!finite(x));
                    clipped += u32::from(LOG && x < minimum);
                    out[j] = if LOG { minus_log_of::<S>(x, minimum) } else { x };
                }
            }
            Reference::Between(before, after, weight) => {
                let (before, after) = (&before[..n], &after[..n]);
                for j in 0..n {
                    let beam = fma::<S>(weight, after[j] - before[j], before[j]);
                    let x = divide(raw[j].to_f32() - dark[j], beam) * gain;
                    bad += u32::from(!finite(x));
                    clipped += u32::from(LOG && x < minimum);
                    out[j] = if LOG { minus_log_of::<S>(x, minimum) } else { x };
                }
            }
        }
        (bad as usize, clipped as usize)
    }
}

/// Brings raw samples into the cache: read for themselves, one a cache line, many lines are on their way at once, which
/// work on them would not let them be. Those of a detector row lie far apart, so that the processor cannot guess them.
pub(crate) fn fetch<T: Sample>(raw: &[T]) {
    let mut sum = 0u32;
    for x in raw.iter().step_by((CACHE_LINE / size_of::<T>().max(1)).max(1)) {
        sum = sum.wrapping_add(x.to_f32().to_bits());
    }
    std::hint::black_box(sum);
}

#[inline(always)]
fn divide(signal: f32, beam: f32) -> f32 {
    signal / if beam < SMALLEST_BEAM { SMALLEST_BEAM } else { beam }
}

#[inline(always)]
fn finite(x: f32) -> bool {
    x.abs() <= f32::MAX
}

#[inline(always)]
fn minus_log_of<S: Simd>(x: f32, minimum: f32) -> f32 {
    -ln::<S>(if x > minimum { x } else { minimum })
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
            *value = minus_log_of::<S>(x, minimum);
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

/// Divides a line by the straight line between the means of its `air` outermost values.
pub(crate) fn divide_by_air(line: &mut [f32], air: usize) {
    let n = line.len();
    let mean = |part: &[f32]| {
        let mean = part.iter().sum::<f32>() / air as f32;
        if mean > 0.0 { mean } else { 1.0 }
    };
    let (left, right) = (mean(&line[..air]), mean(&line[n - air..]));
    let slope = if n > 1 { (right - left) / (n - 1) as f32 } else { 0.0 };
    for (j, value) in line.iter_mut().enumerate() {
        *value /= left + slope * j as f32;
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
        for one in [true, false] {
            let mut results = paths().into_iter().map(|arch| {
                let pass = |log: Option<f32>, line: &mut [f32]| {
                    let reference = match one {
                        true => Reference::One(&flats[0]),
                        false => Reference::Between(&flats[0], &flats[1], 0.3),
                    };
                    arch.dispatch(Transmission {
                        raw: &raw,
                        dark: &dark,
                        reference,
                        gain: 1.1,
                        log,
                        out: line,
                    })
                };
                let (mut line, mut fused) = (vec![0.0f32; n], vec![0.0f32; n]);
                assert_eq!(pass(None, &mut line), (0, 0));
                let clipped = arch.dispatch(MinusLog { minimum: 0.01, line: &mut line });
                assert_eq!(pass(Some(0.01), &mut fused), (0, clipped));
                assert!(fused == line, "in one pass and in two");
                (clipped, line)
            });
            let (clipped, plain) = results.next().unwrap();
            assert!(clipped > 0);
            for (more, fast) in results {
                assert_eq!(clipped, more);
                assert!(plain.iter().zip(&fast).all(|(a, b)| (a - b).abs() < 1e-6 * a.abs().max(1.0)));
            }
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
