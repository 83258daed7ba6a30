//! Writes a small volume in every format, for the judges (`tests/judges/judge_volume.py`).
//!
//! ```text
//! cargo run --release -p beamrail-volume --example write_sample -- OUT [--ramp] [--ome-zarr 0.4|0.5]
//!     [--dtype float32|uint16|uint8] [--shape Z,Y,X] [--first-row N] [--row-step N] [--pixel-units]
//! ```
//!
//! With `--ramp` a voxel's value is the sum of its coordinates, so every level can be checked against its
//! transforms; else it is foam-like structure inside a circle.

#![allow(missing_docs)]

use std::path::PathBuf;

use volume::{
    Compression, DataType, Histogram, Manifest, OmeVersion, OmeZarr, Pyramid, Scaling, TiffStack, VolumeSpec,
};

type Failure = Box<dyn std::error::Error>;

struct Options {
    out: PathBuf,
    ramp: bool,
    version: OmeVersion,
    spec: VolumeSpec,
}

fn options() -> Result<Options, Failure> {
    let mut o = Options {
        out: PathBuf::new(),
        ramp: false,
        version: OmeVersion::V04,
        spec: VolumeSpec {
            shape: [75, 601, 333],
            first_row: 0,
            row_step: 1,
            voxel_um: Some([0.65; 3]),
            dtype: DataType::F32,
            scaling: None,
            unit: "1/cm".into(),
            name: "recsample".into(),
            provenance: serde_json::json!({ "sample": "synthetic", "size": "65 µm" }),
        },
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value"));
        match arg.as_str() {
            "--ramp" => o.ramp = true,
            "--ome-zarr" => o.version = value()?.parse()?,
            "--dtype" => o.spec.dtype = value()?.parse()?,
            "--first-row" => o.spec.first_row = value()?.parse()?,
            "--row-step" => o.spec.row_step = value()?.parse()?,
            "--pixel-units" => (o.spec.voxel_um, o.spec.unit) = (None, "1/pixel".into()),
            "--shape" => {
                let n = value()?.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
                o.spec.shape = n.try_into().map_err(|_| "--shape wants Z,Y,X")?;
            }
            _ => o.out = PathBuf::from(arg),
        }
    }
    if o.spec.dtype != DataType::F32 {
        o.spec.scaling = Some(Scaling { min: -1.0, max: 4.0 });
    }
    Ok(o)
}

/// The value of a voxel.
fn voxel(o: &Options, z: usize, y: usize, x: usize) -> f32 {
    let (s, t) = (o.spec.scale(), o.spec.origin());
    if o.ramp {
        return [z, y, x].iter().zip(s.iter().zip(t)).map(|(&i, (s, t))| i as f64 * s + t).sum::<f64>()
            as f32;
    }
    let [_, ny, nx] = o.spec.shape.map(|n| n as f32);
    let (u, v) = ((x as f32 + 0.5) / nx * 2.0 - 1.0, (y as f32 + 0.5) / ny * 2.0 - 1.0);
    if u * u + v * v > 1.0 {
        return 0.0;
    }
    let hash = ((z * 73_856_093) ^ (y * 19_349_663) ^ (x * 83_492_791)) as u32;
    let noise = hash.wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32 - 0.5;
    1.0 + (z as f32 * 0.31).sin() * (y as f32 * 0.17).sin() * (x as f32 * 0.13).cos() + 0.2 * noise
}

fn main() -> Result<(), Failure> {
    let o = options()?;
    let [nz, ny, nx] = o.spec.shape;
    let tiffs = TiffStack::create(&o.out.join("recsample"), "sample", &o.spec)?;
    let zarr = OmeZarr::create(&o.out.join("recsample.zarr"), &o.spec, o.version, Compression::default())?;
    let mut pyramid = Pyramid::new(&zarr, 0..zarr.slabs(0));
    let (mut files, mut histogram) = (Vec::new(), Histogram::new());
    for slab in 0..zarr.slabs(0) {
        let rows = slab * 32..((slab + 1) * 32).min(nz);
        let mut values = Vec::with_capacity(rows.len() * ny * nx);
        for z in rows.clone() {
            values.extend((0..ny * nx).map(|i| voxel(&o, z, i / nx, i % nx)));
        }
        for (z, slice) in rows.zip(values.chunks(ny * nx)) {
            files.push(tiffs.write(z, slice)?);
        }
        histogram.add(&values);
        files.extend(zarr.write_slab(slab, &values)?);
        files.extend(pyramid.push(slab, &values)?);
    }
    files.extend(zarr.finish(histogram.window())?);
    let manifest = Manifest::new("recsample", files)?;
    volume::sync_filesystem(&o.out)?;
    manifest.write(&o.out.join("recsample.manifest.json"))?;
    Ok(())
}
