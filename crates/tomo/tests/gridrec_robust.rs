//! What must hold for any input: same bits every time, no panic, refusals that say why.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic)]

mod support;

use support::{Disc, disc_sinogram, half_turn, paths};
use tomo::Error;
use tomo::gridrec::{Filter, Gridrec, GridrecOptions, Mode, Padding};

fn sample(columns: usize, angles: &[f64]) -> Vec<f32> {
    let disc = Disc { x: 0.2 * columns as f64, y: 0.1, radius: 0.15 * columns as f64, value: 0.01 };
    disc_sinogram(&[disc], columns, columns as f64 / 2.0, angles)
}

#[test]
fn results_are_the_same_bits_whatever_came_before_and_beside() {
    for mode in [Mode::Exact, Mode::Tomopy] {
        let angles = half_turn(61);
        let mut options = GridrecOptions::new(75, angles.clone(), 36.2);
        options.mode = mode;
        let gridrec = Gridrec::new(&options).unwrap();
        let first = sample(75, &angles);
        let other: Vec<f32> = first.iter().map(|v| 1.0 - v * 3.0).collect();
        let run = |workspace: &mut tomo::gridrec::Workspace| {
            let (mut a, mut b) = (vec![1.0; 75 * 75], vec![2.0; 75 * 75]);
            gridrec.reconstruct_pair(workspace, [&first, &other], [&mut a, &mut b]).unwrap();
            (a, b)
        };
        let mut workspace = gridrec.workspace();
        let once = run(&mut workspace);
        let mut bad = vec![0.0; 75 * 75];
        gridrec.reconstruct_one(&mut workspace, &vec![f32::NAN; 75 * 61], &mut bad).unwrap();
        assert_eq!(once, run(&mut workspace), "{mode:?}: a reused workspace changes bits");
        let (a, b) = std::thread::scope(|s| {
            let threads: Vec<_> = (0..2).map(|_| s.spawn(|| run(&mut gridrec.workspace()))).collect();
            let mut done = threads.into_iter().map(|t| t.join().unwrap());
            (done.next().unwrap(), done.next().unwrap())
        });
        assert_eq!(once, a);
        assert_eq!(once, b);
    }
}

/// The two slices of a pair share one complex transform; what leaks between them is rounding.
#[test]
fn partners_do_not_leak_into_each_other() {
    let angles = half_turn(90);
    let gridrec = Gridrec::new(&GridrecOptions::new(100, angles.clone(), 50.0)).unwrap();
    let mut workspace = gridrec.workspace();
    let sinogram = sample(100, &angles);
    let (mut a, mut b) = (vec![0.0; 10_000], vec![0.0; 10_000]);
    gridrec.reconstruct_pair(&mut workspace, [&sinogram, &vec![0.0; 9000]], [&mut a, &mut b]).unwrap();
    let largest = |image: &[f32]| image.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    assert!(largest(&a) > 0.009 && largest(&b) < 2e-6 * largest(&a), "{} {}", largest(&a), largest(&b));
    let mut alone = vec![0.0; 10_000];
    gridrec.reconstruct_one(&mut workspace, &sinogram, &mut alone).unwrap();
    assert_eq!(a, alone);
}

#[test]
fn every_path_agrees_with_the_portable_one() {
    let angles = half_turn(157);
    let sinogram = sample(211, &angles);
    for mode in [Mode::Exact, Mode::Tomopy] {
        let mut options = GridrecOptions::new(211, angles.clone(), 104.7);
        options.mode = mode;
        options.filter = Filter::Shepp;
        let mut images = paths().into_iter().map(|arch| {
            let gridrec = Gridrec::new(&options).unwrap().with_arch(arch);
            let mut image = vec![0.0; 211 * 211];
            gridrec.reconstruct_one(&mut gridrec.workspace(), &sinogram, &mut image).unwrap();
            image
        });
        let plain = images.next().unwrap();
        for fast in images {
            // Only rounding differs, fused or separate multiply and add: 1e-5 of the disc.
            for (a, b) in fast.iter().zip(&plain) {
                assert!((a - b).abs() < 1e-7, "{mode:?}: {a} {b}");
            }
        }
    }
}

#[test]
fn odd_sizes_and_odd_scans_are_reconstructed_or_refused_without_panic() {
    for mode in [Mode::Exact, Mode::Tomopy] {
        for columns in [2, 3, 4, 5, 8, 17, 31, 64, 127] {
            for angles in [vec![0.0], vec![1.2, 1.2], half_turn(3), half_turn(50), vec![-40.0, 1e6, 3.0]] {
                for center in [columns as f64 - 1.0, 0.4 * columns as f64] {
                    for padding in [Padding::None, Padding::Edge(5), Padding::Zero(300)] {
                        let mut options = GridrecOptions::new(columns, angles.clone(), center);
                        options.mode = mode;
                        options.padding = padding;
                        options.filter = Filter::Butterworth { cutoff: 0.3, order: 2.0 };
                        let gridrec = Gridrec::new(&options).unwrap();
                        let mut image = vec![f32::NAN; columns * columns];
                        let sinogram = vec![1.0; columns * angles.len()];
                        gridrec.reconstruct_one(&mut gridrec.workspace(), &sinogram, &mut image).unwrap();
                        assert!(image.iter().all(|v| v.is_finite()), "{options:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn bad_values_reach_the_image_but_break_nothing() {
    let angles = half_turn(40);
    for mode in [Mode::Exact, Mode::Tomopy] {
        let mut options = GridrecOptions::new(50, angles.clone(), 25.0);
        options.mode = mode;
        let gridrec = Gridrec::new(&options).unwrap();
        for bad in [f32::NAN, f32::INFINITY, f32::MAX] {
            let mut sinogram = sample(50, &angles);
            sinogram[700] = bad;
            let mut image = vec![0.0; 2500];
            gridrec.reconstruct_one(&mut gridrec.workspace(), &sinogram, &mut image).unwrap();
        }
    }
}

#[test]
fn what_cannot_be_reconstructed_is_refused_with_a_reason() {
    let good = GridrecOptions::new(64, half_turn(40), 31.5);
    assert!(Gridrec::new(&good).is_ok());
    let cases: Vec<(&str, GridrecOptions)> = vec![
        ("columns", GridrecOptions { columns: 1, ..good.clone() }),
        ("columns", GridrecOptions { columns: 0, ..good.clone() }),
        ("columns", GridrecOptions { columns: 1 << 20, ..good.clone() }),
        ("angles", GridrecOptions { angles: vec![], ..good.clone() }),
        ("angles", GridrecOptions { angles: vec![0.0, f64::NAN], ..good.clone() }),
        ("center", GridrecOptions { center: 500.0, ..good.clone() }),
        ("center", GridrecOptions { center: -1.0, ..good.clone() }),
        ("center", GridrecOptions { center: f64::NAN, ..good.clone() }),
        ("padding", GridrecOptions { padding: Padding::Edge(usize::MAX), ..good.clone() }),
        ("scale", GridrecOptions { scale: f32::NAN, ..good.clone() }),
        ("mask_ratio", GridrecOptions { mask_ratio: Some(0.0), ..good.clone() }),
        (
            "filter cutoff",
            GridrecOptions { filter: Filter::Butterworth { cutoff: -1.0, order: 2.0 }, ..good.clone() },
        ),
    ];
    for (expected, options) in cases {
        match Gridrec::new(&options).err() {
            Some(Error::Parameter { name, .. }) => assert_eq!(name, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
    let gridrec = Gridrec::new(&good).unwrap();
    let (mut image, mut workspace) = (vec![0.0; 64 * 64], gridrec.workspace());
    let short = gridrec.reconstruct_one(&mut workspace, &[0.0; 10], &mut image);
    assert!(matches!(short, Err(Error::Shape { what: "sinogram", expected: 2560, actual: 10 })));
    let small = gridrec.reconstruct_one(&mut workspace, &vec![0.0; 64 * 40], &mut image[1..]);
    assert!(matches!(small, Err(Error::Shape { what: "image", .. })));
    for other in [
        GridrecOptions { mode: Mode::Tomopy, ..good.clone() },
        GridrecOptions { columns: 65, ..good.clone() },
        GridrecOptions { mask_ratio: Some(0.5), ..good.clone() },
    ] {
        let mut foreign = Gridrec::new(&other).unwrap().workspace();
        let refused = gridrec.reconstruct_one(&mut foreign, &vec![0.0; 64 * 40], &mut image);
        assert!(matches!(refused, Err(Error::Parameter { name: "workspace", .. })));
    }
}
