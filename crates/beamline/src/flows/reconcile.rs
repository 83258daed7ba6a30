//! `reconcile`: what is on the disks, compared with what custody knows. What vanished is written down as lost; what
//! changed counts for nothing until it was read again; what was missed is reported, or started, or adopted.

use std::sync::Arc;

use custody::{
    CopyId, DatasetId, FileEntry, FileList, Found, Kind, NewCopy, Reach, Reconciliation, ScanName,
    SiteListing, Verification,
};
use engine::{ArtifactKind, Context, NewRun, RunFilter, StepContext, join_all};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sites::{Digests, ListLimits};

use super::work::{Outcome, patient};
use crate::error::{Error, Result};
use crate::identity::tag;
use crate::runtime::{Beamline, area};

/// The parameters of `reconcile`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReconcileParameters {
    /// Registers raw scans that nobody registered, after reading them.
    pub adopt: bool,
    /// Starts the dispatcher for raw scans at the data host that no run has seen.
    pub start_missed: bool,
    /// What older triggers pass; not used.
    pub config: Option<Value>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reconciled {
    /// Raw scans at the data host that no run has seen.
    pub missed: Vec<String>,
    /// Copies that vanished; they are written down as lost.
    pub vanished: Vec<CopyId>,
    /// Copies that changed since they were verified; they do not count until they are right again.
    pub changed: Vec<CopyId>,
    /// Files that nobody registered, by site and path (the first thousand).
    pub unregistered: Vec<String>,
    /// How many of those there are.
    pub unregistered_files: u64,
    /// Places that did not answer; nothing is concluded of them.
    pub unreachable: Vec<String>,
    /// Scans that were adopted.
    pub adopted: Vec<String>,
    /// Runs that were started for missed scans.
    pub started: u64,
}

/// The flow.
pub(super) async fn reconcile(
    beam: Arc<Beamline>,
    context: Context,
    parameters: ReconcileParameters,
) -> Outcome<Reconciled> {
    let compare = |_: StepContext| {
        let beam = beam.clone();
        async move { Ok(compare(&beam).await?) }
    };
    let found: Compared = context.step("compare", patient(), compare).await?;
    let mut result = found.result;
    for copy in &result.vanished {
        let run = context.id().to_string();
        let work = |_: StepContext| {
            let lost = beam.custody.mark_lost(*copy, "reconcile found nothing of it", &run, beam.now());
            async move { Ok(lost.map_err(Error::from)?) }
        };
        context.scope(&copy.to_string()).step("mark lost", patient(), work).await?;
    }
    for copy in &result.changed {
        let work = |step: StepContext| {
            let beam = beam.clone();
            async move { Ok(look_again(&beam, &step, *copy).await?) }
        };
        context.scope(&copy.to_string()).step::<(), _, _>("look again", patient(), work).await?;
    }
    if parameters.adopt {
        for (site, scan) in &found.raw {
            let work = |step: StepContext| {
                let beam = beam.clone();
                async move { Ok(adopt(&beam, &step, site, scan).await?) }
            };
            let scope = context.scope(&format!("{site}/{scan}"));
            if scope.step::<bool, _, _>("adopt", patient(), work).await? {
                result.adopted.push(format!("{scan} at {site}"));
            }
        }
    }
    if parameters.start_missed {
        for path in &result.missed {
            let parameters = json!({ "file_path": path });
            let new = NewRun::of("dispatcher", parameters).key(format!("missed {path}"));
            let new = match super::work::scan_of(path) {
                Ok(identity) => new.tag(identity.tag()),
                Err(_) => continue,
            };
            context.scope(path).start_run("start", new).await?;
            result.started += 1;
        }
    }
    let missed = result.missed.iter().map(|path| json!({ "finding": "missed", "what": path }));
    let vanished = result.vanished.iter().map(|copy| json!({ "finding": "vanished", "what": copy }));
    let changed = result.changed.iter().map(|copy| json!({ "finding": "changed", "what": copy }));
    let strange = result.unregistered.iter().map(|path| json!({ "finding": "unregistered", "what": path }));
    let table: Value = missed.chain(vanished).chain(changed).chain(strange).collect();
    context.artifact("reconciliation", ArtifactKind::Table, table, Some("disks against custody"));
    Ok(result)
}

/// What the comparison found, and the raw files that could be adopted.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Compared {
    result: Reconciled,
    raw: Vec<(String, ScanName)>,
}

async fn compare(beam: &Beamline) -> Result<Compared> {
    let mut looks = Vec::new();
    for (site, policy) in &beam.policy.sites {
        for (name, one) in &policy.areas {
            looks.push(list(beam, site, name, &one.path));
        }
    }
    // Side by side: sites are far apart. A site that does not answer is an answer, so none of these fails.
    let listings = join_all(looks.into_iter().map(|look| async { Ok(look.await) }).collect::<Vec<_>>()).await;
    let listings: Vec<SiteListing> = listings.unwrap_or_default();
    let seen = seen_by_runs(beam).await?;
    let has_run = |scan: &ScanName| seen.contains(&tag(scan));
    let found = beam.custody.reconcile(&listings, &beam.flows.home.data_host, &has_run)?;
    Ok(summary(found))
}

async fn list(beam: &Beamline, site: &str, area: &str, path: &custody::RelPath) -> SiteListing {
    let observed_at = beam.now();
    let listed = match beam.site(site) {
        Ok(storage) => match storage.stat(path).await {
            // An area that was never written to is empty, if its site is there at all.
            Ok(None) if !path.is_root() => Ok(Vec::new()),
            Ok(_) => storage.list(path, ListLimits::default()).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        },
        Err(error) => Err(error.to_string()),
    };
    let reach = listed.map_or_else(Reach::Unreachable, Reach::Seen);
    SiteListing { site: site.to_owned(), area: area.to_owned(), observed_at, reach }
}

/// The tags of all scans that runs are about.
async fn seen_by_runs(beam: &Beamline) -> Result<std::collections::BTreeSet<String>> {
    let mut tags = std::collections::BTreeSet::new();
    let Some(runs) = beam.runs.get() else { return Ok(tags) };
    let mut filter = RunFilter { limit: 1000, ..RunFilter::default() };
    loop {
        let page = runs.runs(filter.clone()).await?;
        tags.extend(page.items.into_iter().flat_map(|run| run.tags));
        match page.next {
            Some(next) => filter.before = Some(next),
            None => return Ok(tags),
        }
    }
}

fn summary(found: Reconciliation) -> Compared {
    let place = |one: &Found| format!("{}:{}", one.site, one.path);
    let raw = |one: &Found| Some((one.site.clone(), one.scan.clone()?)).filter(|_| one.area == area::RAW);
    let scan_path =
        |one: &Found| one.scan.as_ref().map(|scan| format!("{}/{}.h5", scan.folder(), scan.stem()));
    let result = Reconciled {
        missed: found.missed.iter().filter_map(scan_path).collect(),
        vanished: found.vanished,
        changed: found.changed.into_iter().map(|(copy, _)| copy).collect(),
        unregistered: found.unregistered.iter().take(1000).map(place).collect(),
        unregistered_files: found.unregistered.len() as u64,
        unreachable: found
            .unreachable
            .iter()
            .map(|(site, area, why)| format!("{site} {area}: {why}"))
            .collect(),
        adopted: Vec::new(),
        started: 0,
    };
    Compared { result, raw: found.unregistered.iter().filter_map(raw).collect() }
}

/// Looks at a copy that seems changed, so that custody decides whether it still counts.
async fn look_again(beam: &Beamline, step: &StepContext, copy: CopyId) -> Result<()> {
    let record = beam.custody.copy(copy)?;
    let files = beam.custody.files(copy)?;
    let reads = beam.policy.sites.get(&record.site).is_some_and(|site| site.digests);
    let (digests, level) = match reads {
        true => (Digests::All, custody::Level::Digested),
        false => (Digests::None, custody::Level::Sized),
    };
    let seen = beam.site(&record.site)?.observe(&record.base, &files, digests, beam.now()).await;
    let verification = Verification { level, seen, by: format!("reconcile ({})", step.identity().run) };
    match beam.custody.verify(copy, &verification, beam.now()) {
        Ok(_) => Ok(()),
        Err(error) => {
            step.warn(error.to_string());
            if error.retry_helps() { Err(error.into()) } else { Ok(()) }
        }
    }
}

/// Reads a raw file that was there before beamrail, and registers it as what it is.
async fn adopt(beam: &Beamline, step: &StepContext, site: &str, scan: &ScanName) -> Result<bool> {
    let storage = beam.site(site)?;
    let base = beam.base(site, area::RAW, scan)?;
    let name = custody::RelPath::new(format!("{}.h5", scan.stem()))?;
    let Some(found) = storage.stat(&base.join(&name)).await? else { return Ok(false) };
    let files = FileList::new(vec![FileEntry { path: name, size: found.size, blake3: None }])?;
    let seen = storage.observe(&base, &files, Digests::All, beam.now()).await;
    let by = format!("reconcile ({})", step.identity().run);
    let (dataset, area) = (DatasetId::new(scan.clone(), Kind::Raw), area::RAW.to_owned());
    let new = NewCopy { dataset, site: site.to_owned(), area, base, files, by: by.clone() };
    let verification = Verification { level: custody::Level::Digested, seen, by };
    match beam.custody.adopt(&new, &verification, beam.now()) {
        Ok(_) => Ok(true),
        Err(error) if !error.retry_helps() => {
            step.warn(format!("not adopted: {error}"));
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}
