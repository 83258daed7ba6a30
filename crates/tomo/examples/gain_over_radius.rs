//! Gain over radius of both modes, as CSV: what a disc of value 1 comes out as, by its distance from the axis.
//!
//! `cargo run --release -p beamrail-tomo --example gain_over_radius -- [columns] [angles] [edge padding]`
//! (default 512, 1.58 × columns, none). Discs of radius 2 % of the half width with exact line integrals, ramp filter;
//! the gain is the mean over the inner 60 % of each, minus the mean of a ring around it (1.6 to 2.2 radii) for the
//! contrast that TomoPy's lost constant term cannot shift.

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

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<usize> = std::env::args().skip(1).map(|a| a.parse()).collect::<Result<_, _>>()?;
    let columns = arguments.first().copied().unwrap_or(512);
    let count = arguments.get(1).copied().unwrap_or((1.58 * columns as f64) as usize);
    let pad = arguments.get(2).copied().unwrap_or(0);
    let angles: Vec<f64> = (0..count).map(|i| PI * i as f64 / count as f64).collect();
    let (half, center) = (columns as f64 / 2.0, columns as f64 / 2.0 - 0.5);
    let discs: Vec<(f64, (f64, f64))> = (0..=19)
        .map(|i| {
            let (r, turn) = (0.05 * f64::from(i), 2.4 * f64::from(i));
            (r, (r * half * turn.cos(), r * half * turn.sin()))
        })
        .collect();
    let radius = 0.02 * half;
    let mut sinogram = vec![0.0f32; columns * count];
    for (row, angle) in sinogram.chunks_exact_mut(columns).zip(&angles) {
        for (_, (x, y)) in &discs {
            let middle = x * angle.cos() + y * angle.sin() + center;
            for (column, value) in row.iter_mut().enumerate() {
                let square = radius * radius - (column as f64 - middle).powi(2);
                if square > 0.0 {
                    *value += 2.0 * square.sqrt() as f32;
                }
            }
        }
    }
    let mut columns_of_gain = Vec::new();
    for mode in [Mode::Exact, Mode::Tomopy] {
        let mut options = GridrecOptions::new(columns, angles.clone(), center);
        options.mode = mode;
        options.padding = if pad > 0 { Padding::Edge(pad) } else { Padding::None };
        let gridrec = Gridrec::new(&options)?;
        let mut image = vec![0.0f32; columns * columns];
        gridrec.reconstruct_one(&mut gridrec.workspace(), &sinogram, &mut image)?;
        let gains: Vec<(f64, f64)> = discs
            .iter()
            .map(|(_, at)| {
                let inside = mean(&image, columns, *at, 0.0, 0.6 * radius);
                (inside, inside - mean(&image, columns, *at, 1.6 * radius, 2.2 * radius))
            })
            .collect();
        columns_of_gain.push(gains);
    }
    println!("columns,angles,padding,radius,exact_mean,exact_contrast,tomopy_mean,tomopy_contrast");
    for (i, (r, _)) in discs.iter().enumerate() {
        let (ours, theirs) = (columns_of_gain[0][i], columns_of_gain[1][i]);
        println!(
            "{columns},{count},{pad},{r:.2},{:.5},{:.5},{:.4},{:.4}",
            ours.0, ours.1, theirs.0, theirs.1
        );
    }
    Ok(())
}
