//! `[flows.NAME]`.

use super::Flow;
use super::read::{Problems, Section, nearest};

/// The flows that have settings. Reconstructions at other facilities may be called `<NAME>_recon_flow`, and
/// every place has its `prune_<PLACE>`.
pub const FLOWS: [&str; 7] = [
    "new_832_file_flow",
    "alcf_recon_flow",
    "nersc_recon_flow",
    "dispatcher",
    "transfer_check",
    "reconcile",
    "prune",
];

/// A reference: key, place, "site" or "facility", name.
pub(super) type Reference = (String, usize, &'static str, String);

/// A flow's settings, and what they refer to.
pub(super) fn flow(
    name: String,
    mut section: Section<'_, '_>,
    problems: &mut Problems<'_>,
) -> (String, Option<Flow>, Vec<Reference>) {
    let before = problems.found.len();
    if !is_flow(&name) {
        let known = match nearest(&name, &FLOWS) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("there are {}, and any NAME_recon_flow or prune_NAME", FLOWS.join(", ")),
        };
        problems.at(section.at, &section.name, format!("there is no flow {name}; {known}"));
    }
    let mut references = Vec::new();
    let mut one = |key: &'static str, what: &'static str, section: &mut Section<'_, '_>, problems: &mut _| {
        let (at, text) = section.text(key, problems)?;
        references.push((section.key(key), at, what, text.clone()));
        Some(text)
    };
    let source = one("source", "site", &mut section, problems);
    let facility = one("facility", "facility", &mut section, problems);
    let quick_look = one("quick_look", "facility", &mut section, problems);
    let mut several = |key: &'static str, section: &mut Section<'_, '_>, problems: &mut _| -> Vec<String> {
        let names = section.texts(key, problems);
        references.extend(names.iter().map(|(at, name)| (section.key(key), *at, "site", name.clone())));
        names.into_iter().map(|(_, name)| name).collect()
    };
    let return_to = several("return_to", &mut section, problems);
    let send_to = several("send_to", &mut section, problems);
    let write = section.texts("write", problems);
    for (at, form) in write.iter().filter(|(_, form)| !["tiff", "zarr"].contains(&form.as_str())) {
        problems.at(*at, section.key("write"), format!("{form:?} cannot be written; there are tiff, zarr"));
    }
    let flows = |key: &'static str, section: &mut Section<'_, '_>, problems: &mut Problems<'_>| {
        let names = section.texts(key, problems);
        for (at, name) in names.iter().filter(|(_, name)| !is_flow(name)) {
            let near =
                nearest(name, &FLOWS).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            problems.at(*at, section.key(key), format!("there is no flow {name}{near}"));
        }
        names.into_iter().map(|(_, name)| name).collect()
    };
    let (started, fail_over) =
        (flows("flows", &mut section, problems), flows("fail_over", &mut section, problems));
    let flow = Flow {
        source,
        facility,
        return_to,
        send_to,
        recipe: section.text("recipe", problems).map(|(_, text)| text),
        set: section.settings("set", problems),
        write: write.into_iter().map(|(_, form)| form).collect(),
        quick_look,
        area: section.choice("area", &[("raw", "raw"), ("scratch", "scratch")], problems).map(str::to_owned),
        flows: started,
        fail_over,
        retries: section.count("retries", 0, problems).unwrap_or(0),
        concurrency: section.count("concurrency", 1, problems),
        pool: section.text("pool", problems).map(|(_, text)| text),
        queue: section.text("queue", problems).map(|(_, text)| text),
    };
    let needed: &[&str] = match &name {
        name if name.ends_with("_recon_flow") => &["source", "facility"],
        name if name.starts_with("prune_") => &["source", "area"],
        _ => &[],
    };
    for key in needed.iter().filter(|key| !section.has(key)) {
        if problems.found.len() == before {
            problems.at(section.at, section.key(key), format!("is missing; this flow needs its {key}"));
        }
    }
    section.finish(problems);
    (name, (problems.found.len() == before).then_some(flow), references)
}

/// Whether a flow may be called so.
pub(super) fn is_flow(name: &str) -> bool {
    FLOWS.contains(&name)
        || name.strip_suffix("_recon_flow").is_some_and(|facility| !facility.is_empty())
        || name.strip_prefix("prune_").is_some_and(|place| !place.is_empty())
}
