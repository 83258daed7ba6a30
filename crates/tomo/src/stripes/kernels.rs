//! Inner loops of the Fourier-wavelet filter, those of its way down. Lines are padded to whole vectors, so there are no
//! tails except at the sinogram itself; what is computed in the padding is finite and never used.

use pulp::Simd;

/// Columns of a strip: the unit in which detail coefficients are projected.
pub(crate) const STRIP: usize = 32;
/// Pairs of lines of the detail (i, N − i) that are made before they are projected; with the lines that they are made of
/// they stay in the second-level cache.
pub(crate) const PAIRS: usize = 8;
/// Columns of a tile of up-sampled coefficients: (tile, frequency, TILE).
pub(crate) const TILE: usize = 32;
/// Pairs of taps of the wavelet that is used by default (db5): its loops are unrolled, its taps stay in registers.
pub(crate) const USUAL: usize = 5;
/// Frequencies that one pass over a strip accumulates (5 × 2 registers of 16).
pub(crate) const BLOCK: usize = 5;
/// Most taps of a filter (order 20).
pub(crate) const MAX_TAPS: usize = 2 * super::wavelet::MAX_ORDER;

pub(crate) fn round_up(n: usize, unit: usize) -> usize {
    n.div_ceil(unit) * unit
}

#[inline(always)]
pub(crate) fn load<S: Simd>(line: &[f32], at: usize) -> S::f32s {
    S::as_simd_f32s(&line[at..at + S::F32_LANES]).0[0]
}

#[inline(always)]
pub(crate) fn store<S: Simd>(line: &mut [f32], at: usize, value: S::f32s) {
    S::as_mut_simd_f32s(&mut line[at..at + S::F32_LANES]).0[0] = value;
}

/// out[..width] = Σ weight · rows[row]: the low-pass along angles, one output line.
/// `terms` are (row of `source`, weight); lines of `source` are `stride` apart and at least `width` long.
#[inline(always)]
pub(crate) fn combine_rows<S: Simd>(
    simd: S,
    source: &[f32],
    stride: usize,
    width: usize,
    terms: &[(u32, f32)],
    out: &mut [f32],
) {
    let mut lines: [&[f32]; MAX_TAPS] = [&[]; MAX_TAPS];
    let mut weights = [simd.splat_f32s(0.0); MAX_TAPS];
    let count = terms.len().min(MAX_TAPS);
    for (t, (row, weight)) in terms.iter().take(count).enumerate() {
        let start = *row as usize * stride;
        lines[t] = &source[start..start + width];
        weights[t] = simd.splat_f32s(*weight);
    }
    let (lines, weights) = (&lines[..count], &weights[..count]);
    match (<&[&[f32]; 2 * USUAL]>::try_from(lines), <&[S::f32s; 2 * USUAL]>::try_from(weights)) {
        (Ok(lines), Ok(weights)) => weighted_sum(simd, lines, weights, &mut out[..width]),
        _ => weighted_sum(simd, lines, weights, &mut out[..width]),
    }
}

#[inline(always)]
fn weighted_sum<S: Simd>(simd: S, lines: &[&[f32]], weights: &[S::f32s], out: &mut [f32]) {
    let whole = out.len() / S::F32_LANES;
    let mut vectors: [&[S::f32s]; MAX_TAPS] = [&[]; MAX_TAPS];
    for (vectors, line) in vectors.iter_mut().zip(lines) {
        *vectors = &S::as_simd_f32s(line).0[..whole];
    }
    let (body, rest) = S::as_mut_simd_f32s(out);
    for (v, out) in body[..whole].iter_mut().enumerate() {
        let mut sum = simd.splat_f32s(0.0);
        for (line, weight) in vectors[..lines.len()].iter().zip(weights) {
            sum = simd.mul_add_e_f32s(*weight, line[v], sum);
        }
        *out = sum;
    }
    if !rest.is_empty() {
        let mut sum = simd.splat_f32s(0.0);
        for (line, weight) in lines.iter().zip(weights) {
            let from = simd.partial_load_f32s(&line[whole * S::F32_LANES..]);
            sum = simd.mul_add_e_f32s(*weight, from, sum);
        }
        simd.partial_store_f32s(rest, sum);
    }
}

/// `ROWS` neighbouring output lines of [`combine_rows`] at once, which have all but two of their rows in common with the
/// next: `LINES` = 2 (`USUAL` + `ROWS` − 1) in all. Output lines are `wide` apart. It does so, and says so, where the
/// filter is the usual one and none of the lines reaches beyond the border.
#[inline(always)]
pub(crate) fn combine_neighbours<S: Simd, const ROWS: usize, const LINES: usize>(
    simd: S,
    source: (&[f32], usize),
    width: usize,
    terms: [&[(u32, f32)]; ROWS],
    out: &mut [f32],
    wide: usize,
) -> bool {
    const TAPS: usize = 2 * USUAL;
    let (source, stride) = source;
    let Some(&(last, _)) = terms.last().and_then(|terms| terms.first()) else { return false };
    let falls = |terms: &[(u32, f32)], from: u32| {
        terms.len() == TAPS && terms.iter().zip((0..=from).rev()).all(|((row, _), wanted)| *row == wanted)
    };
    let from = (0..ROWS as u32).rev().map(|k| last.saturating_sub(2 * k));
    if (last as usize) + 1 < LINES || !terms.iter().zip(from).all(|(terms, from)| falls(terms, from)) {
        return false;
    }
    let (whole, lanes) = (width / S::F32_LANES, S::F32_LANES);
    let mut lines: [&[f32]; LINES] = [&[]; LINES];
    let mut vectors: [&[S::f32s]; LINES] = [&[]; LINES];
    for (t, (line, vectors)) in lines.iter_mut().zip(&mut vectors).enumerate() {
        let start = (last as usize - t) * stride;
        *line = &source[start..start + width];
        *vectors = &S::as_simd_f32s(line).0[..whole];
    }
    let mut weights = [simd.splat_f32s(0.0); TAPS];
    for (weight, (_, tap)) in weights.iter_mut().zip(terms[0]) {
        *weight = simd.splat_f32s(*tap);
    }
    let mut outs: [(&mut [S::f32s], &mut [f32]); ROWS] = std::array::from_fn(|_| Default::default());
    for (outs, out) in outs.iter_mut().zip(out.chunks_exact_mut(wide)) {
        let (body, rest) = S::as_mut_simd_f32s(&mut out[..width]);
        *outs = (&mut body[..whole], rest);
    }
    let mut x = [simd.splat_f32s(0.0); LINES];
    for v in 0..whole {
        for (x, line) in x.iter_mut().zip(&vectors) {
            *x = line[v];
        }
        let sums = neighbouring_sums::<S, ROWS>(simd, &weights, &x);
        for (out, sum) in outs.iter_mut().zip(sums) {
            out.0[v] = sum;
        }
    }
    if whole * lanes < width {
        for (x, line) in x.iter_mut().zip(&lines) {
            *x = simd.partial_load_f32s(&line[whole * lanes..]);
        }
        let sums = neighbouring_sums::<S, ROWS>(simd, &weights, &x);
        for (out, sum) in outs.iter_mut().zip(sums) {
            simd.partial_store_f32s(out.1, sum);
        }
    }
    true
}

/// Σ_j weights[j] · x[j + 2 (ROWS − 1 − r)] for each row r.
#[inline(always)]
fn neighbouring_sums<S: Simd, const ROWS: usize>(
    simd: S,
    weights: &[S::f32s; 2 * USUAL],
    x: &[S::f32s],
) -> [S::f32s; ROWS] {
    let mut sums = [simd.splat_f32s(0.0); ROWS];
    for (r, sum) in sums.iter_mut().enumerate() {
        for (weight, x) in weights.iter().zip(&x[2 * (ROWS - 1 - r)..]) {
            *sum = simd.mul_add_e_f32s(*weight, *x, *sum);
        }
    }
    sums
}

/// Splits the symmetric extension of `line[..n]` into even and odd samples, `margin` before the first.
#[inline(always)]
pub(crate) fn split_even_odd(line: &[f32], n: usize, margin: usize, even: &mut [f32], odd: &mut [f32]) {
    let pairs = n / 2;
    let (e, o) = (&mut even[margin..margin + pairs], &mut odd[margin..margin + pairs]);
    for ((pair, e), o) in line[..2 * pairs].chunks_exact(2).zip(e).zip(o) {
        *e = pair[0];
        *o = pair[1];
    }
    let at = |i: isize| line[super::wavelet::reflect(i, n)];
    for k in 1..=margin {
        let i = -2 * k as isize;
        even[margin - k] = at(i);
        odd[margin - k] = at(i + 1);
    }
    for k in 0..=margin {
        let i = 2 * (pairs + k) as isize;
        even[margin + pairs + k] = at(i);
        odd[margin + pairs + k] = at(i + 1);
    }
}

/// Low- and high-pass with decimation of a split line: for c in 0..n,
/// low[c] = Σ_m f[2m] odd[c − m] + f[2m+1] even[c − m], the same for high.
#[inline(always)]
pub(crate) fn analyse_line<S: Simd>(
    simd: S,
    split: (&[f32], &[f32]),
    margin: usize,
    n: usize,
    filters: &[[f32; 4]],
    low: &mut [f32],
    high: &mut [f32],
) {
    match <&[[f32; 4]; USUAL]>::try_from(filters) {
        Ok(filters) => down_sample(simd, split, margin, n, filters, low, high),
        Err(_) => down_sample(simd, split, margin, n, filters, low, high),
    }
}

#[inline(always)]
fn down_sample<S: Simd>(
    simd: S,
    (even, odd): (&[f32], &[f32]),
    margin: usize,
    n: usize,
    filters: &[[f32; 4]],
    low: &mut [f32],
    high: &mut [f32],
) {
    let weights = splats(simd, filters);
    let mut c = 0;
    while c < n {
        let (mut a, mut d) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
        for (m, f) in weights[..filters.len()].iter().enumerate() {
            let (o, e) = (load::<S>(odd, c + margin - m), load::<S>(even, c + margin - m));
            a = simd.mul_add_e_f32s(f[0], o, a);
            d = simd.mul_add_e_f32s(f[2], o, d);
            a = simd.mul_add_e_f32s(f[1], e, a);
            d = simd.mul_add_e_f32s(f[3], e, d);
        }
        store::<S>(low, c, a);
        store::<S>(high, c, d);
        c += S::F32_LANES;
    }
}

/// sums[k] (for `BLOCK` frequencies) = Σ_i matrix[i][k] · rows[i], over one strip.
/// `matrix` is (rows, BLOCK), `rows` (rows, STRIP); `out` receives BLOCK lines `out_stride` apart, or adds to them.
#[inline(always)]
pub(crate) fn project_strip<S: Simd>(
    simd: S,
    matrix: &[f32],
    rows: &[f32],
    out: &mut [f32],
    out_stride: usize,
    column: usize,
    adds: bool,
) {
    let lanes = S::F32_LANES;
    let mut at = 0;
    while at < STRIP {
        let zero = simd.splat_f32s(0.0);
        let mut sums = [[zero; 2]; BLOCK];
        let second = at + lanes;
        if adds {
            for k in 0..BLOCK {
                let place = k * out_stride + column;
                sums[k] = [load::<S>(out, place + at), load::<S>(out, place + second)];
            }
        }
        for (weights, row) in matrix.chunks_exact(BLOCK).zip(rows.chunks_exact(STRIP)) {
            let (x, y) = (load::<S>(row, at), load::<S>(row, second));
            for k in 0..BLOCK {
                let w = simd.splat_f32s(weights[k]);
                sums[k][0] = simd.mul_add_e_f32s(w, x, sums[k][0]);
                sums[k][1] = simd.mul_add_e_f32s(w, y, sums[k][1]);
            }
        }
        for k in 0..BLOCK {
            store::<S>(out, k * out_stride + column + at, sums[k][0]);
            store::<S>(out, k * out_stride + column + second, sums[k][1]);
        }
        at += 2 * lanes;
    }
}

/// Taps as vectors, which stay in registers where their number is known.
#[inline(always)]
pub(super) fn splats<S: Simd, const N: usize>(simd: S, taps: &[[f32; N]]) -> [[S::f32s; N]; MAX_TAPS / 2] {
    let mut weights = [[simd.splat_f32s(0.0); N]; MAX_TAPS / 2];
    for (weights, taps) in weights.iter_mut().zip(taps) {
        *weights = taps.map(|tap| simd.splat_f32s(tap));
    }
    weights
}
