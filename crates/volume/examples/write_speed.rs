//! Measures what writing costs: CPU and wall seconds per slice of 2560 × 2560 by format and step.
//!
//! ```text
//! cargo run --release -p beamrail-volume --example write_speed -- OUT_FOLDER [SLABS] [lz4:1|zstd:1|none] [0.4|0.5]
//! ```
#![allow(missing_docs, clippy::print_stdout)]

use std::time::{Duration, Instant};

use volume::{Compression, Histogram, OmeVersion, OmeZarr, Pyramid, TiffStack, VolumeSpec};

/// CPU time of the process so far.
fn cpu() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

fn compression(text: &str) -> Result<Compression, Box<dyn std::error::Error>> {
    Ok(match text.split_once(':') {
        Some(("lz4", level)) => Compression::Lz4 { level: level.parse()? },
        Some(("zstd", level)) => Compression::Zstd { level: level.parse()? },
        _ => Compression::None,
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |i: usize, default: &str| args.get(i).cloned().unwrap_or(default.to_owned());
    let out = std::path::PathBuf::from(args.first().ok_or("an output folder, please")?);
    let slabs: usize = arg(1, "1").parse()?;
    let (compression, version): (_, OmeVersion) = (compression(&arg(2, "lz4:1"))?, arg(3, "0.4").parse()?);
    let n = 2560;
    let spec = VolumeSpec {
        shape: [32 * slabs, n, n],
        first_row: 0,
        row_step: 1,
        voxel_um: Some([0.65; 3]),
        dtype: volume::DataType::F32,
        scaling: None,
        unit: "1/cm".into(),
        name: "recspeed".into(),
        provenance: serde_json::Value::Null,
    };
    // Ring-noisy foam inside a circle: as hard to compress as a real reconstruction.
    let mut values = vec![0f32; 32 * n * n];
    let mut state = 1u64;
    for (i, v) in values.iter_mut().enumerate() {
        let (y, x) = ((i / n % n) as f32 - n as f32 / 2.0, (i % n) as f32 - n as f32 / 2.0);
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if x * x + y * y < (n * n / 4) as f32 {
            let noise = (state >> 40) as f32 / (1 << 24) as f32 - 0.5;
            *v = 2.0 + (x * 0.02).sin() * (y * 0.03).sin() + noise;
        }
    }
    let slices = spec.shape[0] as f64;
    let report = |what: &str, start: Instant, cpu0: Duration| {
        let (wall, cpu) = (start.elapsed().as_secs_f64(), (cpu() - cpu0).as_secs_f64());
        println!("{what:12} {:7.4} CPU s/slice  {:7.4} s/slice", cpu / slices, wall / slices);
    };
    let tiffs = TiffStack::create(&out.join("recspeed"), "speed", &spec)?;
    let (start, c) = (Instant::now(), cpu());
    for z in 0..spec.shape[0] {
        let at = z % 32 * n * n;
        tiffs.write(z, &values[at..at + n * n])?;
    }
    report("tiff", start, c);
    let zarr = OmeZarr::create(&out.join("recspeed.zarr"), &spec, version, compression)?;
    let (start, c) = (Instant::now(), cpu());
    let mut bytes = 0;
    for slab in 0..slabs {
        bytes += zarr.write_slab(slab, &values)?.iter().map(|r| r.size).sum::<u64>();
    }
    report("level 0", start, c);
    println!("             {:.2} of the voxels' bytes", bytes as f64 / spec.bytes() as f64);
    let (start, c) = (Instant::now(), cpu());
    let mut pyramid = Pyramid::new(&zarr, 0..slabs);
    for slab in 0..slabs {
        pyramid.push(slab, &values)?;
    }
    report("levels", start, c);
    let (start, c) = (Instant::now(), cpu());
    let mut histogram = Histogram::new();
    for _ in 0..slabs {
        histogram.add(&values);
    }
    report("histogram", start, c);
    let (start, c) = (Instant::now(), cpu());
    volume::sync_filesystem(&out)?;
    report("sync", start, c);
    Ok(())
}
