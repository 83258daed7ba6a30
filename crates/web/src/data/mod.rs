//! What the pages and the API show, read from journal and custody. Values only; how they look is the pages' business.

pub(crate) mod again;
pub(crate) mod centers;
pub(crate) mod doing;
pub(crate) mod metadata;
pub(crate) mod now;
pub(crate) mod past;
pub(crate) mod pictures;
pub(crate) mod places;
pub(crate) mod results;
pub(crate) mod run;
pub(crate) mod scan;
pub(crate) mod scans;
pub(crate) mod settings;
pub(crate) mod sites;
pub(crate) mod storage;
pub(crate) mod volumes;

use beamline::identity::Identity;
use custody::ScanName;
use engine::Run;

use crate::fault::Fault;

/// The scan that an address or a form names.
pub(crate) fn scan_name(text: &str) -> Result<ScanName, Fault> {
    let with = if text.ends_with(".h5") { text.to_owned() } else { format!("{text}.h5") };
    if text.len() > 1024 {
        return Err(Fault::bad("the name of the scan is too long"));
    }
    let found = Identity::in_area(&with).map_err(|refused| Fault::bad(format!("scan {refused}")));
    found.map(|identity| identity.name).map_err(|fault| fault.hint("write <experiment folder>/<scan>"))
}

/// The scan that a run is about, by its tag.
pub(crate) fn scan_of(run: &Run) -> Option<&str> {
    run.tags.iter().find_map(|tag| tag.strip_prefix("scan:"))
}

/// Whether it is a run that deletes: what waits to go is no work on a scan.
pub(crate) fn prunes(run: &Run) -> bool {
    run.flow.starts_with("prune")
}
