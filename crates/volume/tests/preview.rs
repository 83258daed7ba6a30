//! The preview: deterministic, and drawable whatever the data.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::Arc;

use volume::preview::{EvidenceStrip, Middle, Plane, Planes, Preview, png};
use volume::{
    Batch, Compression, DataType, Histogram, OmeVersion, OmeZarr, PagePool, Pyramid, VolumeReader,
    VolumeSpec, Voxels, VoxelsRef, Window, WriteQueue,
};

fn planes(nz: usize, ny: usize, nx: usize, value: impl Fn(usize) -> f32) -> Planes {
    let plane = |width, height| Plane {
        width,
        height,
        values: (0..width * height).map(&value).collect(),
        place: "z = 1".into(),
    };
    Planes {
        xy: plane(nx, ny),
        xz: (nz > 1).then(|| plane(nx, nz)),
        yz: (nz > 1).then(|| plane(nz, ny)),
        extent: [nz as f64, ny as f64, nx as f64],
        micrometres: false,
    }
}

fn draw(
    planes: &Planes,
    histogram: &Histogram,
    evidence: Option<EvidenceStrip<'_>>,
) -> volume::Result<Vec<u8>> {
    png(&Preview {
        title: &"long name ".repeat(40),
        subtitle: "µ ± \u{4e2d} \u{0}",
        facts: &[("name", "value ".repeat(30))],
        planes,
        window: histogram.window(),
        unit: "1/cm",
        histogram: Some(histogram),
        evidence,
    })
}

/// Size of the picture and its pixels.
fn decode(bytes: &[u8]) -> (u32, u32, Vec<u8>) {
    let mut reader = ::png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    (info.width, info.height, pixels)
}

#[test]
fn any_shape_and_any_values_can_be_drawn() {
    for (nz, ny, nx) in
        [(1, 1, 1), (2, 1, 1), (1, 1, 5000), (1, 5000, 1), (3000, 2, 2), (40, 30, 20), (1, 9, 9)]
    {
        for kind in 0..3 {
            let planes = planes(nz, ny, nx, |i| match kind {
                0 => i as f32,
                1 => f32::NAN,
                _ => 3.0,
            });
            let mut h = Histogram::new();
            h.add(&planes.xy.values);
            let (width, height, _) = decode(&draw(&planes, &h, None).unwrap());
            assert!(width == 1440 && (200..4000).contains(&height), "{nz} {ny} {nx}: {width} x {height}");
        }
    }
}

#[test]
fn the_chosen_centre_is_marked_and_bytes_repeat() {
    let planes = planes(60, 80, 80, |i| (i % 7) as f32);
    let mut h = Histogram::new();
    h.add(&planes.xy.values);
    let candidates: Vec<f64> = (0..11).map(|i| 40.0 + 0.25 * f64::from(i)).collect();
    let tiles: Vec<Vec<f32>> = (0..11).map(|i| (0..64).map(|k| ((k * i) % 5) as f32).collect()).collect();
    let strip =
        |chosen| EvidenceStrip { candidates: &candidates, size: 8, tiles: &tiles, chosen, caption: "centre" };
    let one = draw(&planes, &h, Some(strip(41.3))).unwrap();
    assert_eq!(one, draw(&planes, &h, Some(strip(41.3))).unwrap());
    // 41.3 and 41.2 have the same nearest candidate; 42 has another one.
    assert_eq!(one, draw(&planes, &h, Some(strip(41.2))).unwrap());
    assert_ne!(one, draw(&planes, &h, Some(strip(42.0))).unwrap());
    for bad in [f64::NAN, f64::INFINITY] {
        draw(&planes, &h, Some(strip(bad))).unwrap();
    }
    let short = EvidenceStrip { tiles: &tiles[..3], ..strip(41.0) };
    assert!(draw(&planes, &h, Some(short)).is_err());
}

#[test]
fn inconsistent_data_is_refused() {
    let good = planes(1, 4, 4, |i| i as f32);
    let h = Histogram::new();
    for bad in [
        Planes { extent: [1.0, f64::NAN, 1.0], ..good.clone() },
        Planes { extent: [1.0, 0.0, 1.0], ..good.clone() },
        Planes { xy: Plane { width: 5, ..good.xy.clone() }, ..good.clone() },
        Planes { xy: Plane { width: 0, height: 0, values: vec![], place: String::new() }, ..good.clone() },
    ] {
        assert!(draw(&bad, &h, None).is_err(), "{bad:?}");
    }
    assert!(Planes::single(vec![1.0; 7], 2, None, String::new()).is_err());
    assert!(Planes::single(vec![], 2, None, String::new()).is_err());
    let window = Window { min: 0.0, max: 1.0, start: 1.0, end: 1.0 };
    let preview = Preview {
        title: "",
        subtitle: "",
        facts: &[],
        planes: &good,
        window,
        unit: "",
        histogram: None,
        evidence: None,
    };
    assert!(png(&preview).is_err());
}

#[test]
fn planes_come_from_the_middle_of_a_volume() {
    let dir = tempfile::tempdir().unwrap();
    let spec = VolumeSpec { voxel_um: Some([2.0, 1.0, 1.0]), ..common::spec([40, 520, 300]) };
    let path = dir.path().join("rec.zarr");
    let zarr = OmeZarr::create(&path, &spec, OmeVersion::V04, Compression::default()).unwrap();
    let mut pyramid = Pyramid::new(&zarr, 0..2);
    for s in 0..2usize {
        let rows = [32, 8][s];
        let voxel =
            |i: usize| ((s * 32 + i / (520 * 300)) * 1_000_000 + (i / 300 % 520) * 1_000 + i % 300) as f32;
        let values: Vec<f32> = (0..rows * 520 * 300).map(voxel).collect();
        zarr.write_slab(s, &values).unwrap();
        pyramid.push(s, &values).unwrap();
    }
    zarr.finish(Window { min: 0.0, max: 1.0, start: 0.0, end: 1.0 }).unwrap();
    let reader = VolumeReader::open(&path).unwrap();
    let p = Planes::middle(&reader, 400).unwrap();
    assert_eq!((p.xy.width, p.xy.height, p.xy.place.as_str()), (300, 520, "z = 20"));
    assert_eq!(p.extent, [80.0, 520.0, 300.0]);
    assert_eq!(p.xy.values[7 * 300 + 3], 20_007_003.0);
    assert_eq!(p.xz.as_ref().unwrap().values[5 * 300 + 9], 5_260_009.0);
    let yz = p.yz.as_ref().unwrap();
    assert_eq!((yz.width, yz.height, yz.values[11 * 40 + 4]), (40, 520, 4_011_150.0));
    // Level 1 suffices for 200 pixels.
    assert_eq!(Planes::middle(&reader, 200).unwrap().xy.width, 150);
}

/// Whatever part of the volume was seen while it was made, the planes are those that are read from it.
#[test]
fn planes_collected_on_the_way_are_those_of_the_volume() {
    for spec in [common::spec([70, 300, 520]), common::integers([70, 300, 520], DataType::U16)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rec.zarr");
        let zarr = OmeZarr::create(&path, &spec, OmeVersion::V04, Compression::default()).unwrap();
        let queue = WriteQueue::new(dir.path().to_owned(), 2).unwrap();
        let (pool, batch) = (PagePool::new(8, zarr.file_bytes()), Arc::new(Batch::default()));
        let spent = Arc::default();
        let sink = queue.sink(&pool, &batch, &spent);
        let mut seen: Vec<(usize, usize, Vec<Voxels>)> = Vec::new();
        let mut pyramid = Pyramid::new(&zarr, 0..3);
        for slab in 0..3 {
            let range = slab * 32 * 156_000..(slab * 32 + [32, 32, 6][slab]) * 156_000;
            let voxels = Voxels::from_values(&common::values(range), spec.dtype, spec.scaling);
            let slices = voxels.view().slices(156_000);
            let mut keep = |level, slab, slices: &[VoxelsRef<'_>]| {
                let owned = slices.iter().map(|s| Voxels::from_values(&s.values(None), s.dtype(), None));
                seen.push((level, slab, owned.collect()));
            };
            pyramid.write(slab, &slices, &sink, &mut keep).unwrap();
        }
        batch.wait();
        zarr.finish(Window { min: 0.0, max: 1.0, start: 0.0, end: 1.0 }).unwrap();
        let reader = VolumeReader::open(&path).unwrap();
        for (pixels, level, slabs) in [(400, 0, 3), (200, 1, 2), (100, 2, 1)] {
            let wanted = Planes::middle(&reader, pixels).unwrap();
            for mask in 0..1 << slabs {
                let mut middle = Middle::new(&zarr.levels(), pixels, spec.scaling).unwrap();
                let shown = seen.iter().filter(|(l, slab, _)| *l != level || mask >> slab & 1 == 1);
                for (level, slab, slices) in shown {
                    middle.show(*level, *slab, &slices.iter().map(Voxels::view).collect::<Vec<_>>());
                }
                let found = Planes::collected(&reader, middle).unwrap();
                assert!(found == wanted, "{pixels} pixels, slabs {mask:b} of level {level}");
            }
        }
        // Where all was seen, nothing is read: of these chunks, nothing but zeros could be.
        let (wanted, mut middle) =
            (Planes::middle(&reader, 200).unwrap(), Middle::new(&zarr.levels(), 200, spec.scaling).unwrap());
        for (level, slab, slices) in &seen {
            middle.show(*level, *slab, &slices.iter().map(Voxels::view).collect::<Vec<_>>());
        }
        for file in (0..2).flat_map(|slab| zarr.slab_files(1, slab).unwrap()) {
            std::fs::remove_file(dir.path().join(file)).unwrap();
        }
        assert!(Planes::middle(&reader, 200).unwrap() != wanted);
        assert!(Planes::collected(&reader, middle).unwrap() == wanted);
    }
}
