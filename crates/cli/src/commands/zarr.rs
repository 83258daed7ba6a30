//! `beamrail zarr`: an OME-Zarr from an existing TIFF stack.

use std::path::{Path, PathBuf};

use serde_json::json;
use volume::{Compression, ConvertOptions, Converted, Manifest};

use super::OmeVersion;
use crate::exit::Failure;
use crate::output::{self, Table, bytes};
use crate::progress::{Mode, Progress};

/// Make an OME-Zarr from an existing stack of TIFF slices
///
/// Slices of 8, 16 and 32 bits keep their values bit for bit. Beside the OME-Zarr a manifest is written,
/// last; without it the conversion is not complete.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of TIFF slices
    #[arg(value_name = "TIFF_DIR")]
    tiffs: PathBuf,

    /// The OME-Zarr to make; must not exist
    #[arg(short, long, value_name = "OUT.zarr")]
    output: PathBuf,

    /// The raw scan that the slices came from: for the pixel size and the provenance
    #[arg(long, value_name = "SCAN.h5")]
    raw: Option<PathBuf>,

    /// Edge of a voxel in micrometres [default: from --raw, else from the slices, else pixel units]
    #[arg(long, value_name = "X", value_parser = positive)]
    pixel_size_um: Option<f64>,

    /// Unit of the values, such as 1/cm [default: from the slices, else 1/pixel]
    #[arg(long, value_name = "TEXT")]
    unit: Option<String>,

    /// Version of OME-Zarr
    #[arg(long, value_name = "VERSION", value_enum, default_value = "0.4")]
    ome_zarr: OmeVersion,

    /// Compression of the chunks
    #[arg(long, value_enum, default_value = "lz4")]
    compression: Codec,

    /// Effort of the compression, 1 (fast) to 9 (small)
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u8).range(1..=9))]
    level: u8,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Codec {
    None,
    Lz4,
    Zstd,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("give a positive number of micrometres, such as 0.65".into()),
    }
}

/// Converts, commits, and prints what was made.
pub(crate) fn run(args: &Args, progress: Mode) -> Result<(), Failure> {
    let options = options(args)?;
    let progress = Progress::new(progress);
    let stop = super::stop_on_signals()?;
    let message = format!("converting {} to {}", args.tiffs.display(), args.output.display());
    let mut report = progress.fraction("convert", &message);
    let outcome = volume::zarr_from_tiffs(&args.tiffs, &args.output, &options, &mut |done, total| {
        report(done as f64 / total.max(1) as f64);
        !stop.requested()
    });
    progress.close();
    let converted = outcome?;
    let manifest = commit(&args.output, &converted)?;
    let size: u64 = converted.files.iter().map(|file| file.size).sum();
    let spec = &converted.spec;
    if args.json {
        return output::print_json(&json!({
            "output": args.output,
            "manifest": manifest,
            "shape": spec.shape,
            "voxel_um": spec.voxel_um,
            "dtype": spec.dtype,
            "unit": spec.unit,
            "files": converted.files.len(),
            "bytes": size,
            "window": [converted.window.start, converted.window.end],
        }));
    }
    let [z, y, x] = spec.shape;
    let voxel =
        spec.voxel_um.map_or("unknown (pixel units)".into(), |[z, y, x]| format!("{x} × {y} × {z} µm"));
    let mut table = Table::default();
    table
        .row("made", format!("{}\n{}", args.output.display(), manifest.display()))
        .row("voxels", format!("{x} × {y} × {z} (x, y, z), {}, {}", spec.dtype, spec.unit))
        .row("voxel size", voxel)
        .row("written", format!("{} in {} files", bytes(size), converted.files.len()));
    output::print(&table.text())
}

fn options(args: &Args) -> Result<ConvertOptions, Failure> {
    let mut voxel_um = args.pixel_size_um;
    let mut provenance = json!({ "beamrail": env!("CARGO_PKG_VERSION") });
    if let Some(raw) = &args.raw {
        let scan = scan::open(raw)?;
        let info = scan.info();
        voxel_um = voxel_um.or(info.pixel_size_um);
        provenance["scan"] = json!(info.path.file_name().map(|name| name.to_string_lossy()));
    }
    Ok(ConvertOptions {
        voxel_um: voxel_um.map(|um| [um; 3]),
        unit: args.unit.clone(),
        version: args.ome_zarr.into(),
        compression: match args.compression {
            Codec::None => Compression::None,
            Codec::Lz4 => Compression::Lz4 { level: args.level },
            Codec::Zstd => Compression::Zstd { level: args.level },
        },
        provenance,
        ..ConvertOptions::default()
    })
}

/// Brings the files to the disk, then writes the manifest.
fn commit(output: &Path, converted: &Converted) -> Result<PathBuf, Failure> {
    let folder = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let files: Vec<PathBuf> = converted.files.iter().map(|file| folder.join(&file.path)).collect();
    volume::sync_files(&files)?;
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(".manifest.json");
    let path = output.with_file_name(name);
    Manifest::new(&converted.spec.name, converted.files.clone())?.write(&path)?;
    Ok(path)
}
