//! Bad files: a corpus of broken scans, truncation everywhere, flipped bits. Nothing may panic, hang, take
//! absurd memory or be read as something that it is not.

// Helpers outside test functions assert by panicking too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Dx, Element, Format, How, array, create, stack};
use hdf5_metno::filters::Filter;
use hdf5_metno::{File, Group};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use scan::{Error, Samples};

/// What a case must end in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// Refused as bad input.
    Refused,
    /// Opened, with this warning.
    Warned(&'static str),
}

struct Corpus {
    folder: PathBuf,
    cases: Vec<(String, PathBuf, End)>,
}

impl Corpus {
    fn path(&mut self, name: &str, end: End) -> PathBuf {
        let path = self.folder.join(format!("{:03}-{}.h5", self.cases.len(), name.replace([' ', '/'], "-")));
        self.cases.push((name.to_string(), path.clone(), end));
        path
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        let path = self.path(name, End::Refused);
        std::fs::write(path, bytes).unwrap();
    }

    fn file(&mut self, name: &str, end: End, make: impl FnOnce(&File)) {
        let path = self.path(name, end);
        let file = create(&path, Format::Old);
        make(&file);
    }

    fn dx<T: Element>(&mut self, name: &str, end: End, dx: Dx, edit: impl FnOnce(&File)) {
        let path = self.path(name, end);
        dx.write::<T>(&path, edit);
    }
}

fn exchange(file: &File) -> Group {
    file.create_group("exchange").unwrap()
}

fn angles(n: usize) -> Vec<f64> {
    (0..n).map(|i| i as f64 * 180.0 / n.max(2) as f64).collect()
}

fn plain() -> Dx {
    Dx { described: false, ..Dx::default() }
}

/// Over a hundred files that no reconstruction should start from without a word.
fn corpus(folder: &Path) -> Corpus {
    let mut c = Corpus { folder: folder.to_path_buf(), cases: Vec::new() };
    use End::{Refused, Warned};

    // Not HDF5.
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("one byte", b"\x89"),
        ("signature only", b"\x89HDF\r\n\x1a\n"),
        ("text", b"not a scan\n"),
        ("zip", b"PK\x03\x04........................"),
        ("tiff", b"II*\0\x08\0\0\0"),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0"),
        ("hdf4", b"\x0e\x03\x13\x01...."),
        ("netcdf", b"CDF\x01\0\0\0\0"),
        ("html", b"<html>404</html>"),
        ("zeros", &[0; 4096]),
        ("ones", &[0xff; 4096]),
        ("signature and zeros", &[&b"\x89HDF\r\n\x1a\n"[..], &[0; 2000]].concat()),
        ("signature and ones", &[&b"\x89HDF\r\n\x1a\n"[..], &[0xff; 2000]].concat()),
        ("unknown superblock", &[&b"\x89HDF\r\n\x1a\n\x09"[..], &[8; 500]].concat()),
    ] {
        c.bytes(name, bytes);
    }

    // HDF5 without a scan.
    c.file("root without anything", Refused, |_| ());
    c.file("groups only", Refused, |f| drop((f.create_group("a"), f.create_group("b"))));
    c.file("empty exchange", Refused, |f| drop(exchange(f)));
    c.file("theta only", Refused, |f| array(f, "exchange/theta", &angles(9)));
    c.file("flats only", Refused, |f| {
        stack::<u16>(&exchange(f), "data_white", [3, 2, 4], 0, &How::default())
    });
    c.file("another dataset", Refused, |f| array(f, "spectra", &[1.0, 2.0]));
    c.file("exchange is a dataset", Refused, |f| array(f, "exchange", &[1.0, 2.0]));
    c.file("data is a group", Refused, |f| drop(exchange(f).create_group("data")));
    c.file("a link in a circle", Refused, |f| {
        let g = exchange(f);
        g.link_soft("/exchange/b", "data").unwrap();
        g.link_soft("/exchange/data", "b").unwrap();
    });
    c.file("a link to itself", Refused, |f| exchange(f).link_soft("data", "data").unwrap());
    c.file("a dangling link", Refused, |f| exchange(f).link_soft("/nowhere", "data").unwrap());
    c.file("a dangling external link", Refused, |f| {
        exchange(f).link_external("gone.h5", "/x", "data").unwrap()
    });
    c.file("image_key without data", Refused, |f| array(f, "entry/detector/image_key", &[0i32; 5]));
    c.file("image_key without projections", Refused, |f| {
        array(f, "entry/detector/image_key", &[1i32; 5]);
        stack::<u16>(&f.group("entry/detector").unwrap(), "data", [5, 2, 4], 0, &How::default());
    });
    c.file("image_key too short", Refused, |f| {
        array(f, "entry/detector/image_key", &[0i32; 4]);
        stack::<u16>(&f.group("entry/detector").unwrap(), "data", [5, 2, 4], 0, &How::default());
    });
    c.file("nexus without angles", Refused, |f| {
        array(f, "entry/detector/image_key", &[0i32; 5]);
        stack::<u16>(&f.group("entry/detector").unwrap(), "data", [5, 2, 4], 0, &How::default());
    });

    // Shapes.
    for shape in [[0, 6, 10], [12, 0, 10], [12, 6, 0], [1, 6, 10], [12, 6, 1], [1, 1, 1], [0, 0, 0]] {
        let dx = Dx { shape, theta: Some(angles(shape[0])), flats: 0, darks: 0, ..plain() };
        let how = How { max: Some([None; 3]), ..How::chunked([1, 1, 1]) };
        let path = c.path(&format!("shape {shape:?}"), Refused);
        Dx { how, ..dx }.write::<u16>(&path, |_| ());
    }
    for rank in [1usize, 2, 4] {
        c.file(&format!("{rank} axes"), Refused, |f| {
            let data = ndarray::ArrayD::<u16>::ones(ndarray::IxDyn(&vec![6; rank]));
            exchange(f).new_dataset_builder().with_data(&data).create("data").unwrap();
            array(f, "exchange/theta", &angles(6));
        });
    }
    c.file("a scalar", Refused, |f| {
        exchange(f).new_dataset::<u16>().create("data").unwrap().write_scalar(&3u16).unwrap();
    });
    for (name, flats, shape) in [
        ("flats with other rows", "data_white", [3, 5, 10]),
        ("flats with other columns", "data_white", [3, 6, 11]),
        ("darks with other rows", "data_dark", [3, 7, 10]),
        ("darks with other columns", "data_dark", [3, 6, 9]),
    ] {
        c.dx::<u16>(name, Refused, Dx { flats: 0, darks: 0, ..plain() }, |f| {
            stack::<u16>(&f.group("exchange").unwrap(), flats, shape, 0, &How::default());
        });
    }
    c.file("text for data", Refused, |f| {
        let word = hdf5_metno::types::FixedAscii::<8>::from_ascii(b"counts").unwrap();
        let data = ndarray::Array3::from_elem((4, 2, 3), word);
        exchange(f).new_dataset_builder().with_data(&data).create("data").unwrap();
        array(f, "exchange/theta", &angles(4));
    });
    c.file("booleans that never were written", Refused, |f| {
        exchange(f).new_dataset::<bool>().shape([4, 2, 3]).create("data").unwrap();
        array(f, "exchange/theta", &angles(4));
    });
    c.file("never written, contiguous", Refused, |f| {
        exchange(f).new_dataset::<u16>().shape([12, 6, 10]).no_chunk().create("data").unwrap();
        array(f, "exchange/theta", &angles(12));
    });
    c.file("never written, chunked", Refused, |f| {
        exchange(f).new_dataset::<u16>().shape([12, 6, 10]).chunk([1, 6, 10]).create("data").unwrap();
        array(f, "exchange/theta", &angles(12));
    });
    for shape in [[1_000_000usize, 30_000, 30_000], [2_000_000_000, 4000, 4000], [3, 1 << 30, 1 << 30]] {
        c.file(&format!("claims {shape:?}"), Refused, |f| {
            let how = exchange(f).new_dataset::<u16>().shape(shape).chunk([1, 64, 64]);
            how.create("data").unwrap().write_slice(&ndarray::arr1(&[5u16]), (0, 0, 0..1)).unwrap();
            array(f, "exchange/theta", &angles(12));
        });
    }
    c.file("the last projection never written", Refused, |f| {
        let data = exchange(f).new_dataset::<u16>().shape([5, 2, 4]).chunk([1, 2, 4]).create("data").unwrap();
        data.write_slice(&ndarray::Array3::<u16>::ones((4, 2, 4)), (0..4, .., ..)).unwrap();
        array(f, "exchange/theta", &angles(5));
    });

    // Values.
    for (name, fill) in [("all NaN", f32::NAN), ("all infinite", f32::INFINITY)] {
        c.file(name, Refused, |f| {
            let data = ndarray::Array3::from_elem((6, 4, 5), fill);
            exchange(f).new_dataset_builder().with_data(&data).create("data").unwrap();
            array(f, "exchange/theta", &angles(6));
        });
    }
    c.file("all zero", Refused, |f| {
        let data = ndarray::Array3::<u16>::zeros((6, 4, 5));
        exchange(f).new_dataset_builder().with_data(&data).create("data").unwrap();
        array(f, "exchange/theta", &angles(6));
    });
    c.dx::<f32>("flats of NaN", Refused, Dx { flats: 0, ..plain() }, |f| {
        let data = ndarray::Array3::from_elem((2, 6, 10), f32::NAN);
        f.group("exchange").unwrap().new_dataset_builder().with_data(&data).create("data_white").unwrap();
    });
    c.file("a few NaN", Warned("not-finite"), |f| {
        let data =
            ndarray::Array3::from_shape_fn(
                (20, 16, 40),
                |(p, r, k)| if k == 7 { f32::NAN } else { (p * r + k) as f32 },
            );
        exchange(f).new_dataset_builder().with_data(&data).create("data").unwrap();
        array(f, "exchange/theta", &angles(20));
    });
    c.file("some blank frames", Warned("frames-blank"), |f| {
        let data =
            ndarray::Array3::from_shape_fn(
                (20, 6, 8),
                |(p, r, k)| if p == 3 { 0 } else { (p * 3 + r * 5 + k) as u16 },
            );
        exchange(f).new_dataset_builder().with_data(&data).create("data").unwrap();
        array(f, "exchange/theta", &angles(20));
    });

    // Angles.
    let theta = |t: Vec<f64>| Dx { theta: Some(t), ..plain() };
    for (name, values) in [
        ("no angle", vec![]),
        ("one angle", vec![3.0]),
        ("an angle too few", angles(11)),
        ("twice the angles", angles(240)),
        ("equal angles", vec![45.0; 12]),
        ("zero angles", vec![0.0; 12]),
        ("NaN angles", vec![f64::NAN; 12]),
        ("one NaN angle", (0..12).map(|i| if i == 5 { f64::NAN } else { i as f64 }).collect()),
        ("an infinite angle", (0..12).map(|i| if i == 11 { f64::INFINITY } else { i as f64 }).collect()),
        ("absurd angles", (0..12).map(|i| i as f64 * 1e300).collect()),
    ] {
        c.dx::<u16>(name, Refused, theta(values), |_| ());
    }
    c.dx::<u16>("no angles at all", Refused, Dx { theta: None, ..plain() }, |_| ());
    c.dx::<u16>("a range of zero", Refused, Dx { theta: None, ..plain() }, |f| {
        array(f, "process/acquisition/rotation/range", &[0.0])
    });
    c.dx::<u16>("a range of NaN", Refused, Dx { theta: None, ..plain() }, |f| {
        array(f, "process/acquisition/rotation/range", &[f64::NAN])
    });
    c.dx::<u16>("angles as text", Refused, Dx { theta: None, ..plain() }, |f| {
        common::text(f, "exchange/theta", "0 to 180")
    });
    c.dx::<u16>("theta is a group", Refused, Dx { theta: None, ..plain() }, |f| {
        drop(f.create_group("exchange/theta"))
    });
    c.dx::<u16>(
        "radians",
        Warned("theta-radians"),
        theta((0..12).map(|i| f64::from(i) * std::f64::consts::PI / 12.0).collect()),
        |_| (),
    );
    c.dx::<u16>(
        "not monotonic",
        Warned("theta-not-monotonic"),
        theta((0..12).map(|i| f64::from(i ^ 1) * 15.0).collect()),
        |_| (),
    );
    c.dx::<u16>(
        "spare angles",
        Warned("theta-longer"),
        theta((0..19).map(|i| f64::from(i) * 15.0).collect()),
        |_| (),
    );
    c.dx::<u16>(
        "repeated angles",
        Warned("theta-repeats"),
        theta((0..12).map(|i| f64::from(i / 2) * 30.0).collect()),
        |_| (),
    );
    c.dx::<u16>("range only", Warned("theta-missing"), Dx { theta: None, ..Dx::default() }, |_| ());

    // Metadata that is wrong, in every type.
    for path in
        ["rotation/num_angles", "rotation/range", "flat_fields/i0cycle", "flat_fields/num_flat_fields"]
    {
        let full = format!("process/acquisition/{path}");
        for odd in [f64::NAN, f64::INFINITY, -3.0, 1e18, 0.0] {
            c.dx::<u16>(&format!("{path} is {odd}"), Warned("pixel-size-missing"), plain(), |f| {
                array(f, &full, &[odd])
            });
        }
        c.dx::<u16>(&format!("{path} is text"), Warned("pixel-size-missing"), plain(), |f| {
            common::text(f, &full, " 'x7', ")
        });
        c.dx::<u16>(&format!("{path} is empty"), Warned("pixel-size-missing"), plain(), |f| {
            let (group, name) = common::parent(f, &full);
            group.new_dataset::<f64>().shape([0]).create(name).unwrap();
        });
    }
    for odd in [0.0, -1.0, 1e-12, 1e6, f64::NAN, f64::NEG_INFINITY] {
        let code = if odd == 0.0 { "pixel-size-zero" } else { "pixel-size-implausible" };
        c.dx::<u16>(&format!("pixel size {odd}"), Warned(code), plain(), |f| {
            array(f, "measurement/instrument/detector/pixel_size", &[odd]);
        });
    }
    c.dx::<u16>("no flats", Warned("flats-missing"), Dx { flats: 0, ..plain() }, |_| ());
    c.dx::<u16>("no darks", Warned("darks-missing"), Dx { darks: 0, ..plain() }, |_| ());
    c.dx::<u16>("flats of no frames", Warned("flats-missing"), Dx { flats: 0, ..plain() }, |f| {
        let how = f.group("exchange").unwrap();
        how.new_dataset::<u16>().chunk([1, 6, 10]).shape((0.., 6, 10)).create("data_white").unwrap();
    });
    for (name, level, code) in
        [("dark flats", 0u16, "flat-zero-pixels"), ("saturated flats", 65535, "flat-saturated-pixels")]
    {
        c.dx::<u16>(name, Warned(code), Dx { flats: 0, ..plain() }, |f| {
            let data = ndarray::Array3::from_elem((2, 6, 10), level);
            f.group("exchange").unwrap().new_dataset_builder().with_data(&data).create("data_white").unwrap();
        });
    }

    // Old ALS.
    let frame = |g: &Group, name: &str, shape: [usize; 3]| stack::<u16>(g, name, shape, 1, &How::default());
    c.file("als with one frame", Refused, |f| {
        frame(&f.create_group("s").unwrap(), "s_0000_0000.tif", [1, 2, 3])
    });
    c.file("als without angles", Refused, |f| {
        let g = f.create_group("s").unwrap();
        (0..4).for_each(|i| frame(&g, &format!("s_0000_{i:04}.tif"), [1, 2, 3]));
    });
    c.file("als with frames of two sizes", Refused, |f| {
        let g = f.create_group("s").unwrap();
        common::attribute(&g, "arange", "180");
        (0..4).for_each(|i| frame(&g, &format!("s_0000_{i:04}.tif"), [1, 2, 3 + i / 3]));
    });
    c.file("als with double frames", Refused, |f| {
        let g = f.create_group("s").unwrap();
        common::attribute(&g, "arange", "180");
        (0..4).for_each(|i| frame(&g, &format!("s_0000_{i:04}.tif"), [2, 2, 3]));
    });
    c.file("als flats of another size", Refused, |f| {
        let g = f.create_group("s").unwrap();
        common::attribute(&g, "arange", "180");
        (0..4).for_each(|i| frame(&g, &format!("s_0000_{i:04}.tif"), [1, 2, 3]));
        frame(&g, "sbak_0000_0000.tif", [1, 3, 3]);
    });
    c
}

/// Opens and, if that works, reads everything once.
fn attempt(path: &Path) -> Result<scan::Scan, Error> {
    let scan = scan::open(path)?;
    let info = scan.info();
    let mut buffer = Samples::empty(info.dtype);
    scan.read_rows(0..1, &mut buffer)?;
    scan.read_projections(0..info.projections.min(2), &mut buffer)?;
    scan.read_rows(0..info.rows, &mut buffer)?;
    scan.read_flats(0..info.rows)?;
    scan.read_darks(0..info.rows)?;
    Ok(scan)
}

#[test]
fn the_corpus_is_refused_or_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(folder.path());
    assert!(corpus.cases.len() > 100, "{} cases", corpus.cases.len());
    let mut wrong = Vec::new();
    for (name, path, end) in &corpus.cases {
        let begin = Instant::now();
        let outcome = attempt(path);
        if begin.elapsed() > Duration::from_secs(5) {
            wrong.push(format!("{name}: took {:?}", begin.elapsed()));
        }
        match (end, outcome) {
            (End::Refused, Err(e)) if e.is_bad_input() => {
                let text = e.to_string();
                assert!(text.contains(path.file_name().unwrap().to_str().unwrap()), "no path in: {text}");
            }
            (End::Warned(code), Ok(scan)) if common::codes(&scan).contains(code) => {}
            (end, Ok(scan)) => {
                wrong.push(format!("{name}: {end:?} expected, opened with {:?}", common::codes(&scan)))
            }
            (end, Err(e)) => wrong.push(format!("{name}: {end:?} expected, error: {e}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), corpus.cases.len(), wrong.join("\n"));
}

#[test]
fn absent_and_unreadable_paths() {
    let folder = tempfile::tempdir().unwrap();
    for path in [
        folder.path().join("absent.h5"),
        folder.path().to_path_buf(),
        "/dev/null".into(),
        "/dev/null/x".into(),
        PathBuf::new(),
    ] {
        let error = scan::open(&path).unwrap_err();
        assert!(error.is_bad_input(), "{error}");
    }
    let pipe = folder.path().join("pipe");
    if std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|s| s.success()) {
        assert!(scan::open(&pipe).unwrap_err().is_bad_input());
    }
}

/// Small files that between them use most structures.
fn specimens(folder: &Path) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for (format, how) in [
        (Format::Old, How::filtered([2, 6, 10], vec![Filter::Shuffle, Filter::Deflate(1)])),
        (Format::Old, How::default()),
        (Format::Newest, How::filtered([1, 3, 10], vec![Filter::Deflate(1), Filter::Fletcher32])),
        (Format::Newest, How { max: Some([None, Some(6), Some(10)]), ..How::chunked([1, 6, 10]) }),
    ] {
        let path = Dx { format, how, ..Dx::default() }.in_folder::<u16>(folder, |_| ());
        out.push(std::fs::read(path).unwrap());
    }
    for format in [Format::Old, Format::Newest] {
        let path = folder.join("als.h5");
        common::als(&path, 12, &[], &[0, 5, 11], true, format);
        out.push(std::fs::read(path).unwrap());
    }
    let path = folder.join("scan.nxs");
    let file = create(&path, Format::V18);
    array(&file, "entry/detector/image_key", &[2i32, 1, 0, 0, 0, 0, 0, 1]);
    array(&file, "entry/sample/rotation_angle", &angles(8));
    stack::<f32>(
        &file.group("entry/detector").unwrap(),
        "data",
        [8, 4, 6],
        0,
        &How::filtered([1, 4, 6], vec![Filter::LZF]),
    );
    file.link_soft("/entry/detector/data", "entry/sample/data").unwrap();
    common::text(&file, "entry/sample/name", "bone");
    file.close().unwrap();
    out.push(std::fs::read(path).unwrap());
    out
}

#[test]
fn truncation_at_any_offset_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.h5");
    for whole in specimens(folder.path()) {
        let step = (whole.len() / 230).max(1);
        for cut in (0..whole.len()).step_by(step).chain([1, 7, 8, whole.len() - 1]) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            match attempt(&path) {
                Err(e) => assert!(e.is_bad_input(), "cut at {cut}: {e}"),
                Ok(_) => panic!("cut at {cut} of {} was accepted", whole.len()),
            }
        }
        // Cut, then filled up with zeros, as a transfer does that reserves the space first.
        for cut in (8..whole.len()).step_by(step * 3) {
            let mut holes = whole.clone();
            holes[cut..].fill(0);
            std::fs::write(&path, &holes).unwrap();
            if let Err(e) = attempt(&path) {
                assert!(e.is_bad_input(), "zeros from {cut}: {e}");
            }
        }
    }
}

#[test]
fn flipped_bits_never_crash_or_hang() {
    let rounds = if std::env::var_os("BEAMRAIL_LONG").is_some() { 10_000 } else { 150 };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flipped.h5");
    let mut rng = ChaCha8Rng::seed_from_u64(20_261_122);
    let (mut refused, mut opened) = (0, 0);
    for whole in specimens(folder.path()) {
        for round in 0..rounds {
            let mut bytes = whole.clone();
            for _ in 0..[1, 1, 2, 8][round % 4] {
                let at = rng.random_range(0..bytes.len());
                match rng.random_range(0..3) {
                    0 => bytes[at] ^= 1 << rng.random_range(0..8),
                    1 => bytes[at] = rng.random(),
                    _ => {
                        let end = (at + 8).min(bytes.len());
                        bytes[at..end].fill(if rng.random() { 0xff } else { 0 });
                    }
                }
            }
            std::fs::write(&path, &bytes).unwrap();
            let begin = Instant::now();
            match attempt(&path) {
                Ok(_) => opened += 1,
                Err(e) => {
                    refused += 1;
                    assert!(e.is_bad_input(), "round {round}: {e}");
                }
            }
            assert!(begin.elapsed() < Duration::from_secs(5), "round {round} took {:?}", begin.elapsed());
        }
    }
    println!("{refused} refused, {opened} opened (flips in pixels or unused bytes)");
    assert!(refused > 50 && opened > 50);
}
