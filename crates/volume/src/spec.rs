//! What a volume is: shape, voxel size, data type, units, provenance.
//!
//! One [`VolumeSpec`] describes a volume to every writer, so that TIFF tags, Zarr metadata and
//! manifests cannot disagree.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::voxels::Voxels;

/// How a voxel is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DataType {
    /// IEEE 754 single precision, the value itself.
    #[default]
    #[serde(rename = "float32")]
    F32,
    /// Unsigned 16 bit, see [`Scaling`].
    #[serde(rename = "uint16")]
    U16,
    /// Unsigned 8 bit, see [`Scaling`].
    #[serde(rename = "uint8")]
    U8,
}

impl DataType {
    /// Bytes a voxel takes.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::U16 => 2,
            Self::U8 => 1,
        }
    }

    /// The name used in recipes, reports and metadata: `float32`, `uint16`, `uint8`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::U16 => "uint16",
            Self::U8 => "uint8",
        }
    }

    /// The largest stored integer; `None` for floating point.
    pub fn maximum(self) -> Option<f32> {
        match self {
            Self::F32 => None,
            Self::U16 => Some(65535.0),
            Self::U8 => Some(255.0),
        }
    }
}

impl std::fmt::Display for DataType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for DataType {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "float32" => Ok(Self::F32),
            "uint16" => Ok(Self::U16),
            "uint8" => Ok(Self::U8),
            _ => Err(Error::parameter("dtype", s, "use float32, uint16 or uint8")),
        }
    }
}

/// The value range that an integer volume spans.
///
/// A value x is stored as `round((x - min) / (max - min) * MAX)`, clipped to `0..=MAX` (MAX = 255 or
/// 65535); NaN is stored as 0. A stored v stands for `min + v / MAX * (max - min)`. The two numbers are
/// recorded in every TIFF and in the Zarr attributes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// Value stored as 0.
    pub min: f32,
    /// Value stored as 255 or 65535.
    pub max: f32,
}

/// Everything that the writers need to know about a volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// Voxels written along z, y, x.
    pub shape: [usize; 3],
    /// Detector row of the first slice; names the first TIFF and sets the volume's z position.
    pub first_row: usize,
    /// Detector rows from one slice to the next (1: every row).
    pub row_step: usize,
    /// Voxel size in micrometres along z, y, x for a step of one detector row; `None`: not known, the
    /// volume is in pixel units.
    pub voxel_um: Option<[f64; 3]>,
    /// How voxels are stored.
    pub dtype: DataType,
    /// The value range of an integer volume; `None` there: the integers are the values.
    pub scaling: Option<Scaling>,
    /// Unit of the values, "1/cm" or "1/pixel".
    pub unit: String,
    /// Name shown in viewers, usually `rec<stem>`.
    pub name: String,
    /// How the volume came about; stored as given. Must hold no times or hosts.
    pub provenance: Value,
}

impl VolumeSpec {
    /// Checks that the volume can be written. No axis may be empty, voxel sizes are positive and finite,
    /// scaling rises; a slice stays below 4 GiB so that a classic TIFF can hold it.
    pub fn validate(&self) -> Result<()> {
        if self.shape.contains(&0) {
            return Err(Error::parameter("shape", format!("{:?}", self.shape), "no axis may be empty"));
        }
        let slice = self.shape[1].checked_mul(self.shape[2]).and_then(|n| n.checked_mul(self.dtype.bytes()));
        if slice.is_none_or(|n| n > (u32::MAX - (1 << 20)) as usize) || self.slice_len().is_none() {
            return Err(Error::parameter(
                "shape",
                format!("{:?}", self.shape),
                "a slice of 4 GiB or more does not fit in a TIFF file; crop or bin the projections",
            ));
        }
        if self.row_step == 0 {
            return Err(Error::parameter("row_step", 0, "must be 1 or more"));
        }
        let rows = (self.shape[0] - 1).checked_mul(self.row_step).and_then(|n| n.checked_add(self.first_row));
        if rows.is_none() {
            return Err(Error::parameter(
                "first_row",
                self.first_row,
                "row numbers exceed the machine's range",
            ));
        }
        if let Some(um) = self.voxel_um
            && !um.iter().all(|&v| v.is_finite() && v > 0.0)
        {
            return Err(Error::parameter(
                "voxel_um",
                format!("{um:?}"),
                "voxel sizes must be positive; leave them out for pixel units",
            ));
        }
        if let Some(s) = self.scaling {
            if !(s.min.is_finite() && s.max.is_finite() && s.max > s.min && (s.max - s.min).is_finite()) {
                return Err(Error::parameter(
                    "scaling",
                    format!("{}..{}", s.min, s.max),
                    "max must be above min, both finite",
                ));
            }
            if self.dtype == DataType::F32 {
                return Err(Error::parameter(
                    "scaling",
                    format!("{}..{}", s.min, s.max),
                    "float32 is not scaled",
                ));
            }
        }
        Ok(())
    }

    /// Voxels in a slice, `None` if that overflows.
    fn slice_len(&self) -> Option<usize> {
        self.shape[1].checked_mul(self.shape[2]).filter(|n| n.checked_mul(self.shape[0]).is_some())
    }

    /// Voxels in one slice (of a validated spec).
    pub fn slice_voxels(&self) -> usize {
        self.shape[1].saturating_mul(self.shape[2])
    }

    /// Bytes of all voxels as stored, without file headers.
    pub fn bytes(&self) -> u64 {
        self.shape.iter().fold(self.dtype.bytes() as u64, |n, &s| n.saturating_mul(s as u64))
    }

    /// Detector row of slice `z`.
    pub fn row(&self, z: usize) -> usize {
        self.first_row + z * self.row_step
    }

    /// Distance from voxel to voxel along z, y, x, in micrometres or pixels. The row step is in it.
    pub fn scale(&self) -> [f64; 3] {
        let [z, y, x] = self.voxel_um.unwrap_or([1.0; 3]);
        [z * self.row_step as f64, y, x]
    }

    /// Centre of voxel (0, 0, 0) in micrometres or pixels. z counts from detector row 0, so that volumes of
    /// different row ranges of one scan lie where they belong.
    pub fn origin(&self) -> [f64; 3] {
        let z = self.voxel_um.map_or(1.0, |um| um[0]);
        [self.first_row as f64 * z, 0.0, 0.0]
    }

    /// Values as they are stored: the values themselves, or integers by [`Scaling`]; without scaling,
    /// integers are rounded and clipped.
    pub fn store(&self, values: &[f32]) -> Voxels {
        Voxels::from_values(values, self.dtype, self.scaling)
    }

    /// As [`VolumeSpec::store`], into memory of exactly the stored size, whose address suits the stored type.
    pub fn store_into(&self, values: &[f32], stored: &mut [u8]) {
        crate::voxels::store_into(values, self.dtype, self.scaling, stored);
    }

    /// The scaling as metadata, `null` when values are stored as they are.
    pub(crate) fn scaling_json(&self) -> Value {
        match (self.scaling, self.dtype.maximum()) {
            (Some(s), Some(maximum)) => json!({
                "min": s.min, "max": s.max, "stored_max": maximum,
                "formula": "value = min + stored / stored_max * (max - min)",
            }),
            _ => Value::Null,
        }
    }
}
