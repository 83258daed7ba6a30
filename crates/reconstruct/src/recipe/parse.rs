//! Recipe files and `--set`.
//!
//! A recipe file has the optional keys `name`, `description` and `base` (the built-in recipe that it
//! changes, `default` where none is named), and sections of parameters. All its mistakes are reported
//! together, each with its line.

use super::error::{Error, Problem};
use super::table::{PARAMETERS, Parameter, Recipe, SECTIONS};
use super::value::{Kind, Value};
use super::{builtin, nearest};
use toml::de::{DeTable, DeValue};

/// Reads a recipe file's text.
///
/// `origin` names it in errors. The result is not yet checked for contradictions.
pub(super) fn parse(text: &str, origin: &str) -> Result<Recipe, Error> {
    let document = DeTable::parse(text).map_err(|error| Error::Syntax {
        origin: origin.into(),
        message: error.to_string().trim_end().to_owned(),
    })?;
    let document = document.get_ref();
    let line = |span: std::ops::Range<usize>| {
        let before = text.as_bytes().get(..span.start).unwrap_or_default();
        format!("line {}", 1 + before.iter().filter(|byte| **byte == b'\n').count())
    };
    let mut problems = Vec::new();
    let mut add = |key: &str, place: String, message: String| {
        problems.push(Problem { key: key.into(), place, message });
    };

    let mut recipe = match document.get("base").map(|value| (value.get_ref(), value.span())) {
        None => Recipe::default(),
        Some((DeValue::String(base), span)) => match builtin::get(base) {
            Ok(recipe) => recipe,
            Err(error) => {
                add("base", line(span), error.to_string());
                Recipe::default()
            }
        },
        Some((_, span)) => {
            add("base", line(span), "must be the name of a built-in recipe, in quotes".into());
            Recipe::default()
        }
    };

    // A file that says nothing about itself is called after its file, not after its base.
    recipe.name = std::path::Path::new(origin)
        .file_stem()
        .map_or_else(|| origin.to_owned(), |stem| stem.to_string_lossy().into_owned());
    recipe.description = String::new();

    for (key, value) in document {
        let place = line(key.span());
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("base", _) => {}
            ("name", DeValue::String(text)) => recipe.name = text.to_string(),
            ("description", DeValue::String(text)) => recipe.description = text.to_string(),
            (key @ ("name" | "description"), _) => add(key, place, "must be text, in quotes".into()),
            (section, DeValue::Table(table)) if SECTIONS.iter().any(|known| known.name == section) => {
                for (name, value) in table {
                    let key = format!("{section}.{}", name.get_ref());
                    let outcome = match find(&key) {
                        Ok(parameter) => convert(value.get_ref(), parameter.kind)
                            .and_then(|value| parameter.set(&mut recipe, &value)),
                        Err(message) => Err(message),
                    };
                    if let Err(message) = outcome {
                        add(&key, line(name.span()), message);
                    }
                }
            }
            (section, _) if SECTIONS.iter().any(|known| known.name == section) => {
                add(section, place, format!("is a section; write [{section}] on a line of its own"));
            }
            (unknown, value) => {
                let names = SECTIONS.iter().map(|section| section.name);
                let message = match (value, PARAMETERS.iter().find(|known| known.name == unknown)) {
                    (DeValue::Table(_), _) => match nearest(unknown, names.clone()) {
                        Some(near) => format!("no such section; did you mean [{near}]?"),
                        None => {
                            let names: Vec<&str> = names.collect();
                            format!("no such section; there are {}", names.join(", "))
                        }
                    },
                    (_, Some(known)) => {
                        format!("no such key here; it belongs into the section [{}]", known.section)
                    }
                    _ => "no such key; at the top there are only name, description, base and sections".into(),
                };
                add(unknown, place, message);
            }
        }
    }

    if problems.is_empty() { Ok(recipe) } else { Err(Error::Invalid { origin: origin.into(), problems }) }
}

/// Applies `key=value` settings, all or none.
pub(super) fn apply(recipe: &mut Recipe, settings: &[String]) -> Result<(), Error> {
    let mut changed = recipe.clone();
    let mut problems = Vec::new();
    for setting in settings {
        let (key, outcome) = match setting.split_once('=') {
            Some((key, text)) => (key.trim(), set_text(&mut changed, key.trim(), text)),
            None => (setting.trim(), Err("write --set key=value, for example stripes.sigma=4".into())),
        };
        if let Err(message) = outcome {
            problems.push(Problem { key: key.to_owned(), place: "--set".into(), message });
        }
    }
    if problems.is_empty() {
        *recipe = changed;
        Ok(())
    } else {
        Err(Error::Invalid { origin: "the recipe given on the command line".into(), problems })
    }
}

/// Sets one parameter from its text.
fn set_text(recipe: &mut Recipe, key: &str, text: &str) -> Result<(), String> {
    let parameter = find(key)?;
    let value = parameter
        .kind
        .read_text(text)
        .ok_or_else(|| format!("'{}' is not allowed: {}", text.trim(), parameter.allowed()))?;
    parameter.set(recipe, &value)
}

/// The parameter of that key, or what was probably meant.
fn find(key: &str) -> Result<&'static Parameter, String> {
    if let Some(parameter) = PARAMETERS.iter().find(|parameter| parameter.key == key) {
        return Ok(parameter);
    }
    let keys = PARAMETERS.iter().map(|parameter| parameter.key);
    // A bare name, or the right name in the wrong section, says more than spelling does.
    let name = key.rsplit('.').next().unwrap_or(key);
    let mut same_name = PARAMETERS.iter().filter(|parameter| parameter.name == name);
    let near = match (same_name.next(), same_name.next()) {
        (Some(only), None) => Some(only.key),
        _ => nearest(key, keys),
    };
    Err(match near {
        Some(near) => format!("no such parameter; did you mean {near}?"),
        None => {
            let section = key.split('.').next().unwrap_or(key);
            let names: Vec<&str> = PARAMETERS
                .iter()
                .filter(|parameter| parameter.section == section)
                .map(|parameter| parameter.name)
                .collect();
            if names.is_empty() {
                "no such parameter; `beamrail recipes show default` lists them all".into()
            } else {
                format!("no such parameter; section {section} has {}", names.join(", "))
            }
        }
    })
}

/// A TOML value as the table's; the error says why it has no counterpart.
fn convert(value: &DeValue<'_>, kind: Kind) -> Result<Value, String> {
    let number = |value: &DeValue<'_>| match value {
        DeValue::Integer(integer) => integer_of(integer).map(|integer| integer as f64),
        DeValue::Float(float) => float.as_str().parse().ok(),
        _ => None,
    };
    let converted = match value {
        DeValue::String(text) => Some(Value::Text(text.to_string())),
        DeValue::Boolean(flag) => Some(Value::Flag(*flag)),
        DeValue::Integer(integer) => integer_of(integer).map(Value::Integer),
        DeValue::Float(_) => number(value).map(Value::Number),
        DeValue::Array(items) => {
            let numbers: Option<Vec<f64>> = items.iter().map(|item| number(item.get_ref())).collect();
            numbers.map(Value::Numbers)
        }
        _ => None,
    };
    converted.ok_or_else(|| format!("must be {}", kind.words()))
}

/// The number that TOML spells, in any of its bases.
fn integer_of(integer: &toml::de::DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}
