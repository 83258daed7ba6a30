//! A collection's folder: what a path means in it, and that no path leaves it.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use super::Collection;

/// Why a path was not followed.
#[derive(Debug)]
pub enum Trouble {
    /// It climbs out, goes through a link, or the system forbids it.
    Denied(String),
    /// There is nothing.
    Absent(String),
    /// Anything else.
    Other(String),
}

impl Trouble {
    /// From an error of the file system, on this path as the client wrote it.
    pub fn of(path: &str, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Absent(path.to_owned()),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Denied(path.to_owned())
            }
            _ => Self::Other(format!("{path}: {error}")),
        }
    }

    /// The code of an event of a transfer.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Denied(_) => "PERMISSION_DENIED",
            Self::Absent(_) => "FILE_NOT_FOUND",
            Self::Other(_) => "ENDPOINT_ERROR",
        }
    }

    /// Which path, and why.
    pub fn text(&self) -> &str {
        match self {
            Self::Denied(text) | Self::Absent(text) | Self::Other(text) => text,
        }
    }
}

impl Collection {
    /// Where a path of the collection lies on this machine. Neither `..` nor a link is followed: what the
    /// path names may itself be a link, its parents may not.
    pub fn place(&self, path: &str) -> Result<PathBuf, Trouble> {
        let mut place = self.folder.clone();
        let parts =
            components(path).ok_or_else(|| Trouble::Denied(format!("{path}: leaves the collection")))?;
        for (index, part) in parts.iter().enumerate() {
            if index > 0 && is_link(&place) {
                return Err(Trouble::Denied(format!("{path}: goes through a link")));
            }
            place.push(part);
        }
        Ok(place)
    }

    /// Place and metadata of what is there; a link counts as what it is, and is not followed.
    pub fn look(&self, path: &str) -> Result<(PathBuf, Metadata), Trouble> {
        let place = self.place(path)?;
        let metadata = std::fs::symlink_metadata(&place).map_err(|error| Trouble::of(path, &error))?;
        Ok((place, metadata))
    }

    /// Like [`Collection::look`], and refuses links.
    pub fn look_no_link(&self, path: &str) -> Result<(PathBuf, Metadata), Trouble> {
        let (place, metadata) = self.look(path)?;
        if metadata.is_symlink() {
            return Err(Trouble::Denied(format!("{path}: is a link")));
        }
        Ok((place, metadata))
    }
}

/// The names in a path, or `None` if it climbs out. `/~/` is the collection's own folder.
fn components(path: &str) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    for (index, part) in path.split('/').filter(|part| !part.is_empty() && *part != ".").enumerate() {
        match part {
            ".." => return None,
            "~" if index == 0 => {}
            _ if part.contains('\0') => return None,
            _ => parts.push(part),
        }
    }
    Some(parts)
}

fn is_link(place: &Path) -> bool {
    std::fs::symlink_metadata(place).is_ok_and(|metadata| metadata.is_symlink())
}

/// A path with its doubled slashes and dots taken out, as the service repeats it.
pub fn normal(path: &str, folder: bool) -> String {
    let parts = components(path).unwrap_or_default();
    let mut text = format!("/{}", parts.join("/"));
    if folder && !text.ends_with('/') {
        text.push('/');
    }
    text
}

/// `folder` and `name` as one path.
pub fn join(folder: &str, name: &str) -> String {
    format!("{}/{name}", folder.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leaves_the_folder() {
        let outside = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), folder.path().join("file")).unwrap();
        let collection = Collection {
            name: "c".into(),
            id: "i".into(),
            folder: folder.path().into(),
            needs_consent: false,
            read_only: false,
        };
        for path in ["/../secret", "..", "/a/../../secret", "/link/secret", "link/secret", "/~/../x", "/a\0b"]
        {
            assert!(matches!(collection.place(path), Err(Trouble::Denied(_))), "{path}");
        }
        assert!(matches!(collection.look_no_link("/file"), Err(Trouble::Denied(_))));
        assert_eq!(collection.place("/~/a//b/./c").unwrap(), folder.path().join("a/b/c"));
        assert_eq!(collection.place("").unwrap(), folder.path());
        assert_eq!(normal("//a/./b/", false), "/a/b");
        assert_eq!(normal("/~/", true), "/");
    }
}
