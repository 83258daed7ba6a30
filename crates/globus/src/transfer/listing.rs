//! Looking at collections, and the small things that are done at once.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Done, Page, Transfer};
use crate::error::{Error, Result};
use crate::http::Repeat;

/// Entries of one page of a folder.
const PAGE: usize = 10_000;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum FileKind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A link that leads nowhere.
    BrokenLink,
    /// Something else: a device, a pipe.
    Other(String),
}

impl From<String> for FileKind {
    fn from(text: String) -> Self {
        match text.as_str() {
            "file" => Self::File,
            "dir" => Self::Folder,
            "invalid_symlink" => Self::BrokenLink,
            _ => Self::Other(text),
        }
    }
}

impl From<FileKind> for String {
    fn from(kind: FileKind) -> Self {
        match kind {
            FileKind::File => "file".into(),
            FileKind::Folder => "dir".into(),
            FileKind::BrokenLink => "invalid_symlink".into(),
            FileKind::Other(text) => text,
        }
    }
}

/// A file, folder or link. Of a link, size and time are those of what it leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// "file"
    #[serde(rename = "DATA_TYPE", default)]
    pub data_type: String,
    /// Its name in its folder.
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: FileKind,
    /// In bytes.
    #[serde(default)]
    pub size: Option<u64>,
    /// "2023-12-18 16:52:50+00:00"
    pub last_modified: Option<String>,
    /// "0644"
    pub permissions: Option<String>,
    /// Its owner.
    pub user: Option<String>,
    /// Its group.
    pub group: Option<String>,
    /// Where a link leads.
    pub link_target: Option<String>,
    /// The link's own.
    pub link_size: Option<u64>,
    /// The link's own.
    pub link_last_modified: Option<String>,
    /// The link's own.
    pub link_user: Option<String>,
    /// The link's own.
    pub link_group: Option<String>,
}

impl FileInfo {
    /// Whether it is a link.
    pub fn is_link(&self) -> bool {
        self.link_target.is_some() || self.kind == FileKind::BrokenLink
    }

    /// When it was changed, in nanoseconds since 1970; whole seconds.
    pub fn modified_ns(&self) -> Option<i64> {
        let text = self.last_modified.as_deref()?;
        let time: jiff::Timestamp = text.parse().ok()?;
        i64::try_from(time.as_nanosecond()).ok()
    }
}

/// Something in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// From the folder that was listed, parts separated by `/`.
    pub path: String,
    /// What it is.
    pub info: FileInfo,
}

/// How much a listing may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files, folders and links together.
    pub entries: usize,
    /// Folders in folders.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 1_000_000, depth: 64 }
    }
}

impl Transfer<'_> {
    /// What is in a folder, hidden files included, in the service's order. More than `most` is an error, as a
    /// listing that was cut short would tell of files that vanished.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn ls(&self, endpoint: &str, path: &str, most: usize) -> Result<Vec<FileInfo>> {
        let mut found: Vec<FileInfo> = Vec::new();
        loop {
            let call = self.get(&["operation", "endpoint", endpoint, "ls"]).query("path", path);
            let call = call.query("show_hidden", 1).query("limit", PAGE).query("offset", found.len());
            let page: Page<FileInfo> = self.inner.call(&call).await?.parse()?;
            let got = page.data.len();
            found.extend(page.data);
            if found.len() > most {
                let (endpoint, path) = (endpoint.to_owned(), path.to_owned());
                return Err(Error::TooMany { endpoint, path, limit: most, what: "entries" });
            }
            let whole = match (page.has_next_page, page.total) {
                (Some(more), _) => !more,
                (None, Some(total)) => found.len() as u64 >= total,
                (None, None) => got < PAGE,
            };
            if whole || got == 0 {
                return Ok(found);
            }
        }
    }

    /// Everything below a folder, sorted by path. Links are told and not followed.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::TooMany`] beyond the limits.
    pub async fn ls_recursive(&self, endpoint: &str, folder: &str, limits: Limits) -> Result<Vec<Found>> {
        let root = folder.trim_end_matches('/');
        let mut found: Vec<Found> = Vec::new();
        let mut waiting = VecDeque::from([(String::new(), 0_usize)]);
        while let Some((below, depth)) = waiting.pop_front() {
            let path = if below.is_empty() { format!("{root}/") } else { format!("{root}/{below}/") };
            let room = limits.entries.saturating_sub(found.len());
            let listed = match self.ls(endpoint, &path, room).await {
                Err(Error::TooMany { endpoint, path, what, .. }) => {
                    return Err(Error::TooMany { endpoint, path, limit: limits.entries, what });
                }
                other => other?,
            };
            for info in listed {
                // A name with a slash, or one that climbs, cannot be: the answer is not believed.
                if info.name.is_empty() || info.name == "." || info.name == ".." || info.name.contains('/') {
                    let reason = format!("a folder of {endpoint} is said to hold it; it was not followed");
                    return Err(Error::Value { name: "file name", value: info.name, reason });
                }
                let path =
                    if below.is_empty() { info.name.clone() } else { format!("{below}/{}", info.name) };
                if info.kind == FileKind::Folder && !info.is_link() {
                    if depth >= limits.depth {
                        let (endpoint, path) = (endpoint.to_owned(), format!("{root}/{path}"));
                        return Err(Error::TooMany { endpoint, path, limit: limits.depth, what: "levels" });
                    }
                    waiting.push_back((path.clone(), depth + 1));
                }
                found.push(Found { path, info });
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// One file, folder or link; `None` if there is nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn stat(&self, endpoint: &str, path: &str) -> Result<Option<FileInfo>> {
        let call = self.get(&["operation", "endpoint", endpoint, "stat"]).query("path", path);
        match self.inner.call(&call).await {
            Ok(answer) => Ok(Some(answer.parse()?)),
            Err(error) if is_nothing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a folder, in one that is there; one that is there already is as good. Whether something was made.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn mkdir(&self, endpoint: &str, path: &str) -> Result<bool> {
        let body = json!({ "DATA_TYPE": "mkdir", "path": path });
        let call = self.post(&["operation", "endpoint", endpoint, "mkdir"], body, Repeat::Safe);
        match self.inner.call(&call).await {
            Ok(answer) => answer.parse::<Done>().map(|_| true),
            Err(error) if error.is_exists() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Renames within a collection. Not repeated if no answer comes: look first ([`Error::Uncertain`]).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn rename(&self, endpoint: &str, from: &str, to: &str) -> Result<Done> {
        let body = json!({ "DATA_TYPE": "rename", "old_path": from, "new_path": to });
        let path = ["operation", "endpoint", endpoint, "rename"];
        self.inner.call(&self.post(&path, body, Repeat::OnlyIfRefused)).await?.parse()
    }
}

/// Whether a refusal means that there is nothing at the path. A missing collection is something else.
fn is_nothing(error: &Error) -> bool {
    error.api().is_some_and(|api| {
        (api.status == 404 || api.code.ends_with("NotFound")) && !api.code.contains("Endpoint")
    })
}
