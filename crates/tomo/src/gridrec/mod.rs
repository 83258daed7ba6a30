//! Gridrec: Fourier reconstruction of slices from parallel-beam sinograms, quantitative or as TomoPy computes it.
//!
//! A [`Gridrec`] is planned once per scan and shared by all threads; each thread owns a [`Workspace`]. Slices are made
//! two at a time, as the real and imaginary part of one complex reconstruction; a pair is computed by one thread, and its
//! bits depend on nothing but its own input.

mod bands;
mod exact;
mod frame;
mod inverse;
mod lines;
mod order;
mod rays;
mod tomopy;
mod wrap;

pub use crate::filter::{Filter, Window};

use crate::angles::check_angles;
use crate::error::{Error, Result, check_len};
use pulp::{Arch, Simd, WithSimd};

use frame::Frame;
use inverse::Inverse;

/// Which gridrec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Quantitative: an attenuation of 1 per pixel comes out as 1, anywhere in the field of view.
    #[default]
    Exact,
    /// TomoPy 1.15's result, its radial gain error included, for comparison with old volumes.
    Tomopy,
}

/// Columns added on each side of the detector before filtering.
///
/// `exact` mode always convolves linearly, so zeros change nothing there and edge padding only says how the object goes
/// on outside the field of view. In `tomopy` mode padding also enlarges the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// Nothing is added.
    #[default]
    None,
    /// Zeros.
    Zero(usize),
    /// The first and last value of each projection.
    Edge(usize),
}

/// What to reconstruct, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct GridrecOptions {
    /// Detector columns; the images are columns × columns.
    pub columns: usize,
    /// Angle of each projection in radians.
    pub angles: Vec<f64>,
    /// Rotation centre, 0-based detector column.
    pub center: f64,
    /// Quantitative or TomoPy's.
    pub mode: Mode,
    /// Reconstruction filter.
    pub filter: Filter,
    /// Continuation of the data beyond the detector.
    pub padding: Padding,
    /// Factor of the result, e.g. 1 / (pixel size in cm) for 1/cm.
    pub scale: f32,
    /// Diameter of a circular mask over the image's width; pixels outside become 0.
    pub mask_ratio: Option<f32>,
}

impl GridrecOptions {
    /// Exact mode, ramp filter, no padding, attenuation per pixel, no mask.
    pub fn new(columns: usize, angles: Vec<f64>, center: f64) -> Self {
        Self {
            columns,
            angles,
            center,
            mode: Mode::default(),
            filter: Filter::Ramlak,
            padding: Padding::default(),
            scale: 1.0,
            mask_ratio: None,
        }
    }

    /// Refuses what cannot be reconstructed.
    pub(crate) fn validate(&self) -> Result<()> {
        const WIDEST: usize = 1 << 16;
        if !(2..=WIDEST).contains(&self.columns) {
            return Err(Error::parameter(
                "columns",
                self.columns,
                "gridrec works with 2 to 65536 detector columns",
            ));
        }
        check_angles(&self.angles)?;
        self.filter.validate()?;
        let last = self.columns as f64 - 1.0;
        if !(self.center >= -0.5 && self.center <= last + 0.5) {
            return Err(Error::parameter(
                "center",
                self.center,
                format!("the rotation centre must lie on the detector, columns 0 to {last}"),
            ));
        }
        let (Padding::Zero(pad) | Padding::Edge(pad)) = self.padding else { return self.validate_output() };
        if pad > WIDEST {
            return Err(Error::parameter("padding", pad, "pad with at most 65536 columns on each side"));
        }
        self.validate_output()
    }

    fn validate_output(&self) -> Result<()> {
        if !self.scale.is_finite() {
            return Err(Error::parameter("scale", self.scale, "the scale must be a finite number"));
        }
        match self.mask_ratio {
            Some(ratio) if !(ratio.is_finite() && ratio > 0.0) => Err(Error::parameter(
                "mask_ratio",
                ratio,
                "give the mask's diameter as a positive fraction of the image width, or leave the mask out",
            )),
            _ => Ok(()),
        }
    }
}

/// What `exact` mode's accuracy and speed depend on.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuning {
    /// Kernel width in grid cells, 6 or 7.
    pub width: usize,
    /// Least number of grid points per image pixel.
    pub oversampling: f64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { width: 7, oversampling: 1.2 }
    }
}

#[allow(clippy::large_enum_variant)] // one per scan
enum Engine {
    Exact(exact::Plan),
    Tomopy(tomopy::Plan),
}

#[allow(clippy::large_enum_variant)] // one per thread
enum EngineBuffers {
    Exact(exact::Buffers),
    Tomopy(tomopy::Buffers),
}

/// Is shown both images from their beginning as far as they are finished, every few rows, while the last of these are in
/// the cache.
pub type Done<'a> = dyn FnMut([&[f32]; 2]) + 'a;

/// A planned reconstruction; immutable, shared by threads.
pub struct Gridrec {
    columns: usize,
    angles: usize,
    arch: Arch,
    engine: Engine,
    inverse: Inverse,
}

/// The buffers of one thread, reused from pair to pair. A workspace belongs to the [`Gridrec`] that made it.
pub struct Workspace {
    /// Buffer sizes of the plan, which tell a workspace of another plan.
    key: [usize; 3],
    engine: EngineBuffers,
    inverse: inverse::Buffers,
    /// The absent partner of a single slice: a sinogram of zeros and an image that nobody reads.
    zeros: Vec<f32>,
    spare: Vec<f32>,
}

impl Gridrec {
    /// Plans the reconstruction.
    ///
    /// # Errors
    /// [`Error::Parameter`] for fewer than two columns, no or non-finite angles, a centre off the detector, or a filter,
    /// scale, padding or mask that makes no sense.
    pub fn new(options: &GridrecOptions) -> Result<Self> {
        Self::tuned(options, Tuning::default())
    }

    /// Plans with other gridding parameters than the ones chosen, for their choice.
    #[doc(hidden)]
    pub fn tuned(options: &GridrecOptions, tuning: Tuning) -> Result<Self> {
        options.validate()?;
        let frame = Frame::new(options.columns, options.mask_ratio);
        let (engine, inverse) = match options.mode {
            Mode::Exact => {
                let (plan, grid) = exact::Plan::new(options, &frame, tuning);
                let inverse = exact::inverse(&plan, grid, frame, options.scale);
                (Engine::Exact(plan), inverse)
            }
            Mode::Tomopy => {
                let plan = tomopy::Plan::new(options);
                let grid = plan.grid();
                let inverse = Inverse::new(grid, frame, options.scale, tomopy::correction(grid));
                (Engine::Tomopy(plan), inverse)
            }
        };
        Ok(Self {
            columns: options.columns,
            angles: options.angles.len(),
            arch: Arch::new(),
            engine,
            inverse,
        })
    }

    /// Uses the instructions of `arch` even where the processor could do better; for tests.
    #[doc(hidden)]
    pub fn with_arch(mut self, arch: Arch) -> Self {
        self.arch = arch;
        self
    }

    /// Buffers for one thread.
    pub fn workspace(&self) -> Workspace {
        let engine = match &self.engine {
            Engine::Exact(plan) => EngineBuffers::Exact(plan.buffers()),
            Engine::Tomopy(plan) => EngineBuffers::Tomopy(plan.buffers()),
        };
        let inverse = self.inverse.buffers();
        Workspace { key: self.key(), engine, inverse, zeros: Vec::new(), spare: Vec::new() }
    }

    fn key(&self) -> [usize; 3] {
        [self.columns, self.inverse.grid, self.workspace_bytes()]
    }

    /// Memory of one workspace in bytes, the partner of an unpaired slice included.
    pub fn workspace_bytes(&self) -> usize {
        let engine = match &self.engine {
            Engine::Exact(plan) => plan.buffer_bytes(),
            Engine::Tomopy(plan) => plan.buffer_bytes(),
        };
        let partner = (self.angles + self.columns) * self.columns * size_of::<f32>();
        engine + self.inverse.buffer_bytes() + partner
    }

    /// Memory of the plan itself in bytes, about.
    pub fn shared_bytes(&self) -> usize {
        let engine = match &self.engine {
            Engine::Exact(plan) => plan.shared_bytes(),
            Engine::Tomopy(plan) => plan.shared_bytes(),
        };
        engine + self.inverse.shared_bytes()
    }

    /// Reconstructs two slices: sinograms (angles, columns) to images (columns, columns).
    ///
    /// # Errors
    /// [`Error::Shape`] where a length does not fit; [`Error::Parameter`] for a workspace of another plan's mode.
    pub fn reconstruct_pair(
        &self,
        workspace: &mut Workspace,
        sinograms: [&[f32]; 2],
        images: [&mut [f32]; 2],
    ) -> Result<()> {
        self.reconstruct_showing(workspace, sinograms, images, &mut |_| {})
    }

    /// As [`Gridrec::reconstruct_pair`]; `done` is shown the rows as they are finished.
    ///
    /// # Errors
    /// As [`Gridrec::reconstruct_pair`].
    pub fn reconstruct_showing(
        &self,
        workspace: &mut Workspace,
        sinograms: [&[f32]; 2],
        images: [&mut [f32]; 2],
        done: &mut Done<'_>,
    ) -> Result<()> {
        for sinogram in sinograms {
            check_len("sinogram", sinogram.len(), self.angles * self.columns)?;
        }
        for image in &images {
            check_len("image", image.len(), self.columns * self.columns)?;
        }
        let same = workspace.key == self.key();
        match (&self.engine, &mut workspace.engine) {
            (Engine::Exact(_), EngineBuffers::Exact(_)) | (Engine::Tomopy(_), EngineBuffers::Tomopy(_))
                if same =>
            {
                self.arch.dispatch(Pair { plan: self, workspace, sinograms, images, done });
            }
            _ => {
                return Err(Error::parameter(
                    "workspace",
                    "of another plan",
                    "make the workspace with the same Gridrec that uses it",
                ));
            }
        }
        Ok(())
    }

    /// Reconstructs one slice, e.g. the last of an odd number; its partner is a sinogram of zeros.
    ///
    /// # Errors
    /// As [`Gridrec::reconstruct_pair`].
    pub fn reconstruct_one(
        &self,
        workspace: &mut Workspace,
        sinogram: &[f32],
        image: &mut [f32],
    ) -> Result<()> {
        let zeros = {
            let mut zeros = std::mem::take(&mut workspace.zeros);
            zeros.resize(self.angles * self.columns, 0.0);
            zeros
        };
        let mut spare = std::mem::take(&mut workspace.spare);
        spare.resize(self.columns * self.columns, 0.0);
        let result = self.reconstruct_pair(workspace, [sinogram, &zeros], [image, &mut spare]);
        workspace.zeros = zeros;
        workspace.spare = spare;
        result
    }
}

/// A pair under the processor's vector instructions.
struct Pair<'a> {
    plan: &'a Gridrec,
    workspace: &'a mut Workspace,
    sinograms: [&'a [f32]; 2],
    images: [&'a mut [f32]; 2],
    done: &'a mut Done<'a>,
}

impl WithSimd for Pair<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { plan: Gridrec { engine: plan, inverse, .. }, workspace, sinograms, images, done } = self;
        let Workspace { engine, inverse: scratch, .. } = workspace;
        match (plan, engine) {
            (Engine::Exact(plan), EngineBuffers::Exact(buffers)) => {
                plan.filter(simd, buffers, sinograms);
                inverse.run(simd, scratch, &mut exact::Plane { plan, buffers }, images, done);
            }
            (Engine::Tomopy(plan), EngineBuffers::Tomopy(buffers)) => {
                plan.filter(buffers, sinograms);
                inverse.run(simd, scratch, &mut tomopy::Plane { plan, buffers }, images, done);
            }
            _ => {}
        }
    }
}
