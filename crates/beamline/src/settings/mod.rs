//! Settings that operators change without touching a file: the names under which they are kept in Prefect, the values
//! that they begin with, and what they change. Where they are kept is the business of whoever reads them.
//!
//! A setting changes what the configuration says; it adds nothing. An area that keeps for good keeps for good,
//! whatever number of days stands beside its name.

mod keeper;
mod places;

use std::collections::BTreeMap;

use custody::{Age, Rule};
use serde_json::{Map, Value, json};

use crate::config::{Config, FacilityKind};
use crate::runtime::DispatcherSettings;
pub use keeper::{Keeper, Scheduled, Source};
pub use places::Places;

/// Days until files go, by place.
pub const PRUNING: &str = "pruning-config";
/// Which flows the dispatcher starts.
pub const DECISIONS: &str = "decision-settings";
/// Where jobs at ALCF see the collection's root.
pub const ALLOCATION: &str = "alcf-allocation-root-path";
/// Waiting times of older flows; not used here.
pub const GLOBUS: &str = "globus-settings";
/// Secrets, by the names of their blocks and of the variables of the environment that are looked at next.
pub const SECRETS: [(&str, &str); 3] = [
    ("globus-client-id", "GLOBUS_CLIENT_ID"),
    ("globus-client-secret", "GLOBUS_CLIENT_SECRET"),
    ("globus-compute-endpoint", "GLOBUS_COMPUTE_ENDPOINT"),
];

/// Settings as they were found, by their names with hyphens.
pub type Given = BTreeMap<String, Value>;

/// The settings that say when files go: what cannot be read of them stops deletion.
pub fn of_retention(config: &Config) -> [String; 2] {
    [PRUNING.to_owned(), Places::of(config).raw_settings()]
}

/// All settings that are read.
pub fn names(config: &Config) -> Vec<String> {
    of_retention(config).into_iter().chain([DECISIONS.to_owned(), ALLOCATION.to_owned()]).collect()
}

/// Each setting with the value that says what the configuration says.
pub fn initial(config: &Config) -> Vec<(String, Value)> {
    let places = Places::of(config);
    let mut days: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for (name, site) in &config.sites {
        let ages = site.areas.iter().filter_map(|(area, one)| Some((area.as_str(), age(&one.retention)?)));
        for (setting, key, age) in places.keys(name, &ages.collect::<Vec<_>>()) {
            days.entry(setting).or_default().insert(key, in_days(age));
        }
    }
    let mut pruning = days.remove(PRUNING).unwrap_or_default();
    pruning.insert("max_wait_seconds".to_owned(), json!(120));
    let mut all = vec![(PRUNING.to_owned(), Value::Object(pruning))];
    if let Some(raw) = days.remove(&places.raw_settings()) {
        all.push((places.raw_settings(), Value::Object(raw)));
    }
    all.push((DECISIONS.to_owned(), decided(config)));
    all.push((GLOBUS.to_owned(), json!({ "max_wait_seconds": 600 })));
    all.extend(allocation(config).map(|root| (ALLOCATION.to_owned(), json!(root))));
    all
}

fn age(rule: &Rule) -> Option<Age> {
    match rule {
        Rule::Never => None,
        Rule::After(age) | Rule::AfterVerified { age, .. } => Some(*age),
    }
}

/// Whole days where they are.
fn in_days(age: Age) -> Value {
    let seconds = age.as_seconds();
    if seconds % 86_400 == 0 { json!(seconds / 86_400) } else { json!(seconds as f64 / 86_400.0) }
}

fn decided(config: &Config) -> Value {
    let started = config.flows.get("dispatcher").map(|flow| flow.flows.clone()).unwrap_or_default();
    let flows =
        config.flows.keys().filter(|name| *name == "new_832_file_flow" || name.ends_with("_recon_flow"));
    let decided: Map<String, Value> = flows
        .map(|name| {
            let (flow, deployment) = config.deployment_of(name);
            (format!("{flow}/{deployment}"), json!(started.contains(name)))
        })
        .collect();
    Value::Object(decided)
}

/// The part of `site_root` before the collection's root, where it is one.
fn allocation(config: &Config) -> Option<String> {
    let facility = config.facilities.values().find(|one| one.kind == FacilityKind::GlobusCompute)?;
    let root = config.sites.get(&facility.site)?.root.to_string_lossy().into_owned();
    let seen = facility.site_root.as_ref()?.to_string_lossy().into_owned();
    let above = seen.strip_suffix(root.trim_end_matches('/'))?;
    Some(above.to_owned()).filter(|above| above.starts_with('/'))
}

/// Custody's policy with the days that were given.
///
/// # Errors
/// A value that is no number of days: nothing may be deleted by a guess.
pub fn policy(places: &Places, base: &custody::Settings, given: &Given) -> Result<custody::Settings, String> {
    let mut policy = base.clone();
    for (name, site) in &mut policy.sites {
        for (area, one) in &mut site.areas {
            let Some(rule_age) = age(&one.retention) else { continue };
            let age = places.given(name, area, given)?.unwrap_or(rule_age);
            one.retention = match &one.retention {
                Rule::AfterVerified { site, .. } => Rule::AfterVerified { age, site: site.clone() },
                _ => Rule::After(age),
            };
        }
    }
    Ok(policy)
}

/// What the dispatcher does, with the decisions that were given; `known` are the flows that reconstruct.
///
/// # Errors
/// A value that is neither true nor false.
pub fn decisions<'a>(
    base: &DispatcherSettings,
    known: impl Iterator<Item = &'a String>,
    given: &Given,
) -> Result<DispatcherSettings, String> {
    let mut settings = base.clone();
    let Some(decisions) = given.get(DECISIONS) else { return Ok(settings) };
    let Some(decisions) = decisions.as_object() else {
        return Err(format!("{DECISIONS} is no object of flows with true or false"));
    };
    let known: Vec<&String> = known.collect();
    for (key, value) in decisions {
        let Some(on) = value.as_bool() else {
            return Err(format!("{DECISIONS}: {key} is {value}, and must be true or false"));
        };
        let flow = key.split('/').next().unwrap_or(key);
        if flow == "new_832_file_flow" {
            settings.new_file = on;
        } else if !on {
            settings.recon.retain(|name| name != flow);
        } else if known.iter().any(|name| *name == flow) && !settings.recon.iter().any(|name| name == flow) {
            settings.recon.push(flow.to_owned());
        }
    }
    Ok(settings)
}

/// What can be known only at the start: where jobs see a collection's root.
pub fn at_start(config: &mut Config, given: &Given) {
    let Some(root) = given.get(ALLOCATION).and_then(Value::as_str).filter(|root| root.starts_with('/'))
    else {
        return;
    };
    let sites = &config.sites;
    let at_alcf = |site: &str| site.starts_with("alcf");
    for one in config.facilities.values_mut() {
        if one.kind == FacilityKind::GlobusCompute
            && at_alcf(&one.site)
            && let Some(site) = sites.get(&one.site)
        {
            let below = site.root.to_string_lossy();
            one.site_root = Some(format!("{}{below}", root.trim_end_matches('/')).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const FILE: &str = r#"
[beamline]
id = "8.3.2"
data_host = "data832"
[sites.spot832]
kind = "local"
root = "spot"
raw = "raw"
retention = { raw = "1 day after the copy at data832 is verified" }
[sites.data832]
kind = "local"
root = "data"
raw = "raw"
scratch = "scratch"
retention = { raw = "35 days after the copy at nersc is verified", scratch = "3 days" }
[sites.nersc]
kind = "local"
root = "nersc"
raw = "raw"
scratch = "scratch"
retention = { scratch = "7 days" }
[sites.alcf]
kind = "globus"
collection = "c"
root = "/data"
raw = "raw"
scratch = "scratch"
retention = { raw = "36 hours", scratch = "2 days" }
[facilities.polaris]
kind = "globus-compute"
site = "alcf"
site_root = "/eagle/IRIBeta/als/data"
endpoint = "e"
[flows.new_832_file_flow]
source = "spot832"
send_to = ["data832", "nersc"]
[flows.alcf_recon_flow]
source = "data832"
facility = "polaris"
[flows.dispatcher]
flows = ["new_832_file_flow"]
"#;

    fn config() -> Config {
        Config::parse(FILE, Path::new("/x/beamrail.toml")).unwrap()
    }

    fn rule(policy: &custody::Settings, site: &str, area: &str) -> String {
        policy.sites[site].areas[area].retention.to_string()
    }

    #[test]
    fn settings_begin_with_what_the_file_says_and_change_nothing() {
        let config = config();
        let all: Given = initial(&config).into_iter().collect();
        assert_eq!(
            all["pruning-config"],
            json!({
                "delete_alcf832_raw_files_after_days": 1.5, "delete_alcf832_scratch_files_after_days": 2,
                "delete_data832_files_after_days": 3, "delete_nersc832_files_after_days": 7,
                "max_wait_seconds": 120,
            })
        );
        assert_eq!(
            all["bl832-settings"],
            json!({ "delete_spot832_files_after_days": 1, "delete_data832_files_after_days": 35 })
        );
        assert_eq!(
            all["decision-settings"],
            json!({ "new_832_file_flow/new_file_832": true, "alcf_recon_flow/alcf_recon_flow": false })
        );
        assert_eq!(all["alcf-allocation-root-path"], "/eagle/IRIBeta/als");
        assert_eq!(policy(&Places::of(&config), &config.policy(), &all).unwrap(), config.policy());
    }

    #[test]
    fn days_are_obeyed_and_nothing_that_stays_is_let_go() {
        let config = config();
        let places = Places::of(&config);
        let with = |given: Value| {
            let given: Given = given.as_object().unwrap().clone().into_iter().collect();
            policy(&places, &config.policy(), &given)
        };
        let given = with(json!({ "pruning-config": {
            "delete_alcf832_files_after_days": 5, "delete_nersc832_files_after_days": 0.5, "other": "x" },
            "bl832-settings": { "delete_data832_files_after_days": 40 } }))
        .unwrap();
        assert_eq!(rule(&given, "alcf", "raw"), "5 days");
        assert_eq!(rule(&given, "alcf", "scratch"), "5 days");
        assert_eq!(rule(&given, "nersc", "scratch"), "12 hours");
        assert_eq!(rule(&given, "nersc", "raw"), "never", "what is kept for good is kept for good");
        assert_eq!(rule(&given, "data832", "raw"), "40 days after the copy at nersc is verified");
        assert_eq!(rule(&given, "data832", "scratch"), "3 days", "its raw data has a setting of its own");
        let narrow = json!({ "pruning-config": { "delete_alcf832_files_after_days": 5,
            "delete_alcf832_raw_files_after_days": "1 hour" } });
        assert_eq!(rule(&with(narrow).unwrap(), "alcf", "raw"), "1 hour");
        for wrong in [json!(-1), json!("soon"), json!(true), json!([2]), json!(1e12)] {
            let told = with(json!({ "pruning-config": { "delete_alcf832_files_after_days": wrong } }));
            assert!(told.unwrap_err().contains("delete_alcf832_files_after_days"));
        }
        assert!(with(json!({ "pruning-config": "2 days" })).is_err());
    }

    #[test]
    fn decisions_switch_flows_on_and_off() {
        let base =
            DispatcherSettings { new_file: true, recon: vec!["nersc_recon_flow".into()], fallback: vec![] };
        let known = ["nersc_recon_flow".to_owned(), "alcf_recon_flow".to_owned()];
        let with =
            |given: Value| decisions(&base, known.iter(), &Given::from([(DECISIONS.to_owned(), given)]));
        let given = with(
            json!({ "alcf_recon_flow/alcf_recon_flow": true, "nersc_recon_flow/nersc_recon_flow": false,
            "new_832_file_flow/new_file_832": false, "olcf_recon_flow/olcf_recon_flow": true }),
        )
        .unwrap();
        assert_eq!((given.new_file, given.recon), (false, vec!["alcf_recon_flow".to_owned()]));
        assert!(with(json!({ "alcf_recon_flow": "yes" })).is_err());
        assert_eq!(decisions(&base, known.iter(), &Given::new()).unwrap(), base);
    }

    #[test]
    fn the_allocation_says_where_jobs_see_the_collection() {
        let mut config = config();
        at_start(&mut config, &Given::from([(ALLOCATION.to_owned(), json!("/eagle/SYNAPS-I/"))]));
        assert_eq!(
            config.facilities["polaris"].site_root.as_deref(),
            Some(Path::new("/eagle/SYNAPS-I/data"))
        );
    }
}
