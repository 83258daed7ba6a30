//! One request and its answer: credentials, CSRF, busy servers, lost answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::settings::{Credentials, Settings};

/// The REST API version that this client speaks. It is the same on 2.20 and 3.9.
const API_VERSION: &str = "0.8.4";
/// Not `prefect/X (API Y)`: the server would take us for a client that renews its concurrency leases.
const AGENT: &str = concat!("beamrail/", env!("CARGO_PKG_VERSION"));
/// The server also answers 503 while it starts; behind a proxy, 502. 408 and 429 ask to come back.
const BUSY: [StatusCode; 4] = [
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
];
/// An answer is shown to people up to so many characters.
const SHOWN: usize = 400;

/// Whether a request may be repeated after its answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// Asking twice is asking once.
    Safe,
    /// The first may have been done; the caller must look before it asks again.
    Unsafe,
}

/// What to ask.
pub(crate) struct Ask<'a> {
    pub method: Method,
    pub path: &'a [&'a str],
    pub query: &'a [(&'a str, &'a str)],
    pub body: Option<&'a Value>,
    pub again: Again,
}

/// An answer of success.
pub(crate) struct Reply {
    body: Value,
    what: String,
    server: String,
}

impl Reply {
    /// The body as a type.
    pub fn into<T: DeserializeOwned>(self) -> Result<T> {
        let Reply { body, what, server, .. } = self;
        serde_json::from_value(body).map_err(|error| Error::Unexpected {
            server,
            what,
            reason: error.to_string(),
        })
    }
}

/// What passed between here and the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that were sent, repetitions included.
    pub requests: u64,
    /// Those that the server was too busy for.
    pub busy: u64,
}

/// The connection.
pub(crate) struct Http {
    settings: Settings,
    client: reqwest::Client,
    /// Who we are towards CSRF protection.
    us: Uuid,
    csrf: Mutex<Option<HeaderValue>>,
    requests: AtomicU64,
    busy: AtomicU64,
}

#[derive(Deserialize)]
struct CsrfToken {
    token: String,
}

impl Http {
    pub fn new(settings: Settings) -> Result<Self> {
        // One for the process; whoever was first chose the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let wrong = |name: &'static str| move |reason: String| Error::Setting { name, reason };
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers
            .insert(HeaderName::from_static("x-prefect-api-version"), HeaderValue::from_static(API_VERSION));
        if let Credentials::Key(key) = &settings.credentials {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
                .map_err(|_| wrong("PREFECT_API_KEY")("it cannot be sent in a header".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let client = reqwest::Client::builder()
            .default_headers(headers)
            .timeout(settings.timeout)
            .connect_timeout(settings.timeout.min(Duration::from_secs(10)))
            // Credentials go to the server that was named, and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| wrong("PREFECT_API_URL")(reasons(&error)))?;
        Ok(Http {
            settings,
            client,
            us: Uuid::now_v7(),
            csrf: Mutex::new(None),
            requests: AtomicU64::new(0),
            busy: AtomicU64::new(0),
        })
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn tally(&self) -> Tally {
        Tally { requests: self.requests.load(Ordering::Relaxed), busy: self.busy.load(Ordering::Relaxed) }
    }

    /// The address of a path of the API; a last empty part gives the slash at the end that some paths want.
    pub fn url(&self, path: &[&str]) -> Url {
        let mut url = self.settings.api.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path);
        }
        url
    }

    /// Asks until there is an answer, or patience ends.
    pub async fn send(&self, ask: &Ask<'_>) -> Result<Reply> {
        let patience = self.settings.patience;
        let mut wait = patience.first;
        let mut csrf_renewed = false;
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match self.once(ask).await {
                Ok(reply) => return Ok(reply),
                Err(Turned::CsrfWanted) if !csrf_renewed => {
                    csrf_renewed = true;
                    self.renew_csrf().await?;
                    continue;
                }
                Err(Turned::CsrfWanted) => {
                    return Err(Error::Denied { server: self.server(), what: what(ask), status: 403 });
                }
                Err(Turned::Final(error)) => return Err(error),
                Err(Turned::Away(error)) if ask.again == Again::Unsafe && error.may_have_happened() => {
                    return Err(error);
                }
                // A fault that stays is a fault, not a queue.
                Err(Turned::Away(error)) if error.status() == Some(500) && tries >= 3 => return Err(error),
                Err(Turned::Away(error)) => error,
            };
            self.busy.fetch_add(1, Ordering::Relaxed);
            if tries >= patience.tries.max(1) {
                return Err(match error {
                    Error::Busy { server, what, status, .. } => Error::Busy { server, what, status, tries },
                    error => error,
                });
            }
            tokio::time::sleep(scattered(wait)).await;
            wait = (wait * 2).min(patience.longest);
        }
    }

    async fn once(&self, ask: &Ask<'_>) -> std::result::Result<Reply, Turned> {
        let mut request = self.client.request(ask.method.clone(), self.url(ask.path)).query(ask.query);
        if let Credentials::Basic(pair) = &self.settings.credentials {
            let (user, password) = pair.expose().split_once(':').unwrap_or((pair.expose(), ""));
            request = request.basic_auth(user, Some(password));
        }
        if ask.method != Method::GET
            && let Some(token) = self.csrf.lock().await.clone()
        {
            request = request
                .header("prefect-csrf-token", token)
                .header("prefect-csrf-client", self.us.to_string());
        }
        if let Some(body) = ask.body {
            request = request.json(body);
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        let lost = |error: reqwest::Error| {
            Turned::Away(Error::Unreachable {
                server: self.server(),
                what: what(ask),
                reason: reasons(&error),
                sent: !error.is_connect(),
            })
        };
        let response = request.send().await.map_err(lost)?;
        let status = response.status();
        let pause = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok())
            .map(|seconds| Duration::from_secs(seconds.min(60)));
        let bytes = response.bytes().await.map_err(lost)?;
        if BUSY.contains(&status) {
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            let busy =
                Error::Busy { server: self.server(), what: what(ask), status: status.as_u16(), tries: 1 };
            return Err(Turned::Away(busy));
        }
        let body: Option<Value> = serde_json::from_slice(&bytes).ok();
        if status.is_success() {
            let (what, server) = (what(ask), self.server());
            return match body {
                Some(body) => Ok(Reply { body, what, server }),
                None if bytes.is_empty() => Ok(Reply { body: Value::Null, what, server }),
                None => {
                    let reason = "it is no JSON".to_owned();
                    Err(Turned::Final(Error::Unexpected { server, what, reason }))
                }
            };
        }
        let reason = body.as_ref().map_or_else(|| "no reason given".to_owned(), reason);
        Err(self.refusal(ask, status, reason))
    }

    fn refusal(&self, ask: &Ask<'_>, status: StatusCode, reason: String) -> Turned {
        let (server, what, code) = (self.server(), what(ask), status.as_u16());
        if status == StatusCode::FORBIDDEN && reason.to_ascii_uppercase().contains("CSRF") {
            return Turned::CsrfWanted;
        }
        Turned::Final(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::Denied { server, what, status: code },
            // Behind a proxy, or an error while the transaction was written.
            StatusCode::INTERNAL_SERVER_ERROR | StatusCode::GATEWAY_TIMEOUT => {
                return Turned::Away(Error::Refused { server, what, status: code, reason });
            }
            _ => Error::Refused { server, what, status: code, reason },
        })
    }

    /// A token for the next hour. A wrong password shows here: the server checks the token first.
    async fn renew_csrf(&self) -> Result<()> {
        let us = self.us.to_string();
        let ask = Ask {
            method: Method::GET,
            path: &["csrf-token"],
            query: &[("client", us.as_str())],
            body: None,
            again: Again::Safe,
        };
        let token: CsrfToken = Box::pin(self.send(&ask)).await?.into()?;
        let mut value = HeaderValue::from_str(&token.token).map_err(|_| Error::Unexpected {
            server: self.server(),
            what: "GET /csrf-token".to_owned(),
            reason: "the token cannot be sent in a header".to_owned(),
        })?;
        value.set_sensitive(true);
        *self.csrf.lock().await = Some(value);
        Ok(())
    }

    pub fn server(&self) -> String {
        self.settings.api.to_string()
    }
}

/// What came instead of an answer.
enum Turned {
    /// Come again.
    Away(Error),
    /// With a token.
    CsrfWanted,
    /// No.
    Final(Error),
}

fn what(ask: &Ask<'_>) -> String {
    format!("{} /{}", ask.method, ask.path.join("/"))
}

/// Half to one and a half of it, so that clients that were turned away together do not come back together.
pub(crate) fn scattered(wait: Duration) -> Duration {
    let random = Uuid::now_v7().as_u64_pair().1 & 0xffff;
    wait.mul_f64(0.5 + random as f64 / 65536.0)
}

/// The words of an error and of its causes; the outermost often says nothing.
pub(crate) fn reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

/// The server's reason. Validation errors repeat the values that were sent, secrets included: of those, place
/// and message are taken and nothing else.
fn reason(body: &Value) -> String {
    let details = body.get("exception_detail").or_else(|| body.get("detail")).unwrap_or(&Value::Null);
    let text = match details {
        Value::Array(list) => {
            let line = |one: &Value| {
                let parts = one.get("loc").and_then(Value::as_array).into_iter().flatten();
                let place: Vec<String> =
                    parts.map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned)).collect();
                format!("{}: {}", place.join("."), one.get("msg").and_then(Value::as_str).unwrap_or("wrong"))
            };
            list.iter().map(line).collect::<Vec<_>>().join("; ")
        }
        Value::String(text) => text.clone(),
        _ => body.get("exception_message").and_then(Value::as_str).unwrap_or("no reason given").to_owned(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refusal_does_not_repeat_what_was_sent() {
        let body = json!({"exception_message": "Invalid request received.", "exception_detail": [
            {"type": "extra_forbidden", "loc": ["body", "data", 3], "msg": "Extra inputs are not permitted",
             "input": "s3cret"}], "request_body": {"value": "s3cret"}});
        assert_eq!(reason(&body), "body.data.3: Extra inputs are not permitted");
        assert_eq!(reason(&json!({"detail": "Missing CSRF token."})), "Missing CSRF token.");
        assert_eq!(reason(&json!({"exception_message": "Service Unavailable"})), "Service Unavailable");
        assert_eq!(reason(&json!(["s3cret"])), "no reason given");
        assert!(reason(&json!({"detail": "é".repeat(1000)})).chars().count() < 410);
    }

    #[test]
    fn paths_are_encoded_and_keep_their_last_slash() {
        let http = Http::new(Settings::new("http://h:4200/prefect/api").unwrap()).unwrap();
        assert_eq!(http.url(&["flows", ""]).as_str(), "http://h:4200/prefect/api/flows/");
        assert_eq!(
            http.url(&["work_pools", "a/b ../c?", "queues"]).as_str(),
            "http://h:4200/prefect/api/work_pools/a%2Fb%20..%2Fc%3F/queues"
        );
    }

    #[test]
    fn waits_are_scattered_around_the_middle() {
        let waits: Vec<_> = (0..200).map(|_| scattered(Duration::from_secs(2)).as_secs_f64()).collect();
        assert!(waits.iter().all(|wait| (1.0..=3.0).contains(wait)), "{waits:?}");
        let spread =
            waits.iter().copied().fold(f64::MIN, f64::max) - waits.iter().copied().fold(f64::MAX, f64::min);
        assert!(spread > 1.0, "{spread}");
    }
}
