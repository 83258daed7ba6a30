//! Requests and answers, as the handlers see them, and the shape of each service's errors.

use hyper::body::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

/// Which of the services a path belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Auth,
    Transfer,
    Flows,
    Compute,
    Control,
}

impl Service {
    pub fn of(path: &str) -> Self {
        let first = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if first("/standin") {
            Self::Control
        } else if first("/v0.10") {
            Self::Transfer
        } else if first("/flows") || first("/runs") {
            Self::Flows
        } else if first("/v2/oauth2") || first("/v2/api") {
            Self::Auth
        } else {
            Self::Compute
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Transfer => "transfer",
            Self::Flows => "flows",
            Self::Compute => "compute",
            Self::Control => "control",
        }
    }
}

/// One request, read to its end.
pub struct Request {
    pub service: Service,
    pub method: String,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub authorization: Option<String>,
    pub body: Bytes,
}

impl Request {
    /// The value of a query parameter.
    pub fn q(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A query parameter that is a number.
    pub fn number(&self, name: &str, default: usize) -> usize {
        self.q(name).and_then(|value| value.parse().ok()).unwrap_or(default)
    }

    /// The fields of a form in the body.
    pub fn form(&self) -> Vec<(String, String)> {
        url::form_urlencoded::parse(&self.body).into_owned().collect()
    }

    /// The body as a JSON object.
    pub fn json(&self) -> Result<Value, Answer> {
        match serde_json::from_slice::<Value>(&self.body) {
            Ok(value) if value.is_object() => Ok(value),
            _ => Err(self.refuse(400, "ClientError.BadRequest", "The body is not a JSON object")),
        }
    }

    /// The token of `Authorization: Bearer`.
    pub fn bearer(&self) -> Option<&str> {
        self.authorization.as_deref()?.strip_prefix("Bearer ")
    }

    /// An error in the manner of the service that was asked.
    pub fn refuse(&self, status: u16, code: &str, message: &str) -> Answer {
        let body = match self.service {
            Service::Auth => json!({
                "error": code,
                "error_description": message,
                "errors": [{"status": status.to_string(), "id": Uuid::new_v4().to_string(),
                            "code": code.to_uppercase(), "title": message, "detail": message}],
            }),
            Service::Flows => json!({
                "error": {"code": code, "detail": message},
                "debug_id": Uuid::new_v4().to_string(),
            }),
            Service::Compute => json!({
                "status": "Failed", "code": code, "error_args": [], "reason": message,
                "http_status_code": status, "request_id": Uuid::new_v4().to_string(),
            }),
            Service::Transfer | Service::Control => json!({
                "code": code, "message": message, "request_id": request_id(), "resource": self.path,
            }),
        };
        Answer::of(status, body)
    }

    /// What an unknown path gets.
    pub fn not_found(&self) -> Answer {
        let code = match self.service {
            Service::Flows => "NOT_FOUND",
            Service::Compute => "RESOURCE_NOT_FOUND",
            _ => "NotFound",
        };
        self.refuse(404, code, &format!("No such resource: {} {}", self.method, self.path))
    }
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub retry_after: Option<u64>,
}

/// What a handler gives; both sides are sent.
pub type Reply = Result<Answer, Answer>;

impl Answer {
    pub fn of(status: u16, body: Value) -> Self {
        Self { status, body, retry_after: None }
    }

    pub fn ok(body: Value) -> Self {
        Self::of(200, body)
    }
}

/// Nine letters and digits, as Transfer numbers its requests.
pub fn request_id() -> String {
    Uuid::new_v4().simple().to_string()[..9].to_owned()
}

/// A fresh UUID as text.
pub fn new_id() -> String {
    Uuid::new_v4().to_string()
}

/// Now, in whole seconds, as the services write times.
pub fn now() -> String {
    stamp(jiff::Timestamp::now())
}

/// A time as the services write it.
pub fn stamp(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

/// The fields of `object`, then those of `more`, which win.
pub fn merged(object: Value, more: Value) -> Value {
    match (object, more) {
        (Value::Object(mut object), Value::Object(more)) => {
            object.extend(more);
            Value::Object(object)
        }
        (object, _) => object,
    }
}
