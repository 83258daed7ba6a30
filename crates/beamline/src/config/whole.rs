//! The file as a whole: its sections, then what they say about each other.

use std::path::Path;

use custody::Rule;
use toml::de::DeTable;

use super::read::{Problems, Section, nearest, no_secrets};
use super::{Config, Error, facilities, flows, sections, web};

/// Reads `text`.
pub(super) fn parse(text: &str, path: &Path) -> Result<Config, Error> {
    let document = DeTable::parse(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = 1 + before.matches('\n').count();
        // The line itself is not shown: it may hold what should not be in the file.
        Error::Syntax { path: path.to_path_buf(), message: format!("line {line}: {}", error.message()) }
    })?;
    let mut problems = Problems::new(text, path);
    let problems = &mut problems;
    no_secrets("", document.get_ref(), problems);

    let mut file = Section::new("", 0, document.get_ref());
    let beamline = file.section("beamline", problems);
    if beamline.is_none() && !file.has("beamline") {
        problems.whole("beamline", "is missing; write [beamline] and below it id = \"8.3.2\"");
    }
    let beamline = sections::beamline(beamline, problems);
    let state = sections::state(file.section("state", problems), problems);
    let sites = file.section("sites", problems);
    let sites = sites.map(|section| section.each("site", problems)).unwrap_or_default();
    let sites: Vec<_> = sites.into_iter().map(|(name, one)| (name, sections::site(one, problems))).collect();
    let facilities = file.section("facilities", problems);
    let facilities = facilities.map(|section| section.each("facility", problems)).unwrap_or_default();
    let facilities: Vec<_> =
        facilities.into_iter().map(|(name, one)| (name, facilities::facility(one, problems))).collect();
    let flows = file.section("flows", problems);
    let flows = flows.map(|section| section.each("flow", problems)).unwrap_or_default();
    let flows: Vec<_> = flows.into_iter().map(|(name, one)| flows::flow(name, one, problems)).collect();
    let watch = sections::watch(file.section("watch", problems), problems);
    let export = sections::export(file.section("export", problems), problems);
    let custody = sections::custody(file.section("custody", problems), problems);
    let prefect = sections::prefect(file.section("prefect", problems), problems);
    let schedules = file.section("schedules", problems);
    let schedules = schedules.map(|section| section.each("schedule", problems)).unwrap_or_default();
    let schedules: Vec<_> =
        schedules.into_iter().map(|(name, one)| (name, sections::schedule(one, problems))).collect();
    let web = web::web(file.section("web", problems), problems);
    file.finish(problems);

    // References. They are checked by name, so that a site with a mistake in it is still known.
    let site_names: Vec<String> = sites.iter().map(|(name, _)| name.clone()).collect();
    let facility_names: Vec<String> = facilities.iter().map(|(name, _)| name.clone()).collect();
    let mut refer = |what: &str, names: &[String], at: usize, key: &str, name: &str| {
        if !names.iter().any(|known| known == name) {
            problems.at(at, key, unknown(what, name, names));
        }
    };
    for (key, at, site) in beamline.1.iter().chain(&export.1) {
        refer("site", &site_names, *at, key, site);
    }
    for (_, (_, references)) in &facilities {
        for (key, at, site) in references {
            refer("site", &site_names, *at, key, site);
        }
    }
    for (_, _, references) in &flows {
        for (key, at, what, name) in references {
            let names = if *what == "site" { &site_names } else { &facility_names };
            refer(what, names, *at, key, name);
        }
    }
    for (name, (site, places)) in &sites {
        let Some(site) = site else { continue };
        for (area, one) in &site.areas {
            let at = places.get(area).copied().unwrap_or_default();
            let key = format!("sites.{name}.retention.{area}");
            match &one.retention {
                Rule::AfterVerified { site: other, .. } if other == name => {
                    problems.at(at, key, "waits for its own copy; name another site");
                }
                Rule::AfterVerified { site: other, .. } if !site_names.contains(other) => {
                    problems.at(at, key, unknown("site", other, &site_names));
                }
                _ => {}
            }
        }
    }

    let (Some((beamline, _)), Some(state), Some(watch), Some((export, _)), Some(custody)) = (
        beamline.0.map(|section| (section, ())),
        state,
        watch,
        export.0.map(|section| (section, ())),
        custody,
    ) else {
        return Err(invalid(path, problems));
    };
    if !problems.found.is_empty() {
        return Err(invalid(path, problems));
    }
    let config = Config {
        path: path.to_path_buf(),
        beamline,
        state,
        sites: sites.into_iter().filter_map(|(name, (site, _))| Some((name, site?))).collect(),
        facilities: facilities.into_iter().filter_map(|(name, (one, _))| Some((name, one?))).collect(),
        flows: flows.into_iter().filter_map(|(name, flow, _)| Some((name, flow?))).collect(),
        watch,
        export,
        custody,
        prefect,
        schedules: schedules.into_iter().filter_map(|(name, one)| Some((name, one?))).collect(),
        web,
        environment: super::Environment::default(),
    };
    // What custody alone knows to be wrong.
    if let Err(error) = config.policy().check() {
        problems.whole("custody", error.to_string());
        return Err(invalid(path, problems));
    }
    Ok(config)
}

fn unknown(what: &str, name: &str, names: &[String]) -> String {
    match nearest(name, names) {
        Some(near) => format!("there is no {what} {name}; did you mean {near}?"),
        None if names.is_empty() => {
            let plural = if what == "site" { "sites" } else { "facilities" };
            format!("there is no {what} {name}, nor any other; add [{plural}.{name}]")
        }
        None => format!("there is no {what} {name}; there are {}", names.join(", ")),
    }
}

fn invalid(path: &Path, problems: &mut Problems<'_>) -> Error {
    problems.found.sort_by_key(|problem| problem.line);
    Error::Invalid { path: path.to_path_buf(), problems: std::mem::take(&mut problems.found) }
}
