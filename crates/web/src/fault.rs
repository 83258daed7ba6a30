//! What is answered when something cannot be done: one type, shown as a page to people and as JSON to programs.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Why a request was not done, and what to do about it.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The status of the answer.
    pub status: StatusCode,
    /// What failed, on what, and why.
    pub what: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Seconds after which trying again can help.
    pub retry_after: Option<u64>,
}

/// The same for programs.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// What failed, on what, and why.
    pub detail: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Fault {
    /// With this status.
    pub fn new(status: StatusCode, what: impl Into<String>) -> Self {
        Self { status, what: what.into(), hint: None, retry_after: None }
    }

    /// There is no such thing.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, what)
    }

    /// The request cannot be used.
    pub fn bad(what: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, what)
    }

    /// The visitor may not do that.
    pub fn forbidden(what: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, what)
    }

    /// Something of ours failed.
    pub fn internal(what: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, what)
    }

    /// With something to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Worth trying again after so many seconds.
    #[must_use]
    pub fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// For programs.
    pub(crate) fn problem(&self) -> Problem {
        Problem { status: self.status.as_u16(), detail: self.what.clone(), hint: self.hint.clone() }
    }
}

/// The fault goes along with the answer; `guard::faces` gives it its looks.
impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<engine::Error> for Fault {
    fn from(error: engine::Error) -> Self {
        use engine::Error;
        let status = match &error {
            Error::NotFound { .. } => StatusCode::NOT_FOUND,
            Error::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Refused { .. } => StatusCode::CONFLICT,
            _ if error.retry_helps() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Fault::new(status, error.to_string())
    }
}

impl From<custody::Error> for Fault {
    fn from(error: custody::Error) -> Self {
        use custody::Error;
        let status = match &error {
            Error::Unknown { .. } => StatusCode::NOT_FOUND,
            Error::Value { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Refused(_) | Error::Busy { .. } | Error::Expired { .. } => StatusCode::CONFLICT,
            _ if error.retry_helps() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Fault::new(status, error.to_string())
    }
}

impl From<beamline::Error> for Fault {
    fn from(error: beamline::Error) -> Self {
        let status = match &error {
            beamline::Error::Unknown { .. } => StatusCode::NOT_FOUND,
            _ if error.retry_helps() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        match error {
            beamline::Error::Engine(error) => error.into(),
            beamline::Error::Custody(error) => error.into(),
            other => Fault::new(status, other.to_string()),
        }
    }
}
