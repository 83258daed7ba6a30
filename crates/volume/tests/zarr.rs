//! OME-Zarr: round trips, levels, the same bytes whichever way they are made.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use common::{assert_records, integers, listing, spec, values};
use proptest::prelude::*;
use volume::{
    Compression, DataType, Error, FileRecord, Histogram, OmeVersion, OmeZarr, Pyramid, VolumeReader,
    VolumeSpec, VoxelsRef, Window,
};

const WINDOW: Window = Window { min: -1.0, max: 4.0, start: -0.5, end: 3.5 };

/// Level-0 values of one slab.
fn slab(spec: &VolumeSpec, slab: usize) -> Vec<f32> {
    let n = spec.slice_voxels();
    values(slab * 32 * n..((slab + 1) * 32).min(spec.shape[0]) * n)
}

/// Writes a whole volume, with a pyramid on the way, and returns its records.
fn write(path: &std::path::Path, spec: &VolumeSpec, version: OmeVersion) -> Vec<FileRecord> {
    let zarr = OmeZarr::create(path, spec, version, Compression::default()).unwrap();
    let mut pyramid = Pyramid::new(&zarr, 0..zarr.slabs(0));
    let mut records = Vec::new();
    for s in 0..zarr.slabs(0) {
        let rows = slab(spec, s);
        records.extend(zarr.write_slab(s, &rows).unwrap());
        records.extend(pyramid.push(s, &rows).unwrap());
    }
    records.extend(zarr.finish(WINDOW).unwrap());
    records
}

/// The mean of 2×2×2 children in f64, edges replicated: independent of the library's order of sums.
fn halved(fine: &[f64], [nz, ny, nx]: [usize; 3]) -> (Vec<f64>, [usize; 3]) {
    let shape = [nz.div_ceil(2), ny.div_ceil(2), nx.div_ceil(2)];
    let mut out = Vec::new();
    for z in 0..shape[0] {
        for y in 0..shape[1] {
            for x in 0..shape[2] {
                let mut sum = 0.0;
                for i in 0..8 {
                    let (a, b, c) = (2 * z + (i >> 2), 2 * y + (i >> 1 & 1), 2 * x + (i & 1));
                    sum += fine[(a.min(nz - 1) * ny + b.min(ny - 1)) * nx + c.min(nx - 1)];
                }
                out.push(sum / 8.0);
            }
        }
    }
    (out, shape)
}

#[test]
fn both_versions_give_back_what_was_written() {
    for version in [OmeVersion::V04, OmeVersion::V05] {
        for shape in [[70, 300, 259], [1, 1100, 5], [33, 1, 1], [1, 1, 1]] {
            let dir = tempfile::tempdir().unwrap();
            let spec = spec(shape);
            let records = write(&dir.path().join("rec.zarr"), &spec, version);
            assert_records(dir.path(), &records);
            let reader = VolumeReader::open(&dir.path().join("rec.zarr")).unwrap();
            assert_eq!(reader.shape(), shape);
            assert!(reader.has_units());
            let all = reader.read_values(0, shape.map(|n| 0..n)).unwrap();
            assert_eq!(all, values(0..shape.iter().product()), "{version:?} {shape:?}");
            let z = shape[0] / 2;
            let n = shape[1] * shape[2];
            assert_eq!(reader.slice(0, z).unwrap(), values(z * n..(z + 1) * n));
        }
    }
}

#[test]
fn levels_are_means_of_children_as_stored() {
    for (spec, version) in [
        (spec([70, 515, 130]), OmeVersion::V04),
        (spec([65, 1, 513]), OmeVersion::V05),
        (integers([33, 300, 517], DataType::U16), OmeVersion::V04),
        (integers([33, 517, 300], DataType::U8), OmeVersion::V05),
    ] {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("rec.zarr"), &spec, version);
        let reader = VolumeReader::open(&dir.path().join("rec.zarr")).unwrap();
        let stored = |level: usize| {
            let shape = reader.levels()[level].shape;
            let voxels = reader.read(level, shape.map(|n| 0..n)).unwrap();
            let view = voxels.view();
            (view.values(None).iter().map(|&v| f64::from(v)).collect::<Vec<_>>(), shape)
        };
        assert!(reader.levels().len() >= 2);
        for level in 1..reader.levels().len() {
            let (fine, shape) = stored(level - 1);
            let (expected, expected_shape) = halved(&fine, shape);
            let (found, found_shape) = stored(level);
            assert_eq!(found_shape, expected_shape);
            for (f, e) in found.iter().zip(&expected) {
                if spec.dtype == DataType::F32 {
                    // Seven additions of numbers up to 4 in f32.
                    assert!((f - e).abs() < 4.0 * 7.0 * 6e-8, "{f} {e}");
                } else {
                    assert_eq!(*f, e.round_ties_even());
                }
            }
        }
    }
}

#[test]
fn a_ramp_lies_where_the_transforms_say() {
    let spec =
        VolumeSpec { first_row: 10, row_step: 2, voxel_um: Some([0.5, 0.25, 2.0]), ..spec([96, 520, 300]) };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rec.zarr");
    let zarr = OmeZarr::create(&path, &spec, OmeVersion::V04, Compression::None).unwrap();
    let mut pyramid = Pyramid::new(&zarr, 0..zarr.slabs(0));
    for s in 0..3 {
        let rows: Vec<f32> = (s * 32 * 520 * 300..(s + 1) * 32 * 520 * 300)
            .map(|i| {
                (10.0 * 0.5 + (i / (520 * 300)) as f32)
                    + (i / 300 % 520) as f32 * 0.25
                    + (i % 300) as f32 * 2.0
            })
            .collect();
        zarr.write_slab(s, &rows).unwrap();
        pyramid.push(s, &rows).unwrap();
    }
    zarr.finish(WINDOW).unwrap();
    let reader = VolumeReader::open(&path).unwrap();
    assert_eq!(reader.levels().len(), 3);
    for (k, level) in reader.levels().iter().enumerate() {
        let [nz, ny, nx] = level.shape;
        let data = reader.read_values(k, level.shape.map(|n| 0..n)).unwrap();
        // Whole voxels only: the last of an odd axis has a replicated child.
        for (z, y, x) in [(0, 0, 0), (nz - 2, 0, 0), (0, ny - 2, 3), (1, 7, nx - 2), (nz / 2, ny / 2, nx / 2)]
        {
            let place: f64 = [z, y, x]
                .iter()
                .zip(level.scale.iter().zip(level.translation))
                .map(|(&i, (s, t))| i as f64 * s + t)
                .sum();
            // Values up to 900 in f32, exact multiples of 1/32 here.
            assert_eq!(f64::from(data[(z * ny + y) * nx + x]), place, "level {k}, {z} {y} {x}");
        }
    }
}

#[test]
fn parts_resume_and_thread_counts_give_the_same_bytes() {
    for version in [OmeVersion::V04, OmeVersion::V05] {
        let spec = spec([230, 130, 530]);
        let (one, two, three) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut whole = write(&one.path().join("rec.zarr"), &spec, version);
        // In parts that begin anywhere, out of order, each its own process's worth of state; on one thread.
        let path = two.path().join("rec.zarr");
        let mut parts = Vec::new();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| {
            let mut done = std::collections::BTreeSet::new();
            for (i, range) in [5..8, 0..3, 3..5].into_iter().enumerate() {
                let open = if i == 0 { OmeZarr::create } else { OmeZarr::open_existing };
                let zarr = open(&path, &spec, version, Compression::default()).unwrap();
                let mut pyramid = Pyramid::new(&zarr, range.clone());
                let promised: Vec<_> = zarr.slabs_within(range.clone());
                let mut written = std::collections::BTreeSet::new();
                for s in range {
                    parts.extend(zarr.write_slab(s, &slab(&spec, s)).unwrap());
                    let records = pyramid.push(s, &slab(&spec, s)).unwrap();
                    written.extend(records.iter().map(|r| zarr.locate(&r.path).unwrap()));
                    parts.extend(records);
                }
                assert_eq!(written.iter().copied().collect::<Vec<_>>(), promised);
                done.extend(written);
            }
            let zarr = OmeZarr::open_existing(&path, &spec, version, Compression::default()).unwrap();
            assert!(done.len() < (1..zarr.levels().len()).map(|l| zarr.slabs(l)).sum());
            parts.extend(zarr.build_missing(&|level, slab| done.contains(&(level, slab))).unwrap());
            parts.extend(zarr.finish(WINDOW).unwrap());
        });
        // All coarse levels from disk.
        let path = three.path().join("rec.zarr");
        let zarr = OmeZarr::create(&path, &spec, version, Compression::default()).unwrap();
        for s in (0..zarr.slabs(0)).rev() {
            zarr.write_slab(s, &slab(&spec, s)).unwrap();
        }
        zarr.build_missing(&|_, _| false).unwrap();
        zarr.finish(WINDOW).unwrap();
        whole.sort();
        parts.sort();
        assert_eq!(whole, parts);
        assert_eq!(listing(one.path()), listing(two.path()));
        assert_eq!(listing(one.path()), listing(three.path()));
    }
}

#[test]
fn wrong_calls_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rec.zarr");
    let spec = spec([40, 300, 9]);
    let new = |spec: &VolumeSpec| OmeZarr::create(&path, spec, OmeVersion::V04, Compression::default());
    for bad in [
        common::spec([0, 1, 1]),
        common::spec([1, usize::MAX, 2]),
        common::spec([usize::MAX, 2, 2]),
        common::spec([1, 40_000, 40_000]),
        VolumeSpec { row_step: 0, ..spec.clone() },
        VolumeSpec { voxel_um: Some([1.0, 0.0, 1.0]), ..spec.clone() },
        VolumeSpec { voxel_um: Some([1.0, f64::NAN, 1.0]), ..spec.clone() },
        VolumeSpec { scaling: Some(volume::Scaling { min: 0.0, max: 1.0 }), ..spec.clone() },
    ] {
        assert!(matches!(new(&bad), Err(Error::Parameter { .. })), "{bad:?}");
        assert!(!path.exists());
    }
    let zarr = new(&spec).unwrap();
    assert!(matches!(new(&spec), Err(Error::Exists { .. })));
    let other = common::spec([40, 301, 9]);
    let error = OmeZarr::open_existing(&path, &other, OmeVersion::V04, Compression::default()).unwrap_err();
    assert!(error.to_string().contains("another shape"), "{error}");
    assert!(matches!(zarr.write_slab(0, &[1.0; 10]), Err(Error::Shape { .. })));
    assert!(matches!(zarr.write_slab(2, &[]), Err(Error::Shape { .. })));
    assert!(zarr.write_slab_stored(0, volume::VoxelsRef::U8(&[0; 32 * 2700])).is_err());
    assert!(matches!(zarr.read_slab(0, 0), Err(Error::Incomplete { .. })));
    assert!(matches!(zarr.build_missing(&|_, _| false), Err(Error::Incomplete { .. })));
    let mut pyramid = Pyramid::new(&zarr, 0..99);
    assert!(matches!(pyramid.push(1, &[0.0; 8 * 2700]), Err(Error::Parameter { .. })));
    assert!(matches!(pyramid.push(0, &[0.0; 8]), Err(Error::Shape { .. })));
    assert_eq!(zarr.locate("rec.zarr/0/1/0/0"), Some((0, 1)));
    assert_eq!(zarr.locate("rec.zarr/0/2/0/0"), None);
    assert_eq!(zarr.locate("rec.zarr/0/.zarray"), None);
    let reader = VolumeReader::open(&path).unwrap();
    assert!(reader.read(0, [0..1, 0..1, 0..10]).is_err());
    assert!(reader.read(9, [0..1, 0..1, 0..1]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Any shape, any cut of it into ranges: the pyramid is what building from disk gives.
    #[test]
    fn pyramids_of_any_shape_and_cut_agree(
        shape in [1usize..200, 1usize..40, 250usize..530], cut in 0usize..8, sharded: bool, dtype in 0..3,
    ) {
        let spec = match dtype { 0 => spec(shape), 1 => integers(shape, DataType::U16), _ => integers(shape, DataType::U8) };
        let version = if sharded { OmeVersion::V05 } else { OmeVersion::V04 };
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let a = OmeZarr::create(&one.path().join("r.zarr"), &spec, version, Compression::default()).unwrap();
        let b = OmeZarr::create(&two.path().join("r.zarr"), &spec, version, Compression::default()).unwrap();
        let n = a.slabs(0);
        let cut = cut.min(n);
        let mut done = std::collections::BTreeSet::new();
        for range in [0..cut, cut..n] {
            let mut pyramid = Pyramid::new(&a, range.clone());
            for s in range {
                a.write_slab(s, &slab(&spec, s)).unwrap();
                b.write_slab(s, &slab(&spec, s)).unwrap();
                done.extend(pyramid.push(s, &slab(&spec, s)).unwrap().iter().map(|r| a.locate(&r.path).unwrap()));
            }
        }
        a.build_missing(&|l, s| done.contains(&(l, s))).unwrap();
        b.build_missing(&|_, _| false).unwrap();
        prop_assert_eq!(listing(one.path()), listing(two.path()));
    }
}

#[test]
fn the_window_is_stored_in_the_units_of_the_voxels() {
    let dir = tempfile::tempdir().unwrap();
    let spec = integers([3, 8, 8], DataType::U8);
    let path = dir.path().join("rec.zarr");
    let zarr = OmeZarr::create(&path, &spec, OmeVersion::V05, Compression::default()).unwrap();
    let VolumeReader::Zarr(growing) = VolumeReader::open(&path).unwrap() else { panic!() };
    assert_eq!(growing.window(), None);
    let mut h = Histogram::new();
    h.add(&values(0..192));
    zarr.finish(Window { start: 0.0, end: 1.5, ..h.window() }).unwrap();
    let VolumeReader::Zarr(reader) = VolumeReader::open(&path).unwrap() else { panic!() };
    // -1..4 on 0..255: 0 is 51, 1.5 is 127.5, rounded up.
    assert_eq!(reader.window(), Some(Window { min: 0.0, max: 255.0, start: 51.0, end: 128.0 }));
}

#[test]
fn processes_that_begin_the_same_volume_at_once_do_not_disturb_each_other() {
    // Two parts of a job shared one temporary name: the second rename found nothing to rename. Processes are
    // what this is about; each is this test binary, started again with a folder.
    const CHILD: &str = "BEAMRAIL_VOLUME_OPEN";
    let spec = spec([40, 300, 300]);
    let open = |folder: &std::path::Path| {
        OmeZarr::open_existing(&folder.join("r.zarr"), &spec, OmeVersion::V04, Compression::default())
    };
    if let Some(folder) = std::env::var_os(CHILD) {
        open(std::path::Path::new(&folder)).unwrap();
        return;
    }
    let name = "processes_that_begin_the_same_volume_at_once_do_not_disturb_each_other";
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let start = |_| {
            std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name])
                .env(CHILD, dir.path())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        };
        let mut children: Vec<_> = (0..4).map(start).collect();
        assert!(children.iter_mut().all(|child| child.wait().unwrap().success()));
        open(dir.path()).unwrap();
        assert!(listing(dir.path()).keys().all(|name| !name.ends_with(".part")));
    }
}

#[test]
fn a_sample_leaves_no_files_and_no_folders() {
    let slice = vec![0.5f32; 300 * 300];
    for version in [OmeVersion::V04, OmeVersion::V05] {
        let spec = common::spec([40, 300, 300]);
        let sampled = OmeZarr::sample(&spec, version, Compression::None, &[VoxelsRef::F32(&slice)]).unwrap();
        // Level 0 is 2 × 2 chunks of 256 × 256 voxels, whole even where the volume ends.
        assert!(sampled.bytes > 4 * 256 * 256 * 4, "{version:?}: {sampled:?}");
        assert!(!std::path::Path::new("sample.zarr").exists(), "{version:?} wrote");
    }
}
