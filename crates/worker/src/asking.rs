//! Questions of runs: asked here, shown as the form behind "Resume" in Prefect, answered there or here.

use std::collections::BTreeMap;

use engine::{Ask, HistoryEntry, Orchestrator, Run, StateType as Local};
use jiff::{SignedDuration, Timestamp};
use prefect::{FlowRun, Keyset, Proposal, StateType, Verdict, artifact_key};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::bridge::Bridge;
use crate::error::Result;
use crate::ledger::Row;

/// How long a paused run waits for a person before the server gives it up.
const PATIENCE: SignedDuration = SignedDuration::from_hours(24 * 90);

/// How a pause is named: what is asked, and how many pauses the run had. A worker on another host that takes the run
/// over comes to the same name, and so to the answer.
fn pause_key(run: &Run, history: &[HistoryEntry], until: i64) -> String {
    let key = run.ask.as_ref().map_or("paused", |ask| ask.key.as_str());
    let is_pause = |entry: &&HistoryEntry| entry.step.is_none() && entry.state.kind == Local::Paused;
    let count = history.iter().filter(is_pause).filter(|entry| entry.id <= until).count();
    format!("{}-{count}", artifact_key(key))
}

/// A sub-flow cannot be suspended there, so it is paused: it stays with this worker, and RUNNING is its answer.
fn state_name(row: &Row) -> &'static str {
    if row.child { "Paused" } else { "Suspended" }
}

/// The transition by which a history entry is told.
pub(crate) fn transition(row: &Row, entry: i64) -> Uuid {
    Uuid::new_v5(&row.flow_run, format!("{}/{entry}", row.claim).as_bytes())
}

/// The form of a question. What is asked stands above it, as the run's text, and not once more at the field.
fn form(ask: &Ask) -> Value {
    let mut field = match &ask.schema {
        Value::Object(schema) => schema.clone(),
        _ => serde_json::Map::new(),
    };
    field.remove("$schema");
    field.insert("title".to_owned(), json!(ask.key));
    field.insert("position".to_owned(), json!(0));
    json!({ "title": ask.title, "type": "object", "required": [ask.key], "properties": { &ask.key: field } })
}

impl Bridge {
    /// PAUSED there, with the form of what is asked.
    pub(crate) async fn pause(&self, row: &Row, entry: i64, proposal: Proposal) -> Result<()> {
        // Read anew: what a push began with may be from before it asked.
        let run = &self.engine.run(row.run).await?;
        let key = pause_key(run, &self.engine.history(row.run).await?, entry);
        match self.suspend(row, run, &key, proposal.clone()).await? {
            Verdict::Reject { reason, .. } if reason.contains("already fired") => (),
            _ => return Ok(()),
        }
        // Another host asked this before the run came here, and it may have been answered.
        if run.ask.is_some() && self.answer(row, &key).await?.is_some() {
            return self.resumed(row).await;
        }
        self.suspend(row, run, &format!("{key}-{}", Uuid::now_v7().as_simple()), proposal).await.map(drop)
    }

    async fn suspend(&self, row: &Row, run: &Run, key: &str, proposal: Proposal) -> Result<Verdict> {
        let mut paused = Proposal::suspended(key, Timestamp::now() + PATIENCE).named(state_name(row));
        paused.state_details.pause_reschedule = !row.child;
        paused.state_details.transition_id = proposal.state_details.transition_id;
        paused.message = proposal.message;
        let keys = Keyset::of(state_name(row), key);
        if run.ask.is_some() {
            paused.state_details.run_input_keyset = Some(keys.details());
        }
        let verdict = self.client.propose(row.flow_run, &paused).await?;
        if let (Some(ask), Verdict::Accept(_)) = (&run.ask, &verdict) {
            self.client.put_question(row.flow_run, &keys, &form(ask), &ask.message).await?;
        }
        Ok(verdict)
    }

    async fn answer(&self, row: &Row, key: &str) -> Result<Option<Value>> {
        Ok(self.client.newest_answer(row.flow_run, &Keyset::of(state_name(row), key)).await?)
    }

    /// A person let it go on there: with the answer, if there is one that fits; else it asks again.
    pub(crate) async fn resumed(&self, row: &Row) -> Result<()> {
        let run = self.engine.run(row.run).await?;
        let key = pause_key(&run, &self.engine.history(row.run).await?, i64::MAX);
        let answer = match run.ask.is_some() {
            true => self.answer(row, &key).await?,
            false => None,
        };
        let answers: BTreeMap<String, Value> = match answer {
            Some(Value::Object(map)) => map.into_iter().collect(),
            _ => BTreeMap::new(),
        };
        match self.engine.resume(row.run, answers).await {
            Ok(_) => Ok(()),
            Err(error) if error.retry_helps() => Err(error.into()),
            Err(error) => {
                let why = format!("it still waits: {error}");
                (self.tell)(&format!("run {} ({}): {why}", row.name, row.run));
                self.client.propose(row.flow_run, &Proposal::new(StateType::Running)).await?;
                let again = format!("{key}-{}", Uuid::now_v7().as_simple());
                let paused = Proposal::new(StateType::Paused).because(why);
                self.suspend(row, &run, &again, paused).await.map(drop)
            }
        }
    }

    /// Whether it is paused there because it was paused here: then going on here is not told yet.
    pub(crate) async fn is_own_pause(&self, row: &Row, there: &FlowRun) -> Result<bool> {
        let Some(id) = there.state.as_ref().and_then(|state| state.state_details.transition_id) else {
            return Ok(false);
        };
        let history = self.engine.history(row.run).await?;
        Ok(history.iter().any(|entry| transition(row, entry.id) == id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_a_form() {
        let mut ask = Ask::new("Centre needed", "the axis was not found");
        ask.key = "center".to_owned();
        ask.schema = json!({ "$schema": "x", "type": "number", "description": "a detector column" });
        let form = form(&ask);
        assert_eq!(form["properties"]["center"]["type"], "number");
        assert_eq!(form["properties"]["center"]["description"], "a detector column");
        assert!(
            !form.to_string().contains("the axis was not found"),
            "the question stands above the form: {form}"
        );
        assert_eq!(form["required"], json!(["center"]));
        assert!(form["properties"]["center"].get("$schema").is_none());
    }
}
