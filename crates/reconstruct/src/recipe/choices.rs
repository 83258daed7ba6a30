//! The enumerations and small text forms that parameters take.
//!
//! One list a type: the name written in a recipe, and what it means. Reading, writing, help and error
//! messages come from that list.

use super::value::{Choice, Kind, Setting, Value};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Declares enumerations together with the names that recipes use for them.
macro_rules! choices {
    ($( $(#[doc = $about:literal])+ $type:ident { $( $(#[doc = $help:literal])+ $variant:ident = $name:literal, )+ } )+) => { $(
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $type { $( $(#[doc = $help])+ $variant, )+ }

        impl $type {
            /// Every choice: its name in recipes and what it means.
            pub const CHOICES: &'static [Choice] =
                &[ $( Choice { name: $name, help: concat!($($help),+) }, )+ ];

            /// The name used in recipes.
            pub fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }

            /// The choice of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $( $name => Some(Self::$variant), )+ _ => None }
            }
        }

        impl Setting for $type {
            const KIND: Kind = Kind::Choice(Self::CHOICES);
            fn to_value(&self) -> Value { Value::Text(self.name().to_owned()) }
            fn from_value(value: &Value) -> Option<Self> {
                match value { Value::Text(text) => Self::from_name(text), _ => None }
            }
        }

        text_serde!($type);
    )+ };
}

/// Serialises a [`Setting`] of text as that text.
macro_rules! text_serde {
    ($type:ident) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.to_value().serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::from_value(&Value::Text(text.clone())).ok_or_else(|| {
                    serde::de::Error::custom(format!("'{text}' is not {}", Self::KIND.words()))
                })
            }
        }
    };
}

choices! {
    /// The sense in which theta counts.
    AngleSign {
        /// The object turns as theta says; angles are used as they are.
        Positive = "positive",
        /// Angles are used as -theta: the images of beamline 8.3.2 are not mirrored.
        Negative = "negative",
    }

    /// How far the object turned during the scan.
    ScanRange {
        /// As theta says.
        Auto = "auto",
        /// Half a turn.
        Half = "180",
        /// A full turn.
        Full = "360",
    }

    /// A decision that may be left to the data.
    Decision {
        /// As the data say.
        Auto = "auto",
        /// Yes.
        Yes = "yes",
        /// No.
        No = "no",
    }

    /// How flat fields are applied.
    FlatMethod {
        /// The mean of all flat fields.
        Mean = "mean",
        /// Flat fields taken before, during and after the scan, interpolated by projection.
        Interpolated = "interpolated",
        /// The group of flat fields nearest in time to each projection.
        Nearest = "nearest",
        /// Mean flat field, then each projection row scaled so that the air at both edges is 1.
        Background = "background",
        /// Mean flat field, then each projection scaled so that a given region of air is 1.
        Region = "region",
        /// No correction: the data are transmission already.
        None = "none",
    }

    /// Removal of zingers.
    OutlierMethod {
        /// No removal.
        None = "none",
        /// Median along the angles of a sinogram.
        Lines = "1d",
        /// Median over a square of each projection.
        Planes = "2d",
        /// Median over a cube of neighbouring pixels and angles.
        Volumes = "3d",
    }

    /// Phase retrieval.
    PhaseMethod {
        /// No phase retrieval.
        None = "none",
        /// Single-distance retrieval after Paganin et al. (2002), for a homogeneous object.
        Paganin = "paganin",
    }

    /// Removal of stripes from sinograms (rings in slices).
    StripeMethod {
        /// No removal.
        None = "none",
        /// Combined wavelet and Fourier filter, Munch et al. (2009).
        FourierWavelet = "fourier-wavelet",
        /// Regularised correction, Titarenko et al. (2010).
        Titarenko = "titarenko",
        /// Difference between the mean over angles and its smoothed self.
        Smoothing = "smoothing",
    }

    /// How the rotation centre is found.
    CenterMethod {
        /// Several methods, which must agree.
        Auto = "auto",
        /// Phase correlation of two projections half a turn apart, chosen by theta.
        PhaseCorrelation = "phase-correlation",
        /// Fourier criterion of Vo et al. (2014) on sinograms.
        Vo = "vo",
        /// Least entropy of trial reconstructions.
        Entropy = "entropy",
        /// Overlap of the two halves of a 360° scan.
        Overlap = "overlap",
        /// What the production script of 8.3.2 does: projections 0 and N-2, whatever their theta.
        Production = "production",
        /// The given column (center.value).
        Fixed = "fixed",
    }

    /// Which gridrec.
    GridrecMode {
        /// Quantitative: gain 1 over the whole field, mean value kept.
        Exact = "exact",
        /// TomoPy's gridrec number for number, with the gain that grows towards the rim.
        Tomopy = "tomopy",
    }

    /// Window applied to the ramp.
    FilterName {
        /// No filter: plain back projection. For comparisons only.
        None = "none",
        /// The ramp alone: sharpest and noisiest.
        Ramlak = "ramlak",
        /// Ramp times sinc.
        Shepp = "shepp",
        /// Ramp times cosine.
        Cosine = "cosine",
        /// Ramp times the Hann window.
        Hann = "hann",
        /// Ramp times the Hamming window.
        Hamming = "hamming",
        /// Ramp times the Parzen window: softest.
        Parzen = "parzen",
        /// Ramp over 1 + (f / cutoff)^(2 order).
        Butterworth = "butterworth",
    }

    /// Extension of sinograms at both sides before gridrec.
    PaddingMethod {
        /// None.
        None = "none",
        /// Zeros (air).
        Zero = "zero",
        /// The value at the edge: softens the rim when the object is wider than the field of view.
        Edge = "edge",
    }

    /// Removal of rings from slices.
    RingMethod {
        /// No removal.
        None = "none",
        /// Median filter in polar coordinates around the rotation axis.
        Polar = "polar",
    }

    /// Type of the written voxels.
    OutputType {
        /// Attenuation as 32-bit floating point.
        Float32 = "float32",
        /// 16-bit integers between output.scale_min and output.scale_max.
        Uint16 = "uint16",
        /// 8-bit integers between output.scale_min and output.scale_max.
        Uint8 = "uint8",
    }

    /// Compression of OME-Zarr chunks.
    ZarrCompression {
        /// No compression.
        None = "none",
        /// Blosc with LZ4 and byte shuffle: fast.
        Lz4 = "lz4",
        /// Blosc with Zstandard and byte shuffle: smaller.
        Zstd = "zstd",
    }
}

/// A Daubechies wavelet, written `db<order>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wavelet {
    /// 1 (Haar) to 20; the filter has twice as many taps.
    pub order: usize,
}

impl Setting for Wavelet {
    const KIND: Kind = Kind::Text("db1 to db20");
    fn to_value(&self) -> Value {
        Value::Text(format!("db{}", self.order))
    }
    fn from_value(value: &Value) -> Option<Self> {
        let Value::Text(text) = value else { return None };
        let order = text.strip_prefix("db")?.parse().ok()?;
        (1..=20).contains(&order).then_some(Self { order })
    }
}

text_serde!(Wavelet);

/// A rectangle of detector pixels, written `r0:r1,c0:c1` (rows, then columns; the ends do not belong to it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Region {
    /// First row and the row after the last.
    pub rows: (usize, usize),
    /// First column and the column after the last.
    pub columns: (usize, usize),
}

impl Setting for Region {
    const KIND: Kind = Kind::Text("r0:r1,c0:c1 (rows, columns)");
    fn to_value(&self) -> Value {
        let Self { rows, columns } = self;
        Value::Text(format!("{}:{},{}:{}", rows.0, rows.1, columns.0, columns.1))
    }
    fn from_value(value: &Value) -> Option<Self> {
        let Value::Text(text) = value else { return None };
        let span = |part: &str| -> Option<(usize, usize)> {
            let (first, last) = part.split_once(':')?;
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (first < last).then_some((first, last))
        };
        let (rows, columns) = text.split_once(',')?;
        Some(Self { rows: span(rows)?, columns: span(columns)? })
    }
}

text_serde!(Region);
