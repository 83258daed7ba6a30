//! Reconstructing again: the full run, and the looks before it.

use std::net::IpAddr;

use custody::ScanName;
use engine::NewRun;
use reconstruct::Recipe;

use super::start::{Started, start};
use crate::access::Visitor;
use crate::app::Shared;
use crate::data::again::{Base, Wanted, parameters};
use crate::data::pictures;
use crate::fault::Fault;
use crate::looks::{self, Aim};

/// Starts a full run of `flow` with this recipe. The same `key` gives the same run, however often it is sent.
pub(crate) async fn run(
    app: &Shared,
    from: IpAddr,
    who: &Visitor,
    base: &Base,
    flow: &str,
    recipe: &Recipe,
    key: Option<&str>,
) -> Result<Started, Fault> {
    let name = &base.known.name;
    let way = base.ways.iter().find(|way| way.flow == flow);
    let way = way.ok_or_else(|| {
        let flows: Vec<&str> = base.ways.iter().map(|way| way.flow.as_str()).collect();
        Fault::bad("flow: no such reconstruction flow").hint(format!("the flows are {}", flows.join(", ")))
    })?;
    if let Some(why) = &way.closed {
        return Err(Fault::new(axum::http::StatusCode::CONFLICT, format!("{flow}: {why}")));
    }
    let parameters = parameters(app, flow, name, recipe);
    let (on, told) = (format!("scan {name}"), parameters.get("set").cloned().unwrap_or_default());
    let action = format!("reconstruct again by {flow} with {told}");
    let mut new = NewRun::of(flow, parameters)
        .named(format!("{flow}: {name} (again, by {})", who.who))
        .tag(beamline::identity::tag(name));
    if let Some(key) = key {
        new = new.key(format!("again {name} {key}"));
    }
    app.audit.asked(from, who, &action, &on)?;
    let started = start(app, flow, new).await;
    app.audit.came(who, &action, &on, &started.as_ref().map(Started::told).map_err(Clone::clone));
    app.live.tell();
    started
}

/// Begins a look with this recipe; it is written down like everything that takes the machine's time.
pub(crate) async fn look(
    app: &Shared,
    from: IpAddr,
    who: &Visitor,
    base: &Base,
    wanted: &Wanted,
    aim: Aim,
) -> Result<String, Fault> {
    let (name, on): (ScanName, String) = (base.known.name.clone(), format!("scan {}", base.known.name));
    let action = match aim {
        Aim::Slice => "try one slice",
        Aim::Strip(_) => "look at candidate centres",
    };
    app.audit.asked(from, who, action, &on)?;
    let begun = match pictures::raw(app, &base.known).await {
        Ok(raw) => looks::begin(app, name, raw, wanted.recipe.clone(), aim, wanted.changed(&base.recipe)),
        Err(fault) => Err(fault),
    };
    app.audit.came(who, action, &on, &begun.as_ref().map(|id| format!("look {id}")).map_err(Clone::clone));
    begun
}
