//! The transform of [`super::fourier_wavelet`]: down the levels collecting damped frequencies, up again to the
//! correction.

use super::fourier_wavelet::{FourierWavelet, FourierWaveletWorkspace, Level, SPARE, WIDE};
use super::kernels::{
    BLOCK, STRIP, add, analyse_line, combine_rows, load, project_strip, round_up, split_even_odd, store,
    subtract, synthesis_sums, synthesise_line, synthesise_rows,
};
use crate::error::{Error, Result};
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Makes lines of a sinogram: those of a range of angles.
pub type Fill<'a> = dyn FnMut(Range<usize>, &mut [f32]) -> Result<()> + 'a;

/// Lines that are made at a time, so many that they stay in the second-level cache until they have been used.
const FILLED: usize = 32;

/// Removes the stripes of a sinogram whose length has been checked.
pub(super) struct Remove<'a, 'b> {
    pub(super) plan: &'a FourierWavelet,
    pub(super) workspace: &'a mut FourierWaveletWorkspace,
    pub(super) sinogram: &'a mut [f32],
    /// Makes the sinogram's lines as they are needed; without, they are there.
    pub(super) fill: Option<&'a mut Fill<'b>>,
}

impl WithSimd for Remove<'_, '_> {
    type Output = Result<()>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Result<()> {
        let Self { plan, workspace, sinogram, mut fill } = self;
        for n in 0..plan.levels.len() {
            analyse(simd, plan, n, workspace, sinogram, fill.take())?;
            // Every input value reaches some coefficient of the first level, so this finds any that is not finite.
            let level = &plan.levels[n];
            let mut lines = workspace.coefficients[n].chunks_exact(level.coefficient_stride);
            if !lines.all(|line| line[..level.columns].iter().all(|c| c.is_finite())) {
                return Err(Error::data(
                    "sinogram",
                    "it holds values that are not finite; normalise and clip it first",
                ));
            }
        }
        for n in (0..plan.levels.len()).rev() {
            synthesise(simd, plan, n, workspace, sinogram);
        }
        Ok(())
    }
}

/// Level n: approximation into `images[n]`, damped frequencies of the detail into `coefficients[n]`.
#[inline(always)]
fn analyse<S: Simd>(
    simd: S,
    plan: &FourierWavelet,
    n: usize,
    workspace: &mut FourierWaveletWorkspace,
    sinogram: &mut [f32],
    mut fill: Option<&mut Fill<'_>>,
) -> Result<()> {
    let level = &plan.levels[n];
    let (before, after) = workspace.images.split_at_mut(n);
    let mut filled = 0;
    let margin = plan.analysis.len();
    let detail = &mut workspace.detail[..];
    let mut first = 0;
    for (row, image) in after[0].chunks_exact_mut(level.stride).enumerate() {
        let terms = &level.terms[first..level.term_ends[row]];
        first = level.term_ends[row];
        let (source, source_stride) = match before.last() {
            Some(image) => (&image[..], plan.levels[n - 1].stride),
            None => {
                if let Some(fill) = &mut fill {
                    let last = row + 1 == level.rows;
                    let needed = terms.iter().map(|(line, _)| *line as usize + 1).max().unwrap_or(0);
                    let needed = if last { plan.angles } else { needed };
                    while filled < needed {
                        let lines = filled..(filled + FILLED).min(plan.angles);
                        filled = lines.end;
                        let range = lines.start * plan.columns..lines.end * plan.columns;
                        fill(lines, &mut sinogram[range])?;
                    }
                }
                (&*sinogram, plan.columns)
            }
        };
        combine_rows(simd, source, source_stride, level.columns_in, terms, &mut workspace.line);
        let (even, odd) = (&mut workspace.even[..], &mut workspace.odd[..]);
        split_even_odd(&workspace.line, level.columns_in, margin, even, odd);
        let place = (row, level.rows);
        analyse_line(simd, (even, odd), margin, level.columns, &plan.analysis, image, detail, place);
    }
    let half = level.rows / 2 + 1;
    let lines = round_up(level.frequencies, BLOCK);
    let stride = level.coefficient_stride;
    let (cos, sin) = workspace.coefficients[n].split_at_mut(lines * stride);
    let [plus, minus] = &mut workspace.folded;
    let (plus, minus) = (&mut plus[..half * STRIP], &mut minus[..half * STRIP]);
    for (strip, rows) in
        detail.chunks_exact(level.rows * STRIP).take(level.columns.div_ceil(STRIP)).enumerate()
    {
        fold(simd, rows, level.rows, plus, minus);
        for block in 0..lines / BLOCK {
            let matrix = block * half * BLOCK..(block + 1) * half * BLOCK;
            let out = block * BLOCK * stride;
            project_strip(
                simd,
                &level.project[0][matrix.clone()],
                plus,
                &mut cos[out..],
                stride,
                strip * STRIP,
            );
            project_strip(simd, &level.project[1][matrix], minus, &mut sin[out..], stride, strip * STRIP);
        }
    }
    for part in [cos, sin] {
        for (line, weight) in part.chunks_exact_mut(stride).zip(&level.weights) {
            line[..level.columns].iter_mut().for_each(|c| *c *= weight);
        }
    }
    Ok(())
}

/// Sums and differences of the rows i and N − i of a strip, for i ≤ N/2.
#[inline(always)]
fn fold<S: Simd>(simd: S, rows: &[f32], n: usize, plus: &mut [f32], minus: &mut [f32]) {
    let pairs = plus.chunks_exact_mut(STRIP).zip(minus.chunks_exact_mut(STRIP));
    for (i, (plus, minus)) in pairs.enumerate() {
        let here = &rows[i * STRIP..(i + 1) * STRIP];
        if i == 0 || 2 * i == n {
            plus.copy_from_slice(here);
            minus.fill(0.0);
            continue;
        }
        let there = &rows[(n - i) * STRIP..(n - i + 1) * STRIP];
        let mut at = 0;
        while at < STRIP {
            let (a, b) = (load::<S>(here, at), load::<S>(there, at));
            store::<S>(plus, at, simd.add_f32s(a, b));
            store::<S>(minus, at, simd.sub_f32s(a, b));
            at += S::F32_LANES;
        }
    }
}

/// Level n: correction of the level above from that of this level (in `images[n]`) and `coefficients[n]`; at
/// the top it is subtracted from the sinogram.
#[inline(always)]
fn synthesise<S: Simd>(
    simd: S,
    plan: &FourierWavelet,
    n: usize,
    workspace: &mut FourierWaveletWorkspace,
    sinogram: &mut [f32],
) {
    let level = &plan.levels[n];
    let lines = round_up(level.frequencies, BLOCK);
    let (cos, sin) = workspace.wide.split_at_mut(level.frequencies * level.wide_stride);
    let sources = workspace.coefficients[n].split_at(lines * level.coefficient_stride);
    for (source, wide) in [(sources.0, &mut *cos), (sources.1, &mut *sin)] {
        let pairs =
            source.chunks_exact(level.coefficient_stride).zip(wide.chunks_exact_mut(level.wide_stride));
        for (line, wide) in pairs.take(level.frequencies) {
            for (strip, wide) in wide.chunks_exact_mut(WIDE).enumerate() {
                let q = strip * WIDE / 2;
                synthesise_line(simd, line, &plan.synthesis_high, q, WIDE / 2, &mut workspace.line, wide);
            }
        }
    }
    let (before, after) = workspace.images.split_at_mut(n);
    let coarser = (n + 1 < plan.levels.len()).then(|| &after[0][..]);
    let strip = &mut workspace.strip[..level.rows * WIDE];
    for column in (0..level.columns_in).step_by(WIDE) {
        match coarser {
            Some(image) => {
                for (line, out) in image.chunks_exact(level.stride).zip(strip.chunks_exact_mut(WIDE)) {
                    let q = column / 2;
                    synthesise_line(simd, line, &plan.synthesis_low, q, WIDE / 2, &mut workspace.line, out);
                }
            }
            None => strip.fill(0.0),
        }
        let width = round_up(WIDE.min(level.columns_in - column), 2 * SPARE);
        add_frequencies(simd, level, (cos, sin), column, width, strip);
        match before.last_mut() {
            Some(finer) => {
                let stride = plan.levels[n - 1].stride;
                let width = round_up(WIDE.min(level.columns_in - column), SPARE);
                for p in 0..level.rows_in.div_ceil(2) {
                    let (first, second) = finer[2 * p * stride..].split_at_mut(stride);
                    let last = 2 * p + 1 == level.rows_in;
                    for at in (0..width).step_by(S::F32_LANES) {
                        let (even, odd) = synthesise_rows(simd, strip, WIDE, &plan.synthesis_low, p, at);
                        store::<S>(first, column + at, even);
                        if !last {
                            store::<S>(second, column + at, odd);
                        }
                    }
                }
            }
            None => {
                let last = plan.first_row + plan.angles;
                let width = WIDE.min(level.columns_in - column);
                for p in plan.first_row / 2..last.div_ceil(2) {
                    let (even_line, odd_line) = line_pair(plan, sinogram, 2 * p, column, width);
                    for at in (0..width).step_by(S::F32_LANES) {
                        let (even, odd) = synthesise_rows(simd, strip, WIDE, &plan.synthesis_low, p, at);
                        subtract(simd, even_line, at, even);
                        subtract(simd, odd_line, at, odd);
                    }
                }
            }
        }
    }
}

/// The parts `column..column + width` of the sinogram's lines at the padded rows `row` and `row + 1`; empty where
/// the row is padding.
#[inline(always)]
fn line_pair<'a>(
    plan: &FourierWavelet,
    sinogram: &'a mut [f32],
    row: usize,
    column: usize,
    width: usize,
) -> (&'a mut [f32], &'a mut [f32]) {
    let start = |row: usize| (row - plan.first_row) * plan.columns + column;
    if row < plan.first_row {
        let start = start(row + 1);
        return (&mut [], &mut sinogram[start..start + width]);
    }
    let (line, rest) = sinogram[start(row)..].split_at_mut(width);
    let next: &mut [f32] = match row + 1 < plan.first_row + plan.angles {
        true => &mut rest[plan.columns - width..plan.columns],
        false => &mut [],
    };
    (line, next)
}

/// strip[i] += Σ_k cos(2πki/N) c[k] + sin(2πki/N) s[k] for the columns from `column`.
#[inline(always)]
fn add_frequencies<S: Simd>(
    simd: S,
    level: &Level,
    (cos, sin): (&[f32], &[f32]),
    column: usize,
    width: usize,
    strip: &mut [f32],
) {
    let half = level.rows / 2 + 1;
    let size = level.frequencies * BLOCK;
    for block in 0..half.div_ceil(BLOCK) {
        let matrix = block * size..(block + 1) * size;
        let (even, odd) = (&level.synthesise[0][matrix.clone()], &level.synthesise[1][matrix]);
        for at in (0..width).step_by(2 * S::F32_LANES) {
            let (k, stride) = (level.frequencies, level.wide_stride);
            let even = synthesis_sums(simd, even, k, cos, stride, column + at);
            let odd = synthesis_sums(simd, odd, k, sin, stride, column + at);
            for b in 0..BLOCK {
                let i = block * BLOCK + b;
                if i >= half {
                    break;
                }
                let mirrored = (i > 0 && 2 * i < level.rows).then_some(level.rows - i);
                for v in 0..2 {
                    let (p, q, at) = (even[b][v], odd[b][v], at + v * S::F32_LANES);
                    add(simd, strip, i * WIDE + at, simd.add_f32s(p, q));
                    if let Some(mirrored) = mirrored {
                        add(simd, strip, mirrored * WIDE + at, simd.sub_f32s(p, q));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FourierWavelet, FourierWaveletOptions};
    use super::Remove;
    use crate::ln::paths;

    #[test]
    fn every_path_agrees_with_the_portable_one() {
        let (angles, columns) = (45, 203);
        let plan = FourierWavelet::new(FourierWaveletOptions::default(), angles, columns).unwrap();
        let input: Vec<f32> = (0..angles * columns).map(|i| ((i * 7919) % 1009) as f32 / 500.0).collect();
        let mut workspace = plan.workspace();
        let mut outputs = paths().into_iter().map(|arch| {
            let mut output = input.clone();
            let sinogram = &mut output;
            arch.dispatch(Remove { plan: &plan, workspace: &mut workspace, sinogram, fill: None }).unwrap();
            output
        });
        let plain = outputs.next().unwrap();
        for fast in outputs {
            // Values up to 2; the paths differ by fused multiply-adds and the order of sums only.
            assert!(plain.iter().zip(&fast).all(|(a, b)| (a - b).abs() < 5e-6));
        }
    }

    #[test]
    fn lines_that_are_made_on_the_way_give_the_same() {
        for (angles, pad) in [(2, false), (31, true), (33, true), (150, false), (150, true)] {
            let columns = 50;
            let options = FourierWaveletOptions { pad, level: 3, ..Default::default() };
            let plan = FourierWavelet::new(options, angles, columns).unwrap();
            let input: Vec<f32> = (0..angles * columns).map(|i| ((i * 7919) % 1009) as f32 / 500.0).collect();
            let (mut workspace, mut wanted) = (plan.workspace(), input.clone());
            plan.remove(&mut workspace, &mut wanted).unwrap();
            let mut made = vec![f32::NAN; input.len()];
            let mut fill = |lines: std::ops::Range<usize>, out: &mut [f32]| {
                out.copy_from_slice(&input[lines.start * columns..lines.end * columns]);
                Ok(())
            };
            plan.remove_filling(&mut workspace, &mut made, &mut fill).unwrap();
            assert!(made == wanted, "{angles} {pad}");
        }
    }
}
