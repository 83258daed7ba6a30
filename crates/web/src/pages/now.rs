//! The first page: what needs you, today's scans, what goes next.

use axum::extract::State;
use maud::{Markup, html};

use super::layout::{self, Nav, Page};
use crate::access::{Role, Visitor};
use crate::app::Shared;
use crate::data::now::{Going, Need, Now, Schedules, now};
use crate::data::places::{Place, Standing};
use crate::data::scan::Center;
use crate::data::scans::ScanLine;
use crate::fault::Fault;
use crate::words::{self, Mood, ago, ahead, bytes, span};

/// `GET /`.
pub(crate) async fn page(State(app): State<Shared>, visitor: Visitor) -> Result<Markup, Fault> {
    let now = now(&app).await?;
    let body = html! {
        h1 class="hidden" { "Now" }
        div id="now" data-live { (content(&app, &visitor, &now)) }
    };
    layout::page(&app, Page { title: "Now", nav: Nav::Now, visitor: &visitor, body }).await
}

fn content(app: &Shared, visitor: &Visitor, now: &Now) -> Markup {
    let nothing = now.today.is_empty() && now.before.is_empty();
    html! {
        @if !now.needs.is_empty() {
            section aria-labelledby="needs" {
                h2 id="needs" { "Needs you" }
                ul class="needs" { @for one in &now.needs { (need(app, visitor, one)) } }
            }
        }
        section aria-labelledby="today" {
            h2 id="today" { "Today" }
            @if now.today.is_empty() { p class="empty" { "No scan yet today." } }
            @if !now.today.is_empty() { (list(app, &now.today)) }
        }
        @if !now.before.is_empty() {
            section aria-labelledby="before" {
                h2 id="before" { "Before" }
                (list(app, &now.before))
            }
        }
        @if nothing {
            p class="empty" {
                "beamrail has not seen a scan. " code { "beamrail watch" } " starts the journey of new ones, "
                code { "beamrail run new_832_file_flow --file SCAN.h5" } " that of one."
            }
        }
        section aria-labelledby="next" {
            h2 id="next" { "Next to go" }
            @if !now.deletion_on {
                p class="note" { "Deletion is switched off: nothing goes, whatever the dates say." }
            }
            @if let Some(one) = &now.elsewhere { (elsewhere(app, one)) }
            @if now.next.is_empty() && now.elsewhere.as_ref().is_none_or(|one| one.at.is_some()) {
                p class="empty" { "Nothing is scheduled to be deleted." }
            }
            @if !now.next.is_empty() { ul class="next" { @for one in &now.next { (going(app, one)) } } }
        }
    }
}

fn need(app: &Shared, visitor: &Visitor, one: &Need) -> Markup {
    let operate = visitor.role >= Role::Operate;
    html! {
        li class="need" {
            span class="sign failed" aria-hidden="true" { "✕" }
            div class="what" {
                @if one.is_scan { a class="name" href={ "/scans/" (path(&one.title)) } { (one.title) } }
                @else { span class="name" { (one.title) } }
                p class="why" { (one.why) }
            }
            div class="acts" {
                @if let Some(run) = &one.run {
                    @let answer = one.kind == "question" && operate;
                    a class="button" href={ "/runs/" (run) } { @if answer { "Look and answer" } @else { "Look" } }
                }
                @if let Some(top) = one.top.as_ref().filter(|_| one.kind == "failure" && operate) {
                    form method="post" action={ "/runs/" (top) "/retry" } {
                        (layout::csrf(visitor))
                        button { "Retry" }
                    }
                }
            }
            span class="when" { (ago(one.since, app.now(), &app.zone)) }
        }
    }
}

/// Scans, a line each.
pub(crate) fn list(app: &Shared, lines: &[ScanLine]) -> Markup {
    html! { ul class="scans" { @for line in lines { (scan(app, line)) } } }
}

fn scan(app: &Shared, line: &ScanLine) -> Markup {
    let (folder, stem) = line.scan.rsplit_once('/').unwrap_or(("", &line.scan));
    let part = line.doing.first().and_then(|one| one.part);
    let left = line.doing.first().and_then(|one| one.left_s);
    html! {
        li class="scan" {
            a class="thumb" href={ "/scans/" (path(&line.scan)) } tabindex="-1" aria-hidden="true" {
                @if line.volume { img src={ "/pictures/thumb/" (path(&line.scan)) } alt="" width="64" height="64" loading="lazy"; }
                @else { span class="blank" {} }
            }
            div class="what" {
                a class="name" href={ "/scans/" (path(&line.scan)) } title=(line.scan) { (stem) }
                span class="folder" { (folder) }
                div class="places" { @for one in &line.places { (place(one)) } }
            }
            div class="state" {
                span class={ "line " (line.mood.word()) } {
                    span class="sign" aria-hidden="true" { (line.mood.sign()) } " " (line.sentence)
                    @if let Some(part) = part { " " (percent(part)) }
                }
                @if let Some(part) = part { (bar(part, line.mood)) }
                span class="facts" {
                    @if let Some(left) = left { (span(left)) " left · " }
                    @if let Some(raw) = line.raw_bytes { (bytes(raw)) " raw" }
                    @if let Some(results) = line.results_bytes { " · " (bytes(results)) " results" }
                    @if let Some(center) = &line.center { " · " (centre(center)) }
                    @if line.held { " · " b { "held" } }
                    @if line.controlled { " · " b { "export-controlled" } }
                }
            }
            div class="acts" {
                @if let Some(view) = line.views.first() { a class="button" href=(view.address) { "View" } }
                @if let Some(run) = &line.run { a class="quiet" href={ "/runs/" (run) } { "Run" } }
            }
            span class="when" { (ago(line.seen, app.now(), &app.zone)) }
        }
    }
}

/// The rotation centre; doubt is told by a word as well as by colour.
fn centre(center: &Center) -> Markup {
    html! {
        span class=(if center.is_believed() { "centre" } else { "centre failed" }) title=(center.reason) {
            "centre " (center.text())
            @if center.verdict != "given" { ", " @if !center.is_believed() { b { (center.verdict) } " " } "confidence " (format!("{:.2}", center.confidence)) }
        }
    }
}

fn place(one: &Place) -> Markup {
    let (class, sign) = match one.standing {
        Standing::Verified => ("done", "✓"),
        Standing::There => ("waiting", "◌"),
        Standing::Busy => ("running", "▸"),
        Standing::Wrong => ("failed", "✕"),
        Standing::Gone => ("idle", "○"),
        Standing::Empty => ("idle", "·"),
    };
    html! {
        span class={ "place " (class) } title={ (one.site) ": " (one.text) } {
            (one.site) " " span class="sign" aria-hidden="true" { (sign) }
            span class="hidden" { (one.text) }
        }
    }
}

/// A bar of progress, as a picture that needs no style of its own.
pub(crate) fn bar(part: f64, mood: Mood) -> Markup {
    let part = part.clamp(0.0, 1.0);
    html! {
        svg class={ "bar " (mood.word()) } role="img" aria-label={ (percent(part)) " done" } {
            rect class="back" width="100%" height="100%" {}
            rect class="done" width={ (format!("{:.1}%", part * 100.0)) } height="100%" {}
        }
    }
}

/// A part as a percentage.
pub(crate) fn percent(part: f64) -> String {
    format!("{:.0} %", (part * 100.0).floor())
}

/// Who has the schedules, and whether that is the last word.
fn elsewhere(app: &Shared, one: &Schedules) -> Markup {
    html! {
        p class="note" {
            @match (&one.fault, one.at) {
                (Some(why), Some(at)) => { span class="failed" { (one.name) " does not answer" } ": " (why) ". What follows it said " (ago(at, app.now(), &app.zone)) "." }
                (Some(why), None) => { span class="failed" { (one.name) " does not answer" } ": " (why) ". What is scheduled there is not known." }
                (None, Some(at)) => { "As " (one.name) " said " (ago(at, app.now(), &app.zone)) ", which has the schedules." }
                (None, None) => { (one.name) " has the schedules and is being asked." }
            }
        }
    }
}

fn going(app: &Shared, one: &Going) -> Markup {
    let kept = match one.kept_at.as_slice() {
        [] => "no other copy: it can be made again from the raw data".to_owned(),
        sites => format!("each verified at {}", sites.join(" and ")),
    };
    html! {
        li {
            span class="when" title=(words::absolute(one.at, &app.zone)) { (ahead(one.at, app.now(), &app.zone)) }
            span class="what" {
                b { (one.site) } " " (one.what.join(", ")) " of "
                @if let [only] = one.scans.as_slice() { a href={ "/scans/" (path(only)) } { (only) } }
                @else { (words::count(one.scans.len() as u64, "scan")) }
                ", " (bytes(one.bytes))
            }
            span class="kept" { (kept) }
        }
    }
}

/// A scan's name in an address.
pub(crate) fn path(scan: &str) -> String {
    let encode = |part: &str| url::form_urlencoded::byte_serialize(part.as_bytes()).collect::<String>();
    // A plus sign is a space only in a query.
    scan.split('/').map(|part| encode(part).replace('+', "%20")).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn names_in_addresses() {
        assert_eq!(path("BLS-1_u/a b+c_50%_é"), "BLS-1_u/a%20b%2Bc_50%25_%C3%A9");
        assert_eq!(path("f/<script>?#"), "f/%3Cscript%3E%3F%23");
    }
}
