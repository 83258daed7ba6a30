//! The quick look and the pictures: the middle slice before the long work starts, the evidence for the
//! rotation centre, and the final preview.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use volume::preview::Middle;
use volume::{FileRecord, Histogram, TiffStack, Window};

use crate::chain::{Chain, Workspace};
use crate::clocks::Clocks;
use crate::job::Context;
use crate::journal::WorkFolder;
use crate::plan::Plan;
use crate::prepare::{CenterFound, Prepared};
use crate::progress::Event;
use crate::recipe::{OutputType, Recipe};
use crate::{Error, Result, outputs, picture};

/// One row reconstructed at candidate centres, small, as grey values: what a person judges a centre by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CenterPicture {
    /// The centre that was found or given.
    pub center: f64,
    /// One line above the tiles.
    pub caption: String,
    /// Candidates, left to right.
    pub candidates: Vec<f64>,
    /// Edge of a tile in pixels.
    pub size: usize,
    /// One tile a candidate, grey values 0 to 255, row by row.
    pub tiles: Vec<Vec<u8>>,
}

impl CenterPicture {
    /// Draws the middle one of the rows that the centre was sought in.
    pub fn draw(prepared: &Prepared, found: &CenterFound, candidates: Option<Vec<f64>>) -> Result<Self> {
        picture::evidence(prepared, found, candidates)
    }

    /// Keeps the picture in the work folder for the final preview.
    pub(crate) fn keep(&self, work: &WorkFolder) -> Result<()> {
        let path = work.picture_path();
        let text =
            serde_json::to_vec(self).map_err(|error| Error::io("cannot encode", &path, error.into()))?;
        Ok(volume::fs::write_atomic(&path, &text)?)
    }

    /// The picture kept in the work folder, if there is one.
    pub(crate) fn kept(work: &WorkFolder) -> Result<Option<Self>> {
        let path = work.picture_path();
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| Error::io("cannot decode", &path, error.into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::io("cannot read", &path, source)),
        }
    }

    /// Writes the picture alone as PNG.
    pub fn write(&self, target: &Path, scan: &Path) -> Result<()> {
        Ok(volume::fs::write_atomic(target, &picture::center_png(self, scan)?)?)
    }
}

/// Values of slices at scattered rows, each as it will be in the volume.
fn slices(
    prepared: &Prepared,
    plan: &Plan,
    chain: &Chain,
    workspace: &mut Workspace,
    wanted: &[usize],
) -> Result<Vec<Vec<f32>>> {
    let source = &prepared.source;
    let pairs: Vec<_> = wanted
        .iter()
        .map(|&z| {
            let even = plan.rows.row(z) & !1;
            even..(even + 2).min(source.rows())
        })
        .collect();
    let clocks = Clocks::default();
    let mut images = Vec::new();
    for ((&z, rows), block) in wanted.iter().zip(&pairs).zip(source.blocks(&pairs)?) {
        let mut image = vec![0f32; plan.slice_columns * plan.slice_columns];
        let both = rows.len() == 2;
        let targets = if plan.rows.row(z) == rows.start {
            [Some(&mut image[..]), None]
        } else {
            [None, Some(&mut image[..])]
        };
        chain.pair(workspace, &block, 0, both, targets, &mut |_| {}, &clocks)?;
        images.push(image);
    }
    Ok(images)
}

/// Makes and announces the quick look: middle slice, centre's evidence, histogram, as preview picture. The
/// slice itself comes back.
pub(crate) fn deliver(
    context: &Context<'_>,
    prepared: &Prepared,
    plan: &Plan,
    chain: &Chain,
    workspace: &mut Workspace,
    evidence: Option<&CenterPicture>,
) -> Result<Vec<f32>> {
    let middle = plan.slices() / 2;
    let made = context.pool.install(|| slices(prepared, plan, chain, workspace, &[middle]))?;
    let image = made.into_iter().next().unwrap_or_default();
    let mut histogram = Histogram::default();
    chain.sample(&image, middle, &mut histogram);
    let (png, image) = picture::quick_png(&context.paths.name(), plan, image, evidence, &histogram)?;
    volume::fs::write_atomic(&context.paths.preview(), &png)?;
    context.observer.event(&Event::QuickLook {
        preview: context.paths.preview(),
        seconds: context.began.elapsed().as_secs_f64(),
    });
    Ok(image)
}

/// Writes the middle slice as a TIFF of its own: what `--quick` delivers.
pub(crate) fn write_slice(context: &Context<'_>, plan: &Plan, image: &[f32]) -> Result<()> {
    let middle = plan.slices() / 2;
    let mut spec = outputs::spec(plan, &context.paths.name(), None);
    spec.first_row = plan.rows.row(middle);
    spec.shape[0] = 1;
    TiffStack::open_existing(&context.paths.quick_slice(), &context.paths.stem, &spec)?.write(0, image)?;
    Ok(())
}

/// Draws the evidence for a centre that is refused, so that the user can choose. A failure to draw must
/// not hide the refusal, so it only changes the advice.
pub(crate) fn refused(context: &Context<'_>, prepared: &Prepared, found: &CenterFound) -> String {
    let target: PathBuf = context.paths.folder.join(format!("{}.center.png", context.paths.name()));
    let drawn = volume::fs::create_folder(&context.paths.folder)
        .map_err(Error::from)
        .and_then(|()| CenterPicture::draw(prepared, found, None))
        .and_then(|picture| picture.write(&target, &context.options.scan));
    match drawn {
        Ok(()) => target.display().to_string(),
        Err(_) => format!("`beamrail center {}`", context.options.scan.display()),
    }
}

/// The range that integer voxels span: the recipe's, or that of sampled slices with a margin.
pub(crate) fn scaling(context: &Context<'_>, prepared: &Prepared, plan: &Plan) -> Result<Option<(f32, f32)>> {
    let output = &plan.recipe.output;
    if output.dtype == OutputType::Float32 {
        return Ok(None);
    }
    let given = output.scale_min.is_some() && output.scale_max.is_some();
    if given {
        return range(&plan.recipe, &Histogram::default()).map(Some);
    }
    if crate::filters::needed(&prepared.source, &plan.recipe) == Some(crate::source::Spooled::Transmission) {
        return Err(Error::BadInput(
            "the range of integers cannot be sampled when whole projections are filtered first; set it with \
             --set output.scale_min=... --set output.scale_max=..."
                .into(),
        ));
    }
    context.stage("scaling", "sampling slices for the range of the integers");
    let chain = Chain::new(plan, &prepared.angles, prepared.source.columns())?;
    let count = plan.slices().min(5);
    let wanted: Vec<usize> = (0..count).map(|i| (2 * i + 1) * plan.slices() / (2 * count)).collect();
    let mut histogram = Histogram::default();
    for (z, image) in wanted.iter().zip(slices(prepared, plan, &chain, &mut chain.workspace()?, &wanted)?) {
        chain.sample(&image, *z, &mut histogram);
    }
    range(&plan.recipe, &histogram).map(Some)
}

/// The range that integer voxels span where sampled slices have these values.
pub(crate) fn range(recipe: &Recipe, histogram: &Histogram) -> Result<(f32, f32)> {
    if let (Some(low), Some(high)) = (recipe.output.scale_min, recipe.output.scale_max) {
        return Ok((low as f32, high as f32));
    }
    let (Some(low), Some(high)) = (histogram.percentile(1e-4), histogram.percentile(1.0 - 1e-4)) else {
        return Err(Error::BadInput(
            "the sampled slices are empty; set output.scale_min and output.scale_max".into(),
        ));
    };
    let margin = 0.25 * (high - low).max(1e-6);
    Ok(((low - margin) as f32, (high + margin) as f32))
}

/// Draws the final preview, from `middle` and from the written volume.
pub(crate) fn preview(
    context: &Context<'_>,
    plan: &Plan,
    work: &WorkFolder,
    histogram: &Histogram,
    window: Window,
    middle: Option<Middle>,
) -> Result<FileRecord> {
    let evidence = CenterPicture::kept(work)?;
    let png = picture::final_png(context, plan, evidence.as_ref(), histogram, window, middle)?;
    volume::fs::write_atomic(&context.paths.preview(), &png)?;
    let name = crate::plan::file_name(&context.paths.preview());
    Ok(FileRecord { path: name, size: png.len() as u64, blake3: blake3::hash(&png).to_hex().to_string() })
}
