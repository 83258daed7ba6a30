//! Tilt, lens distortion and the stitching of half acquisitions.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod prep_support;

use prep_support::Noise;
use tomo::lens::{Lens, LensOptions};
use tomo::stitch::{Side, StitchOptions, Stitcher, find_overlap};
use tomo::tilt::tilt_projection;

fn image() -> Vec<f32> {
    (0..30).map(|i| ((i * 7919 + 13) % 101) as f32).collect()
}

fn close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance, "element {i}: {a}, not {b}");
    }
}

#[test]
fn tilt_is_the_rotation_of_scikit_image() {
    // skimage 0.25: rotate(image, 3.5, center=(2.0, 1.5), preserve_range=True, order=1, mode="edge").
    let expected = [
        [16.907433, 57.83096, 89.37203, 40.908776, 64.71852, 24.18151],
        [53.073204, 93.60819, 39.289654, 73.92694, 25.178917, 49.50754],
        [7.0126934, 43.3579, 80.71034, 26.391811, 55.10838, 12.519837],
        [38.504628, 78.51275, 30.627974, 59.398483, 15.819028, 50.9514],
        [82.42256, 39.790363, 62.609238, 18.2692, 43.589577, 84.51311],
    ];
    let mut out = vec![0.0; 30];
    tilt_projection(&image(), 5, 6, 3.5, Some((2.0, 1.5)), &mut out).unwrap();
    close(&out, &expected.concat(), 2e-4);
    tilt_projection(&image(), 5, 6, 0.0, None, &mut out).unwrap();
    assert_eq!(out, image());
    // A half turn about the middle reverses the image.
    tilt_projection(&image(), 5, 6, 180.0, None, &mut out).unwrap();
    out.reverse();
    close(&out, &image(), 1e-3);
    assert!(tilt_projection(&image(), 5, 6, f64::NAN, None, &mut out).is_err());
    assert!(tilt_projection(&image(), 5, 6, 1.0, Some((f64::INFINITY, 0.0)), &mut out).is_err());
    assert!(tilt_projection(&image(), 6, 6, 1.0, None, &mut out).is_err());
    assert!(tilt_projection(&[], 0, 6, 1.0, None, &mut []).is_ok());
}

#[test]
fn lens_correction_is_that_of_tomopy() {
    // TomoPy's formula evaluated with scipy.ndimage.map_coordinates(order=1).
    let expected = [
        [13.0, 50.709538, 93.67049, 35.89111, 71.68904, 16.0],
        [55.129547, 92.22688, 42.728855, 75.55428, 24.646852, 58.04566],
        [0.2153368, 37.588028, 80.3636, 23.100084, 58.007423, 3.2241383],
        [46.2434, 78.55346, 29.536575, 61.265804, 11.83217, 49.348404],
        [88.0, 32.657993, 67.702095, 9.870801, 52.856167, 91.0],
    ];
    let options = LensOptions { center: (2.6, 1.9), factors: vec![1.05, 0.01, -0.004] };
    let lens = Lens::new(options, 5, 6).unwrap();
    let mut out = vec![0.0; 30];
    lens.apply(&image(), &mut out).unwrap();
    close(&out, &expected.concat(), 2e-4);
    assert!(lens.apply(&image()[1..], &mut out).is_err());
    assert!(Lens::new(LensOptions { factors: vec![], ..Default::default() }, 5, 6).is_err());
    assert!(Lens::new(LensOptions { factors: vec![f64::NAN], ..Default::default() }, 5, 6).is_err());
    assert!(Lens::new(LensOptions { center: (f64::NAN, 0.0), ..Default::default() }, 5, 6).is_err());
    assert!(Lens::new(LensOptions::default(), 0, 6).is_err());
    // Huge factors run out of the image on all sides and must stay at its border.
    let wild = Lens::new(LensOptions { center: (2.0, 2.0), factors: vec![1e300, 1e300] }, 5, 6).unwrap();
    wild.apply(&image(), &mut out).unwrap();
    assert!(out.iter().all(|x| x.is_finite()));
}

#[test]
fn stitching_is_that_of_tomopy() {
    // TomoPy's own test: halves that agree in the overlap of 32 columns come out unchanged.
    let (half, n, overlap) = (16usize, 128usize, 32usize);
    for side in [Side::Left, Side::Right] {
        let mut noise = Noise(6);
        let mut sinogram: Vec<f32> = (0..2 * half * n).map(|_| noise.next()).collect();
        for i in 0..half {
            for k in 0..overlap {
                let (column, twin) = match side {
                    Side::Left => (k, overlap - 1 - k),
                    Side::Right => (n - overlap + k, n - 1 - k),
                };
                sinogram[(half + i) * n + column] = sinogram[i * n + twin];
            }
        }
        let options = StitchOptions { overlap: overlap as f64, side, subpixel: true };
        let stitcher = Stitcher::new(options, 2 * half, n).unwrap();
        let width = 2 * n - overlap;
        assert_eq!(stitcher.shape(), (half, width));
        assert_eq!(stitcher.center(), (width as f64 - 1.0) / 2.0);
        let mut out = vec![0.0; half * width];
        stitcher.apply(&sinogram, &mut out).unwrap();
        for (i, line) in out.chunks_exact(width).enumerate() {
            let first = &sinogram[i * n..(i + 1) * n];
            let second: Vec<f32> =
                sinogram[(half + i) * n..(half + i + 1) * n].iter().rev().copied().collect();
            match side {
                Side::Left => {
                    close(&line[width - n..], first, 1e-6);
                    close(&line[..n], &second, 1e-6);
                }
                Side::Right => {
                    close(&line[..n], first, 1e-6);
                    close(&line[width - n..], &second, 1e-6);
                }
            }
        }
    }
}

/// Line integrals of discs within `reach` of the axis on a detector of `n` columns whose axis is at column `center`, over a full turn.
fn discs(angles: usize, n: usize, center: f64, reach: f64, noise: f32) -> Vec<f32> {
    let mut random = Noise(12);
    let mut shapes = vec![(0.0, 0.0, 0.8 * reach, 0.002)];
    for _ in 0..40 {
        let (r, phi) = (0.7 * reach * f64::from(random.next().abs()).sqrt(), 3.2 * f64::from(random.next()));
        shapes.push((
            r * phi.cos(),
            r * phi.sin(),
            4.0 + 0.08 * reach * f64::from(random.next().abs()),
            0.01,
        ));
    }
    let mut out = Vec::with_capacity(angles * n);
    for a in 0..angles {
        let (sin, cos) = (std::f64::consts::TAU * a as f64 / angles as f64).sin_cos();
        for j in 0..n {
            let value: f64 = shapes
                .iter()
                .map(|(x, y, r, mu)| {
                    // Mean over the pixel, as a detector gives it.
                    let at = |u: f64| {
                        let s = j as f64 + u - center - (x * cos + y * sin);
                        2.0 * mu * (r * r - s * s).max(0.0).sqrt()
                    };
                    (-3..4).map(|k| at(f64::from(k) / 7.0)).sum::<f64>() / 7.0
                })
                .sum();
            out.push(value as f32 + noise * random.next());
        }
    }
    out
}

#[test]
fn the_overlap_of_a_half_acquisition_is_found() {
    let (angles, n) = (180, 200);
    for (center, noise) in
        [(170.0, 0.0), (163.27, 0.0), (23.4, 0.0), (31.5, 0.02), (150.8, 0.02), (98.6, 0.0)]
    {
        let reach = f64::max(center, n as f64 - 1.0 - center);
        let found = find_overlap(&discs(angles, n, center, reach, noise), angles, n).unwrap();
        println!("{center}: {found:?}");
        assert!((found.center - center).abs() < 0.1, "{center}: {found:?}");
        assert!(found.cost < 0.3 * found.typical_cost, "{found:?}");
        let options = StitchOptions::from_center(center, n);
        assert!((options.overlap - found.overlap).abs() < 0.2);
    }
}

#[test]
fn a_fractional_overlap_is_stitched_about_one_centre() {
    let (angles, n, center) = (60, 200, 163.3);
    let sinogram = discs(angles, n, center, center, 0.0);
    let error = |subpixel| {
        let options = StitchOptions { subpixel, ..StitchOptions::from_center(center, n) };
        let stitcher = Stitcher::new(options, angles, n).unwrap();
        let (half, width) = stitcher.shape();
        let mut out = vec![0.0; half * width];
        stitcher.apply(&sinogram, &mut out).unwrap();
        // The same scan on a detector as wide as the result; the axis is at the column of the 360° scan.
        let truth = discs(angles, width, center, center, 0.0);
        if subpixel {
            assert!((stitcher.center() - center).abs() < 1e-9);
        }
        let far = width - n + 20..width - 5;
        (0..half)
            .flat_map(|i| far.clone().map(move |j| i * width + j))
            .map(|k| f64::from(out[k] - truth[k]).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let (exact, rounded) = (error(true), error(false));
    println!("error of the far half: {exact} with, {rounded} without the fraction");
    assert!(exact < 0.25 * rounded, "{exact} {rounded}");
}

#[test]
fn bad_input_of_stitching_is_refused() {
    let new = |overlap, angles, n| {
        Stitcher::new(StitchOptions { overlap, side: Side::Right, subpixel: true }, angles, n)
    };
    for overlap in [f64::NAN, -1.0, 11.0, f64::INFINITY] {
        assert!(new(overlap, 8, 10).is_err());
    }
    assert!(new(3.0, 1, 10).is_err() && new(0.0, 8, 1).is_err());
    for overlap in [0.0, 0.4, 1.0, 9.6, 10.0] {
        let stitcher = new(overlap, 9, 10).unwrap();
        let (half, width) = stitcher.shape();
        let mut out = vec![0.0; half * width];
        stitcher.apply(&[2.0; 90], &mut out).unwrap();
        assert!(out.iter().all(|x| (x - 2.0).abs() < 1e-6), "weights add up to one at overlap {overlap}");
        assert!(stitcher.apply(&[2.0; 80], &mut out).is_err());
    }
    assert!(find_overlap(&[1.0; 400], 10, 40).is_err(), "nothing to see");
    assert!(find_overlap(&[f32::NAN; 400], 10, 40).is_err());
    assert!(find_overlap(&[1.0; 100], 10, 10).is_err() && find_overlap(&[1.0; 40], 1, 40).is_err());
    assert!(find_overlap(&[1.0; 40], 10, 40).is_err());
}
