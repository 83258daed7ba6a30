//! Deleting by order: exactly those files, as they were seen, and then folders that are empty.

use std::collections::{BTreeMap, BTreeSet};

use custody::{DeleteOrder, DeleteReceipt, RelPath, Seen, SeenKind};
use globus::transfer::{DeleteDocument, Notify};

use super::{Spot, label};
use crate::error::Result;
use crate::storage::{ListLimits, Watch};

/// Carries out an order. What does not look as the order says stays, with the reason; so does everything, where
/// the collection does not answer.
pub(super) async fn delete(spot: &Spot, order: DeleteOrder) -> DeleteReceipt {
    let (mut gone, mut failed, mut doomed) = (Vec::new(), Vec::new(), Vec::new());
    let before = match survey(spot, &order).await {
        Ok(seen) => seen,
        Err(error) => {
            let failed = order.files().iter().map(|file| (file.path.clone(), error.to_string())).collect();
            return order.receipt(&[], failed);
        }
    };
    for file in order.files() {
        match before.get(file.path.as_str()) {
            None => gone.push(file.path.clone()),
            Some(seen) if seen.kind != SeenKind::File => {
                failed.push((file.path.clone(), "it is not a regular file".to_owned()));
            }
            Some(seen) if seen.size != file.size || !same_second(file.mtime_ns, seen.mtime_ns) => {
                failed.push((file.path.clone(), "it changed since it was permitted to go".to_owned()));
            }
            Some(_) => doomed.push(file.path.clone()),
        }
    }
    if !doomed.is_empty() {
        let said = submit(spot, &order, &doomed).await.err().map(|error| error.to_string());
        // Whatever the task says: what is there is there.
        let after = survey(spot, &order).await;
        for path in doomed {
            match &after {
                Ok(after) if !after.contains_key(path.as_str()) => gone.push(path),
                Ok(_) => failed.push((path, said.clone().unwrap_or_else(|| "it is still there".to_owned()))),
                Err(error) => failed.push((path, error.to_string())),
            }
        }
    }
    if failed.is_empty() {
        for top in order.folders().iter().filter(|folder| folder.parts().count() == 1) {
            let _ = remove_if_empty(spot, &order, top).await;
        }
    }
    order.receipt(&gone, failed)
}

/// What is below the first parts of the order's files.
async fn survey(spot: &Spot, order: &DeleteOrder) -> Result<BTreeMap<String, Seen>> {
    let tops: BTreeSet<&str> = order.files().iter().filter_map(|file| file.path.parts().next()).collect();
    let mut found = BTreeMap::new();
    for top in tops {
        let path = order.base().join(&RelPath::new(top)?);
        let Some(one) = spot.stat(&path).await? else { continue };
        if one.kind == SeenKind::Folder {
            let below = spot.list(&path, top, ListLimits::default()).await?;
            found.extend(below.into_iter().map(|one| (one.path.clone(), one)));
        }
        found.insert(top.to_owned(), one);
    }
    Ok(found)
}

async fn submit(spot: &Spot, order: &DeleteOrder, doomed: &[RelPath]) -> Result<()> {
    let transfer = spot.link.client()?.transfer();
    let number = transfer.submission_id().await?;
    let mut document = DeleteDocument::new(number, &spot.collection).notify(Notify::NONE);
    for path in doomed {
        document.add(spot.path(&order.base().join(path)));
    }
    document.label = Some(label(&format!("beamrail prune {}", order.id())));
    // Files only: a folder of that name is an error, not a loss.
    (document.recursive, document.ignore_missing) = (Some(false), Some(true));
    document.interpret_globs = Some(false);
    let accepted = transfer.submit_delete(&document).await?;
    let task = spot.link.follow(&accepted.task_id, &Watch::default(), |_| ()).await?;
    spot.link.success(&task).await
}

/// Removes a folder that holds nothing but folders. Globus deletes folders with all that is in them, so it is
/// renamed first: then nobody puts a file into it by its old name, and what came in before is found and kept.
async fn remove_if_empty(spot: &Spot, order: &DeleteOrder, top: &RelPath) -> Result<()> {
    let place = order.base().join(top);
    if !only_folders(spot, &place).await? {
        return Ok(());
    }
    let aside = order.base().join(&RelPath::new(format!(".beamrail-empty-{}-{top}", order.id()))?);
    spot.rename(&place, &aside).await?;
    if !only_folders(spot, &aside).await? {
        return spot.rename(&aside, &place).await;
    }
    let transfer = spot.link.client()?.transfer();
    let number = transfer.submission_id().await?;
    let mut document = DeleteDocument::new(number, &spot.collection).notify(Notify::NONE);
    document.add(spot.path(&aside));
    (document.recursive, document.ignore_missing) = (Some(true), Some(true));
    document.interpret_globs = Some(false);
    document.label = Some(label(&format!("beamrail prune {}, empty folders", order.id())));
    transfer.submit_delete(&document).await?;
    Ok(())
}

async fn only_folders(spot: &Spot, folder: &RelPath) -> Result<bool> {
    let found = spot.list(folder, "", ListLimits::default()).await?;
    Ok(found.iter().all(|one| one.kind == SeenKind::Folder))
}

/// Equal times, where a collection tells whole seconds only.
fn same_second(recorded: Option<i64>, found: Option<i64>) -> bool {
    const SECOND: i64 = 1_000_000_000;
    recorded.is_none_or(|one| found.is_some_and(|other| one.div_euclid(SECOND) == other.div_euclid(SECOND)))
}
