//! An existing TIFF stack to an OME-Zarr, in one pass and bounded memory.
//!
//! Memory: two slabs of 32 slices (one being read while the other is written), plus the pyramid's
//! unfinished slabs and the chunk buffers; independent of the number of slices.

use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::fs::FileRecord;
use crate::histogram::{Histogram, Window};
use crate::reader::TiffStackReader;
use crate::spec::VolumeSpec;
use crate::voxels::{Voxels, VoxelsRef};
use crate::zarr::{Compression, OmeVersion, OmeZarr, Pyramid};

/// What the files do not say, or what shall be taken instead of it.
#[derive(Debug, Clone, Default)]
pub struct ConvertOptions {
    /// Voxel size along z, y, x; `None`: from the files, else pixel units.
    pub voxel_um: Option<[f64; 3]>,
    /// Detector row of the first slice; `None`: from the files, else 0.
    pub first_row: Option<usize>,
    /// Unit of the values; `None`: from the files, else "1/pixel" ("1/cm" cannot be known).
    pub unit: Option<String>,
    /// Name of the volume; `None`: the output's name without `.zarr`.
    pub name: Option<String>,
    /// Which OME-NGFF version to write.
    pub version: OmeVersion,
    /// How to compress.
    pub compression: Compression,
    /// Added to the provenance.
    pub provenance: Value,
}

/// A finished conversion.
#[derive(Debug)]
pub struct Converted {
    /// What was written.
    pub spec: VolumeSpec,
    /// All files, chunks and metadata.
    pub files: Vec<FileRecord>,
    /// The distribution of the values.
    pub histogram: Histogram,
    /// The contrast window that was written.
    pub window: Window,
}

/// Converts the TIFF files of `folder` to an OME-Zarr at `output`, which must not exist.
///
/// 8 and 16-bit unsigned and 32-bit float are kept bit for bit; other types become float32. `progress` is
/// called with slices done and all slices; when it answers `false` the work stops with
/// [`Error::Cancelled`], leaving what was written.
pub fn zarr_from_tiffs(
    folder: &Path,
    output: &Path,
    options: &ConvertOptions,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Converted> {
    let stack = TiffStackReader::open(folder)?;
    let spec = describe(&stack, folder, output, options)?;
    let zarr = OmeZarr::create(output, &spec, options.version, options.compression)?;
    let slices = spec.shape[0];
    let rows =
        |slab: usize| (slab * zarr.slab_rows()).min(slices)..((slab + 1) * zarr.slab_rows()).min(slices);
    let mut pyramid = Pyramid::new(&zarr, 0..zarr.slabs(0));
    let (mut files, mut histogram) = (Vec::new(), Histogram::new());
    let (mut current, mut next) = (Voxels::empty(spec.dtype), Voxels::empty(spec.dtype));
    stack.read_rows(rows(0), &mut current)?;
    for slab in 0..zarr.slabs(0) {
        let ahead = rows(slab + 1);
        let (read, written) = rayon::join(
            || if ahead.is_empty() { Ok(()) } else { stack.read_rows(ahead.clone(), &mut next) },
            || -> Result<_> {
                let mut files = zarr.write_slab_stored(slab, current.view())?;
                files.extend(pyramid.push_stored(slab, current.view())?);
                Ok((files, count(current.view(), &spec)))
            },
        );
        let (records, counted) = written?;
        files.extend(records);
        histogram.merge(&counted);
        if !progress(rows(slab).end, slices) {
            return Err(Error::Cancelled { what: format!("the conversion of {}", folder.display()) });
        }
        read?;
        std::mem::swap(&mut current, &mut next);
    }
    let window = histogram.window();
    files.extend(zarr.finish(window)?);
    Ok(Converted { spec, files, histogram, window })
}

/// The volume's description from files and options.
fn describe(
    stack: &TiffStackReader,
    folder: &Path,
    output: &Path,
    options: &ConvertOptions,
) -> Result<VolumeSpec> {
    let name = match &options.name {
        Some(name) => name.clone(),
        None => output.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    let mut provenance = serde_json::Map::new();
    let source = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    provenance.insert("converted_from".into(), Value::from(source));
    if let Some(before) = stack.provenance() {
        provenance.insert("tiff_provenance".into(), before);
    }
    match &options.provenance {
        Value::Object(more) => provenance.extend(more.clone()),
        Value::Null => {}
        other => {
            provenance.insert("note".into(), other.clone());
        }
    }
    let spec = VolumeSpec {
        shape: stack.shape(),
        first_row: options.first_row.or(stack.first_row()).unwrap_or(0),
        row_step: stack.row_step(),
        voxel_um: options.voxel_um.or(stack.voxel_um()),
        dtype: stack.dtype(),
        scaling: stack.scaling(),
        unit: options.unit.clone().or(stack.value_unit().map(str::to_owned)).unwrap_or("1/pixel".into()),
        name,
        provenance: Value::Object(provenance),
    };
    spec.validate()?;
    Ok(spec)
}

/// Counts the values of a slab, several threads at a time; the result does not depend on how it is cut.
fn count(voxels: VoxelsRef<'_>, spec: &VolumeSpec) -> Histogram {
    use rayon::prelude::*;
    // A histogram takes half a megabyte and a merge as much work as 65,536 values.
    let piece = 1 << 22;
    let of = |part: VoxelsRef<'_>| {
        let mut h = Histogram::new();
        h.add(&part.values(spec.scaling));
        h
    };
    let parts: Vec<Histogram> = match voxels {
        VoxelsRef::F32(v) => v.par_chunks(piece).map(|c| of(VoxelsRef::F32(c))).collect(),
        VoxelsRef::U16(v) => v.par_chunks(piece).map(|c| of(VoxelsRef::U16(c))).collect(),
        VoxelsRef::U8(v) => v.par_chunks(piece).map(|c| of(VoxelsRef::U8(c))).collect(),
    };
    let mut all = Histogram::new();
    parts.iter().for_each(|h| all.merge(h));
    all
}
