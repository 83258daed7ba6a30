//! `new_832_file_flow`: a new scan from the detector host to the data host, a quick look there, copies to the
//! archives, a word to the catalogue, and retention.

use std::sync::Arc;

use custody::{CopyId, Kind, ScanName};
use engine::{ArtifactKind, Context, Failure, join_all};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::copy::{Copied, copy};
use super::job::{Goal, Job, JobOutcome, options};
use super::work::{Outcome, release, scan_of, sight, take_raw};
use super::{catalogue, retention};
use crate::error::EXPORT_CONTROLLED;
use crate::runtime::{Beamline, area};

/// The parameters of `new_832_file_flow`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveParameters {
    /// The raw scan, by any path that ends in its folder and name.
    pub file_path: String,
    /// Whether the scan is export-controlled, if whoever asks knows.
    #[serde(default)]
    pub is_export_control: Option<bool>,
    /// Whether the archives get a copy.
    #[serde(default = "yes")]
    pub send_to_nersc: bool,
    /// What older triggers pass; not used.
    #[serde(default)]
    pub config: Option<Value>,
}

fn yes() -> bool {
    true
}

/// What the move did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Moved {
    /// The scan.
    pub scan: String,
    /// The copies that were made.
    pub copies: Vec<Copied>,
    /// The archives that may not have the scan, because it is export-controlled.
    pub kept_from: Vec<String>,
    /// The picture of the quick look, from the data host's root.
    pub preview: Option<String>,
    /// Whether the catalogue will be told.
    pub catalogued: bool,
    /// When each copy may go, by site and path.
    pub goes: std::collections::BTreeMap<String, jiff::Timestamp>,
}

/// The flow.
pub(super) async fn new_file(
    beam: Arc<Beamline>,
    context: Context,
    parameters: MoveParameters,
) -> Outcome<Moved> {
    let scan = scan_of(&parameters.file_path)?.name;
    let home = beam.flows.home.clone();
    sight(&beam, &context, &scan, parameters.is_export_control).await?;
    let first = home.detector.as_deref().filter(|detector| *detector != home.data_host);
    let mut copies = Vec::new();
    let mut ids = Vec::new();
    let here = match first {
        Some(detector) => {
            let source = take_raw(&beam, &context, &scan, detector).await?;
            let arrived = copy(&beam, &context, source, Kind::Raw, &home.data_host, area::RAW).await?;
            ids.extend([source, arrived.copy]);
            copies.push(arrived.clone());
            arrived.copy
        }
        None => {
            let source = take_raw(&beam, &context, &scan, &home.data_host).await?;
            ids.push(source);
            source
        }
    };
    let archives: &[String] = if parameters.send_to_nersc { &home.archives } else { &[] };
    let sending = archives.iter().map(|archive| send(&beam, &context, here, archive));
    // The look is begun first; the copies do not wait for it, and its failure is not theirs.
    let look = quick_look(&beam, &context, &scan);
    let (preview, sent) = tokio::join!(look, join_all(sending.collect::<Vec<_>>()));
    let preview = preview?;
    let mut kept_from = Vec::new();
    for (archive, copied) in archives.iter().zip(sent?) {
        match copied {
            Some(copied) => {
                ids.push(copied.copy);
                copies.push(copied);
            }
            None => kept_from.push(archive.clone()),
        }
    }
    let catalogued = catalogue::tell_raw(&beam, &context, &scan, here).await?;
    let goes = retention::schedule(&beam, &context, &ids).await?;
    release(&beam, &context).await?;
    Ok(Moved { scan: scan.to_string(), copies, kept_from, preview, catalogued, goes })
}

/// A copy to an archive; `None` where custody does not let the scan go there.
async fn send(
    beam: &Arc<Beamline>,
    context: &Context,
    here: CopyId,
    archive: &str,
) -> Outcome<Option<Copied>> {
    match copy(beam, context, here, Kind::Raw, archive, area::RAW).await {
        Ok(copied) => Ok(Some(copied)),
        Err(failure) if failure.code.as_deref() == Some(EXPORT_CONTROLLED) => {
            context.warn(format!("kept from {archive}: {failure}"));
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

/// The middle slice, within seconds of the scan's arrival. Only a cancellation, or a journal that cannot be written,
/// is passed on.
async fn quick_look(beam: &Arc<Beamline>, context: &Context, scan: &ScanName) -> Outcome<Option<String>> {
    let Some(name) = beam.flows.home.quick_look.clone() else { return Ok(None) };
    let facility = match beam.facility(&name) {
        Ok(facility) => facility.clone(),
        Err(error) => {
            context.warn(format!("no quick look: {error}"));
            return Ok(None);
        }
    };
    let job = Job {
        beam: beam.clone(),
        facility: name,
        scan: scan.clone(),
        run: context.id().to_string(),
        args: Vec::new(),
        goal: Goal::QuickLook,
    };
    let options = options(&facility, 1, scan).failure_is_answer();
    match context.external("quick look", options, job).await {
        Ok(JobOutcome::Looked { preview }) => {
            let picture = json!(format!("{}:{preview}", facility.site));
            context.artifact("quick-look", ArtifactKind::Image, picture, Some("the middle slice"));
            Ok(Some(preview))
        }
        Ok(JobOutcome::CenterNeeded(asked)) => {
            context.warn(format!("no quick look: {}", asked.message));
            Ok(None)
        }
        Ok(JobOutcome::Made(_)) => Ok(None),
        Err(failure) => soft(context, failure),
    }
}

fn soft(context: &Context, failure: Failure) -> Outcome<Option<String>> {
    use engine::FailureKind::{Cancelled, LostLease};
    if matches!(failure.kind, Cancelled | LostLease) || failure.code.as_deref() == Some("non-deterministic") {
        return Err(failure);
    }
    context.warn(format!("no quick look: {failure}"));
    Ok(None)
}
