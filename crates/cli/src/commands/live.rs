//! A run as it goes on: its steps on stderr, and how it ended.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use engine::{
    Artifact, ArtifactKind, Engine, Orchestrator, Run, RunFilter, RunId, StateType, Step, StepKind,
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use super::beam::Beam;
use crate::exit::{Exit, Failure};
use crate::output::seconds;
use crate::progress::Mode;

/// How often the journal is looked at.
const LOOK: Duration = Duration::from_millis(150);
/// Shortest time between two lines about one step's progress.
const PERIOD: Duration = Duration::from_secs(5);

/// Follows a run to its end, or until it waits for a person, or until `stopped` says so.
pub(crate) async fn follow(
    engine: &Engine,
    id: RunId,
    mode: Mode,
    stopped: impl Fn() -> bool,
) -> Result<Run, Failure> {
    let mut live = Live::new(mode);
    loop {
        let run = engine.run(id).await?;
        for (prefix, one) in family(engine, &run).await? {
            let (steps, artifacts) = (engine.steps(one.id).await?, engine.artifacts(one.id).await?);
            for step in steps.iter().filter(|step| step.generation == one.generation) {
                let artifact = artifacts.iter().find(|artifact| {
                    artifact.kind == ArtifactKind::Progress && artifact.step.as_deref() == Some(&step.key)
                });
                live.step(&prefix, step, artifact);
            }
        }
        if run.state.kind.is_terminal() || run.state.kind == StateType::Paused || stopped() {
            live.close();
            return Ok(run);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The run and the runs it waits for, each with what its steps are prefixed with.
async fn family(engine: &Engine, run: &Run) -> Result<Vec<(String, Run)>, Failure> {
    let mut all = vec![(String::new(), run.clone())];
    let mut next = 0;
    while let Some((prefix, parent)) = all.get(next).cloned() {
        next += 1;
        let filter = RunFilter { parent: Some(parent.id), limit: 100, ..RunFilter::default() };
        let mut children = engine.runs(filter).await?.items;
        children.reverse();
        // Runs for later (retention) are not part of this one.
        for child in children.into_iter().filter(|child| child.started.is_some()) {
            all.push((format!("{prefix}{} / ", child.flow), child));
        }
        if all.len() > 50 {
            break;
        }
    }
    Ok(all)
}

struct Live {
    mode: Mode,
    bars: MultiProgress,
    shown: BTreeMap<String, (String, Option<ProgressBar>, Instant)>,
}

impl Live {
    fn new(mode: Mode) -> Self {
        let mode = match mode {
            Mode::Auto if std::io::stderr().is_terminal() => Mode::Bar,
            Mode::Auto => Mode::Plain,
            other => other,
        };
        Self { mode, bars: MultiProgress::new(), shown: BTreeMap::new() }
    }

    fn step(&mut self, prefix: &str, step: &Step, progress: Option<&Artifact>) {
        if matches!(step.kind, StepKind::Message | StepKind::Subrun) || self.mode == Mode::None {
            return;
        }
        let key = format!("{prefix}{}", step.key);
        let running = step.state.kind == StateType::Running;
        let part = progress.filter(|_| running).and_then(|artifact| artifact.data.as_f64());
        let what = progress.filter(|_| running).and_then(|artifact| artifact.description.clone());
        let state = describe(step);
        let entry = self.shown.get_mut(&key);
        let changed = entry.as_ref().is_none_or(|(before, ..)| *before != state);
        match self.mode {
            Mode::Json => {
                let due = entry.as_ref().is_none_or(|(_, _, at)| at.elapsed() >= Duration::from_secs(1));
                if changed || (due && part.is_some()) {
                    say(&json!({
                        "event": "step", "step": key, "state": step.state.kind, "name": step.state.name,
                        "part": part, "what": what, "message": step.state.message,
                    })
                    .to_string());
                    self.shown.insert(key, (state, None, Instant::now()));
                }
            }
            Mode::Bar => {
                let bar = match entry {
                    Some((_, Some(bar), _)) => bar.clone(),
                    _ => {
                        let bar = self.bars.add(ProgressBar::new(1000));
                        let style = ProgressStyle::with_template("{prefix:36} {bar:20} {msg}");
                        if let Ok(style) = style {
                            bar.set_style(style.progress_chars("=> "));
                        }
                        bar.set_prefix(key.clone());
                        bar
                    }
                };
                let done = step.state.kind == StateType::Completed;
                bar.set_position(if done { 1000 } else { (part.unwrap_or(0.0) * 1000.0) as u64 });
                bar.set_message(match &what {
                    Some(what) => format!("{state}, {what}"),
                    None => state.clone(),
                });
                if step.state.kind.is_terminal() && !bar.is_finished() {
                    bar.abandon();
                }
                self.shown.insert(key, (state, Some(bar), Instant::now()));
            }
            _ => {
                let due = entry.as_ref().is_none_or(|(_, _, at)| at.elapsed() >= PERIOD);
                if changed {
                    say(&format!("{key}: {state}"));
                } else if let Some(part) = part.filter(|_| due) {
                    let what = what.map(|what| format!(", {what}")).unwrap_or_default();
                    say(&format!("{key}: {:.0} %{what}", part * 100.0));
                } else {
                    return;
                }
                self.shown.insert(key, (state, None, Instant::now()));
            }
        }
    }

    fn close(&self) {
        for (_, bar, _) in self.shown.values() {
            if let Some(bar) = bar.as_ref().filter(|bar| !bar.is_finished()) {
                bar.abandon();
            }
        }
    }
}

/// How a step stands, for people.
fn describe(step: &Step) -> String {
    let took = || {
        let from = step.started.zip(step.ended);
        from.map(|(from, to)| to.duration_since(from).as_secs_f64().max(0.0))
    };
    let why = |text: Option<&String>| text.map(|text| format!(": {text}")).unwrap_or_default();
    match step.state.kind {
        StateType::Completed => took().map_or("done".into(), |took| format!("done in {}", seconds(took))),
        StateType::Failed | StateType::Crashed => {
            let error = step.error.as_ref().map(|error| error.message.clone());
            let first = error.as_deref().and_then(|text| text.lines().next()).map(str::to_owned);
            format!("failed{}", why(first.as_ref()))
        }
        StateType::Cancelled => "cancelled".into(),
        StateType::Paused => format!("waits for a person{}", why(step.state.message.as_ref())),
        StateType::Scheduled => format!("tried again later{}", why(step.state.message.as_ref())),
        StateType::Pending => "submitted".into(),
        _ if step.attempt > 1 => format!("running (attempt {})", step.attempt),
        _ => "running".into(),
    }
}

/// A line on stderr. A closed stderr is nobody to tell.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// How a command ends whose run stands so: the exit code says what kind of end it was.
pub(crate) fn ending(beam: &Beam, run: &Run) -> Result<(), Failure> {
    let id = super::beam::short(run.id);
    let message = |what: &str| {
        let error = run.error.as_ref().map(|error| error.message.clone()).or(run.state.message.clone());
        format!("run {id} ({}) {what}: {}", run.flow, error.unwrap_or_else(|| run.state.name.clone()))
    };
    match run.state.kind {
        StateType::Completed => Ok(()),
        StateType::Failed | StateType::Crashed => {
            let code = run.error.as_ref().and_then(|error| error.code.as_deref()).unwrap_or_default();
            let exit = match code {
                "bad-input" | "bad-recipe" | "bad-parameters" => Exit::BadInput,
                "export-controlled" | "refused" | "site-unreachable" | "facility-down" | "queue-timeout" => {
                    Exit::Service
                }
                _ => Exit::Failed,
            };
            Err(Failure::new(exit, message("failed"))
                .hint(format!("beamrail runs logs {id}"))
                .hint(format!("beamrail runs retry {id}, once the cause is gone; finished steps are kept")))
        }
        StateType::Paused => {
            let ask = run.ask.as_ref();
            let what = ask.map_or_else(
                || message("is paused"),
                |ask| format!("run {id} ({}) waits for a person: {}: {}", run.flow, ask.title, ask.message),
            );
            let key = ask.map_or(String::new(), |ask| format!(" --set {}=VALUE", ask.key));
            let _ = beam;
            Err(Failure::new(Exit::Failed, what).hint(format!("beamrail runs resume {id}{key}")))
        }
        StateType::Cancelled | StateType::Cancelling => {
            Err(Failure::new(Exit::Interrupted, message("was cancelled")))
        }
        _ => Err(Failure::new(Exit::Interrupted, format!("run {id} goes on: {}", run.state.name))
            .hint(format!("beamrail runs show {id}"))
            .hint("beamrail worker, where none is running")),
    }
}
