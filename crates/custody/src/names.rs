//! What is kept track of: scans, their datasets, and how well a copy was verified.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::path::RelPath;

/// One raw scan, named by its experiment folder and the stem of its file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "ScanText", into = "ScanText")]
pub struct ScanName {
    folder: RelPath,
    stem: String,
}

/// How a scan's name is stored.
#[derive(Serialize, Deserialize)]
struct ScanText {
    folder: RelPath,
    stem: String,
}

impl ScanName {
    /// `folder` may be nested or empty; `stem` is one part of a path, without `.h5`.
    pub fn new(folder: impl Into<String>, stem: impl Into<String>) -> Result<Self> {
        let (folder, stem) = (RelPath::new(folder)?, stem.into());
        if RelPath::new(stem.as_str())?.parts().count() != 1 || stem.contains('/') {
            let reason = "it must be one name without slashes; give the raw file's name without .h5".into();
            return Err(Error::Value { name: "scan", value: stem, reason });
        }
        Ok(Self { folder, stem })
    }

    /// The scan that a raw file `<folder>/<stem>.h5` is, relative to its area; `None` for other files and
    /// for temporary names (those with a leading dot).
    pub fn of_raw(path: &RelPath) -> Option<Self> {
        let (folder, name) = path.split()?;
        let stem = name.strip_suffix(".h5").or_else(|| name.strip_suffix(".hdf5"))?;
        if stem.is_empty() || path.parts().any(|part| part.starts_with('.')) {
            return None;
        }
        Self::new(folder.as_str(), stem).ok()
    }

    /// The experiment folder.
    pub fn folder(&self) -> &RelPath {
        &self.folder
    }

    /// The raw file's name without `.h5`.
    pub fn stem(&self) -> &str {
        &self.stem
    }
}

impl TryFrom<ScanText> for ScanName {
    type Error = Error;
    fn try_from(text: ScanText) -> Result<Self> {
        Self::new(text.folder, text.stem)
    }
}

impl From<ScanName> for ScanText {
    fn from(name: ScanName) -> Self {
        Self { folder: name.folder, stem: name.stem }
    }
}

impl fmt::Display for ScanName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.folder.is_root() {
            true => write!(f, "{}", self.stem),
            false => write!(f, "{}/{}", self.folder, self.stem),
        }
    }
}

/// What a dataset of a scan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The raw file.
    Raw,
    /// The stack of TIFF slices.
    Tiff,
    /// The OME-Zarr pyramid.
    Zarr,
    /// Report, manifest, preview.
    Sidecars,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Raw, Self::Tiff, Self::Zarr, Self::Sidecars];

    /// The name in the database and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Tiff => "tiff",
            Self::Zarr => "zarr",
            Self::Sidecars => "sidecars",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| Error::Value {
            name: "kind",
            value: text.to_owned(),
            reason: "give one of raw, tiff, zarr, sidecars".into(),
        })
    }
}

/// A dataset: a scan's raw file, or one of the forms of its reconstruction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DatasetId {
    /// The scan it is of.
    #[serde(flatten)]
    pub scan: ScanName,
    /// Which of its datasets.
    pub kind: Kind,
}

impl DatasetId {
    /// The dataset `kind` of `scan`.
    pub fn new(scan: ScanName, kind: Kind) -> Self {
        Self { scan, kind }
    }
}

impl fmt::Display for DatasetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.scan, self.kind)
    }
}

/// How well a copy was verified; each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// The names are there.
    Listed,
    /// Every file has its size.
    Sized,
    /// The service that brought the files compared checksums.
    TransferChecksummed,
    /// Every file was read at the site, and its digest compared.
    Digested,
}

impl Level {
    /// All of them, ascending.
    pub const ALL: [Self; 4] = [Self::Listed, Self::Sized, Self::TransferChecksummed, Self::Digested];

    /// The name in the database and in configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listed => "listed",
            Self::Sized => "sized",
            Self::TransferChecksummed => "transfer-checksummed",
            Self::Digested => "digested",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|level| level.name() == text).ok_or_else(|| Error::Value {
            name: "level",
            value: text.to_owned(),
            reason: "give one of listed, sized, transfer-checksummed, digested".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_file_names_its_scan() {
        let scan = |path: &str| ScanName::of_raw(&RelPath::new(path).unwrap()).map(|s| s.to_string());
        assert_eq!(scan("ALS-12345_u/2024_x.h5").as_deref(), Some("ALS-12345_u/2024_x"));
        assert_eq!(scan("top.h5").as_deref(), Some("top"));
        assert_eq!(scan("f/.x.h5.part"), None);
        assert_eq!(scan("f/.x.h5"), None);
        assert_eq!(scan("f/x.txt"), None);
        assert_eq!(scan("f/.h5"), None);
        assert!(ScanName::new("..", "x").is_err());
        assert!(ScanName::new("f", "a/b").is_err());
        assert!(ScanName::new("f", "").is_err());
    }

    #[test]
    fn names_of_levels_and_kinds_are_read_back() {
        for level in Level::ALL {
            assert_eq!(level.name().parse::<Level>().unwrap(), level);
            assert_eq!(serde_json::to_value(level).unwrap(), level.name());
        }
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse::<Kind>().unwrap(), kind);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        assert!(Level::TransferChecksummed > Level::Sized && Level::Digested > Level::TransferChecksummed);
    }
}
