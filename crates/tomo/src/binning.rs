//! Binning: means over neighbouring pixels. What does not fill a bin at the far end is left out, as in
//! TomoPy's `downsample`.

use crate::error::{Error, Result, check_len};
use crate::normalize::Sample;

/// Means over `factor` × `factor` pixels of a raw projection (rows, columns); returns the binned projection
/// with its rows and columns.
pub fn bin_projection<T: Sample>(
    raw: &[T],
    rows: usize,
    columns: usize,
    factor: usize,
) -> Result<(Vec<f32>, usize, usize)> {
    bin2d(raw, rows, columns, factor, factor)
}

/// Means over `by_rows` × `by_columns` pixels of an image (rows, columns), summed in f64.
pub fn bin2d<T: Sample>(
    image: &[T],
    rows: usize,
    columns: usize,
    by_rows: usize,
    by_columns: usize,
) -> Result<(Vec<f32>, usize, usize)> {
    check_len("image", image.len(), rows.saturating_mul(columns))?;
    check(by_rows, rows)?;
    check(by_columns, columns)?;
    let (height, width) = (rows / by_rows, columns / by_columns);
    let mut out = Vec::with_capacity(height * width);
    let mut sums = vec![0.0f64; width];
    for lines in image.chunks_exact(by_rows * columns).take(height) {
        sums.fill(0.0);
        for line in lines.chunks_exact(columns) {
            for (sum, bin) in sums.iter_mut().zip(line.chunks_exact(by_columns)) {
                *sum += bin.iter().map(|x| f64::from(x.to_f32())).sum::<f64>();
            }
        }
        let share = 1.0 / (by_rows * by_columns) as f64;
        out.extend(sums.iter().map(|s| (s * share) as f32));
    }
    Ok((out, height, width))
}

/// Means over `factor` neighbours along one axis (0, 1 or 2) of a block; returns it with its new shape.
pub fn bin_axis<T: Sample>(
    block: &[T],
    shape: [usize; 3],
    axis: usize,
    factor: usize,
) -> Result<(Vec<f32>, [usize; 3])> {
    let Some(length) = shape.get(axis).copied() else {
        return Err(Error::parameter("axis", axis, "a block has the axes 0, 1 and 2"));
    };
    check_len("block", block.len(), shape.iter().fold(1, |n: usize, s| n.saturating_mul(*s)))?;
    check(factor, length)?;
    let mut small = shape;
    small[axis] = length / factor;
    let inner: usize = shape[axis + 1..].iter().product();
    let mut out = Vec::with_capacity(small.iter().product());
    if inner > 0 {
        for outer in block.chunks_exact(length * inner) {
            for bin in outer.chunks_exact(factor * inner) {
                out.extend((0..inner).map(|i| {
                    let sum: f64 = bin[i..].iter().step_by(inner).map(|x| f64::from(x.to_f32())).sum();
                    (sum / factor as f64) as f32
                }));
            }
        }
    }
    Ok((out, small))
}

fn check(factor: usize, length: usize) -> Result<()> {
    if (1..=length).contains(&factor) {
        return Ok(());
    }
    Err(Error::parameter("binning", factor, format!("it must lie between 1 and the axis's {length} pixels")))
}
