//! The layout of 8.3.2 from 2018 to 2021: one group named after the scan, every frame a dataset of its own,
//! metadata as string attributes.
//!
//! Projections `<name>_0000_%04d.tif`, flats `<name>bak_%04d_%04d.tif` (number in the group, projection index
//! of the group), darks `<name>drk_%04d_%04d.tif` (the group is the last projection), each (1, rows, columns).

use std::path::PathBuf;

use hdf5_metno::{File, Group};
use ndarray::ArrayView3;

use super::acquire::{Sink, Stack};
use super::detector::Pixel;
use super::error::{Error, Result};
use super::options::SimulateOptions;
use super::storage::{attribute, image_dataset};
use super::truth::Simulated;

/// The open file with the scan's group.
pub(crate) struct Als<'a> {
    path: PathBuf,
    group: Group,
    options: &'a SimulateOptions,
    truth: &'a Simulated,
}

impl<'a> Als<'a> {
    /// Makes the group and its attributes.
    pub(crate) fn create(
        file: &File,
        path: &std::path::Path,
        options: &'a SimulateOptions,
        truth: &'a Simulated,
    ) -> Result<Self> {
        let build = || -> hdf5_metno::Result<Group> {
            let group = file.create_group(&truth.name)?;
            attributes(&group, options, truth)?;
            Ok(group)
        };
        let group = build().map_err(Error::hdf5("create the scan's group", path))?;
        Ok(Self { path: path.to_path_buf(), group, options, truth })
    }

    /// Name of a frame's dataset, and its angle if it is a projection.
    fn frame(&self, stack: Stack, number: usize) -> (String, Option<f64>) {
        let name = &self.truth.name;
        match stack {
            Stack::Projections => {
                (format!("{name}_0000_{number:04}.tif"), self.truth.theta_degrees.get(number).copied())
            }
            Stack::Flats => {
                let flats = self.options.flats.max(1);
                let group = self.truth.flat_positions.get(number / flats).copied().unwrap_or(0);
                (format!("{name}bak_{:04}_{group:04}.tif", number % flats), None)
            }
            Stack::Darks => (format!("{name}drk_{number:04}_{:04}.tif", self.options.angles - 1), None),
        }
    }
}

impl<T: Pixel> Sink<T> for Als<'_> {
    fn write(&mut self, stack: Stack, first: usize, frames: &[T]) -> Result<()> {
        let (rows, columns) = (self.options.rows, self.options.width);
        for (i, frame) in frames.chunks(rows * columns).enumerate() {
            let (name, angle) = self.frame(stack, first + i);
            let put = || -> hdf5_metno::Result<()> {
                let dataset = image_dataset::<T>(&self.group, &name, [1, rows, columns], self.options)?;
                let view = ArrayView3::from_shape((1, rows, columns), frame)
                    .map_err(|e| hdf5_metno::Error::from(e.to_string()))?;
                dataset.write(view)?;
                match angle {
                    Some(angle) => attribute(&dataset, "rot_angle", &angle.to_string()),
                    None => Ok(()),
                }
            };
            put().map_err(Error::hdf5(format!("write frame {name}"), &self.path))?;
        }
        Ok(())
    }

    fn frames_at_once(&self) -> usize {
        1
    }
}

/// The attributes that 8.3.2's readers ask for, and those that a catalogue shows; all are strings, as there.
fn attributes(group: &Group, o: &SimulateOptions, truth: &Simulated) -> hdf5_metno::Result<()> {
    let mut list = vec![
        ("dataset", truth.name.clone()),
        ("nslices", o.rows.to_string()),
        ("nrays", o.width.to_string()),
        ("nangles", o.angles.to_string()),
        ("arange", o.range_degrees.to_string()),
        ("i0cycle", o.flat_cycle.to_string()),
        ("num_bright_field", o.flats.to_string()),
        ("num_dark_fields", o.darks.to_string()),
        ("senergy", (o.energy_kev * 1000.0).to_string()),
        ("Camera_Z_Support", o.distance_mm.to_string()),
        ("scurrent", "500".into()),
        ("scanner", "ALS".into()),
        ("camera_used", "simulated by beamrail".into()),
        ("lens_name", "10x".into()),
        ("object", o.sample.clone()),
        ("experimenter", "NONE".into()),
        ("sdate", "2000-01-01T00:00:00".into()),
    ];
    if let Some(pixel_size) = o.pixel_size_mm {
        list.push(("pxsize", pixel_size.to_string()));
    }
    list.iter().try_for_each(|(name, value)| attribute(group, name, value))
}
