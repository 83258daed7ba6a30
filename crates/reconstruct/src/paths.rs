//! Where the results of a scan go. The names are a contract with everything that moves, shows or
//! deletes them: `rec<stem>/<stem>_%05d.tiff`, `rec<stem>.zarr/`, and beside them report, manifest
//! and preview.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The places of one scan's results inside an output folder.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The output folder.
    pub folder: PathBuf,
    /// The scan's file name without its extension.
    pub stem: String,
}

impl Paths {
    /// Results of `scan` in `folder`.
    pub fn new(scan: &Path, folder: &Path) -> Result<Self> {
        let stem = scan.file_stem().and_then(|stem| stem.to_str()).ok_or_else(|| {
            Error::BadInput(format!("{} has no usable file name (it must be UTF-8)", scan.display()))
        })?;
        Ok(Self { folder: folder.to_path_buf(), stem: stem.to_owned() })
    }

    /// `rec<stem>`, the name of the volume.
    pub fn name(&self) -> String {
        format!("rec{}", self.stem)
    }

    fn beside(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("rec{}{ending}", self.stem))
    }

    /// Folder of TIFF slices.
    pub fn tiffs(&self) -> PathBuf {
        self.beside("")
    }

    /// The OME-Zarr.
    pub fn zarr(&self) -> PathBuf {
        self.beside(".zarr")
    }

    /// What was done and how long it took; differs from run to run.
    pub fn report(&self) -> PathBuf {
        self.beside(".report.json")
    }

    /// The commit: every file with size and digest; the same for every run of the same job.
    pub fn manifest(&self) -> PathBuf {
        self.beside(".manifest.json")
    }

    /// The picture.
    pub fn preview(&self) -> PathBuf {
        self.beside(".preview.png")
    }

    /// Folder of the middle slice that `--quick` delivers.
    pub fn quick_slice(&self) -> PathBuf {
        self.beside(".quick")
    }

    /// State of an unfinished job: plan, journals, lock, spool. Gone after the commit.
    pub fn work(&self) -> PathBuf {
        self.beside(".work")
    }
}
