//! The output side of a job: what the volume is, the writers, the room that all of it takes.

use serde_json::json;
use volume::{Compression, OmeVersion, OmeZarr, Scaling, TiffStack, VolumeSpec, VoxelsRef};

use crate::chain::Chain;
use crate::job::Context;
use crate::journal::WorkFolder;
use crate::memory::{Demand, human_bytes};
use crate::plan::{OmeZarr as Version, Plan, SLAB};
use crate::recipe::{OutputType, Recipe, ZarrCompression};
use crate::source::Source;
use crate::{Error, Result, picture};

/// The writers of a job.
pub(crate) struct Writers {
    pub tiff: Option<TiffStack>,
    pub zarr: Option<OmeZarr>,
}

/// What the volume is. `input` is the raw file's digest, known at the end.
pub(crate) fn spec(plan: &Plan, name: &str, input: Option<&str>) -> VolumeSpec {
    let mut provenance = json!({
        "beamrail": plan.beamrail,
        "scan": plan.scan.name,
        "recipe": plan.recipe,
        "center": { "column": plan.center.center, "confidence": plan.center.confidence, "verdict": plan.center.verdict },
        "rows": plan.rows,
    });
    if let (Some(digest), Some(object)) = (input, provenance.as_object_mut()) {
        object.insert("input_blake3".into(), json!(digest));
    }
    VolumeSpec {
        shape: [plan.slices(), plan.slice_columns, plan.slice_columns],
        first_row: plan.rows.start,
        row_step: plan.rows.step,
        voxel_um: plan.pixel_um.map(|um| [um; 3]),
        dtype: dtype(&plan.recipe),
        scaling: plan.scaling.map(|(min, max)| Scaling { min, max }),
        unit: plan.unit.clone(),
        name: name.to_owned(),
        provenance,
    }
}

fn dtype(recipe: &Recipe) -> volume::DataType {
    match recipe.output.dtype {
        OutputType::Float32 => volume::DataType::F32,
        OutputType::Uint16 => volume::DataType::U16,
        OutputType::Uint8 => volume::DataType::U8,
    }
}

/// How Zarr chunks are compressed.
pub(crate) fn compression(recipe: &Recipe) -> Compression {
    let level = recipe.zarr.level.min(9) as u8;
    match recipe.zarr.compression {
        ZarrCompression::None => Compression::None,
        ZarrCompression::Lz4 => Compression::Lz4 { level },
        ZarrCompression::Zstd => Compression::Zstd { level },
    }
}

pub(crate) fn version(plan: &Plan) -> OmeVersion {
    match plan.write.ome_zarr {
        Version::V04 => OmeVersion::V04,
        Version::V05 => OmeVersion::V05,
    }
}

/// Starts a job in its output folder: room on the disk, the work folder with its lock.
pub(crate) fn begin(context: &Context<'_>, plan: &Plan) -> Result<WorkFolder> {
    let folder = &context.paths.folder;
    volume::fs::create_folder(folder)?;
    let needed = bytes(plan);
    let available = available(folder)?;
    if needed > available {
        return Err(Error::DiskSpace {
            path: folder.clone(),
            needed: human_bytes(needed),
            available: human_bytes(available),
        });
    }
    WorkFolder::open(&context.paths.work(), true)
}

/// Opens the writers; what an earlier attempt or another part wrote is gone on with.
pub(crate) fn open(context: &Context<'_>, plan: &Plan) -> Result<Writers> {
    let spec = spec(plan, &context.paths.name(), None);
    let tiff = if plan.write.tiff {
        Some(TiffStack::open_existing(&context.paths.tiffs(), &context.paths.stem, &spec)?)
    } else {
        None
    };
    let zarr = if plan.write.zarr {
        Some(OmeZarr::open_existing(&context.paths.zarr(), &spec, version(plan), compression(&plan.recipe))?)
    } else {
        None
    };
    Ok(Writers { tiff, zarr })
}

/// Bytes that the results take at most: Zarr counted uncompressed, with its lower levels.
pub fn bytes(plan: &Plan) -> u64 {
    let spec = spec(plan, "", None);
    let voxels = spec.bytes();
    let tiff = if plan.write.tiff { voxels + 4096 * plan.slices() as u64 } else { 0 };
    let zarr = if plan.write.zarr { voxels + voxels / 7 + (1 << 20) } else { 0 };
    tiff + zarr
}

/// Bytes free for this user on the file system of `folder`.
pub fn available(folder: &std::path::Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(folder)
        .map_err(|error| Error::io("cannot ask for free space of", folder, error.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// What the job holds in memory.
pub fn demand(source: &Source, plan: &Plan, chain: &Chain) -> Demand {
    let spec = spec(plan, "", None);
    let voxels = spec.slice_voxels() as u64;
    let stored = voxels * spec.dtype.bytes() as u64;
    // Values that are not stored as they are have images of their own before.
    let images = if spec.dtype == volume::DataType::F32 { 0 } else { 2 * voxels * 4 };
    let (chunk, shards) = if plan.write.zarr { encode_bytes(plan, &spec) } else { (0, 0) };
    Demand {
        input_row: source.row_bytes(),
        line: source.line_bytes(),
        // Header and a page's rounding.
        slice: stored + 3 * volume::pages::PAGE as u64,
        slab_rows: plan.slices().min(SLAB) as u64,
        // Each lower level holds one slab of 32 slices of a quarter of the area: 1/4 + 1/16 + ... = 1/3.
        pyramid: if plan.write.zarr { stored / 4 * SLAB as u64 * 4 / 3 } else { 0 },
        workspace: chain.workspace_bytes() + images,
        // The quick look runs beside the first pairs: its image, and the pair of rows that it reads. The planes of the
        // final preview are collected meanwhile.
        shared: chain.shared_bytes()
            + shards
            + voxels * 4
            + 2 * source.row_bytes()
            + picture::middle_bytes(plan),
        chunk,
    }
}

/// The voxels in a buffer of bytes.
pub(crate) fn voxels(dtype: volume::DataType, bytes: &[u8]) -> VoxelsRef<'_> {
    match dtype {
        volume::DataType::F32 => VoxelsRef::F32(bytemuck::cast_slice(bytes)),
        volume::DataType::U16 => VoxelsRef::U16(bytemuck::cast_slice(bytes)),
        volume::DataType::U8 => VoxelsRef::U8(bytes),
    }
}

/// Memory of one encoded chunk, and of the shards that are put together at once.
fn encode_bytes(plan: &Plan, spec: &VolumeSpec) -> (u64, u64) {
    let side = plan.slice_columns.next_multiple_of(256);
    let voxel = spec.dtype.bytes() as u64;
    let chunk = (SLAB * 256 * 256) as u64 * voxel;
    match plan.write.ome_zarr {
        Version::V04 => (chunk.min((SLAB * side * side) as u64 * voxel) + (64 << 10), 0),
        // Two shards of 4 × 4 chunks, encoded, and what one write gathers.
        Version::V05 => (0, 2 * (chunk * 16).min((SLAB * side * side) as u64 * voxel) + (4 << 20)),
    }
}
