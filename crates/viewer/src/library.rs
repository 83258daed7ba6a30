//! Who knows the volumes: a name in an address becomes a folder on disk, here and nowhere else.

use std::path::{Path, PathBuf};

/// Maps the id of a volume, as it stands in addresses, to its place on disk.
///
/// Called on a thread that may block. An id is one segment of an address and may hold any character; whoever
/// implements this looks it up and never makes a path of it.
pub trait Library: Send + Sync + 'static {
    /// The volume with this id; `None` if there is none, or if nobody may see it.
    ///
    /// # Errors
    /// What kept the library from answering, in words for the user.
    fn find(&self, id: &str) -> Result<Option<Place>, String>;

    /// All volumes, for choosing one to compare with, in the order in which they are shown.
    ///
    /// # Errors
    /// What kept the library from answering, in words for the user.
    fn list(&self) -> Result<Vec<Entry>, String>;
}

/// A volume in a list.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[schema(as = VolumeEntry)]
pub struct Entry {
    /// Its id in addresses.
    pub id: String,
    /// Its name for people.
    pub name: String,
}

/// Whether a link for others may be made to a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sharing {
    /// It may.
    Allowed,
    /// It may not, and why (export control, for one); links made before stop working.
    Refused(String),
}

/// Where a volume is. At least one of `zarr` and `tiffs` is there, or will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name for people.
    pub name: String,
    /// The OME-Zarr.
    pub zarr: Option<PathBuf>,
    /// The folder of TIFF slices of the same volume.
    pub tiffs: Option<PathBuf>,
    /// Whether links may be made.
    pub sharing: Sharing,
}

impl Place {
    /// The volume at `path`, an OME-Zarr or a folder of TIFF slices, with its other half if that lies beside it
    /// under the names that beamrail gives (`rec<scan>` and `rec<scan>.zarr`). Links may be made.
    ///
    /// `None` if there is neither.
    pub fn at(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let stem = name.strip_suffix(".zarr").unwrap_or(name);
        let folder = |path: PathBuf| path.is_dir().then_some(path);
        let zarr = folder(path.with_file_name(format!("{stem}.zarr")));
        let tiffs = folder(path.with_file_name(stem)).filter(|path| !is_zarr(path));
        // A group need not be called .zarr.
        let zarr = zarr.or_else(|| folder(path.to_owned()).filter(|path| is_zarr(path)));
        (zarr.is_some() || tiffs.is_some()).then(|| Self {
            name: stem.to_owned(),
            zarr,
            tiffs,
            sharing: Sharing::Allowed,
        })
    }

    /// A file of the job that lies beside the results, such as `rec<scan>` + `.manifest.json`.
    pub(crate) fn beside(&self, ending: &str) -> Option<PathBuf> {
        let path = self.zarr.as_ref().or(self.tiffs.as_ref())?;
        let name = path.file_name()?.to_str()?;
        Some(path.with_file_name(format!("{}{ending}", name.strip_suffix(".zarr").unwrap_or(name))))
    }
}

fn is_zarr(path: &Path) -> bool {
    [".zgroup", ".zattrs", "zarr.json"].iter().any(|name| path.join(name).is_file())
}

/// A library of volumes named one by one, for a user's own machine.
#[derive(Debug, Default)]
pub struct Shelf {
    volumes: Vec<(Entry, PathBuf)>,
}

impl Shelf {
    /// Volumes at these paths: an OME-Zarr, a folder of TIFF slices, or a folder that holds some of either.
    ///
    /// Ids are the names of the volumes, numbered where two have the same.
    ///
    /// # Errors
    /// A path without any volume, or a folder that cannot be listed.
    pub fn new(paths: &[PathBuf]) -> Result<Self, String> {
        let mut shelf = Self::default();
        for path in paths {
            // `.` and `..` have no name of their own.
            let path = path.canonicalize().map_err(|e| format!("cannot open {}: {e}", path.display()))?;
            let before = shelf.volumes.len();
            if is_zarr(&path) || has_tiffs(&path) || path.extension().is_some_and(|e| e == "zarr") {
                shelf.add(&path);
            } else {
                let list =
                    std::fs::read_dir(&path).map_err(|e| format!("cannot list {}: {e}", path.display()))?;
                let mut inside: Vec<PathBuf> = list.filter_map(|entry| Some(entry.ok()?.path())).collect();
                inside.sort();
                for path in inside.iter().filter(|path| is_zarr(path) || has_tiffs(path)) {
                    shelf.add(path);
                }
            }
            if shelf.volumes.len() == before {
                return Err(format!(
                    "{} holds no volume; name an OME-Zarr, a folder of TIFF slices, or a folder with some of them",
                    path.display()
                ));
            }
        }
        Ok(shelf)
    }

    fn add(&mut self, path: &Path) {
        let Some(place) = Place::at(path) else { return };
        if self.volumes.iter().filter_map(|(_, path)| Place::at(path)).any(|other| other == place) {
            return;
        }
        let mut id = place.name.clone();
        let mut number = 2;
        while self.volumes.iter().any(|(entry, _)| entry.id == id) {
            id = format!("{}-{number}", place.name);
            number += 1;
        }
        self.volumes.push((Entry { id, name: place.name }, path.to_owned()));
    }
}

fn has_tiffs(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut list| {
        list.any(|entry| {
            entry.is_ok_and(|entry| {
                let name = entry.file_name().to_string_lossy().to_ascii_lowercase();
                !name.starts_with('.') && (name.ends_with(".tif") || name.ends_with(".tiff"))
            })
        })
    })
}

impl Library for Shelf {
    fn find(&self, id: &str) -> Result<Option<Place>, String> {
        // Looked at anew each time: the other half may have come since.
        let found = self.volumes.iter().find(|(entry, _)| entry.id == id);
        Ok(found.and_then(|(_, path)| Place::at(path)))
    }

    fn list(&self) -> Result<Vec<Entry>, String> {
        Ok(self.volumes.iter().map(|(entry, _)| entry.clone()).collect())
    }
}
