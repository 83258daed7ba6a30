//! What several tests need: NumPy files, phantoms with known line integrals, norms.
#![allow(dead_code, missing_docs, unreachable_pub)]
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

/// Every set of instructions that this processor can run, the portable one first.
pub fn paths() -> Vec<pulp::Arch> {
    let mut paths = vec![pulp::Arch::Scalar];
    #[cfg(target_arch = "x86_64")]
    {
        paths.extend(pulp::x86::V3::try_new().map(pulp::Arch::V3));
        paths.extend(pulp::x86::V4::try_new().map(pulp::Arch::V4));
    }
    #[cfg(not(target_arch = "x86_64"))]
    paths.push(pulp::Arch::new());
    paths
}

/// The folder of reference data, or None (and a printed line) where a clone has none.
pub fn shared(folder: &str) -> Option<PathBuf> {
    let root = match std::env::var_os("BEAMRAIL_SHARED") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
    };
    let path = root.join("data").join(folder);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: no reference data at {}", path.display());
    None
}

/// Whether the heavy tests were asked for.
pub fn long(name: &str) -> bool {
    let wanted = std::env::var_os("BEAMRAIL_LONG").is_some_and(|v| v == "1");
    if !wanted {
        println!("skipped: {name} runs with BEAMRAIL_LONG=1");
    }
    wanted
}

/// A little-endian f4, f8 or i4 array in C order, as f64, with its shape.
pub fn npy(path: &Path) -> (Vec<usize>, Vec<f64>) {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(&bytes[..6], b"\x93NUMPY");
    let header = u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    let text = std::str::from_utf8(&bytes[10..10 + header]).unwrap();
    assert!(text.contains("'fortran_order': False"), "{text}");
    let shape = text.split("'shape': (").nth(1).unwrap().split(')').next().unwrap();
    let shape: Vec<usize> = shape.split(',').filter_map(|s| s.trim().parse().ok()).collect();
    let data = &bytes[10 + header..];
    let kind = text.split("'descr': '").nth(1).unwrap().split('\'').next().unwrap();
    let values: Vec<f64> = match kind {
        "<f4" => data.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect(),
        "<f8" => data.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
        "<i4" => data.chunks_exact(4).map(|b| f64::from(i32::from_le_bytes(b.try_into().unwrap()))).collect(),
        other => panic!("{}: type {other}", path.display()),
    };
    assert_eq!(values.len(), shape.iter().product::<usize>());
    (shape, values)
}

/// Row `row` of projections (angles, rows, columns) as an f32 sinogram.
pub fn sinogram(shape: &[usize], values: &[f64], row: usize) -> Vec<f32> {
    let (rows, columns) = (shape[1], shape[2]);
    (0..shape[0])
        .flat_map(|a| {
            values[(a * rows + row) * columns..(a * rows + row + 1) * columns].iter().map(|v| *v as f32)
        })
        .collect()
}

pub fn relative_l2(ours: &[f64], truth: &[f64]) -> f64 {
    assert_eq!(ours.len(), truth.len());
    let difference: f64 = ours.iter().zip(truth).map(|(a, b)| (a - b).powi(2)).sum();
    (difference / truth.iter().map(|b| b * b).sum::<f64>()).sqrt()
}

/// A disc of constant value; position in pixels from the rotation axis.
#[derive(Debug, Clone, Copy)]
pub struct Disc {
    pub x: f64,
    pub y: f64,
    pub radius: f64,
    pub value: f64,
}

/// Exact line integrals of discs at the detector's pixel centres.
pub fn disc_sinogram(discs: &[Disc], columns: usize, center: f64, angles: &[f64]) -> Vec<f32> {
    let mut sinogram = vec![0.0f64; columns * angles.len()];
    for (row, angle) in sinogram.chunks_exact_mut(columns).zip(angles) {
        let (sin, cos) = angle.sin_cos();
        for disc in discs {
            let middle = disc.x * cos + disc.y * sin;
            let first = (center + middle - disc.radius).ceil().max(0.0) as usize;
            let last = ((center + middle + disc.radius).floor().max(-1.0) + 1.0) as usize;
            for (column, value) in row.iter_mut().enumerate().take(last).skip(first) {
                let s = column as f64 - center - middle;
                *value += 2.0 * disc.value * (disc.radius * disc.radius - s * s).max(0.0).sqrt();
            }
        }
    }
    sinogram.into_iter().map(|v| v as f32).collect()
}

/// Line integrals of discs as a real detector sees them: averaged over the width of each pixel, exactly.
pub fn pixel_disc_sinogram(discs: &[Disc], columns: usize, center: f64, angles: &[f64]) -> Vec<f32> {
    let mut sinogram = vec![0.0f64; columns * angles.len()];
    for (row, angle) in sinogram.chunks_exact_mut(columns).zip(angles) {
        let (sin, cos) = angle.sin_cos();
        for disc in discs {
            // The disc's area on one side of a line at distance s from its middle, but for a constant.
            let area = |s: f64| {
                let s = s.clamp(-disc.radius, disc.radius);
                s * (disc.radius * disc.radius - s * s).sqrt()
                    + disc.radius * disc.radius * (s / disc.radius).asin()
            };
            let middle = center + disc.x * cos + disc.y * sin;
            let first = (middle - disc.radius - 0.5).floor().max(0.0) as usize;
            let last = (middle + disc.radius + 1.5).ceil().max(0.0) as usize;
            for (column, value) in row.iter_mut().enumerate().take(last).skip(first) {
                let s = column as f64 - middle;
                *value += disc.value * (area(s + 0.5) - area(s - 0.5));
            }
        }
    }
    sinogram.into_iter().map(|v| v as f32).collect()
}

/// Line integrals of discs as an ideal detector samples them: band-limited to its Nyquist frequency before sampling.
///
/// A disc's edge has detail finer than any pixel. Sampled as it is, that detail folds back and changes the disc's apparent
/// mass, by up to 1 % for a disc of five pixels; no reconstruction can undo it.
pub fn band_limited_disc_sinogram(discs: &[Disc], columns: usize, center: f64, angles: &[f64]) -> Vec<f32> {
    use rustfft::num_complex::Complex64;
    const FINER: usize = 16;
    let (length, long) = (2 * columns, 2 * columns * FINER);
    let mut planner = rustfft::FftPlanner::<f64>::new();
    let (forward, backward) = (planner.plan_fft_forward(long), planner.plan_fft_inverse(length));
    let mut sinogram = Vec::with_capacity(columns * angles.len());
    for angle in angles {
        let (sin, cos) = angle.sin_cos();
        let mut line = vec![Complex64::default(); long];
        for disc in discs {
            let middle = (center + disc.x * cos + disc.y * sin) * FINER as f64;
            let radius = disc.radius * FINER as f64;
            for i in (middle - radius).ceil() as usize..=(middle + radius).floor() as usize {
                let s = (i as f64 - middle) / FINER as f64;
                line[i].re += 2.0 * disc.value * (disc.radius * disc.radius - s * s).max(0.0).sqrt();
            }
        }
        forward.process(&mut line);
        let mut short = vec![Complex64::default(); length];
        for j in 0..columns {
            short[j] = line[j];
            if j > 0 {
                short[length - j] = line[long - j];
            }
        }
        backward.process(&mut short);
        sinogram.extend(short[..columns].iter().map(|v| (v.re / long as f64) as f32));
    }
    sinogram
}

/// Values of an n × n image (TomoPy's frame) within `radius` of a point, each with its distance.
pub fn disc_pixels(image: &[f32], n: usize, x: f64, y: f64, radius: f64) -> Vec<(f64, f64)> {
    let axis = n.div_ceil(2) as f64;
    let mut pixels = Vec::new();
    for row in 0..n {
        for column in 0..n {
            let (px, py) = (column as f64 - axis, n as f64 - 1.0 - row as f64 - axis);
            let distance = (px - x).hypot(py - y);
            if distance <= radius {
                pixels.push((distance, f64::from(image[row * n + column])));
            }
        }
    }
    pixels
}

/// Mean of an n × n image (TomoPy's frame) over a circle: each pixel counts by the part of its area inside.
pub fn circle_mean(image: &[f32], n: usize, x: f64, y: f64, radius: f64) -> f64 {
    const FINER: i32 = 16;
    let axis = n.div_ceil(2) as f64;
    let parts: Vec<f64> = (0..FINER).map(|i| (f64::from(i) + 0.5) / f64::from(FINER) - 0.5).collect();
    let (mut sum, mut weight) = (0.0, 0.0);
    let (first, last) = ((axis + x - radius - 1.0) as usize, (axis + x + radius + 2.0) as usize);
    for row in 0..n {
        let dy = n as f64 - 1.0 - row as f64 - axis - y;
        if dy.abs() > radius + 1.0 {
            continue;
        }
        for column in first..last.min(n) {
            let dx = column as f64 - axis - x;
            let inside =
                |u: &&f64| parts.iter().filter(|v| (dx + **u).hypot(dy + **v) <= radius).count() as f64;
            let part: f64 = parts.iter().map(|u| inside(&u)).sum();
            sum += part * f64::from(image[row * n + column]);
            weight += part;
        }
    }
    sum / weight
}

/// A unit disc of some radius, band-limited to 1/2 cycle per pixel: 2πR ∫ J1(2πRν) J0(2πrν) dν, tabulated over r.
pub struct BandLimitedDisc {
    step: f64,
    values: Vec<f64>,
}

impl BandLimitedDisc {
    pub fn new(radius: f64) -> Self {
        // Bessel's integral; the trapezoid rule is exact to rounding for these arguments.
        let bessel = |order: f64, x: f64| {
            let points = 64 + x as usize;
            (0..points)
                .map(|i| std::f64::consts::PI * (i as f64 + 0.5) / points as f64)
                .map(|t| (order * t - x * t.sin()).cos())
                .sum::<f64>()
                / points as f64
        };
        let tau = 2.0 * std::f64::consts::PI;
        let frequencies: Vec<(f64, f64)> = (0..600)
            .map(|i| 0.5 * (f64::from(i) + 0.5) / 600.0)
            .map(|nu| (nu, tau * radius * bessel(1.0, tau * radius * nu) * 0.5 / 600.0))
            .collect();
        let step = radius / 200.0;
        let at = |r: f64| frequencies.iter().map(|(nu, weight)| weight * bessel(0.0, tau * r * nu)).sum();
        Self { step, values: (0..=201).map(|i| at(step * f64::from(i))).collect() }
    }

    /// Value at a distance from the disc's middle, up to its radius.
    pub fn at(&self, r: f64) -> f64 {
        let i = (r / self.step).floor();
        let t = r / self.step - i;
        self.values[i as usize] * (1.0 - t) + self.values[i as usize + 1] * t
    }
}

/// Half-turn scan, 180° not included.
pub fn half_turn(count: usize) -> Vec<f64> {
    (0..count).map(|i| std::f64::consts::PI * i as f64 / count as f64).collect()
}

/// Deterministic noise, −1..1.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as f64 / (1u64 << 30) as f64) - 1.0
    }
}
