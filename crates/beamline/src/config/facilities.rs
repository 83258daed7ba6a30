//! `[facilities.NAME]`.

use custody::{Age, RelPath};

use super::read::{Problems, Section};
use super::{Facility, FacilityKind};

/// A reference to a site: key, place, name.
pub(super) type Reference = (String, usize, String);

/// A facility, and the sites that it names. `None` where it says something wrong.
pub(super) fn facility(
    mut section: Section<'_, '_>,
    problems: &mut Problems<'_>,
) -> (Option<Facility>, Vec<Reference>) {
    let before = problems.found.len();
    let given = section.has("kind");
    let kind = section.choice("kind", &FacilityKind::ALL, problems);
    if kind.is_none() && !given {
        problems.at(section.at, section.key("kind"), "is missing; write kind = \"local\"");
    }
    let site = section.text("site", problems);
    if site.is_none() && !section.has("site") {
        problems.at(section.at, section.key("site"), "is missing; name the site whose files its jobs see");
    }
    let references = site.iter().map(|(at, name)| (section.key("site"), *at, name.clone())).collect();
    let mut more = std::collections::BTreeMap::new();
    for key in kind.map(FacilityKind::keys).unwrap_or_default() {
        if let Some((_, text)) = section.text(key, problems) {
            more.insert((*key).to_owned(), text);
        }
    }
    if kind == Some(FacilityKind::GlobusCompute) && !section.has("endpoint") {
        problems.at(section.at, section.key("endpoint"), "is missing; give the endpoint's UUID");
    }
    let template =
        kind == Some(FacilityKind::GlobusCompute) && section.flag("template", problems).unwrap_or(false);
    if template && more.contains_key("flow") {
        let why = "cannot be sent through a flow, whose action passes the function's arguments alone; take one of the two out";
        problems.at(section.at, section.key("template"), why);
    }
    let memory = section.text("memory", problems);
    if let Some((at, text)) = &memory
        && !is_size(text)
    {
        problems.at(*at, section.key("memory"), format!("{text:?} is no size; write for example \"8 GiB\""));
    }
    let facility = Facility {
        kind: kind.unwrap_or(FacilityKind::Local),
        site: site.map(|(_, name)| name).unwrap_or_default(),
        site_root: section.folder("site_root", problems),
        command: section.text("command", problems).map_or_else(|| "beamrail".to_owned(), |(_, text)| text),
        jobs: jobs(&mut section, problems),
        memory: memory.map(|(_, text)| text),
        threads: section.count("threads", 1, problems),
        slots: section.count("slots", 1, problems).or((kind == Some(FacilityKind::Local)).then_some(1)),
        walltime: section.parsed("walltime", problems).unwrap_or(Age::hours(12)),
        queue_limit: section.parsed("queue_limit", problems).unwrap_or(Age::hours(24)),
        poll: section.parsed("poll", problems),
        template,
        more,
    };
    section.finish(problems);
    ((problems.found.len() == before).then_some(facility), references)
}

/// Where job folders are made.
fn jobs(section: &mut Section<'_, '_>, problems: &mut Problems<'_>) -> RelPath {
    let usual = RelPath::new(".beamrail/jobs").unwrap_or_default();
    let Some((at, text)) = section.text("jobs", problems) else { return usual };
    RelPath::new(text).unwrap_or_else(|error| {
        problems.at(at, section.key("jobs"), error.to_string());
        usual
    })
}

/// Whether it is a number with a unit of bytes.
fn is_size(text: &str) -> bool {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let units = ["b", "kb", "mb", "gb", "tb", "kib", "mib", "gib", "tib", "k", "m", "g", "t"];
    number.parse::<f64>().is_ok_and(|number| number > 0.0)
        && units.contains(&unit.trim().to_lowercase().as_str())
}
