//! Every layout, with the metadata that real files have: arrays for scalars, dirty texts, gaps.

// Helpers outside test functions assert by panicking too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::path::Path;

use common::{Dx, Format, How, als, array, attribute, codes, create, expected, stack, text, value};
use scan::{DataType, Layout, OpenOptions, Samples, Scan, Storage, ThetaSource};

fn rows(scan: &Scan) -> Vec<f32> {
    let mut out = Samples::empty(DataType::U16);
    scan.read_rows(0..scan.info().rows, &mut out).unwrap();
    out.to_f32()
}

#[test]
fn dxfile_with_everything() {
    let folder = tempfile::tempdir().unwrap();
    let scan = scan::open(Dx::default().in_folder::<u16>(folder.path(), |_| ())).unwrap();
    let info = scan.info();
    assert_eq!(info.layout, Layout::Dxfile);
    // dimension_x in the file is wrong on purpose: shapes come from the data.
    assert_eq!((info.projections, info.rows, info.columns), (12, 6, 10));
    assert!((info.pixel_size_um.unwrap() - 0.65).abs() < 1e-12);
    assert_eq!((info.distance_mm, info.energy_kev), (Some(75.0), Some(25.0)));
    assert_eq!(info.sample.as_deref(), Some("20260304_050607_bone"));
    assert_eq!(info.acquired.as_deref(), Some("2026-03-04 05:06:07"));
    assert_eq!(info.metadata["/process/acquisition/rotation/num_angles"], "12");
    assert_eq!(info.storage, Storage::Contiguous);
    assert!(info.warnings.is_empty(), "{:?}", info.warnings);
    assert!(rows(&scan) == expected(0..12, 0..6, 10));
    // Four flats, two a group, no cycle: before the first projection and after the last.
    let flats = scan.read_flats(1..3).unwrap();
    assert_eq!(flats.iter().map(|g| (g.position, g.frames)).collect::<Vec<_>>(), [(0.0, 2), (11.0, 2)]);
    for (g, first) in flats.iter().zip([1000, 1002]) {
        for (i, mean) in g.mean.iter().enumerate() {
            let (r, c) = (1 + i / 10, i % 10);
            let wanted = (f32::from(value(first, r, c)) + f32::from(value(first + 1, r, c))) / 2.0;
            assert_eq!(*mean, wanted);
        }
    }
    let darks = scan.read_darks(0..6).unwrap();
    assert_eq!((darks.len(), darks[0].frames), (1, 3));
}

#[test]
fn flats_every_few_projections() {
    let folder = tempfile::tempdir().unwrap();
    let positions = |cycle: i64, per: i64, flats: usize| {
        let dx = Dx { flats, described: false, ..Dx::default() };
        let path = dx.in_folder::<u16>(folder.path(), |f| {
            array(f, "process/acquisition/flat_fields/i0cycle", &[cycle]);
            array(f, "process/acquisition/flat_fields/num_flat_fields", &[per]);
        });
        let groups = scan::open(path).unwrap().read_flats(0..1).unwrap();
        groups.iter().map(|g| (g.position, g.frames)).collect::<Vec<_>>()
    };
    assert_eq!(positions(5, 2, 8), [(0.0, 2), (5.0, 2), (10.0, 2), (11.0, 2)]);
    assert_eq!(positions(5, 2, 7), [(0.0, 7)], "numbers that do not fit make one group");
    assert_eq!(positions(0, 3, 3), [(0.0, 3)], "only before the scan");
}

#[test]
fn plain_exchange_and_missing_parts() {
    let folder = tempfile::tempdir().unwrap();
    let dx = Dx { described: false, flats: 0, darks: 0, ..Dx::default() };
    let scan = scan::open(dx.in_folder::<u16>(folder.path(), |_| ())).unwrap();
    assert_eq!(scan.info().layout, Layout::Dxchange);
    assert_eq!(codes(&scan), ["darks-missing", "flats-missing", "pixel-size-missing"]);
    let flats = scan.read_flats(2..4).unwrap();
    assert_eq!((flats.len(), flats[0].frames, flats[0].mean.len()), (1, 0, 20));
    assert!(flats[0].mean[0] > 200.0, "a bright level of the projections: {}", flats[0].mean[0]);
    assert_eq!(scan.read_darks(0..1).unwrap()[0].mean, vec![0.0; 10]);
    // With values in the file, those.
    let dx = Dx { flats: 0, darks: 0, ..Dx::default() };
    let scan = scan::open(dx.in_folder::<u16>(folder.path(), |_| ())).unwrap();
    assert_eq!(scan.read_flats(0..1).unwrap()[0].mean, vec![250.0; 10]);
    assert_eq!(scan.read_darks(0..1).unwrap()[0].mean, vec![7.0; 10]);
}

#[test]
fn odd_metadata_warns() {
    let folder = tempfile::tempdir().unwrap();
    let open = |edit: &dyn Fn(&hdf5_metno::File), theta: Option<Vec<f64>>| {
        let dx = Dx { described: false, theta, ..Dx::default() };
        scan::open(dx.in_folder::<u16>(folder.path(), |f| edit(f)))
    };
    let theta = || Dx::default().theta;
    let pixel = "measurement/instrument/detector/pixel_size";
    let info = |scan: Scan| scan.info().clone();

    assert_eq!(codes(&open(&|f| array(f, pixel, &[0.0]), theta()).unwrap()), ["pixel-size-zero"]);
    for odd in [-1.0, 5.0, 1e-9, f64::NAN, f64::INFINITY] {
        let scan = open(&|f| array(f, pixel, &[odd]), theta()).unwrap();
        assert_eq!((codes(&scan), scan.info().pixel_size_um), (vec!["pixel-size-implausible"], None));
    }
    // In micrometres, where the unit says so; as text, where the control system wrote text.
    let scan = open(
        &|f| {
            array(f, pixel, &[1.625]);
            attribute(&f.dataset(pixel).unwrap(), "units", "microns");
        },
        theta(),
    );
    assert_eq!(info(scan.unwrap()).pixel_size_um, Some(1.625));
    let scan = open(&|f| text(f, pixel, "0.00325 mm"), theta()).unwrap();
    assert!((info(scan).pixel_size_um.unwrap() - 3.25).abs() < 1e-9);

    // White light.
    let energy = "measurement/instrument/monochromator/energy";
    for white in [f64::INFINITY, 1e12] {
        let scan = open(&|f| array(f, energy, &[white]), theta()).unwrap();
        assert!(codes(&scan).contains(&"white-light") && scan.info().energy_kev.is_none());
    }

    // Angles.
    let count = "process/acquisition/rotation/num_angles";
    let range = "process/acquisition/rotation/range";
    let radians = theta().map(|t| t.iter().map(|d: &f64| d.to_radians()).collect());
    let scan = open(&|_| (), radians).unwrap();
    assert!(codes(&scan).contains(&"theta-radians"));
    assert!((scan.info().range_degrees - 180.0).abs() < 1e-9);
    let scan = open(&|f| array(f, range, &[360.0]), None).unwrap();
    assert!(codes(&scan).contains(&"theta-missing"));
    assert_eq!(scan.info().theta_source, ThetaSource::RangeCount);
    assert!((scan.info().theta_degrees[11] - 360.0).abs() < 1e-9);
    let mut longer = theta().unwrap();
    longer.extend([180.0; 7]);
    let scan = open(&|_| (), Some(longer)).unwrap();
    assert!(codes(&scan).contains(&"theta-longer"));
    assert_eq!(scan.info().theta_degrees.len(), 12);
    let scan = open(&|f| array(f, count, &[1313i64]), theta()).unwrap();
    assert!(codes(&scan).contains(&"frames-missing"), "an aborted scan");
    let options = OpenOptions { range_degrees: Some(180.0), ..OpenOptions::default() };
    let path = Dx { theta: None, described: false, ..Dx::default() }.in_folder::<u16>(folder.path(), |_| ());
    assert!(scan::open(&path).unwrap_err().to_string().contains("range"));
    let scan = scan::open_with(&path, &options).unwrap();
    assert_eq!(scan.info().theta_source, ThetaSource::Caller);
}

#[test]
fn blank_and_unwritten_frames() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blank.h5");
    let write = |skip: std::ops::Range<usize>| {
        let file = create(&path, Format::Old);
        let group = file.create_group("exchange").unwrap();
        let data = group
            .new_dataset_builder()
            .empty::<u16>()
            .shape([12, 6, 10])
            .chunk([1, 6, 10])
            .create("data")
            .unwrap();
        for p in (0..12).filter(|p| !skip.contains(p)) {
            let frame = ndarray::Array2::from_shape_fn((6, 10), |(r, c)| value(p, r, c));
            data.write_slice(&frame, (p, .., ..)).unwrap();
        }
        array(&file, "exchange/theta", &Dx::default().theta.unwrap());
    };
    write(4..6);
    let scan = scan::open(&path).unwrap();
    assert!(codes(&scan).contains(&"frames-blank"));
    let all = rows(&scan);
    assert!(all[4 * 60..6 * 60].iter().all(|&v| v == 0.0) && all[..240] == expected(0..4, 0..6, 10));
    // The end missing: still being written, or aborted.
    write(7..12);
    let error = scan::open(&path).unwrap_err();
    assert!(error.is_bad_input() && error.retry_helps(), "{error}");
    assert!(error.to_string().contains("7 to 11"), "{error}");
    let options = OpenOptions { allow_incomplete: true, ..OpenOptions::default() };
    let scan = scan::open_with(&path, &options).unwrap();
    assert_eq!(scan.info().projections, 7);
    assert!(codes(&scan).contains(&"frames-missing") && rows(&scan) == expected(0..7, 0..6, 10));
    write(0..12);
    assert!(scan::open_with(&path, &options).unwrap_err().to_string().contains("nothing"));
}

#[test]
fn als_frames_as_datasets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("als.h5");
    for format in [Format::Old, Format::V18, Format::Newest] {
        als(&path, 12, &[], &[0, 5, 10, 11], true, format);
        let scan = scan::open(&path).unwrap();
        let info = scan.info();
        assert_eq!((info.layout, info.projections, info.rows, info.columns), (Layout::Als, 12, 5, 8));
        assert_eq!((info.theta_source, info.theta_degrees[11]), (ThetaSource::FrameAttribute, 165.0));
        assert!((info.pixel_size_um.unwrap() - 1.3).abs() < 1e-12);
        assert_eq!((info.energy_kev, info.distance_mm), (Some(21.0), Some(50.0)));
        assert_eq!(info.storage, Storage::Frames { filters: vec![] });
        assert_eq!(info.metadata["/measurement/instrument/detector/pixel_size"], "0.0013");
        assert_eq!(info.sample.as_deref(), Some("20190405_101112_tooth_x"));
        assert!(rows(&scan) == expected(0..12, 0..5, 8));
        let flats = scan.read_flats(0..5).unwrap();
        assert_eq!(
            flats.iter().map(|g| (g.position, g.frames)).collect::<Vec<_>>(),
            [(0.0, 2), (5.0, 2), (10.0, 2), (11.0, 2)]
        );
        let wanted = (f32::from(value(1010, 0, 0)) + f32::from(value(1011, 0, 0))) / 2.0;
        assert_eq!(flats[1].mean[0], wanted);
        assert_eq!(info.dark_frames, 3);
    }
    // Without angles: equal steps, both ends included.
    als(&path, 12, &[], &[11], false, Format::Old);
    let scan = scan::open(&path).unwrap();
    assert_eq!(scan.info().layout, Layout::Als1131);
    assert_eq!(scan.info().theta_source, ThetaSource::RangeCount);
    assert!((scan.info().theta_degrees[1] - 180.0 / 11.0).abs() < 1e-9);
    // Frames missing: those that are there keep their own angles.
    for angles in [true, false] {
        als(&path, 12, &[3, 7], &[0, 11], angles, Format::Old);
        let scan = scan::open(&path).unwrap();
        assert_eq!(scan.info().projections, 10);
        assert!(codes(&scan).contains(&"frames-missing"));
        let step = if angles { 15.0 } else { 180.0 / 11.0 };
        assert!((scan.info().theta_degrees[3] - 4.0 * step).abs() < 1e-9);
        assert!(rows(&scan)[3 * 40..4 * 40] == expected(4..5, 0..5, 8));
    }
}

#[test]
fn als_with_thousands_of_frames_opens_fast() {
    let folder = tempfile::tempdir().unwrap();
    for format in [Format::Old, Format::Newest] {
        let path = folder.path().join("many.h5");
        als(&path, 3000, &[], &[0, 2999], true, format);
        let begin = std::time::Instant::now();
        let scan = scan::open(&path).unwrap();
        // Half a second is ten times what it takes; what must not be is a cost that grows with the square.
        assert!(begin.elapsed().as_secs_f64() < 2.0, "{format:?}: {:?}", begin.elapsed());
        assert_eq!(scan.info().projections, 3000);
        assert!(rows(&scan) == expected(0..3000, 0..5, 8));
    }
}

#[test]
fn sls_time_points() {
    let folder = tempfile::tempdir().unwrap();
    let theta: Vec<f64> = (0..10).map(|i| f64::from(i) * 18.0).collect();
    let dx = Dx { shape: [30, 4, 6], theta: Some(theta), described: false, ..Dx::default() };
    let path = dx.in_folder::<u16>(folder.path(), |_| ());
    let scan = scan::open(&path).unwrap();
    assert_eq!((scan.info().layout, scan.info().time_points, scan.info().projections), (Layout::Sls, 3, 10));
    assert!(codes(&scan).contains(&"several-time-points") && rows(&scan) == expected(0..10, 0..4, 6));
    let options = OpenOptions { time_point: Some(2), ..OpenOptions::default() };
    let scan = scan::open_with(&path, &options).unwrap();
    assert!(rows(&scan) == expected(20..30, 0..4, 6));
    assert!(!codes(&scan).contains(&"several-time-points"));
    let options = OpenOptions { time_point: Some(3), ..OpenOptions::default() };
    assert!(!scan::open_with(&path, &options).unwrap_err().is_bad_input());
}

#[test]
fn nexus_by_the_definition() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scan.nxs");
    // Two darks, three flats, eight projections with one invalid frame among them, two flats.
    let keys = [2i32, 2, 1, 1, 1, 0, 0, 0, 0, 3, 0, 0, 0, 0, 1, 1];
    let angles: Vec<f64> = (0..16).map(|i| f64::from(i) * 20.0).collect();
    let write = |data_file: &Path, same: bool| {
        let file = create(&path, Format::Newest);
        let detector = common::parent(&file, "entry/instrument/detector/x").0;
        if same {
            stack::<u16>(&detector, "data", [16, 4, 6], 0, &How::chunked([1, 4, 6]));
        } else {
            detector
                .link_external(data_file.file_name().unwrap().to_str().unwrap(), "/raw/frames", "data")
                .unwrap();
        }
        array(&file, "entry/instrument/detector/image_key", &keys);
        array(&file, "entry/instrument/detector/x_pixel_size", &[2.5e-6]);
        attribute(&file.dataset("entry/instrument/detector/x_pixel_size").unwrap(), "units", "m");
        array(&file, "entry/sample/rotation_angle", &angles);
        text(&file, "entry/sample/name", "bone\n\t");
        array(&file, "entry/beam/incident_energy", &[53.0]);
        // Another detector whose file is gone, a link that runs in a circle.
        let other = common::parent(&file, "entry/instrument/other/x").0;
        array(&file, "entry/instrument/other/image_key", &keys);
        other.link_external("gone.h5", "/data", "data").unwrap();
        file.link_soft("/entry/b", "entry/a").unwrap();
        file.link_soft("/entry/a", "entry/b").unwrap();
    };
    let other = folder.path().join("frames.h5");
    let frames = create(&other, Format::Old);
    stack::<u16>(&frames.create_group("raw").unwrap(), "frames", [16, 4, 6], 0, &How::default());
    frames.close().unwrap();
    for same in [true, false] {
        write(&other, same);
        let scan = scan::open(&path).unwrap();
        let info = scan.info();
        assert_eq!(
            (info.layout, info.projections, info.flat_frames, info.dark_frames),
            (Layout::Nexus, 8, 5, 2)
        );
        assert_eq!(info.theta_degrees, [100.0, 120.0, 140.0, 160.0, 200.0, 220.0, 240.0, 260.0]);
        assert_eq!((info.pixel_size_um, info.energy_kev), (Some(2.5), Some(53.0)));
        assert_eq!(info.sample.as_deref(), Some("bone"));
        assert!(codes(&scan).contains(&"frames-invalid") && codes(&scan).contains(&"link-dangling"));
        let mut wanted = expected(5..9, 0..4, 6);
        wanted.extend(expected(10..14, 0..4, 6));
        assert!(rows(&scan) == wanted);
        let flats = scan.read_flats(0..4).unwrap();
        assert_eq!(flats.iter().map(|g| (g.position, g.frames)).collect::<Vec<_>>(), [(0.0, 3), (7.0, 2)]);
    }
    // The data's own file gone: refused, and said which.
    std::fs::remove_file(&other).unwrap();
    let error = scan::open(&path).unwrap_err();
    assert!(error.is_bad_input() && error.to_string().contains("frames.h5"), "{error}");
}

#[test]
fn simulated_scans_of_both_layouts() {
    use scan::simulate::{Layout as Form, SimulateOptions, simulate};
    let folder = tempfile::tempdir().unwrap();
    for (layout, found) in [(Form::Dxfile, Layout::Dxfile), (Form::Als, Layout::Als)] {
        let options =
            SimulateOptions { width: 40, rows: 6, angles: 30, layout, ..SimulateOptions::default() };
        let path = folder.path().join(format!("{found}.h5"));
        let truth = simulate(&path, &options, &mut |_| ()).unwrap();
        let scan = scan::open(&path).unwrap();
        assert_eq!((scan.info().layout, scan.info().projections), (found, 30));
        for (a, b) in scan.info().theta_degrees.iter().zip(&truth.theta_degrees) {
            assert!((a - b).abs() < 1e-9);
        }
        let positions: Vec<usize> =
            scan.read_flats(0..1).unwrap().iter().map(|g| g.position as usize).collect();
        assert_eq!(positions, truth.flat_positions);
        assert!(scan.info().warnings.is_empty(), "{:?}", scan.info().warnings);
    }
}

#[test]
fn layouts_that_are_asked_for_are_taken_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = Dx::default().in_folder::<u16>(folder.path(), |_| ());
    let ask =
        |layout| scan::open_with(&path, &OpenOptions { layout: Some(layout), ..OpenOptions::default() });
    assert!(ask(Layout::Dxfile).is_ok());
    let error = ask(Layout::Als).unwrap_err();
    assert!(error.is_bad_input() && error.to_string().contains("looked for layout als"), "{error}");
    assert!(ask(Layout::Nexus).is_err());
}
