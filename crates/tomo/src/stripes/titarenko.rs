//! Stripe removal after Titarenko, as TomoPy's `remove_stripe_ti` (E. X. Miqueles et al., J. Synchrotron Rad.
//! 21, 2014, 1333).
//!
//! The column means of the sinogram are made smooth by adding to each column a constant q that minimises a
//! regularised sum of squared first (second) differences; the result is √(d₁ d₂ + α |min d₁ d₂|) of the two
//! corrected sinograms. With blocks, each block of angles has its own q. All sums in f64.

use crate::error::{Error, Result, check_len};
use pulp::{Arch, Simd, WithSimd};

/// Parameters of [`Titarenko`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TitarenkoOptions {
    /// Number of blocks of angles; 0 = the sinogram as a whole.
    pub nblock: usize,
    /// Damping factor.
    pub alpha: f64,
}

impl Default for TitarenkoOptions {
    fn default() -> Self {
        Self { nblock: 0, alpha: 1.5 }
    }
}

/// A plan for one sinogram size.
pub struct Titarenko {
    options: TitarenkoOptions,
    angles: usize,
    columns: usize,
}

/// Buffers of one thread.
pub struct TitarenkoWorkspace {
    /// The constants of every column, for each block.
    first: Vec<f32>,
    second: Vec<f32>,
    solver: Solver,
}

/// Kernels of the first and second difference.
const FIRST: [f64; 2] = [1.0, -1.0];
const SECOND: [f64; 3] = [-1.0, 2.0, -1.0];

impl Titarenko {
    /// Plans for sinograms of (angles, columns).
    pub fn new(options: TitarenkoOptions, angles: usize, columns: usize) -> Result<Self> {
        if angles == 0 || columns < 3 {
            let size = format!("{angles} × {columns}");
            return Err(Error::parameter(
                "sinogram",
                size,
                "this filter needs at least one angle and three columns",
            ));
        }
        if options.nblock > angles {
            let reason = format!("there are {angles} angles; use 0 (no blocks) to {angles}");
            return Err(Error::parameter("nblock", options.nblock, reason));
        }
        if !options.alpha.is_finite() || options.alpha < 1.0 {
            let reason =
                "it must be 1 or more (1.5 is usual), or a square root of a negative number would be taken";
            return Err(Error::parameter("alpha", options.alpha, reason));
        }
        Ok(Self { options, angles, columns })
    }

    /// Buffers for one thread.
    pub fn workspace(&self) -> TitarenkoWorkspace {
        TitarenkoWorkspace { first: Vec::new(), second: Vec::new(), solver: Solver::default() }
    }

    /// Removes the stripes of one sinogram (angles, columns) in place. Values that are NaN count as 0.
    ///
    /// With blocks, angles left over at the end become 1 before the square root, as in TomoPy.
    pub fn remove(&self, workspace: &mut TitarenkoWorkspace, sinogram: &mut [f32]) -> Result<()> {
        check_len("sinogram", sinogram.len(), self.angles * self.columns)?;
        sinogram.iter_mut().filter(|x| x.is_nan()).for_each(|x| *x = 0.0);
        let (columns, arch) = (self.columns, Arch::new());
        let step = self.angles.checked_div(self.options.nblock).unwrap_or(self.angles);
        let TitarenkoWorkspace { first, second, solver } = workspace;
        first.clear();
        second.clear();
        for block in sinogram.chunks_exact(step * columns) {
            solver.prepare(block, columns)?;
            solver.solve(&FIRST, first);
            solver.solve(&SECOND, second);
        }
        let whole = self.angles / step * step * columns;
        let (treated, left) = sinogram.split_at_mut(whole);
        left.fill(1.0);
        // The product and its smallest value first, then the square root.
        let mut smallest = if left.is_empty() { f32::INFINITY } else { 1.0 };
        let constants = first.chunks_exact(columns).zip(second.chunks_exact(columns));
        for (block, (q1, q2)) in treated.chunks_exact_mut(step * columns).zip(constants) {
            for line in block.chunks_exact_mut(columns) {
                smallest = smallest.min(arch.dispatch(Product { line, q1, q2 }));
            }
        }
        let lift = self.options.alpha as f32 * smallest.abs();
        arch.dispatch(Root { values: sinogram, lift });
        Ok(())
    }
}

/// Solves (DᵀD + a) q = −DᵀD m, with m the column means and a the regularisation. The incumbent iterates by
/// conjugate gradients to a residual of 1e-7; the matrix has at most five diagonals, so here it is factorised.
#[derive(Default)]
struct Solver {
    mean: Vec<f64>,
    regularisation: f64,
    /// Diagonal and the two lower diagonals, then their LDLᵀ factors.
    bands: [Vec<f64>; 3],
    q: Vec<f64>,
}

impl Solver {
    fn prepare(&mut self, block: &[f32], columns: usize) -> Result<()> {
        self.mean.clear();
        self.mean.resize(columns, 0.0);
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for line in block.chunks_exact(columns) {
            let sum = Arch::new().dispatch(Accumulate { line, total: &mut self.mean });
            (low, high) = (low.min(sum), high.max(sum));
        }
        let angles = (block.len() / columns) as f64;
        self.mean.iter_mut().for_each(|m| *m /= angles);
        if !self.mean.iter().all(|m| m.is_finite()) {
            return Err(Error::data("sinogram", "it holds infinite values; normalise and clip it first"));
        }
        let range = high - low;
        if range <= 0.0 {
            let reason =
                "all projections have the same sum, so this filter has no scale; use another stripe filter";
            return Err(Error::data("sinogram", reason));
        }
        self.regularisation = 1.0 / (2.0 * range);
        Ok(())
    }

    /// Appends the solution to `out`.
    fn solve(&mut self, kernel: &[f64], out: &mut Vec<f32>) {
        let n = self.mean.len();
        let [diagonal, first, second] = &mut self.bands;
        for band in [&mut *diagonal, &mut *first, &mut *second, &mut self.q] {
            band.clear();
            band.resize(n, 0.0);
        }
        diagonal.fill(self.regularisation);
        for (start, window) in self.mean.windows(kernel.len()).enumerate() {
            let difference: f64 = window.iter().zip(kernel).map(|(x, h)| x * h).sum();
            for (i, h) in kernel.iter().enumerate() {
                self.q[start + i] -= h * difference;
                diagonal[start + i] += h * h;
                // The entry (row, row − 1) is kept at `row`.
                if i >= 1 {
                    first[start + i] += h * kernel[i - 1];
                }
                if i >= 2 {
                    second[start + i] += h * kernel[i - 2];
                }
            }
        }
        // LDLᵀ, forward and backward substitution; the matrix is positive definite, so no pivots are needed.
        for i in 0..n {
            let l2 = if i >= 2 { second[i] / diagonal[i - 2] } else { 0.0 };
            let l1 = if i >= 1 {
                let coupled = if i >= 2 { l2 * diagonal[i - 2] * first[i - 1] } else { 0.0 };
                (first[i] - coupled) / diagonal[i - 1]
            } else {
                0.0
            };
            if i >= 1 {
                diagonal[i] -= l1 * l1 * diagonal[i - 1];
                self.q[i] -= l1 * self.q[i - 1];
            }
            if i >= 2 {
                diagonal[i] -= l2 * l2 * diagonal[i - 2];
                self.q[i] -= l2 * self.q[i - 2];
            }
            (first[i], second[i]) = (l1, l2);
        }
        for i in (0..n).rev() {
            let mut x = self.q[i] / diagonal[i];
            if i + 1 < n {
                x -= first[i + 1] * self.q[i + 1];
            }
            if i + 2 < n {
                x -= second[i + 2] * self.q[i + 2];
            }
            self.q[i] = x;
        }
        out.extend(self.q.iter().map(|q| *q as f32));
    }
}

/// Adds a line to running totals; returns its sum.
struct Accumulate<'a> {
    line: &'a [f32],
    total: &'a mut [f64],
}

impl WithSimd for Accumulate<'_> {
    type Output = f64;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let mut lanes = [0.0f64; 8];
        let mut totals = self.total.chunks_exact_mut(8);
        let mut values = self.line.chunks_exact(8);
        for (total, x) in totals.by_ref().zip(values.by_ref()) {
            for l in 0..8 {
                let x = f64::from(x[l]);
                total[l] += x;
                lanes[l] += x;
            }
        }
        let mut sum: f64 = lanes.iter().sum();
        for (total, x) in totals.into_remainder().iter_mut().zip(values.remainder()) {
            *total += f64::from(*x);
            sum += f64::from(*x);
        }
        sum
    }
}

/// x ← (x + q₁)(x + q₂) on a line; returns the smallest product.
struct Product<'a> {
    line: &'a mut [f32],
    q1: &'a [f32],
    q2: &'a [f32],
}

impl WithSimd for Product<'_> {
    type Output = f32;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        let Self { line, q1, q2 } = self;
        let n = line.len();
        let (q1, q2) = (&q1[..n], &q2[..n]);
        let mut lanes = [f32::INFINITY; 8];
        for (start, part) in (0..n).step_by(8).zip(line.chunks_mut(8)) {
            for (l, x) in part.iter_mut().enumerate() {
                *x = (*x + q1[start + l]) * (*x + q2[start + l]);
                lanes[l] = if *x < lanes[l] { *x } else { lanes[l] };
            }
        }
        lanes.iter().copied().fold(f32::INFINITY, f32::min)
    }
}

/// x ← √(x + lift).
struct Root<'a> {
    values: &'a mut [f32],
    lift: f32,
}

impl WithSimd for Root<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for x in self.values {
            *x = (*x + self.lift).sqrt();
        }
    }
}
