//! `beamrail demo`: three sites in one folder, a scan that appears, the whole ALCF flow, and the end of its copies.

mod shown;
mod sites;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use beamline::config::Config;
use beamline::identity::Identity;
use beamline::watch::{Folder, Settings, Standing, Starts, Watcher};
use custody::CopyRecord;
use engine::{Clock, Orchestrator, Run, RunFilter, RunId, StateType, Worker};
use jiff::{SignedDuration, Timestamp};
use reconstruct::paths::Paths;
use scan::simulate::Simulated;
use volume::{Manifest, VerifyLevel};

use super::beam::{Beam, time};
use super::live::{ending, follow, say};
use super::prune::describe;
use super::verify::{sound, verify};
use super::worker::with_couriers;
use crate::exit::{Exit, Failure};
use crate::grid::Grid;
use crate::output::{self, bytes};
use crate::progress::{Mode, Progress};

/// Carry a scan through three sites on this machine: transfer, reconstruction, return, retention
///
/// Three sites (als, nersc, alcf) are made in one folder, which can be deleted afterwards. A small scan is simulated
/// and appears at als; watch sees it and starts the dispatcher; it goes to nersc and alcf, is reconstructed there,
/// and its results come back, all of it live in the dashboard. Then the clock is advanced and copies whose time is
/// over are deleted.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder for the sites
    #[arg(long, value_name = "DIR", default_value = "beamrail-demo")]
    dir: PathBuf,

    /// Size of the simulated scan; full is that of a scan of beamline 8.3.2 (10 GB raw, 60 GB of results, thrice)
    #[arg(long, value_enum, default_value = "small")]
    size: Size,

    /// Take this scan instead of a simulated one
    #[arg(long, value_name = "FILE.h5", conflicts_with = "size")]
    scan: Option<PathBuf>,

    /// Through Globus: sites are collections and the facility a compute endpoint, of a stand-in on this host
    #[arg(long)]
    globus: bool,

    /// Do not show the dashboard; end when the story ends. So it is where stdout is no terminal
    #[arg(long)]
    no_serve: bool,

    /// Show the dashboard at this address, also where stdout is no terminal; port 0 takes a free one
    #[arg(long, value_name = "ADDR", conflicts_with = "no_serve")]
    listen: Option<SocketAddr>,
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
}

/// The whole story.
pub(crate) fn run(args: &Args, progress: Mode) -> Result<(), Failure> {
    let folder = sites::prepare(&args.dir, args.globus)?;
    let stop = super::stop_on_signals()?;
    let mut config = Config::load(Some(&folder.join("beamrail.toml")))?;
    // Kept to the end: what is shown then still looks at the collections.
    let mut globus = None;
    if args.globus {
        let (standin, environment) = sites::globus(&folder)?;
        config.environment = environment;
        output::print(&format!(
            "Globus: a stand-in on this host, three collections and an endpoint ({})\n",
            standin.base_url()
        ))?;
        globus = Some(standin);
    }
    // A demo before this one may have left the clock in the future.
    let ahead = folder.join("state/clock");
    let start = std::fs::read_to_string(&ahead).ok().and_then(|text| text.trim().parse::<Timestamp>().ok());
    let now = start.map_or_else(Timestamp::now, |start| start.max(Timestamp::now()));
    let beam = Beam::with(config.clone(), Clock::scaled(now, 1.0))?;
    beam.deploy()?;
    let serves = !args.no_serve && (args.listen.is_some() || std::io::stdout().is_terminal());
    let mut shown = match serves {
        true => Some(shown::begin(&config, Clock::scaled(now, 1.0), args.listen)?),
        false => None,
    };

    output::print("1. A scan appears at als")?;
    let raw = folder.join("als/raw");
    let mut watcher = watcher(&beam, &raw);
    beam.wait(watcher.look(Starts::Here(&beam.engine), beam.now()))?;
    let (file, truth) = sites::appear(args, &raw, now, &Progress::new(progress))?;
    output::print(&format!("   {} ({})", file.display(), bytes(size_of(&file))))?;

    output::print("\n2. watch sees it, and starts the dispatcher when it is complete")?;
    let id = started(&beam, &mut watcher, &file, &|| stop.requested())?;
    output::print(&format!("   run {id}"))?;

    output::print("\n3. als -> nersc -> alcf, reconstruction at alcf, results back to nersc and als")?;
    let run = work(&beam, id, progress, &|| stop.requested())?;
    ending(&beam, &run)?;
    let scan =
        Identity::of_file(&file, &raw).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    output::print(&check(&folder, &scan, progress)?)?;
    output::print(&center(&beam, &scan, truth.as_ref())?)?;

    output::print("\n4. Custody: which site holds which copy")?;
    output::print(&copies(&beam, &scan)?)?;
    output::print("\n5. Where the time went")?;
    let filter = RunFilter {
        flow: Some("alcf_recon_flow".into()),
        parent: Some(id),
        limit: 1,
        ..RunFilter::default()
    };
    if let Some(child) = beam.wait(beam.engine.runs(filter))?.items.first() {
        super::explain::explain(&beam, child.id, false)?;
    }

    if let Some(shown) = &shown {
        output::print(&format!("\nThe scan is live in the dashboard: {}/scans/{}", shown.url(), scan.name))?;
        if !shown::go_on(&|| stop.requested())? {
            return Ok(());
        }
    }

    output::print("\n6. Retention: deletion is switched on (it starts switched off), and time passes")?;
    beam.beamline.custody.switch_deletion(true, "demo", beam.now())?;
    let mut now = beam.now();
    drop(beam);
    for (hours, what, sweep) in [
        (49, "two days later: what was only computed on may go", false),
        (
            24 * 5 + 2,
            "a week after the scan: of the results all but the last copy; its end is announced",
            true,
        ),
        (49, "two days after the announcement: the last copy, which can be made again", true),
    ] {
        now = now.checked_add(SignedDuration::from_hours(hours)).unwrap_or(now);
        std::fs::write(&ahead, now.to_string()).map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot write {}: {error}", ahead.display()))
        })?;
        let beam = Beam::with(config.clone(), Clock::scaled(now, 1.0))?;
        shown = shown.map(|shown| shown.at(&config, Clock::scaled(now, 1.0))).transpose()?;
        output::print(&format!("\n   {what} ({})", time(now)))?;
        let plan = beam.beamline.custody.plan(beam.now())?;
        output::print(&indent(&describe(&beam, &plan)?))?;
        pruned(&beam, sweep)?;
        output::print(&indent(&copies(&beam, &scan)?))?;
        if stop.requested() {
            return Err(Failure::new(Exit::Interrupted, "interrupted"));
        }
    }
    if let Some(globus) = &globus {
        output::print(&sites::asked(globus))?;
    }
    let config = folder.join("beamrail.toml");
    output::print(&format!(
        "\nSee for yourself: beamrail serve --config {0}; beamrail runs --config {0}; beamrail custody --config {0}; \
         beamrail prune history --config {0}",
        config.display()
    ))?;
    if let Some(shown) = &shown {
        shown::until_the_end(shown, &|| stop.requested())?;
    }
    Ok(())
}

fn watcher(beam: &Beam, raw: &Path) -> Watcher {
    let folder = Folder { raw: raw.to_path_buf(), path: raw.to_path_buf(), first: beam.now() };
    let settings = Settings {
        flow: "dispatcher".into(),
        quiet: Duration::from_secs(1),
        // A scan that is given may be old.
        backlog: Duration::from_secs(3600 * 24 * 365 * 50),
    };
    Watcher::new(vec![folder], settings)
}

/// Looks until the scan's run is there, telling why it waits.
fn started(
    beam: &Beam,
    watcher: &mut Watcher,
    file: &Path,
    stopped: &dyn Fn() -> bool,
) -> Result<RunId, Failure> {
    loop {
        for seen in beam.wait(watcher.look(Starts::Here(&beam.engine), beam.now()))? {
            match seen.standing {
                Standing::Started { run, .. } if seen.path == file => return Ok(run),
                Standing::Waiting { why } => say(&format!("   waiting: {why}")),
                Standing::Refused { why } if seen.path == file => {
                    return Err(Failure::new(Exit::BadInput, format!("{}: {why}", file.display())));
                }
                _ => {}
            }
        }
        if stopped() {
            return Err(Failure::new(Exit::Interrupted, "interrupted"));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Works on the run, showing its steps.
fn work(beam: &Beam, id: RunId, progress: Mode, stopped: &dyn Fn() -> bool) -> Result<Run, Failure> {
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let worker = with_couriers(Worker::new(beam.engine.store(), beam.registry.clone()), &beam.config);
    let working = beam.spawn(worker.run(async move {
        let _ = ended.await;
    }));
    let run = beam.wait(follow(&beam.engine, id, progress, || stopped() || working.is_finished()));
    let _ = end.send(());
    beam.wait(working)
        .map_err(|error| Failure::new(Exit::Failed, format!("the worker broke: {error}")))??;
    run
}

/// Reads the results at nersc back, in words.
fn check(folder: &Path, scan: &Identity, progress: Mode) -> Result<String, Failure> {
    let progress = Progress::new(progress);
    let scratch = folder.join("nersc/scratch").join(scan.folder());
    let path = Paths::new(&scan.raw(), &scratch)?.manifest();
    let manifest = Manifest::read(&path)?;
    let verification = verify(&manifest, &path, VerifyLevel::Digested, &progress)?;
    progress.close();
    if verification.is_ok() {
        let results = scratch.join(format!("rec{}", scan.name.stem()));
        return Ok(format!(
            "   results at nersc, read back: {}\n   to look at: {1}.preview.png, {1}.zarr",
            sound(&verification),
            results.display()
        ));
    }
    let what = format!("{}: results are not as they were written", path.display());
    Err(Failure::new(Exit::Failed, what)
        .hint(format!("beamrail verify {}, which lists the files", path.display())))
}

/// The rotation centre that was found, by the report that custody keeps, against the true one.
fn center(beam: &Beam, scan: &Identity, truth: Option<&Simulated>) -> Result<String, Failure> {
    let report = beam.beamline.custody.paper(&scan.name, "report")?.unwrap_or_default();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap_or_default();
    let found = report.pointer("/plan/center/center").and_then(serde_json::Value::as_f64);
    Ok(match (found, truth) {
        (Some(found), Some(truth)) => format!(
            "   rotation centre at column {found:.2}; the true one is {:.2} (found with an error of {:+.3} pixels)",
            truth.center,
            found - truth.center
        ),
        (Some(found), None) => format!("   rotation centre at column {found:.2}"),
        (None, _) => "   the report says nothing of a rotation centre".to_owned(),
    })
}

/// Every copy of the scan, and when it may go.
fn copies(beam: &Beam, scan: &Identity) -> Result<String, Failure> {
    let all = beam.beamline.custody.copies(&scan.name)?;
    let mut grid = Grid::new(&["   what", "site", "area", "state", "verified", ">files", ">bytes", "may go"]);
    let mut all: Vec<&CopyRecord> = all.iter().collect();
    all.sort_by_key(|copy| (copy.dataset.kind, copy.site.clone()));
    for copy in all {
        let rule = beam.beamline.policy.area(&copy.site, &copy.area).map(|area| area.retention.to_string());
        let there = copy.state.is_there();
        grid.row([
            format!("   {}", copy.dataset.kind),
            copy.site.clone(),
            copy.area.clone(),
            copy.state.name().into(),
            copy.level.map_or("no", custody::Level::name).into(),
            copy.files.to_string(),
            bytes(copy.bytes),
            if there { rule.unwrap_or_default() } else { String::new() },
        ]);
    }
    Ok(grid.text())
}

/// Does the deletions that the flows scheduled, then the sweep that a schedule does every night, and says what
/// became of them.
fn pruned(beam: &Beam, sweep: bool) -> Result<(), Failure> {
    let since = beam.now();
    let work = || {
        let worker = with_couriers(Worker::new(beam.engine.store(), beam.registry.clone()), &beam.config);
        beam.wait(worker.run_until_idle())
    };
    work()?;
    if sweep {
        let new = engine::NewRun::of("prune", serde_json::json!({})).named("sweep");
        beam.wait(beam.engine.start("prune", new))?;
        work()?;
    }
    let filter = RunFilter { limit: 1000, ..RunFilter::default() };
    let runs = beam.wait(beam.engine.runs(filter))?.items;
    let pruning = |run: &&Run| run.flow.starts_with("prune") && run.ended.is_some_and(|at| at >= since);
    for run in runs.iter().rev().filter(pruning) {
        let output = run.output.clone().unwrap_or_default();
        let number = |key: &str| output.get(key).and_then(serde_json::Value::as_u64).unwrap_or_default();
        let refused = output.pointer("/refused/0").and_then(serde_json::Value::as_str);
        let outcome = match (run.state.kind, number("bytes"), number("announced"), refused) {
            (StateType::Completed, 0, 0, Some(why)) => format!("stays: {why}"),
            (StateType::Completed, 0, 0, None) => "not yet".to_owned(),
            (StateType::Completed, 0, announced, _) => format!("{announced} last copies announced"),
            (StateType::Completed, freed, ..) => format!("{} freed", bytes(freed)),
            _ => format!("{}: {}", run.state.name, run.state.message.clone().unwrap_or_default()),
        };
        output::print(&format!("   {}: {outcome}", run.name))?;
    }
    Ok(())
}

fn size_of(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |meta| meta.len())
}

fn indent(text: &str) -> String {
    text.lines()
        .map(
            |line| {
                if line.starts_with("   ") || line.is_empty() {
                    line.to_owned()
                } else {
                    format!("   {line}")
                }
            },
        )
        .collect::<Vec<_>>()
        .join("\n")
}
