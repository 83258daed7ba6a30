//! One run with everything that belongs to it: what it started, its steps as bars, its log, what it asks.

use beamline::explain::{Explanation, StepTime};
use engine::{Artifact, LogLine, Orchestrator, Run, RunFilter, RunId, StateType, Step, StepKind};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::doing::{Doing, doing};
use super::now::question;
use super::past;
use crate::app::Shared;
use crate::fault::Fault;
use crate::words::Mood;

/// Runs of one family that are shown at most.
const FAMILY: usize = 24;
/// Lines of the log that a page shows.
pub(crate) const LINES: u32 = 400;

/// A step as a bar on the run's time axis. Times are seconds after the axis begins.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Bar {
    /// The run that it belongs to.
    pub run: String,
    /// Its key in the journal.
    pub key: String,
    /// The name that the flow gave it.
    pub name: String,
    /// How deep in runs that runs have started.
    pub depth: usize,
    /// How it stands.
    pub mood: Mood,
    /// Its state's name.
    pub state: String,
    /// Where it first began.
    pub from_s: f64,
    /// Where its last attempt began.
    pub attempt_s: f64,
    /// Where it ended, or now.
    pub to_s: f64,
    /// How long the last attempt waited in a facility's queue.
    pub queue_s: f64,
    /// How long it checked what was made or moved.
    pub verify_s: f64,
    /// Where its end would be if it took as long as it usually does.
    pub usual_s: Option<f64>,
    /// Bytes moved.
    pub bytes: Option<u64>,
    /// Bytes per second.
    pub rate: Option<f64>,
    /// How often it was begun.
    pub attempts: u32,
    /// The part that is done.
    pub part: Option<f64>,
    /// What matters in a few words: the error, the progress.
    pub note: Option<String>,
}

/// A run of the family with its bars.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub run: Run,
    pub depth: usize,
    pub steps: Vec<Step>,
    pub bars: Vec<Bar>,
}

/// A run with everything that belongs to it.
pub(crate) struct View {
    pub run: Run,
    pub parent: Option<Run>,
    pub family: Vec<Member>,
    /// The time at the beginning of the axis, its length in seconds, and the time at its end.
    pub axis: (Timestamp, f64, Timestamp),
    pub doing: Vec<Doing>,
    pub explanation: Explanation,
    pub artifacts: Vec<Artifact>,
    /// The newest lines of all of them, by time, each with its flow where that is another.
    pub log: Vec<(Option<String>, LogLine)>,
    /// The deepest failed run with its failed step, where it failed.
    pub culprit: Option<(Run, Option<Step>)>,
}

/// Reads it all.
pub(crate) async fn view(app: &Shared, id: RunId) -> Result<View, Fault> {
    let run = app.engine.run(id).await?;
    let now = app.now();
    let parent = match run.parent {
        Some(parent) => app.engine.run(parent).await.ok(),
        None => None,
    };
    let mut family = Vec::new();
    gather(app, run.clone(), &mut family).await?;
    let begin = run.started.unwrap_or(run.expected.max(run.created));
    let end = run.ended.unwrap_or(now).max(begin);
    let length = seconds(begin, end).max(0.001);
    let explanation = past::explain(app, &run).await?;
    let mut at_work = Vec::new();
    let children: Vec<Option<Value>> =
        family.iter().map(|member| serde_json::to_value(member.run.id).ok()).collect();
    for member in &mut family {
        let explained = match member.depth {
            0 => explanation.clone(),
            _ => past::explain(app, &member.run).await?,
        };
        let active = !member.run.state.kind.is_terminal() && member.run.started.is_some();
        let doing =
            if active { doing(&app.engine, &app.beamline, &member.run, now).await? } else { Vec::new() };
        let bar = |step: &Step| bar(step, member.depth, begin, end, &explained, &doing);
        // Runs that were started have rows of their own.
        let shown = |step: &&Step| step.kind != StepKind::Subrun || !children.contains(&step.handle);
        member.bars = member.steps.iter().filter(shown).map(bar).collect();
        at_work.extend(doing);
    }
    at_work.sort_by_key(|one| one.site.is_none());
    let mut artifacts = app.engine.artifacts(id).await?;
    for member in family.iter().filter(|member| member.depth > 0) {
        artifacts.extend(app.engine.artifacts(member.run.id).await?);
    }
    let culprit = culprit(&family);
    let log = log(app, &family).await?;
    Ok(View {
        run,
        parent,
        family,
        axis: (begin, length, end),
        doing: at_work,
        explanation,
        artifacts,
        log,
        culprit,
    })
}

/// The run, then the runs that it started and waited for, each before what it started itself.
async fn gather(app: &Shared, run: Run, family: &mut Vec<Member>) -> Result<(), Fault> {
    let mut stack = vec![(run, 0)];
    while let Some((run, depth)) = stack.pop() {
        let id = run.id;
        let steps = app.engine.steps(id).await?;
        let waits_for = steps.iter().any(|step| step.kind == StepKind::Subrun);
        family.push(Member { run, depth, steps, bars: Vec::new() });
        if family.len() >= FAMILY || depth >= 4 || !waits_for {
            continue;
        }
        let children = RunFilter { parent: Some(id), limit: 50, ..RunFilter::default() };
        // Runs for later are not part of this one.
        let mut children: Vec<Run> =
            app.engine.runs(children).await?.items.into_iter().filter(|one| one.started.is_some()).collect();
        // The last to have begun first, so that the stack gives them in order.
        children.sort_by_key(|child| std::cmp::Reverse(child.started));
        stack.extend(children.into_iter().map(|child| (child, depth + 1)));
    }
    Ok(())
}

/// The newest lines of a family, by time.
async fn log(app: &Shared, family: &[Member]) -> Result<Vec<(Option<String>, LogLine)>, Fault> {
    let mut lines = Vec::new();
    for member in family {
        let flow = (member.depth > 0).then(|| member.run.flow.clone());
        let own = app.engine.log_tail(member.run.id, LINES).await?;
        lines.extend(own.into_iter().map(|line| (flow.clone(), line)));
    }
    lines.sort_by_key(|(_, line)| (line.time, line.id));
    let most = usize::try_from(LINES).unwrap_or(usize::MAX);
    Ok(lines.split_off(lines.len().saturating_sub(most)))
}

impl View {
    /// Where a run of the family begins and ends on the axis.
    pub(crate) fn stretch(&self, run: &Run) -> (f64, f64) {
        let end = seconds(self.axis.0, run.ended.unwrap_or(self.axis.2));
        (run.started.map_or(end, |from| seconds(self.axis.0, from)), end)
    }
}

fn bar(
    step: &Step,
    depth: usize,
    begin: Timestamp,
    end: Timestamp,
    explained: &Explanation,
    doing: &[Doing],
) -> Bar {
    let from = step.started.unwrap_or(end);
    let attempt = step.attempt_started.unwrap_or(from).max(from);
    let to = step.ended.unwrap_or(end).max(attempt);
    let time: Option<&StepTime> = explained.measured.steps.iter().find(|one| one.key == step.key);
    let usual = explained.steps_against.get(&step.key).map(|against| {
        let median = match (against.unit, time.and_then(|one| one.bytes)) {
            ("B/s", Some(bytes)) if against.median > 0.0 => bytes as f64 / against.median,
            _ => against.median,
        };
        seconds(begin, attempt) + time.map_or(0.0, |one| one.queue_s) + median
    });
    let at_work = doing.iter().find(|one| one.step == step.key);
    let note = match (&step.error, step.state.kind) {
        (Some(error), kind) if kind != StateType::Completed => {
            Some(crate::words::first_line(&error.message, 160))
        }
        _ => step.state.message.as_deref().map(|text| question(text, 160)),
    };
    Bar {
        run: step.run.to_string(),
        key: step.key.clone(),
        name: step.name.clone(),
        depth,
        mood: match step.state.kind {
            StateType::Paused => Mood::Waiting,
            kind => Mood::of(kind),
        },
        state: step.state.name.clone(),
        from_s: seconds(begin, from),
        attempt_s: seconds(begin, attempt),
        to_s: seconds(begin, to),
        queue_s: time.map_or(0.0, |one| one.queue_s),
        verify_s: time.map_or(0.0, |one| one.verify_s),
        usual_s: usual.filter(|usual| usual.is_finite()),
        bytes: time.and_then(|one| one.bytes),
        rate: time.and_then(StepTime::rate),
        attempts: step.attempt,
        part: at_work.and_then(|one| one.part),
        note,
    }
}

fn culprit(family: &[Member]) -> Option<(Run, Option<Step>)> {
    let failed = |kind: StateType| matches!(kind, StateType::Failed | StateType::Crashed);
    let top = family.first().filter(|member| failed(member.run.state.kind))?;
    let deepest = family.iter().filter(|member| failed(member.run.state.kind)).max_by_key(|one| one.depth);
    let member = deepest.unwrap_or(top);
    let own = |step: &&Step| failed(step.state.kind) && step.kind != StepKind::Subrun;
    let step = member.steps.iter().rev().find(own).cloned();
    Some((member.run.clone(), step))
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}
