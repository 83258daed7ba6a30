//! Normalisation and the other steps before the reconstruction, against TomoPy's own results and plain formulas.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod prep_support;

use prep_support::{Noise, npy, relative_l2, sinogram};
use tomo::normalize::{Counts, FlatGroup, FlatMethod, NormalizeOptions, Normalizer, Region};

/// The plain formula, in f64.
fn plain(raw: f64, dark: f64, flat: f64, minimum: f64) -> f64 {
    -((raw - dark) / (flat - dark).max(1e-6)).max(minimum).ln()
}

struct Scene {
    shape: [usize; 3],
    block: Vec<u16>,
    dark: Vec<f32>,
    flats: Vec<FlatGroup>,
}

/// Two flat groups of different level, before and after, an odd number of columns, some dark counts.
fn scene() -> Scene {
    let shape = [21, 3, 77];
    let mut noise = Noise(5);
    let pixels = shape[1] * shape[2];
    let block = (0..shape[0] * pixels).map(|_| (1000.0 + 900.0 * noise.next()) as u16).collect();
    let dark = (0..pixels).map(|_| 100.0 + 5.0 * noise.next()).collect();
    let mut flat = |level: f32| (0..pixels).map(|_| level + 50.0 * noise.next()).collect::<Vec<f32>>();
    let flats = vec![
        FlatGroup { position: 21.0, mean: flat(1500.0), frames: 10 },
        FlatGroup { position: 0.0, mean: flat(2000.0), frames: 30 },
    ];
    Scene { shape, block, dark, flats }
}

impl Scene {
    fn normalizer(&self, options: NormalizeOptions) -> Normalizer {
        let [projections, rows, columns] = self.shape;
        Normalizer::new(options, columns, rows, projections, self.dark.clone(), self.flats.clone()).unwrap()
    }

    /// Largest error of every row and of every projection against `flat(projection, pixel)`, in units of
    /// max(1, |truth|).
    fn check(&self, options: NormalizeOptions, flat: impl Fn(usize, usize) -> f64) {
        let [projections, rows, columns] = self.shape;
        let normalizer = self.normalizer(options);
        let mut by_row = vec![0.0; projections * columns];
        let mut whole = vec![0.0; rows * columns];
        for row in 0..rows {
            let counts = normalizer.sinogram(&self.block, row, &mut by_row).unwrap();
            let mut clipped = 0;
            for i in 0..projections {
                let raw = &self.block[i * rows * columns..(i + 1) * rows * columns];
                normalizer.projection(i, raw, &mut whole).unwrap();
                for j in 0..columns {
                    let at = row * columns + j;
                    let dark = f64::from(self.dark[at]);
                    let truth = plain(f64::from(raw[at]), dark, flat(i, at), 0.01);
                    clipped += usize::from(truth == -0.01f64.ln());
                    let value = by_row[i * columns + j];
                    assert_eq!(value, whole[at]);
                    let error = (f64::from(value) - truth).abs();
                    assert!(error < 1e-6 * truth.abs().max(1.0), "{value} {truth}");
                }
            }
            assert_eq!(counts, Counts { non_finite: 0, clipped });
            assert!(clipped > 0, "the scene should have something to clip");
        }
    }
}

#[test]
fn flats_by_mean_interpolation_and_nearness() {
    let scene = scene();
    let flat = |group: usize, pixel: usize| f64::from(scene.flats[group].mean[pixel]);
    let options = |method| NormalizeOptions { method, ..Default::default() };
    // 30 frames in group 1, 10 in group 0.
    scene.check(options(FlatMethod::Mean), |_, p| 0.75 * flat(1, p) + 0.25 * flat(0, p));
    scene.check(options(FlatMethod::Interpolated), |i, p| {
        flat(1, p) + (flat(0, p) - flat(1, p)) * i as f64 / 21.0
    });
    // The middle between 0 and 21 rounds half to even: 10.
    scene.check(options(FlatMethod::Nearest), |i, p| if i < 10 { flat(1, p) } else { flat(0, p) });
}

#[test]
fn all_sample_types_agree_and_raw_transmission_is_not_clipped() {
    let scene = scene();
    let [projections, _, columns] = scene.shape;
    let options = NormalizeOptions { log: false, ..Default::default() };
    let normalizer = scene.normalizer(options);
    let bytes: Vec<u8> = scene.block.iter().map(|x| (x / 8) as u8).collect();
    let words: Vec<u16> = bytes.iter().map(|x| u16::from(*x)).collect();
    let floats: Vec<f32> = bytes.iter().map(|x| f32::from(*x)).collect();
    let mut out = vec![vec![0.0; projections * columns]; 3];
    normalizer.sinogram(&bytes, 1, &mut out[0]).unwrap();
    normalizer.sinogram(&words, 1, &mut out[1]).unwrap();
    normalizer.sinogram(&floats, 1, &mut out[2]).unwrap();
    assert!(out[0] == out[1] && out[1] == out[2]);
    assert!(out[0].iter().any(|x| *x < 0.0), "counts below the dark level stay negative without log");
}

#[test]
fn dead_flat_pixels_divide_by_the_smallest_beam() {
    // flat = dark: TomoPy divides by 1e-6.
    let options = NormalizeOptions { log: false, ..Default::default() };
    let group = FlatGroup::new(0.0, vec![10.0; 4]);
    let normalizer = Normalizer::new(options, 4, 1, 1, vec![10.0; 4], vec![group]).unwrap();
    let mut out = [0.0; 4];
    normalizer.sinogram(&[11u16, 10, 9, 12], 0, &mut out).unwrap();
    assert_eq!(out, [1e6, 0.0, -1e6, 2e6]);
}

#[test]
fn values_that_are_not_finite_are_interpolated_and_counted() {
    let group = FlatGroup::new(0.0, vec![1.0, f32::NAN, 1.0, 1.0, 1.0]);
    let dark = vec![0.0, 0.0, f32::INFINITY, 0.0, 0.0];
    let options = NormalizeOptions { log: false, ..Default::default() };
    let normalizer = Normalizer::new(options, 5, 1, 2, dark, vec![group]).unwrap();
    assert_eq!(normalizer.repaired_references(), 2);
    let block = [0.2, f32::NAN, f32::NEG_INFINITY, 0.5, f32::NAN, 0.1, 0.2, 0.3, 0.4, 0.5];
    let mut out = [0.0; 10];
    let counts = normalizer.sinogram(&block, 0, &mut out).unwrap();
    assert_eq!(counts, Counts { non_finite: 3, clipped: 0 });
    let expected = [0.2, 0.3, 0.4, 0.5, 0.5, 0.1, 0.2, 0.3, 0.4, 0.5];
    assert!(out.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{out:?}");
    let blank = FlatGroup::new(0.0, vec![f32::NAN; 5]);
    assert!(Normalizer::new(options, 5, 1, 2, vec![0.0; 5], vec![blank]).is_err());
}

#[test]
fn angle_factors_and_exposure_scale_the_transmission() {
    let scene = scene();
    let [projections, rows, columns] = scene.shape;
    let size = rows * columns;
    let region = Region { rows: 1..3, columns: 10..30 };
    let options = NormalizeOptions {
        method: FlatMethod::Region,
        log: false,
        exposure_ratio: 2.0,
        ..Default::default()
    };
    let bare = scene.normalizer(options);
    assert!(bare.sinogram(&scene.block, 0, &mut vec![0.0; projections * columns]).is_err(), "no factors yet");
    let bare = bare.with_angle_factors(Vec::new());
    let factors: Vec<f32> = (0..projections)
        .map(|i| bare.region_transmission(i, &scene.block[i * size..(i + 1) * size], &region).unwrap())
        .collect();
    let normalizer = scene.normalizer(options).with_angle_factors(factors);
    let mut whole = vec![0.0; size];
    for i in 0..projections {
        normalizer.projection(i, &scene.block[i * size..(i + 1) * size], &mut whole).unwrap();
        let inside = (1..3).flat_map(|r| whole[r * columns + 10..r * columns + 30].to_vec());
        let mean = inside.map(f64::from).sum::<f64>() / 40.0;
        assert!((mean - 2.0).abs() < 1e-5, "the region's mean is the exposure ratio, not {mean}");
    }
    let outside = Region { rows: 0..4, columns: 0..1 };
    assert!(bare.region_transmission(0, &scene.block[..size], &outside).is_err());
}

#[test]
fn goldens_of_normalisation() {
    let Some((shape, tomo)) = npy("tomopy/tomo.npy") else { return };
    let (angles, rows, columns) = (shape[0], shape[1], shape[2]);
    let mean = |name: &str| {
        let (shape, values) = npy(name).unwrap();
        let frames = shape[0];
        (0..rows * columns)
            .map(|p| (0..frames).map(|f| values[f * rows * columns + p]).sum::<f32>() / frames as f32)
            .collect::<Vec<f32>>()
    };
    let (flat, dark) = (mean("tomopy/flat.npy"), mean("tomopy/dark.npy"));
    let check = |golden: &str, method, dark: Vec<f32>, flat: Vec<f32>| {
        let (_, golden) = npy(golden).unwrap();
        let options = NormalizeOptions { method, log: false, ..Default::default() };
        let normalizer =
            Normalizer::new(options, columns, rows, angles, dark, vec![FlatGroup::new(0.0, flat)]).unwrap();
        let mut out = vec![0.0; angles * columns];
        for row in 0..rows {
            normalizer.sinogram(&tomo, row, &mut out).unwrap();
            let error = relative_l2(&out, &sinogram(&shape, &golden, row));
            assert!(error < 1e-6, "{method:?}, row {row}: {error}");
        }
    };
    check("tomopy/normalize.npy", FlatMethod::Mean, dark, flat);
    let ones = vec![1.0; rows * columns];
    check("tomopy/normalize_bg.npy", FlatMethod::Background { air: 1 }, vec![0.0; rows * columns], ones);
}

#[test]
fn golden_of_minus_log_at_realistic_size() {
    let Some((shape, normalized)) = npy("tomopy-large/normalized.npy") else { return };
    let (_, log) = npy("tomopy-large/log.npy").unwrap();
    let (angles, rows, columns) = (shape[0], shape[1], shape[2]);
    let pixels = rows * columns;
    let group = FlatGroup::new(0.0, vec![1.0; pixels]);
    let normalizer =
        Normalizer::new(Default::default(), columns, rows, angles, vec![0.0; pixels], vec![group]).unwrap();
    let mut out = vec![0.0; angles * columns];
    for row in 0..rows {
        normalizer.sinogram(&normalized, row, &mut out).unwrap();
        let error = relative_l2(&out, &sinogram(&shape, &log, row));
        assert!(error < 1e-6, "row {row}: {error}");
    }
}

#[test]
fn bad_input_of_the_normaliser_is_refused() {
    let group = |n: usize| vec![FlatGroup::new(0.0, vec![1.0; n])];
    let new = |options, columns, rows, projections, dark: usize, flat| {
        Normalizer::new(options, columns, rows, projections, vec![0.0; dark], flat)
    };
    let default = NormalizeOptions::default();
    assert!(new(default, 4, 2, 3, 8, group(8)).is_ok());
    assert!(new(default, 0, 2, 3, 0, group(0)).is_err());
    assert!(new(default, usize::MAX, 2, 3, 8, group(8)).is_err());
    assert!(new(default, 4, 2, 3, 7, group(8)).is_err());
    assert!(new(default, 4, 2, 3, 8, group(7)).is_err());
    assert!(new(default, 4, 2, 3, 8, Vec::new()).is_err());
    for minimum_transmission in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert!(new(NormalizeOptions { minimum_transmission, ..default }, 4, 2, 3, 8, group(8)).is_err());
    }
    for air in [0, 5] {
        let options = NormalizeOptions { method: FlatMethod::Background { air }, ..default };
        assert!(new(options, 4, 2, 3, 8, group(8)).is_err());
    }
    let normalizer = new(default, 4, 2, 3, 8, group(8)).unwrap();
    let mut out = [0.0; 12];
    assert!(normalizer.sinogram(&[1u16; 24], 2, &mut out).is_err());
    assert!(normalizer.sinogram(&[1u16; 23], 1, &mut out).is_err());
    assert!(normalizer.sinogram(&[1u16; 24], 1, &mut out[..11]).is_err());
    assert!(normalizer.projection(3, &[1u16; 8], &mut out[..8]).is_err());
    assert!(normalizer.sinogram(&[1u16; 24], 1, &mut out).is_ok());
}
