//! A look: the slice that was tried, or a strip of candidate centres to choose from by clicking.

use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::again::carried;
use super::layout::{self, Nav, Page};
use super::now::path;
use crate::access::{Role, Visitor};
use crate::act::address;
use crate::app::{Operator, Shared};
use crate::data::again::{FIELD, at_center};
use crate::fault::Fault;
use crate::guard::Peer;
use crate::looks::{Aim, Look, Stage};
use crate::words::span;

/// A strip is not made finer than this, in columns: half of it is no longer seen.
const FINEST: f64 = 0.1;

/// The form with these fields filled in.
type Link<'a> = &'a dyn Fn(&[(String, String)]) -> String;

fn find(app: &Shared, id: &str) -> Result<std::sync::Arc<Look>, Fault> {
    app.looks.get(id).ok_or_else(|| {
        Fault::not_found("there is no such look (any more)").hint("begin a new one from the scan's page")
    })
}

/// `GET /looks/{id}`. While it is being made the page comes again by itself, which also says that somebody waits.
pub(crate) async fn page(
    State(app): State<Shared>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Markup, Fault> {
    let look = find(&app, &id)?;
    let stage = look.stage();
    let name = look.scan.to_string();
    let again = |fields: &[(String, String)]| {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        format!("/again/{}?{query}", path(&name))
    };
    let title = if look.aim == Aim::Slice { "One slice" } else { "Choose the centre" };
    let body = html! {
        p class="crumbs" { a href="/scans" { "Scans" } " › " a href={ "/scans/" (path(&name)) } { (name) } }
        h1 { (title) }
        @if !look.fields.is_empty() {
            p class="note" { "With " @for (n, (key, value)) in look.fields.iter().enumerate() {
                @if n > 0 { ", " } code { (key.strip_prefix(FIELD).unwrap_or(key)) " = " (value) } } }
        }
        div id="look" data-live {
        @match &stage {
            Stage::Waiting => { p class="sentence waiting" { "In line: another look is being made." } (stop(&visitor, &look)) }
            Stage::Working(what) => { p class="sentence running" role="status" { "At work: " (what) "." } (stop(&visitor, &look)) }
            Stage::Failed(why) => {
                section class="failure" { h2 { "Nothing to show" } p { (why) } }
                p { a class="button" href=(again(&look.fields)) { "Back to the parameters" } }
            }
            Stage::Slice { picture: _, center, warnings, seconds } => {
                p { "The middle slice, made in " (span(*seconds)) "."
                    @if let Some(center) = center { " Rotation centre: column " b { (format!("{center:.2}")) } "." } }
                @if !warnings.is_empty() { ul class="flags" { @for one in warnings { li { (one) } } } }
                img class="evidence" src={ "/looks/" (look.id) "/0.png" } alt={ "The middle slice of " (name) };
                p { a class="button main" href=(again(&look.fields)) { "Take these parameters" } }
            }
            Stage::Strip { tiles, caption, seconds } => {
                p { (caption) ", made in " (span(*seconds)) ". The right one has sharp edges without arcs or doubling." }
                (strip(&visitor, &look, tiles, &again))
            }
        }
        // Asking again says that somebody waits; with a script the page stays and asks by itself.
        @if !stage.ended() { span data-poll {} }
        }
        // Not within what the script takes over: there it would be obeyed.
        @if !stage.ended() { noscript { meta http-equiv="refresh" content="1"; } }
    };
    layout::page(&app, Page { title, nav: Nav::Scans, visitor: &visitor, body }).await
}

fn stop(visitor: &Visitor, look: &Look) -> Markup {
    html! {
        @if visitor.role >= Role::Operate {
            form method="post" action={ "/looks/" (look.id) "/stop" } data-leave={ "/looks/" (look.id) "/leave" } { (layout::csrf(visitor)) button { "Stop" } }
        }
    }
}

/// The tiles: each is a button that looks finer around it, with a link below that takes it.
fn strip(
    visitor: &Visitor,
    look: &Look,
    tiles: &[(f64, std::sync::Arc<Vec<u8>>)],
    again: Link<'_>,
) -> Markup {
    let step = match tiles {
        [(first, _), (second, _), ..] => (second - first).abs(),
        _ => 2.0,
    };
    let operate = visitor.role >= Role::Operate;
    let send = format!("/again/{}", path(&look.scan.to_string()));
    html! {
        ul class="strip" {
            @for (n, (center, _)) in tiles.iter().enumerate() {
                @let picture = html! {
                    img src={ "/looks/" (look.id) "/" (n) ".png" } alt={ "Centre " (format!("{center:.2}")) } width="256" height="256";
                };
                li {
                    @if operate && step / 4.0 >= FINEST {
                        form method="post" action=(send) {
                            (layout::csrf(visitor)) (carried(&look.fields))
                            input type="hidden" name="act" value="strip";
                            input type="hidden" name="at" value=(format!("{center:.3}"));
                            input type="hidden" name="step" value=(format!("{:.3}", step / 4.0));
                            button class="tile" title="Look finer around this one" { (picture) }
                        }
                    } @else { a class="tile" href=(again(&at_center(&look.fields, round(*center)))) { (picture) } }
                    a class="button" href=(again(&at_center(&look.fields, round(*center)))) { "Use " (format!("{center:.2}")) }
                }
            }
        }
        p class="note" { "Candidates are " (format!("{step:.2}")) " columns apart. A click on a picture looks four times finer around it." }
        form method="post" action=(send) class="acts" {
            (layout::csrf(visitor)) (carried(&look.fields))
            input type="hidden" name="act" value="strip";
            label { "Look around column " input type="text" name="at" inputmode="decimal" required size="8"; }
            label { "in steps of " input type="text" name="step" inputmode="decimal" value=(format!("{step:.2}")) size="5"; }
            button disabled[!operate] { "Look" }
        }
    }
}

/// To a thousandth of a column: more is not meant.
fn round(center: f64) -> f64 {
    (center * 1000.0).round() / 1000.0
}

/// `GET /looks/{id}/{picture}`: `0.png` and on.
pub(crate) async fn picture(
    State(app): State<Shared>,
    _: Visitor,
    Path((id, picture)): Path<(String, String)>,
) -> Result<Response, Fault> {
    let look = find(&app, &id)?;
    let none = || Fault::not_found("this look has no such picture");
    let number: usize = picture.strip_suffix(".png").and_then(|n| n.parse().ok()).ok_or_else(none)?;
    let bytes = match look.stage() {
        Stage::Slice { picture, .. } if number == 0 => picture,
        Stage::Strip { tiles, .. } => tiles.get(number).map(|(_, tile)| tile.clone()).ok_or_else(none)?,
        _ => return Err(none()),
    };
    let headers = [(header::CONTENT_TYPE, "image/png"), (header::CACHE_CONTROL, "private, max-age=3600")];
    Ok((headers, bytes.to_vec()).into_response())
}

/// `POST /looks/{id}/leave`: a page says on its way out that nobody watches it any more. It changes nothing that
/// silence would not change a little later.
pub(crate) async fn leave(
    State(app): State<Shared>,
    Operator(_): Operator,
    Path(id): Path<String>,
) -> Result<StatusCode, Fault> {
    find(&app, &id)?.leave();
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /looks/{id}/stop`.
pub(crate) async fn stop_form(
    State(app): State<Shared>,
    Operator(visitor): Operator,
    peer: Option<Extension<Peer>>,
    Path(id): Path<String>,
) -> Result<Redirect, Fault> {
    let look = find(&app, &id)?;
    let on = format!("look {id} of scan {}", look.scan);
    app.audit.asked(address(peer), &visitor, "stop a look", &on)?;
    look.stop();
    app.audit.came(&visitor, "stop a look", &on, &Ok("stopped".into()));
    app.live.tell();
    Ok(Redirect::to(&format!("/looks/{id}")))
}
