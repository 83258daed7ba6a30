//! The raw files in a folder.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Folders in folders that are looked into; deeper ones hold no scans.
const DEPTH: usize = 3;

/// A file that may be a raw scan.
#[derive(Debug)]
pub(super) struct File {
    pub path: PathBuf,
    pub bytes: u64,
    pub changed: Option<SystemTime>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub files: Vec<File>,
    /// Folders and files that could not be read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// All files with the name of a raw scan, sorted. Links are not followed.
pub(super) fn list(folder: &Path) -> Listed {
    let mut listed = Listed::default();
    walk(folder, 0, &mut listed);
    listed.files.sort_by(|a, b| a.path.cmp(&b.path));
    listed
}

fn walk(folder: &Path, depth: usize, listed: &mut Listed) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            listed.unreadable.push((folder.to_path_buf(), format!("unreadable: {error}")));
            return;
        }
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                listed.unreadable.push((folder.to_path_buf(), format!("unreadable: {error}")));
                return;
            }
        };
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        if kind.is_dir() && depth < DEPTH {
            walk(&path, depth + 1, listed);
        } else if kind.is_file() && is_raw(&name) {
            // Gone between listing and looking: it was temporary.
            let Ok(meta) = entry.metadata() else { continue };
            listed.files.push(File { path, bytes: meta.len(), changed: meta.modified().ok() });
        }
    }
}

/// Whether a name is a raw scan's, and none that a copy in progress or an editor gives.
pub(super) fn is_raw(name: &str) -> bool {
    let lower = name.to_lowercase();
    let Some(stem) = lower.strip_suffix(".h5").or_else(|| lower.strip_suffix(".hdf5")) else { return false };
    let temporary = [".part", ".partial", ".tmp", ".temp", ".filepart", ".crdownload", ".swp", "~"];
    !stem.is_empty() && !stem.starts_with(['.', '#', '~']) && !temporary.iter().any(|end| stem.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_names_are_passed_over() {
        for name in ["20230224_132553_sea_shell.h5", "x.h5", "X.H5", "a.b.hdf5", "part.h5", "tmp_x.h5"] {
            assert!(is_raw(name), "{name}");
        }
        for name in [
            ".x.h5",
            ".h5",
            "x.h5.part",
            "x.h5~",
            "x.part.h5",
            "x.tmp.h5",
            "~x.h5",
            "#x.h5",
            "x.h5.filepart",
            "x.txt",
            "h5",
            ".x.h5.AbC123",
            "x~.h5",
        ] {
            assert!(!is_raw(name), "{name}");
        }
    }
}
