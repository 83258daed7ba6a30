//! The order of work: which detector rows are read together and which slices come of them.
//!
//! Slices are reconstructed in pairs of neighbouring detector rows (2k, 2k + 1), whatever rows are
//! wanted: two real slices share one complex transform, so a slice's last bits depend on its partner.
//! Fixing the partner by absolute row makes a slice the same in every job that contains it.

use std::ops::Range;

use crate::plan::Plan;

/// Two neighbouring detector rows and the slices wanted of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// The even row; the odd one follows unless the detector ends.
    pub row: usize,
    /// Slice index of each of the two rows, if wanted.
    pub slices: [Option<usize>; 2],
}

/// Contiguous detector rows that are read at once, even start, and their pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The rows.
    pub rows: Range<usize>,
    /// The pairs in them.
    pub pairs: Vec<Pair>,
}

/// One reading: what is computed at once while the next comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The slab of slices it belongs to.
    pub slab: usize,
    /// Whether it is the last of its slab.
    pub last: bool,
    /// What to read.
    pub segments: Vec<Segment>,
}

/// All units of `slabs`, in order; each reads at most `unit_rows` (even, at least 2) rows of a
/// detector with `detector_rows` rows.
pub fn units(
    plan: &Plan,
    slabs: impl IntoIterator<Item = usize>,
    unit_rows: usize,
    detector_rows: usize,
) -> Vec<Unit> {
    let mut all = Vec::new();
    for slab in slabs {
        let mut pairs: Vec<Pair> = Vec::new();
        for z in plan.slab_slices(slab) {
            let row = plan.rows.row(z);
            let even = row & !1;
            match pairs.last_mut() {
                Some(pair) if pair.row == even => pair.slices[row - even] = Some(z),
                _ => {
                    let mut pair = Pair { row: even, slices: [None; 2] };
                    pair.slices[row - even] = Some(z);
                    pairs.push(pair);
                }
            }
        }
        let first = all.len();
        for group in pairs.chunks((unit_rows / 2).max(1)) {
            all.push(Unit { slab, last: false, segments: segments(group, detector_rows) });
        }
        if all.len() > first
            && let Some(unit) = all.last_mut()
        {
            unit.last = true;
        }
    }
    all
}

fn segments(pairs: &[Pair], detector_rows: usize) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for &pair in pairs {
        let rows = pair.row..(pair.row + 2).min(detector_rows);
        match segments.last_mut() {
            Some(segment) if segment.rows.end == rows.start => {
                segment.rows.end = rows.end;
                segment.pairs.push(pair);
            }
            _ => segments.push(Segment { rows, pairs: vec![pair] }),
        }
    }
    segments
}
