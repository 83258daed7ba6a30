//! Outliers, beam hardening, phase retrieval, rings, conversion, binning and padding: against results of TomoPy and
//! SciPy, and against the definitions written out.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod prep_support;

use prep_support::{Noise, npy, relative_l2, striped};
use tomo::beam_hardening::Polynomial;
use tomo::outliers::{OutlierOptions, Side, remove_outliers_1d, remove_outliers_2d, remove_outliers_3d};
use tomo::phase::{Paganin, PaganinOptions};
use tomo::ring::{RingOptions, polar_ring_removal};
use tomo::{binning, convert, mask, pad};

/// The 5 × 6 image whose filtered forms SciPy 1.13 gave: (7919 i + 13) mod 101.
fn image() -> Vec<f32> {
    (0..30).map(|i| ((i * 7919 + 13) % 101) as f32).collect()
}

#[test]
fn outliers_are_those_of_scipys_median() {
    let options = |size, side| OutlierOptions { threshold: 20.0, size, side };
    let mut out = image();
    let replaced = remove_outliers_2d(&mut out, 5, 6, &options(3, Side::Bright)).unwrap();
    let expected = [
        [13., 54., 54., 35., 35., 16.],
        [57., 54., 38., 79., 19., 19.],
        [0., 41., 82., 22., 63., 3.],
        [44., 44., 25., 66., 6., 47.],
        [88., 28., 28., 9., 50., 50.],
    ];
    assert_eq!(out, expected.concat());
    assert_eq!(replaced, out.iter().zip(image()).filter(|(a, b)| **a != *b).count());
    let mut out = image();
    remove_outliers_2d(&mut out, 5, 6, &options(4, Side::Bright)).unwrap();
    let expected = [
        [13., 54., 57., 35., 76., 16.],
        [57., 54., 38., 79., 19., 35.],
        [0., 41., 54., 22., 63., 3.],
        [44., 57., 25., 66., 6., 47.],
        [44., 28., 44., 9., 50., 50.],
    ];
    assert_eq!(out, expected.concat());
    let mut out = image();
    remove_outliers_1d(&mut out, 5, &options(3, Side::Both)).unwrap();
    let expected = [
        [57., 98., 38., 79., 19., 60.],
        [13., 54., 82., 35., 63., 16.],
        [44., 85., 38., 66., 19., 47.],
        [44., 41., 69., 22., 50., 47.],
        [44., 85., 25., 66., 6., 47.],
    ];
    assert_eq!(out, expected.concat());
    let mut out = image();
    remove_outliers_1d(&mut out, 5, &options(5, Side::Both)).unwrap();
    let expected = [
        [13., 54., 95., 35., 76., 16.],
        [57., 98., 38., 79., 19., 60.],
        [44., 41., 82., 22., 63., 47.],
        [44., 85., 25., 66., 6., 47.],
        [44., 28., 69., 9., 50., 47.],
    ];
    assert_eq!(out, expected.concat());
}

#[test]
fn the_vectorised_medians_are_the_general_ones() {
    // Size 3 is vectorised, the cube of radius 1 over one row or slice is not: same medians inside.
    let (rows, columns) = (37, 1100);
    let mut noise = Noise(9);
    let data: Vec<f32> = (0..rows * columns).map(|_| (1000.0 * noise.next()).round()).collect();
    let mut fast = data.clone();
    let options = OutlierOptions { threshold: 300.0, size: 3, side: Side::Both };
    remove_outliers_2d(&mut fast, rows, columns, &options).unwrap();
    let mut line = data.clone();
    remove_outliers_1d(&mut line, rows, &options).unwrap();
    let mut values = Vec::new();
    for r in 1..rows - 1 {
        for c in 1..columns - 1 {
            values.clear();
            (r - 1..=r + 1)
                .for_each(|y| values.extend_from_slice(&data[y * columns + c - 1..y * columns + c + 2]));
            let pick = |values: &mut Vec<f32>| {
                values.sort_by(f32::total_cmp);
                let (x, m) = (data[r * columns + c], values[values.len() / 2]);
                if (x - m).abs() >= 300.0 { m } else { x }
            };
            assert_eq!(fast[r * columns + c], pick(&mut values));
            values = (r - 1..=r + 1).map(|y| data[y * columns + c]).collect();
            assert_eq!(line[r * columns + c], pick(&mut values));
        }
    }
}

#[test]
fn outliers_in_three_dimensions() {
    let shape = [5, 6, 7];
    let mut noise = Noise(2);
    let clean: Vec<f32> = (0..210).map(|_| 100.0 + noise.next()).collect();
    let mut data = clean.clone();
    // One bright, one dark, one in a corner.
    for (at, value) in [(100, 900.0), (150, -900.0), (0, 500.0)] {
        data[at] = value;
    }
    assert_eq!(remove_outliers_3d(&mut data, shape, 1, 50.0).unwrap(), 3);
    for (i, (a, b)) in data.iter().zip(&clean).enumerate() {
        if [0, 100, 150].contains(&i) {
            assert!((a - 100.0).abs() < 1.0);
        } else {
            assert_eq!(a, b);
        }
    }
    // A corner's window repeats the corner's own coordinates: 8 of the 27 values are the outlier itself.
    let mut flat = vec![1.0; 27];
    flat[13] = 5.0;
    remove_outliers_3d(&mut flat, [3, 3, 3], 1, 0.0).unwrap();
    assert_eq!(flat, vec![1.0; 27]);
}

#[test]
fn tomopys_own_outlier_test() {
    let Some((shape, proj)) = npy("tomopy/proj.npy") else { return };
    let (rows, columns) = (shape[1], shape[2]);
    let mut data = proj.clone();
    data[(8 * rows + 4) * columns + 6] = 20.0;
    let options = OutlierOptions { threshold: 10.0, ..Default::default() };
    for projection in data.chunks_exact_mut(rows * columns) {
        remove_outliers_2d(projection, rows, columns, &options).unwrap();
    }
    assert_eq!(data, proj);
}

#[test]
fn beam_hardening_is_its_polynomial() {
    let mut values = [0.0, 0.5, 1.0, 2.0, -1.0f32];
    Polynomial::default().apply(&mut values);
    let expected = [0.0, 0.5 + 0.004 / 32.0, 1.004, 2.128, -1.004];
    assert!(values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{values:?}");
    let mut values = [2.0f32];
    Polynomial::new([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap().apply(&mut values);
    assert_eq!(values[0], 1.0 + 4.0 + 12.0 + 32.0 + 80.0 + 192.0);
    assert!(Polynomial::new([f32::NAN; 6]).is_err());
}

#[test]
fn golden_of_phase_retrieval() {
    let Some((shape, proj)) = npy("tomopy/proj.npy") else { return };
    let (_, golden) = npy("tomopy/retrieve_phase.npy").unwrap();
    let pixels = shape[1] * shape[2];
    let plan = Paganin::new(PaganinOptions::default(), shape[1], shape[2]).unwrap();
    let mut workspace = plan.workspace();
    let mut single = proj.clone();
    single.chunks_exact_mut(pixels).try_for_each(|p| plan.apply(&mut workspace, p)).unwrap();
    let error = relative_l2(&single, &golden);
    println!("one by one: {error:.2e}");
    assert!(error < 1e-6, "{error}");
    let mut pairs = proj;
    for pair in pairs.chunks_exact_mut(2 * pixels) {
        let (a, b) = pair.split_at_mut(pixels);
        plan.apply_pair(&mut workspace, a, b).unwrap();
    }
    let error = relative_l2(&pairs, &golden);
    assert!(error < 1e-6, "in pairs: {error}");
}

#[test]
fn phase_retrieval_of_odd_sizes_keeps_the_mean_and_smooths() {
    for (rows, columns, padded) in [(7, 11, false), (8, 12, false), (7, 12, true), (2, 2, true)] {
        let options = PaganinOptions { pad: padded, distance: 5.0, ..Default::default() };
        let plan = Paganin::new(options, rows, columns).unwrap();
        let mut flat = vec![3.0; rows * columns];
        plan.apply(&mut plan.workspace(), &mut flat).unwrap();
        assert!(flat.iter().all(|x| (x - 3.0).abs() < 1e-5), "{flat:?}");
        let mut noise = Noise(4);
        let mut rough: Vec<f32> = (0..rows * columns).map(|_| noise.next()).collect();
        let energy = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>();
        let before = energy(&rough);
        plan.apply(&mut plan.workspace(), &mut rough).unwrap();
        assert!(energy(&rough) < before);
    }
}

#[test]
fn polar_rings_go_and_the_object_stays() {
    let n = 201usize;
    let middle = 100.0f32;
    let radius = |i: usize| ((i % n) as f32 - middle).hypot((i / n) as f32 - middle);
    let object = |i: usize| {
        let (x, y) = ((i % n) as f32 - 130.0, (i / n) as f32 - 80.0);
        if x.hypot(y) < 12.0 { 1.0 } else { 0.2 }
    };
    let ring = |r: f32| if (40.0..42.5).contains(&r) { 0.1 } else { 0.0 } - if (70.0..71.5).contains(&r) { 0.08 } else { 0.0 };
    let clean: Vec<f32> = (0..n * n).map(object).collect();
    let mut image: Vec<f32> = (0..n * n).map(|i| object(i) + ring(radius(i))).collect();
    let options = RingOptions { width: 10, threshold: 0.3, ..Default::default() };
    let error = |image: &[f32]| {
        let inside = (0..n * n).filter(|i| radius(*i) < 95.0);
        inside.map(|i| (image[i] - clean[i]).powi(2)).sum::<f32>().sqrt()
    };
    let before = error(&image);
    polar_ring_removal(&mut image, n, n, None, &options).unwrap();
    let after = error(&image);
    println!("ring error {before} -> {after}");
    assert!(after < 0.35 * before, "{after} of {before}");
    // The disc is no ring: a 30° arc does not fit in it.
    assert!((image[80 * n + 130] - 1.0).abs() < 0.02);
}

/// The description of the algorithm, step by step and without running windows.
#[test]
fn polar_rings_follow_the_description() {
    let (rows, columns) = (41usize, 45usize);
    let mut noise = Noise(8);
    let input: Vec<f32> = (0..rows * columns).map(|_| noise.next()).collect();
    let options = RingOptions { arc: 20, width: 2, threshold: 0.7, min: -0.8, max: 0.8 };
    let mut out = input.clone();
    polar_ring_removal(&mut out, rows, columns, None, &options).unwrap();

    let (cx, cy, reach) = (22.0f64, 20.0f64, 21usize);
    let height = (std::f64::consts::TAU * reach as f64 + 0.5).floor() as usize;
    let step = std::f64::consts::TAU / height as f64;
    let at = |i: usize, r: usize| {
        let angle = (i as f64 + 0.5) * step;
        let (x, y) = (r as f64 * angle.cos() + cx, r as f64 * angle.sin() + cy);
        input[(y + 0.5).floor() as usize * columns + (x + 0.5).floor() as usize].clamp(-0.8, 0.8)
    };
    let zone = |r: usize, widest: usize| [widest / 3, 2 * widest / 3, widest][r / (reach / 3)];
    let mut rings = vec![vec![0.0f32; reach]; height];
    for i in 0..height {
        for r in 0..reach {
            let k = zone(r, 5) as isize;
            let mut window: Vec<f32> = (r as isize - k..=r as isize + k)
                .map(|q| match q {
                    q if q < 0 => at((i + height / 2) % (height / 2 * 2), q.unsigned_abs()),
                    q if q < reach as isize => at(i, q as usize),
                    _ => 0.0,
                })
                .collect();
            window.sort_by(f32::total_cmp);
            let ring = at(i, r) - window[k as usize];
            rings[i][r] = if ring.abs() <= 0.7 { ring } else { 0.0 };
        }
    }
    let arc = (height as f64 / 360.0).ceil() as usize * 20;
    let mut worst = 0.0f32;
    for y in 0..rows {
        for x in 0..columns {
            let (dx, dy) = (x as f64 - cx, y as f64 - cy);
            let angle = dy.atan2(dx - std::f64::consts::PI / height as f64).rem_euclid(std::f64::consts::TAU);
            let (i, r) = ((angle / step + 0.5).floor() as usize, (dx.hypot(dy) + 0.5).floor() as usize);
            let mut expected = input[y * columns + x];
            if i < height && r < reach && (i == 0 || rings[i][r] != 0.0) {
                let k = zone(r, arc);
                let sum: f32 = (0..=2 * k).map(|j| rings[(i + j + height - k) % height][r]).sum();
                expected -= sum / (2 * k + 1) as f32;
            }
            worst = worst.max((out[y * columns + x] - expected).abs());
        }
    }
    assert!(worst < 1e-5, "{worst}");
}

#[test]
fn conversion_rounds_clips_and_can_be_undone() {
    let scaling = convert::Scaling::default();
    let values = [-10.0, 30.0, 10.0, -11.0, 31.0, f32::NAN, f32::INFINITY, -9.93, -9.92];
    let mut bytes = [0; 9];
    convert::to_u8(&values, scaling, &mut bytes).unwrap();
    // A step is 40/255 = 0.157: −9.93 is 0.45 steps up, −9.92 0.51.
    assert_eq!(bytes, [0, 255, 128, 0, 255, 0, 255, 0, 1]);
    let mut words = [0; 9];
    convert::to_u16(&values, scaling, &mut words).unwrap();
    assert_eq!(words[..6], [0, 65535, 32768, 0, 65535, 0]);
    assert!((scaling.from_u16(words[8]) + 9.92).abs() < 4e-4 && (scaling.from_u8(255) - 30.0).abs() < 1e-5);
    for (min, max) in [(1.0, 1.0), (2.0, 1.0), (f32::NAN, 1.0), (f32::MIN, f32::MAX)] {
        assert!(convert::Scaling::new(min, max).is_err());
    }
    assert!(convert::to_u8(&values, scaling, &mut bytes[1..]).is_err());
}

#[test]
fn binning_takes_means_and_drops_the_rest() {
    let raw: Vec<u16> = (0..35).collect();
    let (out, rows, columns) = binning::bin_projection(&raw, 5, 7, 2).unwrap();
    assert_eq!((rows, columns), (2, 3));
    // Mean of i, i+1, i+7, i+8 is i + 4.
    assert_eq!(out, [4.0, 6.0, 8.0, 18.0, 20.0, 22.0]);
    let (out, shape) = binning::bin_axis(&raw[..24], [4, 3, 2], 0, 2).unwrap();
    assert_eq!((out[0], out[11], shape), (3.0, 20.0, [2, 3, 2]));
    let (out, shape) = binning::bin_axis(&raw[..24], [4, 3, 2], 1, 3).unwrap();
    assert_eq!((out[1], shape), (3.0, [4, 1, 2]));
    let (out, _) = binning::bin_axis(&raw[..24], [4, 3, 2], 2, 2).unwrap();
    assert_eq!(out[..2], [0.5, 2.5]);
    assert!(
        binning::bin_projection(&raw, 5, 7, 0).is_err() && binning::bin_projection(&raw, 5, 7, 6).is_err()
    );
    assert!(binning::bin_axis(&raw, [5, 7, 1], 3, 1).is_err() && binning::bin2d(&raw, 5, 6, 1, 1).is_err());
    if let Some((shape, object)) = npy("tomopy/obj.npy") {
        for axis in [0, 1] {
            let (_, golden) = npy(&format!("tomopy/downsample_{axis}.npy")).unwrap();
            let (out, _) = binning::bin_axis(&object, [shape[0], shape[1], shape[2]], axis, 2).unwrap();
            assert_eq!(out, golden);
        }
    }
}

#[test]
fn goldens_of_the_circular_mask() {
    let Some((shape, object)) = npy("tomopy/obj.npy") else { return };
    let [depth, rows, columns] = [shape[0], shape[1], shape[2]];
    let mut slices = object.clone();
    slices
        .chunks_exact_mut(rows * columns)
        .for_each(|s| mask::circular_mask(s, rows, columns, 1.0, 0.0).unwrap());
    assert_eq!(slices, npy("tomopy/circ_mask_0.npy").unwrap().1);
    // Along axis 1 the planes are (depth, columns).
    let golden = npy("tomopy/circ_mask_1.npy").unwrap().1;
    for row in 0..rows {
        let plane = |data: &[f32]| -> Vec<f32> {
            (0..depth).flat_map(|z| data[(z * rows + row) * columns..][..columns].to_vec()).collect()
        };
        let mut masked = plane(&object);
        mask::circular_mask(&mut masked, depth, columns, 1.0, 0.0).unwrap();
        assert_eq!(masked, plane(&golden));
    }
}

#[test]
fn padding_and_cropping() {
    assert_eq!((pad::usual_width(2560), pad::usual_width(1024), pad::usual_width(0)), (530, 212, 0));
    let data = [1.0, 2.0, 3.0, 4.0];
    let edge = pad::pad_columns(&data, 2, 1, 2, pad::Fill::Edge).unwrap();
    assert_eq!(edge, [1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 4.0]);
    let zero = pad::pad_columns(&data, 2, 1, 2, pad::Fill::Zero).unwrap();
    assert_eq!(zero, [0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 3.0, 4.0, 0.0, 0.0]);
    let mut back = [0.0; 4];
    pad::crop_columns(&edge, 5, 1, 2, &mut back).unwrap();
    assert_eq!(back, data);
    assert!(pad::pad_columns(&data, 3, 1, 1, pad::Fill::Edge).is_err());
    assert!(pad::pad_columns(&data, 2, usize::MAX, 1, pad::Fill::Edge).is_err());
    assert!(pad::pad_columns(&data, 2, usize::MAX / 8, 1, pad::Fill::Edge).is_err());
    assert!(pad::crop_columns(&edge, 5, 4, 2, &mut back).is_err());
    assert!(pad::crop_columns(&edge, 5, usize::MAX, 2, &mut back).is_err());
}

#[test]
fn bad_input_of_the_filters_is_refused() {
    let options = OutlierOptions::default();
    let mut data = striped(8, 10, 1);
    assert!(
        remove_outliers_1d(&mut data, 0, &options).is_err()
            && remove_outliers_1d(&mut data, 7, &options).is_err()
    );
    assert!(remove_outliers_2d(&mut data, 8, 9, &options).is_err());
    assert!(
        remove_outliers_2d(&mut [], 0, 9, &options).is_ok()
            && remove_outliers_1d(&mut [], 3, &options).is_ok()
    );
    for (threshold, size) in [(f32::NAN, 3), (-1.0, 3), (1.0, 0), (1.0, 100)] {
        assert!(
            remove_outliers_2d(&mut data, 8, 10, &OutlierOptions { threshold, size, side: Side::Both })
                .is_err()
        );
    }
    assert!(remove_outliers_3d(&mut data, [2, 4, 10], 0, 1.0).is_err());
    assert!(remove_outliers_3d(&mut data, [usize::MAX, 4, 10], 1, 1.0).is_err());
    // Single rows, columns and windows wider than the data.
    for (rows, columns) in [(1, 80), (80, 1), (8, 10)] {
        remove_outliers_2d(&mut data, rows, columns, &OutlierOptions { size: 31, ..options }).unwrap();
        remove_outliers_1d(&mut data, rows, &OutlierOptions { size: 31, ..options }).unwrap();
    }

    let paganin = |f: fn(&mut PaganinOptions), rows, columns| {
        let mut options = PaganinOptions::default();
        f(&mut options);
        Paganin::new(options, rows, columns)
    };
    assert!(paganin(|o| o.pixel_size = 0.0, 8, 8).is_err() && paganin(|o| o.energy = -1.0, 8, 8).is_err());
    assert!(paganin(|o| o.alpha = f64::NAN, 8, 8).is_err() && paganin(|o| o.distance = -1.0, 8, 8).is_err());
    assert!(
        paganin(|o| o.pixel_size = 1e-9, 8, 8).is_err(),
        "metres for centimetres must not eat the memory"
    );
    assert!(paganin(|_| (), 1, 8).is_err());
    let plan = paganin(|_| (), 8, 8).unwrap();
    assert!(plan.apply(&mut plan.workspace(), &mut [0.0; 63]).is_err());
    let other = paganin(|o| o.pad = false, 8, 8).unwrap();
    assert!(plan.apply(&mut other.workspace(), &mut [0.0; 64]).is_err());

    let ring = |options: RingOptions, center| polar_ring_removal(&mut [0.0; 64], 8, 8, center, &options);
    let default = RingOptions::default();
    assert!(ring(default, None).is_ok() && ring(RingOptions { arc: 180, ..default }, None).is_err());
    assert!(ring(RingOptions { width: 0, ..default }, None).is_err());
    assert!(ring(RingOptions { threshold: f32::NAN, ..default }, None).is_err());
    assert!(ring(RingOptions { min: 1.0, max: 1.0, ..default }, None).is_err());
    assert!(ring(default, Some((8.0, 2.0))).is_err() && ring(default, Some((f32::NAN, 2.0))).is_err());
    assert!(ring(default, Some((0.0, 7.0))).is_ok());
    assert!(polar_ring_removal(&mut [0.0; 1], 1, 1, None, &default).is_ok());
    assert!(polar_ring_removal(&mut [], 0, 0, None, &default).is_err());
}
