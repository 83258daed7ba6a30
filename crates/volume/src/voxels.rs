//! Voxels in their stored type.
//!
//! Writers and the pyramid work on what is stored, not on what was computed: a coarse voxel of an
//! integer volume is the mean of the integers on disk, so that a pyramid built while reconstructing and
//! one built later from disk agree bit for bit.

use std::borrow::Cow;
use std::ops::Range;

use crate::spec::{DataType, Scaling};

// Files hold little-endian voxels and are written straight from memory.
#[cfg(target_endian = "big")]
compile_error!("volumes are written from memory as it is, which must be little-endian");

/// A type that voxels are stored in.
pub(crate) trait Voxel: bytemuck::Pod + Send + Sync + Default + PartialEq + std::fmt::Debug {
    /// The wider type in which children are added up.
    type Sum: Copy;
    /// A child as a summand.
    fn widen(self) -> Self::Sum;
    /// Adds two summands.
    fn add(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    /// The mean from the sum of eight children: exact division for f32, half to even for integers.
    fn eighth(sum: Self::Sum) -> Self;
    /// The voxels, if they are of this type.
    fn of(voxels: VoxelsRef<'_>) -> Option<&[Self]>;
    /// The memory of voxels, if they are of this type.
    fn memory(voxels: &mut Voxels) -> Option<&mut Vec<Self>>;
    /// A view that knows its type.
    fn view(voxels: &[Self]) -> VoxelsRef<'_>;
}

impl Voxel for f32 {
    type Sum = f32;
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    fn add(a: f32, b: f32) -> f32 {
        a + b
    }
    #[inline(always)]
    fn eighth(sum: f32) -> f32 {
        sum * 0.125
    }
    fn of(voxels: VoxelsRef<'_>) -> Option<&[Self]> {
        if let VoxelsRef::F32(v) = voxels { Some(v) } else { None }
    }
    fn memory(voxels: &mut Voxels) -> Option<&mut Vec<Self>> {
        if let Voxels::F32(v) = voxels { Some(v) } else { None }
    }
    fn view(voxels: &[Self]) -> VoxelsRef<'_> {
        VoxelsRef::F32(voxels)
    }
}

/// Rounds sum / 8 half to even.
#[inline(always)]
fn eighth_half_even(sum: u32) -> u32 {
    // Adding 3 plus the quotient's lowest bit carries exactly when the remainder is above 4, or is 4 and
    // the quotient is odd.
    (sum + 3 + ((sum >> 3) & 1)) >> 3
}

impl Voxel for u16 {
    type Sum = u32;
    #[inline(always)]
    fn widen(self) -> u32 {
        u32::from(self)
    }
    #[inline(always)]
    fn add(a: u32, b: u32) -> u32 {
        a + b
    }
    #[inline(always)]
    fn eighth(sum: u32) -> u16 {
        eighth_half_even(sum) as u16
    }
    fn of(voxels: VoxelsRef<'_>) -> Option<&[Self]> {
        if let VoxelsRef::U16(v) = voxels { Some(v) } else { None }
    }
    fn memory(voxels: &mut Voxels) -> Option<&mut Vec<Self>> {
        if let Voxels::U16(v) = voxels { Some(v) } else { None }
    }
    fn view(voxels: &[Self]) -> VoxelsRef<'_> {
        VoxelsRef::U16(voxels)
    }
}

impl Voxel for u8 {
    type Sum = u32;
    #[inline(always)]
    fn widen(self) -> u32 {
        u32::from(self)
    }
    #[inline(always)]
    fn add(a: u32, b: u32) -> u32 {
        a + b
    }
    #[inline(always)]
    fn eighth(sum: u32) -> u8 {
        eighth_half_even(sum) as u8
    }
    fn of(voxels: VoxelsRef<'_>) -> Option<&[Self]> {
        if let VoxelsRef::U8(v) = voxels { Some(v) } else { None }
    }
    fn memory(voxels: &mut Voxels) -> Option<&mut Vec<Self>> {
        if let Voxels::U8(v) = voxels { Some(v) } else { None }
    }
    fn view(voxels: &[Self]) -> VoxelsRef<'_> {
        VoxelsRef::U8(voxels)
    }
}

/// Stored voxels, owned.
#[derive(Debug, Clone, PartialEq)]
pub enum Voxels {
    /// float32.
    F32(Vec<f32>),
    /// uint16.
    U16(Vec<u16>),
    /// uint8.
    U8(Vec<u8>),
}

/// Stored voxels, borrowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum VoxelsRef<'a> {
    /// float32.
    F32(&'a [f32]),
    /// uint16.
    U16(&'a [u16]),
    /// uint8.
    U8(&'a [u8]),
}

/// Runs the same code for each stored type.
macro_rules! with_voxels {
    ($voxels:expr, $kind:ident, $v:ident => $body:expr) => {
        match $voxels {
            $crate::voxels::$kind::F32($v) => $body,
            $crate::voxels::$kind::U16($v) => $body,
            $crate::voxels::$kind::U8($v) => $body,
        }
    };
}
pub(crate) use with_voxels;

impl Voxels {
    /// No voxels of type `dtype`.
    pub fn empty(dtype: DataType) -> Self {
        match dtype {
            DataType::F32 => Self::F32(Vec::new()),
            DataType::U16 => Self::U16(Vec::new()),
            DataType::U8 => Self::U8(Vec::new()),
        }
    }

    /// Converts values to their stored form, see [`Scaling`].
    pub fn from_values(values: &[f32], dtype: DataType, scaling: Option<Scaling>) -> Self {
        let mut voxels = Self::empty(dtype);
        voxels.resize(values.len());
        store_into(
            values,
            dtype,
            scaling,
            with_voxels!(&mut voxels, Voxels, v => bytemuck::cast_slice_mut(v)),
        );
        voxels
    }

    /// A view of the voxels.
    pub fn view(&self) -> VoxelsRef<'_> {
        match self {
            Self::F32(v) => VoxelsRef::F32(v),
            Self::U16(v) => VoxelsRef::U16(v),
            Self::U8(v) => VoxelsRef::U8(v),
        }
    }

    /// Makes it `len` voxels, new ones 0.
    pub(crate) fn resize(&mut self, len: usize) {
        with_voxels!(self, Voxels, v => v.resize(len, Default::default()));
    }

    /// Removes all voxels, keeping the memory.
    pub fn clear(&mut self) {
        with_voxels!(self, Voxels, v => v.clear());
    }

    /// Appends voxels; those of another type are refused with `false`.
    #[must_use]
    pub fn extend(&mut self, other: VoxelsRef<'_>) -> bool {
        match (self, other) {
            (Self::F32(a), VoxelsRef::F32(b)) => a.extend_from_slice(b),
            (Self::U16(a), VoxelsRef::U16(b)) => a.extend_from_slice(b),
            (Self::U8(a), VoxelsRef::U8(b)) => a.extend_from_slice(b),
            _ => return false,
        }
        true
    }
}

/// Runs `$body` with `$name`, the slices as a vector of `&[T]`, where `T` is what `$dtype` stores.
macro_rules! with_slices {
    ($slices:expr, $dtype:expr, $name:ident => $body:expr) => {{
        let all: &[$crate::voxels::VoxelsRef<'_>] = $slices;
        match $dtype {
            $crate::spec::DataType::F32 => {
                let $name = $crate::voxels::typed::<f32>(all);
                $body
            }
            $crate::spec::DataType::U16 => {
                let $name = $crate::voxels::typed::<u16>(all);
                $body
            }
            $crate::spec::DataType::U8 => {
                let $name = $crate::voxels::typed::<u8>(all);
                $body
            }
        }
    }};
}
pub(crate) use with_slices;

/// The slices of one type; others are left out.
pub(crate) fn typed<'a, T: Voxel>(slices: &[VoxelsRef<'a>]) -> Vec<&'a [T]> {
    slices.iter().filter_map(|&s| T::of(s)).collect()
}

impl<'a> VoxelsRef<'a> {
    /// The stored type.
    pub fn dtype(&self) -> DataType {
        match self {
            Self::F32(_) => DataType::F32,
            Self::U16(_) => DataType::U16,
            Self::U8(_) => DataType::U8,
        }
    }

    /// Number of voxels.
    pub fn len(&self) -> usize {
        with_voxels!(self, VoxelsRef, v => v.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The voxels as little-endian bytes, without a copy.
    pub fn bytes(&self) -> &'a [u8] {
        match self {
            Self::F32(v) => bytemuck::cast_slice(v),
            Self::U16(v) => bytemuck::cast_slice(v),
            Self::U8(v) => v,
        }
    }

    /// Cut into pieces of `voxels`, the last one perhaps shorter.
    pub fn slices(&self, voxels: usize) -> Vec<VoxelsRef<'a>> {
        let n = voxels.max(1);
        match self {
            Self::F32(v) => v.chunks(n).map(VoxelsRef::F32).collect(),
            Self::U16(v) => v.chunks(n).map(VoxelsRef::U16).collect(),
            Self::U8(v) => v.chunks(n).map(VoxelsRef::U8).collect(),
        }
    }

    /// Every `step`-th voxel of a range.
    pub(crate) fn pick(&self, range: Range<usize>, step: usize) -> Voxels {
        match self {
            Self::F32(v) => Voxels::F32(v[range].iter().step_by(step).copied().collect()),
            Self::U16(v) => Voxels::U16(v[range].iter().step_by(step).copied().collect()),
            Self::U8(v) => Voxels::U8(v[range].iter().step_by(step).copied().collect()),
        }
    }

    /// The values that the voxels stand for: integers by `scaling`, else as they are.
    pub fn values(&self, scaling: Option<Scaling>) -> Cow<'a, [f32]> {
        match *self {
            Self::F32(v) => Cow::Borrowed(v),
            Self::U16(v) => Cow::Owned(v.iter().map(|&v| restore(f32::from(v), scaling, 65535.0)).collect()),
            Self::U8(v) => Cow::Owned(v.iter().map(|&v| restore(f32::from(v), scaling, 255.0)).collect()),
        }
    }
}

/// Converts values to their stored form, see [`Scaling`].
pub(crate) fn store_into(values: &[f32], dtype: DataType, scaling: Option<Scaling>, stored: &mut [u8]) {
    let arch = pulp::Arch::new();
    match dtype {
        DataType::F32 => stored.copy_from_slice(bytemuck::cast_slice(values)),
        DataType::U16 => {
            let stored: &mut [u16] = bytemuck::cast_slice_mut(stored);
            arch.dispatch(Quantise { values, scaling, maximum: 65535.0, stored, cast: |v| v as u16 });
        }
        DataType::U8 => {
            arch.dispatch(Quantise { values, scaling, maximum: 255.0, stored, cast: |v| v as u8 });
        }
    }
}

/// Values to integers, on the instructions that this machine has.
struct Quantise<'a, T, F> {
    values: &'a [f32],
    scaling: Option<Scaling>,
    maximum: f32,
    stored: &'a mut [T],
    cast: F,
}

impl<T, F: Fn(i32) -> T> pulp::NullaryFnOnce for Quantise<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { values, scaling, maximum, stored, cast } = self;
        for (to, &value) in stored.iter_mut().zip(values) {
            let value = match scaling {
                Some(s) => (value - s.min) / (s.max - s.min) * maximum,
                None => value,
            };
            *to = cast(nearest(value, maximum));
        }
    }
}

/// The nearest integer from 0 to `maximum`, halves up; 0 for NaN. `f32::round` is a call of a function for each value.
#[inline(always)]
fn nearest(value: f32, maximum: f32) -> i32 {
    let value = if value > 0.0 { value } else { 0.0 };
    let value = if value < maximum { value } else { maximum };
    let below = value as i32;
    below + i32::from(value - below as f32 >= 0.5)
}

/// Integer to value.
#[inline(always)]
fn restore(stored: f32, scaling: Option<Scaling>, maximum: f32) -> f32 {
    match scaling {
        Some(s) => s.min + stored / maximum * (s.max - s.min),
        None => stored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eighths_round_half_to_even() {
        for sum in 0..(255 * 8 + 1) {
            let exact = f64::from(sum) / 8.0;
            assert_eq!(f64::from(u8::eighth(sum)), exact.round_ties_even(), "{sum}");
        }
        for sum in [65535 * 8, 65535 * 8 - 4, 65534 * 8 + 4, 12, 20] {
            assert_eq!(f64::from(u16::eighth(sum)), (f64::from(sum) / 8.0).round_ties_even(), "{sum}");
        }
    }

    #[test]
    fn the_nearest_integer_is_that_of_the_library() {
        let bits = (0..=u32::MAX).step_by(9973).map(f32::from_bits);
        let halves = (0..=131_072).flat_map(|i| {
            let half = i as f32 / 2.0;
            [half, half.next_up(), half.next_down(), -half]
        });
        for value in bits.chain(halves).chain([f32::NAN, f32::INFINITY, f32::NEG_INFINITY]) {
            for maximum in [255.0, 65535.0f32] {
                assert_eq!(nearest(value, maximum), value.round().clamp(0.0, maximum) as i32, "{value}");
            }
        }
    }

    #[test]
    fn integers_are_scaled_rounded_and_clipped() {
        let s = Some(Scaling { min: -1.0, max: 3.0 });
        let v = Voxels::from_values(&[-2.0, -1.0, 1.0, 3.0, 9.0, f32::NAN, f32::INFINITY], DataType::U8, s);
        assert_eq!(v, Voxels::U8(vec![0, 0, 128, 255, 255, 0, 255]));
        let back = v.view().values(s);
        // One step is 4 / 255; half of it is the largest rounding error inside the range.
        assert!((back[2] - 1.0).abs() <= 2.0 / 255.0 + 1e-6);
        assert_eq!(
            Voxels::from_values(&[300.4, 70000.0], DataType::U16, None),
            Voxels::U16(vec![300, 65535])
        );
    }
}
