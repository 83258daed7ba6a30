//! `tomopy` mode against TomoPy's own results.
//!
//! Tolerance: relative L2 of 1e-4 throughout. TomoPy computes phases and table positions in f32, so a few kernel table
//! look-ups (1/256 of a cell each) fall one entry aside depending on how the compiler fused its arithmetic.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic)]

mod support;

use support::{npy, paths, relative_l2, shared, sinogram};
use tomo::gridrec::{Filter, Gridrec, GridrecOptions, Mode, Padding};

const TOLERANCE: f64 = 1e-4;

/// TomoPy's own test case: 16 angles, 8 rows, 48 columns, centre at half the width.
#[test]
fn every_golden_filter_agrees() {
    let Some(folder) = shared("tomopy") else { return };
    let (shape, projections) = npy(&folder.join("proj.npy"));
    let (_, angles) = npy(&folder.join("angle.npy"));
    let butterworth = Filter::Butterworth { cutoff: 0.5, order: 8.0 };
    let cases = [
        ("none", Filter::None),
        ("shepp", Filter::Shepp),
        ("hamming", Filter::Hamming),
        ("ramlak", Filter::Ramlak),
        ("butterworth", butterworth),
        ("cosine", Filter::Cosine),
        ("hann", Filter::Hann),
        ("parzen", Filter::Parzen),
    ];
    let required = ["none", "shepp", "hamming", "ramlak", "butterworth"];
    for (name, filter) in cases {
        let path = folder.join(format!("gridrec_{name}.npy"));
        if !path.exists() {
            assert!(!required.contains(&name), "{} is missing", path.display());
            println!("no golden of TomoPy's for {name}");
            continue;
        }
        let (_, golden) = npy(&path);
        let n = shape[2];
        let mut options = GridrecOptions::new(n, angles.clone(), n as f64 / 2.0);
        options.mode = Mode::Tomopy;
        options.filter = filter;
        for arch in paths() {
            let gridrec = Gridrec::new(&options).unwrap().with_arch(arch);
            let mut workspace = gridrec.workspace();
            let mut images = vec![0.0f32; shape[1] * n * n];
            for (pair, out) in images.chunks_exact_mut(2 * n * n).enumerate() {
                let sinograms = [0, 1].map(|k| sinogram(&shape, &projections, 2 * pair + k));
                let (a, b) = out.split_at_mut(n * n);
                gridrec.reconstruct_pair(&mut workspace, [&sinograms[0], &sinograms[1]], [a, b]).unwrap();
            }
            let ours: Vec<f64> = images.iter().map(|v| f64::from(*v)).collect();
            let error = relative_l2(&ours, &golden);
            println!("{name}: {error:.2e}");
            assert!(error < TOLERANCE, "{name}: {error:.2e}");
        }
    }
}

/// The production path at realistic size: edge padding, crop, scale to 1/cm, circular mask.
#[test]
fn production_sized_slices_agree() {
    let Some(folder) = shared("tomopy-large") else { return };
    let angles: Vec<f64> = (0..512).map(|i| -(180.0 * f64::from(i) / 511.0).to_radians()).collect();
    let butterworth = Filter::Butterworth { cutoff: 0.25, order: 2.0 };
    for (input, golden, filter, scale, mask) in [
        ("stripe_fw", "gridrec_butterworth", butterworth, 1.0 / 0.000_065, Some(1.0)),
        ("stripe_fw", "gridrec_shepp", Filter::Shepp, 1.0 / 0.000_065, Some(1.0)),
        ("clean_sinogram", "gridrec_clean_butterworth", butterworth, 1.0, None),
    ] {
        let (shape, projections) = npy(&folder.join(format!("{input}.npy")));
        let (_, truth) = npy(&folder.join(format!("{golden}.npy")));
        let n = shape[2];
        let gridrec = Gridrec::new(&GridrecOptions {
            columns: n,
            angles: angles.clone(),
            center: 515.25,
            mode: Mode::Tomopy,
            filter,
            padding: Padding::Edge(212),
            scale,
            mask_ratio: mask,
        })
        .unwrap();
        let mut images = vec![0.0f32; 2 * n * n];
        let (a, b) = images.split_at_mut(n * n);
        let sinograms = [0, 1].map(|row| sinogram(&shape, &projections, row));
        let mut workspace = gridrec.workspace();
        gridrec.reconstruct_pair(&mut workspace, [&sinograms[0], &sinograms[1]], [a, b]).unwrap();
        let ours: Vec<f64> = images.iter().map(|v| f64::from(*v)).collect();
        let error = relative_l2(&ours, &truth);
        println!("{golden}: {error:.2e}");
        assert!(error < TOLERANCE, "{golden}: {error:.2e}");
        let outside = |values: &[f64]| values.iter().filter(|v| **v == 0.0).count();
        assert_eq!(outside(&ours), outside(&truth), "{golden}: another mask");
    }
}
