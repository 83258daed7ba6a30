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
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
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
    let costs = |(_, sinogram): &(usize, Vec<f32>)| {
        let wedge = Wedge::new(sinogram, columns, &coverage, COARSE_ANGLES, bin);
        (0..count).map(|i| wedge.cost(low + i as f64 * step)).collect()
    };
    curves.cost = input.sinograms.par_iter().map(costs).collect();
    let (center, _) = curves.joint_minimum();
    let sinograms: Vec<&[f32]> = input.sinograms.iter().map(|(_, s)| s.as_slice()).collect();
    let (center, fine) = refine(&sinograms, columns, &coverage, center, 2.0 * step);
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
pub(super) fn refine(
    sinograms: &[&[f32]],
    columns: usize,
    coverage: &Coverage,
    start: f64,
    reach: f64,
) -> (f64, Curves) {
    // Frequencies above n/R lie within the wedge at all orders: columns finer than that tell nothing.
    let angles = coverage.order.len().min(FINE_ANGLES) as f64;
    let bin = ((0.7 * PI * 0.5 * columns as f64 / angles) as usize).clamp(1, (columns / 64).max(1));
    let wedges: Vec<Wedge> =
        sinograms.par_iter().map(|s| Wedge::new(s, columns, coverage, FINE_ANGLES, bin)).collect();
    let mut center = start;
    let mut half = reach;
    let mut fine;
    loop {
        let points = 9;
        fine = Curves { first: center - half, step: 2.0 * half / (points - 1) as f64, cost: Vec::new() };
        let costs =
            |wedge: &Wedge| (0..points).map(|i| wedge.cost(fine.first + i as f64 * fine.step)).collect();
        fine.cost = wedges.par_iter().map(costs).collect();
        center = fine.joint_minimum().0;
        if half <= 0.6 {
            return (center, fine);
        }
        half /= 3.0;
    }
}

/// Numbers that are treated together; no sum changes its order by it.
const LANES: usize = 8;

/// What lies outside the double wedge, of a sinogram with its mirror image.
///
/// The mirror image's spectrum is known from the sinogram's own: mirroring a row conjugates its spectrum but for a phase,
/// and going on half a turn later changes the sign of every other order. At the orders m and −m the two together have
/// the same magnitude, so only m > 0 is kept.
struct Wedge {
    /// Values at m and at −m (conjugated, with the sign), as groups of (real, imaginary) parts of either.
    points: Vec<[[f64; LANES]; 4]>,
    /// For each frequency along the detector: the frequency, and where its groups end.
    lines: Vec<(f64, usize)>,
    /// Number of orders that count.
    count: usize,
    bin: usize,
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
        // The first order outside the wedge at each frequency, as long as there is one.
        let omega = |b: usize| TAU * b as f64 / (width * bin) as f64;
        let firsts: Vec<usize> = (1..width / 2)
            .map(|b| (0.5 * columns as f64 * omega(b) + 6.0) as usize + 1)
            .take_while(|first| *first <= n)
            .collect();
        let bins = firsts.len();
        // Rows of spectra, two real ones in each transform.
        let mut spectra = vec![Complex64::ZERO; bins * n];
        let mut data = vec![Complex64::ZERO; width];
        let mut scratch = vec![Complex64::ZERO; along.get_inplace_scratch_len()];
        // Only the margin that must be air anyway is tapered.
        let taper: Vec<f64> = (0..binned)
            .map(|c| (c.min(binned - 1 - c) as f64 + 0.5) / (0.02 * binned as f64).max(1.0))
            .map(|d| (if d >= 1.0 { 1.0 } else { 0.5 - 0.5 * (PI * d).cos() }) / bin as f64)
            .collect();
        let row = |index: &usize| clean_row(&sinogram[index * columns..(index + 1) * columns]);
        for (pair, spectra) in chosen.chunks(2).zip(spectra.chunks_mut((2 * bins).max(1))) {
            data.fill(Complex64::ZERO);
            for (part, row) in pair.iter().map(row).enumerate() {
                for ((value, columns), taper) in data.iter_mut().zip(row.chunks_exact(bin)).zip(&taper) {
                    let mean = taper * columns.iter().sum::<f64>();
                    if part == 0 { value.re = mean } else { value.im = mean }
                }
            }
            along.process_with_scratch(&mut data, &mut scratch);
            let (first, second) = spectra.split_at_mut(bins);
            for (b, first) in (1..).zip(first) {
                *first = (data[b] + data[width - b].conj()) * 0.5;
            }
            for (b, second) in (1..).zip(second) {
                *second = (data[b] - data[width - b].conj()) * Complex64::new(0.0, -0.5);
            }
        }
        let around = planner.plan_fft_forward(2 * n);
        let mut turn = vec![Complex64::ZERO; 2 * n];
        scratch.resize(around.get_inplace_scratch_len(), Complex64::ZERO);
        let mut wedge = Self { points: Vec::new(), lines: Vec::with_capacity(bins), count: 0, bin };
        for (b, &first) in firsts.iter().enumerate() {
            turn.fill(Complex64::ZERO);
            turn.iter_mut().zip(spectra[b..].iter().step_by(bins)).for_each(|(t, s)| *t = *s);
            around.process_with_scratch(&mut turn, &mut scratch);
            for group in (first..=n).step_by(LANES) {
                let mut point = [[0.0; LANES]; 4];
                for m in group..(group + LANES).min(n + 1) {
                    let (here, there) = (turn[m], turn[2 * n - m].conj());
                    // The order n is its own opposite.
                    let weight = if m == n { 0.5 } else { 1.0 };
                    let sign = if m % 2 == 0 { weight } else { -weight };
                    let values = [here.re * weight, here.im * weight, there.re * sign, there.im * sign];
                    point.iter_mut().zip(values).for_each(|(lanes, value)| lanes[m - group] = value);
                }
                wedge.points.push(point);
            }
            wedge.count += 2 * (n - first) + 1;
            wedge.lines.push((omega(b + 1), wedge.points.len()));
        }
        wedge
    }

    /// Mean magnitude outside the wedge with the mirror at `center`.
    fn cost(&self, center: f64) -> f64 {
        let sum = Arch::new().dispatch(Cost { wedge: self, shift: 2.0 * center + 1.0 - self.bin as f64 });
        2.0 * sum / self.count.max(1) as f64
    }
}

/// Sum of the magnitudes at positive orders, the mirror image's turned by `shift` columns.
struct Cost<'a> {
    wedge: &'a Wedge,
    shift: f64,
}

impl WithSimd for Cost<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let mut sums = [0.0; LANES];
        let mut begin = 0;
        for &(omega, end) in &self.wedge.lines {
            let (sin, cos) = (-omega * self.shift).sin_cos();
            for [a, b, c, d] in &self.wedge.points[begin..end] {
                for lane in 0..LANES {
                    let real = a[lane] + (c[lane] * cos - d[lane] * sin);
                    let imaginary = b[lane] + (c[lane] * sin + d[lane] * cos);
                    // Not hypot: nothing here comes near overflow.
                    sums[lane] += (real * real + imaginary * imaginary).sqrt();
                }
            }
            begin = end;
        }
        sums.iter().sum()
    }
}
