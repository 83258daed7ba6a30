//! The rotation centre and the evidence on the shared scan of realistic size (true centre 515.25), and the
//! production script's own number.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking and show figures"
)]

use std::path::PathBuf;
use tomo::center::evidence::{candidates, evidence};
use tomo::center::{Input, Method, Options, Verdict, find, production_phase_correlation};

/// The folder of shared test data; `None`, said aloud, when there is none.
fn data() -> Option<PathBuf> {
    let root = std::env::var_os("BEAMRAIL_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let folder = root.join("data/tomopy-large");
    if root.is_dir() {
        return Some(folder);
    }
    println!("skipped: no shared data at {}", root.display());
    None
}

/// A NumPy array of f32, format version 1.
fn read(folder: &std::path::Path, name: &str) -> Vec<f32> {
    let bytes = std::fs::read(folder.join(name)).unwrap();
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[start..].as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

const COLUMNS: usize = 1024;
const ANGLES: usize = 512;

/// Both rows of a (512, 2, 1024) array as sinograms.
fn rows(block: &[f32]) -> Vec<(usize, Vec<f32>)> {
    (0..2)
        .map(|row| {
            (
                row + 1,
                block
                    .chunks_exact(2 * COLUMNS)
                    .flat_map(|p| p[row * COLUMNS..][..COLUMNS].to_vec())
                    .collect(),
            )
        })
        .collect()
}

fn theta() -> Vec<f64> {
    (0..ANGLES).map(|i| std::f64::consts::PI * i as f64 / (ANGLES - 1) as f64).collect()
}

#[test]
fn clean_and_noisy_foam() {
    let Some(folder) = data() else { return };
    let theta = theta();
    for (name, tolerance) in [("clean_sinogram.npy", 0.05), ("log.npy", 0.1)] {
        let sinograms = rows(&read(&folder, name));
        let input = Input { columns: COLUMNS, angles: &theta, sinograms: &sinograms, pair: None };
        for method in [Method::Auto, Method::Vo] {
            let e = find(&input, &Options { method, search: None }).unwrap();
            assert_eq!(e.verdict, Verdict::Found, "{name} {method:?}: {}", e.reason);
            assert!(
                (e.center - 515.25).abs() <= tolerance,
                "{name} {method:?}: {} ± {}",
                e.center,
                e.uncertainty
            );
        }
    }
}

#[test]
fn production_gives_its_own_number() {
    // scikit-image 0.25 on these rows: 515.25 with the last projection, 515.5 with the last but one.
    let Some(folder) = data() else { return };
    let block = read(&folder, "normalized.npy");
    let size = 2 * COLUMNS;
    let projection = |i: usize| &block[i * size..(i + 1) * size];
    let last = production_phase_correlation(projection(0), projection(ANGLES - 1), 2, COLUMNS).unwrap();
    let but_one = production_phase_correlation(projection(0), projection(ANGLES - 2), 2, COLUMNS).unwrap();
    assert_eq!((last, but_one), (515.25, 515.5));
}

#[test]
fn evidence_is_sharpest_at_the_centre() {
    let Some(folder) = data() else { return };
    let sinogram = &rows(&read(&folder, "clean_sinogram.npy"))[0].1;
    let list = candidates(515.25, COLUMNS);
    let drawn = evidence(sinogram, COLUMNS, &theta(), &list, 256, 1.0).unwrap();
    assert_eq!((drawn.tiles.len(), drawn.candidates.len(), drawn.size), (7, 7, 256));
    // Foam of few densities: a wrong centre smears it, and the mean square falls.
    let sharpness: Vec<f32> = drawn.tiles.iter().map(|t| t.iter().map(|v| v * v).sum()).collect();
    let best = (0..7).max_by(|&a, &b| sharpness[a].total_cmp(&sharpness[b])).unwrap();
    assert_eq!(best, 3, "{sharpness:?}");
    assert!(drawn.tiles[3][0] == 0.0, "outside the circle");
    assert!(evidence(sinogram, COLUMNS, &theta(), &[-1.0], 256, 1.0).is_err());
    assert!(evidence(sinogram, COLUMNS, &theta(), &[515.0], 0, 1.0).is_err());
    assert!(evidence(&sinogram[1..], COLUMNS, &theta(), &[515.0], 8, 1.0).is_err());
    assert!(evidence(sinogram, COLUMNS, &theta(), &[], 8, 1.0).unwrap().tiles.is_empty());
}
