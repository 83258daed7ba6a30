//! The manifest: which files a job produced, with sizes and digests. Writing it commits the results.
//!
//! Its bytes depend on the files alone (no times, no hosts), so two runs of the same job can be compared by
//! the manifest's digest. It is found beside the results; all paths are relative to its folder. A manifest
//! may come from elsewhere: paths that climb out of the folder, or lead through symbolic links, are refused.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::fs::{self, FileRecord, is_part_name};

/// The manifest's format.
const SCHEMA: &str = "beamrail.manifest/1";

/// A list of files with sizes and digests, sorted by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The format: `beamrail.manifest/1`.
    schema: String,
    /// Name of the results, `rec<stem>`.
    name: String,
    /// Sum of all sizes.
    bytes: u64,
    /// The files, sorted by path, each once.
    files: Vec<FileRecord>,
}

/// How thoroughly [`Manifest::verify`] looks; each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Every file is there, and none besides.
    Listed,
    /// Every file has its size.
    Sized,
    /// Every file has its digest.
    Digested,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "problem")]
pub enum Problem {
    /// In the manifest, not on disk.
    Missing,
    /// On disk, not in the manifest.
    Extra,
    /// Another size than recorded.
    Size {
        /// Bytes by the manifest.
        expected: u64,
        /// Bytes on disk.
        found: u64,
    },
    /// The size is right, the content is not.
    Digest {
        /// BLAKE3 by the manifest.
        expected: String,
        /// BLAKE3 of what is on disk.
        found: String,
    },
    /// Reached through a symbolic link, or not a regular file.
    NotAFile,
    /// Could not be read.
    Unreadable {
        /// The operating system's answer.
        reason: String,
    },
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => write!(f, "is missing"),
            Self::Extra => write!(f, "is not in the manifest"),
            Self::Size { expected, found } => write!(f, "has {found} bytes, expected {expected}"),
            Self::Digest { .. } => write!(f, "has the right size but another content"),
            Self::NotAFile => write!(f, "is a symbolic link or not a regular file"),
            Self::Unreadable { reason } => write!(f, "cannot be read: {reason}"),
        }
    }
}

/// A file and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// Path relative to the results folder.
    pub path: String,
    /// What is wrong.
    #[serde(flatten)]
    pub problem: Problem,
}

/// The outcome of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// How thoroughly was looked.
    pub level: Level,
    /// Files in the manifest.
    pub files: usize,
    /// Bytes in the manifest.
    pub bytes: u64,
    /// All that is wrong, sorted by path.
    pub findings: Vec<Finding>,
}

impl Verification {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.findings.is_empty()
    }
}

impl Manifest {
    /// A manifest of `files`; a file named twice, or by a path that is not plain, is refused.
    pub fn new(name: impl Into<String>, mut files: Vec<FileRecord>) -> Result<Self> {
        files.sort();
        let bytes = files.iter().fold(0u64, |sum, f| sum.saturating_add(f.size));
        let manifest = Self { schema: SCHEMA.into(), name: name.into(), bytes, files };
        manifest.check().map_err(|reason| Error::parameter("manifest", &manifest.name, reason))?;
        Ok(manifest)
    }

    /// Name of the results.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The files, sorted by path.
    pub fn files(&self) -> &[FileRecord] {
        &self.files
    }

    /// Sum of all sizes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The manifest as it is written: one file a line, so that two can be compared with `diff`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = |v: &str| serde_json::Value::from(v).to_string();
        let mut out = format!(
            "{{\n\"schema\": {},\n\"name\": {},\n\"bytes\": {},\n\"files\": [",
            text(&self.schema),
            text(&self.name),
            self.bytes
        );
        for (i, f) in self.files.iter().enumerate() {
            out.push_str(if i == 0 { "\n" } else { ",\n" });
            out.push_str(&format!(
                "{{\"path\": {}, \"size\": {}, \"blake3\": {}}}",
                text(&f.path),
                f.size,
                text(&f.blake3)
            ));
        }
        out.push_str("\n]\n}\n");
        out.into_bytes()
    }

    /// BLAKE3 of the manifest's bytes: names the results as a whole.
    pub fn digest(&self) -> String {
        blake3::hash(&self.to_bytes()).to_hex().to_string()
    }

    /// Writes the manifest (temporary name, sync, rename, sync of the folder). Sync the files themselves
    /// before: this is the commit.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write_atomic(path, &self.to_bytes())
    }

    /// Reads and checks a manifest.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io("read the manifest", path, e))?;
        let manifest: Self = serde_json::from_slice(&bytes)
            .map_err(|e| Error::format(path, format!("not a manifest: {e}")))?;
        manifest.check().map_err(|reason| Error::format(path, reason))?;
        Ok(manifest)
    }

    /// The manifest of a folder: its only file `*.manifest.json`; or `path` itself if it is a file.
    pub fn find(path: &Path) -> Result<PathBuf> {
        if !path.is_dir() {
            return Ok(path.to_owned());
        }
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(|e| Error::io("list", path, e))? {
            let entry = entry.map_err(|e| Error::io("list", path, e))?;
            if entry.file_name().to_string_lossy().ends_with(".manifest.json") {
                found.push(entry.path());
            }
        }
        found.sort();
        match found.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(Error::format(path, "it holds no *.manifest.json: the results are not complete")),
            many => Err(Error::format(path, format!("it holds {} manifests; name one of them", many.len()))),
        }
    }

    /// Schema, order, paths, digests.
    fn check(&self) -> std::result::Result<(), String> {
        if self.schema != SCHEMA {
            return Err(format!("its schema is {:?}, this version reads {SCHEMA:?}", self.schema));
        }
        for file in &self.files {
            if !is_plain(&file.path) {
                return Err(format!("the path {:?} does not stay in the results folder", file.path));
            }
            if file.blake3.len() != 64 || !file.blake3.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(format!("the digest of {:?} is not 64 hexadecimal digits", file.path));
            }
        }
        if let Some(pair) = self.files.windows(2).find(|p| p[0].path >= p[1].path) {
            return Err(format!("{:?} is listed twice or out of order", pair[1].path));
        }
        Ok(())
    }

    /// Compares the files below `folder` with the manifest.
    ///
    /// Looks for extra files in the folders that the manifest's paths begin with (so not beside the
    /// manifest). `progress` gets the bytes done so far and all bytes, from several threads. Problems with
    /// files are findings, not errors.
    pub fn verify(
        &self,
        folder: &Path,
        level: Level,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Verification> {
        std::fs::read_dir(folder).map_err(|e| Error::io("open the results folder", folder, e))?;
        let done = AtomicU64::new(0);
        let report = |n: u64| progress(done.fetch_add(n, Ordering::Relaxed) + n, self.bytes);
        let mut findings: Vec<Finding> = self
            .files
            .par_iter()
            .filter_map(|file| {
                let problem = check_file(folder, file, level, &report);
                problem.map(|problem| Finding { path: file.path.clone(), problem })
            })
            .collect();
        self.find_extra(folder, &mut findings);
        findings.sort();
        Ok(Verification { level, files: self.files.len(), bytes: self.bytes, findings })
    }

    /// Files that the manifest does not know, in the folders it uses.
    fn find_extra(&self, folder: &Path, findings: &mut Vec<Finding>) {
        let known: BTreeSet<&str> = self.files.iter().map(|f| f.path.as_str()).collect();
        let tops: BTreeSet<&str> =
            known.iter().filter_map(|p| p.split_once('/').map(|(top, _)| top)).collect();
        let mut stack: Vec<String> = tops.into_iter().map(str::to_owned).collect();
        while let Some(relative) = stack.pop() {
            let path = folder.join(&relative);
            // A link to a folder is not followed; the files that should be behind it are findings already.
            let Ok(entries) = path.symlink_metadata().and_then(|m| {
                if m.is_dir() {
                    std::fs::read_dir(&path)
                } else {
                    Err(std::io::ErrorKind::NotADirectory.into())
                }
            }) else {
                continue;
            };
            for entry in entries.flatten() {
                let child = format!("{relative}/{}", entry.file_name().to_string_lossy());
                if entry.file_type().is_ok_and(|t| t.is_dir()) {
                    stack.push(child);
                } else if !known.contains(child.as_str()) {
                    findings.push(Finding { path: child, problem: Problem::Extra });
                }
            }
        }
    }
}

/// Whether a path is relative and goes down only, in names that can be part of results.
fn is_plain(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(['\0', '\\'])
        && path.split('/').all(|part| !matches!(part, "" | "." | "..") && !is_part_name(part))
}

/// What is wrong with one file, `None` if nothing.
fn check_file(folder: &Path, file: &FileRecord, level: Level, report: &dyn Fn(u64)) -> Option<Problem> {
    let mut path = folder.to_owned();
    let mut metadata = None;
    for part in file.path.split('/') {
        path.push(part);
        match path.symlink_metadata() {
            Ok(m) if m.is_symlink() => return Some(Problem::NotAFile),
            Ok(m) => metadata = Some(m),
            Err(e)
                if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
            {
                return Some(Problem::Missing);
            }
            Err(e) => return Some(Problem::Unreadable { reason: e.to_string() }),
        }
    }
    let metadata = metadata.filter(std::fs::Metadata::is_file);
    let Some(metadata) = metadata else { return Some(Problem::NotAFile) };
    if level >= Level::Sized && metadata.len() != file.size {
        return Some(Problem::Size { expected: file.size, found: metadata.len() });
    }
    if level < Level::Digested {
        report(file.size);
        return None;
    }
    match digest(&path, report) {
        Ok(found) if found.eq_ignore_ascii_case(&file.blake3) => None,
        Ok(found) => Some(Problem::Digest { expected: file.blake3.clone(), found }),
        Err(e) => Some(Problem::Unreadable { reason: e.to_string() }),
    }
}

/// BLAKE3 of a file, read in pieces.
fn digest(path: &Path, report: &dyn Fn(u64)) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hasher.finalize().to_hex().to_string());
        }
        hasher.update(&buffer[..n]);
        report(n as u64);
    }
}

/// The record of a file that was written by other means, read from disk.
pub fn record(folder: &Path, relative: &str) -> Result<FileRecord> {
    let path = folder.join(relative);
    let counted = std::cell::Cell::new(0u64);
    let blake3 =
        digest(&path, &|n| counted.set(counted.get() + n)).map_err(|e| Error::io("read", &path, e))?;
    Ok(FileRecord { path: relative.to_owned(), size: counted.get(), blake3 })
}
