//! A run's steps on one axis: a row each, the wait in a queue hatched, history's median as a thin mark. Made of SVG
//! attributes, so that it needs neither script nor style.

use maud::{Markup, PreEscaped, html};

use crate::data::run::{Bar, Member, View};
use crate::words::{Mood, badge, bytes, rate, span, state};

/// Steps below this part of the whole, and this many seconds, are folded away.
const SHORT: (f64, f64) = (0.01, 1.0);

/// The timeline.
pub(crate) fn timeline(view: &View) -> Markup {
    let length = view.axis.1.max(furthest(view));
    html! {
        // One pattern for all rows.
        svg class="hidden" width="0" height="0" aria-hidden="true" {
            defs {
                pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    rect class="hatch" width="2.5" height="6" {}
                }
            }
        }
        div class="timeline" role="table" aria-label="Steps" {
            div class="row head" role="row" {
                span role="columnheader" { "Step" }
                span role="columnheader" class="axis" { (axis(length)) }
                span role="columnheader" class="num" { "Took" }
                span role="columnheader" { "What it did" }
            }
            @for member in &view.family { (rows(view, member, length)) }
        }
        p class="legend note" {
            svg class="key" { rect class="queue" width="100%" height="100%" fill="url(#hatch)" {} } " in a queue "
            svg class="key done" { rect class="verify" width="100%" height="100%" {} } " checking "
            svg class="key" { rect class="usual" x="45%" width="2" height="100%" {} } " where it usually ends"
        }
    }
}

/// Steps that took longer than they usually do have their mark inside; the others need room for it.
fn furthest(view: &View) -> f64 {
    let running = !view.run.state.kind.is_terminal();
    let usual = view.family.iter().flat_map(|member| &member.bars).filter_map(|bar| bar.usual_s);
    let most = if running { 4.0 } else { 1.25 };
    usual.fold(0.0, f64::max).min(view.axis.1 * most)
}

fn rows(view: &View, member: &Member, length: f64) -> Markup {
    let least = (length * SHORT.0).min(SHORT.1);
    let is_short = |bar: &&Bar| {
        bar.to_s - bar.from_s < least && bar.bytes.is_none() && bar.mood == Mood::Done && bar.attempts < 2
    };
    let (begins, ends) = view.stretch(&member.run);
    let short: Vec<&Bar> = member.bars.iter().filter(is_short).collect();
    html! {
        @if member.depth > 0 {
            div class={ "row sub depth" (member.depth.min(3)) } role="row" {
                a role="cell" class="name" href={ "/runs/" (member.run.id) } { (member.run.flow) }
                span role="cell" { (whole(view, member, length)) }
                span role="cell" class="num" { (span(ends - begins)) }
                span role="cell" { (badge(crate::words::mood(&member.run), state(&member.run))) }
            }
        }
        @for bar in member.bars.iter().filter(|bar| !is_short(bar)) { (row(bar, length)) }
        @if !short.is_empty() {
            details class={ "short depth" (member.depth.min(3)) } id={ "short-" (member.run.id) } {
                summary { (crate::words::count(short.len() as u64, "short step")) }
                @for bar in short { (row(bar, length)) }
            }
        }
    }
}

/// A run that was started, from its beginning to its end.
fn whole(view: &View, member: &Member, length: f64) -> Markup {
    let (from, to) = view.stretch(&member.run);
    let at = |seconds: f64| format!("{:.2}%", (100.0 * seconds / length).clamp(0.0, 100.0));
    html! {
        svg class={ "bar steps " (crate::words::mood(&member.run).word()) } aria-hidden="true" {
            rect class="before" x=(at(from)) width=(at(to - from)) y="40%" height="20%" {}
        }
    }
}

fn row(bar: &Bar, length: f64) -> Markup {
    html! {
        div class={ "row depth" (bar.depth.min(3)) } role="row" {
            span role="cell" class="name" title=(bar.key) { (bar.name) }
            span role="cell" { (picture(bar, length)) }
            span role="cell" class="num" { (span(bar.to_s - bar.from_s)) }
            span role="cell" class="note" { (badge(bar.mood, word(bar))) " " (facts(bar)) }
        }
    }
}

fn word(bar: &Bar) -> &str {
    match (bar.mood, bar.state.as_str()) {
        (Mood::Done, _) => "done",
        (Mood::Running, _) => "running",
        (_, "AwaitingRetry") => "tried again soon",
        (_, state) => state,
    }
}

/// A step's facts in a few words.
fn facts(bar: &Bar) -> String {
    let mut facts = Vec::new();
    if let Some(part) = bar.part {
        facts.push(super::now::percent(part));
    }
    match (bar.bytes, bar.rate) {
        (Some(0), _) => facts.push("there already".into()),
        (Some(moved), Some(per_second)) => facts.push(format!("{}, {}", bytes(moved), rate(per_second))),
        (Some(moved), None) => facts.push(bytes(moved)),
        _ => {}
    }
    if bar.queue_s >= 1.0 {
        facts.push(format!("{} in the queue", span(bar.queue_s)));
    }
    if bar.attempts > 1 {
        facts.push(format!("begun {} times", bar.attempts));
    }
    facts.extend(bar.note.clone());
    facts.join(" · ")
}

fn picture(bar: &Bar, length: f64) -> Markup {
    let at = |seconds: f64| format!("{:.2}%", (100.0 * seconds / length).clamp(0.0, 100.0));
    let wide = |seconds: f64| format!("{:.2}%", (100.0 * seconds / length).clamp(0.0, 100.0).max(0.15));
    let worked_from = bar.attempt_s + bar.queue_s;
    let verify_from = (bar.to_s - bar.verify_s).max(worked_from);
    let text = bar.bytes.zip(bar.rate).map(|(moved, speed)| format!("{}, {}", bytes(moved), rate(speed)));
    let before = bar.attempt_s - bar.from_s;
    html! {
        svg class={ "bar steps " (bar.mood.word()) } aria-hidden="true" {
            @if before > 0.0 { rect class="before" x=(at(bar.from_s)) width=(wide(before)) y="35%" height="30%" {} }
            @if bar.queue_s > 0.0 {
                rect class="queue" x=(at(bar.attempt_s)) width=(wide(bar.queue_s)) height="100%" fill="url(#hatch)" {}
            }
            rect class="work" x=(at(worked_from)) width=(wide(verify_from - worked_from)) height="100%" rx="2" {}
            @if bar.verify_s > 0.0 { rect class="verify" x=(at(verify_from)) width=(wide(bar.verify_s)) height="100%" {} }
            @if let Some(usual) = bar.usual_s.filter(|usual| *usual <= length) {
                rect class="usual" x=(at(usual)) width="2" height="100%" {}
            }
            @if let Some(text) = text.filter(|_| (bar.to_s - bar.from_s) / length > 0.3) {
                text x=(at(worked_from)) dx="6" y="50%" dominant-baseline="central" { (text) }
            }
        }
    }
}

/// Marks at round times.
fn axis(length: f64) -> Markup {
    const STEPS: [f64; 16] = [
        0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21_600.0,
        86_400.0,
    ];
    let step = STEPS.into_iter().find(|step| length / step <= 5.0).unwrap_or(length / 4.0);
    let marks = (1..=5).map(|n| f64::from(n) * step).filter(|at| *at <= length);
    let svg = html! {
        svg class="bar axis" aria-hidden="true" {
            @for at in marks {
                rect class="tick" x={ (format!("{:.2}%", 100.0 * at / length)) } width="1" height="100%" {}
                text x={ (format!("{:.2}%", 100.0 * at / length)) } dx="-4" y="50%" text-anchor="end"
                    dominant-baseline="central" { (short(at)) }
            }
        }
    };
    PreEscaped(svg.into_string())
}

fn short(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{s:.1} s"),
        s if s < 60.0 => format!("{s:.0} s"),
        s if s < 3600.0 => format!("{:.0} min", s / 60.0),
        s if s < 86_400.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}
