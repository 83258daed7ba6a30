//! `exact` mode: plan and workspace of the quantitative gridrec.
//!
//! Filtered back-projection f(x, y) = Σ w q(x cos θ + y sin θ), with q the band-limited filtering of a projection and w
//! the angle's share of the half circle, is evaluated as a non-uniform Fourier transform: the spectra of all q are
//! samples on rays through the origin of the frequency plane, spread onto a grid with a Kaiser-Bessel kernel, transformed,
//! and corrected for the kernel. Samples are weighted one by one, so nothing depends on how densely the rays lie.

use pulp::Simd;
use rustfft::num_complex::Complex32;

use super::bands::{Band, Gridding, Layout, Ring};
use super::frame::Frame;
use super::inverse::{Inverse, Source};
use super::lines::{LineBuffers, Lines, quick_length};
use super::order::Order;
use super::rays::{KernelRule, Ray};
use super::{GridrecOptions, Tuning};
use crate::aligned::Aligned;
use crate::angles::angle_weights;
use crate::kernel::Kernel;

/// Grid size up to which an image gets 1.6 grid points per pixel.
const FINE_ENOUGH: f64 = 800.0;

/// Plan of the gridding half.
pub(super) struct Plan {
    columns: usize,
    lines: Lines,
    layout: Layout,
    kernel: Kernel,
    /// In the order in which they are gridded: by slope.
    rays: Vec<Ray>,
    /// Projection index and weight of each ray.
    projections: Vec<(usize, f32)>,
    order: Order,
}

/// Buffers of one thread.
pub(super) struct Buffers {
    lines: LineBuffers,
    /// One ray's samples, then those of all, as [`Order`] has them.
    line: Aligned,
    samples: [Aligned; 2],
    ring: Ring,
}

impl Plan {
    /// Plan and grid size.
    pub(super) fn new(options: &GridrecOptions, frame: &Frame, tuning: Tuning) -> (Self, usize) {
        let lines = Lines::new(options, frame.radius());
        let size = frame.size as f64;
        // At small sizes a finer grid costs nothing that matters, and the corners are corrected by smaller factors.
        let least =
            (tuning.oversampling * size).max((1.6 * size).min(FINE_ENOUGH)).max(size + 16.0).max(64.0);
        let grid = quick_length(least.ceil() as usize);
        let kernel = Kernel::new(tuning.width, size / grid as f64);
        let step = grid as f64 * lines.frequency_step();
        let length = step * (lines.samples() - 1) as f64;
        let mut rays: Vec<(Ray, (usize, f32))> = options
            .angles
            .iter()
            .zip(angle_weights(&options.angles))
            .enumerate()
            .map(|(index, (&angle, weight))| (Ray::new(angle, step), (index, weight as f32)))
            .collect();
        rays.sort_by(|(a, i), (b, j)| a.order().total_cmp(&b.order()).then(i.0.cmp(&j.0)));
        let (rays, projections): (Vec<_>, _) = rays.into_iter().unzip();
        let layout = Layout::new(grid, length, lines.samples());
        let order = layout.order(&KernelRule { rays: &rays, kernel: &kernel }, lines.samples());
        (Self { columns: options.columns, lines, layout, kernel, rays, projections, order }, grid)
    }

    pub(super) fn buffers(&self) -> Buffers {
        Buffers {
            lines: self.lines.buffers(),
            line: Aligned::zeros(4 * self.order.line_len()),
            samples: self.order.buffers(),
            ring: Ring::new(&self.layout),
        }
    }

    pub(super) fn buffer_bytes(&self) -> usize {
        self.lines.buffer_bytes()
            + Aligned::bytes(4 * self.order.line_len())
            + self.order.buffer_bytes()
            + Ring::bytes(&self.layout)
    }

    pub(super) fn shared_bytes(&self) -> usize {
        self.lines.shared_bytes()
            + self.rays.len() * size_of::<(Ray, usize, f32)>()
            + self.order.shared_bytes()
    }

    /// Filters both sinograms into samples on rays.
    #[inline(always)]
    pub(super) fn filter<S: Simd>(&self, simd: S, buffers: &mut Buffers, sinograms: [&[f32]; 2]) {
        let line = buffers.line.cast_mut();
        let [bands, core] = buffers.samples.each_mut().map(Aligned::cast_mut);
        for (at, (ray, (index, weight))) in self.rays.iter().zip(&self.projections).enumerate() {
            let rows = sinograms.map(|s| &s[index * self.columns..(index + 1) * self.columns]);
            self.lines.run(simd, &mut buffers.lines, rows, *weight, ray.flip, line);
            self.order.put([&mut *bands, &mut *core], at, line);
        }
    }
}

/// The frequency plane of filtered sinograms.
pub(super) struct Plane<'a> {
    pub(super) plan: &'a Plan,
    pub(super) buffers: &'a mut Buffers,
}

impl Source for Plane<'_> {
    fn rows(&self) -> usize {
        self.plan.layout.rows()
    }

    #[inline(always)]
    fn band<S: Simd>(
        &mut self,
        simd: S,
        band: usize,
        stride: usize,
        plus: &mut [Complex32],
        minus: &mut [Complex32],
    ) {
        let Plan { layout, kernel, rays, order, .. } = self.plan;
        let Buffers { samples, ring, .. } = &mut *self.buffers;
        let gridding = Gridding {
            layout,
            rule: KernelRule { rays, kernel },
            order,
            samples: samples.each_ref().map(Aligned::cast),
        };
        Band { gridding, ring, band, stride, plus, minus }.run(simd);
    }
}

/// The inverse transform that belongs to a plan.
pub(super) fn inverse(plan: &Plan, grid: usize, frame: Frame, scale: f32) -> Inverse {
    let kernel = plan.kernel.clone();
    Inverse::new(grid, frame, scale, move |x| kernel.correction(x as f64, grid))
}
