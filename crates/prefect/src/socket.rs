//! Events by websocket: in and out (3.x).

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::client::{Client, body};
use crate::error::{Error, Result};
use crate::events::{Event, EventFilter};
use crate::http::reasons;
use crate::settings::Credentials;
use crate::version::ServerVersion;

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Without these the server answers 403 to a websocket, or closes it with 1008.
const PROTOCOL: &str = "prefect";
/// A connection that says nothing for so long is asked whether it lives.
const SILENCE: Duration = Duration::from_secs(30);
const HINT: &str = "upgrade the server to Prefect 3, or poll";

/// Events as they happen.
pub struct Subscription {
    stream: Stream,
    what: &'static str,
    server: String,
}

/// A way to tell of many events.
pub struct Emitter {
    stream: Stream,
    server: String,
}

#[derive(Deserialize)]
struct Told {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    event: Option<Event>,
}

fn broken(server: &str, what: &str, reason: String) -> Error {
    Error::Unreachable { server: server.to_owned(), what: what.to_owned(), reason, sent: true }
}

impl Client {
    /// Listens. Events before the answer are lost unless `filter.since` asks for them.
    ///
    /// # Errors
    /// The server has no events (2.x), refuses the credentials, or does not answer.
    pub async fn subscribe(&self, filter: &EventFilter) -> Result<Subscription> {
        let what = "WS /events/out";
        let (mut stream, server) = self.open(&["events", "out"], what).await?;
        let backfill = filter.since.is_some();
        let wanted = json!({ "type": "filter", "backfill": backfill, "filter": filter.body() });
        let sent = stream.send(Message::text(wanted.to_string())).await;
        sent.map_err(|error| broken(&server, what, reasons(&error)))?;
        Ok(Subscription { stream, what, server })
    }

    /// Opens a connection that takes events.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub async fn emitter(&self) -> Result<Emitter> {
        let (stream, server) = self.open(&["events", "in"], "WS /events/in").await?;
        Ok(Emitter { stream, server })
    }

    /// Connects and proves who we are. The token is the plain `user:password`, not base64 as in HTTP.
    async fn open(&self, path: &[&str], what: &'static str) -> Result<(Stream, String)> {
        self.need(ServerVersion::has_events, "events", HINT).await?;
        let server = self.http.server();
        let mut url = self.http.url(path);
        let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
        let unusable = |reason: String| Error::Setting { name: "PREFECT_API_URL", reason };
        url.set_scheme(scheme).map_err(|()| unusable("it has no websocket address".to_owned()))?;
        let mut request = url.as_str().into_client_request().map_err(|error| unusable(error.to_string()))?;
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(PROTOCOL));
        let limit = Duration::from_secs(10);
        let connected = tokio::time::timeout(limit, connect_async(request)).await;
        let (mut stream, _) = connected
            .map_err(|_| broken(&server, what, "no answer within 10 s".to_owned()))?
            .map_err(|error| broken(&server, what, reasons(&error)))?;
        let token = match &self.settings().credentials {
            Credentials::None => Value::Null,
            Credentials::Basic(secret) | Credentials::Key(secret) => json!(secret.expose()),
        };
        let hello = json!({ "type": "auth", "token": token }).to_string();
        stream.send(Message::text(hello)).await.map_err(|error| broken(&server, what, reasons(&error)))?;
        let denied = || Error::Denied { server: server.clone(), what: what.to_owned(), status: 403 };
        match tokio::time::timeout(limit, stream.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => {
                let told: Option<Told> = serde_json::from_str(text.as_str()).ok();
                if told.is_none_or(|told| told.kind != "auth_success") {
                    return Err(denied());
                }
            }
            // 1008, policy violation.
            Ok(Some(Ok(Message::Close(_)))) => return Err(denied()),
            Ok(Some(Ok(_))) | Ok(None) => {
                return Err(broken(&server, what, "the connection was closed".to_owned()));
            }
            Ok(Some(Err(error))) => return Err(broken(&server, what, reasons(&error))),
            Err(_) => return Err(broken(&server, what, "no answer within 10 s".to_owned())),
        }
        Ok((stream, server))
    }
}

impl Subscription {
    /// The next event.
    ///
    /// # Errors
    /// The connection broke; events meanwhile are lost, so look by other means before subscribing again.
    pub async fn next(&mut self) -> Result<Event> {
        let mut asked = false;
        loop {
            let message = match tokio::time::timeout(SILENCE, self.stream.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return Err(self.broken(reasons(&error))),
                Ok(None) => return Err(self.broken("the connection was closed".to_owned())),
                Err(_) if asked => return Err(self.broken("no sign of life for a minute".to_owned())),
                Err(_) => {
                    asked = true;
                    let ping = self.stream.send(Message::Ping(Vec::new().into())).await;
                    ping.map_err(|error| self.broken(reasons(&error)))?;
                    continue;
                }
            };
            asked = false;
            let Message::Text(text) = message else {
                if matches!(message, Message::Close(_)) {
                    return Err(self.broken("the server closed it".to_owned()));
                }
                continue;
            };
            let told: Told = serde_json::from_str(text.as_str()).map_err(|error| Error::Unexpected {
                server: self.server.clone(),
                what: self.what.to_owned(),
                reason: error.to_string(),
            })?;
            if let Some(event) = told.event {
                return Ok(event);
            }
        }
    }

    fn broken(&self, reason: String) -> Error {
        broken(&self.server, self.what, reason)
    }
}

impl Emitter {
    /// Tells of an event. Nothing answers: what must not be lost goes through [`Client::emit`].
    ///
    /// # Errors
    /// The connection broke.
    pub async fn send(&mut self, event: &Event) -> Result<()> {
        let text = body(event).to_string();
        let sent = self.stream.send(Message::text(text)).await;
        sent.map_err(|error| broken(&self.server, "WS /events/in", reasons(&error)))
    }

    /// Ends the connection in good order.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn close(mut self) -> Result<()> {
        let closed = self.stream.close(None).await;
        closed.map_err(|error| broken(&self.server, "WS /events/in", reasons(&error)))
    }
}
