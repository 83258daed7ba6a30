//! Reports to custody's owner: what a worker without custody made and brought is told through the outbox, as runs of
//! `custody_report` that only the owner takes.

use std::path::Path;
use std::sync::Arc;

use beamline::Beamline;
use beamline::flows::{CUSTODY_REPORT, CustodyReport};
use custody::{Event, LedgerFilter};
use engine::{Engine, Failure, Message};
use prefect::{Client, NewFlowRun};

use crate::error::{Error, Result};
use crate::ledger::Ledger;

/// The outbox's topic.
pub const REPORTS: &str = "custody-report";
/// How far the records were told, in the ledger.
const TOLD: &str = "custody-told";

/// The mark by which Prefect knows a state folder, from the file beside its journal.
///
/// # Errors
/// The file cannot be used.
pub fn mark(ledger: &Path) -> Result<String> {
    Ok(Ledger::open(ledger)?.mark())
}

/// Puts into the outbox what was verified here since the last time. What is put twice is one message.
///
/// # Errors
/// The journal or custody cannot be used.
pub(crate) async fn collect(
    beam: &Arc<Beamline>,
    engine: &Engine,
    ledger: &Ledger,
    host: &str,
) -> Result<usize> {
    let records = |error: custody::Error| Error::Records(error.to_string());
    let after = ledger.note(TOLD)?.unwrap_or(0);
    let filter = LedgerFilter { event: Some(Event::Verified), after: Some(after), ..LedgerFilter::default() };
    let mut told = 0;
    for entry in beam.custody.ledger(&filter).map_err(records)? {
        let (Some(scan), Some(kind), Some(site)) = (&entry.scan, entry.kind, &entry.site) else { continue };
        let copies = beam.custody.copies(scan).map_err(records)?;
        let copy = copies.into_iter().find(|one| {
            one.dataset.kind == kind && one.site == *site && one.state == custody::State::Present
        });
        if let Some(copy) = copy {
            let report = CustodyReport::of(beam, copy.id, host);
            if let Some(report) = report.map_err(|error| Error::Records(error.to_string()))? {
                let key = format!("custody:{}:{}", ledger.mark(), entry.id);
                let payload = serde_json::to_value(report).unwrap_or_default();
                engine.send(REPORTS, &key, payload).await?;
                told += 1;
            }
        }
        ledger.set_note(TOLD, entry.id)?;
    }
    Ok(told)
}

/// Makes the run that brings a report to custody's owner.
///
/// # Errors
/// As [`deliver_order`](crate::deliver_order).
pub async fn deliver_report(client: &Client, message: &Message) -> std::result::Result<(), Failure> {
    let explain = |error: prefect::Error| match error.retry_helps() {
        true => Failure::retryable(error.to_string()),
        false => Failure::fatal(error.to_string()),
    };
    let found = client.deployment(CUSTODY_REPORT, CUSTODY_REPORT).await.map_err(explain)?;
    let deployment = found.ok_or_else(|| {
        Failure::retryable(format!(
            "Prefect has no deployment {CUSTODY_REPORT}; `beamrail prefect setup` makes it"
        ))
    })?;
    let text = |key: &str| message.payload.get(key).and_then(|value| value.as_str()).unwrap_or_default();
    let new = NewFlowRun {
        name: Some(format!("{} of {} at {}", text("kind"), text("stem"), text("site"))),
        parameters: message.payload.clone(),
        idempotency_key: Some(message.key.clone()),
        ..NewFlowRun::default()
    };
    client.run_deployment(deployment.id, &new).await.map_err(explain)?;
    Ok(())
}
