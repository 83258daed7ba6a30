//! Which projections lie half a turn apart: by angle, never by index.

use std::f64::consts::{PI, TAU};

/// The two projections whose angles are nearest to 180° apart (modulo a full turn).
///
/// `theta` may be unsorted, negative or beyond a full turn. Returns the two indices, in the order of the file,
/// and how far their angles are from 180° apart (radians, 0 or positive); of equally good pairs the one whose
/// first projection comes first. `None` with fewer than two finite angles, and when no pair is within 90° of
/// half a turn (such a "pair" would show the same side of the sample).
pub fn pair_180(theta: &[f64]) -> Option<(usize, usize, f64)> {
    let circle = Circle::new(theta);
    let mut best: Option<(usize, usize, f64)> = None;
    for (i, &angle) in theta.iter().enumerate() {
        let Some((j, error)) = circle.nearest(angle + PI).filter(|&(j, _)| j != i) else { continue };
        let error = error.abs();
        let (first, second) = (i.min(j), i.max(j));
        // Angles are read from files with rounding: differences of a nanoradian are none.
        let better = match best {
            None => true,
            Some((f, s, e)) => error < e - 1e-9 || (error < e + 1e-9 && (first, second) < (f, s)),
        };
        if better {
            best = Some((first, second, error));
        }
    }
    best.filter(|&(_, _, error)| error < PI / 2.0)
}

/// Angles sorted around the circle, for nearest-angle look-ups.
pub(crate) struct Circle {
    /// (angle in 0..2π, index), sorted.
    sorted: Vec<(f64, usize)>,
}

impl Circle {
    pub(crate) fn new(theta: &[f64]) -> Self {
        let mut sorted: Vec<(f64, usize)> = theta
            .iter()
            .enumerate()
            .filter(|(_, a)| a.is_finite())
            .map(|(i, a)| (a.rem_euclid(TAU), i))
            .collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        Self { sorted }
    }

    /// The projection nearest to `angle`, and its angle minus `angle` folded to −π..π.
    pub(crate) fn nearest(&self, angle: f64) -> Option<(usize, f64)> {
        let (below, above) = self.neighbours(angle)?;
        Some(if below.1.abs() <= above.1.abs() { below } else { above })
    }

    /// The projections next below (offset ≤ 0) and next above (offset > 0, or = 0 when only one exists).
    pub(crate) fn neighbours(&self, angle: f64) -> Option<((usize, f64), (usize, f64))> {
        let n = self.sorted.len();
        if n == 0 {
            return None;
        }
        let target = angle.rem_euclid(TAU);
        let at = self.sorted.partition_point(|&(a, _)| a <= target);
        let pick = |k: usize| {
            let (a, index) = self.sorted[k % n];
            (index, fold(a - target))
        };
        Some((pick(at + n - 1), pick(at)))
    }
}

/// An angle folded to −π..π.
pub(crate) fn fold(angle: f64) -> f64 {
    let a = angle.rem_euclid(TAU);
    if a > PI { a - TAU } else { a }
}

/// What the angles of a scan cover.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Coverage {
    /// Indices in order of angle, the largest gap of the circle lying between the last and the first.
    pub(crate) order: Vec<usize>,
    /// Angle of `order[k]`, increasing, not folded.
    pub(crate) angles: Vec<f64>,
    /// Typical (median) step, radians.
    pub(crate) step: f64,
}

impl Coverage {
    /// Sorts the angles around the circle and cuts it at its largest gap.
    pub(crate) fn new(theta: &[f64]) -> Self {
        let circle = Circle::new(theta);
        let sorted = &circle.sorted;
        let n = sorted.len();
        // A cut at a gap no larger than the others would be arbitrary: prefer the one before the first frame.
        let first_frame = sorted.iter().position(|&(_, i)| i == 0).unwrap_or(0);
        let gap_before = |k: usize| fold_positive(sorted[k].0 - sorted[(k + n - 1) % n].0, n);
        let mut start = first_frame;
        for k in 0..n {
            if gap_before(k) > gap_before(start) * 1.01 + 1e-9 {
                start = k;
            }
        }
        let mut order = Vec::with_capacity(n);
        let mut angles = Vec::with_capacity(n);
        for k in 0..n {
            let (angle, index) = sorted[(start + k) % n];
            order.push(index);
            angles.push(if start + k >= n { angle + TAU } else { angle });
        }
        let mut steps: Vec<f64> = angles.windows(2).map(|w| w[1] - w[0]).filter(|&s| s > 1e-9).collect();
        steps.sort_by(f64::total_cmp);
        let step = steps.get(steps.len() / 2).copied().unwrap_or(0.0);
        Self { order, angles, step }
    }

    /// Angle between the first and the last projection, radians.
    pub(crate) fn span(&self) -> f64 {
        match (self.angles.first(), self.angles.last()) {
            (Some(first), Some(last)) => last - first,
            _ => 0.0,
        }
    }

    /// Whether the projections go round the full turn (gap at the end no larger than three steps).
    pub(crate) fn is_full_turn(&self) -> bool {
        self.span() > TAU - 3.0 * self.step.max(1e-6) && self.span() > 1.5 * PI
    }
}

/// A gap between neighbours in 0..2π; the only angle of a circle is a full turn from itself.
fn fold_positive(gap: f64, n: usize) -> f64 {
    if n == 1 { TAU } else { gap.rem_euclid(TAU) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn degrees(from: f64, step: f64, n: usize) -> Vec<f64> {
        (0..n).map(|i| (from + step * i as f64).to_radians()).collect()
    }

    #[test]
    fn pair_is_chosen_by_angle() {
        let (a, b, e) = pair_180(&degrees(0.0, 1.0, 181)).unwrap();
        assert_eq!((a, b), (0, 180));
        assert!(e < 1e-9);
        let (a, b, e) = pair_180(&degrees(0.0, 1.0, 180)).unwrap();
        assert_eq!((a, b), (0, 179));
        assert!((e.to_degrees() - 1.0).abs() < 1e-6);
        // 0..360: half a turn lies in the middle, not at the end.
        let (a, b, e) = pair_180(&degrees(0.0, 1.0, 361)).unwrap();
        assert_eq!((a, b), (0, 180));
        assert!(e < 1e-9);
        // Golden-angle order, negative, beyond a turn.
        let mut unsorted = degrees(-95.0, 7.0, 30);
        unsorted.reverse();
        unsorted.push((unsorted[3] - PI) + 3.0 * TAU);
        let (a, b, e) = pair_180(&unsorted).unwrap();
        assert_eq!((a, b), (3, 30));
        assert!(e < 1e-9);
        assert_eq!(pair_180(&degrees(0.0, 1.0, 60)), None);
        assert_eq!(pair_180(&[0.3]), None);
        assert_eq!(pair_180(&[]), None);
        assert_eq!(pair_180(&[f64::NAN, 1.0]), None);
    }

    #[test]
    fn endpoint_twice_is_a_full_turn_and_half_a_turn_is_not() {
        assert!(Coverage::new(&degrees(0.0, 1.0, 361)).is_full_turn());
        assert!(Coverage::new(&degrees(-180.0, 0.25, 1440)).is_full_turn());
        assert!(!Coverage::new(&degrees(0.0, 1.0, 181)).is_full_turn());
        assert!(!Coverage::new(&degrees(90.0, 1.0, 180)).is_full_turn());
        let c = Coverage::new(&degrees(300.0, 2.0, 91));
        assert_eq!(c.order, (0..91).collect::<Vec<_>>());
        assert!((c.span() - PI).abs() < 1e-9);
    }
}
