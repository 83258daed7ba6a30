//! The web service of Globus Compute: functions, endpoints, tasks.

use std::sync::Arc;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::auth::{self, Token};
use super::copying::hex;
use super::faults::{Kind as Fault, Victim};
use super::http::{Answer, Reply, Request, merged, new_id, now};
use super::jobs::{self, Job};
use super::state::{State, World, text};

/// Bytes of one submission, as the service documents it.
const LARGEST_PAYLOAD: usize = 10 << 20;
const API_VERSION: &str = "1.55.0";

/// A registered function.
#[derive(Clone, Deserialize, Serialize)]
pub struct Function {
    pub id: String,
    pub owner: String,
    pub document: Value,
}

impl Function {
    /// The function as it is put before a task's payload.
    pub fn code(&self) -> String {
        let code = text(&self.document, "function_code").unwrap_or("");
        if self.document.get("serialized").and_then(Value::as_bool) == Some(false) {
            // Plain source: wrapped as the SDK's own serializer would.
            let name = text(&self.document, "function_name").unwrap_or("function");
            return pack(&[&format!("st\n{name}:{code}")]);
        }
        code.to_owned()
    }
}

/// Texts behind their lengths, which count code points.
pub fn pack(buffers: &[&str]) -> String {
    buffers.iter().map(|buffer| format!("{}\n{buffer}", buffer.chars().count())).collect()
}

/// A registered endpoint.
#[derive(Clone, Deserialize, Serialize)]
pub struct Endpoint {
    pub id: String,
    pub name: String,
    pub document: Value,
    /// What a real endpoint reported last, if one is connected.
    #[serde(default)]
    pub heard: Option<String>,
}

impl Endpoint {
    pub fn new(id: &str, name: &str) -> Self {
        Self { id: id.to_owned(), name: name.to_owned(), document: json!({}), heard: None }
    }
}

pub fn route(world: &Arc<World>, request: &Request, method: &str, parts: &[&str]) -> Reply {
    // The version is told to anybody.
    if let ("GET", ["v2", "version"]) = (method, parts) {
        return Ok(version(request));
    }
    let token = auth::authorize(world, request, auth::COMPUTE)?;
    match (method, parts) {
        ("POST", ["v2" | "v3", "functions"]) => register_function(world, request, &token),
        ("GET", ["v2" | "v3", "functions", id]) => get_function(world, request, id),
        ("DELETE", ["v2" | "v3", "functions", id]) => {
            world
                .change(|state| state.functions.remove(*id))
                .ok_or_else(|| absent(request, "Function", id))?;
            Ok(Answer::ok(json!({"result": 302})))
        }
        ("POST", ["v3", "endpoints"]) => register_endpoint(world, request, None),
        ("PUT", ["v3", "endpoints", id]) => register_endpoint(world, request, Some(id)),
        ("GET", ["v2", "endpoints"]) => {
            Ok(Answer::ok(world.read(|state| state.endpoints.values().map(endpoint_document).collect())))
        }
        ("GET", ["v2", "endpoints", id]) => {
            let found = world.read(|state| state.endpoints.get(*id).map(endpoint_document));
            found.map(Answer::ok).ok_or_else(|| absent(request, "Endpoint", id))
        }
        ("GET", ["v2", "endpoints", id, "status"]) => endpoint_status(world, request, id),
        ("DELETE", ["v2", "endpoints", id]) => {
            world
                .change(|state| state.endpoints.remove(*id))
                .ok_or_else(|| absent(request, "Endpoint", id))?;
            Ok(Answer::ok(json!({"result": 302})))
        }
        ("POST", ["v2" | "v3", "endpoints", _, "lock"]) => {
            Ok(Answer::ok(json!({"endpoint_id": parts[2], "lock_expiration_timestamp": now()})))
        }
        ("POST", ["v3", "endpoints", id, "submit"]) => submit(world, request, &token, id),
        ("POST", ["v2", "submit"]) => submit_old(world, request, &token),
        ("GET", ["v2", "tasks", id]) => {
            let found = world.read(|state| {
                state.jobs.get(*id).filter(|job| job.owner == token.client).map(Job::to_document)
            });
            found.map(Answer::ok).ok_or_else(|| absent(request, "Task", id))
        }
        ("POST", ["v2", "batch_status"]) => batch_status(world, request, &token),
        ("GET", ["v2", "taskgroup", id]) => task_group(world, request, id),
        _ => Err(request.not_found()),
    }
}

fn absent(request: &Request, what: &str, id: &str) -> Answer {
    let code = format!("{}_NOT_FOUND", what.to_uppercase());
    request.refuse(404, &code, &format!("{what} {id} could not be resolved"))
}

fn version(request: &Request) -> Answer {
    if request.q("service") == Some("all") {
        return Answer::ok(json!({
            "api": API_VERSION, "min_sdk_version": "1.0.0", "min_endpoint_version": "1.0.0",
            "min_ep_version": "1.0.0", "min_ep_min_version": "1.0.0", "git_sha": "0".repeat(40),
        }));
    }
    Answer::ok(json!(API_VERSION))
}

fn register_function(world: &World, request: &Request, token: &Token) -> Reply {
    let document = request.json()?;
    if text(&document, "function_code").is_none_or(str::is_empty)
        || text(&document, "function_name").is_none()
    {
        return Err(request.refuse(400, "BAD_REQUEST", "function_name and function_code are required"));
    }
    let function = Function { id: new_id(), owner: token.client.clone(), document };
    let id = function.id.clone();
    saved(request, world.commit(|state| state.functions.insert(id.clone(), function)))?;
    Ok(Answer::ok(json!({"function_uuid": id})))
}

fn saved<T>(request: &Request, outcome: std::io::Result<T>) -> Result<T, Answer> {
    outcome.map_err(|error| {
        request.refuse(500, "INTERNAL_ERROR", &format!("The state cannot be saved: {error}"))
    })
}

fn get_function(world: &World, request: &Request, id: &str) -> Reply {
    let function = world
        .read(|state| state.functions.get(id).cloned())
        .ok_or_else(|| absent(request, "Function", id))?;
    let field = |name: &str| function.document.get(name).cloned().unwrap_or(Value::Null);
    Ok(Answer::ok(json!({
        "function_uuid": function.id, "function_name": field("function_name"), "function_code": field("function_code"),
        "description": field("description"), "metadata": field("meta"),
    })))
}

fn register_endpoint(world: &World, request: &Request, id: Option<&str>) -> Reply {
    let document = request.json()?;
    let name =
        text(&document, "endpoint_name").or_else(|| text(&document, "display_name")).unwrap_or("endpoint");
    // A real endpoint takes the place of the one that is there from the start.
    let asked = id.or_else(|| text(&document, "endpoint_uuid")).filter(|_| world.bridge.get().is_none());
    let id = asked.map_or_else(|| world.endpoint(), str::to_owned);
    let mut endpoint = Endpoint::new(&id, name);
    endpoint.document = document;
    saved(request, world.commit(|state| state.endpoints.insert(id.clone(), endpoint)))?;
    let queues = world.bridge.get().map_or_else(|| json!({}), |bridge| bridge.queues_of_endpoint(&id));
    Ok(Answer::ok(merged(json!({"endpoint_id": id}), queues)))
}

fn endpoint_document(endpoint: &Endpoint) -> Value {
    let field = |name: &str| endpoint.document.get(name).cloned().unwrap_or(Value::Null);
    let metadata = endpoint.document.get("metadata").cloned().unwrap_or(Value::Null);
    let of_metadata = |name: &str| metadata.get(name).cloned().unwrap_or(Value::Null);
    json!({
        "uuid": endpoint.id, "name": endpoint.name, "display_name": endpoint.name, "description": field("description"),
        "multi_user": field("multi_user"), "public": false, "endpoint_config": of_metadata("endpoint_config"),
        "user_config_template": of_metadata("user_config_template"), "user_config_schema": of_metadata("user_config_schema"),
        "hostname": of_metadata("hostname"), "ip_address": of_metadata("ip_address"),
        "local_user": of_metadata("local_user"), "sdk_version": of_metadata("sdk_version"),
        "endpoint_version": of_metadata("endpoint_version"), "subscription_uuid": null,
    })
}

/// Is this endpoint offline at the moment?
pub fn offline(state: &State, id: &str, bridged: bool) -> bool {
    let names = [id.to_owned()];
    let victim = Victim { collections: &names, ..Victim::default() };
    let heard = state.endpoints.get(id).and_then(|endpoint| endpoint.heard.as_ref()).is_some();
    state.under(&victim, &Fault::EndpointOffline) || (bridged && !heard)
}

fn endpoint_status(world: &World, request: &Request, id: &str) -> Reply {
    let bridged = world.bridge.get().is_some();
    world.read(|state| {
        if !state.endpoints.contains_key(id) {
            return Err(absent(request, "Endpoint", id));
        }
        let here = || state.jobs.values().filter(|job| job.endpoint == id && job.is_open());
        let running = here().filter(|job| job.status == "running").count();
        let offline = offline(state, id, bridged);
        let workers = if offline { 0 } else { world.config.workers };
        let details = json!({
            "total_workers": workers, "idle_workers": workers.saturating_sub(running), "managers": usize::from(!offline),
            "pending_tasks": here().count() - running, "outstanding_tasks": here().count(),
        });
        Ok(Answer::ok(json!({"status": if offline { "offline" } else { "online" }, "details": details})))
    })
}

fn submit(world: &Arc<World>, request: &Request, token: &Token, endpoint: &str) -> Reply {
    let body = request.json()?;
    let tasks = body.get("tasks").and_then(Value::as_object).filter(|tasks| !tasks.is_empty());
    let tasks = tasks
        .ok_or_else(|| request.refuse(400, "BAD_REQUEST", "tasks: an object of function ids is required"))?;
    let group = text(&body, "task_group_id").map_or_else(new_id, str::to_owned);
    let mut made = Map::new();
    let mut all = Vec::new();
    for (function, payloads) in tasks {
        let mut ids = Vec::new();
        for payload in payloads.as_array().map(Vec::as_slice).unwrap_or_default() {
            let payload = payload
                .as_str()
                .ok_or_else(|| request.refuse(400, "BAD_REQUEST", "A payload is a string"))?;
            let job = new_job(world, request, token, endpoint, function, payload, &group, &body)?;
            ids.push(Value::from(job.id.clone()));
            all.push(job);
        }
        made.insert(function.clone(), ids.into());
    }
    accept(world, request, all)?;
    Ok(Answer::ok(json!({
        "request_id": new_id(), "task_group_id": group, "endpoint_id": endpoint, "tasks": made,
    })))
}

fn submit_old(world: &Arc<World>, request: &Request, token: &Token) -> Reply {
    let body = request.json()?;
    let group = text(&body, "task_group_id").map_or_else(new_id, str::to_owned);
    let mut all = Vec::new();
    for task in body["tasks"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let [Some(function), Some(endpoint), Some(payload)] =
            [&task[0], &task[1], &task[2]].map(Value::as_str)
        else {
            return Err(request.refuse(400, "BAD_REQUEST", "A task is [function, endpoint, payload]"));
        };
        all.push(new_job(world, request, token, endpoint, function, payload, &group, &body)?);
    }
    let results: Vec<Value> = all
        .iter()
        .map(|job| json!({"status": "success", "task_uuid": job.id, "http_status_code": 200, "reason": null}))
        .collect();
    accept(world, request, all)?;
    Ok(Answer::ok(json!({"response": "success", "task_group_id": group, "results": results})))
}

fn new_job(
    world: &World,
    request: &Request,
    token: &Token,
    endpoint: &str,
    function: &str,
    payload: &str,
    group: &str,
    body: &Value,
) -> Result<Job, Answer> {
    if payload.len() > LARGEST_PAYLOAD {
        return Err(request.refuse(413, "PAYLOAD_TOO_LARGE", "The payload is larger than 10 MiB"));
    }
    let serializers = body["result_serializers"].as_array().map(Vec::as_slice).unwrap_or_default();
    world.read(|state| {
        if !state.endpoints.contains_key(endpoint) {
            return Err(absent(request, "Endpoint", endpoint));
        }
        let code = state.functions.get(function).ok_or_else(|| absent(request, "Function", function))?.code();
        let mut job = Job::new(&token.client, endpoint, function, &format!("{code}{payload}"), group);
        job.fingerprint = hex(&Md5::digest(format!("{function} {payload}")));
        job.serializers = serializers.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Ok(job)
    })
}

fn accept(world: &Arc<World>, request: &Request, all: Vec<Job>) -> Result<(), Answer> {
    let ids: Vec<String> = all.iter().map(|job| job.id.clone()).collect();
    saved(
        request,
        world.commit(|state| state.jobs.extend(all.into_iter().map(|job| (job.id.clone(), job)))),
    )?;
    ids.into_iter().for_each(|id| jobs::start(world, id));
    Ok(())
}

fn batch_status(world: &World, request: &Request, token: &Token) -> Reply {
    let body = request.json()?;
    let ids = body["task_ids"].as_array().map(Vec::as_slice).unwrap_or_default();
    let results: Map<String, Value> = world.read(|state| {
        ids.iter()
            .filter_map(Value::as_str)
            .map(|id| {
                let job = state.jobs.get(id).filter(|job| job.owner == token.client);
                let document = job.map_or_else(
                    || json!({"task_id": id, "status": "failed", "reason": format!("Task {id} could not be resolved")}),
                    Job::to_document,
                );
                (id.to_owned(), document)
            })
            .collect()
    });
    Ok(Answer::ok(json!({"response": "batch", "results": results})))
}

fn task_group(world: &World, request: &Request, id: &str) -> Reply {
    let tasks: Vec<Value> = world.read(|state| {
        let group = state.jobs.values().filter(|job| job.group == id);
        group.map(|job| json!({"id": job.id, "created_at": job.created})).collect()
    });
    if tasks.is_empty() {
        return Err(absent(request, "TaskGroup", id));
    }
    Ok(Answer::ok(json!({"taskgroup_id": id, "create_websockets_queue": false, "tasks": tasks})))
}

#[cfg(test)]
mod tests {
    #[test]
    fn lengths_count_code_points() {
        assert_eq!(super::pack(&["11\nµm", "é"]), "5\n11\nµm1\né");
    }
}
