//! Stripe removal against TomoPy's own results, and the fast Fourier-wavelet filter against the plain algorithm.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod prep_support;

use prep_support::{npy, relative_l2, sinogram, striped};
use tomo::stripes::wavelet::{Wavelet, reflect};
use tomo::stripes::{
    FourierWavelet, FourierWaveletOptions, Smoothing, SmoothingOptions, Titarenko, TitarenkoOptions,
};

fn fourier_wavelet(options: FourierWaveletOptions, angles: usize, columns: usize, input: &[f32]) -> Vec<f32> {
    let plan = FourierWavelet::new(options, angles, columns).unwrap();
    let mut out = input.to_vec();
    plan.remove(&mut plan.workspace(), &mut out).unwrap();
    out
}

/// The algorithm as it is published, in f64 and without any shortcut.
mod plain {
    use super::{FourierWaveletOptions, Wavelet, reflect};
    use std::f64::consts::TAU;

    #[derive(Clone)]
    struct Image {
        rows: usize,
        columns: usize,
        values: Vec<f64>,
    }

    impl Image {
        fn transposed(&self) -> Image {
            let at = |i: usize| self.values[i % self.rows * self.columns + i / self.rows];
            Image { rows: self.columns, columns: self.rows, values: (0..self.values.len()).map(at).collect() }
        }

        fn filtered(&self, filter: &[f64]) -> Image {
            let columns = (self.columns + filter.len() - 1) / 2;
            let mut values = Vec::new();
            for line in self.values.chunks(self.columns) {
                for o in 0..columns {
                    let at = |j: usize| line[reflect((2 * o + 1) as isize - j as isize, self.columns)];
                    values.push(filter.iter().enumerate().map(|(j, f)| f * at(j)).sum());
                }
            }
            Image { rows: self.rows, columns, values }
        }

        fn raised(&self, filter: &[f64]) -> Image {
            let half = filter.len() / 2;
            let columns = 2 * self.columns + 2 - filter.len();
            let mut values = Vec::new();
            for line in self.values.chunks(self.columns) {
                for o in 0..columns {
                    let at = |j: usize| line[o / 2 + half - 1 - j];
                    values.push((0..half).map(|j| filter[2 * j + o % 2] * at(j)).sum());
                }
            }
            Image { rows: self.rows, columns, values }
        }

        fn plus(mut self, other: &Image) -> Image {
            self.values.iter_mut().zip(&other.values).for_each(|(a, b)| *a += b);
            self
        }

        fn cropped(&self, rows: usize, columns: usize) -> Image {
            let lines = self.values.chunks(self.columns).take(rows);
            Image { rows, columns, values: lines.flat_map(|l| l[..columns].to_vec()).collect() }
        }

        /// Fourier transform along the lines, times the damping of TomoPy, back, real part.
        fn damped(&self, sigma: f64) -> Image {
            let n = self.columns;
            let mut values = Vec::new();
            for line in self.values.chunks(n) {
                let mut out = vec![0.0; n];
                for shifted in 0..n {
                    let y = ((2 * shifted) as f64 - n as f64 + 1.0) / 2.0;
                    let damp = -(-(y * y) / (2.0 * sigma * sigma)).exp_m1();
                    let k = (shifted + n - n / 2) % n;
                    let angle = |i: usize| TAU * ((k * i) % n) as f64 / n as f64;
                    let re: f64 = (0..n).map(|i| line[i] * angle(i).cos()).sum();
                    let im: f64 = (0..n).map(|i| -line[i] * angle(i).sin()).sum();
                    for (i, o) in out.iter_mut().enumerate() {
                        *o += damp * (re * angle(i).cos() - im * angle(i).sin()) / n as f64;
                    }
                }
                values.extend(out);
            }
            Image { rows: self.rows, columns: n, values }
        }
    }

    pub(crate) fn remove(
        options: FourierWaveletOptions,
        angles: usize,
        columns: usize,
        input: &[f32],
    ) -> Vec<f32> {
        let w = Wavelet::daubechies(options.wavelet).unwrap();
        let rows = if options.pad { angles + angles / 8 } else { angles };
        let first = (rows - angles) / 2;
        let mut image = Image { rows, columns, values: vec![0.0; rows * columns] };
        for (i, x) in input.iter().enumerate() {
            image.values[first * columns + i] = f64::from(*x);
        }
        let mut details = Vec::new();
        for _ in 0..options.level {
            let low = image.transposed().filtered(&w.analysis_low).transposed();
            let high = image.transposed().filtered(&w.analysis_high).transposed();
            let vertical = low.filtered(&w.analysis_high);
            let damped = vertical.transposed().damped(options.sigma).transposed();
            details.push((damped, high.filtered(&w.analysis_low), high.filtered(&w.analysis_high)));
            image = low.filtered(&w.analysis_low);
        }
        for (vertical, horizontal, diagonal) in details.iter().rev() {
            let coarse = image.cropped(vertical.rows, vertical.columns);
            let low = coarse.raised(&w.synthesis_low).plus(&vertical.raised(&w.synthesis_high));
            let high = horizontal.raised(&w.synthesis_low).plus(&diagonal.raised(&w.synthesis_high));
            let low = low.transposed().raised(&w.synthesis_low);
            image = low.plus(&high.transposed().raised(&w.synthesis_high)).transposed();
        }
        let lines = image.values.chunks(image.columns).skip(first).take(angles);
        lines.flat_map(|l| l[..columns].iter().map(|x| *x as f32)).collect()
    }
}

#[test]
fn fourier_wavelet_is_the_published_algorithm() {
    // Sizes odd and even, shorter than the filter, without padding, narrow and wide damping, several orders.
    let cases = [
        (45, 70, 4, 5, 3.0, true),
        (64, 33, 3, 5, 2.0, false),
        (7, 5, 2, 5, 1.5, true),
        (2, 2, 1, 2, 0.5, true),
        (90, 131, 8, 5, 3.0, true),
        (50, 40, 2, 20, 4.0, true),
        (33, 64, 3, 1, 30.0, true),
        (16, 300, 2, 3, 0.3, true),
    ];
    for (angles, columns, level, wavelet, sigma, pad) in cases {
        let input = striped(angles, columns, 7);
        let options = FourierWaveletOptions { sigma, level, wavelet, pad };
        let fast = fourier_wavelet(options, angles, columns, &input);
        let plain = plain::remove(options, angles, columns, &input);
        let worst = fast.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // Values are about 3; f32 sums of hundreds of terms leave some 1e-6.
        assert!(worst < 1e-5, "{options:?} {angles} × {columns}: {worst}");
        let change = relative_l2(&fast, &input);
        assert!(change > 1e-3, "{options:?}: nothing was removed ({change})");
    }
}

#[test]
fn a_workspace_may_be_reused_and_does_not_matter() {
    let options = FourierWaveletOptions::default();
    let plan = FourierWavelet::new(options, 60, 90).unwrap();
    let mut workspace = plan.workspace();
    let (a, b) = (striped(60, 90, 1), striped(60, 90, 2));
    let mut poisoned = a.clone();
    poisoned[777] = f32::NAN;
    assert!(plan.remove(&mut workspace, &mut poisoned).is_err());
    for input in [&a, &b, &a] {
        let mut out = input.clone();
        plan.remove(&mut workspace, &mut out).unwrap();
        assert_eq!(out, fourier_wavelet(options, 60, 90, input));
    }
}

#[test]
fn goldens_at_realistic_size() {
    let Some((shape, log)) = npy("tomopy-large/log.npy") else { return };
    let golden = |name| npy(name).unwrap().1;
    let (fw, ti, sf) = (
        golden("tomopy-large/stripe_fw.npy"),
        golden("tomopy-large/stripe_ti.npy"),
        golden("tomopy-large/stripe_sf.npy"),
    );
    let (angles, columns) = (shape[0], shape[2]);
    for row in 0..shape[1] {
        let input = sinogram(&shape, &log, row);
        let out = fourier_wavelet(FourierWaveletOptions::default(), angles, columns, &input);
        let error = relative_l2(&out, &sinogram(&shape, &fw, row));
        println!("row {row}: Fourier-wavelet {error:.2e}");
        assert!(error < 1e-5, "Fourier-wavelet {error}");

        let plan = Titarenko::new(TitarenkoOptions::default(), angles, columns).unwrap();
        let mut out = input.clone();
        plan.remove(&mut plan.workspace(), &mut out).unwrap();
        let error = relative_l2(&out, &sinogram(&shape, &ti, row));
        println!("row {row}: Titarenko {error:.2e}");
        assert!(error < 1e-5, "Titarenko {error}");

        let plan = Smoothing::new(SmoothingOptions::default(), angles, columns).unwrap();
        let mut out = input.clone();
        plan.remove(&mut plan.workspace(), &mut out).unwrap();
        let error = relative_l2(&out, &sinogram(&shape, &sf, row));
        println!("row {row}: smoothing {error:.2e}");
        assert!(error < 1e-5, "smoothing {error}");
    }
}

#[test]
fn golden_of_tomopys_own_test() {
    let Some((shape, proj)) = npy("tomopy/proj.npy") else { return };
    let (_, golden) = npy("tomopy/remove_stripe_fw.npy").unwrap();
    // TomoPy's defaults: sigma 2, db5, ceil(log2(largest axis)) levels.
    let options = FourierWaveletOptions { sigma: 2.0, level: 6, ..Default::default() };
    for row in 0..shape[1] {
        let out = fourier_wavelet(options, shape[0], shape[2], &sinogram(&shape, &proj, row));
        let error = relative_l2(&out, &sinogram(&shape, &golden, row));
        assert!(error < 1e-5, "row {row}: {error}");
    }
}

/// Titarenko with blocks, written as the formulas stand: dense normal equations and Gaussian elimination.
#[test]
fn titarenko_with_blocks() {
    let (angles, columns, nblock, alpha) = (23usize, 31usize, 4usize, 1.5f32);
    let input = striped(angles, columns, 3);
    let step = angles / nblock;
    let mut product = vec![1.0f32; angles * columns];
    for block in 0..angles / step {
        let part = &input[block * step * columns..(block + 1) * step * columns];
        let mean: Vec<f64> = (0..columns)
            .map(|j| (0..step).map(|i| f64::from(part[i * columns + j])).sum::<f64>() / step as f64)
            .collect();
        let sums: Vec<f64> = part.chunks(columns).map(|l| l.iter().map(|x| f64::from(*x)).sum()).collect();
        let range =
            sums.iter().copied().fold(f64::MIN, f64::max) - sums.iter().copied().fold(f64::MAX, f64::min);
        for kernel in [&[1.0f64, -1.0][..], &[-1.0, 2.0, -1.0][..]] {
            let mut matrix = vec![vec![0.0f64; columns + 1]; columns];
            for start in 0..=columns - kernel.len() {
                let d: f64 = kernel.iter().enumerate().map(|(i, h)| h * mean[start + i]).sum();
                for (i, a) in kernel.iter().enumerate() {
                    matrix[start + i][columns] -= a * d;
                    kernel.iter().enumerate().for_each(|(j, b)| matrix[start + i][start + j] += a * b);
                }
            }
            (0..columns).for_each(|i| matrix[i][i] += 1.0 / (2.0 * range));
            for i in 0..columns {
                for below in i + 1..columns {
                    let f = matrix[below][i] / matrix[i][i];
                    for j in i..=columns {
                        matrix[below][j] -= f * matrix[i][j];
                    }
                }
            }
            let mut q = vec![0.0; columns];
            for i in (0..columns).rev() {
                let known: f64 = (i + 1..columns).map(|j| matrix[i][j] * q[j]).sum();
                q[i] = (matrix[i][columns] - known) / matrix[i][i];
            }
            for i in 0..step {
                for j in 0..columns {
                    product[(block * step + i) * columns + j] *= part[i * columns + j] + q[j] as f32;
                }
            }
        }
    }
    let smallest = product.iter().copied().fold(f32::MAX, f32::min).abs();
    let expected: Vec<f32> = product.iter().map(|p| (p + alpha * smallest).sqrt()).collect();
    let plan = Titarenko::new(TitarenkoOptions { nblock, alpha: f64::from(alpha) }, angles, columns).unwrap();
    let mut out = input;
    plan.remove(&mut plan.workspace(), &mut out).unwrap();
    let error = relative_l2(&out, &expected);
    assert!(error < 1e-6, "{error}");
}

#[test]
fn smoothing_takes_the_difference_to_the_moving_mean() {
    let input = [1.0, 2.0, 6.0, 0.0, 3.0, 4.0, 4.0, 2.0f32];
    let plan = Smoothing::new(SmoothingOptions { size: 3 }, 2, 4).unwrap();
    let mut out = input;
    plan.remove(&mut plan.workspace(), &mut out).unwrap();
    // Means 2, 3, 5, 1; moving means (edge repeated) 7/3, 10/3, 3, 7/3.
    let step = [2.0 - 7.0 / 3.0, 3.0 - 10.0 / 3.0, 2.0, 1.0 - 7.0 / 3.0];
    for (i, (a, b)) in out.iter().zip(input).enumerate() {
        assert!((a - (b - step[i % 4])).abs() < 1e-6);
    }
}

#[test]
fn bad_parameters_are_errors() {
    let fw = |sigma, level, wavelet, a, c| {
        FourierWavelet::new(FourierWaveletOptions { sigma, level, wavelet, pad: true }, a, c)
            .err()
            .map(|e| e.to_string())
    };
    assert!(fw(3.0, 8, 5, 16, 16).is_none());
    assert!(fw(0.0, 8, 5, 16, 16).unwrap().contains("sigma"));
    assert!(fw(f64::NAN, 8, 5, 16, 16).unwrap().contains("sigma"));
    assert!(fw(3.0, 0, 5, 16, 16).unwrap().contains("level"));
    assert!(fw(3.0, 8, 21, 16, 16).unwrap().contains("wavelet"));
    assert!(fw(3.0, 8, 5, 1, 16).is_some() && fw(3.0, 8, 5, 16, 0).is_some());
    let plan = FourierWavelet::new(FourierWaveletOptions::default(), 16, 16).unwrap();
    assert!(plan.remove(&mut plan.workspace(), &mut [0.0; 255]).is_err());
    let other = FourierWavelet::new(FourierWaveletOptions::default(), 16, 64).unwrap();
    assert!(plan.remove(&mut other.workspace(), &mut [0.0; 256]).is_err());

    let ti = |nblock, alpha, a, c| Titarenko::new(TitarenkoOptions { nblock, alpha }, a, c);
    assert!(ti(17, 1.5, 16, 16).is_err() && ti(0, 0.5, 16, 16).is_err() && ti(0, 1.5, 0, 16).is_err());
    assert!(ti(0, f64::NAN, 16, 16).is_err() && ti(0, 1.5, 16, 2).is_err());
    let plan = ti(0, 1.5, 4, 4).unwrap();
    assert!(plan.remove(&mut plan.workspace(), &mut [1.0; 16]).is_err(), "constant data has no scale");
    assert!(plan.remove(&mut plan.workspace(), &mut [f32::INFINITY; 16]).is_err());
    assert!(plan.remove(&mut plan.workspace(), &mut [1.0; 15]).is_err());

    let sf = |size, a, c| Smoothing::new(SmoothingOptions { size }, a, c);
    assert!(sf(0, 4, 4).is_err() && sf(5, 4, 4).is_err() && sf(1, 0, 4).is_err() && sf(1, 4, 0).is_err());
    let plan = sf(3, 4, 4).unwrap();
    assert!(plan.remove(&mut plan.workspace(), &mut [f32::NAN; 16]).is_err());
}
