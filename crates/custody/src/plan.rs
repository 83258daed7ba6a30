//! The first phase of a deletion: a plan that can be read. It deletes nothing and permits nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::judge::{Dossier, Judgement};
use crate::ledger::Refusal;
use crate::names::{DatasetId, Level, ScanName};
use crate::path::RelPath;
use crate::reason::Reason;
use crate::records::{CopyId, CopyRecord};
use crate::rule::Rule;
use crate::settings::Settings;
use crate::store::{Db, get, pack, time, to_ms, unpack};
use crate::{Custody, Error, FileList, Result};

/// How many files of a copy are read for their digest before a deletion, where they can be read.
const SAMPLE: usize = 8;
/// The same plan-time refusal is written into the ledger once in this time.
const REPEAT: crate::Age = crate::Age::hours(24);

/// What may go, what may not and why, and what waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Its number; [`Custody::permit`] wants it.
    pub id: i64,
    /// When it was made.
    pub made_at: Timestamp,
    /// By which revision of the policy.
    pub revision: i64,
    /// Whether deletion was switched on then.
    pub switched_on: bool,
    /// What may go, if fresh observations confirm it.
    pub items: Vec<PlanItem>,
    /// What is due and may not go.
    pub refused: Vec<PlanRefusal>,
    /// What is not due; `None` where it waits for something else than time.
    pub waiting: Vec<Waiting>,
    /// Last copies whose end is to be announced now; tell [`Custody::announced`] when it was.
    pub announce: Vec<Announcement>,
    /// Copies on which a deletion would rest and whose verification is too old: verify them in full.
    pub scrub: Vec<CopyId>,
}

/// A copy that may go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanItem {
    /// Which copy.
    pub copy: CopyId,
    /// Of which dataset.
    pub dataset: DatasetId,
    /// At which site.
    pub site: String,
    /// In which area.
    pub area: String,
    /// In which folder, from the site's root.
    pub base: RelPath,
    /// How many files.
    pub files: u64,
    /// How many bytes become free.
    pub bytes: u64,
    /// Since when it may go.
    pub due: Timestamp,
    /// Why, in words.
    pub why: String,
    /// The verified copies on which the deletion rests. One of them has to be observed and confirmed.
    pub witnesses: Vec<Witness>,
    /// Files to be read for their digest at this site; empty where its files cannot be read.
    pub digest: Vec<RelPath>,
}

/// A copy on which a deletion rests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Witness {
    /// Which copy.
    pub copy: CopyId,
    /// Of which dataset: the same, or the raw scan from which it can be made again.
    pub dataset: DatasetId,
    /// At which site.
    pub site: String,
    /// In which folder, from the site's root.
    pub base: RelPath,
    /// How well it was verified.
    pub level: Option<Level>,
    /// When.
    pub verified_at: Option<Timestamp>,
    /// Files to be read for their digest there; empty where its files cannot be read.
    pub digest: Vec<RelPath>,
}

/// A copy that is due and may not go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanRefusal {
    /// Which copy.
    pub copy: CopyId,
    /// In which folder, from the site's root.
    pub base: RelPath,
    /// Of which dataset, where and why.
    #[serde(flatten)]
    pub refusal: Refusal,
}

/// A copy that is not due.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// Which copy.
    pub copy: CopyId,
    /// Of which dataset.
    pub dataset: DatasetId,
    /// At which site.
    pub site: String,
    /// When it may go, where only time is missing.
    pub due: Option<Timestamp>,
}

/// A last copy whose end is to be announced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Announcement {
    /// Which copy.
    pub copy: CopyId,
    /// Of which dataset.
    pub dataset: DatasetId,
    /// At which site.
    pub site: String,
    /// When it goes.
    pub due: Timestamp,
}

impl Plan {
    /// The bytes that would become free.
    pub fn bytes(&self) -> u64 {
        self.items.iter().fold(0, |sum, item| sum.saturating_add(item.bytes))
    }
}

impl Custody {
    /// Judges every copy that some rule lets go, stores the plan and returns it.
    pub fn plan(&self, now: Timestamp) -> Result<Plan> {
        self.write("make a plan", now, |db| {
            let (revision, settings) = db.settings()?;
            let mut plan = Plan {
                id: db.next("plans")?,
                made_at: now,
                revision,
                switched_on: db.switch()?,
                items: vec![],
                refused: vec![],
                waiting: vec![],
                announce: vec![],
                scrub: vec![],
            };
            for scan in db.scans_with_copies(&settings)? {
                if let Some(dossier) = db.dossier(&settings, &scan, now)? {
                    for copy in dossier.copies.iter().filter(|copy| copy.state.is_there()) {
                        db.plan_copy(&dossier, copy, &mut plan)?;
                    }
                }
            }
            plan.scrub.sort();
            plan.scrub.dedup();
            let text = serde_json::to_vec(&plan).map_err(|e| Error::damaged("plan", e))?;
            let sql = "INSERT INTO plans (id, at, revision, packed) VALUES (?, ?, ?, ?)";
            db.run(sql, (plan.id, to_ms(now), revision, pack(&text)?))?;
            Ok(plan)
        })
    }

    /// A stored plan.
    pub fn stored_plan(&self, id: i64) -> Result<Plan> {
        self.read("read a plan", |db| db.plan(id)?.ok_or(unknown_plan(id)))
    }

    /// The numbers and times of the newest plans.
    pub fn plans(&self, limit: usize) -> Result<Vec<(i64, Timestamp)>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read("list plans", |db| {
            let sql = "SELECT id, at FROM plans ORDER BY id DESC LIMIT ?";
            db.all(sql, [limit], |row| Ok((get(row, "id")?, time(get(row, "at")?)?)))
        })
    }
}

/// The answer to a number that no plan has.
pub(crate) fn unknown_plan(id: i64) -> Error {
    Error::Unknown { what: format!("plan {id}"), hint: "`beamrail prune history` shows what is known" }
}

impl Db<'_> {
    /// A stored plan.
    pub(crate) fn plan(&self, id: i64) -> Result<Option<Plan>> {
        let sql = "SELECT packed FROM plans WHERE id = ?";
        let packed: Option<Vec<u8>> = self.one(sql, [id], |row| get(row, "packed"))?;
        let Some(packed) = packed else { return Ok(None) };
        serde_json::from_slice(&unpack(&packed)?).map(Some).map_err(|e| Error::damaged("plan", e))
    }

    /// Scans with copies in an area from which something may ever go.
    fn scans_with_copies(&self, settings: &Settings) -> Result<Vec<ScanName>> {
        let mut scans = BTreeMap::new();
        for (site, policy) in &settings.sites {
            for (area, _) in policy.areas.iter().filter(|(_, area)| area.retention != Rule::Never) {
                let found = self.all(
                    "SELECT DISTINCT scans.id, scans.folder, scans.stem FROM copies
                     JOIN scans ON scans.id = copies.scan WHERE site = ? AND area = ?
                     AND state IN ('present', 'suspect', 'deleting')",
                    (site, area),
                    |row| {
                        let name = ScanName::new(get::<String>(row, "folder")?, get::<String>(row, "stem")?)?;
                        Ok((get::<i64>(row, "id")?, name))
                    },
                )?;
                scans.extend(found);
            }
        }
        Ok(scans.into_values().collect())
    }

    /// Sorts one copy into the plan.
    fn plan_copy(&self, dossier: &Dossier, copy: &CopyRecord, plan: &mut Plan) -> Result<()> {
        let judgement = dossier.judge(copy);
        if let Some(due) = judgement.announce {
            let (dataset, site) = (copy.dataset.clone(), copy.site.clone());
            plan.announce.push(Announcement { copy: copy.id, dataset, site, due });
        }
        let never = judgement.reasons.contains(&Reason::NeverDue);
        let due = judgement.due.filter(|due| *due <= dossier.now);
        if due.is_some() {
            plan.scrub.extend(&judgement.scrub);
        }
        match due {
            _ if never => {}
            None => plan.waiting.push(Waiting {
                copy: copy.id,
                dataset: copy.dataset.clone(),
                site: copy.site.clone(),
                due: judgement.due,
            }),
            Some(due) if judgement.reasons.is_empty() => {
                plan.items.push(self.plan_item(dossier, copy, &judgement, due, plan.id)?);
            }
            Some(_) => {
                let refusal = Refusal {
                    action: "deletion".into(),
                    dataset: copy.dataset.clone(),
                    place: copy.site.clone(),
                    reasons: judgement.reasons,
                };
                self.refuse_in_plan(copy, &refusal, plan)?;
                plan.refused.push(PlanRefusal { copy: copy.id, base: copy.base.clone(), refusal });
            }
        }
        Ok(())
    }

    /// Writes a refusal of a plan into the ledger, unless the same was written lately.
    fn refuse_in_plan(&self, copy: &CopyRecord, refusal: &Refusal, plan: &Plan) -> Result<()> {
        let reasons = serde_json::to_string(&refusal.reasons).map_err(|e| Error::damaged("refusal", e))?;
        let scan = &copy.dataset.scan;
        let sql = "SELECT id FROM ledger WHERE folder = ? AND stem = ? AND kind = ? AND site = ? AND path = ?
                   AND event = 'refused' AND reasons = ? AND at > ? LIMIT 1";
        let since = to_ms(REPEAT.before(plan.made_at));
        let kind = copy.dataset.kind.name();
        let key = (scan.folder().as_str(), scan.stem(), kind, &copy.site, copy.base.as_str(), reasons, since);
        if self.one(sql, key, |row| get::<i64>(row, "id"))?.is_some() {
            return Ok(());
        }
        let detail = json!({ "plan": plan.id, "copy": copy.id });
        self.refuse(plan.made_at, refusal.clone(), copy.base.as_str(), detail).map(drop)
    }

    fn plan_item(
        &self,
        dossier: &Dossier,
        copy: &CopyRecord,
        judgement: &Judgement,
        due: Timestamp,
        plan: i64,
    ) -> Result<PlanItem> {
        let reads = |site: &str| dossier.settings.sites.get(site).is_some_and(|site| site.digests);
        let mut witnesses = Vec::new();
        for id in judgement.by_copies.iter().chain(&judgement.by_raw) {
            let Some(one) = dossier.copy(*id) else { continue };
            let digest = if reads(&one.site) { sample(&self.list_of(*id)?, plan) } else { vec![] };
            witnesses.push(Witness {
                copy: *id,
                dataset: one.dataset.clone(),
                site: one.site.clone(),
                base: one.base.clone(),
                level: one.level,
                verified_at: one.verified_at,
                digest,
            });
        }
        let sites: Vec<&str> = witnesses.iter().map(|witness| witness.site.as_str()).collect();
        let why = match judgement.by_copies.is_empty() {
            false => format!("due since {due}; verified at {} too", sites.join(", ")),
            true => format!("due since {due} and announced; the raw scan is safe at {}", sites.join(", ")),
        };
        Ok(PlanItem {
            copy: copy.id,
            dataset: copy.dataset.clone(),
            site: copy.site.clone(),
            area: copy.area.clone(),
            base: copy.base.clone(),
            files: copy.files,
            bytes: copy.bytes,
            due,
            why,
            witnesses,
            digest: if reads(&copy.site) { sample(&self.list_of(copy.id)?, plan) } else { vec![] },
        })
    }
}

/// The files of a copy that are read before a deletion: other ones for each plan, the same ones for alike
/// copies, and nobody can know them before.
pub(crate) fn sample(list: &FileList, plan: i64) -> Vec<RelPath> {
    let rank = |path: &RelPath| *blake3::hash(format!("{plan}\0{}", path.as_str()).as_bytes()).as_bytes();
    let mut paths: Vec<&RelPath> = list.entries().iter().map(|entry| &entry.path).collect();
    paths.sort_by_cached_key(|path| rank(path));
    paths.truncate(SAMPLE);
    paths.sort();
    paths.into_iter().cloned().collect()
}
