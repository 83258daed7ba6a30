//! What a scan says about itself: geometry, angles, storage, metadata and warnings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How the scan is arranged inside the HDF5 file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Data Exchange with `/measurement` and `/process`, as ALS 8.3.2 writes since 2021.
    Dxfile,
    /// Plain Data Exchange: `/exchange` only.
    Dxchange,
    /// ALS 8.3.2, 2018 to 2021: frames as separate datasets, metadata as attributes of their group.
    Als,
    /// ALS 11.3.1 (nano CT): as [`Layout::Als`], flats only after the scan.
    Als1131,
    /// Data Exchange with several time points one after the other (Swiss Light Source).
    Sls,
    /// NeXus application definition NXtomo: one stack, `image_key` tells flats and darks.
    Nexus,
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Dxfile => "dxfile",
            Self::Dxchange => "dxchange",
            Self::Als => "als",
            Self::Als1131 => "als1131",
            Self::Sls => "sls",
            Self::Nexus => "nexus",
        })
    }
}

/// Sample type that [`crate::Samples`] holds; other stored types are converted to `F32` on reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataType {
    /// Unsigned 8 bit.
    U8,
    /// Unsigned 16 bit.
    U16,
    /// IEEE single precision.
    F32,
}

impl DataType {
    /// Bytes a sample takes in memory.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::F32 => 4,
        }
    }
}

/// How the projections lie in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Storage {
    /// One piece: any row range of any projection is one read at a known offset.
    Contiguous,
    /// Pieces of `shape` (projections, rows, columns), each passed through `filters` when written.
    Chunked {
        /// Chunk shape (projections, rows, columns).
        shape: [usize; 3],
        /// Names of the filters in writing order; empty when not compressed.
        filters: Vec<String>,
    },
    /// Every frame a dataset of its own.
    Frames {
        /// Filters of the frames in writing order; empty when not compressed.
        filters: Vec<String>,
    },
}

/// Where the rotation angles come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThetaSource {
    /// A dataset of angles, one a projection.
    Dataset,
    /// An attribute of every frame.
    FrameAttribute,
    /// First angle and step from the metadata.
    StartStep,
    /// Equal steps over the range in the metadata, both ends included.
    RangeCount,
    /// Equal steps over a range that the caller gave.
    Caller,
}

/// Something that a user should know and that does not stop the work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Stable name for programs, such as `pixel-size-missing`.
    pub code: &'static str,
    /// What was found and what was done about it.
    pub message: String,
}

/// Geometry and metadata of an open scan. Shapes are those of the data, whatever the metadata say.
#[derive(Debug, Clone, Serialize)]
pub struct ScanInfo {
    /// The file that was opened.
    pub path: PathBuf,
    /// Arrangement found (or asked for).
    pub layout: Layout,
    /// Path of the projections inside the file.
    pub dataset: String,
    /// Number of projections (angles).
    pub projections: usize,
    /// Detector rows.
    pub rows: usize,
    /// Detector columns.
    pub columns: usize,
    /// Type that reads deliver.
    pub dtype: DataType,
    /// Type in the file, such as `uint16` or `float64 big-endian`.
    pub stored_type: String,
    /// How the projections lie in the file.
    pub storage: Storage,
    /// Rotation angle of each projection, degrees.
    pub theta_degrees: Vec<f64>,
    /// Where the angles come from.
    pub theta_source: ThetaSource,
    /// Largest minus smallest angle, degrees.
    pub range_degrees: f64,
    /// Detector pixel at the sample, micrometres; `None` when missing or implausible.
    pub pixel_size_um: Option<f64>,
    /// Sample to detector, millimetres.
    pub distance_mm: Option<f64>,
    /// Photon energy; `None` for white light or when unknown.
    pub energy_kev: Option<f64>,
    /// Flat-field frames in the file.
    pub flat_frames: usize,
    /// Dark-field frames in the file.
    pub dark_frames: usize,
    /// Number of time points in the file (1 but for [`Layout::Sls`]).
    pub time_points: usize,
    /// When the scan was taken, as the file says.
    pub acquired: Option<String>,
    /// Sample name, as the file says.
    pub sample: Option<String>,
    /// Small datasets and attributes by path, cleaned of padding and control characters.
    pub metadata: BTreeMap<String, String>,
    /// Bytes that projections, flats and darks take in memory as stored samples.
    pub bytes: u64,
    /// Size of the file (external files not counted).
    pub file_bytes: u64,
    /// What is odd about the scan.
    pub warnings: Vec<Warning>,
}
