//! Files for the readers' tests, written with the HDF5 library.
// Helpers outside test functions; each test file uses some of them.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use hdf5_metno::{File, FileBuilder, Group, H5Type, filters::Filter};
use ndarray::{Array, ArrayD, IxDyn};

/// Sample of projection `p`, row `r`, column `c`: 1 to 251, so that it fits every type.
pub fn value(p: usize, r: usize, c: usize) -> u16 {
    ((p * 31 + r * 17 + c * 7) % 251 + 1) as u16
}

/// The projections of `n` frames, as floats.
pub fn expected(
    projections: std::ops::Range<usize>,
    rows: std::ops::Range<usize>,
    columns: usize,
) -> Vec<f32> {
    let mut out = Vec::new();
    for p in projections {
        for r in rows.clone() {
            out.extend((0..columns).map(|c| f32::from(value(p, r, c))));
        }
    }
    out
}

/// Element types that files may have.
pub trait Element: H5Type + Copy {
    fn of(value: u16) -> Self;
}
macro_rules! element { ($($t:ty),*) => { $(impl Element for $t { fn of(value: u16) -> Self { value as $t } })* } }
element!(u8, u16, u32, u64, i16, i32, i64, f32, f64);

/// How a stack is stored.
#[derive(Clone, Default)]
pub struct How {
    pub chunk: Option<[usize; 3]>,
    pub filters: Vec<Filter>,
    pub max: Option<[Option<usize>; 3]>,
    pub early: bool,
}

impl How {
    pub fn chunked(chunk: [usize; 3]) -> Self {
        Self { chunk: Some(chunk), ..Self::default() }
    }

    pub fn filtered(chunk: [usize; 3], filters: Vec<Filter>) -> Self {
        Self { chunk: Some(chunk), filters, ..Self::default() }
    }
}

/// Writes a stack of `value`s; `first` is the number of its first frame.
pub fn stack<T: Element>(group: &Group, name: &str, shape: [usize; 3], first: usize, how: &How) {
    let data: ArrayD<T> = Array::from_shape_fn(IxDyn(&shape), |i| T::of(value(first + i[0], i[1], i[2])));
    let extents: Vec<hdf5_metno::Extent> =
        (0..3).map(|a| hdf5_metno::Extent::new(shape[a], how.max.map_or(Some(shape[a]), |m| m[a]))).collect();
    let builder = group.new_dataset_builder();
    let mut builder = builder.empty::<T>().shape(hdf5_metno::SimpleExtents::new(extents));
    if let Some(chunk) = how.chunk {
        builder = builder.chunk(chunk);
    } else {
        builder = builder.no_chunk();
    }
    if how.early {
        builder = builder.alloc_time(Some(hdf5_metno::plist::dataset_create::AllocTime::Early));
    }
    if !how.filters.is_empty() {
        builder = builder.set_filters(&how.filters);
    }
    builder.create(name).unwrap().write(&data).unwrap();
}

/// Writes a one-dimensional array, its groups made as needed.
pub fn array<T: H5Type>(file: &Group, path: &str, values: &[T]) {
    let (group, name) = parent(file, path);
    group.new_dataset_builder().with_data(values).create(name).unwrap();
}

/// Writes a text of fixed length.
pub fn text(file: &Group, path: &str, value: &str) {
    let fixed = hdf5_metno::types::FixedAscii::<64>::from_ascii(value.as_bytes()).unwrap();
    array(file, path, &[fixed]);
}

/// The group of a path, made as needed, and the last name.
pub fn parent<'p>(file: &Group, path: &'p str) -> (Group, &'p str) {
    let (groups, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut here = file.clone();
    for part in groups.split('/').filter(|p| !p.is_empty()) {
        here =
            if here.link_exists(part) { here.group(part).unwrap() } else { here.create_group(part).unwrap() };
    }
    (here, name)
}

/// A text attribute.
pub fn attribute(location: &hdf5_metno::Location, name: &str, value: &str) {
    let value: hdf5_metno::types::VarLenUnicode = value.parse().unwrap();
    location
        .new_attr::<hdf5_metno::types::VarLenUnicode>()
        .create(name)
        .unwrap()
        .write_scalar(&value)
        .unwrap();
}

/// File formats: old (superblock 0), 1.8 (2), newest (3).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Format {
    Old,
    V18,
    Newest,
}

pub fn create(path: &Path, format: Format) -> File {
    FileBuilder::new()
        .with_fapl(|p| match format {
            Format::Old => p.libver_earliest(),
            Format::V18 => {
                p.libver_bounds(hdf5_metno::file::LibraryVersion::V18, hdf5_metno::file::LibraryVersion::V18)
            }
            Format::Newest => p.libver_latest(),
        })
        .create(path)
        .unwrap()
}

/// A dxfile as 8.3.2 writes it; `edit` may add to it or take from it before it is closed.
pub struct Dx {
    pub shape: [usize; 3],
    pub how: How,
    pub format: Format,
    pub flats: usize,
    pub darks: usize,
    pub theta: Option<Vec<f64>>,
    pub described: bool,
}

impl Default for Dx {
    fn default() -> Self {
        Self {
            shape: [12, 6, 10],
            how: How::default(),
            format: Format::Old,
            flats: 4,
            darks: 3,
            theta: Some((0..12).map(|i| f64::from(i) * 180.0 / 11.0).collect()),
            described: true,
        }
    }
}

impl Dx {
    pub fn write<T: Element>(&self, path: &Path, edit: impl FnOnce(&File)) {
        let file = create(path, self.format);
        let exchange = file.create_group("exchange").unwrap();
        let [n, rows, columns] = self.shape;
        stack::<T>(&exchange, "data", self.shape, 0, &self.how);
        if self.flats > 0 {
            stack::<T>(&exchange, "data_white", [self.flats, rows, columns], 1000, &How::default());
        }
        if self.darks > 0 {
            let zeros = ArrayD::from_elem(IxDyn(&[self.darks, rows, columns]), T::of(0));
            exchange.new_dataset_builder().with_data(&zeros).create("data_dark").unwrap();
        }
        if let Some(theta) = &self.theta {
            array(&file, "exchange/theta", theta);
        }
        if self.described {
            array(&file, "process/acquisition/rotation/num_angles", &[n as i64]);
            array(&file, "process/acquisition/rotation/range", &[180.0]);
            array(&file, "process/acquisition/flat_fields/i0cycle", &[0i64]);
            array(&file, "process/acquisition/flat_fields/num_flat_fields", &[(self.flats / 2) as i64]);
            array(&file, "process/acquisition/flat_fields/flat_field_value", &[250.0]);
            array(&file, "process/acquisition/dark_fields/dark_field_value", &[7.0]);
            text(&file, "process/acquisition/start_date", "2026-03-04 05:06:07");
            array(&file, "measurement/instrument/detector/dimension_x", &[columns as i64 + 5]);
            array(&file, "measurement/instrument/detector/pixel_size", &[0.00065]);
            array(&file, "measurement/instrument/camera_motor_stack/setup/camera_distance", &[0.0, 75.0]);
            array(&file, "measurement/instrument/monochromator/energy", &[0.0, 25000.0]);
            text(&file, "measurement/sample/file_name", " '20260304_050607_bone', ");
        }
        edit(&file);
        file.close().unwrap();
    }

    pub fn in_folder<T: Element>(&self, folder: &Path, edit: impl FnOnce(&File)) -> PathBuf {
        let path = folder.join("scan.h5");
        self.write::<T>(&path, edit);
        path
    }
}

/// Warning codes of a scan.
pub fn codes(scan: &scan::Scan) -> Vec<&'static str> {
    scan.info().warnings.iter().map(|w| w.code).collect()
}

/// An old ALS file: `n` projections but those of `skip`, flats before groups in `flats`, darks at the end.
pub fn als(path: &Path, n: usize, skip: &[usize], flats: &[usize], angles: bool, format: Format) {
    let file = create(path, format);
    let name = "20190405_101112_tooth_x";
    let group = file.create_group(name).unwrap();
    for (key, text) in [
        ("pxsize", "0.0013"),
        ("nangles", "12"),
        ("arange", "180"),
        ("i0cycle", "5"),
        ("senergy", "21000"),
        ("Camera_Z_Support", "50"),
        ("sdate", "04-05-2019"),
    ] {
        attribute(&group, key, text);
    }
    let frame = |group: &Group, name: &str, number: usize| {
        stack::<u16>(group, name, [1, 5, 8], number, &How::default())
    };
    for p in (0..n).filter(|p| !skip.contains(p)) {
        let dataset = format!("{name}_0000_{p:04}.tif");
        frame(&group, &dataset, p);
        if angles {
            attribute(&group.dataset(&dataset).unwrap(), "rot_angle", &format!("{}", p as f64 * 15.0));
        }
    }
    for &g in flats {
        for k in 0..2 {
            frame(&group, &format!("{name}bak_{k:04}_{g:04}.tif"), 1000 + g * 2 + k);
        }
    }
    for k in 0..3 {
        frame(&group, &format!("{name}drk_{k:04}_{:04}.tif", n - 1), 2000 + k);
    }
}
