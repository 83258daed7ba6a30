//! A transfer or delete task and its document.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::http::stamp;
use super::state::{World, flag, text};

/// What a task does.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum Kind {
    Transfer,
    Delete,
}

impl Kind {
    /// As in `transfer_result`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Transfer => "transfer",
            Self::Delete => "delete",
        }
    }
}

/// How a task stands.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum Status {
    Active,
    Inactive,
    Succeeded,
    Failed,
}

impl Status {
    /// As in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
        }
    }
}

/// One line of the event list.
#[derive(Clone, Deserialize, Serialize)]
pub struct Event {
    pub code: String,
    pub description: String,
    pub details: String,
    pub is_error: bool,
    pub time: Timestamp,
}

/// A file that has arrived.
#[derive(Clone, Deserialize, Serialize)]
pub struct Arrived {
    pub source: String,
    pub destination: String,
    /// MD5, if the checksum was verified.
    pub checksum: Option<String>,
    /// In bytes.
    #[serde(default)]
    pub size: u64,
}

/// A path that was left out, because `skip_source_errors` says so.
#[derive(Clone, Deserialize, Serialize)]
pub struct Skipped {
    pub source: String,
    pub destination: String,
    pub code: String,
    pub details: String,
    pub time: Timestamp,
}

/// A task.
#[derive(Clone, Deserialize, Serialize)]
pub struct Task {
    pub id: String,
    pub order: u64,
    pub kind: Kind,
    pub owner: String,
    pub label: Option<String>,
    /// UUIDs.
    pub source: String,
    pub destination: Option<String>,
    pub source_name: String,
    pub destination_name: Option<String>,
    pub document: Value,
    pub status: Status,
    /// Code and text of what it waits for.
    pub nice: Option<(String, String)>,
    pub paused: bool,
    pub requested: Timestamp,
    pub completed: Option<Timestamp>,
    pub deadline: Timestamp,
    /// The deadline was given: progress does not move it.
    pub fixed_deadline: bool,
    pub files: u64,
    pub directories: u64,
    pub symlinks: u64,
    pub files_transferred: u64,
    pub files_skipped: u64,
    pub bytes_transferred: u64,
    pub bytes_checksummed: u64,
    pub faults: u64,
    pub retrying: u64,
    pub fatal: Option<(String, String)>,
    pub events: Vec<Event>,
    pub arrived: Vec<Arrived>,
    pub skipped: Vec<Skipped>,
    /// Holds one of the few places of active tasks; not after a restart.
    #[serde(skip)]
    pub running: bool,
    /// Bytes in a second, if a fault slows it down.
    #[serde(skip)]
    pub limit: Option<u64>,
}

impl Task {
    pub fn new(
        id: String,
        kind: Kind,
        owner: &str,
        submission: &str,
        mut document: Value,
        world: &World,
    ) -> Result<Self, String> {
        let now = Timestamp::now();
        document["submission_id"] = submission.into();
        let deadline = match text(&document, "deadline") {
            Some(given) => {
                Some(time(given).ok_or_else(|| format!("deadline: '{given}' is no time in ISO 8601"))?)
            }
            None => None,
        };
        let (source, destination) = match kind {
            Kind::Transfer => (text(&document, "source_endpoint"), text(&document, "destination_endpoint")),
            Kind::Delete => (text(&document, "endpoint"), None),
        };
        let name = |id: &str| world.collection(id).map(|collection| collection.name.clone());
        let (source, destination) = (source.unwrap_or_default().to_owned(), destination.map(str::to_owned));
        Ok(Self {
            id,
            order: 0,
            kind,
            owner: owner.to_owned(),
            label: text(&document, "label").filter(|label| !label.is_empty()).map(str::to_owned),
            source_name: name(&source).unwrap_or_default(),
            destination_name: destination.as_deref().and_then(name),
            source,
            destination,
            document,
            status: Status::Active,
            nice: Some(("Queued".to_owned(), "queued".to_owned())),
            paused: false,
            requested: now,
            completed: None,
            fixed_deadline: deadline.is_some(),
            deadline: deadline.unwrap_or(now + SignedDuration::from_hours(24)),
            files: 0,
            directories: 0,
            symlinks: 0,
            files_transferred: 0,
            files_skipped: 0,
            bytes_transferred: 0,
            bytes_checksummed: 0,
            faults: 0,
            retrying: 0,
            fatal: None,
            events: Vec::new(),
            arrived: Vec::new(),
            skipped: Vec::new(),
            running: false,
            limit: None,
        })
    }

    /// Not ended yet.
    pub fn is_open(&self) -> bool {
        matches!(self.status, Status::Active | Status::Inactive)
    }

    /// A Boolean option of the document.
    pub fn option(&self, name: &str) -> bool {
        flag(&self.document, name)
    }

    /// Writes an event.
    pub fn event(&mut self, code: &str, description: &str, details: &str, is_error: bool) {
        self.events.push(Event {
            code: code.to_owned(),
            description: description.to_owned(),
            details: details.to_owned(),
            is_error,
            time: Timestamp::now(),
        });
    }

    /// Ends the task.
    pub fn end(&mut self, status: Status, fatal: Option<(&str, &str)>) {
        if !self.is_open() {
            return;
        }
        match fatal {
            Some((code, text)) => self.event(code, text, text, !matches!(code, "CANCELED" | "EXPIRED")),
            None => self.event("SUCCEEDED", "succeeded", "", false),
        }
        self.status = status;
        self.fatal = fatal.map(|(code, text)| (code.to_owned(), text.to_owned()));
        self.nice = None;
        self.paused = false;
        self.retrying = 0;
        self.running = false;
        self.completed = Some(Timestamp::now());
    }

    fn speed(&self) -> u64 {
        let until = self.completed.unwrap_or_else(Timestamp::now);
        let milliseconds = until.duration_since(self.requested).as_millis().max(1);
        (u128::from(self.bytes_transferred) * 1000 / milliseconds.unsigned_abs())
            .try_into()
            .unwrap_or(u64::MAX)
    }

    /// The document, with the fields of the official fixtures.
    pub fn to_document(&self) -> Value {
        let open = self.is_open();
        let total = self.files + self.directories + self.symlinks;
        let done = self.files_transferred + self.files_skipped + self.directories + self.symlinks;
        let skipped = self.skipped.len() as u64;
        let rest = total.saturating_sub(done + skipped);
        let ended_by = |code: &str| self.fatal.as_ref().is_some_and(|(fatal, _)| fatal == code);
        let counted = |yes: bool| if yes { rest } else { 0 };
        let command = if self.kind == Kind::Delete { "API 0.10 delete" } else { "API 0.10" };
        json!({
            "DATA_TYPE": "task",
            "task_id": self.id,
            "type": self.kind.word().to_uppercase(),
            "status": self.status.as_str(),
            "label": self.label,
            "owner_id": self.owner,
            "username": format!("u_{}", &self.owner.replace('-', "")),
            "command": command,
            "request_time": stamp(self.requested),
            "completion_time": self.completed.map(stamp),
            "deadline": stamp(self.deadline),
            "source_endpoint": self.source_name,
            "source_endpoint_id": self.source,
            "source_endpoint_display_name": self.source_name,
            "source_local_user": null, "source_local_user_status": "NOT_APPLICABLE", "source_base_path": null,
            "source_host_endpoint": null, "source_host_endpoint_id": null, "source_host_path": null,
            "destination_endpoint": self.destination_name,
            "destination_endpoint_id": self.destination,
            "destination_endpoint_display_name": self.destination_name,
            "destination_local_user": null, "destination_local_user_status": "NOT_APPLICABLE",
            "destination_base_path": null, "destination_host_endpoint": null, "destination_host_endpoint_id": null,
            "destination_host_path": null,
            "files": self.files,
            "directories": self.directories,
            "symlinks": self.symlinks,
            "files_transferred": self.files_transferred,
            "files_skipped": self.files_skipped,
            "bytes_transferred": self.bytes_transferred,
            "bytes_checksummed": self.bytes_checksummed,
            "effective_bytes_per_second": self.speed(),
            "faults": self.faults,
            "subtasks_total": total,
            "subtasks_succeeded": done,
            "subtasks_pending": counted(open).saturating_sub(self.retrying),
            "subtasks_retrying": self.retrying,
            "subtasks_failed": counted(!open && self.fatal.is_some() && !ended_by("CANCELED") && !ended_by("EXPIRED")),
            "subtasks_canceled": counted(ended_by("CANCELED")),
            "subtasks_expired": counted(ended_by("EXPIRED")),
            "subtasks_skipped_errors": skipped,
            "fatal_error": self.fatal.as_ref().map(|(code, text)| json!({"code": code, "description": text})),
            "is_ok": open.then(|| self.nice.as_ref().is_none_or(|(code, _)| code == "OK" || code == "Queued")),
            "is_paused": self.paused,
            "nice_status": self.nice.as_ref().map(|(code, _)| code),
            "nice_status_short_description": self.nice.as_ref().map(|(code, _)| code.to_lowercase().replace('_', " ")),
            "nice_status_details": self.nice.as_ref().map(|(_, text)| text),
            "nice_status_expires_in": null,
            "sync_level": self.document.get("sync_level").cloned().unwrap_or(Value::Null),
            "verify_checksum": self.option("verify_checksum"),
            "encrypt_data": self.option("encrypt_data"),
            "preserve_timestamp": self.option("preserve_timestamp"),
            "skip_source_errors": self.option("skip_source_errors"),
            "fail_on_quota_errors": self.option("fail_on_quota_errors"),
            "delete_destination_extra": self.option("delete_destination_extra"),
            "recursive_symlinks": text(&self.document, "recursive_symlinks").unwrap_or("ignore"),
            "filter_rules": self.document.get("filter_rules").cloned().unwrap_or(Value::Null),
            "history_deleted": false,
            "canceled_by_admin": null,
            "canceled_by_admin_message": null,
        })
    }
}

/// A time with or without zone (UTC then), with a space or a T in the middle.
pub fn time(given: &str) -> Option<Timestamp> {
    given.parse::<Timestamp>().ok().or_else(|| {
        let bare = given.replacen(' ', "T", 1);
        bare.parse::<Timestamp>().ok().or_else(|| {
            bare.parse::<jiff::civil::DateTime>()
                .or_else(|_| bare.parse::<jiff::civil::Date>().map(|date| date.at(0, 0, 0, 0)))
                .ok()
                .and_then(|when| when.to_zoned(jiff::tz::TimeZone::UTC).ok())
                .map(|when| when.timestamp())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn deadlines_are_read_as_the_sdk_and_the_command_line_write_them() {
        let noon: jiff::Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        for text in [
            "2026-11-22T12:00:00+00:00",
            "2026-11-22 12:00:00",
            "2026-11-22T12:00:00",
            "2026-11-22 12:00:00+00:00",
        ] {
            assert_eq!(time(text), Some(noon), "{text}");
        }
        assert_eq!(time("tomorrow"), None);
    }
}
