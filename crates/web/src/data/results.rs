//! The reconstructions of one scan that can still be looked at, each with the recipe that made it. Results that made
//! room for later ones were renamed, not overwritten; custody knows where they are.

use std::collections::{BTreeMap, BTreeSet};

use custody::{CopyRecord, Kind, ScanName, State};
use jiff::Timestamp;
use reconstruct::recipe::PARAMETERS;
use serde::Serialize;
use serde_json::Value;

use super::scan::center;
use super::scans::known;
use crate::app::Shared;
use crate::fault::Fault;

/// One reconstruction whose volume this process can read.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Made {
    /// The copy of its volume in custody, by which it is named here.
    pub copy: i64,
    /// The run that made it.
    pub run: Option<String>,
    /// When custody first heard of it.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// The site of the copy that is shown.
    pub site: String,
    /// Its folder there, from the site's root.
    pub base: String,
    /// Whether a later one took its place, so that it lies aside.
    pub aside: bool,
    /// The rotation centre that was used, 0-based detector column.
    pub center: Option<f64>,
    /// The values of the recipe's parameters, by `section.name`; empty where its report is not known.
    #[schemars(with = "BTreeMap<String, Value>")]
    pub recipe: BTreeMap<String, Value>,
}

/// A parameter in which two reconstructions differ.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Difference {
    /// `section.name`.
    pub key: String,
    /// Its unit, or nothing.
    pub unit: String,
    /// In the first.
    pub one: Value,
    /// In the second.
    pub other: Value,
}

/// All of them, the newest first.
pub(crate) async fn made(app: &Shared, name: &ScanName) -> Result<Vec<Made>, Fault> {
    let asked = name.clone();
    let (known, reports) = app
        .custody(move |custody| {
            let known = known(custody, std::slice::from_ref(&asked))?.pop();
            Ok((known, custody.paper_versions(&asked, "report")?))
        })
        .await?;
    let known = known.ok_or_else(|| Fault::not_found(format!("custody knows no scan {name}")))?;
    let reports: BTreeMap<String, Value> = reports
        .into_iter()
        .filter_map(|(run, bytes)| Some((run, serde_json::from_slice(&bytes).ok()?)))
        .collect();
    let local =
        |copy: &CopyRecord| app.beamline.sites.get(&copy.site).is_some_and(|site| site.as_local().is_some());
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for copy in known.copies.iter().rev() {
        let shown = copy.dataset.kind == Kind::Zarr && copy.state == State::Present && local(copy);
        let first = origin(&known.copies, copy);
        if !shown || !seen.insert(first.id) {
            continue;
        }
        let report = first.run.as_ref().and_then(|run| reports.get(run));
        all.push((first.id, one(copy, first, report)));
    }
    // Copies of one reconstruction are newest last; reconstructions are told by the first copy of each.
    all.sort_by_key(|(first, _)| std::cmp::Reverse(*first));
    Ok(all.into_iter().map(|(_, made)| made).collect())
}

/// The first copy with the same content: the one that the job left. Renamed and transferred ones come later.
fn origin<'c>(copies: &'c [CopyRecord], copy: &'c CopyRecord) -> &'c CopyRecord {
    let same = |other: &&CopyRecord| {
        other.dataset == copy.dataset && other.shape == copy.shape && other.content == copy.content
    };
    match copy.content {
        Some(_) => copies.iter().filter(same).min_by_key(|other| other.id).unwrap_or(copy),
        None => copy,
    }
}

fn one(copy: &CopyRecord, first: &CopyRecord, report: Option<&Value>) -> Made {
    let recipe = report.and_then(|report| report.pointer("/plan/recipe")).and_then(Value::as_object);
    let parameters = recipe.into_iter().flatten().flat_map(|(section, values)| {
        let values = values.as_object().into_iter().flatten();
        values.map(move |(name, value)| (format!("{section}.{name}"), value.clone()))
    });
    Made {
        copy: copy.id.0,
        run: first.run.clone(),
        at: first.registered_at,
        site: copy.site.clone(),
        base: copy.base.to_string(),
        aside: copy.base.as_str().contains("/replaced/"),
        center: report.and_then(center).map(|center| center.center),
        recipe: parameters.collect(),
    }
}

/// Where two recipes differ, in the table's order; parameters that only another version knows come last.
pub(crate) fn differences(one: &Made, other: &Made) -> Vec<Difference> {
    let mut keys: Vec<&String> = one.recipe.keys().chain(other.recipe.keys()).collect();
    let place =
        |key: &str| PARAMETERS.iter().position(|parameter| parameter.key == key).unwrap_or(usize::MAX);
    keys.sort_by_key(|key| (place(key), key.as_str()));
    keys.dedup();
    let value = |made: &Made, key: &str| made.recipe.get(key).cloned().unwrap_or(Value::Null);
    let unit =
        |key: &str| PARAMETERS.iter().find(|parameter| parameter.key == key).map_or("", |one| one.unit);
    keys.into_iter()
        .map(|key| Difference {
            key: key.clone(),
            unit: unit(key).to_owned(),
            one: value(one, key),
            other: value(other, key),
        })
        .filter(|difference| difference.one != difference.other)
        .collect()
}
