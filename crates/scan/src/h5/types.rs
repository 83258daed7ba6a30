//! Datatypes and dataspaces, as far as scans use them.
//!
//! Format: HDF5 File Format Specification 3.0, sections IV.A.2.b and IV.A.2.d.

use super::bytes::{Cursor, H5Result, bad};
use super::file::File;

/// Type of one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    /// Unsigned integer.
    Uint { bytes: u8, big: bool },
    /// Two's complement integer.
    Int { bytes: u8, big: bool },
    /// IEEE half, single or double precision.
    Float { bytes: u8, big: bool },
    /// Text of fixed length.
    Text { bytes: u32 },
    /// Text of variable length (a reference into a global heap).
    VarText { bytes: u32 },
    /// Anything else.
    Other { bytes: u32 },
}

impl Type {
    /// Bytes of one element in the file.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Uint { bytes, .. } | Self::Int { bytes, .. } | Self::Float { bytes, .. } => {
                usize::from(bytes)
            }
            Self::Text { bytes } | Self::VarText { bytes } | Self::Other { bytes } => bytes as usize,
        }
    }

    /// True for the types that convert to numbers.
    pub(crate) fn is_number(self) -> bool {
        matches!(self, Self::Uint { .. } | Self::Int { .. } | Self::Float { .. })
    }

    /// One element as a double. `bytes` has the element's size.
    pub(crate) fn number(self, bytes: &[u8]) -> f64 {
        let raw = |big: bool| {
            let push = |acc: u64, b: &u8| acc << 8 | u64::from(*b);
            if big { bytes.iter().fold(0, push) } else { bytes.iter().rev().fold(0, push) }
        };
        match self {
            Self::Uint { big, .. } => raw(big) as f64,
            Self::Int { bytes: n, big } => {
                let shift = 64 - 8 * u32::from(n.clamp(1, 8));
                ((raw(big) << shift) as i64 >> shift) as f64
            }
            Self::Float { bytes: 8, big } => f64::from_bits(raw(big)),
            Self::Float { bytes: 4, big } => f64::from(f32::from_bits(raw(big) as u32)),
            Self::Float { bytes: 2, big } => half(raw(big) as u16),
            _ => f64::NAN,
        }
    }

    /// Decodes the message; `None` of the sizes is trusted further than the message itself.
    pub(crate) fn parse(data: &[u8]) -> H5Result<Self> {
        Self::parse_at(&mut Cursor::new(data, "datatype"), 0)
    }

    fn parse_at(c: &mut Cursor<'_>, depth: u8) -> H5Result<Self> {
        let head = c.u8()?;
        let bits = c.uint(3)?;
        let bytes = c.u32()?;
        if bytes == 0 {
            return bad("a datatype of size 0");
        }
        let big = bits & 1 != 0;
        let small = u8::try_from(bytes).ok().filter(|&b| b <= 8);
        Ok(match (head & 0x0f, small) {
            (0, Some(b)) => {
                let (offset, precision) = (c.u16()?, c.u16()?);
                // Numbers that use some bits only are kept where the padding above them is zero.
                if offset != 0 || u32::from(precision) > bytes * 8 || bits & 6 != 0 {
                    Self::Other { bytes }
                } else if bits & 8 != 0 {
                    if u32::from(precision) == bytes * 8 {
                        Self::Int { bytes: b, big }
                    } else {
                        Self::Other { bytes }
                    }
                } else {
                    Self::Uint { bytes: b, big }
                }
            }
            (1, Some(b @ (2 | 4 | 8))) => {
                c.skip(4)?;
                let (exponent_at, exponent_bits) = (c.u8()?, c.u8()?);
                let (mantissa_at, mantissa_bits) = (c.u8()?, c.u8()?);
                let ieee = match b {
                    2 => (10, 5, 0, 10),
                    4 => (23, 8, 0, 23),
                    _ => (52, 11, 0, 52),
                };
                if (exponent_at, exponent_bits, mantissa_at, mantissa_bits) != ieee || bits & 0x40 != 0 {
                    Self::Other { bytes }
                } else {
                    Self::Float { bytes: b, big }
                }
            }
            (3, _) => Self::Text { bytes },
            (4, Some(b)) => Self::Uint { bytes: b, big },
            // Enumerations (h5py's booleans) read as their integers.
            (8, _) if depth == 0 => Self::parse_at(c, 1)?,
            (9, _) if bits & 0x0f == 1 => Self::VarText { bytes },
            _ => Self::Other { bytes },
        })
    }
}

impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let order = |big: bool| if big { " big-endian" } else { "" };
        match self {
            Self::Uint { bytes, big } => write!(f, "uint{}{}", u32::from(*bytes) * 8, order(*big)),
            Self::Int { bytes, big } => write!(f, "int{}{}", u32::from(*bytes) * 8, order(*big)),
            Self::Float { bytes, big } => write!(f, "float{}{}", u32::from(*bytes) * 8, order(*big)),
            Self::Text { .. } | Self::VarText { .. } => f.write_str("text"),
            Self::Other { bytes } => write!(f, "a type of {bytes} bytes that holds no plain numbers"),
        }
    }
}

fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 != 0 { -1.0 } else { 1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let mantissa = f64::from(bits & 0x3ff);
    sign * match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        e => (1.0 + mantissa / 1024.0) * 2f64.powi(e - 15),
    }
}

/// Extent of a dataset or attribute.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Space {
    /// Current size of each axis; empty for a scalar.
    pub(crate) dims: Vec<u64>,
    /// Largest size of each axis; `u64::MAX` for unlimited.
    pub(crate) max: Vec<u64>,
    /// True for a space without any element.
    pub(crate) null: bool,
}

impl Space {
    pub(crate) fn parse(file: &File, data: &[u8]) -> H5Result<Self> {
        let mut c = Cursor::new(data, "dataspace");
        let version = c.u8()?;
        let rank = usize::from(c.u8()?);
        let flags = c.u8()?;
        let mut null = false;
        match version {
            1 => c.skip(5)?,
            2 => null = c.u8()? == 2,
            v => return bad(format!("a dataspace of version {v}")),
        }
        if rank > 32 {
            return bad(format!("a dataspace of {rank} axes"));
        }
        let unlimited = u64::MAX >> (64 - 8 * file.length_size);
        let dims: Vec<u64> = (0..rank).map(|_| file.length(&mut c)).collect::<H5Result<_>>()?;
        let max = if flags & 1 != 0 {
            let raw = (0..rank).map(|_| file.length(&mut c)).collect::<H5Result<Vec<u64>>>()?;
            raw.into_iter().map(|m| if m == unlimited { u64::MAX } else { m }).collect()
        } else {
            dims.clone()
        };
        if dims.iter().zip(&max).any(|(d, m)| d > m) {
            return bad("a dataspace larger than its own limit");
        }
        Ok(Self { dims, max, null })
    }

    /// Number of elements; an error where it does not fit 64 bits.
    pub(crate) fn elements(&self) -> H5Result<u64> {
        if self.null {
            return Ok(0);
        }
        match self.dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d)) {
            Some(n) => Ok(n),
            None => bad("a dataspace of impossible size"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_kind() {
        assert_eq!(Type::Uint { bytes: 2, big: true }.number(&[1, 2]), 258.0);
        assert_eq!(Type::Int { bytes: 2, big: false }.number(&[0xfe, 0xff]), -2.0);
        assert_eq!(Type::Int { bytes: 8, big: false }.number(&(-5i64).to_le_bytes()), -5.0);
        assert_eq!(Type::Float { bytes: 8, big: true }.number(&1.25f64.to_be_bytes()), 1.25);
        // IEEE half: 0x3555 is the nearest to 1/3, 0x0001 the smallest, 0xfc00 minus infinity.
        assert_eq!(half(0x3555), 0.333_251_953_125);
        assert_eq!(half(1), 2f64.powi(-24));
        assert_eq!(half(0xfc00), f64::NEG_INFINITY);
    }
}
