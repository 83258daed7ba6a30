//! The way down of [`super::fw_transform`]: one level's approximation, and the damped frequencies of its detail.

use super::fourier_wavelet::{FourierWavelet, FourierWaveletWorkspace, Level};
use super::fw_transform::{Fill, touch};
use super::kernels::{
    BLOCK, PAIRS, STRIP, analyse_line, combine_neighbours, combine_rows, load, project_strip, round_up,
    split_even_odd, store,
};
use crate::error::Result;
use pulp::Simd;
use std::ops::Range;

/// Level n: approximation into `images[n]`, damped frequencies of the detail into `coefficients[n]`.
///
/// Lines i and N − i of the detail enter the same products, so they are made from both ends towards the middle and summed
/// up a few at a time, while they are in the cache: the detail as a whole is too large for it.
#[inline(always)]
pub(super) fn analyse<S: Simd>(
    simd: S,
    plan: &FourierWavelet,
    n: usize,
    workspace: &mut FourierWaveletWorkspace,
    sinogram: &mut [f32],
    fill: Option<&mut Fill<'_>>,
) -> Result<()> {
    let level = &plan.levels[n];
    let FourierWaveletWorkspace { images, coefficients, detail, folded, line, even, odd, .. } = workspace;
    let (before, after) = images.split_at_mut(n);
    let image = &mut after[0];
    let mut input = Input { sinogram, columns: plan.columns, missing: 0..plan.angles, fill };
    let (half, width, margin) = (level.rows / 2 + 1, round_up(level.columns, STRIP), plan.analysis.len());
    let [plus, minus] = folded;
    let lines = round_up(level.frequencies, BLOCK);
    let stride = level.coefficient_stride;
    let (cos, sin) = coefficients[n].split_at_mut(lines * stride);
    for first in (0..half).step_by(PAIRS) {
        let end = (first + PAIRS).min(half);
        // Lines N − i, as far as they are others.
        let mirrored = (level.rows + 1 - end).max(end)..(level.rows + 1 - first).min(level.rows);
        for (rows, side) in [(first..end, Side::Front), (mirrored, Side::Back)] {
            if n == 0 {
                input.bring(simd, level.terms_of(rows.clone()), side)?;
            }
            let (source, source_stride) = match before.last() {
                Some(image) => (&image[..], plan.levels[n - 1].stride),
                None => (&*input.sinogram, plan.columns),
            };
            let mut row = rows.start;
            while row < rows.end {
                let made = combine(simd, level, (source, source_stride), row..rows.end, line);
                for (row, line) in (row..).zip(line.chunks_exact(level.wide_stride)).take(made) {
                    split_even_odd(line, level.columns_in, margin, even, odd);
                    let low = &mut image[row * level.stride..(row + 1) * level.stride];
                    let slot = match side {
                        Side::Front => row - first,
                        Side::Back => PAIRS + level.rows - row - first,
                    };
                    let high = &mut detail[slot * width..(slot + 1) * width];
                    analyse_line(simd, (even, odd), margin, level.columns, &plan.analysis, low, high);
                }
                row += made;
            }
        }
        for column in (0..width).step_by(STRIP) {
            fold(simd, (detail, width, column), first..end, level.rows, plus, minus);
            for block in 0..lines / BLOCK {
                let matrix = (block * half + first) * BLOCK..(block * half + end) * BLOCK;
                let out = block * BLOCK * stride;
                for ((matrices, rows), out) in
                    level.project.iter().zip([&*plus, &*minus]).zip([&mut cos[out..], &mut sin[out..]])
                {
                    project_strip(simd, &matrices[matrix.clone()], rows, out, stride, column, first > 0);
                }
            }
        }
    }
    for part in [cos, sin] {
        for (line, weight) in part.chunks_exact_mut(stride).zip(&level.weights) {
            line[..level.columns].iter_mut().for_each(|c| *c *= weight);
        }
    }
    match n {
        0 => input.finish(),
        _ => Ok(()),
    }
}

/// The first of some rows of the low-pass along angles, and as many of the next as can be made with it, which is returned.
#[inline(always)]
fn combine<S: Simd>(
    simd: S,
    level: &Level,
    source: (&[f32], usize),
    rows: Range<usize>,
    out: &mut [f32],
) -> usize {
    let (width, wide) = (level.columns_in, level.wide_stride);
    let terms = |k: usize| level.terms_of(rows.start + k..rows.start + k + 1);
    if rows.len() >= 4 {
        let four = [terms(0), terms(1), terms(2), terms(3)];
        if combine_neighbours::<S, 4, 16>(simd, source, width, four, out, wide) {
            return 4;
        }
    }
    if rows.len() >= 2 && combine_neighbours::<S, 2, 12>(simd, source, width, [terms(0), terms(1)], out, wide)
    {
        return 2;
    }
    combine_rows(simd, source.0, source.1, width, terms(0), out);
    1
}

/// The end of the sinogram that lines are wanted at.
#[derive(Clone, Copy)]
enum Side {
    Front,
    Back,
}

/// A sinogram whose lines come into the cache, or are made, as they are needed: from both ends.
struct Input<'a, 'b> {
    sinogram: &'a mut [f32],
    columns: usize,
    missing: Range<usize>,
    fill: Option<&'a mut Fill<'b>>,
}

impl Input<'_, '_> {
    /// Sees to it that the lines of all these terms are there, and with them those between them and their end.
    #[inline(always)]
    fn bring<S: Simd>(&mut self, simd: S, terms: &[(u32, f32)], side: Side) -> Result<()> {
        let lines = terms.iter().map(|(line, _)| *line as usize);
        let Range { start, end } = self.missing;
        let wanted = match side {
            Side::Front => start..lines.max().map_or(start, |line| (line + 1).clamp(start, end)),
            Side::Back => lines.min().map_or(end, |line| line.clamp(start, end))..end,
        };
        self.missing = match side {
            Side::Front => wanted.end..end,
            Side::Back => start..wanted.start,
        };
        let here = &mut self.sinogram[wanted.start * self.columns..wanted.end * self.columns];
        match &mut self.fill {
            Some(fill) if !wanted.is_empty() => fill(wanted, here),
            Some(_) => Ok(()),
            None => {
                touch(simd, here);
                Ok(())
            }
        }
    }

    /// Makes the lines that nothing needed.
    fn finish(self) -> Result<()> {
        let rest = self.missing.start * self.columns..self.missing.end * self.columns;
        match self.fill {
            Some(fill) if !rest.is_empty() => fill(self.missing, &mut self.sinogram[rest]),
            _ => Ok(()),
        }
    }
}

/// Sums and differences of the detail's lines i and N − i, those columns of a strip, for some i ≤ N/2.
#[inline(always)]
fn fold<S: Simd>(
    simd: S,
    (detail, stride, column): (&[f32], usize, usize),
    lines: Range<usize>,
    n: usize,
    plus: &mut [f32],
    minus: &mut [f32],
) {
    let pairs = plus.chunks_exact_mut(STRIP).zip(minus.chunks_exact_mut(STRIP));
    for (slot, (i, (plus, minus))) in lines.zip(pairs).enumerate() {
        let at = |slot: usize| slot * stride + column..slot * stride + column + STRIP;
        let here = &detail[at(slot)];
        if i == 0 || 2 * i == n {
            plus.copy_from_slice(here);
            minus.fill(0.0);
            continue;
        }
        let there = &detail[at(PAIRS + slot)];
        for at in (0..STRIP).step_by(S::F32_LANES) {
            let (a, b) = (load::<S>(here, at), load::<S>(there, at));
            store::<S>(plus, at, simd.add_f32s(a, b));
            store::<S>(minus, at, simd.sub_f32s(a, b));
        }
    }
}
