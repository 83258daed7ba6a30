//! The service Flows: definitions, runs, logs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::auth::{self, Token};
use super::faults::{Kind, Victim};
use super::flowruns;
use super::http::{Answer, Reply, Request, merged, new_id, now};
use super::state::{World, text};

/// A flow.
#[derive(Clone, Deserialize, Serialize)]
pub struct Flow {
    pub id: String,
    pub owner: String,
    pub document: Value,
    pub created: String,
    pub updated: String,
}

/// A run of a flow.
#[derive(Clone, Deserialize, Serialize)]
pub struct Run {
    pub id: String,
    pub flow: String,
    pub owner: String,
    pub label: Option<String>,
    pub tags: Value,
    /// Scopes of the token that started it, with what depends on them.
    #[serde(default)]
    pub asked: Vec<String>,
    pub definition: Value,
    /// ACTIVE, SUCCEEDED, FAILED.
    pub status: String,
    pub started: String,
    pub completed: Option<String>,
    /// Input and what the states have added to it.
    pub context: Value,
    /// The state at work, and the work that its action has started.
    pub state: Option<String>,
    pub action: Option<flowruns::Action>,
    pub details: Value,
    pub log: Vec<Value>,
}

impl Run {
    pub fn is_open(&self) -> bool {
        self.status == "ACTIVE"
    }

    /// Writes a line of the log.
    pub fn note(&mut self, code: &str, description: &str, details: Value) {
        self.log.push(json!({"time": now(), "code": code, "description": description, "details": details}));
    }

    /// Ends the run.
    pub fn end(&mut self, status: &str, code: &str, description: &str, details: Value) {
        if !self.is_open() {
            return;
        }
        self.note(code, description, details.clone());
        self.status = status.to_owned();
        self.details = match status {
            "SUCCEEDED" => merged(json!({"code": code, "description": description}), details),
            _ => json!({"code": code, "description": description, "details": details, "time": now()}),
        };
        self.state = None;
        self.action = None;
        self.completed = Some(now());
    }

    fn to_document(&self, title: Option<&str>) -> Value {
        json!({
            "run_id": self.id, "action_id": self.id, "flow_id": self.flow, "flow_title": title, "status": self.status,
            "display_status": self.status, "label": self.label, "tags": self.tags, "details": self.details,
            "start_time": self.started, "completion_time": self.completed, "run_owner": urn(&self.owner),
            "created_by": urn(&self.owner), "run_managers": [], "run_monitors": [], "manage_by": [], "monitor_by": [],
            "flow_last_updated": self.started, "user_role": "run_owner",
        })
    }
}

fn urn(identity: &str) -> String {
    format!("urn:globus:auth:identity:{identity}")
}

pub fn route(world: &Arc<World>, request: &Request, method: &str, parts: &[&str]) -> Reply {
    // Starting a run wants the flow's own token; everything else one of the service.
    if let ("POST", ["flows", id, "run"]) = (method, parts) {
        return run(world, request, id);
    }
    let token = auth::authorize(world, request, auth::FLOWS)?;
    let need = |actions: &[&str]| {
        if actions.iter().any(|action| token.may(action)) {
            return Ok(());
        }
        let scope = auth::flows_scope(actions[0]);
        Err(request.refuse(
            403,
            "MISSING_SCOPE",
            &format!("This action requires the following scope: {scope}"),
        ))
    };
    match (method, parts) {
        ("POST", ["flows"]) => need(&["manage_flows"]).and_then(|()| create(world, request, &token)),
        ("POST", ["flows", "validate"]) => {
            need(&["manage_flows"])?;
            let body = request.json()?;
            check_definition(request, &body["definition"])?;
            Ok(Answer::ok(
                json!({"scopes": {"RUN": scopes(&body["definition"])}, "analysis": {"number_of_possibilities": 1}}),
            ))
        }
        ("GET", ["flows"]) => {
            need(&["view_flows", "manage_flows"])?;
            let flows: Vec<Value> = world.read(|state| state.flows.values().map(to_document).collect());
            Ok(Answer::ok(paged(request, "flows", flows)))
        }
        ("GET", ["flows", id]) => {
            need(&["view_flows", "manage_flows"])?;
            find(world, request, id).map(|flow| Answer::ok(to_document(&flow)))
        }
        ("PUT", ["flows", id]) => need(&["manage_flows"]).and_then(|()| update(world, request, id)),
        ("DELETE", ["flows", id]) => {
            need(&["manage_flows"])?;
            let flow = find(world, request, id)?;
            world.change(|state| state.flows.remove(*id));
            Ok(Answer::ok(merged(to_document(&flow), json!({"DELETED": true}))))
        }
        ("GET", ["runs"]) => {
            need(&["run_status", "run_manage"])?;
            let wanted = request
                .q("filter_flow_id")
                .filter(|ids| !ids.is_empty())
                .map(|ids| ids.split(',').collect::<Vec<_>>());
            let runs = world.read(|state| {
                let mine = state.runs.values().filter(|run| run.owner == token.client);
                let wanted =
                    mine.filter(|run| wanted.as_ref().is_none_or(|ids| ids.contains(&run.flow.as_str())));
                wanted.map(|run| run.to_document(None)).collect()
            });
            Ok(Answer::ok(paged(request, "runs", runs)))
        }
        (_, ["runs", id, rest @ ..]) => {
            let found =
                world.read(|state| state.runs.get(*id).filter(|run| run.owner == token.client).cloned());
            let run = found.ok_or_else(|| {
                request.refuse(404, "NOT_FOUND", &format!("No run exists with id value {id}"))
            })?;
            match (method, rest) {
                ("GET", []) => need(&["run_status", "run_manage"]).map(|()| Answer::ok(told(world, &run))),
                ("GET", ["log"]) => need(&["run_status", "run_manage"]).map(|()| log(request, &run)),
                ("GET", ["definition"]) => need(&["run_status", "run_manage"]).map(|()| {
                    Answer::ok(json!({"flow_id": run.flow, "definition": run.definition, "input_schema": {}}))
                }),
                ("PUT", []) => need(&["run_manage"]).and_then(|()| relabel(world, request, &run)),
                ("POST", ["cancel"]) => need(&["run_manage"]).and_then(|()| cancel(world, request, &run)),
                ("POST", ["release"]) => {
                    need(&["run_manage"])?;
                    world.change(|state| state.runs.remove(*id));
                    Ok(Answer::ok(told(world, &run)))
                }
                _ => Err(request.not_found()),
            }
        }
        _ => Err(request.not_found()),
    }
}

/// A page behind a marker, as Flows pages.
fn paged(request: &Request, name: &str, all: Vec<Value>) -> Value {
    let offset = request.number("marker", 0);
    let limit = request.number("per_page", 20).clamp(1, 100);
    let total = all.len();
    let page: Vec<Value> = all.into_iter().skip(offset).take(limit).collect();
    let next = offset + page.len();
    json!({
        name: page, "limit": limit, "has_next_page": next < total,
        "marker": (next < total).then(|| next.to_string()),
    })
}

fn find(world: &World, request: &Request, id: &str) -> Result<Flow, Answer> {
    let flow = world.read(|state| state.flows.get(id).cloned());
    flow.ok_or_else(|| request.refuse(404, "NOT_FOUND", &format!("No flow exists with id value {id}")))
}

fn to_document(flow: &Flow) -> Value {
    let field = |name: &str, none: Value| flow.document.get(name).cloned().unwrap_or(none);
    json!({
        "id": flow.id, "title": field("title", Value::Null), "subtitle": field("subtitle", json!("")),
        "description": field("description", json!("")), "definition": field("definition", json!({})),
        "input_schema": field("input_schema", json!({})), "keywords": field("keywords", json!([])),
        "flow_viewers": field("flow_viewers", json!([])), "flow_starters": field("flow_starters", json!([])),
        "flow_administrators": field("flow_administrators", json!([])), "run_managers": field("run_managers", json!([])),
        "run_monitors": field("run_monitors", json!([])), "subscription_id": field("subscription_id", Value::Null),
        "flow_owner": urn(&flow.owner), "created_by": urn(&flow.owner), "administered_by": [], "runnable_by": [],
        "visible_to": [], "created_at": flow.created, "updated_at": flow.updated,
        "globus_auth_scope": auth::flow_scope(&flow.id),
        "globus_auth_username": format!("{}@clients.auth.globus.org", flow.id), "principal_urn": urn(&flow.id),
        "action_url": format!("https://flows.globus.org/flows/{}", flow.id),
        "flow_url": format!("https://flows.globus.org/flows/{}", flow.id),
        "synchronous": false, "log_supported": true, "api_version": "1.0", "types": ["Action"],
        "user_role": "flow_owner", "authentication_policy_id": null,
    })
}

fn told(world: &World, run: &Run) -> Value {
    let (title, waits) = world.read(|state| {
        let title =
            state.flows.get(&run.flow).and_then(|flow| text(&flow.document, "title").map(str::to_owned));
        let victim = Victim { label: run.label.as_deref(), ..Victim::default() };
        (title, run.is_open() && state.under(&victim, &Kind::RunInactive))
    });
    let document = run.to_document(title.as_deref());
    if !waits {
        return document;
    }
    let details = json!({
        "code": "ConsentRequired", "description": "The run needs a consent that its owner has not given",
        "required_scopes": [auth::flow_scope(&run.flow)],
    });
    merged(document, json!({"status": "INACTIVE", "display_status": "INACTIVE", "details": details}))
}

/// What a definition must have, so that it can be run.
fn check_definition(request: &Request, definition: &Value) -> Result<(), Answer> {
    let problem = |loc: Value, message: &str| {
        let mut answer = request.refuse(422, "UNPROCESSABLE_ENTITY", message);
        answer.body["error"]["detail"] = json!([{"loc": loc, "msg": message, "type": "value_error"}]);
        Err(answer)
    };
    let start = text(definition, "StartAt").unwrap_or("");
    let Some(states) = definition["States"].as_object() else {
        return problem(json!(["definition", "States"]), "A flow needs an object of States");
    };
    if !states.contains_key(start) {
        return problem(json!(["definition", "StartAt"]), "StartAt names no state");
    }
    for (name, state) in states {
        let at = json!(["definition", "States", name]);
        let kind = text(state, "Type").unwrap_or("");
        if !matches!(kind, "Action" | "Pass" | "Wait" | "Choice" | "Fail" | "Succeed") {
            return problem(at, &format!("A state of type '{kind}' is not known here"));
        }
        if kind == "Action" && text(state, "ActionUrl").is_none() {
            return problem(at, "An action needs its ActionUrl");
        }
        if let Some(next) = text(state, "Next").filter(|next| !states.contains_key(*next)) {
            return problem(at, &format!("Next: there is no state '{next}'"));
        }
        if matches!(kind, "Action" | "Pass" | "Wait")
            && text(state, "Next").is_none()
            && state["End"] != json!(true)
        {
            return problem(at, "A state needs Next or End");
        }
    }
    Ok(())
}

/// Scopes of the actions in a definition.
fn scopes(definition: &Value) -> Vec<Value> {
    let states = definition["States"].as_object();
    states.into_iter().flatten().filter_map(|(_, state)| state.get("ActionScope").cloned()).collect()
}

fn create(world: &World, request: &Request, token: &Token) -> Reply {
    let document = request.json()?;
    if text(&document, "title").is_none_or(str::is_empty) {
        return Err(request.refuse(422, "UNPROCESSABLE_ENTITY", "title is required"));
    }
    check_definition(request, &document["definition"])?;
    let flow = Flow { id: new_id(), owner: token.client.clone(), document, created: now(), updated: now() };
    let shown = to_document(&flow);
    commit(request, world.commit(|state| state.flows.insert(flow.id.clone(), flow)))?;
    Ok(Answer::of(201, shown))
}

fn commit<T>(request: &Request, outcome: std::io::Result<T>) -> Result<T, Answer> {
    outcome.map_err(|error| {
        request.refuse(500, "INTERNAL_ERROR", &format!("The state cannot be saved: {error}"))
    })
}

fn update(world: &World, request: &Request, id: &str) -> Reply {
    let flow = find(world, request, id)?;
    let document = merged(flow.document.clone(), request.json()?);
    check_definition(request, &document["definition"])?;
    let flow = Flow { document, updated: now(), ..flow };
    let shown = to_document(&flow);
    commit(request, world.commit(|state| state.flows.insert(flow.id.clone(), flow)))?;
    Ok(Answer::ok(shown))
}

fn run(world: &Arc<World>, request: &Request, id: &str) -> Reply {
    let flow = find(world, request, id)?;
    let token = auth::authorize(world, request, id)?;
    let scope = auth::flow_scope(id);
    if !token.has(&scope) {
        return Err(request.refuse(
            403,
            "MISSING_SCOPE",
            &format!("This action requires the following scope: {scope}"),
        ));
    }
    let body = request.json()?;
    let Some(input) = body.get("body").filter(|input| input.is_object()) else {
        return Err(request.refuse(422, "UNPROCESSABLE_ENTITY", "body: an object is required"));
    };
    for field in
        flow.document["input_schema"]["required"].as_array().into_iter().flatten().filter_map(Value::as_str)
    {
        if input.get(field).is_none() {
            return Err(request.refuse(
                400,
                "FLOW_INPUT_ERROR",
                &format!("'{field}' is a required property"),
            ));
        }
    }
    let definition = flow.document["definition"].clone();
    let mut run = Run {
        id: new_id(),
        flow: id.to_owned(),
        owner: token.client.clone(),
        label: text(&body, "label").map(str::to_owned),
        asked: token.asked.clone(),
        tags: body.get("tags").cloned().unwrap_or_else(|| json!([])),
        status: "ACTIVE".to_owned(),
        started: now(),
        completed: None,
        context: input.clone(),
        state: text(&definition, "StartAt").map(str::to_owned),
        definition,
        action: None,
        details: json!({"code": "FlowStarting", "description": "The Flow is starting execution", "details": {"input": input}}),
        log: Vec::new(),
    };
    run.note("FlowStarted", "The Flow Instance started execution", json!({"input": input}));
    let shown = run.to_document(text(&flow.document, "title"));
    let run_id = run.id.clone();
    commit(request, world.commit(|state| state.runs.insert(run_id.clone(), run)))?;
    flowruns::start(world, run_id);
    Ok(Answer::of(201, shown))
}

fn log(request: &Request, run: &Run) -> Answer {
    let mut entries = run.log.clone();
    if request.q("reverse_order").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        entries.reverse();
    }
    let mut page = paged(request, "entries", entries);
    if let Some(limit) = request.q("limit").and_then(|limit| limit.parse::<usize>().ok()) {
        page["limit"] = json!(limit);
    }
    Answer::ok(page)
}

fn relabel(world: &World, request: &Request, run: &Run) -> Reply {
    let body = request.json()?;
    let run = world.change(|state| {
        state.runs.get_mut(&run.id).map(|run| {
            if let Some(label) = text(&body, "label") {
                run.label = Some(label.to_owned());
            }
            if let Some(tags) = body.get("tags") {
                run.tags = tags.clone();
            }
            run.clone()
        })
    });
    Ok(Answer::ok(run.map(|run| told(world, &run)).unwrap_or_default()))
}

fn cancel(world: &World, request: &Request, run: &Run) -> Reply {
    if !run.is_open() {
        return Err(request.refuse(409, "STATE_CONFLICT", &format!("Run {} has already ended", run.id)));
    }
    let run = commit(
        request,
        world.commit(|state| {
            let action = state.runs.get(&run.id).and_then(|run| run.action.clone());
            if let Some(action) = action {
                action.cancel(state);
            }
            state.runs.get_mut(&run.id).map(|run| {
                run.end("FAILED", "FlowCanceled", "The Flow Instance was canceled by the user", json!({}));
                run.clone()
            })
        }),
    )?;
    Ok(Answer::ok(run.map(|run| told(world, &run)).unwrap_or_default()))
}
