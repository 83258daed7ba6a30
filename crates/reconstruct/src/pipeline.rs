//! The streaming loop: a reader thread brings the next rows while all cores reconstruct the ones
//! before, slabs go to disk as they become complete, and a sync thread waits for the disk and journals
//! them. Every hand-over is a bounded queue, so memory stays what the plan says.

use std::ops::Range;
use std::sync::Mutex;

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::prelude::*;
use volume::{FileRecord, Histogram, OmeZarr, Pyramid, TiffStack};

use crate::chain::{Chain, Workspace};
use crate::clocks::{Clocks, Stage};
use crate::journal::{Journal, SlabRecord};
use crate::plan::{Plan, SLAB};
use crate::progress::{Meter, Stop};
use crate::report::Quality;
use crate::source::{Block, Source};
use crate::units::{Unit, units};
use crate::{Error, Result};

/// Everything the loop works with.
pub struct Pipeline<'a> {
    /// The plan.
    pub plan: &'a Plan,
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
    /// Time by stage.
    pub clocks: &'a Clocks,
    /// Asked to stop?
    pub stop: &'a Stop,
    /// The folder that file records are relative to.
    pub folder: &'a std::path::Path,
}

/// A unit with its rows, ready to be computed.
struct Loaded {
    unit: Unit,
    blocks: Vec<Block>,
}

/// A slab whose files are written but perhaps not on disk.
struct Written {
    record: SlabRecord,
    slices: u64,
}

impl Pipeline<'_> {
    /// Reconstructs `slabs` that are not yet `done`, journalling each. `meter` counts slices.
    pub fn run(
        &self,
        slabs: Range<usize>,
        done: &dyn Fn(usize) -> bool,
        unit_rows: usize,
        mut journal: Journal,
        meter: &Meter<'_>,
    ) -> Result<()> {
        let todo: Vec<usize> = slabs.clone().filter(|&slab| !done(slab)).collect();
        let before: u64 =
            slabs.filter(|&slab| done(slab)).map(|slab| self.plan.slab_slices(slab).len() as u64).sum();
        let work = units(self.plan, todo.iter().copied(), unit_rows, self.source.rows());
        let (full_in, full_out) = bounded::<Result<Loaded>>(0);
        let (empty_in, empty_out) = bounded::<Vec<Block>>(2);
        let (written_in, written_out) = bounded::<Written>(1);
        for _ in 0..2 {
            let _ = empty_in.send(Vec::new());
        }
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || self.read(work, &empty_out, &full_in));
            let syncer = scope.spawn(move || self.sync(&written_out, &mut journal, before, meter));
            let computed = self.compute(&todo, &full_out, &empty_in, &written_in);
            // Both threads end when their queues close, also after a failure in the middle.
            drop((full_out, empty_in, written_in));
            let read = reader.join().map_err(|_| Error::Thread("reader"));
            let synced = syncer.join().map_err(|_| Error::Thread("sync"));
            // A failed sync closes the queue under `compute`; its own error is the one that explains.
            synced??;
            read?;
            computed
        })
    }

    /// Reader thread: fills empty buffers with the rows of the next unit.
    fn read(&self, work: Vec<Unit>, empty: &Receiver<Vec<Block>>, full: &Sender<Result<Loaded>>) {
        for unit in work {
            let Ok(mut blocks) = empty.recv() else { return };
            let loaded = self.stop.check().and_then(|()| {
                blocks.resize_with(unit.segments.len(), Block::default);
                for (segment, block) in unit.segments.iter().zip(&mut blocks) {
                    self.clocks.time(Stage::Read, || {
                        self.pool.install(|| self.source.read(segment.rows.clone(), block))
                    })?;
                }
                Ok(Loaded { unit, blocks })
            });
            let failed = loaded.is_err();
            if full.send(loaded).is_err() || failed {
                return;
            }
        }
    }

    /// Computes unit by unit on all cores; writes each slab when it is complete.
    fn compute(
        &self,
        todo: &[usize],
        full: &Receiver<Result<Loaded>>,
        empty: &Sender<Vec<Block>>,
        written: &Sender<Written>,
    ) -> Result<()> {
        let slice = self.plan.slice_columns * self.plan.slice_columns;
        let depth = self.plan.slices().min(SLAB);
        let mut slab_data = vec![0f32; slice * depth];
        let workspaces: Mutex<Vec<Workspace>> = Mutex::new(Vec::new());
        let mut state = SlabState::default();
        let mut pyramid: Option<Pyramid<'_>> = None;
        let mut expected = todo.iter();
        while let Ok(loaded) = full.recv() {
            let Loaded { unit, blocks } = loaded?;
            let slices = self.plan.slab_slices(unit.slab);
            let data = &mut slab_data[..slices.len() * slice];
            let part =
                self.pool.install(|| self.reconstruct(&unit, &blocks, data, slices.start, &workspaces))?;
            state.add(part);
            let _ = empty.send(blocks);
            if !unit.last {
                continue;
            }
            let mut record = std::mem::take(&mut state).into_record(unit.slab);
            expected.next();
            if let Some(zarr) = self.zarr {
                // A pyramid holds contiguous slabs; after slabs done by an earlier attempt a new one begins.
                let contiguous = pyramid.as_ref().is_some_and(|pyramid| pyramid.next_slab() == unit.slab);
                if !contiguous {
                    pyramid = Some(Pyramid::new(zarr, unit.slab..run_end(unit.slab, expected.as_slice())));
                }
                self.clocks.time_all(Stage::Zarr, || {
                    self.pool.install(|| -> Result<()> {
                        record.files.extend(zarr.write_slab(unit.slab, data)?);
                        if let Some(pyramid) = &mut pyramid {
                            record.files.extend(pyramid.push(unit.slab, data)?);
                        }
                        Ok(())
                    })
                })?;
            }
            self.stop.check()?;
            if written.send(Written { record, slices: slices.len() as u64 }).is_err() {
                // The sync thread ended early and has the reason.
                break;
            }
        }
        Ok(())
    }

    /// All pairs of one unit, in parallel.
    fn reconstruct(
        &self,
        unit: &Unit,
        blocks: &[Block],
        slab: &mut [f32],
        first_slice: usize,
        workspaces: &Mutex<Vec<Workspace>>,
    ) -> Result<Vec<Pixels>> {
        let slice = self.plan.slice_columns * self.plan.slice_columns;
        let mut images: Vec<Option<&mut [f32]>> = slab.chunks_exact_mut(slice).map(Some).collect();
        let mut tasks = Vec::new();
        for (segment, block) in unit.segments.iter().zip(blocks) {
            for pair in &segment.pairs {
                let outputs = pair.slices.map(|z| {
                    let z = z?;
                    images[z - first_slice].take().map(|image| (z, image))
                });
                tasks.push((segment.rows.start, block, pair.row, outputs));
            }
        }
        tasks
            .into_par_iter()
            .map(|(start, block, row, mut outputs)| {
                self.stop.check()?;
                let mut workspace = take(workspaces).map_or_else(|| self.chain.workspace(), Ok)?;
                let both = row + 1 < self.source.rows();
                let targets = outputs.each_mut().map(|output| output.as_mut().map(|(_, image)| &mut **image));
                let quality =
                    self.chain.pair(&mut workspace, block, row - start, both, targets, self.clocks)?;
                let mut pixels = Pixels { quality, ..Pixels::default() };
                for (z, image) in outputs.iter().flatten() {
                    self.clocks.time(Stage::Slice, || self.chain.sample(image, *z, &mut pixels.histogram));
                    if let Some(tiff) = self.tiff {
                        pixels.files.push(self.clocks.time(Stage::Tiff, || tiff.write(*z, image))?);
                    }
                }
                put(workspaces, workspace);
                Ok(pixels)
            })
            .collect()
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
        for Written { record, slices: more } in written {
            self.clocks.time(Stage::Sync, || {
                let paths: Vec<_> = record.files.iter().map(|file| self.folder.join(&file.path)).collect();
                volume::sync_files(&paths)
            })?;
            journal.append(&record)?;
            slices += more;
            bytes += record.files.iter().map(|file| file.size).sum::<u64>();
            meter.report(slices, bytes);
        }
        Ok(())
    }
}

/// What one pair adds to its slab's record.
#[derive(Default)]
struct Pixels {
    files: Vec<FileRecord>,
    histogram: Histogram,
    quality: Quality,
}

/// What the units of one slab add up to.
#[derive(Default)]
struct SlabState(Pixels);

impl SlabState {
    fn add(&mut self, parts: Vec<Pixels>) {
        for part in parts {
            self.0.files.extend(part.files);
            self.0.histogram.merge(&part.histogram);
            self.0.quality.add(&part.quality);
        }
    }

    fn into_record(self, slab: usize) -> SlabRecord {
        let Pixels { files, histogram, quality } = self.0;
        SlabRecord { slab, files, histogram, quality }
    }
}

/// One past the last of the slabs that follow `slab` without a gap.
fn run_end(slab: usize, following: &[usize]) -> usize {
    following.iter().fold(slab + 1, |end, &next| if next == end { end + 1 } else { end })
}

fn take(workspaces: &Mutex<Vec<Workspace>>) -> Option<Workspace> {
    workspaces.lock().ok()?.pop()
}

fn put(workspaces: &Mutex<Vec<Workspace>>, workspace: Workspace) {
    if let Ok(mut all) = workspaces.lock() {
        all.push(workspace);
    }
}
