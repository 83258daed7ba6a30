//! The JSON of an OME-Zarr: array and group metadata for 0.4 (Zarr v2) and 0.5 (Zarr v3).
//!
//! Written out here field by field, so that its order and content never depend on a library's version;
//! `zarrs` parses the array metadata before a byte is written, which proves that it is valid.
//!
//! OME-NGFF 0.4: <https://ngff.openmicroscopy.org/0.4/>, 0.5: <https://ngff.openmicroscopy.org/0.5/>.

use serde_json::{Map, Value, json};

use super::levels::LevelGeometry;
use super::{Compression, OmeVersion};
use crate::histogram::Window;
use crate::spec::{DataType, VolumeSpec};

/// Inner chunks per shard along y and x: a shard of float32 is 128 MiB at most.
const SHARD_CHUNKS: usize = 4;

/// Size of what one file holds: a chunk in 0.4, a shard one slab deep in 0.5.
pub(super) fn file_shape(level: &LevelGeometry, version: OmeVersion) -> [usize; 3] {
    let chunk = level.chunk();
    if version == OmeVersion::V04 {
        return chunk;
    }
    let side = |axis: usize| chunk[axis] * level.shape[axis].div_ceil(chunk[axis]).clamp(1, SHARD_CHUNKS);
    [chunk[0], side(1), side(2)]
}

/// Metadata of a level's array: `.zarray` (0.4) or `zarr.json` (0.5).
pub(super) fn array(
    level: &LevelGeometry,
    dtype: DataType,
    version: OmeVersion,
    compression: Compression,
) -> Value {
    // A fill value of 0 is never needed for reading (all chunks are written), but required by the format.
    let fill = if dtype == DataType::F32 { json!(0.0) } else { json!(0) };
    match version {
        OmeVersion::V04 => {
            let dtype_name = match dtype {
                DataType::F32 => "<f4",
                DataType::U16 => "<u2",
                DataType::U8 => "|u1",
            };
            json!({
                "zarr_format": 2,
                "shape": level.shape,
                "chunks": level.chunk(),
                "dtype": dtype_name,
                "compressor": compression.v2(dtype),
                "fill_value": fill,
                "order": "C",
                "filters": null,
                "dimension_separator": "/",
            })
        }
        OmeVersion::V05 => json!({
            "zarr_format": 3,
            "node_type": "array",
            "shape": level.shape,
            "data_type": dtype.name(),
            "chunk_grid": {
                "name": "regular",
                "configuration": { "chunk_shape": file_shape(level, version) },
            },
            "chunk_key_encoding": { "name": "default", "configuration": { "separator": "/" } },
            "fill_value": fill,
            "codecs": [{
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": level.chunk(),
                    "codecs": inner_codecs(dtype, compression),
                    "index_codecs": index_codecs(),
                    "index_location": "end",
                },
            }],
            "attributes": {},
            "dimension_names": ["z", "y", "x"],
        }),
    }
}

/// Codecs of a chunk, as Zarr v3 writes them; 0.4 uses the same ones under other names.
pub(super) fn inner_codecs(dtype: DataType, compression: Compression) -> Value {
    let mut codecs = vec![json!({ "name": "bytes", "configuration": { "endian": "little" } })];
    codecs.extend(compression.v3(dtype));
    Value::Array(codecs)
}

/// Codecs of a shard's index.
pub(super) fn index_codecs() -> Value {
    json!([{ "name": "bytes", "configuration": { "endian": "little" } }, { "name": "crc32c" }])
}

impl Compression {
    /// Blosc's parameters; bytes of 8-bit voxels need no shuffling.
    fn blosc(self, dtype: DataType) -> Option<(&'static str, u8, bool)> {
        let shuffle = dtype != DataType::U8;
        match self {
            Self::None => None,
            Self::Lz4 { level } => Some(("lz4", level, shuffle)),
            Self::Zstd { level } => Some(("zstd", level, shuffle)),
        }
    }

    fn v2(self, dtype: DataType) -> Value {
        match self.blosc(dtype) {
            None => Value::Null,
            Some((cname, level, shuffle)) => json!({
                "id": "blosc", "cname": cname, "clevel": level, "shuffle": u8::from(shuffle), "blocksize": 0,
            }),
        }
    }

    fn v3(self, dtype: DataType) -> Option<Value> {
        self.blosc(dtype).map(|(cname, level, shuffle)| {
            json!({
                "name": "blosc",
                "configuration": {
                    "cname": cname,
                    "clevel": level,
                    "shuffle": if shuffle { "shuffle" } else { "noshuffle" },
                    "typesize": dtype.bytes(),
                    "blocksize": 0,
                },
            })
        })
    }
}

/// All metadata files of a volume: path within the `.zarr` folder, content. `window` is `None` while the
/// volume is being written.
pub(super) fn files(
    spec: &VolumeSpec,
    levels: &[LevelGeometry],
    version: OmeVersion,
    compression: Compression,
    window: Option<Window>,
) -> Vec<(String, Vec<u8>)> {
    let arrays = levels.iter().map(|l| array(l, spec.dtype, version, compression));
    let mut files: Vec<(String, Value)> = Vec::new();
    match version {
        OmeVersion::V04 => {
            files.push((".zgroup".into(), json!({ "zarr_format": 2 })));
            files.push((".zattrs".into(), attributes(spec, levels, version, window)));
            for (k, array) in arrays.enumerate() {
                files.push((format!("{k}/.zarray"), array));
                // What xarray calls the axes.
                files.push((format!("{k}/.zattrs"), json!({ "_ARRAY_DIMENSIONS": ["z", "y", "x"] })));
            }
            let all: Map<String, Value> = files.iter().cloned().collect();
            let consolidated = json!({ "metadata": all, "zarr_consolidated_format": 1 });
            files.push((".zmetadata".into(), consolidated));
        }
        OmeVersion::V05 => {
            let attributes = attributes(spec, levels, version, window);
            let group = json!({ "zarr_format": 3, "node_type": "group", "attributes": attributes });
            files.push(("zarr.json".into(), group));
            files.extend(arrays.enumerate().map(|(k, array)| (format!("{k}/zarr.json"), array)));
        }
    }
    // Alternate formatting of a JSON value is the indented one, and cannot fail.
    files.into_iter().map(|(name, value)| (name, format!("{value:#}\n").into_bytes())).collect()
}

/// Attributes of the group: multiscales, contrast window, provenance.
fn attributes(
    spec: &VolumeSpec,
    levels: &[LevelGeometry],
    version: OmeVersion,
    window: Option<Window>,
) -> Value {
    let axes: Vec<Value> = ["z", "y", "x"]
        .map(|name| match spec.voxel_um {
            Some(_) => json!({ "name": name, "type": "space", "unit": "micrometer" }),
            None => json!({ "name": name, "type": "space" }),
        })
        .into();
    let datasets: Vec<Value> = levels
        .iter()
        .enumerate()
        .map(|(k, level)| {
            json!({
                "path": k.to_string(),
                "coordinateTransformations": [
                    { "type": "scale", "scale": level.scale },
                    { "type": "translation", "translation": level.translation },
                ],
            })
        })
        .collect();
    let mut multiscale = Map::new();
    if version == OmeVersion::V04 {
        multiscale.insert("version".into(), json!("0.4"));
    }
    multiscale.insert("name".into(), json!(spec.name));
    multiscale.insert("axes".into(), json!(axes));
    multiscale.insert("datasets".into(), json!(datasets));
    multiscale.insert("type".into(), json!("mean"));
    multiscale.insert(
        "metadata".into(),
        json!({ "description": "each voxel is the mean of its 2x2x2 children; edge voxels replicated at odd sizes" }),
    );
    let beamrail = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "value_unit": spec.unit,
        "scaling": spec.scaling_json(),
        "first_row": spec.first_row,
        "row_step": spec.row_step,
        "provenance": spec.provenance,
    });
    let mut ome = Map::new();
    if version == OmeVersion::V05 {
        ome.insert("version".into(), json!("0.5"));
    }
    ome.insert("multiscales".into(), json!([multiscale]));
    if let Some(window) = window {
        ome.insert("omero".into(), omero(spec, version, window));
    }
    match version {
        OmeVersion::V04 => {
            ome.insert("beamrail".into(), beamrail);
            Value::Object(ome)
        }
        OmeVersion::V05 => json!({ "ome": ome, "beamrail": beamrail }),
    }
}

/// The contrast window in the form that viewers read, in stored units.
fn omero(spec: &VolumeSpec, version: OmeVersion, window: Window) -> Value {
    let w = window.stored(spec.dtype, spec.scaling);
    let mut omero = Map::new();
    if version == OmeVersion::V04 {
        omero.insert("version".into(), json!("0.4"));
    }
    omero.insert("name".into(), json!(spec.name));
    omero.insert(
        "channels".into(),
        json!([{
            "label": format!("attenuation ({})", spec.unit),
            "color": "FFFFFF",
            "active": true,
            "coefficient": 1,
            "family": "linear",
            "inverted": false,
            "window": { "min": w.min, "max": w.max, "start": w.start, "end": w.end },
        }]),
    );
    omero.insert(
        "rdefs".into(),
        json!({ "defaultT": 0, "defaultZ": spec.shape[0] / 2, "model": "greyscale" }),
    );
    Value::Object(omero)
}
