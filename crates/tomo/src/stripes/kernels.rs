//! Inner loops of the Fourier-wavelet filter. Lines are padded to whole vectors, so there are no tails
//! except at the sinogram itself; what is computed in the padding is finite and never used.

use pulp::Simd;

/// Columns of a strip: the unit in which detail coefficients are projected.
pub(crate) const STRIP: usize = 32;
/// Pairs of lines of the detail (i, N − i) that are made before they are projected; with the lines that they are made of
/// they stay in the second-level cache.
pub(crate) const PAIRS: usize = 8;
/// Columns of a tile of up-sampled coefficients: (tile, frequency, TILE).
pub(crate) const TILE: usize = 32;
/// Pairs of taps of the wavelet that is used by default (db5): its loops are unrolled, its taps stay in registers.
const USUAL: usize = 5;
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

/// Two neighbouring output lines of [`combine_rows`] at once, which have all but two of their rows in common. It does
/// so, and says so, where the filter is the usual one and neither line reaches beyond the border.
#[inline(always)]
pub(crate) fn combine_two_rows<S: Simd>(
    simd: S,
    source: &[f32],
    stride: usize,
    [terms, next_terms]: [&[(u32, f32)]; 2],
    out: &mut [f32],
    next: &mut [f32],
) -> bool {
    const TAPS: usize = 2 * USUAL;
    let Some(&(last, _)) = next_terms.first() else { return false };
    let falls = |terms: &[(u32, f32)], from: u32| {
        terms.len() == TAPS && terms.iter().zip((0..=from).rev()).all(|((row, _), wanted)| *row == wanted)
    };
    if last < TAPS as u32 + 1 || !falls(next_terms, last) || !falls(terms, last - 2) {
        return false;
    }
    let width = out.len();
    let (whole, lanes) = (width / S::F32_LANES, S::F32_LANES);
    let mut lines: [&[f32]; TAPS + 2] = [&[]; TAPS + 2];
    for (t, line) in lines.iter_mut().enumerate() {
        let start = (last as usize - t) * stride;
        *line = &source[start..start + width];
    }
    let mut weights = [simd.splat_f32s(0.0); TAPS];
    for (weight, (_, tap)) in weights.iter_mut().zip(terms) {
        *weight = simd.splat_f32s(*tap);
    }
    let mut vectors: [&[S::f32s]; TAPS + 2] = [&[]; TAPS + 2];
    for (vectors, line) in vectors.iter_mut().zip(&lines) {
        *vectors = &S::as_simd_f32s(line).0[..whole];
    }
    let ((body, rest), (next_body, next_rest)) = (S::as_mut_simd_f32s(out), S::as_mut_simd_f32s(next));
    let (body, next_body) = (&mut body[..whole], &mut next_body[..whole]);
    let mut x = [simd.splat_f32s(0.0); TAPS + 2];
    for v in 0..whole {
        for (x, line) in x.iter_mut().zip(&vectors) {
            *x = line[v];
        }
        (body[v], next_body[v]) = two_sums(simd, &weights, &x);
    }
    if !rest.is_empty() {
        for (x, line) in x.iter_mut().zip(&lines) {
            *x = simd.partial_load_f32s(&line[whole * lanes..]);
        }
        let (sum, next_sum) = two_sums(simd, &weights, &x);
        simd.partial_store_f32s(rest, sum);
        simd.partial_store_f32s(next_rest, next_sum);
    }
    true
}

/// Σ_j weights[j] · x[j + 2], and Σ_j weights[j] · x[j].
#[inline(always)]
fn two_sums<S: Simd>(simd: S, weights: &[S::f32s], x: &[S::f32s]) -> (S::f32s, S::f32s) {
    let (mut a, mut b) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
    for (weight, pair) in weights.iter().zip(x.windows(3)) {
        a = simd.mul_add_e_f32s(*weight, pair[2], a);
        b = simd.mul_add_e_f32s(*weight, pair[0], b);
    }
    (a, b)
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

/// Taps as vectors, which stay in registers where their number is known.
#[inline(always)]
fn splats<S: Simd, const N: usize>(simd: S, taps: &[[f32; N]]) -> [[S::f32s; N]; MAX_TAPS / 2] {
    let mut weights = [[simd.splat_f32s(0.0); N]; MAX_TAPS / 2];
    for (weights, taps) in weights.iter_mut().zip(taps) {
        *weights = taps.map(|tap| simd.splat_f32s(tap));
    }
    weights
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
