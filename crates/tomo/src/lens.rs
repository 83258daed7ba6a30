//! Correction of radial lens distortion (N. T. Vo et al., Optics Express 23, 2015, 32859), as TomoPy's
//! `distortion_correction_proj`: out(p) = in(c + (p − c) · Σ fᵢ rⁱ), r = |p − c| in pixels, bilinear.

use crate::error::{Error, Result, check_len};
use crate::resample::bilinear;

/// Centre and coefficients of the distortion.
#[derive(Debug, Clone, PartialEq)]
pub struct LensOptions {
    /// Centre of the distortion, (column, row).
    pub center: (f64, f64),
    /// Factors f₀, f₁, … of the powers of the radius.
    pub factors: Vec<f64>,
}

impl Default for LensOptions {
    /// The constants of the production script.
    fn default() -> Self {
        let factors = vec![1.000_150_76, 1.9289e-6, -2.4325e-8, 1.00439e-11, -3.99352e-15];
        Self { center: (1280.0, 1080.0), factors }
    }
}

/// A plan for one detector size. Shared by threads.
#[derive(Debug, Clone, PartialEq)]
pub struct Lens {
    options: LensOptions,
    rows: usize,
    columns: usize,
}

impl Lens {
    /// Plans for projections of (rows, columns).
    pub fn new(options: LensOptions, rows: usize, columns: usize) -> Result<Self> {
        let (x, y) = options.center;
        if !x.is_finite() || !y.is_finite() {
            return Err(Error::parameter(
                "lens centre",
                format!("({x}, {y})"),
                "both coordinates must be finite",
            ));
        }
        if options.factors.is_empty() || !options.factors.iter().all(|f| f.is_finite()) {
            let given = format!("{:?}", options.factors);
            return Err(Error::parameter(
                "lens factors",
                given,
                "give one or more finite numbers; (1) changes nothing",
            ));
        }
        if rows == 0 || columns == 0 {
            return Err(Error::parameter(
                "projection",
                format!("{rows} × {columns}"),
                "no axis may be empty",
            ));
        }
        Ok(Self { options, rows, columns })
    }

    /// Corrects the projection (rows, columns) into `out`.
    pub fn apply(&self, projection: &[f32], out: &mut [f32]) -> Result<()> {
        check_len("projection", projection.len(), self.rows.saturating_mul(self.columns))?;
        check_len("corrected projection", out.len(), projection.len())?;
        let (cx, cy) = self.options.center;
        for (row, line) in out.chunks_exact_mut(self.columns).enumerate() {
            let dy = row as f64 - cy;
            for (column, value) in line.iter_mut().enumerate() {
                let dx = column as f64 - cx;
                let radius = dx.hypot(dy);
                let factor = self.options.factors.iter().rev().fold(0.0, |sum, f| sum * radius + f);
                *value = bilinear(projection, self.rows, self.columns, cx + factor * dx, cy + factor * dy);
            }
        }
        Ok(())
    }
}
