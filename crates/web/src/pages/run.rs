//! A run: one sentence, what is to be done, the timeline, logs, report, and where the time went.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use engine::{Level, LogLine, Run, RunId, StateType};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use super::layout::{self, Nav, Page};
use super::now::{bar, path, percent};
use super::{advice, explained, ordered, timeline};
use crate::access::{Role, Visitor};
use crate::app::Shared;
use crate::data::now::question;
use crate::data::run::{LINES, View, view};
use crate::data::scan_of;
use crate::fault::Fault;
use crate::words::{self, absolute, ago, ahead, badge, span};

/// The run that an address names.
pub(crate) fn run_id(text: &str) -> Result<RunId, Fault> {
    let short: String = text.chars().take(60).collect();
    text.parse().map_err(|_| Fault::not_found(format!("{short:?} is no run's id")))
}

/// Where a run was made, if that is not the journal.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Made {
    there: Option<String>,
}

/// `GET /runs/{id}`.
pub(crate) async fn page(
    State(app): State<Shared>,
    visitor: Visitor,
    Path(id): Path<String>,
    Query(made): Query<Made>,
) -> Result<Markup, Fault> {
    let view = match (view(&app, run_id(&id)?).await, made.there) {
        (Err(fault), Some(there)) if fault.status == StatusCode::NOT_FOUND => {
            return ordered::page(&app, &visitor, &there).await.unwrap_or(Err(fault));
        }
        (view, _) => view?,
    };
    let run = &view.run;
    let operate = visitor.role >= Role::Operate;
    let body = html! {
        div id="run" data-live {
            p class="crumbs" {
                a href="/runs" { "Runs" }
                @if let Some(parent) = &view.parent { " › " a href={ "/runs/" (parent.id) } { (parent.flow) } }
                " › " (run.flow)
            }
            h1 {
                @if let Some(scan) = scan_of(run) { a class="name" href={ "/scans/" (path(scan)) } { (scan) } }
                @else { (run.name) }
            }
            p class={ "sentence " (words::mood(run).word()) } {
                span class="sign" aria-hidden="true" { (words::mood(run).sign()) } " " (sentence(&app, &view))
            }
            @if let Some(part) = view.doing.first().and_then(|one| one.part) { (bar(part, words::mood(run))) }
            @if operate { (actions(&visitor, run)) }
            @if run.state.kind == StateType::Paused { (asked(&visitor, run, operate)) }
            (failure(&view))
        }
        div id="steps" data-live {
            h2 { "Steps" }
            @if view.family.iter().all(|member| member.bars.is_empty()) {
                p class="empty" { "No step has begun." }
            } @else { (timeline::timeline(&view)) }
        }
        div id="log" data-live {
            h2 { "Log" }
            (log(&app, &view.log))
            p class="note" { a href={ "/api/runs/" (run.id) "/logs" } { "All lines as JSON" } }
        }
        div id="time" data-live {
            details id="explain" open[run.state.kind == StateType::Completed] {
                summary { h2 { "Where the time went" } }
                (explained::explained(&view.explanation))
            }
            details id="facts" {
                summary { h2 { "Parameters, outcome and identity" } }
                (facts(&app, &view))
            }
        }
    };
    let title = format!("{} {}", run.flow, scan_of(run).unwrap_or_default());
    layout::page(&app, Page { title: &title, nav: Nav::Runs, visitor: &visitor, body }).await
}

/// How it stands, in one sentence.
fn sentence(app: &Shared, view: &View) -> String {
    let run = &view.run;
    let took = run.started.map(|from| {
        let to = run.ended.unwrap_or_else(|| app.now());
        to.duration_since(from).as_secs_f64().max(0.0)
    });
    let usual = view.explanation.total.as_ref().filter(|total| total.count >= 3).map(|total| total.median);
    let against = |seconds: f64| match usual {
        Some(usual) if seconds > usual * 1.1 => format!("; {} slower than usual", span(seconds - usual)),
        Some(usual) if seconds < usual * 0.9 => format!("; {} faster than usual", span(usual - seconds)),
        Some(_) => "; as long as usual".to_owned(),
        None => String::new(),
    };
    let why = || words::first_line(run.state.message.as_deref().unwrap_or_default(), 200);
    match run.state.kind {
        StateType::Completed => {
            let took = took.unwrap_or_default();
            format!("Done in {}{}.", span(took), against(took))
        }
        StateType::Failed | StateType::Crashed => {
            let place = view.culprit.as_ref().and_then(|(run, step)| {
                let step = step.as_ref()?;
                Some(format!(" in “{}” of {}", step.name, run.flow))
            });
            format!("Failed{} after {}.", place.unwrap_or_default(), span(took.unwrap_or_default()))
        }
        StateType::Cancelled => format!("Cancelled: {}.", why()),
        StateType::Cancelling => "Is being cancelled; work outside is being stopped.".into(),
        StateType::Paused => match &run.ask {
            Some(ask) => format!("{}: it waits for you.", ask.title),
            None => "Paused by hand.".into(),
        },
        _ => match view.doing.first() {
            Some(one) => {
                let part = one.part.map(|part| format!(", {}", percent(part))).unwrap_or_default();
                let left = one.left_s.map(|left| format!(", {} left", span(left))).unwrap_or_default();
                let whole = one.left_s.zip(took).map(|(left, took)| against(left + took));
                let more = match view.doing.len() {
                    1 => String::new(),
                    n => format!(", and {} more", words::count(n as u64 - 1, "thing")),
                };
                format!("{}{part}{left}{more}{}.", one.text, whole.unwrap_or_default())
            }
            None => match (run.started, run.due) {
                (None, Some(due)) if due > app.now() => {
                    format!("Scheduled for {}.", ahead(due, app.now(), &app.zone))
                }
                (None, _) => "Waits for a worker.".into(),
                _ => format!("{}.", crate::data::doing::capital(words::state(run))),
            },
        },
    }
}

fn actions(visitor: &Visitor, run: &Run) -> Markup {
    let ended = run.state.kind.is_terminal();
    let post = |action: &str| format!("/runs/{}/{action}", run.id);
    html! {
        div class="acts" {
            @if !ended && run.state.kind != StateType::Cancelling {
                form method="post" action=(post("cancel"))
                    data-ask="Cancel this run? Its work outside is stopped; what is finished is kept." {
                    (layout::csrf(visitor))
                    button class="danger" { "Cancel" }
                }
            }
            @if run.state.kind == StateType::Paused && run.ask.is_none() {
                form method="post" action=(post("resume")) { (layout::csrf(visitor)) button class="main" { "Go on" } }
            }
            @if ended && run.state.kind != StateType::Completed {
                form method="post" action=(post("retry")) {
                    (layout::csrf(visitor))
                    button class="main" { "Retry" }
                    label { input type="checkbox" name="from_start" value="true"; " from the start, keeping no step" }
                }
            }
        }
    }
}

/// The question of a paused run, with what to judge by and a form for the answer.
fn asked(visitor: &Visitor, run: &Run, operate: bool) -> Markup {
    let Some(ask) = &run.ask else { return html! {} };
    let picture = ask.evidence.pointer("/picture/path").and_then(Value::as_str).is_some();
    let number = ask
        .schema
        .get("type")
        .and_then(Value::as_str)
        .is_some_and(|kind| kind == "number" || kind == "integer");
    let name =
        if ask.key == "center" { "Rotation centre, 0-based detector column" } else { ask.key.as_str() };
    let verb = if ask.key == "center" { "Set centre and go on" } else { "Answer and go on" };
    html! {
        section class="ask" aria-labelledby="asks" {
            h2 id="asks" { (ask.title) }
            p { (question(&ask.message, 2000)) }
            @if operate {
                form method="post" action={ "/runs/" (run.id) "/resume" } class="acts" {
                    (layout::csrf(visitor))
                    label for="answer" { (name) }
                    @if number { input type="number" step="any" id="answer" name="answer" required; }
                    @else { input type="text" id="answer" name="answer" required maxlength="2000"; }
                    button class="main" { (verb) }
                }
            } @else { p class="note" { "Answering needs the role operate." } }
            @if picture {
                a href={ "/pictures/evidence/" (run.id) } {
                    img class="evidence" src={ "/pictures/evidence/" (run.id) } alt="One detector row reconstructed at candidate centres";
                }
                p class="note" { "The same row at candidate centres: take the one whose edges are sharp and without arcs." }
            }
        }
    }
}

/// What to do, then why, then the log's tail.
fn failure(view: &View) -> Markup {
    let Some((run, step)) = &view.culprit else { return html! {} };
    let error = step.as_ref().and_then(|step| step.error.as_ref()).or(run.error.as_ref());
    let Some(error) = error else { return html! {} };
    let (message, log) = advice::parts(error);
    html! {
        section class="failure" {
            h2 { "What to do" }
            p class="do" { (advice::advice(error)) }
            h3 { "Why" }
            p { (message)
                @if let Some(code) = &error.code { " " code { (code) } }
            }
            @if run.id != view.run.id {
                p { "It arose in " a href={ "/runs/" (run.id) } { (run.flow) " " (run.name) } "." }
            }
            @if let Some(log) = log {
                h3 { "The end of the job's log" }
                pre data-tail { (log) }
            }
        }
    }
}

fn log(app: &Shared, lines: &[(Option<String>, LogLine)]) -> Markup {
    html! {
        @if lines.is_empty() { p class="empty" { "Nothing was logged." } }
        @else {
            @if lines.len() >= LINES as usize { p class="note" { "The newest " (LINES) " lines." } }
            pre class="log" data-tail {
                @for (flow, line) in lines {
                    span class=(level(line.level)) {
                        (app_clock(app, line)) " "
                        @if line.level > Level::Info { b { (level(line.level)) } " " }
                        @if let Some(flow) = flow { (flow) " / " }
                        @if let Some(step) = &line.step { (step) ": " }
                        (line.message) "\n"
                    }
                }
            }
        }
    }
}

fn app_clock(app: &Shared, line: &LogLine) -> String {
    line.time.to_zoned(app.zone.clone()).strftime("%H:%M:%S").to_string()
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warning => "warning",
        Level::Error => "error",
    }
}

fn facts(app: &Shared, view: &View) -> Markup {
    let run = &view.run;
    let parameters = run.parameters.as_object();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    html! {
        dl {
            dt { "Run" } dd class="mono" { (run.id) }
            dt { "Flow" } dd { (run.flow) }
            dt { "State" } dd { (badge(words::mood(run), words::state(run))) }
            dt { "Created" } dd { (absolute(run.created, &app.zone)) " (" (ago(run.created, app.now(), &app.zone)) ")" }
            @if let Some(at) = run.started { dt { "Started" } dd { (absolute(at, &app.zone)) } }
            @if let Some(at) = run.ended { dt { "Ended" } dd { (absolute(at, &app.zone)) } }
            @if let Some(worker) = &run.worker { dt { "Worker" } dd { (worker) } }
            dt { "Taken up" } dd { (words::count(run.attempt.into(), "time")) }
            @for (key, value) in parameters.into_iter().flatten().filter(|(_, value)| !value.is_null()) {
                dt { (key) } dd class="mono" { (text(value)) }
            }
        }
        @for artifact in view.artifacts.iter().filter(|one| one.kind != engine::ArtifactKind::Progress) {
            h3 { (artifact.key) @if let Some(text) = &artifact.description { " – " (text) } }
            pre { (pretty(&artifact.data)) }
        }
        @if let Some(output) = &run.output {
            h3 { "Outcome" }
            pre { (pretty(output)) }
        }
        @if run.output.as_ref().and_then(|output| output.pointer("/made/manifest")).is_some() {
            @if let Some(scan) = scan_of(run) {
                p { a href={ "/papers/report/" (path(scan)) } { "Report of the reconstruction (JSON)" } }
            }
        }
    }
}

fn pretty(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    }
}
