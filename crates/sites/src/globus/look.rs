//! What a collection shows, in custody's words.

use custody::{FileList, RelPath, Seen, SeenKind};
use globus::transfer::{FileInfo, FileKind, Limits};

use super::Spot;
use crate::error::{Error, Result};
use crate::storage::ListLimits;

/// A file, folder or link. Its time is of whole seconds.
pub(super) fn seen(path: String, info: &FileInfo) -> Seen {
    let kind = match &info.kind {
        _ if info.is_link() => SeenKind::Link,
        FileKind::File => SeenKind::File,
        FileKind::Folder => SeenKind::Folder,
        FileKind::BrokenLink => SeenKind::Link,
        FileKind::Other(_) => SeenKind::Other,
    };
    Seen { kind, mtime_ns: info.modified_ns(), ..Seen::file(path, info.size.unwrap_or(0)) }
}

impl Spot {
    /// One file, folder or link.
    pub async fn stat(&self, path: &RelPath) -> Result<Option<Seen>> {
        let found = self.link.client()?.transfer().stat(&self.collection, &self.path(path)).await?;
        Ok(found.map(|info| seen(path.as_str().to_owned(), &info)))
    }

    /// Everything below a folder, paths behind `prefix`, sorted.
    pub async fn list(&self, folder: &RelPath, prefix: &str, limits: ListLimits) -> Result<Vec<Seen>> {
        let limits = Limits { entries: limits.entries, depth: limits.depth };
        let transfer = self.client()?.transfer();
        let found = match transfer.ls_recursive(&self.collection, &self.path(folder), limits).await {
            Err(error) if error.is_not_found() => return Err(Error::Missing { path: self.shown(folder) }),
            Err(globus::Error::TooMany { limit, what, .. }) => {
                return Err(Error::TooMany { path: self.shown(folder), limit, what });
            }
            other => other?,
        };
        let join = |path: String| if prefix.is_empty() { path } else { format!("{prefix}/{path}") };
        let mut found: Vec<Seen> = found.into_iter().map(|one| seen(join(one.path), &one.info)).collect();
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// What there is of a copy: its first parts, and all that is below them.
    pub async fn survey(&self, base: &RelPath, files: &FileList) -> Result<Vec<Seen>> {
        let mut found = Vec::new();
        for top in files.tops() {
            let path = base.join(&RelPath::new(top)?);
            let Some(one) = self.stat(&path).await? else { continue };
            if one.kind == SeenKind::Folder {
                found.extend(self.list(&path, top, ListLimits::default()).await?);
            }
            found.push(Seen { path: top.to_owned(), ..one });
        }
        Ok(found)
    }

    /// Makes a folder and those above it.
    pub async fn make_folder(&self, path: &RelPath) -> Result<()> {
        if path.is_root() || self.stat(path).await?.is_some_and(|found| found.kind == SeenKind::Folder) {
            return Ok(());
        }
        let mut above = RelPath::root();
        for part in path.parts() {
            above = above.join(&RelPath::new(part)?);
            self.client()?.transfer().mkdir(&self.collection, &self.path(&above)).await?;
        }
        Ok(())
    }

    /// Renames. An existing destination is an error; where no answer comes, what is there tells.
    pub async fn rename(&self, from: &RelPath, to: &RelPath) -> Result<()> {
        if self.stat(to).await?.is_some() {
            return Err(Error::Exists { path: self.shown(to), difference: "not compared".into() });
        }
        let transfer = self.client()?.transfer();
        match transfer.rename(&self.collection, &self.path(from), &self.path(to)).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let done = self.stat(from).await?.is_none() && self.stat(to).await?.is_some();
                match done {
                    true => Ok(()),
                    false if error.is_not_found() => Err(Error::Missing { path: self.shown(from) }),
                    false => Err(error.into()),
                }
            }
        }
    }

    fn client(&self) -> Result<&globus::Globus> {
        self.link.client()
    }
}
