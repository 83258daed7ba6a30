//! Outlier (zinger) removal: a value that differs from the median of its surroundings by the threshold or
//! more is replaced by that median. Medians are those of TomoPy's `remove_outlier1d` (mirrored ends),
//! `remove_outlier` (half-sample symmetric borders) and `remove_outlier3d`.

use crate::error::{Error, Result, check_len};
use crate::stripes::wavelet::reflect;
use pulp::{Arch, Simd, WithSimd};

/// Which outliers are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Side {
    /// Only values above the median (zingers), as TomoPy.
    #[default]
    Bright,
    /// Values above and below, as the production script's own 1-D filter.
    Both,
}

/// Parameters of [`remove_outliers_1d`] and [`remove_outliers_2d`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutlierOptions {
    /// Smallest difference from the median that makes an outlier, in the unit of the data (counts).
    pub threshold: f32,
    /// Width of the median window; for an even width the upper of the two middle values counts.
    pub size: usize,
    /// Which outliers are removed.
    pub side: Side,
}

impl Default for OutlierOptions {
    fn default() -> Self {
        Self { threshold: 750.0, size: 3, side: Side::Bright }
    }
}

impl OutlierOptions {
    fn check(&self) -> Result<()> {
        if !self.threshold.is_finite() || self.threshold < 0.0 {
            return Err(Error::parameter(
                "outlier threshold",
                self.threshold,
                "it must be 0 or more (750 counts is usual)",
            ));
        }
        if !(1..=99).contains(&self.size) {
            return Err(Error::parameter(
                "outlier size",
                self.size,
                "it must lie between 1 and 99 (3 is usual)",
            ));
        }
        Ok(())
    }

    #[inline(always)]
    fn is_outlier(&self, value: f32, median: f32) -> bool {
        let difference = value - median;
        match self.side {
            Side::Bright => difference >= self.threshold,
            Side::Both => difference.abs() >= self.threshold,
        }
    }
}

/// Along the first axis of `block` (`angles` × anything): every pixel against the same pixel at neighbouring
/// angles. Returns the number of values replaced.
pub fn remove_outliers_1d(block: &mut [f32], angles: usize, options: &OutlierOptions) -> Result<usize> {
    options.check()?;
    if angles == 0 || !block.len().is_multiple_of(angles) {
        return Err(Error::parameter("angles", angles, format!("{} values cannot be split so", block.len())));
    }
    let width = block.len() / angles;
    if width == 0 {
        return Ok(0);
    }
    // Blocks of columns, so that the copy stays in the cache.
    let mut replaced = 0;
    for start in (0..width).step_by(CHUNK) {
        let count = CHUNK.min(width - start);
        let rows: Vec<f32> =
            block.chunks_exact(width).flat_map(|line| line[start..start + count].iter().copied()).collect();
        let lines: Vec<&[f32]> = rows.chunks_exact(count).collect();
        for angle in 0..angles {
            let window: Vec<&[f32]> = (0..options.size)
                .map(|k| lines[mirror(angle as isize + k as isize - (options.size / 2) as isize, angles)])
                .collect();
            let out = &mut block[angle * width + start..angle * width + start + count];
            replaced += replace_line(&window, 1, options, out);
        }
    }
    Ok(replaced)
}

/// On a projection (rows, columns): every pixel against the square around it. Returns the number replaced.
pub fn remove_outliers_2d(
    image: &mut [f32],
    rows: usize,
    columns: usize,
    options: &OutlierOptions,
) -> Result<usize> {
    options.check()?;
    check_len("projection", image.len(), rows.saturating_mul(columns))?;
    if image.is_empty() {
        return Ok(0);
    }
    let (before, size) = (options.size / 2, options.size);
    // Lines extended on both sides, so that a window is `size` neighbouring values of `size` lines.
    let wide = columns + size - 1;
    let extended: Vec<f32> = image
        .chunks_exact(columns)
        .flat_map(|line| (0..wide).map(move |j| line[reflect(j as isize - before as isize, columns)]))
        .collect();
    let mut replaced = 0;
    for (row, out) in image.chunks_exact_mut(columns).enumerate() {
        let window: Vec<&[f32]> = (0..size)
            .map(|k| reflect(row as isize + k as isize - before as isize, rows))
            .map(|r| &extended[r * wide..(r + 1) * wide])
            .collect();
        replaced += replace_line(&window, size, options, out);
    }
    Ok(replaced)
}

/// On a stack (depth, rows, columns): every voxel against the cube of `2 · radius + 1` around it, both sides;
/// beyond a border the voxel's own coordinate is taken. A threshold of 0 makes it a plain median filter.
pub fn remove_outliers_3d(
    stack: &mut [f32],
    shape: [usize; 3],
    radius: usize,
    threshold: f32,
) -> Result<usize> {
    OutlierOptions { threshold, size: 3, side: Side::Both }.check()?;
    let [depth, rows, columns] = shape;
    check_len("stack", stack.len(), depth.saturating_mul(rows).saturating_mul(columns))?;
    if !(1..=7).contains(&radius) {
        return Err(Error::parameter("outlier radius", radius, "it must lie between 1 and 7"));
    }
    let input = stack.to_vec();
    let reach = |i: usize, n: usize| {
        let r = radius as isize;
        (-r..=r).map(move |d| i.checked_add_signed(d).filter(|k| *k < n).unwrap_or(i))
    };
    let mut values = Vec::with_capacity((2 * radius + 1).pow(3));
    let mut replaced = 0;
    for z in 0..depth {
        for y in 0..rows {
            for x in 0..columns {
                values.clear();
                for k in reach(z, depth) {
                    for j in reach(y, rows) {
                        values.extend(reach(x, columns).map(|i| input[(k * rows + j) * columns + i]));
                    }
                }
                let median = middle(&mut values);
                let value = &mut stack[(z * rows + y) * columns + x];
                if (*value - median).abs() >= threshold {
                    replaced += usize::from(*value != median);
                    *value = median;
                }
            }
        }
    }
    Ok(replaced)
}

/// Columns handled together.
const CHUNK: usize = 512;

/// Index of element `i` of the extension that mirrors about the end values (… c b | a b c … | b a …).
fn mirror(i: isize, n: usize) -> usize {
    if n == 1 {
        return 0;
    }
    let period = 2 * (n - 1);
    let i = i.rem_euclid(period as isize) as usize;
    if i < n { i } else { period - i }
}

fn middle(values: &mut [f32]) -> f32 {
    let half = values.len() / 2;
    *values.select_nth_unstable_by(half, |a, b| a.total_cmp(b)).1
}

/// Replaces the outliers of one line. The window of out[j] is window[..][j..j + width].
fn replace_line(window: &[&[f32]], width: usize, options: &OutlierOptions, out: &mut [f32]) -> usize {
    match (window, width) {
        ([a, b, c], 1) => Arch::new().dispatch(Three { lines: [a, b, c], options, out }),
        ([a, b, c], 3) => Arch::new().dispatch(Nine { lines: [a, b, c], options, out }),
        _ => {
            let mut values = Vec::with_capacity(window.len() * width);
            let mut replaced = 0;
            for (j, value) in out.iter_mut().enumerate() {
                values.clear();
                window.iter().for_each(|line| values.extend_from_slice(&line[j..j + width]));
                let median = middle(&mut values);
                if options.is_outlier(*value, median) {
                    *value = median;
                    replaced += 1;
                }
            }
            replaced
        }
    }
}

#[inline(always)]
fn order(a: f32, b: f32) -> (f32, f32) {
    if a < b { (a, b) } else { (b, a) }
}

#[inline(always)]
fn median3(a: f32, b: f32, c: f32) -> f32 {
    let (low, high) = order(a, b);
    order(low, order(high, c).0).1
}

#[inline(always)]
fn settle(options: &OutlierOptions, value: &mut f32, median: f32) -> u32 {
    let outlier = options.is_outlier(*value, median);
    *value = if outlier { median } else { *value };
    u32::from(outlier)
}

/// Median of three lines at each column.
struct Three<'a> {
    lines: [&'a [f32]; 3],
    options: &'a OutlierOptions,
    out: &'a mut [f32],
}

impl WithSimd for Three<'_> {
    type Output = usize;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        let n = self.out.len();
        let [a, b, c] = self.lines.map(|line| &line[..n]);
        let mut replaced = 0;
        for (j, value) in self.out.iter_mut().enumerate() {
            replaced += settle(self.options, value, median3(a[j], b[j], c[j]));
        }
        replaced as usize
    }
}

/// Median of 3 × 3: columns sorted, then the median of (largest low, median middle, smallest high).
struct Nine<'a> {
    lines: [&'a [f32]; 3],
    options: &'a OutlierOptions,
    out: &'a mut [f32],
}

impl WithSimd for Nine<'_> {
    type Output = usize;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        let n = self.out.len();
        let [a, b, c] = self.lines.map(|line| &line[..n + 2]);
        let mut replaced = 0;
        for (j, value) in self.out.iter_mut().enumerate() {
            let sorted = |k: usize| {
                let (low, high) = order(a[k], b[k]);
                let (middle, high) = order(high, c[k]);
                let (low, middle) = order(low, middle);
                (low, middle, high)
            };
            let (p, q, r) = (sorted(j), sorted(j + 1), sorted(j + 2));
            let low = order(order(p.0, q.0).1, r.0).1;
            let high = order(order(p.2, q.2).0, r.2).0;
            replaced += settle(self.options, value, median3(low, median3(p.1, q.1, r.1), high));
        }
        replaced as usize
    }
}
