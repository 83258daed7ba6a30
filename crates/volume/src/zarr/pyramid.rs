//! The coarser levels, built while level-0 slabs arrive, or later from disk.
//!
//! Both ways run the same arithmetic on the stored voxels, so their files are identical; a job may build
//! what it can on the way and leave the slabs that span parts, or that a crash left out, to
//! [`OmeZarr::build_missing`].

use std::ops::Range;

use super::OmeZarr;
use super::levels::halve;
use crate::error::{Error, Result};
use crate::fs::FileRecord;
use crate::voxels::{Voxels, VoxelsRef};

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
        if slab != self.next || slab >= self.slabs.end {
            let reason = format!("slabs of {:?} are pushed in order; slab {} is next", self.slabs, self.next);
            return Err(Error::parameter("slab", slab, reason));
        }
        let mut records = Vec::new();
        self.feed(0, slab, rows, &mut records)?;
        self.next += 1;
        Ok(records)
    }

    /// Adds a slab of `level` to the one above it and passes that on when it is complete.
    fn feed(
        &mut self,
        level: usize,
        slab: usize,
        rows: VoxelsRef<'_>,
        out: &mut Vec<FileRecord>,
    ) -> Result<()> {
        let (above, target) = (level + 1, slab / 2);
        if above >= self.pending.len() || !self.zarr.is_within(above, target, &self.slabs) {
            return Ok(());
        }
        let mut pending = std::mem::replace(&mut self.pending[above], Voxels::empty(self.zarr.spec.dtype));
        if slab.is_multiple_of(2) {
            pending.clear();
        }
        append_half(self.zarr, level, slab, rows, &mut pending)?;
        if slab % 2 == 1 || slab + 1 == self.zarr.slabs(level) {
            out.extend(self.zarr.write_level(above, target, pending.view())?);
            self.feed(above, target, pending.view(), out)?;
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
        let mut half = Voxels::empty(self.spec.dtype);
        for level in 1..self.levels.len() {
            for slab in (0..self.slabs(level)).filter(|&s| !done(level, s)) {
                half.clear();
                for below in [2 * slab, 2 * slab + 1] {
                    if below < self.slabs(level - 1) {
                        let rows = self.read_slab(level - 1, below)?;
                        append_half(self, level - 1, below, rows.view(), &mut half)?;
                    }
                }
                records.extend(self.write_level(level, slab, half.view())?);
            }
        }
        Ok(records)
    }
}

/// Appends the means of slab `slab` of `level` to `out`.
fn append_half(
    zarr: &OmeZarr,
    level: usize,
    slab: usize,
    rows: VoxelsRef<'_>,
    out: &mut Voxels,
) -> Result<()> {
    let geometry = &zarr.level(level)?.geometry;
    let shape = [geometry.slab_rows(slab).len(), geometry.shape[1], geometry.shape[2]];
    let expected: usize = shape.iter().product();
    if rows.len() != expected {
        let what = format!("slab {slab} of level {level}");
        return Err(Error::Shape { what, expected, found: rows.len() });
    }
    match (rows, out) {
        (VoxelsRef::F32(rows), Voxels::F32(out)) => halve(rows, shape, out),
        (VoxelsRef::U16(rows), Voxels::U16(out)) => halve(rows, shape, out),
        (VoxelsRef::U8(rows), Voxels::U8(out)) => halve(rows, shape, out),
        (rows, _) => {
            return Err(Error::parameter("slab", rows.dtype(), format!("the volume is {}", zarr.spec.dtype)));
        }
    }
    Ok(())
}
