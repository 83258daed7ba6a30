//! `beamrail inspect`: what is in a scan, and what its reconstruction takes.

use std::path::PathBuf;

use reconstruct::inspect::{self, Estimate};
use reconstruct::plan::{OmeZarr, Write};
use scan::{Completeness, ScanInfo, Storage, ThetaSource, Verdict};
use serde_json::json;

use super::{RecipeArgs, ScanArgs};
use crate::exit::Failure;
use crate::output::{self, Table, bytes, seconds};

/// Tell what is in a scan and what its reconstruction takes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    scan: ScanArgs,

    #[command(flatten)]
    recipe: RecipeArgs,

    /// Folder that results would go to; its disk is measured
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output: PathBuf,

    /// Memory to plan for, for example 2GiB [default: a quarter of the machine's]
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,

    /// Worker threads to plan for [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints layout, geometry, metadata, completeness, warnings and the estimate.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let path: &PathBuf = &args.scan.scan;
    // Before the reader: a file that is still being written should be called that.
    let completeness = scan::completeness(path)?;
    let open = args.scan.open_options();
    let scan = scan::open_with(path, &open)?;
    let info = scan.info().clone();
    let write = Write { tiff: true, zarr: true, ome_zarr: OmeZarr::V04 };
    let memory = args.memory.as_deref().map(reconstruct::memory::parse_size).transpose()?;
    // What the scan is can be told even where it cannot be reconstructed; then the reason belongs there.
    let recipe = args.recipe.resolve([])?;
    let estimate = inspect::estimate(scan, &recipe, write, &args.output, memory, args.threads)
        .map_err(|error| error.to_string());
    if args.json {
        return output::print_json(&json!({
            "schema": 1,
            "scan": info,
            "completeness": completeness,
            "estimate": estimate.as_ref().ok(),
            "problem": estimate.as_ref().err(),
        }));
    }
    output::print(&(describe(&info, &completeness) + &metadata(&info) + &cost(&estimate)))
}

/// The table for people.
fn describe(info: &ScanInfo, completeness: &Completeness) -> String {
    let mut table = Table::default();
    table
        .row("file", info.path.display().to_string())
        .row("size", bytes(info.file_bytes))
        .row("complete", verdict(&completeness.verdict))
        .row("layout", format!("{} ({})", info.layout, info.dataset))
        .row(
            "projections",
            format!(
                "{} of {} rows × {} columns, {}",
                info.projections, info.rows, info.columns, info.stored_type
            ),
        )
        .row("storage", storage(&info.storage));
    if info.time_points > 1 {
        table.row("time points", format!("{} (one is read; --time-point)", info.time_points));
    }
    table
        .row("flat fields", frames(info.flat_frames))
        .row("dark fields", frames(info.dark_frames))
        .row("angles", angles(info))
        .row("pixel size", info.pixel_size_um.map_or("unknown".into(), |um| format!("{um} µm")))
        .maybe("distance", info.distance_mm.map(|mm| format!("{mm} mm")))
        .row("energy", info.energy_kev.map_or("unknown or white".into(), |kev| format!("{kev} keV")))
        .maybe("sample", info.sample.clone())
        .maybe("acquired", info.acquired.clone())
        .row("data in memory", bytes(info.bytes));
    for warning in &info.warnings {
        table.row("warning", format!("{} [{}]", warning.message, warning.code));
    }
    table.text()
}

/// What the file says about itself.
fn metadata(info: &ScanInfo) -> String {
    let mut table = Table::default();
    for (name, value) in &info.metadata {
        table.row(&format!("  {name}"), value);
    }
    if info.metadata.is_empty() { String::new() } else { format!("\nmetadata\n{}", table.text()) }
}

/// What the reconstruction of all rows takes.
fn cost(estimate: &Result<Estimate, String>) -> String {
    let mut table = Table::default();
    match estimate {
        Err(problem) => {
            table.row("  cannot be reconstructed", problem);
        }
        Ok(estimate) => {
            let [z, y, x] = estimate.shape;
            table.row("  volume", format!("{x} × {y} × {z} voxels (x, y, z), {}", estimate.unit));
            let pair = 1e3 * estimate.pair_cpu_s / 2.0;
            let given = format!("{} threads got {:.1} cores", estimate.threads, estimate.cores);
            table.row(
                "  start",
                format!("{}: the rotation centre and its evidence", seconds(estimate.start_s)),
            );
            table.row("  computing", format!("{pair:.1} ms of one core a slice; {given}"));
            match estimate.disk_bytes_per_s {
                Some(rate) => table.row("  disk", format!("{}/s", bytes(rate as u64))),
                None => table.row("  disk", "not measured: the output folder cannot be written"),
            };
            if estimate.scratch_bytes > 0 {
                table.row("  scratch", format!("{} in the output folder", bytes(estimate.scratch_bytes)));
            }
            table.maybe("  problem", estimate.problem.clone());
            return format!("\nreconstruction\n{}{}", table.text(), choices(estimate));
        }
    }
    format!("\nreconstruction\n{}", table.text())
}

/// What each way to write the volume takes.
fn choices(estimate: &Estimate) -> String {
    let mut text =
        format!("\n  {:<62}{:>10}{:>10}{:>9}  {}\n", "written with", "bytes", "memory", "time", "rounding");
    for choice in &estimate.choices {
        let memory = if choice.memory_bytes > 0 { bytes(choice.memory_bytes) } else { "too much".into() };
        let rounding =
            if choice.rounding > 0.0 { format!("± {:.2e}", choice.rounding) } else { "none".into() };
        text += &format!(
            "  {:<62}{:>10}{:>10}{:>9}  {}\n",
            choice.options,
            bytes(choice.tiff_bytes + choice.zarr_bytes),
            memory,
            seconds(choice.seconds),
            rounding
        );
    }
    text + "  Time is the longer of computing and writing; the disk's share changes with who else uses it.\n"
}

fn frames(count: usize) -> String {
    match count {
        0 => "none".into(),
        1 => "1 frame".into(),
        many => format!("{many} frames"),
    }
}

fn angles(info: &ScanInfo) -> String {
    let source = match info.theta_source {
        ThetaSource::Dataset => "measured",
        ThetaSource::FrameAttribute => "measured, an attribute of each frame",
        ThetaSource::StartStep => "from start and step",
        ThetaSource::RangeCount => "from range and count",
        ThetaSource::Caller => "from the command line",
    };
    match (info.theta_degrees.first(), info.theta_degrees.last()) {
        (Some(first), Some(last)) => {
            format!("{first:.3}° to {last:.3}°, {:.3}° in all ({source})", info.range_degrees)
        }
        _ => "none".into(),
    }
}

fn storage(storage: &Storage) -> String {
    let filters = |filters: &[String]| {
        if filters.is_empty() { "not compressed".to_owned() } else { filters.join(", ") }
    };
    match storage {
        Storage::Contiguous => "contiguous".into(),
        Storage::Chunked { shape: [p, r, c], filters: names } => {
            format!("chunks of {p} × {r} × {c}, {}", filters(names))
        }
        Storage::Frames { filters: names } => format!("a dataset a frame, {}", filters(names)),
    }
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Complete => "yes".into(),
        Verdict::StillOpen(reason) => format!("still being written: {reason}"),
        Verdict::Truncated(reason) => format!("truncated: {reason}"),
        Verdict::NotHdf5(reason) => format!("not HDF5: {reason}"),
        Verdict::Unknown(reason) => format!("cannot be told: {reason}"),
    }
}
