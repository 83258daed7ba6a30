//! The layouts: each finds its projections, flats, darks and angles, and hands on the same parts.

mod als;
mod exchange;
mod names;
mod nexus;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::array::Array;
use crate::frames::{FrameSet, unsupported};
use crate::h5::bytes::H5Error;
use crate::h5::file::File;
use crate::h5::tree::Object;
use crate::meta::Meta;
use crate::{Error, Layout, OpenOptions, Result, Warning, completeness, theta};

/// Flat or dark frames taken together.
#[derive(Debug, Clone)]
pub(crate) struct GroupOf {
    /// Projection index at which they were taken.
    pub(crate) position: f64,
    /// Which frames of the set.
    pub(crate) frames: std::ops::Range<usize>,
}

/// Flats or darks as the file has them.
#[derive(Debug, Default)]
pub(crate) struct Reference {
    pub(crate) set: Option<FrameSet>,
    pub(crate) groups: Vec<GroupOf>,
    /// Value that the metadata give for a detector without such frames.
    pub(crate) value: Option<f64>,
}

/// What every layout delivers.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) layout: Layout,
    pub(crate) dataset: String,
    pub(crate) projections: FrameSet,
    pub(crate) flats: Reference,
    pub(crate) darks: Reference,
    pub(crate) theta: theta::Raw,
    pub(crate) pixel_size_um: Option<f64>,
    pub(crate) distance_mm: Option<f64>,
    pub(crate) energy_kev: Option<f64>,
    pub(crate) time_points: usize,
    pub(crate) acquired: Option<String>,
    pub(crate) sample: Option<String>,
    pub(crate) meta: Meta,
    pub(crate) warnings: Vec<Warning>,
}

/// What a layout works with.
pub(crate) struct Source<'a> {
    pub(crate) path: &'a Path,
    pub(crate) root: Object,
    pub(crate) options: &'a OpenOptions,
    others: RefCell<HashMap<PathBuf, Arc<File>>>,
}

/// Other files that one scan may refer to.
const MAX_FILES: usize = 64;

impl<'a> Source<'a> {
    pub(crate) fn new(path: &'a Path, file: &Arc<File>, options: &'a OpenOptions) -> Self {
        Self { path, root: Object::root(file), options, others: RefCell::default() }
    }

    /// Opens the file of an external link; an absent one is `Missing`, one that is cut or open is `Bad`.
    pub(crate) fn open(&self, path: &Path) -> std::result::Result<Arc<File>, H5Error> {
        if let Some(known) = self.others.borrow().get(path) {
            return Ok(known.clone());
        }
        if self.others.borrow().len() >= MAX_FILES {
            return Err(H5Error::Bad("links to too many other files".into()));
        }
        let show = path.display();
        let (file, size) = match completeness::open_file(path) {
            Ok(opened) => opened,
            Err(_) => return Err(H5Error::Missing(show.to_string())),
        };
        let (answer, superblock) =
            completeness::judge(path, &file, size).map_err(|e| H5Error::Bad(e.to_string()))?;
        match (answer.verdict, superblock) {
            (completeness::Verdict::Complete, Some(superblock)) => {
                let file = Arc::new(File::new(file, path, size, &superblock));
                self.others.borrow_mut().insert(path.to_path_buf(), file.clone());
                Ok(file)
            }
            (verdict, _) => Err(H5Error::Bad(format!("the linked file {show} cannot be used: {verdict:?}"))),
        }
    }

    /// The object at a path from the root, if it is there.
    pub(crate) fn find(&self, path: &str) -> Result<Option<Object>> {
        self.find_below(&self.root, path)
    }

    /// The object at a path below another, if it is there.
    pub(crate) fn find_below(&self, object: &Object, path: &str) -> Result<Option<Object>> {
        match object.find(path, &|p| self.open(p)) {
            Ok(found) => Ok(Some(found)),
            Err(H5Error::Missing(_)) => Ok(None),
            Err(e) => Err(self.explain(path, e)),
        }
    }

    /// A reading error with the names of file and object.
    pub(crate) fn explain(&self, what: &str, error: H5Error) -> Error {
        let path = self.path.to_path_buf();
        match error {
            H5Error::Io(source) => Error::Io { path, doing: format!("read {what}"), source },
            H5Error::Bad(reason) => Error::Damaged { path, reason: format!("{what}: {reason}") },
            H5Error::Missing(what) => Error::Dataset { path, dataset: what, reason: "does not exist".into() },
            H5Error::Unsupported(feature) => unsupported(path, what.to_string(), feature),
        }
    }

    /// An [`Error::Dataset`].
    pub(crate) fn wrong(&self, dataset: &str, reason: impl Into<String>) -> Error {
        Error::Dataset { path: self.path.to_path_buf(), dataset: dataset.to_string(), reason: reason.into() }
    }

    /// The frames of a dataset. Shapes that cannot be frames are `Dataset` errors.
    pub(crate) fn array(&self, object: &Object) -> Result<Array> {
        let dataset = object.dataset().map_err(|e| self.explain(&object.path, e))?;
        let dims = dataset.space.dims.clone();
        Array::new(object.file.clone(), object.path.clone(), dataset).map_err(|e| match e {
            H5Error::Bad(reason) if !(2..=3).contains(&dims.len()) || dims.contains(&0) => {
                self.wrong(&object.path, reason)
            }
            e => self.explain(&object.path, e),
        })
    }

    /// All numbers of a dataset.
    pub(crate) fn numbers(&self, object: &Object) -> Result<Vec<f64>> {
        let read = || object.dataset()?.value(&object.file);
        Ok(read().map_err(|e| self.explain(&object.path, e))?.numbers().to_vec())
    }
}

/// A set over all frames of one stack.
pub(crate) fn whole(array: Array) -> Option<FrameSet> {
    let order = (0..array.frames as u32).map(|i| (0, i)).collect();
    FrameSet::new(vec![array], order)
}

/// Finds the layout and reads its parts.
pub(crate) fn read(source: &Source<'_>) -> Result<Parts> {
    match source.options.layout {
        Some(Layout::Dxfile | Layout::Dxchange | Layout::Sls) => {
            if let Some(parts) = exchange::read(source)? {
                return Ok(parts);
            }
        }
        Some(Layout::Als | Layout::Als1131) => {
            if let Some(parts) = als::read(source)? {
                return Ok(parts);
            }
        }
        Some(Layout::Nexus) => {
            if let Some(parts) = nexus::read(source)? {
                return Ok(parts);
            }
        }
        None => {
            for attempt in [exchange::read, nexus::read, als::read] {
                if let Some(parts) = attempt(source)? {
                    return Ok(parts);
                }
            }
        }
    }
    let looked_for = match source.options.layout {
        Some(layout) => format!("layout {layout} as asked for ({})", needs(layout)),
        None => {
            [Layout::Dxfile, Layout::Nexus, Layout::Als].map(|l| format!("{l} ({})", needs(l))).join(", ")
        }
    };
    Err(Error::NoScan { path: source.path.to_path_buf(), looked_for, found: contents(source) })
}

fn needs(layout: Layout) -> &'static str {
    match layout {
        Layout::Dxfile | Layout::Dxchange | Layout::Sls => "dataset /exchange/data",
        Layout::Als | Layout::Als1131 => "a group with frames <name>_0000_0000.tif ...",
        Layout::Nexus => "a group with image_key and data",
    }
}

/// The first names in the root, for a message.
fn contents(source: &Source<'_>) -> String {
    match source.root.links() {
        Ok(links) if links.is_empty() => "nothing".into(),
        Ok(links) => {
            let names: Vec<String> =
                links.iter().take(8).map(|l| format!("/{}", crate::meta::clean(&l.name))).collect();
            let more = if links.len() > 8 { format!(" and {} more", links.len() - 8) } else { String::new() };
            names.join(", ") + &more
        }
        Err(e) => format!("a root group that cannot be read ({e})"),
    }
}
