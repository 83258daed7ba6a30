//! The transform of [`super::fourier_wavelet`]: down the levels collecting damped frequencies, up again to the
//! correction.

use super::fourier_wavelet::{FourierWavelet, FourierWaveletWorkspace, Level, SPARE};
use super::fw_analysis::analyse;
use super::kernels::{BLOCK, MAX_TAPS, TILE, round_up};
use super::kernels_up::{add, synthesis_sums, synthesise_line, synthesise_rows};
use crate::error::{Error, Result};
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Makes lines of a sinogram: those of a range of angles.
pub type Fill<'a> = dyn FnMut(Range<usize>, &mut [f32]) -> Result<()> + 'a;

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

/// Brings lines into the cache: read for themselves they come at the speed of memory, which work on them does not keep
/// up with.
#[inline(always)]
pub(super) fn touch<S: Simd>(simd: S, lines: &[f32]) {
    let zero = simd.splat_f32s(0.0);
    let mut sums = [zero; 4];
    for four in S::as_simd_f32s(lines).0.chunks_exact(4) {
        for (sum, x) in sums.iter_mut().zip(four) {
            *sum = simd.add_f32s(*sum, *x);
        }
    }
    for sum in sums {
        std::hint::black_box(simd.reduce_sum_f32s(sum));
    }
}

/// Level n: correction of the level above from that of this level (in `images[n]`) and `coefficients[n]`; at
/// the top it is subtracted from the sinogram.
///
/// Lines i and N − i of this level come from the same products, so they are made from both ends towards the middle. Each
/// pair of lines of the level above follows as soon as its last line is there, while all of them are in the cache, and
/// whole: the sinogram is too large for it, and memory is fastest in order.
#[inline(always)]
fn synthesise<S: Simd>(
    simd: S,
    plan: &FourierWavelet,
    n: usize,
    workspace: &mut FourierWaveletWorkspace,
    sinogram: &mut [f32],
) {
    let level = &plan.levels[n];
    let FourierWaveletWorkspace { images, coefficients, wide, ring, line: scratch, .. } = workspace;
    let (cos, sin) = wide.split_at_mut(level.frequencies * level.wide_stride);
    widen(simd, plan, level, &coefficients[n], [&mut *cos, &mut *sin], scratch);
    let (before, after) = images.split_at_mut(n);
    let coarser = after.get(1).filter(|_| n + 1 < plan.levels.len()).map(|_| &after[0][..]);
    let taps = &plan.synthesis_low[..];
    let place = Ring { depth: taps.len() - 1 + BLOCK, half: level.rows / 2 + 1, stride: level.wide_stride };
    let lines = level.pairs.start..level.pairs.end + taps.len() - 1;
    // The pairs that are still to be made.
    let Range { start: mut head, end: mut tail } = level.pairs.clone();
    for first in (0..place.half).step_by(BLOCK) {
        let end = (first + BLOCK).min(place.half);
        let mirrored = |i: usize| (i > 0 && 2 * i < level.rows).then_some(level.rows - i);
        let both = (first..end).flat_map(|i| [Some(i), mirrored(i)].into_iter().flatten());
        if both.clone().any(|line| lines.contains(&line)) {
            for line in both {
                let out = &mut ring[place.of(line)];
                match coarser {
                    Some(image) => {
                        let from = &image[line * level.stride..(line + 1) * level.stride];
                        synthesise_line(simd, from, taps, level.columns_in.div_ceil(2), scratch, out);
                    }
                    None => out.fill(0.0),
                }
            }
            add_frequencies(simd, level, (cos, sin), first..end, place, ring);
        }
        let (made, from) = match end == place.half {
            true => (tail, tail),
            false => {
                let made = end.saturating_sub(taps.len() - 1).clamp(head, tail);
                (made, (level.rows + 1 - end).clamp(made, tail))
            }
        };
        if n == 0 {
            for pairs in [head..made, from..tail] {
                touch(simd, lines_of(plan, sinogram, 2 * pairs.start..2 * pairs.end));
            }
        }
        for p in (head..made).chain(from..tail) {
            let mut lines: [&[f32]; MAX_TAPS / 2] = [&[]; MAX_TAPS / 2];
            for (j, line) in lines.iter_mut().take(taps.len()).enumerate() {
                *line = &ring[place.of(p + taps.len() - 1 - j)];
            }
            let lines = &lines[..taps.len()];
            match before.last_mut() {
                Some(finer) => {
                    let stride = plan.levels[n - 1].stride;
                    let (even, odd) = finer[2 * p * stride..].split_at_mut(stride);
                    let width = round_up(level.columns_in, SPARE);
                    let odd = if 2 * p + 1 < level.rows_in { &mut odd[..width] } else { &mut [] };
                    synthesise_rows::<S, false>(simd, lines, taps, &mut even[..width], odd);
                }
                None => {
                    let (even, odd) = line_pair(plan, sinogram, 2 * p);
                    synthesise_rows::<S, true>(simd, lines, taps, even, odd);
                }
            }
        }
        (head, tail) = (made, from);
    }
}

/// Where lines of a level stand while they are needed: those below the middle and those above it, so many of each.
#[derive(Clone, Copy)]
struct Ring {
    depth: usize,
    half: usize,
    stride: usize,
}

impl Ring {
    fn of(self, line: usize) -> Range<usize> {
        let slot = line % self.depth + if line < self.half { 0 } else { self.depth };
        slot * self.stride..(slot + 1) * self.stride
    }
}

/// Up-samples the coefficients of a level along columns, cosines and sines, into tiles of all frequencies.
#[inline(always)]
fn widen<S: Simd>(
    simd: S,
    plan: &FourierWavelet,
    level: &Level,
    coefficients: &[f32],
    wide: [&mut [f32]; 2],
    scratch: &mut [f32],
) {
    let lines = round_up(level.frequencies, BLOCK);
    let (cos, sin) = coefficients.split_at(lines * level.coefficient_stride);
    let (scratch, line) = scratch.split_at_mut(level.wide_stride);
    let line = &mut line[..level.wide_stride];
    for (source, wide) in [cos, sin].into_iter().zip(wide) {
        for (k, from) in source.chunks_exact(level.coefficient_stride).take(level.frequencies).enumerate() {
            synthesise_line(simd, from, &plan.synthesis_high, level.columns_in.div_ceil(2), scratch, line);
            let tiles = wide.chunks_exact_mut(level.frequencies * TILE);
            for (tile, part) in tiles.zip(line.chunks_exact(TILE)) {
                tile[k * TILE..(k + 1) * TILE].copy_from_slice(part);
            }
        }
    }
}

/// The sinogram's lines at a range of padded rows, as far as it has them.
fn lines_of<'a>(plan: &FourierWavelet, sinogram: &'a [f32], rows: Range<usize>) -> &'a [f32] {
    let start = |row: usize| row.saturating_sub(plan.first_row).min(plan.angles) * plan.columns;
    &sinogram[start(rows.start)..start(rows.end)]
}

/// The sinogram's lines at the padded rows `row` and `row + 1`; empty where the row is padding.
#[inline(always)]
fn line_pair<'a>(
    plan: &FourierWavelet,
    sinogram: &'a mut [f32],
    row: usize,
) -> (&'a mut [f32], &'a mut [f32]) {
    if row < plan.first_row {
        return (&mut [], &mut sinogram[..plan.columns]);
    }
    let (line, rest) = sinogram[(row - plan.first_row) * plan.columns..].split_at_mut(plan.columns);
    let next: &mut [f32] = match row + 1 < plan.first_row + plan.angles {
        true => &mut rest[..plan.columns],
        false => &mut [],
    };
    (line, next)
}

/// line[i] += Σ_k cos(2πki/N) c[k] + sin(2πki/N) s[k] for the lines `block` (at most [`BLOCK`]) and N less those.
#[inline(always)]
fn add_frequencies<S: Simd>(
    simd: S,
    level: &Level,
    (cos, sin): (&[f32], &[f32]),
    block: Range<usize>,
    place: Ring,
    ring: &mut [f32],
) {
    let size = level.frequencies * BLOCK;
    let matrix = block.start * level.frequencies..block.start * level.frequencies + size;
    let (even, odd) = (&level.synthesise[0][matrix.clone()], &level.synthesise[1][matrix]);
    let tiles = cos.chunks_exact(level.frequencies * TILE).zip(sin.chunks_exact(level.frequencies * TILE));
    let mut slots = [(0, None); BLOCK];
    for (slot, i) in slots.iter_mut().zip(block.clone()) {
        let mirrored = (i > 0 && 2 * i < level.rows).then(|| place.of(level.rows - i).start);
        *slot = (place.of(i).start, mirrored);
    }
    for (tile, (cos, sin)) in tiles.enumerate() {
        for at in (0..TILE).step_by(2 * S::F32_LANES) {
            let even = synthesis_sums(simd, even, cos, at);
            let odd = synthesis_sums(simd, odd, sin, at);
            for (b, (slot, mirrored)) in slots.iter().take(block.len()).enumerate() {
                for v in 0..2 {
                    let (p, q, at) = (even[b][v], odd[b][v], tile * TILE + at + v * S::F32_LANES);
                    add(simd, ring, slot + at, simd.add_f32s(p, q));
                    if let Some(mirrored) = mirrored {
                        add(simd, ring, mirrored + at, simd.sub_f32s(p, q));
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
