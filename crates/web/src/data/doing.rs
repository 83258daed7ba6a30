//! What a run does at this moment, in words.

use beamline::Beamline;
use custody::Kind;
use engine::{Artifact, ArtifactKind, Engine, Orchestrator, Run, StateType, Step, StepKind};
use jiff::Timestamp;
use serde::Serialize;

use super::places::kind_words;
use crate::fault::Fault;

/// Something that goes on.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Doing {
    /// The run that does it.
    pub run: String,
    /// The step's key.
    pub step: String,
    /// In words: "Copying raw data to nersc".
    pub text: String,
    /// At which site.
    pub site: Option<String>,
    /// The part that is done, 0 to 1, where it is known.
    pub part: Option<f64>,
    /// Seconds that are left at this pace, where that can be said.
    pub left_s: Option<f64>,
    /// Whether it waits in somebody's queue.
    pub queued: bool,
}

/// What an active run does; nothing while it only waits for the runs that it started.
pub(crate) async fn doing(
    engine: &Engine,
    beam: &Beamline,
    run: &Run,
    now: Timestamp,
) -> Result<Vec<Doing>, Fault> {
    let steps = engine.steps(run.id).await?;
    let active = |step: &&Step| {
        let at_work =
            matches!(step.state.kind, StateType::Running | StateType::Pending | StateType::Scheduled);
        at_work && matches!(step.kind, StepKind::Local | StepKind::External)
    };
    let steps: Vec<&Step> = steps.iter().filter(active).collect();
    if steps.is_empty() {
        return Ok(Vec::new());
    }
    let artifacts = engine.artifacts(run.id).await?;
    let mut all: Vec<Doing> = steps.iter().map(|step| one(beam, run, step, &artifacts, now)).collect();
    // What takes long is told first.
    all.sort_by_key(|one| one.site.is_none());
    Ok(all)
}

fn one(beam: &Beamline, run: &Run, step: &Step, artifacts: &[Artifact], now: Timestamp) -> Doing {
    let progress = artifacts.iter().find(|artifact| {
        artifact.kind == ArtifactKind::Progress && artifact.step.as_deref() == Some(&step.key)
    });
    let since = step.running_since.or(step.attempt_started);
    let part = progress
        .filter(|artifact| step.attempt_started.is_none_or(|from| artifact.updated >= from))
        .and_then(|artifact| artifact.data.as_f64())
        .filter(|part| (0.0..=1.0).contains(part));
    let queued = step.kind == StepKind::External && step.running_since.is_none();
    let left_s = part.zip(since).filter(|(part, _)| *part > 0.05 && !queued).map(|(part, since)| {
        let spent = now.duration_since(since).as_secs_f64().max(0.0);
        spent * (1.0 - part) / part
    });
    let (text, site) = words(beam, run, step, queued);
    Doing { run: run.id.to_string(), step: step.key.clone(), text, site, part, left_s, queued }
}

fn words(beam: &Beamline, run: &Run, step: &Step, queued: bool) -> (String, Option<String>) {
    if step.state.kind == StateType::Scheduled {
        let why = step.error.as_ref().map(|error| crate::words::first_line(&error.message, 120));
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        return (format!("“{}” is tried again soon{why}", step.name), None);
    }
    if let Some((kind, site)) = step.name.split_once(" to ")
        && let Ok(kind) = kind.parse::<Kind>()
    {
        return (format!("Copying {} to {site}", kind_words(kind)), Some(site.to_owned()));
    }
    if step.kind == StepKind::External {
        let settings = beam.flows.recon.get(&run.flow);
        let facility = match step.name.as_str() {
            "quick look" => beam.flows.home.quick_look.clone(),
            _ => settings.map(|settings| settings.facility.clone()),
        };
        let site = facility.as_ref().and_then(|name| beam.facilities.get(name)).map(|one| one.site.clone());
        let place = facility.unwrap_or_else(|| "a facility".to_owned());
        return match (queued, step.name.as_str()) {
            (true, _) => (format!("In the queue of {place}"), site),
            (false, "reconstruct") => (format!("Reconstructing at {place}"), site),
            (false, name) => (format!("{} at {place}", capital(name)), site),
        };
    }
    (capital(&step.name), None)
}

/// With a capital letter at its beginning.
pub(crate) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
