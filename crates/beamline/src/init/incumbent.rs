//! From the flows' `config.yml` and `.env` to `beamrail.toml`.
//!
//! Endpoints that end in `_raw` and `_scratch` and name the same collection become one site. Retention is what the
//! flows' documentation says; the values in force live in Prefect, so the notes ask to look there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Error, add, checked, quoted, schedules};

/// More than this is no such file.
const MOST: usize = 1 << 20;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// The configuration.
    pub toml: String,
    /// What a person should know or do.
    pub notes: Vec<String>,
}

/// One endpoint of the file.
struct Endpoint {
    name: String,
    root: String,
    uuid: String,
}

/// A site that some endpoints make.
struct Site {
    name: String,
    collection: String,
    root: String,
    raw: Option<String>,
    scratch: Option<String>,
}

/// Converts `config.yml`, and looks through the names (never the values) of `.env`.
///
/// # Errors
/// It is no YAML, or has no endpoints.
pub fn from_incumbent(yaml: &str, env: Option<&str>) -> Result<Converted, Error> {
    if yaml.len() > MOST {
        return Err(Error::Yaml { reason: format!("it has {} bytes, too many for settings", yaml.len()) });
    }
    // The parser's message quotes the file, which may hold secrets: only its first line is told.
    let document: Value = serde_saphyr::from_str(yaml).map_err(|error| Error::Yaml {
        reason: error.to_string().lines().next().unwrap_or_default().to_owned(),
    })?;
    let endpoints = document
        .pointer("/globus/globus_endpoints")
        .and_then(Value::as_object)
        .filter(|endpoints| !endpoints.is_empty())
        .ok_or(Error::Missing { what: "globus.globus_endpoints" })?;
    let mut notes = Vec::new();
    let mut taken = Vec::new();
    for (name, endpoint) in endpoints {
        let text = |key: &str| endpoint.get(key).and_then(Value::as_str).map(str::to_owned);
        match (text("root_path"), text("uuid")) {
            (Some(root), Some(uuid)) if root.starts_with('/') && plain(name) => {
                taken.push(Endpoint { name: name.clone(), root, uuid });
            }
            _ => {
                notes.push(format!("endpoint {name} was left out: it has no uuid, or no absolute root_path"))
            }
        }
    }
    let (sites, left) = sites(&taken);
    if sites.is_empty() {
        return Err(Error::Missing { what: "an endpoint for raw or scratch data" });
    }
    if !left.is_empty() {
        notes.push(format!(
            "endpoints without raw or scratch data were left out: {}; add them by hand where a flow needs them",
            left.join(", ")
        ));
    }
    let toml = checked(text(&sites))?;
    notes.push(
        "retention is what the flows' documentation says (ALCF 2 days, data832 scratch 3, NERSC scratch 7); the \
         values in force are in the Prefect variables pruning-config and bl832-settings: compare them"
            .into(),
    );
    secrets(&document, env.unwrap_or_default(), &mut notes);
    notes.push(
        "sites of kind \"globus\" need GLOBUS_CLIENT_ID and GLOBUS_CLIENT_SECRET in the environment of beamrail; \
         give the one that this host sees its folder (local = \"FOLDER\")"
            .into(),
    );
    Ok(Converted { toml, notes })
}

/// Names that can be a site's.
fn plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

/// Puts endpoints together to sites; returns the names of those that made none.
fn sites(endpoints: &[Endpoint]) -> (Vec<Site>, Vec<String>) {
    let mut groups: BTreeMap<(String, String), BTreeMap<&str, String>> = BTreeMap::new();
    let mut used: BTreeSet<&str> = BTreeSet::new();
    for endpoint in endpoints {
        for area in ["raw", "scratch"] {
            if let Some(base) = endpoint.name.strip_suffix(&format!("_{area}")) {
                let group = groups.entry((base.to_owned(), endpoint.uuid.clone())).or_default();
                group.insert(area, endpoint.root.clone());
                used.insert(&endpoint.name);
            }
        }
    }
    let mut sites: Vec<Site> = Vec::new();
    for ((name, collection), areas) in groups {
        let whole = endpoints.iter().find(|one| one.name == name && one.uuid == collection);
        let root = match whole {
            Some(whole) if areas.values().all(|path| below(path, &whole.root).is_some()) => {
                used.insert(&whole.name);
                whole.root.clone()
            }
            _ => above(areas.values()),
        };
        let area = |area: &str| areas.get(area).and_then(|path| below(path, &root));
        let (raw, scratch) = (area("raw"), area("scratch"));
        sites.push(Site { name, collection, root, raw, scratch });
    }
    // The hosts that the flows move raw data between by their root alone: /raw/<folder>/<file>.
    for endpoint in endpoints.iter().filter(|endpoint| !used.contains(endpoint.name.as_str())) {
        let place = endpoint.name.trim_end_matches(|c: char| c.is_ascii_digit());
        if ["spot", "data", "nersc", "beegfs"].contains(&place)
            && !sites.iter().any(|site| site.name == endpoint.name)
        {
            sites.push(Site {
                name: endpoint.name.clone(),
                collection: endpoint.uuid.clone(),
                root: endpoint.root.clone(),
                raw: Some("raw".into()),
                scratch: None,
            });
        }
    }
    let left = endpoints
        .iter()
        .filter(|one| !used.contains(one.name.as_str()) && !sites.iter().any(|site| site.name == one.name))
        .map(|one| one.name.clone())
        .collect();
    sites.retain(|site| site.raw.is_some() || site.scratch.is_some());
    sites.sort_by(|a, b| a.name.cmp(&b.name));
    (sites, left)
}

/// `path` relative to `root`, if it is below it.
fn below(path: &str, root: &str) -> Option<String> {
    let rest = path.trim_end_matches('/').strip_prefix(root.trim_end_matches('/'))?;
    let rest = rest.strip_prefix('/')?;
    (!rest.is_empty()).then(|| rest.to_owned())
}

/// The folder that holds all of them.
fn above<'p>(paths: impl Iterator<Item = &'p String>) -> String {
    let mut common: Option<Vec<&str>> = None;
    for path in paths {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let folder = parts.get(..parts.len().saturating_sub(1)).unwrap_or_default().to_vec();
        common = Some(match common {
            None => folder,
            Some(before) => {
                before.into_iter().zip(folder).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
            }
        });
    }
    format!("/{}", common.unwrap_or_default().join("/"))
}

/// The TOML of these sites, and of the flows between them.
fn text(sites: &[Site]) -> String {
    let find = |start: &str, area: fn(&Site) -> bool| {
        sites.iter().find(|site| site.name.starts_with(start) && area(site)).map(|site| site.name.as_str())
    };
    let has_raw = |site: &Site| site.raw.is_some();
    let has_both = |site: &Site| site.raw.is_some() && site.scratch.is_some();
    let (detector, data) = (find("spot", has_raw), find("data", has_raw));
    let archive = sites.iter().find(|site| site.name == "nersc832").map(|site| site.name.as_str());
    let archive = archive.or_else(|| find("nersc", has_raw));
    let (alcf, nersc) = (find("alcf", has_both), find("nersc", has_both));
    let mut toml = String::from(
        "# Converted from the flows' config.yml. `beamrail check` tests it.\n\n[beamline]\nid = \"8.3.2\"\n",
    );
    toml += "time_zone = \"America/Los_Angeles\"\n";
    if let Some(data) = data {
        add(&mut toml, format_args!("data_host = {}\n", quoted(data)));
    }
    toml += "\n[state]\nfolder = \"state\"\n";
    for site in sites {
        add(
            &mut toml,
            format_args!(
                "\n[sites.{}]\nkind = \"globus\"\ncollection = {}\nroot = {}\n",
                site.name,
                quoted(&site.collection),
                quoted(&site.root)
            ),
        );
        for (area, path) in [("raw", &site.raw), ("scratch", &site.scratch)] {
            if let Some(path) = path {
                add(&mut toml, format_args!("{area} = {}\n", quoted(path)));
            }
        }
        let mut rules = Vec::new();
        match site.name.as_str() {
            name if name.starts_with("alcf") => {
                rules.extend(site.raw.iter().map(|_| "raw = \"2 days\"".to_owned()));
                rules.extend(site.scratch.iter().map(|_| "scratch = \"2 days\"".to_owned()));
            }
            name if name.starts_with("data") => {
                let kept = archive.filter(|_| site.raw.is_some());
                rules.extend(
                    kept.map(|archive| format!("raw = \"35 days after the copy at {archive} is verified\"")),
                );
                rules.extend(site.scratch.iter().map(|_| "scratch = \"3 days\"".to_owned()));
            }
            name if name.starts_with("spot") => {
                let kept = data.filter(|data| *data != site.name && site.raw.is_some());
                rules
                    .extend(kept.map(|data| format!("raw = \"1 day after the copy at {data} is verified\"")));
            }
            name if name.starts_with("nersc") => {
                let passing = site.raw.is_some() && name.contains("pscratch");
                rules.extend(passing.then(|| "raw = \"7 days\"".to_owned()));
                rules.extend(site.scratch.iter().map(|_| "scratch = \"7 days\"".to_owned()));
            }
            _ => {}
        }
        if !rules.is_empty() {
            add(&mut toml, format_args!("retention = {{ {} }}\n", rules.join(", ")));
        }
    }
    let mut flows = Vec::new();
    let mut new_file = String::new();
    if let Some(detector) = detector {
        add(&mut new_file, format_args!("source = {}\n", quoted(detector)));
    }
    let stops: Vec<&str> = data.into_iter().chain(archive).collect();
    if !stops.is_empty() {
        add(&mut new_file, format_args!("send_to = {}\n", super::list(&stops)));
        add(&mut toml, format_args!("\n[flows.new_832_file_flow]\n{new_file}"));
        flows.push("new_832_file_flow");
    }
    let home: Vec<&str> = data
        .into_iter()
        .filter(|data| sites.iter().any(|s| s.name == *data && s.scratch.is_some()))
        .collect();
    if let (Some(alcf), Some(source)) = (alcf, data.or(archive)) {
        add(
            &mut toml,
            format_args!(
                "\n[facilities.polaris]\nkind = \"globus-compute\"\nsite = {}\n# Where jobs see the site's root; `beamrail check` \
             tests it.\nsite_root = \"/eagle/IRIBeta/als/bl832\"\nendpoint = \"${{GLOBUS_COMPUTE_ENDPOINT}}\"\ncommand = \
             \"beamrail\"\nwalltime = \"1 hour\"\n\n[flows.alcf_recon_flow]\nsource = {}\nfacility = \"polaris\"\n\
             return_to = {}\nrecipe = \"als832\"     # the numbers of old; \"default\" is what we recommend\n",
                quoted(alcf),
                quoted(source),
                super::list(&home)
            ),
        );
        flows.push("alcf_recon_flow");
    }
    if let (Some(nersc), Some(source)) = (nersc, archive) {
        add(
            &mut toml,
            format_args!(
                "\n[facilities.perlmutter]\nkind = \"sfapi\"\nmachine = \"perlmutter\"\nsite = {}\naccount = \"als\"\nqos = \
             \"realtime\"\nconstraint = \"cpu\"\nwalltime = \"15 minutes\"\n\n[flows.nersc_recon_flow]\nsource = {}\n\
             facility = \"perlmutter\"\nreturn_to = {}\nrecipe = \"als832\"\n",
                quoted(nersc),
                quoted(source),
                super::list(&home)
            ),
        );
        flows.push("nersc_recon_flow");
    }
    add(&mut toml, format_args!("\n[flows.dispatcher]\nflows = {}\n", super::list(&flows)));
    // The names that schedules and scripts may use, beside prune_<site>_<area>.
    for site in sites.iter().filter(|site| site.raw.is_some() && site.scratch.is_none()) {
        add(
            &mut toml,
            format_args!(
                "\n[flows.prune_{0}]\nsource = {1}\narea = \"raw\"\n",
                site.name,
                quoted(&site.name)
            ),
        );
    }
    toml += schedules();
    toml
}

/// Notes about secrets, by their names.
fn secrets(document: &Value, env: &str, notes: &mut Vec<String>) {
    let apps = document.pointer("/globus/globus_apps").and_then(Value::as_object).into_iter().flatten();
    for (app, keys) in apps {
        for key in ["client_secret", "client_id"] {
            let inline = keys.get(key).and_then(Value::as_str).is_some_and(|text| !text.contains("${"));
            if inline && key == "client_secret" {
                notes.push(format!(
                    "globus.globus_apps.{app}.client_secret is written out in that file; it was not copied. Set \
                     GLOBUS_CLIENT_SECRET (or GLOBUS_CLIENT_SECRET_FILE) instead, and change the secret"
                ));
            }
        }
    }
    let names = env.lines().filter_map(|line| {
        let line = line.trim().strip_prefix("export ").unwrap_or(line.trim());
        let (name, _) = line.split_once('=')?;
        let name = name.trim();
        (!name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
            .then(|| name.to_owned())
    });
    let names: BTreeSet<String> = names.collect();
    if !names.is_empty() {
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        notes.push(format!(
            "the variables of .env stay where they are; none of their values was written: {}. Give beamrail the same \
             environment",
            all.join(", ")
        ));
    }
}
