//! Deployments that another kind of worker serves: pointed at our pool, and put back as they were.
//!
//! What a deployment was is on disk before it is touched, and is never overwritten: taken over twice, the first
//! state is the one that is put back. Pool, queue and form change; code, defaults and schedules stay as they are.

use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use prefect::Client;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::translate::form;
use super::{Change, Item, Plan, full_name};
use crate::error::{Error, Result};

/// A deployment as it was before it was taken over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// Its flow.
    pub flow: String,
    /// Its name.
    pub name: String,
    /// The server.
    pub server: String,
    /// When.
    pub at: Timestamp,
    /// All that the server said of it.
    pub deployment: Value,
}

impl Saved {
    /// The pool that it was in.
    pub fn pool(&self) -> &str {
        self.deployment.get("work_pool_name").and_then(Value::as_str).unwrap_or("no pool")
    }
}

/// Fields that a server lets change, as far as it has them.
const CHANGEABLE: [&str; 16] = [
    "work_pool_name",
    "work_queue_name",
    "parameter_openapi_schema",
    "enforce_parameter_schema",
    "description",
    "version",
    "tags",
    "parameters",
    "paused",
    "path",
    "entrypoint",
    "job_variables",
    "storage_document_id",
    "infrastructure_document_id",
    "pull_steps",
    "manifest_path",
];
/// Those of them that only 3.x lets change.
const NEW: [&str; 2] = ["parameter_openapi_schema", "pull_steps"];

/// What was saved in this file; nothing where there is none.
///
/// # Errors
/// The file cannot be read.
pub fn saved(file: &Path) -> Result<Vec<Saved>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(broken(file, error)),
    };
    serde_json::from_str(&text).map_err(|error| broken(file, error))
}

fn broken(file: &Path, reason: impl ToString) -> Error {
    Error::Saved { path: file.to_path_buf(), reason: reason.to_string() }
}

/// Written whole: other name, sync, rename, sync of the folder.
fn write(file: &Path, all: &[Saved]) -> Result<()> {
    let explain = |error: std::io::Error| broken(file, error);
    let text = serde_json::to_vec_pretty(all).map_err(|error| broken(file, error))?;
    let fresh: PathBuf = file.with_extension("json.part");
    let mut open = std::fs::File::create(&fresh).map_err(explain)?;
    open.write_all(&text).and_then(|()| open.sync_all()).map_err(explain)?;
    std::fs::rename(&fresh, file).map_err(explain)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(explain)
}

/// Points the plan's foreign deployments at our pool, each saved first. Returns their names.
///
/// # Errors
/// The file cannot be written; what the server says. What was taken over before stays so.
pub async fn take_over(client: &Client, plan: &Plan, file: &Path) -> Result<Vec<String>> {
    let mut taken = Vec::new();
    for one in &plan.wanted.deployments {
        let name = full_name(one);
        let foreign = |(item, change): &(Item, Change)| {
            matches!(change, Change::Foreign(_)) && matches!(item, Item::Deployment(it) if *it == name)
        };
        if !plan.items.iter().any(foreign) {
            continue;
        }
        let Some(whole) = client.whole_deployment(&one.flow, &one.name).await? else { continue };
        let mut all = saved(file)?;
        if !all.iter().any(|it| it.flow == one.flow && it.name == one.name && it.server == server(client)) {
            all.push(Saved {
                flow: one.flow.clone(),
                name: one.name.clone(),
                server: server(client),
                at: Timestamp::now(),
                deployment: whole.clone(),
            });
            write(file, &all)?;
        }
        let mut change = json!({ "work_pool_name": plan.wanted.pool_of(one), "work_queue_name": one.queue });
        if client.version().await?.has_changeable_forms() {
            change["parameter_openapi_schema"] = form(&one.schema);
        } else {
            // The old form would refuse parameters that only ours has.
            change["enforce_parameter_schema"] = json!(false);
        }
        client.update_deployment(id(&whole)?, &change).await?;
        taken.push(name);
    }
    Ok(taken)
}

/// Puts back what was taken over from this server. Returns each name with the fields that could not be put back; where
/// there are none it is what it was, and the file forgets it.
///
/// # Errors
/// The file cannot be used; what the server says. What was put back before stays so.
pub async fn put_back(client: &Client, file: &Path) -> Result<Vec<(String, Vec<String>)>> {
    let mut back = Vec::new();
    for one in saved(file)?.into_iter().filter(|one| one.server == server(client)) {
        let name = format!("{}/{}", one.flow, one.name);
        let left = match client.whole_deployment(&one.flow, &one.name).await? {
            None => vec!["deleted in Prefect meanwhile".to_owned()],
            Some(now) => {
                let change = changes(&one.deployment, &now, client.version().await?.has_changeable_forms());
                if !change.is_empty() {
                    client.update_deployment(id(&now)?, &Value::Object(change)).await?;
                }
                let now = client.whole_deployment(&one.flow, &one.name).await?.unwrap_or_default();
                differences(&one.deployment, &now)
            }
        };
        if left.is_empty() {
            let mut rest = saved(file)?;
            rest.retain(|it| !(it.flow == one.flow && it.name == one.name && it.server == one.server));
            write(file, &rest)?;
        }
        back.push((name, left));
    }
    Ok(back)
}

fn server(client: &Client) -> String {
    client.settings().api.to_string()
}

fn id(whole: &Value) -> Result<uuid::Uuid> {
    let id = whole.get("id").and_then(Value::as_str).and_then(|text| text.parse().ok());
    id.ok_or_else(|| Error::Saved { path: PathBuf::new(), reason: "a deployment without an id".to_owned() })
}

/// The fields to change so that `now` becomes `before`.
fn changes(before: &Value, now: &Value, new: bool) -> Map<String, Value> {
    let mut change = Map::new();
    for field in CHANGEABLE.into_iter().filter(|field| new || !NEW.contains(field)) {
        if let Some(was) = before.get(field)
            && now.get(field) != Some(was)
        {
            change.insert(field.to_owned(), was.clone());
        }
    }
    // A queue's name means nothing without its pool.
    if change.contains_key("work_pool_name")
        && let Some(queue) = before.get("work_queue_name")
    {
        change.insert("work_queue_name".to_owned(), queue.clone());
    }
    change
}

/// Fields of the server's own.
const VOLATILE: [&str; 6] = ["updated", "last_polled", "status", "updated_by", "created_by", "work_queue_id"];

/// Names of the fields that are not what they were, in alphabetical order.
fn differences(before: &Value, now: &Value) -> Vec<String> {
    let fields = before.as_object().into_iter().flatten();
    let mut names: Vec<String> = fields
        .filter(|(field, was)| !VOLATILE.contains(&field.as_str()) && now.get(field) != Some(was))
        .map(|(field, _)| field.clone())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_is_written_whole_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("takeover.json");
        assert!(saved(&file).unwrap().is_empty());
        let one = Saved {
            flow: "dispatcher".into(),
            name: "run_832_dispatcher".into(),
            server: "http://h/api".into(),
            at: Timestamp::UNIX_EPOCH,
            deployment: json!({ "id": uuid::Uuid::nil(), "work_pool_name": "old" }),
        };
        write(&file, std::slice::from_ref(&one)).unwrap();
        assert_eq!(saved(&file).unwrap(), std::slice::from_ref(&one));
        assert_eq!(one.pool(), "old");
        std::fs::write(&file, "{").unwrap();
        let told = saved(&file).unwrap_err();
        assert!(!told.retry_helps() && told.to_string().contains("takeover.json"), "{told}");
    }

    #[test]
    fn only_what_differs_is_put_back() {
        let before = json!({ "work_pool_name": "old", "work_queue_name": "q", "entrypoint": "a.py:f",
            "parameter_openapi_schema": { "a": 1 }, "updated": "then" });
        let now = json!({ "work_pool_name": "beamrail", "work_queue_name": "q", "entrypoint": "a.py:f",
            "parameter_openapi_schema": { "b": 2 }, "updated": "now" });
        let change = Value::Object(changes(&before, &now, true));
        assert_eq!(
            change,
            json!({ "work_pool_name": "old", "work_queue_name": "q", "parameter_openapi_schema": { "a": 1 } })
        );
        assert!(!changes(&before, &now, false).contains_key("parameter_openapi_schema"));
        assert_eq!(differences(&before, &now), ["parameter_openapi_schema", "work_pool_name"]);
    }
}
