//! The client: a connection to one server, cheap to clone.

use std::fmt;
use std::sync::Arc;

use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::error::{Error, Result};
use crate::http::{Again, Ask, Http, Reply, Tally};
use crate::settings::Settings;
use crate::version::ServerVersion;

/// A Prefect server, spoken to by REST and websocket.
///
/// Making one sends nothing; the server may be down and come up later. Each call repeats itself while the
/// server is busy ([`Patience`](crate::Patience)), and returns an [`Error`] that says whether trying later helps.
#[derive(Clone)]
pub struct Client {
    pub(crate) http: Arc<Http>,
    version: Arc<OnceCell<ServerVersion>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("settings", self.http.settings()).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the server that the settings name.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub fn new(settings: Settings) -> Result<Self> {
        Ok(Client { http: Arc::new(Http::new(settings)?), version: Arc::default() })
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        self.http.settings()
    }

    /// What passed between here and the server so far.
    pub fn tally(&self) -> Tally {
        self.http.tally()
    }

    /// The server's version, asked for once.
    ///
    /// # Errors
    /// The server does not answer, refuses the credentials, or is older than 2.20.
    pub async fn version(&self) -> Result<&ServerVersion> {
        self.version
            .get_or_try_init(|| async {
                let text: String = self.get(&["admin", "version"]).await?;
                let unknown = || Error::Unexpected {
                    server: self.http.server(),
                    what: "GET /admin/version".to_owned(),
                    reason: format!("{text:?} is no version"),
                };
                let version = ServerVersion::parse(&text).ok_or_else(unknown)?;
                if !version.is_supported() {
                    let hint = "run Prefect 3.8 or 3.9, or 2.20";
                    return Err(Error::Unsupported {
                        version: text,
                        what: "interface for this client",
                        hint,
                    });
                }
                Ok(version)
            })
            .await
    }

    /// Whether the server answers at all; needs no credentials.
    ///
    /// # Errors
    /// It does not.
    pub async fn health(&self) -> Result<()> {
        self.get::<Value>(&["health"]).await.map(drop)
    }

    /// An error where the server has no `what`.
    pub(crate) async fn need(
        &self,
        has: impl Fn(&ServerVersion) -> bool,
        what: &'static str,
        hint: &'static str,
    ) -> Result<()> {
        let version = self.version().await?;
        if has(version) {
            return Ok(());
        }
        Err(Error::Unsupported { version: version.to_string(), what, hint })
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
        again: Again,
    ) -> Result<Reply> {
        self.http.send(&Ask { method, path, query: &[], body, again }).await
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T> {
        self.ask(Method::GET, path, None, Again::Safe).await?.into()
    }

    pub(crate) async fn get_with<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T> {
        let ask = Ask { method: Method::GET, path, query, body: None, again: Again::Safe };
        self.http.send(&ask).await?.into()
    }

    /// A request that may be repeated: a question, or a creation by natural key.
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &Value) -> Result<T> {
        self.ask(Method::POST, path, Some(body), Again::Safe).await?.into()
    }

    pub(crate) async fn patch(&self, path: &[&str], body: &Value) -> Result<()> {
        self.ask(Method::PATCH, path, Some(body), Again::Safe).await.map(drop)
    }

    pub(crate) async fn delete(&self, path: &[&str]) -> Result<()> {
        self.ask(Method::DELETE, path, None, Again::Safe).await.map(drop)
    }

    /// All pages of a filter.
    pub(crate) async fn all<T: DeserializeOwned>(&self, path: &[&str], filter: &Value) -> Result<Vec<T>> {
        const PAGE: usize = 200;
        let mut found = Vec::new();
        loop {
            let mut body = filter.clone();
            body["limit"] = PAGE.into();
            body["offset"] = found.len().into();
            let page: Vec<T> = self.post(path, &body).await?;
            let last = page.len() < PAGE;
            found.extend(page);
            if last {
                return Ok(found);
            }
        }
    }
}

/// A body. What cannot be JSON (there is nothing of the kind here) would be null, and refused.
pub(crate) fn body(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// Takes fields away that a server would refuse.
pub(crate) fn strip(body: &mut Value, fields: &[&str]) {
    if let Some(map) = body.as_object_mut() {
        fields.iter().for_each(|field| {
            map.remove(*field);
        });
    }
}
