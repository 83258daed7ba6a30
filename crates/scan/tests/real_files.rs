//! Real scans from three beamlines, against values read with h5py.

// Helpers outside test functions assert by panicking too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::path::PathBuf;

use scan::{DataType, Layout, Samples, Storage, ThetaSource, Verdict};

// Sums over all samples, single pixels and angles, read with h5py 3.16 (HDF5 2.0).
const TOOTH_SUM: f64 = 4_749_233_396.5;
const DIAMOND_SUM: f64 = 43_855_413_871.0;
const K11_SUM: f64 = 65_768_562_345.0;
const K11_FLATS: f64 = 2_592_149_423.0;
const K11_DARKS: f64 = 5_675_253.0;
const K11_PIXEL: f32 = 29419.0;
const K11_FIRST: f64 = 89.99511004;
const K11_LAST: f64 = 269.99462809;

/// A file of the shared data; `None` (and a line) where the folder is absent.
fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("BEAMRAIL_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")),
        PathBuf::from,
    );
    if !root.exists() {
        println!("skipped: no folder {} (set BEAMRAIL_SHARED)", root.display());
        return None;
    }
    Some(root.join("data/scans").join(name))
}

fn sum(samples: &Samples) -> f64 {
    samples.to_f32().iter().map(|&x| f64::from(x)).sum()
}

fn codes(scan: &scan::Scan) -> Vec<&'static str> {
    scan.info().warnings.iter().map(|w| w.code).collect()
}

#[test]
fn tooth() {
    let Some(path) = shared("tooth.h5") else { return };
    assert_eq!(scan::completeness(&path).unwrap().verdict, Verdict::Complete);
    let scan = scan::open(&path).unwrap();
    let info = scan.info();
    assert_eq!(info.layout, Layout::Dxchange);
    assert_eq!((info.projections, info.rows, info.columns), (181, 2, 640));
    assert_eq!((info.dtype, &info.storage), (DataType::F32, &Storage::Contiguous));
    assert_eq!((info.flat_frames, info.dark_frames), (10, 10));
    assert_eq!(info.theta_source, ThetaSource::Dataset);
    assert!((info.theta_degrees[90] - 89.5).abs() < 0.01, "{}", info.theta_degrees[90]);
    assert!((info.range_degrees - 179.0).abs() < 0.01);
    assert_eq!(info.sample.as_deref(), Some("Tooth"));
    assert_eq!(codes(&scan), ["pixel-size-missing"]);
    let mut all = Samples::empty(DataType::U8);
    scan.read_rows(0..2, &mut all).unwrap();
    assert_eq!(all.len(), 181 * 2 * 640);
    assert!((sum(&all) / TOOTH_SUM - 1.0).abs() < 1e-12, "{}", sum(&all));
    let mut row = Samples::empty(DataType::F32);
    scan.read_rows(1..2, &mut row).unwrap();
    for p in [0, 77, 180] {
        for c in [0, 320, 639] {
            assert_eq!(row.get(p * 640 + c), all.get((p * 2 + 1) * 640 + c));
        }
    }
    let flats = scan.read_flats(0..2).unwrap();
    assert_eq!((flats.len(), flats[0].frames, flats[0].mean.len()), (1, 10, 1280));
}

#[test]
fn diamond() {
    let Some(path) = shared("diamond_24737.h5") else { return };
    let scan = scan::open(&path).unwrap();
    let info = scan.info();
    assert_eq!((info.projections, info.rows, info.columns), (91, 135, 160));
    assert_eq!((info.dtype, info.flat_frames, info.dark_frames), (DataType::U16, 1, 1));
    assert_eq!(info.storage, Storage::Chunked { shape: [1, 135, 160], filters: vec![] });
    assert!(!scan.needs_spool());
    assert!((info.theta_degrees[0] + 88.2).abs() < 0.01 && (info.range_degrees - 180.0).abs() < 0.01);
    assert!(codes(&scan).contains(&"flat-zero-pixels"), "{:?}", info.warnings);
    let mut all = Samples::empty(DataType::U16);
    scan.read_projections(0..91, &mut all).unwrap();
    assert_eq!(sum(&all), DIAMOND_SUM);
    let mut rows = Samples::empty(DataType::U16);
    scan.read_rows(40..57, &mut rows).unwrap();
    let (Samples::U16(all), Samples::U16(rows)) = (&all, &rows) else { panic!("u16 expected") };
    for p in 0..91 {
        assert_eq!(rows[p * 17 * 160..(p + 1) * 17 * 160], all[(p * 135 + 40) * 160..(p * 135 + 57) * 160]);
    }
}

#[test]
fn diad_nexus_with_external_and_dangling_links() {
    let Some(path) = shared("k11-18014-nexus/k11-18014.nxs") else { return };
    let scan = scan::open(&path).unwrap();
    let info = scan.info();
    assert_eq!(info.layout, Layout::Nexus);
    assert_eq!((info.projections, info.rows, info.columns), (3001, 22, 26));
    assert_eq!((info.flat_frames, info.dark_frames), (100, 100));
    assert!(
        (info.theta_degrees[0] - K11_FIRST).abs() < 1e-8
            && (info.theta_degrees[3000] - K11_LAST).abs() < 1e-8
    );
    assert!(codes(&scan).contains(&"link-dangling"));
    assert!(info.metadata.keys().any(|k| k.contains("dcm1_bragg")), "names with newlines are kept, cleaned");
    assert!(info.metadata.keys().all(|k| !k.contains('\n')));
    assert_eq!(info.acquired.as_deref(), Some("2022-10-15T13:49:39.357"));
    let mut all = Samples::empty(DataType::U16);
    scan.read_projections(0..3001, &mut all).unwrap();
    assert_eq!(sum(&all), K11_SUM);
    assert_eq!(all.get((1500 * 22 + 11) * 26 + 13), Some(K11_PIXEL));
    let total = |groups: Vec<scan::FrameGroup>| -> f64 {
        groups.iter().map(|g| g.mean.iter().map(|&x| f64::from(x)).sum::<f64>() * g.frames as f64).sum()
    };
    assert!((total(scan.read_flats(0..22).unwrap()) / K11_FLATS - 1.0).abs() < 1e-6);
    assert!((total(scan.read_darks(0..22).unwrap()) / K11_DARKS - 1.0).abs() < 1e-6);
}
