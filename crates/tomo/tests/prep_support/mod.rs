//! What the pre-processing tests share: reading `.npy` goldens and comparing arrays.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

#[path = "../support/mod.rs"]
mod support;

/// A `.npy` of the shared test data as f32, with its shape; `None` (said on stdout) where there is none.
pub(crate) fn npy(name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
    let (folder, file) = name.rsplit_once('/').unwrap();
    let (shape, values) = support::npy(&support::shared(folder)?.join(file));
    Some((shape, values.into_iter().map(|value| value as f32).collect()))
}

/// Row `row` of a block (angles, rows, columns) as a sinogram (angles, columns).
pub(crate) fn sinogram(shape: &[usize], block: &[f32], row: usize) -> Vec<f32> {
    let (rows, columns) = (shape[1], shape[2]);
    block
        .chunks_exact(rows * columns)
        .flat_map(|p| p[row * columns..(row + 1) * columns].iter().copied())
        .collect()
}

/// ‖a − b‖ / ‖b‖.
pub(crate) fn relative_l2(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let (mut difference, mut norm) = (0.0f64, 0.0f64);
    for (a, b) in a.iter().zip(b) {
        difference += (f64::from(*a) - f64::from(*b)).powi(2);
        norm += f64::from(*b).powi(2);
    }
    (difference / norm).sqrt()
}

/// Reproducible values in −1..1.
pub(crate) struct Noise(pub(crate) u64);
impl Noise {
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 40) as f32) / (1u32 << 23) as f32 - 1.0
    }
}

/// A sinogram with smooth structure, noise and constant stripes.
pub(crate) fn striped(angles: usize, columns: usize, seed: u64) -> Vec<f32> {
    let mut noise = Noise(seed);
    let stripes: Vec<f32> =
        (0..columns).map(|_| if noise.next() > 0.8 { 0.3 * noise.next() } else { 0.0 }).collect();
    let mut out = Vec::with_capacity(angles * columns);
    for a in 0..angles {
        let phase = 3.0 * a as f32 / angles as f32;
        for (j, stripe) in stripes.iter().enumerate() {
            let x = 6.0 * j as f32 / columns as f32;
            out.push(2.0 + (x + phase).sin() * (1.7 * x).cos() + 0.05 * noise.next() + stripe);
        }
    }
    out
}
