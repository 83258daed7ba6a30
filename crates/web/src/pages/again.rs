//! "Reconstruct again with...": a form made from the table of parameters, a look before the full run.

use axum::Form;
use axum::extract::{Extension, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use reconstruct::recipe::{Kind, Parameter, SECTIONS, Section};

use super::layout::{self, Nav, Page};
use super::now::path;
use crate::access::{Role, Visitor};
use crate::act::{address, again as act};
use crate::app::{Operator, Shared};
use crate::data::again::{Base, FIELD, Wanted, base, read, text};
use crate::data::{pictures, scan_name};
use crate::fault::Fault;
use crate::guard::Peer;
use crate::looks::Aim;
use crate::session::random_text;
use crate::words::count;

/// Fields of a form or a query.
pub(crate) type Fields = Vec<(String, String)>;

/// `GET /again/{scan}`: the form; a query fills fields in.
pub(crate) async fn page(
    State(app): State<Shared>,
    visitor: Visitor,
    Path(scan): Path<String>,
    Query(fields): Query<Fields>,
) -> Result<Markup, Fault> {
    let base = base(&app, &scan_name(&scan)?).await?;
    let wanted = read(&base.recipe, &fields);
    show(&app, &visitor, &base, &wanted, field(&fields, "flow")).await
}

/// `POST /again/{scan}`: `act` says what is wanted: `run`, `try` or `strip`. What is wrong is told at its field.
pub(crate) async fn send(
    State(app): State<Shared>,
    Operator(visitor): Operator,
    peer: Option<Extension<Peer>>,
    Path(scan): Path<String>,
    Form(fields): Form<Fields>,
) -> Result<Response, Fault> {
    let base = base(&app, &scan_name(&scan)?).await?;
    let mut wanted = read(&base.recipe, &fields);
    let action = field(&fields, "act").unwrap_or("run");
    let around = around(&fields).unwrap_or_else(|why| {
        wanted.problems.push((String::new(), why));
        None
    });
    if !wanted.problems.is_empty() {
        let page = show(&app, &visitor, &base, &wanted, field(&fields, "flow")).await?;
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
    }
    let from = address(peer);
    let to = match action {
        "run" => {
            let flow = field(&fields, "flow").unwrap_or_default();
            let key = field(&fields, "key").filter(|key| key.len() <= 64 && key.is_ascii());
            act::run(&app, from, &visitor, &base, flow, &wanted.recipe, key).await?.address()
        }
        "try" => format!("/looks/{}", act::look(&app, from, &visitor, &base, &wanted, Aim::Slice).await?),
        "strip" => {
            format!("/looks/{}", act::look(&app, from, &visitor, &base, &wanted, Aim::Strip(around)).await?)
        }
        _ => return Err(Fault::bad("act: run, try or strip")),
    };
    Ok(Redirect::to(&to).into_response())
}

/// The middle candidate and the distance of two, where a strip is asked for around a column.
fn around(fields: &Fields) -> Result<Option<(f64, f64)>, String> {
    let number = |name: &str| match field(fields, name).map(str::trim) {
        None | Some("") => Ok(None),
        Some(text) => text.parse::<f64>().ok().filter(|n| n.is_finite()).map(Some).ok_or(name.to_owned()),
    };
    let wrong = |name: String| format!("{name}: a detector column, counted from 0");
    match (number("at").map_err(wrong)?, number("step").map_err(wrong)?) {
        (None, _) => Ok(None),
        (Some(at), step) => match step.unwrap_or(2.0) {
            step if (0.01..=1000.0).contains(&step) => Ok(Some((at, step))),
            _ => Err("step: columns from one candidate to the next, 0.01 to 1000".into()),
        },
    }
}

/// The first value of a field.
pub(crate) fn field<'f>(fields: &'f Fields, name: &str) -> Option<&'f str> {
    fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

async fn show(
    app: &Shared,
    visitor: &Visitor,
    base: &Base,
    wanted: &Wanted,
    flow: Option<&str>,
) -> Result<Markup, Fault> {
    let name = base.known.name.to_string();
    let operate = visitor.role >= Role::Operate;
    let raw = pictures::raw(app, &base.known).await.err();
    let key = random_text().unwrap_or_default();
    let changed = wanted.changed(&base.recipe).len();
    let body = html! {
        p class="crumbs" { a href="/scans" { "Scans" } " › " a href={ "/scans/" (path(&name)) } { (name) } }
        h1 { "Reconstruct again with…" }
        p class="note" {
            "What is shown first is " (base.from) ". " b { (count(changed as u64, "value")) } " changed. "
            "The results of before are kept: they move to a folder " code { "replaced" } " beside the new ones, and go "
            "by the same rules. " a href={ "/compare/" (path(&name)) } { "Compare reconstructions" }
        }
        @if !wanted.problems.is_empty() {
            section class="failure" role="alert" {
                h2 { (count(wanted.problems.len() as u64, "value")) " cannot be used" }
                ul { @for (key, problem) in &wanted.problems { li { @if !key.is_empty() { b { (key) } ": " } (problem) } } }
            }
        }
        form method="post" action={ "/again/" (path(&name)) } class="recipe" {
            (layout::csrf(visitor))
            input type="hidden" name="key" value=(key);
            @for section in SECTIONS { (fold(section, base, wanted)) }
            section class="do" {
                h2 { "Then" }
                @if let Some(fault) = &raw {
                    p class="note" { (fault.what) ". " @if let Some(hint) = &fault.hint { (hint) "." } }
                }
                @if operate {
                    div class="acts" {
                        button name="act" value="strip" disabled[raw.is_some()] { "Choose the centre by looking" }
                        button name="act" value="try" disabled[raw.is_some()] { "Try one slice" }
                    }
                    div class="acts" {
                        label for="flow" { "Full run by" }
                        select id="flow" name="flow" {
                            @for way in &base.ways {
                                option value=(way.flow) disabled[way.closed.is_some()] selected[Some(way.flow.as_str()) == flow] {
                                    (way.flow) " at " (way.facility)
                                    @if let Some(why) = &way.closed { " – " (why) }
                                }
                            }
                        }
                        button class="main" name="act" value="run" { "Reconstruct" }
                    }
                } @else { p class="note" { "Reconstructing needs the role operate." } }
            }
        }
    };
    layout::page(app, Page { title: "Reconstruct again", nav: Nav::Scans, visitor, body }).await
}

/// A section, folded unless something in it was changed or is wrong.
fn fold(section: &Section, base: &Base, wanted: &Wanted) -> Markup {
    let now = |one: &Parameter| wanted.texts.get(one.key).cloned().unwrap_or_default();
    let changed = section.parameters().filter(|one| now(one) != text(&one.get(&base.recipe))).count();
    let wrong = section.parameters().any(|one| wanted.problem(one.key).is_some());
    html! {
        details id={ "section-" (section.name) } open[changed > 0 || wrong] {
            summary {
                h3 { (section.name) }
                span class="note" { " " (marked(section.help())) }
                @if changed > 0 { " " b class="waiting" { (count(changed as u64, "value")) " changed" } }
            }
            @for one in section.parameters() { (entry(one, &now(one), base, wanted)) }
        }
    }
}

fn entry(one: &Parameter, now: &str, base: &Base, wanted: &Wanted) -> Markup {
    let before = text(&one.get(&base.recipe));
    let usual = text(&one.default_value());
    let problem = wanted.problem(one.key);
    let (id, note) = (format!("p-{}", one.key), format!("n-{}", one.key));
    let name = format!("{FIELD}{}", one.key);
    let kind = one.kind.inner();
    html! {
        div class={ "entry" @if now != before { " changed" } @if problem.is_some() { " wrong" } } {
            label for=(id) { (one.name) @if !one.unit.is_empty() { " (" (one.unit) ")" } }
            div {
                @if let Kind::Choice(choices) = kind {
                    select id=(id) name=(name) aria-describedby=(note) {
                        @if one.kind.is_optional() { option value="auto" selected[now == "auto"] { "auto" } }
                        @for choice in choices {
                            option value=(choice.name) selected[now == choice.name] title=(choice.help) { (choice.name) }
                        }
                        // A value that a choice spells in another way (wavelets by their order) is kept.
                        @if !choices.iter().any(|choice| choice.name == now) && now != "auto" {
                            option value=(now) selected { (now) }
                        }
                    }
                } @else if kind == Kind::Flag {
                    select id=(id) name=(name) aria-describedby=(note) {
                        @for value in ["true", "false"] { option value=(value) selected[now == value] { @if value == "true" { "yes" } @else { "no" } } }
                        @if !matches!(now, "true" | "false") { option value=(now) selected { (now) } }
                    }
                } @else {
                    input type="text" id=(id) name=(name) value=(now) maxlength="2000" autocomplete="off"
                        aria-describedby=(note) aria-invalid=[problem.map(|_| "true")];
                }
                @if now != before { " " span class="waiting" { "was " (before) } }
                @if let Some(problem) = problem { p class="failed" { (problem) } }
                p class="note" id=(note) { (marked(one.help())) " Allowed: " (one.allowed()) ". Default: " (usual) "." }
            }
        }
    }
}

/// Hidden fields that carry what was changed along.
pub(crate) fn carried(fields: &[(String, String)]) -> Markup {
    html! { @for (name, value) in fields { input type="hidden" name=(name) value=(value); } }
}

/// A text in which backticks mark what is typed.
fn marked(text: &str) -> Markup {
    html! {
        @for (n, part) in text.split('`').enumerate() {
            @if n % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}
