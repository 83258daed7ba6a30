//! Globus Transfer, version 0.10 of its API: tasks that move and delete, and quick looks at collections.

mod document;
mod endpoint;
mod listing;
mod outcome;
mod task;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::{Error, Result};
use crate::http::{As, Body, Call, Inner, Repeat, Service};
use crate::scope::Scope;

pub use document::{DeleteDocument, Filter, FilterMethod, Item, Notify, SyncLevel, TransferDocument};
pub use endpoint::{Endpoint, EndpointServer};
pub use listing::{FileInfo, FileKind, Found, Limits};
pub use outcome::{Fault, Outcome, TaskFailure};
pub use task::{Event, FatalError, PauseRule, SkippedError, SuccessfulTransfer, Task, TaskStatus};

/// Entries of one page of a task's lists.
const PAGE: u64 = 1000;
/// How often a task is looked at by [`Transfer::wait`], at most and in the beginning.
const POLL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Globus Transfer.
#[derive(Debug, Clone, Copy)]
pub struct Transfer<'a> {
    pub(crate) inner: &'a Inner,
}

/// What Transfer says of a task that it took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// "transfer_result", "delete_result"
    #[serde(rename = "DATA_TYPE")]
    pub data_type: String,
    /// "Accepted", or "Duplicate" where the submission's number was used before.
    pub code: String,
    /// What it says.
    pub message: String,
    /// The service's number for the request.
    pub request_id: Option<String>,
    /// "/v0.10/transfer"
    pub resource: Option<String>,
    /// The number under which it was submitted.
    pub submission_id: String,
    /// The task; the earlier one where this is a duplicate.
    pub task_id: String,
    /// Where to read of it.
    pub task_link: Option<Link>,
}

/// A reference of Transfer's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// "link"
    #[serde(rename = "DATA_TYPE")]
    pub data_type: String,
    /// "/v0.10/task/…?format=json"
    pub href: String,
    /// "related"
    pub rel: Option<String>,
    /// "task"
    pub resource: Option<String>,
    /// What a person reads.
    pub title: Option<String>,
}

/// What Transfer says of something that it did at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// "result", "mkdir_result"
    #[serde(rename = "DATA_TYPE")]
    pub data_type: String,
    /// "Canceled", "DirectoryCreated", "FileRenamed"
    pub code: String,
    /// What it says.
    pub message: String,
    /// The service's number for the request.
    pub request_id: Option<String>,
    /// What was asked.
    pub resource: Option<String>,
}

/// A page of a list.
#[derive(Debug, Deserialize)]
struct Page<T> {
    #[serde(rename = "DATA")]
    data: Vec<T>,
    total: Option<u64>,
    has_next_page: Option<bool>,
    next_marker: Option<serde_json::Value>,
}

impl Transfer<'_> {
    fn who(&self) -> As {
        As::Bearer(Scope::transfer())
    }

    fn get(&self, path: &[&str]) -> Call {
        let whole: Vec<&str> = std::iter::once("v0.10").chain(path.iter().copied()).collect();
        Call::get(Service::Transfer, &whole, self.who())
    }

    fn post(&self, path: &[&str], body: serde_json::Value, repeat: Repeat) -> Call {
        let whole: Vec<&str> = std::iter::once("v0.10").chain(path.iter().copied()).collect();
        Call::post(Service::Transfer, &whole, self.who(), Body::Json(body), repeat)
    }

    /// Asks for the data of mapped collections along with the next token. Once is enough; see
    /// [`Scope::transfer_with_data_access`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn with_data_access<S: AsRef<str>>(&self, collections: &[S]) -> Result<()> {
        let scope = Scope::transfer_with_data_access(collections)?;
        self.inner.token(&scope).await.map(drop)
    }

    /// A number for one submission. Keep it on disk before submitting: under the same number, the same task is
    /// made once, however often it is sent.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn submission_id(&self) -> Result<String> {
        #[derive(Deserialize)]
        struct Number {
            value: String,
        }
        Ok(self.inner.call(&self.get(&["submission_id"])).await?.parse::<Number>()?.value)
    }

    /// Submits a transfer. Sending the same document again finds the same task.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::Busy`] where too many tasks of this client are pending.
    pub async fn submit_transfer(&self, document: &TransferDocument) -> Result<Accepted> {
        let body = document.body()?;
        self.submit("transfer", body, &document.submission_id).await
    }

    /// Submits a deletion. Sending the same document again finds the same task.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::Busy`] where too many tasks of this client are pending.
    pub async fn submit_delete(&self, document: &DeleteDocument) -> Result<Accepted> {
        let body = document.body()?;
        self.submit("delete", body, &document.submission_id).await
    }

    async fn submit(&self, what: &str, body: serde_json::Value, submission_id: &str) -> Result<Accepted> {
        let pending = self.pending().await?;
        if pending >= self.inner.settings.limits.pending_tasks {
            return Err(Error::Busy { pending });
        }
        let answer = self.inner.call(&self.post(&[what], body, Repeat::Safe)).await?;
        let accepted: Accepted = answer.parse()?;
        let fine = ["Accepted", "Duplicate"].contains(&accepted.code.as_str());
        if !fine || !accepted.submission_id.eq_ignore_ascii_case(submission_id) || accepted.task_id.is_empty()
        {
            let text = format!("code {}, submission {}", accepted.code, accepted.submission_id);
            return Err(answer.unexpected(text));
        }
        Ok(accepted)
    }

    /// How many tasks of this client have not ended.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn pending(&self) -> Result<u64> {
        let call = self.get(&["task_list"]).query("limit", 1).query("offset", 0);
        let answer = self.inner.call(&call.query("filter", "status:ACTIVE,INACTIVE")).await?;
        let page: Page<serde_json::Value> = answer.parse()?;
        Ok(page.total.unwrap_or(page.data.len() as u64))
    }

    /// A task as it is now.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn task(&self, id: &str) -> Result<Task> {
        self.inner.call(&self.get(&["task", id])).await?.parse()
    }

    /// The client's tasks, newest first, at most `most`. `filter` is Transfer's (`status:ACTIVE`, `label:…`).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn tasks(&self, filter: &str, most: u64) -> Result<Vec<Task>> {
        let call = |limit: u64, offset: u64| {
            let call = self.get(&["task_list"]).query("limit", limit).query("offset", offset);
            let call = call.query("orderby", "request_time DESC");
            if filter.is_empty() { call } else { call.query("filter", filter) }
        };
        let mut found: Vec<Task> = Vec::new();
        while (found.len() as u64) < most {
            let limit = PAGE.min(most - found.len() as u64);
            let page: Page<Task> = self.inner.call(&call(limit, found.len() as u64)).await?.parse()?;
            let got = page.data.len() as u64;
            found.extend(page.data);
            if got == 0 || page.total.is_some_and(|total| found.len() as u64 >= total) {
                break;
            }
        }
        Ok(found)
    }

    /// Asks a task to end. A task that has ended stays as it is; look at it afterwards.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn cancel(&self, id: &str) -> Result<Done> {
        self.inner.call(&self.post(&["task", id, "cancel"], json!({}), Repeat::Safe)).await?.parse()
    }

    /// Waits until a task is neither active nor inactive, and tells `observer` how it is meanwhile. Also
    /// [`TaskStatus::Inactive`] ends the wait: nothing goes on until somebody acts. What came out of it says
    /// [`Task::outcome`]; the end of a wait is no success.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn wait(&self, id: &str, mut observer: impl FnMut(&Task)) -> Result<Task> {
        let mut pause = POLL.0;
        loop {
            let task = self.task(id).await?;
            observer(&task);
            if task.status != TaskStatus::Active {
                return Ok(task);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(POLL.1);
        }
    }

    /// What happened to a task, newest first, at most `most` events.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn events(&self, id: &str, most: u64) -> Result<Vec<Event>> {
        let mut found: Vec<Event> = Vec::new();
        while (found.len() as u64) < most {
            let limit = PAGE.min(most - found.len() as u64);
            let call = self.get(&["task", id, "event_list"]).query("limit", limit);
            let call = call.query("offset", found.len());
            let page: Page<Event> = self.inner.call(&call).await?.parse()?;
            let got = page.data.len();
            found.extend(page.data);
            if got == 0 || page.total.is_some_and(|total| found.len() as u64 >= total) {
                break;
            }
        }
        Ok(found)
    }

    /// The files that a task moved.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn successful_transfers(&self, id: &str) -> Result<Vec<SuccessfulTransfer>> {
        self.marked(&["task", id, "successful_transfers"]).await
    }

    /// The files that a task left out, because it was allowed to.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn skipped_errors(&self, id: &str) -> Result<Vec<SkippedError>> {
        self.marked(&["task", id, "skipped_errors"]).await
    }

    /// Why a task is paused.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn pause_info(&self, id: &str) -> Result<Vec<PauseRule>> {
        #[derive(Deserialize)]
        struct Info {
            #[serde(default)]
            pause_rules: Vec<PauseRule>,
        }
        Ok(self.inner.call(&self.get(&["task", id, "pause_info"])).await?.parse::<Info>()?.pause_rules)
    }

    /// A list whose pages are found by marker.
    async fn marked<T: serde::de::DeserializeOwned>(&self, path: &[&str]) -> Result<Vec<T>> {
        let mut found = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let call = self.get(path);
            let call = if let Some(marker) = &marker { call.query("marker", marker) } else { call };
            let answer = self.inner.call(&call).await?;
            let page: Page<T> = answer.parse()?;
            found.extend(page.data);
            let next = match page.next_marker {
                None | Some(serde_json::Value::Null) => return Ok(found),
                Some(serde_json::Value::String(text)) => text,
                Some(other) => other.to_string(),
            };
            if marker.as_ref() == Some(&next) {
                return Err(answer.unexpected("its pages go round in a circle"));
            }
            marker = Some(next);
        }
    }
}
