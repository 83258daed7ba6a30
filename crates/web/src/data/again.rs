//! "Reconstruct again with...": the recipe that is changed, the flows that can do it, and what a form says, checked
//! by the table of parameters.

use std::collections::{BTreeMap, BTreeSet};

use custody::ScanName;
use reconstruct::Recipe;
use reconstruct::recipe::{PARAMETERS, Parameter, Value};
use serde::Serialize;

use super::scans::{Known, known};
use crate::app::Shared;
use crate::fault::Fault;

/// Before a field's name that is a parameter of the recipe.
pub(crate) const FIELD: &str = "p.";
/// The longest text of one field.
const LONGEST: usize = 2000;

/// What a new reconstruction begins from.
pub(crate) struct Base {
    pub known: Known,
    /// The recipe that the form shows first.
    pub recipe: Recipe,
    /// Where it comes from, in words.
    pub from: String,
    pub ways: Vec<Way>,
}

/// A flow that reconstructs.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Way {
    /// The flow.
    pub flow: String,
    /// The facility that it uses.
    pub facility: String,
    /// The sites that the results come to.
    pub homes: Vec<String>,
    /// Why it cannot be used for this scan.
    pub closed: Option<String>,
}

/// What somebody wants.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub recipe: Recipe,
    /// What each field said, for the form to show again.
    pub texts: BTreeMap<&'static str, String>,
    /// What is wrong, by the parameter's key (or a section's, or nothing's).
    pub problems: Vec<(String, String)>,
}

impl Wanted {
    /// The problem of one field.
    pub(crate) fn problem(&self, key: &str) -> Option<&str> {
        self.problems.iter().find(|(about, _)| about == key).map(|(_, text)| text.as_str())
    }

    /// The fields that say something else than the base, as pairs for links and hidden fields.
    pub(crate) fn changed(&self, base: &Recipe) -> Vec<(String, String)> {
        let differs =
            |one: &&Parameter| self.texts.get(one.key).is_some_and(|now| *now != text(&one.get(base)));
        let pair = |one: &Parameter| {
            (format!("{FIELD}{}", one.key), self.texts.get(one.key).cloned().unwrap_or_default())
        };
        PARAMETERS.iter().filter(differs).map(pair).collect()
    }
}

/// A value as a field shows it: without the quotes that a file needs.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Auto => "auto".to_owned(),
        Value::Text(text) => text.clone(),
        Value::Numbers(numbers) => numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(", "),
        Value::Number(number) => number.to_string(),
        other => other.to_string(),
    }
}

/// Reads what a new reconstruction of this scan begins from: the recipe of the last one, else that of the first flow.
pub(crate) async fn base(app: &Shared, name: &ScanName) -> Result<Base, Fault> {
    let asked = name.clone();
    let (known, paper) = app
        .custody(move |custody| {
            let known = known(custody, std::slice::from_ref(&asked))?.pop();
            Ok((known, custody.paper(&asked, "recipe")?))
        })
        .await?;
    let known = known.ok_or_else(|| {
        Fault::not_found(format!("custody knows no scan {name}")).hint("see the list of scans")
    })?;
    let ways = ways(app, &known);
    let last = paper.and_then(|bytes| {
        let text = String::from_utf8(bytes).ok()?;
        Recipe::parse(&text, "the recipe of the last reconstruction").ok()
    });
    if let Some(recipe) = last {
        return Ok(Base { known, recipe, from: "the last reconstruction".into(), ways });
    }
    let first = ways.iter().find(|way| way.closed.is_none()).or(ways.first()).map(|way| way.flow.clone());
    let from = first.as_ref().map_or("the default recipe".to_owned(), |flow| format!("the recipe of {flow}"));
    let recipe = first.map(|flow| of_flow(app, &flow).1).unwrap_or_default();
    Ok(Base { known, recipe, from, ways })
}

fn ways(app: &Shared, known: &Known) -> Vec<Way> {
    let beam = &app.beamline;
    let way = |(flow, settings): (&String, &beamline::ReconSettings)| {
        let site = beam.facilities.get(&settings.facility).map(|one| one.site.clone()).unwrap_or_default();
        let allowed = beam.policy.may_be_at(known.mark.controlled, &site);
        let closed = (!allowed).then(|| match known.mark.controlled {
            true => format!("the scan is export-controlled and may not be at {site}"),
            false => format!("{site} is no site of the policy"),
        });
        Way {
            flow: flow.clone(),
            facility: settings.facility.clone(),
            homes: settings.return_to.clone(),
            closed,
        }
    };
    beam.flows.recon.iter().map(way).collect()
}

/// The recipe that a flow uses by itself, and its name if it can be read here.
fn of_flow(app: &Shared, flow: &str) -> (bool, Recipe) {
    let Some(settings) = app.beamline.flows.recon.get(flow) else { return (true, Recipe::default()) };
    if let Ok(recipe) = Recipe::resolve(&settings.recipe, &settings.set) {
        return (true, recipe);
    }
    // A recipe that only the facility can read: everything is said against the defaults then.
    let mut recipe = Recipe::default();
    let _ = recipe.apply(&settings.set);
    (false, recipe)
}

/// The parameters of a run of `flow` that reconstructs with this recipe, whatever the flow is configured with.
pub(crate) fn parameters(app: &Shared, flow: &str, scan: &ScanName, wanted: &Recipe) -> serde_json::Value {
    let (readable, own) = of_flow(app, flow);
    let set: Vec<String> = PARAMETERS
        .iter()
        .filter(|parameter| parameter.get(wanted) != parameter.get(&own))
        .map(|parameter| format!("{}={}", parameter.key, parameter.get(wanted)))
        .collect();
    let mut all = serde_json::json!({ "file_path": format!("{scan}.h5"), "set": set });
    if let Some(all) = all.as_object_mut().filter(|_| !readable) {
        all.insert("recipe".into(), serde_json::json!("default"));
    }
    all
}

/// What the fields of a form say, on top of `base`. Fields that are not there leave the base as it is.
pub(crate) fn read(base: &Recipe, fields: &[(String, String)]) -> Wanted {
    let mut recipe = base.clone();
    let mut texts: BTreeMap<&'static str, String> =
        PARAMETERS.iter().map(|parameter| (parameter.key, text(&parameter.get(base)))).collect();
    let mut problems = Vec::new();
    let mut said = BTreeSet::new();
    for (name, value) in fields {
        let Some(key) = name.strip_prefix(FIELD) else { continue };
        let value = value.trim();
        let Some(parameter) = PARAMETERS.iter().find(|parameter| parameter.key == key) else {
            let short: String = key.chars().take(60).collect();
            problems.push((String::new(), format!("there is no parameter {short:?}")));
            continue;
        };
        if value.len() > LONGEST || !said.insert(parameter.key) {
            problems.push((parameter.key.into(), "is too long, or was sent twice".into()));
            continue;
        }
        texts.insert(parameter.key, value.to_owned());
        if value == text(&parameter.get(base)) {
            continue;
        }
        if let Err(problem) = set(&mut recipe, parameter, value) {
            problems.push((parameter.key.into(), problem));
        }
    }
    if problems.is_empty()
        && let Err(error) = recipe.validate()
    {
        // What only the command line has is left out.
        let plain = |text: &str| text.split(", for example --set").next().unwrap_or(text).to_owned();
        problems.extend(error.problems().iter().map(|one| (one.key.clone(), plain(&one.message))));
    }
    Wanted { recipe, texts, problems }
}

fn set(recipe: &mut Recipe, parameter: &Parameter, text: &str) -> Result<(), String> {
    let value = match text {
        // An emptied field is the least surprising way to say: as you think.
        "" if parameter.kind.is_optional() => Some(Value::Auto),
        text => parameter.kind.read_text(text),
    };
    let value = value.ok_or_else(|| format!("{text:?} is not allowed: {}", parameter.allowed()))?;
    parameter.set(recipe, &value)
}

/// The same recipe with this centre.
pub(crate) fn at_center(fields: &[(String, String)], center: f64) -> Vec<(String, String)> {
    let ours = [format!("{FIELD}center.method"), format!("{FIELD}center.value")];
    let mut fields: Vec<_> = fields.iter().filter(|(name, _)| !ours.contains(name)).cloned().collect();
    let [method, value] = ours;
    fields.push((method, "fixed".into()));
    fields.push((value, format!("{center}")));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
        given.iter().map(|(key, value)| (format!("p.{key}"), (*value).to_owned())).collect()
    }

    #[test]
    fn fields_are_judged_by_the_table() {
        let base = Recipe::default();
        let wanted = read(
            &base,
            &pairs(&[("stripes.sigma", "4"), ("stripes.method", "none"), ("geometry.pixel_size_um", "")]),
        );
        assert!(wanted.problems.is_empty(), "{:?}", wanted.problems);
        assert_eq!(wanted.recipe.stripes.sigma, 4.0);
        let changed: Vec<String> = wanted.changed(&base).into_iter().map(|(key, _)| key).collect();
        assert_eq!(changed, ["p.geometry.pixel_size_um", "p.stripes.method", "p.stripes.sigma"]);
        let wrong = read(
            &base,
            &pairs(&[
                ("stripes.sigma", "-1"),
                ("binning.factor", "3"),
                ("mask.enabled", "maybe"),
                ("no.such", "1"),
            ]),
        );
        for key in ["stripes.sigma", "binning.factor", "mask.enabled"] {
            assert!(
                wrong.problem(key).is_some_and(|text| text.contains("allowed")),
                "{key}: {:?}",
                wrong.problems
            );
        }
        assert_eq!(wrong.problem(""), Some("there is no parameter \"no.such\""));
        assert_eq!(wrong.texts["stripes.sigma"], "-1", "the form shows what was typed");
    }

    #[test]
    fn every_value_of_the_table_survives_its_field() {
        let base = Recipe::default();
        for parameter in PARAMETERS {
            let mut recipe = base.clone();
            let shown = text(&parameter.get(&base));
            set(&mut recipe, parameter, &shown)
                .unwrap_or_else(|why| panic!("{}={shown}: {why}", parameter.key));
            assert_eq!(parameter.get(&recipe), parameter.get(&base), "{}", parameter.key);
        }
        let center = at_center(&pairs(&[("center.value", "3"), ("stripes.sigma", "4")]), 1280.25);
        let wanted = read(&base, &center);
        assert_eq!((wanted.recipe.center.value, wanted.recipe.stripes.sigma), (Some(1280.25), 4.0));
    }
}
