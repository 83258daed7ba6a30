//! Artifacts: what a run shows on its page.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Client;
use crate::error::Result;
use crate::http::Again;

/// What an artifact shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Text.
    Markdown(String),
    /// Rows: an array of objects.
    Table(Value),
    /// 0 to 100.
    Progress(f64),
    /// A picture: `https://...` or `data:image/png;base64,...`.
    Image(String),
    /// An address, with what to show for it.
    Link {
        /// The address.
        url: String,
        /// The words.
        text: String,
    },
}

impl Content {
    /// What shows the same where the interface has no pictures and no bars: text that holds them.
    fn as_text(&self) -> Content {
        match self {
            Content::Image(url) => Content::Markdown(format!("![]({url})")),
            Content::Progress(percent) => {
                let full = (percent.clamp(0.0, 100.0) / 5.0).round() as usize;
                Content::Markdown(format!("`{:░<20}` {percent:.0} %", "█".repeat(full)))
            }
            other => other.clone(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Content::Markdown(_) | Content::Link { .. } => "markdown",
            Content::Table(_) => "table",
            Content::Progress(_) => "progress",
            Content::Image(_) => "image",
        }
    }

    fn data(&self) -> Value {
        match self {
            Content::Markdown(text) | Content::Image(text) => json!(text),
            // Tables travel as text.
            Content::Table(rows) => json!(rows.to_string()),
            Content::Progress(percent) => json!(percent.clamp(0.0, 100.0)),
            Content::Link { url, text } => json!(format!("[{text}]({url})")),
        }
    }
}

/// An artifact as the server has it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Artifact {
    /// Its id.
    pub id: Uuid,
    /// Its key.
    #[serde(default)]
    pub key: Option<String>,
    /// "markdown", "table", "progress", "image"; the last two are "markdown" on 2.20.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// What it shows.
    #[serde(default)]
    pub data: Value,
    /// A sentence beside it.
    #[serde(default)]
    pub description: Option<String>,
    /// Its task.
    #[serde(default)]
    pub task_run_id: Option<Uuid>,
}

/// A key that servers take: lower-case letters, digits, hyphens. Artifacts without one are not listed by
/// `prefect artifact ls`.
pub fn artifact_key(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let key = name.chars().map(plain).collect::<String>().trim_matches('-').to_owned();
    if key.is_empty() { "artifact".to_owned() } else { key }
}

impl Client {
    /// Shows something. When the answer is lost, the run is looked at before anything is sent again; several
    /// artifacts of one key are versions of one thing.
    ///
    /// # Errors
    /// What the server says.
    pub async fn create_artifact(
        &self,
        flow_run: Uuid,
        task_run: Option<Uuid>,
        key: &str,
        content: &Content,
        description: Option<&str>,
    ) -> Result<Uuid> {
        let key = artifact_key(key);
        let content = &self.shown(content).await?;
        let body = json!({
            "key": key, "type": content.kind(), "data": content.data(), "description": description,
            "flow_run_id": flow_run, "task_run_id": task_run,
        });
        let made = self.ask(Method::POST, &["artifacts", ""], Some(&body), Again::Unsafe).await;
        let error = match made {
            Ok(reply) => return Ok(reply.into::<Artifact>()?.id),
            Err(error) if error.may_have_happened() => error,
            Err(error) => return Err(error),
        };
        let there = self.artifacts(flow_run).await?;
        let same = |one: &&Artifact| one.key.as_deref() == Some(&key) && one.data == content.data();
        there.iter().find(same).map(|one| one.id).ok_or(error)
    }

    /// Writes new content over an artifact: a bar moves.
    ///
    /// # Errors
    /// What the server says.
    pub async fn update_artifact(&self, id: Uuid, content: &Content) -> Result<()> {
        let data = self.shown(content).await?.data();
        self.patch(&["artifacts", &id.to_string()], &json!({ "data": data })).await
    }

    /// As this server's interface can show it.
    async fn shown(&self, content: &Content) -> Result<Content> {
        Ok(if self.version().await?.has_pictures() { content.clone() } else { content.as_text() })
    }

    /// The artifacts of a run.
    ///
    /// # Errors
    /// What the server says.
    pub async fn artifacts(&self, flow_run: Uuid) -> Result<Vec<Artifact>> {
        self.all(&["artifacts", "filter"], &json!({ "artifacts": { "flow_run_id": { "any_": [flow_run] } } }))
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_servers_take() {
        assert_eq!(artifact_key("Recon progress_1"), "recon-progress-1");
        assert_eq!(artifact_key("--"), "artifact");
    }

    #[test]
    fn a_bar_is_text_where_there_are_no_bars() {
        let shown = |percent| Content::Progress(percent).as_text().data();
        assert_eq!(shown(25.0), json!("`█████░░░░░░░░░░░░░░░` 25 %"));
        assert_eq!(shown(100.0), json!("`████████████████████` 100 %"));
    }
}
