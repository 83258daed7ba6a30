//! What goes wrong inside a flow or a step, and whether trying again helps.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What kind of failure it is; decides what the engine does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Trying again gives the same.
    Fatal,
    /// May succeed later: the step's retry policy applies.
    Retryable,
    /// A person must do something first; the run pauses if nobody handles it.
    NeedsInput,
    /// The run was cancelled.
    Cancelled,
    /// Another worker has the run, or the journal cannot be written: stop, write nothing.
    LostLease,
}

/// A failure of a step or flow. It is journaled as it is, so no secrets in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind.
    pub kind: FailureKind,
    /// What failed, on what, why, what to do next.
    pub message: String,
    /// A short stable name for programs ("run-timeout", "http-503").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Box<str>>,
    /// Do not try again before this time has passed (a service's Retry-After).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
    /// Of an external step: the outside work is over, another try is a new submission.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub work_ended: bool,
    /// Of an external step: the outside work may live, though the step gives up; a run that is tried again looks
    /// for it before it submits anything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub work_lives: bool,
    /// The key of the step in which it arose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Box<str>>,
    /// What a program or person may want to see: exit code, the tail of the log. Boxed, because every result
    /// in a flow has room for it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Box<Value>,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Failure {
            kind,
            message: message.into(),
            code: None,
            retry_after: None,
            work_ended: false,
            work_lives: false,
            step: None,
            details: Box::default(),
        }
    }

    /// Trying again gives the same.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Fatal, message)
    }

    /// May succeed later.
    pub fn retryable(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Retryable, message)
    }

    /// A person must do something, then `runs resume`.
    pub fn needs_input(message: impl Into<String>) -> Self {
        Self::new(FailureKind::NeedsInput, message)
    }

    /// The run was cancelled.
    pub fn cancelled(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Cancelled, message)
    }

    /// With a short stable name for programs.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into().into_boxed_str());
        self
    }

    /// With facts beside the message.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = Box::new(details);
        self
    }

    /// Not to be tried again before this time has passed.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Of an external step: the outside work ended without a result, so another try submits anew.
    /// Without it a retry looks at the same work again.
    #[must_use]
    pub fn work_ended(mut self) -> Self {
        self.work_ended = true;
        self
    }

    /// Of an external step: nobody may look at the outside work any more, which may live all the same. When a person
    /// has put that right and the run is tried again, it looks at the same work.
    #[must_use]
    pub fn work_lives(mut self) -> Self {
        self.work_lives = true;
        self
    }

    /// Whether trying again can help.
    pub fn retry_helps(&self) -> bool {
        self.kind == FailureKind::Retryable
    }

    /// Whether the run was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.kind == FailureKind::Cancelled
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// A journal that cannot be written ends the work of this worker on the run: nothing may happen that is not
/// recorded. The lease runs out and the run goes on later, here or elsewhere.
impl From<crate::Error> for Failure {
    fn from(error: crate::Error) -> Self {
        use crate::Error;
        let kind = match &error {
            Error::LeaseLost { .. } | Error::Crashed | Error::Store { .. } | Error::Corrupt { .. } => {
                FailureKind::LostLease
            }
            _ => FailureKind::Fatal,
        };
        Failure::new(kind, error.to_string())
    }
}

/// Gives the errors of others their kind: `fs::read(path).fatal("reading the recipe")?`.
pub trait ResultExt<T> {
    /// Trying again gives the same.
    ///
    /// # Errors
    /// The error as a fatal [`Failure`], `what` before its text.
    fn fatal(self, what: impl fmt::Display) -> Result<T, Failure>;
    /// May succeed later.
    ///
    /// # Errors
    /// The error as a retryable [`Failure`], `what` before its text.
    fn retryable(self, what: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> ResultExt<T> for Result<T, E> {
    fn fatal(self, what: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::fatal(format!("{what}: {error}")))
    }

    fn retryable(self, what: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::retryable(format!("{what}: {error}")))
    }
}
