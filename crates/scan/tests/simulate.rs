//! The simulator against independent truth: numerical integration, a back projection written here,
//! TomoPy's frame as pinned by a scan that TomoPy reconstructed, and statistics. What the files hold is
//! tested in `simulate_files.rs`.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::f64::consts::PI;
use std::path::PathBuf;

use hdf5_metno::File;
use scan::simulate::{Ellipsoid, Error, Phantom, PhantomKind, PixelType, SimulateOptions, phantom, simulate};

/// Folder of the test data that does not belong to the repository.
fn shared() -> Option<PathBuf> {
    let folder = match std::env::var_os("BEAMRAIL_SHARED") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
    };
    let data = folder.join("data");
    if data.is_dir() { Some(data) } else { None }
}

/// A small scan without detector faults, stored as f32.
fn clean(phantom: PhantomKind) -> SimulateOptions {
    SimulateOptions {
        width: 96,
        rows: 5,
        angles: 31,
        phantom,
        pixel_type: PixelType::F32,
        center: Some(48.3),
        ..SimulateOptions::clean()
    }
}

fn write(options: &SimulateOptions) -> (tempfile::TempDir, PathBuf, scan::simulate::Simulated) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("20240101_120000_sim.h5");
    let truth = simulate(&path, options, &mut |_| ()).unwrap();
    (folder, path, truth)
}

/// A stack of a dxfile as f64.
fn stack(path: &PathBuf, name: &str) -> Vec<f64> {
    File::open(path).unwrap().dataset(name).unwrap().read_raw::<f64>().unwrap()
}

/// Sinogram (angles, columns) of an image (size, size): every voxel's mass is shared by the two
/// nearest columns. Frame and formula are written down here once more, on purpose.
fn project_image(image: &[f32], size: usize, thetas: &[f64], center: f64, y_sign: f64) -> Vec<f64> {
    let mut sinogram = vec![0.0; thetas.len() * size];
    for (line, theta) in sinogram.chunks_mut(size).zip(thetas) {
        for i in 0..size {
            let y = y_sign * (i as f64 - (size / 2 - 1) as f64);
            for j in 0..size {
                let x = j as f64 - (size / 2) as f64;
                let u = center + x * theta.cos() + y * theta.sin();
                let left = u.floor();
                let value = f64::from(image[i * size + j]);
                for (column, weight) in [(left, 1.0 - (u - left)), (left + 1.0, u - left)] {
                    if column >= 0.0 && column < size as f64 {
                        line[column as usize] += weight * value;
                    }
                }
            }
        }
    }
    sinogram
}

/// Root mean square of the difference, relative to that of the second.
fn relative(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm: f64 = b.iter().map(|v| v * v).sum();
    let difference: f64 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    (difference / norm).sqrt()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

#[test]
fn every_projection_of_a_row_holds_the_same_mass() {
    for kind in [PhantomKind::Foam, PhantomKind::SheppLogan, PhantomKind::Discs, PhantomKind::Cylinder] {
        let options = SimulateOptions { width: 200, center: Some(97.4), ..clean(kind) };
        let phantom = phantom(&options).unwrap();
        for row in [0, 4] {
            let mass = phantom.mass(row);
            assert!(mass > 0.0);
            for i in 0..40 {
                let line = phantom.line_integrals(row, f64::from(i) * 0.3 - 2.0, 97.4, 200);
                let sum: f64 = wide(&line).iter().sum();
                // The lines are f32: 200 roundings of 6e-8 of the largest value.
                assert!((sum / mass - 1.0).abs() < 1e-6, "{kind} {row} {i}: {sum} {mass}");
            }
        }
    }
}

#[test]
fn a_projection_equals_the_integral_along_the_ray_taken_numerically() {
    let shapes = vec![
        Ellipsoid { center: [3.0, -7.0, 1.0], half_axes: [9.0, 4.0, 5.0], rotation: 0.6, value: 0.7 },
        Ellipsoid { center: [-8.0, 2.5, -2.0], half_axes: [3.0, 11.0, 8.0], rotation: -2.0, value: -0.2 },
        Ellipsoid::sphere([0.0, 5.0, 2.0], 6.0, 0.4),
        Ellipsoid::cylinder(-2.0, -3.0, 2.0, 1.3),
    ];
    let phantom = Phantom::new(shapes.clone());
    let inside = |x: f64, y: f64, z: f64| -> f64 {
        let mut sum = 0.0;
        for e in &shapes {
            let (dx, dy, dz) = (x - e.center[0], y - e.center[1], z - e.center[2]);
            let (sin, cos) = e.rotation.sin_cos();
            let (p, q) = (dx * cos + dy * sin, dy * cos - dx * sin);
            let [a, b, c] = e.half_axes;
            if (p / a).powi(2) + (q / b).powi(2) + (dz / c).powi(2) < 1.0 {
                sum += e.value;
            }
        }
        sum
    };
    let (center, width) = (20.7, 42);
    for (row, theta) in [(0usize, 0.0), (0, 0.7), (3, 2.2), (3, 4.0)] {
        let line = phantom.line_integrals(row, theta, center, width);
        let (sin, cos) = f64::sin_cos(theta);
        for (k, &value) in line.iter().enumerate() {
            // 64 rays over the pixel's width, steps of 0.02 along the ray.
            let (rays, step) = (64, 0.02);
            let mut sum = 0.0;
            for ray in 0..rays {
                let u = k as f64 - 0.5 + (f64::from(ray) + 0.5) / f64::from(rays) - center;
                for i in -1250..1250 {
                    let v = (f64::from(i) + 0.5) * step;
                    sum += inside(u * cos - v * sin, u * sin + v * cos, row as f64);
                }
            }
            let expected = sum * step / f64::from(rays);
            // Each ray is off by up to a step at each rim it crosses, at random; rim pixels a bit more.
            assert!((f64::from(value) - expected).abs() < 0.01, "{row} {theta} {k}: {value} {expected}");
        }
    }
}

#[test]
fn opposite_views_mirror_about_the_center() {
    for center in [60.0, 59.5, 57.317] {
        let options = SimulateOptions { width: 121, center: Some(center), ..clean(PhantomKind::Foam) };
        let phantom = phantom(&options).unwrap();
        let front = phantom.line_integrals(2, 0.3, center, 121);
        // Column k of one view is column 2·center − k of the other; so a detector shifted by
        // 2·center − 120 sees exactly the mirror image.
        let back = phantom.line_integrals(2, 0.3 + PI, 120.0 - center, 121);
        for k in 0..121 {
            assert!((front[k] - back[120 - k]).abs() < 2e-6, "{center} {k}: {} {}", front[k], back[120 - k]);
        }
        let moment = |line: &[f32]| -> f64 {
            let mass: f64 = wide(line).iter().sum();
            line.iter().enumerate().map(|(k, &v)| k as f64 * f64::from(v)).sum::<f64>() / mass
        };
        let other = phantom.line_integrals(2, 0.3 + PI, center, 121);
        // Centres of mass of opposite views lie symmetrically about the axis; averaging over pixels moves
        // no centre of mass, so only f32 rounding is left.
        assert!(((moment(&front) + moment(&other)) / 2.0 - center).abs() < 1e-4);
    }
}

#[test]
fn a_slice_projects_to_the_line_integrals_in_the_documented_frame() {
    let options = SimulateOptions { width: 320, rows: 3, center: Some(158.6), ..clean(PhantomKind::Foam) };
    let phantom = phantom(&options).unwrap();
    let thetas: Vec<f64> = (0..12).map(|i| f64::from(i) * 0.5).collect();
    let sinogram = wide(&phantom.sinogram(1, &thetas, 158.6, 320));
    let image = phantom.slice(1, 320, 8);
    let error = |y_sign| relative(&project_image(&image, 320, &thetas, 158.6, y_sign), &sinogram);
    // Voxels of one pixel blur the rims; the mirrored frame misses by far more.
    assert!(error(1.0) < 0.012, "{}", error(1.0));
    assert!(error(-1.0) > 0.05, "{}", error(-1.0));
    let sum: f64 = wide(&image).iter().sum();
    assert!((sum / phantom.mass(1) - 1.0).abs() < 2e-4, "{sum}");
}

#[test]
fn the_frame_is_the_one_in_which_tomopy_reconstructs() {
    let Some(data) = shared() else {
        println!("skipped: no shared data (set BEAMRAIL_SHARED)");
        return;
    };
    // A sibling simulator's slice and sinogram; TomoPy's own reconstruction lies beside them.
    let read = |name: &str| -> Vec<f32> {
        let bytes = std::fs::read(data.join("tomopy-large").join(name)).unwrap();
        let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]])) + 10;
        bytes[header..].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    let truth = read("truth_per_pixel.npy");
    let sinogram = read("clean_sinogram.npy");
    let tomopy = read("gridrec_clean_butterworth.npy");
    let size = 1024;
    let scan = File::open(data.join("tomopy-large/foam_1024x4x512.h5")).unwrap();
    let theta_degrees = scan.dataset("exchange/theta").unwrap().read_raw::<f64>().unwrap();
    let angles = [0usize, 130, 256, 400];
    let thetas: Vec<f64> = angles.iter().map(|&i| theta_degrees[i].to_radians()).collect();
    let expected: Vec<f64> =
        angles.iter().flat_map(|&i| wide(&sinogram[i * 2 * size..i * 2 * size + size])).collect();
    let error = |image: &[f32], y_sign| {
        relative(&project_image(&image[..size * size], size, &thetas, 515.25, y_sign), &expected)
    };
    assert!(error(&truth, 1.0) < 0.003, "{}", error(&truth, 1.0));
    assert!(error(&truth, -1.0) > 0.1, "{}", error(&truth, -1.0));
    // TomoPy's image itself: its gain is off by up to 40 %, so only the better of the two frames counts.
    let (right, wrong) = (error(&tomopy, 1.0), error(&tomopy, -1.0));
    assert!(right < wrong - 0.05, "{right} {wrong}");
}

/// Filtered back projection, f64, linear interpolation, with the band-limited ramp in the space domain
/// (Kak and Slaney, equation 3.61).
fn reconstruct(sinogram: &[f32], width: usize, thetas: &[f64], center: f64) -> Vec<f64> {
    let mut image = vec![0.0; width * width];
    let weight = PI / thetas.len() as f64;
    let kernel = |n: i64| match n {
        0 => 0.25,
        n if n % 2 == 0 => 0.0,
        n => -1.0 / (PI * n as f64).powi(2),
    };
    for (line, theta) in sinogram.chunks(width).zip(thetas) {
        let filtered: Vec<f64> = (0..width)
            .map(|k| (0..width).map(|m| kernel(k as i64 - m as i64) * f64::from(line[m])).sum())
            .collect();
        for i in 0..width {
            for j in 0..width {
                let (x, y) = (j as f64 - (width / 2) as f64, i as f64 - (width / 2 - 1) as f64);
                let u = center + x * theta.cos() + y * theta.sin();
                if u >= 0.0 && u < width as f64 - 1.0 {
                    let (k, f) = (u as usize, u.fract());
                    image[i * width + j] += weight * ((1.0 - f) * filtered[k] + f * filtered[k + 1]);
                }
            }
        }
    }
    image
}

#[test]
fn a_clean_file_reconstructs_to_the_true_slice() {
    for range in [180.0, 360.0] {
        let options = SimulateOptions {
            width: 128,
            rows: 2,
            angles: if range > 200.0 { 402 } else { 201 },
            range_degrees: range,
            endpoint: false,
            center: Some(61.37),
            ..clean(PhantomKind::SheppLogan)
        };
        let (_folder, path, truth) = write(&options);
        let data = stack(&path, "exchange/data");
        let flat = stack(&path, "exchange/data_white");
        let dark = stack(&path, "exchange/data_dark");
        let row = 1;
        let mut sinogram = Vec::new();
        for angle in 0..options.angles {
            for k in 0..128 {
                let (flat, dark) = (flat[row * 128 + k], dark[row * 128 + k]);
                let transmission = (data[(angle * 2 + row) * 128 + k] - dark) / (flat - dark);
                sinogram.push(-transmission.ln() as f32);
            }
        }
        let thetas: Vec<f64> = truth.theta_degrees.iter().map(|t| t.to_radians()).collect();
        let exact = phantom(&options).unwrap().sinogram(row, &thetas, truth.center, 128);
        for (a, b) in sinogram.iter().zip(&exact) {
            // Counts up to 30,000 in f32 are rounded by 1e-3; at a transmission of 2 % that is 2e-6.
            assert!((a - b).abs() < 5e-6, "{a} {b}");
        }
        let image = reconstruct(&sinogram, 128, &thetas, truth.center);
        let slice = wide(&phantom(&options).unwrap().slice(row, 128, 8));
        // The mean over a patch of brain below the middle.
        let mean = |image: &[f64]| -> f64 {
            (78..86).flat_map(|i| (60..68).map(move |j| i * 128 + j)).map(|p| image[p]).sum::<f64>() / 64.0
        };
        assert!(
            (mean(&image) / mean(&slice) - 1.0).abs() < 0.05,
            "{range}: {} {}",
            mean(&image),
            mean(&slice)
        );
        // A ramp at 128 pixels smears the skull's rim; one pixel off, or mirrored, is worse by far.
        let error = relative(&image, &slice);
        assert!(error < 0.15, "{range}: {error}");
        let shifted = relative(&reconstruct(&sinogram, 128, &thetas, truth.center + 1.0), &slice);
        assert!(shifted > 1.5 * error, "{range}: {shifted} {error}");
    }
}

#[test]
fn noise_is_poisson_about_the_clean_scan() {
    let noisy = SimulateOptions {
        width: 64,
        rows: 4,
        angles: 2000,
        range_degrees: 1e-6,
        photons: 500.0,
        transmission: 0.05,
        flat_level: Some(2000.0),
        center: Some(31.0),
        ..clean(PhantomKind::Foam)
    };
    let (_a, noisy_path, _) = write(&noisy);
    let (_b, clean_path, _) = write(&SimulateOptions { photons: 0.0, angles: 2, ..noisy.clone() });
    let noisy_data = stack(&noisy_path, "exchange/data");
    let clean_data = stack(&clean_path, "exchange/data");
    // All projections are one view, so every pixel gives 2000 samples of one distribution. Below 30 photons the
    // draws are exact, above approximate; both occur.
    let (mut few, mut many) = (0, 0);
    let (mut mean_chi2, mut variance_chi2) = (0.0, 0.0);
    let n = 2000.0;
    for pixel in 0..64 * 4 {
        let expected = (clean_data[pixel] - 200.0) / 4.0;
        if expected < 30.0 {
            few += 1
        } else {
            many += 1
        }
        let samples: Vec<f64> = (0..2000).map(|i| (noisy_data[i * 256 + pixel] - 200.0) / 4.0).collect();
        let mean = samples.iter().sum::<f64>() / n;
        let variance = samples.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (n - 1.0);
        mean_chi2 += (mean - expected).powi(2) / (expected / n);
        variance_chi2 += (variance - expected).powi(2) / ((expected + 2.0 * expected * expected) / n);
    }
    assert!(few > 20 && many > 20, "{few} {many}");
    // Sums of 256 squared normals: mean 256, standard deviation 22.6; five of them.
    assert!((mean_chi2 - 256.0).abs() < 113.0, "{mean_chi2}");
    assert!((variance_chi2 - 256.0).abs() < 113.0, "{variance_chi2}");
}

#[test]
fn flats_drift_between_before_and_after_and_stay_structured() {
    let options = SimulateOptions {
        width: 100,
        rows: 20,
        angles: 11,
        flats: 2,
        flat_structure: 0.5,
        flat_drift: 0.1,
        transmission: 0.999,
        ..clean(PhantomKind::Cylinder)
    };
    let (_folder, path, truth) = write(&options);
    assert_eq!(truth.flat_positions, [0, 10]);
    let flat = stack(&path, "exchange/data_white");
    assert_eq!(flat.len(), 4 * 2000);
    let data = stack(&path, "exchange/data");
    let mean = |frame: usize| flat[frame * 2000..][..2000].iter().sum::<f64>() / 2000.0 - 200.0;
    assert!((mean(2) / mean(0) - 1.1).abs() < 0.03, "{}", mean(2) / mean(0));
    let before = &flat[..2000];
    let deviation = (before.iter().map(|v| (v - 200.0 - mean(0)).powi(2)).sum::<f64>() / 2000.0).sqrt();
    assert!(deviation / mean(0) > 0.03, "{}", deviation / mean(0));
    // Outside the object (column 0) a projection half way lies half way between the flats.
    for row in 0..20 {
        let (f0, f1) = (flat[row * 100], flat[2 * 2000 + row * 100]);
        let halfway = data[5 * 2000 + row * 100];
        assert!((halfway - (f0 + f1) / 2.0).abs() < 0.02, "{row}: {halfway} {f0} {f1}");
    }
}

#[test]
fn defects_are_where_the_truth_says() {
    let options = SimulateOptions {
        width: 64,
        rows: 8,
        angles: 6,
        flats: 1,
        darks: 1,
        dead_columns: 3,
        hot_pixels: 5,
        zingers: 0.01,
        rings: 0.05,
        blank_projections: vec![4],
        pixel_type: PixelType::U16,
        ..clean(PhantomKind::Foam)
    };
    let options = SimulateOptions { center: Some(31.0), ..options };
    let (_folder, path, truth) = write(&options);
    let data = stack(&path, "exchange/data");
    assert_eq!((truth.dead_columns.len(), truth.hot_pixels.len()), (3, 5));
    let hot = |p: usize| truth.hot_pixels.contains(&(p % 512));
    let dead = |p: usize| truth.dead_columns.contains(&(p % 64));
    for (p, &value) in data.iter().enumerate() {
        if p / 512 == 4 {
            assert_eq!(value, 0.0);
        } else if hot(p) {
            assert_eq!(value, 65_535.0);
        } else {
            assert_eq!(value == 0.0, dead(p), "{p}");
        }
    }
    // Zingers and rings: compare with the same scan without them.
    let plain = SimulateOptions { zingers: 0.0, rings: 0.0, ..options.clone() };
    let (_folder, plain_path, _) = write(&plain);
    let plain_data = stack(&plain_path, "exchange/data");
    let ratios: Vec<f64> = (0..4 * 512)
        .filter(|&p| !hot(p) && !dead(p))
        .map(|p| (data[p] - 200.0) / (plain_data[p] - 200.0))
        .collect();
    // Strong columns (2 %) reach 1 ± 0.2 at one standard deviation; zingers start at 1.3 of the open beam,
    // which is more than that of what passes the object. 1 % of 2048 pixels, 30 % of them with a neighbour.
    let zingers = ratios.iter().filter(|&&r| r > 1.29).count();
    assert!((5..70).contains(&zingers), "{zingers}");
    let mut others: Vec<f64> = ratios.iter().filter(|&&r| r < 1.29).map(|r| (r - 1.0).abs()).collect();
    others.sort_by(f64::total_cmp);
    // The median absolute deviation of normals is 0.6745 standard deviations; 61 columns: within 40 %.
    let spread = others[others.len() / 2] / 0.6745;
    assert!((0.03..0.08).contains(&spread), "{spread}");
}

#[test]
fn half_acquisition_shows_the_axis_near_an_edge_and_a_wider_object() {
    let options = SimulateOptions {
        half_acquisition: true,
        range_degrees: 360.0,
        angles: 60,
        center: None,
        ..clean(PhantomKind::Foam)
    };
    let (_folder, path, truth) = write(&options);
    assert!(truth.center > 0.8 * 96.0 && truth.center < 95.0);
    assert!(2.0 * truth.object_radius > 96.0);
    let phantom = phantom(&options).unwrap();
    // What the detector misses on the right is seen from the other side, mirrored about the axis.
    let front = phantom.line_integrals(2, 0.2, truth.center, 180);
    let back = phantom.line_integrals(2, 0.2 + PI, 179.0 - truth.center, 180);
    for k in 0..180 {
        assert!((front[k] - back[179 - k]).abs() < 2e-6);
    }
    assert!(front[96] > 0.1, "the object should reach beyond the detector");
    assert!(stack(&path, "exchange/data").iter().all(|v| v.is_finite() && *v > 200.0));
    let wrong = SimulateOptions { range_degrees: 180.0, ..options };
    assert!(matches!(wrong.validate(), Err(Error::Option { name: "range_degrees", .. })));
}
