//! Two reconstructions of a scan side by side, in one grey window, with what differs in their recipes.

use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use custody::CopyId;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::layout::{self, Nav, Page};
use super::now::path;
use crate::access::Visitor;
use crate::app::Shared;
use crate::data::results::{Difference, Made, differences, made};
use crate::data::volumes::id_of_copy;
use crate::data::{pictures, scan_name};
use crate::fault::Fault;
use crate::words::{absolute, ago};

/// Which two: numbers of copies in custody.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Two {
    a: Option<i64>,
    b: Option<i64>,
}

/// `GET /compare/{scan}`: the two newest, or those that were chosen.
pub(crate) async fn page(
    State(app): State<Shared>,
    visitor: Visitor,
    Path(scan): Path<String>,
    Query(two): Query<Two>,
) -> Result<Markup, Fault> {
    let name = scan_name(&scan)?;
    let all = made(&app, &name).await?;
    let chosen = |id: Option<i64>, usual: usize| match id {
        Some(id) => all.iter().find(|one| one.copy == id).map(Some).ok_or_else(|| {
            Fault::not_found(format!("copy {id} is no volume of {name} that can be read here"))
        }),
        None => Ok(all.get(usual)),
    };
    let (one, other) = (chosen(two.a, 0)?, chosen(two.b, 1)?);
    let shown = name.to_string();
    let body = html! {
        p class="crumbs" { a href="/scans" { "Scans" } " › " a href={ "/scans/" (path(&shown)) } { (shown) } }
        h1 { "Reconstructions side by side" }
        @if all.is_empty() { p class="empty" { "No volume of this scan can be read here." } }
        @if all.len() > 2 { (choose(&app, &shown, &all, one, other)) }
        @if let Some(one) = one {
            div class="pair" {
                (card(&app, one, one, if other.is_some() { "A" } else { "" }))
                @if let Some(other) = other { (card(&app, other, one, "B")) }
            }
        }
        @if let Some((one, other)) = one.zip(other) {
            p class="acts" {
                a class="button main" href={ (view(one)) "#with=" (address(other)) } { "Both in the viewer, slice by slice" }
            }
        }
        @if all.len() == 1 { p class="empty" { "There is one reconstruction. A second one stands beside it when "
            a href={ "/again/" (path(&shown)) } { "another run" } " has ended." } }
        @if let Some((one, other)) = one.zip(other) {
            h2 { "What differs in their recipes" }
            (table(one, other))
        }
    };
    layout::page(&app, Page { title: "Side by side", nav: Nav::Scans, visitor: &visitor, body }).await
}

fn choose(app: &Shared, name: &str, all: &[Made], one: Option<&Made>, other: Option<&Made>) -> Markup {
    html! {
        form method="get" action={ "/compare/" (path(name)) } class="acts" {
            @for (field, now) in [("a", one), ("b", other)] {
                label { (field.to_uppercase()) " "
                    select name=(field) {
                        @for made in all {
                            option value=(made.copy) selected[now.is_some_and(|now| now.copy == made.copy)] {
                                (absolute(made.at, &app.zone)) @if let Some(center) = made.center { ", centre " (format!("{center:.2}")) }
                            }
                        }
                    }
                }
            }
            button { "Show" }
        }
    }
}

/// One reconstruction in the viewer.
fn view(made: &Made) -> String {
    format!("/view/{}", address(made))
}

fn address(made: &Made) -> String {
    id_of_copy(made.copy).replace(':', "%3A")
}

fn card(app: &Shared, made: &Made, like: &Made, letter: &str) -> Markup {
    html! {
        figure {
            img class="slice" src={ "/pictures/copy/" (made.copy) "?like=" (like.copy) } alt={ "Middle slice of reconstruction " (letter) };
            figcaption {
                @if !letter.is_empty() { b { (letter) } " · " }
                "made " (ago(made.at, app.now(), &app.zone))
                @if let Some(run) = made.run.as_ref().filter(|run| run.parse::<engine::RunId>().is_ok()) { " by " a href={ "/runs/" (run) } { "this run" } }
                @if let Some(center) = made.center { " · centre " (format!("{center:.2}")) }
                @if made.aside { " · set aside for a later one" }
                " · " a href=(view(made)) { "View" }
                p class="mono note" { (made.site) ":" (made.base) }
                @if made.recipe.is_empty() { p class="note" { "Its report is not known, so neither is its recipe." } }
            }
        }
    }
}

fn table(one: &Made, other: &Made) -> Markup {
    let all = differences(one, other);
    html! {
        @if one.recipe.is_empty() || other.recipe.is_empty() { p class="empty" { "One of the recipes is not known." } }
        @else if all.is_empty() { p class="empty" { "Nothing: the recipes are the same." } }
        @else {
            table {
                thead { tr { th { "Parameter" } th { "A" } th { "B" } th { "Unit" } } }
                tbody { @for difference in &all { (row(difference)) } }
            }
        }
    }
}

fn row(difference: &Difference) -> Markup {
    let shown = |value: &Value| match value {
        Value::Null => "auto".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    html! {
        tr { td { code { (difference.key) } } td { (shown(&difference.one)) } td { (shown(&difference.other)) } td { (difference.unit) } }
    }
}

/// In whose window a picture is drawn.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Like {
    like: Option<i64>,
}

/// `GET /pictures/copy/{id}`: the middle slice of one copy of a volume.
pub(crate) async fn picture(
    State(app): State<Shared>,
    _: Visitor,
    Path(id): Path<i64>,
    Query(like): Query<Like>,
) -> Result<Response, Fault> {
    let bytes = pictures::of_copy(&app, CopyId(id), like.like.map(CopyId), 1024).await?;
    let headers = [(header::CONTENT_TYPE, "image/png"), (header::CACHE_CONTROL, "private, max-age=300")];
    Ok((headers, bytes).into_response())
}
