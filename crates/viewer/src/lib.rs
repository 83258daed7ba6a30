//! Volumes for the eye, over HTTP: slices, bricks, the `.zarr` itself, and the page that shows them.
//!
//! ```text
//! /view/{id}                 the viewer's page
//! /api/volumes/{id}          levels, voxel size, contrast, histogram, rows that are there
//! /api/volumes/{id}/slice    a tile of a slice, float32
//! /api/volumes/{id}/brick    a box, uint8, for drawing in 3-D
//! /zarr/{id}/...             the OME-Zarr's files
//! /share/{token}/{id}.zarr/  the same, for whoever has the link
//! ```
//!
//! Who may see which volume is decided outside, by a [`Library`] and by what stands before
//! [`Viewer::router`]. Axes are z, y, x; positions are in micrometres where the voxel size is known.
//!
//! Memory is bounded: [`Options::cache_bytes`] of decoded chunks, [`Options::answer_bytes`] of answers, and a
//! chunk and its compressed form for each of [`Options::jobs`].

mod api;
mod blocks;
mod describe;
mod error;
mod files;
mod library;
mod open;
mod page;
mod pool;
mod serve;
mod share;
mod viewer;

pub use error::{Error, Result};
pub use files::escape;
pub use library::{Entry, Library, Place, Sharing, Shelf};
pub use page::{CONTENT_SECURITY_POLICY, CsrfToken};
pub use share::redact;
pub use viewer::{Options, Stats, Viewer};
