//! What is where, what of it goes when, and what went: read from custody and, for sites of this machine, the disk.

use std::collections::{BTreeMap, BTreeSet};

use custody::{CopyRecord, Custody, Entry, Event, LedgerFilter, Plan, Rule, Settings, State};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::places::kind_words;
use crate::app::Shared;
use crate::fault::Fault;

/// What goes within so many days is told ahead.
const DAYS: i64 = 7;
/// The calendar reaches so far.
const CALENDAR: i64 = 30;
/// Lines of the ledger.
const LEDGER: usize = 80;

/// Bytes and copies at a site.
#[derive(Debug, Clone, Default, Serialize, schemars::JsonSchema)]
pub struct Held {
    /// The site.
    pub site: String,
    /// Bytes of its file system, where this machine sees it.
    pub capacity: Option<u64>,
    /// Bytes in use on it, whosever.
    pub used: Option<u64>,
    /// Bytes of copies that custody knows there.
    pub ours: u64,
    /// Copies.
    pub copies: u64,
    /// Bytes of them whose time is over within seven days.
    pub soon: u64,
    /// Of its areas: the rule, in words.
    pub rules: BTreeMap<String, String>,
}

/// Copies at one site whose time is over on one day.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Day {
    /// The day, in the beamline's time zone: `2026-07-04`. Everything that is over already has today's.
    pub day: String,
    /// At which site.
    pub site: String,
    /// raw data, slices, volume, report.
    pub what: BTreeSet<String>,
    /// How many copies.
    pub copies: u64,
    /// Of how many scans.
    pub scans: u64,
    /// Bytes.
    pub bytes: u64,
    /// By which rules, in words.
    pub rules: BTreeSet<String>,
    /// The other sites that have verified copies of all of it now.
    pub kept_at: BTreeSet<String>,
    /// How many of them have no verified copy elsewhere: custody decides at the moment of the act whether what they
    /// are made from is safe.
    pub alone: u64,
}

/// What the page shows.
pub(crate) struct Storage {
    pub on: bool,
    pub held: Vec<Held>,
    pub days: Vec<Day>,
    pub plan: Option<Plan>,
    /// Whether that plan may still be acted on.
    pub valid: bool,
    pub ledger: Vec<Entry>,
}

/// The same for programs.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Told {
    /// Whether deletion is switched on.
    pub deletion: bool,
    /// By site.
    pub sites: Vec<Held>,
    /// Within thirty days, in their order.
    pub calendar: Vec<Day>,
    /// The newest plan, as custody keeps it.
    pub plan: Option<serde_json::Value>,
    /// The newest lines of the ledger that are about deletions.
    pub ledger: Vec<serde_json::Value>,
}

/// Reads it all.
pub(crate) async fn storage(app: &Shared) -> Result<Storage, Fault> {
    let (now, zone) = (app.now(), app.zone.clone());
    let (on, policy, copies, plan, ledger) = app
        .custody(|custody| {
            let newest = custody.plans(1)?.first().map(|(id, _)| *id);
            let plan = newest.map(|id| custody.stored_plan(id)).transpose()?;
            // The policy in force, which is what the next plan obeys, and not what this process read when it began.
            let policy = custody.settings()?.1;
            Ok((custody.deletion_is_on()?, policy, custody.present(None)?, plan, ledger(custody)?))
        })
        .await?;
    let disks: BTreeMap<String, std::path::PathBuf> = app
        .beamline
        .sites
        .iter()
        .filter_map(|(name, site)| Some((name.clone(), site.as_local()?.root().to_path_buf())))
        .collect();
    let valid = plan.as_ref().is_some_and(|plan| policy.plan_valid.after(plan.made_at) > now);
    app.blocking(move || {
        let (held, days) = sort(&policy, &copies, now, &zone);
        let held = held.into_values().map(|one| on_disk(one, &disks)).collect();
        Ok(Storage { on, held, days, plan, valid, ledger })
    })
    .await
}

fn on_disk(mut one: Held, disks: &BTreeMap<String, std::path::PathBuf>) -> Held {
    if let Some(stat) = disks.get(&one.site).and_then(|root| rustix::fs::statvfs(root).ok()) {
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        one.capacity = Some(bytes(stat.f_blocks));
        one.used = Some(bytes(stat.f_blocks.saturating_sub(stat.f_bavail)));
    }
    one
}

/// Sites and days, by the rules of the areas alone.
fn sort(
    policy: &Settings,
    copies: &[CopyRecord],
    now: Timestamp,
    zone: &jiff::tz::TimeZone,
) -> (BTreeMap<String, Held>, Vec<Day>) {
    let mut of: BTreeMap<_, Vec<&CopyRecord>> = BTreeMap::new();
    for copy in copies {
        of.entry(&copy.dataset).or_default().push(copy);
    }
    let empty = |site: &String| {
        let areas = policy.sites.get(site).into_iter().flat_map(|site| &site.areas);
        let rules = areas.map(|(area, one)| (area.clone(), one.retention.to_string())).collect();
        Held { site: site.clone(), rules, ..Held::default() }
    };
    let mut held: BTreeMap<String, Held> =
        policy.sites.keys().map(|site| (site.clone(), empty(site))).collect();
    let mut days: BTreeMap<(jiff::civil::Date, String), (Day, BTreeSet<String>)> = BTreeMap::new();
    let ahead = |days: i64| now.checked_add(SignedDuration::from_hours(24 * days)).unwrap_or(Timestamp::MAX);
    let (soon, far) = (ahead(DAYS), ahead(CALENDAR));
    for copy in copies {
        let site = held.entry(copy.site.clone()).or_insert_with(|| empty(&copy.site));
        site.ours += copy.bytes;
        site.copies += 1;
        let same = of.get(&copy.dataset).map(Vec::as_slice).unwrap_or_default();
        let Some((due, rule)) = due(policy, copy, same) else { continue };
        if due <= soon {
            site.soon += copy.bytes;
        }
        if due > far {
            continue;
        }
        let date = due.max(now).to_zoned(zone.clone()).date();
        let day = days.entry((date, copy.site.clone())).or_insert_with(|| {
            let day = Day {
                day: date.to_string(),
                site: copy.site.clone(),
                what: BTreeSet::new(),
                copies: 0,
                scans: 0,
                bytes: 0,
                rules: BTreeSet::new(),
                kept_at: BTreeSet::new(),
                alone: 0,
            };
            (day, BTreeSet::new())
        });
        add(day, policy, copy, same, rule);
    }
    (held, days.into_values().map(|(day, _)| day).collect())
}

fn add(
    (day, scans): &mut (Day, BTreeSet<String>),
    policy: &Settings,
    copy: &CopyRecord,
    same: &[&CopyRecord],
    rule: String,
) {
    let counts = |other: &&&CopyRecord| {
        other.site != copy.site && other.state == State::Present && other.level >= Some(policy.level)
    };
    let others: BTreeSet<String> = same.iter().filter(counts).map(|other| other.site.clone()).collect();
    if others.is_empty() {
        day.alone += 1;
    } else if day.copies == day.alone {
        day.kept_at = others;
    } else {
        day.kept_at.retain(|site| others.contains(site));
    }
    day.copies += 1;
    day.bytes += copy.bytes;
    day.what.insert(kind_words(copy.dataset.kind).to_owned());
    day.rules.insert(rule);
    scans.insert(copy.dataset.scan.to_string());
    day.scans = scans.len() as u64;
}

/// When the rule of its area lets a copy go, and that rule in words.
fn due(policy: &Settings, copy: &CopyRecord, same: &[&CopyRecord]) -> Option<(Timestamp, String)> {
    let rule = &policy.area(&copy.site, &copy.area)?.retention;
    let first = |one: &CopyRecord| one.first_verified_at.or(one.verified_at);
    let due = match rule {
        Rule::Never => None,
        Rule::After(age) => first(copy).map(|at| age.after(at)),
        Rule::AfterVerified { age, site } => {
            let there = same.iter().filter(|one| one.site == *site);
            there.filter_map(|one| first(one)).min().map(|at| age.after(at))
        }
    };
    due.map(|due| (due, rule.to_string()))
}

/// The newest lines about deletions, the newest first.
fn ledger(custody: &Custody) -> custody::Result<Vec<Entry>> {
    let mut all = Vec::new();
    for event in [
        Event::Deleted,
        Event::DeletionFailed,
        Event::Refused,
        Event::Announced,
        Event::Switched,
        Event::Lost,
        Event::PolicyChanged,
    ] {
        all.extend(custody.ledger(&LedgerFilter {
            event: Some(event),
            limit: LEDGER,
            ..LedgerFilter::default()
        })?);
    }
    all.sort_by_key(|entry| std::cmp::Reverse(entry.id));
    all.truncate(LEDGER);
    Ok(all)
}

impl Storage {
    /// For programs.
    pub(crate) fn told(self) -> Told {
        let value = |one: &Entry| serde_json::to_value(one).unwrap_or_default();
        Told {
            deletion: self.on,
            sites: self.held,
            calendar: self.days,
            plan: self.plan.and_then(|plan| serde_json::to_value(plan).ok()),
            ledger: self.ledger.iter().map(value).collect(),
        }
    }
}

/// What of a plan is at one site: copies and bytes.
pub(crate) fn share(plan: &Plan, site: &str) -> (u64, u64) {
    let here = plan.items.iter().filter(|item| item.site == site);
    here.fold((0, 0), |(copies, bytes), item| (copies + 1, bytes + item.bytes))
}
