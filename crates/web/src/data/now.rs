//! The first screen: what needs somebody, the scans of today, what goes next.

use std::collections::{BTreeMap, BTreeSet};

use beamline::settings::Scheduled;
use custody::{Custody, Kind, ScanName};
use engine::{Orchestrator, Run, RunFilter, RunId, StateType};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::scans::{ScanLine, known, lines};
use super::{prunes, scan_name, scan_of};
use crate::app::Shared;
use crate::fault::Fault;
use crate::words;

/// Scans of today that are shown at most.
const TODAY: usize = 60;
/// Scans of the days before that fill up a quiet day.
const BEFORE: usize = 8;
/// Failures are shown for so many days, unless somebody deals with them.
const DAYS: i64 = 7;

/// The first screen.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Now {
    /// What waits for a person.
    pub needs: Vec<Need>,
    /// Today's scans, the newest first.
    pub today: Vec<ScanLine>,
    /// The newest scans before today, where today has few.
    pub before: Vec<ScanLine>,
    /// What will be deleted next.
    pub next: Vec<Going>,
    /// Whether deletion is switched on.
    pub deletion_on: bool,
    /// Who has the schedules of deletions, if that is not the journal.
    pub elsewhere: Option<Schedules>,
}

/// A place outside of the journal that has the schedules of deletions.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Schedules {
    /// Its name and address.
    pub name: String,
    /// When it said last what is scheduled.
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
    /// Why it did not answer when it was asked last.
    pub fault: Option<String>,
}

/// Something that only a person can move on.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Need {
    /// `question`, `failure` or `worker`.
    pub kind: String,
    /// The scan, or else the run's name.
    pub title: String,
    /// Whether the title is a scan's name.
    pub is_scan: bool,
    /// What is wanted, in one sentence.
    pub why: String,
    /// The run to look at.
    pub run: Option<String>,
    /// The run that is tried again: the one that started it all.
    pub top: Option<String>,
    /// Since when.
    #[schemars(with = "String")]
    pub since: Timestamp,
}

/// Copies that go at about the same time.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Going {
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// At which site.
    pub site: String,
    /// What: raw, slices, volume.
    pub what: Vec<String>,
    /// Of which scans.
    pub scans: Vec<String>,
    /// Bytes that become free.
    pub bytes: u64,
    /// The other sites that have verified copies of all of it now.
    pub kept_at: Vec<String>,
}

/// Reads it all.
pub(crate) async fn now(app: &Shared) -> Result<Now, Fault> {
    let now = app.now();
    let scheduled = RunFilter { states: vec![StateType::Scheduled], limit: 1000, ..RunFilter::default() };
    let scheduled = app.engine.runs(scheduled).await?.items;
    let needs = needs(app, &scheduled, now).await?;
    let midnight = midnight(app, now);
    let (fresh, older, deletion_on) = app
        .custody(move |custody| {
            let names = custody.scans(TODAY)?;
            let all = known(custody, &names)?;
            let on = custody.deletion_is_on()?;
            let (fresh, older): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.mark.at >= midnight);
            Ok((fresh, older, on))
        })
        .await?;
    let today = lines(app, &fresh).await?;
    let room = BEFORE.saturating_sub(today.len());
    let before = lines(app, older.get(..room.min(older.len())).unwrap_or_default()).await?;
    crate::elsewhere::wake(app);
    let (known, elsewhere) = match app.elsewhere.known() {
        Some((name, known)) => {
            let schedules = Schedules { name, at: known.at, fault: known.fault };
            (known.planned, Some(schedules))
        }
        None => (Vec::new(), None),
    };
    let next = going(app, &scheduled, known, now).await?;
    Ok(Now { needs, today, before, next, deletion_on, elsewhere })
}

fn midnight(app: &Shared, now: Timestamp) -> Timestamp {
    let today = now.to_zoned(app.zone.clone());
    today.start_of_day().map_or(now, |start| start.timestamp())
}

async fn needs(app: &Shared, scheduled: &[Run], now: Timestamp) -> Result<Vec<Need>, Fault> {
    let mut needs = Vec::new();
    let due = scheduled.iter().filter(|run| run.due.is_some_and(|due| due <= now));
    let oldest = due.clone().filter_map(|run| run.due).min();
    let workers = app.engine.workers().await?;
    if let Some(since) = oldest.filter(|_| !workers.iter().any(|worker| worker.lives(now))) {
        needs.push(Need {
            kind: "worker".into(),
            title: "No worker is running".into(),
            is_scan: false,
            why: format!("{} due; start beamrail worker", words::count(due.count() as u64, "run")),
            run: None,
            top: None,
            since,
        });
    }
    let paused = RunFilter { states: vec![StateType::Paused], limit: 100, ..RunFilter::default() };
    for run in app.engine.runs(paused).await?.items {
        let ask = run.ask.as_ref();
        let why = ask.map_or_else(
            || run.state.message.clone().unwrap_or_else(|| "paused by hand".into()),
            |ask| format!("{}. {}", ask.title, question(&ask.message, 240)),
        );
        needs.push(need("question", &run, &run, why));
    }
    needs.extend(failures(app, now).await?);
    Ok(needs)
}

/// The question without what it says for the terminal, which the page has buttons for.
pub(crate) fn question(message: &str, most: usize) -> String {
    let text = message.split(". Then: ").next().unwrap_or(message);
    words::first_line(text, most)
}

/// Failures that nobody has dealt with: the newest of each scan, told by the run in which it arose.
async fn failures(app: &Shared, now: Timestamp) -> Result<Vec<Need>, Fault> {
    let from = now.checked_sub(SignedDuration::from_hours(24 * DAYS)).unwrap_or(now);
    let ended = |run: &Run| run.ended.is_some_and(|at| at >= from);
    let states = vec![StateType::Failed, StateType::Crashed];
    let failed = RunFilter { states, limit: 200, ..RunFilter::default() };
    let failed: Vec<Run> = app.engine.runs(failed).await?.items.into_iter().filter(ended).collect();
    let by_id: BTreeMap<RunId, &Run> = failed.iter().map(|run| (run.id, run)).collect();
    let parents: BTreeSet<RunId> = failed.iter().filter_map(|run| run.parent).collect();
    let mut told = BTreeSet::new();
    let mut needs = Vec::new();
    for run in failed.iter().filter(|run| !parents.contains(&run.id)) {
        let mut top = run;
        while let Some(parent) = top.parent.and_then(|parent| by_id.get(&parent)) {
            top = parent;
        }
        // A part of something that went on without it needs nobody.
        if top.parent.is_some() && !parents.contains(&top.id) && parent_goes_on(app, top).await? {
            continue;
        }
        let about = (scan_of(run).unwrap_or(&run.name).to_owned(), run.flow.clone());
        if !told.insert(about) || dealt_with(app, run).await? {
            continue;
        }
        let why = run.error.as_ref().map(|error| error.message.clone()).or(run.state.message.clone());
        let why = words::first_line(&why.unwrap_or_else(|| run.state.name.clone()), 240);
        needs.push(need("failure", run, top, why));
    }
    Ok(needs)
}

async fn parent_goes_on(app: &Shared, run: &Run) -> Result<bool, Fault> {
    let Some(parent) = run.parent else { return Ok(false) };
    let kind = app.engine.run(parent).await.map(|parent| parent.state.kind);
    Ok(kind.is_ok_and(|kind| !matches!(kind, StateType::Failed | StateType::Crashed)))
}

/// Whether the same was tried again, and did better or is at work.
async fn dealt_with(app: &Shared, run: &Run) -> Result<bool, Fault> {
    let Some(scan) = scan_of(run) else { return Ok(false) };
    let tags = vec![format!("scan:{scan}")];
    let later = RunFilter { flow: Some(run.flow.clone()), tags, limit: 20, ..RunFilter::default() };
    let later = app.engine.runs(later).await?.items;
    let better = |other: &&Run| {
        !matches!(other.state.kind, StateType::Failed | StateType::Crashed | StateType::Cancelled)
    };
    Ok(later.iter().take_while(|other| other.id > run.id).any(|other| better(&other)))
}

fn need(kind: &str, run: &Run, top: &Run, why: String) -> Need {
    let scan = scan_of(run);
    Need {
        kind: kind.to_owned(),
        title: scan.unwrap_or(&run.name).to_owned(),
        is_scan: scan.is_some(),
        why,
        run: Some(run.id.to_string()),
        top: Some(top.id.to_string()),
        since: run.state.time,
    }
}

/// Deletions that are scheduled, those of one site and hour together.
async fn going(
    app: &Shared,
    scheduled: &[Run],
    known: Vec<Scheduled>,
    now: Timestamp,
) -> Result<Vec<Going>, Fault> {
    let flows = app.beamline.prune_flows();
    let here = scheduled.iter().filter(|run| prunes(run)).filter_map(|run| {
        let scan = scan_name(scan_of(run)?).ok()?;
        let path = run.parameters.get("relative_path").and_then(|path| path.as_str()).unwrap_or_default();
        Some(Scheduled { scan, site: flows.get(&run.flow)?.0.clone(), path: path.to_owned(), at: run.due? })
    });
    let mut dues: Vec<Scheduled> = here.chain(known).collect();
    dues.sort_by_key(|one| one.at);
    dues.truncate(200);
    let level = app.beamline.policy.level;
    app.custody(move |custody| {
        let mut groups: BTreeMap<(i64, String), Going> = BTreeMap::new();
        for Scheduled { scan: name, site, path, at } in &dues {
            let due = (*at).max(now);
            let key = (due.as_second() / 3600, site.clone());
            if let Some(copy) = doomed(custody, name, site, path)? {
                let going = groups.entry(key).or_insert_with(|| Going {
                    at: due,
                    site: site.clone(),
                    what: Vec::new(),
                    scans: Vec::new(),
                    bytes: 0,
                    kept_at: Vec::new(),
                });
                add(going, custody, name, &copy, level)?;
            }
        }
        Ok(groups.into_values().take(8).collect())
    })
    .await
}

/// The copy that a scheduled deletion is about, if it is still there.
fn doomed(
    custody: &Custody,
    name: &ScanName,
    site: &str,
    path: &str,
) -> custody::Result<Option<custody::CopyRecord>> {
    let kind = match path.rsplit('/').next().unwrap_or(path) {
        last if last.ends_with(".h5") => Kind::Raw,
        last if last.ends_with(".zarr") => Kind::Zarr,
        last if last.ends_with(".json") || last.ends_with(".png") => Kind::Sidecars,
        _ => Kind::Tiff,
    };
    let fits =
        |copy: &custody::CopyRecord| copy.state.is_there() && copy.site == site && copy.dataset.kind == kind;
    Ok(custody.copies(name)?.into_iter().find(fits))
}

fn add(
    going: &mut Going,
    custody: &Custody,
    name: &ScanName,
    copy: &custody::CopyRecord,
    level: custody::Level,
) -> custody::Result<()> {
    let scan = name.to_string();
    let what = super::places::kind_words(copy.dataset.kind).to_owned();
    let others: BTreeSet<String> = custody
        .copies(name)?
        .into_iter()
        .filter(|other| other.dataset == copy.dataset && other.site != copy.site)
        .filter(|other| other.state == custody::State::Present && other.level >= Some(level))
        .map(|other| other.site)
        .collect();
    if going.bytes == 0 {
        going.kept_at = others.into_iter().collect();
    } else {
        going.kept_at.retain(|site| others.contains(site));
    }
    going.bytes += copy.bytes;
    if !going.what.contains(&what) {
        going.what.push(what);
    }
    if !going.scans.contains(&scan) {
        going.scans.push(scan);
    }
    Ok(())
}
