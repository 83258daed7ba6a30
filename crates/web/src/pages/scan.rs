//! A scan: how it looks, its geometry and rotation centre, where its copies are and when they go.

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde_json::Value;

use super::layout::{self, Nav, Page};
use super::now::{bar, path, percent};
use super::run::run_id;
use super::runs;
use crate::access::{Role, Visitor};
use crate::app::Shared;
use crate::data::metadata::{Metadata, metadata};
use crate::data::places::journey;
use crate::data::scan::{Center, Copy, View, view};
use crate::data::{pictures, scan_name};
use crate::fault::Fault;
use crate::words::{absolute, ago, ahead, bytes, count};

/// `GET /scans/{scan}`.
pub(crate) async fn page(
    State(app): State<Shared>,
    visitor: Visitor,
    Path(scan): Path<String>,
) -> Result<Markup, Fault> {
    let view = view(&app, scan_name(&scan)?).await?;
    let said = metadata(&app, &view.known.name).await;
    let name = view.known.name.to_string();
    let operate = visitor.role >= Role::Operate;
    let body = html! {
        div id="head" data-live {
            p class="crumbs" { a href="/scans" { "Scans" } " › " (view.known.name.folder()) }
            h1 { (view.known.name.stem()) }
            p class={ "sentence " (view.line.mood.word()) } {
                span class="sign" aria-hidden="true" { (view.line.mood.sign()) } " " (view.line.sentence)
                @if let Some(part) = view.line.doing.first().and_then(|one| one.part) { " " (percent(part)) }
            }
            @if let Some(part) = view.line.doing.first().and_then(|one| one.part) { (bar(part, view.line.mood)) }
        }
        div class="scanpage" {
            div class="look" {
                @if view.line.volume {
                    img class="slice" src={ "/pictures/slice/" (path(&name)) } alt={ "The middle slice of " (name) };
                    p class="note" { "The middle slice." }
                } @else { p class="blank large" { "No volume is there to be shown." } }
                div class="acts" {
                    a class="button" href={ "/again/" (path(&name)) } { "Reconstruct again with…" }
                    @if view.line.volume { a class="button" href={ "/compare/" (path(&name)) } { "Compare" } }
                    (buttons(&view, &name))
                }
            }
            div class="told" id="told" data-live {
                @if let Some(center) = &view.center { (centre(center)) }
                (geometry(&app, &view))
                (holds(&app, &visitor, &view, &name, operate))
            }
        }
        @if has_sidecars(&view) {
            details id="preview" open {
                summary { h2 { "Preview with the centre's evidence" } }
                a href={ "/pictures/preview/" (path(&name)) } {
                    img class="evidence" src={ "/pictures/preview/" (path(&name)) } loading="lazy"
                        alt="Slices, histogram, and one row reconstructed at candidate centres";
                }
            }
        }
        details id="metadata" {
            summary { h2 { "What the raw file says" } }
            @match &said { Ok(said) => (raw(said)), Err(fault) => p class="empty" { (fault.what) } }
        }
        div id="copies" data-live {
            h2 { "Copies" }
            (copies(&app, &view))
        }
        div id="runs" data-live {
            h2 { "Runs" }
            @if view.runs.is_empty() { p class="empty" { "No run was about it." } }
            ul class="runs" { @for run in &view.runs { (runs::line(&app, run)) } }
        }
        div id="ledger" data-live {
            details id="ledger-lines" {
                summary { h2 { "Ledger" } }
                (ledger(&app, &view))
            }
        }
    };
    let title = view.known.name.stem().to_owned();
    layout::page(&app, Page { title: &title, nav: Nav::Scans, visitor: &visitor, body }).await
}

fn has_sidecars(view: &View) -> bool {
    view.copies.iter().any(|copy| copy.kind == "sidecars" && copy.state == "present")
}

fn buttons(view: &View, name: &str) -> Markup {
    html! {
        @for one in &view.line.views { a class="button main" href=(one.address) { "View at " (one.site) } }
        @for paper in &view.papers {
            a class="button" href={ "/papers/" (paper) "/" (path(name)) } { (super::super::data::doing::capital(paper)) " (JSON)" }
        }
    }
}

fn centre(center: &Center) -> Markup {
    html! {
        section {
            h2 { "Rotation centre" }
            p class={ "big " (if center.is_believed() { "done" } else { "failed" }) } {
                "column " (center.text())
            }
            p { (center.verdict) ", confidence " (format!("{:.2}", center.confidence)) ", by " (center.method) }
            p class="note" { (center.reason) }
            @if center.per_row.len() > 1 { (rows(center)) }
        }
    }
}

/// The centre of each row that was looked at, on one axis: agreement is a straight line of points.
fn rows(center: &Center) -> Markup {
    let off = |one: &(u64, f64, f64)| one.1 - center.center;
    let widest = center.per_row.iter().map(|one| off(one).abs()).fold(0.5, f64::max);
    let widest = if widest > 20.0 { 20.0 } else { widest };
    let last = center.per_row.iter().map(|one| one.0).max().unwrap_or(1).max(1) as f64;
    let x = |one: &(u64, f64, f64)| format!("{:.1}%", 4.0 + 92.0 * one.0 as f64 / last);
    let y = |one: &(u64, f64, f64)| format!("{:.1}%", 50.0 - 42.0 * (off(one) / widest).clamp(-1.0, 1.0));
    html! {
        svg class="rows" role="img" aria-label="The centre found in single rows" {
            rect class="tick" x="0" y="50%" width="100%" height="1" {}
            @for one in &center.per_row {
                circle cx=(x(one)) cy=(y(one)) r="3.5" opacity=(format!("{:.2}", 0.3 + 0.7 * one.2.clamp(0.0, 1.0))) {
                    title { "row " (one.0) ": " (format!("{:.2}", one.1)) ", confidence " (format!("{:.2}", one.2)) }
                }
            }
        }
        p class="note" { (count(center.per_row.len() as u64, "single row")) ", ± " (format!("{widest:.1}")) " columns, the top of the detector at the left." }
    }
}

fn geometry(app: &Shared, view: &View) -> Markup {
    let report = view.report.as_ref();
    let at = |pointer: &str| report.and_then(|report| report.pointer(pointer));
    let number = |pointer: &str| at(pointer).and_then(Value::as_f64);
    let text = |pointer: &str| at(pointer).and_then(Value::as_str);
    let shape = at("/plan/scan/shape").and_then(Value::as_array).map(|shape| {
        let side = |n: usize| shape.get(n).and_then(Value::as_u64).unwrap_or(0);
        format!("{} projections of {} rows × {} columns", side(0), side(1), side(2))
    });
    let warnings = at("/warnings").and_then(Value::as_array).cloned().unwrap_or_default();
    let input = text("/input_blake3");
    let counted = |pointer: &str| at(pointer).and_then(Value::as_u64).filter(|count| *count > 0);
    html! {
        section {
            h2 { "Scan" }
            dl {
                dt { "Seen" } dd { (ago(view.line.seen, app.now(), &app.zone)) ", " (absolute(view.line.seen, &app.zone)) }
                @if let Some(raw) = view.line.raw_bytes { dt { "Raw data" } dd { (bytes(raw)) } }
                @if let Some(results) = view.line.results_bytes { dt { "Results" } dd { (bytes(results)) } }
                @if let Some(shape) = shape { dt { "Geometry" } dd { (shape) } }
                @if let Some(layout) = text("/plan/scan/layout") { dt { "Layout" } dd { (layout) } }
                @if let Some(pixel) = number("/plan/pixel_um") { dt { "Pixel at the sample" } dd { (format!("{pixel:.3} µm")) } }
                @if let Some(width) = number("/plan/slice_columns") { dt { "Slice" } dd { (width) " × " (width) } }
                @if let Some(unit) = text("/plan/unit") { dt { "Values" } dd { (unit) } }
                dt { "Export control" } dd { @if view.known.mark.controlled { b { "controlled" } } @else { "not controlled" }
                    ", by " (view.known.mark.source) }
                @if let Some(digest) = input { dt { "Digest of the raw file" } dd class="mono" { "blake3:" (digest) } }
                @if let Some(version) = text("/beamrail") { dt { "Made by" } dd { "beamrail " (version) @if let Some(host) = text("/host") { " on " (host) } } }
            }
            @if !warnings.is_empty() || counted("/quality/clipped").is_some() || counted("/quality/not_finite").is_some() {
                h3 { "Quality" }
                ul class="flags" {
                    @if let Some(clipped) = counted("/quality/clipped") { li { (clipped) " values were clipped" } }
                    @if let Some(odd) = counted("/quality/not_finite") { li { (odd) " values were no numbers" } }
                    @for warning in &warnings {
                        li { code { (warning.get("code").and_then(Value::as_str).unwrap_or_default()) } " "
                            (warning.get("message").and_then(Value::as_str).unwrap_or_default()) }
                    }
                }
            }
        }
    }
}

/// Geometry as it was understood, then every small dataset and attribute of the file.
fn raw(said: &Metadata) -> Markup {
    html! {
        p class="note" { (said.file) ", " (bytes(said.bytes)) }
        dl { @for (name, value) in &said.facts { dt { (name) } dd { (value) } } }
        @if !said.warnings.is_empty() { ul class="flags" { @for one in &said.warnings { li { (one) } } } }
        @if said.values.is_empty() { p class="empty" { "It holds no metadata." } } @else {
            table class="metadata" {
                thead { tr { th { "In the file" } th { "Value" } } }
                tbody { @for (path, value) in &said.values { tr { td { code { (path) } } td { (value) } } } }
            }
        }
    }
}

fn holds(app: &Shared, visitor: &Visitor, view: &View, name: &str, operate: bool) -> Markup {
    let held: Vec<_> = view.known.held(app.now()).collect();
    html! {
        section {
            h2 { "Hold" }
            @if held.is_empty() { p class="note" { "Not held: copies go by the rules of their places." } }
            @for hold in &held {
                p { b { "Held" } " by " (hold.who) " since " (absolute(hold.placed_at, &app.zone))
                    @if let Some(until) = hold.until { " until " (absolute(until, &app.zone)) }
                    ": " (hold.reason) }
            }
            @if operate {
                form method="post" action={ "/hold/" (path(name)) } class="acts" {
                    (layout::csrf(visitor))
                    label { "Why " input name="reason" maxlength="300" placeholder="kept by hand"; }
                    label { "Days " input type="number" name="days" min="1" max="36500" placeholder="∞"; }
                    button { "Hold" }
                }
                @if !held.is_empty() {
                    form method="post" action={ "/release/" (path(name)) } class="acts"
                        data-ask="Release all holds? Copies whose time is over may then be deleted." {
                        (layout::csrf(visitor))
                        button class="danger" { "Release all holds" }
                    }
                }
            }
        }
    }
}

fn copies(app: &Shared, view: &View) -> Markup {
    html! {
        @if !view.deletion_on { p class="note" { "Deletion is switched off: nothing goes, whatever the dates say." } }
        @if view.copies.is_empty() { p class="empty" { "No copy was registered yet." } }
        ul class="copies" {
            @for copy in sorted(app, view) { (copy_line(app, view, copy)) }
        }
    }
}

/// What is there before what was, raw data before results, places in the order of the journey.
fn sorted<'v>(app: &Shared, view: &'v View) -> Vec<&'v Copy> {
    let journey = journey(&app.beamline);
    let place = |copy: &Copy| journey.iter().position(|site| *site == copy.site).unwrap_or(usize::MAX);
    let kind = |copy: &Copy| copy.kind.parse::<custody::Kind>().ok();
    let mut all: Vec<&Copy> = view.copies.iter().collect();
    all.sort_by_key(|copy| (!is_there(copy), kind(copy), place(copy), copy.id));
    all
}

fn is_there(copy: &Copy) -> bool {
    matches!(copy.state.as_str(), "present" | "suspect" | "deleting")
}

fn copy_line(app: &Shared, view: &View, copy: &Copy) -> Markup {
    let (class, sign) = match copy.state.as_str() {
        "present" if copy.counts => ("done", "✓"),
        "present" => ("waiting", "◌"),
        "suspect" | "lost" => ("failed", "✕"),
        "deleting" => ("running", "▸"),
        _ => ("idle", "○"),
    };
    let there = is_there(copy);
    let held = view.line.held;
    html! {
        li class={ "copy " (if there { "there" } else { "past" }) } {
            span class=(class) { span class="sign" aria-hidden="true" { (sign) } " " b { (copy.site) } " " (words(&copy.kind)) }
            span { @if copy.state != "present" { (copy.state) " " } @if there { (copy.level.as_deref().unwrap_or("not verified")) }
                @if let Some(at) = copy.verified_at { " " (ago(at, app.now(), &app.zone)) } }
            span class="num" { (bytes(copy.bytes)) ", " (count(copy.files, "file")) }
            span {
                @if !there { "" }
                @else if let Some(at) = copy.goes {
                    @if held { "held; else " }
                    @if at <= app.now() { "may go now" } @else { "goes " (ahead(at, app.now(), &app.zone)) }
                    " (" (copy.rule) ")"
                } @else { "stays (" (copy.rule) ")" }
            }
            @if there {
                details id={ "copy-" (copy.id) } {
                    summary { "Digests" }
                    p class="mono" { (copy.site) ":" (copy.base) }
                    @if let Some(content) = &copy.content { p class="mono" { "all files: blake3:" (content) } }
                    @if let Some(by) = &copy.verified_by { p class="note" { "verified by " (by) } }
                    ul class="mono" {
                        @for file in &copy.digests {
                            li { (file.path) " " (bytes(file.size)) " "
                                @if let Some(digest) = &file.blake3 { "blake3:" (digest) } @else { "no digest known" } }
                        }
                        @if copy.files > copy.digests.len() as u64 {
                            li class="note" { "and " (copy.files - copy.digests.len() as u64) " more, in the manifest" }
                        }
                    }
                }
            }
        }
    }
}

fn words(kind: &str) -> &str {
    kind.parse().map(crate::data::places::kind_words).unwrap_or(kind)
}

fn ledger(app: &Shared, view: &View) -> Markup {
    html! {
        ul class="ledger" {
            @for entry in &view.ledger {
                li { span class="when" { (absolute(entry.at, &app.zone)) } " "
                    b { (serde_json::to_value(entry.event).ok().and_then(|event| event.as_str().map(str::to_owned)).unwrap_or_default()) }
                    @if let Some(kind) = entry.kind { " " (kind) }
                    @if let Some(site) = &entry.site { " at " (site) }
                    ": " (entry.text)
                    @if let Some(who) = &entry.who { span class="note" { " – " (who) } }
                }
            }
        }
    }
}

fn picture(bytes: Vec<u8>, seconds: u32) -> Response {
    let keep = format!("private, max-age={seconds}");
    ([(header::CONTENT_TYPE, "image/png".to_owned()), (header::CACHE_CONTROL, keep)], bytes).into_response()
}

/// `GET /pictures/thumb/{scan}`.
pub(crate) async fn thumb(
    State(app): State<Shared>,
    _: Visitor,
    Path(scan): Path<String>,
) -> Result<Response, Fault> {
    Ok(picture(pictures::slice(&app, &scan_name(&scan)?, 256).await?, 300))
}

/// `GET /pictures/slice/{scan}`.
pub(crate) async fn slice(
    State(app): State<Shared>,
    _: Visitor,
    Path(scan): Path<String>,
) -> Result<Response, Fault> {
    Ok(picture(pictures::slice(&app, &scan_name(&scan)?, 1024).await?, 300))
}

/// `GET /pictures/preview/{scan}`.
pub(crate) async fn preview(
    State(app): State<Shared>,
    _: Visitor,
    Path(scan): Path<String>,
) -> Result<Response, Fault> {
    Ok(picture(pictures::sidecar(&app, &scan_name(&scan)?, ".preview.png").await?, 300))
}

/// `GET /pictures/evidence/{id}`.
pub(crate) async fn evidence(
    State(app): State<Shared>,
    _: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    Ok(picture(pictures::evidence(&app, run_id(&id)?).await?, 60))
}

/// `GET /papers/{paper}/{scan}`: what custody keeps for good.
pub(crate) async fn paper(
    State(app): State<Shared>,
    _: Visitor,
    Path((paper, scan)): Path<(String, String)>,
) -> Result<Response, Fault> {
    let known = custody::PAPERS.into_iter().find(|known| *known == paper);
    let paper = known.ok_or_else(|| Fault::not_found("papers are recipe, report and manifest"))?;
    let name = scan_name(&scan)?;
    let asked = name.clone();
    let found = app.custody(move |custody| custody.paper(&asked, paper)).await?;
    let bytes = found.ok_or_else(|| Fault::not_found(format!("custody keeps no {paper} of {name}")))?;
    let kind = if serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok() {
        "application/json"
    } else {
        "text/plain; charset=utf-8"
    };
    Ok(([(header::CONTENT_TYPE, kind)], bytes).into_response())
}
