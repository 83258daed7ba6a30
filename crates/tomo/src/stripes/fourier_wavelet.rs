//! Fourier-wavelet stripe removal (B. Münch et al., Optics Express 17, 2009, 8567), number for number what
//! TomoPy's `remove_stripe_fw` computes, organised for speed.
//!
//! The filter damps, at every wavelet level, the low angular frequencies of the band that is low-pass along
//! angles and high-pass along columns. It is linear, and without damping the transform is the identity, so
//!
//! ```text
//! out = in − synthesis(G(band)),   G: keep frequency k with weight exp(−y²/2σ²)
//! ```
//!
//! Only the branch that is low-pass along angles is ever needed, and the weight is below 1e-8 beyond |k| ≈ 6σ,
//! so G is a small real Fourier transform, done as matrix products over the pairs (i, N − i).

use super::fw_transform::{Fill, Remove};
use super::kernels::{BLOCK, PAIRS, STRIP, TILE, round_up};
use super::wavelet::{Wavelet, reflect};
use crate::aligned::Aligned;
use crate::error::{Error, Result, check_len};
use pulp::Arch;
use std::ops::Range;

/// Frequencies with a smaller weight are left out; single precision does not see them.
const SMALLEST_WEIGHT: f64 = 1e-8;
/// Spare columns of every line: vectors may run over its end.
pub(super) const SPARE: usize = 16;

/// Parameters of [`FourierWavelet`]; the default is what the beamline has always used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FourierWaveletOptions {
    /// Width of the damping in angular frequencies; larger removes more.
    pub sigma: f64,
    /// Number of wavelet levels; each doubles the width of the stripes that are seen.
    pub level: usize,
    /// Daubechies order, 1 to 20: 5 = db5.
    pub wavelet: usize,
    /// Pad with zeros along angles by an eighth.
    pub pad: bool,
}

impl Default for FourierWaveletOptions {
    fn default() -> Self {
        Self { sigma: 3.0, level: 8, wavelet: 5, pad: true }
    }
}

/// One level of the transform: from (rows_in, columns_in) to (rows, columns).
pub(super) struct Level {
    pub(super) rows_in: usize,
    pub(super) columns_in: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Distance of the lines of this level's approximation.
    pub(super) stride: usize,
    /// Distance of the lines of the coefficients, and of their synthesis.
    pub(super) coefficient_stride: usize,
    pub(super) wide_stride: usize,
    /// Terms of the low-pass along angles of each output row, and where each row's terms end.
    pub(super) terms: Vec<(u32, f32)>,
    pub(super) term_ends: Vec<usize>,
    /// Pairs of lines of the level above (2p and 2p + 1) whose correction is needed.
    pub(super) pairs: Range<usize>,
    /// Frequencies 0..frequencies and the weight of each.
    pub(super) frequencies: usize,
    pub(super) weights: Vec<f32>,
    /// cos and sin as [frequency block][i ≤ rows/2][BLOCK frequencies].
    pub(super) project: [Vec<f32>; 2],
    /// cos and sin as [i block][frequency][BLOCK values of i].
    pub(super) synthesise: [Vec<f32>; 2],
}

/// A plan for one sinogram size. Shared by threads.
pub struct FourierWavelet {
    pub(super) angles: usize,
    pub(super) columns: usize,
    pub(super) first_row: usize,
    pub(super) levels: Vec<Level>,
    /// (low even, low odd, high even, high odd) taps of the analysis.
    pub(super) analysis: Vec<[f32; 4]>,
    pub(super) synthesis_low: Vec<[f32; 2]>,
    pub(super) synthesis_high: Vec<[f32; 2]>,
    pub(super) arch: Arch,
}

/// Buffers of one thread; made by [`FourierWavelet::workspace`] and good for plans of that size only.
pub struct FourierWaveletWorkspace {
    pub(super) made_for: Vec<[usize; 4]>,
    /// Approximations of every level, then corrections of every level.
    pub(super) images: Vec<Aligned>,
    pub(super) coefficients: Vec<Aligned>,
    pub(super) detail: Aligned,
    pub(super) folded: [Aligned; 2],
    pub(super) wide: Aligned,
    pub(super) ring: Aligned,
    pub(super) line: Aligned,
    pub(super) even: Aligned,
    pub(super) odd: Aligned,
}

impl FourierWavelet {
    /// Plans for sinograms of (angles, columns).
    pub fn new(options: FourierWaveletOptions, angles: usize, columns: usize) -> Result<Self> {
        let FourierWaveletOptions { sigma, level, wavelet, pad } = options;
        if angles < 2 || columns < 2 {
            let size = format!("{angles} × {columns}");
            return Err(Error::parameter(
                "sinogram",
                size,
                "stripe removal needs at least 2 angles and 2 columns",
            ));
        }
        if !sigma.is_finite() || sigma <= 0.0 {
            return Err(Error::parameter("sigma", sigma, "it must be positive (2 to 4 is usual)"));
        }
        if !(1..=24).contains(&level) {
            return Err(Error::parameter("level", level, "it must lie between 1 and 24 (8 is usual)"));
        }
        let wavelet = Wavelet::daubechies(wavelet)?;
        let padded = if pad { angles + angles / 8 } else { angles };
        let first_row = (padded - angles) / 2;
        let mut levels: Vec<Level> = Vec::with_capacity(level);
        let (mut rows, mut width) = (padded, columns);
        // Lines of the correction that are needed: not those of the padding.
        let mut needed = first_row..first_row + angles;
        for n in 0..level {
            let source = if n == 0 { needed.clone() } else { 0..rows };
            let made =
                Level::new(&wavelet, sigma, (rows, width), source, needed.start / 2..needed.end.div_ceil(2));
            (rows, width) = (made.rows, made.columns);
            needed = made.pairs.start..made.pairs.end + wavelet.taps() / 2 - 1;
            levels.push(made);
        }
        let pairs = |low: &[f64]| low.chunks_exact(2).map(|f| [f[0] as f32, f[1] as f32]).collect::<Vec<_>>();
        let (low, high) = (pairs(&wavelet.analysis_low), pairs(&wavelet.analysis_high));
        Ok(Self {
            angles,
            columns,
            first_row,
            levels,
            analysis: low.iter().zip(&high).map(|(l, h)| [l[0], l[1], h[0], h[1]]).collect(),
            synthesis_low: pairs(&wavelet.synthesis_low),
            synthesis_high: pairs(&wavelet.synthesis_high),
            arch: Arch::new(),
        })
    }

    /// Buffers for one thread.
    pub fn workspace(&self) -> FourierWaveletWorkspace {
        let most = |f: &dyn Fn(&Level) -> usize| Aligned::zeros(self.levels.iter().map(f).max().unwrap_or(0));
        let margin = self.analysis.len();
        let split = |l: &Level| round_up(l.columns, SPARE) + 2 * margin + SPARE;
        FourierWaveletWorkspace {
            made_for: self.levels.iter().map(Level::size).collect(),
            images: self.levels.iter().map(|l| Aligned::zeros(l.rows * l.stride)).collect(),
            coefficients: self
                .levels
                .iter()
                .map(|l| Aligned::zeros(2 * round_up(l.frequencies, BLOCK) * l.coefficient_stride))
                .collect(),
            detail: most(&|l| 2 * PAIRS * round_up(l.columns, STRIP)),
            folded: [Aligned::zeros(PAIRS * STRIP), Aligned::zeros(PAIRS * STRIP)],
            wide: most(&|l| 2 * l.frequencies * l.wide_stride),
            ring: most(&|l| 2 * (margin - 1 + BLOCK) * l.wide_stride),
            line: most(&|l| 4 * l.wide_stride),
            even: most(&split),
            odd: most(&split),
        }
    }

    /// Bytes of one workspace, for memory plans.
    pub fn workspace_bytes(&self) -> usize {
        let floats: usize = self
            .levels
            .iter()
            .map(|l| l.rows * l.stride + 2 * round_up(l.frequencies, BLOCK) * l.coefficient_stride)
            .sum();
        let first = self.levels.first().map_or(0, |l| {
            let ring = 2 * (self.analysis.len() - 1 + BLOCK) * l.wide_stride;
            2 * PAIRS * (round_up(l.columns, STRIP) + STRIP) + 2 * l.frequencies * l.wide_stride + ring
        });
        4 * (floats + first)
    }

    /// Removes the stripes of one sinogram (angles, columns) in place.
    pub fn remove(&self, workspace: &mut FourierWaveletWorkspace, sinogram: &mut [f32]) -> Result<()> {
        self.run(workspace, sinogram, None)
    }

    /// The same for a sinogram that is yet to be made: `fill` is called with ranges of angles, each once and from both
    /// ends towards the middle, and the lines to be filled, which are used while they are in the cache. The result is that of
    /// [`FourierWavelet::remove`].
    ///
    /// # Errors
    /// As [`FourierWavelet::remove`], and those of `fill`.
    pub fn remove_filling(
        &self,
        workspace: &mut FourierWaveletWorkspace,
        sinogram: &mut [f32],
        fill: &mut Fill<'_>,
    ) -> Result<()> {
        self.run(workspace, sinogram, Some(fill))
    }

    fn run(
        &self,
        workspace: &mut FourierWaveletWorkspace,
        sinogram: &mut [f32],
        fill: Option<&mut Fill<'_>>,
    ) -> Result<()> {
        check_len("sinogram", sinogram.len(), self.angles * self.columns)?;
        if workspace.made_for.iter().copied().ne(self.levels.iter().map(Level::size)) {
            return Err(Error::parameter(
                "workspace",
                "of another plan",
                "make it with this plan's workspace()",
            ));
        }
        self.arch.dispatch(Remove { plan: self, workspace, sinogram, fill })
    }
}

impl Level {
    /// Terms of the low-pass along angles of some output rows.
    pub(super) fn terms_of(&self, rows: Range<usize>) -> &[(u32, f32)] {
        let end_of = |row: usize| row.checked_sub(1).map_or(0, |last| self.term_ends[last]);
        &self.terms[end_of(rows.start)..end_of(rows.end)]
    }

    /// What the buffers of a workspace depend on.
    fn size(&self) -> [usize; 4] {
        [self.rows, self.columns_in, self.columns, self.frequencies]
    }

    /// `source`: which rows of the padded input exist (the others are zero); `pairs`: which are needed.
    fn new(
        wavelet: &Wavelet,
        sigma: f64,
        (rows_in, columns_in): (usize, usize),
        source: Range<usize>,
        pairs: Range<usize>,
    ) -> Self {
        let (rows, columns) = (wavelet.half_len(rows_in), wavelet.half_len(columns_in));
        let taps = wavelet.taps();
        let (mut terms, mut term_ends) = (Vec::new(), Vec::with_capacity(rows));
        for row in 0..rows {
            for (j, weight) in wavelet.analysis_low.iter().enumerate() {
                let at = reflect((2 * row + 1) as isize - j as isize, rows_in);
                if source.contains(&at) {
                    terms.push(((at - source.start) as u32, *weight as f32));
                }
            }
            term_ends.push(terms.len());
        }
        let weights = damping(sigma, rows);
        let frequencies = weights.len();
        let half = rows / 2 + 1;
        let wave = |sine: bool, i: usize, k: usize| {
            // k·i modulo the period keeps the argument small and the value exact.
            let angle = std::f64::consts::TAU * ((k * i) % rows) as f64 / rows as f64;
            (if i >= half || k >= frequencies {
                0.0
            } else if sine {
                angle.sin()
            } else {
                angle.cos()
            }) as f32
        };
        let project = [false, true].map(|sine| {
            let blocks = frequencies.div_ceil(BLOCK);
            let index = (0..blocks)
                .flat_map(|b| (0..half).flat_map(move |i| (0..BLOCK).map(move |k| (i, b * BLOCK + k))));
            index.map(|(i, k)| wave(sine, i, k)).collect()
        });
        let synthesise = [false, true].map(|sine| {
            let blocks = half.div_ceil(BLOCK);
            let index = (0..blocks).flat_map(|b| {
                (0..frequencies).flat_map(move |k| (0..BLOCK).map(move |i| (b * BLOCK + i, k)))
            });
            index.map(|(i, k)| wave(sine, i, k)).collect()
        });
        let wide_stride = round_up(columns_in, TILE);
        Self {
            rows_in,
            columns_in,
            rows,
            columns,
            stride: round_up((wide_stride / 2).max(columns) + taps / 2 + SPARE, SPARE),
            coefficient_stride: round_up(
                (wide_stride / 2).max(round_up(columns, STRIP)) + taps / 2 + SPARE,
                SPARE,
            ),
            wide_stride,
            terms,
            term_ends,
            pairs,
            frequencies,
            weights,
            project,
            synthesise,
        }
    }
}

/// What G multiplies the cosine and sine sums of frequency 0, 1, 2, … by, as far as it matters.
///
/// For even N the damping of the incumbent is centred half a frequency off zero; as it keeps the real part,
/// what acts is the mean of the weights of k and −k.
fn damping(sigma: f64, n: usize) -> Vec<f32> {
    let offset = if n.is_multiple_of(2) { 0.5 } else { 0.0 };
    let gauss = |k: f64| (-(k + offset).powi(2) / (2.0 * sigma * sigma)).exp();
    let mut weights = Vec::new();
    for k in 0..=n / 2 {
        let weight = if 2 * k == n { gauss(-(k as f64)) } else { gauss(k as f64) + gauss(-(k as f64)) };
        if weight < SMALLEST_WEIGHT && k > 0 {
            break;
        }
        weights.push((if k == 0 && n > 1 { weight / 2.0 } else { weight } / n as f64) as f32);
    }
    weights
}
