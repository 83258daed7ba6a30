//! Datasets are told to the catalogue through the outbox. The catalogue is a place like any other: what is
//! export-controlled is told only where custody permits it.

use std::sync::Arc;

use custody::{CopyId, DatasetId, Kind, RelPath, ScanName, TransferRequest};
use engine::{Context, StepContext};
use serde_json::{Value, json};

use super::job::Made;
use super::work::{Outcome, patient};
use crate::error::{Error, Result, is_export_control};
use crate::runtime::Beamline;

/// The topic of the messages in the outbox.
pub(super) const TOPIC: &str = "catalogue";

/// Tells of a raw scan that is at `site` as `copy`.
pub(super) async fn tell_raw(
    beam: &Arc<Beamline>,
    context: &Context,
    scan: &ScanName,
    copy: CopyId,
) -> Outcome<bool> {
    tell(beam, context, scan, "raw", vec![copy], json!({})).await
}

/// Tells of results whose home is `site`.
pub(super) async fn tell_results(
    beam: &Arc<Beamline>,
    context: &Context,
    scan: &ScanName,
    site: &str,
    made: &Made,
) -> Outcome<bool> {
    let copies = made.copies.iter().map(|(_, id)| *id).collect();
    tell(beam, context, scan, "derived", copies, json!({ "manifest": made.manifest, "home": site })).await
}

/// Whether it was told; `false` where there is no catalogue, or it may not know.
async fn tell(
    beam: &Arc<Beamline>,
    context: &Context,
    scan: &ScanName,
    what: &str,
    copies: Vec<CopyId>,
    more: Value,
) -> Outcome<bool> {
    let Some(service) = beam.flows.catalogue.clone() else { return Ok(false) };
    let run = context.id().to_string();
    let input = (scan, what, &copies, &service);
    let work = |step: StepContext| {
        let message = message(beam, &step, scan, &service, &copies, &run, &more);
        async move { Ok(message?) }
    };
    let message: Option<Value> = context.step("catalogue", patient().input(&input), work).await?;
    let Some(message) = message else { return Ok(false) };
    let key = match more.get("manifest").and_then(Value::as_str) {
        Some(manifest) => format!("{what}/{scan}/{manifest}"),
        None => format!("{what}/{scan}"),
    };
    context.send(TOPIC, &key, message).await?;
    Ok(true)
}

/// The message, if custody lets the catalogue have it.
fn message(
    beam: &Beamline,
    step: &StepContext,
    scan: &ScanName,
    service: &str,
    copies: &[CopyId],
    run: &str,
    more: &Value,
) -> Result<Option<Value>> {
    let mut datasets = Vec::new();
    for id in copies {
        let record = beam.custody.copy(*id)?;
        let request = TransferRequest {
            dataset: DatasetId::new(scan.clone(), record.dataset.kind),
            from: record.site.clone(),
            from_base: record.base.clone(),
            to: service.to_owned(),
            to_base: RelPath::root(),
            files: beam.custody.files(*id)?,
            run: run.to_owned(),
        };
        match beam.custody.permit_transfer(&request, beam.now()) {
            // A message in the outbox is not a transfer that somebody may have to wait for.
            Ok(permit) => beam.custody.end_transfer(permit.id(), None, beam.now())?,
            Err(custody::Error::Refused(refusal)) if is_export_control(&refusal) => {
                step.warn(format!("{service} is not told of {scan}: it is export-controlled"));
                return Ok(None);
            }
            Err(error) => return Err(Error::Custody(error)),
        }
        datasets.push(json!({
            "kind": record.dataset.kind,
            "site": record.site,
            "base": record.base,
            "files": record.files,
            "bytes": record.bytes,
            "content": record.content,
        }));
    }
    let kinds = copies.len();
    step.info(format!("{service} will be told of {kinds} dataset(s) of {scan}"));
    let raw = Kind::Raw.name();
    Ok(Some(json!({
        "service": service,
        "folder": scan.folder(),
        "stem": scan.stem(),
        "input": format!("{scan} ({raw})"),
        "datasets": datasets,
        "run": run,
        "more": more,
    })))
}
