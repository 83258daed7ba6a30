//! Rotation centre: where the axis of rotation falls on the detector, and how far that answer can be trusted.
//!
//! All methods rest on one fact: the projection at θ + 180° is the projection at θ mirrored about the
//! centre. They differ in how they use it:
//!
//! | method | uses | module |
//! |---|---|---|
//! | [`Method::PhaseCorrelation`] | one pair of projections half a turn apart | [`phase_correlation`] |
//! | [`Method::Vo`] | the double wedge that the spectrum of a full-turn sinogram must fit in | [`vo`] |
//! | [`Method::Entropy`] | the sharpness of the reconstructed slice | [`entropy`] |
//! | [`Method::Overlap`] | all pairs of a 360° scan, the axis anywhere on the detector | [`overlap`] |
//! | [`Method::Auto`] | the statistically best use of the projections on both sides of the seam, checked by a second, independent method | [`auto`] |
//!
//! A centre is a 0-based detector column, pixel centres at integers. It is never returned without a
//! [`Verdict`]: a wrong centre ruins a volume silently, so an answer that the data does not support is
//! declined and the reason says what to do.

pub mod auto;
pub mod entropy;
pub mod evidence;
pub mod overlap;
pub mod pairs;
pub mod phase_correlation;
pub mod verdict;
pub mod vo;

mod combine;
mod likeness;
mod moment;
mod prepare;
mod project;
mod score;
mod seam;
mod tiles;

pub use evidence::{Evidence, evidence};
pub use pairs::pair_180;
pub use phase_correlation::{production_pair, production_phase_correlation};

use crate::error::{Error, Result, check_len};
use serde::{Deserialize, Serialize};

/// How the centre is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Sub-pixel phase correlation of one pair of projections, chosen by angle.
    PhaseCorrelation,
    /// Vo's Fourier-wedge metric on a sinogram over 180°.
    Vo,
    /// Least entropy of the reconstructed slice (Donath).
    Entropy,
    /// All mirrored pairs of a 360° scan; finds an axis near either side too (half acquisition).
    Overlap,
    /// The best of these for the scan at hand, cross-checked.
    #[default]
    Auto,
}

impl Method {
    /// The method in words, for reasons and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::PhaseCorrelation => "phase correlation",
            Self::Vo => "Vo's method",
            Self::Entropy => "entropy",
            Self::Overlap => "360° overlap",
            Self::Auto => "automatic",
        }
    }
}

/// What an [`Estimate`] is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// One centre, supported by the data: go on with it.
    Found,
    /// Several centres fit about as well, or rows or methods disagree.
    Ambiguous,
    /// The best centre lies at the edge of, or outside, the range searched.
    AtEdge,
    /// Nothing in the data singles out a centre: empty beam, noise, or too few angles.
    Featureless,
}

/// The centre found in one detector row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowCenter {
    /// Detector row.
    pub row: usize,
    /// Centre in that row alone, columns.
    pub center: f64,
    /// 0 to 1: how clearly that row alone shows it.
    pub confidence: f64,
}

/// A rotation centre and what it is worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Best centre, 0-based column. To be used only when `verdict` is [`Verdict::Found`].
    pub center: f64,
    /// 0 to 1. 0.5 and more goes with [`Verdict::Found`], less with every other verdict.
    pub confidence: f64,
    /// Whether the data supports the centre.
    pub verdict: Verdict,
    /// Method that gave the centre.
    pub method: Method,
    /// The same in single rows, in the order given.
    pub per_row: Vec<RowCenter>,
    /// One standard deviation of `center` as far as the data tells, in pixels.
    pub uncertainty: f64,
    /// One sentence or two for the user: why this verdict, and what to do when it is not `Found`.
    pub reason: String,
}

/// What the centre is looked for in.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Detector columns.
    pub columns: usize,
    /// Angle of each projection, radians, any order and offset; θ and −θ do equally.
    pub angles: &'a [f64],
    /// Detector row and its −log sinogram (angles, columns). Three to seven rows spread over the detector do.
    pub sinograms: &'a [(usize, Vec<f32>)],
    /// Two whole normalised projections about 180° apart (see [`pair_180`]), each (rows, columns), and the
    /// number of rows. Used by phase correlation, and by `Auto` as a second opinion.
    pub pair: Option<(&'a [f32], &'a [f32], usize)>,
}

/// How [`find`] is to look.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Options {
    /// Method.
    pub method: Method,
    /// First and last column that the centre may lie at; `None`: wherever the method can find one.
    pub search: Option<(f64, f64)>,
}

/// Fewest columns in which a centre can be looked for.
pub const MINIMUM_COLUMNS: usize = 8;

/// Looks for the rotation centre.
///
/// # Errors
/// [`Error::Shape`] when a sinogram or the pair does not have the length its shape demands;
/// [`Error::Parameter`] for fewer than 8 columns, fewer than 2 angles, angles that are not finite or all equal,
/// a search range that is empty or outside the detector, or a method whose input is not there. Data in which no
/// centre can be found is no error but a verdict.
pub fn find(input: &Input, options: &Options) -> Result<Estimate> {
    check(input, options)?;
    if !input.sinograms.is_empty() && input.sinograms.iter().all(|(_, s)| nothing_moves(s, input.columns)) {
        return Ok(nothing_to_see(input, options));
    }
    match options.method {
        Method::PhaseCorrelation => phase_correlation::find(input, options),
        Method::Vo => auto::confirmed(input, options, vo::find(input, options)?),
        Method::Entropy => auto::confirmed(input, options, entropy::find(input, options)?),
        Method::Overlap => overlap::find(input, options),
        Method::Auto => auto::find(input, options),
    }
}

/// Refuses input that no method can work with.
fn check(input: &Input, options: &Options) -> Result<()> {
    let columns = input.columns;
    if columns < MINIMUM_COLUMNS {
        let reason =
            format!("a rotation centre needs at least {MINIMUM_COLUMNS} detector columns; set it by hand");
        return Err(Error::parameter("columns", columns, reason));
    }
    let angles = input.angles;
    if angles.len() < 2 {
        return Err(Error::parameter(
            "angles",
            angles.len(),
            "a rotation centre needs at least two projections",
        ));
    }
    if let Some(bad) = angles.iter().find(|angle| !angle.is_finite()) {
        return Err(Error::parameter("angles", bad, "every angle must be a finite number of radians"));
    }
    if angles.iter().all(|&angle| angle == angles[0]) {
        return Err(Error::parameter(
            "angles",
            angles[0],
            "all projections have the same angle; correct theta",
        ));
    }
    for (_, sinogram) in input.sinograms {
        check_len("sinogram", sinogram.len(), angles.len() * columns)?;
    }
    if let Some((first, second, rows)) = input.pair {
        check_len("first projection of the pair", first.len(), rows * columns)?;
        check_len("second projection of the pair", second.len(), rows * columns)?;
    }
    if let Some((low, high)) = options.search {
        let last = (columns - 1) as f64;
        if !(low.is_finite() && high.is_finite() && low < high && high > 0.0 && low < last) {
            let reason =
                format!("the range must be two increasing columns that meet the detector, 0 to {last}");
            return Err(Error::parameter("search", format!("{low}..{high}"), reason));
        }
    }
    Ok(())
}

/// Whether all projections of a row are the same to a millionth of their size: an empty or blocked beam.
fn nothing_moves(sinogram: &[f32], columns: usize) -> bool {
    let first = &sinogram[..columns];
    let size = first.iter().filter(|v| v.is_finite()).fold(0.0f32, |m, v| m.max(v.abs()));
    let differs = |a: f32, b: f32| a.is_finite() && b.is_finite() && (a - b).abs() > 1e-6 * size;
    !sinogram.chunks_exact(columns).any(|row| row.iter().zip(first).any(|(&a, &b)| differs(a, b)))
}

/// The answer for rows in which nothing moves.
fn nothing_to_see(input: &Input, options: &Options) -> Estimate {
    let center = 0.5 * (input.columns as f64 - 1.0);
    Estimate {
        center,
        confidence: 0.0,
        verdict: Verdict::Featureless,
        method: options.method,
        per_row: input.sinograms.iter().map(|(row, _)| RowCenter { row: *row, center, confidence: 0.0 }).collect(),
        uncertainty: input.columns as f64,
        reason: "All projections of the rows looked at are the same: the beam is empty or blocked there; choose rows that show the sample.".to_owned(),
    }
}

/// Refuses a method that needs sinograms when there are none.
fn need_sinograms(input: &Input) -> Result<()> {
    if input.sinograms.is_empty() {
        return Err(Error::parameter(
            "sinograms",
            0,
            "this method needs at least one detector row's sinogram",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_no_method_can_use() {
        let angles = [0.0, 1.0, 2.0];
        let good = vec![(0, vec![0.0f32; 48])];
        let input = Input { columns: 16, angles: &angles, sinograms: &good, pair: None };
        assert!(find(&Input { columns: 4, ..input }, &Options::default()).is_err());
        assert!(find(&Input { angles: &[0.0], ..input }, &Options::default()).is_err());
        assert!(find(&Input { angles: &[0.0, f64::NAN, 1.0], ..input }, &Options::default()).is_err());
        assert!(find(&Input { angles: &[1.0, 1.0, 1.0], ..input }, &Options::default()).is_err());
        let short = vec![(0, vec![0.0f32; 47])];
        assert!(find(&Input { sinograms: &short, ..input }, &Options::default()).is_err());
        for search in [(3.0, 3.0), (f64::NAN, 4.0), (20.0, 30.0), (-5.0, -1.0)] {
            let options = Options { search: Some(search), ..Options::default() };
            assert!(find(&input, &options).is_err(), "search {search:?} accepted");
        }
        for method in [Method::Vo, Method::Entropy, Method::Overlap, Method::Auto, Method::PhaseCorrelation] {
            let nothing = Input { sinograms: &[], ..input };
            assert!(find(&nothing, &Options { method, search: None }).is_err(), "{method:?} without rows");
        }
    }
}
