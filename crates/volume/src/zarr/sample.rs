//! What a volume's chunks would take, learnt from a few slices, with nothing written.

use std::path::Path;
use std::sync::Arc;

use super::{Compression, OmeVersion, OmeZarr, Pyramid};
use crate::error::Result;
use crate::pages::PagePool;
use crate::queue::{Batch, Spent, WriteQueue};
use crate::spec::VolumeSpec;
use crate::voxels::VoxelsRef;

/// Cost of some slices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampled {
    /// Bytes of all levels' files.
    pub bytes: u64,
    /// CPU seconds of averaging, compression and digest.
    pub cpu_s: f64,
}

impl OmeZarr {
    /// Encodes `slices` (at most 32, in the stored type of `spec`) as a volume of their own and forgets the
    /// files. Of two adjacent slices of a large volume this is what two slices of it take, to a few per cent.
    ///
    /// # Errors
    /// A spec or compression that cannot be written, slices of another size or type.
    pub fn sample(
        spec: &VolumeSpec,
        version: OmeVersion,
        compression: Compression,
        slices: &[VoxelsRef<'_>],
    ) -> Result<Sampled> {
        let mut spec = spec.clone();
        spec.shape[0] = slices.len();
        let zarr = Self::describe(Path::new("sample.zarr"), &spec, version, compression)?;
        let queue = WriteQueue::discarding()?;
        let pool = PagePool::new(2 * rayon::current_num_threads() + 2, zarr.file_bytes());
        let mut sampled = Sampled { bytes: 0, cpu_s: 0.0 };
        // The first round pays for fresh memory, as a job does only once.
        for _ in 0..2 {
            let (batch, spent) = (Arc::new(Batch::default()), Arc::new(Spent::default()));
            let sink = queue.sink(&pool, &batch, &spent);
            let records = Pyramid::new(&zarr, 0..1).write(0, slices, &sink, &mut |_, _, _| {})?;
            batch.wait();
            let bytes = records.iter().map(|record| record.size).sum();
            sampled = Sampled { bytes, cpu_s: spent.seconds().0 };
        }
        Ok(sampled)
    }
}
