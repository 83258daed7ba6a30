//! The identity of a scan and the places of everything that belongs to it.
//!
//! An experiment folder is `<Prefix>-<5 digits>_<user>`, a scan `<YYYYMMDD>_<HHMMSS>_<text>[_x##y##].h5`. Real
//! names break both patterns, so nothing that is valid as a path is refused; what does not fit is `None`. What
//! climbs out of its root is refused: `..`, absolute paths, and links ([`Identity::of_file`]).

use std::path::{Component, Path, PathBuf};

use custody::{RelPath, ScanName};
use jiff::civil::{Date, DateTime, Time};
use serde::Serialize;

/// Why a name or path is no scan's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct Refused {
    /// What was given.
    pub path: String,
    /// Why it cannot be used, and what can.
    pub reason: String,
}

/// A scan, by its folder and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Folder and stem, as custody knows the scan.
    pub name: ScanName,
    /// What the folder's name says.
    pub experiment: Experiment,
    /// When it was taken, by its name.
    pub taken: Option<DateTime>,
    /// The user's words.
    pub text: String,
    /// Which tile of a mosaic.
    pub tile: Option<Tile>,
}

/// What an experiment folder's name says: `BLS-00564_dyparkinson`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Experiment {
    /// "BLS"
    pub prefix: Option<String>,
    /// "00564"
    pub proposal: Option<String>,
    /// "dyparkinson"
    pub user: Option<String>,
}

/// A tile of a mosaic: `_x01y02`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Tile {
    /// Column.
    pub x: u32,
    /// Row.
    pub y: u32,
}

impl Experiment {
    /// Reads a folder's name. Leading underscores are passed over: real folders have them.
    pub fn parse(folder: &str) -> Self {
        let last = folder.rsplit('/').next().unwrap_or(folder);
        let name = last.trim_start_matches('_');
        let (front, user) = match name.split_once('_') {
            Some((front, user)) => (front, Some(user)),
            None => (name, None),
        };
        let numbered = front.rsplit_once('-').filter(|(prefix, number)| {
            !prefix.is_empty() && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        });
        match numbered {
            Some((prefix, number)) => Self {
                prefix: Some(prefix.to_owned()),
                proposal: Some(number.to_owned()),
                user: user.filter(|user| !user.is_empty()).map(str::to_owned),
            },
            // A folder that is only a user's name, or something else altogether.
            None => Self::default(),
        }
    }
}

impl Identity {
    /// The scan `<folder>/<stem>`.
    pub fn new(name: ScanName) -> Self {
        let (taken, rest) = split_time(name.stem());
        let (text, tile) = split_tile(rest);
        Self {
            experiment: Experiment::parse(name.folder().as_str()),
            taken,
            text: text.to_owned(),
            tile,
            name,
        }
    }

    /// The scan that a path names: its last folder and file name. `/global/raw/BLS-1_u/x.h5`,
    /// `raw/BLS-1_u/x.h5` and `BLS-1_u/x.h5` are the same scan, as every trigger of the beamline means it.
    ///
    /// # Errors
    /// The path climbs with `..`, names no HDF5 file, or is not UTF-8.
    pub fn of_trigger(path: &str) -> Result<Self, Refused> {
        let refuse = |reason: &str| Refused { path: path.to_owned(), reason: reason.to_owned() };
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.contains(&"..") {
            return Err(refuse("climbs with \"..\"; give the path without"));
        }
        let file = parts.last().ok_or_else(|| refuse("is empty; give <folder>/<scan>.h5"))?;
        let folder = parts.len().checked_sub(2).and_then(|at| parts.get(at)).copied().unwrap_or_default();
        Self::in_area(&format!("{folder}/{file}"))
    }

    /// The scan whose raw file is at this path in a raw area.
    ///
    /// # Errors
    /// As [`of_trigger`](Self::of_trigger), and absolute paths.
    pub fn in_area(path: &str) -> Result<Self, Refused> {
        let refuse = |reason: String| Refused { path: path.to_owned(), reason };
        // A file at the top of the area has no folder.
        let relative = path.strip_prefix('/').filter(|rest| !rest.contains('/')).unwrap_or(path);
        let relative = RelPath::new(relative).map_err(|error| refuse(error.to_string()))?;
        let name = ScanName::of_raw(&relative).ok_or_else(|| {
            refuse("is no raw scan: its name must end in .h5 and not begin with a point".into())
        })?;
        Ok(Self::new(name))
    }

    /// The scan of a file on this host below `raw`, with no link on the way.
    ///
    /// # Errors
    /// It is not below `raw`, a part of it is a link, or it is no raw scan.
    pub fn of_file(file: &Path, raw: &Path) -> Result<Self, Refused> {
        let refuse = |reason: String| Refused { path: file.display().to_string(), reason };
        let below = file.strip_prefix(raw).map_err(|_| {
            refuse(format!("is not below {}; move it there, or name its site", raw.display()))
        })?;
        let mut path = raw.to_path_buf();
        for part in below.components() {
            if !matches!(part, Component::Normal(_)) {
                return Err(refuse("climbs with \"..\"; give the path without".into()));
            }
            path.push(part);
            let meta = std::fs::symlink_metadata(&path)
                .map_err(|error| refuse(format!("cannot be looked at: {error}")))?;
            if meta.file_type().is_symlink() {
                return Err(refuse(format!("{} is a link; links are not followed", path.display())));
            }
        }
        let text = below.to_str().ok_or_else(|| refuse("is not UTF-8; rename it".into()))?;
        Self::in_area(text)
    }

    /// `<folder>/<stem>.h5`, in a raw area.
    pub fn raw(&self) -> PathBuf {
        self.folder().join(format!("{}.h5", self.name.stem()))
    }

    /// `<folder>`, in any area.
    pub fn folder(&self) -> PathBuf {
        PathBuf::from(self.name.folder().as_str())
    }

    /// `<folder>/rec<stem>`: the folder of TIFF slices, in a scratch area.
    pub fn tiffs(&self) -> PathBuf {
        self.beside("")
    }

    /// `<folder>/rec<stem>.zarr`.
    pub fn zarr(&self) -> PathBuf {
        self.beside(".zarr")
    }

    /// `<folder>/rec<stem>.report.json`, and so on for `manifest.json` and `preview.png`.
    pub fn sidecar(&self, ending: &str) -> PathBuf {
        self.beside(&format!(".{ending}"))
    }

    fn beside(&self, ending: &str) -> PathBuf {
        self.folder().join(format!("rec{}{ending}", self.name.stem()))
    }

    /// The tag that every run about this scan carries.
    pub fn tag(&self) -> String {
        tag(&self.name)
    }
}

/// The tag of runs about a scan.
pub fn tag(scan: &ScanName) -> String {
    format!("scan:{scan}")
}

/// `20230224_132553_sea_shell`: the time and the rest.
fn split_time(stem: &str) -> (Option<DateTime>, &str) {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = || -> Option<(DateTime, &str)> {
        let (date, rest) = stem.split_at_checked(8)?;
        let rest = rest.strip_prefix('_')?;
        let (time, rest) = rest.split_at_checked(6)?;
        let rest = if rest.is_empty() { rest } else { rest.strip_prefix('_')? };
        if !digits(date) || !digits(time) {
            return None;
        }
        let number = |text: &str, from: usize, to: usize| text.get(from..to)?.parse::<i16>().ok();
        let small = |text: &str, from: usize| number(text, from, from + 2).and_then(|n| i8::try_from(n).ok());
        let date = Date::new(number(date, 0, 4)?, small(date, 4)?, small(date, 6)?).ok()?;
        let time = Time::new(small(time, 0)?, small(time, 2)?, small(time, 4)?, 0).ok()?;
        Some((DateTime::from_parts(date, time), rest))
    };
    parsed().map_or((None, stem), |(taken, rest)| (Some(taken), rest))
}

/// `sea_shell_x01y02`: the text and the tile.
fn split_tile(text: &str) -> (&str, Option<Tile>) {
    let parsed = || -> Option<(&str, Tile)> {
        let (before, tile) = text.rsplit_once("_x").or_else(|| Some(("", text.strip_prefix('x')?)))?;
        let (x, y) = tile.split_once('y')?;
        let number = |text: &str| {
            let plain = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| plain)
        };
        Some((before, Tile { x: number(x)?, y: number(y)? }))
    };
    parsed().map_or((text, None), |(text, tile)| (text, Some(tile)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_names_are_read_as_far_as_they_go() {
        let scan = |path: &str| Identity::of_trigger(path).unwrap();
        let one = scan("/global/raw/BLS-00564_dyparkinson/20230224_132553_sea_shell.h5");
        assert_eq!(one.name.to_string(), "BLS-00564_dyparkinson/20230224_132553_sea_shell");
        assert_eq!(one.experiment.proposal.as_deref(), Some("00564"));
        assert_eq!(one.experiment.user.as_deref(), Some("dyparkinson"));
        assert_eq!(one.taken.unwrap().to_string(), "2023-02-24T13:25:53");
        assert_eq!((one.text.as_str(), one.tile), ("sea_shell", None));
        assert_eq!(one.raw(), Path::new("BLS-00564_dyparkinson/20230224_132553_sea_shell.h5"));
        assert_eq!(one.tiffs(), Path::new("BLS-00564_dyparkinson/rec20230224_132553_sea_shell"));
        assert_eq!(one.zarr(), Path::new("BLS-00564_dyparkinson/rec20230224_132553_sea_shell.zarr"));
        let report = Path::new("BLS-00564_dyparkinson/rec20230224_132553_sea_shell.report.json");
        assert_eq!(one.sidecar("report.json"), report);

        let tiled = scan("raw/_ra-00823_bard/20240501_010203_Rock 3.5um-a_x00y12.h5");
        assert_eq!(tiled.experiment.prefix.as_deref(), Some("ra"));
        assert_eq!(tiled.tile, Some(Tile { x: 0, y: 12 }));
        assert_eq!(tiled.text, "Rock 3.5um-a");

        // Names that break the pattern are scans too.
        for (path, folder, text) in [
            ("dabramov/test.h5", "dabramov", "test"),
            ("x.h5", "", "x"),
            ("f/20231399_132553_x.h5", "f", "20231399_132553_x"),
            ("f/2023_x.h5", "f", "2023_x"),
            ("f/20230224_132553.h5", "f", ""),
            ("f/a_xy.h5", "f", "a_xy"),
            ("f/\u{e9}t\u{e9}_\u{1f41a}.h5", "f", "\u{e9}t\u{e9}_\u{1f41a}"),
            ("f/.._x.h5", "f", ".._x"),
        ] {
            if path.contains("/.._x") {
                // Begins with a point: a temporary name.
                assert!(Identity::of_trigger(path).is_err());
                continue;
            }
            let one = scan(path);
            assert_eq!((one.name.folder().as_str(), one.text.as_str()), (folder, text), "{path}");
        }
    }

    #[test]
    fn what_climbs_or_is_no_scan_is_refused() {
        for path in [
            "",
            "/",
            "..",
            "../x.h5",
            "a/../../x.h5",
            "raw/../x.h5",
            "a/x.txt",
            "a/.x.h5",
            "a/.h5",
            "a/x.h5.part",
        ] {
            assert!(Identity::of_trigger(path).is_err(), "{path:?}");
        }
        for path in ["/etc/x.h5", "a//x.h5", "./x.h5", "a/..", "a\0/x.h5"] {
            assert!(Identity::in_area(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let raw = folder.path().join("raw");
        std::fs::create_dir_all(raw.join("f")).unwrap();
        std::fs::write(raw.join("f/x.h5"), "").unwrap();
        std::fs::write(folder.path().join("secret.h5"), "").unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret.h5"), raw.join("f/link.h5")).unwrap();
        std::os::unix::fs::symlink(folder.path(), raw.join("out")).unwrap();
        assert_eq!(Identity::of_file(&raw.join("f/x.h5"), &raw).unwrap().name.to_string(), "f/x");
        for bad in ["f/link.h5", "out/secret.h5", "../secret.h5", "f/none.h5"] {
            assert!(Identity::of_file(&raw.join(bad), &raw).is_err(), "{bad}");
        }
        assert!(Identity::of_file(&folder.path().join("secret.h5"), &raw).is_err());
    }
}
