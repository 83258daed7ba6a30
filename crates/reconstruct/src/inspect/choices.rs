//! The ways to write a volume, and what each takes and costs in accuracy.

use serde::Serialize;
use volume::{OmeZarr, Scaling};

use super::model::{Machine, Work};
use super::{Basis, Estimate, start};
use crate::plan::{Plan, Write};
use crate::recipe::{OutputType, ZarrCompression};
use crate::{Result, memory, outputs, quick};

/// What the final preview, with three planes, takes to draw, in quick looks, which have one.
const PREVIEW: f64 = 2.0;

/// One way to write the volume.
#[derive(Debug, Clone, Serialize)]
pub struct Choice {
    /// `--write`, `--dtype` and compression that give it.
    pub options: String,
    /// Bytes of TIFF slices.
    pub tiff_bytes: u64,
    /// Bytes of OME-Zarr, from the measured compression of the middle slices.
    pub zarr_bytes: u64,
    /// Largest rounding error of a voxel in the volume's unit; 0 for float32, which is stored as computed.
    pub rounding: f64,
    /// Expected CPU seconds.
    pub cpu_s: f64,
    /// Expected seconds, from the scan to the commit.
    pub seconds: f64,
    /// What the seconds go to: `computing` or `disk`.
    pub limit: &'static str,
    /// Expected peak memory in bytes; 0 where the budget is too small.
    pub memory_bytes: u64,
}

/// All choices, the plan's own first.
pub(super) fn choices(estimate: &Estimate, basis: &Basis<'_>) -> Result<Vec<Choice>> {
    let plan = basis.plan;
    use OutputType::{Float32, Uint8, Uint16};
    use ZarrCompression::{Lz4, Zstd};
    let own = (plan.write, plan.recipe.output.dtype, plan.recipe.zarr.compression);
    let with = |tiff, zarr| Write { tiff, zarr, ..plan.write };
    let mut wanted = vec![
        own,
        (with(true, true), Float32, Lz4),
        (with(true, false), Float32, Lz4),
        (with(false, true), Float32, Lz4),
        (with(false, true), Float32, Zstd),
        (with(true, true), Uint16, Lz4),
        (with(false, true), Uint16, Lz4),
        (with(false, true), Uint8, Lz4),
    ];
    let mut seen = Vec::new();
    wanted.retain(|choice| {
        !seen.contains(choice) && {
            seen.push(*choice);
            true
        }
    });
    wanted
        .into_iter()
        .map(|(write, dtype, compression)| {
            let mut plan = plan.clone();
            plan.write = write;
            plan.recipe.output.dtype = dtype;
            plan.recipe.zarr.compression = compression;
            plan.scaling = match dtype {
                Float32 => None,
                _ => Some(quick::range(&plan.recipe, &basis.measured.histogram)?),
            };
            choice(estimate, basis, &plan)
        })
        .collect()
}

fn choice(estimate: &Estimate, basis: &Basis<'_>, plan: &Plan) -> Result<Choice> {
    let (measured, start, source) = (&basis.measured, &basis.start, &basis.prepared.source);
    let spec = outputs::spec(plan, "", None);
    let slices = plan.slices();
    let mut demand = outputs::demand(source, plan, basis.chain);
    let layout = memory::plan(estimate.memory_budget, estimate.threads, &demand).ok();
    // Where all rows are reconstructed no worker fills its spare image.
    demand.workspace = demand.workspace.saturating_sub((plan.slice_columns * plan.slice_columns * 4) as u64);
    let memory_bytes = layout.map_or(0, |layout| layout.expected(slices, &demand));

    let (store_cpu_s, stored) = measured.stored(&spec);
    let mut slice_cpu_s =
        measured.pair_cpu_s / 2.0 + measured.row_cpu_s + measured.sample_cpu_s + store_cpu_s;
    let handing = basis.disk.map_or(0.0, |disk| disk.cpu_s_per_byte);
    let (mut tiff_bytes, mut zarr_bytes) = (0, 0);
    if plan.write.tiff {
        tiff_bytes = spec.bytes() + 4096 * slices as u64;
        slice_cpu_s += tiff_bytes as f64 / slices as f64 * (measured.digest_cpu_s + handing);
    }
    if plan.write.zarr {
        let views: Vec<_> = stored
            .iter()
            .map(|pages| outputs::voxels(spec.dtype, &pages[..spec.slice_voxels() * spec.dtype.bytes()]))
            .collect();
        let (version, compression) = (outputs::version(plan), outputs::compression(&plan.recipe));
        // On all threads, as it is done in a job.
        let sampled = basis.pool.install(|| OmeZarr::sample(&spec, version, compression, &views))?;
        let count = views.len() as f64;
        zarr_bytes = (sampled.bytes as f64 * slices as f64 / count) as u64;
        slice_cpu_s += (sampled.cpu_s + sampled.bytes as f64 * handing) / count;
    }
    let cores = measured.share * estimate.threads as f64;
    // The quick look is one more pair and its picture; the scan's digest runs beside the slices.
    let once_cpu_s = measured.pair_cpu_s
        + basis.drawing_cpu_s
        + measured.input_cpu_s * source.scan().info().file_bytes as f64
        + measured.fresh_cpu_s * memory_bytes as f64;
    // The values of integers are sampled and the last picture is drawn by one thread while the others wait.
    let alone = start::sampled_pairs(plan) as f64 * (measured.pair_cpu_s + 2.0 * measured.row_cpu_s)
        + PREVIEW * basis.drawing_cpu_s;
    let passed =
        if start::sampled_pairs(plan) > 0 && source.scan().needs_spool() { start.pass_s } else { 0.0 };
    let search = start.pairs * measured.pair_cpu_s;
    let work = Work {
        around_s: start.seconds + search / cores + passed + alone / measured.share,
        around_cpu_s: start.cpu_s + search + alone,
        once_cpu_s,
        slice_cpu_s,
        slice_bytes: (tiff_bytes + zarr_bytes) as f64 / slices as f64,
    };
    let time = work.time(slices, &Machine { cores, disk_bytes_per_s: estimate.disk_bytes_per_s });
    Ok(Choice {
        options: options(plan),
        tiff_bytes,
        zarr_bytes,
        rounding: rounding(&spec),
        cpu_s: time.cpu_s,
        seconds: time.seconds,
        limit: time.limit,
        memory_bytes,
    })
}

/// Half the distance of two stored values.
fn rounding(spec: &volume::VolumeSpec) -> f64 {
    match (spec.scaling, spec.dtype.maximum()) {
        (Some(Scaling { min, max }), Some(steps)) => f64::from(max - min) / f64::from(steps) / 2.0,
        _ => 0.0,
    }
}

/// The options that give this choice.
fn options(plan: &Plan) -> String {
    let write = match (plan.write.tiff, plan.write.zarr) {
        (true, true) => "tiff,zarr",
        (true, false) => "tiff",
        _ => "zarr",
    };
    let dtype = match plan.recipe.output.dtype {
        OutputType::Float32 => "float32",
        OutputType::Uint16 => "uint16",
        OutputType::Uint8 => "uint8",
    };
    let mut text = format!("--write {write} --dtype {dtype}");
    if plan.write.zarr {
        match plan.recipe.zarr.compression {
            ZarrCompression::Lz4 => {}
            ZarrCompression::Zstd => text += " --set zarr.compression=zstd",
            ZarrCompression::None => text += " --set zarr.compression=none",
        }
    }
    text
}
