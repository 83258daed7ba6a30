//! What the API answers with, and what it takes.

use std::collections::BTreeMap;

use engine::{LogLine, Run, StateType};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::access::Role;
use crate::data::doing::Doing;
use crate::data::run::{Bar, View};
use crate::data::scan::{Center, Copy};
use crate::data::scan_of;
use crate::data::scans::ScanLine;
use crate::pages::advice;
use crate::words::{self, Mood};

/// Who asks.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Me {
    /// Their name.
    pub who: String,
    /// What they may do.
    pub role: Role,
    /// What `X-CSRF-Token` has to be where a session's cookie is used.
    pub csrf: String,
    /// The beamline.
    pub beamline: String,
    /// beamrail's version.
    pub version: String,
}

/// A run.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RunInfo {
    /// Its id.
    pub id: String,
    /// Its flow.
    pub flow: String,
    /// For people.
    pub name: String,
    /// The scan that it is about.
    pub scan: Option<String>,
    /// How it stands.
    pub mood: Mood,
    /// The type of its state: SCHEDULED, RUNNING, COMPLETED, ...
    pub state: StateType,
    /// The state's name.
    pub state_name: String,
    /// Why it is in that state.
    pub message: Option<String>,
    /// When it was made.
    #[schemars(with = "String")]
    pub created: Timestamp,
    /// When it may be claimed next.
    #[schemars(with = "Option<String>")]
    pub due: Option<Timestamp>,
    /// When it first began.
    #[schemars(with = "Option<String>")]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[schemars(with = "Option<String>")]
    pub ended: Option<Timestamp>,
    /// The run that started it.
    pub parent: Option<String>,
    /// The worker that holds it.
    pub worker: Option<String>,
    /// The flow's parameters.
    pub parameters: Value,
    /// What the flow returned.
    pub output: Option<Value>,
    /// Why it failed.
    pub error: Option<ErrorInfo>,
    /// What it waits for somebody to say.
    pub question: Option<Question>,
}

/// Why something failed.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ErrorInfo {
    /// What to do about it.
    pub todo: String,
    /// What failed, on what, and why.
    pub message: String,
    /// A short stable name.
    pub code: Option<String>,
    /// Whether trying again can help by itself.
    pub retry_helps: bool,
    /// The end of the remote log, where there is one.
    pub log: Option<String>,
}

/// A question to somebody.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Question {
    /// The key of the answer.
    pub key: String,
    /// In a few words.
    pub title: String,
    /// In full.
    pub message: String,
    /// The JSON schema of the answer.
    pub schema: Value,
    /// The address of a picture to judge by.
    pub picture: Option<String>,
}

/// A page of runs, the newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RunPage {
    /// The runs.
    pub runs: Vec<RunInfo>,
    /// Give it as `before` for the next page.
    pub next: Option<String>,
}

/// A run with its steps.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RunDetail {
    /// The run.
    pub run: RunInfo,
    /// What it does now.
    pub doing: Vec<Doing>,
    /// The time at which the axis of the steps begins.
    #[schemars(with = "String")]
    pub begin: Timestamp,
    /// Its length in seconds.
    pub length_s: f64,
    /// Its steps, and those of the runs that it started and waited for.
    pub steps: Vec<Bar>,
}

/// A line of a log.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LogInfo {
    /// Give the last one as `after` for what follows.
    pub id: i64,
    /// When.
    #[schemars(with = "String")]
    pub time: Timestamp,
    /// debug, info, warning or error.
    pub level: String,
    /// The step that it is about.
    pub step: Option<String>,
    /// The text.
    pub message: String,
}

/// A page of scans.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ScanPage {
    /// The scans, the newest first.
    pub scans: Vec<ScanLine>,
    /// Whether there are more.
    pub more: bool,
}

/// A scan with its copies.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ScanDetail {
    /// The scan.
    pub scan: ScanLine,
    /// Its copies, gone ones included.
    pub copies: Vec<Copy>,
    /// The rotation centre that was used.
    pub center: Option<Center>,
    /// What is kept for good: recipe, report, manifest.
    pub papers: Vec<String>,
}

/// Where something stands after an act.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Acted {
    /// The type of the state.
    pub state: StateType,
    /// Its name.
    pub name: String,
    /// Why.
    pub message: Option<String>,
}

/// Holds on a scan after an act.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Held {
    /// The scan.
    pub scan: String,
    /// The number of the hold that was placed, or how many were released.
    pub number: i64,
}

/// A cancellation.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cancel {
    /// Why, for the history.
    #[serde(default)]
    pub reason: String,
}

/// Another try.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retry {
    /// Whether finished steps are done again.
    #[serde(default)]
    pub from_start: bool,
}

/// An answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resume {
    /// The answers, by the key of the question.
    #[serde(default)]
    pub answers: BTreeMap<String, Value>,
}

/// A hold.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hold {
    /// `<folder>/<stem>`.
    pub scan: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// After how many days it ends by itself.
    #[serde(default)]
    pub days: Option<u16>,
}

/// The end of all holds.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Release {
    /// `<folder>/<stem>`.
    pub scan: String,
}

impl RunInfo {
    pub(crate) fn of(run: Run) -> Self {
        let error = run.error.as_ref().map(|failure| {
            let (message, log) = advice::parts(failure);
            ErrorInfo {
                todo: advice::advice(failure).to_owned(),
                message,
                code: failure.code.as_deref().map(str::to_owned),
                retry_helps: failure.retry_helps(),
                log,
            }
        });
        let question = run.ask.as_ref().filter(|_| run.state.kind == StateType::Paused).map(|ask| Question {
            key: ask.key.clone(),
            title: ask.title.clone(),
            message: crate::data::now::question(&ask.message, 2000),
            schema: ask.schema.clone(),
            picture: ask.evidence.pointer("/picture/path").map(|_| format!("/pictures/evidence/{}", run.id)),
        });
        Self {
            id: run.id.to_string(),
            scan: scan_of(&run).map(str::to_owned),
            mood: words::mood(&run),
            state: run.state.kind,
            state_name: run.state.name.clone(),
            message: run.state.message.clone(),
            created: run.created,
            due: run.due,
            started: run.started,
            ended: run.ended,
            parent: run.parent.map(|parent| parent.to_string()),
            worker: run.worker,
            parameters: run.parameters,
            output: run.output,
            flow: run.flow,
            name: run.name,
            error,
            question,
        }
    }
}

impl RunDetail {
    pub(crate) fn of(view: View) -> Self {
        Self {
            run: RunInfo::of(view.run),
            doing: view.doing,
            begin: view.axis.0,
            length_s: view.axis.1,
            steps: view.family.into_iter().flat_map(|member| member.bars).collect(),
        }
    }
}

impl LogInfo {
    pub(crate) fn of(line: LogLine) -> Self {
        let level = serde_json::to_value(line.level).ok().and_then(|level| level.as_str().map(str::to_owned));
        Self {
            id: line.id,
            time: line.time,
            level: level.unwrap_or_default(),
            step: line.step,
            message: line.message,
        }
    }
}

impl ScanDetail {
    pub(crate) fn of(view: crate::data::scan::View) -> Self {
        Self {
            scan: view.line,
            copies: view.copies,
            center: view.center,
            papers: view.papers.into_iter().map(str::to_owned).collect(),
        }
    }
}
