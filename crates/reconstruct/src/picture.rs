//! Composes the pictures: the centre's evidence, the quick look, the final preview.

use std::path::Path;

use volume::preview::{EvidenceStrip, Middle, Planes, Preview, png};
use volume::reader::VolumeReader;
use volume::zarr::{LevelGeometry, levels};
use volume::{Histogram, Window};

use crate::job::Context;
use crate::plan::Plan;
use crate::prepare::{CenterFound, Prepared};
use crate::quick::CenterPicture;
use crate::{Error, Result, outputs};

/// Edge of an evidence tile in pixels.
const TILE: usize = 256;

/// Longest side of a slice in the preview: the picture is not wider.
const PIXELS: usize = 1000;

/// Reconstructs the middle one of the rows looked at, at candidate centres, as grey tiles.
pub(crate) fn evidence(
    prepared: &Prepared,
    found: &CenterFound,
    candidates: Option<Vec<f64>>,
) -> Result<CenterPicture> {
    let columns = prepared.source.columns();
    let center = found.center.center;
    let last = (columns - 1) as f64;
    let candidates: Vec<f64> = candidates
        .unwrap_or_else(|| tomo::center::evidence::candidates(center, columns))
        .into_iter()
        .filter(|candidate| (0.0..=last).contains(candidate))
        .collect();
    let Some((row, sinogram)) = found.sinograms.get(found.sinograms.len() / 2) else {
        return Err(Error::BadInput("no detector row to draw the centre's evidence from".into()));
    };
    let drawn =
        tomo::center::evidence(sinogram, columns, &prepared.angles, &candidates, TILE.min(columns), 1.0)
            .map_err(Error::numerics("evidence of the rotation centre"))?;
    // One window for all tiles, so that their sharpness can be compared.
    let mut histogram = Histogram::default();
    drawn.tiles.iter().for_each(|tile| histogram.add(tile));
    let window = histogram.window();
    let grey = |value: f32| {
        let share = (f64::from(value) - window.start) / (window.end - window.start);
        (share.clamp(0.0, 1.0) * 255.0).round() as u8
    };
    let tiles = drawn.tiles.iter().map(|tile| tile.iter().map(|&value| grey(value)).collect()).collect();
    let verdict = match found.center.verdict.as_str() {
        "given" => "given".to_owned(),
        verdict => format!("{verdict}, confidence {:.2}", found.center.confidence),
    };
    let caption = format!("Rotation centre {center:.2} ({verdict}), row {row} at candidate centres");
    Ok(CenterPicture { center, caption, candidates, size: drawn.size, tiles })
}

/// Tiles as the drawing wants them.
fn values(picture: &CenterPicture) -> Vec<Vec<f32>> {
    picture.tiles.iter().map(|tile| tile.iter().map(|&grey| f32::from(grey)).collect()).collect()
}

fn strip<'a>(picture: &'a CenterPicture, tiles: &'a [Vec<f32>]) -> EvidenceStrip<'a> {
    EvidenceStrip {
        candidates: &picture.candidates,
        size: picture.size,
        tiles,
        chosen: picture.center,
        caption: &picture.caption,
    }
}

/// The evidence alone: the tile at the chosen centre large, all candidates below it.
pub(crate) fn center_png(picture: &CenterPicture, scan: &Path) -> Result<Vec<u8>> {
    let tiles = values(picture);
    let chosen = (0..picture.candidates.len())
        .min_by(|&a, &b| {
            let distance = |index: usize| (picture.candidates[index] - picture.center).abs();
            distance(a).total_cmp(&distance(b))
        })
        .unwrap_or(0);
    let Some(tile) = tiles.get(chosen) else {
        return Err(Error::BadInput("none of the candidate centres lies on the detector".into()));
    };
    let planes = Planes::single(
        tile.clone(),
        picture.size,
        None,
        format!("centre {:.2}", picture.candidates[chosen]),
    )?;
    let preview = Preview {
        title: &crate::plan::file_name(scan),
        facts: &[],
        subtitle: "the same detector row reconstructed at candidate centres; the sharpest without doubled edges is right",
        planes: &planes,
        window: Window { min: 0.0, max: 255.0, start: 0.0, end: 255.0 },
        unit: "",
        histogram: None,
        evidence: Some(strip(picture, &tiles)),
    };
    Ok(png(&preview)?)
}

fn subtitle(plan: &Plan) -> String {
    let pixel = plan.pixel_um.map_or("pixel size unknown".to_owned(), |um| format!("voxel {um:.4} µm"));
    format!(
        "{w} × {w} × {} voxels, {pixel}, recipe {}",
        plan.slices(),
        plan.recipe.name,
        w = plan.slice_columns
    )
}

fn facts(plan: &Plan, window: Window) -> Vec<(&'static str, String)> {
    let center = &plan.center;
    let [projections, rows, columns] = plan.scan.shape;
    vec![
        ("scan", plan.scan.name.clone()),
        ("projections", format!("{projections} of {rows} × {columns}")),
        (
            "rotation centre",
            format!("{:.2} ({}, confidence {:.2})", center.center, center.verdict, center.confidence),
        ),
        ("window", format!("{:.4} to {:.4} {}", window.start, window.end, plan.unit)),
        ("warnings", plan.warnings.len().to_string()),
    ]
}

/// The quick look: the middle slice, which comes back.
pub(crate) fn quick_png(
    name: &str,
    plan: &Plan,
    image: Vec<f32>,
    evidence: Option<&CenterPicture>,
    histogram: &Histogram,
) -> Result<(Vec<u8>, Vec<f32>)> {
    let row = plan.rows.row(plan.slices() / 2);
    let planes = Planes::single(image, plan.slice_columns, plan.pixel_um, format!("row {row}"))?;
    let title = format!("{name} (quick look)");
    let png = draw(&title, plan, &planes, evidence, histogram, histogram.window())?;
    Ok((png, planes.xy.values))
}

/// Collects what the final preview shows while the volume is made.
pub(crate) fn middle(plan: &Plan) -> Option<Middle> {
    Middle::new(&shown(plan), PIXELS, outputs::spec(plan, "", None).scaling)
}

/// Bytes of that.
pub(crate) fn middle_bytes(plan: &Plan) -> u64 {
    Middle::bytes(&shown(plan), PIXELS)
}

/// The levels that the preview may show: TIFFs have no lower ones.
fn shown(plan: &Plan) -> Vec<LevelGeometry> {
    let mut levels = levels(&outputs::spec(plan, "", None));
    levels.truncate(if plan.write.zarr { levels.len() } else { 1 });
    levels
}

/// The final preview; what is not in `middle` is read back from the written volume.
pub(crate) fn final_png(
    context: &Context<'_>,
    plan: &Plan,
    evidence: Option<&CenterPicture>,
    histogram: &Histogram,
    window: Window,
    middle: Option<Middle>,
) -> Result<Vec<u8>> {
    let volume = if plan.write.zarr { context.paths.zarr() } else { context.paths.tiffs() };
    let reader = VolumeReader::open(&volume)?;
    let planes = match middle {
        Some(middle) => Planes::collected(&reader, middle)?,
        None => Planes::middle(&reader, PIXELS)?,
    };
    draw(&context.paths.name(), plan, &planes, evidence, histogram, window)
}

fn draw(
    title: &str,
    plan: &Plan,
    planes: &Planes,
    evidence: Option<&CenterPicture>,
    histogram: &Histogram,
    window: Window,
) -> Result<Vec<u8>> {
    let tiles = evidence.map(values).unwrap_or_default();
    let preview = Preview {
        title,
        subtitle: &subtitle(plan),
        facts: &facts(plan, window),
        planes,
        window,
        unit: &plan.unit,
        histogram: Some(histogram),
        evidence: evidence.map(|picture| strip(picture, &tiles)),
    };
    Ok(png(&preview)?)
}
