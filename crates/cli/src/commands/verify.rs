//! `beamrail verify`: is every file of a result there, whole and unchanged?

use std::path::{Path, PathBuf};

use serde_json::json;
use volume::{Manifest, Verification, VerifyLevel};

use crate::exit::{Exit, Failure};
use crate::output::{self, bytes};
use crate::progress::{Mode, Progress};

/// Check every file of a result: there, of the right size, with the right digest
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A manifest (rec*.manifest.json), or a folder that holds one
    #[arg(value_name = "MANIFEST|DIR")]
    manifest: PathBuf,

    /// How thoroughly: every file is there (listed), has its size (sized), has its digest (digested)
    #[arg(long, value_enum, default_value = "digested")]
    level: Level,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Level {
    Listed,
    Sized,
    Digested,
}

/// Verifies, prints every finding, and fails if there is one.
pub(crate) fn run(args: &Args, progress: Mode) -> Result<(), Failure> {
    let path = Manifest::find(&args.manifest)?;
    let manifest = Manifest::read(&path)?;
    let level = match args.level {
        Level::Listed => VerifyLevel::Listed,
        Level::Sized => VerifyLevel::Sized,
        Level::Digested => VerifyLevel::Digested,
    };
    let progress = Progress::new(progress);
    let verification = verify(&manifest, &path, level, &progress)?;
    if args.json {
        output::print_json(&json!({
            "manifest": path,
            "name": manifest.name(),
            "digest": manifest.digest(),
            "ok": verification.is_ok(),
            "level": verification.level,
            "files": verification.files,
            "bytes": verification.bytes,
            "findings": verification.findings,
        }))?;
    } else {
        let mut text = String::new();
        for finding in &verification.findings {
            text += &format!("{}: {}\n", finding.path, finding.problem);
        }
        if verification.is_ok() {
            text += &format!("{}: {}\n", manifest.name(), sound(&verification));
        }
        output::print(&text)?;
    }
    if verification.is_ok() {
        return Ok(());
    }
    let count = verification.findings.len();
    let what = format!(
        "{}: {count} {} not as the manifest says ({} files)",
        path.display(),
        if count == 1 { "file is" } else { "files are" },
        verification.files
    );
    Err(Failure::new(Exit::Failed, what)
        .hint("copy the files again from where they came, or reconstruct again"))
}

/// Compares the files beside the manifest with it.
pub(crate) fn verify(
    manifest: &Manifest,
    path: &Path,
    level: VerifyLevel,
    progress: &Progress,
) -> Result<Verification, Failure> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let message = format!("checking {} files of {}", manifest.files().len(), manifest.name());
    // Called from several threads at once; the bar takes one at a time.
    let report = std::sync::Mutex::new(progress.fraction("verify", &message));
    let verification = manifest.verify(folder, level, &|done, total| {
        if let Ok(mut report) = report.try_lock() {
            report(done as f64 / total.max(1) as f64);
        }
    });
    progress.close();
    Ok(verification?)
}

/// A verification without findings, in words.
pub(crate) fn sound(verification: &Verification) -> String {
    let checked = match verification.level {
        VerifyLevel::Listed => "all there",
        VerifyLevel::Sized => "all there, sizes match",
        VerifyLevel::Digested => "all there, sizes and digests match",
    };
    format!("{} files, {}, {checked}", verification.files, bytes(verification.bytes))
}
