//! Which flat field serves which projection, and repairing reference fields.

use crate::normalize::{FlatGroup, FlatMethod};

/// Groups before and after projection `index` and the weight of the latter; `positions` ascend.
pub(crate) fn choose(method: FlatMethod, positions: &[f64], index: usize) -> (u32, u32, f32) {
    let at = index as f64;
    let last = positions.len() - 1;
    match method {
        FlatMethod::Interpolated => {
            let after = positions.partition_point(|p| *p <= at);
            if after == 0 || after > last {
                let only = after.min(last) as u32;
                return (only, only, 0.0);
            }
            let (p, q) = (positions[after - 1], positions[after]);
            (after as u32 - 1, after as u32, ((at - p) / (q - p)) as f32)
        }
        FlatMethod::Nearest => {
            // TomoPy's boundaries: half way to the next group, the distance rounded half to even.
            let ends = |m: usize| positions[m] + ((positions[m + 1] - positions[m]) / 2.0).round_ties_even();
            let group = (0..last).find(|m| at < ends(*m)).unwrap_or(last) as u32;
            (group, group, 0.0)
        }
        _ => (0, 0, 0.0),
    }
}

/// Mean over all frames, summed in f64. A group of zero frames counts as one.
pub(crate) fn weighted_mean(mut flats: Vec<FlatGroup>, pixels: usize) -> Vec<f32> {
    if flats.len() == 1 {
        return flats.swap_remove(0).mean;
    }
    let total: f64 = flats.iter().map(|g| g.frames.max(1) as f64).sum();
    let mut sum = vec![0.0f64; pixels];
    for group in &flats {
        let weight = group.frames.max(1) as f64 / total;
        sum.iter_mut().zip(&group.mean).for_each(|(s, x)| *s += weight * f64::from(*x));
    }
    sum.into_iter().map(|s| s as f32).collect()
}

/// Mean of the finite values, if there are any.
pub(crate) fn finite_mean(values: &[f32]) -> Option<f32> {
    let (sum, count) = values
        .iter()
        .filter(|x| x.is_finite())
        .fold((0.0f64, 0usize), |(sum, count), x| (sum + f64::from(*x), count + 1));
    (count > 0).then(|| (sum / count as f64) as f32)
}

/// Replaces what is not finite; returns how many values.
pub(crate) fn replace_non_finite(values: &mut [f32], fill: f32) -> usize {
    let mut replaced = 0;
    for value in values.iter_mut().filter(|x| !x.is_finite()) {
        *value = fill;
        replaced += 1;
    }
    replaced
}
