//! The streaming reconstruction job: one pass from a raw scan to TIFF slices and an OME-Zarr pyramid.
//!
//! ```text
//! scan ─ read rows ─► flat/dark, −log ─► stripes ─► gridrec ─► digest ───► TIFF ─┐
//!        (reader                │                      └► 32 slices ─► chunks ─► Zarr ┴► sync ─► journal ─► …
//!         thread)         (all cores, two rows at a time; chunks too)  (threads that write)  (sync thread)
//! ```
//!
//! * [`recipe`]: every parameter, one table.
//! * [`job`]: [`job::execute`] does the whole job, a plan, a part, the finish, or a quick look.
//! * [`inspect`]: what a job will take, before it runs. [`centering`]: the rotation centre alone.
//! * [`progress`]: the events of a running job and how to stop it. [`jobdir`]: the same through files.
//!
//! Memory is bounded by a budget that [`memory`] divides. A job can be killed at any moment: a slab of 32
//! slices counts as done when its line is in the journal of the work folder, which is written after its
//! files were synced, and the volume counts as there when its manifest is.

pub mod centering;
mod chain;
pub mod clocks;
mod digest;
pub mod error;
mod existing;
mod filters;
mod finish;
pub mod inspect;
pub mod job;
pub mod jobdir;
mod journal;
#[doc(hidden)]
pub mod measure;
pub mod memory;
mod outputs;
mod pair;
pub mod paths;
mod picture;
mod pipeline;
pub mod plan;
mod prepare;
pub mod progress;
mod quick;
pub mod recipe;
pub mod report;
mod slab;
mod source;
mod spool;
mod units;

pub use error::{Error, Kind, Result};
pub use job::{Action, Existing, JobOptions, Outcome, execute};
pub use progress::{Event, Observer, Silent, Stop};
pub use recipe::Recipe;
