//! Simulated scans with a known truth.
//!
//! [`simulate`] writes a raw scan of a phantom whose projections are exact (closed form, no voxels), as a
//! camera at beamline 8.3.2 would have stored it, of any size in bounded memory and the same bytes for the
//! same [`SimulateOptions`] with any number of threads and any vector width (the C library's sine and
//! exponential, used beside the loops, may differ in a last bit between systems). [`phantom()`] gives the
//! object itself: line integrals without a detector, and the slices that a perfect reconstruction returns.
//!
//! Conventions: a point (x, y) of the object is seen at the angle θ in the detector column
//! center + x cos θ + y sin θ; θ is what the file holds, and TomoPy gets −θ. See [`phantom`](mod@self::phantom)
//! for frame and units, `detector.rs` for the order in which beam and detector spoil the truth.
//!
//! Memory: two blocks of about 48 MiB, four maps of one frame (4 bytes a pixel each), and the phantom.

mod acquire;
mod detector;
mod error;
mod flat_field;
mod foam;
mod kernels;
mod options;
mod output;
pub mod phantom;
mod random;
mod shapes;
mod storage;
mod truth;
mod write_als;
mod write_dxfile;

use std::path::Path;

pub use error::{Error, Result};
pub use options::{Compression, Layout, PhantomKind, PixelType, SimulateOptions};
pub use phantom::{Ellipsoid, Phantom};
pub use shapes::DISC_DISTANCES;
pub use truth::{Simulated, read_truth};

use acquire::{Stack, acquire};
use detector::{Detector, Frame, Pixel};

/// The object that the options describe, with its attenuation per pixel.
///
/// # Errors
/// [`Error::Option`] when the options are not valid.
pub fn phantom(options: &SimulateOptions) -> Result<Phantom> {
    options.validate()?;
    let (unit, scale) = unit_phantom(options);
    Ok(unit.scaled(scale))
}

/// The phantom with unit attenuation, and the factor that gives it the wanted one.
fn unit_phantom(options: &SimulateOptions) -> (Phantom, f64) {
    let radius = options.object_radius();
    let shapes = match options.phantom {
        PhantomKind::Foam => foam::foam(radius, options.rows, options.seed),
        PhantomKind::SheppLogan => shapes::shepp_logan(radius, options.rows, true),
        PhantomKind::SheppLoganOriginal => shapes::shepp_logan(radius, options.rows, false),
        PhantomKind::Discs => shapes::discs(radius),
        PhantomKind::Cylinder => vec![Ellipsoid::cylinder(0.0, 0.0, radius, 1.0)],
    };
    let unit = Phantom::new(shapes);
    let scale = match (options.attenuation, options.phantom) {
        (Some(attenuation), _) => attenuation,
        (None, PhantomKind::Discs) => 1.0,
        (None, _) => {
            // Mean line integral over the shadow, at attenuation 1.
            let path = unit.mass(options.rows / 2) / (2.0 * radius);
            if path > 0.0 { -options.transmission.ln() / path } else { 1.0 }
        }
    };
    (unit, scale)
}

/// Writes a simulated scan to `path`, which must not exist; see [`simulate_over`] to replace a file.
///
/// The file is written under a temporary name in the same folder, brought to the disk and only then
/// given its name, so that what has the name is whole. `progress` hears the part done, 0 to 1.
///
/// # Errors
/// [`Error::Option`] before anything is written; [`Error::Exists`]; [`Error::Space`] when the disk cannot hold the
/// file; [`Error::Hdf5`] and [`Error::Io`]. Nothing is left behind.
pub fn simulate(
    path: impl AsRef<Path>,
    options: &SimulateOptions,
    progress: &mut dyn FnMut(f64),
) -> Result<Simulated> {
    write_scan(path.as_ref(), options, false, progress)
}

/// As [`simulate`], but an existing file is replaced once the new one is complete.
///
/// # Errors
/// As [`simulate`], less [`Error::Exists`] (but for a folder of that name).
pub fn simulate_over(
    path: impl AsRef<Path>,
    options: &SimulateOptions,
    progress: &mut dyn FnMut(f64),
) -> Result<Simulated> {
    write_scan(path.as_ref(), options, true, progress)
}

fn write_scan(
    path: &Path,
    options: &SimulateOptions,
    overwrite: bool,
    progress: &mut dyn FnMut(f64),
) -> Result<Simulated> {
    options.validate()?;
    let draft = output::Draft::new(path, options.bytes(), overwrite)?;
    let (unit, attenuation) = unit_phantom(options);
    let phantom = unit.scaled(attenuation);
    let detector = Detector::new(options);
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let truth = Simulated {
        path: path.to_path_buf(),
        name,
        center: options.center(),
        attenuation,
        object_radius: options.object_radius(),
        theta_degrees: options.theta_degrees(),
        flat_positions: options.flat_positions(),
        dead_columns: detector.dead_columns.clone(),
        hot_pixels: detector.hot_pixels.clone(),
        bytes: options.bytes(),
        version: env!("CARGO_PKG_VERSION").into(),
        options: options.clone(),
    };
    let mut builder = hdf5_metno::File::with_options();
    if options.latest_format {
        builder.with_fapl(|access| access.libver_latest());
    }
    let file = builder.create(draft.temporary()).map_err(Error::hdf5("create the file", path))?;
    match options.pixel_type {
        PixelType::U8 => fill::<u8>(&file, path, options, &truth, &detector, &phantom, progress)?,
        PixelType::U16 => fill::<u16>(&file, path, options, &truth, &detector, &phantom, progress)?,
        PixelType::F32 => fill::<f32>(&file, path, options, &truth, &detector, &phantom, progress)?,
    }
    truth::write(&file, &truth).map_err(Error::hdf5("record the truth", path))?;
    file.close().map_err(Error::hdf5("finish the file", path))?;
    draft.publish()?;
    Ok(truth)
}

/// Writes metadata and all frames.
fn fill<T: Pixel>(
    file: &hdf5_metno::File,
    path: &Path,
    options: &SimulateOptions,
    truth: &Simulated,
    detector: &Detector,
    phantom: &Phantom,
    progress: &mut dyn FnMut(f64),
) -> Result<()> {
    let flats = truth.flat_positions.iter().enumerate().flat_map(|(group, &position)| {
        (0..options.flats).map(move |i| Frame::Flat(group * options.flats + i, position))
    });
    let stacks = [
        (Stack::Darks, (0..options.darks).map(Frame::Dark).collect()),
        (Stack::Flats, flats.collect()),
        (Stack::Projections, (0..options.angles).map(Frame::Projection).collect()),
    ];
    let shape = [options.rows, options.width];
    match options.layout {
        Layout::Dxfile => {
            let mut sink = write_dxfile::Dxfile::create::<T>(file, path, options, truth)?;
            acquire::<T>(detector, phantom, shape, &stacks, &mut sink, progress)
        }
        Layout::Als => {
            let mut sink = write_als::Als::create(file, path, options, truth)?;
            acquire::<T>(detector, phantom, shape, &stacks, &mut sink, progress)
        }
    }
}
