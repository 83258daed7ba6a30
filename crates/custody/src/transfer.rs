//! Permits to transfer: the one place where export control is decided. Every byte that leaves a site asks
//! here, whoever moves it.

use jiff::Timestamp;
use serde_json::json;

use crate::files::FileList;
use crate::ledger::{Event, Line, Refusal};
use crate::marks::ScanRow;
use crate::names::DatasetId;
use crate::path::RelPath;
use crate::reason::Reason;
use crate::records::State;
use crate::redeem::Validity;
use crate::settings::Settings;
use crate::store::{Db, get, to_ms};
use crate::{Custody, Result};

/// What is to be transferred.
#[derive(Debug, Clone)]
pub struct TransferRequest {
    /// Which dataset.
    pub dataset: DatasetId,
    /// From which site.
    pub from: String,
    /// From which folder, relative to that site's root.
    pub from_base: RelPath,
    /// To which site or service.
    pub to: String,
    /// To which folder, relative to that site's root.
    pub to_base: RelPath,
    /// Exactly these files.
    pub files: FileList,
    /// By which run, or which person.
    pub run: String,
}

/// Leave to transfer exactly these files once. Only custody makes one; using it consumes it.
#[derive(Debug)]
#[must_use = "a permit that is not used expires"]
pub struct TransferPermit {
    pub(crate) order: TransferOrder,
    pub(crate) validity: Validity,
}

/// What a used permit orders.
#[derive(Debug)]
pub struct TransferOrder {
    id: String,
    request: TransferRequest,
}

impl TransferPermit {
    /// Its number, under which [`Custody::end_transfer`] is told how it went.
    pub fn id(&self) -> &str {
        &self.order.id
    }

    /// What it permits.
    pub fn request(&self) -> &TransferRequest {
        &self.order.request
    }
}

impl TransferOrder {
    /// The permit's number.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What is to be transferred.
    pub fn request(&self) -> &TransferRequest {
        &self.request
    }
}

impl Custody {
    /// Asks to transfer files. Refused (with an entry in the ledger) where the scan's export mark forbids
    /// the place, where the place is unknown, and where the files there are just being deleted. A scan that
    /// custody sees for the first time gets its mark here. While the transfer is open, neither its source
    /// nor its target is deleted. The same run asking again for the same closes its earlier transfer.
    pub fn permit_transfer(&self, request: &TransferRequest, now: Timestamp) -> Result<TransferPermit> {
        self.write("permit a transfer", now, |db| {
            let (_, settings) = db.settings()?;
            let scan = db.sight(&settings, &request.dataset.scan, None, &request.run)?;
            let reasons = db.against_transfer(&settings, &scan, request, now)?;
            if !reasons.is_empty() {
                let refusal = Refusal {
                    action: "transfer".into(),
                    dataset: request.dataset.clone(),
                    place: request.to.clone(),
                    reasons,
                };
                let detail = json!({ "from": request.from, "run": request.run });
                return db.refuse(now, refusal, request.to_base.as_str(), detail).map(Err);
            }
            let validity = Validity::new(&self.store, now, settings.permit_valid);
            db.open_transfer(scan.id, request, validity, now).map(Ok)
        })?
    }

    /// Tells how a transfer ended. Unknown and ended transfers are left alone.
    pub fn end_transfer(&self, id: &str, failure: Option<&str>, now: Timestamp) -> Result<()> {
        self.write("end a transfer", now, |db| {
            let ended = db.run(
                "UPDATE transfers SET ended_at = ?, outcome = ? WHERE id = ? AND ended_at IS NULL",
                (to_ms(db.latest), failure.unwrap_or("done"), id),
            )?;
            if ended == 0 {
                return Ok(());
            }
            let sql = "SELECT scans.folder, scans.stem, target, target_base, run FROM transfers
                       JOIN scans ON scans.id = transfers.scan WHERE transfers.id = ?";
            let row = db.one(sql, [id], |row| {
                let scan = crate::ScanName::new(get::<String>(row, "folder")?, get::<String>(row, "stem")?)?;
                let text = |column| get::<String>(row, column);
                Ok((scan, text("target")?, text("target_base")?, text("run")?))
            })?;
            let Some((scan, target, base, run)) = row else { return Ok(()) };
            let line = Line {
                scan: Some(&scan),
                site: Some(&target),
                path: Some(&base),
                who: Some(&run),
                text: failure.map_or_else(|| "done".into(), |why| format!("failed: {why}")),
                detail: json!({ "transfer": id }),
                ..Line::default()
            };
            db.ledger(now, Event::TransferEnded, line)
        })
    }
}

impl Db<'_> {
    /// What speaks against a transfer: the export mark, places that nobody knows, files that are being
    /// deleted there.
    pub(crate) fn against_transfer(
        &self,
        settings: &Settings,
        scan: &ScanRow,
        request: &TransferRequest,
        now: Timestamp,
    ) -> Result<Vec<Reason>> {
        let mut reasons = Vec::new();
        let place = || request.to.clone();
        let stays = request.from == request.to;
        if !settings.sites.contains_key(&request.from) {
            reasons.push(Reason::UnknownPlace { place: request.from.clone() });
        }
        if !settings.may_be_at(false, &request.to) {
            reasons.push(Reason::UnknownPlace { place: place() });
        } else if !stays && !settings.may_be_at(scan.mark.controlled, &request.to) {
            reasons.push(Reason::ExportControlled { place: place() });
        }
        for copy in self.copies_of(scan.id)? {
            let there = copy.site == request.to && copy.dataset.kind == request.dataset.kind;
            if there && copy.state == State::Deleting && self.has_live_permit(copy.id, now)? {
                reasons.push(Reason::BeingDeleted { site: copy.site });
            }
        }
        Ok(reasons)
    }

    fn open_transfer(
        &self,
        scan: i64,
        request: &TransferRequest,
        validity: Validity,
        now: Timestamp,
    ) -> Result<TransferPermit> {
        let at = to_ms(self.latest);
        let kind = request.dataset.kind.name();
        self.run(
            "UPDATE transfers SET ended_at = ?, outcome = 'begun anew' WHERE ended_at IS NULL AND scan = ?
             AND kind = ? AND source = ? AND target = ? AND target_base = ? AND run = ?",
            (at, scan, kind, &request.from, &request.to, request.to_base.as_str(), &request.run),
        )?;
        let id = format!("transfer-{}", self.next("transfers")?);
        self.run(
            "INSERT INTO transfers (id, scan, kind, source, source_base, target, target_base, run, minted_at, expires_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                &id,
                scan,
                kind,
                &request.from,
                request.from_base.as_str(),
                &request.to,
                request.to_base.as_str(),
                &request.run,
                at,
                to_ms(validity.expires()),
            ),
        )?;
        let line = Line {
            dataset: Some(&request.dataset),
            site: Some(&request.to),
            path: Some(request.to_base.as_str()),
            who: Some(&request.run),
            files: Some(request.files.count()),
            bytes: Some(request.files.bytes()),
            text: format!("from {}", request.from),
            detail: json!({ "transfer": id }),
            ..Line::default()
        };
        self.ledger(now, Event::TransferPermitted, line)?;
        Ok(TransferPermit { order: TransferOrder { id, request: request.clone() }, validity })
    }

    /// The number of the next row of a table that only grows.
    pub(crate) fn next(&self, table: &'static str) -> Result<i64> {
        let sql = format!("SELECT coalesce(max(rowid), 0) + 1 AS n FROM {table}");
        Ok(self.one(&sql, [], |row| get(row, "n"))?.unwrap_or(1))
    }
}
