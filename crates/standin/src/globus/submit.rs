//! Submission of transfers and deletes. The submission id makes it safe to send one twice.

use std::sync::Arc;

use serde_json::{Value, json};

use super::auth::{self, Token};
use super::http::{Answer, Reply, Request, new_id, request_id};
use super::moving;
use super::state::{Submission, World, text};
use super::task::{Kind, Task};

pub fn submission_id(_world: &World) -> Reply {
    Ok(Answer::ok(json!({"DATA_TYPE": "submission_id", "value": new_id()})))
}

pub fn submit(world: &Arc<World>, request: &Request, token: &Token) -> Reply {
    let document = request.json()?;
    let bad =
        |code: &str, message: &str| request.refuse(400, &format!("ClientError.BadRequest{code}"), message);
    let kind = match (text(&document, "DATA_TYPE"), request.path.rsplit('/').next()) {
        (Some("transfer"), Some("transfer")) => Kind::Transfer,
        (Some("delete"), Some("delete")) => Kind::Delete,
        _ => return Err(bad("", "DATA_TYPE does not fit this resource")),
    };
    let submission_id = text(&document, "submission_id").filter(|id| !id.is_empty());
    let submission_id = submission_id.ok_or_else(|| bad("", "submission_id is required"))?.to_owned();
    let unsaved =
        |error| request.refuse(500, "InternalError", &format!("The state cannot be saved: {error}"));
    let known = world
        .commit(|state| {
            state.submissions.get_mut(&submission_id).map(|submission| {
                submission.posts += 1;
                submission.task_id.clone()
            })
        })
        .map_err(unsaved)?;
    if let Some(task_id) = known {
        return Ok(accepted(request, kind, "Duplicate", &submission_id, &task_id));
    }
    check(world, request, token, kind, &document)?;
    let task = Task::new(new_id(), kind, &token.client, &submission_id, document, world)
        .map_err(|message| bad("", &message))?;
    let task_id = task.id.clone();
    let pending = world.read(|state| {
        state.tasks.values().filter(|task| task.is_open() && task.owner == token.client).count()
    });
    if pending >= world.config.pending_limit {
        return Err(request.refuse(409, "LimitExceeded", "Too many pending tasks; wait for some to end"));
    }
    // Two requests with one id at once: the first to come here makes the task.
    let first = world.commit(|state| {
        if let Some(submission) = state.submissions.get_mut(&submission_id) {
            submission.posts += 1;
            return Err(submission.task_id.clone());
        }
        state.next_task += 1;
        let mut task = task;
        task.order = state.next_task;
        state.submissions.insert(submission_id.clone(), Submission { task_id: task_id.clone(), posts: 1 });
        state.tasks.insert(task_id.clone(), task);
        Ok(())
    });
    match first {
        Ok(Ok(())) => {
            moving::start(world, task_id.clone());
            Ok(accepted(request, kind, "Accepted", &submission_id, &task_id))
        }
        Ok(Err(task_id)) => Ok(accepted(request, kind, "Duplicate", &submission_id, &task_id)),
        Err(error) => {
            Err(request.refuse(500, "InternalError", &format!("The state cannot be saved: {error}")))
        }
    }
}

/// What can be refused at once: collections, consents, items.
fn check(
    world: &World,
    request: &Request,
    token: &Token,
    kind: Kind,
    document: &Value,
) -> Result<(), Answer> {
    let bad =
        |code: &str, message: &str| request.refuse(400, &format!("ClientError.BadRequest{code}"), message);
    let ends: &[&str] = match kind {
        Kind::Transfer => &["source_endpoint", "destination_endpoint"],
        Kind::Delete => &["endpoint"],
    };
    for end in ends {
        let id = text(document, end).ok_or_else(|| bad("", &format!("'{end}' is required")))?;
        auth::consent(request, token, world.endpoint_of(request, id)?)?;
    }
    let items = document["DATA"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (data_type, fields, none): (_, &[&str], _) = match kind {
        Kind::Transfer => (
            "transfer_item",
            &["source_path", "destination_path"],
            ("NoTransferItems", "A transfer requires at least one item"),
        ),
        Kind::Delete => ("delete_item", &["path"], ("NoDeleteItems", "A delete requires at least one item")),
    };
    if items.is_empty() {
        return Err(bad(&format!(".{}", none.0), none.1));
    }
    for item in items {
        let complete = fields.iter().all(|field| text(item, field).is_some_and(|path| !path.is_empty()));
        if text(item, "DATA_TYPE") != Some(data_type) || !complete {
            return Err(bad("", &format!("Each item is a {data_type} with {}", fields.join(" and "))));
        }
    }
    match document.get("sync_level") {
        None | Some(Value::Null) => Ok(()),
        Some(level) if level.as_u64().is_some_and(|level| level <= 3) => Ok(()),
        Some(_) => Err(bad("", "sync_level is 0, 1, 2, 3 or null")),
    }
}

fn accepted(request: &Request, kind: Kind, code: &str, submission_id: &str, task_id: &str) -> Answer {
    let name = kind.word();
    let message = match code {
        "Duplicate" => "A task with this submission_id already exists".to_owned(),
        _ => format!("The {name} has been accepted and a task has been created and queued for execution"),
    };
    let body = json!({
        "DATA_TYPE": format!("{name}_result"), "code": code, "message": message, "request_id": request_id(),
        "resource": request.path, "submission_id": submission_id, "task_id": task_id,
        "task_link": {"DATA_TYPE": "link", "href": format!("/v0.10/task/{task_id}?format=json"), "rel": "related",
                      "resource": "task", "title": "related task"},
    });
    Answer::of(if code == "Duplicate" { 200 } else { 202 }, body)
}
