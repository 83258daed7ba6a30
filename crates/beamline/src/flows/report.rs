//! `custody_report`: another worker's word about a copy, at custody's owner. What is said is looked at: every file must be
//! there with its size. That its bytes were compared on the way is believed.

use std::sync::Arc;
use std::time::Duration;

use custody::{CopyId, DatasetId, FileEntry, FileList, Kind, Level, NewCopy, ScanName, Verification};
use engine::{Context, Failure, Retry, StepContext, StepOptions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::results;
use super::work::{Outcome, observe_with, release};
use crate::error::{Error, Result};
use crate::runtime::{Beamline, area};

/// The flow's name.
pub const CUSTODY_REPORT: &str = "custody_report";

/// What a worker without custody says of a copy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CustodyReport {
    /// The experiment folder.
    pub folder: String,
    /// The scan's name without ending.
    pub stem: String,
    /// Which of its datasets: raw, tiff, zarr, sidecars.
    pub kind: String,
    /// At which site.
    pub site: String,
    /// How well it was verified: transfer-checksummed, digested.
    pub level: String,
    /// Whether the scan is export-controlled, as far as the worker knows.
    pub controlled: bool,
    /// The raw file's size in bytes.
    #[serde(default)]
    pub size: Option<u64>,
    /// The raw file's BLAKE3 digest.
    #[serde(default)]
    pub blake3: Option<String>,
    /// The digest of the manifest of results.
    #[serde(default)]
    pub manifest: Option<String>,
    /// Who says so: host and run.
    pub by: String,
}

impl CustodyReport {
    /// What there is to say of a copy; nothing where it would not count anyway.
    ///
    /// # Errors
    /// Custody cannot be read.
    pub fn of(beam: &Beamline, id: CopyId, host: &str) -> Result<Option<Self>> {
        let copy = beam.custody.copy(id)?;
        let Some(level) = copy.level.filter(|level| *level >= beam.policy.level) else { return Ok(None) };
        let scan = &copy.dataset.scan;
        let controlled = beam.custody.mark(scan)?.is_some_and(|mark| mark.controlled);
        let mut report = Self {
            folder: scan.folder().as_str().to_owned(),
            stem: scan.stem().to_owned(),
            kind: copy.dataset.kind.name().to_owned(),
            site: copy.site.clone(),
            level: level.name().to_owned(),
            controlled,
            size: None,
            blake3: None,
            manifest: None,
            by: format!("{host}, {}", copy.verified_by.clone().unwrap_or_default()),
        };
        if copy.dataset.kind == Kind::Raw {
            let files = beam.custody.files(id)?;
            let Some(file) = files.entries().first() else { return Ok(None) };
            (report.size, report.blake3) = (Some(file.size), file.blake3.clone());
        } else {
            let Some(manifest) = beam.custody.paper(scan, "manifest")? else { return Ok(None) };
            report.manifest = Some(blake3::hash(&manifest).to_hex().to_string());
        }
        Ok(Some(report))
    }
}

/// The flow: the copy that is known now.
pub(super) async fn report(
    beam: Arc<Beamline>,
    context: Context,
    report: CustodyReport,
) -> Outcome<Option<CopyId>> {
    let bad = |reason: String| Failure::fatal(format!("the report: {reason}")).with_code("bad-parameters");
    let scan = ScanName::new(&report.folder, &report.stem).map_err(|error| bad(error.to_string()))?;
    let kind: Kind = report.kind.parse().map_err(|error: custody::Error| bad(error.to_string()))?;
    let said: Level = report.level.parse().map_err(|error: custody::Error| bad(error.to_string()))?;
    // Nobody here read the bytes.
    let level = said.min(Level::TransferChecksummed);
    let run = context.id().to_string();
    let look = |step: StepContext| {
        let (beam, scan, report, run) = (beam.clone(), scan.clone(), report.clone(), run.clone());
        async move {
            beam.custody
                .sight(&scan, Some(report.controlled), &report.by, beam.now())
                .map_err(Error::from)?;
            match kind {
                Kind::Raw => Ok(Some(raw(&beam, &scan, &report, level).await?)),
                _ => results_of(&beam, &step, &scan, kind, &report, level, &run).await,
            }
        }
    };
    // The manifest may be on its way still, or the site away: what is not known is not deleted, so there is time.
    let retry = Retry::attempts(30).first(Duration::from_secs(2)).longest(Duration::from_secs(600));
    let found = context.step("look", StepOptions::new().retry(retry), look).await?;
    release(&beam, &context).await?;
    Ok(found)
}

async fn raw(beam: &Beamline, scan: &ScanName, report: &CustodyReport, level: Level) -> Result<CopyId> {
    let name = format!("{}.h5", scan.stem());
    let entry = FileEntry::new(name, report.size.unwrap_or_default(), report.blake3.clone())?;
    let new = NewCopy {
        dataset: DatasetId::new(scan.clone(), Kind::Raw),
        site: report.site.clone(),
        area: area::RAW.to_owned(),
        base: beam.base(&report.site, area::RAW, scan)?,
        files: FileList::new(vec![entry])?,
        by: report.by.clone(),
    };
    let id = beam.custody.register(&new, beam.now())?;
    confirm(beam, id, &new.files, level, &report.by).await?;
    Ok(id)
}

async fn results_of(
    beam: &Beamline,
    step: &StepContext,
    scan: &ScanName,
    kind: Kind,
    report: &CustodyReport,
    level: Level,
    run: &str,
) -> Outcome<Option<CopyId>> {
    let digest = report.manifest.clone().unwrap_or_default();
    let accepted = results::accept(beam, step, scan, &report.site, &digest, run).await;
    let (copies, ..) = accepted.map_err(|failure| Failure::retryable(failure.to_string()))?;
    let Some((_, id)) = copies.into_iter().find(|(one, _)| *one == kind) else { return Ok(None) };
    let files = beam.custody.files(id).map_err(Error::from)?;
    confirm(beam, id, &files, level, &report.by).await?;
    Ok(Some(id))
}

/// Looks at all files, and takes their digests from who moved them.
async fn confirm(beam: &Beamline, id: CopyId, files: &FileList, level: Level, by: &str) -> Result<()> {
    let copy = beam.custody.copy(id)?;
    let storage = beam.site(&copy.site)?;
    let seen = observe_with(storage.as_ref(), &copy.base, files, files, beam.now()).await;
    let verification = Verification { level, seen, by: by.to_owned() };
    beam.custody.verify(id, &verification, beam.now())?;
    Ok(())
}
