//! What filtering on a short circular line gets wrong, and what puts it right.
//!
//! A line of L points, little longer than the field of view, is filtered by multiplying its spectrum with the filter's.
//! That repeats the filtered line every L points, and the tails of the repetitions fall into the field of view. They are
//! smooth there, since they come from at least L minus the longest lag away: a tail is a slowly varying function (from
//! the ramp's kink at frequency 0), or one times (−1)^s (from the filter's end at the Nyquist frequency). A smooth
//! function of the distance s − i is a sum of a few functions of s times polynomials of i, so a few moments of the
//! columns, of their plain and of their alternating sum, say what to subtract; and as it is smooth in s, a few frequencies
//! next to 0 and to Nyquist are all that changes.
//!
//! The same window that makes the correction end softly outside the field of view serves the columns added by edge
//! padding: a constant continuation adds its end value times a response known beforehand.

use std::f64::consts::PI;

use rustfft::FftPlanner;
use rustfft::num_complex::Complex64;

use crate::filter::Filter;

/// Moments: enough (some 1e-5 of the tails) for tails that come from 8 % of the line's length away.
pub(super) const NODES: usize = 16;

/// The wanted part of a line and its surroundings.
pub(super) struct Stretch {
    /// Detector columns; the data are at 0..columns.
    pub(super) columns: usize,
    /// Wanted positions, first and last.
    pub(super) low: isize,
    pub(super) high: isize,
    /// Rotation centre: the spectra are relative to it.
    pub(super) center: f64,
    /// Length of the line.
    pub(super) length: usize,
}

/// Integral of the four-term Nuttall window, falling from 1 to 0 over 0..1: its spectrum ends after four cycles.
fn fall(t: f64) -> f64 {
    let t = t.clamp(0.0, 1.0);
    let terms = [(2.0, -0.489_177_5), (4.0, 0.136_599_5), (6.0, -0.010_641_1)];
    1.0 - t - terms.iter().map(|(k, a)| a / 0.363_581_9 * (k * PI * t).sin() / (k * PI)).sum::<f64>()
}

impl Stretch {
    /// Points on either side over which the window falls.
    fn margin(&self) -> f64 {
        0.5 * (self.length as isize - (self.high - self.low + 1)) as f64
    }

    fn window(&self, s: f64) -> f64 {
        let outside = (self.low as f64 - s).max(s - self.high as f64).max(0.0);
        fall(outside / self.margin())
    }

    /// First position of the line that is centred on the wanted part.
    fn start(&self) -> isize {
        (self.low + self.high + 1).div_euclid(2) - (self.length / 2) as isize
    }

    /// Frequencies on either side to which a windowed smooth function spreads.
    pub(super) fn spread(&self) -> usize {
        ((4.2 * self.length as f64 / self.margin()).ceil() as usize).min(self.length / 4)
    }

    /// Chebyshev nodes over the columns.
    fn node(&self, k: usize) -> f64 {
        let last = (self.columns - 1) as f64;
        0.5 * last * (1.0 + (PI * (k as f64 + 0.5) / NODES as f64).cos())
    }

    /// Share of each column in each moment: the polynomials that interpolate between the nodes.
    pub(super) fn shares(&self) -> Vec<[f32; NODES]> {
        let last = (self.columns - 1).max(1) as f64;
        (0..self.columns)
            .map(|i| {
                let angle = (2.0 * i as f64 / last - 1.0).clamp(-1.0, 1.0).acos();
                std::array::from_fn(|k| {
                    let node = PI * (k as f64 + 0.5) / NODES as f64;
                    let sum: f64 =
                        (1..NODES).map(|p| (p as f64 * node).cos() * (p as f64 * angle).cos()).sum();
                    ((1.0 + 2.0 * sum) / NODES as f64) as f32
                })
            })
            .collect()
    }

    /// Spectra (exponent +) of what each plain moment adds, at frequencies 0 to [`Stretch::spread`].
    pub(super) fn plain(&self, filter: &Filter) -> Vec<Vec<Complex64>> {
        let ramp = !matches!(filter, Filter::None);
        self.tails(
            0..self.spread() as isize + 1,
            |x| response(filter, x) * pass(x),
            move |_, long| {
                // Repetitions of the long line itself, which the ramp's −1/(2π²d²) adds up to.
                Complex64::new(if ramp { 1.0 / (6.0 * long * long) } else { 0.0 }, 0.0)
            },
        )
    }

    /// The same for the alternating moments, at frequencies next to Nyquist, ± [`Stretch::spread`].
    pub(super) fn alternating(&self, filter: &Filter) -> Vec<Vec<Complex64>> {
        let spread = self.spread() as isize;
        let end = response(filter, 0.5);
        let band = |x: f64| match x {
            0.0 => 0.5 * end,
            x if x < 0.0 => response(filter, 0.5 + x) * pass(x),
            _ => 0.0,
        };
        let turn = Complex64::cis(-PI * self.center);
        let mut spectra = self.tails(-spread..spread + 1, band, move |d, long| {
            Complex64::new(0.0, -end * PI * d / (6.0 * long * long))
        });
        spectra.iter_mut().flatten().for_each(|value| *value *= turn);
        spectra
    }

    /// For each node: the tails of a filter band of a unit at the node, windowed, as a conjugated spectrum.
    fn tails(
        &self,
        frequencies: std::ops::Range<isize>,
        band: impl Fn(f64) -> f64,
        beyond: impl Fn(f64, f64) -> Complex64,
    ) -> Vec<Vec<Complex64>> {
        const COPIES: usize = 16;
        let (length, long) = (self.length, COPIES * self.length);
        let mut planner = FftPlanner::<f64>::new();
        let (widen, narrow) = (planner.plan_fft_inverse(long), planner.plan_fft_forward(length));
        let band: Vec<f64> = (0..long)
            .map(|p| if p < long / 2 { p as f64 } else { p as f64 - long as f64 } / long as f64)
            .map(|x| band(x) / long as f64)
            .collect();
        let start = self.start();
        let mut line = vec![Complex64::default(); long];
        (0..NODES)
            .map(|k| {
                let node = self.node(k);
                for (p, (value, band)) in line.iter_mut().zip(&band).enumerate() {
                    let x = if p < long / 2 { p as f64 } else { p as f64 - long as f64 } / long as f64;
                    *value = Complex64::cis(2.0 * PI * x * (start as f64 - node)) * *band;
                }
                widen.process(&mut line);
                let mut tails: Vec<Complex64> = (0..length)
                    .map(|i| {
                        let others: Complex64 = (1..COPIES).map(|m| line[i + m * length]).sum();
                        let s = (start + i as isize) as f64;
                        (beyond(s - node, long as f64) - others) * self.window(s)
                    })
                    .collect();
                narrow.process(&mut tails);
                self.centred(&tails, length, frequencies.clone())
            })
            .collect()
    }

    /// Conjugate of the spectrum of a line that begins at [`Stretch::start`], relative to the centre.
    fn centred(
        &self,
        spectrum: &[Complex64],
        period: usize,
        frequencies: std::ops::Range<isize>,
    ) -> Vec<Complex64> {
        let shift = 2.0 * PI * (self.start() as f64 - self.center) / self.length as f64;
        frequencies
            .map(|p| {
                let value = spectrum[p.rem_euclid(period as isize) as usize];
                (value * Complex64::cis(-shift * p as f64)).conj()
            })
            .collect()
    }

    /// Spectra (exponent +) of the wanted part's response to a unit continuation to the left and to the right by `pad`
    /// columns, at frequencies 0 to `count`.
    pub(super) fn edges(&self, filter: &Filter, pad: usize, count: usize) -> [Vec<Complex64>; 2] {
        let length = self.length;
        let copies = (2 * (pad + self.columns + length)).div_ceil(length).max(16);
        let long = copies * length;
        let mut planner = FftPlanner::<f64>::new();
        let (forward, widen) = (planner.plan_fft_forward(long), planner.plan_fft_inverse(2 * long));
        let narrow = planner.plan_fft_forward(2 * length);
        let runs = [-(pad as isize)..0, self.columns as isize..(self.columns + pad) as isize];
        let beyond =
            if matches!(filter, Filter::None) { 0.0 } else { pad as f64 / (6.0 * (long * long) as f64) };
        runs.map(|run| {
            let mut line = vec![Complex64::default(); long];
            for column in run {
                line[column.rem_euclid(long as isize) as usize].re = 1.0;
            }
            forward.process(&mut line);
            // Twice as fine, since a windowed line holds frequencies beyond Nyquist.
            let mut wide = vec![Complex64::default(); 2 * long];
            for p in 0..=long / 2 {
                let share = if p == long / 2 { 0.5 } else { 1.0 };
                let value = line[p] * (share * response(filter, p as f64 / long as f64) / long as f64);
                wide[p] = value;
                wide[(2 * long - p) % (2 * long)] = value.conj();
            }
            widen.process(&mut wide);
            let start = 2 * self.start();
            let mut kept: Vec<Complex64> = (0..2 * length as isize)
                .map(|i| {
                    let value = wide[(start + i).rem_euclid(2 * long as isize) as usize] + beyond;
                    value * (0.5 * self.window(0.5 * (start + i) as f64))
                })
                .collect();
            narrow.process(&mut kept);
            self.centred(&kept, 2 * length, 0..count as isize)
        })
    }
}

/// Splits the filter's spectrum softly, so that its two irregularities can be treated apart.
fn pass(x: f64) -> f64 {
    fall((x.abs() - 0.125) / 0.25)
}

/// The filter at a frequency of 0 to 0.5 cycles per pixel (of either sign).
pub(super) fn response(filter: &Filter, x: f64) -> f64 {
    match filter {
        Filter::None => 0.5,
        filter => x.abs() * filter.window(x),
    }
}
