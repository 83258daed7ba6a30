//! The rays of `exact` mode: where their samples lie, and their weights by the kernel.

use pulp::Simd;

use super::bands::{Place, Rule};
use crate::kernel::Kernel;

/// Binary places of a cell coordinate.
const PLACES: u32 = 32;

fn fixed(x: f64) -> i64 {
    (x * f64::from(2.0f32.powi(PLACES as i32))).round() as i64
}

/// One projection's line through the frequency plane, towards u ≥ 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ray {
    /// The projection runs to negative u: its two half axes are exchanged.
    pub(crate) flip: bool,
    /// Grid cells per sample.
    u: f64,
    v: f64,
    /// The same in fixed point; over a ray's length the rounding adds up to less than a millionth of a cell.
    steps: [i64; 2],
}

impl Ray {
    /// The ray at an angle in radians whose samples lie `step` grid cells apart.
    pub(crate) fn new(angle: f64, step: f64) -> Self {
        let (sin, cos) = angle.sin_cos();
        let flip = cos < 0.0;
        let sign = if flip { -step } else { step };
        let (u, v) = (cos * sign, sin * sign);
        Self { flip, u, v, steps: [fixed(u), fixed(v)] }
    }

    /// Rays in this order touch neighbouring cells.
    pub(crate) fn order(&self) -> f64 {
        self.v.atan2(self.u)
    }
}

/// Rays and kernel.
pub(crate) struct KernelRule<'a> {
    pub(crate) rays: &'a [Ray],
    pub(crate) kernel: &'a Kernel,
}

/// Position of a sample's first cell, and from sample to sample.
pub(crate) struct Walk {
    at: [i64; 2],
    steps: [i64; 2],
}

impl Rule for KernelRule<'_> {
    type Walk = Walk;

    const CORE: bool = true;

    #[inline(always)]
    fn rays(&self) -> usize {
        self.rays.len()
    }

    #[inline(always)]
    fn slope(&self, ray: usize) -> f64 {
        self.rays[ray].u
    }

    #[inline(always)]
    fn width(&self) -> usize {
        self.kernel.width()
    }

    fn reach(&self) -> f64 {
        // A kernel begins at the whole number nearest to position − (width − 1)/2.
        0.5 * self.kernel.width() as f64 - 1.0 + 1e-5
    }

    #[inline(always)]
    fn walk(&self, ray: usize, j: i32) -> Walk {
        let Ray { steps, .. } = self.rays[ray];
        let shift = (2 - self.kernel.width() as i64) << (PLACES - 1);
        Walk { at: steps.map(|step| i64::from(j) * step + shift), steps }
    }

    #[inline(always)]
    fn step<S: Simd>(&self, simd: S, _: usize, walk: &mut Walk, place: &mut Place) {
        let [u, v] = walk.at;
        walk.at = [u + walk.steps[0], v + walk.steps[1]];
        self.kernel.weights(simd, u as u32, &mut place.main);
        place.row = (u >> PLACES) as i32;
        let column = (v >> PLACES) as i32;
        self.kernel.wide_weights(simd, v as u32, (column & 1) as usize, &mut place.side);
        place.column = column & !1;
    }
}
