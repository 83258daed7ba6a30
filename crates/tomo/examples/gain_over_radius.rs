//! Gain over radius of both modes, as CSV: what a disc of value 1 comes out as, by its distance from the axis.
//!
//! `cargo run --release -p beamrail-tomo --example gain_over_radius -- [columns] [angles] [edge padding]`
//! (default 512, 1.58 × columns, none). Discs of radius 2 % of the half width with exact line integrals, ramp filter;
//! the gain is the mean over the inner 60 % of each, averaged over eight directions so that it does not hang on where the
//! pixels fall; the contrast is that minus the mean of a ring around it (1.6 to 2.2 radii), which TomoPy's lost constant
//! term cannot shift.

#![allow(clippy::print_stdout)]

use std::f64::consts::PI;

use tomo::gridrec::{Gridrec, GridrecOptions, Mode, Padding};

/// Mean over the pixels whose distance from (x, y) lies in `from`..`to`.
fn mean(image: &[f32], n: usize, (x, y): (f64, f64), from: f64, to: f64) -> f64 {
    let axis = n.div_ceil(2) as f64;
    let (mut sum, mut count) = (0.0, 0.0f64);
    let column_range =
        |at: f64| ((at - to).floor().max(0.0) as usize, ((at + to).ceil() as usize + 1).min(n));
    let (first_row, last_row) = column_range(n as f64 - 1.0 - axis - y);
    let (first, last) = column_range(axis + x);
    for row in first_row..last_row {
        for column in first..last {
            let r = (column as f64 - axis - x).hypot(n as f64 - 1.0 - row as f64 - axis - y);
            if r >= from && r <= to {
                sum += f64::from(image[row * n + column]);
                count += 1.0;
            }
        }
    }
    sum / count.max(1.0)
}

/// Exact line integrals of unit discs.
fn sinogram(columns: usize, center: f64, angles: &[f64], discs: &[(f64, f64)], radius: f64) -> Vec<f32> {
    let mut sinogram = vec![0.0f32; columns * angles.len()];
    for (row, angle) in sinogram.chunks_exact_mut(columns).zip(angles) {
        let (sin, cos) = angle.sin_cos();
        for (x, y) in discs {
            let middle = x * cos + y * sin + center;
            let (first, last) = ((middle - radius).max(0.0) as usize, (middle + radius).max(0.0) as usize);
            for column in first..=last.min(columns - 1) {
                let square = radius * radius - (column as f64 - middle).powi(2);
                row[column] += 2.0 * square.max(0.0).sqrt() as f32;
            }
        }
    }
    sinogram
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<usize> = std::env::args().skip(1).map(|a| a.parse()).collect::<Result<_, _>>()?;
    let columns = arguments.first().copied().unwrap_or(512);
    let count = arguments.get(1).copied().unwrap_or((1.58 * columns as f64) as usize);
    let pad = arguments.get(2).copied().unwrap_or(0);
    let angles: Vec<f64> = (0..count).map(|i| PI * i as f64 / count as f64).collect();
    let (half, center) = (columns as f64 / 2.0, columns as f64 / 2.0 - 0.5);
    let radius = 0.02 * half;
    // Not 0.05: its disc would lie in the ring of the one in the middle.
    let radii: Vec<f64> = (0..=19).filter(|i| *i != 1).map(|i| 0.05 * f64::from(i)).collect();
    let mut modes = Vec::new();
    for mode in [Mode::Exact, Mode::Tomopy] {
        let mut options = GridrecOptions::new(columns, angles.clone(), center);
        options.mode = mode;
        options.padding = if pad > 0 { Padding::Edge(pad) } else { Padding::None };
        let gridrec = Gridrec::new(&options)?;
        modes.push((gridrec.workspace(), gridrec, vec![(0.0, 0.0); radii.len()]));
    }
    for direction in 0..8 {
        let place = |(i, r): (usize, &f64)| {
            let turn = 2.4 * i as f64 + 0.785 * f64::from(direction);
            let (dx, dy) = (0.37 * f64::from(direction), 0.61 * f64::from(direction));
            (r * half * turn.cos() + dx.fract(), r * half * turn.sin() + dy.fract())
        };
        let discs: Vec<(f64, f64)> = radii.iter().enumerate().map(place).collect();
        let sinogram = sinogram(columns, center, &angles, &discs, radius);
        let mut image = vec![0.0f32; columns * columns];
        for (workspace, gridrec, gains) in &mut modes {
            gridrec.reconstruct_one(workspace, &sinogram, &mut image)?;
            for (at, gain) in discs.iter().zip(gains) {
                let inside = mean(&image, columns, *at, 0.0, 0.6 * radius);
                gain.0 += inside / 8.0;
                gain.1 += (inside - mean(&image, columns, *at, 1.6 * radius, 2.2 * radius)) / 8.0;
            }
        }
    }
    println!("columns,angles,padding,radius,exact_mean,exact_contrast,tomopy_mean,tomopy_contrast");
    for (i, r) in radii.iter().enumerate() {
        let (ours, theirs) = (modes[0].2[i], modes[1].2[i]);
        println!(
            "{columns},{count},{pad},{r:.2},{:.5},{:.5},{:.4},{:.4}",
            ours.0, ours.1, theirs.0, theirs.1
        );
    }
    Ok(())
}
