//! The distribution of a volume's values, in bounded memory and in any order.
//!
//! A value is counted by the upper 16 bits of its float32 pattern (sign, exponent, 7 bits of mantissa):
//! 65,536 bins whose width is 1/128 to 1/256 of their value, over the whole range of float32, without
//! knowing the range beforehand. Counts are integers, so histograms of blocks, threads and parts add up to
//! the same whatever their order.

use serde::{Deserialize, Serialize};

use crate::spec::{DataType, Scaling};

/// Number of bins.
const BINS: usize = 1 << 16;
/// Share of values left out at each end of the contrast window.
const TAIL: f64 = 0.0035;

/// A contrast window: the data's extremes, and the range shown from black to white.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Shown black.
    pub start: f64,
    /// Shown white.
    pub end: f64,
}

impl Window {
    /// The window in stored units: for scaled integers 0..=MAX and the stored numbers of start and end.
    pub fn stored(&self, dtype: DataType, scaling: Option<Scaling>) -> Self {
        let Some(maximum) = dtype.maximum().map(f64::from) else { return *self };
        let stored = |v: f64| match scaling {
            Some(s) => {
                ((v - f64::from(s.min)) / f64::from(s.max - s.min) * maximum).round().clamp(0.0, maximum)
            }
            None => v.clamp(0.0, maximum),
        };
        let start = stored(self.start).min(maximum - 1.0);
        Self { min: 0.0, max: maximum, start, end: stored(self.end).max(start + 1.0) }
    }
}

/// Counts of values, mergeable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Sparse", into = "Sparse")]
pub struct Histogram {
    /// Counts by bin in ascending order of value; zeros and values that are not finite are elsewhere.
    counts: Vec<u64>,
    /// Values that are exactly 0 (outside the circular mask, for one).
    zeros: u64,
    /// NaN and infinities.
    not_finite: u64,
    /// Smallest finite value; infinity if there is none.
    min: f32,
    /// Largest finite value; minus infinity if there is none.
    max: f32,
}

/// The form in which a histogram is written: only bins that are not empty.
#[derive(Serialize, Deserialize)]
struct Sparse {
    /// "upper 16 bits of float32, ascending".
    binning: String,
    /// Lower edge's bit pattern and count of each bin.
    bins: Vec<(u16, u64)>,
    zeros: u64,
    not_finite: u64,
    min: Option<f32>,
    max: Option<f32>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BINS], zeros: 0, not_finite: 0, min: f32::INFINITY, max: f32::NEG_INFINITY }
    }
}

/// Position of a bit pattern in ascending order of value: negative numbers run backwards.
fn rank(pattern: u16) -> usize {
    usize::from(if pattern & 0x8000 == 0 { pattern | 0x8000 } else { !pattern })
}

/// The pattern at a position; the inverse of [`rank`].
fn pattern(rank: usize) -> u16 {
    let rank = rank as u16;
    if rank & 0x8000 == 0 { !rank } else { rank & 0x7fff }
}

/// Smallest and largest value of the bin at `rank`.
fn edges(rank: usize) -> (f32, f32) {
    let bits = u32::from(pattern(rank)) << 16;
    let (a, b) = (f32::from_bits(bits), f32::from_bits(bits | 0xffff));
    if a <= b { (a, b) } else { (b, a) }
}

impl Histogram {
    /// An empty histogram.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts values.
    pub fn add(&mut self, values: &[f32]) {
        let (mut min, mut max) = (self.min, self.max);
        for &v in values {
            if v == 0.0 {
                self.zeros += 1;
            } else if v.is_finite() {
                self.counts[rank((v.to_bits() >> 16) as u16)] += 1;
                min = min.min(v);
                max = max.max(v);
            } else {
                self.not_finite += 1;
            }
        }
        (self.min, self.max) = (min, max);
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &Self) {
        for (a, b) in self.counts.iter_mut().zip(&other.counts) {
            *a += b;
        }
        self.zeros += other.zeros;
        self.not_finite += other.not_finite;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// All values counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.zeros + self.not_finite
    }

    /// Values that are exactly zero.
    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    /// NaN and infinities.
    pub fn not_finite(&self) -> u64 {
        self.not_finite
    }

    /// Smallest and largest finite value; `None` without any.
    pub fn range(&self) -> Option<(f32, f32)> {
        let (mut min, mut max) = (self.min, self.max);
        if self.zeros > 0 {
            (min, max) = (min.min(0.0), max.max(0.0));
        }
        (min <= max).then_some((min, max))
    }

    /// The value below which the share `p` (0 to 1) of the finite, non-zero values lies, within one bin.
    ///
    /// Exact zeros are left out: in a masked reconstruction a fifth of all voxels are zeros that say nothing
    /// about the sample. `None` if no other values exist.
    pub fn percentile(&self, p: f64) -> Option<f64> {
        let total: u64 = self.counts.iter().sum();
        if total == 0 {
            return None;
        }
        let wanted = p.clamp(0.0, 1.0) * total as f64;
        let mut below = 0u64;
        for (rank, &count) in self.counts.iter().enumerate().filter(|(_, c)| **c > 0) {
            if (below + count) as f64 >= wanted {
                let (low, high) = edges(rank);
                let (low, high) = (f64::from(low.max(self.min)), f64::from(high.min(self.max)));
                return Some(low + (high - low) * (wanted - below as f64) / count as f64);
            }
            below += count;
        }
        Some(f64::from(self.max))
    }

    /// The contrast window: all but 0.35 % of the values at each end, as ImageJ's auto contrast.
    pub fn window(&self) -> Window {
        let Some((min, max)) = self.range() else {
            return Window { min: 0.0, max: 1.0, start: 0.0, end: 1.0 };
        };
        let (min, max) = (f64::from(min), f64::from(max));
        let start = self.percentile(TAIL).unwrap_or(min);
        let end = self.percentile(1.0 - TAIL).unwrap_or(max);
        if start < end {
            return Window { min, max, start, end };
        }
        // One value only: viewers need a window that is not empty.
        let half = if start == 0.0 { 0.5 } else { 0.5 * start.abs() };
        let (start, end) = (start - half, start + half);
        Window { min: min.min(start), max: max.max(end), start, end }
    }

    /// Counts in `n` equal intervals from `start` to `end`, for drawing; a bin's count is spread over the
    /// intervals it covers. Zeros and values outside are left out.
    pub fn resample(&self, start: f64, end: f64, n: usize) -> Vec<f64> {
        let mut out = vec![0.0; n];
        let width = (end - start) / n as f64;
        if n == 0 || !width.is_finite() || width <= 0.0 {
            return out;
        }
        for (rank, &count) in self.counts.iter().enumerate().filter(|(_, c)| **c > 0) {
            let (low, high) = edges(rank);
            let (low, high) = ((f64::from(low) - start) / width, (f64::from(high) - start) / width);
            if high < 0.0 || low >= n as f64 {
                continue;
            }
            let span = (high - low).max(1e-9);
            let (first, last) = (low.max(0.0) as usize, (high.max(0.0) as usize).min(n - 1));
            for (i, slot) in out.iter_mut().enumerate().take(last + 1).skip(first) {
                let overlap = high.min(i as f64 + 1.0) - low.max(i as f64);
                *slot += count as f64 * (overlap / span).clamp(0.0, 1.0);
            }
        }
        out
    }
}

impl From<Histogram> for Sparse {
    fn from(h: Histogram) -> Self {
        let bins =
            h.counts.iter().enumerate().filter(|(_, c)| **c > 0).map(|(r, &c)| (pattern(r), c)).collect();
        let some = |v: f32| v.is_finite().then_some(v);
        Self {
            binning: "upper 16 bits of float32, ascending".into(),
            bins,
            zeros: h.zeros,
            not_finite: h.not_finite,
            min: some(h.min),
            max: some(h.max),
        }
    }
}

impl From<Sparse> for Histogram {
    fn from(s: Sparse) -> Self {
        let mut h = Self { zeros: s.zeros, not_finite: s.not_finite, ..Self::default() };
        for (pattern, count) in s.bins {
            h.counts[rank(pattern)] += count;
        }
        h.min = s.min.unwrap_or(h.min);
        h.max = s.max.unwrap_or(h.max);
        h
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values over many magnitudes, from a fixed recurrence.
    fn values(n: usize) -> Vec<f32> {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state) / f64::from(u32::MAX)
        };
        (0..n).map(|_| ((next() + next() + next() - 1.2) * 3.0) as f32).collect()
    }

    #[test]
    fn merging_does_not_depend_on_order_or_cuts() {
        let v = values(10_000);
        let mut whole = Histogram::new();
        whole.add(&v);
        let mut parts = Histogram::new();
        for chunk in v.rchunks(777) {
            let mut h = Histogram::new();
            h.add(chunk);
            parts.merge(&h);
        }
        assert_eq!(whole, parts);
        let json = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<Histogram>(&json).unwrap(), whole);
        assert_eq!(serde_json::to_string(&parts).unwrap(), json);
    }

    #[test]
    fn percentiles_are_within_a_bin_of_the_sorted_values() {
        let mut v = values(10_000);
        let mut h = Histogram::new();
        h.add(&v);
        h.add(&[0.0, -0.0, f32::NAN, f32::INFINITY]);
        assert_eq!((h.count(), h.zeros(), h.not_finite()), (10_004, 2, 2));
        v.sort_by(f32::total_cmp);
        for p in [0.0, 0.0035, 0.1, 0.5, 0.9, 0.9965, 1.0] {
            let exact = f64::from(v[((p * v.len() as f64) as usize).min(v.len() - 1)]);
            // A bin is at most 1/128 of its value wide; two bins cover the choice of neighbour.
            assert!((h.percentile(p).unwrap() - exact).abs() <= exact.abs() / 64.0 + 1e-3, "{p}");
        }
        let w = h.window();
        assert!(w.min <= w.start && w.start < w.end && w.end <= w.max);
        assert_eq!(w.max as f32, *v.last().unwrap());
    }

    #[test]
    fn windows_are_never_empty() {
        for v in [&[][..], &[0.0], &[f32::NAN], &[2.5; 9], &[-1.0; 3], &[0.0, 0.0, 7.0]] {
            let mut h = Histogram::new();
            h.add(v);
            let w = h.window();
            assert!(w.start < w.end, "{v:?}: {w:?}");
            let s = w.stored(DataType::U8, Some(Scaling { min: 0.0, max: 1.0 }));
            assert!(s.start < s.end && s.start >= 0.0 && s.end <= 255.0, "{s:?}");
        }
    }

    #[test]
    fn resampling_keeps_the_counts() {
        let v = values(5_000);
        let mut h = Histogram::new();
        h.add(&v);
        let sum: f64 = h.resample(-10.0, 10.0, 200).iter().sum();
        // Every value lies inside; spreading only shares counts out.
        assert!((sum - 5_000.0).abs() < 1.0, "{sum}");
    }
}
