//! The rotation centre alone: `beamrail center`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::plan::Rows;
use crate::prepare;
pub use crate::quick::CenterPicture;
use crate::recipe::{CenterMethod, Recipe};
use crate::{Error, Result, Stop};

/// What is known about the centre of one detector row.
#[derive(Debug, Clone, Serialize)]
pub struct PerRow {
    /// Detector row.
    pub row: usize,
    /// Centre in that row alone.
    pub center: f64,
    /// 0 to 1.
    pub confidence: f64,
}

/// The answer of `beamrail center`.
#[derive(Debug, Clone, Serialize)]
pub struct CenterReport {
    /// 0-based detector column, pixel centres at integers.
    pub center: f64,
    /// 0 to 1.
    pub confidence: f64,
    /// found, ambiguous, at_edge or featureless (given: by the user).
    pub verdict: String,
    /// Single rows.
    pub per_row: Vec<PerRow>,
    /// The method, in the recipe's words.
    pub method: String,
    /// One standard deviation in pixels, where the method gives one.
    pub uncertainty: Option<f64>,
    /// A sentence for people: why, and what to do where it was not found.
    pub reason: String,
    /// Whether a reconstruction would go on with it.
    pub believed: bool,
    /// Candidates in the picture.
    pub candidates: Vec<f64>,
    /// The picture: one row reconstructed at each candidate.
    pub evidence: Option<PathBuf>,
}

/// Finds the centre of the scan at `path`, and draws one row at candidate centres into `picture`.
///
/// `sweep` gives the candidates as (first, end, step); by default they surround the answer.
///
/// # Errors
/// For a scan that cannot be read and a centre outside the image. A centre that cannot be found is an answer.
pub fn center(
    path: &Path,
    open: &scan::OpenOptions,
    recipe: &Recipe,
    rows: Option<&str>,
    sweep: Option<(f64, f64, f64)>,
    picture: Option<&Path>,
) -> Result<CenterReport> {
    let mut recipe = recipe.clone();
    if recipe.center.method != CenterMethod::Fixed {
        // Columns are the detector's here: binning would only blur what is looked for.
        recipe.binning.factor = 1;
    }
    let prepared = prepare::prepare(scan::open_with(path, open)?, &recipe)?;
    let rows = match rows {
        Some(text) => Rows::parse(text, prepared.source.rows())?,
        None => Rows::all(prepared.source.rows()),
    };
    let found = prepare::find_center(&prepared, &recipe, &rows)?;
    let candidates = sweep.map(candidates).transpose()?;
    let drawn = match picture {
        Some(target) => {
            let drawn = CenterPicture::draw(&prepared, &found, candidates)?;
            drawn.write(target, &prepared.source.scan().info().path)?;
            Some(drawn)
        }
        None => None,
    };
    let center = found.center;
    Ok(CenterReport {
        center: center.center,
        confidence: center.confidence,
        verdict: center.verdict,
        per_row: center
            .per_row
            .iter()
            .map(|&(row, center, confidence)| PerRow { row, center, confidence })
            .collect(),
        method: center.method,
        uncertainty: center.uncertainty,
        reason: center.reason,
        believed: found.believed,
        candidates: drawn.map(|drawn| drawn.candidates).unwrap_or_default(),
        evidence: picture.map(Path::to_path_buf),
    })
}

/// One row of the scan at `path`, reconstructed at candidate centres: tiles to choose by looking. With `sweep`
/// (first, end, step) no centre is sought; without, the candidates surround the one that is found.
///
/// # Errors
/// For a scan that cannot be read and candidates outside the image; once `stop` is requested, which is looked at
/// between reading, the search and drawing.
pub fn strip(
    path: &Path,
    open: &scan::OpenOptions,
    recipe: &Recipe,
    sweep: Option<(f64, f64, f64)>,
    stop: &Stop,
) -> Result<CenterPicture> {
    let mut recipe = recipe.clone();
    // Columns are the detector's here, and one row is enough to look at.
    recipe.binning.factor = 1;
    if let Some((first, end, _)) = sweep {
        recipe.center.method = CenterMethod::Fixed;
        recipe.center.value = Some((first + end) / 2.0);
        recipe.center.rows = 1;
    }
    let prepared = prepare::prepare(scan::open_with(path, open)?, &recipe)?;
    stop.check()?;
    let found = prepare::find_center(&prepared, &recipe, &Rows::all(prepared.source.rows()))?;
    stop.check()?;
    CenterPicture::draw(&prepared, &found, sweep.map(candidates).transpose()?)
}

/// The columns of a sweep, at most 64.
fn candidates((first, end, step): (f64, f64, f64)) -> Result<Vec<f64>> {
    let count = ((end - first) / step).floor() + 1.0;
    if !(count.is_finite() && step > 0.0 && (1.0..=64.0).contains(&count)) {
        return Err(Error::Usage(format!(
            "--sweep {first}:{end}:{step} gives no candidates, or more than 64; write for example 290:302:2"
        )));
    }
    Ok((0..count as usize).map(|index| first + index as f64 * step).collect())
}
