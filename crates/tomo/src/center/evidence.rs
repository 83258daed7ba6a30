//! The picture that lets a person judge: the same row reconstructed about several candidate centres.

use super::pairs::Coverage;
use super::project::Slice;
use crate::error::{Error, Result, check_len};

/// One row reconstructed about candidate centres.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// Candidate centres, columns, in the order of the tiles.
    pub candidates: Vec<f64>,
    /// Width and height of a tile, pixels.
    pub size: usize,
    /// Detector columns between neighbouring pixels of a tile.
    pub spacing: f64,
    /// Tiles, each (size, size), attenuation in arbitrary units, 0 outside the circle that the scan sees.
    pub tiles: Vec<Vec<f32>>,
}

/// Most projections used: a tile of a few hundred pixels shows no more.
const MOST_ANGLES: usize = 480;

/// Seven candidates about a centre: the centre itself, and 1, 2 and 5 steps to either side, a step being a
/// thousandth of the width and at least one column, so that the first steps are just visible.
pub fn candidates(center: f64, columns: usize) -> Vec<f64> {
    let step = (columns as f64 / 1000.0).max(1.0);
    [-5.0, -2.0, -1.0, 0.0, 1.0, 2.0, 5.0].iter().map(|k| center + k * step).collect()
}

/// Reconstructs a sinogram (angles, columns) about each candidate centre, on tiles of `size` × `size` pixels.
///
/// A tile covers the middle `zoom`-th part of the slice (1: all of it; 4: the middle quarter, four times
/// enlarged), the rotation axis in its middle. Points are sampled, not averaged, so that even a small tile of a
/// large slice shows the doubled edges of a wrong centre. Scans of 360° are put together from both halves.
///
/// # Errors
/// When the sinogram does not have the length its shape demands, there are fewer than 8 columns or two
/// projections, `size` is 0 or above 4096, or a candidate or `zoom` is not a usable number.
pub fn evidence(
    sinogram: &[f32],
    columns: usize,
    angles: &[f64],
    candidates: &[f64],
    size: usize,
    zoom: f64,
) -> Result<Evidence> {
    check_len("sinogram", sinogram.len(), angles.len() * columns)?;
    if columns < super::MINIMUM_COLUMNS || angles.len() < 2 || angles.iter().any(|a| !a.is_finite()) {
        let reason = "the evidence picture needs 8 columns and two projections at finite angles";
        return Err(Error::parameter("columns", columns, reason));
    }
    if size == 0 || size > 4096 {
        return Err(Error::parameter("size", size, "a tile must be 1 to 4096 pixels wide"));
    }
    if !(zoom.is_finite() && zoom > 0.0) {
        return Err(Error::parameter("zoom", zoom, "the zoom must be a positive number"));
    }
    let last = (columns - 1) as f64;
    if let Some(bad) = candidates.iter().find(|c| !(0.0..=last).contains(*c)) {
        return Err(Error::parameter(
            "candidate",
            bad,
            format!("a candidate centre must lie on the detector, 0 to {last}"),
        ));
    }
    let slice = Slice::new(sinogram, columns, &Coverage::new(angles), MOST_ANGLES, 1);
    let Some(&middle) = candidates.get(candidates.len() / 2) else {
        return Ok(Evidence { candidates: Vec::new(), size, spacing: 1.0, tiles: Vec::new() });
    };
    let radius = slice.radius(middle).max(1.0);
    let spacing = 2.0 * radius / (size as f64 * zoom);
    let mut tiles = slice.images(candidates, size, spacing, radius);
    let half = 0.5 * (size as f64 - 1.0);
    for (i, value) in tiles.iter_mut().flat_map(|tile| tile.iter_mut().enumerate()) {
        let (x, y) = ((i % size) as f64 - half, (i / size) as f64 - half);
        if x.hypot(y) * spacing > radius {
            *value = 0.0;
        }
    }
    Ok(Evidence { candidates: candidates.to_vec(), size, spacing, tiles })
}
