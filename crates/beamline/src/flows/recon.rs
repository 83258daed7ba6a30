//! `alcf_recon_flow`, `nersc_recon_flow` and their like: raw to the facility, reconstruct, results home.

use std::sync::Arc;

use custody::{CopyId, Kind, ScanName};
use engine::{ArtifactKind, Ask, Context, Failure, StepContext, join_all};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::copy::{Copied, copy};
use super::job::{Asked, Goal, Job, JobOutcome, Made, options};
use super::work::{Outcome, patient, release, scan_of, sight, take_raw};
use super::{catalogue, results, retention};
use crate::error::Result;
use crate::runtime::{Beamline, Facility, ReconSettings, area};

/// The parameters of a reconstruction flow.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReconParameters {
    /// The raw scan, by any path that ends in its folder and name.
    pub file_path: String,
    /// Whether the scan is export-controlled, if whoever asks knows.
    #[serde(default)]
    pub is_export_control: Option<bool>,
    /// The recipe, in place of the configured one.
    #[serde(default)]
    pub recipe: Option<String>,
    /// Parameters of the recipe, `key=value`, after the configured ones.
    #[serde(default)]
    pub set: Vec<String>,
    /// The rotation centre: a 0-based detector column.
    #[serde(default)]
    pub center: Option<f64>,
    /// What older triggers pass; not used.
    #[serde(default)]
    pub config: Option<Value>,
}

/// What a reconstruction flow made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reconstructed {
    /// The scan.
    pub scan: String,
    /// Where it was reconstructed.
    pub facility: String,
    /// What was made there.
    pub made: Made,
    /// The raw scan's copy at the facility's site.
    pub raw: Option<Copied>,
    /// The results' copies at home.
    pub home: Vec<Copied>,
    /// When each copy may go, by site and path.
    pub goes: std::collections::BTreeMap<String, jiff::Timestamp>,
}

/// The flow `flow`, by the settings that it has.
pub(super) async fn reconstruct(
    beam: Arc<Beamline>,
    flow: String,
    context: Context,
    parameters: ReconParameters,
) -> Outcome<Reconstructed> {
    let scan = scan_of(&parameters.file_path)?.name;
    let unset =
        || Failure::fatal(format!("{flow} has no settings; give [flows.{flow}] a source and a facility"));
    let settings = beam.flows.recon.get(&flow).cloned().ok_or_else(unset)?;
    let facility = beam.facility(&settings.facility)?.clone();
    sight(&beam, &context, &scan, parameters.is_export_control).await?;
    let source = take_raw(&beam, &context, &scan, &settings.source).await?;
    let (raw, raw_there) = match settings.source == facility.site {
        true => (None, source),
        false => {
            let there = copy(&beam, &context, source, Kind::Raw, &facility.site, area::RAW).await?;
            let id = there.copy;
            (Some(there), id)
        }
    };
    let made = make(&beam, &context, &scan, &settings, &facility, &parameters).await?;
    let home = bring_home(&beam, &context, &settings, &facility, &made).await?;
    read_what_stays(&beam, &context, &scan, &settings.facility, &made).await?;
    let first = home.first().map_or(facility.site.as_str(), |copied| copied.to.as_str());
    catalogue::tell_results(&beam, &context, &scan, first, &made).await?;
    let copies: Vec<CopyId> = std::iter::once(raw_there)
        .chain(made.copies.iter().map(|(_, id)| *id))
        .chain(home.iter().map(|copied| copied.copy))
        .collect();
    let copies = if raw.is_none() { copies.into_iter().skip(1).collect() } else { copies };
    let goes = retention::schedule(&beam, &context, &copies).await?;
    release(&beam, &context).await?;
    Ok(Reconstructed { scan: scan.to_string(), facility: settings.facility, made, raw, home, goes })
}

/// The reconstruction, with a question to a person where the centre is not believed.
async fn make(
    beam: &Arc<Beamline>,
    context: &Context,
    scan: &ScanName,
    settings: &ReconSettings,
    facility: &Facility,
    parameters: &ReconParameters,
) -> Outcome<Made> {
    let mut center = parameters.center;
    loop {
        let job = Job {
            beam: beam.clone(),
            facility: settings.facility.clone(),
            scan: scan.clone(),
            run: context.id().to_string(),
            args: arguments(settings, parameters, center),
            goal: Goal::Volume,
        };
        let options = options(facility, settings.attempts, &job.args);
        match context.external("reconstruct", options, job).await? {
            JobOutcome::Made(made) => return Ok(made),
            JobOutcome::CenterNeeded(asked) if center.is_none() => {
                center = Some(ask(context, scan, &asked).await?);
            }
            JobOutcome::CenterNeeded(asked) => {
                return Err(Failure::fatal(asked.message).with_code("bad-input"));
            }
            JobOutcome::Looked { .. } => return Err(Failure::fatal("a quick look is no reconstruction")),
        }
    }
}

/// Asks a person for the rotation centre.
async fn ask(context: &Context, scan: &ScanName, asked: &Asked) -> Outcome<f64> {
    let picture = json!({ "site": asked.site, "path": asked.picture });
    let shown = json!(format!("{}:{}", asked.site, asked.picture));
    context.artifact("center-evidence", ArtifactKind::Image, shown, Some("candidates for the centre"));
    let message = format!("{scan}: {}. Then: runs resume {} --set center=PX", asked.message, context.id());
    let mut ask = Ask::new("Centre needed", message).evidence(json!({ "picture": picture }));
    ask.schema =
        json!({ "type": "number", "description": "Detector column of the rotation axis; the first is 0" });
    let center: f64 = context.pause_for_input("center", ask).await?;
    match center.is_finite() {
        true => Ok(center),
        false => Err(Failure::fatal("center: it must be a detector column").with_code("bad-parameters")),
    }
}

fn arguments(settings: &ReconSettings, parameters: &ReconParameters, center: Option<f64>) -> Vec<String> {
    let recipe = parameters.recipe.as_ref().unwrap_or(&settings.recipe);
    let mut args = vec!["--recipe".to_owned(), recipe.clone()];
    for one in settings.set.iter().chain(&parameters.set) {
        args.extend(["--set".to_owned(), one.clone()]);
    }
    if let Some(center) = center {
        args.extend(["--center".to_owned(), center.to_string()]);
    }
    if !settings.write.is_empty() {
        args.extend(["--write".to_owned(), settings.write.join(",")]);
    }
    args
}

/// All datasets to all homes, side by side.
async fn bring_home(
    beam: &Arc<Beamline>,
    context: &Context,
    settings: &ReconSettings,
    facility: &Facility,
    made: &Made,
) -> Outcome<Vec<Copied>> {
    let homes = settings.return_to.iter().filter(|home| **home != facility.site);
    let transfers = homes.flat_map(|home| {
        made.copies.iter().map(move |(kind, id)| copy(beam, context, *id, *kind, home, area::SCRATCH))
    });
    // Sidecars last in the list, not in time: all are independent.
    join_all(transfers.collect::<Vec<_>>()).await
}

/// Results that went nowhere are read where they are, so that they count: from here, else by the facility.
async fn read_what_stays(
    beam: &Arc<Beamline>,
    context: &Context,
    scan: &ScanName,
    facility: &str,
    made: &Made,
) -> Outcome<()> {
    let run = context.id().to_string();
    let work = |step: StepContext| {
        let (beam, run) = (beam.clone(), run.clone());
        async move {
            let read: Result<()> = results::read_all(&beam, &made.copies, &run).await;
            read?;
            results::read_there(&beam, &step, scan, facility, made, &run).await
        }
    };
    context.step("verify results", patient().input(&made.manifest), work).await
}
