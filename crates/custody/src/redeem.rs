//! The use of a permit. Between minting and use anything may have been decided: a hold, another policy, an
//! export mark, the clock put back. So all that is recorded is judged once more in the transaction that uses
//! the permit up, whichever process decided it; only what was seen on the disks is not looked at again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use crate::ledger::Refusal;
use crate::permit::{DeleteOrder, DeletePermit};
use crate::reason::Reason;
use crate::records::State;
use crate::rule::Age;
use crate::store::{Db, Store, get, to_ms};
use crate::transfer::{TransferOrder, TransferPermit};
use crate::{Error, Result};

/// How long a permit is good, by the clock that custody is shown and by the process's own, and which database
/// it was minted in.
#[derive(Debug)]
pub(crate) struct Validity {
    store: Arc<Store>,
    expires: Timestamp,
    minted: Instant,
    valid: Duration,
}

impl Validity {
    /// Of a permit that is minted at `now`.
    pub fn new(store: &Arc<Store>, now: Timestamp, valid: Age) -> Self {
        Self {
            store: Arc::clone(store),
            expires: valid.after(now),
            minted: Instant::now(),
            valid: Duration::from_secs(valid.as_seconds().unsigned_abs()),
        }
    }

    /// When it ends by the clock that custody is shown.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    fn check(&self, id: &str, now: Timestamp) -> Result<()> {
        match now > self.expires || self.minted.elapsed() > self.valid {
            true => Err(Error::Expired { id: id.to_owned(), expired: self.expires }),
            false => Ok(()),
        }
    }
}

impl DeletePermit {
    /// Uses the permit up. Refused, with an entry in the ledger, when something that was recorded since it was
    /// minted speaks against the deletion; an error when it is too old.
    pub fn redeem(self, now: Timestamp) -> Result<DeleteOrder> {
        let Self { order, validity, .. } = &self;
        validity.check(&order.id, now)?;
        let against = validity.store.write("use a permit to delete", now, |db| {
            let record = db.copy(order.copy)?;
            let reasons = db.doubts_about(&self, now)?;
            if reasons.is_empty() {
                return Ok(None);
            }
            let sql = "UPDATE permits SET ended_at = ? WHERE id = ? AND ended_at IS NULL";
            db.run(sql, (to_ms(db.latest), &order.id))?;
            let refusal =
                Refusal { action: "deletion".into(), dataset: record.dataset, place: record.site, reasons };
            let detail = json!({ "permit": order.id, "copy": order.copy });
            db.refuse(now, refusal, record.base.as_str(), detail).map(Some)
        })?;
        against.map_or(Ok(self.order), Err)
    }
}

impl TransferPermit {
    /// Uses the permit up. Refused, with an entry in the ledger, when the scan may not go there any more; an
    /// error when the permit is too old.
    pub fn redeem(self, now: Timestamp) -> Result<TransferOrder> {
        let Self { order, validity } = &self;
        validity.check(order.id(), now)?;
        let against = validity.store.write("use a permit to transfer", now, |db| {
            let request = order.request();
            let (_, settings) = db.settings()?;
            let scan = db.sight(&settings, &request.dataset.scan, None, &request.run)?;
            let mut reasons = db.against_transfer(&settings, &scan, request, now)?;
            let sql = "SELECT 1 AS open FROM transfers WHERE id = ? AND ended_at IS NULL";
            if db.one(sql, [order.id()], |row| get::<i64>(row, "open"))?.is_none() {
                reasons.push(Reason::PermitVoid { permit: order.id().to_owned() });
            }
            if reasons.is_empty() {
                return Ok(None);
            }
            let (dataset, place) = (request.dataset.clone(), request.to.clone());
            let refusal = Refusal { action: "transfer".into(), dataset, place, reasons };
            let detail = json!({ "permit": order.id(), "from": request.from, "run": request.run });
            db.refuse(now, refusal, request.to_base.as_str(), detail).map(Some)
        })?;
        against.map_or(Ok(self.order), Err)
    }
}

impl Db<'_> {
    /// What is recorded now and speaks against using this permit.
    fn doubts_about(&self, permit: &DeletePermit, now: Timestamp) -> Result<Vec<Reason>> {
        let DeletePermit { order, revision, witness, .. } = permit;
        let record = self.copy(order.copy)?;
        let sql = "SELECT 1 AS open FROM permits WHERE id = ? AND ended_at IS NULL";
        let open = self.one(sql, [&order.id], |row| get::<i64>(row, "open"))?.is_some();
        if !open || record.state != State::Deleting || record.permit.as_ref() != Some(&order.id) {
            return Ok(vec![Reason::PermitVoid { permit: order.id.clone() }]);
        }
        let mut reasons = Vec::new();
        if !self.switch()? {
            reasons.push(Reason::SwitchedOff);
        }
        let (standing, settings) = self.settings()?;
        reasons.extend(self.unknown_settings(&settings, now)?);
        if standing != *revision {
            reasons.push(Reason::PolicyChanged { planned: *revision, now: standing });
        }
        let dossier = self.dossier(&settings, &record.dataset.scan, now)?;
        let mut dossier = dossier.ok_or_else(|| Error::damaged("scan", "missing"))?;
        // That it is being deleted is this permit's own doing.
        dossier.live.remove(&record.id);
        let judgement = dossier.judge(&record);
        let mut stands = judgement.by_copies.iter().chain(&judgement.by_raw);
        if judgement.reasons.is_empty() && !stands.any(|id| id == witness) {
            // Other copies count now, but it is this one that was looked at.
            let site = dossier.copy(*witness).map_or_else(|| witness.to_string(), |copy| copy.site.clone());
            reasons.push(Reason::WitnessGone { site });
        }
        reasons.extend(judgement.reasons);
        Ok(reasons)
    }
}
