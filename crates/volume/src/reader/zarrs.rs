//! An OME-Zarr (0.4 or 0.5) opened for reading.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use zarrs::array::{Array, ArrayShardedExt, ArraySubset, data_type};
use zarrs::filesystem::FilesystemStore;

use crate::error::{Error, Result};
use crate::histogram::Window;
use crate::spec::{DataType, Scaling};
use crate::voxels::Voxels;
use crate::zarr::{LevelGeometry, read_subset};

/// A pyramid on disk.
#[derive(Debug)]
pub struct OmeZarrReader {
    path: PathBuf,
    levels: Vec<LevelGeometry>,
    arrays: Vec<Array<FilesystemStore>>,
    dtype: DataType,
    /// The group's attributes.
    attributes: Value,
    units: bool,
}

impl OmeZarrReader {
    /// Opens the group at `path`: three axes z, y, x, voxels of float32, uint16 or uint8.
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |reason: String| Error::format(path, reason);
        let attributes = attributes(path)?;
        let ome = attributes.get("ome").unwrap_or(&attributes);
        let multiscale = ome
            .pointer("/multiscales/0")
            .ok_or_else(|| fail("it has no multiscales attribute, so it is no OME-Zarr".into()))?;
        let axes: Vec<&str> =
            list(multiscale, "axes").iter().filter_map(|a| a.get("name")?.as_str()).collect();
        if axes != ["z", "y", "x"] {
            return Err(fail(format!("its axes are {axes:?}; only z, y, x can be read")));
        }
        let units = list(multiscale, "axes").iter().all(|a| a.get("unit").is_some_and(|u| u == "micrometer"));
        let store =
            Arc::new(FilesystemStore::new(path).map_err(|e| fail(format!("it cannot be opened: {e}")))?);
        let (mut arrays, mut levels) = (Vec::new(), Vec::new());
        for dataset in list(multiscale, "datasets") {
            let name = dataset.get("path").and_then(Value::as_str).unwrap_or_default();
            let array = Array::open(store.clone(), &format!("/{}", name.trim_matches('/')))
                .map_err(|e| fail(format!("its array {name:?} cannot be opened: {e}")))?;
            let shape: Vec<usize> = array.shape().iter().map(|&n| n as usize).collect();
            let shape: [usize; 3] =
                shape.try_into().map_err(|s| fail(format!("its array {name:?} has the shape {s:?}")))?;
            if shape.contains(&0) {
                return Err(fail(format!("its array {name:?} is empty: {shape:?}")));
            }
            let scale = transform(dataset, "scale").unwrap_or([1.0; 3]);
            let translation = transform(dataset, "translation").unwrap_or([0.0; 3]);
            levels.push(LevelGeometry { shape, scale, translation });
            arrays.push(array);
        }
        let types = [
            (data_type::float32(), DataType::F32),
            (data_type::uint16(), DataType::U16),
            (data_type::uint8(), DataType::U8),
        ];
        let Some(first) = arrays.first() else { return Err(fail("it lists no arrays".into())) };
        let dtype = types.iter().find(|(t, _)| t == first.data_type()).map(|(_, d)| *d).ok_or_else(|| {
            fail(format!("its voxels are {:?}; float32, uint16 and uint8 can be read", first.data_type()))
        })?;
        if arrays.iter().any(|a| a.data_type() != first.data_type()) {
            return Err(fail("its levels have different data types".into()));
        }
        Ok(Self { path: path.to_owned(), levels, arrays, dtype, attributes, units })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn levels(&self) -> &[LevelGeometry] {
        &self.levels
    }

    /// How voxels are stored.
    pub fn dtype(&self) -> DataType {
        self.dtype
    }

    /// Whether scales and translations are in micrometres (else: pixels).
    pub fn has_units(&self) -> bool {
        self.units
    }

    /// The group's attributes, all of them.
    pub fn attributes(&self) -> &Value {
        &self.attributes
    }

    /// The contrast window, in stored units; `None` while the volume is being written.
    pub fn window(&self) -> Option<Window> {
        let ome = self.attributes.get("ome").unwrap_or(&self.attributes);
        let window = ome.pointer("/omero/channels/0/window")?;
        serde_json::from_value(window.clone()).ok()
    }

    /// What stored integers stand for, if recorded.
    pub fn scaling(&self) -> Option<Scaling> {
        let number = |name: &str| self.attributes.pointer(&format!("/beamrail/scaling/{name}"))?.as_f64();
        Some(Scaling { min: number("min")? as f32, max: number("max")? as f32 })
    }

    /// Unit of the values, if recorded.
    pub fn value_unit(&self) -> Option<&str> {
        self.attributes.pointer("/beamrail/value_unit")?.as_str()
    }

    /// What is decoded at once (z, y, x) at a level: a chunk, or a chunk within a shard.
    pub fn chunk(&self, level: usize) -> Option<[usize; 3]> {
        let array = self.arrays.get(level)?;
        let shape = array.effective_subchunk_shape().or_else(|| array.chunk_shape(&[0; 3]).ok())?;
        let sides: Vec<usize> = shape.iter().map(|n| n.get() as usize).collect();
        sides.try_into().ok()
    }

    /// Whether the file that holds a voxel (z, y, x) of a level has been written. Files appear whole, so in a
    /// volume that is being written this tells what can be read; in one of other origin a file that is
    /// missing may also stand for zeros.
    pub fn is_written(&self, level: usize, voxel: [usize; 3]) -> bool {
        let Some(array) = self.arrays.get(level) else { return false };
        let Ok(file) = array.chunk_shape(&[0; 3]) else { return false };
        let indices: Vec<u64> =
            voxel.iter().zip(file.iter()).map(|(&at, side)| at as u64 / side.get()).collect();
        self.path.join(array.chunk_key(&indices).as_str()).is_file()
    }

    /// Whether every file of the row of chunks that holds row `z` of a level has been written.
    pub fn is_row_written(&self, level: usize, z: usize) -> bool {
        let (Some(array), Some(geometry)) = (self.arrays.get(level), self.levels.get(level)) else {
            return false;
        };
        let Ok(file) = array.chunk_shape(&[0; 3]) else { return false };
        let side = |axis: usize| file.get(axis).map_or(1, |n| n.get() as usize);
        let [_, ny, nx] = geometry.shape;
        let mut corners =
            (0..ny).step_by(side(1)).flat_map(|y| (0..nx).step_by(side(2)).map(move |x| [z, y, x]));
        corners.all(|voxel| self.is_written(level, voxel))
    }

    /// Detector row of the first slice and rows from slice to slice, if recorded.
    pub fn rows(&self) -> Option<(usize, usize)> {
        let number = |name: &str| self.attributes.pointer(&format!("/beamrail/{name}"))?.as_u64();
        Some((number("first_row")? as usize, number("row_step")?.max(1) as usize))
    }

    pub(super) fn read(&self, level: usize, region: [Range<usize>; 3]) -> Result<Voxels> {
        let subset = ArraySubset::new_with_ranges(&region.map(|r| r.start as u64..r.end as u64));
        read_subset(&self.arrays[level], &subset, self.dtype, &self.path)
    }
}

/// The group's attributes from `.zattrs` or `zarr.json`.
fn attributes(path: &Path) -> Result<Value> {
    let read = |name: &str| -> Result<Option<Value>> {
        let file = path.join(name);
        match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|e| Error::format(&file, format!("not valid JSON: {e}"))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read", &file, e)),
        }
    };
    if let Some(mut group) = read("zarr.json")? {
        return Ok(group.get_mut("attributes").map(Value::take).unwrap_or_default());
    }
    read(".zattrs")?
        .ok_or_else(|| Error::format(path, "it has neither zarr.json nor .zattrs, so it is no OME-Zarr"))
}

/// A field that is a list; empty if it is not there.
fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The three numbers of a dataset's coordinate transformation.
fn transform(dataset: &Value, kind: &str) -> Option<[f64; 3]> {
    let found = list(dataset, "coordinateTransformations")
        .iter()
        .find(|t| t.get("type").is_some_and(|v| v == kind))?;
    let numbers: Vec<f64> = list(found, kind).iter().filter_map(Value::as_f64).collect();
    numbers.try_into().ok()
}
