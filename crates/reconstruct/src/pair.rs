//! The work on one pair of rows: two slices from their sinograms to their files.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use volume::{Growing, PagePool, Pooled, Sink};

use crate::chain::Workspace;
use crate::clocks::Stage;
use crate::pipeline::{Loaded, Opening, Pipeline};
use crate::slab::{Slab, SliceParts};
use crate::units::Pair;
use crate::{Error, Result};

/// What the pairs in work share.
pub(crate) struct Shared {
    /// Slices are made in these.
    pub(crate) slices: PagePool,
    /// Scratch of threads that have nothing to do right now.
    desks: Mutex<Vec<Desk>>,
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
}

/// Scratch of one thread.
struct Desk {
    workspace: Workspace,
    /// Images of values, where these are not what is stored.
    images: [Vec<f32>; 2],
}

/// The two slices (or one) that a pair of rows makes: index and buffer.
pub(crate) type Outputs = [Option<(usize, Pooled)>; 2];

impl Shared {
    /// With `count` buffers of `bytes` for slices.
    pub(crate) fn new(count: usize, bytes: usize) -> Self {
        Self {
            slices: PagePool::new(count, bytes),
            desks: Mutex::default(),
            failed: AtomicBool::new(false),
            failure: Mutex::default(),
        }
    }

    /// Whether a pair has failed, after which no other is begun.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    pub(crate) fn fail(&self, error: Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.failed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn take_failure(&self) -> Result<()> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    fn take_desk(&self) -> Option<Desk> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give_desk(&self, desk: Desk) {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner).push(desk);
    }
}

impl Pipeline<'_> {
    /// Scratch that nobody uses right now, or more of it.
    fn desk(&self, shared: &Shared) -> Result<Desk> {
        match shared.take_desk() {
            Some(desk) => Ok(desk),
            None => Ok(Desk { workspace: self.chain.workspace()?, images: Default::default() }),
        }
    }

    /// Does what comes before the first pair.
    pub(crate) fn open(&self, shared: &Shared, opening: &Opening) -> Result<()> {
        let mut desk = self.desk(shared)?;
        opening(&mut desk.workspace)?;
        shared.give_desk(desk);
        Ok(())
    }

    /// Reconstructs one pair of rows and hands its slices on.
    pub(crate) fn pair(
        &self,
        shared: &Shared,
        loaded: &Loaded,
        segment: usize,
        pair: Pair,
        mut outputs: Outputs,
        slab: &Slab,
    ) -> Result<()> {
        if shared.has_failed() {
            return Ok(());
        }
        self.stop.check()?;
        let mut desk = self.desk(shared)?;
        let (block, first) = (&loaded.blocks[segment], loaded.unit.segments[segment].rows.start);
        let both = pair.row + 1 < self.source.rows();
        let voxels = self.data_offset()..self.data_offset() + self.slice_bytes();
        let direct = self.spec.dtype == volume::DataType::F32;
        let Desk { workspace, images: [even, odd] } = &mut desk;
        let mut files = self.begin(&mut outputs)?;
        let quality = {
            let [a, b] = &mut outputs;
            let mut targets: [Option<&mut [f32]>; 2] = [None, None];
            for ((target, output), image) in targets.iter_mut().zip([a, b]).zip([&mut *even, &mut *odd]) {
                if let Some((_, pages)) = output {
                    *target = Some(if direct {
                        bytemuck::cast_slice_mut(&mut pages[voxels.clone()])
                    } else {
                        image.resize(self.spec.slice_voxels(), 0.0);
                        &mut image[..]
                    });
                }
            }
            let mut done = |images: [&[f32]; 2]| {
                if direct {
                    let files = files.iter_mut().zip(images);
                    files.for_each(|(file, image)| {
                        file.iter_mut().for_each(|f| f.grow(bytemuck::cast_slice(image)))
                    });
                }
            };
            self.chain.pair(workspace, block, pair.row - first, both, targets, &mut done, self.clocks)?
        };
        let mut parts = SliceParts { quality, ..SliceParts::default() };
        let tiff = self.queue.sink(&shared.slices, slab.batch(), self.clocks.spent(Stage::Tiff));
        for ((output, image), file) in outputs.into_iter().zip([even, odd]).zip(files) {
            let Some((z, mut pages)) = output else { continue };
            self.clocks.time(Stage::Slice, || {
                if direct {
                    self.chain.sample(bytemuck::cast_slice(&pages[voxels.clone()]), z, &mut parts.histogram);
                } else {
                    self.chain.sample(image, z, &mut parts.histogram);
                    self.spec.store_into(image, &mut pages[voxels.clone()]);
                }
            });
            let (record, pages) = match self.tiff.zip(file) {
                Some((stack, file)) => {
                    let (record, pages) = tiff.spent().time(|| stack.put(file, pages, &tiff))?;
                    (Some(record), pages)
                }
                None => (None, Arc::new(pages)),
            };
            parts.slices.push((z, pages, record));
        }
        shared.give_desk(desk);
        slab.add(parts);
        Ok(())
    }

    /// Begins the TIFFs of a pair, if any are written.
    fn begin(&self, outputs: &mut Outputs) -> Result<[Option<Growing>; 2]> {
        let mut files = [None, None];
        if let Some(stack) = self.tiff {
            for (file, output) in files.iter_mut().zip(outputs) {
                if let Some((z, pages)) = output {
                    *file = Some(stack.begin(*z, pages)?);
                }
            }
        }
        Ok(files)
    }
}
