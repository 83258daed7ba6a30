//! Reconstructed volumes on disk: TIFF stacks, OME-Zarr pyramids, manifests, previews.
//!
//! Axes are z (detector row, top first), y, x; arrays are row-major. A *results folder* holds
//! `rec<stem>/<stem>_%05d.tiff`, `rec<stem>.zarr/` and, beside them, manifest, report and preview;
//! every [`FileRecord`] names its file relative to that folder.
//!
//! Two rules run through the crate:
//!
//! * **A final name never holds half a file.** Each file is written under a temporary name beside its
//!   place and renamed; sizes and BLAKE3 digests are taken while writing, never by a second pass.
//! * **The same voxels give the same bytes**, whatever the number of threads, the order of writing or
//!   the interruptions: codecs run on one thread per chunk, JSON has a fixed order, and nothing written
//!   here holds a time or a host name.

pub mod convert;
pub mod error;
pub mod fs;
pub mod histogram;
pub mod manifest;
pub mod pages;
pub mod preview;
pub mod queue;
pub mod reader;
pub mod spec;
pub mod speed;
pub mod tiff;
pub mod voxels;
pub mod zarr;

pub use convert::{ConvertOptions, Converted, zarr_from_tiffs};
pub use error::{Error, Result};
pub use fs::{FileRecord, sync_files, sync_filesystem};
pub use histogram::{Histogram, Window};

pub use manifest::{Level as VerifyLevel, Manifest, Verification};
pub use pages::{PagePool, Pages, Pooled};
pub use queue::{Batch, Sink, Spent, WriteQueue};
pub use reader::VolumeReader;
pub use spec::{DataType, Scaling, VolumeSpec};
pub use tiff::{Growing, TiffStack};
pub use voxels::{Voxels, VoxelsRef};
pub use zarr::{Compression, OmeVersion, OmeZarr, Pyramid, Sampled};
