//! The site that this process sees as a folder.

mod beneath;
mod copy;
mod look;
mod meter;
mod remove;
mod tree;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use custody::{
    DeletePermit, DeleteReceipt, FileList, Level, Observation, Reach, RelPath, Seen, TransferPermit,
};
use jiff::Timestamp;
use rustix::fs::{self, AtFlags, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::storage::{Digests, ListLimits, Place, Storage, Transferred, Watch};
use beneath::{FILE_MODE, Root};
use copy::{Copier, part_name};
use meter::Meter;

/// A folder as a site.
///
/// The folder is opened anew for every call, so that a file system that went away is noticed, and one that came
/// back is used. With a marker, the folder counts as the site only while a file of that name is in it: the empty
/// mount point that a vanished network file system leaves is then "unreachable", not "everything is gone".
#[derive(Debug, Clone)]
pub struct LocalStorage {
    site: String,
    root: PathBuf,
    marker: Option<String>,
}

impl LocalStorage {
    /// The site `site` in the folder `root`.
    pub fn new(site: impl Into<String>, root: impl Into<PathBuf>) -> Self {
        Self { site: site.into(), root: root.into(), marker: None }
    }

    /// Asks for a file of this name in the root.
    #[must_use]
    pub fn with_marker(self, name: impl Into<String>) -> Self {
        Self { marker: Some(name.into()), ..self }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn open(&self) -> Result<Root> {
        let away = |why: String| Error::Unreachable { site: self.site.clone(), why };
        let root = Root::open(&self.root).map_err(|e| away(format!("{}: {e}", self.root.display())))?;
        if let Some(marker) = &self.marker {
            let found = root.stat(&RelPath::new(marker.as_str())?)?;
            let missing = || away(format!("{} holds no {marker}", self.root.display()));
            found.ok_or_else(missing)?;
        }
        Ok(root)
    }

    /// Does `work` on a thread that may wait. If the caller goes away, the work is told to stop.
    async fn blocking<T: Send + 'static>(
        &self,
        watch: &Watch,
        work: impl FnOnce(&Self, &Watch) -> T + Send + 'static,
    ) -> Result<T> {
        struct Abandoned(Option<Watch>);
        impl Drop for Abandoned {
            fn drop(&mut self) {
                if let Some(watch) = &self.0 {
                    watch.stop();
                }
            }
        }
        let mut abandoned = Abandoned(Some(watch.clone()));
        let (this, watch) = (self.clone(), watch.clone());
        let done = tokio::task::spawn_blocking(move || work(&this, &watch)).await;
        abandoned.0 = None;
        done.map_err(|e| Error::Io {
            action: "finish the work on",
            path: self.root.clone(),
            source: std::io::Error::other(e),
        })
    }

    async fn quick<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.blocking(&Watch::default(), move |this, _| work(this)).await?
    }

    /// The transfer, on a thread that may wait.
    fn copy_out(
        &self,
        permit: TransferPermit,
        target: &Self,
        key: &str,
        watch: &Watch,
        now: Timestamp,
    ) -> Result<Transferred> {
        let order = permit.redeem(now)?;
        let request = order.request();
        for (named, is) in [(&request.from, &self.site), (&request.to, &target.site)] {
            if named != is {
                let reason = format!("the permit names {named}; ask custody for one for this transfer");
                return Err(Error::Value { name: "site", value: is.clone(), reason });
            }
        }
        let key: String = blake3::hash(key.as_bytes()).to_hex().chars().take(12).collect();
        let (from, to) = (self.open()?, target.open()?);
        let meter = Meter::new(watch, request.files.bytes(), request.files.count());
        let copier = Copier { source: &from, target: &to, key: &key, meter: &meter };
        let files = copier.copy_all(&request.from_base, &request.files, &request.to_base)?;
        let mut seen =
            look::observe(&target.site, target.open(), &request.to_base, &files, &Digests::None, now);
        if let Reach::Seen(found) = &mut seen.reach {
            for one in found {
                // What was read back a moment ago need not be read a third time.
                one.blake3 = files.find(&one.path).and_then(|entry| entry.blake3.clone());
            }
        }
        meter.tell();
        let (copied, reused) = meter.sums();
        let (permit, elapsed) = (order.id().to_owned(), meter.elapsed());
        let (level, evidence) = (Level::Digested, None);
        Ok(Transferred { permit, level, seen, files, copied, reused, elapsed, evidence })
    }
}

#[async_trait]
impl Storage for LocalStorage {
    fn site(&self) -> &str {
        &self.site
    }

    fn place(&self) -> Place {
        Place::Folder(self.root.clone())
    }

    async fn stat(&self, path: &RelPath) -> Result<Option<Seen>> {
        let path = path.clone();
        self.quick(move |this| {
            let found = this.open()?.stat(&path)?;
            Ok(found.map(|stat| look::seen(path.as_str().to_owned(), &stat)))
        })
        .await
    }

    async fn list(&self, folder: &RelPath, limits: ListLimits) -> Result<Vec<Seen>> {
        let folder = folder.clone();
        self.quick(move |this| look::list(&this.open()?, &folder, "", limits)).await
    }

    async fn read_small(&self, path: &RelPath, at_most: u64) -> Result<Vec<u8>> {
        let path = path.clone();
        self.quick(move |this| read_small(&this.open()?, &path, at_most)).await
    }

    async fn write_small(&self, path: &RelPath, bytes: &[u8]) -> Result<()> {
        let (path, bytes) = (path.clone(), bytes.to_vec());
        self.quick(move |this| write_small(&this.open()?, &path, &bytes)).await
    }

    async fn make_folder(&self, path: &RelPath) -> Result<()> {
        let path = path.clone();
        self.quick(move |this| this.open()?.make_folder(&path).map(drop)).await
    }

    async fn rename(&self, from: &RelPath, to: &RelPath) -> Result<()> {
        let (from, to) = (from.clone(), to.clone());
        self.quick(move |this| {
            let root = this.open()?;
            let ((old_dir, old), (new_dir, new)) = (root.parent(&from)?, root.parent(&to)?);
            beneath::rename_new(old_dir.as_fd(), old, new_dir.as_fd(), new).map_err(|e| match e {
                Errno::EXIST => Error::Exists { path: root.full(&to), difference: "not compared".into() },
                e => Error::io("rename", &root.full(&from), e),
            })?;
            look::sync_folder(&root, &old_dir, &from)?;
            look::sync_folder(&root, &new_dir, &to)
        })
        .await
    }

    async fn digest(&self, path: &RelPath, watch: &Watch) -> Result<String> {
        let path = path.clone();
        self.blocking(watch, move |this, watch| {
            let root = this.open()?;
            let file = root.read(&path)?;
            look::hash_file(&file, watch, &|_| ())
                .map_err(|e| copy::stopped_or(watch, Error::io("read", &root.full(&path), e)))
        })
        .await?
    }

    async fn free_space(&self) -> Result<Option<u64>> {
        self.quick(|this| this.open()?.free_space().map(Some)).await
    }

    async fn observe(
        &self,
        base: &RelPath,
        files: &FileList,
        digests: Digests,
        now: Timestamp,
    ) -> Observation {
        let (owned_base, files) = (base.clone(), files.clone());
        let looked = self.quick(move |this| {
            Ok(look::observe(&this.site, this.open(), &owned_base, &files, &digests, now))
        });
        looked.await.unwrap_or_else(|error| Observation {
            site: self.site.clone(),
            base: base.clone(),
            observed_at: now,
            reach: Reach::Unreachable(error.to_string()),
        })
    }

    async fn transfer(
        &self,
        permit: TransferPermit,
        target: &dyn Storage,
        key: &str,
        watch: &Watch,
        now: Timestamp,
    ) -> Result<Transferred> {
        let Some(target) = target.as_local() else {
            return Err(Error::NoWay { from: self.site.clone(), to: target.site().to_owned() });
        };
        let (target, key) = (target.clone(), key.to_owned());
        self.blocking(watch, move |this, watch| this.copy_out(permit, &target, &key, watch, now)).await?
    }

    async fn delete(&self, permit: DeletePermit, now: Timestamp) -> Result<DeleteReceipt> {
        if permit.site() != self.site {
            let reason = format!("the permit is for {}", permit.site());
            return Err(Error::Value { name: "site", value: self.site.clone(), reason });
        }
        // Not to be stopped half-way because a caller lost patience: hence no watch.
        self.quick(move |this| {
            let root = this.open()?;
            Ok(remove::delete(&root, permit.redeem(now)?))
        })
        .await
    }

    fn as_local(&self) -> Option<&LocalStorage> {
        Some(self)
    }
}

/// Reads a small file.
fn read_small(root: &Root, path: &RelPath, at_most: u64) -> Result<Vec<u8>> {
    let file = root.read(path)?;
    let mut bytes = Vec::new();
    file.take(at_most.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io("read", &root.full(path), e))?;
    if bytes.len() as u64 > at_most {
        let limit = usize::try_from(at_most).unwrap_or(usize::MAX);
        return Err(Error::TooMany { path: root.full(path), limit, what: "bytes" });
    }
    Ok(bytes)
}

/// Writes a small file: temporary name, sync, rename, sync of the folder.
fn write_small(root: &Root, path: &RelPath, bytes: &[u8]) -> Result<()> {
    let (folder, name) = root.parent(path)?;
    let part = part_name(name, "new");
    let fail = |action, e| Error::io(action, &root.full(path), e);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let written =
        fs::openat(&folder, part.as_str(), flags, FILE_MODE).map_err(std::io::Error::from).and_then(|fd| {
            let mut file = File::from(fd);
            let _ = fs::fchmod(&file, FILE_MODE);
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::renameat(&folder, part.as_str(), &folder, name)?;
            Ok(())
        });
    if let Err(e) = written {
        let _ = fs::unlinkat(&folder, part.as_str(), AtFlags::empty());
        return Err(fail("write", e));
    }
    look::sync_folder(root, &folder, path)
}
