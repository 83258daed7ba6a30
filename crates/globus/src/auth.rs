//! Tokens, and who the client is.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::http::{As, Body, Call, Inner, Repeat, Service};
use crate::scope::Scope;
use crate::secret::Secret;

/// A token is renewed this long before it ends, as the SDK does.
const EARLY: Duration = Duration::from_secs(60);

/// The tokens that there are, by the name of their scope: one for each resource server that is used.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    /// All that was ever asked for of a scope, dependencies included, so that a renewal loses none.
    wanted: BTreeMap<String, Scope>,
    held: BTreeMap<String, Token>,
}

#[derive(Debug)]
struct Token {
    text: Secret,
    until: Instant,
    covers: Scope,
}

/// What Auth answers. Not printable: it holds tokens.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    scope: String,
    expires_in: u64,
    resource_server: String,
    #[serde(default)]
    other_tokens: Vec<Granted>,
}

/// One identity of a user or client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its UUID.
    pub sub: String,
    /// "…@clients.auth.globus.org"
    #[serde(default)]
    pub username: Option<String>,
    /// What a person reads.
    #[serde(default)]
    pub name: Option<String>,
}

/// Who the client is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserInfo {
    /// Its identity's UUID.
    pub sub: String,
    /// "…@clients.auth.globus.org"
    #[serde(default)]
    pub preferred_username: Option<String>,
    /// The name it was registered under.
    #[serde(default)]
    pub name: Option<String>,
    /// Its address.
    #[serde(default)]
    pub email: Option<String>,
    /// All identities that are linked.
    #[serde(default)]
    pub identity_set: Vec<Identity>,
}

/// Globus Auth.
#[derive(Debug)]
pub struct Auth<'a> {
    pub(crate) inner: &'a Inner,
}

impl Auth<'_> {
    /// Who the client is.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn userinfo(&self) -> Result<UserInfo> {
        let path = ["v2", "oauth2", "userinfo"];
        let call = Call::get(Service::Auth, &path, As::Bearer(Scope::openid()));
        self.inner.call(&call).await?.parse()
    }

    /// Gets a token for a scope, unless there is one, and says how long it is good.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::Credentials`] where id or secret are wrong.
    pub async fn ensure(&self, scope: &Scope) -> Result<Duration> {
        self.inner.token(scope).await?;
        let tokens = self.inner.tokens.lock().await;
        let held = tokens.held.get(scope.name());
        Ok(held.map_or(Duration::ZERO, |token| token.until.saturating_duration_since(Instant::now())))
    }
}

impl Inner {
    /// A token for a scope: the one there is, if it is good for a while, or a new one.
    pub async fn token(&self, scope: &Scope) -> Result<Secret> {
        // Held while asking, so that many callers ask once.
        let mut tokens = self.tokens.lock().await;
        if let Some(held) = tokens.held.get(scope.name())
            && held.covers.covers(scope)
            && Instant::now() < held.until
        {
            return Ok(held.text.clone());
        }
        let wanted = match tokens.wanted.get(scope.name()) {
            Some(known) => {
                let mut both = known.clone();
                both.merge(scope.clone());
                both
            }
            None => scope.clone(),
        };
        let form = vec![("grant_type", "client_credentials".to_owned()), ("scope", wanted.to_string())];
        let path = ["v2", "oauth2", "token"];
        let call = Call::post(Service::Auth, &path, As::Client, Body::Form(form), Repeat::Safe);
        let answer = self.call(&call).await.map_err(|error| unknown_scope(error, &wanted))?;
        // Serde's message could quote the answer, which holds tokens.
        let granted =
            Granted::deserialize(&answer.value).map_err(|_| answer.unexpected("it holds no token"))?;
        let Granted { other_tokens, .. } = &granted;
        let fits = |one: &&Granted| one.scope.split(' ').any(|name| name == scope.name());
        let found = std::iter::once(&granted).chain(other_tokens).find(fits).unwrap_or(&granted);
        if found.resource_server.is_empty() || found.access_token.is_empty() {
            return Err(answer.unexpected("its token is empty"));
        }
        let life = Duration::from_secs(found.expires_in);
        let until = Instant::now() + life.saturating_sub(EARLY.min(life / 2));
        let text = Secret::new(found.access_token.clone());
        let token = Token { text: text.clone(), until, covers: wanted.clone() };
        tokens.held.insert(scope.name().to_owned(), token);
        tokens.wanted.insert(scope.name().to_owned(), wanted);
        Ok(text)
    }

    /// Gives up a token that a service did not accept, unless it was renewed meanwhile.
    pub async fn forget(&self, scope: &Scope, refused: &Secret) {
        let mut tokens = self.tokens.lock().await;
        if tokens.held.get(scope.name()).is_some_and(|held| held.text.reveal() == refused.reveal()) {
            tokens.held.remove(scope.name());
        }
    }
}

/// A scope that nobody knows is most often `data_access` of a collection that has none.
fn unknown_scope(error: Error, wanted: &Scope) -> Error {
    let unknown = error.api().is_some_and(|api| {
        let text = format!("{} {}", api.code, api.message).to_lowercase().replace('_', " ");
        text.contains("unknown scope")
    });
    match unknown {
        true => Error::Value {
            name: "scope",
            value: wanted.to_string(),
            reason: "Globus Auth does not know it; a guest collection has no data_access scope, so set \
                     data_access = false for it"
                .into(),
        },
        false => error,
    }
}

impl UserInfo {
    /// The client in one line.
    pub fn text(&self) -> String {
        let name = self.name.as_deref().or(self.preferred_username.as_deref());
        name.map_or_else(|| self.sub.clone(), |name| format!("{name} ({})", self.sub))
    }
}

impl TryFrom<Value> for UserInfo {
    type Error = serde_json::Error;

    fn try_from(value: Value) -> std::result::Result<Self, Self::Error> {
        serde_json::from_value(value)
    }
}
