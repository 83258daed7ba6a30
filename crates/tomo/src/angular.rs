//! Projections between the measured ones, for scans with fewer angles than their columns ask for.
//!
//! A sinogram of n columns is full at about πn/2 angles; production scans take a third of that, and what lies
//! between the angles comes back as streaks. The sinogram tells part of it: of the angular harmonic m, a point at
//! radius r contributes to a detector frequency σ only where |m| < 2πσr (the bow tie of P. A. Rattey and
//! A. G. Lindgren, IEEE Trans. ASSP 29, 1981, 994). Where too few angles fold several harmonics into one, their
//! sum is shared among them in the proportion that an object filling the field of view would have on average: the
//! power of harmonic m is taken as 1 − (m / 2πσR)². Shares add up to one, so measured projections stay what they
//! were, to rounding.
//!
//! Two sinograms go through one complex transform as real and imaginary part.

use std::f64::consts::{PI, TAU};
use std::sync::Arc;

use rustfft::num_complex::{Complex32, Complex64};
use rustfft::{Fft, FftPlanner};

use crate::angles::check_angles;
use crate::error::{Error, Result, check_len};
use crate::fft::good_length;

/// Frequencies worked on together: a cache line of complex numbers.
const BLOCK: usize = 8;
/// Columns in which the padded ends of a line run into each other.
const SEAM: usize = 64;
/// By how much of a step an angle may be off its place.
const UNEVEN: f64 = 0.1;

/// A plan for one set of angles. Shared by threads.
pub struct AngularFill {
    columns: usize,
    /// Lines of a sinogram that is given.
    lines: usize,
    /// Whether the last line sees the object as the first does, from behind.
    closed: bool,
    /// Directions measured in half a turn.
    measured: usize,
    factor: usize,
    first: f64,
    step: f64,
    /// Length of a padded line.
    length: usize,
    /// Distance of the farthest column from the axis.
    radius: f64,
    /// By frequency: puts the axis at column 0 of the padded line.
    to_axis: Vec<Complex32>,
    along_columns: [Arc<dyn Fft<f32>>; 2],
    along_angles: [Arc<dyn Fft<f32>>; 2],
}

/// Buffers of one thread.
pub struct AngularFillWorkspace {
    measured: Vec<Complex32>,
    filled: Vec<Complex32>,
    turn: Vec<Complex32>,
    wide: Vec<Complex32>,
    share: Vec<f32>,
    scratch: Vec<Complex32>,
}

impl AngularFill {
    /// Plans for sinograms of (angles, columns) with the rotation axis at `center` (0-based column) over half a turn
    /// in even steps, with both ends (0° and 180°) or with one. The number of directions is multiplied by π/2 ×
    /// columns / angles, rounded, at most fourfold; 1 where there are angles enough.
    pub fn new(angles: &[f64], columns: usize, center: f64) -> Result<Self> {
        check_angles(angles)?;
        let lines = angles.len();
        if lines < 3 || columns < 2 {
            let size = format!("{lines} × {columns}");
            return Err(Error::parameter(
                "sinogram",
                size,
                "filling angles needs 3 angles and 2 columns or more",
            ));
        }
        let step = (angles[lines - 1] - angles[0]) / (lines - 1) as f64;
        let even = angles.iter().enumerate().all(|(i, angle)| {
            let place = angles[0] + step * i as f64;
            (angle - place).abs() <= UNEVEN * step.abs()
        });
        let steps = PI / step.abs();
        let measured = steps.round() as usize;
        let closed = measured + 1 == lines;
        if !even || !(closed || measured == lines) || (steps - steps.round()).abs() > UNEVEN {
            let span = step.abs().to_degrees() * (lines - 1) as f64;
            return Err(Error::parameter(
                "angles",
                format!("{lines} over {span:.2}°"),
                "filling angles needs even steps over half a turn; switch it off for this scan",
            ));
        }
        let radius = (center + 0.5).max(columns as f64 - 0.5 - center);
        if !(radius.is_finite() && radius <= columns as f64) {
            return Err(Error::parameter("center", center, "the rotation centre must lie on the detector"));
        }
        let factor = (PI * radius / measured as f64).round().clamp(1.0, 4.0) as usize;
        let length = good_length((2.0 * radius).ceil() as usize + SEAM, 2);
        let to_axis = (0..length).map(|k| {
            let frequency = if k <= length / 2 { k as f64 } else { k as f64 - length as f64 };
            let turn = Complex64::from_polar(1.0, TAU * frequency * center / length as f64);
            Complex32::new(turn.re as f32, turn.im as f32)
        });
        let to_axis = to_axis.collect();
        let mut planner = FftPlanner::new();
        let along_columns = [planner.plan_fft_forward(length), planner.plan_fft_inverse(length)];
        let turn = 2 * measured;
        let along_angles = [planner.plan_fft_forward(turn), planner.plan_fft_inverse(turn * factor)];
        let first = angles[0];
        Ok(Self {
            columns,
            lines,
            closed,
            measured,
            factor,
            first,
            step,
            length,
            radius,
            to_axis,
            along_columns,
            along_angles,
        })
    }

    /// Angles of the filled sinogram: even steps over half a turn, the end left out.
    pub fn angles(&self) -> Vec<f64> {
        let step = PI / self.filled() as f64;
        (0..self.filled()).map(|i| self.first + (step * i as f64).copysign(self.step)).collect()
    }

    /// Lines of the filled sinogram.
    pub fn filled(&self) -> usize {
        self.measured * self.factor
    }

    /// Buffers for one thread.
    pub fn workspace(&self) -> AngularFillWorkspace {
        let zeros = |n: usize| vec![Complex32::default(); n];
        let turn = 2 * self.measured;
        let scratch =
            self.along_columns.iter().chain(&self.along_angles).map(|fft| fft.get_inplace_scratch_len());
        AngularFillWorkspace {
            measured: zeros(self.lines * self.length),
            filled: zeros(self.filled() * self.length),
            turn: zeros(BLOCK * turn),
            wide: zeros(turn * self.factor),
            share: vec![0.0; turn * self.factor],
            scratch: zeros(scratch.max().unwrap_or(0)),
        }
    }

    /// Bytes of one workspace.
    pub fn workspace_bytes(&self) -> usize {
        let turn = 2 * self.measured;
        8 * ((self.lines + self.filled()) * self.length + turn * (BLOCK + self.factor))
            + 4 * turn * self.factor
    }

    /// Fills two sinograms of (angles, columns) into two of ([`Self::filled`], columns).
    pub fn apply_pair(
        &self,
        workspace: &mut AngularFillWorkspace,
        sinograms: [&[f32]; 2],
        filled: [&mut [f32]; 2],
    ) -> Result<()> {
        for sinogram in sinograms {
            check_len("sinogram", sinogram.len(), self.lines * self.columns)?;
        }
        for one in &filled {
            check_len("filled sinogram", one.len(), self.filled() * self.columns)?;
        }
        self.transform_lines(workspace, sinograms);
        for from in (0..=self.length / 2).step_by(BLOCK) {
            self.fill_block(workspace, from..(from + BLOCK).min(self.length / 2 + 1));
        }
        self.write_lines(workspace, filled);
        Ok(())
    }

    /// Spectra of the measured lines, the axis at column 0.
    fn transform_lines(&self, workspace: &mut AngularFillWorkspace, [first, second]: [&[f32]; 2]) {
        let (n, length) = (self.columns, self.length);
        let lines = first.chunks_exact(n).zip(second.chunks_exact(n));
        for (line, (re, im)) in workspace.measured.chunks_exact_mut(length).zip(lines) {
            for (to, (&re, &im)) in line.iter_mut().zip(re.iter().zip(im)) {
                *to = Complex32::new(re, im);
            }
            // Behind the last column its value goes over into that of the first: the line is a ring.
            let (end, start) = (line[n - 1], line[0]);
            let gap = length - n;
            for (k, to) in line[n..].iter_mut().enumerate() {
                *to = end + (start - end) * ((k + 1) as f32 / (gap + 1) as f32);
            }
            self.along_columns[0].process_with_scratch(line, &mut workspace.scratch);
            line.iter_mut().zip(&self.to_axis).for_each(|(x, turn)| *x *= turn);
        }
        if self.closed {
            let (head, last) = workspace.measured.split_at_mut(self.measured * length);
            for k in 0..length {
                head[k] = (head[k] + last[(length - k) % length]) * 0.5;
            }
        }
    }

    /// All directions of a few frequencies. From behind, a frequency is its opposite.
    fn fill_block(&self, workspace: &mut AngularFillWorkspace, block: std::ops::Range<usize>) {
        let AngularFillWorkspace { measured, filled, turn, wide, share, scratch } = workspace;
        let (length, half, all) = (self.length, self.measured, self.filled());
        let opposite = |k: usize| (length - k) % length;
        for (angle, line) in measured.chunks_exact(length).take(half).enumerate() {
            for (lane, k) in block.clone().enumerate() {
                turn[lane * 2 * half + angle] = line[k];
                turn[lane * 2 * half + half + angle] = line[opposite(k)];
            }
        }
        for (lane, k) in block.enumerate() {
            let harmonics = &mut turn[lane * 2 * half..(lane + 1) * 2 * half];
            self.along_angles[0].process_with_scratch(harmonics, scratch);
            self.shares(k, share);
            for (j, (to, share)) in wide.iter_mut().zip(share.iter()).enumerate() {
                *to = harmonics[j % (2 * half)] * *share;
            }
            self.along_angles[1].process_with_scratch(wide, scratch);
            for (angle, line) in filled.chunks_exact_mut(length).enumerate() {
                line[k] = wide[angle];
                line[opposite(k)] = wide[all + angle];
            }
        }
    }

    /// How much of what was measured each harmonic of frequency `k` takes, over the length of the transform.
    fn shares(&self, k: usize, share: &mut [f32]) {
        let (turn, wide) = (2 * self.measured, share.len());
        let reach = TAU * k as f64 / self.length as f64 * self.radius;
        let order = |j: usize| if 2 * j <= wide { j } else { wide - j } as f64;
        let power = |j: usize| (1.0 - (order(j) / reach).powi(2)).max(0.0);
        for base in 0..turn {
            let same = || (base..wide).step_by(turn);
            let sum: f64 = if k == 0 { 0.0 } else { same().map(power).sum() };
            // Outside the bow tie there is only noise, which stays as slow as it can.
            let slowest = same().map(order).fold(f64::INFINITY, f64::min);
            let many = same().filter(|&j| order(j) == slowest).count() as f64;
            for j in same() {
                let part = match sum > 0.0 {
                    true => power(j) / sum,
                    false if order(j) == slowest => 1.0 / many,
                    false => 0.0,
                };
                share[j] = (part / turn as f64) as f32;
            }
        }
    }

    fn write_lines(&self, workspace: &mut AngularFillWorkspace, [first, second]: [&mut [f32]; 2]) {
        let scale = 1.0 / self.length as f32;
        let lines = first.chunks_exact_mut(self.columns).zip(second.chunks_exact_mut(self.columns));
        for (line, (re, im)) in workspace.filled.chunks_exact_mut(self.length).zip(lines) {
            line.iter_mut().zip(&self.to_axis).for_each(|(x, turn)| *x *= turn.conj() * scale);
            self.along_columns[1].process_with_scratch(line, &mut workspace.scratch);
            for (from, (re, im)) in line.iter().zip(re.iter_mut().zip(im)) {
                (*re, *im) = (from.re, from.im);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Gaussian blob's projections: as smooth in angle as its distance from the axis says.
    fn blob(angles: &[f64], columns: usize, center: f64, (x, y): (f64, f64), width: f64) -> Vec<f32> {
        let line = |angle: &f64| {
            let at = center + x * angle.cos() + y * angle.sin();
            (0..columns).map(move |c| (-((c as f64 - at) / width).powi(2)).exp() as f32)
        };
        angles.iter().flat_map(line).collect()
    }

    fn half_turn(count: usize, closed: bool) -> Vec<f64> {
        let steps = if closed { count - 1 } else { count };
        (0..count).map(|i| -PI * i as f64 / steps as f64).collect()
    }

    fn largest(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    fn fill(plan: &AngularFill, pair: [&[f32]; 2]) -> [Vec<f32>; 2] {
        let size = plan.filled() * plan.columns;
        let (mut first, mut second) = (vec![f32::NAN; size], vec![f32::NAN; size]);
        plan.apply_pair(&mut plan.workspace(), pair, [&mut first, &mut second]).unwrap();
        [first, second]
    }

    #[test]
    fn projections_of_smooth_objects_between_the_measured_ones_are_the_true_ones() {
        // Half as many angles as the blob's movement needs, were the harmonics not told apart: width 3 pixels passes
        // frequencies to 0.3, at radius 30 harmonics to 57; 40 angles carry harmonics to 40.
        for (count, closed, center) in [(40, false, 50.3), (41, true, 47.75), (39, false, 47.0)] {
            let angles = half_turn(count, closed);
            let plan = AngularFill::new(&angles, 96, center).unwrap();
            assert_eq!(plan.factor, 4, "π · 48 / 40");
            let (here, there) = ((20.0, -12.0), (-3.0, 25.0));
            let given = [blob(&angles, 96, center, here, 3.0), blob(&angles, 96, center, there, 4.0)];
            let filled = fill(&plan, [&given[0], &given[1]]);
            let truth =
                [blob(&plan.angles(), 96, center, here, 3.0), blob(&plan.angles(), 96, center, there, 4.0)];
            for (filled, truth) in filled.iter().zip(&truth) {
                // Beside the true line a measured neighbour is off by 0.8 × the blob's height.
                assert!(largest(filled, truth) < 0.02, "{}", largest(filled, truth));
            }
        }
    }

    #[test]
    fn measured_projections_stay() {
        let (angles, columns) = (half_turn(37, false), 61);
        let plan = AngularFill::new(&angles, columns, 28.6).unwrap();
        let mut state = 1u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        let first: Vec<f32> = (0..37 * columns).map(|_| noise()).collect();
        let second: Vec<f32> = (0..37 * columns).map(|_| noise()).collect();
        let filled = fill(&plan, [&first, &second]);
        for (given, filled) in [first, second].iter().zip(&filled) {
            for (line, kept) in given.chunks(columns).zip(filled.chunks(columns).step_by(plan.factor)) {
                assert!(largest(line, kept) < 1e-5, "rounding of f32 transforms of 488 and 130 values");
            }
        }
    }

    #[test]
    fn enough_angles_need_no_filling_and_keep_their_count() {
        let plan = AngularFill::new(&half_turn(160, false), 96, 48.0).unwrap();
        assert_eq!((plan.factor, plan.filled()), (1, 160));
    }

    #[test]
    fn angles_that_are_uneven_or_no_half_turn_are_refused() {
        let mut bent = half_turn(40, false);
        bent[7] += 0.02;
        let full: Vec<f64> = (0..80).map(|i| TAU * f64::from(i) / 80.0).collect();
        let short: Vec<f64> = (0..60).map(|i| f64::from(i) * 0.03).collect();
        for angles in [bent, full, short, vec![0.0, 1.0], vec![0.0; 10]] {
            assert!(AngularFill::new(&angles, 96, 48.0).is_err(), "{} angles", angles.len());
        }
        assert!(AngularFill::new(&half_turn(40, true), 96, f64::NAN).is_err());
        assert!(AngularFill::new(&half_turn(40, true), 1, 0.0).is_err());
    }
}
