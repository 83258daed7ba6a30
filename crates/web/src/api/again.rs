//! "Reconstruct again" for programs: the table with the values that it begins with, the run, and what was made; what
//! the raw file says.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use reconstruct::recipe::PARAMETERS;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Api, Operation};
use crate::access::Visitor;
use crate::act::{address, again as act};
use crate::app::{Operator, Shared};
use crate::data::again::{FIELD, Way, base, read, text};
use crate::data::metadata::{Metadata, metadata};
use crate::data::results::{Made, made};
use crate::data::scan_name;
use crate::fault::Fault;
use crate::guard::Peer;

/// A parameter of the recipe.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct Parameter {
    /// `section.name`.
    key: &'static str,
    /// What a new reconstruction begins with.
    value: String,
    /// The value where nothing is said.
    default: String,
    /// The unit, or nothing.
    unit: &'static str,
    /// Type, range and unit in words.
    allowed: String,
    /// What it does.
    help: &'static str,
}

/// What a new reconstruction begins from.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct Beginning {
    /// `<folder>/<stem>`.
    scan: String,
    /// Where the values come from.
    from: String,
    /// The flows that can do it.
    flows: Vec<Way>,
    /// Every parameter, in the order of the work.
    parameters: Vec<Parameter>,
}

/// What is wanted.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Again {
    /// The flow.
    flow: String,
    /// Parameters that are to be different, by `section.name`; null is auto.
    #[serde(default)]
    set: BTreeMap<String, Value>,
    /// The same key gives the same run.
    #[serde(default)]
    key: Option<String>,
}

/// The run that was started.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct Started {
    /// Its id. Where a Prefect server makes the runs, the journal has it once a worker here took it.
    run: String,
    /// Its id in Prefect, where that makes the runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    prefect_run: Option<String>,
    /// Its page in Prefect.
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<String>,
}

/// Adds them.
pub(super) fn on(mut api: Api) -> Api {
    let (begin, body, started) = (api.of::<Beginning>(), api.of::<Again>(), api.of::<Started>());
    let (all, said) = (api.of::<Vec<Made>>(), api.of::<Metadata>());
    let summary = "Reconstruct a scan again with other parameters";
    let start = Operation::acting("/api/again/{*scan}", summary, body, started);
    api.on(
        Operation::looking("/api/again/{*scan}", "What a new reconstruction of a scan begins from", begin),
        get(beginning),
    )
    .on(start, axum::routing::post(run))
    .on(
        Operation::looking("/api/results/{*scan}", "The volumes of a scan that can be looked at", all),
        get(results),
    )
    .on(Operation::looking("/api/metadata/{*scan}", "What the raw file of a scan says", said), get(raw))
}

async fn beginning(
    State(app): State<Shared>,
    _: Visitor,
    Path(scan): Path<String>,
) -> Result<Json<Beginning>, Fault> {
    let base = base(&app, &scan_name(&scan)?).await?;
    let parameter = |one: &reconstruct::recipe::Parameter| Parameter {
        key: one.key,
        value: text(&one.get(&base.recipe)),
        default: text(&one.default_value()),
        unit: one.unit,
        allowed: one.allowed(),
        help: one.help(),
    };
    let parameters = PARAMETERS.iter().map(parameter).collect();
    Ok(Json(Beginning { scan: base.known.name.to_string(), from: base.from, flows: base.ways, parameters }))
}

async fn run(
    State(app): State<Shared>,
    Operator(visitor): Operator,
    peer: Option<Extension<Peer>>,
    Path(scan): Path<String>,
    Json(again): Json<Again>,
) -> Result<Json<Started>, Fault> {
    let base = base(&app, &scan_name(&scan)?).await?;
    let plain = |value: &Value| match value {
        Value::Null => "auto".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let fields: Vec<_> =
        again.set.iter().map(|(key, value)| (format!("{FIELD}{key}"), plain(value))).collect();
    let wanted = read(&base.recipe, &fields);
    if !wanted.problems.is_empty() {
        let all: Vec<String> = wanted.problems.iter().map(|(key, why)| format!("{key}: {why}")).collect();
        return Err(Fault::new(StatusCode::UNPROCESSABLE_ENTITY, all.join("; ")));
    }
    let key = again.key.as_deref().filter(|key| key.len() <= 64 && key.is_ascii());
    let started = act::run(&app, address(peer), &visitor, &base, &again.flow, &wanted.recipe, key).await?;
    let run = started.run.to_string();
    let (prefect_run, page) = started.there.unzip();
    Ok(Json(Started { run, prefect_run, page }))
}

/// The reconstructions that can be looked at, the newest first.
async fn results(
    State(app): State<Shared>,
    _: Visitor,
    Path(scan): Path<String>,
) -> Result<Json<Vec<Made>>, Fault> {
    Ok(Json(made(&app, &scan_name(&scan)?).await?))
}

async fn raw(
    State(app): State<Shared>,
    _: Visitor,
    Path(scan): Path<String>,
) -> Result<Json<Metadata>, Fault> {
    Ok(Json(Metadata::clone(&*metadata(&app, &scan_name(&scan)?).await?)))
}
