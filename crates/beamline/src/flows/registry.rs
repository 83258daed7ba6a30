//! The flows by name, as a worker wants them.

use std::sync::Arc;

use engine::{Flow, Registry};

use super::{dispatch, moves, prune, recon, reconcile, report, transfer_check};
use crate::runtime::Beamline;

/// All flows of a beamline. Set [`Beamline::runs`] before they run: dispatcher and reconcile ask about other runs.
pub fn registry(beam: &Arc<Beamline>) -> Registry {
    let with = || beam.clone();
    let mut registry = Registry::new();
    let one = with();
    let flow = Flow::new("new_832_file_flow", move |context, parameters| {
        moves::new_file(one.clone(), context, parameters)
    });
    registry =
        registry.with(flow.describe("Moves a new scan to the data host and the archives, with a quick look"));
    for name in beam.flows.recon.keys() {
        let (one, flow) = (with(), name.clone());
        let flow = Flow::new(name, move |context, parameters| {
            recon::reconstruct(one.clone(), flow.clone(), context, parameters)
        });
        registry =
            registry.with(flow.describe("Reconstructs a scan at a facility and brings the results home"));
    }
    let one = with();
    let flow = Flow::new("dispatcher", move |context, parameters| {
        dispatch::dispatch(one.clone(), context, parameters)
    });
    registry = registry.with(flow.describe("Moves a new scan and starts its reconstructions"));
    for (name, place) in beam.prune_flows() {
        let one = with();
        let text = format!("Deletes what may go at {} ({})", place.0, place.1);
        let flow = Flow::new(name, move |context, parameters| {
            prune::prune(one.clone(), Some(place.clone()), context, parameters)
        });
        registry = registry.with(flow.describe(text));
    }
    let one = with();
    let flow =
        Flow::new("prune", move |context, parameters| prune::prune(one.clone(), None, context, parameters));
    registry = registry.with(flow.describe("Deletes what may go anywhere; scrubs what deletions rest on"));
    let one = with();
    let flow = Flow::new("reconcile", move |context, parameters| {
        reconcile::reconcile(one.clone(), context, parameters)
    });
    registry = registry.with(flow.describe("Compares the disks with custody"));
    let one = with();
    let flow = Flow::new(report::CUSTODY_REPORT, move |context, parameters| {
        report::report(one.clone(), context, parameters)
    });
    registry = registry.with(flow.describe("Takes another worker's word about a copy, and looks at it"));
    let one = with();
    let flow = Flow::new("transfer_check", move |context, parameters| {
        transfer_check::check(one.clone(), context, parameters)
    });
    registry.with(flow.describe("Copies a small file between each pair of sites in use"))
}
