//! What Prefect must have: pool, queues, deployments, the JSON block type, the automation against zombies.
//!
//! [`plan`] compares and changes nothing; [`Plan::apply`] does what the plan says. Doing it again changes nothing. A
//! deployment that another kind of worker serves is not taken over.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use engine::When;
use prefect::{Client, NewDeployment, NewSchedule, Times};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::worker::POOL_TYPE;

/// The automation's name.
const ZOMBIES: &str = "beamrail: runs of silent workers";
/// Three signs of life missed.
const SILENCE: Duration = Duration::from_secs(100);

/// A thing in Prefect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The work pool.
    Pool(String),
    /// A queue of it.
    Queue(String),
    /// A deployment, "flow/name".
    Deployment(String),
    /// The type of JSON blocks.
    JsonBlocks,
    /// The automation against zombies.
    Automation(String),
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Pool(name) => write!(f, "work pool {name}"),
            Item::Queue(name) => write!(f, "queue {name}"),
            Item::Deployment(name) => write!(f, "deployment {name}"),
            Item::JsonBlocks => write!(f, "block type json"),
            Item::Automation(name) => write!(f, "automation \"{name}\""),
        }
    }
}

/// What is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is as it should be.
    Same,
    /// It is not there.
    Missing,
    /// It differs: in these fields.
    Differs(Vec<String>),
    /// Another kind of worker serves it; it is left alone.
    Foreign(String),
}

/// What differs between what should be and what is.
pub struct Plan {
    /// Each thing with its change.
    pub items: Vec<(Item, Change)>,
    pool: String,
    deployments: Vec<(String, NewDeployment)>,
}

/// Compares. `wanted` are the deployments by the names that triggers use; each is made as `flow/name`, in its queue of
/// this pool.
///
/// # Errors
/// What the server says.
pub async fn plan(client: &Client, pool: &str, wanted: &[engine::Deployment]) -> Result<Plan> {
    let mut items = Vec::new();
    let there = client.work_pool(pool).await?;
    if let Some(found) = &there
        && found.kind != POOL_TYPE
    {
        return Err(Error::WrongPool { pool: pool.to_owned(), kind: found.kind.clone() });
    }
    items.push((Item::Pool(pool.to_owned()), if there.is_some() { Change::Same } else { Change::Missing }));
    let mut queues: Vec<&str> = wanted.iter().map(|one| one.queue.as_str()).collect();
    queues.sort_unstable();
    queues.dedup();
    for queue in queues {
        let found = there.is_some() && client.work_queue(pool, queue).await?.is_some();
        items.push((Item::Queue(queue.to_owned()), if found { Change::Same } else { Change::Missing }));
    }
    let json = client.block_type("json").await?.is_some();
    items.push((Item::JsonBlocks, if json { Change::Same } else { Change::Missing }));
    if client.version().await?.has_events() {
        let found = client.automations().await?.iter().any(|one| one.name == ZOMBIES);
        let item = Item::Automation(ZOMBIES.to_owned());
        items.push((item, if found { Change::Same } else { Change::Missing }));
    }
    let mut deployments = Vec::new();
    for one in wanted {
        let new = translated(one, pool, uuid::Uuid::nil());
        let name = format!("{}/{}", one.flow, one.name);
        let change = match client.deployment(&one.flow, &one.name).await? {
            None => Change::Missing,
            Some(found) if found.work_pool_name.as_deref() != Some(pool) => {
                Change::Foreign(found.work_pool_name.unwrap_or_else(|| "no pool".to_owned()))
            }
            Some(found) => match differing(&new, &found) {
                fields if fields.is_empty() => Change::Same,
                fields => Change::Differs(fields),
            },
        };
        items.push((Item::Deployment(name), change));
        deployments.push((one.flow.clone(), new));
    }
    Ok(Plan { items, pool: pool.to_owned(), deployments })
}

impl Plan {
    /// Whether nothing is to be done.
    pub fn is_done(&self) -> bool {
        self.items.iter().all(|(_, change)| matches!(change, Change::Same | Change::Foreign(_)))
    }

    /// Does it. What was changed in Prefect by hand (paused, parameters of schedules) and is no field here, stays.
    ///
    /// # Errors
    /// What the server says; what was done before stays done.
    pub async fn apply(&self, client: &Client) -> Result<()> {
        for (item, change) in &self.items {
            if matches!(change, Change::Same | Change::Foreign(_)) {
                continue;
            }
            match item {
                Item::Pool(name) => {
                    let about = "Runs of beamrail; its workers are started with `beamrail worker`";
                    client.create_work_pool(name, POOL_TYPE, about, &json!({})).await?;
                }
                Item::Queue(name) => {
                    client.create_work_queue(&self.pool, name, None, None).await?;
                }
                Item::JsonBlocks => {
                    client.ensure_json_type().await?;
                }
                Item::Automation(name) => {
                    client.create_automation(&prefect::zombies(name, SILENCE)).await?;
                }
                Item::Deployment(name) => {
                    let Some((flow, new)) =
                        self.deployments.iter().find(|(flow, new)| format!("{flow}/{}", new.name) == *name)
                    else {
                        continue;
                    };
                    let flow_id = client.flow(flow).await?.id;
                    let paused = client.deployment(flow, &new.name).await?.is_some_and(|found| found.paused);
                    client.put_deployment(&NewDeployment { flow_id, paused, ..new.clone() }).await?;
                }
            }
        }
        Ok(())
    }
}

fn translated(one: &engine::Deployment, pool: &str, flow_id: uuid::Uuid) -> NewDeployment {
    NewDeployment {
        name: one.name.clone(),
        flow_id,
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
    let parameters = one.parameters.clone();
    Some(NewSchedule { active: one.active, schedule, slug: Some(one.id.clone()), parameters })
}

/// The schema as the interface makes a form of it: definitions where it looks for them, titles, and an order.
fn form(schema: &Value) -> Value {
    let mut form = moved(schema);
    if let Some(map) = form.as_object_mut() {
        map.remove("$schema");
        map.insert("title".to_owned(), json!("Parameters"));
        if let Some(definitions) = map.remove("$defs") {
            map.insert("definitions".to_owned(), definitions);
        }
        let properties = map.entry("properties").or_insert_with(|| json!({}));
        for (position, (name, property)) in properties.as_object_mut().into_iter().flatten().enumerate() {
            if let Some(property) = property.as_object_mut() {
                property.entry("title").or_insert_with(|| json!(name));
                property.insert("position".to_owned(), json!(position));
            }
        }
    }
    form
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

fn differing(new: &NewDeployment, found: &prefect::Deployment) -> Vec<String> {
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
    note("schedules", found.schedules.len() != new.schedules.len());
    let limit = found.global_concurrency_limit.as_ref().map(|limit| limit.limit);
    note("concurrency limit", limit.is_some() && limit != new.concurrency_limit);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_an_order_and_finds_its_definitions() {
        let schema = json!({ "$schema": "x", "title": "P", "type": "object", "required": ["file_path"],
            "properties": { "file_path": { "type": "string" }, "mode": { "$ref": "#/$defs/Mode" } },
            "$defs": { "Mode": { "enum": ["a", "b"] } } });
        let form = form(&schema);
        assert_eq!(form["properties"]["mode"]["$ref"], "#/definitions/Mode");
        assert_eq!(form["definitions"]["Mode"]["enum"], json!(["a", "b"]));
        assert_eq!(form["properties"]["file_path"]["title"], "file_path");
        assert_eq!(form["properties"]["mode"]["position"], 1);
        assert!(form.get("$defs").is_none() && form.get("$schema").is_none());
    }
}
