//! Room for new results at a facility's site: nobody else writes there, and what is there moves aside.

use std::time::Duration;

use custody::{DatasetId, Kind, ScanName, Use};
use engine::{Failure, RunId, StepContext};

use super::set_aside::{anything_there, set_all_aside};
use super::work::{Outcome, begin_use};
use crate::error::{Error, Result};
use crate::runtime::{Beamline, area};

/// What a reconstruction makes.
const DERIVED: [Kind; 3] = [Kind::Tiff, Kind::Zarr, Kind::Sidecars];

/// Claims the place of a scan's results for this run, and moves finished results of others aside. Whether an
/// unfinished job left something there.
pub(super) async fn make(
    beam: &Beamline,
    step: &StepContext,
    scan: &ScanName,
    site: &str,
    run: &str,
) -> Outcome<bool> {
    let others = |one: &Use| {
        one.dataset.scan == *scan && DERIVED.contains(&one.dataset.kind) && one.site == site && one.run != run
    };
    for other in beam.custody.uses().map_err(Error::from)?.into_iter().filter(others) {
        if has_ended(beam, &other.run).await? {
            // It failed before it could say so.
            beam.custody.end_uses(&other.run, beam.now()).map_err(Error::from)?;
            continue;
        }
        let text =
            format!("run {} works on the results of {scan} at {site}; wait for it or cancel it", other.run);
        return Err(Failure::retryable(text).with_code("busy").after(Duration::from_secs(60)));
    }
    for kind in DERIVED {
        begin_use(beam, &DatasetId::new(scan.clone(), kind), site, run)?;
    }
    let base = beam.base(site, area::SCRATCH, scan)?;
    set_all_aside(beam, step, scan, site, &base).await?;
    Ok(anything_there(beam.site(site)?.as_ref(), &base, scan).await?)
}

/// Whether a run will do nothing more. One that this journal does not know may be at work elsewhere.
async fn has_ended(beam: &Beamline, run: &str) -> Result<bool> {
    let (Some(runs), Ok(id)) = (beam.runs.get(), run.parse::<RunId>()) else { return Ok(false) };
    match runs.run(id).await {
        Ok(run) => Ok(run.state.kind.is_terminal()),
        Err(error) if error.retry_helps() => Err(error.into()),
        Err(_) => Ok(false),
    }
}
