//! The flows, one file each, under the names and with the parameters that the beamline's triggers know.

mod catalogue;
mod copy;
mod dispatch;
mod job;
mod moves;
mod prune;
mod recon;
mod reconcile;
mod registry;
mod report;
mod results;
mod retention;
mod room;
mod set_aside;
mod transfer_check;
mod work;

pub use copy::Copied;
pub use dispatch::{Dispatched, DispatcherParameters};
pub use job::{Asked, CENTER_NEEDED_TEXT, FACILITY_DOWN, JobOutcome, Made};
pub use moves::{MoveParameters, Moved};
pub use prune::{PruneParameters, Pruned};
pub use recon::{ReconParameters, Reconstructed};
pub use reconcile::{ReconcileParameters, Reconciled};
pub use registry::registry;
pub use report::{CUSTODY_REPORT, CustodyReport};
pub use transfer_check::{Checked, TransferCheckParameters};
