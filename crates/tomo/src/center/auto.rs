//! The recommended search: correlate what mirrors, over all rows at once, then ask an independent method.

use super::combine::{self, Opinion};
use super::overlap::TurnRows;
use super::pairs::Coverage;
use super::prepare::Window;
use super::score::{Curve, Score};
use super::seam::{Seam, SeamRows};
use super::verdict::{self, Findings};
use super::{Estimate, Input, Method, Options, need_sinograms};
use crate::error::Result;
use rayon::prelude::*;

/// Looks for the centre in the way that suits the scan: all mirrored pairs over 360°, the seam over 180°.
///
/// # Errors
/// When there is no sinogram.
pub fn find(input: &Input, options: &Options) -> Result<Estimate> {
    need_sinograms(input)?;
    let coverage = Coverage::new(input.angles);
    correlate(input, options, &coverage)
}

/// One row's projections, ready to be compared for any trial centre.
pub(super) enum Rows {
    /// Less than a full turn: the seams.
    Seams(Vec<SeamRows>),
    /// A full turn: all pairs.
    Turn(TurnRows),
}

impl Rows {
    /// Sum of the scores of all seams, or of all pairs, about a trial centre.
    fn score(&self, window: &Window) -> Option<Score> {
        match self {
            Self::Turn(rows) => rows.score(window),
            Self::Seams(seams) => {
                seams.iter().filter_map(|seam| seam.score(window)).reduce(|mut sum, score| {
                    sum.add(&score, 1.0);
                    sum
                })
            }
        }
    }
}

/// What the answer of a full turn rests on.
const TURN: &str = "mirrored pairs over the full turn";

/// Spacing of the survey, columns.
const STEP: f64 = 0.25;

/// Another method's answer, withdrawn if the mirrored projections clearly contradict it.
pub(super) fn confirmed(input: &Input, options: &Options, estimate: Estimate) -> Result<Estimate> {
    if estimate.verdict != super::Verdict::Found {
        return Ok(estimate);
    }
    let coverage = Coverage::new(input.angles);
    let (_, rows) = prepare(input, &coverage);
    Ok(verdict::confirm(estimate, &look(input, options, &coverage, &rows), coverage.is_full_turn()))
}

/// The seams of the scan (none over a full turn) and every row's projections, ready to be compared.
fn prepare(input: &Input, coverage: &Coverage) -> (Vec<Seam>, Vec<(usize, Rows)>) {
    let full_turn = coverage.is_full_turn();
    let seams = if full_turn { Vec::new() } else { Seam::of(coverage) };
    let rows = input
        .sinograms
        .par_iter()
        .map(|(row, sinogram)| {
            let data = if full_turn {
                Rows::Turn(TurnRows::new(input, coverage, sinogram))
            } else {
                Rows::Seams(seams.iter().map(|seam| seam.rows(sinogram, input.columns)).collect())
            };
            (*row, data)
        })
        .collect();
    (seams, rows)
}

/// Correlation over all rows: survey of all centres, refinement, other opinions, verdict.
pub(super) fn correlate(input: &Input, options: &Options, coverage: &Coverage) -> Result<Estimate> {
    let (seams, rows) = prepare(input, coverage);
    let mut found = look(input, options, coverage, &rows);
    if !coverage.is_full_turn() && found.resolved && found.peak.score >= verdict::CLEAR {
        let seam = Opinion {
            center: found.center,
            sigma: found.formal.hypot(gap_error(input, coverage, &seams, found.center)),
        };
        let all = combine::with_whole_scan(input, coverage, seam, &found.rows);
        (found.center, found.formal, found.how, found.conflict) =
            (all.center, all.sigma, all.how, all.conflict);
    }
    Ok(verdict::judge(&found, Method::Auto))
}

/// What the centre owes to the exact width of the gap at the seam: its change when the gap is a quarter of a
/// step wider. Where no two projections are half a turn apart, an angle off by so little (theta counted over N
/// instead of N − 1 steps is off by a whole one) moves the centre, and no statistics would tell.
fn gap_error(input: &Input, coverage: &Coverage, seams: &[Seam], center: f64) -> f64 {
    let beyond = coverage.span() - std::f64::consts::PI;
    if beyond > -0.02 * coverage.step {
        return 0.0;
    }
    let rows: Vec<(usize, Rows)> = input
        .sinograms
        .par_iter()
        .map(|(row, sinogram)| {
            let wider = seams.iter().map(|s| s.widened(0.25 * coverage.step).rows(sinogram, input.columns));
            (*row, Rows::Seams(wider.collect()))
        })
        .collect();
    let moved = Window::new(input.columns, center).and_then(|w| joint_score(&rows, &w)?.maximum(center, 2.0));
    moved.map_or(1.0, |(c, _)| (c - center).abs())
}

/// Survey and refinement of rows however prepared.
pub(super) fn look(
    input: &Input,
    options: &Options,
    coverage: &Coverage,
    rows: &[(usize, Rows)],
) -> Findings {
    let columns = input.columns;
    let survey = survey(rows, columns);
    let peak = survey.peak(options.search);
    let refined = refine(rows, columns, peak.center);
    let per_row = single_rows(rows, &survey, &refined, columns);
    Findings {
        columns,
        search: options.search,
        peak,
        how: if coverage.is_full_turn() { TURN } else { combine::SEAM }.to_owned(),
        shortfall: std::f64::consts::PI - coverage.span(),
        step: coverage.step,
        center: refined.center,
        formal: refined.sigma,
        conflict: None,
        resolved: refined.resolved,
        rows: per_row,
    }
}

/// The log-likelihood of all centres, entry i belonging to column i · [`STEP`], and its significance there:
/// the same in standard deviations of what the same window gives elsewhere.
pub(super) struct Survey {
    gain: Vec<f64>,
    sigmas: Vec<f64>,
    /// (gain, sigmas) of single rows.
    rows: Vec<(Vec<f64>, Vec<f64>)>,
}

/// The best centre of a survey and its rivals.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Peak {
    /// Best centre within the search, its score.
    pub(super) center: f64,
    pub(super) score: f64,
    /// Best other centre, clearly apart, within the search, and its score.
    pub(super) second: f64,
    pub(super) second_score: f64,
    /// Best centre anywhere, and its score.
    pub(super) anywhere: f64,
    pub(super) anywhere_score: f64,
}

/// Trial centres whose windows together see every centre between about 5 and 95 % of the width.
fn trial_centers(columns: usize) -> Vec<f64> {
    let last = columns as f64 - 1.0;
    let mut out = vec![0.5 * last];
    let mut c = 0.5 * last;
    loop {
        let half = last - c;
        c += 0.35 * half;
        if last - c < (0.05 * last).max(4.0) {
            break;
        }
        out.push(c);
        out.push(last - c);
    }
    out
}

fn survey(rows: &[(usize, Rows)], columns: usize) -> Survey {
    let points = ((columns - 1) as f64 / STEP) as usize + 1;
    let empty = || (vec![f64::NEG_INFINITY; points], vec![0.0; points]);
    let mut joint = empty();
    let mut single: Vec<(Vec<f64>, Vec<f64>)> = rows.iter().map(|_| empty()).collect();
    let merge = |into: &mut (Vec<f64>, Vec<f64>), curve: &Curve, low: f64, high: f64| {
        for i in 0..points {
            let center = i as f64 * STEP;
            let Some(value) = curve.at(center).filter(|_| (low..=high).contains(&center)) else { continue };
            // Weighed by how many frequencies agree: one strong edge (the wall of a tube) scores, but incoherently.
            let gain = if curve.attainable > 0.0 { value * value.abs() / curve.attainable } else { 0.0 };
            if gain > into.0[i] {
                into.0[i] = gain;
                into.1[i] = if curve.scale > 0.0 { value / curve.scale } else { 0.0 };
            }
        }
    };
    let mut take = |curves: &[Option<Curve>], low: f64, high: f64| {
        for (curve, own) in curves.iter().zip(&mut single) {
            if let Some(curve) = curve {
                merge(own, curve, low, high);
            }
        }
        if let Some(sum) = Curve::sum(curves.iter().flatten()) {
            merge(&mut joint, &sum, low, high);
        }
    };
    if rows.iter().all(|(_, r)| matches!(r, Rows::Turn(_))) {
        let curves: Vec<Option<Curve>> = rows
            .par_iter()
            .map(|(_, r)| if let Rows::Turn(t) = r { Some(t.curve()) } else { None })
            .collect();
        take(&curves, 0.0, (columns - 1) as f64);
    } else {
        for trial in trial_centers(columns) {
            let Some(window) = Window::new(columns, trial) else { continue };
            let curves: Vec<Option<Curve>> =
                rows.par_iter().map(|(_, r)| r.score(&window).map(|s| s.curve())).collect();
            let reach = 0.25 * window.len() as f64;
            take(&curves, window.center - reach, window.center + reach);
        }
    }
    for (gain, _) in single.iter_mut().chain(std::iter::once(&mut joint)) {
        gain.iter_mut().filter(|v| !v.is_finite()).for_each(|v| *v = 0.0);
    }
    Survey { gain: joint.0, sigmas: joint.1, rows: single }
}

/// Index of the largest value that `ok` admits; of equal ones the first.
fn largest(values: &[f64], ok: impl Fn(usize) -> bool) -> Option<usize> {
    (0..values.len()).filter(|&i| ok(i)).fold(None, |best: Option<usize>, i| match best {
        Some(b) if values[b] >= values[i] => Some(b),
        _ => Some(i),
    })
}

impl Survey {
    fn peak(&self, search: Option<(f64, f64)>) -> Peak {
        let gain = &self.gain;
        let (low, high) = search.unwrap_or((0.0, gain.len() as f64 * STEP));
        let inside = |i: usize| (low..=high).contains(&(i as f64 * STEP));
        let anywhere = largest(gain, |_| true).unwrap_or(0);
        let first = largest(gain, inside).unwrap_or(anywhere);
        // The peak's own flanks are no rival: leave out everything down to where the score has halved, twice over.
        let half = 0.5 * gain[first];
        let mut left = first;
        while left > 0 && gain[left] > half {
            left -= 1;
        }
        let mut right = first;
        while right + 1 < gain.len() && gain[right] > half {
            right += 1;
        }
        let margin = (right - left).max((2.0 / STEP) as usize);
        let second = largest(gain, |i| inside(i) && (i + margin < left || i > right + margin));
        let rival = second
            .map_or(0.0, |i| if gain[first] > 0.0 { (gain[i] / gain[first]).max(0.0).sqrt() } else { 1.0 });
        Peak {
            center: first as f64 * STEP,
            score: self.sigmas[first],
            second: second.map_or(f64::NAN, |i| i as f64 * STEP),
            second_score: rival * self.sigmas[first],
            anywhere: anywhere as f64 * STEP,
            anywhere_score: if anywhere == first || gain[anywhere] >= gain[first] {
                self.sigmas[anywhere]
            } else {
                0.0
            },
        }
    }
}

/// A refined centre.
pub(super) struct Refined {
    pub(super) center: f64,
    /// Accuracy by the likelihood.
    pub(super) sigma: f64,
    /// Whether the refinement settled near where it began.
    pub(super) resolved: bool,
}

/// Sub-pixel centre: the window follows the estimate until it settles.
pub(super) fn refine(rows: &[(usize, Rows)], columns: usize, start: f64) -> Refined {
    let lost = Refined { center: start, sigma: f64::INFINITY, resolved: false };
    let mut center = start;
    let mut sigma = f64::INFINITY;
    for round in 0..5 {
        let Some(window) = Window::new(columns, center) else { return lost };
        let scores: Vec<Score> = rows.par_iter().filter_map(|(_, r)| r.score(&window)).collect();
        let Some(score) = total(&scores, None) else { return lost };
        let Some((next, bend)) = score.maximum(center, 2.0) else { return lost };
        let settled = (next - center).abs() < 1e-3;
        center = next;
        if settled && round > 0 || round == 4 {
            sigma = score.spread(center, bend).max(jackknife(&scores, center));
            break;
        }
    }
    Refined { center, sigma, resolved: (center - start).abs() < 4.0 }
}

/// Sum of scores, without one of them.
fn total(scores: &[Score], without: Option<usize>) -> Option<Score> {
    let kept = scores.iter().enumerate().filter(|(i, _)| Some(*i) != without).map(|(_, s)| s);
    kept.fold(None, |sum: Option<Score>, score| match sum {
        None => Some(score.clone()),
        Some(mut sum) => {
            sum.add(score, 1.0);
            Some(sum)
        }
    })
}

/// Standard deviation of the common centre by leaving out one row at a time: what the rows themselves say of
/// their accuracy, whatever the model. 0 for fewer than three rows, which cannot tell.
fn jackknife(scores: &[Score], center: f64) -> f64 {
    let n = scores.len() as f64;
    if scores.len() < 3 {
        return 0.0;
    }
    let square = |i: usize| {
        let without = total(scores, Some(i)).and_then(|s| s.maximum(center, 2.0));
        without.map_or(2.0, |(c, _)| c - center).powi(2)
    };
    ((n - 1.0) / n * (0..scores.len()).map(square).sum::<f64>()).sqrt()
}

fn joint_score(rows: &[(usize, Rows)], window: &Window) -> Option<Score> {
    let scores: Vec<Score> = rows.par_iter().filter_map(|(_, r)| r.score(window)).collect();
    total(&scores, None)
}

/// The centre in each row alone: near the common one where the row has a maximum there, else its own best.
fn single_rows(
    rows: &[(usize, Rows)],
    survey: &Survey,
    refined: &Refined,
    columns: usize,
) -> Vec<RowFinding> {
    let window = Window::new(columns, refined.center);
    rows.par_iter()
        .zip(&survey.rows)
        .map(|((row, data), (gain, sigmas))| {
            let best = largest(gain, |_| true).unwrap_or(0);
            let own = best as f64 * STEP;
            let at = ((refined.center / STEP).round().max(0.0) as usize).min(gain.len() - 1);
            let near = largest(gain, |i| i.abs_diff(at) <= (2.0 / STEP) as usize).unwrap_or(at);
            let local =
                window.as_ref().and_then(|w| data.score(w)).and_then(|s| s.maximum(refined.center, 3.0));
            match local {
                // A row whose own best is elsewhere but no clearer is a weak row, not a dissenting one.
                Some((center, bend)) if gain[near] > 0.5 * gain[best] => {
                    RowFinding { row: *row, center, score: sigmas[near], sigma: (-1.0 / bend).sqrt() }
                }
                _ => RowFinding { row: *row, center: own, score: sigmas[best], sigma: STEP },
            }
        })
        .collect()
}

/// What one row says.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowFinding {
    pub(super) row: usize,
    pub(super) center: f64,
    /// Standard deviations of chance.
    pub(super) score: f64,
    /// Accuracy by the likelihood, columns.
    pub(super) sigma: f64,
}
