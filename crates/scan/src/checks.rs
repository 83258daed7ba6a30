//! From the parts of a layout to a scan that can be worked with: shapes, angles, a look at the frames,
//! and warnings for all that is odd.

use std::path::Path;

use crate::frames::{FrameSet, Threads};
use crate::layout::{Parts, Reference};
use crate::{DataType, Error, OpenOptions, Result, Samples, ScanInfo, Storage, Warning, theta};

/// Frames that are looked at, evenly spread.
const SAMPLED_FRAMES: usize = 32;

/// Refuses what cannot be used, warns of what is odd, and describes the rest.
pub(crate) fn check(
    path: &Path,
    size: u64,
    mut parts: Parts,
    options: &OpenOptions,
    threads: &Threads,
) -> Result<(ScanInfo, Parts)> {
    let mut warnings = std::mem::take(&mut parts.warnings);
    let mut warn = |code: &'static str, message: String| warnings.push(Warning { code, message });
    let wrong =
        |reason: String| Error::Dataset { path: path.to_path_buf(), dataset: parts.dataset.clone(), reason };

    let laid_out = parts.projections.len();
    written(path, &parts.dataset, &mut parts.projections, options, &mut warn)?;
    if let Some((theta, _)) = &mut parts.theta.stored
        && theta.len() == laid_out
    {
        theta.truncate(parts.projections.len());
    }
    let (projections, rows, columns) =
        (parts.projections.len(), parts.projections.rows, parts.projections.columns);
    if projections < 2 {
        return Err(wrong(format!("holds {projections} projection; at least 2 are needed")));
    }
    if columns < 2 {
        return Err(wrong(format!("projections are {columns} column wide; at least 2 are needed")));
    }
    if let Some(planned) = parts.theta.count.filter(|&n| n != projections && n > 0) {
        let code = if planned > projections { "frames-missing" } else { "frames-more" };
        warn(
            code,
            format!("the metadata plan {planned} projections, the file holds {projections}; those are used"),
        );
    }
    for reference in [&mut parts.flats, &mut parts.darks] {
        // Never written or all zero: as good as none.
        if let Some(set) = &reference.set
            && (0..set.len()).all(|i| set.missing(i))
        {
            reference.set = None;
            reference.groups.clear();
        }
    }

    let mut angle_warnings = Vec::new();
    let (theta_degrees, theta_source) = theta::resolve(&parts.theta, projections, &mut angle_warnings)
        .map_err(|reason| Error::Angles { path: path.to_path_buf(), reason })?;
    let (low, high) = theta_degrees.iter().fold((f64::MAX, f64::MIN), |(l, h), &t| (l.min(t), h.max(t)));

    let brightest = sample(path, &parts, threads, &mut warn)?;
    flats_and_darks(path, &mut parts, brightest, threads, &mut warn)?;
    let pixel_size_um = pixel_size(parts.pixel_size_um, &mut warn);
    let energy_kev = parts.energy_kev.filter(|e| *e > 0.0 && *e <= 1000.0);
    if energy_kev.is_none() && parts.energy_kev.is_some_and(|e| e > 1000.0) {
        warn("white-light", "the photon energy is stored as infinite or absurdly high: white light".into());
    }
    warnings.extend(angle_warnings);

    let first = &parts.projections.arrays[0];
    let storage = match (parts.projections.arrays.len(), first.storage()) {
        (1, storage) => storage,
        (_, Storage::Chunked { filters, .. }) => Storage::Frames { filters },
        _ => Storage::Frames { filters: Vec::new() },
    };
    let frames = |r: &Reference| r.set.as_ref().map_or(0, FrameSet::len);
    let bytes = |r: &Reference| r.set.as_ref().map_or(0, FrameSet::bytes);
    let info = ScanInfo {
        path: path.to_path_buf(),
        layout: parts.layout,
        dataset: parts.dataset.clone(),
        projections,
        rows,
        columns,
        dtype: parts.projections.dtype,
        stored_type: first.data_type.to_string(),
        storage,
        theta_degrees,
        theta_source,
        range_degrees: high - low,
        pixel_size_um,
        distance_mm: parts.distance_mm.filter(|d| d.is_finite()),
        energy_kev,
        flat_frames: frames(&parts.flats),
        dark_frames: frames(&parts.darks),
        time_points: parts.time_points,
        acquired: parts.acquired.clone(),
        sample: parts.sample.clone(),
        metadata: parts.meta.texts(),
        bytes: parts.projections.bytes() + bytes(&parts.flats) + bytes(&parts.darks),
        file_bytes: size,
        warnings,
    };
    Ok((info, parts))
}

/// Refuses a stack whose end was never written; notes holes.
fn written(
    path: &Path,
    dataset: &str,
    set: &mut FrameSet,
    options: &OpenOptions,
    warn: &mut dyn FnMut(&'static str, String),
) -> Result<()> {
    let incomplete =
        |reason: String| Error::Incomplete { path: path.to_path_buf(), dataset: dataset.into(), reason };
    if set.arrays.iter().any(|a| !a.is_plausible()) {
        return Err(incomplete(
            "most of its chunks were never written; it is still being written or was given up".into(),
        ));
    }
    let total = set.len();
    let filled = (0..total).rev().find(|&i| !set.missing(i)).map_or(0, |i| i + 1);
    if filled == 0 {
        return Err(incomplete("nothing was ever written to it".into()));
    }
    if filled < total {
        let state = format!("projections {filled} to {} were never written", total - 1);
        if !options.allow_incomplete {
            return Err(incomplete(format!(
                "{state}; it is still being written or was aborted (allow incomplete scans to use the first {filled})"
            )));
        }
        set.order.truncate(filled);
        warn("frames-missing", format!("{state}; the first {filled} are used"));
    }
    let holes = (0..filled).filter(|&i| set.missing(i)).count();
    if holes > 0 {
        warn(
            "frames-blank",
            format!(
                "{holes} of {filled} projections were never written in part or whole; they read as fill values"
            ),
        );
    }
    Ok(())
}

/// Looks at three rows of some projections: blank frames, values that are no numbers. Gives a bright level
/// (99th percentile) for a scan without flats.
fn sample(
    path: &Path,
    parts: &Parts,
    threads: &Threads,
    warn: &mut dyn FnMut(&'static str, String),
) -> Result<f64> {
    let set = &parts.projections;
    let locked = set.arrays.iter().any(|a| a.locked_rows() > 0);
    let wanted = if locked { SAMPLED_FRAMES / 4 } else { SAMPLED_FRAMES };
    let count = set.len().min(wanted);
    let mut rows: Vec<usize> = [1, 2, 3].iter().map(|q| (set.rows * q / 4).min(set.rows - 1)).collect();
    rows.dedup();
    let mut buffer = Samples::empty(set.dtype);
    let (mut blank, mut strange, mut seen) = (Vec::new(), 0usize, 0usize);
    let mut values = Vec::new();
    for k in 0..count {
        let frame = if count > 1 { k * (set.len() - 1) / (count - 1) } else { 0 };
        let mut constant = true;
        let mut first = None;
        let span = if locked { rows[0]..rows[rows.len() - 1] + 1 } else { 0..0 };
        let ranges: Vec<_> = if locked { vec![span] } else { rows.iter().map(|&r| r..r + 1).collect() };
        for range in ranges {
            set.read(frame..frame + 1, range, &mut buffer, threads)?;
            for i in 0..buffer.len() {
                let value = buffer.get(i).unwrap_or(f32::NAN);
                let first = *first.get_or_insert(value);
                constant &= value == first;
                strange += usize::from(!value.is_finite());
                if i % 16 == 0 && value.is_finite() {
                    values.push(value);
                }
            }
            seen += buffer.len();
        }
        if constant && seen > 1 {
            blank.push(frame);
        }
    }
    let dataset = parts.dataset.clone();
    if strange * 10 > seen {
        let reason =
            format!("{strange} of {seen} sampled values are NaN or infinite; such data cannot be repaired");
        return Err(Error::NotFinite { path: path.to_path_buf(), dataset, reason });
    }
    if strange > 0 {
        warn("not-finite", format!("{strange} of {seen} sampled values of {dataset} are NaN or infinite"));
    }
    if blank.len() == count && count > 0 {
        let reason = format!(
            "all {count} sampled projections are blank (one value throughout); there is nothing to reconstruct"
        );
        return Err(Error::Dataset { path: path.to_path_buf(), dataset, reason });
    }
    if !blank.is_empty() {
        let list: Vec<String> = blank.iter().take(8).map(usize::to_string).collect();
        warn(
            "frames-blank",
            format!(
                "{} of {count} sampled projections are blank (one value throughout): {}",
                blank.len(),
                list.join(", ")
            ),
        );
    }
    values.sort_by(f32::total_cmp);
    Ok(values.get(values.len() * 99 / 100).copied().map_or(1.0, f64::from))
}

/// Settles what stands in for missing flats and darks, and counts the pixels that cannot be corrected.
fn flats_and_darks(
    path: &Path,
    parts: &mut Parts,
    brightest: f64,
    threads: &Threads,
    warn: &mut dyn FnMut(&'static str, String),
) -> Result<()> {
    let flat = first_frame(&mut parts.flats, threads)?;
    let dark = first_frame(&mut parts.darks, threads)?;
    let finite = |v: Option<f64>| v.filter(|v| v.is_finite());
    if dark.is_none() {
        let (value, origin) = match finite(parts.darks.value) {
            Some(v) => (v, "the file's dark field value"),
            None => (0.0, "no value is in the file"),
        };
        parts.darks.value = Some(value);
        warn("darks-missing", format!("no dark frames; a uniform dark field of {value} is used ({origin})"));
    }
    let dark_level = finite(parts.darks.value).unwrap_or(0.0);
    if flat.is_none() {
        let (value, origin) = match finite(parts.flats.value).filter(|v| *v > dark_level) {
            Some(v) => (v, "the file's flat field value"),
            None => (brightest.max(dark_level + 1.0), "the 99th percentile of sampled projections"),
        };
        parts.flats.value = Some(value);
        warn("flats-missing", format!("no flat frames; a uniform flat field of {value} is used ({origin})"));
    }
    let Some(flat) = flat else { return Ok(()) };
    let columns = parts.projections.columns;
    let top = match parts.flats.set.as_ref().map(|s| s.dtype) {
        Some(DataType::U8) => Some(255.0),
        Some(DataType::U16) => Some(65535.0),
        _ => None,
    };
    let (mut zero, mut dead, mut saturated, mut strange, mut first_bad) =
        (0usize, 0usize, 0usize, 0usize, None);
    for i in 0..flat.len() {
        let value = f64::from(flat.get(i).unwrap_or(f32::NAN));
        let below = dark.as_ref().map_or(dark_level, |d| f64::from(d.get(i).unwrap_or(0.0)));
        let is_strange = !value.is_finite() || !below.is_finite();
        let is_zero = value == 0.0;
        let is_dead = !is_zero && value <= below;
        strange += usize::from(is_strange);
        zero += usize::from(is_zero);
        dead += usize::from(is_dead);
        saturated += usize::from(top.is_some_and(|t| value >= t));
        if is_strange || is_zero || is_dead {
            first_bad.get_or_insert(i);
        }
    }
    let total = flat.len();
    if strange * 10 > total {
        let reason = format!(
            "{strange} of {total} pixels of flat or dark field are NaN or infinite; such data cannot be repaired"
        );
        return Err(Error::NotFinite {
            path: path.to_path_buf(),
            dataset: "flat and dark fields".into(),
            reason,
        });
    }
    let place = first_bad
        .map_or(String::new(), |i| format!(", the first at row {}, column {}", i / columns, i % columns));
    if strange > 0 {
        warn(
            "flat-not-finite",
            format!("{strange} of {total} pixels of flat or dark field are NaN or infinite{place}"),
        );
    }
    if zero > 0 {
        warn("flat-zero-pixels", format!("{zero} of {total} pixels of the flat field are zero{place}"));
    }
    if dead > 0 {
        warn(
            "flat-dead-pixels",
            format!("{dead} of {total} pixels are no brighter in the flat than in the dark field{place}"),
        );
    }
    if saturated > 0 {
        warn(
            "flat-saturated-pixels",
            format!("{saturated} of {total} pixels of the flat field are saturated"),
        );
    }
    Ok(())
}

/// The first frame, whole; `None` (and the set forgotten) where there are none or a single frame of zeros.
fn first_frame(reference: &mut Reference, threads: &Threads) -> Result<Option<Samples>> {
    let Some(set) = &reference.set else { return Ok(None) };
    let mut buffer = Samples::empty(set.dtype);
    set.read(0..1, 0..set.rows, &mut buffer, threads)?;
    if set.len() == 1 && reference.value.is_some() && buffer.as_bytes().iter().all(|&b| b == 0) {
        reference.set = None;
        reference.groups.clear();
        return Ok(None);
    }
    Ok(Some(buffer))
}

fn pixel_size(stored: Option<f64>, warn: &mut dyn FnMut(&'static str, String)) -> Option<f64> {
    const RULE: &str = "voxels are given in 1/pixel";
    match stored {
        None => warn("pixel-size-missing", format!("no pixel size in the file; {RULE}")),
        Some(0.0) => warn("pixel-size-zero", format!("the pixel size in the file is 0; {RULE}")),
        Some(um) if !(0.01..=1000.0).contains(&um) => {
            warn(
                "pixel-size-implausible",
                format!("the pixel size in the file is {um} µm, outside 0.01 to 1000; {RULE}"),
            );
        }
        Some(um) => return Some(um),
    }
    None
}
