//! The volumes that the viewer shows: results of scans that custody knows, at sites whose files this host sees. They
//! are there from the first slices on, while they are being made.

use std::path::{Path, PathBuf};
use std::sync::Weak;

use beamline::{Beamline, area};
use custody::{CopyId, CopyRecord, Kind, ScanName};
use viewer::{Entry, Library, Place, Sharing};

use super::scan_name;
use crate::app::{App, Shared};

/// Before the number of a copy.
const COPY: &str = "copy";
/// Scans whose volumes are offered for comparison.
const OFFERED: usize = 40;

/// The library of a beamline.
pub(crate) struct Volumes {
    /// Weak, because the application holds what holds this.
    app: Weak<App>,
}

impl Volumes {
    pub(crate) fn of(app: &Shared) -> Self {
        Self { app: std::sync::Arc::downgrade(app) }
    }

    fn app(&self) -> Result<Shared, String> {
        self.app.upgrade().ok_or_else(|| "the server is ending".to_owned())
    }
}

/// The name of a volume in addresses.
pub(crate) fn id(site: &str, scan: &ScanName) -> String {
    format!("{site}:{scan}")
}

/// The name of one copy of a volume in addresses: results that made room for later ones have no other. No scan's name
/// is a number, so the two kinds of names are told apart.
pub(crate) fn id_of_copy(copy: i64) -> String {
    format!("{COPY}:{copy}")
}

/// The sites at which a volume of this scan can be seen now, in the order of the journey.
pub(crate) fn sites(beam: &Beamline, scan: &ScanName) -> Vec<String> {
    let journey = super::places::journey(beam);
    journey.into_iter().filter(|site| place(beam, site, scan).is_some()).collect()
}

/// Where it is. No link may lead out of the site.
fn place(beam: &Beamline, site: &str, scan: &ScanName) -> Option<Place> {
    let local = beam.sites.get(site)?.as_local()?;
    let base = beam.base(site, area::SCRATCH, scan).ok()?;
    within(local.root(), &local.root().join(base.as_str()), scan)
}

/// The results of a scan in a folder of a site.
fn within(root: &Path, folder: &Path, scan: &ScanName) -> Option<Place> {
    let mut place = Place::at(&folder.join(format!("rec{}.zarr", scan.stem())))
        .or_else(|| Place::at(&folder.join(format!("rec{}", scan.stem()))))?;
    let root = root.canonicalize().ok()?;
    let inside = |path: &PathBuf| {
        path.canonicalize().is_ok_and(|real| real.starts_with(&root) && real == resolved(path))
    };
    place.zarr = place.zarr.filter(inside);
    place.tiffs = place.tiffs.filter(inside);
    (place.zarr.is_some() || place.tiffs.is_some()).then_some(place)
}

/// The path with its folder resolved and its own name as it is: the results themselves are no link.
fn resolved(path: &Path) -> PathBuf {
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok()).unwrap_or_default();
    path.file_name().map(|name| folder.join(name)).unwrap_or_default()
}

/// Where one copy of a volume is.
fn of_copy(beam: &Beamline, record: &CopyRecord) -> Option<Place> {
    let shown = record.dataset.kind == Kind::Zarr && record.state.is_there();
    let local = beam.sites.get(&record.site).filter(|_| shown)?.as_local()?;
    let scan = &record.dataset.scan;
    let mut place = within(local.root(), &local.root().join(record.base.as_str()), scan)?;
    place.name = format!("{} at {}, copy {}", scan.stem(), record.site, record.id.0);
    Some(place)
}

impl Library for Volumes {
    fn find(&self, id: &str) -> Result<Option<Place>, String> {
        let app = self.app()?;
        let Some((site, scan)) = id.split_once(':') else { return Ok(None) };
        let custody = &app.beamline.custody;
        let (scan, mut place) = match (site, scan.parse()) {
            (COPY, Ok(number)) => {
                // A number that custody does not know is no fault of its own.
                let Ok(record) = custody.copy(CopyId(number)) else { return Ok(None) };
                let scan = record.dataset.scan.clone();
                let Some(place) = of_copy(&app.beamline, &record) else { return Ok(None) };
                (scan, place)
            }
            _ => {
                let Ok(scan) = scan_name(scan) else { return Ok(None) };
                let Some(mut place) = place(&app.beamline, site, &scan) else { return Ok(None) };
                place.name = format!("{} at {site}", scan.stem());
                (scan, place)
            }
        };
        let mark = custody.mark(&scan).map_err(|error| error.to_string())?;
        let Some(mark) = mark else { return Ok(None) };
        if mark.controlled {
            let why = format!("{scan} is export-controlled: no links to it are given out");
            place.sharing = Sharing::Refused(why);
        }
        Ok(Some(place))
    }

    fn list(&self) -> Result<Vec<Entry>, String> {
        let app = self.app()?;
        let told = |error: custody::Error| error.to_string();
        let custody = &app.beamline.custody;
        let mut entries = Vec::new();
        for scan in custody.scans(OFFERED).map_err(told)? {
            let copies = custody.copies(&scan).map_err(told)?;
            if !copies.iter().any(|copy| matches!(copy.dataset.kind, Kind::Zarr | Kind::Tiff)) {
                continue;
            }
            let here = sites(&app.beamline, &scan).into_iter();
            entries.extend(
                here.map(|site| Entry { id: id(&site, &scan), name: format!("{} at {site}", scan.stem()) }),
            );
        }
        Ok(entries)
    }
}
