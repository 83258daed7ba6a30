//! `beamrail reconstruct`: from a scan to a volume.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use reconstruct::job::{self, Action, Existing, JobOptions, Outcome};
use reconstruct::jobdir::{JobFolder, Status};
use reconstruct::plan::Write;
use reconstruct::progress::{Observer, Stop};

use super::{OmeVersion, RecipeArgs, ScanArgs};
use crate::exit::{Exit, Failure};
use crate::output::{self, Table, bytes, seconds};
use crate::progress::{Mode, Progress};

/// Reconstruct a scan: TIFF slices and OME-Zarr, in one pass
///
/// Makes rec<scan>/ (TIFF slices), rec<scan>.zarr, and beside them preview, report and manifest. A quick
/// look (middle slice and preview) comes first. The manifest is written last: without it the volume is not
/// complete.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    scan: ScanArgs,

    /// Folder for the results
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output: PathBuf,

    #[command(flatten)]
    recipe: RecipeArgs,

    /// Rotation centre: 0-based detector column (pixel centres at integers), or auto to have it found
    #[arg(long, value_name = "auto|PX", allow_hyphen_values = true)]
    center: Option<Center>,

    /// Type of the voxels: float32, uint16 or uint8
    #[arg(long, value_name = "TYPE")]
    dtype: Option<String>,

    /// Detector rows to reconstruct: first, one past the last, step; either end may be left out
    #[arg(long, value_name = "A:B[:STEP]", allow_hyphen_values = true)]
    rows: Option<String>,

    /// What to write
    #[arg(long, value_name = "WHAT", value_enum, value_delimiter = ',', default_value = "tiff,zarr")]
    write: Vec<Format>,

    /// Version of OME-Zarr
    #[arg(long, value_name = "VERSION", value_enum, default_value = "0.4")]
    ome_zarr: OmeVersion,

    /// Memory that the job may take, such as 2GiB or 800MB [default: a quarter of the machine's, at most
    /// 16 GiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,

    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Option<u16>,

    /// Decide everything (centre, scaling), write it down, and stop: before --part
    #[arg(long, group = "form", help_heading = "On several machines")]
    plan: bool,

    /// Reconstruct part I of N of a planned job
    #[arg(long, value_name = "I/N", group = "form", help_heading = "On several machines")]
    part: Option<Part>,

    /// Put the parts together and commit the volume
    #[arg(long, group = "form", help_heading = "On several machines")]
    finish: bool,

    /// The quick look alone: middle slice and preview
    #[arg(long, group = "form")]
    quick: bool,

    /// Folder in which the job keeps lock, progress, log and status, for whoever follows it from afar; a
    /// file `cancel` in it stops the job
    #[arg(long, value_name = "DIR")]
    job_dir: Option<PathBuf>,

    /// Replace results that are there already
    #[arg(long, conflicts_with_all = ["resume", "part", "finish"])]
    overwrite: bool,

    /// Go on with an interrupted job; one that is complete is left as it is
    #[arg(long)]
    resume: bool,

    /// Print JSON: what was made
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  beamrail reconstruct scan.h5 -o results
  beamrail reconstruct scan.h5 --rows 640:1280 --center 1279.5 --write zarr
  beamrail reconstruct scan.h5 --recipe als832 --set stripes.sigma=4
  beamrail reconstruct scan.h5 --quick";

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// TIFF slices, one file each.
    Tiff,
    /// OME-Zarr with several resolutions.
    Zarr,
}

/// `I/N`, parts counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    index: usize,
    of: usize,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((index, of)) if (1..=of).contains(&index) => Ok(Self { index, of }),
            _ => Err("write I/N with I from 1 to N, such as 2/4".into()),
        }
    }
}

/// A column, or have it found.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Center {
    Auto,
    Column(f64),
}

impl FromStr for Center {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(column) if column.is_finite() => Ok(Self::Column(column)),
            _ if text == "auto" => Ok(Self::Auto),
            _ => Err("give a detector column, such as 1279.5, or auto".into()),
        }
    }
}

fn size(text: &str) -> Result<u64, String> {
    reconstruct::memory::parse_size(text).map_err(|error| error.to_string())
}

impl Args {
    /// Flags that are parameters of the recipe under shorter names.
    fn settings(&self) -> Vec<String> {
        let mut settings = match self.center {
            None => Vec::new(),
            Some(Center::Auto) => vec!["center.method=auto".into(), "center.value=auto".into()],
            Some(Center::Column(column)) => vec![
                "center.method=fixed".into(),
                format!("center.value={column:?}"),
                "center.search=auto".into(),
            ],
        };
        settings.extend(self.dtype.iter().map(|dtype| format!("output.dtype={dtype}")));
        settings
    }

    fn action(&self) -> Action {
        match self.part {
            Some(Part { index, of }) => Action::Part { index, of },
            None if self.plan => Action::Plan,
            None if self.finish => Action::Finish,
            None if self.quick => Action::Quick,
            None => Action::Run,
        }
    }

    fn options(&self) -> Result<JobOptions, Failure> {
        let existing = match (self.overwrite, self.resume) {
            (true, _) => Existing::Overwrite,
            (_, true) => Existing::Resume,
            _ => Existing::Refuse,
        };
        Ok(JobOptions {
            scan: self.scan.scan.clone(),
            open: self.scan.open_options(),
            output: self.output.clone(),
            recipe: self.recipe.resolve(self.settings())?,
            rows: self.rows.clone(),
            write: Write {
                tiff: self.write.contains(&Format::Tiff),
                zarr: self.write.contains(&Format::Zarr),
                ome_zarr: self.ome_zarr.into(),
            },
            memory: self.memory,
            threads: self.threads.map(usize::from),
            existing,
        })
    }
}

/// Does the job in the form asked for, and prints what was made.
pub(crate) fn run(args: &Args, progress: Mode) -> Result<(), Failure> {
    let options = args.options()?;
    let progress = Progress::new(progress);
    let stop = super::stop_on_signals()?;
    let outcome = match &args.job_dir {
        None => job::execute(&options, args.action(), &progress, &stop),
        Some(folder) => in_job_folder(folder, &options, args.action(), &progress, &stop),
    };
    progress.close();
    let outcome = outcome?;
    if args.json {
        return output::print_json(&outcome);
    }
    let mut table = Table::default();
    describe(&outcome, &mut table);
    output::print(&table.text())
}

/// Does the job with a folder by which it can be followed, and stopped, from afar.
fn in_job_folder(
    path: &Path,
    options: &JobOptions,
    action: Action,
    observer: &dyn Observer,
    stop: &Stop,
) -> reconstruct::Result<Outcome> {
    let folder = JobFolder::open(path, observer)?;
    let over = AtomicBool::new(false);
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| folder.watch(stop, &over));
        let outcome = job::execute(options, action, &folder, stop);
        over.store(true, Ordering::Relaxed);
        outcome
    });
    let status = Status {
        exit_code: outcome.as_ref().err().map_or(0, |error| i32::from(Exit::of(error).code())),
        error: outcome.as_ref().err().map(ToString::to_string),
        retry_helps: outcome.as_ref().err().is_some_and(reconstruct::Error::retry_helps),
        manifest: outcome.as_ref().ok().and_then(|outcome| outcome.manifest_blake3.clone()),
        finished: reconstruct::report::now(),
    };
    match (folder.finish(&status), outcome) {
        // Without its status whoever follows the job would wait forever: that is a failure too.
        (Err(error), Ok(_)) => Err(error),
        (_, outcome) => outcome,
    }
}

/// What was made, for people.
fn describe(outcome: &Outcome, table: &mut Table) {
    table.row("volume", &outcome.name);
    if outcome.already_done {
        table.row("state", "was complete already; nothing was done");
    }
    if let Some([z, y, x]) = outcome.shape {
        table.row("voxels", format!("{x} × {y} × {z} (x, y, z)"));
    }
    if let Some(center) = &outcome.center {
        let verdict = format!("{}, confidence {:.2}", center.verdict, center.confidence);
        table.row("rotation centre", format!("{:.2} ({verdict})", center.center));
    }
    let outputs: Vec<String> = outcome.outputs.iter().map(|path| path.display().to_string()).collect();
    table.row("made", outputs.join("\n"));
    if outcome.bytes > 0 {
        table.row("written", bytes(outcome.bytes));
    }
    table.row("time", seconds(outcome.seconds)).maybe("manifest", outcome.manifest_blake3.clone());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_count_from_one_and_centres_are_finite() {
        assert_eq!("2/4".parse(), Ok(Part { index: 2, of: 4 }));
        assert_eq!("12.5".parse(), Ok(Center::Column(12.5)));
        assert_eq!("auto".parse(), Ok(Center::Auto));
        for bad in ["", "nan", "inf", "1e999", "middle"] {
            assert!(bad.parse::<Center>().is_err(), "{bad}");
        }
        for bad in ["", "2", "0/4", "5/4", "a/b", "1/0", "-1/2", "1/2/3"] {
            assert!(bad.parse::<Part>().is_err(), "{bad}");
        }
    }
}
