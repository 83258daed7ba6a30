//! Deletions: a new plan, a run that acts, the switch.

use std::net::IpAddr;

use custody::Plan;
use engine::NewRun;
use serde_json::json;

use super::start::{Started, start};
use crate::access::Visitor;
use crate::app::Shared;
use crate::fault::Fault;

/// Makes a plan: what may go, what may not and why. It deletes nothing.
pub(crate) async fn plan(app: &Shared, from: IpAddr, who: &Visitor) -> Result<Plan, Fault> {
    let now = app.now();
    app.audit.asked(from, who, "make a deletion plan", "custody")?;
    let plan = app.custody(move |custody| custody.plan(now)).await;
    let told = plan.as_ref().map(|plan| format!("plan {}", plan.id)).map_err(Clone::clone);
    app.audit.came(who, "make a deletion plan", "custody", &told);
    plan
}

/// Starts the runs that delete what may go in these areas of a site. Custody judges each copy again.
pub(crate) async fn prune(
    app: &Shared,
    from: IpAddr,
    who: &Visitor,
    site: &str,
    areas: &[String],
    key: &str,
) -> Result<Vec<Started>, Fault> {
    let on = format!("site {site}");
    app.audit.asked(from, who, "delete what may go", &on)?;
    let mut runs = Vec::new();
    let mut failed = None;
    for area in areas {
        let flow = beamline::prune_flow(site, area);
        let new = NewRun::of(&flow, json!({}))
            .named(format!("{flow}, by {}", who.who))
            .key(format!("web prune {site} {area} {key}"));
        match start(app, &flow, new).await {
            Ok(started) => runs.push(started),
            Err(fault) => {
                failed = Some(fault);
                break;
            }
        }
    }
    let told: Vec<String> = runs.iter().map(Started::told).collect();
    let outcome = failed.map_or(Ok(told.join(", ")), Err);
    app.audit.came(who, "delete what may go", &on, &outcome);
    app.live.tell();
    outcome.map(|_| runs)
}

/// Switches deletion on or off, everywhere.
pub(crate) async fn switch(app: &Shared, from: IpAddr, who: &Visitor, on: bool) -> Result<(), Fault> {
    let action = if on { "switch deletion on" } else { "switch deletion off" };
    let (now, person) = (app.now(), who.who.clone());
    app.audit.asked(from, who, action, "custody")?;
    let done = app.custody(move |custody| custody.switch_deletion(on, &person, now)).await;
    app.audit.came(who, action, "custody", &done.as_ref().map(|()| "done".to_owned()).map_err(Clone::clone));
    app.live.tell();
    done
}
