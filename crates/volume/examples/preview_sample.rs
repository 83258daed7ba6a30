//! Draws previews of invented data, to look at: `preview_sample OUT_FOLDER`.
#![allow(missing_docs)]

use volume::preview::{EvidenceStrip, Plane, Planes, Preview, png};
use volume::{Histogram, Window};

/// Foam: a cylinder with round holes, and some noise.
fn foam(z: f64, y: f64, x: f64) -> f32 {
    if x * x + y * y > 0.81 {
        return 0.0;
    }
    let mut value = 1.0;
    for i in 0..60u32 {
        let part = |k: u32| {
            let mut h = ((i << 8) | k).wrapping_mul(0x9e37_79b9);
            for _ in 0..2 {
                h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
                h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
            }
            f64::from((h ^ (h >> 16)) >> 8) / f64::from(1 << 24)
        };
        let (cz, cy, cx, r) =
            (part(1) * 1.0 - 0.5, part(2) * 2.0 - 1.0, part(3) * 2.0 - 1.0, 0.06 + 0.16 * part(4));
        if (z - cz).powi(2) + (y - cy).powi(2) + (x - cx).powi(2) < r * r {
            value = 0.08;
        }
    }
    let bits = (z.to_bits() ^ y.to_bits().rotate_left(17) ^ x.to_bits().rotate_left(31))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (value + 0.3 * (f64::from((bits >> 40) as u32) / f64::from(1 << 24) - 0.5)) as f32
}

fn plane(width: usize, height: usize, place: &str, at: impl Fn(f64, f64) -> f32) -> Plane {
    let of = |i: usize, n: usize| (i as f64 + 0.5) / n as f64 * 2.0 - 1.0;
    let values = (0..width * height).map(|i| at(of(i / width, height), of(i % width, width))).collect();
    Plane { width, height, values, place: place.into() }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = std::path::PathBuf::from(std::env::args().nth(1).ok_or("an output folder, please")?);
    std::fs::create_dir_all(&out)?;
    let candidates: Vec<f64> = (0..7).map(|i| 1283.25 + 1.5 * (i as f64 - 3.0)).collect();
    let tiles: Vec<Vec<f32>> = (0..7)
        .map(|i| {
            let shift = (f64::from(i) - 3.0) * 0.03;
            plane(256, 256, "", |y, x| 0.5 * (foam(0.0, y, x + shift) + foam(0.0, y, x - shift))).values
        })
        .collect();
    for (name, nz) in [("flat", 360), ("cube", 1000), ("quick", 1)] {
        let thick = nz as f64 / 1000.0;
        let xy = plane(1000, 1000, "z = 540", |y, x| foam(0.0, y, x));
        let mut histogram = Histogram::new();
        histogram.add(&xy.values);
        let planes = if nz == 1 {
            Planes::single(xy.values, 1000, Some(0.65), "z = 540".into())?
        } else {
            Planes {
                xz: Some(plane(1000, nz, "y = 1280", |z, x| foam(z * thick, 0.0, x))),
                yz: Some(plane(nz, 1000, "x = 1280", |y, z| foam(z * thick, y, 0.0))),
                xy,
                extent: [0.65 * 2.56 * nz as f64, 1664.0, 1664.0],
                micrometres: true,
            }
        };
        let window: Window = histogram.window();
        let preview = Preview {
            title: "20260704_143112_sea_shell_x00y01",
            subtitle: "980 x 2560 x 2560 voxels of 0.65 µm, float32   recipe default   centre 1283.25 ± 0.05 px",
            facts: &[
                ("volume", "980 x 2560 x 2560".into()),
                ("voxel", "0.65 µm".into()),
                ("centre", "1283.25 ± 0.05 px, found".into()),
                ("recipe", "default".into()),
                ("values", "-0.31 to 2.80 1/cm".into()),
            ],
            planes: &planes,
            window,
            unit: "1/cm",
            histogram: Some(&histogram),
            evidence: Some(EvidenceStrip {
                candidates: &candidates,
                size: 256,
                tiles: &tiles,
                chosen: 1283.25,
                caption: "Rotation centre, row 540: found, confidence 0.93",
            }),
        };
        std::fs::write(out.join(format!("{name}.png")), png(&preview)?)?;
    }
    Ok(())
}
