//! Where the server is, and who asks.

use std::time::Duration;

use url::Url;

use crate::error::{Error, Result};
use crate::secret::Secret;

/// Who asks.
#[derive(Debug, Clone, Default)]
pub enum Credentials {
    /// Nobody in particular.
    #[default]
    None,
    /// `user:password` of a self-hosted server (`PREFECT_API_AUTH_STRING`).
    Basic(Secret),
    /// An API key (`PREFECT_API_KEY`).
    Key(Secret),
}

/// How patiently a call is repeated that met a busy server.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Tries in all.
    pub tries: u32,
    /// The wait before the second try, doubled each time, and scattered by half.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        // 8 waits, about 15 s: one in five calls to a busy SQLite server is turned away once, few twice.
        Patience { tries: 9, first: Duration::from_millis(100), longest: Duration::from_secs(5) }
    }
}

/// Everything that a [`Client`](crate::Client) must be told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address of the API, `http://host:4200/api`.
    pub api: Url,
    /// Who asks.
    pub credentials: Credentials,
    /// How long one request may take.
    pub timeout: Duration,
    /// How patiently it is repeated.
    pub patience: Patience,
}

impl Settings {
    /// A server without a password.
    ///
    /// # Errors
    /// `api` is no HTTP address.
    pub fn new(api: &str) -> Result<Self> {
        let wrong = |reason: String| Error::Setting {
            name: "PREFECT_API_URL",
            reason: format!("{reason}; write http://HOST:4200/api"),
        };
        let mut api = Url::parse(api.trim()).map_err(|error| wrong(error.to_string()))?;
        if !matches!(api.scheme(), "http" | "https") || api.host_str().is_none() {
            return Err(wrong("it is no HTTP address".to_owned()));
        }
        if !api.username().is_empty() || api.password().is_some() {
            // It would end in logs and messages with the address.
            return Err(wrong("put user and password into PREFECT_API_AUTH_STRING".to_owned()));
        }
        let path = api.path().trim_end_matches('/').to_owned();
        api.set_path(if path.is_empty() { "/api" } else { &path });
        api.set_query(None);
        api.set_fragment(None);
        let timeout = Duration::from_secs(60);
        Ok(Settings { api, credentials: Credentials::None, timeout, patience: Patience::default() })
    }

    /// What the environment says, by Prefect's own names: `PREFECT_API_URL`, `PREFECT_API_AUTH_STRING`,
    /// `PREFECT_API_KEY`. `None` without an address.
    ///
    /// # Errors
    /// The address is wrong, or two kinds of credentials are given.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let get = |name: &str| get(name).map(|value| value.trim().to_owned()).filter(|v| !v.is_empty());
        let Some(api) = get("PREFECT_API_URL") else { return Ok(None) };
        let credentials = match (get("PREFECT_API_AUTH_STRING"), get("PREFECT_API_KEY")) {
            (None, None) => Credentials::None,
            (Some(pair), None) => Credentials::Basic(Secret::new(pair)),
            (None, Some(key)) => Credentials::Key(Secret::new(key)),
            (Some(_), Some(_)) => {
                let reason =
                    "PREFECT_API_KEY is set too, and only one can be sent; unset the other".to_owned();
                return Err(Error::Setting { name: "PREFECT_API_AUTH_STRING", reason });
            }
        };
        Settings::new(&api)?.with(credentials).map(Some)
    }

    /// With credentials.
    ///
    /// # Errors
    /// They cannot be sent.
    pub fn with(mut self, credentials: Credentials) -> Result<Self> {
        let (name, text) = match &credentials {
            Credentials::None => return Ok(self),
            Credentials::Basic(pair) => ("PREFECT_API_AUTH_STRING", pair),
            Credentials::Key(key) => ("PREFECT_API_KEY", key),
        };
        if text.expose().chars().any(char::is_control) {
            return Err(Error::Setting {
                name,
                reason: "it holds a line break or control character".to_owned(),
            });
        }
        if name == "PREFECT_API_AUTH_STRING" && !text.expose().contains(':') {
            return Err(Error::Setting { name, reason: "it has no colon; write user:password".to_owned() });
        }
        self.credentials = credentials;
        Ok(self)
    }

    /// With another patience.
    #[must_use]
    pub fn patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// With another time limit of a request.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_people_write_them() {
        for (given, api) in [
            ("http://h:4200/api", "http://h:4200/api"),
            ("http://h:4200/api/", "http://h:4200/api"),
            ("http://h:4200", "http://h:4200/api"),
            ("https://h/prefect/api ", "https://h/prefect/api"),
        ] {
            assert_eq!(Settings::new(given).unwrap().api.as_str(), api, "{given}");
        }
        for wrong in ["", "h:4200", "ftp://h/api", "http://u:pw@h/api", "http://"] {
            let told = Settings::new(wrong).unwrap_err().to_string();
            assert!(told.contains("PREFECT_API_URL") && !told.contains("pw"), "{wrong}: {told}");
        }
    }

    #[test]
    fn the_environment_by_prefects_names() {
        let env = |pairs: &'static [(&str, &str)]| {
            Settings::from_env(|name| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(env(&[]).unwrap().is_none());
        let basic =
            env(&[("PREFECT_API_URL", "http://h"), ("PREFECT_API_AUTH_STRING", "u:pw")]).unwrap().unwrap();
        assert!(matches!(&basic.credentials, Credentials::Basic(_)));
        assert!(!format!("{basic:?}").contains("pw"));
        for wrong in [
            &[("PREFECT_API_URL", "http://h"), ("PREFECT_API_AUTH_STRING", "nocolon-s3cret")][..],
            &[
                ("PREFECT_API_URL", "http://h"),
                ("PREFECT_API_AUTH_STRING", "u:s3cret"),
                ("PREFECT_API_KEY", "k"),
            ],
            &[("PREFECT_API_URL", "http://h"), ("PREFECT_API_KEY", "s3cret\nx")],
        ] {
            let told = Settings::from_env(|name| {
                wrong.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
            .unwrap_err()
            .to_string();
            assert!(!told.contains("s3cret"), "{told}");
        }
    }
}
