//! NeXus: one stack of frames, `image_key` telling projections (0), flats (1) and darks (2).
//!
//! Files follow the application definition NXtomo more or less; what counts here is a group with
//! `image_key` and `data`. Links that lead nowhere are common (other detectors' files) and harm nothing
//! unless they are the data.

use std::collections::{HashSet, VecDeque};

use super::{GroupOf, Parts, Reference, Source};
use crate::array::Array;
use crate::frames::FrameSet;
use crate::h5::bytes::H5Error;
use crate::h5::tree::Object;
use crate::h5::value::Value;
use crate::meta::{Meta, clean, micrometres};
use crate::{Layout, Result, ThetaSource, Warning, theta};

/// Groups that are looked at.
const MAX_GROUPS: usize = 4_000;

/// All groups below the root, nearest first, each once.
fn groups(source: &Source<'_>) -> Vec<Object> {
    let mut out = Vec::new();
    let mut seen = HashSet::new();
    let mut queue = VecDeque::from([(source.root.clone(), 0)]);
    while let Some((group, depth)) = queue.pop_front() {
        if depth > 8 || out.len() >= MAX_GROUPS || !seen.insert((group.file.path.clone(), group.address)) {
            continue;
        }
        if let Ok(links) = group.links() {
            for link in links.iter().take(10_000) {
                if let Ok(child) = group.follow_link(link, &|p| source.open(p))
                    && child.is_group()
                {
                    queue.push_back((child, depth + 1));
                }
            }
        }
        out.push(group);
    }
    out
}

/// Reads the layout; `None` when no group has an `image_key`.
pub(crate) fn read(source: &Source<'_>) -> Result<Option<Parts>> {
    let top = source.root.links().map_err(|e| source.explain("/", e))?;
    if top.is_empty() {
        return Ok(None);
    }
    let all = groups(source);
    let mut warnings = Vec::new();
    let mut chosen = None;
    let mut refused = None;
    for group in &all {
        let Some(key) = source.find_below(group, "image_key").unwrap_or(None) else { continue };
        let data_name = source.options.dataset.as_deref().unwrap_or("data");
        match group.find(data_name, &|p| source.open(p)) {
            Ok(data) if data.dataset().is_ok() => match pair(source, &key, &data) {
                Ok((keys, array)) if chosen.is_none() => chosen = Some((group.clone(), keys, data, array)),
                Ok(_) => warnings.push(Warning {
                    code: "several-detectors",
                    message: format!("{} holds a scan too; the first detector found is used", group.path),
                }),
                Err(e) => refused = refused.or(Some(e)),
            },
            Err(H5Error::Missing(what)) => warnings.push(Warning {
                code: "link-dangling",
                message: format!(
                    "{}/{data_name} leads nowhere ({}); that detector is left out",
                    group.path,
                    clean(&what)
                ),
            }),
            Err(e) => refused = refused.or(Some(source.explain(&format!("{}/{data_name}", group.path), e))),
            Ok(_) => {}
        }
    }
    let Some((detector, keys, data, array)) = chosen else {
        return match refused {
            Some(e) => Err(e),
            None if warnings.is_empty() => Ok(None),
            None => {
                let lost: Vec<&str> = warnings.iter().map(|w| w.message.as_str()).collect();
                Err(source.wrong("image_key", format!("no detector has its data: {}", lost.join("; "))))
            }
        };
    };
    let mut meta = Meta::default();
    let entry = entry_of(source, &detector.path)?;
    meta.collect(&entry, &|p| source.open(p), 0);
    split(source, &all, detector, &keys, &data, array, meta, warnings).map(Some)
}

/// The group of the first name in a path: the entry.
fn entry_of(source: &Source<'_>, path: &str) -> Result<Object> {
    let first = path.split('/').find(|p| !p.is_empty()).unwrap_or_default();
    Ok(source.find(first)?.unwrap_or_else(|| source.root.clone()))
}

/// Keys and frames that fit each other.
fn pair(source: &Source<'_>, key: &Object, data: &Object) -> Result<(Vec<i64>, Array)> {
    let keys: Vec<i64> = source.numbers(key)?.iter().map(|&k| k as i64).collect();
    let array = source.array(data)?;
    if keys.len() < array.frames {
        return Err(source.wrong(
            &key.path,
            format!("holds {} keys for {} frames of {}", keys.len(), array.frames, data.path),
        ));
    }
    Ok((keys, array))
}

fn split(
    source: &Source<'_>,
    all: &[Object],
    detector: Object,
    keys: &[i64],
    data: &Object,
    array: Array,
    meta: Meta,
    mut warnings: Vec<Warning>,
) -> Result<Parts> {
    let frames = array.frames;
    if keys.len() > frames {
        warnings.push(Warning {
            code: "frames-missing",
            message: format!("image_key plans {} frames, {frames} are there", keys.len()),
        });
    }
    let pick = |kind: i64| -> Vec<usize> { (0..frames).filter(|&i| keys[i] == kind).collect() };
    let (projections, flats, darks) = (pick(0), pick(1), pick(2));
    let other = frames - projections.len() - flats.len() - darks.len();
    if other > 0 {
        warnings.push(Warning {
            code: "frames-invalid",
            message: format!("{other} frames are marked neither projection, flat nor dark and left out"),
        });
    }
    if projections.is_empty() {
        return Err(
            source.wrong(&format!("{}/image_key", detector.path), "marks no frame as a projection (0)")
        );
    }
    let mut raw = angles(source, all, &detector, data, keys.len().max(frames), frames)?;
    if let Some((theta, _)) = &mut raw.stored {
        *theta = projections.iter().filter_map(|&i| theta.get(i).copied()).collect();
    }
    raw.caller_range = source.options.range_degrees;
    let last = (projections.len() - 1) as f64;
    let groups = |list: &[usize]| -> Vec<GroupOf> {
        let mut out: Vec<GroupOf> = Vec::new();
        for (i, &frame) in list.iter().enumerate() {
            match out.last_mut() {
                Some(g) if list[i - 1] + 1 == frame => g.frames.end = i + 1,
                _ => {
                    let before = projections.partition_point(|&p| p < frame) as f64;
                    out.push(GroupOf { position: before.min(last), frames: i..i + 1 });
                }
            }
        }
        out
    };
    let reference = |list: &[usize]| -> Result<Reference> {
        if list.is_empty() {
            return Ok(Reference::default());
        }
        let order = list.iter().map(|&i| (0, i as u32)).collect();
        Ok(Reference {
            set: FrameSet::new(vec![source.array(data)?], order),
            groups: groups(list),
            value: None,
        })
    };
    let (flats, darks) = (reference(&flats)?, reference(&darks)?);
    let order = projections.iter().map(|&i| (0, i as u32)).collect();
    let Some(set) = FrameSet::new(vec![array], order) else {
        return Err(source.wrong(&data.path, "is empty"));
    };
    let length = |names: &[&str]| {
        let places = [detector.path.clone(), parent(&detector.path)];
        names.iter().flat_map(|n| places.iter().map(move |p| format!("{p}/{n}"))).find_map(|path| {
            let value = meta.number(&path)?;
            Some(value * meta.unit(&path).and_then(|u| micrometres(&u)).unwrap_or(1e6))
        })
    };
    let pixel_size_um = length(&["x_pixel_size", "pixel_size"]);
    let distance_mm = length(&["distance"]).map(|um| um / 1e3);
    let entry = parent(&parent(&detector.path));
    let energy_path =
        ["beam/incident_energy", "instrument/monochromator/energy", "instrument/beam/incident_energy"]
            .map(|p| format!("{entry}/{p}"));
    let energy_kev = energy_path.iter().find_map(|p| {
        let value = meta.number(p)?;
        Some(if meta.unit(p).is_some_and(|u| u.eq_ignore_ascii_case("ev")) { value / 1e3 } else { value })
    });
    let texts = |names: &[&str]| {
        let paths: Vec<String> = names.iter().map(|n| format!("{entry}/{n}")).collect();
        meta.first_text(&paths.iter().map(String::as_str).collect::<Vec<_>>())
    };
    Ok(Parts {
        layout: Layout::Nexus,
        dataset: data.path.clone(),
        projections: set,
        flats,
        darks,
        theta: raw,
        pixel_size_um,
        distance_mm,
        energy_kev,
        time_points: 1,
        acquired: texts(&["start_time"]),
        sample: texts(&["sample/name", "title"]),
        meta,
        warnings,
    })
}

fn parent(path: &str) -> String {
    path.rsplit_once('/').map_or("", |(p, _)| p).to_string()
}

/// One angle for each frame: `rotation_angle` where the definition wants it; else an array whose name
/// speaks of an angle, beside the same data.
fn angles(
    source: &Source<'_>,
    all: &[Object],
    detector: &Object,
    data: &Object,
    planned: usize,
    frames: usize,
) -> Result<theta::Raw> {
    // (preference, smaller is better; object)
    let mut candidates: Vec<(u32, Object)> = Vec::new();
    for group in all {
        let Ok(links) = group.links() else { continue };
        for link in links.iter() {
            let name = clean(&link.name).to_lowercase();
            let exact = name == "rotation_angle";
            if !exact && !["theta", "angle", "rotation"].iter().any(|w| name.contains(w)) {
                continue;
            }
            let Ok(object) = group.follow_link(link, &|p| source.open(p)) else { continue };
            let Ok(dataset) = object.dataset() else { continue };
            let count = dataset.space.elements().unwrap_or(0);
            if !dataset.data_type.is_number()
                || count < 2
                || (count != planned as u64 && count != frames as u64)
            {
                continue;
            }
            let beside = group.address == detector.address
                || group
                    .find("data", &|p| source.open(p))
                    .is_ok_and(|d| d.file.path == data.file.path && d.address == data.address);
            let rank = if exact { 0 } else { 2 } + if beside { 0 } else { 1 };
            candidates.push((rank, object));
        }
    }
    candidates.sort_by_key(|(rank, _)| *rank);
    let mut raw = theta::Raw::default();
    if let Some((_, object)) = candidates.first() {
        raw.stored = Some((source.numbers(object)?, ThetaSource::Dataset));
        raw.unit = object.attribute("units").as_ref().and_then(Value::text).map(clean);
        raw.name = clean(&object.path);
    }
    Ok(raw)
}
