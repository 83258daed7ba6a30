//! The ways to write a volume, and what each takes and costs in accuracy.

use serde::Serialize;
use volume::{OmeZarr, Scaling};

use super::Estimate;
use super::measure::Measured;
use crate::chain::Chain;
use crate::plan::{Plan, Write};
use crate::recipe::{OutputType, ZarrCompression};
use crate::source::Source;
use crate::{Result, memory, outputs, quick};

/// CPU seconds of what stands before and after the stream (opening, the centre, the pictures), in pairs of slices:
/// measured as 14 pairs at 2560 columns, 56 at 1024 and 70 at 512, where pairs are cheap.
fn start_pairs(columns: usize) -> f64 {
    (14.0 * (2560.0 / columns as f64).powf(1.5)).min(70.0)
}

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
pub(super) fn choices(
    estimate: &Estimate,
    measured: &Measured,
    source: &Source,
    chain: &Chain,
    plan: &Plan,
) -> Result<Vec<Choice>> {
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
                _ => Some(quick::range(&plan.recipe, &measured.histogram)?),
            };
            choice(estimate, measured, source, chain, &plan)
        })
        .collect()
}

fn choice(
    estimate: &Estimate,
    measured: &Measured,
    source: &Source,
    chain: &Chain,
    plan: &Plan,
) -> Result<Choice> {
    let spec = outputs::spec(plan, "", None);
    let slices = plan.slices() as f64;
    let start = measured.pair_cpu_s * start_pairs(source.columns());
    let mut cpu_s = start + measured.pair_cpu_s * slices / 2.0;
    let (mut tiff_bytes, mut zarr_bytes) = (0, 0);
    if plan.write.tiff {
        tiff_bytes = spec.bytes() + 4096 * plan.slices() as u64;
        cpu_s += measured.digest_cpu_s * slices * spec.dtype.bytes() as f64 / 4.0;
    }
    if plan.write.zarr {
        let stored: Vec<_> = measured.images.iter().map(|image| spec.store(image)).collect();
        let views: Vec<_> = stored.iter().map(|voxels| voxels.view()).collect();
        let sampled =
            OmeZarr::sample(&spec, outputs::version(plan), outputs::compression(&plan.recipe), &views)?;
        let times = slices / measured.images.len() as f64;
        zarr_bytes = (sampled.bytes as f64 * times) as u64;
        cpu_s += sampled.cpu_s * times;
    }
    let threads = estimate.threads as f64;
    let computing = cpu_s / threads;
    let disk = estimate
        .disk_bytes_per_s
        .map_or(0.0, |rate| start / threads + (tiff_bytes + zarr_bytes) as f64 / rate);
    let mut demand = outputs::demand(source, plan, chain);
    let layout = memory::plan(estimate.memory_budget, estimate.threads, &demand);
    // Where all rows are reconstructed no worker fills its spare image.
    demand.workspace = demand.workspace.saturating_sub((plan.slice_columns * plan.slice_columns * 4) as u64);
    Ok(Choice {
        options: options(plan),
        tiff_bytes,
        zarr_bytes,
        rounding: rounding(&spec),
        cpu_s,
        seconds: computing.max(disk),
        limit: if disk > computing { "disk" } else { "computing" },
        memory_bytes: layout.map_or(0, |layout| layout.expected(plan.slices(), &demand)),
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
