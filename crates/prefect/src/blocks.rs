//! Blocks: the settings and secrets that operators keep in Prefect.
//!
//! Since 3.6 servers have no JSON block type any more. It is registered here in the shape that Prefect 2 gave
//! it, so that `json/pruning-config` is found and edited as before.

use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Client;
use crate::error::{Error, Result, optional};
use crate::secret::Secret;

/// A type of block.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BlockType {
    /// Its id.
    pub id: Uuid,
    /// "json", "secret".
    pub slug: String,
}

#[derive(Deserialize)]
struct Schema {
    id: Uuid,
}

/// A block, without secrets. `Debug` shows its name only.
#[derive(Clone, Deserialize)]
pub struct Block {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    data: Value,
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Block {
    /// The field that JSON, String and Secret blocks have.
    pub fn value(&self) -> Option<&Value> {
        self.data.get("value")
    }
}

/// Names of blocks have hyphens, names of variables underscores; people mix them.
fn spellings(name: &str) -> Vec<String> {
    let mut all = vec![name.to_owned(), name.replace('_', "-"), name.replace('-', "_")];
    all.dedup();
    let first = all.first().cloned();
    if all.len() > 1 && all.last() == first.as_ref() {
        all.pop();
    }
    all
}

impl Client {
    /// The type of this slug. The server's own types are installed where it has none yet.
    ///
    /// # Errors
    /// What the server says.
    pub async fn block_type(&self, slug: &str) -> Result<Option<BlockType>> {
        let path = ["block_types", "slug", slug];
        if let Some(found) = optional(self.get(&path).await)? {
            return Ok(Some(found));
        }
        self.post::<Value>(&["block_types", "install_system_block_types"], &json!({})).await?;
        optional(self.get(&path).await)
    }

    /// The JSON type, registered where the server lacks it.
    ///
    /// # Errors
    /// What the server says.
    pub async fn ensure_json_type(&self) -> Result<BlockType> {
        let about = "A block that represents JSON";
        let found = match self.block_type("json").await? {
            Some(found) => found,
            None => {
                let new = json!({ "name": "JSON", "slug": "json", "description": about });
                self.created(&["block_types", ""], &new).await?;
                self.get(&["block_types", "slug", "json"]).await?
            }
        };
        if self.latest_schema(found.id).await?.is_none() {
            let fields = json!({
                "title": "JSON", "description": about, "type": "object", "block_type_slug": "json",
                "secret_fields": [], "block_schema_references": {}, "required": ["value"],
                "properties": { "value": { "title": "Value", "description": "A JSON-compatible value." } },
            });
            let schema = json!({ "block_type_id": found.id, "capabilities": [], "version": "1.0.0", "fields": fields });
            self.created(&["block_schemas", ""], &schema).await?;
        }
        Ok(found)
    }

    async fn latest_schema(&self, block_type: Uuid) -> Result<Option<Uuid>> {
        let filter = json!({ "block_schemas": { "block_type_id": { "any_": [block_type] } }, "limit": 1 });
        let found: Vec<Schema> = self.post(&["block_schemas", "filter"], &filter).await?;
        Ok(found.first().map(|schema| schema.id))
    }

    /// A block, secrets masked.
    ///
    /// # Errors
    /// What the server says.
    pub async fn block(&self, slug: &str, name: &str) -> Result<Option<Block>> {
        optional(self.get(&["block_types", "slug", slug, "block_documents", "name", name]).await)
    }

    /// The value of `json/<name>`.
    ///
    /// # Errors
    /// What the server says.
    pub async fn json_block(&self, name: &str) -> Result<Option<Value>> {
        Ok(self.block("json", name).await?.and_then(|block| block.value().cloned()))
    }

    /// The value of `secret/<name>`.
    ///
    /// # Errors
    /// What the server says.
    pub async fn secret_block(&self, name: &str) -> Result<Option<Secret>> {
        let path = ["block_types", "slug", "secret", "block_documents", "name", name];
        let query = [("include_secrets", "true")];
        let block: Option<Block> = optional(self.get_with(&path, &query).await)?;
        Ok(block.and_then(|block| match block.data.get("value") {
            Some(Value::String(text)) => Some(Secret::new(text.clone())),
            None | Some(Value::Null) => None,
            Some(other) => Some(Secret::new(other.to_string())),
        }))
    }

    /// Makes a block of one field, `value`; `false` if there is one of this name, which is left alone.
    ///
    /// # Errors
    /// What the server says.
    pub async fn create_block(&self, slug: &str, name: &str, value: &Value) -> Result<bool> {
        let missing = |what: &'static str| Error::Unsupported {
            version: "server".to_owned(),
            what,
            hint: "register the block's type first (`prefect block register`)",
        };
        let kind = match slug {
            "json" => self.ensure_json_type().await?,
            _ => self.block_type(slug).await?.ok_or_else(|| missing("block type of this name"))?,
        };
        let schema =
            self.latest_schema(kind.id).await?.ok_or_else(|| missing("schema of this block type"))?;
        let body = json!({
            "name": name, "data": { "value": value }, "block_type_id": kind.id, "block_schema_id": schema,
            "is_anonymous": false,
        });
        self.created(&["block_documents", ""], &body).await
    }

    /// Writes the value of a block that exists.
    ///
    /// # Errors
    /// What the server says.
    pub async fn update_block(&self, id: Uuid, value: &Value) -> Result<()> {
        let change = json!({ "data": { "value": value }, "merge_existing_data": true });
        self.patch(&["block_documents", &id.to_string()], &change).await
    }

    /// A setting as the incumbent kept it: block `json/<name>`, else the variable. Hyphens and underscores are
    /// the same.
    ///
    /// # Errors
    /// What the server says; not that there is none.
    pub async fn setting(&self, name: &str) -> Result<Option<Value>> {
        Ok(self.find_setting(name).await?.map(|(_, value)| value))
    }

    /// As [`setting`](Self::setting), with the place: "block json/pruning-config".
    ///
    /// # Errors
    /// What the server says; not that there is none.
    pub async fn find_setting(&self, name: &str) -> Result<Option<(String, Value)>> {
        for name in spellings(name) {
            if let Some(value) = self.json_block(&name).await? {
                return Ok(Some((format!("block json/{name}"), value)));
            }
        }
        self.variable_spelled(name).await
    }

    /// A variable under any spelling of its name.
    async fn variable_spelled(&self, name: &str) -> Result<Option<(String, Value)>> {
        for name in spellings(name) {
            if let Some(value) = self.variable(&name).await? {
                return Ok(Some((format!("variable {name}"), value)));
            }
        }
        Ok(None)
    }

    /// A secret as the incumbent kept it: block `secret/<name>`, else a variable that is a string.
    ///
    /// # Errors
    /// What the server says; not that there is none.
    pub async fn secret(&self, name: &str) -> Result<Option<Secret>> {
        for name in spellings(name) {
            if let Some(secret) = self.secret_block(&name).await? {
                return Ok(Some(secret));
            }
        }
        let variable = self.variable_spelled(name).await?;
        Ok(variable.and_then(|(_, value)| value.as_str().map(Secret::new)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_name() {
        assert_eq!(spellings("pruning-config"), ["pruning-config", "pruning_config"]);
        assert_eq!(spellings("pruning_config"), ["pruning_config", "pruning-config"]);
        assert_eq!(spellings("plain"), ["plain"]);
    }

    #[test]
    fn a_block_does_not_print_its_data() {
        let block: Block = serde_json::from_value(json!({
            "id": Uuid::nil(), "name": "globus-client-secret", "data": { "value": "s3cret" } }))
        .unwrap();
        assert!(!format!("{block:?}").contains("s3cret"));
    }
}
