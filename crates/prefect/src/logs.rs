//! Log lines, in batches.

use std::collections::HashSet;

use jiff::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::{Client, body};
use crate::error::{Error, Result};
use crate::http::Again;

/// The server takes batches of a megabyte; lines are kept well below.
const LONGEST: usize = 20_000;
/// Lines in one request.
const LINES: usize = 200;
/// Characters in one request.
const BATCH: usize = 400_000;

/// A line. It has no field for the worker's id: servers that are not Prefect's cloud refuse the whole batch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Log {
    /// The logger: "prefect.flow_runs", "prefect.task_runs", "prefect.worker".
    pub name: String,
    /// Python's number: 10, 20, 30, 40.
    pub level: i64,
    /// The text.
    pub message: String,
    /// When.
    pub timestamp: Timestamp,
    /// Its run.
    pub flow_run_id: Option<Uuid>,
    /// Its task.
    pub task_run_id: Option<Uuid>,
}

impl Client {
    /// Sends lines, in their order, in batches. When the answer to a batch is lost, the run's log is read and
    /// only what is missing is sent again.
    ///
    /// # Errors
    /// What the server says. Lines before the failing batch are there; sending all again doubles them only if
    /// `unsure` is not set.
    pub async fn logs(&self, lines: &[Log], unsure: bool) -> Result<()> {
        let lines: Vec<Log> = lines.iter().map(Log::cut).collect();
        for batch in batches(&lines) {
            self.batch(batch, unsure).await?;
        }
        Ok(())
    }

    async fn batch(&self, lines: &[Log], mut unsure: bool) -> Result<()> {
        for _ in 0..self.settings().patience.tries.max(1) {
            let left = if unsure { self.missing(lines).await? } else { lines.to_vec() };
            if left.is_empty() {
                return Ok(());
            }
            match self.ask(Method::POST, &["logs", ""], Some(&body(&left)), Again::Unsafe).await {
                Ok(_) => return Ok(()),
                Err(error) if error.may_have_happened() => unsure = true,
                Err(error) => return Err(error),
            }
        }
        Err(Error::Unreachable {
            server: self.http.server(),
            what: "POST /logs/".to_owned(),
            reason: "answers were lost again and again".to_owned(),
            sent: true,
        })
    }

    /// Those of the lines that the server does not have.
    async fn missing(&self, lines: &[Log]) -> Result<Vec<Log>> {
        // The server writes behind its answer by a moment.
        tokio::time::sleep(self.settings().patience.first * 5).await;
        let runs: HashSet<Uuid> = lines.iter().filter_map(|line| line.flow_run_id).collect();
        let (first, last) =
            (lines.iter().map(|l| l.timestamp).min(), lines.iter().map(|l| l.timestamp).max());
        let filter = json!({ "logs": {
            "flow_run_id": { "any_": runs },
            "timestamp": { "after_": first, "before_": last },
        }});
        let there: Vec<Log> = self.all(&["logs", "filter"], &filter).await?;
        let there: HashSet<(i64, &str)> =
            there.iter().map(|line| (line.timestamp.as_microsecond(), line.message.as_str())).collect();
        let is_there =
            |line: &&Log| there.contains(&(line.timestamp.as_microsecond(), line.message.as_str()));
        Ok(lines.iter().filter(|line| !is_there(line)).cloned().collect())
    }

    /// The log of a run, oldest first.
    ///
    /// # Errors
    /// What the server says.
    pub async fn flow_run_logs(&self, run: Uuid) -> Result<Vec<Log>> {
        let filter: Value = json!({ "logs": { "flow_run_id": { "any_": [run] } }, "sort": "TIMESTAMP_ASC" });
        self.all(&["logs", "filter"], &filter).await
    }
}

impl Log {
    /// A line that the server takes.
    fn cut(&self) -> Log {
        let mut line = self.clone();
        // Postgres stores no NUL.
        if line.message.contains('\0') {
            line.message = line.message.replace('\0', "\u{fffd}");
        }
        if let Some((end, _)) = line.message.char_indices().nth(LONGEST) {
            line.message.truncate(end);
            line.message.push_str("... (cut)");
        }
        line
    }
}

fn batches(lines: &[Log]) -> Vec<&[Log]> {
    let mut batches = Vec::new();
    let mut rest = lines;
    while !rest.is_empty() {
        let mut size = 0;
        let fits = |line: &&Log| {
            size += line.message.len() + 300;
            size <= BATCH
        };
        let count = rest.iter().take(LINES).take_while(fits).count().max(1);
        let (batch, after) = rest.split_at(count.min(rest.len()));
        batches.push(batch);
        rest = after;
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: String) -> Log {
        let timestamp = Timestamp::UNIX_EPOCH;
        Log { name: "n".into(), level: 20, message, timestamp, flow_run_id: None, task_run_id: None }
    }

    #[test]
    fn batches_keep_order_and_size() {
        let lines: Vec<Log> =
            (0..1001).map(|i| line(format!("{i}: {}", "x".repeat(i * 17 % 9000)))).collect();
        let batches = batches(&lines);
        assert_eq!(batches.concat(), lines);
        for batch in &batches {
            assert!(batch.len() <= LINES);
            assert!(batch.iter().map(|line| line.message.len()).sum::<usize>() <= BATCH);
        }
        assert!(super::batches(&[]).is_empty());
    }

    #[test]
    fn a_line_is_cut_where_a_character_ends() {
        let cut = line("é".repeat(50_000)).cut();
        assert!(cut.message.len() < 2 * LONGEST + 20 && cut.message.ends_with("... (cut)"));
        assert_eq!(line("a\0b".into()).cut().message, "a\u{fffd}b");
    }
}
