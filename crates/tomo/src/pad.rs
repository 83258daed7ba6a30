//! Padding and cropping of sinogram columns.

use crate::error::{Error, Result, check_len};

/// What is put beside the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fill {
    /// Zeros.
    Zero,
    /// The outermost value of each line.
    #[default]
    Edge,
}

/// Columns that the production script puts on each side: ⌊(⌈n√2⌉ − n) / 2⌋.
pub fn usual_width(columns: usize) -> usize {
    ((columns as f64 * std::f64::consts::SQRT_2).ceil() as usize).saturating_sub(columns) / 2
}

/// Pads every line of `input` (lines, columns) by `left` and `right` columns.
pub fn pad_columns(input: &[f32], columns: usize, left: usize, right: usize, fill: Fill) -> Result<Vec<f32>> {
    if columns == 0 || !input.len().is_multiple_of(columns) {
        return Err(Error::parameter(
            "columns",
            columns,
            format!("{} values cannot be split so", input.len()),
        ));
    }
    let wide = left.checked_add(right).and_then(|n| n.checked_add(columns));
    let total =
        wide.and_then(|n| n.checked_mul(input.len() / columns)).filter(|n| *n <= isize::MAX as usize / 4);
    let Some((wide, total)) = wide.zip(total) else {
        return Err(Error::parameter(
            "padding",
            format!("{left} + {right}"),
            "it is larger than memory can be",
        ));
    };
    let mut out = vec![0.0; total];
    for (line, wide) in input.chunks_exact(columns).zip(out.chunks_exact_mut(wide)) {
        wide[left..left + columns].copy_from_slice(line);
        if fill == Fill::Edge {
            wide[..left].fill(line[0]);
            wide[left + columns..].fill(line[columns - 1]);
        }
    }
    Ok(out)
}

/// Copies the columns from `left` on of every line of `input` (lines, columns) into `out` (lines, `width`).
pub fn crop_columns(input: &[f32], columns: usize, left: usize, width: usize, out: &mut [f32]) -> Result<()> {
    if columns == 0 || width == 0 || left.checked_add(width).is_none_or(|end| end > columns) {
        let reason = format!("columns {left} to {left} + {width} are not within {columns}");
        return Err(Error::parameter("crop", left, reason));
    }
    check_len("cropped array", out.len(), input.len() / columns * width)?;
    for (line, out) in input.chunks_exact(columns).zip(out.chunks_exact_mut(width)) {
        out.copy_from_slice(&line[left..left + width]);
    }
    Ok(())
}
