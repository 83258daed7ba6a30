//! Deleting by order: exactly those files, as they were seen, and then empty folders.

use custody::{DeleteOrder, DeleteReceipt, DoomedFile, RelPath};
use rustix::fs::{self, AtFlags};
use rustix::io::Errno;

use super::beneath::{Root, is_file};
use super::look::{seen, sync_folder};
use crate::error::{Error, Result};

/// Carries out an order. What does not look as the order says stays, with the reason.
pub(crate) fn delete(root: &Root, order: DeleteOrder) -> DeleteReceipt {
    let (mut gone, mut failed) = (Vec::new(), Vec::new());
    let mut folders: Vec<RelPath> = Vec::new();
    for file in order.files() {
        match remove(root, order.base(), file) {
            Ok(()) => gone.push(file.path.clone()),
            Err(error) => failed.push((file.path.clone(), error.to_string())),
        }
        let folder = order.base().join(&file.path).split().map(|(folder, _)| folder).unwrap_or_default();
        if folders.last() != Some(&folder) {
            folders.push(folder);
        }
    }
    for folder in order.folders() {
        let path = order.base().join(folder);
        // Only rmdir: a folder with anything left in it stays, and whatever the reason, nothing is lost.
        if let Ok((parent, name)) = root.parent(&path)
            && fs::unlinkat(&parent, name, AtFlags::REMOVEDIR).is_ok()
        {
            folders.push(path.split().map(|(folder, _)| folder).unwrap_or_default());
        }
    }
    folders.sort();
    folders.dedup();
    for folder in folders {
        // A name that comes back after a power cut is found by the next reconciliation.
        let _ = root.folder(&folder).and_then(|fd| sync_folder(root, &fd, &folder));
    }
    order.receipt(&gone, failed)
}

/// Removes one file if it is the one that was seen. One that is gone already is as good.
fn remove(root: &Root, base: &RelPath, file: &DoomedFile) -> Result<()> {
    let path = base.join(&file.path);
    let (folder, name) = match root.parent(&path) {
        Err(Error::Missing { .. }) => return Ok(()),
        other => other?,
    };
    let full = || root.full(&path);
    let stat = match fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.map_err(|e| Error::io("stat", &full(), e))?,
    };
    let now = seen(String::new(), &stat);
    let same = |recorded: &Option<String>| recorded.is_none() || *recorded == now.identity;
    let time = file.mtime_ns.is_none() || file.mtime_ns == now.mtime_ns;
    if !is_file(&stat) {
        return Err(Error::NotAFile { path: full() });
    }
    if now.size != file.size || !time || !same(&file.identity) {
        return Err(Error::Changed { path: full() });
    }
    match fs::unlinkat(&folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(Error::io("delete", &full(), e)),
    }
}
