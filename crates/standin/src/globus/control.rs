//! The stand-in's own calls under `/standin`: faults, counts. For whoever tests, not for clients.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::faults::Fault;
use super::http::{Answer, Reply, Request};
use super::state::{State, World};

pub fn route(world: &World, request: &Request, method: &str, parts: &[&str]) -> Reply {
    match (method, parts) {
        ("GET", ["standin", "counts"]) => Ok(Answer::ok(world.read(counts))),
        ("GET", ["standin", "faults"]) => Ok(Answer::ok(world.read(|state| json!({"faults": state.faults})))),
        ("POST", ["standin", "faults"]) => {
            let fault: Fault = serde_json::from_slice(&request.body)
                .map_err(|error| request.refuse(400, "BadFault", &format!("This is not a fault: {error}")))?;
            Ok(Answer::of(201, json!({"number": world.arm(fault)})))
        }
        ("DELETE", ["standin", "faults"]) => {
            world.disarm(None);
            Ok(Answer::ok(json!({})))
        }
        ("DELETE", ["standin", "faults", number]) => {
            let number = number.parse().map_err(|_| request.not_found())?;
            world.disarm(Some(number));
            Ok(Answer::ok(json!({})))
        }
        _ => Err(request.not_found()),
    }
}

/// What was asked and done: calls by path, submissions by their id, jobs by what they were given.
pub fn counts(state: &State) -> Value {
    let submissions: BTreeMap<_, _> = state
        .submissions
        .iter()
        .map(|(id, submission)| {
            let task = state.tasks.get(&submission.task_id);
            let label = task.and_then(|task| task.label.clone());
            let status = task.map(|task| task.status.as_str());
            (id, json!({"task_id": submission.task_id, "posts": submission.posts, "label": label, "status": status}))
        })
        .collect();
    let mut jobs: BTreeMap<&str, u64> = BTreeMap::new();
    for job in state.jobs.values() {
        *jobs.entry(&job.fingerprint).or_default() += 1;
    }
    json!({
        "calls": state.calls,
        "submissions": submissions,
        "transfers": state.tasks.len(),
        "jobs": {
            "accepted": state.jobs.len(),
            "started": state.jobs.values().map(|job| job.starts).sum::<u64>(),
            "by_payload": jobs,
        },
        "flow_runs": state.runs.len(),
        "written": state.written,
        "faults": state.faults.iter().map(|armed| json!({
            "number": armed.number, "met": armed.met, "acted": armed.acted,
        })).collect::<Vec<_>>(),
    })
}
