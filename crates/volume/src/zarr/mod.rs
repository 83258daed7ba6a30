//! A volume as an OME-Zarr pyramid: 0.4 on Zarr v2 (default), 0.5 on Zarr v3 with shards.
//!
//! The codecs are those of the `zarrs` crate. Chunks are encoded in parallel, each on one thread: Blosc's
//! own threads write their blocks in the order in which they finish, which would make the bytes depend on
//! the machine. Every chunk is written, empty or not, so that the number of files is known beforehand and a
//! missing one is an error and not a hole of zeros.

mod blosc;
mod digest;
mod levels;
mod metadata;
mod pyramid;
mod sample;
mod store;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use levels::{LevelGeometry, levels};
pub use pyramid::{Pyramid, Seen};
pub use sample::Sampled;

use crate::error::{Error, Result};
use crate::fs::{self, FileRecord};
use crate::histogram::Window;
use crate::queue::{Immediate, Sink};
use crate::spec::{DataType, VolumeSpec};
use crate::voxels::{Voxel, Voxels, VoxelsRef, with_slices};
use store::LevelStore;
pub(crate) use store::read_subset;

/// Which OME-NGFF version is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OmeVersion {
    /// 0.4 on Zarr v2: one file per chunk of 32×256×256; read by everything.
    #[default]
    #[serde(rename = "0.4")]
    V04,
    /// 0.5 on Zarr v3: shards of 32×1024×1024 with the same chunks inside; fewer files.
    #[serde(rename = "0.5")]
    V05,
}

impl std::str::FromStr for OmeVersion {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "0.4" => Ok(Self::V04),
            "0.5" => Ok(Self::V05),
            _ => Err(Error::parameter("ome-zarr", s, "use 0.4 or 0.5")),
        }
    }
}

/// How chunks are compressed: Blosc with byte shuffling, lossless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4; level 1 (fast) to 9.
    Lz4 {
        /// Blosc's level.
        level: u8,
    },
    /// Zstandard; level 1 (fast) to 9. Smaller files, several times slower.
    Zstd {
        /// Blosc's level.
        level: u8,
    },
}

impl Default for Compression {
    /// LZ4 at level 1: on noisy float32 the higher levels cost up to half as much again and save 1 %.
    fn default() -> Self {
        Self::Lz4 { level: 1 }
    }
}

/// An OME-Zarr volume being written. Slabs may be written in any order and by several threads or processes.
#[derive(Debug)]
pub struct OmeZarr {
    /// The results folder.
    root: PathBuf,
    /// The `.zarr` folder within it.
    folder: String,
    spec: VolumeSpec,
    version: OmeVersion,
    compression: Compression,
    levels: Vec<LevelStore>,
}

impl OmeZarr {
    /// Starts a volume at `path` (`.../rec<stem>.zarr`), which must not exist, and writes its metadata, so
    /// that it can be looked at while it grows. The contrast window comes with [`OmeZarr::finish`].
    pub fn create(
        path: &Path,
        spec: &VolumeSpec,
        version: OmeVersion,
        compression: Compression,
    ) -> Result<Self> {
        let zarr = Self::describe(path, spec, version, compression)?;
        if path.symlink_metadata().is_ok() {
            return Err(Error::Exists { path: path.to_owned() });
        }
        zarr.write_metadata(None)?;
        Ok(zarr)
    }

    /// Goes on with a volume that another process or an earlier run started. What it says about itself must
    /// be what `spec` says; metadata files that are missing are written.
    pub fn open_existing(
        path: &Path,
        spec: &VolumeSpec,
        version: OmeVersion,
        compression: Compression,
    ) -> Result<Self> {
        let zarr = Self::describe(path, spec, version, compression)?;
        let mut complete = true;
        for (name, bytes) in zarr.metadata_files(None) {
            let file = path.join(&name);
            match std::fs::read(&file) {
                // Group metadata change when the window becomes known; those of arrays never do.
                Ok(found) if name.contains('/') && found != bytes => {
                    let reason = "it belongs to a volume of another shape or type; choose another output, or overwrite it";
                    return Err(Error::format(&file, reason));
                }
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => complete = false,
                Err(e) => return Err(Error::io("read", &file, e)),
            }
        }
        if !complete {
            zarr.write_metadata(None)?;
        }
        Ok(zarr)
    }

    /// The volume without touching the disk.
    fn describe(
        path: &Path,
        spec: &VolumeSpec,
        version: OmeVersion,
        compression: Compression,
    ) -> Result<Self> {
        spec.validate()?;
        if let Compression::Lz4 { level } | Compression::Zstd { level } = compression
            && !(1..=9).contains(&level)
        {
            return Err(Error::parameter("compression level", level, "use 1 (fast) to 9 (small)"));
        }
        let (root, folder) = fs::split_output(path)?;
        let levels = levels(spec)
            .into_iter()
            .enumerate()
            .map(|(k, geometry)| LevelStore::new(path, k, geometry, spec.dtype, version, compression))
            .collect::<Result<_>>()?;
        Ok(Self { root, folder, spec: spec.clone(), version, compression, levels })
    }

    /// The volume's description.
    pub fn spec(&self) -> &VolumeSpec {
        &self.spec
    }

    /// Size and place of every level, finest first.
    pub fn levels(&self) -> Vec<LevelGeometry> {
        self.levels.iter().map(|l| l.geometry.clone()).collect()
    }

    /// Rows of a slab (the last one may have fewer).
    pub fn slab_rows(&self) -> usize {
        levels::CHUNK_ROWS
    }

    /// Number of slabs of a level; 0 for a level that does not exist.
    pub fn slabs(&self, level: usize) -> usize {
        self.levels.get(level).map_or(0, |l| l.geometry.slabs())
    }

    /// Writes level-0 slab `slab` from values of shape (≤ 32, y, x): all its chunks, in parallel.
    pub fn write_slab(&self, slab: usize, rows: &[f32]) -> Result<Vec<FileRecord>> {
        if self.spec.dtype == DataType::F32 {
            self.write_slab_stored(slab, VoxelsRef::F32(rows))
        } else {
            self.write_slab_stored(slab, self.spec.store(rows).view())
        }
    }

    /// Writes level-0 slab `slab` from voxels that are in their stored type already.
    pub fn write_slab_stored(&self, slab: usize, rows: VoxelsRef<'_>) -> Result<Vec<FileRecord>> {
        let slices = rows.slices(self.spec.slice_voxels());
        self.check_slab(0, slab, &slices)?;
        let sink = Immediate::new(&self.root, self.file_bytes());
        with_slices!(&slices, self.spec.dtype, slices => self.write_level(0, slab, &slices, None, &sink))
    }

    /// Writes one slab of any level, and fills its share of the level above where that is given.
    fn write_level<T: Voxel>(
        &self,
        level: usize,
        slab: usize,
        slices: &[&[T]],
        above: Option<&mut [T]>,
        sink: &dyn Sink,
    ) -> Result<Vec<FileRecord>> {
        self.level(level)?.write((&self.root, &self.folder), slab, slices, above, sink)
    }

    /// Rows of a slab, and voxels in each.
    fn slab_shape(&self, level: usize, slab: usize) -> (usize, usize) {
        let geometry = self.levels.get(level).map(|l| &l.geometry);
        geometry.map_or((0, 1), |g| (g.slab_rows(slab).len(), g.slice_voxels()))
    }

    /// Whether slices are what a slab consists of.
    fn check_slab(&self, level: usize, slab: usize, slices: &[VoxelsRef<'_>]) -> Result<()> {
        if let Some(other) = slices.iter().find(|s| s.dtype() != self.spec.dtype) {
            return Err(Error::parameter(
                "slab",
                other.dtype(),
                format!("the volume is {}", self.spec.dtype),
            ));
        }
        let (rows, voxels) = self.slab_shape(level, slab);
        if rows == 0 || slices.len() != rows || slices.iter().any(|s| s.len() != voxels) {
            let what = format!("slab {slab} of level {level}");
            let found = slices.iter().map(VoxelsRef::len).sum();
            return Err(Error::Shape { what, expected: rows * voxels, found });
        }
        Ok(())
    }

    /// What the buffers of a [`Sink`] must hold at least: one encoded chunk.
    pub fn file_bytes(&self) -> usize {
        self.levels.iter().map(LevelStore::chunk_bytes).max().unwrap_or(0)
    }

    /// Reads one slab of a level back from disk: (rows, y, x).
    pub fn read_slab(&self, level: usize, slab: usize) -> Result<Voxels> {
        let store = self.level(level)?;
        if slab >= store.geometry.slabs() {
            let reason = format!("level {level} has {} slabs", store.geometry.slabs());
            return Err(Error::parameter("slab", slab, reason));
        }
        store.read(&self.root.join(&self.folder), slab, self.spec.dtype)
    }

    fn level(&self, level: usize) -> Result<&LevelStore> {
        let count = self.levels.len();
        self.levels.get(level).ok_or_else(|| {
            Error::parameter("level", level, format!("the volume has levels 0 to {}", count - 1))
        })
    }

    /// Every (level, slab) above level 0 that is made of the level-0 slabs in `slabs` alone: what a
    /// [`Pyramid`] over that range writes, finest level first.
    pub fn slabs_within(&self, slabs: std::ops::Range<usize>) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for level in 1..self.levels.len() {
            for slab in 0..self.slabs(level) {
                if self.is_within(level, slab, &slabs) {
                    found.push((level, slab));
                }
            }
        }
        found
    }

    fn is_within(&self, level: usize, slab: usize, slabs: &std::ops::Range<usize>) -> bool {
        let needed = levels::level0_slabs(level, slab, self.slabs(0));
        slabs.start <= needed.start && needed.end <= slabs.end
    }

    /// Level and slab of a chunk or shard by its record's path; `None` for metadata and other files.
    pub fn locate(&self, path: &str) -> Option<(usize, usize)> {
        let mut parts = path.strip_prefix(self.folder.as_str())?.strip_prefix('/')?.split('/');
        let level: usize = parts.next()?.parse().ok()?;
        let mut next = parts.next()?;
        if self.version == OmeVersion::V05 {
            next = (next == "c").then(|| parts.next())??;
        }
        let slab: usize = next.parse().ok()?;
        (slab < self.slabs(level)).then_some((level, slab))
    }

    /// The files that slab `slab` of `level` consists of, relative to the results folder.
    pub fn slab_files(&self, level: usize, slab: usize) -> Result<Vec<String>> {
        let keys = self.level(level)?.keys(slab);
        Ok(keys.iter().map(|key| format!("{}/{key}", self.folder)).collect())
    }

    /// Writes all metadata with the contrast window; the volume is complete then. The window is in values
    /// (not stored integers).
    ///
    /// Metadata that a killed process left under a temporary name are removed: all other writers have ended.
    pub fn finish(&self, window: Window) -> Result<Vec<FileRecord>> {
        let records = self.write_metadata(Some(window))?;
        for record in &records {
            fs::remove_shared_parts(&self.root.join(&record.path))?;
        }
        Ok(records)
    }

    fn metadata_files(&self, window: Option<Window>) -> Vec<(String, Vec<u8>)> {
        metadata::files(&self.spec, &self.levels(), self.version, self.compression, window)
    }

    fn write_metadata(&self, window: Option<Window>) -> Result<Vec<FileRecord>> {
        let folder = self.root.join(&self.folder);
        self.metadata_files(window)
            .into_iter()
            .map(|(name, bytes)| {
                if let Some(parent) = folder.join(&name).parent() {
                    fs::create_folder(parent)?;
                }
                fs::write_shared(&self.root, &format!("{}/{name}", self.folder), &bytes)
            })
            .collect()
    }
}
