//! What a paused run asks of people, and what they answered: the form behind "Resume" in the interface.

use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Client;
use crate::error::{Result, optional};

/// A value that hangs on a run under a key.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Input {
    /// Letters, digits, hyphens.
    key: String,
    /// JSON, as text.
    value: String,
    /// When it was made, by the server's clock.
    #[serde(default)]
    created: Option<jiff::Timestamp>,
}

/// The keys under which a question (its form, a text beside it) and its answer are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyset(String);

impl Keyset {
    /// Of a pause of this key in a state of this name, as Prefect's own flows name them.
    pub fn of(state: &str, pause: &str) -> Self {
        Keyset(format!("{}-{pause}", state.to_lowercase()))
    }

    fn key(&self, what: &str) -> String {
        format!("{}-{what}", self.0)
    }

    /// As a paused state names them.
    pub fn details(&self) -> Value {
        let key = |what| self.key(what);
        json!({ "description": key("description"), "response": key("response"), "schema": key("schema") })
    }
}

impl Client {
    /// Puts the form of a question on a run, after the run was paused for it: pausing clears what is under its keys.
    /// Put twice, it is there once.
    ///
    /// # Errors
    /// What the server says.
    pub async fn put_question(&self, run: Uuid, keys: &Keyset, form: &Value, text: &str) -> Result<()> {
        let run = run.to_string();
        let path = ["flow_runs", run.as_str(), "input"];
        for (what, value) in [("schema", form.clone()), ("description", json!(text))] {
            self.created(&path, &json!({ "key": keys.key(what), "value": value.to_string() })).await?;
        }
        Ok(())
    }

    /// The form of a question; `None` before it is put.
    ///
    /// # Errors
    /// What the server says.
    pub async fn question(&self, run: Uuid, keys: &Keyset) -> Result<Option<Value>> {
        optional(self.get(&["flow_runs", &run.to_string(), "input", &keys.key("schema")]).await)
    }

    /// The newest answer to the questions whose keys begin as these.
    ///
    /// # Errors
    /// What the server says.
    pub async fn newest_answer(&self, run: Uuid, keys: &Keyset) -> Result<Option<Value>> {
        let run = run.to_string();
        let filter = json!({ "prefix": keys.0, "limit": 200 });
        let found: Vec<Input> = self.post(&["flow_runs", &run, "input", "filter"], &filter).await?;
        let answers = found.into_iter().filter(|input| input.key.ends_with("-response"));
        let newest = answers.max_by_key(|input| input.created);
        Ok(newest.and_then(|input| serde_json::from_str(&input.value).ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_prefects_own_flows() {
        let details = Keyset::of("Suspended", "center-12").details();
        assert_eq!(details["schema"], "suspended-center-12-schema");
        assert_eq!(details["response"], "suspended-center-12-response");
    }
}
