//! The streaming loop. A reader thread brings the next rows; the calling thread hands out pairs of rows to
//! the workers; each slice is written from the memory it was made in. A thread that only waits gives every
//! slab that is complete to the workers as chunks to encode, and another makes it durable and journals it.
//!
//! Nothing in between waits for a block or a slab to end: pairs of the next slab are computed while the
//! last chunks of the one before are encoded and written. What bounds the memory is the number of buffers:
//! [`Block`]s of rows, slices and encoded chunks go round, and whoever needs one waits for it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rayon::Scope;
use volume::preview::Middle;
use volume::{Batch, OmeZarr, PagePool, Pyramid, TiffStack, VolumeSpec, VoxelsRef, WriteQueue};

use crate::chain::{Chain, Workspace};
use crate::clocks::{Clocks, Stage};
use crate::journal::{Journal, SlabRecord};
use crate::memory::Layout;
use crate::pair::{Outputs, Shared};
use crate::plan::Plan;
use crate::progress::{Meter, Stop};
use crate::slab::{Complete, Slab};
use crate::source::{Block, Source};
use crate::units::{Unit, units};
use crate::{Error, Result, outputs};

/// Everything the loop works with.
pub struct Pipeline<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// What the volume is.
    pub spec: VolumeSpec,
    /// Where projections come from.
    pub source: &'a Source,
    /// What is done to them.
    pub chain: &'a Chain,
    /// TIFF slices, if written.
    pub tiff: Option<&'a TiffStack>,
    /// OME-Zarr, if written.
    pub zarr: Option<&'a OmeZarr>,
    /// Worker threads.
    pub pool: &'a rayon::ThreadPool,
    /// Buffers.
    pub layout: Layout,
    /// Who writes.
    pub queue: WriteQueue,
    /// Time by stage.
    pub clocks: &'a Clocks,
    /// Asked to stop?
    pub stop: &'a Stop,
    /// The folder that file records are relative to.
    pub folder: &'a std::path::Path,
    /// What one worker does before its first pair, while the others begin: the quick look.
    pub opening: Option<&'a Opening<'a>>,
}

/// Work with a worker's scratch; its failure ends the job.
pub type Opening<'a> = dyn Fn(&mut Workspace) -> Result<()> + Sync + 'a;

/// A unit with its rows. The blocks go back to the reader when the last pair of the unit is done.
pub(crate) struct Loaded {
    pub(crate) unit: Unit,
    pub(crate) blocks: Vec<Block>,
    home: Sender<Vec<Block>>,
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // A reader that has ended needs no blocks.
        let _ = self.home.send(std::mem::take(&mut self.blocks));
    }
}

/// A slab whose files are on their way.
struct Written {
    record: SlabRecord,
    batch: Arc<Batch>,
    slices: u64,
}

impl Pipeline<'_> {
    /// Reconstructs `slabs` that are not yet `done`, journalling each. `meter` counts slices; `middle` is shown
    /// all that is made.
    pub fn run(
        &self,
        slabs: Range<usize>,
        done: &dyn Fn(usize) -> bool,
        mut journal: Journal,
        meter: &Meter<'_>,
        mut middle: Option<&mut Middle>,
    ) -> Result<()> {
        let todo: Vec<usize> = slabs.clone().filter(|&slab| !done(slab)).collect();
        let before: u64 =
            slabs.filter(|&slab| done(slab)).map(|slab| self.plan.slab_slices(slab).len() as u64).sum();
        let work = units(self.plan, todo.iter().copied(), self.layout.unit_rows, self.source.rows());
        let shared = Shared::new(self.layout.slices, self.data_offset() + self.slice_bytes());
        let (full_in, full_out) = bounded::<Result<Loaded>>(0);
        let (empty_in, empty_out) = unbounded::<Vec<Block>>();
        // Not bounded: a slab holds its slices, and of these there is a fixed number.
        let (complete_in, complete_out) = unbounded::<Complete>();
        let (written_in, written_out) = bounded::<Written>(2);
        for _ in 0..self.layout.blocks {
            let _ = empty_in.send(Vec::new());
        }
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || self.read(work, &empty_out, &empty_in, &full_in));
            let todo = &todo;
            let finisher = scope.spawn(move || {
                let finished = self.finish(todo, &complete_out, &written_in, &mut middle);
                // Nobody may wait for slabs that nobody takes any more.
                drop((complete_out, written_in));
                finished
            });
            let syncer = scope.spawn(move || self.sync(&written_out, &mut journal, before, meter));
            let computed =
                self.pool.in_place_scope(|tasks| self.hand_out(tasks, &shared, &full_out, &complete_in));
            // All threads end when their queues close, also after a failure in the middle.
            drop((full_out, complete_in));
            let read = reader.join().map_err(|_| Error::Thread("reader"));
            let finished = finisher.join().map_err(|_| Error::Thread("encoding"));
            let synced = syncer.join().map_err(|_| Error::Thread("sync"));
            // A write that failed stops everything else; its own error is the one that explains.
            if let Some(error) = self.queue.failure() {
                return Err(error.into());
            }
            synced??;
            computed?;
            shared.take_failure()?;
            finished??;
            read
        })
    }

    /// Where the voxels of a slice begin in its buffer.
    pub(crate) fn data_offset(&self) -> usize {
        self.tiff.map_or(0, TiffStack::data_offset)
    }

    pub(crate) fn slice_bytes(&self) -> usize {
        self.spec.slice_voxels() * self.spec.dtype.bytes()
    }

    /// Reader thread: fills empty buffers with the rows of the next unit.
    fn read(
        &self,
        work: Vec<Unit>,
        empty: &Receiver<Vec<Block>>,
        home: &Sender<Vec<Block>>,
        full: &Sender<Result<Loaded>>,
    ) {
        for unit in work {
            let Ok(mut blocks) = empty.recv() else { return };
            let loaded = self.stop.check().and_then(|()| {
                blocks.resize_with(unit.segments.len(), Block::default);
                for (segment, block) in unit.segments.iter().zip(&mut blocks) {
                    let before = self.source.scan().helpers_cpu_ns();
                    self.clocks
                        .time(Stage::Read, || self.source.read_in(self.pool, segment.rows.clone(), block))?;
                    let helpers = self.source.scan().helpers_cpu_ns().saturating_sub(before);
                    self.clocks.spent(Stage::Read).add(helpers, 0);
                }
                Ok(Loaded { unit, blocks, home: home.clone() })
            });
            let failed = loaded.is_err();
            if full.send(loaded).is_err() || failed {
                return;
            }
        }
    }

    /// Gives the workers one pair after the other, as rows and buffers for their slices come.
    fn hand_out<'s>(
        &'s self,
        tasks: &Scope<'s>,
        shared: &'s Shared,
        full: &Receiver<Result<Loaded>>,
        complete: &Sender<Complete>,
    ) -> Result<()> {
        if let Some(opening) = self.opening {
            tasks.spawn(move |_| {
                if let Err(error) = self.open(shared, opening) {
                    shared.fail(error);
                }
            });
        }
        let mut slab: Option<Arc<Slab>> = None;
        while let Ok(loaded) = full.recv() {
            let loaded = Arc::new(loaded?);
            let number = loaded.unit.slab;
            let current = match slab.take().filter(|slab| slab.number() == number) {
                Some(slab) => slab,
                None => Arc::new(Slab::new(number, self.plan.slab_slices(number), complete.clone())),
            };
            for (index, segment) in loaded.unit.segments.iter().enumerate() {
                for &pair in &segment.pairs {
                    let outputs: Outputs = pair.slices.map(|z| z.map(|z| (z, shared.slices.take())));
                    if shared.has_failed() || self.queue.has_failed() {
                        return Ok(());
                    }
                    self.stop.check()?;
                    let (loaded, slab) = (loaded.clone(), current.clone());
                    tasks.spawn(move |_| {
                        if let Err(error) = self.pair(shared, &loaded, index, pair, outputs, &slab) {
                            shared.fail(error);
                        }
                    });
                }
            }
            slab = Some(current);
        }
        Ok(())
    }

    /// Encodes slabs as they become complete, in their order, on the workers; then passes them on.
    fn finish(
        &self,
        todo: &[usize],
        complete: &Receiver<Complete>,
        written: &Sender<Written>,
        middle: &mut Option<&mut Middle>,
    ) -> Result<()> {
        let mut seen = |level: usize, slab: usize, slices: &[VoxelsRef<'_>]| {
            if let Some(middle) = middle {
                middle.show(level, slab, slices);
            }
        };
        let threads = self.layout.encoders;
        let pool = PagePool::new(threads, self.zarr.map_or(0, OmeZarr::file_bytes));
        let mut pyramid: Option<Pyramid<'_>> = None;
        let mut expected = todo.iter();
        let mut early = BTreeMap::new();
        for slab in complete {
            early.insert(slab.record.slab, slab);
            // A thin last slab may be complete before the one ahead of it.
            while let Some(slab) = expected.as_slice().first().and_then(|next| early.remove(next)) {
                expected.next();
                let Complete { mut record, slices, batch } = slab;
                let voxels = self.data_offset()..self.data_offset() + self.slice_bytes();
                let views: Vec<_> = slices
                    .iter()
                    .map(|pages| outputs::voxels(self.spec.dtype, &pages[voxels.clone()]))
                    .collect();
                if let Some(zarr) = self.zarr {
                    // A pyramid holds contiguous slabs; after slabs done by an earlier attempt a new one begins.
                    let range = record.slab..run_end(record.slab, expected.as_slice());
                    let next = pyramid.take().filter(|pyramid| pyramid.next_slab() == record.slab);
                    let next = pyramid.insert(next.unwrap_or_else(|| Pyramid::new(zarr, range)));
                    let sink = self.queue.sink(&pool, &batch, self.clocks.spent(Stage::Zarr));
                    let written = self.pool.install(|| next.write(record.slab, &views, &sink, &mut seen));
                    record.files.extend(written?);
                } else {
                    seen(0, record.slab, &views);
                }
                let count = slices.len() as u64;
                drop(slices);
                self.stop.check()?;
                if written.send(Written { record, batch, slices: count }).is_err() {
                    // The sync thread ended early and has the reason.
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Sync thread: makes each slab durable, then journals it.
    fn sync(
        &self,
        written: &Receiver<Written>,
        journal: &mut Journal,
        before: u64,
        meter: &Meter<'_>,
    ) -> Result<()> {
        let (mut slices, mut bytes) = (before, 0u64);
        meter.report(slices, bytes);
        for Written { record, batch, slices: more } in written {
            batch.wait();
            if self.queue.has_failed() {
                return Err(Error::Thread("writing"));
            }
            if !self.queue.discards() {
                self.clocks.time(Stage::Sync, || {
                    let paths: Vec<_> =
                        record.files.iter().map(|file| self.folder.join(&file.path)).collect();
                    volume::sync_files(&paths)
                })?;
            }
            journal.append(&record)?;
            slices += more;
            bytes += record.files.iter().map(|file| file.size).sum::<u64>();
            meter.report(slices, bytes);
        }
        Ok(())
    }
}

/// One past the last of the slabs that follow `slab` without a gap.
fn run_end(slab: usize, following: &[usize]) -> usize {
    following.iter().fold(slab + 1, |end, &next| if next == end { end + 1 } else { end })
}
