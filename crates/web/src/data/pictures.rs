//! Pictures of scans: the middle slice as a thumbnail, the preview, a centre's evidence. Files are found through
//! custody's lists and read through a site's storage, which follows no link and leaves no root.

use std::path::{Path, PathBuf};

use custody::{CopyId, Kind, RelPath, ScanName};
use engine::{Orchestrator, RunId};
use volume::{Histogram, VolumeReader, Window};

use super::scan::readable;
use super::scans::known;
use crate::app::Shared;
use crate::fault::Fault;

/// Largest picture that is passed on.
const LARGEST: u64 = 32 << 20;
/// Largest slice that is read for a picture, in voxels.
const VOXELS: usize = 4 << 20;

/// The file of a scan's sidecars whose name ends so.
pub(crate) async fn sidecar(app: &Shared, name: &ScanName, ending: &str) -> Result<Vec<u8>, Fault> {
    let one = known_scan(app, name).await?;
    let mut last = None;
    for (copy, site) in readable(app, &one, Kind::Sidecars) {
        let (base, files) =
            app.custody(move |custody| Ok((custody.copy(copy)?.base, custody.files(copy)?))).await?;
        let Some(file) = files.entries().iter().find(|file| file.path.as_str().ends_with(ending)) else {
            continue;
        };
        let storage = app.beamline.site(&site)?;
        match storage.read_small(&base.join(&file.path), LARGEST).await {
            Ok(bytes) => return Ok(bytes),
            Err(error) => last = Some(error.to_string()),
        }
    }
    Err(Fault::not_found(match last {
        Some(why) => format!("{name}: the picture cannot be read: {why}"),
        None => format!("{name} has no {ending} at a site that can be read"),
    }))
}

/// The picture that a run's question shows.
pub(crate) async fn evidence(app: &Shared, id: RunId) -> Result<Vec<u8>, Fault> {
    let run = app.engine.run(id).await?;
    let none = || Fault::not_found("this run shows no picture");
    let ask = run.ask.ok_or_else(none)?;
    let text = |pointer: &str| ask.evidence.pointer(pointer).and_then(|value| value.as_str());
    let (site, path) = text("/picture/site").zip(text("/picture/path")).ok_or_else(none)?;
    let path = RelPath::new(path).map_err(|_| none())?;
    // A picture, and not whatever else a root holds.
    if !path.as_str().ends_with(".png") {
        return Err(none());
    }
    let storage = app.beamline.site(site)?;
    storage
        .read_small(&path, LARGEST)
        .await
        .map_err(|error| Fault::not_found(format!("the picture cannot be read: {error}")))
}

/// The middle slice, from the finest level whose slices are no wider than `most`, as an 8-bit PNG.
pub(crate) async fn slice(app: &Shared, name: &ScanName, most: usize) -> Result<Vec<u8>, Fault> {
    let one = known_scan(app, name).await?;
    for (copy, site) in readable(app, &one, Kind::Zarr) {
        let storage = app.beamline.site(&site)?;
        let Some(local) = storage.as_local() else { continue };
        let base = app.custody(move |custody| Ok(custody.copy(copy)?.base)).await?;
        let root = local.root().to_path_buf();
        let zarr = root.join(base.as_str()).join(format!("rec{}.zarr", name.stem()));
        let drawn = app.blocking(move || draw(&within(&root, &zarr)?, most)).await;
        if drawn.is_ok() {
            return drawn;
        }
    }
    Err(Fault::not_found(format!("{name} has no volume that can be read here")))
}

/// The middle slice of one copy of a volume, in the window of another where one is named: grey values can be
/// compared then.
pub(crate) async fn of_copy(
    app: &Shared,
    copy: CopyId,
    like: Option<CopyId>,
    most: usize,
) -> Result<Vec<u8>, Fault> {
    let volume = volume_of(app, copy).await?;
    let other = match like {
        Some(like) => Some(volume_of(app, like).await?),
        None => None,
    };
    app.blocking(move || {
        let window = match other {
            Some(other) => Some(middle(&other, most)?.2),
            None => None,
        };
        draw_in(&volume, most, window)
    })
    .await
}

/// The folder of a copy of a volume that this process can read.
async fn volume_of(app: &Shared, copy: CopyId) -> Result<PathBuf, Fault> {
    let record = app.custody(move |custody| custody.copy(copy)).await?;
    if record.dataset.kind != Kind::Zarr || !record.state.is_there() {
        return Err(Fault::not_found(format!("{copy} is no volume that is there")));
    }
    let storage = app.beamline.site(&record.site)?;
    let none = || Fault::not_found(format!("{copy} is at {}, which cannot be read here", record.site));
    let root = storage.as_local().ok_or_else(none)?.root().to_path_buf();
    let zarr = root.join(record.base.as_str()).join(format!("rec{}.zarr", record.dataset.scan.stem()));
    app.blocking(move || within(&root, &zarr)).await
}

/// A raw file that this process can read.
pub(crate) async fn raw(app: &Shared, one: &super::scans::Known) -> Result<PathBuf, Fault> {
    for (copy, site) in readable(app, one, Kind::Raw) {
        let Some(local) = app.beamline.site(&site)?.as_local() else { continue };
        let base = app.custody(move |custody| Ok(custody.copy(copy)?.base)).await?;
        let root = local.root().to_path_buf();
        let file = root.join(base.as_str()).join(format!("{}.h5", one.name.stem()));
        if let Ok(file) = app.blocking(move || within(&root, &file)).await {
            return Ok(file);
        }
    }
    Err(Fault::new(
        axum::http::StatusCode::CONFLICT,
        format!("no raw copy of {} can be read by this server", one.name),
    )
    .hint("a full run works where the raw data is; looking first needs a copy at a site of this machine"))
}

/// What custody knows of a scan, which it has to know.
pub(crate) async fn known_scan(app: &Shared, name: &ScanName) -> Result<super::scans::Known, Fault> {
    let asked = name.clone();
    let found = app.custody(move |custody| Ok(known(custody, &[asked])?.pop())).await?;
    found.ok_or_else(|| Fault::not_found(format!("custody knows no scan {name}")))
}

/// The file or folder, if no link on the way leads out of the site.
pub(crate) fn within(root: &Path, folder: &Path) -> Result<PathBuf, Fault> {
    let real =
        |path: &Path| path.canonicalize().map_err(|_| Fault::not_found("the volume is not there any more"));
    let (root, folder) = (real(root)?, real(folder)?);
    match folder.starts_with(&root) {
        true => Ok(folder),
        false => Err(Fault::not_found("the volume lies outside its site")),
    }
}

fn draw(zarr: &Path, most: usize) -> Result<Vec<u8>, Fault> {
    draw_in(zarr, most, None)
}

/// The middle slice of the finest level that fits, its columns and rows, and its window.
fn middle(zarr: &Path, most: usize) -> Result<(Vec<f32>, [usize; 2], Window), Fault> {
    let unreadable = |error: volume::Error| Fault::not_found(error.to_string());
    let reader = VolumeReader::open(zarr).map_err(unreadable)?;
    let levels = reader.levels();
    let fits = levels.iter().position(|level| level.shape[1].max(level.shape[2]) <= most);
    let level = fits.unwrap_or(levels.len().saturating_sub(1));
    let [nz, ny, nx] = levels.get(level).map(|level| level.shape).unwrap_or_default();
    if nx == 0 || ny == 0 || nx.saturating_mul(ny) > VOXELS {
        return Err(Fault::not_found("the volume has no level that is small enough for a picture"));
    }
    let values = reader.slice(level, nz / 2).map_err(unreadable)?;
    let mut histogram = Histogram::new();
    histogram.add(&values);
    Ok((values, [nx, ny], histogram.window()))
}

fn draw_in(zarr: &Path, most: usize, window: Option<Window>) -> Result<Vec<u8>, Fault> {
    let (values, [nx, ny], own) = middle(zarr, most)?;
    let window = window.unwrap_or(own);
    let (low, scale) = (window.start, 255.0 / (window.end - window.start).max(f64::MIN_POSITIVE));
    // Values that are no numbers become black.
    let grey: Vec<u8> = values.iter().map(|value| ((f64::from(*value) - low) * scale) as u8).collect();
    png(&grey, nx, ny).map_err(|error| Fault::internal(format!("the picture cannot be encoded: {error}")))
}

pub(crate) fn png(grey: &[u8], width: usize, height: usize) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut encoder = png::Encoder::new(&mut bytes, side(width), side(height));
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(grey)?;
    Ok(bytes)
}
