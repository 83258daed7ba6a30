//! What is asked of Transfer: the documents of transfers and deletions.

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::error::{Error, Result};

/// Which files that are there already are left as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncLevel {
    /// All that exist.
    Exists,
    /// Those of the same size.
    Size,
    /// Those of the same size that are not older than the source.
    Mtime,
    /// Those with the same checksum.
    Checksum,
}

impl Serialize for SyncLevel {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_u8(match self {
            Self::Exists => 0,
            Self::Size => 1,
            Self::Mtime => 2,
            Self::Checksum => 3,
        })
    }
}

/// Which ends of a task send mail to the client's owner. Where nothing is said, the service decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notify {
    /// When it succeeded.
    pub succeeded: Option<bool>,
    /// When it failed.
    pub failed: Option<bool>,
    /// When somebody has to act.
    pub inactive: Option<bool>,
}

impl Notify {
    /// No mail: a program looks after the task.
    pub const NONE: Self = Self { succeeded: Some(false), failed: Some(false), inactive: Some(false) };
}

/// A file or folder to be moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    #[serde(rename = "DATA_TYPE")]
    data_type: &'static str,
    /// From where.
    pub source_path: String,
    /// To where; the whole path, also of a file.
    pub destination_path: String,
    /// Whether it is a folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recursive: Option<bool>,
    /// What source and destination must have; MD5 unless the algorithm says otherwise. Files only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_checksum: Option<String>,
    /// "MD5", "SHA256", …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum_algorithm: Option<String>,
}

impl Item {
    /// A file.
    pub fn file(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self {
            data_type: "transfer_item",
            source_path: from.into(),
            destination_path: to.into(),
            recursive: None,
            external_checksum: None,
            checksum_algorithm: None,
        }
    }

    /// A folder with all below it.
    pub fn folder(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self { recursive: Some(true), ..Self::file(from, to) }
    }
}

/// Whether what a filter matches is taken or left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FilterMethod {
    /// Taken.
    Include,
    /// Left out.
    Exclude,
}

/// A rule for what recursive items hold. The first rule that fits decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Filter {
    #[serde(rename = "DATA_TYPE")]
    data_type: &'static str,
    /// Taken or left out.
    pub method: FilterMethod,
    /// A name with `*`, `?` and `[…]`.
    pub name: String,
    /// "file" or "dir"; both where it is not said.
    #[serde(skip_serializing_if = "Option::is_none", rename = "type")]
    pub kind: Option<String>,
}

impl Filter {
    /// Leaves out what has a name like this.
    pub fn exclude(name: impl Into<String>) -> Self {
        Self { data_type: "filter_rule", method: FilterMethod::Exclude, name: name.into(), kind: None }
    }

    /// Takes what has a name like this.
    pub fn include(name: impl Into<String>) -> Self {
        Self { method: FilterMethod::Include, ..Self::exclude(name) }
    }

    /// Only files (`file`) or only folders (`dir`).
    #[must_use]
    pub fn only(self, kind: impl Into<String>) -> Self {
        Self { kind: Some(kind.into()), ..self }
    }
}

/// A transfer. What is `None` is left to the service's default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TransferDocument {
    #[serde(rename = "DATA_TYPE")]
    data_type: &'static str,
    /// What is moved.
    #[serde(rename = "DATA")]
    pub items: Vec<Item>,
    /// The collection that it is on.
    pub source_endpoint: String,
    /// The collection that it goes to.
    pub destination_endpoint: String,
    /// The submission's number, which makes sure that it is one task.
    pub submission_id: String,
    /// What a person reads; at most 128 letters, digits, blanks and `-_,.`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Which files that are there already stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_level: Option<SyncLevel>,
    /// Compare checksums after each file, and send it again until they agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify_checksum: Option<bool>,
    /// Give files their source's time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preserve_timestamp: Option<bool>,
    /// Encrypt on the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypt_data: Option<bool>,
    /// Leave out source files that cannot be read, and succeed all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_source_errors: Option<bool>,
    /// Fail when a quota is full, instead of waiting for room until the deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_on_quota_errors: Option<bool>,
    /// Delete at the destination what the source does not have. Folders with a sync level only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_destination_extra: Option<bool>,
    /// When to give up: "2026-11-23T13:00:00+00:00".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// Rules for what folders hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filter_rules: Vec<Filter>,
    #[serde(flatten)]
    notify: NotifyFields,
}

/// A deletion. What is `None` is left to the service's default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeleteDocument {
    #[serde(rename = "DATA_TYPE")]
    data_type: &'static str,
    #[serde(rename = "DATA")]
    items: Vec<DeleteItem>,
    /// The collection.
    pub endpoint: String,
    /// The submission's number, which makes sure that it is one task.
    pub submission_id: String,
    /// What a person reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Whether folders are deleted with all that is in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recursive: Option<bool>,
    /// Whether what is not there counts as deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_missing: Option<bool>,
    /// Whether `*`, `?` and `[` in paths are patterns. Never wanted here; said, so that no service's default can
    /// turn a file's name into one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpret_globs: Option<bool>,
    /// When to give up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    #[serde(flatten)]
    notify: NotifyFields,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct DeleteItem {
    #[serde(rename = "DATA_TYPE")]
    data_type: &'static str,
    path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
struct NotifyFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    notify_on_succeeded: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notify_on_failed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notify_on_inactive: Option<bool>,
}

impl From<Notify> for NotifyFields {
    fn from(notify: Notify) -> Self {
        Self {
            notify_on_succeeded: notify.succeeded,
            notify_on_failed: notify.failed,
            notify_on_inactive: notify.inactive,
        }
    }
}

impl TransferDocument {
    /// An empty transfer under this number.
    pub fn new(
        submission_id: impl Into<String>,
        source: impl Into<String>,
        destination: impl Into<String>,
    ) -> Self {
        Self {
            data_type: "transfer",
            items: Vec::new(),
            source_endpoint: source.into(),
            destination_endpoint: destination.into(),
            submission_id: submission_id.into(),
            label: None,
            sync_level: None,
            verify_checksum: None,
            preserve_timestamp: None,
            encrypt_data: None,
            skip_source_errors: None,
            fail_on_quota_errors: None,
            delete_destination_extra: None,
            deadline: None,
            filter_rules: Vec::new(),
            notify: NotifyFields::default(),
        }
    }

    /// Says which ends send mail.
    #[must_use]
    pub fn notify(self, notify: Notify) -> Self {
        Self { notify: notify.into(), ..self }
    }

    /// What is sent.
    ///
    /// # Errors
    /// There is nothing to move, or an option contradicts another.
    pub fn body(&self) -> Result<Value> {
        let bad = |value: &str, reason: &str| {
            Err(Error::Value { name: "transfer", value: value.to_owned(), reason: reason.to_owned() })
        };
        if self.items.is_empty() {
            return bad("no items", "a transfer needs at least one file or folder");
        }
        if self.delete_destination_extra == Some(true) && self.sync_level.is_none() {
            return bad("delete_destination_extra", "it needs a sync level");
        }
        if self.submission_id.is_empty() {
            return bad("submission_id", "get one, keep it, then submit");
        }
        encode(self)
    }
}

impl DeleteDocument {
    /// An empty deletion under this number.
    pub fn new(submission_id: impl Into<String>, endpoint: impl Into<String>) -> Self {
        Self {
            data_type: "delete",
            items: Vec::new(),
            endpoint: endpoint.into(),
            submission_id: submission_id.into(),
            label: None,
            recursive: None,
            ignore_missing: None,
            interpret_globs: None,
            deadline: None,
            notify: NotifyFields::default(),
        }
    }

    /// Adds a file or folder; folders need [`DeleteDocument::recursive`].
    pub fn add(&mut self, path: impl Into<String>) {
        self.items.push(DeleteItem { data_type: "delete_item", path: path.into() });
    }

    /// Says which ends send mail.
    #[must_use]
    pub fn notify(self, notify: Notify) -> Self {
        Self { notify: notify.into(), ..self }
    }

    /// What is sent.
    ///
    /// # Errors
    /// There is nothing to delete, or a path is a collection's root.
    pub fn body(&self) -> Result<Value> {
        let bad = |value: &str, reason: &str| {
            Err(Error::Value { name: "delete", value: value.to_owned(), reason: reason.to_owned() })
        };
        if self.items.is_empty() {
            return bad("no items", "a deletion needs at least one path");
        }
        if self.submission_id.is_empty() {
            return bad("submission_id", "get one, keep it, then submit");
        }
        let root = |path: &str| path.trim_matches(['/', '~', '.', ' ']).is_empty();
        if let Some(item) = self.items.iter().find(|item| root(&item.path)) {
            return bad(&item.path, "a collection's root is never deleted");
        }
        encode(self)
    }
}

fn encode(document: &impl Serialize) -> Result<Value> {
    serde_json::to_value(document).map_err(|e| Error::Payload { what: "the document", reason: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_transfer_says_only_what_was_said() {
        let mut document = TransferDocument::new("11", "a", "b");
        document.items.push(Item::folder("/a/", "/b/"));
        document.label = Some("t".into());
        document.sync_level = Some(SyncLevel::Checksum);
        document.verify_checksum = Some(true);
        // The SDK's body, as it was captured.
        let expected = json!({"DATA_TYPE":"transfer","DATA":[{"DATA_TYPE":"transfer_item","source_path":"/a/",
            "destination_path":"/b/","recursive":true}],"source_endpoint":"a","destination_endpoint":"b",
            "label":"t","submission_id":"11","verify_checksum":true,"sync_level":3});
        assert_eq!(document.body().unwrap(), expected);
    }

    #[test]
    fn documents_that_would_do_harm_are_refused() {
        assert!(TransferDocument::new("11", "a", "b").body().is_err());
        let mut document = TransferDocument::new("11", "a", "b");
        document.items.push(Item::folder("/a/", "/b/"));
        document.delete_destination_extra = Some(true);
        assert!(document.body().unwrap_err().to_string().contains("sync level"));
        for root in ["/", "", "/~/", "~", ".", "//", "/./"] {
            let mut deletion = DeleteDocument::new("11", "a");
            deletion.add(root);
            assert!(deletion.body().is_err(), "{root:?}");
        }
        assert!(DeleteDocument::new("11", "a").body().is_err());
    }
}
