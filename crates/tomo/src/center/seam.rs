//! The seam of a 180° scan: its last projections, mirrored, continue its first ones.
//!
//! Few scans have two projections exactly 180° apart, and one pair is noisy. So all projections around the seam
//! are used at once. Per spatial frequency ω, the Fourier values of the projections at two angles Δφ apart are
//! correlated as those of a sample that fills a disc of radius R: by 2 J₁(z)/z with z = 2 ω R sin(Δφ/2). That
//! makes the values on both sides of the seam jointly Gaussian with a known covariance Σ(ω) (signal, noise,
//! and a static part on each side for rings, which do not rotate). Mirroring about c multiplies those beyond the
//! seam by exp(2iω(c − c₀)), so the log-likelihood of c has one term that matters: the block of Σ⁻¹ that
//! couples both sides. It weighs pairs by their angle, frequencies by their noise, and ignores what the gap
//! at the seam makes unknowable. Its curvature is the accuracy.

use super::likeness::{LANES, Model, Sides, mean_correlation};
use super::pairs::Coverage;
use super::prepare::{Window, clean_row};
use super::score::Score;
use rustfft::num_complex::Complex64;
use std::f64::consts::PI;

/// Projections on both sides of one seam: (index, angle from the seam), those beyond it taken back by 180°.
#[derive(Debug, Clone)]
pub(super) struct Seam {
    first: Vec<(usize, f64)>,
    second: Vec<(usize, f64)>,
}

/// Every one of the nearest projections is used, then ever fewer.
const DENSE: usize = 12;

impl Seam {
    /// The seams of a scan of less than a full turn: one for 180°, several when it goes beyond.
    /// Empty when the scan falls so short of 180° that its ends have little in common (more than 20°).
    pub(super) fn of(coverage: &Coverage) -> Vec<Self> {
        let (Some(&begin), Some(&end)) = (coverage.angles.first(), coverage.angles.last()) else {
            return Vec::new();
        };
        let beyond = end - begin - PI;
        if beyond < -20f64.to_radians() {
            return Vec::new();
        }
        // Beyond 180° the seam may be laid anywhere in the part seen twice.
        let width = coverage.step * 2.0 * DENSE as f64;
        let count = if beyond > 0.0 && width > 0.0 { ((beyond / width) as usize + 1).min(8) } else { 1 };
        (0..count)
            .map(|i| {
                let at = begin + beyond * (i as f64 + 0.5) / count as f64;
                Self { first: side(coverage, at, true), second: side(coverage, at + PI, false) }
            })
            .filter(|seam| !seam.first.is_empty() && !seam.second.is_empty())
            .collect()
    }

    /// The one pair of projections given, `error` from half a turn apart.
    pub(super) fn pair(first: usize, second: usize, error: f64) -> Self {
        Self { first: vec![(first, 0.0)], second: vec![(second, error)] }
    }

    /// The same seam, wider by an angle.
    pub(super) fn widened(&self, angle: f64) -> Self {
        let mut seam = self.clone();
        seam.second.iter_mut().for_each(|(_, phi)| *phi -= angle);
        seam
    }

    /// The projections used, cleaned, of one sinogram.
    pub(super) fn rows(&self, sinogram: &[f32], columns: usize) -> SeamRows {
        let take = |list: &[(usize, f64)]| {
            list.iter()
                .filter_map(|&(i, phi)| {
                    sinogram.get(i * columns..(i + 1) * columns).map(|r| (phi, clean_row(r)))
                })
                .collect()
        };
        SeamRows { first: take(&self.first), second: take(&self.second), columns }
    }
}

/// Up to about 30 projections near `at`, those on the scan's own side: before it (`first` = false, the end of
/// the scan) or after it, and in the part seen twice on both sides.
fn side(coverage: &Coverage, at: f64, first: bool) -> Vec<(usize, f64)> {
    let middle = 0.5 * (coverage.angles[0] + coverage.angles[coverage.angles.len() - 1]);
    let mut near: Vec<(usize, f64)> = coverage
        .order
        .iter()
        .zip(&coverage.angles)
        .filter(|&(_, &angle)| if first { angle < middle } else { angle >= middle })
        .map(|(&index, &angle)| (index, angle - at))
        .filter(|(_, phi)| phi.abs() < 95f64.to_radians())
        .collect();
    near.sort_by(|a, b| a.1.abs().total_cmp(&b.1.abs()).then(a.0.cmp(&b.0)));
    let mut picked = Vec::new();
    let mut rank = 0usize;
    while rank < near.len() {
        picked.push(near[rank]);
        rank = if rank < DENSE { rank + 1 } else { rank + (rank / 4).max(1) };
    }
    picked
}

/// The detector rows around a seam, ready for any trial centre: (angle from the seam, values).
pub(super) struct SeamRows {
    first: Vec<(f64, Vec<f64>)>,
    second: Vec<(f64, Vec<f64>)>,
    columns: usize,
}

/// Bins that share one covariance.
const BAND: usize = LANES;

/// Power that does not follow the model (sampling, motion, the beam's shape), as a part of the signal's.
const MISFIT: f64 = 0.02;

/// Power that turns with the sample, below which a band holds none, as a part of all power in it.
const STILL: f64 = 1e-8;

impl SeamRows {
    /// The score about a trial centre; `None` when the window there holds nothing to compare.
    pub(super) fn score(&self, window: &Window) -> Option<Score> {
        let (na, nb) = (self.first.len(), self.second.len());
        let n = na + nb;
        let mut spectra: Vec<Vec<Complex64>> = vec![Vec::new(); n];
        for k in 0..na.max(nb) {
            // Both sides in one transform; a side that has run out transforms its last row again.
            let (i, j) = (k.min(na - 1), k.min(nb - 1));
            let [a, b] = window.spectra(&self.first[i].1, &self.second[j].1, &[]);
            spectra[i] = a;
            spectra[na + j] = b;
        }
        let angles: Vec<f64> = self.first.iter().chain(&self.second).map(|(phi, _)| *phi).collect();
        let with_static = na >= 6 && nb >= 6;
        let power = bands(&spectra, na, with_static);
        let present = bands(&spectra, na, false);
        let noise = white_noise(&power, window);
        let last = self.columns as f64 - 1.0;
        let usual = window.center.max(last - window.center);
        let radius = usual * reach(&spectra, &angles, na, &power, noise, window, usual);
        let independent = window.len() as f64 / window.nfft as f64;

        let mut bins = vec![Complex64::ZERO; window.bins()];
        let mut sides = Sides::new(&angles, na);
        for (band, &total) in power.iter().enumerate() {
            let from = (band * BAND).max(1);
            let to = ((band + 1) * BAND).min(window.bins());
            let omega = 0.5 * (window.omega(from) + window.omega(to - 1));
            let floor = noise * response(omega);
            let signal = (total - floor).max(0.0);
            // Where nothing turns (air without noise, seen by a narrow window beside the object), what is left is
            // rounding, and its inverse anything.
            if signal <= 1e-6 * total || total <= STILL * present[band] {
                continue;
            }
            let own = floor + signal * (MISFIT + (omega / PI).powi(6));
            let pedestal = if with_static { 30.0 * total } else { 0.0 };
            let model = Model { distance: 2.0 * omega * radius, signal, own, pedestal };
            let Some(sums) = sides.couple(&model, &spectra, from..to) else { continue };
            bins[from..to].iter_mut().zip(sums).for_each(|(bin, sum)| *bin = sum * independent);
        }
        bins.iter().any(|g| g.norm() > 0.0).then_some(Score {
            center: window.center,
            nfft: window.nfft,
            independent,
            bins,
        })
    }
}

/// How far the sample reaches, as a multiple of the `usual` radius (the farther side of the detector): what
/// explains best how fast projections next to each other lose their likeness as the frequency rises. A sample
/// wider than the detector makes them lose it sooner, and then all but the nearest pair must count for less.
fn reach(
    spectra: &[Vec<Complex64>],
    angles: &[f64],
    na: usize,
    power: &[f64],
    noise: f64,
    window: &Window,
    usual: f64,
) -> f64 {
    // Neighbours on the same side, no more than a dozen.
    let sides = [(0, na), (na, angles.len())];
    let neighbours: Vec<(usize, usize)> = sides
        .iter()
        .flat_map(|&(from, to)| (from + 1..to.min(from + DENSE)).map(|i| (i - 1, i)))
        .filter(|&(i, j)| (angles[i] - angles[j]).abs() > 1e-9)
        .collect();
    if na < 6 || angles.len() - na < 6 {
        return 1.0;
    }
    let sines: Vec<f64> = neighbours.iter().map(|&(i, j)| (0.5 * (angles[i] - angles[j])).sin()).collect();
    let means: Vec<Vec<Complex64>> = sides
        .iter()
        .map(|&(from, to)| {
            let mean = |bin| spectra[from..to].iter().map(|s| s[bin]).sum::<Complex64>() / (to - from) as f64;
            (0..window.bins()).map(mean).collect()
        })
        .collect();
    // Never less than the detector shows: a smooth body looks the same for longer than its grains do.
    const FACTORS: [f64; 7] = [1.0, 1.2, 1.5, 2.0, 2.8, 4.0, 5.6];
    let mut misfit = [0.0; FACTORS.len()];
    for (band, &total) in power.iter().enumerate() {
        let range = (band * BAND).max(1)..((band + 1) * BAND).min(window.bins());
        let omega = window.omega((range.start + range.end) / 2);
        let share = 1.0 - noise * response(omega) / total;
        if total <= 0.0 || share < 0.2 {
            continue;
        }
        let (mut likeness, mut size) = (0.0, 0.0);
        for &(i, j) in &neighbours {
            let mean = &means[usize::from(i >= na)];
            for bin in range.clone() {
                let (a, b) = (spectra[i][bin] - mean[bin], spectra[j][bin] - mean[bin]);
                likeness += (a * b.conj()).re;
                size += 0.5 * (a.norm_sqr() + b.norm_sqr());
            }
        }
        for (sum, factor) in misfit.iter_mut().zip(FACTORS) {
            let expected = mean_correlation(&sines, 2.0 * omega * usual * factor);
            *sum += (likeness / size.max(f64::MIN_POSITIVE) - share * expected).powi(2);
        }
    }
    let best = (0..FACTORS.len()).fold(0, |best, i| if misfit[i] < misfit[best] { i } else { best });
    FACTORS[best]
}

/// Power of white noise after differencing, relative to before.
pub(super) fn response(omega: f64) -> f64 {
    let s = (0.5 * omega).sin();
    4.0 * s * s
}

/// Mean power in bands of [`BAND`] bins, smoothed; without each side's own mean when `centred`.
fn bands(spectra: &[Vec<Complex64>], na: usize, centred: bool) -> Vec<f64> {
    let bins = spectra[0].len();
    let mut power = vec![0.0; bins.div_ceil(BAND)];
    for side in [&spectra[..na], &spectra[na..]] {
        for bin in 1..bins {
            let mean = side.iter().map(|s| s[bin]).sum::<Complex64>() / side.len() as f64;
            let mean = if centred { mean } else { Complex64::ZERO };
            let freedom = if centred { side.len() as f64 - 1.0 } else { side.len() as f64 };
            let sum: f64 = side.iter().map(|s| (s[bin] - mean).norm_sqr()).sum();
            power[bin / BAND] += 0.5 * sum / freedom / BAND as f64;
        }
    }
    smooth(&power)
}

/// Running mean over five bands (a pair gives few values; the spectrum is smooth).
pub(super) fn smooth(power: &[f64]) -> Vec<f64> {
    (0..power.len())
        .map(|i| {
            let part = &power[i.saturating_sub(2)..(i + 3).min(power.len())];
            part.iter().sum::<f64>() / part.len() as f64
        })
        .collect()
}

/// Power of the white noise before differencing: the level of the quietest quarter of the spectrum. (The very
/// least would be below the mean by chance, and the difference would pass for signal everywhere.)
fn white_noise(power: &[f64], window: &Window) -> f64 {
    let chunk = (power.len() / 16).max(1);
    let mut levels: Vec<f64> = power
        .chunks(chunk)
        .enumerate()
        .skip(1)
        .map(|(c, part)| {
            let level = |(i, p): (usize, &f64)| {
                p / response(window.omega((c * chunk + i) * BAND + BAND / 2).min(PI)).max(1e-12)
            };
            part.iter().enumerate().map(level).sum::<f64>() / part.len() as f64
        })
        .collect();
    levels.sort_by(f64::total_cmp);
    let quiet = &levels[..levels.len().div_ceil(4)];
    if quiet.is_empty() { 0.0 } else { quiet.iter().sum::<f64>() / quiet.len() as f64 }
}
