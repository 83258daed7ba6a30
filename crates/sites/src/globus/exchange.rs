//! Small files to and from collections, through a folder that both Globus and this host see.

use std::time::Duration;

use custody::RelPath;
use globus::transfer::{Item, Notify, TransferDocument};

use super::{Link, Spot, label};
use crate::error::{Error, Result};
use crate::local::LocalStorage;
use crate::storage::{Storage, Watch};

/// A folder of a collection that this host sees.
#[derive(Debug, Clone)]
pub struct Exchange {
    collection: String,
    root: String,
    folder: LocalStorage,
}

/// How long a small file may be on its way.
const PATIENCE: Duration = Duration::from_secs(600);

impl Exchange {
    /// The site's root `root` in `collection`, which this host sees as `folder`.
    pub fn new(collection: impl Into<String>, root: impl Into<String>, folder: LocalStorage) -> Self {
        Self { collection: collection.into(), root: root.into(), folder }
    }

    fn spot(&self, like: &Spot) -> Spot {
        Spot {
            link: like.link.clone(),
            site: self.folder.site().to_owned(),
            collection: self.collection.clone(),
            root: self.root.clone(),
        }
    }
}

/// Brings a small file here and reads it.
pub(super) async fn fetch(spot: &Spot, path: &RelPath, at_most: u64) -> Result<Vec<u8>> {
    let exchange = exchange(&spot.link, spot, "read")?;
    let (folder, name) = place(spot, exchange, path).await?;
    let file = folder.join(&name);
    let here = exchange.spot(spot);
    move_one(spot, &spot.path(path), &here, &here.path(&file)).await?;
    let bytes = exchange.folder.read_small(&file, at_most).await;
    tidy(exchange, &folder, &name).await;
    bytes
}

/// Writes a small file here and brings it there.
pub(super) async fn put(spot: &Spot, path: &RelPath, bytes: &[u8]) -> Result<()> {
    let exchange = exchange(&spot.link, spot, "written")?;
    let (folder, name) = place(spot, exchange, path).await?;
    let file = folder.join(&name);
    exchange.folder.write_small(&file, bytes).await?;
    let here = exchange.spot(spot);
    let moved = move_one(&here, &here.path(&file), spot, &spot.path(path)).await;
    tidy(exchange, &folder, &name).await;
    moved
}

fn exchange<'a>(link: &'a Link, spot: &Spot, what: &'static str) -> Result<&'a Exchange> {
    link.exchange().ok_or_else(|| Error::NoExchange { site: spot.site.clone(), what })
}

/// A folder of our own in the exchange.
async fn place(spot: &Spot, exchange: &Exchange, path: &RelPath) -> Result<(RelPath, RelPath)> {
    let number = spot.link.client()?.transfer().submission_id().await?;
    let folder = RelPath::new(format!(".beamrail/exchange/{number}"))?;
    exchange.folder.make_folder(&folder).await?;
    let name = path.split().map(|(_, name)| name.to_owned()).unwrap_or_default();
    Ok((folder, RelPath::new(name)?))
}

async fn move_one(from: &Spot, source: &str, to: &Spot, target: &str) -> Result<()> {
    let transfer = from.link.client()?.transfer();
    let number = transfer.submission_id().await?;
    let mut document = TransferDocument::new(number, &from.collection, &to.collection).notify(Notify::NONE);
    document.items.push(Item::file(source, target));
    document.label =
        Some(label(&format!("beamrail small file {}", source.rsplit('/').next().unwrap_or_default())));
    document.verify_checksum = Some(true);
    document.fail_on_quota_errors = Some(true);
    let accepted = transfer.submit_transfer(&document).await?;
    let follow = async {
        let task = from.link.follow(&accepted.task_id, &Watch::default(), |_| ()).await?;
        from.link.success(&task).await
    };
    match tokio::time::timeout(PATIENCE, follow).await {
        Ok(done) => done,
        Err(_) => {
            transfer.cancel(&accepted.task_id).await?;
            let why = format!("a small file did not arrive within {} s", PATIENCE.as_secs());
            Err(Error::Unreachable { site: to.site.clone(), why })
        }
    }
}

/// Takes our folder away. What stays is small, and named after a submission.
async fn tidy(exchange: &Exchange, folder: &RelPath, name: &RelPath) {
    let root = exchange.folder.root().to_path_buf();
    let (file, folder) = (root.join(folder.join(name).as_str()), root.join(folder.as_str()));
    let removed = tokio::task::spawn_blocking(move || {
        let _ = std::fs::remove_file(file);
        let _ = std::fs::remove_dir(folder);
    });
    let _ = removed.await;
}
