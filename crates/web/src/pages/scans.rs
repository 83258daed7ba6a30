//! All scans that custody knows, the newest first.

use axum::extract::{Query, State};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{self, Nav, Page};
use super::now::list;
use crate::access::Visitor;
use crate::app::Shared;
use crate::fault::Fault;

/// What is looked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Search {
    name: String,
    page: usize,
}

/// `GET /scans`.
pub(crate) async fn page(
    State(app): State<Shared>,
    visitor: Visitor,
    Query(search): Query<Search>,
) -> Result<Markup, Fault> {
    let (shown, more) = crate::data::scans::search(&app, &search.name, search.page).await?;
    let turn = |page: usize| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if !search.name.is_empty() {
            query.append_pair("name", &search.name);
        }
        format!("/scans?{}", query.append_pair("page", &page.to_string()).finish())
    };
    let body = html! {
        h1 { "Scans" }
        form class="filter" method="get" action="/scans" {
            label { "Name has " input type="search" name="name" value=(search.name) maxlength="300"; }
            button { "Show" }
        }
        div id="list" data-live {
            @if shown.is_empty() { p class="empty" { "No scan fits." } } @else { (list(&app, &shown)) }
            p class="pages" {
                @if search.page > 0 { a href=(turn(search.page - 1)) { "Newer" } }
                @if more { a rel="next" href=(turn(search.page.saturating_add(1))) { "Older" } }
            }
        }
    };
    layout::page(&app, Page { title: "Scans", nav: Nav::Scans, visitor: &visitor, body }).await
}
