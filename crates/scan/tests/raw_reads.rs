//! Every storage, type and filter, against values known by formula and against the HDF5 library.

// Helpers outside test functions assert by panicking too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::{Dx, Element, Format, How, expected, stack, value};
use hdf5_metno::filters::{Blosc, BloscShuffle, Filter};
use scan::{DataType, OpenOptions, Samples, Storage};

/// Reads all, some rows, some projections, and compares with the formula.
fn verify(scan: &scan::Scan, what: &str) {
    let info = scan.info();
    let (n, rows, columns) = (info.projections, info.rows, info.columns);
    let mut buffer = Samples::empty(DataType::U8);
    for range in [0..rows, 0..1, rows - 1..rows, 1..rows / 2 + 1] {
        scan.read_rows(range.clone(), &mut buffer).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(buffer.dtype(), info.dtype, "{what}");
        assert!(buffer.to_f32() == expected(0..n, range.clone(), columns), "{what}: rows {range:?} differ");
    }
    for range in [0..n, 0..1, n - 1..n, 1..n / 2 + 1] {
        scan.read_projections(range.clone(), &mut buffer).unwrap();
        assert!(
            buffer.to_f32() == expected(range.clone(), 0..rows, columns),
            "{what}: projections {range:?} differ"
        );
    }
    scan.read_block(1..3, 2..4, &mut buffer).unwrap();
    assert!(buffer.to_f32() == expected(1..3, 2..4, columns), "{what}: a block differs");
}

fn round<T: Element>(dx: &Dx, what: &str) -> Storage {
    let folder = tempfile::tempdir().unwrap();
    let path = dx.in_folder::<T>(folder.path(), |_| ());
    let scan = scan::open(&path).unwrap_or_else(|e| panic!("{what}: {e}"));
    verify(&scan, what);
    // The library's own reading of the same file.
    let library =
        hdf5_metno::File::open(&path).unwrap().dataset("exchange/data").unwrap().read_raw::<f32>().unwrap();
    let mut ours = Samples::empty(DataType::F32);
    scan.read_rows(0..scan.info().rows, &mut ours).unwrap();
    assert!(ours.to_f32() == library, "{what}: the library reads other values");
    scan.info().storage.clone()
}

#[test]
fn types_are_native_or_become_floats() {
    fn one<T: Element>(name: &str, expected: DataType) {
        let folder = tempfile::tempdir().unwrap();
        for how in [How::default(), How::filtered([2, 6, 10], vec![Filter::Deflate(1)])] {
            let path = Dx { how, ..Dx::default() }.in_folder::<T>(folder.path(), |_| ());
            let scan = scan::open(&path).unwrap();
            assert_eq!(scan.info().dtype, expected, "{name}");
            assert_eq!(scan.info().stored_type, name);
            verify(&scan, name);
        }
    }
    one::<u8>("uint8", DataType::U8);
    one::<u16>("uint16", DataType::U16);
    one::<f32>("float32", DataType::F32);
    one::<u32>("uint32", DataType::F32);
    one::<u64>("uint64", DataType::F32);
    one::<i16>("int16", DataType::F32);
    one::<i32>("int32", DataType::F32);
    one::<i64>("int64", DataType::F32);
    one::<f64>("float64", DataType::F32);
}

#[test]
fn negative_and_fractional_numbers_survive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("negative.h5");
    let file = common::create(&path, Format::Old);
    let frames = ndarray::Array3::from_shape_fn((4, 2, 3), |(p, r, c)| (p + r * 3 + c) as i16 - 5);
    file.create_group("exchange").unwrap().new_dataset_builder().with_data(&frames).create("data").unwrap();
    common::array(&file, "exchange/theta", &[0.0, 60.0, 120.0, 180.0]);
    file.close().unwrap();
    let mut out = Samples::empty(DataType::F32);
    scan::open(&path).unwrap().read_rows(0..2, &mut out).unwrap();
    let wanted: Vec<f32> = frames.iter().map(|&v| f32::from(v)).collect();
    assert_eq!(out.to_f32(), wanted);
}

#[test]
fn chunks_of_every_shape_in_every_format() {
    for format in [Format::Old, Format::V18, Format::Newest] {
        for chunk in
            [[1, 6, 10], [5, 6, 10], [12, 6, 10], [1, 2, 10], [3, 4, 7], [12, 1, 10], [1, 1, 1], [7, 5, 3]]
        {
            for filters in [
                vec![],
                vec![Filter::Deflate(3)],
                vec![Filter::Shuffle, Filter::Deflate(1), Filter::Fletcher32],
            ] {
                let what = format!("{format:?} {chunk:?} {filters:?}");
                let dx = Dx { format, how: How::filtered(chunk, filters.clone()), ..Dx::default() };
                let storage = round::<u16>(&dx, &what);
                let Storage::Chunked { shape, filters: names } = storage else {
                    panic!("{what}: {storage:?}")
                };
                assert_eq!((shape, names.len()), (chunk, filters.len()), "{what}");
            }
        }
    }
}

#[test]
fn every_chunk_index() {
    // Newest format: one chunk → single; early allocation → implicit; fixed size → fixed array; one unlimited
    // axis → extensible array (any axis); two → version 2 B-tree.
    let shape = [700, 4, 6];
    let theta = Some((0..700).map(|i| f64::from(i) * 0.25).collect::<Vec<_>>());
    let none = None;
    let open = [None, Some(4), Some(6)];
    let cases: Vec<(&str, How)> = vec![
        ("single", How::chunked(shape)),
        ("single filtered", How::filtered(shape, vec![Filter::Deflate(1)])),
        ("implicit", How { early: true, ..How::chunked([3, 4, 5]) }),
        ("fixed", How::chunked([1, 4, 6])),
        ("fixed, paged", How::chunked([1, 1, 2])),
        ("fixed, paged, filtered", How::filtered([1, 2, 2], vec![Filter::Shuffle, Filter::Deflate(1)])),
        (
            "fixed with larger limit",
            How { max: Some([Some(900), Some(8), Some(9)]), ..How::chunked([1, 4, 5]) },
        ),
        ("extensible", How { max: Some(open), ..How::chunked([1, 4, 6]) }),
        ("extensible, many", How { max: Some(open), ..How::chunked([1, 1, 1]) }),
        (
            "extensible, filtered",
            How { max: Some(open), ..How::filtered([1, 4, 2], vec![Filter::Deflate(1)]) },
        ),
        ("extensible in rows", How { max: Some([Some(700), None, Some(6)]), ..How::chunked([5, 1, 4]) }),
        ("extensible in columns", How { max: Some([Some(700), Some(4), None]), ..How::chunked([5, 3, 1]) }),
        ("tree", How { max: Some([none, none, Some(6)]), ..How::chunked([1, 4, 5]) }),
        (
            "tree, filtered",
            How { max: Some([none, none, none]), ..How::filtered([1, 2, 6], vec![Filter::Deflate(1)]) },
        ),
    ];
    for (what, how) in cases {
        for format in [Format::Newest, Format::Old] {
            let dx = Dx { shape, format, how: how.clone(), theta: theta.clone(), ..Dx::default() };
            round::<u16>(&dx, &format!("{what}, {format:?}"));
        }
    }
}

#[test]
fn compression_of_the_library() {
    let mut pipelines = vec![vec![Filter::LZF], vec![Filter::Shuffle, Filter::LZF], vec![Filter::Fletcher32]];
    for codec in [Blosc::BloscLZ, Blosc::LZ4, Blosc::LZ4HC, Blosc::Snappy, Blosc::ZLib, Blosc::ZStd] {
        for shuffle in [BloscShuffle::None, BloscShuffle::Byte, BloscShuffle::Bit] {
            for level in [1, 9] {
                pipelines.push(vec![Filter::Blosc(codec, level, shuffle)]);
            }
        }
    }
    for filters in pipelines {
        // Blocks large enough that Blosc splits them, with an odd rest.
        let how = How::filtered([2, 37, 211], filters.clone());
        let what = format!("{filters:?}");
        let theta = Some((0..5).map(|i| f64::from(i) * 40.0).collect());
        let dx = Dx { shape: [5, 37, 211], how, theta, ..Dx::default() };
        round::<u16>(&dx, &what);
        round::<f32>(&dx, &what);
        round::<u8>(&dx, &what);
    }
}

#[test]
fn filters_and_byte_orders_of_other_writers() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/filters.h5");
    let file = hdf5_metno::File::open(path).unwrap();
    let names = file.member_names().unwrap();
    assert_eq!(names.len(), 17);
    for name in names {
        let options = OpenOptions { dataset: Some(format!("/{name}/data")), ..OpenOptions::default() };
        let opened = scan::open_with(path, &options);
        if name == "blosc2" || name == "scaleoffset" {
            let error = opened.err().unwrap_or_else(|| panic!("{name} should be refused"));
            assert!(error.is_bad_input() && error.to_string().contains(&name), "{error}");
            continue;
        }
        let scan = opened.unwrap_or_else(|e| panic!("{name}: {e}"));
        verify(&scan, &name);
        let native = matches!(name.as_str(), "big_f4" | "big_i2" | "half" | "bitshuffle_zstd_f4");
        assert_eq!(scan.info().dtype == DataType::F32, native, "{name}");
    }
}

#[test]
fn compact_frames() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("compact.h5");
    let file = common::create(&path, Format::Newest);
    let group = file.create_group("exchange").unwrap();
    let data = ndarray::Array3::from_shape_fn((4, 3, 5), |(p, r, c)| value(p, r, c));
    let builder = group.new_dataset_builder().with_data(&data);
    builder.layout(hdf5_metno::dataset::Layout::Compact).create("data").unwrap();
    common::array(&file, "exchange/theta", &[0.0, 60.0, 120.0, 180.0]);
    drop((group, file));
    let scan = scan::open(&path).unwrap();
    let mut out = Samples::empty(DataType::U16);
    scan.read_rows(1..3, &mut out).unwrap();
    assert!(out.to_f32() == expected(0..4, 1..3, 5));
}

#[test]
fn many_threads_read_at_once() {
    let theta = Some((0..60).map(f64::from).collect::<Vec<_>>());
    for how in [
        How::default(),
        How::chunked([1, 24, 31]),
        How::filtered([4, 10, 31], vec![Filter::Shuffle, Filter::Deflate(1)]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let dx = Dx { shape: [60, 24, 31], how, theta: theta.clone(), ..Dx::default() };
        let path = dx.in_folder::<u16>(folder.path(), |_| ());
        let scan =
            scan::open_with(&path, &OpenOptions { threads: Some(3), ..OpenOptions::default() }).unwrap();
        std::thread::scope(|s| {
            for t in 0..8usize {
                let scan = &scan;
                s.spawn(move || {
                    let mut buffer = Samples::empty(DataType::U16);
                    for k in 0..24 {
                        let first = (t * 7 + k) % 24;
                        let last = (first + 1 + k % 5).min(24);
                        scan.read_rows(first..last, &mut buffer).unwrap();
                        assert!(buffer.to_f32() == expected(0..60, first..last, 31));
                        let flats = scan.read_flats(first..last).unwrap();
                        assert_eq!(flats[0].mean.len(), (last - first) * 31);
                    }
                });
            }
        });
    }
}

#[test]
fn a_block_of_rows_needs_no_spool_where_rows_can_be_read() {
    let shape = [8, 80, 20];
    let theta = Some((0..8).map(|i| f64::from(i) * 25.0).collect::<Vec<_>>());
    let folder = tempfile::tempdir().unwrap();
    let check = |how: How, spool: bool, step: usize| {
        let path =
            Dx { shape, how, theta: theta.clone(), ..Dx::default() }.in_folder::<u16>(folder.path(), |_| ());
        let scan = scan::open(&path).unwrap();
        assert_eq!((scan.needs_spool(), scan.projection_step()), (spool, step));
        scan.read_memory_bytes(32)
    };
    assert_eq!(check(How::default(), false, 1), 0);
    check(How::chunked([1, 80, 20]), false, 1);
    check(How::filtered([1, 32, 20], vec![Filter::Deflate(1)]), false, 1);
    let memory = check(How::filtered([3, 80, 20], vec![Filter::Deflate(1)]), true, 3);
    assert!(memory >= 2 * 3 * 80 * 20 * 2, "decoding takes a chunk in and a chunk out: {memory}");
}

#[test]
fn flats_in_tall_compressed_chunks_are_averaged_once_and_right() {
    let folder = tempfile::tempdir().unwrap();
    let shape = [6, 70, 9];
    let theta = Some((0..6).map(|i| f64::from(i) * 36.0).collect::<Vec<_>>());
    let dx = Dx { shape, theta, flats: 0, ..Dx::default() };
    let path = dx.in_folder::<u16>(folder.path(), |file| {
        let how = How::filtered([2, 70, 9], vec![Filter::Deflate(1)]);
        stack::<u16>(&file.group("exchange").unwrap(), "data_white", [5, 70, 9], 1000, &how);
    });
    let scan = scan::open(&path).unwrap();
    for rows in [0..70, 33..65] {
        let flats = scan.read_flats(rows.clone()).unwrap();
        assert_eq!((flats.len(), flats[0].frames), (1, 5));
        let frames = expected(1000..1005, rows.clone(), 9);
        let pixels = rows.len() * 9;
        for i in 0..pixels {
            let mean = (0..5).map(|f| f64::from(frames[f * pixels + i])).sum::<f64>() / 5.0;
            assert!((f64::from(flats[0].mean[i]) - mean).abs() < 1e-5);
        }
    }
}

#[test]
fn throughput_where_asked_for() {
    if std::env::var_os("BEAMRAIL_LONG").is_none() {
        println!("skipped: throughput (set BEAMRAIL_LONG=1)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let shape = [200, 1024, 2560];
    let theta = Some((0..200).map(|i| f64::from(i) * 0.9).collect::<Vec<_>>());
    for (what, how) in [
        ("contiguous", How::default()),
        ("gzip-1 and shuffle", How::filtered([1, 1024, 2560], vec![Filter::Shuffle, Filter::Deflate(1)])),
    ] {
        let dx = Dx { shape, how, theta: theta.clone(), ..Dx::default() };
        let path = dx.in_folder::<u16>(folder.path(), |_| ());
        let begin = std::time::Instant::now();
        let scan = scan::open(&path).unwrap();
        println!("{what}: open {:?}", begin.elapsed());
        let mut buffer = Samples::empty(DataType::U16);
        let bytes = (200 * 1024 * 2560 * 2) as f64;
        for _ in 0..2 {
            let begin = std::time::Instant::now();
            if scan.needs_spool() {
                for p in (0..200).step_by(20) {
                    scan.read_projections(p..p + 20, &mut buffer).unwrap();
                }
            } else {
                for r in (0..1024).step_by(32) {
                    scan.read_rows(r..r + 32, &mut buffer).unwrap();
                }
            }
            println!("{what}: {:.2} GB/s", bytes / begin.elapsed().as_secs_f64() / 1e9);
        }
    }
}

#[test]
fn ranges_outside_the_scan_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let scan = scan::open(Dx::default().in_folder::<u16>(folder.path(), |_| ())).unwrap();
    let mut buffer = Samples::empty(DataType::U16);
    for range in [0..0, 0..7, 6..6, 5..usize::MAX] {
        assert!(!scan.read_rows(range.clone(), &mut buffer).unwrap_err().is_bad_input(), "{range:?}");
        assert!(scan.read_flats(range.clone()).is_err());
    }
    assert!(scan.read_projections(3..13, &mut buffer).is_err());
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = 4..2;
    assert!(scan.read_rows(backwards, &mut buffer).is_err());
}
