//! The coarser levels, built while level-0 slabs arrive, or later from disk.
//!
//! Both ways run the same arithmetic on the stored voxels, so their files are identical; a job may build
//! what it can on the way and leave the slabs that span parts, or that a crash left out, to
//! [`OmeZarr::build_missing`].

use std::ops::Range;

use super::OmeZarr;
use super::levels::CHUNK_ROWS;
use crate::error::{Error, Result};
use crate::fs::FileRecord;
use crate::queue::{Immediate, Sink};
use crate::voxels::{Voxel, Voxels, VoxelsRef, with_slices};

/// Is shown every slab that is complete, of any level, while it is in memory: level, slab, its slices.
pub type Seen<'a> = dyn FnMut(usize, usize, &[VoxelsRef<'_>]) + Send + 'a;

/// Where complete slabs go.
struct Way<'a, 'b> {
    sink: &'a dyn Sink,
    seen: &'a mut Seen<'b>,
    records: Vec<FileRecord>,
}

/// Builds the coarser slabs of one contiguous range of level-0 slabs as these are pushed in order.
///
/// Memory: the unfinished slab of each level, together at most a third of a level-0 slab.
#[derive(Debug)]
pub struct Pyramid<'a> {
    zarr: &'a OmeZarr,
    slabs: Range<usize>,
    next: usize,
    /// The slab being filled, for each level (none for level 0).
    pending: Vec<Voxels>,
}

impl<'a> Pyramid<'a> {
    /// For the level-0 slabs `slabs`; clipped at the volume's end.
    pub fn new(zarr: &'a OmeZarr, slabs: Range<usize>) -> Self {
        let end = slabs.end.min(zarr.slabs(0));
        let start = slabs.start.min(end);
        let pending = zarr.levels.iter().map(|_| Voxels::empty(zarr.spec.dtype)).collect();
        Self { zarr, slabs: start..end, next: start, pending }
    }

    /// The slab that [`Pyramid::push`] expects next.
    pub fn next_slab(&self) -> usize {
        self.next
    }

    /// Memory that the unfinished slabs take at most, in bytes.
    pub fn memory_bytes(zarr: &OmeZarr) -> u64 {
        let levels = zarr.levels().into_iter().skip(1);
        levels.map(|l| (l.slab_rows(0).len() * l.slice_voxels() * zarr.spec.dtype.bytes()) as u64).sum()
    }

    /// Takes the values of level-0 slab `slab` (rows, y, x), and writes every coarser slab that is complete
    /// with it and lies wholly in the range. Level 0 itself is not written here.
    pub fn push(&mut self, slab: usize, rows: &[f32]) -> Result<Vec<FileRecord>> {
        if self.zarr.spec.dtype == crate::DataType::F32 {
            self.push_stored(slab, VoxelsRef::F32(rows))
        } else {
            let stored = self.zarr.spec.store(rows);
            self.push_stored(slab, stored.view())
        }
    }

    /// As [`Pyramid::push`], of voxels that are in their stored type already.
    pub fn push_stored(&mut self, slab: usize, rows: VoxelsRef<'_>) -> Result<Vec<FileRecord>> {
        let zarr = self.zarr;
        let slices = rows.slices(zarr.spec.slice_voxels());
        let sink = Immediate::new(&zarr.root, zarr.file_bytes());
        self.take(slab, &slices, false, Way { sink: &sink, seen: &mut |_, _, _| {}, records: Vec::new() })
    }

    /// Writes level-0 slab `slab`, given as its slices, and every coarser slab that is complete with it. The
    /// files go to `sink`, where they may be written later; `seen` is shown each of these slabs.
    pub fn write(
        &mut self,
        slab: usize,
        slices: &[VoxelsRef<'_>],
        sink: &dyn Sink,
        seen: &mut Seen<'_>,
    ) -> Result<Vec<FileRecord>> {
        self.take(slab, slices, true, Way { sink, seen, records: Vec::new() })
    }

    fn take(
        &mut self,
        slab: usize,
        slices: &[VoxelsRef<'_>],
        write: bool,
        mut way: Way<'_, '_>,
    ) -> Result<Vec<FileRecord>> {
        if slab != self.next || slab >= self.slabs.end {
            let reason = format!("slabs of {:?} are pushed in order; slab {} is next", self.slabs, self.next);
            return Err(Error::parameter("slab", slab, reason));
        }
        self.zarr.check_slab(0, slab, slices)?;
        with_slices!(slices, self.zarr.spec.dtype, slices => self.feed(0, slab, &slices, write, &mut way))?;
        self.next += 1;
        Ok(way.records)
    }

    /// Writes a slab of `level` if so told, adds it to the one above it, and passes that on when it is complete.
    fn feed<T: Voxel>(
        &mut self,
        level: usize,
        slab: usize,
        slices: &[&[T]],
        write: bool,
        way: &mut Way<'_, '_>,
    ) -> Result<()> {
        (way.seen)(level, slab, &slices.iter().map(|slice| T::view(slice)).collect::<Vec<_>>());
        let (zarr, above, target) = (self.zarr, level + 1, slab / 2);
        if above >= self.pending.len() || !zarr.is_within(above, target, &self.slabs) {
            if write {
                way.records.extend(zarr.write_level(level, slab, slices, None, way.sink)?);
            }
            return Ok(());
        }
        let mut pending = std::mem::replace(&mut self.pending[above], Voxels::empty(zarr.spec.dtype));
        let (planes, voxels) = zarr.slab_shape(above, target);
        if let Some(memory) = T::memory(&mut pending) {
            if memory.len() < planes * voxels {
                // Fresh zeros, which the threads that fill them are the first to touch.
                *memory = vec![T::default(); planes * voxels];
            }
            let first = slab % 2 * (CHUNK_ROWS / 2);
            let share = &mut memory[first * voxels..(first + slices.len().div_ceil(2)) * voxels];
            if write {
                way.records.extend(zarr.write_level(level, slab, slices, Some(share), way.sink)?);
            } else {
                zarr.level(level)?.halve(slices, share, way.sink);
            }
            if slab % 2 == 1 || slab + 1 == zarr.slabs(level) {
                let whole: Vec<&[T]> = memory[..planes * voxels].chunks_exact(voxels).collect();
                self.feed(above, target, &whole, true, way)?;
            }
        }
        // Kept for its memory, or because the second half is still to come.
        self.pending[above] = pending;
        Ok(())
    }
}

impl OmeZarr {
    /// Builds every slab above level 0 for which `done(level, slab)` is false, from the level below it on
    /// disk, finest level first.
    ///
    /// # Errors
    /// [`Error::Incomplete`] names the first file of the level below that is not there.
    pub fn build_missing(&self, done: &dyn Fn(usize, usize) -> bool) -> Result<Vec<FileRecord>> {
        let mut records = Vec::new();
        let sink = Immediate::new(&self.root, self.file_bytes());
        let mut half = Voxels::empty(self.spec.dtype);
        for level in 1..self.levels.len() {
            for slab in (0..self.slabs(level)).filter(|&s| !done(level, s)) {
                let (planes, voxels) = self.slab_shape(level, slab);
                half.resize(planes * voxels);
                for below in [2 * slab, 2 * slab + 1].into_iter().filter(|&s| s < self.slabs(level - 1)) {
                    let rows = self.read_slab(level - 1, below)?;
                    let slices = rows.view().slices(self.slab_shape(level - 1, below).1);
                    self.check_slab(level - 1, below, &slices)?;
                    with_slices!(&slices, self.spec.dtype, slices => {
                        self.halve_into(level - 1, below, &slices, &mut half, &sink)
                    })?;
                }
                let slices = half.view().slices(voxels);
                records.extend(with_slices!(&slices, self.spec.dtype, slices => {
                    self.write_level(level, slab, &slices, None, &sink)
                })?);
            }
        }
        Ok(records)
    }

    /// Fills the share of slab `slab` of `level` in `half`, the slab above it.
    fn halve_into<T: Voxel>(
        &self,
        level: usize,
        slab: usize,
        slices: &[&[T]],
        half: &mut Voxels,
        sink: &dyn Sink,
    ) -> Result<()> {
        let voxels = self.slab_shape(level + 1, slab / 2).1;
        let first = slab % 2 * (CHUNK_ROWS / 2);
        if let Some(memory) = T::memory(half) {
            let share = &mut memory[first * voxels..(first + slices.len().div_ceil(2)) * voxels];
            self.level(level)?.halve(slices, share, sink);
        }
        Ok(())
    }
}
