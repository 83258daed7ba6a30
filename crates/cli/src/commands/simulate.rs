//! `beamrail simulate`: a scan of a phantom whose truth is known.

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use scan::simulate::{Compression, Error, Layout, PhantomKind, PixelType, SimulateOptions, Simulated};

use crate::exit::{Exit, Failure};
use crate::output::{self, Table, bytes};
use crate::progress::{Mode, Progress};

/// Write a scan of a phantom whose truth is known
///
/// The projections are exact (no voxels), spoilt as a real beam and camera would: photon noise, dark
/// current, flat-field structure and drift, rings, zingers. The same options give the same scan.
#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Args {
    /// The file to write (HDF5)
    #[arg(value_name = "OUT.h5")]
    out: PathBuf,

    /// Replace the file if it exists
    #[arg(long)]
    overwrite: bool,

    /// Print JSON: the truth about the scan
    #[arg(long)]
    json: bool,

    /// Detector columns
    #[arg(long, value_name = "N", default_value_t = default().width, help_heading = "Geometry")]
    width: usize,

    /// Detector rows
    #[arg(long, value_name = "N", default_value_t = default().rows, help_heading = "Geometry")]
    rows: usize,

    /// Projections
    #[arg(long, value_name = "N", default_value_t = default().angles, help_heading = "Geometry")]
    angles: usize,

    /// Rotation in degrees: 180 or 360, or any other
    #[arg(long, value_name = "DEGREES", default_value_t = default().range_degrees, help_heading = "Geometry")]
    range: f64,

    /// Angle of the first projection, degrees
    #[arg(long, value_name = "DEGREES", default_value_t = default().start_degrees, help_heading = "Geometry")]
    start: f64,

    /// Leave out the projection at the end of the range
    #[arg(long, help_heading = "Geometry")]
    no_endpoint: bool,

    /// Rotation axis: 0-based detector column, any fraction; drawn from the seed if not given
    #[arg(long, value_name = "PX", help_heading = "Geometry")]
    center: Option<f64>,

    /// 360° scan with the axis near an edge of the detector
    #[arg(long, help_heading = "Geometry")]
    half_acquisition: bool,

    /// Pixel size in micrometres; 0 leaves it out of the file
    #[arg(long, value_name = "UM", default_value_t = 0.65, help_heading = "Geometry")]
    pixel_size_um: f64,

    /// Photon energy, keV
    #[arg(long, value_name = "KEV", default_value_t = default().energy_kev, help_heading = "Geometry")]
    energy: f64,

    /// Distance from sample to camera, mm
    #[arg(long, value_name = "MM", default_value_t = default().distance_mm, help_heading = "Geometry")]
    distance: f64,

    /// The object
    #[arg(long, value_parser = choice::<PhantomKind>(PhantomKind::ALL.iter().map(|one| one.name())),
          default_value_t = default().phantom, help_heading = "Object")]
    phantom: PhantomKind,

    /// Diameter of the object relative to the field of view; above 1 it is wider than the detector
    #[arg(long, value_name = "FRACTION", default_value_t = default().object, help_heading = "Object")]
    object: f64,

    /// Mean transmission through the object
    #[arg(long, value_name = "FRACTION", default_value_t = default().transmission, help_heading = "Object")]
    transmission: f64,

    /// Attenuation per pixel of the phantom's unit, instead of --transmission
    #[arg(long, value_name = "PER_PIXEL", help_heading = "Object")]
    attenuation: Option<f64>,

    /// Seed of everything random
    #[arg(long, value_name = "N", default_value_t = default().seed, help_heading = "Object")]
    seed: u64,

    /// No fault of beam or detector unless asked for by its own flag
    #[arg(long, help_heading = "Faults")]
    clean: bool,

    /// Photon noise: mean photons a pixel and frame in the open beam, fewer are noisier; 0: no noise
    #[arg(long, value_name = "PHOTONS", help_heading = "Faults")]
    noise: Option<f64>,

    /// Read noise, counts
    #[arg(long, value_name = "COUNTS", help_heading = "Faults")]
    read_noise: Option<f64>,

    /// Rings: standard deviation of column gains that the flat fields do not show
    #[arg(long, value_name = "FRACTION", help_heading = "Faults")]
    rings: Option<f64>,

    /// Probability that a zinger hits a pixel
    #[arg(long, value_name = "FRACTION", help_heading = "Faults")]
    zingers: Option<f64>,

    /// Columns that always read 0
    #[arg(long, value_name = "N", default_value_t = default().dead_columns, help_heading = "Faults")]
    dead_columns: usize,

    /// Pixels that are always saturated
    #[arg(long, value_name = "N", default_value_t = default().hot_pixels, help_heading = "Faults")]
    hot_pixels: usize,

    /// Projections that came out blank
    #[arg(long, value_name = "N,N...", value_delimiter = ',', help_heading = "Faults")]
    blank: Vec<usize>,

    /// Counts at which pixels saturate
    #[arg(long, value_name = "COUNTS", help_heading = "Faults")]
    saturation: Option<f64>,

    /// Depth of the flat field's structure, 0 to 1
    #[arg(long, value_name = "FRACTION", help_heading = "Flat and dark fields")]
    flat_structure: Option<f64>,

    /// Relative change of the beam during the scan
    #[arg(long, value_name = "FRACTION", help_heading = "Flat and dark fields")]
    flat_drift: Option<f64>,

    /// Standard deviation of the dark field's pattern, relative to its level
    #[arg(long, value_name = "FRACTION", help_heading = "Flat and dark fields")]
    dark_structure: Option<f64>,

    /// Mean counts of the open beam
    #[arg(long, value_name = "COUNTS", help_heading = "Flat and dark fields")]
    flat_level: Option<f64>,

    /// Mean dark counts
    #[arg(long, value_name = "COUNTS", help_heading = "Flat and dark fields")]
    dark_level: Option<f64>,

    /// Flat-field frames in each group
    #[arg(long, value_name = "N", default_value_t = default().flats, help_heading = "Flat and dark fields")]
    flats: usize,

    /// Projections between groups of flat fields; 0: before and after the scan
    #[arg(long, value_name = "N", default_value_t = default().flat_cycle, help_heading = "Flat and dark fields")]
    flat_cycle: usize,

    /// Flat fields only before the scan
    #[arg(long, help_heading = "Flat and dark fields")]
    no_flats_after: bool,

    /// Dark frames
    #[arg(long, value_name = "N", default_value_t = default().darks, help_heading = "Flat and dark fields")]
    darks: usize,

    /// How the file is organised
    #[arg(long, value_parser = choice::<Layout>(Layout::ALL.iter().map(|one| one.name())),
          default_value_t = default().layout, help_heading = "File")]
    layout: Layout,

    /// Type of the pixels
    #[arg(long, value_parser = choice::<PixelType>(PixelType::ALL.iter().map(|one| one.name())),
          default_value_t = default().pixel_type, help_heading = "File")]
    pixel_type: PixelType,

    /// Chunk shape: frames, rows, columns; contiguous if not given
    #[arg(long, value_name = "F,R,C", value_delimiter = ',', num_args = 1, help_heading = "File")]
    chunk: Vec<usize>,

    /// Compression of the chunks
    #[arg(long, value_parser = choice::<Compression>(Compression::ALL.iter().map(|one| one.name())),
          default_value_t = default().compression, help_heading = "File")]
    compression: Compression,

    /// Write HDF5's latest file format instead of the most compatible one
    #[arg(long, help_heading = "File")]
    latest_format: bool,

    /// Name of the sample
    #[arg(long, value_name = "TEXT", default_value_t = default().sample, help_heading = "File")]
    sample: String,
}

fn default() -> SimulateOptions {
    SimulateOptions::default()
}

/// Reads one of `names` as a `T`.
fn choice<T: FromStr<Err = Error> + Clone + Send + Sync + 'static>(
    names: impl Iterator<Item = &'static str>,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names).try_map(|name: String| name.parse::<T>())
}

impl Args {
    /// The flags as the simulator takes them.
    fn options(&self) -> Result<SimulateOptions, Failure> {
        let base = if self.clean { SimulateOptions::clean() } else { SimulateOptions::default() };
        let chunk = match self.chunk[..] {
            [] => None,
            [frames, rows, columns] => Some([frames, rows, columns]),
            _ => {
                return Err(Failure::usage(
                    "--chunk wants three lengths: frames,rows,columns, such as 1,64,512",
                ));
            }
        };
        Ok(SimulateOptions {
            width: self.width,
            rows: self.rows,
            angles: self.angles,
            range_degrees: self.range,
            start_degrees: self.start,
            endpoint: !self.no_endpoint,
            layout: self.layout,
            phantom: self.phantom,
            object: self.object,
            transmission: self.transmission,
            attenuation: self.attenuation,
            center: self.center,
            half_acquisition: self.half_acquisition,
            pixel_type: self.pixel_type,
            photons: self.noise.unwrap_or(base.photons),
            flat_level: self.flat_level,
            dark_level: self.dark_level,
            dark_structure: self.dark_structure.unwrap_or(base.dark_structure),
            read_noise: self.read_noise.unwrap_or(base.read_noise),
            flat_structure: self.flat_structure.unwrap_or(base.flat_structure),
            flat_drift: self.flat_drift.unwrap_or(base.flat_drift),
            flats: self.flats,
            flat_cycle: self.flat_cycle,
            flats_after: !self.no_flats_after,
            darks: self.darks,
            rings: self.rings.unwrap_or(base.rings),
            zingers: self.zingers.unwrap_or(base.zingers),
            dead_columns: self.dead_columns,
            hot_pixels: self.hot_pixels,
            saturation: self.saturation,
            blank_projections: self.blank.clone(),
            pixel_size_mm: (self.pixel_size_um != 0.0).then_some(self.pixel_size_um / 1000.0),
            energy_kev: self.energy,
            distance_mm: self.distance,
            sample: self.sample.clone(),
            chunk,
            compression: self.compression,
            latest_format: self.latest_format,
            seed: self.seed,
        })
    }
}

/// Simulates, and prints what is known about the scan.
pub(crate) fn run(args: &Args, progress: Mode) -> Result<(), Failure> {
    let truth = simulate(&args.out, &args.options()?, args.overwrite, &Progress::new(progress))?;
    if args.json {
        return output::print_json(&truth);
    }
    let mut table = Table::default();
    table
        .row("scan", args.out.display().to_string())
        .row("size", bytes(std::fs::metadata(&args.out).map_or(truth.bytes, |file| file.len())))
        .row("projections", format!("{} of {} rows × {} columns", args.angles, args.rows, args.width))
        .row("rotation centre", format!("{:.4}", truth.center))
        .row("attenuation", format!("{:.6} per pixel", truth.attenuation))
        .row("seed", args.seed.to_string());
    output::print(&table.text())
}

/// Writes the scan, showing progress.
pub(crate) fn simulate(
    out: &PathBuf,
    options: &SimulateOptions,
    overwrite: bool,
    progress: &Progress,
) -> Result<Simulated, Failure> {
    let failed = |error: Error| {
        let exit = match &error {
            Error::Option { .. } => Exit::Usage,
            Error::Exists { .. } => Exit::BadInput,
            _ => Exit::Failed,
        };
        let failure = Failure::from_error(exit, &error);
        if exit == Exit::BadInput { failure.hint("--overwrite, which replaces the file") } else { failure }
    };
    options.validate().map_err(failed)?;
    let message = format!("simulating {} ({})", out.display(), bytes(options.bytes()));
    let mut report = progress.fraction("simulate", &message);
    let outcome = if overwrite {
        scan::simulate::simulate_over(out, options, &mut report)
    } else {
        scan::simulate::simulate(out, options, &mut report)
    };
    progress.close();
    outcome.map_err(failed)
}
