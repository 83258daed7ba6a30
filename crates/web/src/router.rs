//! All addresses, and what stands before them.

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, get, post};

use viewer::Viewer;

use crate::app::Shared;
use crate::data::volumes::Volumes;
use crate::pages::{again, compare, login, looks, now, run, runs, scan, scans, settings, sites, storage};
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
    let ours = pages().into_iter().fold(Router::new(), |router, (path, handler)| router.route(path, handler));
    let ours = ours.merge(api::routes(&described)).with_state(app.clone());
    guards(ours.merge(volumes).merge(viewer.link_router()))
}

/// Everything but the JSON API, whose routes grow together with their description.
fn pages() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![
        ("/", get(now::page)),
        ("/runs", get(runs::page)),
        ("/runs/{id}", get(run::page)),
        ("/runs/{id}/cancel", post(act::cancel_form)),
        ("/runs/{id}/retry", post(act::retry_form)),
        ("/runs/{id}/resume", post(act::resume_form)),
        ("/scans", get(scans::page)),
        ("/scans/{*scan}", get(scan::page)),
        ("/again/{*scan}", get(again::page).post(again::send)),
        ("/looks/{id}", get(looks::page)),
        ("/looks/{id}/stop", post(looks::stop_form)),
        ("/looks/{id}/leave", post(looks::leave)),
        ("/looks/{id}/{picture}", get(looks::picture)),
        ("/compare/{*scan}", get(compare::page)),
        ("/pictures/copy/{id}", get(compare::picture)),
        ("/sites", get(sites::page)),
        ("/sites/check", post(sites::check)),
        ("/settings", get(settings::page)),
        ("/settings/retention", post(settings::retention)),
        ("/storage", get(storage::page)),
        ("/storage/plan", post(storage::plan)),
        ("/storage/prune", get(storage::ask).post(storage::prune)),
        ("/storage/switch", post(storage::switch)),
        ("/hold/{*scan}", post(act::hold_form)),
        ("/release/{*scan}", post(act::release_form)),
        ("/pictures/thumb/{*scan}", get(scan::thumb)),
        ("/pictures/slice/{*scan}", get(scan::slice)),
        ("/pictures/preview/{*scan}", get(scan::preview)),
        ("/pictures/evidence/{id}", get(scan::evidence)),
        ("/papers/{paper}/{*scan}", get(scan::paper)),
        ("/login", get(login::form).post(login::login)),
        ("/logout", post(login::logout)),
        ("/live", get(live::live)),
        ("/health", get(metrics::health)),
        ("/ready", get(metrics::ready)),
        ("/metrics", get(metrics::metrics)),
        ("/static/{version}/{name}", get(assets::asset)),
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_route_of_the_json_api_is_made_beside_its_description() {
        let beside: Vec<&str> = super::pages().iter().map(|(path, _)| *path).collect();
        assert!(beside.len() > 30 && !beside.iter().any(|path| path.contains("api")), "{beside:?}");
    }
}
