//! Retention of what a flow made: for each copy that its area's rule lets go, a prune run at that time. That run
//! asks custody like any other; the schedule decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use custody::{CopyId, CopyRecord, Rule};
use engine::{Context, NewRun, StepContext};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::work::{Outcome, patient, relative_path};
use crate::error::{Error, Result};
use crate::identity::tag;
use crate::runtime::{Beamline, Order, prune_flow, prune_tag};

/// A copy and when it may go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Due {
    flow: String,
    path: String,
    site: String,
    copy: CopyId,
    at: Timestamp,
    scan: String,
}

/// Schedules the pruning of these copies; says when each may go, by site and path.
pub(super) async fn schedule(
    beam: &Arc<Beamline>,
    context: &Context,
    copies: &[CopyId],
) -> Outcome<BTreeMap<String, Timestamp>> {
    let work = |_: StepContext| async move {
        beam.refresh().await?;
        Ok(due(beam, copies)?)
    };
    let dues: Vec<Due> = context.step("retention", patient().input(&copies), work).await?;
    let mut schedule = BTreeMap::new();
    for due in dues {
        schedule.insert(format!("{}:{}", due.site, due.path), due.at);
        let parameters = json!({ "relative_path": due.path, "source_endpoint": due.site });
        if let Some(orders) = beam.orders.get() {
            // Shown, moved and cancelled where the operator looks; delivered when that answers.
            let order = Order {
                key: format!("prune:{}:{}@{}", due.site, due.path, due.at),
                name: format!("delete {}: {}", due.site, due.path),
                tags: vec![due.scan, prune_tag(&due.site, &due.path)],
                flow: due.flow,
                parameters,
                at: due.at,
            };
            let message = serde_json::to_value(&order).unwrap_or_default();
            context.scope(&format!("{}", due.copy)).send(orders, &order.key, message).await?;
            continue;
        }
        let new = NewRun::of(&due.flow, parameters)
            .named(format!("delete {}: {}", due.site, due.path))
            .key(format!("{} until {}", due.copy, due.at))
            .tag(&due.scan)
            .at(due.at);
        context.scope(&format!("{}", due.copy)).start_run(&due.flow, new).await?;
    }
    Ok(schedule)
}

fn due(beam: &Beamline, copies: &[CopyId]) -> Result<Vec<Due>> {
    let mut dues = Vec::new();
    for id in copies {
        let copy = beam.custody.copy(*id)?;
        let Some(at) = when(beam, &copy)? else { continue };
        dues.push(Due {
            flow: prune_flow(&copy.site, &copy.area),
            path: relative_path(&copy.dataset),
            site: copy.site.clone(),
            copy: copy.id,
            at,
            scan: tag(&copy.dataset.scan),
        });
    }
    dues.sort_by_key(|due| due.copy);
    Ok(dues)
}

/// When the rule of its area lets a copy go, as far as that is known now.
fn when(beam: &Beamline, copy: &CopyRecord) -> Result<Option<Timestamp>> {
    // The policy in force, which operators may have changed since this process began.
    let policy = beam.custody.settings().map_err(Error::from)?.1;
    let Some(area) = policy.area(&copy.site, &copy.area) else { return Ok(None) };
    Ok(match &area.retention {
        Rule::Never => None,
        Rule::After(age) => copy.first_verified_at.map(|at| age.after(at)),
        Rule::AfterVerified { age, site } => {
            let others = beam.custody.copies(&copy.dataset.scan).map_err(Error::from)?;
            let there = others.iter().filter(|one| one.site == *site && one.dataset == copy.dataset);
            there.filter_map(|one| one.first_verified_at).min().map(|at| age.after(at))
        }
    })
}
