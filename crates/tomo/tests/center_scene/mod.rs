//! Scans whose centre is known: line integrals of random ellipses in closed form.
#![allow(dead_code)] // each test file uses its own part

use std::f64::consts::TAU;

/// A small reproducible generator (SplitMix64): the tests need no more.
pub struct Random(pub u64);

impl Random {
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn within(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    pub fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.uniform()).ln()).sqrt() * (TAU * self.uniform()).cos()
    }
}

/// Ellipse in the sample's own frame, pixels: centre, half axes, turn, attenuation per pixel.
pub struct Ellipse {
    pub x: f64,
    pub y: f64,
    pub a: f64,
    pub b: f64,
    pub turn: f64,
    pub value: f64,
}

/// A body with holes and grains, all within `radius` of the axis shifted by (x, y).
pub fn grains(random: &mut Random, radius: f64, count: usize) -> Vec<Ellipse> {
    let mut out =
        vec![Ellipse { x: 0.0, y: 0.0, a: radius, b: 0.9 * radius, turn: 0.4, value: 1.0 / radius }];
    for _ in 0..count {
        let size = radius * random.within(0.01, 0.09);
        let (r, t) = ((radius * 0.88 - size) * random.uniform().sqrt(), random.within(0.0, TAU));
        out.push(Ellipse {
            x: r * t.cos(),
            y: 0.9 * r * t.sin(),
            a: size,
            b: size * random.within(0.5, 1.0),
            turn: random.within(0.0, TAU),
            value: random.within(-0.9, 1.5) / radius,
        });
    }
    out
}

/// What a detector row sees: (angles, columns) line integrals, averaged over `samples` points across each pixel.
pub fn sinogram(
    ellipses: &[Ellipse],
    columns: usize,
    angles: &[f64],
    center: f64,
    samples: usize,
) -> Vec<f32> {
    let mut out = Vec::with_capacity(columns * angles.len());
    for &theta in angles {
        let mut row = vec![0.0f64; columns];
        let (s, c) = theta.sin_cos();
        for e in ellipses {
            let at = e.x * c + e.y * s + center;
            let (sn, cs) = (theta - e.turn).sin_cos();
            let half2 = e.a * e.a * cs * cs + e.b * e.b * sn * sn;
            let half = half2.sqrt();
            let first = (at - half - 1.0).floor().max(0.0) as usize;
            let last = ((at + half + 2.0).max(0.0) as usize).min(columns);
            for column in first..last {
                let mut sum = 0.0;
                for k in 0..samples {
                    let u = column as f64 + (k as f64 + 0.5) / samples as f64 - 0.5 - at;
                    sum += (half2 - u * u).max(0.0).sqrt();
                }
                row[column] += 2.0 * e.value * e.a * e.b * sum / (half2 * samples as f64);
            }
        }
        out.extend(row.iter().map(|&v| v as f32));
    }
    out
}

/// Photon noise at so many photons a pixel, and ring artefacts (a wrong gain per column) of relative size `rings`.
pub fn spoil(sinogram: &mut [f32], columns: usize, photons: f64, rings: f64, random: &mut Random) {
    let gain: Vec<f64> = (0..columns).map(|_| rings * random.normal()).collect();
    for row in sinogram.chunks_exact_mut(columns) {
        for (value, gain) in row.iter_mut().zip(&gain) {
            let transmission = (-f64::from(*value)).exp();
            let noisy = transmission + (transmission / photons).sqrt() * random.normal();
            *value = (-noisy.max(0.01).ln() + gain) as f32;
        }
    }
}

/// Angles in radians: `count` from `start` degrees, `range` degrees in all, the endpoint included or not.
pub fn angles(start: f64, range: f64, count: usize, endpoint: bool) -> Vec<f64> {
    let steps = if endpoint { count - 1 } else { count } as f64;
    (0..count).map(|i| (start + range * i as f64 / steps).to_radians()).collect()
}
