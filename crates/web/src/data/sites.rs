//! Sites and facilities: health as it was found last, what runs and waits there, and how much may.

use engine::{Orchestrator, RunFilter, StateType};
use serde::Serialize;

use super::doing::doing;
use crate::app::Shared;
use crate::fault::Fault;
use crate::health::Found;

/// Runs of one flow that are looked at.
const MOST: u32 = 200;

/// A place that stores.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct SiteNow {
    /// Its name.
    pub name: String,
    /// local or globus.
    pub kind: String,
    /// Its root folder, as the site sees it.
    pub root: String,
    /// Its areas with their folders.
    pub areas: Vec<(String, String)>,
    /// What was found last; nothing before the first look.
    pub health: Option<Found>,
}

/// A place that computes.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct FacilityNow {
    /// Its name.
    pub name: String,
    /// local, globus-compute, ...
    pub kind: String,
    /// The site that it sees.
    pub site: String,
    /// The flows that use it.
    pub flows: Vec<String>,
    /// Runs of those that are at work.
    pub running: u64,
    /// Of those, how many have a job in the facility's queue.
    pub queued: u64,
    /// Runs that wait for a slot or a worker.
    pub waiting: u64,
    /// Runs at once of each flow, where that is limited.
    pub slots: Option<u32>,
    /// How long a job may wait in the queue.
    pub queue_limit: String,
    /// How long a job may run.
    pub walltime: String,
    /// What was found last; nothing before the first look.
    pub health: Option<Found>,
}

/// All of them.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Sites {
    /// Places that store.
    pub sites: Vec<SiteNow>,
    /// Places that compute.
    pub facilities: Vec<FacilityNow>,
    /// Whether they are being looked at now.
    pub looking: bool,
}

/// Reads it all; nothing is waited for but the journal.
pub(crate) async fn sites(app: &Shared) -> Result<Sites, Fault> {
    let mut found = app.health.found();
    let sites = app.config.sites.iter().map(|(name, one)| SiteNow {
        name: name.clone(),
        kind: one.kind.name().to_owned(),
        root: one.root.display().to_string(),
        areas: one.areas.iter().map(|(area, one)| (area.clone(), one.path.to_string())).collect(),
        health: found.remove(&format!("site {name}")),
    });
    let sites: Vec<SiteNow> = sites.collect();
    let mut facilities = Vec::new();
    for (name, one) in &app.config.facilities {
        let uses = app.beamline.flows.recon.iter().filter(|(_, settings)| settings.facility == *name);
        let flows: Vec<String> = uses.map(|(flow, _)| flow.clone()).collect();
        let (running, queued, waiting) = at_work(app, &flows).await?;
        facilities.push(FacilityNow {
            name: name.clone(),
            kind: one.kind.name().to_owned(),
            site: one.site.clone(),
            flows,
            running,
            queued,
            waiting,
            slots: one.slots,
            queue_limit: one.queue_limit.to_string(),
            walltime: one.walltime.to_string(),
            health: found.remove(&format!("facility {name}")),
        });
    }
    Ok(Sites { sites, facilities, looking: app.health.is_looking() })
}

/// Runs of these flows that work, that have a job in a queue, and that wait.
async fn at_work(app: &Shared, flows: &[String]) -> Result<(u64, u64, u64), Fault> {
    let (mut running, mut queued, mut waiting) = (0, 0, 0);
    let states = vec![StateType::Running, StateType::Pending, StateType::Scheduled];
    for flow in flows {
        let filter = RunFilter {
            flow: Some(flow.clone()),
            states: states.clone(),
            limit: MOST,
            ..RunFilter::default()
        };
        for run in app.engine.runs(filter).await?.items {
            if run.started.is_none() {
                waiting += 1;
                continue;
            }
            running += 1;
            let doing = doing(&app.engine, &app.beamline, &run, app.now()).await?;
            queued += u64::from(doing.iter().any(|one| one.queued));
        }
    }
    Ok((running, queued, waiting))
}
