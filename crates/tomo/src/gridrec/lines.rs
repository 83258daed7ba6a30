//! First half of `exact` mode: filtering a projection, and its spectrum as samples for the grid.
//!
//! Two projections (the same angle of two slices) travel as the real and imaginary part of one complex line, little
//! longer than the field of view. One transform gives its spectrum, which is multiplied with the filter's and moved to
//! the rotation axis. What the shortness of the line does to the result is put right by a few moments of the
//! projection ([`super::wrap`]); columns added at the sides by edge padding are never computed with.

use std::f64::consts::PI;
use std::sync::Arc;

use pulp::Simd;
use rustfft::num_complex::{Complex32, Complex64};
use rustfft::{Fft, FftPlanner};

use super::wrap::{NODES, Stretch, response};
use super::{GridrecOptions, Padding};
use crate::aligned::Aligned;

/// One frequency of two slices: their combined spectrum at +j (re, im) and at −j (re, im).
pub(crate) type Sample = [f32; 4];

/// Pixels beyond the wanted radius that are still exact.
const KEEP: f64 = 2.0;
/// Length up to which a line is made three times as long as its longest lag.
const LONG_ENOUGH: usize = 1024;
/// Frequencies whose corrections are summed at a time.
const BLOCK: usize = 16;

/// Plan of the per-projection work.
pub(crate) struct Lines {
    columns: usize,
    length: usize,
    forward: Arc<dyn Fft<f32>>,
    /// Filter, amplitude and shift to the rotation axis; j = 0..=length/2.
    phase: Vec<Complex32>,
    /// Share of each column in each moment.
    shares: Vec<Share>,
    /// What the plain and the alternating moments add.
    corrections: Vec<Correction>,
    /// What a unit end value adds to each frequency when it continues to the left, and to the right.
    edges: Option<[Vec<Complex32>; 2]>,
    count: usize,
}

/// What moments add to the frequencies from `first`, by blocks of these.
struct Correction {
    first: usize,
    factors: Vec<Factors>,
}

/// (node, part, frequency in the block).
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Factors([[[f32; BLOCK]; 2]; NODES]);

/// Share of a column in each moment.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Share([f32; NODES]);

impl Correction {
    fn new(first: usize, amplitude: f64, spectra: &[Vec<Complex64>]) -> Self {
        let count = spectra.first().map_or(0, Vec::len);
        let factors = (0..count.div_ceil(BLOCK))
            .map(|block| {
                let value = |k: usize, j: usize| {
                    spectra[k].get(block * BLOCK + j).map_or(Complex64::default(), |v| v * amplitude)
                };
                Factors(std::array::from_fn(|k| {
                    [
                        std::array::from_fn(|j| value(k, j).re as f32),
                        std::array::from_fn(|j| value(k, j).im as f32),
                    ]
                }))
            })
            .collect();
        Self { first, factors }
    }

    /// Adds to the sums at +j (first) and −j of each frequency.
    #[inline(always)]
    fn add<S: Simd>(&self, simd: S, moments: &[[f32; NODES]; 2], sums: &mut [[Complex32; 2]]) {
        let blocks =
            self.factors.iter().zip(sums.get_mut(self.first..).unwrap_or_default().chunks_mut(BLOCK));
        for (factors, sums) in blocks {
            let mut total = [[[0.0f32; BLOCK]; 2]; 2];
            for lane in 0..BLOCK / S::F32_LANES {
                let mut sum = [[simd.splat_f32s(0.0); 2]; 2];
                for (k, factor) in factors.0.iter().enumerate() {
                    for part in 0..2 {
                        let factor = S::as_simd_f32s(&factor[part]).0[lane];
                        for slice in 0..2 {
                            let moment = simd.splat_f32s(moments[slice][k]);
                            sum[slice][part] = simd.mul_add_e_f32s(moment, factor, sum[slice][part]);
                        }
                    }
                }
                for (total, sum) in total.as_flattened_mut().iter_mut().zip(sum.as_flattened()) {
                    S::as_mut_simd_f32s(total).0[lane] = *sum;
                }
            }
            // Moments are a + ib; times c + id at +j, and times c − id at −j.
            for (j, [plus, minus]) in sums.iter_mut().enumerate() {
                let [[ac, ad], [bc, bd]] = total.map(|parts| parts.map(|part| part[j]));
                *plus += Complex32::new(ac - bd, ad + bc);
                *minus += Complex32::new(ac + bd, bc - ad);
            }
        }
    }
}

/// Moments of even and odd columns of both slices: (parity, slice, node).
#[inline(always)]
fn moments<S: Simd>(simd: S, line: &[Complex32], shares: &[Share]) -> [[[f32; NODES]; 2]; 2] {
    let mut moments = [[[0.0f32; NODES]; 2]; 2];
    for lane in 0..NODES / S::F32_LANES {
        let mut sum = [[simd.splat_f32s(0.0); 2]; 2];
        let even_and_odd = line.chunks(2).zip(shares.chunks(2));
        for (values, shares) in even_and_odd {
            for (parity, (value, shares)) in values.iter().zip(shares).enumerate() {
                let share = S::as_simd_f32s(&shares.0).0[lane];
                let [a, b] = &mut sum[parity];
                *a = simd.mul_add_e_f32s(simd.splat_f32s(value.re), share, *a);
                *b = simd.mul_add_e_f32s(simd.splat_f32s(value.im), share, *b);
            }
        }
        for (moments, sum) in moments.as_flattened_mut().iter_mut().zip(sum.as_flattened()) {
            S::as_mut_simd_f32s(moments).0[lane] = *sum;
        }
    }
    moments
}

/// Buffers of one thread.
pub(crate) struct LineBuffers {
    line: Aligned,
    scratch: Aligned,
    /// What is added to each frequency, at +j and −j.
    sums: Aligned,
}

/// The next multiple of 64 (and of little else) whose transforms are quick: a power of two times 8 to 14.
pub(crate) fn quick_length(minimum: usize) -> usize {
    let mut power = 8;
    loop {
        for factor in [8, 9, 10, 11, 12, 14] {
            if factor * power >= minimum {
                return factor * power;
            }
        }
        power *= 2;
    }
}

impl Lines {
    /// `radius`: largest distance from the axis of a pixel that is wanted.
    pub(crate) fn new(options: &GridrecOptions, radius: f64) -> Self {
        let (columns, center, filter) = (options.columns, options.center, &options.filter);
        let low = (center - radius - KEEP).floor() as isize;
        let high = (center + radius + KEEP).ceil() as isize;
        let lag = high.unsigned_abs().max((columns as isize - 1 - low).unsigned_abs()).max(columns);
        let wanted = (high - low + 1) as usize;
        let shortest = (wanted * 17 / 16).max(lag * 35 / 32).max((3 * lag).min(LONG_ENOUGH));
        let length = quick_length(shortest);
        let stretch = Stretch { columns, low, high, center, length };

        let nyquist = length / 2;
        let end = response(filter, 0.5);
        let amplitude = 1.0 / length as f64;
        let mut corrections = vec![Correction::new(0, amplitude, &stretch.plain(filter))];
        let mut count = nyquist + 1;
        if end.abs() > 1e-3 {
            let spread = stretch.spread();
            corrections.push(Correction::new(nyquist - spread, amplitude, &stretch.alternating(filter)));
            count += spread;
        }
        let edges = match options.padding {
            Padding::Edge(pad) if pad > 0 => Some(stretch.edges(filter, pad, count).map(|edge| {
                edge.iter().map(|v| v * amplitude).map(|v| Complex32::new(v.re as f32, v.im as f32)).collect()
            })),
            _ => None,
        };
        let phase = (0..=nyquist)
            .map(|j| {
                let turn = -2.0 * PI * j as f64 * center / length as f64;
                // The Nyquist frequency is its own mirror image: half to each side.
                let share = if j == nyquist { 0.5 } else { 1.0 };
                let value = response(filter, j as f64 / length as f64) * share * amplitude;
                Complex32::new((value * turn.cos()) as f32, (value * turn.sin()) as f32)
            })
            .collect();
        let forward = FftPlanner::new().plan_fft_inverse(length);
        let shares = stretch.shares().into_iter().map(Share).collect();
        Self { columns, length, forward, phase, shares, corrections, edges, count }
    }

    /// Distance of two samples in cycles per pixel.
    pub(crate) fn frequency_step(&self) -> f64 {
        1.0 / self.length as f64
    }

    /// Samples per projection: frequencies from 0 to a little beyond Nyquist.
    pub(crate) fn samples(&self) -> usize {
        self.count
    }

    fn sums_len(&self) -> usize {
        self.count
    }

    pub(crate) fn buffers(&self) -> LineBuffers {
        LineBuffers {
            line: Aligned::zeros(2 * self.length),
            scratch: Aligned::zeros(2 * self.forward.get_inplace_scratch_len()),
            sums: Aligned::zeros(4 * self.sums_len()),
        }
    }

    pub(crate) fn buffer_bytes(&self) -> usize {
        let floats = [2 * self.length, 2 * self.forward.get_inplace_scratch_len(), 4 * self.sums_len()];
        floats.map(Aligned::bytes).into_iter().sum()
    }

    pub(crate) fn shared_bytes(&self) -> usize {
        let corrections: usize = self.corrections.iter().map(|c| c.factors.len()).sum();
        self.length * 32 + self.shares.len() * 4 * NODES + corrections * BLOCK * NODES * 8
    }

    /// Turns one projection of two slices into samples, times `weight`; `flip` exchanges the two half axes.
    #[inline(always)]
    pub(crate) fn run<S: Simd>(
        &self,
        simd: S,
        buffers: &mut LineBuffers,
        rows: [&[f32]; 2],
        weight: f32,
        flip: bool,
        samples: &mut [Sample],
    ) {
        let LineBuffers { line, scratch, sums } = buffers;
        let (line, scratch, sums) = (line.cast_mut::<Complex32>(), scratch.cast_mut(), sums.cast_mut());
        let (n, length) = (self.columns, self.length);
        for (value, (a, b)) in line.iter_mut().zip(rows[0].iter().zip(rows[1])) {
            *value = Complex32::new(a * weight, b * weight);
        }
        line[n..].fill(Complex32::default());
        self.put_right(simd, line, sums);
        self.forward.process_with_scratch(line, scratch);

        for (j, (sample, [plus, minus])) in samples.iter_mut().zip(&*sums).enumerate() {
            let (mut plus, mut minus) = (*plus, *minus);
            if let Some(phase) = self.phase.get(j) {
                plus += line[j] * phase;
                minus += line[if j == 0 { 0 } else { length - j }] * phase.conj();
            }
            *sample = if flip {
                [minus.re, minus.im, plus.re, plus.im]
            } else {
                [plus.re, plus.im, minus.re, minus.im]
            };
        }
    }

    /// Fills `sums` with what the wrapped tails and the padding add.
    #[inline(always)]
    fn put_right<S: Simd>(&self, simd: S, line: &[Complex32], sums: &mut [[Complex32; 2]]) {
        let n = self.columns;
        if let Some([left, right]) = &self.edges {
            let (first, last) = (line[0], line[n - 1]);
            for ([plus, minus], (left, right)) in sums.iter_mut().zip(left.iter().zip(right)) {
                *plus = first * left + last * right;
                *minus = first * left.conj() + last * right.conj();
            }
        } else {
            sums.fill([Complex32::default(); 2]);
        }
        // The plain moments are the sum of those of even and odd columns, the alternating ones the difference.
        let [even, odd] = moments(simd, &line[..n], &self.shares);
        for (correction, sign) in self.corrections.iter().zip([1.0, -1.0]) {
            let moments = [0, 1].map(|slice| std::array::from_fn(|k| even[slice][k] + sign * odd[slice][k]));
            correction.add(simd, &moments, sums);
        }
    }
}
