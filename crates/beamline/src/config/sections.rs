//! The sections, but facilities and flows.

use std::collections::BTreeMap;
use std::path::PathBuf;

use custody::{Age, ExportPolicy, Keep, Level, RelPath, Rule};

use super::facilities::Reference;
use super::read::{Problems, Section, nearest};
use super::{Area, BeamlineSection, CustodySection, PrefectSection, Schedule, Site, SiteKind, Watch, flows};

/// The areas that a site may have.
const AREAS: [&str; 2] = ["raw", "scratch"];

/// `[beamline]`, and the sites that it names.
pub(super) fn beamline(
    section: Option<Section<'_, '_>>,
    problems: &mut Problems<'_>,
) -> (Option<BeamlineSection>, Vec<Reference>) {
    let Some(mut section) = section else { return (None, Vec::new()) };
    let id = section.text("id", problems);
    if id.is_none() && !section.has("id") {
        problems.at(section.at, "beamline.id", "is missing; write for example id = \"8.3.2\"");
    }
    let time_zone = section.text("time_zone", problems);
    if let Some((at, name)) = &time_zone
        && jiff::tz::TimeZone::get(name).is_err()
    {
        let message = format!("there is no time zone {name:?}; write for example \"America/Los_Angeles\"");
        problems.at(*at, "beamline.time_zone", message);
    }
    let data_host = section.text("data_host", problems);
    let references =
        data_host.iter().map(|(at, site)| ("beamline.data_host".to_owned(), *at, site.clone())).collect();
    let beamline = id.map(|(_, id)| BeamlineSection {
        id,
        time_zone: time_zone.map_or_else(|| "UTC".to_owned(), |(_, name)| name),
        data_host: data_host.map(|(_, site)| site),
        catalogue: section.flag("catalogue", problems).unwrap_or(false),
    });
    section.finish(problems);
    (beamline, references)
}

/// `[state]`.
pub(super) fn state(section: Option<Section<'_, '_>>, problems: &mut Problems<'_>) -> Option<PathBuf> {
    let Some(mut section) = section else { return Some(default_state(&problems.folder)) };
    let given = section.has("folder");
    let folder = section.folder("folder", problems);
    section.finish(problems);
    if given { folder } else { Some(default_state(&problems.folder)) }
}

/// Beside the configuration, so that two beamlines on one host cannot share a journal by accident.
fn default_state(folder: &std::path::Path) -> PathBuf {
    folder.join("beamrail-state")
}

/// `[sites.NAME]`, and where the retention of each area is written.
pub(super) fn site(
    mut section: Section<'_, '_>,
    problems: &mut Problems<'_>,
) -> (Option<Site>, BTreeMap<String, usize>) {
    let before = problems.found.len();
    let given = section.has("kind");
    let kind = section.choice("kind", &SiteKind::ALL, problems);
    if kind.is_none() && !given {
        problems.at(section.at, section.key("kind"), "is missing; write kind = \"local\"");
    }
    let root = section.text("root", problems);
    match &root {
        None if !section.has("root") => {
            problems.at(
                section.at,
                section.key("root"),
                "is missing; give the folder that raw and scratch are in",
            );
        }
        Some((at, text)) if super::read::path(text).is_none() => {
            problems.at(*at, section.key("root"), "a path must not climb with \"..\"; write it out");
        }
        Some((at, text)) if kind == Some(SiteKind::Globus) && !text.starts_with('/') => {
            problems.at(*at, section.key("root"), "must begin with \"/\": it is a path in the collection");
        }
        _ => {}
    }
    let mut areas = BTreeMap::new();
    let mut folders: Vec<(&str, usize, RelPath)> = Vec::new();
    for name in AREAS {
        let Some((at, text)) = section.text(name, problems) else { continue };
        match RelPath::new(text) {
            Ok(path) => {
                if let Some((twin, ..)) = folders.iter().find(|(_, _, other)| overlap(other, &path)) {
                    let message =
                        format!("lies in the folder of {twin}, or the other way round; keep them apart");
                    problems.at(at, section.key(name), message);
                }
                folders.push((name, at, path.clone()));
                areas.insert(name.to_owned(), Area { path, retention: Rule::Never, derived: Keep::Expire });
            }
            Err(error) => problems.at(at, section.key(name), error.to_string()),
        }
    }
    if areas.is_empty() && problems.found.len() == before {
        let message = "has no folder; write raw = \"raw\" and scratch = \"scratch\"";
        problems.at(section.at, section.name.clone(), message);
    }
    let mut places = BTreeMap::new();
    if let Some(mut rules) = section.section("retention", problems) {
        for name in AREAS {
            let at = rules.place(name);
            let Some(rule) = rules.parsed::<Rule>(name, problems) else { continue };
            places.insert(name.to_owned(), at);
            match areas.get_mut(name) {
                Some(area) => area.retention = rule,
                None => problems.at(
                    at,
                    rules.key(name),
                    format!("the site has no {name}; add {name} = \"FOLDER\""),
                ),
            }
        }
        rules.finish(problems);
    }
    if let Some(mut keep) = section.section("derived", problems) {
        for name in AREAS {
            let at = keep.place(name);
            let all = [("keep-one", Keep::KeepOne), ("expire", Keep::Expire)];
            let Some(choice) = keep.choice(name, &all, problems) else { continue };
            match areas.get_mut(name) {
                Some(area) => area.derived = choice,
                None => problems.at(
                    at,
                    keep.key(name),
                    format!("the site has no {name}; add {name} = \"FOLDER\""),
                ),
            }
        }
        keep.finish(problems);
    }
    let mut more = BTreeMap::new();
    for key in kind.map(SiteKind::keys).unwrap_or_default() {
        match section.text(key, problems) {
            Some((_, text)) => drop(more.insert((*key).to_owned(), text)),
            None if *key == "collection" && !section.has(key) => {
                problems.at(section.at, section.key(key), "is missing; give the collection's UUID");
            }
            None => {}
        }
    }
    let globus = kind == Some(SiteKind::Globus);
    let local = if globus { section.folder("local", problems) } else { None };
    let data_access = globus && section.flag("data_access", problems).unwrap_or(false);
    // A place that loses its raw data by itself does not count as the one that keeps it.
    let keeps = areas.get("raw").is_some_and(|area| area.retention == Rule::Never);
    let counted = section.flag("counted", problems).unwrap_or(keeps);
    let digests = section.flag("digests", problems).unwrap_or(!globus || local.is_some());
    let marker = more.remove("marker");
    let root = problems.folder.join(root.map(|(_, text)| text).unwrap_or_default());
    section.finish(problems);
    let site =
        kind.map(|kind| Site { kind, root, areas, counted, digests, marker, local, data_access, more });
    (site.filter(|_| problems.found.len() == before), places)
}

/// Whether one lies in the other.
fn overlap(one: &RelPath, other: &RelPath) -> bool {
    one.is_within(other) || other.is_within(one)
}

/// `[watch]`.
pub(super) fn watch(section: Option<Section<'_, '_>>, problems: &mut Problems<'_>) -> Option<Watch> {
    let before = problems.found.len();
    let mut watch = Watch {
        folders: Vec::new(),
        flow: None,
        quiet: Age::seconds(10),
        poll: Age::seconds(30),
        backlog: Age::days(1),
    };
    let Some(mut section) = section else { return Some(watch) };
    for (at, text) in section.texts("folders", problems) {
        match super::read::path(&text) {
            Some(path) => watch.folders.push(problems.folder.join(path)),
            None => problems.at(at, "watch.folders", "a path must not climb with \"..\"; write it out"),
        }
    }
    if let Some((at, flow)) = section.text("flow", problems) {
        if !flows::is_flow(&flow) {
            let near = nearest(&flow, &flows::FLOWS).map(|near| format!("; did you mean {near}?"));
            problems.at(at, "watch.flow", format!("there is no flow {flow}{}", near.unwrap_or_default()));
        }
        watch.flow = Some(flow);
    }
    watch.quiet = section.parsed("quiet", problems).unwrap_or(watch.quiet);
    watch.backlog = section.parsed("backlog", problems).unwrap_or(watch.backlog);
    let at = section.place("poll");
    watch.poll = section.parsed("poll", problems).unwrap_or(watch.poll);
    if watch.poll.as_seconds() < 1 {
        problems.at(at, "watch.poll", "must be one second or more");
    }
    section.finish(problems);
    (problems.found.len() == before).then_some(watch)
}

/// `[export]`, and the sites that it names.
pub(super) fn export(
    section: Option<Section<'_, '_>>,
    problems: &mut Problems<'_>,
) -> (Option<ExportPolicy>, Vec<Reference>) {
    let before = problems.found.len();
    let Some(mut section) = section else { return (Some(ExportPolicy::default()), Vec::new()) };
    let default = section.flag("default", problems).unwrap_or(false);
    let folders = section.texts("folders", problems).into_iter().map(|(_, text)| text).collect();
    let allowed = section.texts("allowed_sites", problems);
    let references =
        allowed.iter().map(|(at, site)| ("export.allowed_sites".to_owned(), *at, site.clone())).collect();
    let allowed_sites = allowed.into_iter().map(|(_, site)| site).collect();
    section.finish(problems);
    let policy = ExportPolicy { default, folders, allowed_sites };
    ((problems.found.len() == before).then_some(policy), references)
}

/// `[custody]`.
pub(super) fn custody(
    section: Option<Section<'_, '_>>,
    problems: &mut Problems<'_>,
) -> Option<CustodySection> {
    let before = problems.found.len();
    let mut custody = CustodySection {
        level: Level::TransferChecksummed,
        scrub_after: Age::days(30),
        notice: custody::LEAST_NOTICE,
    };
    let Some(mut section) = section else { return Some(custody) };
    let at = section.place("level");
    custody.level = section.parsed("level", problems).unwrap_or(custody.level);
    if custody.level < Level::Sized {
        problems.at(at, "custody.level", "a name proves nothing; use transfer-checksummed");
    }
    let at = section.place("scrub_after");
    custody.scrub_after = section.parsed("scrub_after", problems).unwrap_or(custody.scrub_after);
    if custody.scrub_after.as_seconds() == 0 {
        problems.at(at, "custody.scrub_after", "must be longer than nothing");
    }
    let at = section.place("notice");
    custody.notice = section.parsed("notice", problems).unwrap_or(custody.notice);
    if custody.notice < custody::LEAST_NOTICE {
        problems.at(at, "custody.notice", format!("must be {} or more", custody::LEAST_NOTICE));
    }
    section.finish(problems);
    (problems.found.len() == before).then_some(custody)
}

/// `[prefect]`.
pub(super) fn prefect(section: Option<Section<'_, '_>>, problems: &mut Problems<'_>) -> PrefectSection {
    let mut prefect = PrefectSection::default();
    let Some(mut section) = section else { return prefect };
    if let Some((at, pool)) = section.text("pool", problems) {
        if pool.trim().is_empty() || pool.contains(['/', '%', '&', '>', '<']) {
            problems.at(at, section.key("pool"), "is no name of a work pool; write for example \"beamrail\"");
        }
        prefect.pool = pool;
    }
    prefect.queue = section.text("queue", problems).map(|(_, queue)| queue);
    section.finish(problems);
    prefect
}

/// `[schedules.NAME]`.
pub(super) fn schedule(mut section: Section<'_, '_>, problems: &mut Problems<'_>) -> Option<Schedule> {
    let before = problems.found.len();
    let flow = section.text("flow", problems);
    match &flow {
        Some((at, name)) if !flows::is_flow(name) => {
            let near = nearest(name, &flows::FLOWS).map(|near| format!("; did you mean {near}?"));
            let message = format!("there is no flow {name}{}", near.unwrap_or_default());
            problems.at(*at, section.key("flow"), message);
        }
        None if !section.has("flow") => {
            problems.at(section.at, section.key("flow"), "is missing; name the flow to run");
        }
        _ => {}
    }
    let cron = section.text("cron", problems);
    if let Some((at, text)) = &cron
        && let Err(reason) = cron_fields(text)
    {
        problems.at(*at, section.key("cron"), reason);
    }
    let at = section.place("every");
    let every = section.parsed::<Age>("every", problems);
    if every.is_some_and(|every| every.as_seconds() < 1) {
        problems.at(at, section.key("every"), "must be one second or more");
    }
    if cron.is_some() == every.is_some() && problems.found.len() == before {
        let message = "needs one of cron = \"0 3 * * *\" and every = \"12 hours\"";
        problems.at(section.at, section.name.clone(), message);
    }
    let words = [("all", "all"), ("latest", "latest"), ("none", "none")];
    let schedule = Schedule {
        flow: flow.map(|(_, flow)| flow).unwrap_or_default(),
        cron: cron.map(|(_, text)| text),
        every,
        catch_up: section.choice("catch_up", &words, problems).unwrap_or("latest").to_owned(),
        set: section.settings("set", problems),
    };
    section.finish(problems);
    (problems.found.len() == before).then_some(schedule)
}

/// The engine's own reading of a cron expression, by asking for its next time.
fn cron_fields(text: &str) -> Result<(), String> {
    let when = engine::When::Cron { expression: text.to_owned(), time_zone: "UTC".to_owned() };
    let ends = jiff::Timestamp::UNIX_EPOCH;
    match when.next(ends) {
        Some(_) => Ok(()),
        None => {
            Err(format!("{text:?} is no time; write five fields, such as \"0 3 * * *\" for 03:00 every day"))
        }
    }
}
