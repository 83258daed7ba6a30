//! Storage: what is where, what goes when and why it may, what went; a deletion asks once and says what it does.

use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::{Form, Json};
use custody::Plan;
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{self, Nav, Page};
use super::now::{path, percent};
use crate::access::{Role, Visitor};
use crate::act::{address, storage as act};
use crate::app::{Administrator, Operator, Shared};
use crate::data::places::kind_words;
use crate::data::storage::{Day, Held, Storage, Told, share, storage};
use crate::fault::Fault;
use crate::guard::Peer;
use crate::words::{absolute, ago, bytes, count};

/// Copies of a plan that a page lists; more are counted.
const LISTED: usize = 60;

/// `GET /storage`.
pub(crate) async fn page(State(app): State<Shared>, visitor: Visitor) -> Result<Markup, Fault> {
    let all = storage(&app).await?;
    let body = html! {
        h1 class="hidden" { "Storage" }
        div id="sites" data-live {
            h2 { "Sites" }
            ul class="stores" { @for one in &all.held { (store(one)) } }
            (switch_form(&visitor, all.on))
        }
        div id="calendar" data-live {
            h2 { "What goes when" }
            p class="note" { "By the rules of the places alone. Holds, runs that use a copy and a missing second copy keep it: "
                "custody decides at the moment of the act." }
            @if all.days.is_empty() { p class="empty" { "Nothing's time is over within 30 days." } }
            ul class="next" { @for day in &all.days { (line(day)) } }
        }
        div id="plan" data-live { (plan_part(&app, &visitor, &all)) }
        div id="ledger" data-live {
            h2 { "Deletions and refusals" }
            (ledger(&app, &all))
        }
    };
    layout::page(&app, Page { title: "Storage", nav: Nav::Storage, visitor: &visitor, body }).await
}

/// `GET /api/storage`.
pub(crate) async fn json(State(app): State<Shared>, _: Visitor) -> Result<Json<Told>, Fault> {
    Ok(Json(storage(&app).await?.told()))
}

fn store(one: &Held) -> Markup {
    let part = |bytes: u64, of: u64| bytes as f64 / of.max(1) as f64;
    // Without a disk in sight our own bytes are the whole bar.
    let whole = one.capacity.unwrap_or(one.ours);
    let bar = |class: &str, bytes: u64| {
        html! { rect class=(class) width=(format!("{:.2}%", 100.0 * part(bytes, whole).min(1.0))) height="100%" {} }
    };
    html! {
        li {
            b { (one.site) }
            svg class="bar store" role="img" aria-label={ (one.site) ": " (bytes(one.ours)) " of ours, " (bytes(one.soon)) " go within 7 days" } {
                rect class="back" width="100%" height="100%" {}
                @if let Some(used) = one.used { (bar("used", used)) }
                (bar("ours", one.ours)) (bar("soon", one.soon))
            }
            span class="facts" {
                @if let (Some(used), Some(capacity)) = (one.used, one.capacity) {
                    (bytes(used)) " of " (bytes(capacity)) " in use (" (percent(part(used, capacity))) ") · "
                }
                span class="ours" { "■ " } (bytes(one.ours)) " ours in " (copies(one.copies)) " · "
                span class="soon" { "■ " } (bytes(one.soon)) " goes within 7 days"
                @for (area, rule) in &one.rules { " · " (area) ": " (rule) }
            }
        }
    }
}

fn switch_form(visitor: &Visitor, on: bool) -> Markup {
    html! {
        div class="acts" {
            @if on { p class="done" { "✓ Deletion is on: what a plan lets go is deleted when prune runs." } }
            @else { p class="waiting" { "◌ Deletion is switched off: there are plans, and nothing is deleted." } }
            @if visitor.role >= Role::Administer {
                form method="post" action="/storage/switch"
                    data-ask=[(!on).then_some("Switch deletion on? Copies whose time is over and that are safe elsewhere are deleted from then on.")] {
                    (layout::csrf(visitor))
                    input type="hidden" name="to" value=(if on { "off" } else { "on" });
                    button class=[(!on).then_some("danger")] { "Switch deletion " (if on { "off" } else { "on" }) }
                }
            }
        }
    }
}

fn line(day: &Day) -> Markup {
    let list = |all: &std::collections::BTreeSet<String>, with: &str| {
        all.iter().cloned().collect::<Vec<_>>().join(with)
    };
    html! {
        li {
            span class="when" { (day.day) " " b { (day.site) } }
            span class="what" { (copies(day.copies)) " of " (count(day.scans, "scan")) ", " (bytes(day.bytes)) ": " (list(&day.what, ", ")) }
            span class="kept" {
                "rule: " (list(&day.rules, "; ")) "; "
                @if day.alone == 0 { "each verified at " (list(&day.kept_at, " and ")) }
                @else {
                    @if day.alone < day.copies && !day.kept_at.is_empty() { "the others verified at " (list(&day.kept_at, " and ")) "; " }
                    (copies(day.alone)) " without a verified copy elsewhere: raw data stays, results go if they can be made again"
                }
            }
        }
    }
}

fn copies(n: u64) -> String {
    if n == 1 { "1 copy".to_owned() } else { format!("{n} copies") }
}

fn plan_part(app: &Shared, visitor: &Visitor, all: &Storage) -> Markup {
    let operate = visitor.role >= Role::Operate;
    html! {
        h2 { "Plan" }
        @if operate {
            form method="post" action="/storage/plan" class="acts" { (layout::csrf(visitor)) button { "Make a plan now" }
                span class="note" { "deletes nothing" } }
        }
        @match &all.plan {
            None => { p class="empty" { "No plan was made yet." } }
            Some(plan) => {
                p { "Plan " (plan.id) ", made " (ago(plan.made_at, app.now(), &app.zone)) ": "
                    (copies(plan.items.len() as u64)) " may go, " (bytes(plan.bytes())) "; " (plan.refused.len()) " refused; "
                    (plan.waiting.len()) " wait for their time."
                    @if !all.valid { " It is old: make a new one." } }
                @if operate && all.valid {
                    div class="acts" { @for site in sites(plan) {
                        @let (n, size) = share(plan, site);
                        a class="button" href={ "/storage/prune?site=" (url::form_urlencoded::byte_serialize(site.as_bytes()).collect::<String>()) } {
                            "Delete " (copies(n)) " at " (site) ", " (bytes(size)) "…"
                        }
                    } }
                }
                (items(app, plan, None))
                @if !plan.refused.is_empty() {
                    h3 { "Due, and stays" }
                    ul class="ledger" { @for one in plan.refused.iter().take(LISTED) {
                        li { b { (one.refusal.dataset.scan) } " " (kind_words(one.refusal.dataset.kind)) " at " (one.refusal.place) ": "
                            @for (n, reason) in one.refusal.reasons.iter().enumerate() { @if n > 0 { "; " } (reason) } }
                    } }
                    @if plan.refused.len() > LISTED { p class="note" { "and " (plan.refused.len() - LISTED) " more" } }
                }
            }
        }
    }
}

fn sites(plan: &Plan) -> Vec<&str> {
    let mut sites: Vec<&str> = plan.items.iter().map(|item| item.site.as_str()).collect();
    sites.sort_unstable();
    sites.dedup();
    sites
}

fn items(app: &Shared, plan: &Plan, site: Option<&str>) -> Markup {
    let wanted: Vec<_> = plan.items.iter().filter(|item| site.is_none_or(|site| item.site == site)).collect();
    html! {
        @if !wanted.is_empty() {
            h3 { "May go" }
            ul class="ledger" { @for item in wanted.iter().take(LISTED) {
                li { a href={ "/scans/" (path(&item.dataset.scan.to_string())) } { (item.dataset.scan) } " " (kind_words(item.dataset.kind))
                    " at " (item.site) ", " (count(item.files, "file")) ", " (bytes(item.bytes)) ": " (item.why.replace(&item.due.to_string(), &absolute(item.due, &app.zone))) }
            } }
            @if wanted.len() > LISTED { p class="note" { "and " (wanted.len() - LISTED) " more" } }
        }
    }
}

fn ledger(app: &Shared, all: &Storage) -> Markup {
    html! {
        @if all.ledger.is_empty() { p class="empty" { "Nothing was deleted or refused." } }
        ul class="ledger" { @for entry in &all.ledger {
            li { span class="when" { (absolute(entry.at, &app.zone)) } " "
                b { (serde_json::to_value(entry.event).ok().and_then(|event| event.as_str().map(str::to_owned)).unwrap_or_default()) } " "
                @if let Some(scan) = &entry.scan { a href={ "/scans/" (path(&scan.to_string())) } { (scan) } " " }
                @if let Some(kind) = entry.kind { (kind_words(kind)) " " }
                @if let Some(site) = &entry.site { "at " (site) }
                @if let Some(size) = entry.bytes { ", " (bytes(size)) }
                ": " (entry.text)
                @if let Some(who) = &entry.who { span class="note" { " – " (who) } } }
        } }
    }
}

/// Which site.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Where {
    site: String,
    /// The plan that was shown.
    plan: Option<i64>,
}

/// The newest plan, if it may be acted on and lets something go at this site.
async fn about(app: &Shared, site: &str) -> Result<(Plan, Vec<String>), Fault> {
    let areas = app.beamline.policy.sites.get(site).map(|one| one.areas.keys().cloned().collect::<Vec<_>>());
    let areas = areas.ok_or_else(|| Fault::not_found("there is no such site"))?;
    let all = storage(app).await?;
    let stale = || {
        Fault::new(StatusCode::CONFLICT, "the newest plan is too old to act on, or there is none")
            .hint("make a plan on the storage page")
    };
    let plan = all.plan.filter(|_| all.valid).ok_or_else(stale)?;
    let concerned = |area: &String| plan.items.iter().any(|item| item.site == site && item.area == *area);
    let areas: Vec<String> = areas.into_iter().filter(concerned).collect();
    match areas.is_empty() {
        true => Err(Fault::new(StatusCode::CONFLICT, format!("plan {} lets nothing go at {site}", plan.id))),
        false => Ok((plan, areas)),
    }
}

/// `GET /storage/prune`: says what would be deleted, and asks.
pub(crate) async fn ask(
    State(app): State<Shared>,
    Operator(visitor): Operator,
    Query(wanted): Query<Where>,
) -> Result<Markup, Fault> {
    let (plan, _) = about(&app, &wanted.site).await?;
    let (n, size) = share(&plan, &wanted.site);
    let on = app.custody(|custody| custody.deletion_is_on()).await?;
    let body = html! {
        p class="crumbs" { a href="/storage" { "Storage" } }
        h1 { "Delete " (copies(n)) " at " (wanted.site) ", " (bytes(size)) "?" }
        p { "A run makes a fresh plan, looks at the other copies, and deletes what may go then. Each deletion is written into the ledger." }
        @if !on { p class="waiting" { "◌ Deletion is switched off: the run will say what would go, and delete nothing." } }
        (items(&app, &plan, Some(&wanted.site)))
        div class="acts" {
            form method="post" action="/storage/prune" {
                (layout::csrf(&visitor))
                input type="hidden" name="site" value=(wanted.site);
                input type="hidden" name="plan" value=(plan.id);
                button class="danger" { "Delete " (copies(n)) " at " (wanted.site) ", " (bytes(size)) }
            }
            a class="button" href="/storage" { "Leave everything" }
        }
    };
    layout::page(&app, Page { title: "Delete", nav: Nav::Storage, visitor: &visitor, body }).await
}

/// `POST /storage/prune`: starts the run. The same plan is acted on once at a site.
pub(crate) async fn prune(
    State(app): State<Shared>,
    Operator(visitor): Operator,
    peer: Option<Extension<Peer>>,
    Form(wanted): Form<Where>,
) -> Result<Redirect, Fault> {
    let (plan, areas) = about(&app, &wanted.site).await?;
    if wanted.plan != Some(plan.id) {
        return Err(Fault::new(StatusCode::CONFLICT, "there is another plan since that page was shown")
            .hint("look at the storage page again"));
    }
    let key = plan.id.to_string();
    let runs = act::prune(&app, address(peer), &visitor, &wanted.site, &areas, &key).await?;
    Ok(match runs.as_slice() {
        [one] => Redirect::to(&one.address()),
        _ => Redirect::to("/runs"),
    })
}

/// `POST /storage/plan`.
pub(crate) async fn plan(
    State(app): State<Shared>,
    Operator(visitor): Operator,
    peer: Option<Extension<Peer>>,
) -> Result<Redirect, Fault> {
    act::plan(&app, address(peer), &visitor).await?;
    Ok(Redirect::to("/storage#plan"))
}

/// To what deletion is switched.
#[derive(Debug, Deserialize)]
pub(crate) struct Switch {
    to: String,
}

/// `POST /storage/switch`.
pub(crate) async fn switch(
    State(app): State<Shared>,
    Administrator(visitor): Administrator,
    peer: Option<Extension<Peer>>,
    Form(form): Form<Switch>,
) -> Result<Redirect, Fault> {
    let on = match form.to.as_str() {
        "on" => true,
        "off" => false,
        _ => return Err(Fault::bad("to: on or off")),
    };
    act::switch(&app, address(peer), &visitor, on).await?;
    Ok(Redirect::to("/storage"))
}
