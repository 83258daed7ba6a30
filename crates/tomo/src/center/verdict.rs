//! What an estimate is worth, and why: the thresholds, in one place.
//!
//! A score is counted in standard deviations of chance, never less than random phases would give. Being the
//! largest over all centres, it reaches 1.5 to 2.5 in pure noise; 3.3 was the most in 2,880 scans of noise and rings.

use super::auto::{Peak, RowFinding};
use super::pairs::Coverage;
use super::prepare::median;
use super::{Estimate, Input, Method, Options, RowCenter, Verdict};

/// Entropy falls about the centre of rings too, which is no centre of the object: noise and rings alone reach a
/// score of 7.5, so that its scores count for this much.
const ENTROPY: f64 = 0.6;
/// Below this score there is nothing to be seen.
const NOTHING: f64 = 4.5;
/// From this score on chance is excluded.
pub(super) const CLEAR: f64 = 6.0;
/// A rival with this part of the best score is as good.
const RIVAL: f64 = 0.85;
/// Coarsest accuracy, in pixels, that still makes a usable volume.
const COARSEST: f64 = 0.5;
/// Largest part of the clear rows that may disagree with the common centre.
const DISSENT: f64 = 0.34;

/// What the search found out.
pub(super) struct Findings {
    pub(super) columns: usize,
    pub(super) search: Option<(f64, f64)>,
    pub(super) peak: Peak,
    /// What was compared, in words.
    pub(super) how: String,
    /// By how much the angles fall short of 180°, radians (negative: beyond).
    pub(super) shortfall: f64,
    pub(super) step: f64,
    pub(super) center: f64,
    /// Accuracy by the likelihood.
    pub(super) formal: f64,
    /// Centre by an independent method that disagrees, and its name.
    pub(super) conflict: Option<(f64, &'static str)>,
    /// Whether a sub-pixel maximum was found.
    pub(super) resolved: bool,
    pub(super) rows: Vec<RowFinding>,
}

/// 0 at nothing, 0.5 at clear, towards 1.
fn confidence(score: f64) -> f64 {
    if score <= NOTHING {
        (0.3 * score / NOTHING).max(0.0)
    } else if score < CLEAR {
        0.3 + 0.2 * (score - NOTHING) / (CLEAR - NOTHING)
    } else {
        1.0 - 0.5 * (-(score - CLEAR) / 8.0).exp()
    }
}

/// Verdict, confidence, uncertainty and reason.
pub(super) fn judge(f: &Findings, method: Method) -> Estimate {
    let peak = &f.peak;
    let clear: Vec<&RowFinding> = f.rows.iter().filter(|r| r.score >= CLEAR).collect();
    let clear_rows = clear.len();
    // Rows scatter by their own accuracy; a pixel more is allowed for an axis that is not quite upright.
    let dissents = |r: &&&RowFinding| (r.center - f.center).abs() > 1.0 + (4.0 * r.sigma).min(4.0);
    let dissenting = clear.iter().filter(dissents).count();
    let mut distance: Vec<f64> = clear.iter().map(|r| (r.center - f.center).abs()).collect();
    let spread =
        if clear_rows < 3 { 0.0 } else { 1.4826 * median(&mut distance) / (clear_rows as f64).sqrt() };
    let uncertainty = f.formal.max(spread).max(0.002);
    let by_hand = "set the centre by hand (see the evidence picture) or give a search range";
    let (verdict, reason) = if f.shortfall > 20f64.to_radians() {
        let range = 180.0 - f.shortfall.to_degrees();
        (
            Verdict::Featureless,
            format!(
                "The angles cover only {range:.0} degrees, so nothing is seen from both sides: {by_hand}."
            ),
        )
    } else if peak.anywhere_score < NOTHING {
        (
            Verdict::Featureless,
            format!(
                "No centre stands out from chance (score {:.1}, {NOTHING} needed): the rows are empty, too noisy or have too few angles; choose rows with structure or {by_hand}.",
                peak.anywhere_score
            ),
        )
    } else if outside(f) {
        (
            Verdict::AtEdge,
            format!(
                "The best centre, {:.1}, lies outside the range searched: widen the range.",
                peak.anywhere
            ),
        )
    } else if at_edge(f) {
        (
            Verdict::AtEdge,
            format!(
                "The best centre, {:.1}, lies at the edge of the range searched: widen the range.",
                peak.center
            ),
        )
    } else if peak.score < CLEAR {
        (
            Verdict::Ambiguous,
            format!(
                "The best centre, {:.2}, hardly stands out from chance (score {:.1}, {CLEAR} needed): use more rows or {by_hand}.",
                peak.center, peak.score
            ),
        )
    } else if peak.second_score > RIVAL * peak.score {
        (
            Verdict::Ambiguous,
            format!(
                "Two centres fit about equally well, {:.2} and {:.2} (scores {:.1} and {:.1}): {by_hand}.",
                peak.center, peak.second, peak.score, peak.second_score
            ),
        )
    } else if !f.resolved || uncertainty > COARSEST {
        (
            Verdict::Ambiguous,
            format!(
                "The centre is near {:.1} but is known only to {uncertainty:.1} pixels (angle step {:.2} degrees): {by_hand}.",
                peak.center,
                f.step.to_degrees()
            ),
        )
    } else if let Some((other, name)) = f.conflict {
        (
            Verdict::Ambiguous,
            format!("Two methods disagree: {:.2} by {}, {other:.2} by {name}: {by_hand}.", f.center, f.how),
        )
    } else if dissenting as f64 > DISSENT * clear_rows as f64 {
        (
            Verdict::Ambiguous,
            format!(
                "The rows disagree: {dissenting} of {clear_rows} clear rows lie more than a pixel from {:.2}: is the axis tilted or did the sample move? Check the rows or {by_hand}.",
                f.center
            ),
        )
    } else {
        let how = &f.how;
        let agreement = match (clear_rows - dissenting, f.rows.len()) {
            (_, 1) => "The row gives".to_owned(),
            (0 | 1, all) => format!("The {all} rows together give"),
            (some, all) => format!("{some} of {all} rows, each by itself, agree on"),
        };
        (
            Verdict::Found,
            format!(
                "{agreement} {:.2} ± {uncertainty:.2} (score {:.1}, next best {:.1}, by {how}).",
                f.center, peak.score, peak.second_score
            ),
        )
    };
    let rival = (peak.second_score / peak.score.max(1e-9)).clamp(0.0, 1.0);
    let confidence = if verdict == Verdict::Found {
        let clear_of_rivals = 1.0 - (rival / RIVAL).powi(2);
        let clear_of_chance = 1.0 - (-(peak.score - CLEAR) / 4.0).exp();
        0.5 + 0.5 * (clear_of_rivals * clear_of_chance).clamp(0.0, 1.0)
    } else {
        confidence(peak.score).min(0.45)
    };
    let per_row = f
        .rows
        .iter()
        .map(|r| RowCenter { row: r.row, center: r.center, confidence: self::confidence(r.score) })
        .collect();
    Estimate { center: f.center, confidence, verdict, method, per_row, uncertainty, reason }
}

/// Whether the evidence points outside the range searched.
fn outside(f: &Findings) -> bool {
    f.search.is_some_and(|(low, high)| {
        !(low..=high).contains(&f.peak.anywhere) && f.peak.anywhere_score > f.peak.score.max(NOTHING)
    })
}

/// Whether the best centre lies at the edge of the range searched, or of what the detector allows.
fn at_edge(f: &Findings) -> bool {
    let last = f.columns as f64 - 1.0;
    let (low, high) = f.search.unwrap_or((0.0, last));
    let (low, high) = (low.max(0.02 * last), high.min(0.98 * last));
    f.center <= low + 0.25 || f.center >= high - 0.25
}

/// Withdraws an answer that the mirrored projections contradict: entropy and wedge can be sure of a wrong centre
/// when the sample is cut off, or noise rules the slice. Over a full turn (`required`) the mirrored pairs see more
/// than either, so what they do not see is withdrawn too: the entropy of mere noise is least with the axis in the
/// middle, where every ray is averaged with its partner.
pub(super) fn confirm(mut estimate: Estimate, check: &Findings, required: bool) -> Estimate {
    let sure =
        check.resolved && check.peak.score >= CLEAR && check.peak.second_score <= RIVAL * check.peak.score;
    let allowed = 1.0 + 4.0 * check.formal.hypot(estimate.uncertainty);
    let (name, center) = (estimate.method.name(), estimate.center);
    let objection = if sure && (center - check.center).abs() > allowed {
        format!("{} give {:.2}", check.how, check.center)
    } else if !sure && required {
        format!("{} show no clear centre (score {:.1})", check.how, check.peak.score)
    } else {
        return estimate;
    };
    if estimate.verdict == Verdict::Found {
        estimate.verdict = Verdict::Ambiguous;
        estimate.confidence = estimate.confidence.min(0.45);
        estimate.reason = format!(
            "{name} gives {center:.2}, but {objection}: use the automatic method or set the centre by hand."
        );
    }
    estimate
}

/// Costs of regularly spaced centres, one list per row.
pub(super) struct Curves {
    /// First centre and spacing, columns.
    pub(super) first: f64,
    pub(super) step: f64,
    pub(super) cost: Vec<Vec<f64>>,
}

impl Curves {
    /// Mean over the rows, each scaled to its own range so that none rules the others.
    fn joint(&self) -> Vec<f64> {
        let mut sum = vec![0.0; self.cost.first().map_or(0, Vec::len)];
        for cost in &self.cost {
            let (low, high) =
                cost.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
            if high > low {
                sum.iter_mut().zip(cost).for_each(|(s, v)| *s += (v - low) / (high - low));
            }
        }
        sum
    }

    /// Centre of the least joint cost, refined by a parabola, and its index.
    pub(super) fn joint_minimum(&self) -> (f64, usize) {
        self.minimum(&self.joint())
    }

    /// Centre of the least of these costs, refined by a parabola, and its index.
    pub(super) fn minimum(&self, cost: &[f64]) -> (f64, usize) {
        let best = (0..cost.len()).fold(0, |b, i| if cost[i] < cost[b] { i } else { b });
        let mut at = best as f64;
        if best > 0 && best + 1 < cost.len() {
            let (a, b, c) = (cost[best - 1], cost[best], cost[best + 1]);
            let bend = a - 2.0 * b + c;
            if bend > 0.0 {
                at += (0.5 * (a - c) / bend).clamp(-0.5, 0.5);
            }
        }
        (self.first + at * self.step, best)
    }

    /// How far each cost lies below its surroundings, in standard deviations of the curve's own roughness.
    fn depth(&self, cost: &[f64]) -> Vec<f64> {
        let reach = (cost.len() / 10).max(4);
        let below: Vec<f64> = (0..cost.len())
            .map(|i| {
                let mut part = cost[i.saturating_sub(reach)..(i + reach + 1).min(cost.len())].to_vec();
                median(&mut part) - cost[i]
            })
            .collect();
        let mut magnitude: Vec<f64> = below.iter().map(|v| v.abs()).collect();
        // A smooth valley has no roughness of its own: a hundredth of its height stands in.
        let (low, high) =
            cost.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
        let scale = (1.4826 * median(&mut magnitude)).max(0.01 * (high - low));
        below.iter().map(|v| if scale > 0.0 { v / scale } else { 0.0 }).collect()
    }
}

/// Verdict on a centre of least cost: `coarse` over the whole search, `fine` about the centre.
pub(super) fn judge_curves(
    input: &Input,
    options: &Options,
    coverage: &Coverage,
    coarse: &Curves,
    fine: &Curves,
    center: f64,
    method: Method,
) -> Estimate {
    let joint = coarse.joint();
    let depth = coarse.depth(&joint);
    let (_, best) = coarse.minimum(&joint);
    let apart = (depth.len() / 12).max(3);
    let second = (0..depth.len())
        .filter(|i| i.abs_diff(best) > apart)
        .fold(None, |b: Option<usize>, i| if b.is_some_and(|b| depth[b] >= depth[i]) { b } else { Some(i) });
    let at = |i: usize| coarse.first + i as f64 * coarse.step;
    let trust = if method == Method::Entropy { ENTROPY } else { 1.0 };
    let score = trust * depth.get(best).copied().unwrap_or(0.0);
    let rows: Vec<RowFinding> = input
        .sinograms
        .iter()
        .zip(coarse.cost.iter().zip(&fine.cost))
        .map(|((row, _), (wide, near))| {
            let (own, index) = coarse.minimum(wide);
            let score = trust * coarse.depth(wide).get(index).copied().unwrap_or(0.0);
            let agrees = (own - center).abs() <= 3.0 * coarse.step;
            let center = if agrees { fine.minimum(near).0 } else { own };
            RowFinding { row: *row, center, score, sigma: if agrees { fine.step } else { coarse.step } }
        })
        .collect();
    // The rows' scatter is all that tells the accuracy; one row alone is known to the fine grid's step.
    let findings = Findings {
        columns: input.columns,
        search: options.search.or(Some((coarse.first, at(joint.len().saturating_sub(1))))),
        peak: Peak {
            center,
            score,
            second: second.map_or(f64::NAN, at),
            second_score: second.map_or(0.0, |i| trust * depth[i]),
            anywhere: center,
            anywhere_score: score,
        },
        how: method.name().to_owned(),
        shortfall: std::f64::consts::PI - coverage.span(),
        step: coverage.step,
        center,
        formal: 0.5 * fine.step,
        conflict: None,
        resolved: true,
        rows,
    };
    judge(&findings, method)
}
