//! `beamrail center`: the rotation centre, how sure it is, and a picture as evidence.

use std::path::PathBuf;
use std::str::FromStr;

use reconstruct::centering::{self, CenterReport};
use reconstruct::progress::{Event, Observer};
use reconstruct::recipe::CenterMethod;

use super::{RecipeArgs, ScanArgs};
use crate::exit::Failure;
use crate::output::{self, Table};
use crate::progress::{Mode, Progress};

/// Find the rotation centre, and draw a picture as evidence
///
/// The centre is a detector column counted from 0, pixel centres at integers. The picture shows one row
/// reconstructed at several candidates: the right one has neither crescents nor doubled edges.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    scan: ScanArgs,

    /// How the centre is found: auto, phase-correlation, vo, entropy, overlap (360° scans) or production
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,

    /// Candidates in the picture: first, last, step; around the answer if not given
    #[arg(long, value_name = "A:B:STEP", allow_hyphen_values = true)]
    sweep: Option<Sweep>,

    /// Detector rows among which some are looked at
    #[arg(long, value_name = "A:B[:STEP]", allow_hyphen_values = true)]
    rows: Option<String>,

    /// The picture [default: <SCAN>.center.png in the current folder]
    #[arg(short, long, value_name = "FILE.png")]
    output: Option<PathBuf>,

    /// Draw no picture
    #[arg(long, conflicts_with_all = ["output", "sweep"])]
    no_picture: bool,

    #[command(flatten)]
    recipe: RecipeArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `first:last:step`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sweep {
    first: f64,
    last: f64,
    step: f64,
}

impl FromStr for Sweep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Option<Vec<f64>> = text.split(':').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[first, last, step])
                if first.is_finite() && last >= first && step > 0.0 && step.is_finite() =>
            {
                Ok(Self { first, last, step })
            }
            _ => Err("write first:last:step, such as 1270:1290:2".into()),
        }
    }
}

/// Finds the centre, and prints it.
pub(crate) fn run(args: &Args, progress: Mode) -> Result<(), Failure> {
    let recipe = args.recipe.resolve(args.method.iter().map(|method| format!("center.method={method}")))?;
    let path = &args.scan.scan;
    let picture = match (&args.output, args.no_picture) {
        (_, true) => None,
        (Some(path), _) => Some(path.clone()),
        (None, _) => path.file_stem().map(|stem| {
            let mut name = stem.to_owned();
            name.push(".center.png");
            PathBuf::from(name)
        }),
    };
    let progress = Progress::new(progress);
    let message = if recipe.center.method == CenterMethod::Fixed {
        "drawing the given rotation centre"
    } else {
        "finding the rotation centre"
    };
    progress.event(&Event::Stage { name: "center", message: message.into() });
    let sweep = args.sweep.map(|sweep| (sweep.first, sweep.last, sweep.step));
    let outcome = centering::center(
        path,
        &args.scan.open_options(),
        &recipe,
        args.rows.as_deref(),
        sweep,
        picture.as_deref(),
    );
    progress.close();
    let report = outcome?;
    if args.json { output::print_json(&report) } else { output::print(&text(&report)) }
}

/// The answer for people.
fn text(report: &CenterReport) -> String {
    let mut table = Table::default();
    let uncertainty = report.uncertainty.map(|px| format!(" ± {px:.2}")).unwrap_or_default();
    table
        .row("rotation centre", format!("{:.3}{uncertainty}", report.center))
        .row("verdict", report.verdict.replace('_', " "))
        .row("confidence", format!("{:.2}", report.confidence))
        .row("method", &report.method)
        .row("why", &report.reason);
    for row in &report.per_row {
        let value = format!("{:.3} (confidence {:.2})", row.center, row.confidence);
        table.row(&format!("  row {}", row.row), value);
    }
    table.maybe("picture", report.evidence.as_ref().map(|path| path.display().to_string()));
    if !report.believed {
        table.row("not believed", "reconstruct will stop here; look at the picture, then give --center PX");
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_as_people_write_them() {
        assert_eq!("290:302:0.5".parse(), Ok(Sweep { first: 290.0, last: 302.0, step: 0.5 }));
        assert_eq!("-2:2:1".parse::<Sweep>().map(|sweep| sweep.first), Ok(-2.0));
        for bad in ["", "1:2", "2:1:1", "1:2:0", "1:2:-1", "a:b:c", "1:2:nan", "nan:2:1", "1:2:3:4"] {
            assert!(bad.parse::<Sweep>().is_err(), "{bad}");
        }
    }
}
