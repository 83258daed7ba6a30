//! A deployment of ours in Prefect's words: its form, its schedules, and what differs from what is there.

use std::collections::BTreeMap;

use engine::When;
use prefect::{NewDeployment, NewSchedule, ScheduleSeen, Times};
use serde_json::{Map, Value, json};

/// A deployment as it should be in `pool`. The flow's id is set when it is known.
pub(super) fn translated(one: &engine::Deployment, pool: &str) -> NewDeployment {
    NewDeployment {
        name: one.name.clone(),
        flow_id: uuid::Uuid::nil(),
        description: one.description.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        tags: one.tags.clone(),
        parameters: one.parameters.clone(),
        parameter_openapi_schema: form(&one.schema),
        enforce_parameter_schema: true,
        work_pool_name: pool.to_owned(),
        work_queue_name: one.queue.clone(),
        paused: one.paused,
        concurrency_limit: one.concurrency,
        schedules: one.schedules.iter().filter_map(schedule).collect(),
        labels: BTreeMap::from([("engine".to_owned(), "beamrail".to_owned())]),
    }
}

/// A time that comes once is a run, not a schedule.
fn schedule(one: &engine::Schedule) -> Option<NewSchedule> {
    let schedule = match &one.when {
        When::Cron { expression, time_zone } => {
            Times::Cron { cron: expression.clone(), timezone: time_zone.clone() }
        }
        When::Every { interval, from } => Times::Interval {
            interval: interval.as_secs_f64(),
            anchor_date: *from,
            timezone: "UTC".to_owned(),
        },
        When::Once { .. } => return None,
    };
    // A slug is letters, digits and hyphens.
    let slug = one.id.replace(|c: char| !c.is_ascii_alphanumeric(), "-").to_lowercase();
    let parameters = one.parameters.clone();
    Some(NewSchedule { active: one.active, schedule, slug: Some(slug), parameters })
}

/// The schema as the interface makes a form of it: definitions where it looks for them, titles, an order (what must
/// be given first), and "or null" in the words that it has a field for.
pub(super) fn form(schema: &Value) -> Value {
    let mut form = moved(schema);
    let Some(map) = form.as_object_mut() else { return form };
    map.remove("$schema");
    map.insert("title".to_owned(), json!("Parameters"));
    if let Some(definitions) = map.remove("$defs") {
        map.insert("definitions".to_owned(), definitions);
    }
    let required: Vec<String> = map
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    let properties = map.entry("properties").or_insert_with(|| json!({}));
    let Some(properties) = properties.as_object_mut() else { return form };
    let mut names: Vec<String> = properties.keys().cloned().collect();
    let of_old = |name: &String| {
        let about = properties.get(name).and_then(|one| one.get("description")).and_then(Value::as_str);
        about.is_some_and(|about| about.starts_with("What older triggers pass"))
    };
    names.sort_by_key(|name| (!required.contains(name), of_old(name)));
    for (position, name) in names.iter().enumerate() {
        let Some(property) = properties.get_mut(name) else { continue };
        if !property.is_object() {
            *property = json!({});
        }
        if let Some(property) = property.as_object_mut() {
            or_null(property);
            property.entry("title").or_insert_with(|| json!(name));
            property.insert("position".to_owned(), json!(position));
        }
    }
    form
}

/// `type: [string, null]` becomes `anyOf: [{type: string}, {type: null}]`, of which the interface makes a field.
fn or_null(property: &mut Map<String, Value>) {
    let Some(Value::Array(types)) = property.get("type").cloned() else { return };
    let rest: Vec<String> = ["format", "items", "minimum", "maximum", "enum"].map(str::to_owned).to_vec();
    let mut choices = Vec::new();
    for kind in types {
        let mut choice = Map::from_iter([("type".to_owned(), kind.clone())]);
        if kind != "null" {
            choice.extend(rest.iter().filter_map(|key| Some((key.clone(), property.get(key)?.clone()))));
        }
        choices.push(Value::Object(choice));
    }
    property.remove("type");
    rest.iter().for_each(|key| drop(property.remove(key)));
    property.insert("anyOf".to_owned(), Value::Array(choices));
}

/// References to `$defs` become references to `definitions`.
fn moved(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| match value {
                Value::String(place) if key == "$ref" => {
                    (key.clone(), json!(place.replace("#/$defs/", "#/definitions/")))
                }
                value => (key.clone(), moved(value)),
            })
            .collect(),
        Value::Array(items) => items.iter().map(moved).collect(),
        other => other.clone(),
    }
}

/// The fields in which a deployment of ours differs from what it should be.
pub(super) fn differing(new: &NewDeployment, found: &prefect::Deployment) -> Vec<String> {
    let mut fields = Vec::new();
    let mut note = |field: &str, differs: bool| {
        if differs {
            fields.push(field.to_owned());
        }
    };
    note("description", found.description.as_deref().unwrap_or("") != new.description);
    note("parameters", found.parameters != new.parameters);
    note("parameter form", found.parameter_openapi_schema.as_ref() != Some(&new.parameter_openapi_schema));
    note("queue", found.work_queue_name.as_deref() != Some(&new.work_queue_name));
    note("tags", found.tags != new.tags);
    note("version", found.version.as_deref() != Some(&new.version));
    let times = new.schedules.iter().all(|one| found.schedules.iter().any(|seen| same_times(one, seen)));
    note("schedules", found.schedules.len() != new.schedules.len() || !times);
    let limit = found.global_concurrency_limit.as_ref().map(|limit| limit.limit);
    note("concurrency limit", limit.is_some() && limit != new.concurrency_limit);
    fields
}

/// Whether a schedule has the times of another, whoever wrote them.
pub(super) fn same_times(new: &NewSchedule, seen: &ScheduleSeen) -> bool {
    let text = |key: &str| seen.schedule.get(key).and_then(Value::as_str);
    match &new.schedule {
        Times::Cron { cron, timezone } => {
            text("cron") == Some(cron) && text("timezone").unwrap_or("UTC") == timezone
        }
        Times::Interval { interval, .. } => {
            seen.schedule.get("interval").and_then(Value::as_f64) == Some(*interval)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_an_order_and_finds_its_definitions() {
        let schema = json!({ "$schema": "x", "title": "P", "type": "object", "required": ["file_path"],
            "properties": {
                "config": { "description": "What older triggers pass; not used." },
                "anything": true,
                "file_path": { "type": "string" }, "mode": { "$ref": "#/$defs/Mode" },
                "center": { "type": ["number", "null"], "format": "double", "default": null } },
            "$defs": { "Mode": { "enum": ["a", "b"] } } });
        let form = form(&schema);
        let properties = &form["properties"];
        assert_eq!(properties["mode"]["$ref"], "#/definitions/Mode");
        assert_eq!(form["definitions"]["Mode"]["enum"], json!(["a", "b"]));
        assert_eq!(properties["file_path"]["title"], "file_path");
        assert_eq!(properties["file_path"]["position"], 0, "what must be given comes first");
        assert_eq!(properties["config"]["position"], 4, "what nobody needs comes last");
        assert_eq!(
            properties["center"]["anyOf"],
            json!([{ "type": "number", "format": "double" }, { "type": "null" }])
        );
        assert!(properties["center"].get("type").is_none());
        assert_eq!(properties["anything"]["title"], "anything");
        assert!(form.get("$defs").is_none() && form.get("$schema").is_none());
    }

    #[test]
    fn schedules_are_known_by_their_times() {
        let cron = |cron: &str| NewSchedule {
            active: true,
            schedule: Times::Cron { cron: cron.into(), timezone: "UTC".into() },
            slug: None,
            parameters: Value::Null,
        };
        let seen = |schedule| ScheduleSeen { id: None, schedule, active: false };
        let there = seen(json!({ "cron": "0 3 * * *", "timezone": "UTC", "day_or": true }));
        assert!(same_times(&cron("0 3 * * *"), &there));
        assert!(!same_times(&cron("0 4 * * *"), &there));
        assert!(!same_times(&cron("0 3 * * *"), &seen(json!({ "interval": 3600.0 }))));
    }
}
