//! Filtered back-projection in f64: slow, simple, and independent of gridrec, to judge it by.
//!
//! It shares with gridrec only the definitions (frame, filter windows, angle weights, padding). Projections are extended
//! explicitly, filtered in f64 at a length at which nothing wraps, interpolated with the band-limited interpolation that
//! the sampling theorem prescribes (16 times finer by zero-filling the spectrum, then cubic), and summed pixel by pixel.

use std::f64::consts::PI;

use rustfft::FftPlanner;
use rustfft::num_complex::Complex64;

use crate::angles::angle_weights;
use crate::error::{Error, Result, check_len};
use crate::filter::Filter;
use crate::gridrec::{GridrecOptions, Padding};

/// How much finer than the detector the filtered projections are tabulated.
const FINER: usize = 16;

/// Reconstructs the given pixels, (row, column) in gridrec's frame, from one sinogram (angles, columns).
///
/// Takes gridrec's options; the mode and the mask are not looked at. The cost is a transform of about 200 × columns
/// points per angle, and angles × points.
///
/// # Errors
/// [`Error::Shape`] for a sinogram that does not fit, [`Error::Parameter`] for options that gridrec refuses too and for
/// points outside the image.
pub fn fbp_points(options: &GridrecOptions, sinogram: &[f32], points: &[(usize, usize)]) -> Result<Vec<f64>> {
    options.validate()?;
    let n = options.columns;
    check_len("sinogram", sinogram.len(), options.angles.len() * n)?;
    if let Some(point) = points.iter().find(|p| p.0 >= n || p.1 >= n) {
        return Err(Error::parameter(
            "points",
            format!("{point:?}"),
            format!("the image has {n} × {n} pixels"),
        ));
    }
    let axis = n.div_ceil(2) as f64;
    let position: Vec<(f64, f64)> = points
        .iter()
        .map(|&(row, column)| (column as f64 - axis, n as f64 - 1.0 - row as f64 - axis))
        .collect();
    let radius = position.iter().map(|p| p.0.hypot(p.1)).fold(0.0, f64::max);

    let (pad, edge) = match options.padding {
        Padding::None => (0, false),
        Padding::Zero(pad) => (pad, false),
        Padding::Edge(pad) => (pad, true),
    };
    // Data from `pad` before column 0; wanted are columns center ± radius, and a few for the interpolation.
    let reach = radius.ceil() as usize + 8;
    // Four times what the filter needs, for the tails of the interpolation.
    let length = (4 * (n + 2 * pad + 2 * reach + n)).next_power_of_two();
    let response = response(&options.filter, length);
    let mut planner = FftPlanner::<f64>::new();
    let forward = planner.plan_fft_forward(length);
    let backward = planner.plan_fft_inverse(length * FINER);

    let mut line = vec![Complex64::default(); length];
    let mut fine = vec![Complex64::default(); length * FINER];
    let mut sum = vec![0.0; points.len()];
    for ((row, &angle), weight) in
        sinogram.chunks_exact(n).zip(&options.angles).zip(angle_weights(&options.angles))
    {
        line.fill(Complex64::default());
        for column in 0..n + 2 * pad {
            let inside = column.checked_sub(pad).filter(|c| *c < n);
            let value = match inside {
                Some(c) => row[c],
                None if edge && column < pad => row[0],
                None if edge => row[n - 1],
                None => 0.0,
            };
            line[column].re = f64::from(value);
        }
        forward.process(&mut line);
        fine.fill(Complex64::default());
        for j in 0..length / 2 {
            fine[j] = line[j] * response[j];
            if j > 0 {
                fine[length * FINER - j] = line[length - j] * response[j];
            }
        }
        // The Nyquist frequency belongs half to each side.
        fine[length / 2] = line[length / 2] * (0.5 * response[length / 2]);
        fine[length * FINER - length / 2] = fine[length / 2];
        backward.process(&mut fine);

        let (sin, cos) = angle.sin_cos();
        for (value, (x, y)) in sum.iter_mut().zip(&position) {
            let at = (options.center + x * cos + y * sin + pad as f64) * FINER as f64;
            *value += weight * cubic(&fine, at);
        }
    }
    for value in &mut sum {
        *value *= f64::from(options.scale);
    }
    Ok(sum)
}

/// Reconstructs the whole image, row by row of pixels.
///
/// # Errors
/// As [`fbp_points`].
pub fn fbp(options: &GridrecOptions, sinogram: &[f32]) -> Result<Vec<f64>> {
    let n = options.columns;
    let points: Vec<(usize, usize)> = (0..n * n).map(|i| (i / n, i % n)).collect();
    fbp_points(options, sinogram, &points)
}

/// Frequency response of the filter for lines of `length`, with the transforms' amplitude; 0 to Nyquist.
///
/// Windows are applied at eight times the length, and the filter then cut to the lags that a line has.
fn response(filter: &Filter, length: usize) -> Vec<f64> {
    let mut planner = FftPlanner::<f64>::new();
    let longer = 8 * length;
    let mut h: Vec<Complex64> = (0..longer)
        .map(|i| {
            let d = i.min(longer - i);
            let value = match d {
                0 => 0.25,
                d if d % 2 == 1 => -1.0 / (PI * d as f64).powi(2),
                _ => 0.0,
            };
            Complex64::new(value, 0.0)
        })
        .collect();
    planner.plan_fft_forward(longer).process(&mut h);
    for (i, value) in h.iter_mut().enumerate() {
        let base = if *filter == Filter::None { Complex64::new(0.5, 0.0) } else { *value };
        *value = base * (filter.window(i.min(longer - i) as f64 / longer as f64) / longer as f64);
    }
    planner.plan_fft_inverse(longer).process(&mut h);
    let mut cut: Vec<Complex64> = (0..length).map(|i| h[i.min(length - i)]).collect();
    planner.plan_fft_forward(length).process(&mut cut);
    cut[..=length / 2].iter().map(|value| value.re / length as f64).collect()
}

/// Four-point Lagrange interpolation of the real part of a periodic line.
fn cubic(line: &[Complex64], at: f64) -> f64 {
    let length = line.len() as isize;
    let whole = at.floor();
    let t = at - whole;
    let value = |i: isize| line[(whole as isize + i).rem_euclid(length) as usize].re;
    let (a, b, c, d) = (value(-1), value(0), value(1), value(2));
    -t * (t - 1.0) * (t - 2.0) / 6.0 * a + (t + 1.0) * (t - 1.0) * (t - 2.0) / 2.0 * b
        - (t + 1.0) * t * (t - 2.0) / 2.0 * c
        + (t + 1.0) * t * (t - 1.0) / 6.0 * d
}
