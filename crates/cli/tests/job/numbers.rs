//! The recipe `als832` gives production's numbers, and `default` gives the truth.

use crate::support::{Bench, npy, relative_l2, shared, tiff};

/// The production steps on a scan at realistic size, from the HDF5 file to the slices: TomoPy's result.
/// Measured 2e-5; the limit leaves room for another processor's rounding.
#[test]
fn als832_gives_tomopys_slices() {
    let Some(scan) = shared("tomopy-large/foam_1024x4x512.h5") else { return };
    let Some(golden) = shared("tomopy-large/gridrec_butterworth.npy") else { return };
    let bench = Bench::new();
    bench.ok(&[
        "reconstruct",
        scan.to_str().unwrap(),
        "-o",
        "out",
        "--recipe",
        "als832",
        "--center",
        "515.25",
        "--rows",
        "1:3",
        "--write",
        "tiff",
    ]);
    let (shape, expected) = npy(&golden);
    assert_eq!(shape, [2, 1024, 1024]);
    for (row, expected) in [1, 2].into_iter().zip(expected.chunks_exact(1024 * 1024)) {
        let path = bench.path(&format!("out/recfoam_1024x4x512/foam_1024x4x512_{row:05}.tiff"));
        let error = relative_l2(&tiff(&path, 1024 * 1024), expected);
        println!("row {row}: relative L2 {error:.2e}");
        assert!(error <= 1e-3, "row {row}: {error}");
    }
}

/// With its own centre finder: production's phase correlation of projections 0 and N − 2.
#[test]
fn als832_finds_productions_centre() {
    let Some(scan) = shared("tomopy-large/foam_1024x4x512.h5") else { return };
    let bench = Bench::new();
    let answer = bench.json(&["center", scan.to_str().unwrap(), "--recipe", "als832"]);
    let center = answer["center"].as_f64().unwrap();
    // Its resolution is an eighth of a pixel, and the second projection is two steps off half a turn.
    assert!((center - 515.25).abs() <= 1.0, "{center}");
    assert_eq!((center * 8.0).fract(), 0.0, "{center} is not a multiple of 1/8");
}

/// The noisy scan through the default recipe against the phantom: slope 1, where TomoPy has 1.19.
#[test]
fn default_is_quantitative_on_a_noisy_scan() {
    let Some(scan) = shared("tomopy-large/foam_1024x4x512.h5") else { return };
    let Some(truth) = shared("tomopy-large/truth_per_pixel.npy") else { return };
    let bench = Bench::new();
    bench.ok(&["reconstruct", scan.to_str().unwrap(), "-o", "out", "--rows", "1:2", "--write", "tiff"]);
    let slice = tiff(&bench.path("out/recfoam_1024x4x512/foam_1024x4x512_00001.tiff"), 1024 * 1024);
    let (_, truth) = npy(&truth);
    let pixel_cm = 0.65e-4;
    let (mut product, mut square) = (0f64, 0f64);
    for y in 0..1024i64 {
        for x in 0..1024i64 {
            if (x - 512).pow(2) + (y - 511).pow(2) < 480i64.pow(2) {
                let index = (y * 1024 + x) as usize;
                let (measured, truth) = (f64::from(slice[index]) * pixel_cm, f64::from(truth[index]));
                product += measured * truth;
                square += truth * truth;
            }
        }
    }
    let slope = product / square;
    println!("slope against the truth: {slope:.4}");
    // The Butterworth window takes the sharpest edges' contrast: less than 1, never 1.19.
    assert!((0.95..1.03).contains(&slope), "{slope}");
}
