//! Raw synchrotron scans: reading, checking and simulating HDF5 files.
//!
//! [`open`] finds out how a scan is laid out and gives one [`Scan`] whatever the beamline that wrote
//! it; [`completeness`] says from the first bytes of a file whether it is whole. HDF5 is read by safe
//! Rust code of this crate (module `h5`): raw files come half written, truncated and damaged, and a
//! damaged file must end in an error, never in a crash or a hang of the process that looks at it.

mod array;
mod checks;
mod completeness;
mod decode;
mod error;
mod frames;
mod h5;
mod info;
mod layout;
mod meta;
mod samples;
mod scan;
pub mod simulate;
mod theta;

pub use completeness::{Completeness, Verdict, completeness};
pub use error::{Error, Result};
pub use info::{DataType, Layout, ScanInfo, Storage, ThetaSource, Warning};
pub use samples::Samples;
pub use scan::{FrameGroup, OpenOptions, Scan, open, open_with};
