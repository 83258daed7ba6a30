//! A reader of HDF5 in safe Rust.
//!
//! Why not the C library: fed with single flipped bits, libhdf5 2.0 crashed or ran for ever on about one
//! file in a thousand, and no Rust code around it can catch that. It also serves one thread at a time,
//! while a reader that knows offsets needs no lock. This one reads what raw scans use: superblocks 0
//! to 3, old and new groups, links of every kind, attributes, contiguous, compact and chunked datasets
//! with every kind of index, and the filters listed in [`filters`]. Every length is checked against the
//! file before memory is taken, every recursion is bounded, and a budget of metadata blocks ends whatever
//! runs in circles.

mod btree2;
pub(crate) mod bytes;
pub(crate) mod chunks;
pub(crate) mod dataset;
pub(crate) mod file;
pub(crate) mod filters;
pub(crate) mod group;
mod header;
mod heap;
pub(crate) mod superblock;
pub(crate) mod tree;
pub(crate) mod types;
pub(crate) mod value;
