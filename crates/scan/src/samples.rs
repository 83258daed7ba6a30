//! A reusable buffer of detector samples in one of three types.

use crate::DataType;

/// Raw samples, row-major. Reads resize it and change its variant as needed, so one buffer serves a
/// whole job without new allocations.
#[derive(Debug, Clone, PartialEq)]
pub enum Samples {
    /// Unsigned 8 bit.
    U8(Vec<u8>),
    /// Unsigned 16 bit.
    U16(Vec<u16>),
    /// Single precision.
    F32(Vec<f32>),
}

/// Makes room for `len` values, what was there before being of no interest. Fresh zeros come from the system untouched,
/// so whoever fills them is the first to touch them.
fn resize<T: Clone + Default>(values: &mut Vec<T>, len: usize) {
    if values.capacity() < len {
        *values = vec![T::default(); len];
    }
    values.resize(len, T::default());
}

impl Samples {
    /// An empty buffer of that type.
    pub fn empty(dtype: DataType) -> Self {
        match dtype {
            DataType::U8 => Self::U8(Vec::new()),
            DataType::U16 => Self::U16(Vec::new()),
            DataType::F32 => Self::F32(Vec::new()),
        }
    }

    /// Type of the samples.
    pub fn dtype(&self) -> DataType {
        match self {
            Self::U8(_) => DataType::U8,
            Self::U16(_) => DataType::U16,
            Self::F32(_) => DataType::F32,
        }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::U16(v) => v.len(),
            Self::F32(v) => v.len(),
        }
    }

    /// True without samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One sample as a float; `None` outside the buffer.
    pub fn get(&self, index: usize) -> Option<f32> {
        match self {
            Self::U8(v) => v.get(index).map(|&x| f32::from(x)),
            Self::U16(v) => v.get(index).map(|&x| f32::from(x)),
            Self::F32(v) => v.get(index).copied(),
        }
    }

    /// All samples as floats.
    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            Self::U8(v) => v.iter().map(|&x| f32::from(x)).collect(),
            Self::U16(v) => v.iter().map(|&x| f32::from(x)).collect(),
            Self::F32(v) => v.clone(),
        }
    }

    /// Makes this a buffer of `len` samples of `dtype`, keeping the allocation where the type stays.
    /// Contents are unspecified (old samples or zeros).
    pub fn reshape(&mut self, dtype: DataType, len: usize) {
        if self.dtype() != dtype {
            *self = Self::empty(dtype);
        }
        match self {
            Self::U8(v) => resize(v, len),
            Self::U16(v) => resize(v, len),
            Self::F32(v) => resize(v, len),
        }
    }

    /// The samples as bytes in the machine's order.
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::U8(v) => v,
            Self::U16(v) => bytemuck::cast_slice_mut(v),
            Self::F32(v) => bytemuck::cast_slice_mut(v),
        }
    }

    /// The samples as bytes in the machine's order.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::U8(v) => v,
            Self::U16(v) => bytemuck::cast_slice(v),
            Self::F32(v) => bytemuck::cast_slice(v),
        }
    }
}
