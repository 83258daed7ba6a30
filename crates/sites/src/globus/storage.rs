//! A folder of a Globus collection as a site.

use std::sync::Arc;

use async_trait::async_trait;
use custody::{DeletePermit, DeleteReceipt, FileList, Observation, Reach, RelPath, Seen, TransferPermit};
use jiff::Timestamp;

use super::order::Work;
use super::{Link, Spot, exchange, remove};
use crate::error::{Error, Result};
use crate::local::LocalStorage;
use crate::storage::{Digests, ListLimits, Place, Storage, Transferred, Watch};

/// A folder of a collection.
///
/// Where this host sees the folder too, it looks, reads and deletes there itself, and asks Globus only to move
/// files to places that it does not see.
#[derive(Debug, Clone)]
pub struct GlobusStorage {
    spot: Spot,
    local: Option<LocalStorage>,
    data_access: bool,
}

impl GlobusStorage {
    /// The site `site` in the folder `root` of a collection.
    pub fn new(
        site: impl Into<String>,
        link: Arc<Link>,
        collection: impl Into<String>,
        root: impl Into<String>,
    ) -> Self {
        let (site, collection, root) = (site.into(), collection.into(), root.into());
        Self { spot: Spot { link, site, collection, root }, local: None, data_access: false }
    }

    /// The same folder as this host sees it.
    #[must_use]
    pub fn with_local(self, local: LocalStorage) -> Self {
        Self { local: Some(local), ..self }
    }

    /// A mapped collection, whose data needs a consent of its own.
    #[must_use]
    pub fn with_data_access(self, data_access: bool) -> Self {
        Self { data_access, ..self }
    }

    /// The collection's id.
    pub fn collection(&self) -> &str {
        &self.spot.collection
    }

    /// The link.
    pub fn link(&self) -> &Arc<Link> {
        &self.spot.link
    }

    /// What the client may do with this collection is asked for together with the next token.
    async fn ready(&self) -> Result<()> {
        if self.data_access {
            self.spot.link.client()?.transfer().with_data_access(&[&self.spot.collection]).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Storage for GlobusStorage {
    fn site(&self) -> &str {
        &self.spot.site
    }

    fn place(&self) -> Place {
        Place::Collection {
            id: self.spot.collection.clone(),
            root: self.spot.root.clone(),
            data_access: self.data_access,
        }
    }

    async fn stat(&self, path: &RelPath) -> Result<Option<Seen>> {
        if let Some(local) = &self.local {
            return local.stat(path).await;
        }
        self.ready().await?;
        self.spot.stat(path).await
    }

    async fn list(&self, folder: &RelPath, limits: ListLimits) -> Result<Vec<Seen>> {
        if let Some(local) = &self.local {
            return local.list(folder, limits).await;
        }
        self.ready().await?;
        self.spot.list(folder, "", limits).await
    }

    async fn read_small(&self, path: &RelPath, at_most: u64) -> Result<Vec<u8>> {
        if let Some(local) = &self.local {
            return local.read_small(path, at_most).await;
        }
        self.ready().await?;
        // Looked at first: a large file is refused before it is moved.
        let found = self.spot.stat(path).await?;
        match found {
            None => Err(Error::Missing { path: self.spot.shown(path) }),
            Some(found) if found.size > at_most => {
                let limit = usize::try_from(at_most).unwrap_or(usize::MAX);
                Err(Error::TooMany { path: self.spot.shown(path), limit, what: "bytes" })
            }
            Some(found) if found.kind != custody::SeenKind::File => {
                Err(Error::NotAFile { path: self.spot.shown(path) })
            }
            Some(_) => exchange::fetch(&self.spot, path, at_most).await,
        }
    }

    async fn write_small(&self, path: &RelPath, bytes: &[u8]) -> Result<()> {
        if let Some(local) = &self.local {
            return local.write_small(path, bytes).await;
        }
        self.ready().await?;
        exchange::put(&self.spot, path, bytes).await
    }

    async fn make_folder(&self, path: &RelPath) -> Result<()> {
        if let Some(local) = &self.local {
            return local.make_folder(path).await;
        }
        self.ready().await?;
        self.spot.make_folder(path).await
    }

    async fn rename(&self, from: &RelPath, to: &RelPath) -> Result<()> {
        if let Some(local) = &self.local {
            return local.rename(from, to).await;
        }
        self.ready().await?;
        self.spot.rename(from, to).await
    }

    async fn digest(&self, path: &RelPath, watch: &Watch) -> Result<String> {
        match &self.local {
            Some(local) => local.digest(path, watch).await,
            None => Err(Error::Value {
                name: "digest",
                value: self.spot.shown(path).display().to_string(),
                reason: "a collection tells no digests; run beamrail verify at the facility".into(),
            }),
        }
    }

    async fn free_space(&self) -> Result<Option<u64>> {
        match &self.local {
            Some(local) => local.free_space().await,
            None => Ok(None),
        }
    }

    async fn observe(
        &self,
        base: &RelPath,
        files: &FileList,
        digests: Digests,
        now: Timestamp,
    ) -> Observation {
        if let Some(local) = &self.local {
            return local.observe(base, files, digests, now).await;
        }
        let looked = async {
            self.ready().await?;
            self.spot.survey(base, files).await
        };
        let reach = match looked.await {
            Ok(seen) => Reach::Seen(seen),
            Err(error) => Reach::Unreachable(error.to_string()),
        };
        Observation { site: self.spot.site.clone(), base: base.clone(), observed_at: now, reach }
    }

    async fn transfer(
        &self,
        permit: TransferPermit,
        target: &dyn Storage,
        key: &str,
        watch: &Watch,
        now: Timestamp,
    ) -> Result<Transferred> {
        // Both before our eyes: copied, read back, digested.
        if let (Some(local), Some(_)) = (&self.local, target.as_local()) {
            return local.transfer(permit, target, key, watch, now).await;
        }
        let Place::Collection { id, root, data_access } = target.place() else {
            return Err(Error::NoWay { from: self.spot.site.clone(), to: target.site().to_owned() });
        };
        for (named, is) in [(&permit.request().from, self.site()), (&permit.request().to, target.site())] {
            if named != is {
                let reason = format!("the permit names {named}; ask custody for one for this transfer");
                return Err(Error::Value { name: "site", value: is.to_owned(), reason });
            }
        }
        self.ready().await?;
        let to = Spot { link: self.spot.link.clone(), site: target.site().to_owned(), collection: id, root };
        if data_access {
            self.spot.link.client()?.transfer().with_data_access(&[&to.collection]).await?;
        }
        let order = permit.redeem(now)?;
        Work { from: &self.spot, to: &to, key, watch }.run(&order, now).await
    }

    async fn delete(&self, permit: DeletePermit, now: Timestamp) -> Result<DeleteReceipt> {
        if let Some(local) = &self.local {
            return local.delete(permit, now).await;
        }
        if permit.site() != self.spot.site {
            let reason = format!("the permit is for {}", permit.site());
            return Err(Error::Value { name: "site", value: self.spot.site.clone(), reason });
        }
        self.ready().await?;
        Ok(remove::delete(&self.spot, permit.redeem(now)?).await)
    }

    fn as_local(&self) -> Option<&LocalStorage> {
        self.local.as_ref()
    }
}
