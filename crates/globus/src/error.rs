//! The errors of this crate.

use crate::http::Service;

/// What can go wrong between us and Globus.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value cannot be used.
    #[error("{name} {value:?}: {reason}")]
    Value {
        /// What it is for.
        name: &'static str,
        /// The value given.
        value: String,
        /// Why it cannot be used, and what can.
        reason: String,
    },
    /// A credential is missing.
    #[error("{name} is not set; {advice}")]
    Missing {
        /// The variable.
        name: &'static str,
        /// Where it comes from.
        advice: &'static str,
    },
    /// The service did not answer, and the request was not taken.
    #[error("{service} did not answer {call} ({reason}); check the network, or try again later")]
    Unreachable {
        /// Which.
        service: Service,
        /// "GET /v0.10/task/…"
        call: String,
        /// What happened.
        reason: String,
    },
    /// Nobody knows whether the service did what was asked: look for it before asking again.
    #[error(
        "{service} gave no usable answer to {call} ({reason}); it may have been done, look for it before asking again"
    )]
    Uncertain {
        /// Which.
        service: Service,
        /// "POST /v3/endpoints/…/submit"
        call: String,
        /// What happened.
        reason: String,
    },
    /// The service answered, and not what was expected.
    #[error(
        "{service} answered {call} with something unexpected ({reason}){}; the service may have changed, or a proxy answers in its place",
        request(request_id)
    )]
    Answer {
        /// Which.
        service: Service,
        /// The call.
        call: String,
        /// What is wrong with it.
        reason: String,
        /// The service's number for the request.
        request_id: Option<String>,
    },
    /// The service refused or failed.
    #[error("{0}")]
    Api(Box<ApiError>),
    /// Somebody has to consent, once, in a browser or by the collection's administrator.
    #[error("{}", consent(.0))]
    Consent(Box<Consent>),
    /// The client's id and secret are not accepted.
    #[error(
        "Globus Auth does not accept the client {client}: {reason}{}; check its id and secret (the id is the client's, not the secret's), or make a new secret at https://app.globus.org/settings/developers",
        request(request_id)
    )]
    Credentials {
        /// The client's id.
        client: String,
        /// What the service said.
        reason: String,
        /// The service's number for the request.
        request_id: Option<String>,
    },
    /// A listing has more entries than allowed. A part of it would be worse than none.
    #[error("{path} on {endpoint} holds more than {limit} {what}; raise the limit or list a smaller folder")]
    TooMany {
        /// The collection.
        endpoint: String,
        /// The folder.
        path: String,
        /// The limit.
        limit: usize,
        /// Of what.
        what: &'static str,
    },
    /// So many tasks are under way that the service would not take another.
    #[error(
        "{pending} transfer tasks of this client are pending, as many as Globus lets wait; wait for some to end, or cancel them (beamrail globus task)"
    )]
    Busy {
        /// How many.
        pending: u64,
    },
    /// A payload is larger than the service takes.
    #[error("{what} has {size} bytes, and Globus takes {limit}; {advice}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size.
        size: usize,
        /// What is allowed.
        limit: usize,
        /// What to do.
        advice: &'static str,
    },
    /// A payload could not be read.
    #[error("{what} cannot be read: {reason}")]
    Payload {
        /// What.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// A task ended, and not well.
    #[error("{0}")]
    Task(Box<crate::transfer::TaskFailure>),
}

/// What a service says when it refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{service} refused {call}: {status} {code}: {message}{}{}", request(request_id), advice(self))]
pub struct ApiError {
    /// Which.
    pub service: Service,
    /// "GET /v0.10/task/…"
    pub call: String,
    /// The HTTP status.
    pub status: u16,
    /// "ClientError.BadRequest.NoTransferItems", "MISSING_SCOPE"
    pub code: String,
    /// What it says.
    pub message: String,
    /// The service's number for the request, for its support.
    pub request_id: Option<String>,
}

/// A consent that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// Which service asks.
    pub service: Service,
    /// The client that is to be allowed.
    pub client: String,
    /// The scopes that are missing, as the service names them.
    pub scopes: Vec<String>,
    /// What it says.
    pub message: String,
    /// The service's number for the request.
    pub request_id: Option<String>,
}

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the same call can succeed later without anybody changing anything. For [`Error::Uncertain`] it
    /// can, once the caller has looked for what it asked for.
    pub fn retry_helps(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Uncertain { .. } | Self::Busy { .. } => true,
            Self::Api(error) => error.status == 429 || error.status >= 500 || error.status == 409,
            Self::Task(failure) => failure.retry_helps(),
            _ => false,
        }
    }

    /// What the service said, if it did.
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Api(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the service says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        self.api().is_some_and(|error| {
            let code = &error.code;
            error.status == 404 || ["NotFound", "PATH_NOT_FOUND", "EndpointNotFound"].contains(&code.as_str())
        })
    }

    /// Whether something of that name is there already.
    pub fn is_exists(&self) -> bool {
        self.api().is_some_and(|error| error.code.ends_with(".Exists") || error.code == "Exists")
    }

    /// Whether rights are missing that somebody has to give.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Consent(_) | Self::Credentials { .. })
            || self.api().is_some_and(|error| [401, 403].contains(&error.status))
    }
}

fn request(id: &Option<String>) -> String {
    id.as_ref().map(|id| format!(" [request {id}]")).unwrap_or_default()
}

/// What helps, where that is known.
fn advice(error: &ApiError) -> &'static str {
    let code = error.code.as_str();
    match (error.status, code) {
        (_, "EndpointPermissionDenied" | "PermissionDenied") => {
            "; the collection's administrator: give this client read and write permission for the path"
        }
        (_, "MISSING_SCOPE") => {
            "; ask for the scope that is named, or let the flow's owner allow this client"
        }
        (_, _) if code.contains("EndpointError") || code.contains("ExternalError") => {
            "; the collection itself failed: its administrator can tell why, or try again later"
        }
        (401, _) => "; the token was refused even when new: check the client's permissions",
        (403, _) => "; whoever owns it: allow this client",
        (404, _) => "; check the id and the path",
        (409, _) => "; its state does not allow this now",
        (429, _) => "; too many requests: wait, or lower the rate",
        (status, _) if status >= 500 => {
            "; the service has a problem, try again later (https://status.globus.org)"
        }
        _ => "",
    }
}

fn consent(consent: &Consent) -> String {
    let scopes = consent.scopes.join(" ");
    let collections: Vec<&str> = consent
        .scopes
        .iter()
        .flat_map(|scope| scope.split("/scopes/").skip(1))
        .filter_map(|rest| rest.split_once("/data_access").map(|(id, _)| id))
        .collect();
    let what = match collections.as_slice() {
        [] => format!("give it with: globus session consent '{scopes}'"),
        some => format!(
            "set data_access = true for collection {} (a mapped collection needs it, a guest collection must not have it), \
             or give it with: globus session consent '{scopes}'",
            some.join(" and ")
        ),
    };
    let said = if consent.message.is_empty() { String::new() } else { format!(" ({})", consent.message) };
    format!(
        "{} wants a consent that client {} does not have{said}{}; {what}",
        consent.service,
        consent.client,
        request(&consent.request_id)
    )
}
