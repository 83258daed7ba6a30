//! Stripe removal by a smoothing filter: TomoPy's `remove_stripe_sf`.
//!
//! The mean over angles of every column is compared with its moving average over columns; the difference is
//! taken from the whole column.

use crate::error::{Error, Result, check_len};

/// Parameters of [`Smoothing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmoothingOptions {
    /// Width of the moving average in columns.
    pub size: usize,
}

impl Default for SmoothingOptions {
    fn default() -> Self {
        Self { size: 5 }
    }
}

/// A plan for one sinogram size.
pub struct Smoothing {
    options: SmoothingOptions,
    angles: usize,
    columns: usize,
}

/// Buffers of one thread.
pub struct SmoothingWorkspace {
    mean: Vec<f32>,
    step: Vec<f32>,
}

impl Smoothing {
    /// Plans for sinograms of (angles, columns).
    pub fn new(options: SmoothingOptions, angles: usize, columns: usize) -> Result<Self> {
        if angles == 0 || columns == 0 {
            let size = format!("{angles} × {columns}");
            return Err(Error::parameter(
                "sinogram",
                size,
                "stripe removal needs at least one angle and one column",
            ));
        }
        if options.size == 0 || options.size > columns {
            let reason =
                format!("the smoothing width must lie between 1 and the {columns} columns (5 is usual)");
            return Err(Error::parameter("size", options.size, reason));
        }
        Ok(Self { options, angles, columns })
    }

    /// Buffers for one thread.
    pub fn workspace(&self) -> SmoothingWorkspace {
        SmoothingWorkspace { mean: vec![0.0; self.columns], step: vec![0.0; self.columns] }
    }

    /// Removes the stripes of one sinogram (angles, columns) in place.
    pub fn remove(&self, workspace: &mut SmoothingWorkspace, sinogram: &mut [f32]) -> Result<()> {
        check_len("sinogram", sinogram.len(), self.angles * self.columns)?;
        let SmoothingWorkspace { mean, step } = workspace;
        mean.clear();
        mean.resize(self.columns, 0.0);
        let share = 1.0 / self.angles as f32;
        for line in sinogram.chunks_exact(self.columns) {
            mean.iter_mut().zip(line).for_each(|(m, x)| *m += x * share);
        }
        let (size, last) = (self.options.size, self.columns - 1);
        let smooth = |i: usize| {
            let sum: f32 = (0..size).map(|j| mean[(i + j).saturating_sub(size / 2).min(last)]).sum();
            sum / size as f32
        };
        step.clear();
        step.extend((0..self.columns).map(|i| mean[i] - smooth(i)));
        if step.iter().any(|s| !s.is_finite()) {
            return Err(Error::data(
                "sinogram",
                "it holds values that are not finite; normalise and clip it first",
            ));
        }
        for line in sinogram.chunks_exact_mut(self.columns) {
            line.iter_mut().zip(step.iter()).for_each(|(x, s)| *x -= s);
        }
        Ok(())
    }
}
