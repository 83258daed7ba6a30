//! `exact` mode: plan and workspace of the quantitative gridrec.
//!
//! Filtered back-projection f(x, y) = Σ w q(x cos θ + y sin θ), with q the band-limited filtering of a projection and w
//! the angle's share of the half circle, is evaluated as a non-uniform Fourier transform: the spectra of all q are
//! samples on rays through the origin of the frequency plane, spread onto a grid with a Kaiser-Bessel kernel, transformed,
//! and corrected for the kernel. Samples are weighted one by one, so nothing depends on how densely the rays lie.

use super::frame::Frame;
use super::lines::{LineBuffers, Lines, Sample};
use super::octants::{self, BAND, Layout, Pair, Ray, TILE, Weights};
use super::{GridrecOptions, inverse};
use crate::angles::angle_weights;
use crate::fft::good_length;
use crate::kernel::Kernel;

/// Rays whose samples are held at a time.
const RAYS: usize = 16;
/// Grid points per image pixel; with the six-cell kernel this leaves about 1e-4 of aliasing.
const OVERSAMPLING: f64 = 1.2;

/// Plan of the gridding half.
pub(super) struct Plan {
    columns: usize,
    lines: Lines,
    layout: Layout,
    pub(super) kernel: Kernel,
    /// Ray, projection index and weight, in the order in which they are gridded: by octant and slope.
    rays: Vec<(Ray, usize, f32)>,
}

/// Buffers of one thread.
pub(super) struct Buffers {
    lines: LineBuffers,
    samples: Vec<Sample>,
    weights: Weights,
    octants: [Vec<Pair>; 4],
}

impl Plan {
    /// Plan and grid size.
    pub(super) fn new(options: &GridrecOptions, frame: &Frame) -> (Self, usize) {
        let lines = Lines::new(options, frame.radius());
        let size = frame.size as f64;
        // At least three quarters of the line's length, so that rays advance half a row per sample.
        let least = (OVERSAMPLING * size).max(size + 16.0).max(0.75 / lines.frequency_step()).max(64.0);
        let grid = good_length(least.ceil() as usize, TILE);
        let kernel = Kernel::new(size / grid as f64);
        let step = grid as f64 * lines.frequency_step();
        let length = step * (lines.samples() - 1) as f64;
        let weights = angle_weights(&options.angles);
        let mut rays: Vec<(Ray, usize, f32)> = options
            .angles
            .iter()
            .zip(weights)
            .enumerate()
            .map(|(index, (&angle, weight))| (Ray::new(angle, step), index, weight as f32))
            .collect();
        rays.sort_by(|(a, i, _), (b, j, _)| {
            a.octant.cmp(&b.octant).then(a.slope().total_cmp(&b.slope())).then(i.cmp(j))
        });
        (Self { columns: options.columns, lines, layout: Layout::new(grid, length), kernel, rays }, grid)
    }

    pub(super) fn buffers(&self) -> Buffers {
        let octant = || vec![Pair::default(); self.layout.pairs()];
        Buffers {
            lines: self.lines.buffers(),
            samples: vec![[0.0; 4]; RAYS * self.lines.samples()],
            weights: Weights::new(),
            octants: [octant(), octant(), octant(), octant()],
        }
    }

    pub(super) fn buffer_bytes(&self) -> usize {
        self.lines.buffer_bytes()
            + RAYS * self.lines.samples() * size_of::<Sample>()
            + 4 * self.layout.pairs() * size_of::<Pair>()
            + Weights::bytes()
    }

    pub(super) fn shared_bytes(&self) -> usize {
        self.lines.shared_bytes() + self.rays.len() * size_of::<(Ray, usize, f32)>()
    }

    /// Filters both sinograms and spreads them over the octants.
    pub(super) fn spread(&self, buffers: &mut Buffers, sinograms: [&[f32]; 2], simd: bool) {
        for octant in &mut buffers.octants {
            octant.fill(Pair::default());
        }
        if simd {
            pulp::Arch::new().dispatch(Spread { plan: self, buffers, sinograms });
        } else {
            self.spread_with::<false>(buffers, sinograms);
        }
    }

    #[inline(always)]
    fn spread_with<const FMA: bool>(&self, buffers: &mut Buffers, sinograms: [&[f32]; 2]) {
        let count = self.lines.samples();
        for rays in self.rays.chunks(RAYS) {
            for ((ray, index, weight), samples) in rays.iter().zip(buffers.samples.chunks_exact_mut(count)) {
                let rows = sinograms.map(|s| &s[index * self.columns..(index + 1) * self.columns]);
                self.lines.run(&mut buffers.lines, rows, *weight, ray.flip, samples);
            }
            self.grid::<FMA>(rays, buffers);
        }
    }

    /// Grids some rays, band by band, so that they share the cells that are in the cache.
    #[inline(always)]
    fn grid<const FMA: bool>(&self, rays: &[(Ray, usize, f32)], buffers: &mut Buffers) {
        let count = self.lines.samples();
        let mut first = 0;
        while first < count {
            let band = BAND.min(count - first);
            for ((ray, _, _), samples) in rays.iter().zip(buffers.samples.chunks_exact(count)) {
                let samples = &samples[first..first + band];
                let cells = &mut buffers.octants[ray.octant];
                octants::spread::<FMA>(
                    &self.layout,
                    &self.kernel,
                    &mut buffers.weights,
                    ray,
                    first,
                    samples,
                    cells,
                );
            }
            first += band;
        }
    }

    /// Fills grid rows u.. in wrap-around order.
    #[inline(always)]
    pub(super) fn fill(&self, buffers: &Buffers, u: usize, lines: &mut [rustfft::num_complex::Complex32]) {
        octants::fill(&self.layout, &buffers.octants, u, lines);
    }
}

/// Filtering and gridding under the processor's vector instructions.
struct Spread<'a> {
    plan: &'a Plan,
    buffers: &'a mut Buffers,
    sinograms: [&'a [f32]; 2],
}

impl pulp::WithSimd for Spread<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        self.plan.spread_with::<true>(self.buffers, self.sinograms);
    }
}

/// The inverse transform that belongs to a plan.
pub(super) fn inverse(plan: &Plan, grid: usize, frame: Frame, scale: f32) -> inverse::Inverse {
    let kernel = plan.kernel.clone();
    inverse::Inverse::new(grid, frame, scale, move |x| kernel.correction(x as f64, grid))
}
