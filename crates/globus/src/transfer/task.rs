//! A task as Transfer tells of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How a task is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum TaskStatus {
    /// It works, waits for its turn, or is paused.
    Active,
    /// It waits for somebody: credentials ended, or a consent is missing.
    Inactive,
    /// All is done. The only success.
    Succeeded,
    /// It was cancelled, its deadline passed, or an error ended it.
    Failed,
    /// Something that this version does not know.
    Other(String),
}

impl From<String> for TaskStatus {
    fn from(text: String) -> Self {
        match text.as_str() {
            "ACTIVE" => Self::Active,
            "INACTIVE" => Self::Inactive,
            "SUCCEEDED" => Self::Succeeded,
            "FAILED" => Self::Failed,
            _ => Self::Other(text),
        }
    }
}

impl From<TaskStatus> for String {
    fn from(status: TaskStatus) -> Self {
        match status {
            TaskStatus::Active => "ACTIVE".into(),
            TaskStatus::Inactive => "INACTIVE".into(),
            TaskStatus::Succeeded => "SUCCEEDED".into(),
            TaskStatus::Failed => "FAILED".into(),
            TaskStatus::Other(text) => text,
        }
    }
}

/// Why a task failed for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FatalError {
    /// "DEADLINE_EXPIRED", "CANCELED", "QUOTA_EXCEEDED", …
    #[serde(default)]
    pub code: String,
    /// What it says.
    #[serde(default)]
    pub description: String,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are Transfer's own, and its documentation is theirs")]
pub struct Task {
    /// Its UUID.
    pub task_id: String,
    /// "TRANSFER", "DELETE"
    #[serde(rename = "type")]
    pub kind: String,
    /// How it is.
    pub status: TaskStatus,
    /// A word on an active task: "OK", "Queued", "PERMISSION_DENIED", …
    pub nice_status: Option<String>,
    pub nice_status_details: Option<Value>,
    pub nice_status_expires_in: Option<i64>,
    pub nice_status_short_description: Option<String>,
    /// What a person called it.
    pub label: Option<String>,
    /// How often something went wrong and was tried again.
    #[serde(default)]
    pub faults: u64,
    /// Bytes moved so far, those of repetitions included.
    #[serde(default)]
    pub bytes_transferred: u64,
    #[serde(default)]
    pub bytes_checksummed: u64,
    /// Since the beginning.
    #[serde(default)]
    pub effective_bytes_per_second: u64,
    /// Files found so far.
    #[serde(default)]
    pub files: u64,
    #[serde(default)]
    pub files_transferred: Option<u64>,
    /// Files that the sync level left as they are.
    #[serde(default)]
    pub files_skipped: Option<u64>,
    #[serde(default)]
    pub directories: u64,
    #[serde(default)]
    pub symlinks: u64,
    #[serde(default)]
    pub subtasks_total: u64,
    #[serde(default)]
    pub subtasks_pending: u64,
    #[serde(default)]
    pub subtasks_retrying: u64,
    #[serde(default)]
    pub subtasks_succeeded: u64,
    #[serde(default)]
    pub subtasks_failed: u64,
    #[serde(default)]
    pub subtasks_canceled: u64,
    #[serde(default)]
    pub subtasks_expired: u64,
    /// Files left out because `skip_source_errors` allowed it.
    #[serde(default)]
    pub subtasks_skipped_errors: Option<u64>,
    pub source_endpoint: Option<String>,
    pub source_endpoint_id: Option<String>,
    pub source_endpoint_display_name: Option<String>,
    pub destination_endpoint: Option<String>,
    pub destination_endpoint_id: Option<String>,
    pub destination_endpoint_display_name: Option<String>,
    /// "2021-09-02T18:04:47+00:00"
    pub request_time: Option<String>,
    pub completion_time: Option<String>,
    pub deadline: Option<String>,
    pub owner_id: Option<String>,
    pub username: Option<String>,
    pub command: Option<String>,
    pub sync_level: Option<i64>,
    #[serde(default)]
    pub encrypt_data: Option<bool>,
    #[serde(default)]
    pub verify_checksum: Option<bool>,
    #[serde(default)]
    pub delete_destination_extra: Option<bool>,
    #[serde(default)]
    pub preserve_timestamp: Option<bool>,
    #[serde(default)]
    pub fail_on_quota_errors: Option<bool>,
    #[serde(default)]
    pub skip_source_errors: Option<bool>,
    pub recursive_symlinks: Option<String>,
    pub filter_rules: Option<Value>,
    /// Whether somebody paused it.
    #[serde(default)]
    pub is_paused: bool,
    pub is_ok: Option<bool>,
    #[serde(default)]
    pub history_deleted: Option<bool>,
    pub canceled_by_admin: Option<String>,
    pub canceled_by_admin_message: Option<String>,
    /// Why it failed.
    pub fatal_error: Option<FatalError>,
    /// What this version does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Something that happened to a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// "STARTED", "PERMISSION_DENIED", "SUCCEEDED", …
    pub code: String,
    /// What a person reads.
    #[serde(default)]
    pub description: String,
    /// More, often with the path that it is about.
    #[serde(default)]
    pub details: Value,
    /// Whether it is a fault.
    #[serde(default)]
    pub is_error: bool,
    /// "2021-09-02T18:04:47+00:00"
    #[serde(default)]
    pub time: String,
}

/// A file that was moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuccessfulTransfer {
    /// "successful_transfer"
    #[serde(rename = "DATA_TYPE")]
    pub data_type: String,
    /// From where.
    pub source_path: Option<String>,
    /// To where.
    pub destination_path: Option<String>,
    /// What both ends had, where the collections tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// "MD5", "SHA256"
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum_algorithm: Option<String>,
    /// In bytes, where the service tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// A file that was left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SkippedError {
    /// "PERMISSION_DENIED", "FILE_NOT_FOUND", "AMBIGUOUS_PATH"
    #[serde(default)]
    pub error_code: String,
    /// More.
    #[serde(default)]
    pub error_details: Value,
    /// Which file.
    pub source_path: Option<String>,
    /// Where it would have gone.
    pub destination_path: Option<String>,
}

/// Why a task is paused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseRule {
    /// What the administrator says.
    #[serde(default)]
    pub message: Option<String>,
    /// The collection.
    #[serde(default)]
    pub endpoint_display_name: Option<String>,
}
