//! Collections and the endpoints that they are on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Page, Transfer};
use crate::error::Result;

/// A collection or an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are Transfer's own, and its documentation is theirs")]
pub struct Endpoint {
    #[serde(rename = "DATA_TYPE")]
    pub data_type: Option<String>,
    /// Its UUID.
    pub id: String,
    /// What people call it.
    pub display_name: Option<String>,
    /// "GCSv5_mapped_collection", "GCSv5_guest_collection", "GCP_mapped_collection", …
    pub entity_type: Option<String>,
    pub description: Option<String>,
    pub organization: Option<String>,
    pub username: Option<String>,
    pub owner_id: Option<String>,
    pub owner_string: Option<String>,
    pub host_endpoint_id: Option<String>,
    pub host_path: Option<String>,
    pub default_directory: Option<String>,
    pub subscription_id: Option<String>,
    /// Whether it is of the strict kind, for protected data.
    pub high_assurance: Option<bool>,
    /// Whether nothing can be done with it; see the other one.
    #[serde(default)]
    pub non_functional: Option<bool>,
    pub non_functional_endpoint_id: Option<String>,
    pub non_functional_endpoint_display_name: Option<String>,
    /// Whether a personal endpoint is connected; `None` for servers.
    pub gcp_connected: Option<bool>,
    pub gcp_paused: Option<bool>,
    pub activated: Option<bool>,
    pub expires_in: Option<i64>,
    pub expire_time: Option<String>,
    pub is_globus_connect: Option<bool>,
    pub globus_connect_setup_key: Option<String>,
    pub in_use: Option<bool>,
    pub public: Option<bool>,
    pub shareable: Option<bool>,
    pub acl_available: Option<bool>,
    pub acl_editable: Option<bool>,
    /// Whether checksums after transfers cannot be had.
    pub disable_verify: Option<bool>,
    pub disable_anonymous_writes: Option<bool>,
    pub force_encryption: Option<bool>,
    pub force_verify: Option<bool>,
    pub french_english_bilingual: Option<bool>,
    pub mfa_required: Option<bool>,
    pub myproxy_dn: Option<String>,
    pub myproxy_server: Option<String>,
    pub oauth_server: Option<String>,
    pub s3_owner_activated: Option<bool>,
    pub s3_url: Option<String>,
    /// The servers behind an old endpoint.
    #[serde(rename = "DATA", default)]
    pub servers: Vec<EndpointServer>,
    /// What this version does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// A server behind an old endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are Transfer's own")]
pub struct EndpointServer {
    #[serde(rename = "DATA_TYPE")]
    pub data_type: String,
    pub id: Option<i64>,
    pub hostname: Option<String>,
    pub port: Option<i64>,
    pub scheme: Option<String>,
    pub subject: Option<String>,
    pub uri: Option<String>,
}

impl Endpoint {
    /// What a person calls it.
    pub fn name(&self) -> &str {
        self.display_name.as_deref().unwrap_or(&self.id)
    }

    /// Whether it needs the `data_access` consent: mapped collections of servers that are not of the strict kind.
    pub fn wants_data_access(&self) -> bool {
        self.entity_type.as_deref() == Some("GCSv5_mapped_collection") && self.high_assurance != Some(true)
    }

    /// Why it cannot be used now, if it cannot.
    pub fn trouble(&self) -> Option<String> {
        if self.non_functional == Some(true) {
            let other = self.non_functional_endpoint_display_name.clone();
            let other = other.or(self.non_functional_endpoint_id.clone()).unwrap_or_default();
            return Some(format!("it does not work since {other} does not; its administrator: repair it"));
        }
        if self.gcp_connected == Some(false) {
            return Some("its Globus Connect Personal is not connected; its owner: start it".into());
        }
        if self.gcp_paused == Some(true) {
            return Some("its Globus Connect Personal is paused; its owner: unpause it".into());
        }
        None
    }
}

impl Transfer<'_> {
    /// A collection or endpoint.
    ///
    /// # Errors
    /// See [`crate::Error`].
    pub async fn endpoint(&self, id: &str) -> Result<Endpoint> {
        self.inner.call(&self.get(&["endpoint", id])).await?.parse()
    }

    /// Collections with these words in their names or descriptions, at most `most`.
    ///
    /// # Errors
    /// See [`crate::Error`].
    pub async fn search(&self, words: &str, most: u64) -> Result<Vec<Endpoint>> {
        let call = self.get(&["endpoint_search"]).query("filter_fulltext", words);
        let call = call.query("limit", most.min(100)).query("offset", 0);
        Ok(self.inner.call(&call).await?.parse::<Page<Endpoint>>()?.data)
    }
}
