//! What the simulator's files hold, read back with the HDF5 library, and how they come to be.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::PathBuf;

use hdf5_metno::File;
use hdf5_metno::types::FixedAscii;
use scan::simulate::{
    Compression, Error, Layout, PhantomKind, PixelType, SimulateOptions, phantom, read_truth, simulate,
    simulate_over,
};

/// Seven projections of 4 × 33 pixels.
fn small() -> SimulateOptions {
    SimulateOptions { width: 33, rows: 4, angles: 7, flats: 2, darks: 2, ..SimulateOptions::default() }
}

fn write(options: &SimulateOptions) -> (tempfile::TempDir, PathBuf, scan::simulate::Simulated) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("20240101_120000_sim.h5");
    let truth = simulate(&path, options, &mut |_| ()).unwrap();
    (folder, path, truth)
}

fn stack(path: &PathBuf, name: &str) -> Vec<f64> {
    File::open(path).unwrap().dataset(name).unwrap().read_raw::<f64>().unwrap()
}

#[test]
fn the_same_options_give_the_same_file_whatever_the_threads() {
    let options = SimulateOptions {
        width: 70,
        rows: 9,
        angles: 40,
        zingers: 1e-3,
        dead_columns: 2,
        hot_pixels: 4,
        ..small()
    };
    let bytes = |options: &SimulateOptions, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (_folder, path, _) = write(options);
            std::fs::read(path).unwrap()
        })
    };
    let one = bytes(&options, 1);
    assert!(one == bytes(&options, 4), "the file depends on the number of threads");
    assert!(one != bytes(&SimulateOptions { seed: 1, ..options }, 1), "the seed changes nothing");
}

#[test]
fn a_dxfile_holds_what_8_3_2_writes() {
    let options = SimulateOptions { flats: 3, endpoint: false, ..small() };
    let (_folder, path, truth) = write(&options);
    let file = File::open(&path).unwrap();
    assert_eq!(file.dataset("exchange/data").unwrap().shape(), [7, 4, 33]);
    assert!(file.dataset("exchange/data").unwrap().dtype().unwrap().is::<u16>());
    assert_eq!(file.dataset("exchange/data_white").unwrap().shape(), [6, 4, 33]);
    assert_eq!(file.dataset("exchange/data_dark").unwrap().shape(), [2, 4, 33]);
    let theta = file.dataset("exchange/theta").unwrap().read_raw::<f64>().unwrap();
    assert_eq!(theta.len(), 7);
    assert!((theta[6] - 6.0 * 180.0 / 7.0).abs() < 1e-12);
    let first = |name: &str| file.dataset(name).unwrap().read_raw::<f64>().unwrap()[0];
    for (name, value) in [
        ("process/acquisition/rotation/num_angles", 7.0),
        ("process/acquisition/rotation/range", 180.0),
        ("process/acquisition/rotation/rotation_start", 0.0),
        ("process/acquisition/flat_fields/i0cycle", 0.0),
        ("process/acquisition/flat_fields/num_flat_fields", 3.0),
        ("process/acquisition/dark_fields/num_dark_fields", 2.0),
        ("measurement/instrument/detector/dimension_x", 33.0),
        ("measurement/instrument/detector/dimension_y", 4.0),
        ("measurement/instrument/detector/pixel_size", 0.00065),
        ("measurement/instrument/camera_motor_stack/setup/camera_distance", 50.0),
        ("measurement/instrument/monochromator/energy", 20_000.0),
    ] {
        assert_eq!(first(name), value, "{name}");
    }
    let name = file.dataset("measurement/sample/file_name").unwrap().read_raw::<FixedAscii<256>>().unwrap();
    assert_eq!(name[0].as_str(), "20240101_120000_sim");
    assert_eq!(file.dataset("simulation/center").unwrap().read_scalar::<f64>().unwrap(), truth.center);
    assert_eq!(read_truth(&path).unwrap(), truth);

    let unsized_pixels = SimulateOptions { pixel_size_mm: None, ..options };
    let (_folder, path, _) = write(&unsized_pixels);
    assert!(File::open(&path).unwrap().dataset("measurement/instrument/detector/pixel_size").is_err());
}

#[test]
fn an_als_file_holds_the_same_frames_one_by_one() {
    let options = SimulateOptions { flat_cycle: 4, ..small() };
    let (_a, dxfile, _) = write(&options);
    let (_b, als, truth) = write(&SimulateOptions { layout: Layout::Als, ..options });
    let file = File::open(&als).unwrap();
    assert_eq!(file.member_names().unwrap(), ["20240101_120000_sim"], "the root holds only the scan");
    let group = file.group("20240101_120000_sim").unwrap();
    let attribute =
        |name: &str| group.attr(name).unwrap().read_scalar::<FixedAscii<256>>().unwrap().to_string();
    for (name, value) in [
        ("nangles", "7"),
        ("nslices", "4"),
        ("nrays", "33"),
        ("arange", "180"),
        ("i0cycle", "4"),
        ("num_bright_field", "2"),
        ("num_dark_fields", "2"),
        ("pxsize", "0.00065"),
    ] {
        assert_eq!(attribute(name), value, "{name}");
    }
    assert_eq!(truth.flat_positions, [0, 4, 6]);
    assert_eq!(group.len() as usize, 7 + 3 * 2 + 2);
    let frame = |name: String| {
        let dataset = group.dataset(&format!("20240101_120000_sim{name}.tif")).unwrap();
        assert_eq!(dataset.shape(), [1, 4, 33]);
        dataset.read_raw::<f64>().unwrap()
    };
    let data = stack(&dxfile, "exchange/data");
    let flats = stack(&dxfile, "exchange/data_white");
    let darks = stack(&dxfile, "exchange/data_dark");
    for i in 0..7 {
        assert_eq!(frame(format!("_0000_{i:04}")), data[i * 132..][..132]);
        let dataset = group.dataset(&format!("20240101_120000_sim_0000_{i:04}.tif")).unwrap();
        let angle = dataset.attr("rot_angle").unwrap().read_scalar::<FixedAscii<256>>().unwrap();
        assert_eq!(angle.as_str().parse::<f64>().unwrap(), truth.theta_degrees[i]);
    }
    for (g, position) in [0, 4, 6].iter().enumerate() {
        for i in 0..2 {
            assert_eq!(frame(format!("bak_{i:04}_{position:04}")), flats[(g * 2 + i) * 132..][..132]);
        }
    }
    assert_eq!(frame("drk_0001_0006".into()), darks[132..264]);
    assert_eq!(read_truth(&als).unwrap(), truth);
}

#[test]
fn storage_options_change_the_file_not_the_frames() {
    let options = SimulateOptions { width: 40, rows: 6, angles: 10, flats: 1, darks: 1, ..small() };
    let (_folder, plain, _) = write(&options);
    let expected = stack(&plain, "exchange/data");
    for layout in [Layout::Dxfile, Layout::Als] {
        for compression in Compression::ALL.iter().copied() {
            for (chunk, latest_format) in [(None, false), (Some([3, 4, 50]), true)] {
                let options =
                    SimulateOptions { chunk, compression, latest_format, layout, ..options.clone() };
                let (_folder, path, _) = write(&options);
                let file = File::open(&path).unwrap();
                if layout == Layout::Als {
                    let last = file.dataset("20240101_120000_sim/20240101_120000_sim_0000_0009.tif").unwrap();
                    assert_eq!(last.read_raw::<f64>().unwrap(), expected[9 * 240..]);
                    continue;
                }
                let dataset = file.dataset("exchange/data").unwrap();
                let wanted = match (chunk, compression) {
                    (None, Compression::None) => None,
                    (None, _) => Some(vec![1, 6, 40]),
                    (Some(_), _) => Some(vec![3, 4, 40]),
                };
                assert_eq!(dataset.chunk(), wanted, "{compression}");
                assert_eq!(dataset.filters().is_empty(), compression == Compression::None);
                assert!(stack(&path, "exchange/data") == expected, "{compression} {chunk:?}");
            }
        }
    }
    let bytes = SimulateOptions { pixel_type: PixelType::U8, ..options };
    let (_folder, path, _) = write(&bytes);
    assert!(File::open(&path).unwrap().dataset("exchange/data").unwrap().dtype().unwrap().is::<u8>());
    let data = stack(&path, "exchange/data");
    let (least, most) = data.iter().fold((f64::MAX, 0f64), |(a, b), &v| (a.min(v), b.max(v)));
    assert!(least >= 6.0 && most > 150.0 && most < 256.0, "{least} {most}");
}

#[test]
fn a_file_that_exists_is_kept_and_nothing_half_made_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scan.h5");
    let options = small();
    std::fs::write(&path, b"precious").unwrap();
    assert!(matches!(simulate(&path, &options, &mut |_| ()), Err(Error::Exists { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    let mut parts = Vec::new();
    simulate_over(&path, &options, &mut |part| parts.push(part)).unwrap();
    assert_eq!(parts.last(), Some(&1.0));
    assert!(parts.is_sorted());
    read_truth(&path).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    // 65,536 × 65,536 pixels × a million frames: no disk holds that.
    let huge =
        SimulateOptions { width: 65_536, rows: 65_536, angles: 1_000_000, ..SimulateOptions::default() };
    let other = folder.path().join("huge.h5");
    assert!(matches!(simulate(&other, &huge, &mut |_| ()), Err(Error::Space { .. })));
    let absent = folder.path().join("absent/scan.h5");
    assert!(simulate(&absent, &options, &mut |_| ()).is_err());
    assert!(matches!(simulate_over(folder.path(), &options, &mut |_| ()), Err(Error::Exists { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    std::fs::write(&other, b"no HDF5").unwrap();
    assert!(read_truth(&other).is_err());
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    type Change = fn(&mut SimulateOptions);
    let bad: [(&str, Change); 14] = [
        ("width", |o| o.width = 0),
        ("rows", |o| o.rows = 0),
        ("angles", |o| o.angles = 0),
        ("range_degrees", |o| o.range_degrees = f64::NAN),
        ("center", |o| o.center = Some(640.0)),
        ("center", |o| o.center = Some(f64::INFINITY)),
        ("transmission", |o| o.transmission = 1.0),
        ("photons", |o| o.photons = -1.0),
        ("rings", |o| o.rings = f64::NAN),
        ("zingers", |o| o.zingers = 0.5),
        ("chunk", |o| o.chunk = Some([1, 0, 1])),
        ("blank_projections", |o| o.blank_projections = vec![721]),
        ("dead_columns", |o| o.dead_columns = 641),
        ("sample", |o| o.sample = "µ".into()),
    ];
    for (expected, change) in bad {
        let mut options = SimulateOptions::default();
        change(&mut options);
        match phantom(&options) {
            Err(Error::Option { name, .. }) => assert_eq!(name, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
    assert!("foam".parse::<PhantomKind>().is_ok());
    assert!("fome".parse::<PhantomKind>().unwrap_err().to_string().contains("shepp-logan"));
    let json = serde_json::to_string(&SimulateOptions::default()).unwrap();
    assert_eq!(serde_json::from_str::<SimulateOptions>(&json).unwrap(), SimulateOptions::default());
}

#[test]
fn the_smallest_scans_work() {
    for (width, rows, angles) in [(1, 1, 1), (2, 1, 1), (1, 3, 2), (5, 1, 2)] {
        for phantom in PhantomKind::ALL.iter().copied() {
            let options = SimulateOptions { width, rows, angles, flats: 1, darks: 1, phantom, ..small() };
            let (_folder, path, _) = write(&options);
            assert_eq!(stack(&path, "exchange/data").len(), angles * rows * width);
            let object = scan::simulate::phantom(&options).unwrap();
            assert!(object.slice(0, width, 0).iter().all(|v| v.is_finite()));
            assert!(object.slice(0, 0, 4).is_empty() && object.line_integrals(0, 0.0, 0.0, 0).is_empty());
        }
    }
}
