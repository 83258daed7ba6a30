//! The states of a run, one after the other, with the actions done for real.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::actions;
use super::state::{State, World, text};
use super::task::Status;

/// Work that an action has started.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Action {
    /// A transfer or delete task.
    Task(String),
    /// Compute tasks.
    Jobs(Vec<String>),
}

impl Action {
    /// Ends what can be ended: a transfer. Compute cannot cancel.
    pub fn cancel(&self, state: &mut State) {
        if let Self::Task(id) = self
            && let Some(task) = state.tasks.get_mut(id)
        {
            task.end(Status::Failed, Some(("CANCELED", "The task was canceled by its flow")));
        }
    }
}

/// Why a state failed: code and text.
pub type Problem = (String, String);

/// Starts, or goes on with, a run.
pub fn start(world: &Arc<World>, id: String) {
    world.spawn(move |world| {
        while let Some(state) = at(world, &id) {
            if world.stopping() {
                return;
            }
            step(world, &id, &state);
        }
    });
}

/// The state that a run is in; none if it has ended.
fn at(world: &World, id: &str) -> Option<String> {
    world.read(|state| state.runs.get(id).filter(|run| run.is_open()).and_then(|run| run.state.clone()))
}

/// Does one state. A failure goes where its `Catch` says, or ends the run.
fn step(world: &Arc<World>, id: &str, name: &str) {
    let Some((state, context, owner)) = world.read(|state| {
        let run = state.runs.get(id)?;
        Some((run.definition["States"][name].clone(), run.context.clone(), run.owner.clone()))
    }) else {
        return;
    };
    let kind = text(&state, "Type").unwrap_or("").to_owned();
    let resumed = world.read(|state| state.runs.get(id).is_some_and(|run| run.action.is_some()));
    let parameters =
        state.get("Parameters").map_or_else(|| Ok(context.clone()), |given| fill(given, &context));
    if !resumed {
        let input = parameters.clone().unwrap_or_default();
        note(
            world,
            id,
            &format!("{kind}Started"),
            &format!("State {name} of type {kind} started"),
            name,
            &kind,
            json!({"input": input}),
        );
    }
    let outcome =
        parameters.and_then(|parameters| perform(world, id, &owner, &kind, &state, parameters, &context));
    // It was cancelled, or the stand-in stops: what follows is not ours to write.
    if world.stopping() || at(world, id).as_deref() != Some(name) {
        return;
    }
    match outcome {
        Ok(Done { output, next }) => {
            let path = text(&state, "ResultPath").map(str::to_owned);
            note(
                world,
                id,
                &format!("{kind}Completed"),
                &format!("State {name} of type {kind} completed"),
                name,
                &kind,
                json!({"output": output}),
            );
            let next = next.or_else(|| text(&state, "Next").map(str::to_owned));
            change(world, id, |run| {
                match path {
                    Some(path) => put(&mut run.context, &path, output),
                    None if kind == "Action" || (kind == "Pass" && state.get("Parameters").is_some()) => {
                        run.context = output
                    }
                    None => {}
                }
                run.action = None;
                match next {
                    Some(next) => run.state = Some(next),
                    None => {
                        let output = run.context.clone();
                        let details = json!({"output": output});
                        run.end(
                            "SUCCEEDED",
                            "FlowSucceeded",
                            "The Flow Instance completed successfully",
                            details,
                        );
                    }
                }
            });
        }
        Err((code, cause)) => {
            note(
                world,
                id,
                &format!("{kind}Failed"),
                &format!("State {name} of type {kind} failed"),
                name,
                &kind,
                json!({"error": code, "cause": cause}),
            );
            let caught = state["Catch"].as_array().into_iter().flatten().find(|catch| {
                let errors = catch["ErrorEquals"].as_array();
                errors.into_iter().flatten().any(|error| error == "States.ALL" || error == &json!(code))
            });
            let caught = caught.and_then(|catch| {
                Some((text(catch, "Next")?.to_owned(), text(catch, "ResultPath").map(str::to_owned)))
            });
            change(world, id, |run| {
                run.action = None;
                match caught {
                    Some((next, path)) => {
                        if let Some(path) = path {
                            put(&mut run.context, &path, json!({"Error": code, "Cause": cause}));
                        }
                        run.state = Some(next);
                    }
                    None => run.end(
                        "FAILED",
                        "FlowFailed",
                        &format!("State {name} failed: {code}"),
                        json!({
                            "state_name": name, "state_type": kind, "error": code, "cause": cause,
                        }),
                    ),
                }
            });
        }
    }
}

fn change(world: &World, id: &str, change: impl FnOnce(&mut super::flows::Run)) {
    // A disk that fails leaves the run where it was; it is gone on with after a restart.
    let _ = world.commit(|state| state.runs.get_mut(id).filter(|run| run.is_open()).map(change));
}

fn note(world: &World, id: &str, code: &str, description: &str, name: &str, kind: &str, more: Value) {
    let details = super::http::merged(json!({"state_name": name, "state_type": kind}), more);
    world.change(|state| state.runs.get_mut(id).map(|run| run.note(code, description, details)));
}

struct Done {
    output: Value,
    /// For a choice.
    next: Option<String>,
}

fn perform(
    world: &Arc<World>,
    id: &str,
    owner: &str,
    kind: &str,
    state: &Value,
    parameters: Value,
    context: &Value,
) -> Result<Done, Problem> {
    let done = |output| Ok(Done { output, next: None });
    match kind {
        "Action" => {
            let known = world.read(|state| state.runs.get(id).and_then(|run| run.action.clone()));
            let action = match known {
                Some(action) => action,
                None => actions::begin(
                    world,
                    owner,
                    id,
                    text(state, "ActionUrl").unwrap_or(""),
                    &parameters,
                    |action, state| {
                        if let Some(run) = state.runs.get_mut(id) {
                            run.action = Some(action.clone());
                        }
                    },
                )?,
            };
            let limit = Duration::from_secs(state["WaitTime"].as_u64().unwrap_or(300));
            done(actions::wait(world, id, &action, Instant::now() + limit)?)
        }
        "Pass" => done(parameters),
        "Wait" => {
            let until = Instant::now()
                + Duration::from_secs_f64(state["Seconds"].as_f64().unwrap_or(0.0).clamp(0.0, 3600.0));
            while Instant::now() < until && !world.stopping() && at(world, id).is_some() {
                std::thread::sleep(Duration::from_millis(20));
            }
            done(parameters)
        }
        "Choice" => {
            let chosen =
                state["Choices"].as_array().into_iter().flatten().find(|choice| holds(choice, context));
            let next = chosen.and_then(|choice| text(choice, "Next")).or_else(|| text(state, "Default"));
            let next =
                next.ok_or_else(|| ("States.NoChoiceMatched".to_owned(), "No choice holds".to_owned()))?;
            Ok(Done { output: parameters, next: Some(next.to_owned()) })
        }
        "Succeed" => done(parameters),
        _ => Err((
            text(state, "Error").unwrap_or("Fail").to_owned(),
            text(state, "Cause").unwrap_or("").to_owned(),
        )),
    }
}

/// Does one condition of a choice hold?
fn holds(choice: &Value, context: &Value) -> bool {
    let Some(variable) = text(choice, "Variable") else { return false };
    let found = look(context, variable);
    let is = |name: &str| choice.get(name);
    if let Some(present) = is("IsPresent") {
        return present.as_bool() == Some(found.is_some());
    }
    let Some(found) = found else { return false };
    let number = |other: &Value| Some((found.as_f64()?, other.as_f64()?));
    is("StringEquals").is_some_and(|other| other == found)
        || is("BooleanEquals").is_some_and(|other| other == found)
        || is("NumericEquals").and_then(number).is_some_and(|(a, b)| a == b)
        || is("NumericGreaterThan").and_then(number).is_some_and(|(a, b)| a > b)
        || is("NumericLessThan").and_then(number).is_some_and(|(a, b)| a < b)
}

/// Parameters with every `"name.$": "$.path"` replaced by what the path finds.
fn fill(given: &Value, context: &Value) -> Result<Value, Problem> {
    match given {
        Value::Object(fields) => {
            let mut filled = Map::new();
            for (name, value) in fields {
                match (name.strip_suffix(".$"), value.as_str()) {
                    (Some(name), Some(path)) => {
                        let found = look(context, path).ok_or_else(|| {
                            (
                                "States.ParameterPathFailure".to_owned(),
                                format!("{name}: nothing is at {path}"),
                            )
                        })?;
                        filled.insert(name.to_owned(), found.clone());
                    }
                    _ => {
                        filled.insert(name.clone(), fill(value, context)?);
                    }
                }
            }
            Ok(Value::Object(filled))
        }
        Value::Array(items) => items.iter().map(|item| fill(item, context)).collect(),
        other => Ok(other.clone()),
    }
}

/// What is at `$.a.b[0]`.
fn look<'a>(context: &'a Value, path: &str) -> Option<&'a Value> {
    let path = path.strip_prefix('$')?;
    let pointer: String = path.replace(['.', '['], "/").replace([']', '\'', '"'], "");
    context.pointer(&pointer)
}

/// Puts a value at `$.a.b`, making what is missing on the way.
fn put(context: &mut Value, path: &str, value: Value) {
    let mut place = context;
    for name in path.trim_start_matches('$').split('.').filter(|name| !name.is_empty()) {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[name];
    }
    *place = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_come_from_the_context() {
        let context = json!({"a": {"b": [1, "x"]}, "c": "y"});
        let given = json!({"one.$": "$.a.b[1]", "two": {"three.$": "$.c"}, "list": [{"four.$": "$.a.b[0]"}], "plain": "$.c"});
        let filled = json!({"one": "x", "two": {"three": "y"}, "list": [{"four": 1}], "plain": "$.c"});
        assert_eq!(fill(&given, &context).unwrap(), filled);
        assert!(fill(&json!({"one.$": "$.none"}), &context).is_err());
        let mut changed = context;
        put(&mut changed, "$.d.e", json!(2));
        assert_eq!(changed["d"]["e"], 2);
    }
}
