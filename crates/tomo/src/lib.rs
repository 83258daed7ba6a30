//! Tomographic numerics: arrays in, arrays out. No files, no threads of its own, no clock.
//!
//! Conventions, everywhere in this crate:
//! * `f32` arrays, row-major. A sinogram is (angles, columns); a block of projections (angles, rows, columns).
//! * Angles in radians, in the sense TomoPy's gridrec uses.
//! * The rotation centre is a 0-based detector column; pixel centres lie at integers.
//! * Images are (y, x); the rotation axis of an n × n image lies at column n/2, row n/2 − 1.
//! * Values are attenuation per pixel unless a `scale` says otherwise.
//! * Results are the same bits whatever the number of threads.

pub mod beam_hardening;
pub mod binning;
pub mod convert;
pub mod error;
pub mod lens;
pub mod mask;
pub mod normalize;
pub mod outliers;
pub mod pad;
pub mod phase;
pub mod ring;
pub mod stitch;
pub mod stripes;
pub mod tilt;

mod flats;
mod ln;
mod normalize_line;
mod resample;

pub use error::{Error, Result};
