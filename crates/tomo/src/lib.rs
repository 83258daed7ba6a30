//! Tomographic numerics: arrays in, arrays out. No files, no threads of its own, no clock.
//!
//! Conventions, everywhere in this crate:
//! * `f32` arrays, row-major. A sinogram is (angles, columns); a block of projections (angles, rows, columns).
//! * Angles in radians, in the sense TomoPy's gridrec uses.
//! * The rotation centre is a 0-based detector column; pixel centres lie at integers.
//! * Images are (y, x); the rotation axis of an n × n image lies at column n/2, row n/2 − 1.
//! * Values are attenuation per pixel unless a `scale` says otherwise.
//! * Results are the same bits whatever the number of threads.
//!
//! A disc of attenuation 0.01 per pixel, seen from 200 directions, comes back as 0.01:
//!
//! ```
//! use tomo::gridrec::{Gridrec, GridrecOptions};
//! let angles: Vec<f64> = (0..200).map(|i| std::f64::consts::PI * f64::from(i) / 200.0).collect();
//! let chord = |column: f64| 0.02 * (30.0 * 30.0 - (column - 64.0) * (column - 64.0)).max(0.0).sqrt();
//! let row: Vec<f32> = (0..128).map(|column| chord(f64::from(column)) as f32).collect();
//! let gridrec = Gridrec::new(&GridrecOptions::new(128, angles, 64.0))?;
//! let mut image = vec![0.0; 128 * 128];
//! gridrec.reconstruct_one(&mut gridrec.workspace(), &row.repeat(200), &mut image)?;
//! assert!((image[63 * 128 + 70] - 0.01).abs() < 2e-4);
//! # Ok::<(), tomo::Error>(())
//! ```

pub mod angles;
pub mod angular;
pub mod beam_hardening;
pub mod binning;
pub mod center;
pub mod convert;
pub mod error;
pub mod fbp;
pub mod fft;
pub mod filter;
pub mod gridrec;
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

mod aligned;
mod flats;
mod kernel;
mod ln;
mod normalize_line;
mod resample;

pub use aligned::Aligned;
pub use error::{Error, Result};
