//! Reading volumes back: a TIFF stack or an OME-Zarr, ours or somebody else's, in one shape.

mod names;
mod tiffs;
mod zarrs;

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::spec::{DataType, Scaling};
use crate::voxels::Voxels;
use crate::zarr::LevelGeometry;

pub use tiffs::TiffStackReader;
pub use zarrs::OmeZarrReader;

/// A volume on disk, opened for reading. Shared by threads.
#[derive(Debug)]
pub enum VolumeReader {
    /// A folder of TIFF files.
    Tiffs(TiffStackReader),
    /// An OME-Zarr.
    Zarr(OmeZarrReader),
}

impl VolumeReader {
    /// Opens a folder that is an OME-Zarr group or holds TIFF slices.
    pub fn open(path: &Path) -> Result<Self> {
        if [".zgroup", ".zattrs", "zarr.json"].iter().any(|name| path.join(name).is_file()) {
            return OmeZarrReader::open(path).map(Self::Zarr);
        }
        TiffStackReader::open(path).map(Self::Tiffs)
    }

    /// Where the volume is.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Tiffs(t) => t.path().to_owned(),
            Self::Zarr(z) => z.path().to_owned(),
        }
    }

    /// Sizes and places of the levels, finest first; a TIFF stack has one.
    pub fn levels(&self) -> &[LevelGeometry] {
        match self {
            Self::Tiffs(t) => t.levels(),
            Self::Zarr(z) => z.levels(),
        }
    }

    /// Voxels of the finest level along z, y, x.
    pub fn shape(&self) -> [usize; 3] {
        self.levels().first().map_or([0; 3], |l| l.shape)
    }

    /// Whether scales and translations are in micrometres (else: pixels).
    pub fn has_units(&self) -> bool {
        match self {
            Self::Tiffs(t) => t.voxel_um().is_some(),
            Self::Zarr(z) => z.has_units(),
        }
    }

    /// How voxels are stored (after reading: types that are not ours are read as float32).
    pub fn dtype(&self) -> DataType {
        match self {
            Self::Tiffs(t) => t.dtype(),
            Self::Zarr(z) => z.dtype(),
        }
    }

    /// What stored integers stand for, if recorded.
    pub fn scaling(&self) -> Option<Scaling> {
        match self {
            Self::Tiffs(t) => t.scaling(),
            Self::Zarr(z) => z.scaling(),
        }
    }

    /// Unit of the values, if recorded ("1/cm").
    pub fn value_unit(&self) -> Option<&str> {
        match self {
            Self::Tiffs(t) => t.value_unit(),
            Self::Zarr(z) => z.value_unit(),
        }
    }

    /// Reads a box (z, y, x) of a level as stored. Chunks that do not exist read as 0, as Zarr has it.
    pub fn read(&self, level: usize, region: [Range<usize>; 3]) -> Result<Voxels> {
        let shape = self
            .levels()
            .get(level)
            .ok_or_else(|| {
                Error::parameter(
                    "level",
                    level,
                    format!("the volume has levels 0 to {}", self.levels().len() - 1),
                )
            })?
            .shape;
        if region.iter().zip(shape).any(|(r, n)| r.start >= r.end || r.end > n) {
            let reason = format!("level {level} has the shape {shape:?}; no side may be empty or beyond it");
            return Err(Error::parameter("region", format!("{region:?}"), reason));
        }
        match self {
            Self::Tiffs(t) => t.read(region),
            Self::Zarr(z) => z.read(level, region),
        }
    }

    /// Reads a box as values: integers by their scaling.
    pub fn read_values(&self, level: usize, region: [Range<usize>; 3]) -> Result<Vec<f32>> {
        let voxels = self.read(level, region)?;
        Ok(match voxels {
            Voxels::F32(v) => v,
            other => other.view().values(self.scaling()).into_owned(),
        })
    }

    /// Reads slice `z` of a level as values, (y, x).
    pub fn slice(&self, level: usize, z: usize) -> Result<Vec<f32>> {
        let [_, ny, nx] = self.levels().get(level).map_or([0; 3], |l| l.shape);
        self.read_values(level, [z..z.saturating_add(1), 0..ny, 0..nx])
    }
}
