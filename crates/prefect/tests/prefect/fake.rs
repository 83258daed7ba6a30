//! A server that answers by a script and keeps what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use prefect::{Client, Patience, Settings};
use serde_json::{Value, json};

/// A request.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}

/// What to answer.
pub enum Answer {
    Json(u16, Value),
    /// Takes the request, and answers too late.
    Lost,
}

pub fn ok(body: Value) -> Answer {
    Answer::Json(200, body)
}

/// The fake. Its port closes with the test's runtime.
pub struct Fake {
    pub api: String,
    pub seen: Arc<Mutex<Vec<Seen>>>,
}

/// The limit of the clients made here: an answer after it is lost.
pub const LIMIT: Duration = Duration::from_millis(400);

impl Fake {
    /// `script` is given the request and how many came to that method and path before.
    pub async fn start(script: impl Fn(&Seen, usize) -> Answer + Send + Sync + 'static) -> Fake {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (script, kept) = (Arc::new(script), seen.clone());
        let handler = move |method: Method, uri: Uri, headers: HeaderMap, bytes: Bytes| {
            let (script, kept) = (script.clone(), kept.clone());
            async move { answer(&*script, &kept, method, &uri, headers, &bytes).await }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = format!("http://{}/api", listener.local_addr().unwrap());
        let app = axum::Router::new().fallback(handler);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Fake { api, seen }
    }

    /// A client that is not patient.
    pub fn client(&self) -> Client {
        let patience =
            Patience { tries: 4, first: Duration::from_millis(10), longest: Duration::from_millis(40) };
        Client::new(Settings::new(&self.api).unwrap().patience(patience).timeout(LIMIT)).unwrap()
    }

    /// The requests to a path.
    pub fn asked(&self, path: &str) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.path == path).cloned().collect()
    }
}

async fn answer(
    script: &(impl Fn(&Seen, usize) -> Answer + Send + Sync),
    kept: &Mutex<Vec<Seen>>,
    method: Method,
    uri: &Uri,
    headers: HeaderMap,
    bytes: &[u8],
) -> Response {
    let path = uri.path().strip_prefix("/api").unwrap_or(uri.path()).to_owned();
    let body = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    let query = uri.query().unwrap_or("").to_owned();
    let seen = Seen { method, path, query, headers, body };
    let before = {
        let mut kept = kept.lock().unwrap();
        let before = kept.iter().filter(|one| one.path == seen.path && one.method == seen.method).count();
        kept.push(seen.clone());
        before
    };
    match script(&seen, before) {
        Answer::Json(status, body) => {
            (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
        }
        Answer::Lost => {
            tokio::time::sleep(LIMIT * 3).await;
            StatusCode::OK.into_response()
        }
    }
}

/// A verdict as servers send it.
pub fn verdict(status: &str, state: Value, reason: &str) -> Value {
    json!({ "status": status, "state": state, "details": { "type": "x", "reason": reason } })
}

/// A flow run as servers send it.
pub fn flow_run(id: uuid::Uuid) -> Value {
    json!({ "id": id, "name": "sea_shell", "flow_id": uuid::Uuid::nil(), "created": "2026-11-22T13:53:35.341357Z",
        "parameters": {}, "tags": [], "state": null, "a field of tomorrow": 1 })
}
