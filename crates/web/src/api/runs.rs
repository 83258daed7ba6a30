//! Runs: list, look, steer.

use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use axum::routing::{get, post};
use engine::{Orchestrator, RunFilter, StateType};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::types::{Acted, Cancel, LogInfo, Resume, Retry, RunDetail, RunInfo, RunPage};
use super::{Api, Operation};
use crate::access::Visitor;
use crate::act;
use crate::app::{Operator, Shared};
use crate::data::run::view;
use crate::data::{past, scan_name};
use crate::fault::Fault;
use crate::guard::Peer;
use crate::pages::run::run_id;

/// Which runs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Filter {
    /// In a state of this type.
    state: Option<StateType>,
    /// Of this flow.
    flow: Option<String>,
    /// Whose name holds this text.
    name: Option<String>,
    /// About this scan, `<folder>/<stem>`.
    scan: Option<String>,
    /// Older than this run: the `next` of the page before.
    before: Option<String>,
    /// At most so many, 1 to 500.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<u32>,
}

/// Which lines of a log.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct After {
    /// Lines after this one.
    after: i64,
    /// At most so many, 1 to 5000.
    #[schemars(range(min = 1, max = 5000))]
    limit: Option<u32>,
}

/// Adds them.
pub(super) fn on(mut api: Api) -> Api {
    let (filter, after) = (api.whole::<Filter>(), api.whole::<After>());
    let (page, detail) = (api.of::<RunPage>(), api.of::<RunDetail>());
    let (lines, any, acted) = (api.of::<Vec<LogInfo>>(), api.of::<Value>(), api.of::<Acted>());
    let (cancel_body, retry_body, resume_body) = (api.of::<Cancel>(), api.of::<Retry>(), api.of::<Resume>());
    let acting = |path, summary, body| Operation::acting(path, summary, body, acted.clone());
    api.on(Operation::looking("/api/runs", "Runs, the newest first", page).query(filter), get(list))
        .on(Operation::looking("/api/runs/{id}", "A run with its steps", detail), get(one))
        .on(Operation::looking("/api/runs/{id}/logs", "Lines of its log", lines).query(after), get(logs))
        .on(Operation::looking("/api/runs/{id}/explain", "Where its time went", any), get(explain))
        .on(acting("/api/runs/{id}/cancel", "Stop a run and its work outside", cancel_body), post(cancel))
        .on(acting("/api/runs/{id}/retry", "Try a run again that did not complete", retry_body), post(retry))
        .on(acting("/api/runs/{id}/resume", "Answer a paused run", resume_body), post(resume))
}

async fn list(
    State(app): State<Shared>,
    _: Visitor,
    Query(filter): Query<Filter>,
) -> Result<Json<RunPage>, Fault> {
    let scan = filter.scan.as_deref().map(scan_name).transpose()?;
    let limit = filter.limit.unwrap_or(100);
    if !(1..=500).contains(&limit) {
        return Err(Fault::bad("limit: 1 to 500"));
    }
    let wanted = RunFilter {
        flow: filter.flow,
        states: filter.state.into_iter().collect(),
        name_contains: filter.name,
        tags: scan.iter().map(beamline::identity::tag).collect(),
        before: filter.before.as_deref().map(run_id).transpose()?,
        limit,
        ..RunFilter::default()
    };
    let page = app.engine.runs(wanted).await?;
    let next = page.next.map(|id| id.to_string());
    Ok(Json(RunPage { runs: page.items.into_iter().map(RunInfo::of).collect(), next }))
}

async fn one(
    State(app): State<Shared>,
    _: Visitor,
    Path(id): Path<String>,
) -> Result<Json<RunDetail>, Fault> {
    Ok(Json(RunDetail::of(view(&app, run_id(&id)?).await?)))
}

async fn logs(
    State(app): State<Shared>,
    _: Visitor,
    Path(id): Path<String>,
    Query(after): Query<After>,
) -> Result<Json<Vec<LogInfo>>, Fault> {
    let id = run_id(&id)?;
    app.engine.run(id).await?;
    let limit = after.limit.unwrap_or(1000).clamp(1, 5000);
    let lines = app.engine.logs(id, after.after, limit).await?;
    Ok(Json(lines.into_iter().map(LogInfo::of).collect()))
}

async fn explain(
    State(app): State<Shared>,
    _: Visitor,
    Path(id): Path<String>,
) -> Result<Json<Value>, Fault> {
    let run = app.engine.run(run_id(&id)?).await?;
    let explained = past::explain(&app, &run).await?;
    let value = serde_json::to_value(explained);
    value.map(Json).map_err(|error| Fault::internal(format!("cannot be written as JSON: {error}")))
}

fn acted(state: engine::State) -> Json<Acted> {
    Json(Acted { state: state.kind, name: state.name, message: state.message })
}

async fn cancel(
    State(app): State<Shared>,
    Operator(visitor): Operator,
    peer: Option<Extension<Peer>>,
    Path(id): Path<String>,
    Json(body): Json<Cancel>,
) -> Result<Json<Acted>, Fault> {
    let state = act::cancel(&app, act::address(peer), &visitor, run_id(&id)?, &body.reason).await?;
    Ok(acted(state))
}

async fn retry(
    State(app): State<Shared>,
    Operator(visitor): Operator,
    peer: Option<Extension<Peer>>,
    Path(id): Path<String>,
    Json(body): Json<Retry>,
) -> Result<Json<Acted>, Fault> {
    let state = act::retry(&app, act::address(peer), &visitor, run_id(&id)?, body.from_start).await?;
    Ok(acted(state))
}

async fn resume(
    State(app): State<Shared>,
    Operator(visitor): Operator,
    peer: Option<Extension<Peer>>,
    Path(id): Path<String>,
    Json(body): Json<Resume>,
) -> Result<Json<Acted>, Fault> {
    let state = act::resume(&app, act::address(peer), &visitor, run_id(&id)?, body.answers).await?;
    Ok(acted(state))
}
