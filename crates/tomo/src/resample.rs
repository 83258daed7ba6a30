//! Bilinear sampling of images.

/// Value of an image (rows, columns), neither 0, at (x, y) between pixel centres; beyond the borders the nearest
/// border pixel counts. Coordinates that are not numbers count as 0.
#[inline(always)]
pub(crate) fn bilinear(image: &[f32], rows: usize, columns: usize, x: f64, y: f64) -> f32 {
    let x = x.max(0.0).min((columns - 1) as f64);
    let y = y.max(0.0).min((rows - 1) as f64);
    let (left, top) = (x as usize, y as usize);
    let (right, bottom) = ((left + 1).min(columns - 1), (top + 1).min(rows - 1));
    let (u, v) = (x - left as f64, y - top as f64);
    let at = |row: usize, column: usize| f64::from(image[row * columns + column]);
    let upper = at(top, left) * (1.0 - u) + at(top, right) * u;
    let lower = at(bottom, left) * (1.0 - u) + at(bottom, right) * u;
    (upper * (1.0 - v) + lower * v) as f32
}
