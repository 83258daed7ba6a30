//! The plan: everything about a job that is decided before its first slice. It is written to the work
//! folder, so that parts on other machines and a resumed job decide nothing anew.

use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::recipe::{CenterMethod, Recipe};
use crate::report::Warning;
use crate::{Error, Result};

/// Version of the layout of `plan.json`.
pub const SCHEMA: u32 = 1;

/// Which raw file this is about. A file that changed since is another scan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanIdentity {
    /// File name without folders: the same scan may lie elsewhere for another part.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Shape of the projections: (projections, rows, columns).
    pub shape: [usize; 3],
    /// Layout, as `inspect` names it.
    pub layout: String,
}

/// The detector rows of the volume, before any binning: `start..end`, every `step`-th.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// First row.
    pub start: usize,
    /// One past the last row.
    pub end: usize,
    /// Distance of one slice from the next, in rows.
    pub step: usize,
}

impl Rows {
    /// All rows of a detector.
    pub fn all(rows: usize) -> Self {
        Self { start: 0, end: rows, step: 1 }
    }

    /// Reads `a:b` or `a:b:step`; either end may be empty.
    pub fn parse(text: &str, rows: usize) -> Result<Self> {
        let wrong = |why: &str| {
            Err(Error::Usage(format!(
                "--rows {text}: {why}; the scan has rows 0:{rows}, write for example 100:228 or ::8"
            )))
        };
        let parts: Vec<&str> = text.split(':').collect();
        if !(2..=3).contains(&parts.len()) {
            return wrong("not of the form a:b[:step]");
        }
        let number =
            |part: &str, default: usize| if part.is_empty() { Some(default) } else { part.parse().ok() };
        let (Some(start), Some(end), Some(step)) =
            (number(parts[0], 0), number(parts[1], rows), number(parts.get(2).copied().unwrap_or(""), 1))
        else {
            return wrong("not whole numbers");
        };
        match () {
            () if step == 0 => wrong("the step must be at least 1"),
            () if start >= end => wrong("no rows"),
            () if end > rows => wrong("beyond the detector"),
            () => Ok(Self { start, end, step }),
        }
    }

    /// Number of slices.
    pub fn slices(&self) -> usize {
        (self.end - self.start).div_ceil(self.step)
    }

    /// Detector row of slice `z`.
    pub fn row(&self, z: usize) -> usize {
        self.start + z * self.step
    }
}

/// How the rotation centre was found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Center {
    /// 0-based detector column; pixel centres at integers. In columns of the binned detector where the
    /// recipe bins.
    pub center: f64,
    /// 0 to 1; 1 for a centre that was given.
    pub confidence: f64,
    /// found, ambiguous, at_edge, featureless or given.
    pub verdict: String,
    /// The method, in the recipe's words.
    pub method: String,
    /// Uncertainty in pixels, where the method gives one.
    pub uncertainty: Option<f64>,
    /// Detector row, centre and confidence of each row looked at.
    pub per_row: Vec<(usize, f64, f64)>,
    /// A sentence for people.
    pub reason: String,
}

impl Center {
    /// A centre that nobody has to find.
    pub fn given(column: f64) -> Self {
        Self {
            center: column,
            confidence: 1.0,
            verdict: "given".into(),
            method: CenterMethod::Fixed.name().into(),
            uncertainty: None,
            per_row: Vec::new(),
            reason: "given by the user".into(),
        }
    }
}

/// What is written, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// TIFF slices.
    pub tiff: bool,
    /// OME-Zarr.
    pub zarr: bool,
    /// Version of OME-Zarr: `0.4` or `0.5`.
    pub ome_zarr: OmeZarr,
}

/// Versions of OME-Zarr that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OmeZarr {
    /// 0.4, on Zarr v2.
    #[serde(rename = "0.4")]
    V04,
    /// 0.5, on Zarr v3 with shards.
    #[serde(rename = "0.5")]
    V05,
}

/// How a 360° half-acquisition becomes 180°.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Stitch {
    /// Columns that the two halves share.
    pub overlap: f64,
    /// Columns after stitching.
    pub columns: usize,
    /// Rotation centre after stitching.
    pub center: f64,
}

/// Everything decided before the first slice.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of beamrail that made the plan.
    pub beamrail: String,
    /// The raw file.
    pub scan: ScanIdentity,
    /// The recipe, every parameter.
    pub recipe: Recipe,
    /// The rows of the (binned) detector to reconstruct.
    pub rows: Rows,
    /// Rotation centre.
    pub center: Center,
    /// 360° half-acquisition, where the scan is one.
    pub stitch: Option<Stitch>,
    /// Width and height of a slice in voxels.
    pub slice_columns: usize,
    /// Edge of a detector pixel at the sample in micrometres, after binning; absent where unknown.
    pub pixel_um: Option<f64>,
    /// `1/cm`, or `1/pixel` where the pixel size is not known.
    pub unit: String,
    /// Files to write.
    pub write: Write,
    /// Values that map to 0 and to the largest integer, for integer voxels.
    pub scaling: Option<(f32, f32)>,
    /// Warnings about the input, collected until now.
    pub warnings: Vec<Warning>,
}

impl Plan {
    /// Slices in the volume.
    pub fn slices(&self) -> usize {
        self.rows.slices()
    }

    /// Slabs of 32 slices.
    pub fn slabs(&self) -> usize {
        self.slices().div_ceil(SLAB)
    }

    /// Slices of one slab.
    pub fn slab_slices(&self, slab: usize) -> Range<usize> {
        slab * SLAB..((slab + 1) * SLAB).min(self.slices())
    }

    /// The slabs of part `index` (1-based) of `of`: contiguous, as even as possible.
    pub fn part_slabs(&self, index: usize, of: usize) -> Range<usize> {
        let slabs = self.slabs();
        (index - 1) * slabs / of..index * slabs / of
    }

    /// Writes the plan atomically.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::io("cannot encode", path, error.into()))?;
        Ok(volume::fs::write_atomic(path, &text)?)
    }

    /// Reads a plan, or `None` where there is none.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::io("cannot read", path, source)),
        };
        let plan: Self = serde_json::from_slice(&text).map_err(|error| {
            Error::BadInput(format!(
                "{} is not a plan that this version reads: {error}; start again with --overwrite",
                path.display()
            ))
        })?;
        Ok(Some(plan))
    }

    /// Whether going on with this plan does what `wanted` asks: the same scan, recipe, rows and outputs.
    /// The centre is the plan's own where it was to be found.
    pub fn serves(&self, wanted: &Wanted) -> std::result::Result<(), String> {
        let differ = |what: &str| {
            Err(format!(
                "the unfinished job was planned with {what}; repeat its options, or start again with --overwrite"
            ))
        };
        match () {
            () if self.scan != wanted.scan => differ("another scan of that name"),
            () if self.recipe != wanted.recipe => differ("another recipe or centre"),
            () if self.rows != wanted.rows => differ("other rows"),
            () if self.write != wanted.write => differ("other outputs"),
            () => Ok(()),
        }
    }
}

/// What the user asks for now, to compare with a plan made earlier.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The raw file.
    pub scan: ScanIdentity,
    /// The recipe.
    pub recipe: Recipe,
    /// The rows.
    pub rows: Rows,
    /// The outputs.
    pub write: Write,
}

/// Slices in a slab: the depth of a Zarr chunk and the unit of progress, resume and parts.
pub const SLAB: usize = 32;

/// Folder and name of a file for messages.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_as_people_write_them() {
        let parse = |text| Rows::parse(text, 100);
        assert_eq!(parse("10:20").unwrap(), Rows { start: 10, end: 20, step: 1 });
        assert_eq!(parse(":").unwrap(), Rows::all(100));
        assert_eq!(parse("::8").unwrap().slices(), 13);
        assert_eq!(parse("3::8").unwrap().row(2), 19);
        for bad in ["", "5", "20:10", "10:10", "0:101", "a:b", "0:10:0", "1:2:3:4", "-1:5"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
