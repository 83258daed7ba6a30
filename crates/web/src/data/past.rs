//! Measurements of runs that have ended, kept so that comparing with a hundred of them is not reading a hundred.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use beamline::explain::{Explanation, Measured, compare, measured};
use engine::{Orchestrator, Run, RunFilter, RunId, StateType};

use crate::app::Shared;
use crate::fault::Fault;

/// How many earlier runs a run is compared with.
const PAST: u32 = 100;
/// At most so many are kept.
const MOST: usize = 4096;

/// Completed runs, measured. They do not change any more.
#[derive(Default)]
pub(crate) struct Past {
    known: Mutex<HashMap<RunId, Arc<Measured>>>,
}

impl Past {
    fn get(&self, id: RunId) -> Option<Arc<Measured>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn keep(&self, measured: &Arc<Measured>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(measured.run, measured.clone());
    }
}

async fn one(app: &Shared, run: &Run) -> Result<Arc<Measured>, Fault> {
    if let Some(known) = app.past.get(run.id) {
        return Ok(known);
    }
    let measured = measured(&app.engine, &app.beamline.custody, run.id).await?;
    let measured = Arc::new(measured);
    if run.state.kind == StateType::Completed {
        app.past.keep(&measured);
    }
    Ok(measured)
}

/// Where the time of a run went, against the completed runs of its flow before it.
pub(crate) async fn explain(app: &Shared, run: &Run) -> Result<Explanation, Fault> {
    let own = one(app, run).await?;
    let filter = RunFilter {
        flow: Some(run.flow.clone()),
        states: vec![StateType::Completed],
        before: Some(run.id),
        limit: PAST,
        ..RunFilter::default()
    };
    let mut past = Vec::new();
    for earlier in app.engine.runs(filter).await?.items {
        past.push(Measured::clone(&*one(app, &earlier).await?));
    }
    Ok(compare(Measured::clone(&own), &past))
}
