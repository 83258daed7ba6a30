//! Inner loops of the Fourier-wavelet filter's way up; see [`super::kernels`] for that down.

use super::kernels::{BLOCK, MAX_TAPS, TILE, USUAL, load, round_up, splats, store};
use pulp::Simd;

/// sums[b] = Σ_k matrix[k][b] · tile[k], two vectors at `at`; `tile` is (frequencies, TILE).
#[inline(always)]
pub(crate) fn synthesis_sums<S: Simd>(
    simd: S,
    matrix: &[f32],
    tile: &[f32],
    at: usize,
) -> [[S::f32s; 2]; BLOCK] {
    let lanes = S::F32_LANES;
    let zero = simd.splat_f32s(0.0);
    let mut sums = [[zero; 2]; BLOCK];
    for (weights, line) in matrix.chunks_exact(BLOCK).zip(tile.chunks_exact(TILE)) {
        let (x, y) = (load::<S>(line, at), load::<S>(line, at + lanes));
        for b in 0..BLOCK {
            let w = simd.splat_f32s(weights[b]);
            sums[b][0] = simd.mul_add_e_f32s(w, x, sums[b][0]);
            sums[b][1] = simd.mul_add_e_f32s(w, y, sums[b][1]);
        }
    }
    sums
}

/// Up-sampling low- or high-pass of a line: for q in 0..count, out[2q] = Σ_j f[2j] x[q+reach−j] and
/// out[2q+1] = Σ_j f[2j+1] x[q+reach−j] where reach = taps/2 − 1; `scratch` holds 2 · count values in whole vectors.
/// `taps` are pairs (f[2j], f[2j+1]).
#[inline(always)]
pub(crate) fn synthesise_line<S: Simd>(
    simd: S,
    line: &[f32],
    taps: &[[f32; 2]],
    count: usize,
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let count = round_up(count, S::F32_LANES);
    let (even, odd) = scratch[..2 * count].split_at_mut(count);
    match <&[[f32; 2]; USUAL]>::try_from(taps) {
        Ok(taps) => up_sample(simd, line, taps, even, odd),
        Err(_) => up_sample(simd, line, taps, even, odd),
    }
    for ((pair, e), o) in out.chunks_exact_mut(2).zip(even.iter()).zip(odd.iter()) {
        pair[0] = *e;
        pair[1] = *o;
    }
}

#[inline(always)]
fn up_sample<S: Simd>(simd: S, line: &[f32], taps: &[[f32; 2]], even: &mut [f32], odd: &mut [f32]) {
    let (reach, weights) = (taps.len() - 1, splats(simd, taps));
    let (even, odd) = (S::as_mut_simd_f32s(even).0, S::as_mut_simd_f32s(odd).0);
    for (v, (even, odd)) in even.iter_mut().zip(odd).enumerate() {
        let (mut e, mut o) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
        for (j, f) in weights[..taps.len()].iter().enumerate() {
            let x = load::<S>(line, v * S::F32_LANES + reach - j);
            e = simd.mul_add_e_f32s(f[0], x, e);
            o = simd.mul_add_e_f32s(f[1], x, o);
        }
        (*even, *odd) = (e, o);
    }
}

/// Up-sampling low-pass along angles, a pair of output lines: even = Σ_j f[2j] lines[j], odd likewise with f[2j+1].
/// They are stored in `even` and `odd`, or subtracted from them; either of these may be empty.
#[inline(always)]
pub(crate) fn synthesise_rows<S: Simd, const SUBTRACT: bool>(
    simd: S,
    lines: &[&[f32]],
    taps: &[[f32; 2]],
    even: &mut [f32],
    odd: &mut [f32],
) {
    match (<&[&[f32]; USUAL]>::try_from(lines), <&[[f32; 2]; USUAL]>::try_from(taps)) {
        (Ok(lines), Ok(taps)) => combine_pair::<S, SUBTRACT>(simd, lines, taps, even, odd),
        _ => combine_pair::<S, SUBTRACT>(simd, lines, taps, even, odd),
    }
}

#[inline(always)]
fn combine_pair<S: Simd, const SUBTRACT: bool>(
    simd: S,
    lines: &[&[f32]],
    taps: &[[f32; 2]],
    even: &mut [f32],
    odd: &mut [f32],
) {
    let weights = splats(simd, taps);
    let width = even.len().max(odd.len());
    let mut vectors: [&[S::f32s]; MAX_TAPS / 2] = [&[]; MAX_TAPS / 2];
    let count = width.div_ceil(S::F32_LANES);
    for (vectors, line) in vectors.iter_mut().zip(lines) {
        *vectors = &S::as_simd_f32s(line).0[..count];
    }
    for v in 0..count {
        let (mut e, mut o) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
        for (line, f) in vectors[..lines.len()].iter().zip(&weights) {
            e = simd.mul_add_e_f32s(f[0], line[v], e);
            o = simd.mul_add_e_f32s(f[1], line[v], o);
        }
        put::<S, SUBTRACT>(simd, even, v * S::F32_LANES, e);
        put::<S, SUBTRACT>(simd, odd, v * S::F32_LANES, o);
    }
}

/// line[at..] += value
#[inline(always)]
pub(crate) fn add<S: Simd>(simd: S, line: &mut [f32], at: usize, value: S::f32s) {
    let sum = simd.add_f32s(load::<S>(line, at), value);
    store::<S>(line, at, sum);
}

/// line[at..] = value, or line[at..] −= value, up to the line's end.
#[inline(always)]
fn put<S: Simd, const SUBTRACT: bool>(simd: S, line: &mut [f32], at: usize, value: S::f32s) {
    if at + S::F32_LANES <= line.len() {
        let value = if SUBTRACT { simd.sub_f32s(load::<S>(line, at), value) } else { value };
        store::<S>(line, at, value);
    } else if at < line.len() {
        let x = simd.partial_load_f32s(&line[at..]);
        let value = if SUBTRACT { simd.sub_f32s(x, value) } else { value };
        simd.partial_store_f32s(&mut line[at..], value);
    }
}
