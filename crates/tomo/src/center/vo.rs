//! Vo's method (Vo, Drakopoulos, Atwood, Reinhard: Opt. Express 22 (2014) 19078).
//!
//! A sinogram over 180° and its mirror image make one over 360°. Its two-dimensional spectrum fills a double
//! wedge, |m| ≤ R |ω| (m the order in angle, ω the frequency along the detector, R the sample's radius), if and
//! only if the mirror stands at the centre; elsewhere the seam spills over. The cost of a centre is the mean
//! magnitude outside the wedge. Shifting the mirror image turns phases of its spectrum, so two transforms per
//! row serve all centres.

use super::moment::is_cut_off;
use super::pairs::Coverage;
use super::prepare::clean_row;
use super::verdict::{self, Curves};
use super::{Estimate, Input, Method, Options, Verdict, need_sinograms};
use crate::error::{Error, Result};
use rustfft::FftPlanner;
use rustfft::num_complex::Complex64;
use std::f64::consts::{PI, TAU};

/// Columns and angles of the coarse search.
const COARSE_COLUMNS: usize = 256;
const COARSE_ANGLES: usize = 256;
/// Angles of the fine search.
const FINE_ANGLES: usize = 720;

/// Looks for the centre whose mirrored sinogram keeps best to the double wedge. Of a full turn the first half is used.
///
/// # Errors
/// When there is no sinogram, or the angles cover neither about 180° nor a full turn.
pub fn find(input: &Input, options: &Options) -> Result<Estimate> {
    need_sinograms(input)?;
    let coverage = Coverage::new(input.angles);
    let span = coverage.span();
    if (span - PI).abs() > 10f64.to_radians() && !coverage.is_full_turn() {
        let range = format!("{:.1} degrees", span.to_degrees());
        return Err(Error::parameter(
            "method",
            range,
            "Vo's method needs angles over 180 degrees; use another method",
        ));
    }
    let columns = input.columns;
    let last = columns as f64 - 1.0;
    let (low, high) = options.search.unwrap_or((0.2 * last, 0.8 * last));
    let (low, high) = (low.max(0.05 * last), high.min(0.95 * last));
    let bin = (columns / COARSE_COLUMNS).max(1);
    let step = 0.5 * bin as f64;
    let count = ((high - low).max(0.0) / step) as usize + 1;
    let mut curves = Curves { first: low, step, cost: Vec::new() };
    for (_, sinogram) in input.sinograms {
        let wedge = Wedge::new(sinogram, columns, &coverage, COARSE_ANGLES, bin);
        curves.cost.push((0..count).map(|i| wedge.cost(low + i as f64 * step)).collect());
    }
    let (center, _) = curves.joint_minimum();
    let (center, fine) =
        refine(input.sinograms.iter().map(|(_, s)| s.as_slice()), columns, &coverage, center, 2.0 * step);
    let mut estimate = verdict::judge_curves(input, options, &coverage, &curves, &fine, center, Method::Vo);
    if input.sinograms.iter().any(|(_, s)| is_cut_off(s, columns)) && estimate.verdict == Verdict::Found {
        estimate.verdict = Verdict::Ambiguous;
        estimate.confidence = estimate.confidence.min(0.45);
        estimate.reason = format!(
            "Vo's method gives {center:.2}, but the sample reaches beyond the detector, where it is known to err: use the automatic method."
        );
    }
    Ok(estimate)
}

/// The centre about `start`, to a fraction of a column, and the last, finest costs about it.
pub(super) fn refine<'a>(
    sinograms: impl Iterator<Item = &'a [f32]>,
    columns: usize,
    coverage: &Coverage,
    start: f64,
    reach: f64,
) -> (f64, Curves) {
    // Frequencies above n/R lie within the wedge at all orders: columns finer than that tell nothing.
    let angles = coverage.order.len().min(FINE_ANGLES) as f64;
    let bin = ((0.7 * PI * 0.5 * columns as f64 / angles) as usize).clamp(1, (columns / 64).max(1));
    let wedges: Vec<Wedge> = sinograms.map(|s| Wedge::new(s, columns, coverage, FINE_ANGLES, bin)).collect();
    let mut center = start;
    let mut half = reach;
    let mut fine;
    loop {
        let points = 9;
        fine = Curves { first: center - half, step: 2.0 * half / (points - 1) as f64, cost: Vec::new() };
        for wedge in &wedges {
            fine.cost.push((0..points).map(|i| wedge.cost(fine.first + i as f64 * fine.step)).collect());
        }
        center = fine.joint_minimum().0;
        if half <= 0.6 {
            return (center, fine);
        }
        half /= 3.0;
    }
}

/// What lies outside the double wedge, of a sinogram and of its mirror image.
struct Wedge {
    /// (frequency along the detector, sinogram's value, mirror's value), outside the wedge only.
    points: Vec<(f32, Complex64, Complex64)>,
    /// Column that the mirror image was mirrored about.
    middle: f64,
}

impl Wedge {
    fn new(sinogram: &[f32], columns: usize, coverage: &Coverage, most: usize, bin: usize) -> Self {
        let binned = columns / bin;
        // Projections up to, not including, half a turn: their mirror images go on from there.
        let end = coverage.angles[0] + PI - 0.5 * coverage.step;
        let half: Vec<usize> =
            coverage.order.iter().zip(&coverage.angles).filter(|(_, a)| **a < end).map(|(i, _)| *i).collect();
        let stride = half.len().div_ceil(most).max(1);
        let chosen: Vec<usize> = half.iter().copied().step_by(stride).collect();
        let n = chosen.len();
        let width = (2 * binned).next_power_of_two();
        let mut planner = FftPlanner::new();
        let along = planner.plan_fft_forward(width);
        let bins = width / 2;
        // Transform rows, both orientations in one, kept as (frequency, angle) for the second transform.
        let mut direct = vec![Complex64::ZERO; bins * 2 * n];
        let mut mirror = vec![Complex64::ZERO; bins * 2 * n];
        let mut data = vec![Complex64::ZERO; width];
        // Only the margin that must be air anyway is tapered.
        let taper: Vec<f64> = (0..binned)
            .map(|c| (c.min(binned - 1 - c) as f64 + 0.5) / (0.02 * binned as f64).max(1.0))
            .map(|d| if d >= 1.0 { 1.0 } else { 0.5 - 0.5 * (PI * d).cos() })
            .collect();
        for (k, &index) in chosen.iter().enumerate() {
            let row = clean_row(&sinogram[index * columns..(index + 1) * columns]);
            data.fill(Complex64::ZERO);
            for c in 0..binned {
                let mean = |c: usize| row[c * bin..(c + 1) * bin].iter().sum::<f64>() / bin as f64;
                data[c] = Complex64::new(taper[c] * mean(c), taper[c] * mean(binned - 1 - c));
            }
            along.process(&mut data);
            for b in 0..bins {
                let (z, w) = (data[b], data[(width - b) % width].conj());
                direct[b * 2 * n + k] = (z + w) * 0.5;
                mirror[b * 2 * n + n + k] = (z - w) * Complex64::new(0.0, -0.5);
            }
        }
        let around = planner.plan_fft_forward(2 * n);
        around.process(&mut direct);
        around.process(&mut mirror);
        let radius = 0.5 * columns as f64;
        let mut points = Vec::new();
        for b in 1..bins {
            let omega = TAU * b as f64 / (width * bin) as f64;
            let wedge = radius * omega + 6.0;
            for k in 0..2 * n {
                // Orders of a full turn, folded to −n..n.
                if k.min(2 * n - k) as f64 > wedge {
                    let at = b * 2 * n + k;
                    points.push((omega as f32, direct[at], mirror[at]));
                }
            }
            if wedge > n as f64 {
                break;
            }
        }
        Self { points, middle: 0.5 * ((binned * bin) as f64 - 1.0) }
    }

    /// Mean magnitude outside the wedge with the mirror at `center`.
    fn cost(&self, center: f64) -> f64 {
        let shift = 2.0 * (center - self.middle);
        let mut turn = (f32::NAN, Complex64::ZERO);
        let mut sum = 0.0;
        for &(omega, a, b) in &self.points {
            if omega != turn.0 {
                turn = (omega, Complex64::cis(-f64::from(omega) * shift));
            }
            // Not norm(): nothing here comes near overflow, and hypot costs ten times as much.
            sum += (a + b * turn.1).norm_sqr().sqrt();
        }
        sum / self.points.len().max(1) as f64
    }
}
