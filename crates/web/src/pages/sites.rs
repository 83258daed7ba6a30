//! Facilities and sites: how they stand, what runs and waits there.

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::Redirect;
use beamline::check::{Look, Verdict};
use maud::{Markup, html};

use super::layout::{self, Nav, Page};
use crate::access::{Role, Visitor};
use crate::act::address;
use crate::app::{Operator, Shared};
use crate::data::sites::{FacilityNow, SiteNow, Sites, sites};
use crate::fault::Fault;
use crate::guard::Peer;
use crate::health::{Found, wake};
use crate::words::{ago, count, span};

/// `GET /sites`.
pub(crate) async fn page(State(app): State<Shared>, visitor: Visitor) -> Result<Markup, Fault> {
    wake(&app, false);
    let all = sites(&app).await?;
    let body = html! {
        h1 class="hidden" { "Facilities and sites" }
        div id="places" data-live {
            div class="acts" {
                p class="note" { "Looked at by itself every few minutes while somebody is here; nothing is written there. "
                    code { "beamrail check" } " also tries rights and workers." }
                @if all.looking { span class="running" role="status" { "▸ being looked at" } }
                @else if visitor.role >= Role::Operate {
                    form method="post" action="/sites/check" { (layout::csrf(&visitor)) button { "Look now" } }
                }
            }
            h2 { "Facilities" }
            @if all.facilities.is_empty() { p class="empty" { "No facility is configured." } }
            @for one in &all.facilities { (facility(&app, one)) }
            h2 { "Sites" }
            @for one in &all.sites { (site(&app, one)) }
        }
    };
    layout::page(&app, Page { title: "Facilities and sites", nav: Nav::Sites, visitor: &visitor, body }).await
}

/// `GET /api/sites`.
pub(crate) async fn json(State(app): State<Shared>, _: Visitor) -> Result<Json<Sites>, Fault> {
    wake(&app, false);
    Ok(Json(sites(&app).await?))
}

/// `POST /sites/check`: brings the next look forward.
pub(crate) async fn check(
    State(app): State<Shared>,
    Operator(visitor): Operator,
    peer: Option<Extension<Peer>>,
) -> Result<Redirect, Fault> {
    app.audit.asked(address(peer), &visitor, "look at sites and facilities", "all")?;
    let told = if wake(&app, true) { "begun" } else { "done a moment ago" };
    app.audit.came(&visitor, "look at sites and facilities", "all", &Ok(told.into()));
    Ok(Redirect::to("/sites"))
}

fn facility(app: &Shared, one: &FacilityNow) -> Markup {
    html! {
        section class="place-now" {
            h3 { (sign(one.health.as_ref())) " " (one.name) " " span class="note" { (one.kind) ", sees " (one.site) } }
            p { b { (one.running) " running" }
                @if let Some(slots) = one.slots { " of " (slots) " at once" }
                ", " (one.queued) " in its queue, " (one.waiting) " waiting here. "
                span class="note" { "A job may wait " (one.queue_limit) " and run " (one.walltime) "." } }
            @if !one.flows.is_empty() { p class="note" { "Used by " (one.flows.join(", ")) "." } }
            (found(app, &format!("facility-{}", one.name), one.health.as_ref()))
        }
    }
}

fn site(app: &Shared, one: &SiteNow) -> Markup {
    html! {
        section class="place-now" {
            h3 { (sign(one.health.as_ref())) " " (one.name) " " span class="note" { (one.kind) } }
            p class="mono note" { (one.root) @for (area, path) in &one.areas { " · " (area) ": " (path) } }
            (found(app, &format!("site-{}", one.name), one.health.as_ref()))
        }
    }
}

fn sign(found: Option<&Found>) -> Markup {
    let (class, sign, word) = match found.map(|found| found.verdict) {
        None => ("idle", "–", "not looked at yet"),
        Some(Verdict::Ok) => ("done", "✓", "well"),
        Some(Verdict::Warning) => ("waiting", "◌", "worth a look"),
        Some(Verdict::Fault) => ("failed", "✕", "something would fail"),
    };
    html! { span class={ "badge " (class) } { span class="sign" aria-hidden="true" { (sign) } " " (word) } }
}

/// What needs somebody is open, what is well is folded.
fn found(app: &Shared, id: &str, found: Option<&Found>) -> Markup {
    let Some(found) = found else { return html! {} };
    let (well, other): (Vec<&Look>, Vec<&Look>) =
        found.looks.iter().partition(|look| look.verdict == Verdict::Ok);
    html! {
        @if !other.is_empty() { ul class="flags" { @for look in other { (line(look)) } } }
        details id=(id) {
            summary { (count(well.len() as u64, "thing")) " well, seen " (ago(found.at, app.now(), &app.zone)) " in " (span(found.took_s)) }
            ul class="flags" { @for look in well { (line(look)) } }
        }
    }
}

fn line(look: &Look) -> Markup {
    let (class, sign) = match look.verdict {
        Verdict::Ok => ("done", "✓"),
        Verdict::Warning => ("waiting", "◌"),
        Verdict::Fault => ("failed", "✕"),
    };
    html! {
        li { span class=(class) aria-hidden="true" { (sign) } " " b { (look.what) } ": " (look.found)
            @if let Some(action) = &look.action { p class="hint" { "Next: " (action) } } }
    }
}
