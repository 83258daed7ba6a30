//! What can go wrong between here and a Prefect server.
//!
//! A message says what failed, on which server, why, and what to do next. [`Error::retry_helps`] and
//! [`Error::may_have_happened`] are part of the type: no caller guesses from the text.

/// An answer that is not the one asked for, or none.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A setting is wrong.
    #[error("{name}: {reason}")]
    Setting {
        /// The variable or field.
        name: &'static str,
        /// Why, and what would be right.
        reason: String,
    },
    /// The server did not answer.
    #[error(
        "the Prefect server at {server} did not answer {what}: {reason}; see that it runs (`prefect server start`) and that PREFECT_API_URL names it"
    )]
    Unreachable {
        /// The address of the API.
        server: String,
        /// Method and path.
        what: String,
        /// The transport's words.
        reason: String,
        /// Whether the request may have reached the server before the connection broke.
        sent: bool,
    },
    /// The server was too busy, again and again.
    #[error(
        "the Prefect server at {server} answered {what} with {status} in {tries} tries; its database is busy or it is starting, try again later"
    )]
    Busy {
        /// The address of the API.
        server: String,
        /// Method and path.
        what: String,
        /// The last status.
        status: u16,
        /// How often it was asked.
        tries: u32,
    },
    /// The server wants other credentials.
    #[error(
        "the Prefect server at {server} refused {what} ({status}); check PREFECT_API_AUTH_STRING (\"user:password\") or PREFECT_API_KEY"
    )]
    Denied {
        /// The address of the API.
        server: String,
        /// Method and path.
        what: String,
        /// 401 or 403.
        status: u16,
    },
    /// The server refused the request.
    #[error("the Prefect server at {server} refused {what} ({status}): {reason}")]
    Refused {
        /// The address of the API.
        server: String,
        /// Method and path.
        what: String,
        /// The status.
        status: u16,
        /// The server's words, without the values that were sent.
        reason: String,
    },
    /// The server's answer is not what this client knows.
    #[error(
        "the Prefect server at {server} answered {what} with something unknown: {reason}; is it a Prefect 2.20 or 3 server, and no proxy before it?"
    )]
    Unexpected {
        /// The address of the API.
        server: String,
        /// Method and path.
        what: String,
        /// What was not understood.
        reason: String,
    },
    /// The server is too old for this.
    #[error("Prefect {version} has no {what}; {hint}")]
    Unsupported {
        /// The server's version.
        version: String,
        /// What was asked for.
        what: &'static str,
        /// What to do.
        hint: &'static str,
    },
}

impl Error {
    /// Whether the same call can succeed later without anybody changing anything.
    pub fn retry_helps(&self) -> bool {
        match self {
            Error::Unreachable { .. } | Error::Busy { .. } => true,
            Error::Refused { status, .. } => *status >= 500,
            _ => false,
        }
    }

    /// Whether the server may have done what was asked although no answer says so.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Error::Unreachable { sent, .. } => *sent,
            Error::Busy { status, .. } | Error::Refused { status, .. } => matches!(status, 500 | 502 | 504),
            _ => false,
        }
    }

    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Error::Busy { status, .. } | Error::Denied { status, .. } | Error::Refused { status, .. } => {
                Some(*status)
            }
            _ => None,
        }
    }

    /// Whether what was asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether it exists already, or does not fit what exists.
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }
}

/// The client's results.
pub type Result<T> = std::result::Result<T, Error>;

/// `None` where the server has none.
pub(crate) fn optional<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
