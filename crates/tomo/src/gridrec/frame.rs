//! The image frame that both modes share: where the axis lies, and which pixels are wanted.

use std::ops::Range;

/// Geometry of an n × n output image, TomoPy's.
///
/// With `axis` = ceil(n/2), pixel (row, column) lies at x = column − axis along the detector direction of angle 0 and at
/// y = n − 1 − row − axis along that of 90°: for even n the axis falls on column n/2, row n/2 − 1.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// Image width and height in pixels.
    pub(crate) size: usize,
    /// Columns left of the axis.
    pub(crate) axis: usize,
    /// Wanted columns of each image row; what lies outside is set to 0.
    pub(crate) spans: Vec<Range<usize>>,
}

impl Frame {
    /// A frame with a circular mask of `ratio` times the width, as TomoPy draws it, or without one.
    pub(crate) fn new(size: usize, ratio: Option<f32>) -> Self {
        let spans = (0..size)
            .map(|row| match ratio {
                None => 0..size,
                Some(ratio) => {
                    let half = 0.5 * size as f64;
                    let limit = (f64::from(ratio) * half).powi(2);
                    let y = row as f64 + 0.5 - half;
                    let inside = |column: &usize| (*column as f64 + 0.5 - half).powi(2) + y * y < limit;
                    // The circle is symmetric and convex: a row's span runs from its first inside pixel to the mirror.
                    match (0..size).find(inside) {
                        Some(first) => first..(size - first).max(first),
                        None => 0..0,
                    }
                }
            })
            .collect();
        Self { size, axis: size.div_ceil(2), spans }
    }

    /// x of a column, pixels from the axis.
    pub(crate) fn x(&self, column: usize) -> isize {
        column as isize - self.axis as isize
    }

    /// y of a row, pixels from the axis.
    pub(crate) fn y(&self, row: usize) -> isize {
        self.size as isize - 1 - row as isize - self.axis as isize
    }

    /// Largest distance of a wanted pixel from the axis.
    pub(crate) fn radius(&self) -> f64 {
        let mut largest = 0.0f64;
        for (row, span) in self.spans.iter().enumerate() {
            if !span.is_empty() {
                for column in [span.start, span.end - 1] {
                    largest = largest.max((self.x(column) as f64).hypot(self.y(row) as f64));
                }
            }
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_lies_where_tomopy_puts_it() {
        let frame = Frame::new(8, None);
        assert_eq!((frame.x(4), frame.y(3)), (0, 0));
        assert_eq!(frame.spans, vec![0..8; 8]);
    }

    #[test]
    fn the_mask_is_a_circle_and_bounds_the_radius() {
        let frame = Frame::new(100, Some(1.0));
        let count: usize = frame.spans.iter().map(std::iter::ExactSizeIterator::len).sum();
        assert!((count as f64 / 1e4 - std::f64::consts::FRAC_PI_4).abs() < 0.01);
        assert!(frame.radius() < 51.0 && frame.radius() > 49.0);
        assert!(Frame::new(3, Some(1e-6)).radius() <= 2.0);
    }
}
