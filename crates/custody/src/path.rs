//! Paths that cannot climb: relative, downwards only, `/` between the parts.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A path relative to a site's root or to the folder of a copy. It has no `..`, no `.`, no empty part and
/// no NUL, and it is not absolute. The empty path is the root itself.
///
/// Being plain says nothing about links on the disk: whoever opens it must not follow them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelPath(String);

impl RelPath {
    /// Checks `text`; `""` and `"."` are the root.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text: String = text.into();
        if text.is_empty() || text == "." {
            return Ok(Self(String::new()));
        }
        let fault = if text.starts_with('/') {
            "it is absolute"
        } else if text.contains('\0') {
            "it holds a NUL"
        } else if text.split('/').any(|part| part == "..") {
            "it climbs out of its root with \"..\""
        } else if text.split('/').any(|part| part.is_empty() || part == ".") {
            "it has an empty part or \".\""
        } else {
            return Ok(Self(text));
        };
        let reason = format!("{fault}; give a path below the root, with single slashes");
        Err(Error::Value { name: "path", value: text, reason })
    }

    /// The root.
    pub fn root() -> Self {
        Self(String::new())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The parts between the slashes.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }

    /// `self` followed by `below`.
    pub fn join(&self, below: &Self) -> Self {
        match (self.is_root(), below.is_root()) {
            (true, _) => below.clone(),
            (_, true) => self.clone(),
            _ => Self(format!("{}/{}", self.0, below.0)),
        }
    }

    /// Whether `self` is `folder` or lies below it, part by part.
    pub fn is_within(&self, folder: &Self) -> bool {
        folder.is_root()
            || self.0 == folder.0
            || self.0.strip_prefix(&folder.0).is_some_and(|rest| rest.starts_with('/'))
    }

    /// What remains of `self` below `folder`.
    pub fn below(&self, folder: &Self) -> Option<Self> {
        if !self.is_within(folder) {
            return None;
        }
        let rest = self.0.get(folder.0.len()..).unwrap_or_default();
        Some(Self(rest.strip_prefix('/').unwrap_or(rest).to_owned()))
    }

    /// The folder that holds this path, and the last part. `None` for the root.
    pub fn split(&self) -> Option<(Self, &str)> {
        match self.0.rsplit_once('/') {
            _ if self.is_root() => None,
            Some((folder, name)) => Some((Self(folder.to_owned()), name)),
            None => Some((Self::root(), &self.0)),
        }
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_root() { "." } else { &self.0 })
    }
}

impl TryFrom<String> for RelPath {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::new(text)
    }
}

impl From<RelPath> for String {
    fn from(path: RelPath) -> Self {
        path.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_that_stay_below_are_taken() {
        for good in ["a", "a/b", "a b/c\u{e9}", "..a/b..", "a\\b", "-rf", "a\nb"] {
            assert_eq!(RelPath::new(good).unwrap().as_str(), good);
        }
        for bad in ["/a", "..", "a/../b", "a//b", "a/", "./a", "a/.", "a\0b", "/"] {
            assert!(RelPath::new(bad).is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<RelPath>("\"../x\"").is_err());
    }

    #[test]
    fn within_counts_parts_not_letters() {
        let path = |text: &str| RelPath::new(text).unwrap();
        assert!(path("raw/a").is_within(&path("raw")));
        assert!(!path("raw2/a").is_within(&path("raw")));
        assert!(path("x").is_within(&RelPath::root()));
        assert_eq!(path("raw/a/b").below(&path("raw")), Some(path("a/b")));
        assert_eq!(path("raw").below(&path("raw")), Some(RelPath::root()));
        assert_eq!(path("a/b").split(), Some((path("a"), "b")));
        assert_eq!(RelPath::root().join(&path("a")).as_str(), "a");
    }
}
