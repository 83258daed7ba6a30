//! Settings: what is in force and where it comes from; how long copies stay can be changed where policy allows.

use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, Json};
use beamline::config::Origin;
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{self, Nav, Page};
use crate::access::{Role, Visitor};
use crate::act::{address, settings as act};
use crate::app::{Administrator, Shared};
use crate::data::settings::{Effective, Retention, effective};
use crate::fault::Fault;
use crate::guard::Peer;

/// `GET /settings`.
pub(crate) async fn page(State(app): State<Shared>, visitor: Visitor) -> Result<Markup, Fault> {
    show(&app, &visitor, None).await
}

/// `GET /api/settings`.
pub(crate) async fn json(State(app): State<Shared>, _: Visitor) -> Result<Json<Effective>, Fault> {
    Ok(Json(effective(&app).await?))
}

/// What the form of one rule sends.
#[derive(Debug, Deserialize)]
pub(crate) struct Change {
    site: String,
    area: String,
    rule: String,
}

/// `POST /settings/retention`.
pub(crate) async fn retention(
    State(app): State<Shared>,
    Administrator(visitor): Administrator,
    peer: Option<Extension<Peer>>,
    Form(change): Form<Change>,
) -> Result<Response, Fault> {
    let Change { site, area, rule } = &change;
    match act::retention(&app, address(peer), &visitor, site, area, rule.trim()).await {
        Ok(()) => Ok(Redirect::to("/settings#retention").into_response()),
        // Said at its field, with what was typed.
        Err(fault) if fault.status == StatusCode::UNPROCESSABLE_ENTITY => {
            let page = show(&app, &visitor, Some((&change, &fault.what))).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
        Err(fault) => Err(fault),
    }
}

async fn show(app: &Shared, visitor: &Visitor, wrong: Option<(&Change, &str)>) -> Result<Markup, Fault> {
    let all = effective(app).await?;
    let administer = visitor.role >= Role::Administer;
    let section =
        |n: usize| all.settings.get(n).and_then(|one| one.key.split('.').next()).unwrap_or_default();
    let body = html! {
        h1 class="hidden" { "Settings" }
        section id="retention" {
            h2 { "How long copies stay" }
            @if let Some((source, silent)) = &all.elsewhere {
                p { "Kept in " (source) "." @if let Some(why) = silent { " " b class="failed" { "It does not answer, so nothing is deleted: " (why) } } }
            }
            p class="note" { "Write " code { "never" } ", " code { "2 days" } " or " code { "7 days after the copy at SITE is verified" }
                ". The file keeps it, and the next plan obeys. Custody still keeps what is held, in use or without a second copy." }
            @for one in &all.retention { (rule(visitor, one, administer, wrong)) }
            @if !administer { p class="note" { "Changing it needs the role administer." } }
        }
        section {
            h2 { "Configuration in force" }
            p class="mono" { (all.file) }
            @if all.changed { p class="waiting" { "◌ The file has changed since this server began. Retention that was changed here is in force; the rest is read at its next start." } }
            table class="settings" {
                thead { tr { th { "Setting" } th { "Value" } th { "From" } } }
                tbody {
                    @for (n, one) in all.settings.iter().enumerate() {
                        @if n == 0 || section(n) != section(n - 1) { tr { th colspan="3" { "[" (section(n)) "]" } } }
                        tr {
                            td { code { (one.key) } } td { (one.value) }
                            td { @match one.origin { Origin::File { line } => { "line " (line) } Origin::Default => { span class="note" { "default" } } } }
                        }
                    }
                }
            }
        }
        section {
            h2 { "Environment" }
            p class="note" { "Secrets are in the environment or in files that it names. What they say is shown nowhere." }
            table { tbody { @for (name, set) in &all.environment {
                tr { td { code { (name) } } td { @if *set { span class="done" { "✓ set" } } @else { span class="idle" { "– not set" } } } }
            } } }
        }
    };
    layout::page(app, Page { title: "Settings", nav: Nav::Settings, visitor, body }).await
}

fn rule(visitor: &Visitor, one: &Retention, administer: bool, wrong: Option<(&Change, &str)>) -> Markup {
    let wrong = wrong.filter(|(change, _)| change.site == one.site && change.area == one.area);
    let id = format!("rule-{}-{}", one.site, one.area);
    let now = wrong.map_or(one.rule.as_str(), |(change, _)| change.rule.as_str());
    html! {
        form method="post" action="/settings/retention" class={ "acts rule" @if wrong.is_some() { " wrong" } }
            data-ask={ "Change how long " (one.area) " stays at " (one.site) "? The next plan obeys it." } {
            (layout::csrf(visitor))
            input type="hidden" name="site" value=(one.site);
            input type="hidden" name="area" value=(one.area);
            label for=(id) { b { (one.site) } " " (one.area) }
            @if one.closed.is_none() && administer {
                input type="text" id=(id) name="rule" value=(now) maxlength="200" size="44" autocomplete="off"
                    aria-invalid=[wrong.map(|_| "true")];
                button { "Change" }
            } @else {
                span { (one.rule) }
                @if let Some(why) = &one.closed { span class="note" { "fixed: " (why) } }
            }
            @if one.rule != one.began && !one.began.is_empty() { span class="waiting" { "was " (one.began) " when this server began" } }
            @if let Some((_, why)) = wrong { p class="failed" { (why) } }
        }
    }
}
