//! Independent opinions on one centre, and how they are put together.
//!
//! The seam tells which centre; it alone works whatever the sample. When the sample lies wholly within the field
//! of view, two more methods use all projections instead of those around the seam: Vo's wedge (finer on clean
//! scans) and the centres of mass (finer in noise). A pair of whole projections, where the scan has one exactly
//! half a turn apart, brings in all detector rows. They are weighed by their accuracy, as seen in the scatter of
//! the rows, unless they contradict the seam: then there is no answer.

use super::auto::{self, RowFinding, Rows};
use super::overlap::TurnRows;
use super::pairs::{Coverage, pair_180};
use super::{Input, moment, vo};
use rayon::prelude::*;

/// A centre and its standard deviation, columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opinion {
    pub(super) center: f64,
    pub(super) sigma: f64,
}

/// What the opinions come to.
pub(super) struct Combined {
    pub(super) center: f64,
    pub(super) sigma: f64,
    /// What it rests on, in words.
    pub(super) how: String,
    pub(super) conflict: Option<(f64, &'static str)>,
}

/// Score from which a row is asked for a second opinion.
const ASKED: f64 = 4.0;
/// Least standard deviation that a second opinion is believed to have: neither air nor optics are perfect.
const FLOOR: f64 = 0.02;

/// Adds to the seam's opinion those of Vo's wedge and of the centres of mass, where the sample allows them.
pub(super) fn with_whole_scan(
    input: &Input,
    coverage: &Coverage,
    seam: Opinion,
    rows: &[RowFinding],
) -> Combined {
    let mut all = vec![seam];
    let mut names = vec![SEAM];
    let half_turn = (coverage.span() - std::f64::consts::PI).abs() < 5f64.to_radians();
    let whole: Vec<&[f32]> = input
        .sinograms
        .par_iter()
        .zip(rows)
        .filter(|((_, sinogram), row)| row.score >= ASKED && !moment::is_cut_off(sinogram, input.columns))
        .map(|((_, sinogram), _)| sinogram.as_slice())
        .collect();
    if half_turn && !whole.is_empty() && seam.sigma.is_finite() {
        let reach = (4.0 * seam.sigma).clamp(2.0, 8.0);
        let (_, fine) = vo::refine(&whole, input.columns, coverage, seam.center, reach);
        let by_row: Vec<f64> = fine.cost.iter().map(|cost| fine.minimum(cost).0).collect();
        let vo = opinion(fine.joint_minimum().0, &by_row, 0.5 * fine.step);
        if (vo.center - seam.center).abs() > (1.0f64).max(4.0 * seam.sigma.hypot(vo.sigma)) {
            let conflict = Some((vo.center, "Vo's method"));
            return Combined { center: seam.center, sigma: seam.sigma, how: SEAM.to_owned(), conflict };
        }
        all.push(vo);
        names.push("Vo's method");
        // The accuracy of the centres of mass shows only in the rows' scatter.
        let masses: Vec<f64> =
            whole.par_iter().filter_map(|s| moment::center(s, input.columns, coverage)).collect();
        if masses.len() >= 3 {
            let mean = masses.iter().sum::<f64>() / masses.len() as f64;
            hear(opinion(mean, &masses, 0.0), "centres of mass", &mut all, &mut names);
        }
    }
    if let Some(pair) = pair(input, coverage, weigh(&all).center) {
        hear(pair, "a pair of whole projections", &mut all, &mut names);
    }
    let agreed = weigh(&all);
    let how = match names.split_last() {
        Some((last, first)) if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => SEAM.to_owned(),
    };
    Combined { center: agreed.center, sigma: agreed.sigma, how, conflict: None }
}

/// What the first opinion rests on.
pub(super) const SEAM: &str = "projections on both sides of the half turn";

/// Adds an opinion whose errors may be its own (scatter, beam hardening, what stands still in the beam) only when
/// it contradicts none of those before.
fn hear(new: Opinion, name: &'static str, all: &mut Vec<Opinion>, names: &mut Vec<&'static str>) {
    let agreed = weigh(all);
    if (new.center - agreed.center).abs() <= 2.5 * agreed.sigma.hypot(new.sigma) {
        all.push(new);
        names.push(name);
    }
}

/// The two whole projections nearest to half a turn apart, when they are so nearly enough: a thousand rows at once.
fn pair(input: &Input, coverage: &Coverage, near: f64) -> Option<Opinion> {
    let (first, second, rows) = input.pair.filter(|(_, _, rows)| *rows >= 8)?;
    let (_, _, error) = pair_180(input.angles)?;
    if error > 0.02 * coverage.step || rows * input.columns != first.len() {
        return None;
    }
    let rows = [(0, Rows::Turn(TurnRows::of_projections(first, second, input.columns, error)))];
    let refined = auto::refine(&rows, input.columns, near);
    let settled = refined.resolved && (refined.center - near).abs() < 2.0;
    settled.then_some(Opinion { center: refined.center, sigma: refined.sigma.max(FLOOR) })
}

/// A centre with the accuracy that its rows' scatter shows (of one or two rows: half the difference and `step`).
fn opinion(center: f64, rows: &[f64], step: f64) -> Opinion {
    let n = rows.len() as f64;
    let variance = rows.iter().map(|r| (r - center) * (r - center)).sum::<f64>() / (n - 1.0).max(1.0) / n;
    let few = if rows.len() < 3 { 3.0 } else { 1.0 };
    Opinion { center, sigma: (few * variance.sqrt()).max(step).max(FLOOR) }
}

/// Mean weighed by inverse variance.
fn weigh(all: &[Opinion]) -> Opinion {
    let weight = |o: &Opinion| 1.0 / (o.sigma * o.sigma);
    let total: f64 = all.iter().map(weight).sum();
    Opinion {
        center: all.iter().map(|o| o.center * weight(o)).sum::<f64>() / total,
        sigma: total.sqrt().recip(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opinions_are_weighed_by_accuracy() {
        let both = weigh(&[Opinion { center: 10.0, sigma: 0.1 }, Opinion { center: 11.0, sigma: 0.2 }]);
        assert!((both.center - 10.2).abs() < 1e-12);
        assert!((both.sigma - 0.2 / 5f64.sqrt()).abs() < 1e-12);
        let one = opinion(4.0, &[4.0], 0.1);
        assert_eq!((one.center, one.sigma), (4.0, 0.1));
    }
}
