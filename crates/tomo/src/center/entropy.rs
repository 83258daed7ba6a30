//! Entropy of the reconstructed slice (Donath et al., J. Opt. Soc. Am. A 23 (2006) 1048): a wrong centre turns
//! every point into an arc, which spreads the histogram. It assumes a sample of few, distinct densities.

use super::pairs::Coverage;
use super::project::Slice;
use super::tiles::LANES;
use super::verdict::{self, Curves};
use super::{Estimate, Input, Method, Options, need_sinograms};
use crate::error::Result;

/// Columns of the coarse search.
const COARSE: usize = 128;
/// Sample points across of the fine search.
const FINE: usize = 144;
/// Bins of the histogram.
const BINS: usize = 96;

/// Looks for the centre of least entropy.
///
/// # Errors
/// When there is no sinogram.
pub fn find(input: &Input, options: &Options) -> Result<Estimate> {
    need_sinograms(input)?;
    let coverage = Coverage::new(input.angles);
    let columns = input.columns;
    let last = columns as f64 - 1.0;
    // Only the circle that all candidates see can be compared, and near the sides that is next to nothing.
    let (low, high) = options.search.unwrap_or((0.25 * last, 0.75 * last));
    let (low, high) = (low.max(0.05 * last), high.min(0.95 * last));
    let bin = (columns / COARSE).max(1);
    let step = 0.5 * bin as f64;
    let count = ((high - low).max(0.0) / step) as usize + 1;
    let mut curves = Curves { first: low, step, cost: Vec::new() };
    for (_, sinogram) in input.sinograms {
        let slice = Slice::new(sinogram, columns, &coverage, 180, bin);
        // A binned column's middle lies (bin − 1)/2 columns after its first column's.
        let center = |i: usize| (low + i as f64 * step - 0.5 * (bin as f64 - 1.0)) / bin as f64;
        let seen = slice.radius(center(0)).min(slice.radius(center(count - 1)));
        let size = ((2.0 * seen) as usize).clamp(12, COARSE);
        curves.cost.push(entropies(&slice, (0..count).map(center), size, 1.0));
    }
    let (coarse, _) = curves.joint_minimum();
    // Then at full resolution, on a grid of points as wide as the slice but not denser.
    let mut center = coarse;
    let mut half = 2.0 * step;
    let mut fine = Curves { first: center, step: 1.0, cost: Vec::new() };
    while half > 0.3 {
        let points = 9;
        fine = Curves { first: center - half, step: 2.0 * half / (points - 1) as f64, cost: Vec::new() };
        // As coarse as the step allows: averaged columns keep the noise down.
        let bin = ((half / 2.0) as usize).max(1);
        for (_, sinogram) in input.sinograms {
            let slice = Slice::new(sinogram, columns, &coverage, 300, bin);
            let shrunk = |c: f64| (c - 0.5 * (bin as f64 - 1.0)) / bin as f64;
            let radius = slice.radius(shrunk(center)).max(8.0);
            let size = FINE.min((1.4 * radius) as usize).max(16);
            let centers = (0..points).map(|i| shrunk(fine.first + i as f64 * fine.step));
            fine.cost.push(entropies(&slice, centers, size, 1.4 * radius / size as f64));
        }
        center = fine.joint_minimum().0;
        half /= 3.0;
    }
    Ok(verdict::judge_curves(input, options, &coverage, &curves, &fine, center, Method::Entropy))
}

/// Entropy of the slice about each centre. The histogram's range is that of the middle one of them, so that the
/// entropies can be compared; values beyond it go to the end bins. A value is shared between the two nearest
/// bins, which makes the entropy a smooth function of the centre.
fn entropies(slice: &Slice, centers: impl Iterator<Item = f64>, size: usize, spacing: f64) -> Vec<f64> {
    let centers: Vec<f64> = centers.collect();
    let Some(&middle) = centers.get(centers.len() / 2) else { return Vec::new() };
    let reference = slice.images(&[middle], size, spacing, f64::INFINITY).concat();
    // The others are looked at inside the circle only.
    let reach = 0.5 * size as f64 * spacing;
    let (low, high) = reference.iter().fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
    if high <= low {
        return vec![0.0; centers.len()];
    }
    let scale = (BINS - 1) as f32 / (high - low);
    let inside = |i: usize| {
        let half = 0.5 * (size as f64 - 1.0);
        let (x, y) = ((i % size) as f64 - half, (i / size) as f64 - half);
        x * x + y * y <= half * half
    };
    let entropy = |image: &[f32]| {
        let mut histogram = [0.0f64; BINS + 1];
        let mut total = 0.0;
        for (i, &v) in image.iter().enumerate() {
            if inside(i) {
                let at = ((v - low) * scale).clamp(0.0, (BINS - 1) as f32);
                let (bin, part) = (at as usize, f64::from(at.fract()));
                histogram[bin] += 1.0 - part;
                histogram[bin + 1] += part;
                total += 1.0;
            }
        }
        -histogram.iter().filter(|h| **h > 0.0).map(|h| h / total * (h / total).ln()).sum::<f64>()
    };
    // Not more at a time than lie side by side: a histogram is all that is kept.
    let images = |some: &[f64]| slice.images(some, size, spacing, reach);
    let about = |some: &[f64]| images(some).iter().map(|image| entropy(image)).collect::<Vec<_>>();
    centers.chunks(LANES).flat_map(about).collect()
}
