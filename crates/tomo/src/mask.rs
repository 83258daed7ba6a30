//! Circular masks on slices.

use crate::error::{Error, Result, check_len};

/// Sets everything outside a centred circle to `value`. The circle's diameter is `ratio` × the shorter
/// side; a pixel is inside if its centre is nearer to the image's middle than the radius (strictly), as in
/// TomoPy's `circ_mask`. `image` is (rows, columns).
pub fn circular_mask(image: &mut [f32], rows: usize, columns: usize, ratio: f32, value: f32) -> Result<()> {
    check_len("image", image.len(), rows.saturating_mul(columns))?;
    if !ratio.is_finite() || ratio < 0.0 {
        return Err(Error::parameter("mask ratio", ratio, "it must be 0 or more; 1 means the full width"));
    }
    if columns == 0 {
        return Ok(());
    }
    for (y, line) in image.chunks_exact_mut(columns).enumerate() {
        let inside = columns_inside(y, rows, columns, ratio);
        line[..inside.start].fill(value);
        line[inside.end..].fill(value);
    }
    Ok(())
}

/// The columns of row `y` that lie inside the circle of [`circular_mask`]; empty where none does.
pub fn columns_inside(y: usize, rows: usize, columns: usize, ratio: f32) -> std::ops::Range<usize> {
    let ratio = f64::from(ratio);
    let radius = rows.min(columns) as f64 / 2.0;
    let limit = ratio * ratio * radius * radius;
    let middle = columns as f64 / 2.0;
    let dy = y as f64 + 0.5 - rows as f64 / 2.0;
    let inside = |x: usize| {
        let dx = x as f64 + 0.5 - middle;
        dx * dx + dy * dy < limit
    };
    // The circle is symmetric: count outside pixels from the left by the root, then settle the rounding.
    let reach = (limit - dy * dy).max(0.0).sqrt();
    let mut start = ((middle - reach - 0.5).floor().max(0.0) as usize).min(columns);
    start = start.saturating_sub(1);
    while start < columns.div_ceil(2) && !inside(start) {
        start += 1;
    }
    if start < columns && inside(start) { start..columns - start } else { columns..columns }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_agree_with_the_definition_pixel_by_pixel() {
        for (rows, columns) in [(1, 1), (7, 7), (8, 8), (8, 13), (13, 8), (64, 64), (2, 1)] {
            for ratio in [0.0f32, 0.3, 0.95, 1.0, 1.2, 3.0] {
                let mut image = vec![1.0; rows * columns];
                circular_mask(&mut image, rows, columns, ratio, -2.0).unwrap();
                let r = f64::from(ratio) * rows.min(columns) as f64 / 2.0;
                for (i, value) in image.iter().enumerate() {
                    let dy = (i / columns) as f64 + 0.5 - rows as f64 / 2.0;
                    let dx = (i % columns) as f64 + 0.5 - columns as f64 / 2.0;
                    let expected = if dx * dx + dy * dy < r * r { 1.0 } else { -2.0 };
                    assert_eq!(*value, expected, "{rows} × {columns}, ratio {ratio}, pixel {i}");
                }
            }
        }
    }

    #[test]
    fn bad_parameters_are_refused() {
        assert!(circular_mask(&mut [0.0; 4], 2, 3, 1.0, 0.0).is_err());
        assert!(circular_mask(&mut [0.0; 4], 2, 2, f32::NAN, 0.0).is_err());
        assert!(circular_mask(&mut [0.0; 4], 2, 2, -1.0, 0.0).is_err());
        assert!(circular_mask(&mut [], 0, 0, 1.0, 0.0).is_ok());
    }
}
