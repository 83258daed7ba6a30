//! Weights of projection angles: how much of the half circle of directions each projection stands for.

use std::f64::consts::PI;

use crate::error::{Error, Result};

/// Checks that there is at least one angle and that all are finite.
pub fn check_angles(angles: &[f64]) -> Result<()> {
    if angles.is_empty() {
        return Err(Error::parameter("angles", 0, "a reconstruction needs at least one projection angle"));
    }
    match angles.iter().position(|a| !a.is_finite()) {
        Some(at) => Err(Error::parameter(
            "angles",
            angles[at],
            format!("angle {at} is not a finite number; check the scan's theta"),
        )),
        None => Ok(()),
    }
}

/// Integration weights in radians of projections at `angles` (radians); they add up to π for a full scan.
///
/// A direction and its opposite carry the same line integrals, so the weights are the Voronoi cells of the angles on
/// the circle of directions modulo π. That gives right amounts for scans with 0° and 180° both included, for 360° scans
/// and for unevenly spaced angles. A gap more than eight times the median gap is a missing wedge: what was never
/// measured is not charged to its two neighbours, which then count as if the median gap followed.
pub fn angle_weights(angles: &[f64]) -> Vec<f64> {
    let count = angles.len();
    if count <= 1 {
        return vec![PI; count];
    }
    let direction: Vec<f64> = angles.iter().map(|a| a.rem_euclid(PI)).collect();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&a, &b| direction[a].total_cmp(&direction[b]).then(a.cmp(&b)));

    // Directions closer than this are one direction measured several times: they share its cell evenly.
    // Angles often come from f32 degrees, whose rounding at 360 is 5e-7 rad.
    let same = 1e-6_f64.min(0.01 * PI / count as f64);
    let mut groups: Vec<(f64, Vec<usize>)> = Vec::with_capacity(count);
    for &index in &order {
        match groups.last_mut() {
            Some((at, members)) if direction[index] - *at <= same => members.push(index),
            _ => groups.push((direction[index], vec![index])),
        }
    }
    // The circle closes: a direction just under π is the one at 0.
    if groups.len() > 1
        && groups[0].0 + PI - groups[groups.len() - 1].0 <= same
        && let Some((_, members)) = groups.pop()
    {
        groups[0].1.extend(members);
    }
    let cells = groups.len();
    let gap: Vec<f64> = (0..cells)
        .map(|i| if i + 1 < cells { groups[i + 1].0 - groups[i].0 } else { groups[0].0 + PI - groups[i].0 })
        .collect();
    let mut sorted = gap.clone();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[cells / 2];
    let width = |g: f64| if g > 8.0 * median { median } else { g };

    let mut weights = vec![0.0; count];
    for (i, (_, members)) in groups.iter().enumerate() {
        let cell = 0.5 * (width(gap[(i + cells - 1) % cells]) + width(gap[i]));
        for &member in members {
            weights[member] = cell / members.len() as f64;
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uniform(count: usize, range: f64) -> Vec<f64> {
        (0..count).map(|i| range * i as f64 / count as f64).collect()
    }

    #[test]
    fn uniform_scans_weigh_evenly() {
        for (count, range) in [(90, PI), (91, PI), (360, 2.0 * PI), (361, -2.0 * PI)] {
            for w in angle_weights(&uniform(count, range)) {
                assert!((w - PI / count as f64).abs() < 1e-9, "{count} over {range}: {w}");
            }
        }
    }

    #[test]
    fn both_ends_share_one_direction() {
        let angles: Vec<f64> = (0..=180).map(|d| f64::from(d as f32 * 0.017_453_293)).collect();
        let w = angle_weights(&angles);
        assert!((w[0] - 0.5 * PI / 180.0).abs() < 1e-6 && (w[180] - 0.5 * PI / 180.0).abs() < 1e-6);
        assert!((w[90] - PI / 180.0).abs() < 1e-6);
        assert!((w.iter().sum::<f64>() - PI).abs() < 1e-6);
    }

    #[test]
    fn uneven_angles_weigh_their_cells_and_a_missing_wedge_weighs_nothing() {
        let w = angle_weights(&[0.0, 0.5, 1.0, 2.0]);
        assert!((w.iter().sum::<f64>() - PI).abs() < 1e-12);
        assert!((w[2] - 0.75).abs() < 1e-12);
        let wedge: Vec<f64> = (0..120).map(|d| f64::from(d).to_radians()).collect();
        for w in angle_weights(&wedge) {
            assert!((w - 1f64.to_radians()).abs() < 1e-9);
        }
    }

    #[test]
    fn one_direction_takes_everything() {
        assert_eq!(angle_weights(&[0.3]), vec![PI]);
        let w = angle_weights(&[0.3, 0.3 + PI]);
        assert!((w[0] - PI / 2.0).abs() < 1e-9 && (w[1] - PI / 2.0).abs() < 1e-9);
        assert!(angle_weights(&[]).is_empty());
    }
}
