//! A volume in words and numbers: what the page needs before it asks for voxels.

use serde::Serialize;
use utoipa::ToSchema;
use volume::Histogram;

use crate::blocks::Reading;
use crate::error::Result;
use crate::library::Sharing;
use crate::open::State;

/// A histogram is counted over so many voxels at most.
const SAMPLE: usize = 8 << 20;
/// Intervals of the histogram that is sent.
const INTERVALS: usize = 256;

/// A volume.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VolumeInfo {
    id: String,
    name: String,
    /// Changes when the files do; as the parameter `v` of slices and bricks it lets them be kept.
    version: String,
    state: State,
    /// How voxels are stored: float32, uint16 or uint8. Slices are always sent as float32 values.
    dtype: String,
    /// Unit of the values, such as 1/cm; null if it is not recorded.
    unit: Option<String>,
    /// Unit of scales and translations: um, or pixel if the voxel size is not known.
    length_unit: &'static str,
    /// Levels of the pyramid, finest first.
    levels: Vec<Level>,
    rows: Rows,
    window: Window,
    histogram: Counts,
    /// Path of the OME-Zarr on this server; null if the volume is a TIFF stack only.
    zarr: Option<String>,
    /// Whether a link for others may be made; if not, why.
    share: Share,
}

/// A level of the pyramid.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = VolumeLevel)]
struct Level {
    /// Voxels along z, y, x.
    shape: [usize; 3],
    /// Distance from voxel to voxel along z, y, x.
    scale: [f64; 3],
    /// Centre of the first voxel along z, y, x.
    translation: [f64; 3],
    /// Whether its voxels are single ones of level 0, and not means.
    sampled: bool,
}

/// Rows of level 0 that are there.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = VolumeRows)]
struct Rows {
    total: usize,
    done: usize,
    /// Runs of rows: first, and after the last.
    ranges: Vec<[usize; 2]>,
}

/// A contrast window, in the unit of the values.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = VolumeWindow)]
pub(crate) struct Window {
    /// Smallest value.
    min: f64,
    /// Largest value.
    max: f64,
    /// Shown black.
    pub(crate) start: f64,
    /// Shown white.
    pub(crate) end: f64,
}

/// Counts of values in equal intervals.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = VolumeHistogram)]
struct Counts {
    /// Lower edge of the first interval.
    start: f64,
    /// Upper edge of the last.
    end: f64,
    counts: Vec<f64>,
    /// Voxels that are exactly 0 (outside of the field of view, for one); not among the counts.
    zeros: u64,
    /// NaN and infinities.
    not_finite: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = VolumeShare)]
struct Share {
    allowed: bool,
    reason: Option<String>,
}

/// Describes an opened volume.
pub(crate) fn describe(id: &str, reading: &Reading<'_>) -> Result<VolumeInfo> {
    let opened = reading.opened;
    let window = window(reading)?;
    let histogram = histogram(reading)?;
    // A little more than the window, so that its handles can be moved both ways.
    let width = window.end - window.start;
    let edge = |p: f64, other: f64| histogram.percentile(p).unwrap_or(other);
    let start =
        (window.start - 0.5 * width).min(edge(0.0005, window.start)).max(window.min).min(window.start);
    let end = (window.end + 0.5 * width).max(edge(0.9995, window.end)).min(window.max).max(window.end);
    let levels = opened.levels().iter().enumerate().map(|(k, level)| Level {
        shape: level.shape,
        scale: level.scale,
        translation: level.translation,
        sampled: k > 0 && opened.is_sampled(),
    });
    let reason =
        if let Sharing::Refused(reason) = &opened.place.sharing { Some(reason.clone()) } else { None };
    Ok(VolumeInfo {
        id: id.to_owned(),
        name: opened.place.name.clone(),
        version: opened.version.clone(),
        state: opened.state,
        dtype: opened.dtype().to_string(),
        unit: opened.value_unit().map(str::to_owned),
        length_unit: if opened.has_units() { "um" } else { "pixel" },
        levels: levels.collect(),
        rows: rows(reading),
        window,
        histogram: Counts {
            start,
            end,
            counts: histogram.resample(start, end, INTERVALS),
            zeros: histogram.zeros(),
            not_finite: histogram.not_finite(),
        },
        zarr: opened.zarr().map(|_| format!("/zarr/{}/", crate::files::escape(id))),
        share: Share { allowed: reason.is_none(), reason },
    })
}

/// Rows of level 0 that are there.
fn rows(reading: &Reading<'_>) -> Rows {
    let opened = reading.opened;
    let total = opened.levels().first().map_or(0, |level| level.shape[0]);
    let mut ranges: Vec<[usize; 2]> = Vec::new();
    for z in (0..total).filter(|&z| opened.state != State::Growing || opened.has_row(0, z)) {
        match ranges.last_mut() {
            Some(last) if last[1] == z => last[1] = z + 1,
            _ => ranges.push([z, z + 1]),
        }
    }
    Rows { total, done: ranges.iter().map(|[a, b]| b - a).sum(), ranges }
}

/// The contrast window: as recorded, else by the histogram.
pub(crate) fn window(reading: &Reading<'_>) -> Result<Window> {
    let opened = reading.opened;
    let of = |w: volume::Window| Window { min: w.min, max: w.max, start: w.start, end: w.end };
    let recorded = opened.zarr().and_then(|zarr| zarr.window());
    if let Some(window) = recorded.filter(|w| w.start < w.end && w.min.is_finite() && w.max.is_finite()) {
        let Some(scaling) = opened.scaling() else { return Ok(of(window)) };
        let (min, max) = (f64::from(scaling.min), f64::from(scaling.max));
        let maximum = opened.dtype().maximum().map_or(1.0, f64::from);
        let value = |stored: f64| min + stored / maximum * (max - min);
        return Ok(Window { min, max, start: value(window.start), end: value(window.end) });
    }
    Ok(of(histogram(reading)?.window()))
}

/// The distribution of values: the job's own where there is a report, else counted in a level or slice.
fn histogram<'a>(reading: &Reading<'a>) -> Result<&'a Histogram> {
    let opened = reading.opened;
    opened.histogram(|| {
        if opened.state == State::Finished && opened.scaling().is_none() {
            let report = opened.place.beside(".report.json").and_then(|path| std::fs::read(path).ok());
            let report: Option<serde_json::Value> =
                report.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let counted =
                report.and_then(|mut r| serde_json::from_value(r.get_mut("histogram")?.take()).ok());
            if let Some(histogram) = counted {
                return Ok(histogram);
            }
        }
        count(reading)
    })
}

/// Counts a level that is small enough, or the middle of the middle slice that is there.
fn count(reading: &Reading<'_>) -> Result<Histogram> {
    let opened = reading.opened;
    let scaling = opened.scaling();
    let coarsest = opened.levels().len() - 1;
    let shape = opened.level(coarsest)?.shape;
    let voxels: usize = shape.iter().product();
    let (level, region) = if opened.state != State::Growing && voxels <= SAMPLE {
        (coarsest, shape.map(|n| 0..n))
    } else {
        let [nz, ny, nx] = opened.level(0)?.shape;
        let rows: Vec<usize> = (0..nz).filter(|&z| opened.has_row(0, z)).collect();
        let Some(&z) = rows.get(rows.len() / 2) else { return Ok(Histogram::new()) };
        let cut = |n: usize| n.saturating_sub(2048) / 2..n - n.saturating_sub(2048) / 2;
        (0, [z..z + 1, cut(ny), cut(nx)])
    };
    let mut values = vec![f32::NAN; region.iter().map(ExactSizeIterator::len).product()];
    reading.fill(level, &region, &mut values, |from: volume::VoxelsRef<'_>, to: &mut [f32]| {
        to.copy_from_slice(&from.values(scaling));
    })?;
    let mut histogram = Histogram::new();
    histogram.add(&values);
    Ok(histogram)
}
