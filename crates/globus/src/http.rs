//! One request to one service: tokens, rates, repetition, and what an answer means.

use std::fmt;
use std::sync::Once;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Certificate, Client, Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use crate::auth::Tokens;
use crate::config::{Settings, VerifyTls};
use crate::error::{ApiError, Consent, Error, Result};
use crate::limiter::Limiter;
use crate::scope::Scope;

/// No answer is larger: a page of a listing has some ten megabytes.
const LARGEST: usize = 256 << 20;
/// Characters of a service's message that an error shows.
const SHOWN: usize = 2000;

/// A service of Globus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Tokens.
    Auth,
    /// Files.
    Transfer,
    /// Flows.
    Flows,
    /// Functions.
    Compute,
}

impl Service {
    /// "auth", "transfer", "flows", "compute"
    pub fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Transfer => "transfer",
            Self::Flows => "flows",
            Self::Compute => "compute",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auth => "Globus Auth",
            Self::Transfer => "Globus Transfer",
            Self::Flows => "Globus Flows",
            Self::Compute => "Globus Compute",
        })
    }
}

/// Whether a request may be sent again when nobody knows whether it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Twice is as good as once: reading, cancelling, a submission with its own number.
    Safe,
    /// Only if the service said that it did not take it.
    OnlyIfRefused,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) enum As {
    /// The client by its id and secret.
    Client,
    /// A token for this scope.
    Bearer(Scope),
}

/// What goes along.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// Nothing.
    Nothing,
    /// JSON.
    Json(Value),
    /// `key=value`.
    Form(Vec<(&'static str, String)>),
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    service: Service,
    method: Method,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Body,
    who: As,
    repeat: Repeat,
}

impl Call {
    /// Reading.
    pub fn get<S: ToString>(service: Service, path: &[S], who: As) -> Self {
        let path = path.iter().map(ToString::to_string).collect();
        let (query, body) = (Vec::new(), Body::Nothing);
        Self { service, method: Method::GET, path, query, body, who, repeat: Repeat::Safe }
    }

    /// Doing.
    pub fn post<S: ToString>(service: Service, path: &[S], who: As, body: Body, repeat: Repeat) -> Self {
        Self { method: Method::POST, body, repeat, ..Self::get(service, path, who) }
    }

    /// Replacing.
    pub fn put<S: ToString>(service: Service, path: &[S], who: As, body: Body) -> Self {
        Self { method: Method::PUT, body, ..Self::get(service, path, who) }
    }

    /// Taking away. A second time there is nothing to take away, which the caller knows how to read.
    pub fn delete<S: ToString>(service: Service, path: &[S], who: As) -> Self {
        Self { method: Method::DELETE, ..Self::get(service, path, who) }
    }

    /// With `?key=value`.
    pub fn query(mut self, key: &'static str, value: impl ToString) -> Self {
        self.query.push((key, value.to_string()));
        self
    }

    /// "GET /v0.10/task/…", for messages.
    fn text(&self) -> String {
        format!("{} /{}", self.method, self.path.join("/"))
    }

    fn url(&self, base: &Url) -> Result<Url> {
        let mut url = base.clone();
        // An empty or dotted part would change which call this is.
        let odd = self.path.iter().find(|part| part.is_empty() || *part == "." || *part == "..");
        if let Some(odd) = odd {
            let reason = format!("it cannot be part of {}; give an id", self.text());
            return Err(Error::Value { name: "id", value: odd.clone(), reason });
        }
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(&self.path);
        }
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        Ok(url)
    }
}

/// What a service answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Which service.
    pub service: Service,
    /// To what: "GET /v0.10/task/…".
    pub call: String,
    /// The HTTP status.
    pub status: u16,
    /// The content; null where there was none.
    pub value: Value,
    /// The service's number for the request.
    pub request_id: Option<String>,
}

impl Answer {
    /// The content as what it should be.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.value).map_err(|e| self.unexpected(e.to_string()))
    }

    pub(crate) fn unexpected(&self, reason: impl Into<String>) -> Error {
        let (service, call, request_id) = (self.service, self.call.clone(), self.request_id.clone());
        Error::Answer { service, call, reason: reason.into(), request_id }
    }
}

/// What all services share.
pub(crate) struct Inner {
    pub settings: Settings,
    pub tokens: Mutex<Tokens>,
    client: Client,
    general: Limiter,
    compute: Limiter,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Globus").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What a try came to.
enum Tried {
    Answered {
        status: StatusCode,
        headers: HeaderMap,
        body: Vec<u8>,
    },
    /// `sent` is false where the service cannot have seen the request.
    Failed {
        sent: bool,
        reason: String,
    },
}

impl Inner {
    pub fn new(settings: Settings) -> Result<Self> {
        static PROVIDER: Once = Once::new();
        // An error means that the program has chosen one already, which serves as well.
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let agent = format!("beamrail-globus/{} {}", env!("CARGO_PKG_VERSION"), settings.app);
        let mut builder = Client::builder()
            .user_agent(agent.trim())
            .timeout(settings.timeout)
            .connect_timeout(settings.timeout.min(Duration::from_secs(20)))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never());
        match &settings.tls {
            VerifyTls::System => {}
            VerifyTls::Nobody => builder = builder.tls_danger_accept_invalid_certs(true),
            VerifyTls::File(path) => {
                let value = path.display().to_string();
                let bad =
                    |reason: String| Error::Value { name: "certificates", value: value.clone(), reason };
                let pem = std::fs::read(path).map_err(|e| bad(format!("{e}; check the path")))?;
                let some = Certificate::from_pem_bundle(&pem).map_err(|e| bad(e.to_string()))?;
                builder = builder.tls_certs_merge(some);
            }
        }
        let client = builder.build().map_err(|e| Error::Value {
            name: "TLS",
            value: format!("{:?}", settings.tls),
            reason: format!("{}; check the system's certificates", root(&e)),
        })?;
        let general = Limiter::new(settings.limits.requests_per_second, Duration::from_secs(1));
        let compute = Limiter::new(settings.limits.compute_per_ten_seconds, Duration::from_secs(10));
        Ok(Self { settings, tokens: Mutex::default(), client, general, compute })
    }

    /// Sends a request, again where that helps and cannot harm, and returns what the service said.
    pub async fn call(&self, call: &Call) -> Result<Answer> {
        let url = call.url(self.settings.base(call.service))?;
        let limiter = if call.service == Service::Compute { &self.compute } else { &self.general };
        let (mut attempt, mut renewed) = (0, false);
        loop {
            limiter.turn().await;
            let token = match &call.who {
                As::Client => None,
                // Not a recursion without end: tokens are asked for as the client.
                As::Bearer(scope) => Some(Box::pin(self.token(scope)).await?),
            };
            let tried = self.send(call, &url, token.as_ref().map(|token| token.reveal())).await;
            let (error, asked, again) = match tried {
                Tried::Answered { status, headers, body } => {
                    let value = serde_json::from_slice::<Value>(&body);
                    let parsed = value.as_ref().ok();
                    let request_id = request_id(parsed, &headers);
                    if status.is_success() {
                        let value = match value {
                            Ok(value) => value,
                            Err(_) if body.is_empty() => Value::Null,
                            Err(e) => return Err(self.garbled(call, &e.to_string(), request_id)),
                        };
                        let (service, status) = (call.service, status.as_u16());
                        return Ok(Answer { service, call: call.text(), status, value, request_id });
                    }
                    if let (StatusCode::UNAUTHORIZED, Some(token), As::Bearer(scope), false) =
                        (status, &token, &call.who, renewed)
                    {
                        renewed = true;
                        self.forget(scope, token).await;
                        continue;
                    }
                    let error = self.refusal(call, status, parsed, &body, request_id);
                    let again = may_repeat(call, status, &error);
                    (error, retry_after(status, &headers), again)
                }
                Tried::Failed { sent, reason } => {
                    let (service, text) = (call.service, call.text());
                    match sent && call.repeat == Repeat::OnlyIfRefused {
                        true => (Error::Uncertain { service, call: text, reason }, None, false),
                        false => (Error::Unreachable { service, call: text, reason }, None, true),
                    }
                }
            };
            if !again || attempt >= self.settings.retry.retries {
                return Err(error);
            }
            tokio::time::sleep(self.settings.retry.wait(attempt, asked)).await;
            attempt += 1;
        }
    }

    async fn send(&self, call: &Call, url: &Url, token: Option<&str>) -> Tried {
        let mut request = self.client.request(call.method.clone(), url.clone());
        request = match (&call.who, token) {
            (_, Some(token)) => request.bearer_auth(token),
            (As::Client, None) => {
                let who = &self.settings.credentials;
                request.basic_auth(&who.id, Some(who.secret.reveal()))
            }
            (As::Bearer(_), None) => request,
        };
        request = request.header("Accept", "application/json");
        request = match &call.body {
            Body::Nothing => request,
            Body::Json(value) => request.json(value),
            Body::Form(pairs) => request.form(pairs),
        };
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                let sent = !(error.is_connect() || error.is_builder());
                return Tried::Failed { sent, reason: root(&error) };
            }
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(bytes)) if body.len() + bytes.len() > LARGEST => {
                    return Tried::Failed { sent: true, reason: "its answer has no end".into() };
                }
                Ok(Some(bytes)) => body.extend_from_slice(&bytes),
                Ok(None) => return Tried::Answered { status, headers, body },
                Err(error) => return Tried::Failed { sent: true, reason: root(&error) },
            }
        }
    }

    /// Something said 200 and is not the service, or was cut short.
    fn garbled(&self, call: &Call, reason: &str, request_id: Option<String>) -> Error {
        let (service, call_text) = (call.service, call.text());
        let reason = format!("it is no JSON: {reason}");
        match call.repeat {
            Repeat::OnlyIfRefused => Error::Uncertain { service, call: call_text, reason },
            Repeat::Safe => Error::Answer { service, call: call_text, reason, request_id },
        }
    }

    /// What a status that is none of success means.
    fn refusal(
        &self,
        call: &Call,
        status: StatusCode,
        value: Option<&Value>,
        body: &[u8],
        request_id: Option<String>,
    ) -> Error {
        let said = said(value, body);
        let message = self.clean(&said.message);
        let client = self.settings.credentials.id.clone();
        let scopes = value.map(required_scopes).unwrap_or_default();
        if said.code == "ConsentRequired" || (status == StatusCode::FORBIDDEN && !scopes.is_empty()) {
            let service = call.service;
            return Error::Consent(Box::new(Consent { service, client, scopes, message, request_id }));
        }
        let client_refused = matches!(call.who, As::Client)
            && (status == StatusCode::UNAUTHORIZED || said.code == "invalid_client");
        if client_refused {
            let reason = if message.is_empty() { said.code } else { message };
            return Error::Credentials { client, reason, request_id };
        }
        Error::Api(Box::new(ApiError {
            service: call.service,
            call: call.text(),
            status: status.as_u16(),
            code: said.code,
            message,
            request_id,
        }))
    }

    /// A service's words: not too many, and without our secret should it repeat it.
    fn clean(&self, text: &str) -> String {
        let secret = self.settings.credentials.secret.reveal();
        let text = text.trim().replace("\\r\\n", " ").replace(['\r', '\n'], " ");
        let text: String = text.chars().take(SHOWN).collect();
        if secret.is_empty() { text } else { text.replace(secret, "(secret)") }
    }
}

/// Whether an answer that is no success is worth another try, by the rules of Globus's SDK; and, where sending
/// twice would do twice, only if the service says that it took nothing.
fn may_repeat(call: &Call, status: StatusCode, error: &Error) -> bool {
    // The collection failed, not the service: Transfer wants us to hear that at once.
    let beyond = error.api().is_some_and(|api| {
        call.service == Service::Transfer
            && ["ExternalError", "EndpointError"].iter().any(|word| api.code.contains(word))
    });
    let refused = [429, 503].contains(&status.as_u16());
    let failed = [500, 502, 504].contains(&status.as_u16());
    refused || (failed && !beyond && call.repeat == Repeat::Safe)
}

/// What the service asks for, in whole seconds.
fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    let asks = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status);
    let text = headers.get(RETRY_AFTER).filter(|_| asks)?.to_str().ok()?;
    text.trim().parse::<u64>().ok().map(Duration::from_secs)
}

struct Said {
    code: String,
    message: String,
}

/// Code and message, wherever the service puts them.
fn said(value: Option<&Value>, body: &[u8]) -> Said {
    let Some(value) = value else {
        let text = String::from_utf8_lossy(body);
        return Said { code: "no JSON".into(), message: text.chars().take(300).collect() };
    };
    let first = value.pointer("/errors/0");
    let text = |value: Option<&Value>| match value {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Null) | None => None,
        Some(other) => Some(other.to_string()),
    };
    let code = text(first.and_then(|one| one.get("code")))
        .or_else(|| text(value.pointer("/error/code")))
        .or_else(|| text(value.get("code")))
        .or_else(|| value.get("error").and_then(Value::as_str).map(str::to_owned));
    let message = text(first.and_then(|one| one.get("detail").or_else(|| one.get("title"))))
        .or_else(|| text(value.pointer("/error/detail").or_else(|| value.pointer("/error/message"))))
        .or_else(|| text(value.get("error_description")))
        .or_else(|| text(value.get("message")))
        .or_else(|| text(value.get("reason")))
        .or_else(|| text(value.get("detail")));
    Said { code: code.unwrap_or_default(), message: message.unwrap_or_default() }
}

/// The scopes that are missing, in each form that services use.
fn required_scopes(value: &Value) -> Vec<String> {
    let places = ["/required_scopes", "/authorization_parameters/required_scopes", "/error/required_scopes"];
    let some = places.iter().find_map(|place| value.pointer(place)?.as_array());
    let one = value.get("required_scope").and_then(Value::as_str);
    let many = some.into_iter().flatten().filter_map(Value::as_str);
    many.chain(one).map(str::to_owned).collect()
}

/// The number under which the service's support finds the request.
fn request_id(value: Option<&Value>, headers: &HeaderMap) -> Option<String> {
    let places = ["/request_id", "/debug_id", "/errors/0/id"];
    let told = value.and_then(|value| places.iter().find_map(|place| value.pointer(place)?.as_str()));
    let names = ["x-globus-request-id", "x-request-id", "x-amzn-requestid"];
    let header = || names.iter().find_map(|name| headers.get(*name)?.to_str().ok());
    told.or_else(header).map(|id| id.chars().take(80).collect())
}

/// The innermost cause, which is the one that says something; without the address.
fn root(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
