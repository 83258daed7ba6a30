//! Variables: JSON values on 3.x, strings on 2.20 (where JSON is written as text, and read as such).

use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::Client;
use crate::error::{Result, optional};

#[derive(Deserialize)]
struct Variable {
    #[serde(default)]
    value: Value,
}

impl Client {
    /// The value of a variable.
    ///
    /// # Errors
    /// What the server says.
    pub async fn variable(&self, name: &str) -> Result<Option<Value>> {
        let found: Option<Variable> = optional(self.get(&["variables", "name", name]).await)?;
        let Some(Variable { value }) = found else { return Ok(None) };
        if self.version().await?.has_json_variables() {
            return Ok(Some(value));
        }
        // A string that is not JSON is just a string.
        let parsed = value.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
        Ok(Some(match parsed {
            Some(parsed @ (Value::Object(_) | Value::Array(_))) => parsed,
            _ => value,
        }))
    }

    /// Makes a variable; `false` if there is one of this name, which is left alone. Names are lower-case
    /// letters, digits and underscores.
    ///
    /// # Errors
    /// What the server says.
    pub async fn create_variable(&self, name: &str, value: &Value, tags: &[&str]) -> Result<bool> {
        let body = json!({ "name": name, "value": self.sendable(value).await?, "tags": tags });
        self.created(&["variables", ""], &body).await
    }

    /// Writes a variable that exists.
    ///
    /// # Errors
    /// What the server says.
    pub async fn update_variable(&self, name: &str, value: &Value) -> Result<()> {
        let body = json!({ "value": self.sendable(value).await? });
        self.patch(&["variables", "name", name], &body).await
    }

    async fn sendable(&self, value: &Value) -> Result<Value> {
        let as_is = value.is_string() || self.version().await?.has_json_variables();
        Ok(if as_is { value.clone() } else { Value::String(value.to_string()) })
    }
}
