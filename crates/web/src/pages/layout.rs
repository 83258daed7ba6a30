//! What every page has around it: the line on top with what runs, waits and needs somebody, and the way around.

use engine::{Counts, Orchestrator, StateType};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::access::{By, Visitor};
use crate::app::Shared;
use crate::assets;
use crate::fault::Fault;
use crate::words;

/// Where a page belongs on the way around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nav {
    Now,
    Scans,
    Runs,
    Storage,
    Sites,
    Settings,
    Other,
}

/// The pages that can be gone to from everywhere.
const NAV: [(Nav, &str, &str); 6] = [
    (Nav::Now, "/", "Now"),
    (Nav::Scans, "/scans", "Scans"),
    (Nav::Runs, "/runs", "Runs"),
    (Nav::Storage, "/storage", "Storage"),
    (Nav::Sites, "/sites", "Facilities"),
    (Nav::Settings, "/settings", "Settings"),
];

/// A page.
pub(crate) struct Page<'a> {
    pub title: &'a str,
    pub nav: Nav,
    pub visitor: &'a Visitor,
    pub body: Markup,
}

/// A page with everything around it.
pub(crate) async fn page(app: &Shared, page: Page<'_>) -> Result<Markup, Fault> {
    let counts = app.engine.counts().await?;
    let now = app.now();
    let workers = app.engine.workers().await?;
    let live = workers.iter().filter(|worker| worker.lives(now)).count();
    let top = html! { (summary(&counts)) (worker_line(live)) };
    Ok(whole(app, page.title, page.nav, Some(page.visitor), top, page.body))
}

fn summary(counts: &Counts) -> Markup {
    let of = |kinds: &[StateType]| kinds.iter().filter_map(|kind| counts.get(kind)).sum::<u64>();
    let running = of(&[StateType::Running, StateType::Pending, StateType::Cancelling]);
    let paused = of(&[StateType::Paused]);
    html! {
        a class="sum running" href="/runs?state=running" {
            span class="sign" aria-hidden="true" { "▸" } " " (running) " running"
        }
        @if paused > 0 {
            a class="sum failed" href="/runs?state=paused" {
                span class="sign" aria-hidden="true" { "✕" } " " (paused) " waits for you"
            }
        }
    }
}

fn worker_line(live: usize) -> Markup {
    html! {
        @if live == 0 {
            span class="sum waiting" title="runs stand still until beamrail worker runs" {
                span class="sign" aria-hidden="true" { "◌" } " no worker"
            }
        } @else {
            span class="sum done" {
                span class="sign" aria-hidden="true" { "✓" } " " (words::count(live as u64, "worker"))
            }
        }
    }
}

fn whole(
    app: &Shared,
    title: &str,
    nav: Nav,
    visitor: Option<&Visitor>,
    top: Markup,
    body: Markup,
) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" data-now=(app.now()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="dark light";
                @if let Some(visitor) = visitor { meta name="csrf" content=(visitor.csrf); }
                title { (title) " · beamrail " (app.beamline.id) }
                link rel="icon" type="image/svg+xml" href=(assets::url("icon.svg"));
                link rel="stylesheet" href=(assets::url("beamrail.css"));
                script src=(assets::url("live.js")) defer {}
            }
            body {
                a class="skip" href="#main" { "To the content" }
                header class="top" {
                    a class="brand" href="/" { "beamrail " b { (app.beamline.id) } }
                    nav aria-label="Pages" {
                        @for (one, href, name) in NAV {
                            a href=(href) aria-current=[(one == nav).then_some("page")] { (name) }
                        }
                    }
                    div class="sums" id="sums" data-live { (top) }
                    @if let Some(visitor) = visitor.filter(|visitor| visitor.by != By::Open) {
                        div class="who" {
                            span title={ "role: " (visitor.role) } { (visitor.who) }
                            @if visitor.by == By::Session {
                                form method="post" action="/logout" {
                                    (csrf(visitor))
                                    button class="quiet" { "Sign out" }
                                }
                            }
                        }
                    }
                }
                p class="gone" id="gone" role="status" hidden {
                    "The server does not answer. This page shows what was last known, and goes on by itself."
                }
                main id="main" tabindex="-1" { (body) }
            }
        }
    }
}

/// The hidden field that proves that a form is ours.
pub(crate) fn csrf(visitor: &Visitor) -> Markup {
    html! { input type="hidden" name="csrf" value=(visitor.csrf); }
}

/// A page that needs nobody: the login.
pub(crate) fn bare(app: &Shared, title: &str, body: Markup) -> Markup {
    whole(app, title, Nav::Other, None, PreEscaped(String::new()), body)
}

/// A fault as a page.
pub(crate) fn fault(app: &Shared, visitor: Option<&Visitor>, fault: &Fault) -> Markup {
    let word = fault.status.canonical_reason().unwrap_or("Not done");
    let body = html! {
        section class="fault" {
            h1 { (word) }
            p { (fault.what) }
            @if let Some(hint) = &fault.hint { p class="hint" { "Next: " (hint) } }
            p { a href="/" { "Back to now" } }
        }
    };
    whole(app, word, Nav::Other, visitor, PreEscaped(String::new()), body)
}
