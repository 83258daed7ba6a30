//! Filters on whole projections, and the spool that they need.

use std::ops::Range;

use rayon::prelude::*;
use scan::Samples;
use tomo::lens::{Lens, LensOptions};
use tomo::normalize::Normalizer;
use tomo::outliers::OutlierOptions;
use tomo::phase::{Paganin, PaganinOptions};

use crate::clocks::Stage;
use crate::job::Context;
use crate::journal::WorkFolder;
use crate::memory::human_bytes;
use crate::plan::Plan;
use crate::prepare::Prepared;
use crate::progress::Meter;
use crate::recipe::{OutlierMethod, PhaseMethod, Recipe};
use crate::report::Warning;
use crate::source::{BATCH, Source, Spooled};
use crate::spool::Spool;
use crate::{Error, Result};

/// Zingers along the angles are removed while rows are read.
pub(crate) fn sinogram_outliers(source: &mut Source, recipe: &Recipe) {
    if recipe.outliers.method == OutlierMethod::Lines {
        source.set_outliers_1d(outlier_options(recipe));
    }
}

fn outlier_options(recipe: &Recipe) -> OutlierOptions {
    OutlierOptions {
        threshold: recipe.outliers.difference as f32,
        size: recipe.outliers.size,
        ..OutlierOptions::default()
    }
}

/// Whether projections must pass through a filter as a whole.
fn on_projections(recipe: &Recipe) -> bool {
    matches!(recipe.outliers.method, OutlierMethod::Planes | OutlierMethod::Volumes)
        || recipe.lens.enabled
        || recipe.tilt.angle_deg != 0.0
        || recipe.phase.method != PhaseMethod::None
}

/// What a spool would hold, if one is needed.
pub fn needed(source: &Source, recipe: &Recipe) -> Option<Spooled> {
    if on_projections(recipe) {
        Some(Spooled::Transmission)
    } else if source.scan().needs_spool() {
        Some(Spooled::Counts)
    } else {
        None
    }
}

/// Detector rows that slabs need, widened to whole pairs.
fn rows(plan: &Plan, slabs: &Range<usize>, detector: usize) -> Range<usize> {
    let first = plan.rows.row(plan.slab_slices(slabs.start).start) & !1;
    let last = plan.rows.row(plan.slab_slices(slabs.end - 1).end - 1) | 1;
    first..(last + 1).min(detector)
}

/// Checks what the recipe's filters need from the scan.
pub(crate) fn check(prepared: &Prepared, recipe: &Recipe, warnings: &mut Vec<Warning>) -> Result<()> {
    if recipe.phase.method == PhaseMethod::Paganin {
        paganin(prepared, recipe)?;
    }
    if let Some(spooled) = needed(&prepared.source, recipe) {
        let source = &prepared.source;
        let bytes = Spool::bytes(source.projections(), source.rows(), source.columns());
        let why = match spooled {
            Spooled::Transmission => "filters on whole projections",
            Spooled::Counts => "projections in compressed chunks",
        };
        warnings.push(Warning {
            code: "scratch-needed".into(),
            message: format!(
                "{why} need up to {} of scratch, in memory where the budget allows, else beside the results",
                human_bytes(bytes)
            ),
        });
    }
    Ok(())
}

/// Single-distance phase retrieval with what recipe and scan know.
fn paganin(prepared: &Prepared, recipe: &Recipe) -> Result<Paganin> {
    let info = prepared.source.scan().info();
    let missing = |what: &str, key: &str| {
        Error::BadInput(format!(
            "phase.method = \"paganin\" needs the {what}, which the scan does not know; set it with --set {key}=..."
        ))
    };
    let pixel_um = prepared.pixel_um.ok_or_else(|| missing("pixel size", "geometry.pixel_size_um"))?;
    let distance = recipe
        .phase
        .distance_mm
        .or(info.distance_mm)
        .ok_or_else(|| missing("distance", "phase.distance_mm"))?;
    let energy = recipe
        .phase
        .energy_kev
        .or(info.energy_kev)
        .ok_or_else(|| missing("photon energy", "phase.energy_kev"))?;
    let options = PaganinOptions {
        pixel_size: pixel_um * 1e-4,
        distance: distance * 0.1,
        energy,
        alpha: recipe.phase.alpha,
        pad: recipe.phase.pad,
    };
    Paganin::new(options, prepared.source.rows(), prepared.source.columns()).map_err(Error::numerics("phase"))
}

/// Fills a spool if the recipe or the scan needs one, and lets the source read from it.
pub(crate) fn spool(
    context: &Context<'_>,
    prepared: &mut Prepared,
    plan: &Plan,
    work: Option<&WorkFolder>,
    slabs: Range<usize>,
) -> Result<()> {
    let Some(spooled) = needed(&prepared.source, &plan.recipe) else { return Ok(()) };
    let source = &prepared.source;
    let (projections, columns) = (source.projections(), source.columns());
    let rows = rows(plan, &slabs, source.rows());
    let bytes = Spool::bytes(projections, rows.len(), columns);
    let mut spool = match work {
        Some(work) if bytes > context.budget / 4 => {
            let free = crate::outputs::available(work.path())?;
            if bytes > free {
                return Err(Error::DiskSpace {
                    path: work.path().to_path_buf(),
                    needed: format!("{} of scratch", human_bytes(bytes)),
                    available: human_bytes(free),
                });
            }
            Spool::in_file(&work.spool_path("projections"), projections, rows.clone(), columns)?
        }
        _ => Spool::in_memory(projections, rows.clone(), columns),
    };
    context.stage("spool", format!("passing {projections} projections through ({})", human_bytes(bytes)));
    let meter = Meter::new(context.observer, "spool", projections as u64);
    let filters = match spooled {
        Spooled::Transmission => Some(Filters::new(prepared, &plan.recipe)?),
        Spooled::Counts => None,
    };
    let frame = source.rows() * columns;
    let step = source.scan().projection_step().max(1);
    // As many projections at once as an eighth of the budget holds, in whole chunks.
    let batch = ((context.budget / 8) / (frame as u64 * 12)).clamp(1, 16 * BATCH as u64) as usize;
    let batch = batch.div_ceil(step) * step;
    let mut samples = Samples::empty(source.scan().info().dtype);
    for first in (0..projections).step_by(batch) {
        context.stop.check()?;
        let range = first..(first + batch).min(projections);
        let filtered = context.clocks.time_all(Stage::Spool, || {
            context.pool.install(|| -> Result<Vec<f32>> {
                match &filters {
                    Some(filters) => filters.apply(source, range.clone(), &mut samples, &rows),
                    None => {
                        source.read_projections(range.clone(), &mut samples)?;
                        Ok(crop(&samples.to_f32(), frame, columns, &rows))
                    }
                }
            })
        })?;
        spool.write(first, &filtered)?;
        meter.report(range.end as u64, 0);
    }
    prepared.source.set_spool(spool, spooled);
    Ok(())
}

/// Wall and CPU seconds of passing all projections through what `spooled` needs, learnt from a few of them on the
/// threads of the current pool.
pub(crate) fn pass(prepared: &Prepared, recipe: &Recipe, spooled: Spooled) -> Result<(f64, f64)> {
    let source = &prepared.source;
    // As many as keep the threads busy, in whole chunks.
    let step = source.scan().projection_step().max(1);
    let count = rayon::current_num_threads().next_multiple_of(step).min(source.projections());
    let mut samples = Samples::empty(source.scan().info().dtype);
    // Made once, however many projections there are.
    let filters = match spooled {
        Spooled::Transmission => Some(Filters::new(prepared, recipe)?),
        Spooled::Counts => None,
    };
    let (began, cpu) = (std::time::Instant::now(), crate::clocks::process_cpu_s());
    match filters {
        Some(filters) => {
            std::hint::black_box(filters.apply(source, 0..count, &mut samples, &(0..source.rows()))?);
        }
        None => {
            source.read_projections(0..count, &mut samples)?;
            std::hint::black_box(samples.to_f32());
        }
    }
    let times = source.projections() as f64 / count as f64;
    Ok((times * began.elapsed().as_secs_f64(), times * (crate::clocks::process_cpu_s() - cpu)))
}

/// The wanted rows of whole frames.
fn crop(frames: &[f32], frame: usize, columns: usize, rows: &Range<usize>) -> Vec<f32> {
    let mut out = Vec::with_capacity(frames.len() / frame * rows.len() * columns);
    for whole in frames.chunks_exact(frame) {
        out.extend_from_slice(&whole[rows.start * columns..rows.end * columns]);
    }
    out
}

/// The filters of a recipe on whole projections, in the order of the work.
struct Filters {
    normalizer: Normalizer,
    outliers: Option<(OutlierMethod, OutlierOptions)>,
    lens: Option<Lens>,
    tilt: Option<f64>,
    paganin: Option<Paganin>,
}

impl Filters {
    fn new(prepared: &Prepared, recipe: &Recipe) -> Result<Self> {
        let source = &prepared.source;
        let on_images = matches!(recipe.outliers.method, OutlierMethod::Planes | OutlierMethod::Volumes);
        let paganin = recipe.phase.method == PhaseMethod::Paganin;
        Ok(Self {
            normalizer: source.transmission()?,
            outliers: on_images.then(|| (recipe.outliers.method, outlier_options(recipe))),
            lens: if recipe.lens.enabled { Some(lens(source, recipe)?) } else { None },
            tilt: (recipe.tilt.angle_deg != 0.0).then_some(recipe.tilt.angle_deg),
            paganin: if paganin { Some(self::paganin(prepared, recipe)?) } else { None },
        })
    }

    /// The wanted rows of the filtered projections `range`. Runs on all threads of the current pool.
    fn apply(
        &self,
        source: &Source,
        range: Range<usize>,
        samples: &mut Samples,
        rows: &Range<usize>,
    ) -> Result<Vec<f32>> {
        let (height, columns) = (source.rows(), source.columns());
        let frame = height * columns;
        // Neighbours in angle, for the median over a cube.
        let reach = match self.outliers {
            Some((OutlierMethod::Volumes, options)) => options.size / 2,
            _ => 0,
        };
        let wide = range.start.saturating_sub(reach)..(range.end + reach).min(source.projections());
        source.read_projections(wide.clone(), samples)?;
        let mut raw = samples.to_f32();
        if let Some((OutlierMethod::Volumes, options)) = self.outliers {
            tomo::outliers::remove_outliers_3d(
                &mut raw,
                [wide.len(), height, columns],
                reach.max(1),
                options.threshold,
            )
            .map_err(Error::numerics("outliers"))?;
        }
        let part = rows.len() * columns;
        let mut filtered = vec![0f32; range.len() * part];
        let frames = raw.par_chunks_exact_mut(frame).skip(range.start - wide.start);
        filtered.par_chunks_exact_mut(part).zip(frames).enumerate().try_for_each(
            |(offset, (target, raw))| -> Result<()> {
                let image = self.one(range.start + offset, raw, height, columns)?;
                target.copy_from_slice(&image[rows.start * columns..rows.end * columns]);
                Ok(())
            },
        )?;
        Ok(filtered)
    }

    /// One projection: counts in, filtered transmission out.
    fn one(&self, index: usize, raw: &mut [f32], rows: usize, columns: usize) -> Result<Vec<f32>> {
        if let Some((OutlierMethod::Planes, options)) = &self.outliers {
            tomo::outliers::remove_outliers_2d(raw, rows, columns, options)
                .map_err(Error::numerics("outliers"))?;
        }
        let mut image = vec![0f32; raw.len()];
        self.normalizer.projection(index, raw, &mut image).map_err(Error::numerics("flat and dark field"))?;
        let mut other = vec![0f32; if self.lens.is_some() || self.tilt.is_some() { raw.len() } else { 0 }];
        if let Some(lens) = &self.lens {
            lens.apply(&image, &mut other).map_err(Error::numerics("lens"))?;
            std::mem::swap(&mut image, &mut other);
        }
        if let Some(degrees) = self.tilt {
            tomo::tilt::tilt_projection(&image, rows, columns, degrees, None, &mut other)
                .map_err(Error::numerics("tilt"))?;
            std::mem::swap(&mut image, &mut other);
        }
        if let Some(paganin) = &self.paganin {
            let mut workspace = paganin.workspace();
            paganin.apply(&mut workspace, &mut image).map_err(Error::numerics("phase"))?;
        }
        Ok(image)
    }
}

/// The recipe's lens on the (binned) detector.
fn lens(source: &Source, recipe: &Recipe) -> Result<Lens> {
    let b = source.binning() as f64;
    let (x, y) = recipe.lens.center;
    // Distances count in binned pixels: the factor of rⁱ grows with bⁱ.
    let factors =
        recipe.lens.factors.iter().enumerate().map(|(i, factor)| factor * b.powi(i as i32)).collect();
    let options = LensOptions { center: ((x + 0.5) / b - 0.5, (y + 0.5) / b - 0.5), factors };
    Lens::new(options, source.rows(), source.columns()).map_err(Error::numerics("lens"))
}
