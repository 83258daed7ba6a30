//! What can go wrong with a request, and how it is answered: a status and `{"error": "..."}`.

use std::sync::Arc;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A request that was not answered as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A parameter is missing or out of range.
    #[error("{name}: {reason}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// What it may be.
        reason: String,
    },
    /// There is no such volume, level or file.
    #[error("there is no {0}")]
    NotFound(String),
    /// The link is forged, or the volume may not be shared.
    #[error("{0}")]
    Refused(String),
    /// The link's time is over.
    #[error("this link has expired; ask whoever gave it to you for a new one")]
    Expired,
    /// More is being read than this server has room for.
    #[error("this server is busy with other viewers; try again in a second")]
    Busy,
    /// The voxels cannot be read.
    #[error("{0}")]
    Volume(Arc<volume::Error>),
    /// A file cannot be read.
    #[error("cannot read {what}: {source}")]
    Io {
        /// Which file.
        what: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The library did not answer.
    #[error("{0}")]
    Library(String),
    /// The client has gone; nobody reads this.
    #[error("the request was given up")]
    GivenUp,
}

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn parameter(name: &'static str, reason: impl Into<String>) -> Self {
        Self::Parameter { name, reason: reason.into() }
    }

    /// Whether the same request may succeed later.
    pub fn retry_helps(&self) -> bool {
        match self {
            Self::Busy | Self::Library(_) => true,
            Self::Volume(error) => matches!(**error, volume::Error::Incomplete { .. }),
            _ => false,
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Parameter { .. } => StatusCode::BAD_REQUEST,
            Self::Volume(error) if matches!(**error, volume::Error::Parameter { .. }) => {
                StatusCode::BAD_REQUEST
            }
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Refused(_) => StatusCode::FORBIDDEN,
            Self::Expired => StatusCode::GONE,
            Self::Busy | Self::Library(_) | Self::GivenUp => StatusCode::SERVICE_UNAVAILABLE,
            Self::Volume(_) | Self::Io { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<volume::Error> for Error {
    fn from(error: volume::Error) -> Self {
        Self::Volume(Arc::new(error))
    }
}

/// An error as JSON.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = ViewerProblem)]
pub(crate) struct Problem {
    /// What failed, why, and what to do next.
    error: String,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(Problem { error: self.to_string() })).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
        if self.retry_helps() {
            headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}
