//! ALS before 2021: a group named after the scan, every frame a dataset of its own.
//!
//! Projections are `<name>_0000_<index>.tif`, flats `<name>bak_<number>_<projection>.tif`, darks
//! `<name>drk_<number>_<projection>.tif`; metadata are attributes of the group. 11.3.1 differs in
//! taking flats after the last projection only.

use std::collections::BTreeMap;

use super::names::MODERN_PATHS;
use super::{GroupOf, Parts, Reference, Source};
use crate::frames::FrameSet;
use crate::h5::group::Link;
use crate::h5::tree::Object;
use crate::h5::value::Value;
use crate::meta::{Meta, leading_number};
use crate::{Layout, Result, ThetaSource, Warning, theta};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Projection,
    Flat,
    Dark,
}

/// What a frame's name says: kind, first number, second number.
fn parse(name: &str) -> Option<(Kind, usize, usize)> {
    let name = name.strip_suffix(".tif").or_else(|| name.strip_suffix(".tiff"))?;
    let (rest, second) = name.rsplit_once('_')?;
    let (stem, first) = rest.rsplit_once('_')?;
    let number =
        |s: &str| if s.len() >= 3 && s.bytes().all(|b| b.is_ascii_digit()) { s.parse().ok() } else { None };
    let kind = if stem.ends_with("bak") {
        Kind::Flat
    } else if stem.ends_with("drk") {
        Kind::Dark
    } else {
        Kind::Projection
    };
    Some((kind, number(first)?, number(second)?))
}

/// The group of frames: the one asked for, else the first (up to two levels down) that holds some.
fn find_group(source: &Source<'_>) -> Result<Option<Object>> {
    if let Some(name) = &source.options.dataset {
        return source.find(name);
    }
    let mut level = vec![source.root.clone()];
    for _ in 0..3 {
        let mut next = Vec::new();
        for group in &level {
            let Ok(links) = group.links() else { continue };
            if links.iter().any(|l| matches!(parse(&l.name), Some((Kind::Projection, _, _)))) {
                return Ok(Some(group.clone()));
            }
            for link in links.iter().take(64) {
                if let Ok(object) = group.follow_link(link, &|p| source.open(p))
                    && object.is_group()
                {
                    next.push(object);
                }
            }
        }
        level = next;
    }
    Ok(None)
}

/// Reads the layout; `None` when there is no group of frames.
pub(crate) fn read(source: &Source<'_>) -> Result<Option<Parts>> {
    let Some(group) = find_group(source)? else { return Ok(None) };
    let links = group.links().map_err(|e| source.explain(&group.path, e))?;
    // Ordered by (position, number): projections by index, flats and darks by group, then number.
    let mut frames: [BTreeMap<(usize, usize), &Link>; 3] = Default::default();
    for link in links.iter() {
        if let Some((kind, first, second)) = parse(&link.name) {
            let key = if kind == Kind::Projection { (first, second) } else { (second, first) };
            frames[kind as usize].insert(key, link);
        }
    }
    let [projections, flats, darks] = &frames;
    if projections.is_empty() {
        return Ok(None);
    }
    let mut meta = Meta::default();
    for (name, value) in group.attributes().map_err(|e| source.explain(&group.path, e))? {
        if let Ok(at) = MODERN_PATHS.binary_search_by(|(old, _)| (*old).cmp(name.as_str())) {
            meta.insert(MODERN_PATHS[at].1.to_string(), value.clone());
        }
        meta.insert(format!("{}@{name}", group.path), value);
    }
    let attribute = |name: &str| format!("{}@{name}", group.path);
    let mut warnings = Vec::new();
    let (set, rot) = load(source, &group, projections, true)?;
    let last = set.len().saturating_sub(1);
    let shape = (set.rows, set.columns);
    let flats = reference(source, &group, flats, shape, last, "bak")?;
    let darks = reference(source, &group, darks, shape, last, "drk")?;
    if let Some((gap, &(_, at))) = projections.keys().enumerate().find(|(i, k)| k.1 != *i) {
        warnings.push(Warning {
            code: "frames-missing",
            message: format!(
                "projection {gap} is absent (frame {at} follows); {} frames are used",
                projections.len()
            ),
        });
    }
    let mut raw = theta::Raw {
        range: meta.number(&attribute("arange")),
        count: meta.count(&attribute("nangles")),
        caller_range: source.options.range_degrees,
        ..theta::Raw::default()
    };
    match rot {
        Some(angles) => {
            raw.stored = Some((angles, ThetaSource::FrameAttribute));
            raw.name = "attribute rot_angle".into();
        }
        // Equal steps belong to all planned frames: index by the frame's number.
        None if raw.count.is_some_and(|n| n > set.len()) => {
            if let (Some(n), Some(range)) = (raw.count, raw.range) {
                let step = range / (n - 1) as f64;
                raw.stored =
                    Some((projections.keys().map(|k| k.1 as f64 * step).collect(), ThetaSource::RangeCount));
                raw.name = "nangles and arange".into();
                raw.range = None;
            }
        }
        None => {}
    }
    let after_only = flats.groups.len() == 1 && flats.groups[0].position == last as f64 && last > 0;
    let layout = source.options.layout.unwrap_or(if after_only { Layout::Als1131 } else { Layout::Als });
    Ok(Some(Parts {
        layout,
        dataset: group.path.clone(),
        projections: set,
        flats,
        darks,
        theta: raw,
        pixel_size_um: meta.number(&attribute("pxsize")).map(|mm| mm * 1e3),
        distance_mm: meta.first_number(&[&attribute("Camera_Z_Support")]),
        energy_kev: meta.number(&attribute("senergy")).map(|ev| ev / 1e3),
        time_points: 1,
        acquired: meta.first_text(&[&attribute("sdate"), &attribute("stage_date")]),
        sample: meta
            .first_text(&[&attribute("dataset")])
            .or_else(|| group.path.rsplit('/').next().map(str::to_string)),
        meta,
        warnings,
    }))
}

/// The frames as one set; with `angles`, the `rot_angle` of each, if all have one.
fn load(
    source: &Source<'_>,
    group: &Object,
    frames: &BTreeMap<(usize, usize), &Link>,
    angles: bool,
) -> Result<(FrameSet, Option<Vec<f64>>)> {
    let mut arrays = Vec::with_capacity(frames.len());
    let mut found = Some(Vec::with_capacity(frames.len())).filter(|_| angles);
    let mut shape = None;
    for link in frames.values() {
        let object = group
            .follow_link(link, &|p| source.open(p))
            .map_err(|e| source.explain(&format!("{}/{}", group.path, link.name), e))?;
        let array = source.array(&object)?;
        let own = (array.rows, array.columns, array.delivers());
        if array.frames != 1 {
            return Err(source.wrong(&object.path, format!("holds {} frames, 1 is needed", array.frames)));
        }
        let first = *shape.get_or_insert(own);
        if first != own {
            return Err(source.wrong(
                &object.path,
                format!("a frame of {} × {} does not fit the first, {} × {}", own.0, own.1, first.0, first.1),
            ));
        }
        if let Some(list) = &mut found {
            let angle = match object.attribute("rot_angle") {
                Some(Value::Numbers(v)) => v.first().copied(),
                Some(Value::Texts(v)) => v.first().and_then(|t| leading_number(t)),
                _ => None,
            };
            match angle {
                Some(angle) => list.push(angle),
                None => found = None,
            }
        }
        arrays.push(array);
    }
    let order = (0..arrays.len() as u32).map(|i| (i, 0)).collect();
    match FrameSet::new(arrays, order) {
        Some(set) => Ok((set, found)),
        None => Err(source.wrong(&group.path, "holds no frames")),
    }
}

fn reference(
    source: &Source<'_>,
    group: &Object,
    frames: &BTreeMap<(usize, usize), &Link>,
    shape: (usize, usize),
    last: usize,
    what: &str,
) -> Result<Reference> {
    if frames.is_empty() {
        return Ok(Reference::default());
    }
    let (set, _) = load(source, group, frames, false)?;
    if (set.rows, set.columns) != shape {
        return Err(source.wrong(
            &format!("{}/*{what}_*", group.path),
            format!(
                "frames of {} × {} do not fit projections of {} × {} (rows × columns)",
                set.rows, set.columns, shape.0, shape.1
            ),
        ));
    }
    let mut groups: Vec<(usize, GroupOf)> = Vec::new();
    for (i, (position, _)) in frames.keys().enumerate() {
        match groups.last_mut() {
            Some((p, g)) if p == position => g.frames.end = i + 1,
            _ => {
                groups.push((*position, GroupOf { position: (*position).min(last) as f64, frames: i..i + 1 }))
            }
        }
    }
    Ok(Reference { set: Some(set), groups: groups.into_iter().map(|(_, g)| g).collect(), value: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_frames() {
        assert_eq!(parse("20190101_bone_x_0000_0042.tif"), Some((Kind::Projection, 0, 42)));
        assert_eq!(parse("20190101_bonebak_0003_1312.tif"), Some((Kind::Flat, 3, 1312)));
        assert_eq!(parse("20190101_bonedrk_0003_1312.tif"), Some((Kind::Dark, 3, 1312)));
        assert_eq!(parse("a_0000_10000.tif"), Some((Kind::Projection, 0, 10000)));
        assert_eq!(parse("readme"), None);
        assert_eq!(parse("a_b_c.tif"), None);
    }
}
