//! The middle planes of a volume, taken from its slabs while they are in memory.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::reader::VolumeReader;
use crate::spec::Scaling;
use crate::voxels::VoxelsRef;
use crate::zarr::LevelGeometry;

/// The planes through the middle of a volume, of the coarsest level that still has so many pixels along its longest
/// side. Slabs of that level are shown to it as they are made; what it was not shown it reads from the volume.
#[derive(Debug)]
pub struct Middle {
    level: usize,
    geometry: LevelGeometry,
    scaling: Option<Scaling>,
    /// z = const, as (y, x); then y = const as (z, x) and x = const as (z, y). Zeros until they are first shown one.
    xy: Vec<f32>,
    xz: Vec<f32>,
    zy: Vec<f32>,
    /// Slabs that are in.
    seen: Vec<bool>,
}

impl Middle {
    /// For a volume of these levels; `None` where there are none. `scaling` is what stored integers stand for.
    pub fn new(levels: &[LevelGeometry], pixels: usize, scaling: Option<Scaling>) -> Option<Self> {
        let (level, geometry) = chosen(levels, pixels)?;
        let [nz, ny, nx] = geometry.shape;
        let (xy, xz, zy) = (vec![0.0; ny * nx], vec![0.0; nz * nx], vec![0.0; nz * ny]);
        let seen = vec![false; geometry.slabs()];
        Some(Self { level, geometry: geometry.clone(), scaling, xy, xz, zy, seen })
    }

    /// Bytes that it holds for a volume of these levels.
    pub fn bytes(levels: &[LevelGeometry], pixels: usize) -> u64 {
        let [nz, ny, nx] = chosen(levels, pixels).map_or([0; 3], |(_, geometry)| geometry.shape);
        4 * (ny * nx + nz * (nx + ny)) as u64
    }

    /// Voxels of the level that it shows.
    pub(super) fn shape(&self) -> [usize; 3] {
        self.geometry.shape
    }

    /// Where the planes lie, z y x.
    pub(super) fn place(&self) -> [usize; 3] {
        self.geometry.shape.map(|n| n / 2)
    }

    /// Shows it a slab, as its slices. Slabs of other levels, and slices of another size, are none of its business.
    pub fn show(&mut self, level: usize, slab: usize, slices: &[VoxelsRef<'_>]) {
        let [_, ny, nx] = self.geometry.shape;
        let rows = self.geometry.slab_rows(slab);
        let fits = slices.len() == rows.len() && slices.iter().all(|slice| slice.len() == ny * nx);
        if level != self.level || rows.is_empty() || !fits {
            return;
        }
        let [middle, y, x] = self.place();
        for (z, slice) in rows.zip(slices) {
            if z == middle {
                self.xy.copy_from_slice(&slice.values(self.scaling));
            }
            let (line, column) = (slice.pick(y * nx..(y + 1) * nx, 1), slice.pick(x..ny * nx, nx));
            self.xz[z * nx..(z + 1) * nx].copy_from_slice(&line.view().values(self.scaling));
            self.zy[z * ny..(z + 1) * ny].copy_from_slice(&column.view().values(self.scaling));
        }
        self.seen[slab] = true;
    }

    /// Reads what it was not shown.
    fn complete(&mut self, reader: &VolumeReader) -> Result<()> {
        let (level, [nz, ny, nx], [middle, y, x]) = (self.level, self.shape(), self.place());
        if reader.levels().get(level).map(|l| l.shape) != Some(self.shape()) {
            let reason = format!("its level {level} is not the one whose planes were collected");
            return Err(Error::format(&reader.path(), reason));
        }
        let mut slab = 0;
        while let Some(first) = (slab..self.seen.len()).find(|&s| !self.seen[s]) {
            let end = (first..self.seen.len()).find(|&s| self.seen[s]).unwrap_or(self.seen.len());
            let rows: Range<usize> =
                self.geometry.slab_rows(first).start..self.geometry.slab_rows(end - 1).end;
            if rows.contains(&middle) {
                self.xy = reader.slice(level, middle)?;
            }
            // A volume of one slice has no other planes.
            if nz > 1 {
                let values = reader.read_values(level, [rows.clone(), y..y + 1, 0..nx])?;
                self.xz[rows.start * nx..rows.end * nx].copy_from_slice(&values);
                let values = reader.read_values(level, [rows.clone(), 0..ny, x..x + 1])?;
                self.zy[rows.start * ny..rows.end * ny].copy_from_slice(&values);
            }
            slab = end;
        }
        Ok(())
    }

    /// The planes as (y, x), (z, x) and (z, y), those that it was not shown read from the volume.
    pub(super) fn planes(mut self, reader: &VolumeReader) -> Result<[Vec<f32>; 3]> {
        self.complete(reader)?;
        Ok([self.xy, self.xz, self.zy])
    }
}

/// The coarsest level that still has so many pixels along its longest side, else the finest.
fn chosen(levels: &[LevelGeometry], pixels: usize) -> Option<(usize, &LevelGeometry)> {
    let fine = |(_, level): &(usize, &LevelGeometry)| level.shape.iter().any(|&n| n >= pixels);
    levels.iter().enumerate().rev().find(fine).or(levels.iter().enumerate().next())
}
