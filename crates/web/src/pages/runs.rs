//! All runs, page by page, with filters.

use axum::extract::{Query, State};
use engine::{Orchestrator, Run, RunFilter, StateType};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{self, Nav, Page};
use super::run::run_id;
use crate::access::Visitor;
use crate::app::Shared;
use crate::data::{prunes, scan_name};
use crate::fault::Fault;
use crate::words::{self, ago, badge, span};

/// Runs on a page.
const LIMIT: u32 = 50;

/// The filters, as the form sends them; empty means all.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct Filter {
    state: String,
    flow: String,
    name: String,
    scan: String,
    before: String,
}

/// The states that can be filtered by, in words.
const STATES: [(&str, &str, &[StateType]); 6] = [
    ("running", "running", &[StateType::Running, StateType::Pending, StateType::Cancelling]),
    ("paused", "waits for you", &[StateType::Paused]),
    ("scheduled", "scheduled", &[StateType::Scheduled]),
    ("completed", "done", &[StateType::Completed]),
    ("failed", "failed", &[StateType::Failed, StateType::Crashed]),
    ("cancelled", "cancelled", &[StateType::Cancelled]),
];

impl Filter {
    fn run_filter(&self) -> Result<RunFilter, Fault> {
        let text = |text: &String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        if [&self.flow, &self.name, &self.scan].iter().any(|text| text.len() > 300) {
            return Err(Fault::bad("a filter has 300 characters or fewer"));
        }
        let states = match self.state.as_str() {
            "" => Vec::new(),
            word => {
                let known = STATES.iter().find(|(name, ..)| *name == word);
                let known =
                    known.ok_or_else(|| Fault::bad("there is no such state; choose one of the list"))?;
                known.2.to_vec()
            }
        };
        let scan = text(&self.scan).map(|scan| scan_name(&scan)).transpose()?;
        Ok(RunFilter {
            flow: text(&self.flow),
            name_contains: text(&self.name),
            tags: scan.iter().map(beamline::identity::tag).collect(),
            before: text(&self.before).map(|id| run_id(&id)).transpose()?,
            states,
            limit: LIMIT,
            ..RunFilter::default()
        })
    }

    fn older(&self, next: engine::RunId) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (key, value) in
            [("state", &self.state), ("flow", &self.flow), ("name", &self.name), ("scan", &self.scan)]
        {
            if !value.is_empty() {
                query.append_pair(key, value);
            }
        }
        format!("/runs?{}", query.append_pair("before", &next.to_string()).finish())
    }
}

/// `GET /runs`.
pub(crate) async fn page(
    State(app): State<Shared>,
    visitor: Visitor,
    Query(filter): Query<Filter>,
) -> Result<Markup, Fault> {
    let found = found(&app, &filter).await?;
    let flows: Vec<String> = app.engine.deployments().await?.into_iter().map(|one| one.flow).collect();
    let body = html! {
        h1 { "Runs" }
        form class="filter" method="get" action="/runs" {
            label { "State "
                select name="state" {
                    option value="" { "all" }
                    @for (value, word, _) in STATES {
                        option value=(value) selected[filter.state == value] { (word) }
                    }
                }
            }
            label { "Flow "
                select name="flow" {
                    option value="" { "all" }
                    @for flow in &flows { option value=(flow) selected[filter.flow == *flow] { (flow) } }
                    @if !filter.flow.is_empty() && !flows.contains(&filter.flow) {
                        option value=(filter.flow) selected { (filter.flow) }
                    }
                }
            }
            label { "Name has " input type="search" name="name" value=(filter.name) maxlength="300"; }
            label { "Scan " input type="search" name="scan" value=(filter.scan) maxlength="300" placeholder="folder/scan"; }
            button { "Show" }
        }
        div id="list" data-live {
            @if found.items.is_empty() { p class="empty" { "No run fits." } }
            @else {
                ul class="runs" { @for run in &found.items { (line(&app, run)) } }
            }
            p class="pages" {
                @if !filter.before.is_empty() { a href="/runs" { "Newest" } " " }
                @if let Some(next) = found.next { a rel="next" href=(filter.older(next)) { "Older runs" } }
            }
        }
    };
    layout::page(&app, Page { title: "Runs", nav: Nav::Runs, visitor: &visitor, body }).await
}

/// A page of runs. Where nothing is asked for, deletions that wait for their day are left out: there are many, and the
/// first page tells of them.
async fn found(app: &Shared, filter: &Filter) -> Result<engine::Page<Run>, Fault> {
    let mut wanted = filter.run_filter()?;
    if !(filter.state.is_empty() && filter.flow.is_empty() && filter.name.is_empty()) {
        return Ok(app.engine.runs(wanted).await?);
    }
    let waits = |run: &Run| prunes(run) && run.started.is_none() && !run.state.kind.is_terminal();
    let mut items = Vec::new();
    wanted.limit = 200;
    let most = usize::try_from(LIMIT).unwrap_or(usize::MAX);
    for _ in 0..10 {
        let page = app.engine.runs(wanted.clone()).await?;
        items.extend(page.items.into_iter().filter(|run| !waits(run)));
        if items.len() > most {
            items.truncate(most);
            let next = items.last().map(|run| run.id);
            return Ok(engine::Page { items, next });
        }
        wanted.before = page.next;
        if page.next.is_none() {
            break;
        }
    }
    Ok(engine::Page { items, next: wanted.before })
}

/// A run on one line.
pub(crate) fn line(app: &Shared, run: &Run) -> Markup {
    let error = run.error.as_ref().map(|error| words::first_line(&error.message, 160));
    let ask = run.ask.as_ref().filter(|_| run.state.kind == StateType::Paused).map(|ask| ask.title.clone());
    let note = ask.or(error.filter(|_| run.state.kind != StateType::Completed));
    html! {
        li class="runline" {
            span { (badge(words::mood(run), words::state(run))) }
            span class="what" {
                a class="name" href={ "/runs/" (run.id) } { (run.name) }
                @if let Some(note) = note { span class="note" { (note) } }
            }
            span class="flow" { (run.flow) }
            span class="num" { (took(app, run)) }
            span class="when" { (ago(run.created, app.now(), &app.zone)) }
        }
    }
}

/// How long it took, or when it begins.
fn took(app: &Shared, run: &Run) -> String {
    let Some(from) = run.started else {
        let later = run.due.filter(|due| *due > app.now());
        return later.map(|due| words::ahead(due, app.now(), &app.zone)).unwrap_or_default();
    };
    let to = run.ended.unwrap_or_else(|| app.now());
    span(to.duration_since(from).as_secs_f64().max(0.0))
}
