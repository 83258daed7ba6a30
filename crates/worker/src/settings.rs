//! Settings and secrets that operators keep in Prefect: block, then variable, whichever way their names are spelled.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use beamline::settings::{Given, SECRETS, Source};
use prefect::{Client, Patience, Secret};

use crate::error::Result;

/// Settings in Prefect.
pub struct PrefectSettings(Client);

impl PrefectSettings {
    /// On this server. It is asked less patiently than for runs: deletions wait for the answer, and can wait longer.
    ///
    /// # Errors
    /// No client can be made.
    pub fn new(client: &Client) -> Result<Self> {
        let patience =
            Patience { tries: 6, first: Duration::from_millis(100), longest: Duration::from_secs(1) };
        let settings = client.settings().clone().patience(patience).timeout(Duration::from_secs(20));
        Ok(Self(Client::new(settings)?))
    }

    /// The secrets that are there, by the names of the variables of the environment whose place they take.
    ///
    /// # Errors
    /// What the server says.
    pub async fn secrets(&self) -> Result<BTreeMap<String, Secret>> {
        let mut found = BTreeMap::new();
        for (name, variable) in SECRETS {
            if let Some(secret) = self.0.secret(name).await? {
                found.insert(variable.to_owned(), secret);
            }
        }
        Ok(found)
    }
}

#[async_trait]
impl Source for PrefectSettings {
    fn name(&self) -> String {
        format!("Prefect at {}", self.0.settings().api)
    }

    async fn read(&self, names: &[String]) -> std::result::Result<Given, String> {
        let mut given = Given::new();
        for name in names {
            if let Some(value) = self.0.setting(name).await.map_err(|error| error.to_string())? {
                given.insert(name.clone(), value);
            }
        }
        Ok(given)
    }
}
