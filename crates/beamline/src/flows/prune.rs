//! `prune` and `prune_<location>`: plan, announce, look, ask custody for a permit, delete, write down. Each copy is a
//! step of its own. While deletion is switched off there is a plan and nothing else.

use std::sync::Arc;

use custody::{CopyId, DatasetId, Evidence, Plan, PlanItem, RelPath, Verification};
use engine::{ArtifactKind, Context, Failure, Retry, StepContext, StepOptions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sites::Digests;

use super::work::{Outcome, patient, relative_path};
use crate::error::{Error, Result};
use crate::runtime::Beamline;

/// The parameters of the prune flows.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PruneParameters {
    /// Only this: `<folder>/<stem>.h5`, `<folder>/rec<stem>`, `<folder>/rec<stem>.zarr`; a path that ends so will do.
    pub relative_path: Option<String>,
    /// Only at this site. Where the flow's name says the place, it is not used.
    pub source_endpoint: Option<Value>,
    /// What older triggers pass: custody knows where the other copies are.
    pub check_endpoint: Option<Value>,
    /// What older triggers pass; not used.
    pub config: Option<Value>,
}

/// What was pruned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pruned {
    /// The plan's number.
    pub plan: i64,
    /// Whether deletion was switched on.
    pub switched_on: bool,
    /// What became of each copy that the plan lets go.
    pub items: Vec<Item>,
    /// Copies that are due and that the plan does not let go, and why.
    pub refused: Vec<String>,
    /// Last copies whose end was announced.
    pub announced: u64,
    /// Copies that were verified in full, because a deletion rests on them.
    pub scrubbed: u64,
    /// Bytes that are free now.
    pub bytes: u64,
}

/// What became of a copy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "became")]
pub enum Item {
    /// It is gone, and in the ledger.
    Deleted {
        /// Which.
        copy: CopyId,
        /// Files deleted.
        files: u64,
        /// Bytes freed.
        bytes: u64,
    },
    /// Custody refused at the moment of the act, or files could not be deleted.
    Stays {
        /// Which.
        copy: CopyId,
        /// Why.
        why: String,
    },
    /// Deletion is switched off.
    WouldGo {
        /// Which.
        copy: CopyId,
        /// Bytes that it has.
        bytes: u64,
    },
}

/// The part of a plan that a run acts on, as the journal keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Share {
    plan: i64,
    switched_on: bool,
    items: Vec<(CopyId, u64)>,
    refused: Vec<String>,
    announce: Vec<(CopyId, jiff::Timestamp, String)>,
    scrub: Vec<CopyId>,
}

/// The flow for one area, or for all.
pub(super) async fn prune(
    beam: Arc<Beamline>,
    place: Option<(String, String)>,
    context: Context,
    parameters: PruneParameters,
) -> Outcome<Pruned> {
    let wanted = parameters.relative_path.clone();
    let site = match (&place, &parameters.source_endpoint) {
        (None, Some(endpoint)) => Some(site_of(&beam, endpoint)?),
        _ => None,
    };
    // A run that slept for days plans anew, by the settings of now.
    let plan = |_: StepContext| async {
        beam.refresh().await?;
        Ok(share(&beam, place.as_ref(), site.as_deref(), wanted.as_deref())?)
    };
    let mut share: Share = context.step("plan", patient().input(&(&place, &site, &wanted)), plan).await?;
    let mut scrubbed = 0;
    if place.is_none() && !share.scrub.is_empty() {
        scrubbed = scrub(&beam, &context, &share.scrub).await?;
        // What rests on the copies that were just read is judged again.
        let again = |_: StepContext| {
            let share = self::share(&beam, None, site.as_deref(), wanted.as_deref());
            async move { Ok(share?) }
        };
        share = context.step("plan again", patient(), again).await?;
    }
    let goes = share.items.iter().map(|(copy, bytes)| json!({ "copy": copy, "bytes": bytes, "goes": true }));
    let stays = share.refused.iter().map(|why| json!({ "goes": false, "why": why }));
    let table: Value = goes.chain(stays).collect();
    context.artifact("prune-plan", ArtifactKind::Table, table, Some("what may go, and what may not"));
    for (copy, due, what) in &share.announce {
        announce(&beam, &context, *copy, *due, what).await?;
    }
    let announced = share.announce.len() as u64;
    let mut items = Vec::new();
    for (copy, bytes) in &share.items {
        items.push(match share.switched_on {
            true => delete(&beam, &context, share.plan, *copy).await?,
            false => Item::WouldGo { copy: *copy, bytes: *bytes },
        });
    }
    let freed = |item: &Item| if let Item::Deleted { bytes, .. } = item { *bytes } else { 0 };
    let bytes = items.iter().map(freed).sum();
    let (plan, switched_on, refused) = (share.plan, share.switched_on, share.refused);
    Ok(Pruned { plan, switched_on, items, refused, announced, scrubbed, bytes })
}

/// Makes a plan; what of it is this run's.
fn share(
    beam: &Beamline,
    place: Option<&(String, String)>,
    only: Option<&str>,
    wanted: Option<&str>,
) -> Result<Share> {
    let plan: Plan = beam.custody.plan(beam.now())?;
    let in_place = |site: &str, area: &str| {
        place.is_none_or(|(s, a)| s == site && a == area) && only.is_none_or(|only| only == site)
    };
    let named = |dataset: &DatasetId| wanted.is_none_or(|wanted| names(wanted, dataset));
    let mut refused = Vec::new();
    for one in &plan.refused {
        let record = beam.custody.copy(one.copy)?;
        if in_place(&record.site, &record.area) && named(&record.dataset) {
            refused.push(one.refusal.to_string());
        }
    }
    let mut announce = Vec::new();
    for one in &plan.announce {
        let record = beam.custody.copy(one.copy)?;
        if in_place(&record.site, &record.area) && named(&record.dataset) {
            announce.push((one.copy, one.due, format!("{} at {}", one.dataset, one.site)));
        }
    }
    let mine = |item: &&PlanItem| in_place(&item.site, &item.area) && named(&item.dataset);
    let items = plan.items.iter().filter(mine).map(|item| (item.copy, item.bytes)).collect();
    Ok(Share { plan: plan.id, switched_on: plan.switched_on, items, refused, announce, scrub: plan.scrub })
}

/// The site of an endpoint as triggers name it: the site's name, or that with its area, or an object with a name.
fn site_of(beam: &Beamline, endpoint: &Value) -> Outcome<String> {
    let name = endpoint.get("name").unwrap_or(endpoint).as_str().unwrap_or_default().to_owned();
    let sites = &beam.policy.sites;
    let is_site = |site: &&String| {
        let areas = sites.get(*site).map(|policy| policy.areas.keys()).into_iter().flatten();
        **site == name || areas.into_iter().any(|area| name == format!("{site}_{area}"))
    };
    sites.keys().find(is_site).cloned().ok_or_else(|| {
        let known: Vec<&str> = sites.keys().map(String::as_str).collect();
        let text = format!("source_endpoint {endpoint} is no site; there are {}", known.join(", "));
        Failure::fatal(text).with_code("bad-parameters")
    })
}

/// Whether a trigger's path names a dataset.
fn names(wanted: &str, dataset: &DatasetId) -> bool {
    let path = relative_path(dataset);
    let wanted = wanted.trim_end_matches('/');
    wanted == path || wanted.ends_with(&format!("/{path}"))
}

/// Tells people that a last copy goes, and custody that they were told.
async fn announce(
    beam: &Arc<Beamline>,
    context: &Context,
    copy: CopyId,
    due: jiff::Timestamp,
    what: &str,
) -> Outcome<()> {
    let message = json!({ "copy": copy, "what": what, "due": due });
    context.warn(format!("{what}: the last copy goes on {due}; hold the scan to keep it"));
    let scope = context.scope(&copy.to_string());
    scope.send("announcement", &format!("{copy} {due}"), message).await?;
    let run = context.id().to_string();
    let work = |_: StepContext| {
        let done = beam.custody.announced(copy, due, &run, beam.now());
        async move { Ok(done.map_err(Error::from)?) }
    };
    scope.step("announce", patient().input(&(copy, due)), work).await
}

/// Deletes one copy. A permit that broke off with an earlier worker is waited for.
async fn delete(beam: &Arc<Beamline>, context: &Context, plan: i64, copy: CopyId) -> Outcome<Item> {
    let permit_valid = beam.policy.permit_valid.as_seconds().unsigned_abs();
    let retry = Retry::attempts(4).first(std::time::Duration::from_secs(permit_valid + 1));
    let options = StepOptions::new().retry(retry).input(&(plan, copy));
    let work = |step: StepContext| {
        let beam = beam.clone();
        async move { delete_now(&beam, &step, plan, copy).await }
    };
    context.scope(&copy.to_string()).step("delete", options, work).await
}

async fn delete_now(beam: &Beamline, step: &StepContext, plan: i64, copy: CopyId) -> Outcome<Item> {
    let known = beam.custody.copy(copy).map_err(Error::from)?;
    if known.state == custody::State::Deleted {
        // Deleted and written down by this step before a crash.
        return Ok(Item::Deleted { copy, files: known.files, bytes: known.bytes });
    }
    let stored = beam.custody.stored_plan(plan).map_err(Error::from)?;
    let item = stored.items.iter().find(|item| item.copy == copy);
    let item = item.ok_or_else(|| Failure::fatal(format!("plan {plan} has no {copy}")))?;
    let evidence = look(beam, item).await?;
    beam.settings.refresh_if_old(&beam.custody, beam.now()).await.map_err(Error::from)?;
    let path = relative_path(&item.dataset);
    match beam.settings.wants_kept(&item.dataset.scan, &item.site, &path).await {
        Ok(None) => (),
        Ok(Some((source, why))) => {
            let refusal = beam.custody.keep_back(copy, &source, &why, beam.now()).map_err(Error::from)?;
            step.warn(refusal.to_string());
            return Ok(Item::Stays { copy, why: refusal.to_string() });
        }
        // Custody refuses below, with this reason.
        Err((source, why)) => {
            beam.custody.authority_silent(&source, &why, None, beam.now()).map_err(Error::from)?;
        }
    }
    let permit = match beam.custody.permit(plan, copy, &evidence, beam.now()) {
        Ok(permit) => permit,
        Err(custody::Error::Refused(refusal)) => {
            let being = |reason: &custody::Reason| matches!(reason, custody::Reason::BeingDeleted { .. });
            if refusal.reasons.iter().any(being) {
                return Err(Failure::retryable(refusal.to_string()).with_code("being-deleted"));
            }
            step.warn(refusal.to_string());
            return Ok(Item::Stays { copy, why: refusal.to_string() });
        }
        Err(error) => return Err(Error::Custody(error).into()),
    };
    let storage = beam.site(&item.site)?;
    let receipt = storage.delete(permit, beam.now()).await.map_err(Error::from)?;
    beam.custody.record_deleted(&receipt, beam.now()).map_err(Error::from)?;
    if let Some((path, why)) = receipt.failed().first() {
        let more = receipt.failed().len();
        return Ok(Item::Stays { copy, why: format!("{more} file(s) could not be deleted; {path}: {why}") });
    }
    step.info(format!("deleted {} at {}: {} bytes", item.dataset, item.site, receipt.bytes()));
    Ok(Item::Deleted { copy, files: known.files, bytes: known.bytes })
}

/// Looks at the copy that is to go and at those on which that rests.
async fn look(beam: &Beamline, item: &PlanItem) -> Result<Evidence> {
    let doomed = observe(beam, &item.site, &item.base, item.copy, &item.digest).await?;
    let mut witnesses = Vec::new();
    for witness in &item.witnesses {
        witnesses.push(observe(beam, &witness.site, &witness.base, witness.copy, &witness.digest).await?);
    }
    Ok(Evidence { doomed, witnesses })
}

async fn observe(
    beam: &Beamline,
    site: &str,
    base: &RelPath,
    copy: CopyId,
    digest: &[RelPath],
) -> Result<custody::Observation> {
    let files = beam.custody.files(copy)?;
    let digests = if digest.is_empty() { Digests::None } else { Digests::Of(digest.to_vec()) };
    Ok(beam.site(site)?.observe(base, &files, digests, beam.now()).await)
}

/// Reads copies in full whose verification is too old for a deletion to rest on. What is found wrong is in custody.
async fn scrub(beam: &Arc<Beamline>, context: &Context, copies: &[CopyId]) -> Outcome<u64> {
    let mut done = 0;
    for copy in copies {
        let work = |step: StepContext| {
            let (beam, copy) = (beam.clone(), *copy);
            async move { Ok(scrub_one(&beam, &step, copy).await?) }
        };
        let scope = context.scope(&copy.to_string());
        done += u64::from(scope.step::<bool, _, _>("scrub", patient(), work).await?);
    }
    Ok(done)
}

async fn scrub_one(beam: &Beamline, step: &StepContext, copy: CopyId) -> Result<bool> {
    let record = beam.custody.copy(copy)?;
    if !beam.policy.sites.get(&record.site).is_some_and(|site| site.digests) {
        step.warn(format!("{} at {} cannot be read there for its digests", record.dataset, record.site));
        return Ok(false);
    }
    let files = beam.custody.files(copy)?;
    let seen = beam.site(&record.site)?.observe(&record.base, &files, Digests::All, beam.now()).await;
    let by = format!("scrub ({})", step.identity().run);
    let verification = Verification { level: custody::Level::Digested, seen, by };
    match beam.custody.verify(copy, &verification, beam.now()) {
        Ok(_) => Ok(true),
        Err(error @ (custody::Error::Verification { .. } | custody::Error::Differs { .. })) => {
            step.warn(error.to_string());
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}
