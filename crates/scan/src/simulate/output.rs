//! A file that appears under its name only when it is complete.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::error::{Error, Result};

/// A file under a temporary name beside its final one; removed when dropped before [`Draft::publish`].
pub(crate) struct Draft {
    path: PathBuf,
    temporary: PathBuf,
    overwrite: bool,
    published: bool,
}

impl Draft {
    /// Checks the final name and the disk for `bytes`, and chooses a temporary name in the same folder.
    ///
    /// # Errors
    /// [`Error::Exists`] unless `overwrite`; [`Error::Space`]; [`Error::Io`] when the folder cannot be asked.
    pub(crate) fn new(path: &Path, bytes: u64, overwrite: bool) -> Result<Self> {
        let Some(name) = path.file_name() else {
            return Err(Error::option("path", path.display(), "must name a file"));
        };
        if path.is_dir() || (!overwrite && path.symlink_metadata().is_ok()) {
            return Err(Error::Exists { path: path.to_path_buf() });
        }
        let folder = folder_of(path);
        let space = rustix::fs::statvfs(folder)
            .map_err(|e| Error::io("ask for the free space of", folder)(e.into()))?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        // HDF5's own structures take a few kilobytes a frame at most.
        let needed = bytes.saturating_add(bytes / 100).saturating_add(1 << 20);
        if free < needed {
            return Err(Error::Space { path: path.to_path_buf(), needed, free });
        }
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.partial", std::process::id()));
        let temporary = path.with_file_name(temporary);
        Ok(Self { path: path.to_path_buf(), temporary, overwrite, published: false })
    }

    /// Where to write.
    pub(crate) fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Brings the closed file to the disk and gives it its name.
    ///
    /// # Errors
    /// [`Error::Exists`] when another process took the name meanwhile; [`Error::Io`].
    pub(crate) fn publish(mut self) -> Result<()> {
        let file = File::open(&self.temporary).map_err(Error::io("open", &self.temporary))?;
        file.sync_all().map_err(Error::io("bring to the disk", &self.temporary))?;
        drop(file);
        if self.overwrite {
            fs::rename(&self.temporary, &self.path).map_err(Error::io("rename to", &self.path))?;
        } else {
            self.rename_new()?;
        }
        self.published = true;
        let folder = folder_of(&self.path);
        let sync = File::open(folder).and_then(|folder| folder.sync_all());
        sync.map_err(Error::io("bring to the disk", folder))
    }

    /// Renames without ever replacing a file.
    fn rename_new(&self) -> Result<()> {
        // A hard link fails where the name exists, on every Unix file system that knows links.
        match fs::hard_link(&self.temporary, &self.path) {
            Ok(()) => fs::remove_file(&self.temporary).map_err(Error::io("remove", &self.temporary)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Error::Exists { path: self.path.clone() })
            }
            Err(_) if self.path.symlink_metadata().is_ok() => Err(Error::Exists { path: self.path.clone() }),
            Err(_) => fs::rename(&self.temporary, &self.path).map_err(Error::io("rename to", &self.path)),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published {
            // Nothing was promised under this name; a failure to remove it changes nothing.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// The folder that holds a file.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
