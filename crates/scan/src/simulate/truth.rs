//! What is known about a simulated scan, and its record in the file.

use std::path::{Path, PathBuf};

use hdf5_metno::File;
use hdf5_metno::types::VarLenUnicode;
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::options::{Layout, SimulateOptions};
use super::storage::{array, scalar, unicode};

/// The truth about a simulated scan. With [`super::phantom()`] of its `options` everything can be computed again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Simulated {
    /// The file; where it was read from when it comes from [`read_truth`].
    #[serde(skip)]
    pub path: PathBuf,
    /// Name of the scan (the file's stem).
    pub name: String,
    /// Rotation axis: 0-based detector column, pixel centres at integers.
    pub center: f64,
    /// Attenuation per pixel of the phantom's unit.
    pub attenuation: f64,
    /// Radius of the object in pixels.
    pub object_radius: f64,
    /// Angles in degrees; in JSON they follow from the options.
    #[serde(skip)]
    pub theta_degrees: Vec<f64>,
    /// Projection index of every group of flats, in the order of the flats.
    pub flat_positions: Vec<usize>,
    /// Columns that read 0.
    pub dead_columns: Vec<usize>,
    /// Pixels (row · columns + column) that read saturation.
    pub hot_pixels: Vec<usize>,
    /// Bytes of all frames before compression.
    pub bytes: u64,
    /// Version of the simulator.
    pub version: String,
    /// The options.
    pub options: SimulateOptions,
}

/// Record of the truth: dataset in the layout `dxfile`, attribute of the root in the layout `als` (whose root may hold
/// nothing but the scan's group).
const GROUP: &str = "simulation";
/// JSON of [`Simulated`] in that group.
const RECORD: &str = "simulation/truth";

/// Writes the record.
pub(crate) fn write(file: &File, truth: &Simulated) -> hdf5_metno::Result<()> {
    let json = serde_json::to_string(truth).map_err(|e| hdf5_metno::Error::from(e.to_string()))?;
    let json = unicode(&json)?;
    match truth.options.layout {
        Layout::Als => {
            file.new_attr_builder().with_data(ndarray::aview0(&json)).create(GROUP)?;
        }
        Layout::Dxfile => {
            scalar(file, RECORD, &json)?;
            let options =
                serde_json::to_string(&truth.options).map_err(|e| hdf5_metno::Error::from(e.to_string()))?;
            scalar(file, "simulation/options", &unicode(&options)?)?;
            scalar(file, "simulation/center", &truth.center)?;
            scalar(file, "simulation/seed", &truth.options.seed)?;
            scalar(file, "simulation/attenuation", &truth.attenuation)?;
            let positions: Vec<u64> = truth.flat_positions.iter().map(|&p| p as u64).collect();
            array(file, "simulation/flat_positions", &positions)?;
        }
    }
    Ok(())
}

/// Reads the truth that [`super::simulate`] wrote into a file.
///
/// # Errors
/// [`Error::Hdf5`] when the file cannot be opened, [`Error::NoTruth`] when it is not a simulated one.
pub fn read_truth(path: impl AsRef<Path>) -> Result<Simulated> {
    let path = path.as_ref();
    let file = File::open(path).map_err(Error::hdf5("open the file", path))?;
    let missing = |reason: String| Error::NoTruth { path: path.to_path_buf(), reason };
    let json: VarLenUnicode = match file.dataset(RECORD) {
        Ok(dataset) => dataset.read_scalar(),
        Err(_) => file.attr(GROUP).and_then(|attribute| attribute.read_scalar()),
    }
    .map_err(|_| missing(format!("neither /{RECORD} nor the attribute `{GROUP}` can be read")))?;
    let mut truth: Simulated =
        serde_json::from_str(json.as_str()).map_err(|e| missing(format!("its record is not valid: {e}")))?;
    truth.theta_degrees = truth.options.theta_degrees();
    truth.path = path.to_path_buf();
    Ok(truth)
}
