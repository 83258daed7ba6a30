//! A run that a service made and no worker of this state folder has taken yet: how it stands there, and where to look.

use maud::{Markup, html};

use super::layout::{self, Nav, Page};
use crate::access::Visitor;
use crate::app::Shared;
use crate::fault::Fault;

/// In place of the run's page, which shows itself when the journal has the run. `None` where nobody else makes runs.
pub(crate) async fn page(app: &Shared, visitor: &Visitor, there: &str) -> Option<Result<Markup, Fault>> {
    let seen = app.starts.get()?.seen(there).await;
    let body = html! {
        div id="run" data-live {
            @match &seen {
                Ok(run) => {
                    h1 { (run.name) }
                    p class="sentence" {
                        "Prefect has this run: " b { (run.state) } ". It is shown here once a worker of this state folder "
                        "takes it; a worker of another host shows it in Prefect."
                    }
                    p { a href=(run.page) { "The run in Prefect" } }
                }
                Err(error) => {
                    h1 { "A run in Prefect" }
                    p class="sentence failed" { "How it stands is not known: " (error) }
                }
            }
        }
        // What the run's page fills.
        @for part in ["steps", "log", "time"] { div id=(part) data-live {} }
    };
    Some(layout::page(app, Page { title: "Run", nav: Nav::Runs, visitor, body }).await)
}
