//! Conversion of slices to 8- and 16-bit integers. The scaling is a value of its own, to be recorded with the
//! data: without it the integers mean nothing.

use crate::error::{Error, Result, check_len};

/// The range of values that an integer type spans: `min` becomes 0, `max` the largest integer.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Scaling {
    /// Value of integer 0.
    pub min: f32,
    /// Value of the largest integer.
    pub max: f32,
}

impl Default for Scaling {
    /// The production script's range, −10 to 30 per cm.
    fn default() -> Self {
        Self { min: -10.0, max: 30.0 }
    }
}

impl Scaling {
    /// `min` and `max` must be finite and in this order.
    pub fn new(min: f32, max: f32) -> Result<Self> {
        if min.is_finite() && max.is_finite() && min < max && (max - min).is_finite() {
            return Ok(Self { min, max });
        }
        Err(Error::parameter(
            "scaling",
            format!("{min} to {max}"),
            "give a smaller and a larger finite value",
        ))
    }

    /// ⌊0.5 + (x − min) / (max − min) · largest⌋ within 0..largest; NaN becomes 0.
    fn steps(self, x: f32, largest: f32) -> f32 {
        (0.5 + largest * (x - self.min) / (self.max - self.min)).clamp(0.0, largest)
    }

    /// Value of 8-bit integer `v`.
    pub fn from_u8(self, v: u8) -> f32 {
        self.min + (self.max - self.min) * f32::from(v) / 255.0
    }

    /// Value of 16-bit integer `v`.
    pub fn from_u16(self, v: u16) -> f32 {
        self.min + (self.max - self.min) * f32::from(v) / 65535.0
    }
}

/// Converts to 8 bits, rounding half up; values beyond the range are clipped, NaN becomes 0.
pub fn to_u8(values: &[f32], scaling: Scaling, out: &mut [u8]) -> Result<()> {
    check_len("8-bit slice", out.len(), values.len())?;
    out.iter_mut().zip(values).for_each(|(o, x)| *o = scaling.steps(*x, 255.0) as u8);
    Ok(())
}

/// Converts to 16 bits, rounding half up; values beyond the range are clipped, NaN becomes 0.
pub fn to_u16(values: &[f32], scaling: Scaling, out: &mut [u16]) -> Result<()> {
    check_len("16-bit slice", out.len(), values.len())?;
    out.iter_mut().zip(values).for_each(|(o, x)| *o = scaling.steps(*x, 65535.0) as u16);
    Ok(())
}
