//! Tilt correction: rotation of projections so that the rotation axis becomes a detector column.

use crate::error::{Error, Result, check_len};
use crate::resample::bilinear;

/// Rotates a projection (rows, columns) by `degrees` about `center` (x, y), by default the middle of the
/// image; bilinear, border pixels continued. out(p) = in(R(p − c) + c) with R = [cos −sin; sin cos] in (x, y),
/// which is `skimage.transform.rotate(image, degrees, center, order=1, mode="edge")`, as production does.
pub fn tilt_projection(
    projection: &[f32],
    rows: usize,
    columns: usize,
    degrees: f64,
    center: Option<(f64, f64)>,
    out: &mut [f32],
) -> Result<()> {
    check_len("projection", projection.len(), rows.saturating_mul(columns))?;
    check_len("tilted projection", out.len(), projection.len())?;
    if !degrees.is_finite() {
        return Err(Error::parameter("tilt", degrees, "it must be a number of degrees"));
    }
    let (cx, cy) = center.unwrap_or((columns as f64 / 2.0 - 0.5, rows as f64 / 2.0 - 0.5));
    if !cx.is_finite() || !cy.is_finite() {
        return Err(Error::parameter(
            "tilt centre",
            format!("({cx}, {cy})"),
            "both coordinates must be finite",
        ));
    }
    if projection.is_empty() {
        return Ok(());
    }
    let (sin, cos) = degrees.to_radians().sin_cos();
    for (row, line) in out.chunks_exact_mut(columns).enumerate() {
        let dy = row as f64 - cy;
        for (column, value) in line.iter_mut().enumerate() {
            let dx = column as f64 - cx;
            let (x, y) = (cos * dx - sin * dy + cx, sin * dx + cos * dy + cy);
            *value = bilinear(projection, rows, columns, x, y);
        }
    }
    Ok(())
}
