//! The open beam before and after the scan.

use super::detector::by_row;
use super::options::SimulateOptions;
use super::random::{Purpose, stream};

/// The flat fields F₀ (first projection) and F₁ (last projection), (rows, columns), mean about 1.
///
/// F₀ has, at depth `flat_structure`: a beam profile over the height, stripes of the monochromator's multilayer, spots
/// of the scintillator, and the gains of single pixels. F₁ = F₀ · (1 + drift · (1 + pattern)) where the smooth pattern has
/// the mean 0 and the amplitude ½, as when the beam moves and the ring current falls.
pub(crate) fn flat_fields(options: &SimulateOptions) -> (Vec<f32>, Vec<f32>) {
    let (rows, columns) = (options.rows, options.width);
    let depth = options.flat_structure;
    let mut random = stream(options.seed, Purpose::FlatField, 0, 0);
    // Lengths are in relation to the width, so that a few rows show a few rows of the same beam.
    let unit = columns as f64;
    let stripes: Vec<(f64, f64)> =
        (0..5).map(|_| (random.between(15.0, 90.0), random.between(0.0, std::f64::consts::TAU))).collect();
    let spots: Vec<(f64, f64, f64, f64)> = (0..60)
        .map(|_| {
            let sigma = random.between(0.002, 0.012) * unit;
            let row = random.between(0.0, rows as f64);
            let column = random.between(0.0, unit);
            (row, column, sigma, random.between(0.1, 0.5))
        })
        .collect();
    let (phase_row, phase_column) = (random.between(0.0, 6.0), random.between(0.0, 6.0));

    let before = by_row(rows, columns, |row, normals| {
        let mut random = stream(options.seed, Purpose::FlatField, 1, row);
        let y = (row as f64 - (rows as f64 - 1.0) / 2.0) / unit;
        let profile = (-y * y / (2.0 * 0.35 * 0.35)).exp() - 1.0;
        let bands: f64 = stripes.iter().map(|(k, phase)| 0.06 * (k * y + phase).sin()).sum();
        let near: Vec<_> = spots.iter().filter(|s| (s.0 - row as f64).abs() < 4.0 * s.2).collect();
        normals(&mut random)
            .iter()
            .enumerate()
            .map(|(column, g)| {
                let across = 0.1 * (std::f64::consts::PI * (column as f64 + 0.5) / unit).sin() - 0.0637;
                let mut spot = 0.0;
                for (r, c, sigma, strength) in near.iter().copied() {
                    let square = (row as f64 - r).powi(2) + (column as f64 - c).powi(2);
                    if square < 16.0 * sigma * sigma {
                        spot += strength * (-square / (2.0 * sigma * sigma)).exp();
                    }
                }
                let gain = 0.06 * f64::from(*g);
                (1.0 + depth * (profile + bands + across - spot + gain)).max(0.02) as f32
            })
            .collect()
    });
    let after = before
        .iter()
        .enumerate()
        .map(|(pixel, &f)| {
            let (row, column) = ((pixel / columns) as f64 / unit, (pixel % columns) as f64 / unit);
            let pattern = 0.5 * (3.0 * row + phase_row).sin() * (7.0 * column + phase_column).cos();
            (f64::from(f) * (1.0 + options.flat_drift * (1.0 + pattern))) as f32
        })
        .collect();
    (before, after)
}
