//! What to simulate.

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};

/// Implements `FromStr`, `Display` and `ALL` for an enum with one name per variant, as serde names them.
macro_rules! named {
    ($type:ident { $($variant:ident = $name:literal),+ $(,)? }) => {
        impl $type {
            /// Every choice, in the order of documentation.
            pub const ALL: &'static [$type] = &[$($type::$variant),+];

            /// The name used on the command line and in JSON.
            pub fn name(self) -> &'static str {
                match self { $($type::$variant => $name),+ }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = Error;

            fn from_str(name: &str) -> Result<Self> {
                Self::ALL.iter().copied().find(|choice| choice.name() == name).ok_or_else(|| {
                    let names: Vec<_> = Self::ALL.iter().map(|choice| choice.name()).collect();
                    Error::option(stringify!($type), name, format!("choose one of {}", names.join(", ")))
                })
            }
        }
    };
}

/// The object in the beam.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PhantomKind {
    /// A cylinder full of voids and grains that do not overlap.
    #[default]
    Foam,
    /// Shepp and Logan's head in three dimensions, with contrast raised so that the eye sees it.
    SheppLogan,
    /// The same with its original contrast of 1 to 2 %.
    SheppLoganOriginal,
    /// Unit discs at increasing distance from the axis; attenuation 1 per pixel unless told otherwise.
    Discs,
    /// One cylinder around the axis.
    Cylinder,
}
named!(PhantomKind {
    Foam = "foam",
    SheppLogan = "shepp-logan",
    SheppLoganOriginal = "shepp-logan-original",
    Discs = "discs",
    Cylinder = "cylinder",
});

/// How the file is organised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// 8.3.2 since 2021: stacks in `/exchange`, metadata as arrays of length 1.
    #[default]
    Dxfile,
    /// 8.3.2 from 2018 to 2021: every frame a dataset, metadata as attributes.
    Als,
}
named!(Layout { Dxfile = "dxfile", Als = "als" });

/// Type of the stored counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PixelType {
    /// 8-bit unsigned.
    U8,
    /// 16-bit unsigned, as cameras deliver it.
    #[default]
    U16,
    /// Single precision, not rounded to whole counts.
    F32,
}
named!(PixelType { U8 = "u8", U16 = "u16", F32 = "f32" });

impl PixelType {
    /// Bytes of one pixel.
    pub fn bytes(self) -> u64 {
        match self {
            PixelType::U8 => 1,
            PixelType::U16 => 2,
            PixelType::F32 => 4,
        }
    }
}

/// How chunks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// Gzip, level 4, bytes shuffled.
    Gzip,
    /// LZF, bytes shuffled.
    Lzf,
    /// Blosc with LZ4, bytes shuffled.
    BloscLz4,
    /// Blosc with Zstandard, bits shuffled.
    BloscZstd,
}
named!(Compression {
    None = "none",
    Gzip = "gzip",
    Lzf = "lzf",
    BloscLz4 = "blosc-lz4",
    BloscZstd = "blosc-zstd",
});

/// All options of a simulated scan; `Default` is a small but realistic one of foam.
///
/// Serialised, they are the record of the scan: the same options give the same bytes of image data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulateOptions {
    /// Detector columns.
    pub width: usize,
    /// Detector rows.
    pub rows: usize,
    /// Projections.
    pub angles: usize,
    /// Degrees from the first projection to the last (or to where the next one would be, see `endpoint`).
    pub range_degrees: f64,
    /// Angle of the first projection, degrees.
    pub start_degrees: f64,
    /// Whether the last projection is at the end of the range (8.3.2 does so) or one step before.
    pub endpoint: bool,
    /// How the file is organised.
    pub layout: Layout,
    /// The object.
    pub phantom: PhantomKind,
    /// Diameter of the object relative to twice the distance from the axis to the nearer edge of the detector
    /// (half acquisition: the farther edge). Above 1 the object is wider than the field of view.
    pub object: f64,
    /// Mean transmission over the object's shadow in the middle row, at the mean attenuation; fixes the
    /// attenuation scale. Ignored when `attenuation` is given.
    pub transmission: f64,
    /// Attenuation per pixel of the phantom's unit (foam matrix, unit disc, ...); `None`: from
    /// `transmission`, and 1 for discs.
    pub attenuation: Option<f64>,
    /// Rotation axis, 0-based detector column, any fraction; `None`: drawn from the seed within 1 % of
    /// the width around the middle (half acquisition: around 88 % of the width).
    pub center: Option<f64>,
    /// 360° scan with the axis near one edge of the detector and an object wider than the detector.
    pub half_acquisition: bool,
    /// Pixel type in the file.
    pub pixel_type: PixelType,
    /// Mean photons per pixel and frame in the open beam; 0: no photon noise.
    pub photons: f64,
    /// Mean counts of the open beam above the dark level; `None`: 200 for 8-bit pixels, else 30,000.
    pub flat_level: Option<f64>,
    /// Mean dark counts; `None`: 6 for 8-bit pixels, else 200.
    pub dark_level: Option<f64>,
    /// Standard deviation of the dark level's fixed pattern, relative to it.
    pub dark_structure: f64,
    /// Read noise in counts (standard deviation).
    pub read_noise: f64,
    /// Depth of the flat field's structure (beam profile, scintillator spots, pixel gains), 0 to 1.
    pub flat_structure: f64,
    /// Relative change of the flat field from the first projection to the last (half of it depends on the
    /// position). The beam changes linearly, so flats interpolated in time correct it.
    pub flat_drift: f64,
    /// Frames in each group of flats.
    pub flats: usize,
    /// Projections between groups of flats; 0: one group before the scan and one after it.
    pub flat_cycle: usize,
    /// Whether, with `flat_cycle` 0, flats are taken after the scan too.
    pub flats_after: bool,
    /// Dark frames, taken after the scan.
    pub darks: usize,
    /// Standard deviation of the columns' gain errors that the flats do not show: rings.
    pub rings: f64,
    /// Probability that a pixel of a projection or flat is hit by a zinger.
    pub zingers: f64,
    /// Columns that always read 0.
    pub dead_columns: usize,
    /// Pixels that always read the saturation level.
    pub hot_pixels: usize,
    /// Counts at which a pixel saturates; `None`: the largest value of the pixel type (65,535 for f32).
    pub saturation: Option<f64>,
    /// Projections (by index) that came out blank: all zero.
    pub blank_projections: Vec<usize>,
    /// Pixel size in mm; `None`: left out of the file.
    pub pixel_size_mm: Option<f64>,
    /// Photon energy in keV.
    pub energy_kev: f64,
    /// Distance from sample to camera in mm.
    pub distance_mm: f64,
    /// Name of the sample.
    pub sample: String,
    /// Chunk shape (frames, rows, columns) of the image stacks; `None`: contiguous, unless compressed (then
    /// one frame a chunk). In the `als` layout the frames of a chunk count as 1.
    pub chunk: Option<[usize; 3]>,
    /// Compression of the chunks.
    pub compression: Compression,
    /// Whether the file uses HDF5's latest format (superblock 3) instead of the most compatible one.
    pub latest_format: bool,
    /// Seed of everything random.
    pub seed: u64,
}

impl Default for SimulateOptions {
    fn default() -> Self {
        Self {
            width: 640,
            rows: 64,
            angles: 721,
            range_degrees: 180.0,
            start_degrees: 0.0,
            endpoint: true,
            layout: Layout::Dxfile,
            phantom: PhantomKind::Foam,
            object: 0.9,
            transmission: 0.3,
            attenuation: None,
            center: None,
            half_acquisition: false,
            pixel_type: PixelType::U16,
            photons: 20_000.0,
            flat_level: None,
            dark_level: None,
            dark_structure: 0.02,
            read_noise: 2.0,
            flat_structure: 0.25,
            flat_drift: 0.02,
            flats: 10,
            flat_cycle: 0,
            flats_after: true,
            darks: 10,
            rings: 0.004,
            zingers: 2e-6,
            dead_columns: 0,
            hot_pixels: 0,
            saturation: None,
            blank_projections: Vec::new(),
            pixel_size_mm: Some(0.00065),
            energy_kev: 20.0,
            distance_mm: 50.0,
            sample: "simulated".into(),
            chunk: None,
            compression: Compression::None,
            latest_format: false,
            seed: 0,
        }
    }
}

impl SimulateOptions {
    /// A scan without any fault of detector or beam: what is left of the truth is rounding to the pixel type.
    pub fn clean() -> Self {
        Self {
            photons: 0.0,
            dark_structure: 0.0,
            read_noise: 0.0,
            flat_structure: 0.0,
            flat_drift: 0.0,
            rings: 0.0,
            zingers: 0.0,
            ..Self::default()
        }
    }

    /// Checks every option and the combinations.
    ///
    /// # Errors
    /// [`Error::Option`] for the first one that is out of range.
    pub fn validate(&self) -> Result<()> {
        let count = |name, value: usize, least: usize, most: usize| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(Error::option(name, value, format!("must be {least} to {most}")))
            }
        };
        count("width", self.width, 1, 65_536)?;
        count("rows", self.rows, 1, 65_536)?;
        count("angles", self.angles, 1, 1_000_000)?;
        count("flats", self.flats, 0, 10_000)?;
        count("darks", self.darks, 0, 10_000)?;
        count("dead_columns", self.dead_columns, 0, self.width)?;
        count("hot_pixels", self.hot_pixels, 0, self.width * self.rows)?;

        let number = |name, value: f64, least: f64, most: f64| {
            if value >= least && value <= most {
                Ok(())
            } else {
                Err(Error::option(name, value, format!("must be a number from {least} to {most}")))
            }
        };
        number("range_degrees", self.range_degrees, 1e-6, 3_600_000.0)?;
        number("start_degrees", self.start_degrees, -3600.0, 3600.0)?;
        number("object", self.object, 1e-3, 100.0)?;
        number("transmission", self.transmission, 1e-3, 0.999_999)?;
        number("attenuation", self.attenuation.unwrap_or(0.0), -1e6, 1e6)?;
        number("photons", self.photons, 0.0, 1e12)?;
        number("flat_level", self.flat_level(), 1e-6, 1e9)?;
        number("dark_level", self.dark_level(), 0.0, 1e9)?;
        number("dark_structure", self.dark_structure, 0.0, 1.0)?;
        number("read_noise", self.read_noise, 0.0, 1e6)?;
        number("flat_structure", self.flat_structure, 0.0, 1.0)?;
        number("flat_drift", self.flat_drift, -0.9, 9.0)?;
        number("rings", self.rings, 0.0, 0.5)?;
        number("zingers", self.zingers, 0.0, 0.1)?;
        number("saturation", self.saturation(), 1.0, 1e9)?;
        number("pixel_size_mm", self.pixel_size_mm.unwrap_or(0.0), 0.0, 1e3)?;
        number("energy_kev", self.energy_kev, 0.0, 1e6)?;
        number("distance_mm", self.distance_mm, 0.0, 1e6)?;
        let edge = self.width as f64 - 0.5;
        number("center", self.center.unwrap_or(0.0), -0.5, edge)?;

        if self.half_acquisition && self.range_degrees < 300.0 {
            let reason = "half acquisition needs a 360 degree scan; set range_degrees to 360";
            return Err(Error::option("range_degrees", self.range_degrees, reason));
        }
        if self.chunk.is_some_and(|chunk| chunk.contains(&0)) {
            return Err(Error::option(
                "chunk",
                format!("{:?}", self.chunk),
                "every length must be at least 1",
            ));
        }
        if let Some(&index) = self.blank_projections.iter().find(|&&index| index >= self.angles) {
            return Err(Error::option(
                "blank_projections",
                index,
                format!("there are {} projections", self.angles),
            ));
        }
        if !self.sample.is_ascii() || self.sample.len() > 255 {
            return Err(Error::option("sample", &self.sample, "must be at most 255 ASCII characters"));
        }
        Ok(())
    }

    /// The rotation axis: the one given, or the one that follows from the seed.
    pub fn center(&self) -> f64 {
        self.center.unwrap_or_else(|| {
            let mut random = super::random::stream(self.seed, super::random::Purpose::Center, 0, 0);
            let width = self.width as f64;
            let middle = if self.half_acquisition { 0.88 * width } else { (width - 1.0) / 2.0 };
            middle + random.between(-0.01, 0.01) * width
        })
    }

    /// Radius of the object in pixels.
    pub fn object_radius(&self) -> f64 {
        let (left, right) = (self.center() + 0.5, self.width as f64 - 0.5 - self.center());
        let field = if self.half_acquisition { left.max(right) } else { left.min(right) };
        // An axis on the very edge leaves no field; the object is then a pixel wide.
        self.object * field.max(0.5)
    }

    /// Angles of the projections in degrees.
    pub fn theta_degrees(&self) -> Vec<f64> {
        (0..self.angles).map(|i| self.start_degrees + i as f64 * self.step_degrees()).collect()
    }

    /// Degrees from one projection to the next.
    pub fn step_degrees(&self) -> f64 {
        let steps = if self.endpoint { self.angles.saturating_sub(1).max(1) } else { self.angles.max(1) };
        self.range_degrees / steps as f64
    }

    /// Projection indices at which groups of flats are taken, as the 8.3.2 control system does it: every
    /// `flat_cycle` projections and at the last one; or before and after the scan.
    pub fn flat_positions(&self) -> Vec<usize> {
        if self.flats == 0 {
            return Vec::new();
        }
        let last = self.angles - 1;
        let mut positions: Vec<usize> = match self.flat_cycle {
            0 => vec![0],
            cycle => (0..self.angles).step_by(cycle).collect(),
        };
        if (self.flats_after || self.flat_cycle > 0) && !positions.contains(&last) {
            positions.push(last);
        }
        positions
    }

    /// Open beam counts above the dark level.
    pub fn flat_level(&self) -> f64 {
        self.flat_level.unwrap_or(if self.pixel_type == PixelType::U8 { 200.0 } else { 30_000.0 })
    }

    /// Dark counts.
    pub fn dark_level(&self) -> f64 {
        self.dark_level.unwrap_or(if self.pixel_type == PixelType::U8 { 6.0 } else { 200.0 })
    }

    /// Counts at which pixels saturate.
    pub fn saturation(&self) -> f64 {
        self.saturation.unwrap_or(if self.pixel_type == PixelType::U8 { 255.0 } else { 65_535.0 })
    }

    /// All frames of the file: darks, flats and projections.
    pub fn frames(&self) -> usize {
        self.darks + self.flats * self.flat_positions().len() + self.angles
    }

    /// Bytes of all frames before compression.
    pub fn bytes(&self) -> u64 {
        self.frames() as u64 * self.rows as u64 * self.width as u64 * self.pixel_type.bytes()
    }
}
