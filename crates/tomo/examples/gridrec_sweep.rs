//! What `exact` mode's accuracy costs: kernel widths and grid sizes, their error and their time.
//!
//! `cargo run --release -p beamrail-tomo --example gridrec_sweep -- [columns] [angles] [pairs]` (default 2560 1313 2).
//! The error is the relative rms against f64 filtered back-projection of white noise under the bare ramp (most of it
//! just below Nyquist: the worst there is) and of discs under a Butterworth filter, at 1,000 pixels of the field of view
//! and with 101 angles, on which it hardly depends. The time is CPU seconds per slice, the best of the given pairs.

#![allow(clippy::print_stdout)]

#[path = "common/clock.rs"]
mod clock;

use std::f64::consts::PI;

use clock::cpu_seconds;
use tomo::fbp::fbp_points;
use tomo::gridrec::{Filter, Gridrec, GridrecOptions, Tuning};

fn options(columns: usize, angles: usize, filter: Filter) -> GridrecOptions {
    let theta = (0..angles).map(|i| PI * i as f64 / angles as f64).collect();
    let mut options = GridrecOptions::new(columns, theta, columns as f64 / 2.0 + 3.25);
    options.mask_ratio = Some(1.0);
    options.filter = filter;
    options
}

/// White noise from a linear congruential generator.
fn noise(count: usize) -> Vec<f32> {
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Thirty discs in a ring, as chords.
fn discs(options: &GridrecOptions) -> Vec<f32> {
    let n = options.columns as f64;
    let mut sinogram = Vec::with_capacity(options.angles.len() * options.columns);
    for angle in &options.angles {
        for column in 0..options.columns {
            let s = column as f64 - options.center;
            let chord = |i: i32| {
                let (r, turn) = (0.016 * f64::from(i) * n, 2.4 * f64::from(i));
                let d = s - r * (turn.cos() * angle.cos() + turn.sin() * angle.sin());
                2.0 * (0.0004 * n * n - d * d).max(0.0).sqrt()
            };
            sinogram.push((0..30).map(chord).sum::<f64>() as f32);
        }
    }
    sinogram
}

/// Pixels spread over the field of view.
fn points(columns: usize) -> Vec<(usize, usize)> {
    let half = columns as f64 / 2.0;
    let place = |i: u32| {
        let (r, turn) = ((f64::from(i) / 1000.0).sqrt() * (half - 4.0), 2.399_963 * f64::from(i));
        ((half + r * turn.sin()) as usize, (half + r * turn.cos()) as usize)
    };
    (0..1000).map(place).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<usize> = std::env::args().skip(1).map(|a| a.parse()).collect::<Result<_, _>>()?;
    let argument = |i: usize, default: usize| arguments.get(i).copied().unwrap_or(default);
    let (columns, angles, pairs) = (argument(0, 2560), argument(1, 1313), argument(2, 2).max(1));
    let points = points(columns);
    let butterworth = Filter::Butterworth { cutoff: 0.25, order: 2.0 };
    let mut cases = Vec::new();
    for filter in [Filter::Ramlak, butterworth] {
        let options = options(columns, 101, filter);
        let sinogram = if filter == butterworth { discs(&options) } else { noise(101 * columns) };
        let truth = fbp_points(&options, &sinogram, &points)?;
        cases.push((options, sinogram, truth));
    }
    let timed = options(columns, angles, butterworth);
    let data = noise(angles * columns);
    let mut images = [vec![0.0f32; columns * columns], vec![0.0f32; columns * columns]];
    println!("width  grid/pixels  error of noise  of discs  CPU s per slice  workspace MB");
    for width in [6, 7] {
        for oversampling in [1.1, 1.125, 1.2, 1.25, 1.375] {
            let tuning = Tuning { width, oversampling };
            let mut errors = Vec::new();
            for (options, sinogram, truth) in &cases {
                let gridrec = Gridrec::tuned(options, tuning)?;
                gridrec.reconstruct_one(&mut gridrec.workspace(), sinogram, &mut images[0])?;
                let (mut difference, mut total) = (0.0, 0.0);
                for ((row, column), truth) in points.iter().zip(truth) {
                    difference += (f64::from(images[0][row * columns + column]) - truth).powi(2);
                    total += truth * truth;
                }
                errors.push((difference / total).sqrt());
            }
            let gridrec = Gridrec::tuned(&timed, tuning)?;
            let mut workspace = gridrec.workspace();
            let mut best = f64::INFINITY;
            for _ in 0..=pairs {
                let before = cpu_seconds();
                let [a, b] = &mut images;
                gridrec.reconstruct_pair(&mut workspace, [&data, &data], [a, b])?;
                best = best.min(0.5 * (cpu_seconds() - before));
            }
            println!(
                "{width}      {oversampling:<11}  {:.1e}         {:.1e}   {best:.4}           {:.0}",
                errors[0],
                errors[1],
                gridrec.workspace_bytes() as f64 / 1e6
            );
        }
    }
    Ok(())
}
