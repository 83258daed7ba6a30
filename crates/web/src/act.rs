//! What people do on pages. Each act needs its role, is written into the audit log before and after, and leads back
//! to the page that it was done on.

pub(crate) mod again;
pub(crate) mod settings;
pub(crate) mod start;
pub(crate) mod storage;

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::Form;
use axum::extract::{Extension, Path, State};
use axum::response::Redirect;
use custody::{Age, ScanName};
use engine::{Orchestrator, RunId, State as RunState};
use serde::Deserialize;
use serde_json::Value;

use crate::access::Visitor;
use crate::app::{Operator, Shared};
use crate::data::scan_name;
use crate::fault::Fault;
use crate::guard::Peer;
use crate::pages::now::path;
use crate::pages::run::run_id;

/// Does something with a run, written down before and after.
async fn on_run<F>(
    app: &Shared,
    from: IpAddr,
    visitor: &Visitor,
    action: &str,
    id: RunId,
    act: F,
) -> Result<RunState, Fault>
where
    F: Future<Output = engine::Result<RunState>>,
{
    let on = format!("run {id}");
    app.audit.asked(from, visitor, action, &on)?;
    let state = act.await.map_err(Fault::from);
    app.audit.came(visitor, action, &on, &state.as_ref().map(|s| s.name.clone()).map_err(Clone::clone));
    app.live.tell();
    state
}

/// Stops a run and its work outside.
pub(crate) async fn cancel(
    app: &Shared,
    from: IpAddr,
    who: &Visitor,
    id: RunId,
    reason: &str,
) -> Result<RunState, Fault> {
    let reason = match reason.trim() {
        "" => format!("cancelled by {}", who.who),
        text => format!("cancelled by {}: {text}", who.who),
    };
    on_run(app, from, who, "cancel", id, app.engine.cancel(id, &reason)).await
}

/// Tries a run again.
pub(crate) async fn retry(
    app: &Shared,
    from: IpAddr,
    who: &Visitor,
    id: RunId,
    from_start: bool,
) -> Result<RunState, Fault> {
    let action = if from_start { "retry from the start" } else { "retry" };
    on_run(app, from, who, action, id, app.engine.retry(id, from_start)).await
}

/// Lets a paused run go on with these answers.
pub(crate) async fn resume(
    app: &Shared,
    from: IpAddr,
    who: &Visitor,
    id: RunId,
    answers: BTreeMap<String, Value>,
) -> Result<RunState, Fault> {
    let action = match serde_json::to_string(&answers) {
        Ok(text) if !answers.is_empty() => format!("resume with {text}"),
        _ => "resume".to_owned(),
    };
    on_run(app, from, who, &action, id, app.engine.resume(id, answers)).await
}

/// Holds a scan, so that nothing of it is deleted anywhere.
pub(crate) async fn hold(
    app: &Shared,
    from: IpAddr,
    who: &Visitor,
    scan: &ScanName,
    reason: &str,
    days: Option<i64>,
) -> Result<i64, Fault> {
    let reason = match reason.trim() {
        "" => "kept by hand".to_owned(),
        text => text.to_owned(),
    };
    let now = app.now();
    let until = days.map(|days| Age::days(days).after(now));
    let (on, name, person) = (format!("scan {scan}"), scan.clone(), who.who.clone());
    app.audit.asked(from, who, "hold", &on)?;
    let held = app
        .custody(move |custody| match custody.mark(&name)? {
            // A hold on a misspelt name would keep nothing.
            None => {
                Err(custody::Error::Unknown { what: format!("scan {name}"), hint: "see the list of scans" })
            }
            Some(_) => custody.hold(&name, &person, &reason, until, now),
        })
        .await;
    app.audit.came(who, "hold", &on, &held.as_ref().map(|id| format!("hold {id}")).map_err(Clone::clone));
    held
}

/// Ends all holds on a scan.
pub(crate) async fn release(
    app: &Shared,
    from: IpAddr,
    who: &Visitor,
    scan: &ScanName,
) -> Result<usize, Fault> {
    let now = app.now();
    let (on, name, person) = (format!("scan {scan}"), scan.clone(), who.who.clone());
    app.audit.asked(from, who, "release", &on)?;
    let released = app.custody(move |custody| custody.release(&name, &person, now)).await;
    let told = released.as_ref().map(|count| format!("{count} holds released")).map_err(Clone::clone);
    app.audit.came(who, "release", &on, &told);
    released
}

/// What the hold form sends.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct HoldForm {
    reason: String,
    days: String,
}

/// `POST /hold/{scan}`.
pub(crate) async fn hold_form(
    State(app): State<Shared>,
    Operator(visitor): Operator,
    peer: Option<Extension<Peer>>,
    Path(scan): Path<String>,
    Form(form): Form<HoldForm>,
) -> Result<Redirect, Fault> {
    let scan = scan_name(&scan)?;
    let days = match form.days.trim() {
        "" => None,
        text => {
            let days = text.parse::<i64>().ok().filter(|days| (1..=36_500).contains(days));
            Some(days.ok_or_else(|| Fault::bad("days: a whole number from 1 to 36500, or nothing"))?)
        }
    };
    hold(&app, address(peer), &visitor, &scan, &form.reason, days).await?;
    Ok(Redirect::to(&format!("/scans/{}", path(&scan.to_string()))))
}

/// `POST /release/{scan}`.
pub(crate) async fn release_form(
    State(app): State<Shared>,
    Operator(visitor): Operator,
    peer: Option<Extension<Peer>>,
    Path(scan): Path<String>,
) -> Result<Redirect, Fault> {
    let scan = scan_name(&scan)?;
    release(&app, address(peer), &visitor, &scan).await?;
    Ok(Redirect::to(&format!("/scans/{}", path(&scan.to_string()))))
}

/// What the cancel form may send besides its token.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Reason {
    reason: String,
}

/// What the retry form may send.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Again {
    from_start: Option<String>,
}

/// What the form of a question sends.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    answer: Option<String>,
}

fn back(id: RunId) -> Redirect {
    Redirect::to(&format!("/runs/{id}"))
}

/// `POST /runs/{id}/cancel`.
pub(crate) async fn cancel_form(
    State(app): State<Shared>,
    Operator(visitor): Operator,
    peer: Option<Extension<Peer>>,
    Path(id): Path<String>,
    Form(form): Form<Reason>,
) -> Result<Redirect, Fault> {
    let id = run_id(&id)?;
    cancel(&app, address(peer), &visitor, id, &form.reason).await?;
    Ok(back(id))
}

/// `POST /runs/{id}/retry`.
pub(crate) async fn retry_form(
    State(app): State<Shared>,
    Operator(visitor): Operator,
    peer: Option<Extension<Peer>>,
    Path(id): Path<String>,
    Form(form): Form<Again>,
) -> Result<Redirect, Fault> {
    let id = run_id(&id)?;
    retry(&app, address(peer), &visitor, id, form.from_start.is_some()).await?;
    Ok(back(id))
}

/// `POST /runs/{id}/resume`.
pub(crate) async fn resume_form(
    State(app): State<Shared>,
    Operator(visitor): Operator,
    peer: Option<Extension<Peer>>,
    Path(id): Path<String>,
    Form(form): Form<Answer>,
) -> Result<Redirect, Fault> {
    let id = run_id(&id)?;
    let run = app.engine.run(id).await?;
    let mut answers = BTreeMap::new();
    if let Some((ask, text)) = run.ask.as_ref().zip(form.answer) {
        let text = text.trim();
        // JSON where it is, else text: as on the command line.
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        answers.insert(ask.key.clone(), value);
    }
    resume(&app, address(peer), &visitor, id, answers).await?;
    Ok(back(id))
}

/// The peer's address.
pub(crate) fn address(peer: Option<Extension<Peer>>) -> IpAddr {
    peer.map_or(IpAddr::from([0, 0, 0, 0]), |Extension(peer)| peer.0)
}
