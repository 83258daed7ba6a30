//! A volume that is opened for looking at: its levels, which of its halves is read for what, and how much of
//! it is there yet.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use volume::reader::{OmeZarrReader, TiffStackReader};
use volume::zarr::LevelGeometry;
use volume::{DataType, Histogram, Scaling, VolumeReader};

use crate::error::{Error, Result};
use crate::library::Place;

/// What is known about a volume's completeness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = VolumeState)]
pub enum State {
    /// Its manifest is there: it is complete and will not change.
    Finished,
    /// It is being reconstructed, or its job was interrupted; rows that are not there are told apart.
    Growing,
    /// It has no manifest and no job, as volumes of other origin. What cannot be found reads as zeros.
    Unmanaged,
}

/// A level that is cut out of the files of a TIFF stack (every 2^k-th voxel) has one voxel where a level of
/// a pyramid has the mean of its children.
const COARSEST: usize = 256;

/// An opened volume. Shared by threads.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) place: Place,
    pub(crate) state: State,
    /// Changes whenever the files may have changed; part of addresses and of cache keys.
    pub(crate) version: String,
    zarr: Option<VolumeReader>,
    tiffs: Option<TiffStackReader>,
    levels: Vec<LevelGeometry>,
    histogram: OnceLock<Histogram>,
}

impl Opened {
    /// Opens the volume at `place`.
    pub(crate) fn open(place: Place) -> Result<Self> {
        let (state, version) = identify(&place);
        let growing = state == State::Growing;
        let zarr = match place.zarr.as_deref().map(VolumeReader::open) {
            Some(Ok(reader)) => Some(reader),
            // A job that has just begun has no metadata yet; its TIFFs may be there.
            Some(Err(error)) if place.tiffs.is_none() => return Err(error.into()),
            _ => None,
        };
        let open = if growing { TiffStackReader::open_growing } else { TiffStackReader::open };
        let tiffs = match (place.tiffs.as_deref().map(open), &zarr) {
            (Some(Ok(tiffs)), Some(zarr)) => {
                Some(tiffs).filter(|tiffs| belong_together(tiffs, zarr, growing))
            }
            (Some(Ok(tiffs)), None) => Some(tiffs),
            (Some(Err(error)), None) => return Err(error.into()),
            (Some(Err(_)), Some(_)) | (None, _) => None,
        };
        let levels = match (&zarr, &tiffs) {
            (Some(zarr), _) => zarr.levels().to_vec(),
            (None, Some(tiffs)) => sampled_levels(tiffs),
            (None, None) => return Err(Error::NotFound(format!("volume at {}", place.name))),
        };
        Ok(Self { place, state, version, zarr, tiffs, levels, histogram: OnceLock::new() })
    }

    /// Whether this is still what lies at `place`.
    pub(crate) fn is_current(&self, place: &Place) -> bool {
        self.state != State::Growing
            && self.place == *place
            && identify(place) == (self.state, self.version.clone())
    }

    /// The histogram, made by `make` when first asked for.
    pub(crate) fn histogram(&self, make: impl FnOnce() -> Result<Histogram>) -> Result<&Histogram> {
        if self.histogram.get().is_none() {
            let histogram = make()?;
            return Ok(self.histogram.get_or_init(|| histogram));
        }
        Ok(self.histogram.get_or_init(Histogram::new))
    }

    /// Levels, finest first.
    pub(crate) fn levels(&self) -> &[LevelGeometry] {
        &self.levels
    }

    pub(crate) fn level(&self, level: usize) -> Result<&LevelGeometry> {
        self.levels.get(level).ok_or_else(|| Error::NotFound(format!("level {level} of {}", self.place.name)))
    }

    /// Whether lower levels are samples of level 0 and not means.
    pub(crate) fn is_sampled(&self) -> bool {
        self.zarr.is_none()
    }

    pub(crate) fn zarr(&self) -> Option<&OmeZarrReader> {
        if let Some(VolumeReader::Zarr(zarr)) = &self.zarr { Some(zarr) } else { None }
    }

    /// The reader of all levels, if there is an OME-Zarr.
    pub(crate) fn pyramid(&self) -> Option<&VolumeReader> {
        self.zarr.as_ref()
    }

    pub(crate) fn tiffs(&self) -> Option<&TiffStackReader> {
        self.tiffs.as_ref()
    }

    /// Index in the TIFF stack of row `z` of level 0, if that slice is there.
    pub(crate) fn tiff_of(&self, z: usize) -> Option<usize> {
        let tiffs = self.tiffs.as_ref()?;
        let rows = self.zarr().and_then(OmeZarrReader::rows);
        let by_number = rows.and_then(|(first, step)| tiffs.index_of((first + z * step) as u64));
        let index =
            if self.state == State::Growing { by_number.or(rows.is_none().then_some(z))? } else { z };
        tiffs.has_slice(index).then_some(index)
    }

    /// Whether row `z` of `level` can be shown.
    pub(crate) fn has_row(&self, level: usize, z: usize) -> bool {
        self.state != State::Growing
            || (level == 0 && self.tiff_of(z).is_some())
            || self.zarr().is_some_and(|zarr| zarr.is_row_written(level, z))
            || (self.is_sampled() && self.tiff_of(z << level).is_some())
    }

    pub(crate) fn dtype(&self) -> DataType {
        match (&self.zarr, &self.tiffs) {
            (Some(zarr), _) => zarr.dtype(),
            (None, Some(tiffs)) => tiffs.dtype(),
            (None, None) => DataType::F32,
        }
    }

    pub(crate) fn scaling(&self) -> Option<Scaling> {
        match (&self.zarr, &self.tiffs) {
            (Some(zarr), _) => zarr.scaling(),
            (None, Some(tiffs)) => tiffs.scaling(),
            (None, None) => None,
        }
    }

    pub(crate) fn value_unit(&self) -> Option<&str> {
        match (&self.zarr, &self.tiffs) {
            (Some(zarr), _) => zarr.value_unit(),
            (None, Some(tiffs)) => tiffs.value_unit(),
            (None, None) => None,
        }
    }

    pub(crate) fn has_units(&self) -> bool {
        match (&self.zarr, &self.tiffs) {
            (Some(zarr), _) => zarr.has_units(),
            (None, tiffs) => tiffs.as_ref().is_some_and(|tiffs| tiffs.voxel_um().is_some()),
        }
    }
}

/// Whether TIFFs and OME-Zarr are two forms of one volume: they are read in turn only then.
fn belong_together(tiffs: &TiffStackReader, zarr: &VolumeReader, growing: bool) -> bool {
    let ([tz, ty, tx], [zz, zy, zx]) = (tiffs.shape(), zarr.shape());
    (ty, tx) == (zy, zx)
        && (growing || tz == zz)
        && tiffs.dtype() == zarr.dtype()
        && tiffs.scaling() == zarr.scaling()
}

/// The levels that are cut out of TIFF files: every 2^k-th voxel, beginning with the first.
fn sampled_levels(tiffs: &TiffStackReader) -> Vec<LevelGeometry> {
    let mut level = LevelGeometry {
        shape: tiffs.shape(),
        scale: tiffs.voxel_um().map_or([1.0; 3], |[z, y, x]| [z * tiffs.row_step() as f64, y, x]),
        translation: [0.0; 3],
    };
    if let (Some(row), Some([z, ..])) = (tiffs.first_row(), tiffs.voxel_um()) {
        level.translation[0] = row as f64 * z;
    }
    let mut levels = vec![level.clone()];
    while level.shape.iter().any(|&n| n > COARSEST) {
        for axis in 0..3 {
            if level.shape[axis] > 1 {
                level.shape[axis] = level.shape[axis].div_ceil(2);
                level.scale[axis] *= 2.0;
            }
        }
        levels.push(level.clone());
    }
    levels
}

/// State and version of what lies at a place, from names, inodes, sizes and times alone.
fn identify(place: &Place) -> (State, String) {
    let stat = |path: &Path| path.metadata().ok();
    let manifest = place.beside(".manifest.json").and_then(|path| stat(&path));
    let state = if manifest.is_some() {
        State::Finished
    } else if place.beside(".work").is_some_and(|path| path.is_dir()) {
        State::Growing
    } else {
        State::Unmanaged
    };
    let mut hash = blake3::Hasher::new();
    let names = [".zgroup", ".zattrs", "zarr.json"];
    let metadata = place.zarr.iter().flat_map(|zarr| names.map(|name| stat(&zarr.join(name))));
    let folders = [&place.zarr, &place.tiffs].map(|path| path.as_deref().and_then(stat));
    for found in metadata.chain(folders).chain([manifest]) {
        let numbers =
            found.map_or([0; 5], |m| [m.dev(), m.ino(), m.size(), m.mtime() as u64, m.mtime_nsec() as u64]);
        for number in numbers {
            hash.update(&number.to_le_bytes());
        }
    }
    for path in [&place.zarr, &place.tiffs].into_iter().flatten() {
        hash.update(path.as_os_str().as_encoded_bytes()).update(&[0]);
    }
    (state, hash.finalize().to_hex()[..16].to_owned())
}
