//! Where the services are, who we are, and how patient.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::error::{Error, Result};
use crate::http::Service;
use crate::retry::RetryPolicy;
use crate::secret::Secret;

/// Who the client is.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The client's UUID.
    pub id: String,
    /// Its secret.
    pub secret: Secret,
}

/// Whom to believe behind `https`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum VerifyTls {
    /// The system's certificates.
    #[default]
    System,
    /// These as well, a PEM file.
    File(PathBuf),
    /// Anybody: for a stand-in on this host, never across a network.
    Nobody,
}

/// What the services allow one client. Globus changes these; the defaults are what its documentation said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Transfer, Auth and Flows: requests in a second.
    pub requests_per_second: u32,
    /// Compute: requests in ten seconds.
    pub compute_per_ten_seconds: u32,
    /// Transfer tasks that may be pending.
    pub pending_tasks: u64,
    /// Bytes of one submission to Compute.
    pub compute_payload: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_second: 20,
            compute_per_ten_seconds: 20,
            pending_tasks: 100,
            compute_payload: 5_000_000,
        }
    }
}

/// All that a client needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who we are.
    pub credentials: Credentials,
    /// <https://auth.globus.org/>
    pub auth: Url,
    /// <https://transfer.api.globus.org/>
    pub transfer: Url,
    /// <https://flows.automate.globus.org/>
    pub flows: Url,
    /// <https://compute.api.globus.org/>
    pub compute: Url,
    /// How long one answer may take.
    pub timeout: Duration,
    /// Whom to believe.
    pub tls: VerifyTls,
    /// When to try again.
    pub retry: RetryPolicy,
    /// What the services allow.
    pub limits: Limits,
    /// Said to the services, after `beamrail-globus/VERSION`.
    pub app: String,
}

/// The names of client id and secret, the first that is set wins: the incumbent's, the command line's, Compute's.
const IDS: [&str; 3] = ["GLOBUS_CLIENT_ID", "GLOBUS_CLI_CLIENT_ID", "GLOBUS_COMPUTE_CLIENT_ID"];
const SECRETS: [&str; 3] =
    ["GLOBUS_CLIENT_SECRET", "GLOBUS_CLI_CLIENT_SECRET", "GLOBUS_COMPUTE_CLIENT_SECRET"];

impl Settings {
    /// The public services, with the SDK's patience.
    ///
    /// # Errors
    /// None but of a damaged program: the addresses are constants.
    pub fn new(credentials: Credentials) -> Result<Self> {
        Ok(Self {
            credentials,
            auth: base(Service::Auth, "https://auth.globus.org/")?,
            transfer: base(Service::Transfer, "https://transfer.api.globus.org/")?,
            flows: base(Service::Flows, "https://flows.automate.globus.org/")?,
            compute: base(Service::Compute, "https://compute.api.globus.org/")?,
            timeout: Duration::from_secs(60),
            tls: VerifyTls::System,
            retry: RetryPolicy::default(),
            limits: Limits::default(),
            app: String::new(),
        })
    }

    /// The same, with what the environment says, by the names that Globus's SDK reads:
    /// `GLOBUS_CLIENT_ID` and `GLOBUS_CLIENT_SECRET` (or the `_CLI_` and `_COMPUTE_` ones; each also as
    /// `…_FILE`, a file that holds it), `GLOBUS_SDK_SERVICE_URL_AUTH`, `_TRANSFER`, `_FLOWS`, `_COMPUTE`,
    /// `GLOBUS_SDK_HTTP_TIMEOUT` (seconds), `GLOBUS_SDK_VERIFY_SSL` (true, false or a PEM file).
    ///
    /// # Errors
    /// No credentials, a file that cannot be read, or a value that is none.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let get =
            |name: &str| lookup(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let mut pair = None;
        for (id, secret) in IDS.iter().zip(SECRETS) {
            if let Some(found) = text_or_file(&get, id)? {
                pair = Some((found, text_or_file(&get, secret)?, secret));
                break;
            }
        }
        let advice =
            "give the confidential client's id and secret (https://app.globus.org/settings/developers)";
        let Some((id, secret, name)) = pair else {
            return Err(Error::Missing { name: "GLOBUS_CLIENT_ID", advice });
        };
        let secret = Secret::new(secret.ok_or(Error::Missing { name, advice })?);
        let mut settings = Self::new(Credentials { id, secret })?;
        for service in [Service::Auth, Service::Transfer, Service::Flows, Service::Compute] {
            if let Some(text) = get(&format!("GLOBUS_SDK_SERVICE_URL_{}", service.name().to_uppercase())) {
                *settings.base_mut(service) = base(service, &text)?;
            }
        }
        if let Some(text) = get("GLOBUS_SDK_HTTP_TIMEOUT") {
            let seconds = text.parse::<f64>().ok().filter(|seconds| (0.001..=86_400.0).contains(seconds));
            let reason = || "it must be seconds, such as 60".to_owned();
            let bad =
                || Error::Value { name: "GLOBUS_SDK_HTTP_TIMEOUT", value: text.clone(), reason: reason() };
            settings.timeout = Duration::from_secs_f64(seconds.ok_or_else(bad)?);
        }
        if let Some(text) = get("GLOBUS_SDK_VERIFY_SSL") {
            settings.tls = match text.to_lowercase().as_str() {
                "1" | "y" | "yes" | "true" | "t" | "on" => VerifyTls::System,
                "0" | "n" | "no" | "false" | "f" | "off" => VerifyTls::Nobody,
                _ => VerifyTls::File(PathBuf::from(text)),
            };
        }
        Ok(settings)
    }

    /// Where a service is.
    pub fn base(&self, service: Service) -> &Url {
        match service {
            Service::Auth => &self.auth,
            Service::Transfer => &self.transfer,
            Service::Flows => &self.flows,
            Service::Compute => &self.compute,
        }
    }

    fn base_mut(&mut self, service: Service) -> &mut Url {
        match service {
            Service::Auth => &mut self.auth,
            Service::Transfer => &mut self.transfer,
            Service::Flows => &mut self.flows,
            Service::Compute => &mut self.compute,
        }
    }
}

/// A base address, with the slash at its end that joining needs.
fn base(service: Service, text: &str) -> Result<Url> {
    // What stands before an @ may be a password.
    let shown = text.rsplit('@').next().unwrap_or_default();
    let bad = |reason: String| Error::Value { name: "service URL", value: shown.to_owned(), reason };
    let name = service.name();
    let url = Url::parse(text).map_err(|e| bad(format!("{e}; give the address of Globus {name}")))?;
    let fine = ["http", "https"].contains(&url.scheme()) && url.has_host();
    if !fine || !url.username().is_empty() || url.password().is_some() {
        return Err(bad("it must be http(s)://HOST/ without a user".into()));
    }
    if url.path().ends_with('/') {
        return Ok(url);
    }
    let longer = format!("{}/", url.path());
    let mut url = url;
    url.set_path(&longer);
    Ok(url)
}

/// A variable, or the content of the file that `NAME_FILE` names.
fn text_or_file(get: &impl Fn(&str) -> Option<String>, name: &str) -> Result<Option<String>> {
    if let Some(text) = get(name) {
        return Ok(Some(text));
    }
    let Some(path) = get(&format!("{name}_FILE")) else { return Ok(None) };
    // The message names the file and never what is in it.
    let bad = |reason: String| Error::Value { name: "credentials file", value: path.clone(), reason };
    let text = std::fs::read_to_string(&path).map_err(|e| bad(format!("{e}; check {name}_FILE")))?;
    match text.trim() {
        "" => Err(bad(format!("is empty; put the value of {name} into it"))),
        text => Ok(Some(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Result<Settings> {
        let find =
            |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
        Settings::from_env(find)
    }

    #[test]
    fn the_environment_is_read_by_the_sdks_names() {
        let settings = from(&[
            ("GLOBUS_CLI_CLIENT_ID", "b"),
            ("GLOBUS_CLI_CLIENT_SECRET", "sesame"),
            ("GLOBUS_CLIENT_ID", "a"),
            ("GLOBUS_CLIENT_SECRET", "hunter2"),
            ("GLOBUS_SDK_SERVICE_URL_TRANSFER", "http://127.0.0.1:5000"),
            ("GLOBUS_SDK_HTTP_TIMEOUT", "2.5"),
            ("GLOBUS_SDK_VERIFY_SSL", "False"),
        ])
        .unwrap();
        assert_eq!(settings.credentials.id, "a");
        assert_eq!(settings.credentials.secret.reveal(), "hunter2");
        assert_eq!(settings.transfer.as_str(), "http://127.0.0.1:5000/");
        assert_eq!(settings.compute.as_str(), "https://compute.api.globus.org/");
        assert_eq!(settings.timeout.as_millis(), 2500);
        assert_eq!(settings.tls, VerifyTls::Nobody);
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_and_secrets_are_not() {
        assert!(from(&[]).unwrap_err().to_string().contains("GLOBUS_CLIENT_ID is not set"));
        let half = from(&[("GLOBUS_COMPUTE_CLIENT_ID", "a")]).unwrap_err().to_string();
        assert!(half.contains("GLOBUS_COMPUTE_CLIENT_SECRET is not set"), "{half}");
        let both = [("GLOBUS_CLIENT_ID", "a"), ("GLOBUS_CLIENT_SECRET", "hunter2")];
        for (name, value) in [
            ("GLOBUS_SDK_SERVICE_URL_AUTH", "file:///etc"),
            ("GLOBUS_SDK_SERVICE_URL_AUTH", "http://me:pass@host/"),
            ("GLOBUS_SDK_HTTP_TIMEOUT", "soon"),
            ("GLOBUS_SDK_HTTP_TIMEOUT", "-1"),
        ] {
            let error = from(&[both[0], both[1], (name, value)]).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && !error.contains("pass@"), "{error}");
        }
    }

    #[test]
    fn a_secret_can_come_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "hunter2\n").unwrap();
        let path = file.to_str().unwrap();
        let settings = from(&[("GLOBUS_CLIENT_ID", "a"), ("GLOBUS_CLIENT_SECRET_FILE", path)]).unwrap();
        assert_eq!(settings.credentials.secret.reveal(), "hunter2");
        let gone = from(&[("GLOBUS_CLIENT_ID", "a"), ("GLOBUS_CLIENT_SECRET_FILE", "/nowhere/x")]);
        assert!(gone.unwrap_err().to_string().contains("GLOBUS_CLIENT_SECRET_FILE"));
    }
}
