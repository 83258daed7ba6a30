//! Scans, each on one line: where it is, and how it stands in one sentence.

use custody::{CopyRecord, Hold, Kind, Mark, ScanName, State};
use engine::{Orchestrator, Run, RunFilter, StateType};
use jiff::Timestamp;
use serde::Serialize;

use super::centers::centers;
use super::doing::{Doing, doing};
use super::places::{Place, journey, places};
use super::scan::Center;
use super::{prunes, volumes};
use crate::app::Shared;
use crate::fault::Fault;
use crate::words::{self, Mood};

/// Scans on a page.
const LIMIT: usize = 40;
/// Scans that are looked through; names cost little.
const MOST: usize = 200_000;

/// A scan on one line.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct ScanLine {
    /// `<folder>/<stem>`.
    pub scan: String,
    /// When custody first heard of it.
    #[schemars(with = "String")]
    pub seen: Timestamp,
    /// How it stands.
    pub mood: Mood,
    /// The same in one sentence.
    pub sentence: String,
    /// What goes on.
    pub doing: Vec<Doing>,
    /// The run to look at.
    pub run: Option<String>,
    /// Its path through the places.
    pub places: Vec<Place>,
    /// Bytes of the raw scan.
    pub raw_bytes: Option<u64>,
    /// Bytes of slices, volume and report together.
    pub results_bytes: Option<u64>,
    /// The rotation centre of its last reconstruction.
    pub center: Option<Center>,
    /// Whether a volume is there to be looked at.
    pub volume: bool,
    /// The addresses of its volumes in the viewer, by site; from the first slices on.
    pub views: Vec<View>,
    /// Whether somebody holds it, so that nothing of it is deleted.
    pub held: bool,
    /// Whether it is export-controlled.
    pub controlled: bool,
}

/// A volume in the viewer.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct View {
    /// At which site.
    pub site: String,
    /// The viewer's address.
    pub address: String,
}

/// What custody knows of a scan.
pub(crate) struct Known {
    pub name: ScanName,
    pub mark: Mark,
    pub copies: Vec<CopyRecord>,
    pub holds: Vec<Hold>,
}

impl Known {
    /// Bytes of one copy of each of these kinds.
    pub(crate) fn bytes(&self, kinds: &[Kind]) -> Option<u64> {
        let largest = |kind: &Kind| {
            let of_kind = self.copies.iter().filter(|copy| copy.dataset.kind == *kind);
            of_kind.filter(|copy| copy.state != State::Replaced).map(|copy| copy.bytes).max()
        };
        let found: Vec<u64> = kinds.iter().filter_map(largest).collect();
        (!found.is_empty()).then(|| found.iter().sum())
    }

    /// Whether a copy of it is there.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.copies.iter().any(|copy| copy.dataset.kind == kind && copy.state.is_there())
    }

    /// Holds that are in force.
    pub(crate) fn held(&self, now: Timestamp) -> impl Iterator<Item = &Hold> {
        self.holds
            .iter()
            .filter(move |hold| hold.released_at.is_none() && hold.until.is_none_or(|until| until >= now))
    }
}

/// What custody knows of these scans; those it does not know are left out.
pub(crate) fn known(custody: &custody::Custody, names: &[ScanName]) -> custody::Result<Vec<Known>> {
    let mut all = Vec::new();
    for name in names {
        if let Some(mark) = custody.mark(name)? {
            let (copies, holds) = (custody.copies(name)?, custody.holds(Some(name))?);
            all.push(Known { name: name.clone(), mark, copies, holds });
        }
    }
    Ok(all)
}

/// A page of the scans whose name holds this text, the newest first, and whether there are more.
pub(crate) async fn search(app: &Shared, name: &str, page: usize) -> Result<(Vec<ScanLine>, bool), Fault> {
    if name.len() > 300 {
        return Err(Fault::bad("a filter has 300 characters or fewer"));
    }
    let wanted = name.trim().to_lowercase();
    let (all, more) = app
        .custody(move |custody| {
            let skip = page.saturating_mul(LIMIT);
            let most = if wanted.is_empty() { skip.saturating_add(LIMIT + 1).min(MOST) } else { MOST };
            let names = custody.scans(most)?;
            let fits = names.into_iter().filter(|name| name.to_string().to_lowercase().contains(&wanted));
            let mut fits: Vec<_> = fits.skip(skip).take(LIMIT + 1).collect();
            let more = fits.len() > LIMIT;
            fits.truncate(LIMIT);
            Ok((known(custody, &fits)?, more))
        })
        .await?;
    Ok((lines(app, &all).await?, more))
}

/// The line of each of these scans.
pub(crate) async fn lines(app: &Shared, all: &[Known]) -> Result<Vec<ScanLine>, Fault> {
    let mut lines = Vec::new();
    let journey = journey(&app.beamline);
    let mut centers = centers(app, all.iter().map(|one| one.name.clone()).collect()).await?;
    for one in all {
        let runs = runs_of(app, &one.name).await?;
        let mut line = line(app, one, &runs, &journey).await?;
        line.center = centers.remove(&line.scan);
        lines.push(line);
    }
    Ok(lines)
}

/// The runs about a scan that do not delete, newest first.
pub(crate) async fn runs_of(app: &Shared, name: &ScanName) -> Result<Vec<Run>, Fault> {
    let tags = vec![beamline::identity::tag(name)];
    let filter = RunFilter { tags, limit: 60, ..RunFilter::default() };
    let runs = app.engine.runs(filter).await?.items;
    Ok(runs.into_iter().filter(|run| !prunes(run)).collect())
}

async fn line(app: &Shared, one: &Known, runs: &[Run], journey: &[String]) -> Result<ScanLine, Fault> {
    let now = app.now();
    let mut at_work = Vec::new();
    for run in runs.iter().filter(|run| !run.state.kind.is_terminal() && run.started.is_some()) {
        at_work.extend(doing(&app.engine, &app.beamline, run, now).await?);
    }
    let (mood, sentence, run) = sentence(app, one, runs, &at_work);
    let views = views(app, one, &at_work).await?;
    Ok(ScanLine {
        scan: one.name.to_string(),
        seen: one.mark.at,
        mood,
        sentence,
        run: run.map(|run| run.id.to_string()),
        places: places(journey, app.beamline.policy.level, &one.copies, &at_work),
        doing: at_work,
        raw_bytes: one.bytes(&[Kind::Raw]),
        results_bytes: one.bytes(&[Kind::Tiff, Kind::Zarr, Kind::Sidecars]),
        center: None,
        volume: one.has(Kind::Zarr),
        views,
        held: one.held(now).next().is_some(),
        controlled: one.mark.controlled,
    })
}

/// Volumes that can be seen: what custody lists, and what is being made.
async fn views(app: &Shared, one: &Known, doing: &[Doing]) -> Result<Vec<View>, Fault> {
    let making = doing.iter().any(|one| one.text.starts_with("Reconstructing"));
    if !making && !one.has(Kind::Zarr) && !one.has(Kind::Tiff) {
        return Ok(Vec::new());
    }
    let (beam, name) = (app.beamline.clone(), one.name.clone());
    app.blocking(move || {
        let encode = |id: String| url::form_urlencoded::byte_serialize(id.as_bytes()).collect::<String>();
        let view = |site: String| {
            let id = encode(volumes::id(&site, &name)).replace('+', "%20");
            View { address: format!("/view/{id}"), site }
        };
        Ok(volumes::sites(&beam, &name).into_iter().map(view).collect())
    })
    .await
}

/// How a scan stands: what waits for a person first, then what is at work, then how the last run ended.
fn sentence<'r>(
    app: &Shared,
    one: &Known,
    runs: &'r [Run],
    doing: &[Doing],
) -> (Mood, String, Option<&'r Run>) {
    let top = runs.iter().find(|run| run.parent.is_none()).or(runs.first());
    if let Some(run) = runs.iter().find(|run| run.state.kind == StateType::Paused) {
        let title = run.ask.as_ref().map_or("Paused", |ask| ask.title.as_str());
        return (Mood::Failed, format!("{title}: waits for you"), Some(run));
    }
    if let Some(first) = doing.first() {
        let more = match doing.len() {
            1 => String::new(),
            n => format!(", and {} more", n - 1),
        };
        let mood = if first.queued { Mood::Waiting } else { Mood::Running };
        return (mood, format!("{}{more}", first.text), top);
    }
    let Some(run) = top else {
        let text = if one.copies.is_empty() { "Seen, nothing known of its copies" } else { "Not processed" };
        return (Mood::Idle, text.to_owned(), None);
    };
    let ended = run.ended.map(|at| words::clock(at, &app.zone)).unwrap_or_default();
    match run.state.kind {
        StateType::Completed if one.has(Kind::Zarr) || one.has(Kind::Tiff) => {
            (Mood::Done, format!("Done {ended}"), Some(run))
        }
        StateType::Completed if one.bytes(&[Kind::Zarr, Kind::Tiff]).is_some() => {
            (Mood::Done, format!("Done {ended}; the results have gone since"), Some(run))
        }
        StateType::Completed => (Mood::Done, format!("Moved {ended}"), Some(run)),
        StateType::Failed | StateType::Crashed => {
            let run = cause(run, runs);
            let why = run.error.as_ref().map(|error| error.message.clone()).or(run.state.message.clone());
            let why = words::first_line(&why.unwrap_or_default(), 160);
            (Mood::Failed, format!("Failed {ended}: {why}"), Some(run))
        }
        StateType::Cancelled => (Mood::Idle, format!("Cancelled {ended}"), Some(run)),
        StateType::Scheduled if run.started.is_none() => {
            let late = run.due.is_some_and(|due| due <= app.now());
            let text = if late { "Waits for a worker" } else { "Scheduled" };
            (Mood::Waiting, text.to_owned(), Some(run))
        }
        _ => (words::mood(run), super::doing::capital(words::state(run)), Some(run)),
    }
}

/// The run in which a failure arose: a parent only says that its sub-run failed.
fn cause<'r>(failed: &'r Run, runs: &'r [Run]) -> &'r Run {
    let fell = |run: &&Run| matches!(run.state.kind, StateType::Failed | StateType::Crashed);
    let mut cause = failed;
    while let Some(below) = runs.iter().filter(fell).find(|run| run.parent == Some(cause.id)) {
        cause = below;
    }
    cause
}
