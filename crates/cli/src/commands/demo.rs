//! `beamrail demo`: simulate a small scan, reconstruct it, show what came of it.

use std::path::{Path, PathBuf};

use reconstruct::job::{self, Action, Existing, JobOptions, Outcome};
use reconstruct::paths::Paths;
use reconstruct::plan::{OmeZarr, Write};
use reconstruct::recipe::Recipe;
use scan::simulate::{SimulateOptions, Simulated};
use volume::{Manifest, VerifyLevel};

use super::reconstruct::{describe, stages};
use super::simulate::simulate;
use super::verify::{sound, verify};
use crate::exit::{Exit, Failure};
use crate::output::{self, Table};
use crate::progress::{Mode, Progress};

/// Simulate a small scan and reconstruct it
///
/// Everything happens in one folder, which can be deleted afterwards. Run it again to replace what it made.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder for the scan and the results
    #[arg(long, value_name = "DIR", default_value = "beamrail-demo")]
    dir: PathBuf,

    /// Size of the simulated scan; full is that of a scan of beamline 8.3.2 (10 GB raw, 60 GB of results)
    #[arg(long, value_enum, default_value = "small")]
    size: Size,

    /// Reconstruct this scan instead of a simulated one
    #[arg(long, value_name = "FILE.h5", conflicts_with = "size")]
    scan: Option<PathBuf>,

    /// Do not open the viewer. There is none yet; accepted so that scripts need not change
    #[arg(long, hide = true)]
    no_serve: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Size {
    /// 160 columns, 48 rows: seconds.
    Tiny,
    /// 640 columns, 128 rows.
    Small,
    /// 1280 columns, 512 rows.
    Medium,
    /// 2560 columns, 980 rows.
    Full,
}

impl Size {
    /// Columns, rows, projections.
    fn shape(self) -> (usize, usize, usize) {
        match self {
            Self::Tiny => (160, 48, 181),
            Self::Small => (640, 128, 721),
            Self::Medium => (1280, 512, 1001),
            Self::Full => (2560, 980, 1696),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Full => "full",
        }
    }
}

/// Simulates, reconstructs, verifies, and prints what was made and how long each stage took.
pub(crate) fn run(args: &Args, progress: Mode) -> Result<(), Failure> {
    let progress = Progress::new(progress);
    let folder = &args.dir;
    std::fs::create_dir_all(folder).map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot create {}: {error}", folder.display()))
    })?;
    let (scan, truth) = match &args.scan {
        // Results of a scan that is not ours are not ours to replace.
        Some(scan) => (scan.clone(), None),
        None => {
            let scan = folder.join(format!("demo_{}.h5", args.size.name()));
            let truth = simulate(&scan, &options(args.size), true, &progress)?;
            (scan, Some(truth))
        }
    };
    let options = JobOptions {
        scan: scan.clone(),
        open: scan::OpenOptions::default(),
        output: folder.clone(),
        recipe: Recipe::builtin("default")?,
        rows: None,
        write: Write { tiff: true, zarr: true, ome_zarr: OmeZarr::V04 },
        memory: None,
        threads: None,
        existing: if truth.is_some() { Existing::Overwrite } else { Existing::Refuse },
    };
    let stop = super::stop_on_signals()?;
    let outcome = job::execute(&options, Action::Run, &progress, &stop);
    progress.close();
    let outcome = outcome?;
    let verified = check(&scan, folder, &progress)?;
    output::print(&summary(&scan, truth.as_ref(), &outcome, &verified))
}

/// A foam with all that beam and camera usually do to a scan.
fn options(size: Size) -> SimulateOptions {
    let (width, rows, angles) = size.shape();
    SimulateOptions {
        width,
        rows,
        angles,
        sample: "demo foam".into(),
        seed: 832,
        ..SimulateOptions::default()
    }
}

/// Reads everything back, in words.
fn check(scan: &Path, folder: &Path, progress: &Progress) -> Result<String, Failure> {
    let path = Paths::new(scan, folder)?.manifest();
    let manifest = Manifest::read(&path)?;
    let verification = verify(&manifest, &path, VerifyLevel::Digested, progress)?;
    if verification.is_ok() {
        return Ok(sound(&verification));
    }
    let what = format!("{}: results are not as they were written", path.display());
    Err(Failure::new(Exit::Failed, what)
        .hint(format!("beamrail verify {}, which lists the files", path.display())))
}

fn summary(scan: &Path, truth: Option<&Simulated>, outcome: &Outcome, verified: &str) -> String {
    let mut table = Table::default();
    table.row("scan", scan.display().to_string());
    if let (Some(truth), Some(center)) = (truth, &outcome.center) {
        let error = center.center - truth.center;
        table.row("true centre", format!("{:.2} (found with an error of {error:+.3} pixels)", truth.center));
    }
    describe(outcome, &mut table);
    table.row("verified", verified);
    format!("{}\ntime by stage, all threads together\n{}", table.text(), stages(outcome))
}
