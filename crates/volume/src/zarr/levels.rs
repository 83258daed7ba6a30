//! The levels of a pyramid: sizes, places, and the mean of 2×2×2 children.
//!
//! Every level halves every axis (an axis of 1 stays), until no axis exceeds 256. Level k has
//! `ceil(n / 2)` voxels where level k-1 has n; at odd sizes the last voxel's missing neighbour is a copy of
//! itself. A voxel is centred on the mean of its children's centres:
//!
//! ```text
//! scale_k       = scale_0 · 2^h                     h: how often this axis was halved
//! translation_k = origin + (2^h − 1) / 2 · scale_0
//! ```
//!
//! The transforms place the last voxel of an odd axis as if its missing neighbour existed, because a
//! regular grid can say nothing else.
//!
//! A *slab* is 32 rows of a level, one chunk high. Slab s of level k is made from the slabs 2s and 2s+1 of
//! level k-1, so pairs of rows never cross a slab's border.

use std::ops::Range;

use crate::spec::VolumeSpec;
use crate::voxels::Voxel;

/// Rows of a chunk, and of a slab.
pub(crate) const CHUNK_ROWS: usize = 32;
/// Chunk size along y and x.
pub(crate) const CHUNK_SIDE: usize = 256;
/// Levels are added until no axis is larger.
const COARSEST: usize = 256;

/// Size and place of a level.
#[derive(Debug, Clone, PartialEq)]
pub struct LevelGeometry {
    /// Voxels along z, y, x.
    pub shape: [usize; 3],
    /// Distance between voxels along z, y, x, in micrometres or pixels.
    pub scale: [f64; 3],
    /// Centre of voxel (0, 0, 0), in micrometres or pixels.
    pub translation: [f64; 3],
}

impl LevelGeometry {
    /// Chunk size; a chunk is never larger than the level.
    pub fn chunk(&self) -> [usize; 3] {
        let [z, y, x] = self.shape;
        [z.min(CHUNK_ROWS), y.min(CHUNK_SIDE), x.min(CHUNK_SIDE)]
    }

    /// Number of slabs.
    pub fn slabs(&self) -> usize {
        self.shape[0].div_ceil(CHUNK_ROWS)
    }

    /// Rows of slab `slab`; empty beyond the end.
    pub fn slab_rows(&self, slab: usize) -> Range<usize> {
        let end = self.shape[0];
        let start = slab.saturating_mul(CHUNK_ROWS).min(end);
        start..start.saturating_add(CHUNK_ROWS).min(end)
    }

    /// Voxels in a row of the volume (one slice of this level).
    pub fn slice_voxels(&self) -> usize {
        self.shape[1] * self.shape[2]
    }
}

/// All levels of a volume, finest first.
pub fn levels(spec: &VolumeSpec) -> Vec<LevelGeometry> {
    let mut level = LevelGeometry { shape: spec.shape, scale: spec.scale(), translation: spec.origin() };
    let mut all = vec![level.clone()];
    while level.shape.iter().any(|&n| n > COARSEST) {
        for axis in 0..3 {
            if level.shape[axis] > 1 {
                level.shape[axis] = level.shape[axis].div_ceil(2);
                // Half a fine voxel further; summed over levels this is the formula above, without
                // rounding where the scale is a short binary number.
                level.translation[axis] += 0.5 * level.scale[axis];
                level.scale[axis] *= 2.0;
            }
        }
        all.push(level.clone());
    }
    all
}

/// The level-0 slabs that slab `slab` of `level` is made of, clipped at `slabs`, their number.
pub(crate) fn level0_slabs(level: usize, slab: usize, slabs: usize) -> Range<usize> {
    let width = 1usize.checked_shl(level as u32).unwrap_or(usize::MAX);
    let start = slab.saturating_mul(width).min(slabs);
    start..start.saturating_add(width).min(slabs)
}

/// The means of the 2×2×2 children in a window (y, x, beginning at even numbers) of the slices z - 1 and z:
/// called with each z of a slab in turn, it acts where a pair is complete. `lines` are those of the level
/// above, in the order z, y. `shape` is that of the children's level.
///
/// The children are added as ((z0y0 + z0y1) + (z1y0 + z1y1)) along each column, then the two columns:
/// always in this order, so the result has the same bits however it is cut into slabs and tiles.
pub(super) fn halve_lines<T: Voxel>(
    slices: &[&[T]],
    [_, ny, nx]: [usize; 3],
    z: usize,
    (y, x): &(Range<usize>, Range<usize>),
    lines: &mut [&mut [T]],
) {
    if lines.is_empty() || (z.is_multiple_of(2) && z + 1 < slices.len()) {
        return;
    }
    let count = y.len().div_ceil(2);
    pulp::Arch::new().dispatch(Halve {
        first: slices[z & !1],
        second: slices[z],
        size: [ny, nx],
        y: y.clone(),
        x: x.clone(),
        lines: &mut lines[z / 2 * count..],
    });
}

/// The means in a window of two slices, on the instructions that this machine has.
struct Halve<'a, 'b, T> {
    first: &'a [T],
    second: &'a [T],
    size: [usize; 2],
    y: Range<usize>,
    x: Range<usize>,
    lines: &'a mut [&'b mut [T]],
}

impl<T: Voxel> pulp::NullaryFnOnce for Halve<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { first, second, size: [ny, nx], y, x, lines } = self;
        let at = |row: usize| row * nx + x.start..row * nx + x.end;
        for (row, out) in y.step_by(2).zip(lines) {
            let (row, next) = (at(row), at((row + 1).min(ny - 1)));
            halve_line(&first[row.clone()], &first[next.clone()], &second[row], &second[next], out);
        }
    }
}

/// One line of means from four lines of children.
#[inline(always)]
fn halve_line<T: Voxel>(a: &[T], b: &[T], c: &[T], d: &[T], out: &mut [T]) {
    let column = |a: T, b: T, c: T, d: T| T::add(T::add(a.widen(), b.widen()), T::add(c.widen(), d.widen()));
    let pairs = a.chunks_exact(2).zip(b.chunks_exact(2)).zip(c.chunks_exact(2).zip(d.chunks_exact(2)));
    for (out, ((a, b), (c, d))) in out.iter_mut().zip(pairs) {
        let sum = T::add(column(a[0], b[0], c[0], d[0]), column(a[1], b[1], c[1], d[1]));
        *out = T::eighth(sum);
    }
    if a.len() % 2 == 1
        && let ([.., a], [.., b], [.., c], [.., d], [.., out]) = (a, b, c, d, out)
    {
        let last = column(*a, *b, *c, *d);
        *out = T::eighth(T::add(last, last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn spec(shape: [usize; 3]) -> VolumeSpec {
        VolumeSpec {
            shape,
            first_row: 0,
            row_step: 1,
            voxel_um: Some([0.65; 3]),
            dtype: Default::default(),
            scaling: None,
            unit: "1/cm".into(),
            name: "rec".into(),
            provenance: Value::Null,
        }
    }

    #[test]
    fn sizes_round_up_and_axes_of_one_stay() {
        let shapes = |s| levels(&spec(s)).iter().map(|l| l.shape).collect::<Vec<_>>();
        assert_eq!(shapes([2160, 2560, 2560]).len(), 5);
        assert_eq!(shapes([1, 513, 300]), [[1, 513, 300], [1, 257, 150], [1, 129, 75]]);
        assert_eq!(shapes([256, 256, 256]).len(), 1);
    }

    #[test]
    fn transforms_place_a_voxel_at_the_mean_of_its_children() {
        let mut s = spec([100, 1100, 1]);
        (s.first_row, s.row_step) = (7, 3);
        let all = levels(&s);
        assert_eq!(all[0].scale, [0.65 * 3.0, 0.65, 0.65]);
        assert!((all[0].translation[0] - 7.0 * 0.65).abs() < 1e-12);
        for pair in all.windows(2) {
            for axis in 0..3 {
                let children = pair[0].shape[axis].min(2) as f64;
                // Centres of the first voxel's children are at translation + i * scale.
                let mean = pair[0].translation[axis] + 0.5 * (children - 1.0) * pair[0].scale[axis];
                assert!((pair[1].translation[axis] - mean).abs() < 1e-9);
                assert_eq!(pair[1].scale[axis], pair[0].scale[axis] * children);
            }
        }
    }

    #[test]
    fn halving_is_the_mean_with_replicated_edges() {
        let (n, ny, nx) = (3, 5, 7);
        let rows: Vec<f32> = (0..n * ny * nx).map(|i| ((i * 37) % 101) as f32).collect();
        let slices: Vec<&[f32]> = rows.chunks(ny * nx).collect();
        let mut out = [0.0; 2 * 3 * 4];
        let mut lines: Vec<&mut [f32]> = out.chunks_mut(4).collect();
        for z in 0..n {
            halve_lines(&slices, [n, ny, nx], z, &(0..ny, 0..nx), &mut lines);
        }
        for z in 0..2 {
            for y in 0..3 {
                for x in 0..4 {
                    let mut sum = 0.0f64;
                    for i in 0..8 {
                        let (cz, cy, cx) = (
                            (2 * z + i / 4).min(n - 1),
                            (2 * y + i / 2 % 2).min(ny - 1),
                            (2 * x + i % 2).min(nx - 1),
                        );
                        sum += f64::from(rows[(cz * ny + cy) * nx + cx]);
                    }
                    // Sums of small integers are exact in f32.
                    assert_eq!(f64::from(out[(z * 3 + y) * 4 + x]), sum / 8.0);
                }
            }
        }
    }

    #[test]
    fn slabs_of_coarse_levels_are_clipped() {
        assert_eq!(level0_slabs(2, 1, 7), 4..7);
        assert_eq!(level0_slabs(0, 3, 7), 3..4);
        assert_eq!(level0_slabs(70, 0, 7), 0..7);
        assert!(level0_slabs(1, 9, 7).is_empty());
    }
}
