//! The second phase of a deletion: at the moment of the act all is judged again, fresh observations have to
//! confirm it, and a permit is minted that can be used once, soon, for exactly the files that were seen.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::json;

use crate::files::{FileList, Observation, Reach, Seen, SeenKind};
use crate::judge::Dossier;
use crate::ledger::{Event, Line, Refusal};
use crate::path::RelPath;
use crate::plan::{Plan, unknown_plan};
use crate::reason::Reason;
use crate::records::{CopyId, CopyRecord, State};
use crate::redeem::Validity;
use crate::store::{CLOCK_TOLERANCE, Db, get, to_ms};
use crate::{Custody, Error, Result};

/// What was seen just now: of the copy that is to go, and of the copies on which that rests.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The copy that is to go.
    pub doomed: Observation,
    /// Its witnesses, as many as could be looked at. One that is confirmed is enough.
    pub witnesses: Vec<Observation>,
}

/// A file that may be deleted, as it was seen. If it looks otherwise when it is to be deleted, it stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoomedFile {
    /// Relative to the permit's folder.
    pub path: RelPath,
    /// In bytes.
    pub size: u64,
    /// When it was changed, where the site tells.
    pub mtime_ns: Option<i64>,
    /// Which bytes on the disk, where the site tells.
    pub identity: Option<String>,
}

/// Leave to delete exactly these files once. Only custody makes one; using it consumes it.
#[derive(Debug)]
#[must_use = "a permit that is not used expires"]
pub struct DeletePermit {
    pub(crate) order: DeleteOrder,
    pub(crate) validity: Validity,
    /// The policy under which it was minted.
    pub(crate) revision: i64,
    /// The copy that was seen to remain.
    pub(crate) witness: CopyId,
}

/// What a used permit orders.
#[derive(Debug)]
pub struct DeleteOrder {
    pub(crate) id: String,
    pub(crate) copy: CopyId,
    site: String,
    base: RelPath,
    files: Vec<DoomedFile>,
    folders: Vec<RelPath>,
}

/// What became of an order; [`Custody::record_deleted`] wants it.
#[derive(Debug)]
#[must_use = "tell custody what was deleted"]
pub struct DeleteReceipt {
    order: DeleteOrder,
    deleted: u64,
    bytes: u64,
    failed: Vec<(RelPath, String)>,
}

impl DeletePermit {
    /// Its number.
    pub fn id(&self) -> &str {
        &self.order.id
    }

    /// The site it is for.
    pub fn site(&self) -> &str {
        &self.order.site
    }
}

impl DeleteOrder {
    /// The permit's number.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// At which site.
    pub fn site(&self) -> &str {
        &self.site
    }

    /// In which folder, from the site's root.
    pub fn base(&self) -> &RelPath {
        &self.base
    }

    /// Exactly these files, relative to the folder.
    pub fn files(&self) -> &[DoomedFile] {
        &self.files
    }

    /// Folders to be removed afterwards if they are empty, deepest first, relative to the folder.
    pub fn folders(&self) -> &[RelPath] {
        &self.folders
    }

    /// Says what was done: the files that are gone, and those that stayed, each with the reason.
    pub fn receipt(self, gone: &[RelPath], failed: Vec<(RelPath, String)>) -> DeleteReceipt {
        let gone: BTreeSet<&RelPath> = gone.iter().collect();
        let done = self.files.iter().filter(|file| gone.contains(&file.path));
        let (deleted, bytes) = done.fold((0, 0u64), |(n, sum), file| (n + 1, sum.saturating_add(file.size)));
        // What is neither gone nor failed was forgotten, which is a failure too.
        let told: BTreeSet<RelPath> = failed.iter().map(|(path, _)| path.clone()).collect();
        let forgotten = self.files.iter().map(|f| &f.path).filter(|p| !gone.contains(p) && !told.contains(p));
        let forgotten: Vec<_> = forgotten.map(|path| (path.clone(), "not deleted".to_owned())).collect();
        DeleteReceipt { deleted, bytes, failed: [failed, forgotten].concat(), order: self }
    }
}

impl DeleteReceipt {
    /// How many files were deleted.
    pub fn deleted(&self) -> u64 {
        self.deleted
    }

    /// How many bytes that freed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The files that stayed, and why.
    pub fn failed(&self) -> &[(RelPath, String)] {
        &self.failed
    }
}

impl Custody {
    /// Asks to delete a copy of a plan. Everything is judged anew: switch, plan, policy, clock, age, holds,
    /// uses, transfers, announcement, levels, export control, and whether the copy and one of its witnesses
    /// are, right now, what was verified. A refusal goes into the ledger with all its reasons.
    ///
    /// From here on the copy counts for nothing, whether the permit is used or not, until it was verified
    /// again. When the permit is used, all that is recorded is judged once more ([`DeletePermit::redeem`]).
    pub fn permit(
        &self,
        plan: i64,
        copy: CopyId,
        evidence: &Evidence,
        now: Timestamp,
    ) -> Result<DeletePermit> {
        self.write("permit a deletion", now, |db| {
            let record = db.copy(copy)?;
            let stored = db.plan(plan)?.ok_or(unknown_plan(plan))?;
            match db.consider(&stored, &record, evidence, now)? {
                Ok((dossier, witness)) => {
                    let validity = Validity::new(&self.store, now, dossier.settings.permit_valid);
                    db.mint(validity, &stored, &record, witness, &evidence.doomed, now).map(Ok)
                }
                Err(reasons) => {
                    let (dataset, place) = (record.dataset, record.site);
                    let refusal = Refusal { action: "deletion".into(), dataset, place, reasons };
                    let detail = json!({ "plan": plan, "copy": copy });
                    db.refuse(now, refusal, record.base.as_str(), detail).map(Err)
                }
            }
        })?
    }

    /// Writes down what became of a permit. If files stayed, the next plan takes the rest up again.
    pub fn record_deleted(&self, receipt: &DeleteReceipt, now: Timestamp) -> Result<()> {
        self.write("record a deletion", now, |db| {
            let order = &receipt.order;
            let sql = "UPDATE permits SET ended_at = ? WHERE id = ? AND ended_at IS NULL";
            if db.run(sql, (to_ms(db.latest), &order.id))? == 0 {
                return Ok(());
            }
            let record = db.copy(order.copy)?;
            let complete = receipt.failed.is_empty();
            if complete {
                db.set_state(order.copy, State::Deleted, db.latest)?;
            }
            let failed: Vec<String> =
                receipt.failed.iter().take(20).map(|(path, why)| format!("{path}: {why}")).collect();
            let text = match complete {
                true => format!("{} deleted", order.copy),
                false => format!("{} files stayed: {}", receipt.failed.len(), failed.join("; ")),
            };
            let line = Line {
                dataset: Some(&record.dataset),
                site: Some(&record.site),
                path: Some(record.base.as_str()),
                files: Some(receipt.deleted),
                bytes: Some(receipt.bytes),
                text,
                detail: json!({
                    "permit": order.id, "copy": order.copy, "shape": record.shape, "content": record.content,
                }),
                ..Line::default()
            };
            db.ledger(now, if complete { Event::Deleted } else { Event::DeletionFailed }, line)
        })
    }
}

impl Db<'_> {
    /// Judges anew; returns the confirmed witness, or every reason against.
    fn consider(
        &self,
        plan: &Plan,
        record: &CopyRecord,
        evidence: &Evidence,
        now: Timestamp,
    ) -> Result<std::result::Result<(Dossier, CopyId), Vec<Reason>>> {
        let (revision, settings) = self.settings()?;
        let mut reasons = Vec::new();
        if !self.switch()? {
            reasons.push(Reason::SwitchedOff);
        }
        reasons.extend(self.unknown_settings(&settings, now)?);
        if !plan.items.iter().any(|item| item.copy == record.id) {
            reasons.push(Reason::NotInPlan { plan: plan.id });
        }
        let (made, valid) = (plan.made_at, settings.plan_valid);
        if valid.after(made) < now || made > CLOCK_TOLERANCE.after(now) {
            reasons.push(Reason::PlanTooOld { made, valid });
        }
        if plan.revision != revision {
            reasons.push(Reason::PolicyChanged { planned: plan.revision, now: revision });
        }
        let dossier = self.dossier(&settings, &record.dataset.scan, now)?;
        let dossier = dossier.ok_or_else(|| Error::damaged("scan", "missing"))?;
        let mut judgement = dossier.judge(record);
        reasons.append(&mut judgement.reasons);
        reasons.extend(self.attest(&dossier, record, &evidence.doomed, plan.id, None)?);
        let mut against = Vec::new();
        let mut confirmed = None;
        for id in judgement.by_copies.iter().chain(&judgement.by_raw) {
            let Some(witness) = dossier.copy(*id) else { continue };
            let found =
                evidence.witnesses.iter().find(|seen| seen.site == witness.site && seen.base == witness.base);
            let Some(seen) = found else {
                against.push(Reason::EvidenceMissing { site: witness.site.clone() });
                continue;
            };
            let doubts = self.attest(&dossier, witness, seen, plan.id, Some((record, &evidence.doomed)))?;
            if doubts.is_empty() {
                confirmed = Some(*id);
                break;
            }
            against.extend(doubts);
        }
        Ok(match confirmed {
            Some(witness) if reasons.is_empty() => Ok((dossier, witness)),
            Some(_) => Err(reasons),
            None => {
                reasons.extend(against);
                Err(reasons)
            }
        })
    }

    /// Makes the permit; from here on the copy counts for nothing.
    fn mint(
        &self,
        validity: Validity,
        plan: &Plan,
        record: &CopyRecord,
        witness: CopyId,
        doomed: &Observation,
        now: Timestamp,
    ) -> Result<DeletePermit> {
        let id = format!("deletion-{}", self.next("permits")?);
        self.run(
            "INSERT INTO permits (id, plan, copy, minted_at, expires_at, witness) VALUES (?, ?, ?, ?, ?, ?)",
            (&id, plan.id, record.id.0, to_ms(self.latest), to_ms(validity.expires()), witness.0),
        )?;
        self.set_state(record.id, State::Deleting, self.latest)?;
        self.run("UPDATE copies SET permit = ? WHERE id = ?", (&id, record.id.0))?;
        let list = self.list_of(record.id)?;
        let seen: &[Seen] = match &doomed.reach {
            Reach::Seen(seen) => seen,
            Reach::Unreachable(_) => &[],
        };
        let (files, folders) = orders(&list, seen);
        let line = Line {
            dataset: Some(&record.dataset),
            site: Some(&record.site),
            path: Some(record.base.as_str()),
            files: Some(files.len() as u64),
            bytes: Some(files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.size))),
            text: format!("{id}, plan {}, resting on {witness}", plan.id),
            detail: json!({ "permit": id, "plan": plan.id, "copy": record.id, "witness": witness }),
            ..Line::default()
        };
        self.ledger(now, Event::DeletionPermitted, line)?;
        let (copy, site, base) = (record.id, record.site.clone(), record.base.clone());
        Ok(DeletePermit {
            order: DeleteOrder { id, copy, site, base, files, folders },
            validity,
            revision: plan.revision,
            witness,
        })
    }

    /// Whether the operator switched deletion on.
    pub(crate) fn switch(&self) -> Result<bool> {
        let sql = "SELECT value FROM meta WHERE key = 'deletion'";
        Ok(self.one(sql, [], |row| get::<String>(row, "value"))?.as_deref() == Some("on"))
    }
}

/// The files to delete, as seen, and the folders that may be empty afterwards, deepest first.
fn orders(list: &FileList, seen: &[Seen]) -> (Vec<DoomedFile>, Vec<RelPath>) {
    let mut files = Vec::new();
    let mut folders = BTreeSet::new();
    let own = list.own_folders();
    for one in seen {
        let Some(path) = RelPath::new(one.path.as_str()).ok() else { continue };
        let mine = path.parts().next().is_some_and(|top| own.contains(top));
        if one.kind == SeenKind::Folder && mine {
            folders.insert(path);
        } else if let Some(entry) = list.find(&one.path) {
            let (mtime_ns, identity) = (one.mtime_ns, one.identity.clone());
            files.push(DoomedFile { path, size: entry.size, mtime_ns, identity });
        }
    }
    for entry in list.entries() {
        let mut above = entry.path.split().map(|(folder, _)| folder);
        while let Some(folder) = above.filter(|folder| !folder.is_root()) {
            above = folder.split().map(|(up, _)| up);
            folders.insert(folder);
        }
    }
    let mut folders: Vec<RelPath> = folders.into_iter().collect();
    folders.sort_by_key(|folder| std::cmp::Reverse(folder.parts().count()));
    (files, folders)
}
