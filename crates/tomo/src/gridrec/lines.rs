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
use crate::ln::fma;

/// One frequency of two slices: their combined spectrum at +j (re, im) and at −j (re, im).
pub(crate) type Sample = [f32; 4];

/// Pixels beyond the wanted radius that are still exact.
const KEEP: f64 = 2.0;
/// Length up to which a line is made three times as long as its longest lag.
const LONG_ENOUGH: usize = 1024;
/// Frequencies that are treated at a time.
const BLOCK: usize = 16;

/// Real and imaginary parts of a block of frequencies.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Parts([[f32; BLOCK]; 2]);

/// A block at +j (real, imaginary) and at −j (real, imaginary).
type Sums = [[f32; BLOCK]; 4];

/// Values by blocks, zeros behind the last.
fn parts(values: &[Complex64]) -> Vec<Parts> {
    let part = |values: &[Complex64], of: fn(&Complex64) -> f64| {
        std::array::from_fn(|j| values.get(j).map_or(0.0, of) as f32)
    };
    values.chunks(BLOCK).map(|block| Parts([part(block, |v| v.re), part(block, |v| v.im)])).collect()
}

/// Plan of the per-projection work.
pub(crate) struct Lines {
    columns: usize,
    length: usize,
    forward: Arc<dyn Fft<f32>>,
    /// Filter, amplitude and shift to the rotation axis; j = 0..=length/2.
    phase: Vec<Parts>,
    /// Share of each column in each moment.
    shares: Vec<Share>,
    /// What the plain and the alternating moments add.
    corrections: Vec<Correction>,
    /// What a unit end value adds to each frequency when it continues to the left, and to the right.
    edges: Option<[Vec<Parts>; 2]>,
    count: usize,
}

/// What moments add to the frequencies from block `first` on: (block, node).
struct Correction {
    first: usize,
    factors: Vec<[Parts; NODES]>,
}

/// Share of a column in each moment.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Share([f32; NODES]);

impl Correction {
    /// `spectra` begin at frequency `from`.
    fn new(from: usize, amplitude: f64, spectra: &[Vec<Complex64>]) -> Self {
        let by_node: Vec<Vec<Parts>> = spectra
            .iter()
            .map(|spectrum| {
                let before = std::iter::repeat_n(Complex64::default(), from % BLOCK);
                let values: Vec<_> = before.chain(spectrum.iter().map(|v| v * amplitude)).collect();
                parts(&values)
            })
            .collect();
        let blocks = by_node.first().map_or(0, Vec::len);
        let factors = (0..blocks).map(|block| std::array::from_fn(|k| by_node[k][block])).collect();
        Self { first: from / BLOCK, factors }
    }

    /// Adds what moments of the two slices bring.
    #[inline(always)]
    fn add<S: Simd>(&self, simd: S, moments: &[[f32; NODES]; 2], sums: &mut [Sums]) {
        for (factors, sums) in self.factors.iter().zip(sums.get_mut(self.first..).unwrap_or_default()) {
            for lane in 0..BLOCK / S::F32_LANES {
                let mut sum = [[simd.splat_f32s(0.0); 2]; 2];
                for (k, Parts(factor)) in factors.iter().enumerate() {
                    for part in 0..2 {
                        let factor = S::as_simd_f32s(&factor[part]).0[lane];
                        for slice in 0..2 {
                            let moment = simd.splat_f32s(moments[slice][k]);
                            sum[slice][part] = simd.mul_add_e_f32s(moment, factor, sum[slice][part]);
                        }
                    }
                }
                for (sums, more) in sums.iter_mut().zip(either_side(simd, sum)) {
                    let sum = &mut S::as_mut_simd_f32s(sums).0[lane];
                    *sum = simd.add_f32s(*sum, more);
                }
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
                let values: Vec<_> = edge.iter().map(|v| v * amplitude).collect();
                parts(&values)
            })),
            _ => None,
        };
        let phase: Vec<_> = (0..=nyquist)
            .map(|j| {
                let turn = -2.0 * PI * j as f64 * center / length as f64;
                // The Nyquist frequency is its own mirror image: half to each side.
                let share = if j == nyquist { 0.5 } else { 1.0 };
                let value = response(filter, j as f64 / length as f64) * share * amplitude;
                Complex64::new(value * turn.cos(), value * turn.sin())
            })
            .collect();
        let forward = FftPlanner::new().plan_fft_inverse(length);
        let shares = stretch.shares().into_iter().map(Share).collect();
        Self { columns, length, forward, phase: parts(&phase), shares, corrections, edges, count }
    }

    /// Distance of two samples in cycles per pixel.
    pub(crate) fn frequency_step(&self) -> f64 {
        1.0 / self.length as f64
    }

    /// Samples per projection: frequencies from 0 to a little beyond Nyquist.
    pub(crate) fn samples(&self) -> usize {
        self.count
    }

    /// Floats of the line (its first value once more behind the last), of the transform's scratch, and of the sums.
    fn lens(&self) -> [usize; 3] {
        let sums = self.count.div_ceil(BLOCK) * size_of::<Sums>() / size_of::<f32>();
        [2 * (self.length + 1), 2 * self.forward.get_inplace_scratch_len(), sums]
    }

    pub(crate) fn buffers(&self) -> LineBuffers {
        let [line, scratch, sums] = self.lens().map(Aligned::zeros);
        LineBuffers { line, scratch, sums }
    }

    pub(crate) fn buffer_bytes(&self) -> usize {
        self.lens().map(Aligned::bytes).into_iter().sum()
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
        self.forward.process_with_scratch(&mut line[..length], scratch);
        line[length] = line[0];

        for (block, (sums, samples)) in sums.iter_mut().zip(samples.chunks_mut(BLOCK)).enumerate() {
            let at = block * BLOCK;
            if let Some(phase) = self.phase.get(block)
                && let (Some(plus), Some(minus)) =
                    (line[at..].first_chunk(), line[..=length - at].last_chunk())
            {
                turn::<S>(plus, minus, phase, sums);
            }
            let [[a, b], [c, d]] =
                if flip { [[2, 3], [0, 1]] } else { [[0, 1], [2, 3]] }.map(|k| k.map(|k| &sums[k]));
            match samples.as_mut_array::<BLOCK>() {
                Some(samples) => store(samples, [a, b, c, d]),
                None => samples.iter_mut().enumerate().for_each(|(k, s)| *s = [a[k], b[k], c[k], d[k]]),
            }
        }
    }

    /// Fills `sums` with what the wrapped tails and the padding add.
    #[inline(always)]
    fn put_right<S: Simd>(&self, simd: S, line: &[Complex32], sums: &mut [Sums]) {
        let n = self.columns;
        if let Some([left, right]) = &self.edges {
            let (first, last) = (line[0], line[n - 1]);
            for (sums, (left, right)) in sums.iter_mut().zip(left.iter().zip(right)) {
                for lane in 0..BLOCK / S::F32_LANES {
                    let [c, d] = left.0.each_ref().map(|part| S::as_simd_f32s(part).0[lane]);
                    let [e, f] = right.0.each_ref().map(|part| S::as_simd_f32s(part).0[lane]);
                    let both = |first: f32, c, last: f32, e| {
                        simd.mul_add_e_f32s(
                            simd.splat_f32s(first),
                            c,
                            simd.mul_f32s(simd.splat_f32s(last), e),
                        )
                    };
                    let products = [
                        [both(first.re, c, last.re, e), both(first.re, d, last.re, f)],
                        [both(first.im, c, last.im, e), both(first.im, d, last.im, f)],
                    ];
                    for (sums, product) in sums.iter_mut().zip(either_side(simd, products)) {
                        S::as_mut_simd_f32s(sums).0[lane] = product;
                    }
                }
            }
        } else {
            sums.fill(Sums::default());
        }
        // The plain moments are the sum of those of even and odd columns, the alternating ones the difference.
        let [even, odd] = moments(simd, &line[..n], &self.shares);
        for (correction, sign) in self.corrections.iter().zip([1.0, -1.0]) {
            let moments = [0, 1].map(|slice| std::array::from_fn(|k| even[slice][k] + sign * odd[slice][k]));
            correction.add(simd, &moments, sums);
        }
    }
}

/// From ac, ad, bc and bd: (a + ib)(c + id), for +j, and (a + ib)(c − id), for −j.
#[inline(always)]
fn either_side<S: Simd>(simd: S, [[ac, ad], [bc, bd]]: [[S::f32s; 2]; 2]) -> [S::f32s; 4] {
    [simd.sub_f32s(ac, bd), simd.add_f32s(ad, bc), simd.add_f32s(ac, bd), simd.sub_f32s(bc, ad)]
}

/// Adds the spectrum at +j, times the phase, and that at −j (in the order of memory, so backwards), times its conjugate.
#[inline(always)]
fn turn<S: Simd>(plus: &[Complex32; BLOCK], minus: &[Complex32; BLOCK], phase: &Parts, sums: &mut Sums) {
    let Parts([c, d]) = phase;
    let [a, b, e, f] = sums;
    for j in 0..BLOCK {
        let (here, there) = (plus[j], minus[BLOCK - 1 - j]);
        a[j] = fma::<S>(here.re, c[j], fma::<S>(-here.im, d[j], a[j]));
        b[j] = fma::<S>(here.re, d[j], fma::<S>(here.im, c[j], b[j]));
        e[j] = fma::<S>(there.re, c[j], fma::<S>(there.im, d[j], e[j]));
        f[j] = fma::<S>(there.im, c[j], fma::<S>(-there.re, d[j], f[j]));
    }
}

/// Four planes as samples.
#[inline(always)]
fn store(samples: &mut [Sample; BLOCK], [a, b, c, d]: [&[f32; BLOCK]; 4]) {
    for j in 0..BLOCK {
        samples[j] = [a[j], b[j], c[j], d[j]];
    }
}
