//! All addresses, and what stands before them.

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};

use viewer::Viewer;

use crate::app::Shared;
use crate::data::volumes::Volumes;
use crate::pages::{
    again, again_json, compare, login, looks, now, run, runs, scan, scans, settings, sites, storage,
};
use crate::{act, api, assets, guard, live, metrics};

/// The whole application.
pub fn router(app: &Shared) -> Router {
    let guards = |router: Router| {
        router
            .layer(from_fn_with_state(app.clone(), guard::actions))
            .layer(from_fn_with_state(app.clone(), guard::sign_in))
            .layer(from_fn_with_state(app.clone(), guard::host))
            .layer(from_fn_with_state(app.clone(), guard::bounds))
            .layer(from_fn_with_state(app.clone(), guard::faces))
            .layer(from_fn(guard::headers))
    };
    let viewer = Viewer::new(Volumes::of(app), &app.viewer);
    let (volumes, described) = viewer.router().split_for_parts();
    let described = serde_json::to_value(described).unwrap_or_default();
    let ours = Router::new()
        .route("/", get(now::page))
        .route("/runs", get(runs::page))
        .route("/runs/{id}", get(run::page))
        .route("/runs/{id}/cancel", post(act::cancel_form))
        .route("/runs/{id}/retry", post(act::retry_form))
        .route("/runs/{id}/resume", post(act::resume_form))
        .route("/scans", get(scans::page))
        .route("/scans/{*scan}", get(scan::page))
        .route("/again/{*scan}", get(again::page).post(again::send))
        .route("/looks/{id}", get(looks::page))
        .route("/looks/{id}/stop", post(looks::stop_form))
        .route("/looks/{id}/{picture}", get(looks::picture))
        .route("/compare/{*scan}", get(compare::page))
        .route("/pictures/copy/{id}", get(compare::picture))
        .route("/sites", get(sites::page))
        .route("/sites/check", post(sites::check))
        .route("/settings", get(settings::page))
        .route("/settings/retention", post(settings::retention))
        .route("/storage", get(storage::page))
        .route("/storage/plan", post(storage::plan))
        .route("/storage/prune", get(storage::ask).post(storage::prune))
        .route("/storage/switch", post(storage::switch))
        .route("/hold/{*scan}", post(act::hold_form))
        .route("/release/{*scan}", post(act::release_form))
        .route("/pictures/thumb/{*scan}", get(scan::thumb))
        .route("/pictures/slice/{*scan}", get(scan::slice))
        .route("/pictures/preview/{*scan}", get(scan::preview))
        .route("/pictures/evidence/{id}", get(scan::evidence))
        .route("/papers/{paper}/{*scan}", get(scan::paper))
        .route("/login", get(login::form).post(login::login))
        .route("/logout", post(login::logout))
        .route("/live", get(live::live))
        .route("/health", get(metrics::health))
        .route("/ready", get(metrics::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/api/again/{*scan}", get(again_json::beginning).post(again_json::run))
        .route("/api/results/{*scan}", get(again_json::results))
        .route("/static/{version}/{name}", get(assets::asset))
        .merge(api::routes(&described))
        .with_state(app.clone());
    guards(ours.merge(volumes).merge(viewer.link_router()))
}
