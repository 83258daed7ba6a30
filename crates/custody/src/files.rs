//! What a copy consists of, and what was seen of it: file lists, observations, and their comparison.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::path::RelPath;

/// One file of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileEntry {
    /// Relative to the folder of the copy.
    pub path: RelPath,
    /// In bytes.
    pub size: u64,
    /// BLAKE3, 64 hexadecimal digits, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
}

impl FileEntry {
    /// A file of `size` bytes at `path`.
    pub fn new(path: impl Into<String>, size: u64, blake3: Option<String>) -> Result<Self> {
        Ok(Self { path: RelPath::new(path)?, size, blake3 })
    }
}

/// The files of a dataset, sorted by path, each once, at least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<FileEntry>", into = "Vec<FileEntry>")]
pub struct FileList(Vec<FileEntry>);

impl FileList {
    /// Sorts and checks the entries.
    pub fn new(mut entries: Vec<FileEntry>) -> Result<Self> {
        entries.sort();
        let refuse = |value: String, reason: &str| {
            Err(Error::Value { name: "file list", value, reason: reason.into() })
        };
        if entries.is_empty() {
            return refuse("[]".into(), "it names no file; a dataset has at least one");
        }
        for entry in &entries {
            if entry.path.is_root() {
                return refuse(".".into(), "it names a folder; name the files");
            }
            let odd = |digest: &String| digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit());
            if entry.blake3.as_ref().is_some_and(odd) {
                return refuse(entry.path.to_string(), "its BLAKE3 is not 64 hexadecimal digits");
            }
        }
        for (one, next) in entries.iter().zip(entries.iter().skip(1)) {
            if one.path == next.path {
                return refuse(next.path.to_string(), "it is named twice");
            }
        }
        let names: BTreeSet<&RelPath> = entries.iter().map(|entry| &entry.path).collect();
        for entry in &entries {
            let mut above = entry.path.split().map(|(folder, _)| folder);
            while let Some(folder) = above.filter(|folder| !folder.is_root()) {
                if names.contains(&folder) {
                    return refuse(folder.to_string(), "it is named as a file and as a folder");
                }
                above = folder.split().map(|(up, _)| up);
            }
        }
        for entry in &mut entries {
            entry.blake3 = entry.blake3.take().map(|digest| digest.to_ascii_lowercase());
        }
        Ok(Self(entries))
    }

    /// The entries, sorted by path.
    pub fn entries(&self) -> &[FileEntry] {
        &self.0
    }

    /// The entry of a path.
    pub fn find(&self, path: &str) -> Option<&FileEntry> {
        let at = self.0.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok()?;
        self.0.get(at)
    }

    /// How many files.
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// Sum of the sizes.
    pub fn bytes(&self) -> u64 {
        self.0.iter().fold(0, |sum, entry| sum.saturating_add(entry.size))
    }

    /// The first parts of the paths: a file, or a folder that belongs to the dataset as a whole.
    pub fn tops(&self) -> BTreeSet<&str> {
        self.0.iter().filter_map(|entry| entry.path.parts().next()).collect()
    }

    /// The folders that belong to the dataset as a whole; nothing else may be in them.
    pub fn own_folders(&self) -> BTreeSet<&str> {
        let first = |entry: &'_ FileEntry| entry.path.as_str().find('/');
        self.0.iter().filter_map(|entry| entry.path.as_str().get(..first(entry)?)).collect()
    }

    /// Names paths and sizes; equal for copies that look alike.
    pub fn shape(&self) -> String {
        self.hash(|entry| format!("{}\0{}\n", entry.path.as_str(), entry.size))
    }

    /// Names the content, where every file's digest is known.
    pub fn content(&self) -> Option<String> {
        let known = self.0.iter().all(|entry| entry.blake3.is_some());
        known.then(|| {
            self.hash(|e| {
                format!("{}\0{}\0{}\n", e.path.as_str(), e.size, e.blake3.as_deref().unwrap_or_default())
            })
        })
    }

    fn hash(&self, line: impl Fn(&FileEntry) -> String) -> String {
        let mut hasher = blake3::Hasher::new();
        for entry in &self.0 {
            hasher.update(line(entry).as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}

impl TryFrom<Vec<FileEntry>> for FileList {
    type Error = Error;
    fn try_from(entries: Vec<FileEntry>) -> Result<Self> {
        Self::new(entries)
    }
}

impl From<FileList> for Vec<FileEntry> {
    fn from(list: FileList) -> Self {
        list.0
    }
}

/// What a thing on a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeenKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, never followed.
    Link,
    /// Something else: a socket, a device, a name that is not UTF-8.
    Other,
}

/// One thing that was seen below the folder of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Relative to that folder, as found.
    pub path: String,
    /// What it is.
    pub kind: SeenKind,
    /// In bytes.
    pub size: u64,
    /// When it was changed, nanoseconds since 1970, where the site tells.
    pub mtime_ns: Option<i64>,
    /// BLAKE3, where it was read.
    pub blake3: Option<String>,
    /// Names the very bytes on the disk (host, device, inode), where the site tells: two copies that are
    /// the same file under two names are one copy.
    pub identity: Option<String>,
}

impl Seen {
    /// A regular file of which nothing but the size is known.
    pub fn file(path: impl Into<String>, size: u64) -> Self {
        Self { path: path.into(), kind: SeenKind::File, size, mtime_ns: None, blake3: None, identity: None }
    }
}

/// Whether a site answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// All that was there: the named files, and everything in the folders of the dataset.
    Seen(Vec<Seen>),
    /// It did not answer, and why.
    Unreachable(String),
}

/// A fresh look at a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// At which site.
    pub site: String,
    /// In which folder, relative to the site's root.
    pub base: RelPath,
    /// When it began.
    pub observed_at: Timestamp,
    /// What was found.
    pub reach: Reach,
}

/// What is wrong with one file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "problem")]
pub enum Problem {
    /// Expected and not there.
    Missing,
    /// There and not expected.
    Extra,
    /// Another size.
    Size {
        /// Bytes expected.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// The same size, another content.
    Digest,
    /// A link, a folder or a device where a file should be, or a link on the way to it.
    NotAFile,
    /// Changed since it was verified, by its time.
    Touched,
    /// Its time lies in the future.
    FromFuture,
    /// Its content was asked for and not read.
    NotRead,
}

/// A file and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// Relative to the folder of the copy.
    pub path: String,
    /// What is wrong.
    #[serde(flatten)]
    pub problem: Problem,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.problem {
            Problem::Missing => write!(f, "{path} is missing"),
            Problem::Extra => write!(f, "{path} does not belong there"),
            Problem::Size { expected, found } => write!(f, "{path} has {found} bytes, expected {expected}"),
            Problem::Digest => write!(f, "{path} has another content"),
            Problem::NotAFile => write!(f, "{path} is not a regular file"),
            Problem::Touched => write!(f, "{path} was changed since it was verified"),
            Problem::FromFuture => write!(f, "{path} has a time in the future"),
            Problem::NotRead => write!(f, "{path} was not read for its digest"),
        }
    }
}

/// What to expect of files, beside their names.
#[derive(Default)]
pub(crate) struct Expectation<'a> {
    /// The times recorded when the copy was verified, one per entry of the list.
    pub mtimes: Option<&'a [Option<i64>]>,
    /// A time after this one is in the future.
    pub latest: Option<Timestamp>,
    /// Files that may be gone: a deletion was begun and broke off.
    pub may_be_gone: bool,
    /// These must have been read for their digest.
    pub read: &'a [RelPath],
}

/// All that is wrong with what was `seen`, compared with the list. Sorted; empty is good.
pub(crate) fn compare(list: &FileList, expect: &Expectation<'_>, seen: &[Seen]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut by_path: BTreeMap<&str, &Seen> = BTreeMap::new();
    let own = list.own_folders();
    let mut add = |path: &str, problem| findings.push(Finding { path: path.to_owned(), problem });
    for one in seen {
        let top = one.path.split('/').next().unwrap_or_default();
        let expected = list.find(&one.path).is_some();
        let twice = by_path.insert(&one.path, one).is_some();
        if twice || (!expected && own.contains(top) && one.kind != SeenKind::Folder) {
            // A link in the place of a folder is told as what it is.
            let link_above = one.kind == SeenKind::Link && is_folder_of(list, &one.path);
            add(&one.path, if link_above { Problem::NotAFile } else { Problem::Extra });
        }
    }
    for (at, entry) in list.entries().iter().enumerate() {
        let path = entry.path.as_str();
        let Some(one) = by_path.get(path) else {
            if !expect.may_be_gone {
                add(path, Problem::Missing);
            }
            continue;
        };
        if one.kind != SeenKind::File {
            add(path, Problem::NotAFile);
            continue;
        }
        if one.size != entry.size {
            add(path, Problem::Size { expected: entry.size, found: one.size });
            continue;
        }
        match (&entry.blake3, &one.blake3) {
            (Some(expected), Some(found)) if !expected.eq_ignore_ascii_case(found) => {
                add(path, Problem::Digest);
            }
            (_, None) if expect.read.iter().any(|p| p == &entry.path) => add(path, Problem::NotRead),
            _ => {}
        }
        let recorded = expect.mtimes.and_then(|m| m.get(at)).copied().flatten();
        if recorded.zip(one.mtime_ns).is_some_and(|(recorded, found)| !same_time(recorded, found)) {
            add(path, Problem::Touched);
        }
        let future = |latest: Timestamp| one.mtime_ns.is_some_and(|t| i128::from(t) > latest.as_nanosecond());
        if expect.latest.is_some_and(future) {
            add(path, Problem::FromFuture);
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

/// Whether files of the list lie below `path`.
fn is_folder_of(list: &FileList, path: &str) -> bool {
    let prefix = format!("{path}/");
    list.entries().iter().any(|entry| entry.path.as_str().starts_with(&prefix))
}

/// Equal times, where one of the two may have come through a service that tells whole seconds only.
fn same_time(recorded: i64, found: i64) -> bool {
    const SECOND: i64 = 1_000_000_000;
    let coarse = recorded % SECOND == 0 || found % SECOND == 0;
    recorded == found || (coarse && recorded.div_euclid(SECOND) == found.div_euclid(SECOND))
}

/// The first few findings in one line.
pub(crate) fn summary(findings: &[Finding]) -> String {
    let mut text: Vec<String> = findings.iter().take(3).map(ToString::to_string).collect();
    if findings.len() > 3 {
        text.push(format!("and {} more", findings.len() - 3));
    }
    text.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> FileList {
        let entry = |path: &str, size| FileEntry::new(path, size, Some("ab".repeat(32))).unwrap();
        FileList::new(vec![entry("rec/b", 2), entry("rec/a", 1), entry("top", 3)]).unwrap()
    }

    fn problems(seen: &[Seen]) -> Vec<String> {
        compare(&list(), &Expectation::default(), seen).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_way_to_be_wrong_is_told() {
        let good = || vec![Seen::file("rec/a", 1), Seen::file("rec/b", 2), Seen::file("top", 3)];
        assert!(problems(&good()).is_empty());
        // What lies beside the dataset is not its business; what lies in its folder is.
        let mut seen = good();
        seen.extend([Seen::file("other", 9), Seen::file("rec/x", 9)]);
        assert_eq!(problems(&seen), ["rec/x does not belong there"]);
        assert_eq!(problems(&good()[1..]), ["rec/a is missing"]);
        let mut seen = good();
        seen[0].size = 7;
        assert_eq!(problems(&seen), ["rec/a has 7 bytes, expected 1"]);
        let mut seen = good();
        seen[2].kind = SeenKind::Link;
        assert_eq!(problems(&seen), ["top is not a regular file"]);
        let mut seen = good();
        seen[1].blake3 = Some("cd".repeat(32));
        assert_eq!(problems(&seen), ["rec/b has another content"]);
        let mut seen = good();
        seen.push(Seen { kind: SeenKind::Link, ..Seen::file("rec", 0) });
        assert_eq!(problems(&seen), ["rec is not a regular file"]);
    }

    #[test]
    fn times_in_whole_seconds_are_compared_as_such() {
        assert!(same_time(1_500_000_000, 1_500_000_000));
        assert!(!same_time(1_500_000_000, 1_500_000_001));
        assert!(same_time(1_500_000_000, 1_000_000_000));
        assert!(!same_time(2_500_000_000, 1_000_000_000));
    }

    #[test]
    fn lists_that_make_no_sense_are_refused() {
        let entry = |path: &str| FileEntry { path: RelPath::new(path).unwrap(), size: 1, blake3: None };
        assert!(FileList::new(vec![]).is_err());
        assert!(FileList::new(vec![entry("a"), entry("a")]).is_err());
        assert!(FileList::new(vec![entry("a"), entry("a/b")]).is_err());
        assert!(FileList::new(vec![entry("a"), entry("a-"), entry("a/b")]).is_err());
        assert!(FileList::new(vec![entry("")]).is_err());
        assert!(FileList::new(vec![FileEntry { blake3: Some("xyz".into()), ..entry("a") }]).is_err());
        assert_eq!(list().own_folders().into_iter().collect::<Vec<_>>(), ["rec"]);
        assert_eq!(list().tops().into_iter().collect::<Vec<_>>(), ["rec", "top"]);
    }
}
