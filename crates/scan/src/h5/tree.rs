//! Walking from the root by path, through soft and external links.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bytes::{H5Error, H5Result, bad};
use super::dataset::{Dataset, dataset};
use super::file::File;
use super::group::{Link, Target, links};
use super::header::messages;
use super::value::{Value, attributes};

/// Links followed before a path is given up as circular.
const MAX_HOPS: u32 = 32;

/// Opens the file that an external link names.
pub(crate) type Opener<'a> = &'a dyn Fn(&Path) -> H5Result<Arc<File>>;

/// A group or dataset that was found.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) file: Arc<File>,
    pub(crate) address: u64,
    /// Path by which it was reached, in the file that was opened first.
    pub(crate) path: String,
}

impl Object {
    pub(crate) fn root(file: &Arc<File>) -> Self {
        Self { file: file.clone(), address: file.root, path: String::new() }
    }

    /// Links of a group, in stored order; empty when it is not a group.
    pub(crate) fn links(&self) -> H5Result<Arc<Vec<Link>>> {
        match links(&self.file, self.address) {
            Err(H5Error::Missing(_)) => Ok(Arc::new(Vec::new())),
            other => other,
        }
    }

    pub(crate) fn is_group(&self) -> bool {
        links(&self.file, self.address).is_ok()
    }

    pub(crate) fn dataset(&self) -> H5Result<Dataset> {
        dataset(&self.file, &messages(&self.file, self.address)?)
    }

    pub(crate) fn attributes(&self) -> H5Result<Vec<(String, Value)>> {
        attributes(&self.file, &messages(&self.file, self.address)?)
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<Value> {
        self.attributes().ok()?.into_iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// The object at a path below this one (or from the root, if it begins with `/`).
    ///
    /// # Errors
    /// [`H5Error::Missing`] when a name is absent or a link leads nowhere.
    pub(crate) fn find(&self, path: &str, open: Opener<'_>) -> H5Result<Self> {
        let mut hops = 0;
        self.find_hop(path, open, &mut hops)
    }

    fn find_hop(&self, path: &str, open: Opener<'_>, hops: &mut u32) -> H5Result<Self> {
        let mut here = if path.starts_with('/') {
            Self { path: self.prefix(), ..Self::root(&self.file) }
        } else {
            self.clone()
        };
        for name in path.split('/').filter(|n| !n.is_empty() && *n != ".") {
            here = here.child(name, open, hops)?;
        }
        Ok(here)
    }

    // Paths are for messages; an absolute path starts anew.
    fn prefix(&self) -> String {
        String::new()
    }

    fn child(&self, name: &str, open: Opener<'_>, hops: &mut u32) -> H5Result<Self> {
        let path = format!("{}/{}", self.path, name);
        let all = self.links()?;
        let Some(link) = all.iter().find(|l| l.name == name) else {
            return Err(H5Error::Missing(path));
        };
        self.follow(link, open, hops)
    }

    /// The object that a link of this group leads to.
    pub(crate) fn follow_link(&self, link: &Link, open: Opener<'_>) -> H5Result<Self> {
        self.follow(link, open, &mut 0)
    }

    fn follow(&self, link: &Link, open: Opener<'_>, hops: &mut u32) -> H5Result<Self> {
        let path = format!("{}/{}", self.path, link.name);
        *hops += 1;
        if *hops > 4 * MAX_HOPS {
            return bad(format!("{path}: links that lead in circles"));
        }
        match &link.target {
            Target::Hard(address) => Ok(Self { file: self.file.clone(), address: *address, path }),
            Target::Soft(target) => {
                *hops += MAX_HOPS / 8;
                let mut found = self.find_hop(target, open, hops)?;
                found.path = path;
                Ok(found)
            }
            Target::External { file, path: inner } => {
                *hops += MAX_HOPS / 4;
                let target = external_path(&self.file.path, file);
                let other = open(&target).map_err(|e| match e {
                    H5Error::Missing(_) => H5Error::Missing(format!("{path} -> {}", target.display())),
                    e => e,
                })?;
                let absolute = format!("/{}", inner.trim_start_matches('/'));
                let mut found = Self::root(&other).find_hop(&absolute, open, hops)?;
                found.path = path;
                Ok(found)
            }
        }
    }
}

/// Where the file of an external link is: beside the file that holds the link, as HDF5 looks for it.
fn external_path(from: &Path, name: &str) -> PathBuf {
    let folder = from.parent().unwrap_or_else(|| Path::new(""));
    let wanted = Path::new(name);
    if wanted.is_absolute() && !wanted.exists() {
        // Files move together: an absolute name that is gone is tried beside the master.
        if let Some(last) = wanted.file_name() {
            return folder.join(last);
        }
    }
    folder.join(wanted)
}
