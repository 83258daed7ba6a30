//! TIFF stacks: layout, tags, round trips, and the conversion to OME-Zarr.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs::File;
use std::path::Path;

use common::{assert_records, integers, spec, values};
use tiff::decoder::{Decoder, DecodingResult};
use tiff::encoder::{TiffEncoder, colortype};
use tiff::tags::Tag;
use volume::{
    ConvertOptions, DataType, Error, OmeVersion, TiffStack, VolumeReader, VolumeSpec, Voxels, zarr_from_tiffs,
};

/// Writes every slice of `spec` and returns the stack's folder.
fn write(dir: &Path, spec: &VolumeSpec) -> std::path::PathBuf {
    let folder = dir.join("recscan");
    let stack = TiffStack::create(&folder, "scan", spec).unwrap();
    let n = spec.slice_voxels();
    let records: Vec<_> =
        (0..spec.shape[0]).rev().map(|z| stack.write(z, &values(z * n..(z + 1) * n)).unwrap()).collect();
    assert_records(dir, &records);
    folder
}

#[test]
fn a_slice_is_one_run_at_a_known_place_with_units() {
    let dir = tempfile::tempdir().unwrap();
    let spec = VolumeSpec { first_row: 1203, row_step: 2, ..spec([3, 50, 33]) };
    let folder = write(dir.path(), &spec);
    let file = folder.join("scan_01205.tiff");
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(bytes.len(), 4096 + 50 * 33 * 4);
    let expected = values(50 * 33..2 * 50 * 33);
    assert_eq!(&bytes[4096..], bytemuck::cast_slice::<f32, u8>(&expected));
    let mut decoder = Decoder::new(File::open(&file).unwrap()).unwrap();
    assert_eq!(decoder.get_tag_u32(Tag::ResolutionUnit).unwrap(), 3);
    let text = decoder.get_tag_ascii_string(Tag::ImageDescription).unwrap();
    for line in ["unit=um", "spacing=1.3", "detector_row=0000001205", "value_unit=1/cm"] {
        assert!(text.lines().any(|l| l == line), "{line} in {text}");
    }
    assert!(matches!(decoder.read_image().unwrap(), DecodingResult::F32(v) if v == expected));
}

#[test]
fn long_provenance_moves_the_voxels_by_whole_pages() {
    let dir = tempfile::tempdir().unwrap();
    let spec = VolumeSpec { provenance: serde_json::json!({ "µ": "x".repeat(9000) }), ..spec([2, 4, 4]) };
    let folder = write(dir.path(), &spec);
    let bytes = std::fs::read(folder.join("scan_00000.tiff")).unwrap();
    assert_eq!(bytes.len(), 3 * 4096 + 64);
    let VolumeReader::Tiffs(reader) = VolumeReader::open(&folder).unwrap() else { panic!() };
    assert_eq!(reader.provenance().unwrap(), spec.provenance);
}

#[test]
fn stacks_read_back_with_their_meaning() {
    for spec in [
        VolumeSpec { first_row: 7, row_step: 3, ..spec([4, 9, 11]) },
        integers([4, 9, 11], DataType::U16),
        integers([1, 9, 11], DataType::U8),
        VolumeSpec { voxel_um: None, ..spec([2, 1, 1]) },
    ] {
        let dir = tempfile::tempdir().unwrap();
        let folder = write(dir.path(), &spec);
        let reader = VolumeReader::open(&folder).unwrap();
        assert_eq!(
            (reader.shape(), reader.dtype(), reader.scaling()),
            (spec.shape, spec.dtype, spec.scaling)
        );
        let all = reader.read(0, spec.shape.map(|n| 0..n)).unwrap();
        assert_eq!(all, spec.store(&values(0..spec.shape.iter().product())));
        let VolumeReader::Tiffs(reader) = reader else { panic!() };
        match (reader.voxel_um(), spec.voxel_um) {
            (Some(a), Some(b)) => a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() < 1e-9 * b)),
            (a, b) => assert_eq!(a, b),
        }
        if spec.shape[0] > 1 {
            assert_eq!((reader.first_row(), reader.row_step()), (Some(spec.first_row), spec.row_step));
        }
    }
}

#[test]
fn wrong_slices_and_existing_folders_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec([2, 5, 5]);
    let stack = TiffStack::create(&dir.path().join("rec"), "s", &spec).unwrap();
    assert!(matches!(TiffStack::create(&dir.path().join("rec"), "s", &spec), Err(Error::Exists { .. })));
    assert!(TiffStack::open_existing(&dir.path().join("rec"), "s", &spec).is_ok());
    assert!(matches!(stack.write(0, &[0.0; 24]), Err(Error::Shape { .. })));
    assert!(matches!(stack.write(2, &[0.0; 25]), Err(Error::Parameter { .. })));
    assert!(TiffStack::create(&dir.path().join("x"), "a/b", &spec).is_err());
    assert_eq!(std::fs::read_dir(dir.path().join("rec")).unwrap().count(), 0);
}

/// Writes a stack the way other programs do: many strips, deflate, signed or big types.
fn foreign(folder: &Path, kind: &str, n: usize) {
    std::fs::create_dir_all(folder).unwrap();
    for z in 0..n {
        let mut file = File::create(folder.join(format!("img_{z}.tif"))).unwrap();
        let mut encoder = TiffEncoder::new(&mut file).unwrap();
        if kind == "deflate" {
            encoder = encoder.with_compression(tiff::encoder::Compression::Deflate(Default::default()));
        }
        let at = |i: usize| (z * 7 + i) % 251;
        match kind {
            "u8" => encoder.write_image::<colortype::Gray8>(
                6,
                4,
                &(0..24).map(|i| at(i) as u8).collect::<Vec<_>>(),
            ),
            "i16" => encoder.write_image::<colortype::GrayI16>(
                6,
                4,
                &(0..24).map(|i| at(i) as i16 - 9).collect::<Vec<_>>(),
            ),
            "u32" => encoder.write_image::<colortype::Gray32>(
                6,
                4,
                &(0..24).map(|i| at(i) as u32).collect::<Vec<_>>(),
            ),
            "f64" => encoder.write_image::<colortype::Gray64Float>(
                6,
                4,
                &(0..24).map(|i| at(i) as f64).collect::<Vec<_>>(),
            ),
            "rgb" => encoder.write_image::<colortype::RGB8>(
                2,
                4,
                &(0..24).map(|i| at(i) as u8).collect::<Vec<_>>(),
            ),
            _ => encoder.write_image::<colortype::Gray16>(
                6,
                4,
                &(0..24).map(|i| at(i) as u16).collect::<Vec<_>>(),
            ),
        }
        .unwrap();
    }
}

#[test]
fn foreign_stacks_convert_bit_for_bit_in_numeric_order() {
    for (kind, dtype) in [
        ("u8", DataType::U8),
        ("u16", DataType::U16),
        ("deflate", DataType::U16),
        ("i16", DataType::F32),
        ("u32", DataType::F32),
        ("f64", DataType::F32),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("stack");
        // 70 slices named without leading zeros: img_9 comes before img_10.
        foreign(&folder, kind, 70);
        std::fs::write(folder.join("notes.txt"), "x").unwrap();
        std::fs::write(folder.join("._img_1.tif"), "x").unwrap();
        let options = ConvertOptions { voxel_um: Some([2.0; 3]), ..Default::default() };
        let output = dir.path().join("out/recx.zarr");
        let mut calls = Vec::new();
        let done = zarr_from_tiffs(&folder, &output, &options, &mut |a, b| {
            calls.push((a, b));
            true
        })
        .unwrap();
        assert_eq!(calls, [(32, 70), (64, 70), (70, 70)]);
        assert_records(&dir.path().join("out"), &done.files);
        assert_eq!((done.spec.dtype, done.spec.name.as_str()), (dtype, "recx"));
        let offset = if kind == "i16" { -9.0 } else { 0.0 };
        let expected: Vec<f32> =
            (0..70 * 24).map(|i| (((i / 24) * 7 + i % 24) % 251) as f32 + offset).collect();
        let reader = VolumeReader::open(&output).unwrap();
        assert_eq!(reader.read_values(0, [0..70, 0..4, 0..6]).unwrap(), expected, "{kind}");
        assert_eq!(reader.levels()[0].scale, [2.0; 3]);
    }
}

#[test]
fn our_own_stack_keeps_its_meaning_through_the_conversion() {
    for version in [OmeVersion::V04, OmeVersion::V05] {
        let dir = tempfile::tempdir().unwrap();
        let spec = VolumeSpec { first_row: 640, row_step: 2, ..integers([40, 10, 300], DataType::U16) };
        let folder = write(dir.path(), &spec);
        let output = dir.path().join("again.zarr");
        let options = ConvertOptions { version, ..Default::default() };
        let done = zarr_from_tiffs(&folder, &output, &options, &mut |_, _| true).unwrap();
        assert_eq!((done.spec.first_row, done.spec.row_step, done.spec.scaling), (640, 2, spec.scaling));
        assert_eq!(done.spec.unit, "1/cm");
        let (a, b) = (VolumeReader::open(&folder).unwrap(), VolumeReader::open(&output).unwrap());
        let all = [0..40, 0..10, 0..300];
        assert_eq!(a.read(0, all.clone()).unwrap(), b.read(0, all).unwrap());
        for axis in 0..3 {
            assert!((b.levels()[0].scale[axis] - spec.scale()[axis]).abs() < 1e-9);
            assert!((b.levels()[0].translation[axis] - spec.origin()[axis]).abs() < 1e-6);
        }
    }
}

#[test]
fn bad_stacks_are_refused_with_the_file_named() {
    let dir = tempfile::tempdir().unwrap();
    let convert = |folder: &Path| {
        let error =
            zarr_from_tiffs(folder, &dir.path().join("o.zarr"), &ConvertOptions::default(), &mut |_, _| true)
                .unwrap_err()
                .to_string();
        assert!(!dir.path().join("o.zarr/0/0").exists(), "{error}");
        let _ = std::fs::rename(dir.path().join("o.zarr"), dir.path().join(format!("{}", error.len())));
        error
    };
    let case = |name: &str| {
        let folder = dir.path().join(name);
        foreign(&folder, "u16", 5);
        folder
    };
    assert!(convert(&dir.path().join("absent")).contains("absent"));
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    assert!(convert(&empty).contains("no .tif"));
    let gap = case("gap");
    std::fs::remove_file(gap.join("img_3.tif")).unwrap();
    assert!(convert(&gap).contains("img_2.tif"));
    let copies = case("copies");
    std::fs::copy(copies.join("img_3.tif"), copies.join("img_3-1.tif")).unwrap();
    assert!(convert(&copies).contains("more than one stack"));
    let mixed = case("mixed");
    foreign(&dir.path().join("u8"), "u8", 5);
    std::fs::copy(dir.path().join("u8/img_3.tif"), mixed.join("img_3.tif")).unwrap();
    assert!(convert(&mixed).contains("img_3.tif"));
    let rgb = dir.path().join("rgb");
    foreign(&rgb, "rgb", 2);
    assert!(convert(&rgb).contains("not grey"));
    let cut = case("cut");
    let bytes = std::fs::read(cut.join("img_1.tif")).unwrap();
    for n in 0..bytes.len() {
        std::fs::write(cut.join("img_1.tif"), &bytes[..n]).unwrap();
        let reader = VolumeReader::open(&cut);
        let read = reader.and_then(|r| r.read(0, [0..5, 0..4, 0..6]));
        assert!(read.is_err(), "{n} of {} bytes were accepted", bytes.len());
    }
}

#[test]
fn a_stopped_conversion_says_so() {
    let dir = tempfile::tempdir().unwrap();
    foreign(&dir.path().join("s"), "u8", 40);
    let stopped = zarr_from_tiffs(
        &dir.path().join("s"),
        &dir.path().join("o.zarr"),
        &ConvertOptions::default(),
        &mut |_, _| false,
    );
    assert!(matches!(stopped, Err(Error::Cancelled { .. })));
}

#[test]
fn float_bits_survive_even_strange_ones() {
    let dir = tempfile::tempdir().unwrap();
    let strange = [f32::NAN, f32::INFINITY, -0.0, f32::MIN_POSITIVE / 4.0];
    let stack = TiffStack::create(&dir.path().join("rec"), "s", &spec([1, 2, 2])).unwrap();
    stack.write(0, &strange).unwrap();
    let done = zarr_from_tiffs(
        &dir.path().join("rec"),
        &dir.path().join("r.zarr"),
        &ConvertOptions::default(),
        &mut |_, _| true,
    )
    .unwrap();
    assert_eq!(done.histogram.not_finite(), 2);
    let Voxels::F32(v) =
        VolumeReader::open(&dir.path().join("r.zarr")).unwrap().read(0, [0..1, 0..2, 0..2]).unwrap()
    else {
        panic!()
    };
    assert_eq!(v.map_bits(), strange.to_vec().map_bits());
}

trait Bits {
    fn map_bits(&self) -> Vec<u32>;
}

impl Bits for Vec<f32> {
    fn map_bits(&self) -> Vec<u32> {
        self.iter().map(|v| v.to_bits()).collect()
    }
}
