//! Data Exchange: 8.3.2 since 2021 (`dxfile`), plain (`dxchange`), several time points (`sls`).

use super::{GroupOf, Parts, Reference, Source, whole};
use crate::array::Array;
use crate::frames::FrameSet;
use crate::h5::tree::Object;
use crate::h5::value::Value;
use crate::meta::{Meta, micrometres};
use crate::{Layout, Result, ThetaSource, Warning, theta};

const ROTATION: &str = "/process/acquisition/rotation";
const DETECTOR: &str = "/measurement/instrument/detector";

/// Reads the layout; `None` when there is no `/exchange/data`.
pub(crate) fn read(source: &Source<'_>) -> Result<Option<Parts>> {
    let name = source.options.dataset.clone().unwrap_or_else(|| "/exchange/data".into());
    let Some(object) = source.find(&name)? else { return Ok(None) };
    let array = source.array(&object)?;
    let group = name.rsplit_once('/').map_or("", |(g, _)| g).to_string();
    let open = |p: &std::path::Path| source.open(p);
    let mut meta = Meta::default();
    for tree in ["/measurement", "/process"] {
        if let Some(found) = source.find(tree)?.filter(Object::is_group) {
            meta.collect(&found, &open, 0);
        }
    }
    let described = meta.number(&format!("{DETECTOR}/pixel_size")).is_some()
        || source.find("/process")?.is_some()
        || source.find("/measurement/instrument")?.is_some();
    let mut warnings = Vec::new();
    let mut layout = if described { Layout::Dxfile } else { Layout::Dxchange };

    let mut raw = angles(source, &group, &meta)?;
    let flats = reference(source, &group, &["data_white", "flat", "white"], &array)?;
    let darks = reference(source, &group, &["data_dark", "dark"], &array)?;
    raw.other_frames = flats.as_ref().map_or(0, |a| a.frames) + darks.as_ref().map_or(0, |a| a.frames);

    let (projections, time_points) = time_point(source, array, &mut raw, &mut layout, &mut warnings)?;
    let count = projections.len();
    let flats = flat_groups(flats, count, &meta, source, &group)?;
    let darks = Reference {
        groups: darks
            .as_ref()
            .map(|a| vec![GroupOf { position: 0.0, frames: 0..a.frames }])
            .unwrap_or_default(),
        set: darks.and_then(whole),
        value: meta.first_number(&[
            "/process/acquisition/dark_fields/dark_field_value",
            &format!("{DETECTOR}/dark_field_value"),
        ]),
    };

    let pixel_path = format!("{DETECTOR}/pixel_size");
    let pixel_unit = meta.unit(&pixel_path).and_then(|u| micrometres(&u)).unwrap_or(1e3);
    let pixel_size_um = meta.number(&pixel_path).map(|v| v * pixel_unit);
    let distance_mm =
        meta.first_number(&["/measurement/instrument/camera_motor_stack/setup/camera_distance"]);
    let energy_path = "/measurement/instrument/monochromator/energy";
    let energy_unit = meta.unit(energy_path).map(|u| u.to_lowercase());
    let energy_kev =
        meta.number(energy_path).map(|e| if energy_unit.as_deref() == Some("kev") { e } else { e / 1e3 });
    let acquired = meta.first_text(&[
        "/process/acquisition/start_date",
        "/measurement/instrument/time_stamp",
        "/file_creation_datetime",
    ]);
    let sample = meta.first_text(&[
        "/measurement/sample/file_name",
        "/measurement/sample/name",
        "/measurement/sample/description",
    ]);
    Ok(Some(Parts {
        layout,
        dataset: name,
        projections,
        flats,
        darks,
        theta: raw,
        pixel_size_um,
        distance_mm,
        energy_kev,
        time_points,
        acquired,
        sample,
        meta,
        warnings,
    }))
}

fn angles(source: &Source<'_>, group: &str, meta: &Meta) -> Result<theta::Raw> {
    let mut raw = theta::Raw {
        start: meta.number(&format!("{ROTATION}/rotation_start")),
        step: meta.number(&format!("{ROTATION}/rotation_step")),
        range: meta.number(&format!("{ROTATION}/range")),
        count: meta.count(&format!("{ROTATION}/num_angles")),
        caller_range: source.options.range_degrees,
        ..theta::Raw::default()
    };
    for name in ["theta", "theta_aborted"] {
        let path = format!("{group}/{name}");
        let Some(object) = source.find(&path)? else { continue };
        let dataset = object.dataset().map_err(|e| source.explain(&path, e))?;
        if !dataset.data_type.is_number() {
            return Err(source.wrong(&path, format!("holds {}, angles are needed", dataset.data_type)));
        }
        raw.stored = Some((source.numbers(&object)?, ThetaSource::Dataset));
        raw.unit = object.attribute("units").as_ref().and_then(Value::text).map(crate::meta::clean);
        raw.name = path;
        break;
    }
    Ok(raw)
}

/// Flats or darks under one of several names; `None` when absent or without a single frame.
fn reference(source: &Source<'_>, group: &str, names: &[&str], data: &Array) -> Result<Option<Array>> {
    for name in names {
        let path = format!("{group}/{name}");
        let Some(object) = source.find(&path)? else { continue };
        let dims = object.dataset().map_err(|e| source.explain(&path, e))?.space.dims;
        if dims.first() == Some(&0) || dims.is_empty() {
            continue;
        }
        let array = source.array(&object)?;
        if (array.rows, array.columns) != (data.rows, data.columns) {
            return Err(source.wrong(
                &path,
                format!(
                    "frames of {} × {} do not fit projections of {} × {} (rows × columns)",
                    array.rows, array.columns, data.rows, data.columns
                ),
            ));
        }
        return Ok(Some(array));
    }
    Ok(None)
}

/// Splits a stack of several time points; one of them becomes the scan.
fn time_point(
    source: &Source<'_>,
    array: Array,
    raw: &mut theta::Raw,
    layout: &mut Layout,
    warnings: &mut Vec<Warning>,
) -> Result<(FrameSet, usize)> {
    let frames = array.frames;
    let asked = source.options.layout == Some(Layout::Sls) || source.options.time_point.is_some();
    let stored = raw.stored.as_ref().map(|(t, _)| t.len());
    let per = match stored {
        Some(n) if n > 1 && n < frames && frames.is_multiple_of(n) => Some(n),
        // One angle for every frame of all time points: the count in the metadata divides them.
        _ if asked => raw.count.filter(|&n| n > 1 && n < frames && frames.is_multiple_of(n)),
        _ => None,
    };
    let points = per.map_or(1, |n| frames / n);
    let point = source.options.time_point.unwrap_or(0);
    if point >= points {
        return Err(crate::Error::Parameter {
            name: "time_point",
            value: point.to_string(),
            reason: format!("the file holds {points} (0 to {})", points - 1),
        });
    }
    if *layout == Layout::Dxfile && source.options.layout == Some(Layout::Sls) || points > 1 {
        *layout = Layout::Sls;
    }
    let per = per.unwrap_or(frames);
    if points > 1 {
        if source.options.time_point.is_none() {
            warnings.push(Warning {
                code: "several-time-points",
                message: format!("{frames} frames with {per} angles: {points} time points; the first is used, choose with time_point"),
            });
        }
        if let Some((theta, _)) = &mut raw.stored
            && theta.len() == frames
        {
            *theta = theta[point * per..(point + 1) * per].to_vec();
        }
    }
    let order = (point * per..(point + 1) * per).map(|i| (0, i as u32)).collect();
    match FrameSet::new(vec![array], order) {
        Some(set) => Ok((set, points)),
        None => Err(source.wrong("/exchange/data", "is empty")),
    }
}

/// Flats in groups: by their angles if stored, else every `i0cycle` projections and at the last one, else
/// before and after the scan, else as one group.
fn flat_groups(
    flats: Option<Array>,
    projections: usize,
    meta: &Meta,
    source: &Source<'_>,
    group: &str,
) -> Result<Reference> {
    let value = meta.first_number(&["/process/acquisition/flat_fields/flat_field_value"]);
    let Some(array) = flats else { return Ok(Reference { value, ..Reference::default() }) };
    let frames = array.frames;
    let last = projections.saturating_sub(1);
    let cycle = meta.count("/process/acquisition/flat_fields/i0cycle");
    let per = meta.count("/process/acquisition/flat_fields/num_flat_fields").filter(|&n| n > 0);
    let positions: Vec<usize> = match cycle {
        Some(0) => vec![0, last],
        Some(n) => {
            let mut p: Vec<usize> = (0..projections).step_by(n).collect();
            if p.last() != Some(&last) {
                p.push(last);
            }
            p
        }
        None => Vec::new(),
    };
    let fits = per.is_some_and(|per| per * positions.len() == frames) && positions.len() > 1;
    let mut groups: Vec<GroupOf> = if fits {
        let per = frames / positions.len();
        let at = |(i, &p): (usize, &usize)| GroupOf { position: p as f64, frames: i * per..(i + 1) * per };
        positions.iter().enumerate().map(at).collect()
    } else {
        vec![GroupOf { position: 0.0, frames: 0..frames }]
    };
    if !fits
        && let Some(object) = source.find(&format!("{group}/theta_white"))?
        && let Ok(angles) = source.numbers(&object)
        && angles.len() == frames
        && let Some(theta) = source.find(&format!("{group}/theta"))?
        && let Ok(theta) = source.numbers(&theta)
    {
        groups = by_angle(&angles, &theta, projections);
    }
    Ok(Reference { set: whole(array), groups, value })
}

/// Runs of flats with the same angle, at the projection whose angle is nearest.
fn by_angle(flats: &[f64], theta: &[f64], projections: usize) -> Vec<GroupOf> {
    let mut groups: Vec<GroupOf> = Vec::new();
    for (i, angle) in flats.iter().enumerate() {
        match groups.last_mut() {
            Some(g) if (flats[i - 1] - angle).abs() < 1e-6 => g.frames.end = i + 1,
            _ => {
                let distance = |t: &f64| (t - angle).abs();
                let nearest = theta
                    .iter()
                    .take(projections)
                    .enumerate()
                    .min_by(|a, b| distance(a.1).total_cmp(&distance(b.1)));
                groups.push(GroupOf { position: nearest.map_or(0, |(k, _)| k) as f64, frames: i..i + 1 });
            }
        }
    }
    groups
}
