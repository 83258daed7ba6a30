//! First half of `exact` mode: filtering a projection, and its spectrum as samples for the grid.
//!
//! Two projections (the same angle of two slices) travel as the real and imaginary part of one complex line:
//! 1. linear convolution with the band-limited filter, at a length at which nothing wraps around;
//! 2. columns added at the sides by edge padding are never computed with: a constant continuation adds its end value
//!    times a response known beforehand;
//! 3. what lies outside the wanted pixels is faded out and the line cut to little more than the field of view, so that
//!    the grid takes only half as many samples as the convolution needed. On the way the line is resampled a few per cent
//!    finer: fading widens the spectrum, which would else fold back at Nyquist and disturb the finest detail;
//! 4. the spectrum of what is left, moved to the rotation axis, is handed on.

use std::f64::consts::PI;
use std::sync::Arc;

use rustfft::num_complex::{Complex, Complex32, Complex64};
use rustfft::{Fft, FftNum, FftPlanner};

use super::bands::{TILE, Tile};
use super::{GridrecOptions, Padding};
use crate::fft::good_length;
use crate::filter::real_space;

/// One frequency of two slices: their combined spectrum at +j (re, im) and at −j (re, im).
pub(crate) type Sample = [f32; 4];

/// Columns beyond the wanted radius that are kept as they are, and over which the line then fades to nothing.
const KEEP: usize = 4;
const FADE: usize = 36;
/// Least factor by which the line is resampled finer.
const FINER: f64 = 1.05;

/// Convolution length up to which a line is made four times as long as its filter needs.
const LONG_ENOUGH: usize = 4096;

/// Plan of the per-projection work.
pub(crate) struct Lines {
    columns: usize,
    /// Length of the convolution, and its filter's spectrum, 0 to Nyquist.
    long: usize,
    spectrum: Vec<f32>,
    forward: Arc<dyn Fft<f32>>,
    /// Length of the same line after resampling, long / fine columns apart.
    fine: usize,
    backward: Arc<dyn Fft<f32>>,
    /// Index of the first value kept (may be negative) and the window over the kept ones.
    first: isize,
    window: Vec<f32>,
    /// Tails of the interpolation that the line's period cuts off.
    tails: Option<Tails>,
    /// What a unit end value adds to the kept values when it continues to the left, and to the right.
    edges: Option<[Vec<f32>; 2]>,
    /// Length of the kept line.
    short: usize,
    resample: Arc<dyn Fft<f32>>,
    /// Shift of the first kept value to the rotation axis, with the transform's amplitude; j = 0..=short/2.
    phase: Vec<Complex32>,
}

/// Buffers of one thread.
pub(crate) struct LineBuffers {
    long: Vec<Complex32>,
    fine: Vec<Complex32>,
    short: Vec<Complex32>,
    scratch: Vec<Complex32>,
}

impl Lines {
    /// `radius`: largest distance from the axis of a pixel that is wanted.
    pub(crate) fn new(options: &GridrecOptions, radius: f64) -> Self {
        let columns = options.columns;
        let center = options.center;
        let margin = radius + (KEEP + FADE) as f64;
        let (start, end) = ((center - margin).floor() as isize, (center + margin).ceil() as isize);
        // Largest lag from any detector column to any kept one; the filter has no other lags.
        let reach = end.unsigned_abs().max((columns as isize - 1 - start).unsigned_abs()).max(columns) + 2;
        // Twice the reach is enough for the filter. At small sizes a longer line costs nothing that matters.
        let shortest = 2 * reach + 1;
        let long = good_length(shortest.max((4 * shortest).min(LONG_ENOUGH)), 4);
        let fine = good_length((long as f64 * FINER).ceil() as usize, 4);
        let pitch = long as f64 / fine as f64;
        let first = (start as f64 / pitch).floor() as isize;
        let kept = ((end as f64 / pitch).ceil() as isize + 1 - first).max(1) as usize;
        let short = good_length(kept, 4);
        let window = (0..kept)
            .map(|i| {
                let beyond = ((first + i as isize) as f64 * pitch - center).abs() - radius - KEEP as f64;
                let share = (beyond / FADE as f64).clamp(0.0, 1.0);
                (0.5 * PI * share).cos().powi(2) as f32
            })
            .collect();

        let pad = if let Padding::Edge(pad) = options.padding { pad } else { 0 };
        let filter = real_space(&options.filter, reach + pad);
        let spectrum = spectrum(&filter[..=reach], long);
        let edges = (pad > 0).then(|| {
            // The continuations, filtered and resampled as the data are, on a line long enough for them.
            let copies = (2 * (reach + pad) + columns + 2 * pad).div_ceil(long) + 1;
            let (long, fine) = (copies * long, copies * fine);
            let spectrum = self::spectrum(&filter, long);
            let runs = [-(pad as isize)..0, columns as isize..(columns + pad) as isize];
            runs.map(|run| {
                let mut line = vec![Complex64::default(); long];
                for column in run {
                    line[column.rem_euclid(long as isize) as usize].re = 1.0;
                }
                let mut planner = FftPlanner::new();
                planner.plan_fft_forward(long).process(&mut line);
                let mut wide = vec![Complex64::default(); fine];
                stretch(&line, &spectrum, &mut wide);
                planner.plan_fft_inverse(fine).process(&mut wide);
                (0..kept as isize)
                    .map(|i| wide[(first + i).rem_euclid(fine as isize) as usize].re as f32)
                    .collect()
            })
        });

        let tails = Tails::new(
            columns,
            options.filter.at_nyquist(),
            long,
            (0..kept).map(|i| (first + i as isize) as f64 * pitch),
        );
        let phase = (0..=short / 2)
            .map(|j| {
                let turn = 2.0 * PI * j as f64 * (first as f64 - center / pitch) / short as f64;
                // The Nyquist frequency is its own mirror image: half to each side.
                let share = if j == short / 2 { 0.5 } else { 1.0 };
                let amplitude = share / short as f64;
                Complex32::new((amplitude * turn.cos()) as f32, (amplitude * turn.sin()) as f32)
            })
            .collect();
        let mut planner = FftPlanner::new();
        Self {
            columns,
            long,
            spectrum: spectrum.iter().map(|v| *v as f32).collect(),
            forward: planner.plan_fft_forward(long),
            fine,
            backward: planner.plan_fft_inverse(fine),
            first,
            window,
            tails,
            edges,
            short,
            resample: planner.plan_fft_inverse(short),
            phase,
        }
    }

    /// Distance of two samples in cycles per pixel.
    pub(crate) fn frequency_step(&self) -> f64 {
        self.fine as f64 / (self.long as f64 * self.short as f64)
    }

    /// Samples per projection: frequencies from 0 to a little beyond Nyquist.
    pub(crate) fn samples(&self) -> usize {
        self.short / 2 + 1
    }

    fn scratch_len(&self) -> usize {
        let lengths = [&self.forward, &self.backward, &self.resample].map(|f| f.get_inplace_scratch_len());
        lengths.into_iter().max().unwrap_or(0)
    }

    pub(crate) fn buffers(&self) -> LineBuffers {
        LineBuffers {
            long: vec![Complex32::default(); self.long],
            fine: vec![Complex32::default(); self.fine],
            short: vec![Complex32::default(); self.short],
            scratch: vec![Complex32::default(); self.scratch_len()],
        }
    }

    pub(crate) fn buffer_bytes(&self) -> usize {
        (self.long + self.fine + self.short + self.scratch_len()) * size_of::<Complex32>()
    }

    pub(crate) fn shared_bytes(&self) -> usize {
        self.long * 20
            + self.short * 24
            + self.window.len() * 12
            + self.tails.as_ref().map_or(0, |t| 16 * (t.moments.len() + t.basis.len()))
    }

    /// Turns one projection of two slices into samples, times `weight`; `flip` exchanges the two half axes.
    #[inline(always)]
    pub(crate) fn run<'a>(
        &self,
        buffers: &mut LineBuffers,
        rows: [&[f32]; 2],
        weight: f32,
        flip: bool,
        tiles: impl Iterator<Item = &'a mut Tile>,
    ) {
        let long = &mut buffers.long[..];
        let n = self.columns;
        for (value, (a, b)) in long.iter_mut().zip(rows[0].iter().zip(rows[1])) {
            *value = Complex32::new(*a, *b);
        }
        long[n..].fill(Complex32::default());
        self.forward.process_with_scratch(long, &mut buffers.scratch);
        let fine = &mut buffers.fine[..];
        stretch(long, &self.spectrum, fine);
        self.backward.process_with_scratch(fine, &mut buffers.scratch);

        let short = &mut buffers.short[..];
        let kept = self.window.len();
        // What lies before column 0 sits at the end of the wrapped line.
        let wrapped = self.first.rem_euclid(self.fine as isize) as usize;
        let head = kept.min(self.fine - wrapped);
        short[..head].copy_from_slice(&fine[wrapped..wrapped + head]);
        short[head..kept].copy_from_slice(&fine[..kept - head]);
        short[kept..].fill(Complex32::default());
        if let Some(tails) = &self.tails {
            tails.add(rows, short);
        }
        if let Some([left, right]) = &self.edges {
            let ends = [0, n - 1].map(|i| Complex32::new(rows[0][i], rows[1][i]));
            for (value, (l, r)) in short.iter_mut().zip(left.iter().zip(right)) {
                *value += ends[0] * *l + ends[1] * *r;
            }
        }
        for (value, factor) in short.iter_mut().zip(&self.window) {
            *value = Complex32::new(value.re * factor, value.im * factor);
        }
        self.resample.process_with_scratch(short, &mut buffers.scratch);

        let length = self.short;
        for ((tile, phases), first) in tiles.zip(self.phase.chunks(TILE)).zip((0..).step_by(TILE)) {
            for (k, (sample, phase)) in tile.iter_mut().zip(phases).enumerate() {
                let j = first + k;
                let phase = Complex32::new(phase.re * weight, phase.im * weight);
                let plus = short[j] * phase;
                let minus = short[if j == 0 { 0 } else { length - j }] * phase.conj();
                *sample = if flip {
                    [minus.re, minus.im, plus.re, plus.im]
                } else {
                    [plus.re, plus.im, minus.re, minus.im]
                };
            }
        }
    }
}

/// What periodic interpolation leaves out of the finest detail.
///
/// Between the columns a line is interpolated by continuing its spectrum with zeros. On a line of N columns that is
/// interpolation with sin(πx) cot(πx/N)/N instead of sin(πx)/(πx), and for detail at the Nyquist frequency, where a filter
/// like the bare ramp is largest, the difference is seen: 4e-4 of white noise at 2560 columns. It expands in powers of
/// x/N, (π/N²)(x/3 + (π/N)² x³/45 + ...) sin(πx), and with x = s − i in moments of the alternating sum of the columns i.
struct Tails {
    /// Weights of the columns for moments 0 to 3.
    moments: Vec<[f32; 4]>,
    /// What each moment adds to each kept value.
    basis: Vec<[f32; 4]>,
}

impl Tails {
    /// `response`: the filter at Nyquist; `positions`: columns at which values are kept.
    fn new(
        columns: usize,
        response: f64,
        period: usize,
        positions: impl Iterator<Item = f64>,
    ) -> Option<Self> {
        if response < 0.05 {
            return None;
        }
        let middle = (columns / 2) as f64;
        let scale = PI / period as f64;
        let (linear, cubic) = (scale / 3.0 / period as f64, scale.powi(3) / 45.0 / period as f64);
        // Distances in units of the half width, so that no moment outgrows f32.
        let unit = middle.max(1.0);
        let moments = (0..columns)
            .map(|i| {
                let sign = if i % 2 == 0 { response } else { -response };
                let v = (i as f64 - middle) / unit;
                [sign, sign * v, sign * v * v, sign * v * v * v].map(|w| w as f32)
            })
            .collect();
        let basis = positions
            .map(|s| {
                let u = (s - middle) / unit;
                let (a, b) = (linear * unit * (PI * s).sin(), cubic * unit.powi(3) * (PI * s).sin());
                [a * u + b * u.powi(3), -a - 3.0 * b * u * u, 3.0 * b * u, -b].map(|w| w as f32)
            })
            .collect();
        Some(Self { moments, basis })
    }

    #[inline(always)]
    fn add(&self, rows: [&[f32]; 2], line: &mut [Complex32]) {
        // Eight lanes: the four moments of either slice.
        let mut sums = [0.0f32; 8];
        for ((a, b), weights) in rows[0].iter().zip(rows[1]).zip(&self.moments) {
            for k in 0..4 {
                sums[k] += a * weights[k];
                sums[k + 4] += b * weights[k];
            }
        }
        for (value, basis) in line.iter_mut().zip(&self.basis) {
            let (mut re, mut im) = (0.0, 0.0);
            for k in 0..4 {
                re += basis[k] * sums[k];
                im += basis[k] * sums[k + 4];
            }
            *value += Complex32::new(re, im);
        }
    }
}

/// Spectrum of a symmetric filter, 0 to Nyquist, with the amplitude of the two transforms of a line of `length`.
fn spectrum(filter: &[f64], length: usize) -> Vec<f64> {
    let mut line = vec![Complex64::default(); length];
    for (lag, value) in filter.iter().enumerate() {
        line[lag].re = *value;
        line[(length - lag) % length].re = *value;
    }
    FftPlanner::new().plan_fft_forward(length).process(&mut line);
    line[..=length / 2].iter().map(|c| c.re / length as f64).collect()
}

/// Multiplies a spectrum with a real symmetric one and continues it with zeros to the length of `wide`.
#[inline(always)]
fn stretch<T: FftNum>(line: &[Complex<T>], factors: &[T], wide: &mut [Complex<T>]) {
    let (half, from, to) = (line.len() / 2, line.len(), wide.len());
    for ((value, source), factor) in wide.iter_mut().zip(&line[..half]).zip(factors) {
        *value = *source * *factor;
    }
    wide[half..=to - half].fill(Complex::new(T::zero(), T::zero()));
    for ((value, source), factor) in
        wide[to - half + 1..].iter_mut().zip(&line[from - half + 1..]).zip(factors[1..half].iter().rev())
    {
        *value = *source * *factor;
    }
    // The Nyquist frequency belongs half to each side.
    let two = T::one() + T::one();
    wide[half] = line[half] * (factors[half] / two);
    wide[to - half] = wide[half];
}
