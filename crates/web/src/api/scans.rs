//! Scans: list, look, hold and release.

use axum::Json;
use axum::extract::{Extension, Query, State};
use axum::routing::{get, post};
use schemars::JsonSchema;
use serde::Deserialize;

use super::types::{Held, Hold, Release, ScanDetail, ScanPage};
use super::{Api, Operation};
use crate::access::Visitor;
use crate::act;
use crate::app::{Operator, Shared};
use crate::data::scan::view;
use crate::data::scan_name;
use crate::data::scans::search;
use crate::fault::Fault;
use crate::guard::Peer;

/// Which scans.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Search {
    /// Whose name holds this text.
    name: String,
    /// The page, from 0.
    page: u32,
}

/// Which scan.
#[derive(Debug, Deserialize, JsonSchema)]
struct Named {
    /// `<folder>/<stem>`.
    name: String,
}

/// Adds them.
pub(super) fn on(mut api: Api) -> Api {
    let (query, named) = (api.whole::<Search>(), api.whole::<Named>());
    let (page, detail, held) = (api.of::<ScanPage>(), api.of::<ScanDetail>(), api.of::<Held>());
    let (hold_body, release_body) = (api.of::<Hold>(), api.of::<Release>());
    let looking = |path, summary, query, answer| Operation::looking(path, summary, answer).query(query);
    let acting = |path, summary, body| Operation::acting(path, summary, body, held.clone());
    api.on(looking("/api/scans", "Scans, the newest first", query, page), get(list))
        .on(looking("/api/scan", "A scan with its copies", named, detail), get(one))
        .on(acting("/api/scan/hold", "Keep everything of a scan", hold_body), post(hold))
        .on(acting("/api/scan/release", "End all holds on a scan", release_body), post(release))
}

async fn list(
    State(app): State<Shared>,
    _: Visitor,
    Query(query): Query<Search>,
) -> Result<Json<ScanPage>, Fault> {
    let (scans, more) = search(&app, &query.name, usize::try_from(query.page).unwrap_or(usize::MAX)).await?;
    Ok(Json(ScanPage { scans, more }))
}

async fn one(
    State(app): State<Shared>,
    _: Visitor,
    Query(named): Query<Named>,
) -> Result<Json<ScanDetail>, Fault> {
    Ok(Json(ScanDetail::of(view(&app, scan_name(&named.name)?).await?)))
}

async fn hold(
    State(app): State<Shared>,
    Operator(visitor): Operator,
    peer: Option<Extension<Peer>>,
    Json(body): Json<Hold>,
) -> Result<Json<Held>, Fault> {
    let scan = scan_name(&body.scan)?;
    let days = body.days.map(i64::from).filter(|days| *days > 0);
    let number = act::hold(&app, act::address(peer), &visitor, &scan, &body.reason, days).await?;
    Ok(Json(Held { scan: scan.to_string(), number }))
}

async fn release(
    State(app): State<Shared>,
    Operator(visitor): Operator,
    peer: Option<Extension<Peer>>,
    Json(body): Json<Release>,
) -> Result<Json<Held>, Fault> {
    let scan = scan_name(&body.scan)?;
    let count = act::release(&app, act::address(peer), &visitor, &scan).await?;
    Ok(Json(Held { scan: scan.to_string(), number: i64::try_from(count).unwrap_or(i64::MAX) }))
}
