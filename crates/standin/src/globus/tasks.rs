//! Transfer's calls on tasks: list, get, update, cancel, events, files.

use serde_json::{Value, json};

use super::auth::Token;
use super::faults::glob;
use super::http::{Answer, Reply, Request, request_id};
use super::state::{World, text};
use super::task::{Event, Status, Task, time};

pub fn route(world: &World, request: &Request, token: &Token, method: &str, parts: &[&str]) -> Reply {
    if let ["task_list"] = parts {
        return list(world, request, token);
    }
    let ["task", id, rest @ ..] = parts else { return Err(request.not_found()) };
    let task = world.read(|state| state.tasks.get(*id).filter(|task| task.owner == token.client).cloned());
    let Some(task) = task else {
        return Err(request.refuse(404, "ClientError.NotFound", &format!("No task found with id '{id}'")));
    };
    match (method, rest) {
        ("GET", []) => Ok(Answer::ok(task.to_document())),
        ("PUT", []) => update(world, request, &task),
        ("POST", ["cancel"]) => cancel(world, request, &task),
        ("GET", ["event_list"]) => Ok(events(request, &task)),
        ("GET", ["successful_transfers"]) => Ok(arrived(request, &task)),
        ("GET", ["skipped_errors"]) => Ok(skipped(request, &task)),
        ("GET", ["pause_info"]) => Ok(pause_info(&task)),
        _ => Err(request.not_found()),
    }
}

/// A page by offset and limit.
fn page<T>(request: &Request, all: impl Iterator<Item = T>, default: usize) -> (usize, usize, Vec<T>) {
    let (offset, limit) = (request.number("offset", 0), request.number("limit", default).min(1000));
    (offset, limit, all.skip(offset).take(limit).collect())
}

fn list(world: &World, request: &Request, token: &Token) -> Reply {
    let filters: Vec<&str> = request
        .query
        .iter()
        .filter(|(key, _)| key == "filter")
        .flat_map(|(_, value)| value.split('/'))
        .filter(|part| !part.is_empty())
        .collect();
    let mut found: Vec<Task> = world.read(|state| {
        let mine = state.tasks.values().filter(|task| task.owner == token.client);
        mine.filter(|task| filters.iter().all(|filter| fits(task, filter))).cloned().collect()
    });
    found.sort_by_key(|task| std::cmp::Reverse(task.order));
    if let Some(order) = request.q("orderby") {
        let (field, direction) = order.split_once(' ').unwrap_or((order, "ASC"));
        found.sort_by(|a, b| {
            let by = |task: &Task| task.to_document()[field].to_string();
            let order = by(a).cmp(&by(b)).then(a.order.cmp(&b.order));
            if direction.eq_ignore_ascii_case("desc") { order.reverse() } else { order }
        });
    }
    let total = found.len();
    let (offset, limit, shown) = page(request, found.iter().map(Task::to_document), 10);
    Ok(Answer::ok(json!({
        "DATA_TYPE": "task_list", "offset": offset, "limit": limit, "total": total, "length": shown.len(), "DATA": shown,
    })))
}

/// One filter, such as `status:ACTIVE,INACTIVE` or `label:~scan*`; what is not known lets all pass.
fn fits(task: &Task, filter: &str) -> bool {
    let Some((field, wanted)) = filter.split_once(':') else { return true };
    let any = |found: &str| wanted.split(',').any(|wanted| wanted.eq_ignore_ascii_case(found));
    match field {
        "status" => any(task.status.as_str()),
        "type" => any(task.kind.word()),
        "task_id" => any(&task.id),
        "label" => {
            let label = task.label.as_deref().unwrap_or("").to_lowercase();
            wanted.split(',').any(|wanted| {
                let (not, wanted) = wanted.strip_prefix('!').map_or((false, wanted), |rest| (true, rest));
                let pattern = match (wanted.strip_prefix('~'), wanted.strip_prefix('=')) {
                    (Some(pattern), _) => pattern.to_lowercase(),
                    (_, Some(exact)) => exact.to_lowercase(),
                    _ => wanted.to_lowercase(),
                };
                glob(&pattern, &label) != not
            })
        }
        "request_time" | "completion_time" => {
            let (from, to) = wanted.split_once(',').unwrap_or((wanted, ""));
            let at = if field == "request_time" { Some(task.requested) } else { task.completed };
            let Some(at) = at else { return false };
            time(from).is_none_or(|from| at >= from) && time(to).is_none_or(|to| at <= to)
        }
        _ => true,
    }
}

fn result(request: &Request, code: &str, message: &str) -> Answer {
    Answer::ok(json!({
        "DATA_TYPE": "result", "code": code, "message": message, "request_id": request_id(), "resource": request.path,
    }))
}

fn update(world: &World, request: &Request, task: &Task) -> Reply {
    let body = request.json()?;
    let deadline = match text(&body, "deadline") {
        Some(given) => Some(time(given).ok_or_else(|| {
            request.refuse(400, "ClientError.BadRequest", &format!("deadline: '{given}' is no time"))
        })?),
        None => None,
    };
    if !task.is_open() {
        return Err(request.refuse(
            409,
            "ClientError.Conflict.TaskComplete",
            "The task has ended; it cannot be changed",
        ));
    }
    world.change(|state| {
        if let Some(task) = state.tasks.get_mut(&task.id) {
            if let Some(label) = text(&body, "label") {
                task.label = Some(label.to_owned());
            }
            if let Some(deadline) = deadline {
                task.deadline = deadline;
                task.fixed_deadline = true;
            }
        }
    });
    Ok(result(request, "Updated", "Updated task successfully"))
}

fn cancel(world: &World, request: &Request, task: &Task) -> Reply {
    let open = world.commit(|state| {
        state.tasks.get_mut(&task.id).filter(|task| task.is_open()).map(|task| {
            task.end(Status::Failed, Some(("CANCELED", "The task was canceled by its owner")));
        })
    });
    match open {
        Ok(Some(())) => Ok(result(request, "Canceled", "The task has been cancelled successfully.")),
        Ok(None) => {
            Ok(result(request, "TaskComplete", "The task completed before the cancel request was processed."))
        }
        Err(error) => {
            Err(request.refuse(500, "InternalError", &format!("The state cannot be saved: {error}")))
        }
    }
}

fn events(request: &Request, task: &Task) -> Answer {
    let wanted = request.q("filter_is_error").or_else(|| request.q("filter")?.strip_prefix("is_error:"));
    let only_errors = wanted.is_some_and(|value| matches!(value, "1" | "true" | "True"));
    let document = |event: &Event| {
        json!({
            "DATA_TYPE": "event", "code": event.code, "description": event.description, "details": event.details,
            "is_error": event.is_error, "time": super::http::stamp(event.time), "parent_task_id": null,
        })
    };
    // Newest first.
    let all: Vec<Value> =
        task.events.iter().rev().filter(|event| event.is_error || !only_errors).map(document).collect();
    let total = all.len();
    let (offset, limit, shown) = page(request, all.into_iter(), 10);
    Answer::ok(json!({
        "DATA_TYPE": "event_list", "offset": offset, "limit": limit, "total": total, "length": shown.len(), "DATA": shown,
    }))
}

/// A page behind a marker; the last has no next one.
fn marked(request: &Request, data_type: &str, all: Vec<Value>) -> Answer {
    let marker = request.number("marker", 0);
    let limit = request.number("limit", 100).clamp(1, 1000);
    let total = all.len();
    let shown: Vec<Value> = all.into_iter().skip(marker).take(limit).collect();
    let next = marker + shown.len();
    Answer::ok(json!({
        "DATA_TYPE": data_type, "marker": marker, "next_marker": (next < total).then_some(next), "DATA": shown,
    }))
}

fn arrived(request: &Request, task: &Task) -> Answer {
    let all = task.arrived.iter().map(|file| {
        json!({
            "DATA_TYPE": "successful_transfer", "source_path": file.source, "destination_path": file.destination,
            "checksum": file.checksum, "checksum_algorithm": file.checksum.as_ref().map(|_| "MD5"), "size": file.size,
        })
    });
    marked(request, "successful_transfers", all.collect())
}

fn skipped(request: &Request, task: &Task) -> Answer {
    let all = task.skipped.iter().map(|path| {
        json!({
            "DATA_TYPE": "skipped_error", "source_path": path.source, "destination_path": path.destination,
            "error_code": path.code, "error_details": path.details, "error_time": super::http::stamp(path.time),
            "checksum_algorithm": null, "external_checksum": null, "is_delete_destination_extra": false,
            "is_directory": false, "is_symlink": false,
        })
    });
    marked(request, "skipped_errors", all.collect())
}

fn pause_info(task: &Task) -> Answer {
    let rule = json!({
        "DATA_TYPE": "pause_rule_limited", "id": task.id, "message": "Paused by an administrator",
        "start_time": null, "endpoint_id": task.source, "endpoint_display_name": task.source_name,
        "identity_id": null, "modified_time": null, "pause_ls": false, "pause_mkdir": false, "pause_rename": false,
        "pause_task_delete": true, "pause_task_transfer_write": true, "pause_task_transfer_read": true,
        "pause_symlink": false, "pause_read": false, "pause_write": false, "created_by_host_manager": false,
    });
    Answer::ok(json!({
        "DATA_TYPE": "pause_info_limited",
        "pause_rules": if task.paused { vec![rule] } else { Vec::new() },
        "source_pause_message": null, "source_pause_message_share": null,
        "destination_pause_message": null, "destination_pause_message_share": null,
    }))
}
