//! Delete tasks.

use std::path::Path;

use serde_json::Value;

use super::folder::{Trouble, normal};
use super::moving::{Failure, Mover, Stop};
use super::state::text;

/// Goes through all items of a delete.
pub fn delete(mover: &Mover) -> Result<(), Stop> {
    let (document, collection) = mover.read(|task| (task.document.clone(), task.source.clone()))?;
    let collection = mover
        .world
        .collection(&collection)
        .ok_or_else(|| Stop::Fatal("ENDPOINT_ERROR".to_owned(), "The collection is gone".to_owned()))?;
    let option = |name: &str| document.get(name).and_then(Value::as_bool).unwrap_or(false);
    for item in document["DATA"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let path = text(item, "path").unwrap_or("");
        let deleted = mover.persist(path, path, || {
            let denied = |text: String| Err(Failure::of(&Trouble::Denied(text), false));
            if collection.read_only || normal(path, false) == "/" {
                return denied(path.to_owned());
            }
            let (place, metadata) = match collection.look(path) {
                Ok(found) => found,
                // After a restart a path may have been deleted by this very task.
                Err(Trouble::Absent(_)) if option("ignore_missing") => return Ok(()),
                Err(trouble) => return Err(Failure::of(&trouble, false)),
            };
            if metadata.is_dir() && !option("recursive") {
                let details = format!("{path}: is a directory, and the delete is not recursive");
                return Err(Failure::Fault { code: "IS_A_DIRECTORY".to_owned(), details, at_source: false });
            }
            remove(&place).map_err(|error| Failure::io(path, &error, false))
        })?;
        if deleted.is_some() {
            mover.change(|task| {
                task.files += 1;
                task.files_transferred += 1;
            })?;
        }
    }
    Ok(())
}

/// Removes a file, a link, or a folder with everything in it; follows no link.
#[expect(clippy::disallowed_methods, reason = "deleting whole folders of a collection is what is asked for")]
pub fn remove(place: &Path) -> std::io::Result<()> {
    if std::fs::symlink_metadata(place)?.is_dir() {
        std::fs::remove_dir_all(place)
    } else {
        std::fs::remove_file(place)
    }
}
