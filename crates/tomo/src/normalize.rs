//! Flat and dark correction, clipping and −ln, fused: one pass from raw counts to a sinogram.
//!
//! transmission = (raw − dark) / max(flat − dark, 1e-6); out = −ln(max(transmission, minimum)).
//! The same as TomoPy's `normalize` + `minus_log` for [`FlatMethod::Mean`], as its `normalize_nf` for
//! [`FlatMethod::Nearest`] (give it medians for the same numbers), `normalize_bg` for
//! [`FlatMethod::Background`] and `normalize_roi` for [`FlatMethod::Region`].
//!
//! Samples that are not finite (masked or broken pixels of float scans) are replaced by the straight line
//! between their finite neighbours in the detector row and counted, as are the clipped ones.

use std::ops::Range;

use crate::error::{Error, Result, check_len};
use crate::flats::{choose, finite_mean, replace_non_finite, weighted_mean};
pub use crate::normalize_line::Sample;
use crate::normalize_line::{Reference, Transmission, divide_by_air, fetch, minus_log, repair};
use pulp::Arch;

/// Raw lines of a sinogram that are fetched at a time.
const FETCHED: usize = 8;

/// The mean of the flat fields that were taken together.
#[derive(Debug, Clone, PartialEq)]
pub struct FlatGroup {
    /// Projection index at which the group was taken (0 = before the scan, N = after its N projections).
    pub position: f64,
    /// Mean over the group's frames, (rows, columns) of this block.
    pub mean: Vec<f32>,
    /// Number of frames in the mean: its weight where groups are averaged.
    pub frames: usize,
}

impl FlatGroup {
    /// A group of unknown size (all such groups weigh the same).
    pub fn new(position: f64, mean: Vec<f32>) -> Self {
        Self { position, mean, frames: 1 }
    }
}

/// Which flat field a projection is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlatMethod {
    /// The mean of all flat frames.
    #[default]
    Mean,
    /// Straight line between the groups before and after, by projection index; constant outside.
    Interpolated,
    /// The nearest group.
    Nearest,
    /// Mean flat, then each detector row is divided by the straight line between the means of its `air`
    /// outermost columns at either end.
    Background {
        /// Number of columns at each end that see no sample; 1 or more.
        air: usize,
    },
    /// Mean flat, then each projection is divided by its own factor: the mean transmission over a region
    /// without sample ([`Normalizer::region_transmission`]), given by [`Normalizer::with_angle_factors`].
    Region,
}

/// How raw counts become a sinogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormalizeOptions {
    /// Choice of the flat field.
    pub method: FlatMethod,
    /// Transmissions below are raised to this before −ln (ignored without `log`).
    pub minimum_transmission: f32,
    /// Take −ln; else the result is the transmission itself, not clipped.
    pub log: bool,
    /// Exposure time of the flats over that of the projections; the transmission is multiplied by it.
    pub exposure_ratio: f32,
}

impl Default for NormalizeOptions {
    fn default() -> Self {
        Self { method: FlatMethod::Mean, minimum_transmission: 0.01, log: true, exposure_ratio: 1.0 }
    }
}

/// What had to be touched in a row or projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Samples that were not finite and were interpolated.
    pub non_finite: usize,
    /// Transmissions raised to the minimum.
    pub clipped: usize,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.non_finite += other.non_finite;
        self.clipped += other.clipped;
    }
}

/// A rectangle of detector pixels: rows `rows`, columns `columns`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Rows of the region.
    pub rows: std::ops::Range<usize>,
    /// Columns of the region.
    pub columns: std::ops::Range<usize>,
}

/// Flat and dark correction of one block of detector rows. Built once a block, shared by threads.
pub struct Normalizer {
    options: NormalizeOptions,
    columns: usize,
    rows: usize,
    projections: usize,
    dark: Vec<f32>,
    /// flat − dark of each usable group, not yet held above 1e-6.
    beams: Vec<Vec<f32>>,
    /// For each projection: group before, group after, weight of the one after.
    groups: Vec<(u32, u32, f32)>,
    /// For each projection: what the transmission is multiplied by (empty: 1).
    gains: Vec<f32>,
    has_factors: bool,
    repaired_references: usize,
    arch: Arch,
}

impl Normalizer {
    /// Prepares for blocks of `projections` × `rows` × `columns`; `dark` is the mean dark field, `flats`
    /// the flat groups in any order. Pixels of the references that are not finite are repaired (dark: 0;
    /// flat: the group's mean) and counted by [`Self::repaired_references`].
    pub fn new(
        options: NormalizeOptions,
        columns: usize,
        rows: usize,
        projections: usize,
        mut dark: Vec<f32>,
        mut flats: Vec<FlatGroup>,
    ) -> Result<Self> {
        check(&options, columns)?;
        let pixels = rows
            .checked_mul(columns)
            .filter(|n| n.checked_mul(projections).is_some_and(|n| n > 0))
            .ok_or_else(|| {
                Error::parameter(
                    "block",
                    format!("{projections} × {rows} × {columns}"),
                    "no axis may be empty",
                )
            })?;
        check_len("dark field", dark.len(), pixels)?;
        if flats.is_empty() {
            return Err(Error::data(
                "flat field",
                "there is none; give at least one group (a constant will do)",
            ));
        }
        let mut repaired = replace_non_finite(&mut dark, 0.0);
        for group in &mut flats {
            check_len("flat field", group.mean.len(), pixels)?;
            if !group.position.is_finite() {
                return Err(Error::parameter(
                    "flat position",
                    group.position,
                    "it must be a projection index",
                ));
            }
            let fill = finite_mean(&group.mean).ok_or_else(|| {
                Error::data(
                    "flat field",
                    "none of its values is finite; leave this group out or use other flats",
                )
            })?;
            repaired += replace_non_finite(&mut group.mean, fill);
        }
        flats.sort_by(|a, b| a.position.total_cmp(&b.position));
        let positions: Vec<f64> = flats.iter().map(|g| g.position).collect();
        let groups = (0..projections).map(|i| choose(options.method, &positions, i)).collect();
        let mut beams: Vec<Vec<f32>> = match options.method {
            FlatMethod::Interpolated | FlatMethod::Nearest => flats.into_iter().map(|g| g.mean).collect(),
            _ => vec![weighted_mean(flats, pixels)],
        };
        for beam in &mut beams {
            beam.iter_mut().zip(&dark).for_each(|(flat, dark)| *flat -= dark);
        }
        let gains = if options.exposure_ratio == 1.0 {
            Vec::new()
        } else {
            vec![options.exposure_ratio; projections]
        };
        Ok(Self {
            options,
            columns,
            rows,
            projections,
            dark,
            beams,
            groups,
            gains,
            has_factors: false,
            repaired_references: repaired,
            arch: Arch::new(),
        })
    }

    /// Divides the transmissions of projection i by `factors[i]` (mean transmission of a region without
    /// sample, beam current, ...). A factor that is missing, 0 or not finite counts as 1.
    pub fn with_angle_factors(mut self, factors: Vec<f32>) -> Self {
        self.has_factors = true;
        let ratio = self.options.exposure_ratio;
        let gain = |i: usize| match factors.get(i) {
            Some(f) if f.is_finite() && *f != 0.0 => ratio / f,
            _ => ratio,
        };
        self.gains = (0..self.projections).map(gain).collect();
        self
    }

    /// Pixels of darks and flats that were not finite and were replaced.
    pub fn repaired_references(&self) -> usize {
        self.repaired_references
    }

    /// One detector row of a block (angles, rows, columns) → its sinogram (angles, columns).
    pub fn sinogram<T: Sample>(&self, block: &[T], row: usize, out: &mut [f32]) -> Result<Counts> {
        self.sinogram_part(block, row, 0..self.projections, out)
    }

    /// The same for a range of angles: that part of the sinogram.
    pub fn sinogram_part<T: Sample>(
        &self,
        block: &[T],
        row: usize,
        angles: Range<usize>,
        out: &mut [f32],
    ) -> Result<Counts> {
        check_len("block of projections", block.len(), self.projections * self.rows * self.columns)?;
        check_len("sinogram", out.len(), angles.len() * self.columns)?;
        self.check_row(row)?;
        if angles.end > self.projections {
            self.check_index(angles.end)?;
        }
        let mut counts = Counts::default();
        let raw = |index: usize| {
            let start = (index * self.rows + row) * self.columns;
            &block[start..start + self.columns]
        };
        for (lines, first) in out.chunks_mut(FETCHED * self.columns).zip(angles.step_by(FETCHED)) {
            (first..first + lines.len() / self.columns).for_each(|index| fetch(raw(index)));
            for (index, line) in (first..).zip(lines.chunks_exact_mut(self.columns)) {
                counts += self.line(index, row, raw(index), line);
            }
        }
        Ok(counts)
    }

    /// Projection `index` as a whole, (rows, columns): for filters on projections and centre finding.
    pub fn projection<T: Sample>(&self, index: usize, raw: &[T], out: &mut [f32]) -> Result<Counts> {
        check_len("raw projection", raw.len(), self.rows * self.columns)?;
        check_len("projection", out.len(), self.rows * self.columns)?;
        self.check_index(index)?;
        let mut counts = Counts::default();
        let lines = raw.chunks_exact(self.columns).zip(out.chunks_exact_mut(self.columns));
        for (row, (raw, line)) in lines.enumerate() {
            counts += self.line(index, row, raw, line);
        }
        Ok(counts)
    }

    /// Mean transmission of projection `index` over `region`, before any angle factor: what
    /// [`Self::with_angle_factors`] wants for [`FlatMethod::Region`]. `raw` is the whole projection.
    pub fn region_transmission<T: Sample>(&self, index: usize, raw: &[T], region: &Region) -> Result<f32> {
        check_len("raw projection", raw.len(), self.rows * self.columns)?;
        self.check_index(index)?;
        let inside = region.rows.end <= self.rows && region.columns.end <= self.columns;
        if !inside || region.rows.is_empty() || region.columns.is_empty() {
            let reason =
                format!("it must be a non-empty part of the {} rows × {} columns", self.rows, self.columns);
            return Err(Error::parameter("region", format!("{region:?}"), reason));
        }
        let mut line = vec![0.0; self.columns];
        let mut sum = 0.0;
        for row in region.rows.clone() {
            let start = row * self.columns;
            self.transmission(index, row, 1.0, &raw[start..start + self.columns], &mut line);
            sum += line[region.columns.clone()].iter().map(|x| f64::from(*x)).sum::<f64>();
        }
        Ok((sum / (region.rows.len() * region.columns.len()) as f64) as f32)
    }

    fn check_row(&self, row: usize) -> Result<()> {
        if self.options.method == FlatMethod::Region && !self.has_factors {
            return Err(Error::parameter(
                "method",
                "region",
                "give one factor a projection with with_angle_factors",
            ));
        }
        if row < self.rows {
            return Ok(());
        }
        Err(Error::parameter("row", row, format!("the block has rows 0 to {}", self.rows - 1)))
    }

    fn check_index(&self, index: usize) -> Result<()> {
        self.check_row(0)?;
        if index < self.projections {
            return Ok(());
        }
        Err(Error::parameter(
            "projection",
            index,
            format!("the scan has projections 0 to {}", self.projections - 1),
        ))
    }

    /// Transmission of one line; returns the number of values that were not finite and got repaired.
    fn transmission<T: Sample>(
        &self,
        index: usize,
        row: usize,
        gain: f32,
        raw: &[T],
        out: &mut [f32],
    ) -> usize {
        let (bad, _) = self.pass(index, row, gain, None, raw, out);
        if bad > 0 {
            repair(out);
        }
        bad
    }

    /// One pass over a line: its transmission, or −ln of that where it is to be above a minimum. Returns how many values
    /// were not finite and how many were raised.
    fn pass<T: Sample>(
        &self,
        index: usize,
        row: usize,
        gain: f32,
        log: Option<f32>,
        raw: &[T],
        out: &mut [f32],
    ) -> (usize, usize) {
        let span = row * self.columns..(row + 1) * self.columns;
        let (before, after, weight) = self.groups[index];
        let beam = &self.beams[before as usize][span.clone()];
        let reference = if before == after {
            Reference::One(beam)
        } else {
            Reference::Between(beam, &self.beams[after as usize][span.clone()], weight)
        };
        self.arch.dispatch(Transmission { raw, dark: &self.dark[span], reference, gain, log, out })
    }

    fn line<T: Sample>(&self, index: usize, row: usize, raw: &[T], out: &mut [f32]) -> Counts {
        let gain = self.gains.get(index).copied().unwrap_or(1.0);
        if self.options.log && !matches!(self.options.method, FlatMethod::Background { .. }) {
            let minimum = self.options.minimum_transmission;
            let (bad, clipped) = self.pass(index, row, gain, Some(minimum), raw, out);
            if bad == 0 {
                return Counts { non_finite: 0, clipped };
            }
        }
        // Step by step: what is not finite is repaired before the logarithm.
        let non_finite = self.transmission(index, row, gain, raw, out);
        if let FlatMethod::Background { air } = self.options.method {
            divide_by_air(out, air);
        }
        let clipped =
            if self.options.log { minus_log(self.arch, self.options.minimum_transmission, out) } else { 0 };
        Counts { non_finite, clipped }
    }
}

fn check(options: &NormalizeOptions, columns: usize) -> Result<()> {
    let minimum = options.minimum_transmission;
    if options.log && !(f32::MIN_POSITIVE..1e30).contains(&minimum) {
        let reason = "it must be positive (0.01 is usual), as its logarithm is taken";
        return Err(Error::parameter("minimum_transmission", minimum, reason));
    }
    let ratio = options.exposure_ratio;
    if !ratio.is_finite() || ratio <= 0.0 {
        return Err(Error::parameter(
            "exposure_ratio",
            ratio,
            "it must be positive; 1 means equal exposures",
        ));
    }
    match options.method {
        FlatMethod::Background { air } if air == 0 || air > columns => {
            Err(Error::parameter("air", air, format!("it must lie between 1 and the {columns} columns")))
        }
        _ => Ok(()),
    }
}
