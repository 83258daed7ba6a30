//! What the actions of flows do: transfers, deletes, folders, compute tasks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::auth::consents;
use super::compute::pack;
use super::copying::hex;
use super::flowruns::{Action, Problem};
use super::http::new_id;
use super::jobs::{self, Job};
use super::moving;
use super::state::{State, Submission, World, text};
use super::task::{Kind, Status, Task};

/// Starts the action at this URL; `keep` notes what was started, in the same write.
pub fn begin(
    world: &Arc<World>,
    owner: &str,
    run: &str,
    url: &str,
    parameters: &Value,
    keep: impl Fn(&Action, &mut State),
) -> Result<Action, Problem> {
    let path = url.trim_end_matches('/');
    if path.contains("compute") {
        compute(world, owner, run, parameters, keep)
    } else if path.ends_with("/delete") {
        task(world, owner, run, Kind::Delete, parameters, keep)
    } else if path.contains("transfer") {
        task(world, owner, run, Kind::Transfer, parameters, keep)
    } else {
        Err(("ActionUnknown".to_owned(), format!("The stand-in has no action {url}")))
    }
}

fn problem(code: &str, text: impl Into<String>) -> Problem {
    (code.to_owned(), text.into())
}

fn saved<T>(outcome: std::io::Result<T>) -> Result<T, Problem> {
    outcome.map_err(|error| problem("InternalError", format!("The state cannot be saved: {error}")))
}

/// A transfer or delete, from the parameters of either version of the action provider.
fn task(
    world: &Arc<World>,
    owner: &str,
    run: &str,
    kind: Kind,
    parameters: &Value,
    keep: impl Fn(&Action, &mut State),
) -> Result<Action, Problem> {
    let either =
        |new: &str, old: &str| text(parameters, new).or_else(|| text(parameters, old)).map(str::to_owned);
    let mut document = parameters.clone();
    let asked = world.read(|state| state.runs.get(run).map(|run| run.asked.clone())).unwrap_or_default();
    let need = |found: Option<String>, name: &str| {
        let collection = found.as_deref().and_then(|id| world.collection(id));
        let collection =
            collection.ok_or_else(|| problem("ActionFailed", format!("{name}: no such endpoint")))?;
        if !consents(&asked, collection) {
            return Err(problem(
                "ConsentRequired",
                format!("Missing required data_access consent for {}", collection.id),
            ));
        }
        Ok(collection.id.clone())
    };
    let items = parameters
        .get("DATA")
        .or_else(|| parameters.get("transfer_items"))
        .or_else(|| parameters.get("items"));
    document["DATA"] = items.cloned().unwrap_or_else(|| json!([]));
    match kind {
        Kind::Transfer => {
            document["source_endpoint"] =
                json!(need(either("source_endpoint", "source_endpoint_id"), "source_endpoint")?);
            let destination = either("destination_endpoint", "destination_endpoint_id");
            document["destination_endpoint"] = json!(need(destination, "destination_endpoint")?);
        }
        Kind::Delete => document["endpoint"] = json!(need(either("endpoint", "endpoint_id"), "endpoint")?),
    }
    let paths = document["DATA"].as_array_mut().map(std::mem::take).unwrap_or_default();
    // Deletes may name plain paths.
    document["DATA"] =
        paths.into_iter().map(|item| if item.is_string() { json!({"path": item}) } else { item }).collect();
    let submission_id = new_id();
    let task = Task::new(new_id(), kind, owner, &submission_id, document, world)
        .map_err(|text| problem("ActionFailed", text))?;
    let id = task.id.clone();
    let action = Action::Task(id.clone());
    saved(world.commit(|state| {
        state.next_task += 1;
        let order = state.next_task;
        state.tasks.insert(id.clone(), Task { order, ..task });
        state.submissions.insert(submission_id.clone(), Submission { task_id: id.clone(), posts: 1 });
        keep(&action, state);
    }))?;
    moving::start(world, id);
    Ok(action)
}

/// Compute tasks, from the parameters of either version of the action provider.
fn compute(
    world: &Arc<World>,
    owner: &str,
    run: &str,
    parameters: &Value,
    keep: impl Fn(&Action, &mut State),
) -> Result<Action, Problem> {
    let single = [json!({
        "function": text(parameters, "function").or_else(|| text(parameters, "function_id")),
        "args": parameters.get("args"), "kwargs": parameters.get("kwargs"),
    })];
    let tasks = parameters["tasks"].as_array().map_or(&single[..], Vec::as_slice);
    let endpoint = text(parameters, "endpoint")
        .or_else(|| text(parameters, "endpoint_id"))
        .or_else(|| text(&tasks[0], "endpoint"));
    let endpoint = endpoint.filter(|id| world.read(|state| state.endpoints.contains_key(*id)));
    let endpoint = endpoint.ok_or_else(|| problem("ActionFailed", "endpoint: no such endpoint"))?;
    let mut all = Vec::new();
    for task in tasks {
        let function = text(task, "function").or_else(|| text(task, "function_id")).unwrap_or("");
        let code = world.read(|state| state.functions.get(function).map(super::compute::Function::code));
        let code =
            code.ok_or_else(|| problem("ActionFailed", format!("function: no such function '{function}'")))?;
        let part = |name: &str, none: Value| {
            let value = task.get(name).filter(|value| !value.is_null()).cloned().unwrap_or(none);
            format!("11\n{value}")
        };
        let payload = pack(&[&part("args", json!([])), &part("kwargs", json!({}))]);
        let mut job = Job::new(owner, endpoint, function, &format!("{code}{payload}"), run);
        job.serializers = vec!["globus_compute_sdk.serialize.JSONData".to_owned()];
        job.fingerprint = hex(&Md5::digest(format!("{function} {payload}")));
        all.push(job);
    }
    let ids: Vec<String> = all.iter().map(|job| job.id.clone()).collect();
    let action = Action::Jobs(ids.clone());
    saved(world.commit(|state| {
        state.jobs.extend(all.into_iter().map(|job| (job.id.clone(), job)));
        keep(&action, state);
    }))?;
    ids.into_iter().for_each(|id| jobs::start(world, id));
    Ok(action)
}

/// Waits for the end of an action and gives its result as the run's context has it.
pub fn wait(world: &World, run: &str, action: &Action, deadline: Instant) -> Result<Value, Problem> {
    let stopped = || problem("Stopped", "The run has ended");
    let outcome = world.until(|state| {
        if Instant::now() >= deadline {
            return Some(Err(problem("ActionTimeout", "The action did not end within its WaitTime")));
        }
        if state.runs.get(run).is_none_or(|run| !run.is_open()) {
            return Some(Err(stopped()));
        }
        match action {
            Action::Task(id) => {
                let task = state.tasks.get(id)?;
                match task.status {
                    Status::Active | Status::Inactive => None,
                    Status::Succeeded => Some(Ok(result(id, "SUCCEEDED", task.to_document()))),
                    Status::Failed => {
                        let (code, text) = task.fatal.clone().unwrap_or_default();
                        Some(Err(problem("ActionFailedException", format!("{code}: {text} (task {id})"))))
                    }
                }
            }
            Action::Jobs(ids) => {
                let jobs: Vec<&Job> = ids.iter().filter_map(|id| state.jobs.get(id)).collect();
                if let Some(failed) = jobs.iter().find(|job| job.status == "failed") {
                    let cause = failed.exception.clone().unwrap_or_default();
                    return Some(Err(problem("ActionFailedException", cause)));
                }
                jobs.iter().all(|job| job.status == "success").then(|| {
                    let output = |job: &Job| {
                        let text = job.result.as_deref().unwrap_or("");
                        text.strip_prefix("11\n")
                            .and_then(|json| serde_json::from_str(json).ok())
                            .unwrap_or(json!(text))
                    };
                    let results: Vec<Value> =
                        jobs.iter().map(|job| json!({"task_id": job.id, "output": output(job)})).collect();
                    let outputs: Vec<Value> = jobs.iter().map(|job| output(job)).collect();
                    Ok(result(run, "SUCCEEDED", json!({"results": results, "result": outputs})))
                })
            }
        }
    });
    // Seen at once by `until`; the pause is for a state that does not change.
    std::thread::sleep(Duration::from_millis(1));
    outcome.unwrap_or_else(|| Err(stopped()))
}

fn result(id: &str, status: &str, details: Value) -> Value {
    json!({"action_id": id, "status": status, "display_status": status, "details": details, "release_after": null})
}
