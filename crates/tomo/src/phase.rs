//! Single-distance phase retrieval (D. Paganin et al., J. Microscopy 206, 2002, 33), as TomoPy's
//! `retrieve_phase`: every projection, as transmission (before −ln), is filtered with
//! 1 / (λ d |w|² / 4π + α), normalised to its largest value.
//!
//! The incumbent samples |w|² half a step off the Fourier frequencies and keeps the real part; what acts is
//! the mean of the filter at k and −k, which is real and even, so two projections go through one complex
//! transform as real and imaginary part.

use crate::error::{Error, Result, check_len};
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};
use std::sync::Arc;

/// Parameters of [`Paganin`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PaganinOptions {
    /// Detector pixel in cm.
    pub pixel_size: f64,
    /// Distance from sample to scintillator in cm.
    pub distance: f64,
    /// Photon energy in keV.
    pub energy: f64,
    /// Regularisation (about the ratio β/δ); smaller is smoother.
    pub alpha: f64,
    /// Continue the border pixels outwards to the next power of two beyond the range of the filter.
    pub pad: bool,
}

impl Default for PaganinOptions {
    /// TomoPy's defaults.
    fn default() -> Self {
        Self { pixel_size: 1e-4, distance: 50.0, energy: 20.0, alpha: 1e-3, pad: true }
    }
}

/// Planck's constant times the speed of light in keV · cm, over 2π (the constants of the incumbent).
const HBAR_C: f64 = 6.582_119_28e-19 * 299_792_458e2;
/// Columns transformed together: a cache line of complex numbers.
const BLOCK: usize = 8;
/// Largest padded axis that is accepted.
const LARGEST: f64 = 65536.0;

/// A plan for one projection size. Shared by threads.
pub struct Paganin {
    rows: usize,
    columns: usize,
    /// Padding before the first row and column.
    pad: (usize, usize),
    /// Padded size.
    height: usize,
    width: usize,
    /// (height, width), with the 1/(height · width) of the transforms.
    filter: Vec<f32>,
    along_rows: [Arc<dyn Fft<f32>>; 2],
    along_columns: [Arc<dyn Fft<f32>>; 2],
}

/// Buffers of one thread.
pub struct PaganinWorkspace {
    image: Vec<Complex<f32>>,
    column: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
}

impl Paganin {
    /// Plans for projections of (rows, columns).
    pub fn new(options: PaganinOptions, rows: usize, columns: usize) -> Result<Self> {
        let PaganinOptions { pixel_size, distance, energy, alpha, .. } = options;
        let positive = [
            ("pixel_size", pixel_size, "it must be positive, in cm"),
            ("energy", energy, "it must be positive, in keV"),
            ("alpha", alpha, "it must be positive (1e-3 to 1e-5 is usual)"),
        ];
        for (name, value, reason) in positive {
            if !value.is_finite() || value <= 0.0 {
                return Err(Error::parameter(name, value, reason));
            }
        }
        if !distance.is_finite() || distance < 0.0 {
            return Err(Error::parameter("distance", distance, "it must be 0 or more, in cm"));
        }
        if rows < 2 || columns < 2 {
            let size = format!("{rows} × {columns}");
            return Err(Error::parameter(
                "projection",
                size,
                "phase retrieval needs at least 2 rows and 2 columns",
            ));
        }
        let wavelength = std::f64::consts::TAU * HBAR_C / energy;
        let reach = (std::f64::consts::PI * wavelength * distance / pixel_size.powi(2)).ceil();
        let pad = |n: usize| -> Result<usize> {
            let size = 2f64.powf((n as f64 + reach).log2().ceil());
            match options.pad {
                true if size <= LARGEST => Ok(((size - n as f64) * 0.5) as usize),
                true => Err(Error::parameter(
                    "distance",
                    distance,
                    "with this pixel size and energy the filter reaches too far; check the units (cm, keV)",
                )),
                false => Ok(0),
            }
        };
        let pad = (pad(rows)?, pad(columns)?);
        let (height, width) = (rows + 2 * pad.0, columns + 2 * pad.1);
        let mut planner = FftPlanner::new();
        let mut both = |n: usize| [planner.plan_fft_forward(n), planner.plan_fft_inverse(n)];
        let (along_rows, along_columns) = (both(width), both(height));
        let strength = wavelength * distance / (4.0 * std::f64::consts::PI);
        let filter = filter(height, width, pixel_size, strength, alpha);
        Ok(Self { rows, columns, pad, height, width, filter, along_rows, along_columns })
    }

    /// Buffers for one thread.
    pub fn workspace(&self) -> PaganinWorkspace {
        let scratch = self.along_rows.iter().chain(&self.along_columns).map(|f| f.get_inplace_scratch_len());
        PaganinWorkspace {
            image: vec![Complex::default(); self.height * self.width],
            column: vec![Complex::default(); BLOCK * self.height],
            scratch: vec![Complex::default(); scratch.max().unwrap_or(0)],
        }
    }

    /// Bytes of one workspace and of the shared filter.
    pub fn bytes(&self) -> (usize, usize) {
        (8 * (self.height * self.width + BLOCK * self.height), 4 * self.filter.len())
    }

    /// Filters one projection (rows, columns) of transmissions in place.
    pub fn apply(&self, workspace: &mut PaganinWorkspace, projection: &mut [f32]) -> Result<()> {
        self.run(workspace, projection, None)
    }

    /// Filters two projections at the price of one.
    pub fn apply_pair(
        &self,
        workspace: &mut PaganinWorkspace,
        first: &mut [f32],
        second: &mut [f32],
    ) -> Result<()> {
        self.run(workspace, first, Some(second))
    }

    fn run(
        &self,
        workspace: &mut PaganinWorkspace,
        first: &mut [f32],
        second: Option<&mut [f32]>,
    ) -> Result<()> {
        let pixels = self.rows * self.columns;
        check_len("projection", first.len(), pixels)?;
        if let Some(second) = &second {
            check_len("projection", second.len(), pixels)?;
        }
        check_len("workspace", workspace.image.len(), self.height * self.width)?;
        check_len("workspace", workspace.column.len(), BLOCK * self.height)?;
        let PaganinWorkspace { image, column, scratch } = workspace;
        // A workspace of another plan could have the same image size but need other scratch.
        let scratch_len =
            self.along_rows.iter().chain(&self.along_columns).map(|f| f.get_inplace_scratch_len()).max();
        scratch.resize(scratch_len.unwrap_or(0).max(scratch.len()), Complex::default());

        let (top, left) = self.pad;
        let inside = top * self.width..(top + self.rows) * self.width;
        for (row, line) in image[inside.clone()].chunks_exact_mut(self.width).enumerate() {
            let span = row * self.columns..(row + 1) * self.columns;
            let other = second.as_ref().map(|s| &s[span.clone()]);
            for (j, (value, re)) in
                line[left..left + self.columns].iter_mut().zip(&first[span.clone()]).enumerate()
            {
                *value = Complex::new(*re, other.map_or(0.0, |o| o[j]));
            }
            let (start, end) = (line[left], line[left + self.columns - 1]);
            line[..left].fill(start);
            line[left + self.columns..].fill(end);
            self.along_rows[0].process_with_scratch(line, scratch);
        }
        // The rows beyond the borders are copies, and so are their transforms.
        let (before, rest) = image.split_at_mut(inside.start);
        let (data, after) = rest.split_at_mut(inside.len());
        before.chunks_exact_mut(self.width).for_each(|line| line.copy_from_slice(&data[..self.width]));
        let last = data.len() - self.width;
        after.chunks_exact_mut(self.width).for_each(|line| line.copy_from_slice(&data[last..]));

        for start in (0..self.width).step_by(BLOCK) {
            let count = BLOCK.min(self.width - start);
            for (i, line) in image.chunks_exact(self.width).enumerate() {
                (0..count).for_each(|k| column[k * self.height + i] = line[start + k]);
            }
            for (k, values) in column.chunks_exact_mut(self.height).take(count).enumerate() {
                self.along_columns[0].process_with_scratch(values, scratch);
                let weights = self.filter[start + k..].iter().step_by(self.width);
                values.iter_mut().zip(weights).for_each(|(v, w)| *v *= w);
                self.along_columns[1].process_with_scratch(values, scratch);
            }
            for (i, line) in image[inside.clone()].chunks_exact_mut(self.width).enumerate() {
                (0..count).for_each(|k| line[start + k] = column[k * self.height + top + i]);
            }
        }
        let mut second = second;
        for (row, line) in image[inside].chunks_exact_mut(self.width).enumerate() {
            self.along_rows[1].process_with_scratch(line, scratch);
            let span = row * self.columns..(row + 1) * self.columns;
            let values = &line[left..left + self.columns];
            first[span.clone()].iter_mut().zip(values).for_each(|(x, v)| *x = v.re);
            if let Some(second) = second.as_deref_mut() {
                second[span].iter_mut().zip(values).for_each(|(x, v)| *x = v.im);
            }
        }
        Ok(())
    }
}

/// The even part of the incumbent's filter (for odd sizes with zero frequency where it belongs; the incumbent's
/// is one off there, which dims the image), over its largest value and the number of pixels.
fn filter(height: usize, width: usize, pixel_size: f64, strength: f64, alpha: f64) -> Vec<f32> {
    let squares = |n: usize| -> Vec<f64> {
        // Frequencies −(n−1), −(n−3) … n−1 over 2(n−1) pixels; number (k + ⌊n/2⌋) mod n goes to k.
        let step = 0.5 / ((n - 1) as f64 * pixel_size);
        let at = |k: usize| (2 * ((k + n / 2) % n)) as f64 - (n - 1) as f64;
        (0..n).map(|k| (at(k) * step).powi(2)).collect()
    };
    let (rows, columns) = (squares(height), squares(width));
    let value = |i: usize, j: usize| 1.0 / (strength * (rows[i] + columns[j]) + alpha);
    let smallest = |squares: &[f64]| squares.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = 1.0 / (strength * (smallest(&rows) + smallest(&columns)) + alpha);
    let scale = 0.5 / (largest * (height * width) as f64);
    let mut out = Vec::with_capacity(height * width);
    for i in 0..height {
        let opposite = (height - i) % height;
        out.extend((0..width).map(|j| ((value(i, j) + value(opposite, (width - j) % width)) * scale) as f32));
    }
    out
}
