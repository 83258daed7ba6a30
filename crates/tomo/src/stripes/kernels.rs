//! Inner loops of the Fourier-wavelet filter. Lines are padded to whole vectors, so there are no tails
//! except at the sinogram itself; what is computed in the padding is finite and never used.

use pulp::Simd;

/// Columns of a strip: the unit in which detail coefficients are stored, [strip][row][column].
pub(crate) const STRIP: usize = 32;
/// Frequencies that one pass over a strip accumulates (5 × 2 registers of 16).
pub(crate) const BLOCK: usize = 5;
/// Most taps of a filter (order 20).
const MAX_TAPS: usize = 2 * super::wavelet::MAX_ORDER;

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
    let whole = width - width % S::F32_LANES;
    let mut at = 0;
    while at < whole {
        let mut sum = simd.splat_f32s(0.0);
        for (line, weight) in lines.iter().zip(weights) {
            sum = simd.mul_add_e_f32s(*weight, load::<S>(line, at), sum);
        }
        store::<S>(out, at, sum);
        at += S::F32_LANES;
    }
    if whole < width {
        let mut sum = simd.splat_f32s(0.0);
        for (line, weight) in lines.iter().zip(weights) {
            sum = simd.mul_add_e_f32s(*weight, simd.partial_load_f32s(&line[whole..]), sum);
        }
        store::<S>(out, whole, sum);
    }
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
/// low[c] = Σ_m f[2m] odd[c − m] + f[2m+1] even[c − m], the same for high, which goes to row `row` of the
/// strips of `detail`, `rows` high.
#[inline(always)]
pub(crate) fn analyse_line<S: Simd>(
    simd: S,
    (even, odd): (&[f32], &[f32]),
    margin: usize,
    n: usize,
    filters: &[[f32; 4]],
    low: &mut [f32],
    detail: &mut [f32],
    (row, rows): (usize, usize),
) {
    let mut c = 0;
    while c < n {
        let (mut a, mut d) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
        for (m, f) in filters.iter().enumerate() {
            let (o, e) = (load::<S>(odd, c + margin - m), load::<S>(even, c + margin - m));
            a = simd.mul_add_e_f32s(simd.splat_f32s(f[0]), o, a);
            d = simd.mul_add_e_f32s(simd.splat_f32s(f[2]), o, d);
            a = simd.mul_add_e_f32s(simd.splat_f32s(f[1]), e, a);
            d = simd.mul_add_e_f32s(simd.splat_f32s(f[3]), e, d);
        }
        store::<S>(low, c, a);
        store::<S>(detail, (c / STRIP * rows + row) * STRIP + c % STRIP, d);
        c += S::F32_LANES;
    }
}

/// sums[k] (for `BLOCK` frequencies) = Σ_i matrix[i][k] · rows[i], over one strip.
/// `matrix` is (rows, BLOCK), `rows` (rows, STRIP); `out` receives BLOCK lines `out_stride` apart.
#[inline(always)]
pub(crate) fn project_strip<S: Simd>(
    simd: S,
    matrix: &[f32],
    rows: &[f32],
    out: &mut [f32],
    out_stride: usize,
    column: usize,
) {
    let lanes = S::F32_LANES;
    let mut at = 0;
    while at < STRIP {
        let zero = simd.splat_f32s(0.0);
        let mut sums = [[zero; 2]; BLOCK];
        let second = at + lanes;
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

/// sums[b] = Σ_k matrix[k][b] · lines[k], two vectors at `column`.
#[inline(always)]
pub(crate) fn synthesis_sums<S: Simd>(
    simd: S,
    matrix: &[f32],
    frequencies: usize,
    lines: &[f32],
    stride: usize,
    column: usize,
) -> [[S::f32s; 2]; BLOCK] {
    let lanes = S::F32_LANES;
    let zero = simd.splat_f32s(0.0);
    let mut sums = [[zero; 2]; BLOCK];
    for (weights, line) in matrix.chunks_exact(BLOCK).take(frequencies).zip(lines.chunks_exact(stride)) {
        let line = &line[column..column + 2 * lanes];
        let (x, y) = (load::<S>(line, 0), load::<S>(line, lanes));
        for b in 0..BLOCK {
            let w = simd.splat_f32s(weights[b]);
            sums[b][0] = simd.mul_add_e_f32s(w, x, sums[b][0]);
            sums[b][1] = simd.mul_add_e_f32s(w, y, sums[b][1]);
        }
    }
    sums
}

/// Up-sampling low- or high-pass of a line: for q in q0..q0+count, out[2(q−q0)] += Σ_j f[2j] x[q+reach−j] and
/// out[2(q−q0)+1] += Σ_j f[2j+1] x[q+reach−j] where reach = taps/2 − 1; `scratch` holds 2 · count values.
/// `taps` are pairs (f[2j], f[2j+1]).
#[inline(always)]
pub(crate) fn synthesise_line<S: Simd>(
    simd: S,
    line: &[f32],
    taps: &[[f32; 2]],
    q0: usize,
    count: usize,
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let reach = taps.len() - 1;
    let count = round_up(count, S::F32_LANES);
    let (even, odd) = scratch[..2 * count].split_at_mut(count);
    let mut q = 0;
    while q < count {
        let (mut e, mut o) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
        for (j, f) in taps.iter().enumerate() {
            let x = load::<S>(line, q0 + q + reach - j);
            e = simd.mul_add_e_f32s(simd.splat_f32s(f[0]), x, e);
            o = simd.mul_add_e_f32s(simd.splat_f32s(f[1]), x, o);
        }
        store::<S>(even, q, e);
        store::<S>(odd, q, o);
        q += S::F32_LANES;
    }
    for ((pair, e), o) in out.chunks_exact_mut(2).zip(even.iter()).zip(odd.iter()) {
        pair[0] = *e;
        pair[1] = *o;
    }
}

/// Up-sampling low-pass along angles, one vector of a pair of output lines of a strip:
/// even = Σ_j f[2j] rows[p+reach−j], odd likewise with f[2j+1]. `rows` are `stride` apart.
#[inline(always)]
pub(crate) fn synthesise_rows<S: Simd>(
    simd: S,
    rows: &[f32],
    stride: usize,
    taps: &[[f32; 2]],
    p: usize,
    at: usize,
) -> (S::f32s, S::f32s) {
    let reach = taps.len() - 1;
    let (mut e, mut o) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
    for (j, f) in taps.iter().enumerate() {
        let x = load::<S>(rows, (p + reach - j) * stride + at);
        e = simd.mul_add_e_f32s(simd.splat_f32s(f[0]), x, e);
        o = simd.mul_add_e_f32s(simd.splat_f32s(f[1]), x, o);
    }
    (e, o)
}

/// line[at..] += value
#[inline(always)]
pub(crate) fn add<S: Simd>(simd: S, line: &mut [f32], at: usize, value: S::f32s) {
    let sum = simd.add_f32s(load::<S>(line, at), value);
    store::<S>(line, at, sum);
}

/// line[at..] −= value, up to the line's end.
#[inline(always)]
pub(crate) fn subtract<S: Simd>(simd: S, line: &mut [f32], at: usize, value: S::f32s) {
    if at + S::F32_LANES <= line.len() {
        let x = load::<S>(line, at);
        store::<S>(line, at, simd.sub_f32s(x, value));
    } else if at < line.len() {
        let x = simd.partial_load_f32s(&line[at..]);
        simd.partial_store_f32s(&mut line[at..], simd.sub_f32s(x, value));
    }
}
