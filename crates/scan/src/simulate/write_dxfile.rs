//! The layout of 8.3.2 since 2021: stacks in `/exchange`, metadata under `/measurement` and
//! `/process` as arrays of length 1 (of length 2 where the control system samples a channel twice).

use std::path::{Path, PathBuf};

use hdf5_metno::{Dataset, File, Group};
use ndarray::ArrayView3;

use super::acquire::{Sink, Stack};
use super::detector::Pixel;
use super::error::{Error, Result};
use super::options::SimulateOptions;
use super::storage::{array, ascii, attribute, image_dataset};
use super::truth::Simulated;

/// The open file with its three stacks.
pub(crate) struct Dxfile {
    path: PathBuf,
    darks: Option<Dataset>,
    flats: Option<Dataset>,
    projections: Dataset,
    shape: [usize; 2],
    frames_at_once: usize,
}

impl Dxfile {
    /// Makes all groups, metadata and empty stacks.
    pub(crate) fn create<T: Pixel>(
        file: &File,
        path: &Path,
        options: &SimulateOptions,
        truth: &Simulated,
    ) -> Result<Self> {
        let build = || -> hdf5_metno::Result<Self> {
            metadata(file, options, truth)?;
            let exchange = file.group("exchange")?;
            let frame = [options.rows, options.width];
            let stack = |name: &str, frames: usize| {
                image_dataset::<T>(&exchange, name, [frames, frame[0], frame[1]], options)
            };
            let flats = options.flats * truth.flat_positions.len();
            Ok(Self {
                projections: stack("data", options.angles)?,
                flats: if flats > 0 { Some(stack("data_white", flats)?) } else { None },
                darks: if options.darks > 0 { Some(stack("data_dark", options.darks)?) } else { None },
                path: path.to_path_buf(),
                shape: frame,
                frames_at_once: options.chunk.map_or(1, |chunk| chunk[0].min(options.angles)),
            })
        };
        build().map_err(Error::hdf5("create groups and datasets", path))
    }
}

impl<T: Pixel> Sink<T> for Dxfile {
    fn write(&mut self, stack: Stack, first: usize, frames: &[T]) -> Result<()> {
        let [rows, columns] = self.shape;
        let count = frames.len() / (rows * columns);
        let (dataset, name) = match stack {
            Stack::Darks => (self.darks.as_ref(), "data_dark"),
            Stack::Flats => (self.flats.as_ref(), "data_white"),
            Stack::Projections => (Some(&self.projections), "data"),
        };
        let Some(dataset) = dataset else { return Ok(()) };
        let put = || -> hdf5_metno::Result<()> {
            let view = ArrayView3::from_shape((count, rows, columns), frames)
                .map_err(|e| hdf5_metno::Error::from(e.to_string()))?;
            dataset.write_slice(view, (first..first + count, .., ..))
        };
        put().map_err(Error::hdf5(
            format!("write frames {first} to {} of /exchange/{name}", first + count),
            &self.path,
        ))
    }

    fn frames_at_once(&self) -> usize {
        self.frames_at_once
    }
}

/// The metadata that 8.3.2's reconstruction and catalogue read, and the truth.
fn metadata(file: &File, o: &SimulateOptions, truth: &Simulated) -> hdf5_metno::Result<()> {
    let root: &Group = file;
    let text = |path: &str, value: &str| array(root, path, &[ascii(value)]);
    let number = |path: &str, value: f64| array(root, path, &[value]);
    let whole = |path: &str, value: usize| array(root, path, &[value as i64]);

    let instrument = "measurement/instrument";
    text(&format!("{instrument}/instrument_name"), "LBNL Beamline 8.3.2")?;
    text(&format!("{instrument}/source/source_name"), "ALS")?;
    array(root, &format!("{instrument}/source/current"), &[500.0, 500.0])?;
    text(&format!("{instrument}/detector/model"), "simulated by beamrail")?;
    whole(&format!("{instrument}/detector/dimension_x"), o.width)?;
    whole(&format!("{instrument}/detector/dimension_y"), o.rows)?;
    whole(&format!("{instrument}/detector/binning_x"), 1)?;
    whole(&format!("{instrument}/detector/binning_y"), 1)?;
    number(&format!("{instrument}/detector/exposure_time"), 0.1)?;
    number(&format!("{instrument}/detector/dark_field_value"), o.dark_level())?;
    if let Some(pixel_size) = o.pixel_size_mm {
        let path = format!("{instrument}/detector/pixel_size");
        number(&path, pixel_size)?;
        unit(root, &path, "mm")?;
    }
    let energy = o.energy_kev * 1000.0;
    array(root, &format!("{instrument}/monochromator/energy"), &[energy, energy])?;
    unit(root, &format!("{instrument}/monochromator/energy"), "eV")?;
    let distance = format!("{instrument}/camera_motor_stack/setup/camera_distance");
    array(root, &distance, &[o.distance_mm, o.distance_mm])?;
    unit(root, &distance, "mm")?;
    text(&format!("{instrument}/detection_system/objective/camera_objective"), "10x")?;
    text(&format!("{instrument}/detection_system/scintillator/scintillator_type"), "LuAG:Ce 50 um")?;

    text("measurement/sample/file_name", &truth.name)?;
    text("measurement/sample/description", &o.sample)?;
    text("measurement/sample/experiment/beamline", "8.3.2")?;
    text("measurement/sample/experiment/proposal", "None")?;
    text("measurement/sample/experiment/pi", "beamrail simulate")?;
    text("measurement/sample/experimenter/name", "beamrail simulate")?;
    text("measurement/sample/experimenter/email", "NONE")?;

    let acquisition = "process/acquisition";
    text(&format!("{acquisition}/name"), &format!("simulated {} phantom", o.phantom))?;
    text(&format!("{acquisition}/start_date"), "2000-01-01T00:00:00")?;
    let rotation = format!("{acquisition}/rotation");
    whole(&format!("{rotation}/num_angles"), o.angles)?;
    number(&format!("{rotation}/range"), o.range_degrees)?;
    number(&format!("{rotation}/rotation_start"), o.start_degrees)?;
    number(&format!("{rotation}/rotation_step"), o.step_degrees())?;
    whole(&format!("{rotation}/nhalfCir"), if o.range_degrees > 300.0 { 2 } else { 1 })?;
    whole(&format!("{acquisition}/flat_fields/i0cycle"), o.flat_cycle)?;
    whole(&format!("{acquisition}/flat_fields/num_flat_fields"), o.flats)?;
    number(&format!("{acquisition}/flat_fields/flat_field_value"), o.flat_level() + o.dark_level())?;
    whole(&format!("{acquisition}/dark_fields/num_dark_fields"), o.darks)?;
    number(&format!("{acquisition}/dark_fields/dark_field_value"), o.dark_level())?;

    array(root, "exchange/theta", &truth.theta_degrees)?;
    unit(root, "exchange/theta", "deg")
}

/// Attribute `units` of a dataset.
fn unit(root: &Group, path: &str, unit: &str) -> hdf5_metno::Result<()> {
    let dataset = root.dataset(path)?;
    attribute(&dataset, "units", unit)
}
