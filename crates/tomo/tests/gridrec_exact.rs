//! `exact` mode against the truth and against f64 filtered back-projection, on every set of vector instructions.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic)]

mod support;

use std::f64::consts::PI;

use support::{
    BandLimitedDisc, Disc, Noise, band_limited_disc_sinogram, circle_mean, disc_pixels, disc_sinogram,
    half_turn, long, npy, paths, pixel_disc_sinogram, relative_l2, shared, sinogram,
};
use tomo::angular::AngularFill;
use tomo::fbp::fbp_points;
use tomo::gridrec::{Filter, Gridrec, GridrecOptions, Padding};

/// Reconstructs one slice.
fn reconstruct(options: &GridrecOptions, sinogram: &[f32]) -> Vec<f32> {
    let gridrec = Gridrec::new(options).unwrap();
    let mut image = vec![f32::NAN; options.columns * options.columns];
    gridrec.reconstruct_one(&mut gridrec.workspace(), sinogram, &mut image).unwrap();
    image
}

/// Reconstructs one slice on every path.
fn reconstruct_all(options: &GridrecOptions, sinogram: &[f32]) -> Vec<Vec<f32>> {
    paths()
        .into_iter()
        .map(|arch| {
            let gridrec = Gridrec::new(options).unwrap().with_arch(arch);
            let mut image = vec![f32::NAN; options.columns * options.columns];
            gridrec.reconstruct_one(&mut gridrec.workspace(), sinogram, &mut image).unwrap();
            image
        })
        .collect()
}

/// Unit discs wholly inside the field of view, at 0 to 0.95 of its half width, spread over directions.
fn ring_of_discs(columns: usize) -> Vec<Disc> {
    let half = columns as f64 / 2.0;
    (0..=19)
        .map(|i| {
            let (r, turn) = (0.05 * f64::from(i) * half, 2.4 * f64::from(i));
            Disc { x: r * turn.cos(), y: r * turn.sin(), radius: 0.02 * half, value: 1.0 }
        })
        .collect()
}

/// Line integrals of discs: discs, columns, centre, angles.
type Sinogram = fn(&[Disc], usize, f64, &[f64]) -> Vec<f32>;

/// Largest deviation from 1 of what `gain` finds for a disc in the image (columns × columns), over discs and paths.
fn gain_error(columns: usize, sinogram_of: Sinogram, gain: impl Fn(&[f32], &Disc) -> f64) -> f64 {
    let discs = ring_of_discs(columns);
    let center = columns as f64 / 2.0 - 0.5;
    let mut options = GridrecOptions::new(columns, half_turn((1.58 * columns as f64) as usize), center);
    options.mask_ratio = Some(1.0);
    let images = reconstruct_all(&options, &sinogram_of(&discs, columns, center, &options.angles));
    let errors = images.iter().flat_map(|image| discs.iter().map(|disc| (gain(image, disc) - 1.0).abs()));
    let worst = errors.fold(0.0, f64::max);
    println!("{columns} columns: largest gain error {worst:.2e}");
    worst
}

/// Mean of the pixels whose centres lie within the inner 60 % of a disc, over the mean of what they ought to be.
fn pixels_gain(columns: usize, ideal: impl Fn(f64) -> f64) -> impl Fn(&[f32], &Disc) -> f64 {
    move |image, disc| {
        let pixels = disc_pixels(image, columns, disc.x, disc.y, 0.6 * disc.radius);
        let (wanted, found) = pixels.iter().fold((0.0, 0.0), |(w, f), (r, value)| (w + ideal(*r), f + value));
        found / wanted
    }
}

/// The requirement: 0.2 %, for discs with sharp edges as a detector sees them, and the mean over the circle that is
/// their inner 60 %.
#[test]
fn sharp_unit_discs_are_one_within_a_fifth_of_a_percent_at_512_1024_and_2560_columns() {
    for columns in [512, 1024, 2560] {
        let gain =
            |image: &[f32], disc: &Disc| circle_mean(image, columns, disc.x, disc.y, 0.6 * disc.radius);
        assert!(gain_error(columns, pixel_disc_sinogram, gain) < 0.002);
    }
}

/// Pixel by pixel a disc of 5 or 10 pixels with sharp edges is beyond what pixels can hold: its band-limited image rings
/// by more than 0.2 %, so this is what single pixels are compared with. Measured: a tenth of the tolerance.
#[test]
fn unit_discs_are_one_at_512_and_1024_columns() {
    for columns in [512, 1024] {
        let ideal = BandLimitedDisc::new(0.01 * columns as f64);
        let gain = pixels_gain(columns, |r| ideal.at(r));
        assert!(gain_error(columns, band_limited_disc_sinogram, gain) < 0.002);
    }
}

/// The same with sharp discs whose line integrals are sampled as they are, and 1 as the truth.
#[test]
fn unit_discs_are_one_at_1024_and_2560_columns_however_sampled() {
    for columns in [1024, 2560] {
        assert!(gain_error(columns, disc_sinogram, pixels_gain(columns, |_| 1.0)) < 0.002);
    }
}

/// Noise and discs, uneven angles, off-centre axis: everything that gridding could blur or shift.
fn against_fbp(options: &GridrecOptions, points: usize) -> f64 {
    let n = options.columns;
    let mut discs = ring_of_discs(n);
    discs.push(Disc { x: 0.1 * n as f64, y: -0.05 * n as f64, radius: 0.2 * n as f64, value: 0.5 });
    let mut sinogram = disc_sinogram(&discs, n, options.center, &options.angles);
    let mut noise = Noise(7);
    for value in &mut sinogram {
        *value += (0.002 * n as f64 * noise.next()) as f32;
    }
    let axis = n.div_ceil(2) as f64;
    let limit = options.mask_ratio.map_or(2.0, f64::from) * n as f64 / 2.0 - 2.5;
    let mut chosen = Vec::new();
    while chosen.len() < points {
        let (row, column) = (
            (0.5 * (noise.next() + 1.0) * n as f64) as usize,
            (0.5 * (noise.next() + 1.0) * n as f64) as usize,
        );
        let inside = (column as f64 - axis).hypot(n as f64 - 1.0 - row as f64 - axis) < limit;
        if row < n && column < n && inside {
            chosen.push((row, column));
        }
    }
    let reference = fbp_points(options, &sinogram, &chosen).unwrap();
    let errors = reconstruct_all(options, &sinogram).into_iter().map(|image| {
        let ours: Vec<f64> = chosen.iter().map(|&(row, column)| f64::from(image[row * n + column])).collect();
        relative_l2(&ours, &reference)
    });
    errors.fold(0.0, f64::max)
}

/// Tolerance 2e-4 (the requirement); measured 1e-6 to 4e-5. Every filter, padding, parity and kind of scan.
#[test]
fn agrees_with_filtered_back_projection() {
    let uneven: Vec<f64> = (0..301).map(|i| (f64::from(i) / 301.0 + 0.001 * f64::from(i % 7)) * PI).collect();
    let full_turn: Vec<f64> = (0..400).map(|i| 0.3 - 2.0 * PI * f64::from(i) / 400.0).collect();
    let both_ends: Vec<f64> = (0..=300).map(|i| PI * f64::from(i) / 300.0).collect();
    let butterworth = Filter::Butterworth { cutoff: 0.25, order: 2.0 };
    for (columns, angles, center, filter, padding, mask) in [
        (256, &both_ends, 127.5, Filter::Ramlak, Padding::None, Some(1.0)),
        (256, &both_ends, 131.27, Filter::Shepp, Padding::Zero(40), None),
        (256, &uneven, 120.4, butterworth, Padding::Edge(53), Some(1.0)),
        (255, &full_turn, 127.1, Filter::Hann, Padding::None, None),
        (255, &both_ends, 30.7, Filter::Cosine, Padding::Edge(200), None),
        (129, &uneven, 64.0, Filter::Parzen, Padding::None, Some(0.9)),
        (128, &both_ends, 64.3, Filter::Hamming, Padding::Edge(10), None),
        (128, &both_ends, 64.3, Filter::None, Padding::Edge(10), None),
        (40, &both_ends, 19.3, Filter::Ramlak, Padding::None, None),
        (7, &both_ends, 3.2, Filter::Ramlak, Padding::None, None),
    ] {
        let mut options = GridrecOptions::new(columns, angles.clone(), center);
        options.filter = filter;
        options.padding = padding;
        options.mask_ratio = mask;
        options.scale = 3.0;
        let error = against_fbp(&options, 600);
        println!("{columns} {filter:?} {padding:?} {mask:?}: {error:.2e}");
        assert!(error < 2e-4, "{columns} {filter:?} {padding:?} {mask:?}: {error:.2e}");
    }
}

#[test]
fn agrees_with_filtered_back_projection_at_full_size() {
    if !long("the comparison at 2560 columns") {
        return;
    }
    // White noise under the bare ramp is the hardest there is: most of it lies just below Nyquist.
    for filter in [Filter::Ramlak, Filter::Butterworth { cutoff: 0.25, order: 2.0 }] {
        let mut options = GridrecOptions::new(2560, half_turn(1313), 1283.25);
        options.mask_ratio = Some(1.0);
        options.filter = filter;
        let error = against_fbp(&options, 2000);
        println!("2560 × 1313 {filter:?}: {error:.2e}");
        assert!(error < 2e-4, "{filter:?}: {error:.2e}");
    }
}

/// A quarter of TomoPy's own error on the same data, with the same filter. What is left is in the data: 512 angles for
/// 1024 columns leave streaks, and no window of the ramp, Wiener's included, gets below 0.21 of TomoPy's error.
/// Root mean square errors of an image of `data/tomopy-large` and of TomoPy's, against the truth.
fn errors(image: &[f32], theirs: &[f64], truth: &[f64]) -> (f64, f64) {
    let n = 1024;
    let (mut ours2, mut theirs2, mut count) = (0.0, 0.0, 0);
    for i in 0..n * n {
        let (x, y) = ((i % n) as f64 - 512.0, (i / n) as f64 - 511.0);
        if x.hypot(y) < 0.47 * 1024.0 {
            ours2 += (f64::from(image[i]) - truth[i]).powi(2);
            theirs2 += (theirs[i] - truth[i]).powi(2);
            count += 1;
        }
    }
    ((ours2 / f64::from(count)).sqrt(), (theirs2 / f64::from(count)).sqrt())
}

#[test]
fn is_four_times_nearer_to_the_truth_than_tomopy_and_five_times_with_filled_angles() {
    let Some(folder) = shared("tomopy-large") else { return };
    let (shape, projections) = npy(&folder.join("clean_sinogram.npy"));
    let (_, truth) = npy(&folder.join("truth_per_pixel.npy"));
    let (_, theirs) = npy(&folder.join("gridrec_clean_butterworth.npy"));
    let n = shape[2];
    let angles: Vec<f64> = (0..512).map(|i| -(180.0 * f64::from(i) / 511.0).to_radians()).collect();
    let mut options = GridrecOptions::new(n, angles.clone(), 515.25);
    options.filter = Filter::Butterworth { cutoff: 0.25, order: 2.0 };
    options.padding = Padding::Edge(212);
    let fill = AngularFill::new(&angles, n, 515.25).unwrap();
    // Streaks gone, a window that keeps more of the edges pays.
    let full = GridrecOptions { angles: fill.angles(), filter: Filter::Shepp, ..options.clone() };
    let rows = [0, 1].map(|row| sinogram(&shape, &projections, row));
    let mut filled = [0, 1].map(|_| vec![0f32; fill.filled() * n]);
    let [first, second] = &mut filled;
    fill.apply_pair(&mut fill.workspace(), [&rows[0], &rows[1]], [first, second]).unwrap();
    for row in 0..2 {
        let slice = row * n * n..(row + 1) * n * n;
        let (truth, theirs) = (&truth[slice.clone()], &theirs[slice]);
        let (ours, tomopys) = errors(&reconstruct(&options, &rows[row]), theirs, truth);
        println!("row {row}: rms error {ours:.3e}, TomoPy's {tomopys:.3e}");
        assert!(ours < tomopys / 4.0, "row {row}: {ours:.3e} against {tomopys:.3e}");
        let (ours, _) = errors(&reconstruct(&full, &filled[row]), theirs, truth);
        println!("row {row}, angles filled: rms error {ours:.3e}");
        assert!(ours < tomopys / 5.0, "row {row}, angles filled: {ours:.3e} against {tomopys:.3e}");
    }
}
