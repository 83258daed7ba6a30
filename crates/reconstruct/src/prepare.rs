//! From a scan and a recipe to a plan: geometry, warnings, rotation centre, half-acquisition.

use std::path::PathBuf;

use scan::{Samples, Scan};
use tomo::center::{Estimate, Input, Options, RowCenter, Verdict};
use tomo::normalize::NormalizeOptions;

use crate::plan::{Center, Plan, Rows, SCHEMA, ScanIdentity, Stitch, Write};
use crate::recipe::{AngleSign, CenterMethod, Decision, FlatMethod, OutputType, Recipe, ScanRange};
use crate::report::Warning;
use crate::source::{Source, projection};
use crate::{Error, Result};

/// A scan that was opened and checked against the recipe, before the centre is known.
pub struct Prepared {
    /// Where projections come from.
    pub source: Source,
    /// Angle of each projection in radians, sign and offset of the recipe applied.
    pub angles: Vec<f64>,
    /// Range of the angles in degrees.
    pub range_degrees: f64,
    /// Edge of a (binned) pixel in micrometres.
    pub pixel_um: Option<f64>,
    /// Warnings so far.
    pub warnings: Vec<Warning>,
}

/// Opens and checks `scan` for `recipe`.
pub fn prepare(scan: Scan, recipe: &Recipe) -> Result<Prepared> {
    let info = scan.info();
    let mut warnings: Vec<Warning> = info
        .warnings
        .iter()
        .map(|warning| Warning { code: warning.code.to_owned(), message: warning.message.clone() })
        .collect();
    let factor = recipe.binning.factor;
    if info.rows / factor == 0 || info.columns / factor < 2 {
        return Err(Error::BadInput(format!(
            "{}: binning.factor = {factor} leaves no image of {} rows × {} columns; use a smaller factor",
            info.path.display(),
            info.rows,
            info.columns
        )));
    }
    let pixel = recipe.geometry.pixel_size_um.or(info.pixel_size_um);
    if recipe.geometry.pixel_size_um.is_some() {
        warnings.retain(|warning| !warning.code.starts_with("pixel-size"));
    }
    let range_degrees = match recipe.geometry.range {
        ScanRange::Auto => info.range_degrees,
        ScanRange::Half => 180.0,
        ScanRange::Full => 360.0,
    };
    let sign = match recipe.geometry.angle_sign {
        AngleSign::Positive => 1.0,
        AngleSign::Negative => -1.0,
    };
    let offset = recipe.geometry.angle_offset_deg;
    let angles = info.theta_degrees.iter().map(|theta| sign * (theta - offset).to_radians()).collect();
    let mut source = Source::new(scan, factor, normalize_options(recipe));
    if recipe.flat.method == FlatMethod::Region {
        let factors = region_factors(&source, recipe)?;
        source.set_angle_factors(factors);
    }
    crate::filters::sinogram_outliers(&mut source, recipe);
    Ok(Prepared { source, angles, range_degrees, pixel_um: pixel.map(|um| um * factor as f64), warnings })
}

fn normalize_options(recipe: &Recipe) -> NormalizeOptions {
    use tomo::normalize::FlatMethod as Method;
    let method = match recipe.flat.method {
        FlatMethod::Mean | FlatMethod::None => Method::Mean,
        FlatMethod::Interpolated => Method::Interpolated,
        FlatMethod::Nearest => Method::Nearest,
        FlatMethod::Background => {
            Method::Background { air: (recipe.flat.background_air / recipe.binning.factor).max(1) }
        }
        FlatMethod::Region => Method::Region,
    };
    NormalizeOptions {
        method,
        minimum_transmission: recipe.transmission.minimum as f32,
        log: true,
        ..NormalizeOptions::default()
    }
}

/// Mean transmission of each projection in the recipe's region of air.
fn region_factors(source: &Source, recipe: &Recipe) -> Result<Vec<f32>> {
    let Some(region) = recipe.flat.region else {
        return Err(Error::BadInput("flat.method region needs flat.region".into()));
    };
    let b = source.binning();
    let (rows, columns) = (region.rows.0 / b..region.rows.1 / b, region.columns.0 / b..region.columns.1 / b);
    if rows.end > source.rows() || columns.end > source.columns() || rows.is_empty() || columns.is_empty() {
        return Err(Error::BadInput(format!(
            "flat.region lies outside the projections of {} rows × {} columns",
            source.scan().info().rows,
            source.scan().info().columns
        )));
    }
    let region = tomo::normalize::Region { rows, columns };
    let pixels = source.rows() * source.columns();
    let ones = vec![1.0; source.projections()];
    let normalizer = source.transmission()?.with_angle_factors(ones);
    let mut samples = Samples::empty(source.scan().info().dtype);
    let mut factors = Vec::with_capacity(source.projections());
    let step = crate::source::BATCH;
    for first in (0..source.projections()).step_by(step) {
        let batch = first..(first + step).min(source.projections());
        source.read_projections(batch.clone(), &mut samples)?;
        for index in batch {
            let range = (index - first) * pixels..(index - first + 1) * pixels;
            let mean = match &samples {
                Samples::U8(data) => normalizer.region_transmission(index, &data[range], &region),
                Samples::U16(data) => normalizer.region_transmission(index, &data[range], &region),
                Samples::F32(data) => normalizer.region_transmission(index, &data[range], &region),
            };
            factors.push(mean.map_err(Error::numerics("flat.region"))?);
        }
    }
    Ok(factors)
}

/// The rotation centre together with the sinograms that it was found in.
pub struct CenterFound {
    /// For the plan and the report.
    pub center: Center,
    /// Whether it may be used without asking.
    pub believed: bool,
    /// Rows looked at, as −log sinograms; the middle one serves the evidence picture.
    pub sinograms: Vec<(usize, Vec<f32>)>,
}

/// Finds the rotation centre as the recipe says, looking at rows spread over `rows`.
pub fn find_center(prepared: &Prepared, recipe: &Recipe, rows: &Rows) -> Result<CenterFound> {
    let source = &prepared.source;
    let columns = source.columns();
    let b = source.binning() as f64;
    // A recipe's columns are the detector's; after binning by b the column x is at (x + 1/2)/b − 1/2.
    let binned = |column: f64| (column + 0.5) / b - 0.5;
    let picked = spread(rows, recipe.center.rows);
    let sinograms = source.sinograms(&picked)?;
    if recipe.center.method == CenterMethod::Fixed {
        let value = recipe.center.value.map(binned).unwrap_or(f64::NAN);
        if !(0.0..=(columns - 1) as f64).contains(&value) {
            return Err(Error::BadInput(format!(
                "the rotation centre {} lies outside the image; columns go from 0 to {}",
                recipe.center.value.unwrap_or(f64::NAN),
                source.scan().info().columns - 1
            )));
        }
        return Ok(CenterFound { center: Center::given(value), believed: true, sinograms });
    }
    let estimate = if recipe.center.method == CenterMethod::Production {
        production(prepared)?
    } else {
        let pair = pair(prepared)?;
        let input = Input {
            columns,
            angles: &prepared.angles,
            sinograms: &sinograms,
            pair: pair.as_ref().map(|(first, second)| (first.as_slice(), second.as_slice(), source.rows())),
        };
        let options = Options {
            method: method(recipe.center.method),
            search: recipe.center.search.map(|(low, high)| (binned(low), binned(high))),
        };
        tomo::center::find(&input, &options).map_err(Error::numerics("rotation centre"))?
    };
    let believed = recipe.center.method == CenterMethod::Production
        || (estimate.verdict == Verdict::Found && estimate.confidence >= recipe.center.minimum_confidence);
    let center = Center {
        center: estimate.center,
        confidence: estimate.confidence,
        verdict: verdict_name(estimate.verdict).into(),
        method: method_name(recipe.center.method).into(),
        uncertainty: estimate.uncertainty.is_finite().then_some(estimate.uncertainty),
        per_row: estimate.per_row.iter().map(|row| (row.row, row.center, row.confidence)).collect(),
        reason: estimate.reason,
    };
    Ok(CenterFound { center, believed, sinograms })
}

/// `count` rows spread evenly over the wanted ones, clear of both ends.
fn spread(rows: &Rows, count: usize) -> Vec<usize> {
    let slices = rows.slices();
    let count = count.clamp(1, slices);
    let mut picked: Vec<usize> = (0..count).map(|i| rows.row((2 * i + 1) * slices / (2 * count))).collect();
    picked.dedup();
    picked
}

fn method(method: CenterMethod) -> tomo::center::Method {
    use tomo::center::Method;
    match method {
        CenterMethod::PhaseCorrelation => Method::PhaseCorrelation,
        CenterMethod::Vo => Method::Vo,
        CenterMethod::Entropy => Method::Entropy,
        CenterMethod::Overlap => Method::Overlap,
        CenterMethod::Auto | CenterMethod::Production | CenterMethod::Fixed => Method::Auto,
    }
}

fn method_name(method: CenterMethod) -> &'static str {
    method.name()
}

/// The verdict as the command line's JSON names it.
pub fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Found => "found",
        Verdict::Ambiguous => "ambiguous",
        Verdict::AtEdge => "at_edge",
        Verdict::Featureless => "featureless",
    }
}

/// Two whole projections nearest to 180° apart, as transmission.
fn pair(prepared: &Prepared) -> Result<Option<(Vec<f32>, Vec<f32>)>> {
    match tomo::center::pair_180(&prepared.angles) {
        // Further apart than two degrees they do not show the same thing mirrored.
        Some((first, second, error)) if error <= 2f64.to_radians() => Ok(Some((
            whole_projection(&prepared.source, first)?,
            whole_projection(&prepared.source, second)?,
        ))),
        _ => Ok(None),
    }
}

fn whole_projection(source: &Source, index: usize) -> Result<Vec<f32>> {
    let mut samples = Samples::empty(source.scan().info().dtype);
    source.read_projections(index..index + 1, &mut samples)?;
    let mut out = vec![0f32; source.rows() * source.columns()];
    projection(&source.transmission()?, index, &samples, 0, &mut out)?;
    Ok(out)
}

/// What the production script of 8.3.2 does.
fn production(prepared: &Prepared) -> Result<Estimate> {
    let source = &prepared.source;
    let (first, second) = tomo::center::production_pair(source.projections(), prepared.range_degrees).ok_or_else(|| {
        Error::BadInput(format!(
            "center.method = \"production\" needs more than {} projections; choose another method or give --center",
            source.projections()
        ))
    })?;
    let center = tomo::center::production_phase_correlation(
        &whole_projection(source, first)?,
        &whole_projection(source, second)?,
        source.rows(),
        source.columns(),
    )
    .map_err(Error::numerics("rotation centre"))?;
    Ok(Estimate {
        center,
        confidence: 0.5,
        verdict: Verdict::Found,
        method: tomo::center::Method::PhaseCorrelation,
        per_row: Vec::<RowCenter>::new(),
        uncertainty: f64::NAN,
        reason: format!(
            "phase correlation of projections {first} and {second}, as the production script does"
        ),
    })
}

/// Whether the scan is a 360° half-acquisition, and what stitching makes of it.
pub fn stitch(prepared: &Prepared, recipe: &Recipe, center: f64) -> Result<Option<Stitch>> {
    let columns = prepared.source.columns();
    let full_turn = prepared.range_degrees > 300.0;
    let off_axis = (center - (columns - 1) as f64 / 2.0).abs() > 0.1 * columns as f64;
    let wanted = match recipe.geometry.half_acquisition {
        Decision::Yes => true,
        Decision::No => false,
        Decision::Auto => full_turn && off_axis,
    };
    if !wanted {
        return Ok(None);
    }
    let (overlap, width, center) = crate::chain::stitched(prepared.angles.len(), columns, center)?;
    Ok(Some(Stitch { overlap, columns: width, center }))
}

/// Everything decided before the first slice.
pub fn plan(
    prepared: &Prepared,
    recipe: &Recipe,
    rows: Rows,
    write: Write,
    found: &CenterFound,
    scaling: Option<(f32, f32)>,
) -> Result<Plan> {
    let stitch = stitch(prepared, recipe, found.center.center)?;
    let mut warnings = prepared.warnings.clone();
    warnings.extend(field_of_view(prepared, &found.sinograms, stitch.is_some()));
    if !found.believed {
        warnings.push(Warning {
            code: "center-not-believed".into(),
            message: format!(
                "the rotation centre {:.2} is used although it is not believed: {}",
                found.center.center, found.center.reason
            ),
        });
    }
    Ok(Plan {
        schema: SCHEMA,
        beamrail: env!("CARGO_PKG_VERSION").into(),
        scan: identity(prepared.source.scan()),
        recipe: recipe.clone(),
        rows,
        center: found.center.clone(),
        slice_columns: stitch.map_or(prepared.source.columns(), |stitch| stitch.columns),
        stitch,
        pixel_um: prepared.pixel_um,
        unit: if prepared.pixel_um.is_some() { "1/cm" } else { "1/pixel" }.into(),
        write,
        scaling: (recipe.output.dtype != OutputType::Float32).then_some(scaling).flatten(),
        warnings,
    })
}

/// Which raw file this is.
pub fn identity(scan: &Scan) -> ScanIdentity {
    let info = scan.info();
    ScanIdentity {
        name: crate::plan::file_name(&PathBuf::from(&info.path)),
        bytes: info.file_bytes,
        shape: [info.projections, info.rows, info.columns],
        layout: info.layout.to_string(),
    }
}

/// Warns where the object reaches beyond the field of view: attenuation at the outermost columns that is
/// not small against the largest column's. Voxels near the rim are then too bright.
fn field_of_view(prepared: &Prepared, sinograms: &[(usize, Vec<f32>)], stitched: bool) -> Option<Warning> {
    let columns = prepared.source.columns();
    let edge = (columns / 100).max(1);
    let mut worst = 0f64;
    for (_, sinogram) in sinograms {
        let mut means = vec![0f64; columns];
        for line in sinogram.chunks_exact(columns) {
            means.iter_mut().zip(line).for_each(|(mean, &value)| *mean += f64::from(value));
        }
        let largest = means.iter().copied().fold(0.0, f64::max);
        let outer =
            |range: std::ops::Range<usize>| means[range.clone()].iter().sum::<f64>() / range.len() as f64;
        let (left, right) = (outer(0..edge), outer(columns - edge..columns));
        // Half-acquisitions have the axis at one edge, where attenuation is as it should be.
        let rim = if stitched { left.min(right) } else { left.max(right) };
        if largest > 0.0 && largest / prepared.source.projections() as f64 > 0.02 {
            worst = worst.max(rim / largest);
        }
    }
    (worst > 0.15).then(|| Warning {
        code: "object-wider-than-field".into(),
        message: format!(
            "the object reaches beyond the field of view (attenuation at the edge is {:.0} % of the largest): values near the rim are too high; gridrec.padding = \"edge\" softens this",
            worst * 100.0
        ),
    })
}
