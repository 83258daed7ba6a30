//! Who holds which verified copy of a scan, and when it may go.
//!
//! Custody decides; it moves and deletes no byte. Whoever does needs a permit that was minted here: a
//! [`TransferPermit`] for every byte that leaves a site (export control is decided in
//! [`Custody::permit_transfer`] and nowhere else), a [`DeletePermit`] for every file that is deleted. Permits
//! cannot be copied or made elsewhere, are used up by use, and expire soon.
//!
//! A deletion has two phases. [`Custody::plan`] says what may go, why, on which other verified copies that
//! rests, and what may not go and why. [`Custody::permit`] judges everything again at the moment of the act
//! and wants fresh observations of the copy and of a witness; [`DeletePermit::redeem`] judges the records a last
//! time. The default is to keep: deletion starts
//! switched off, an area without a rule keeps everything, and what cannot be told is a reason to refuse.
//!
//! Time is an argument of every call. Times that ages count from never run backwards; while the clock shows
//! less than it did before, nothing is permitted.

mod attest;
mod authority;
mod error;
mod files;
mod judge;
mod keep;
mod ledger;
mod marks;
mod names;
mod path;
mod permit;
mod plan;
mod reason;
mod reconcile;
mod records;
mod redeem;
mod register;
mod rule;
mod settings;
mod store;
mod transfer;
mod verify;

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;

pub use authority::Authority;
pub use error::{Error, Result};
pub use files::{FileEntry, FileList, Finding, Observation, Problem, Reach, Seen, SeenKind};
pub use keep::{Hold, PAPERS, Use};
pub use ledger::{Entry, Event, LedgerFilter, Refusal};
pub use marks::Mark;
pub use names::{DatasetId, Kind, Level, ScanName};
pub use path::RelPath;
pub use permit::{DeleteOrder, DeletePermit, DeleteReceipt, DoomedFile, Evidence};
pub use plan::{Announcement, Plan, PlanItem, PlanRefusal, Waiting, Witness};
pub use reason::Reason;
pub use reconcile::{Found, Reconciliation, SiteListing};
pub use records::{CopyId, CopyRecord, State};
pub use register::NewCopy;
pub use rule::{Age, Rule};
pub use settings::{AreaPolicy, ExportPolicy, Keep, LEAST_NOTICE, Settings, SitePolicy};
pub use transfer::{TransferOrder, TransferPermit, TransferRequest};
pub use verify::Verification;

use ledger::Line;
use store::{Db, Store, get, to_ms};

/// The records of one beamline. One process owns them; its threads share this value.
pub struct Custody {
    store: Arc<Store>,
}

impl Custody {
    /// Opens the database, making it if there is none. A new one has no sites and permits nothing.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { store: Arc::new(Store::open(path)?) })
    }

    /// Sets the policy. The same settings again change nothing; other ones are a new revision, which voids
    /// every plan made before.
    pub fn configure(&self, settings: &Settings, who: &str, now: Timestamp) -> Result<i64> {
        settings.check()?;
        let text = serde_json::to_string(settings).map_err(|e| Error::damaged("settings", e))?;
        self.write("set the policy", now, |db| {
            let (revision, standing) = db.settings()?;
            if revision > 0 && standing == *settings {
                return Ok(revision);
            }
            let sql = "INSERT INTO settings (at, who, json) VALUES (?, ?, ?)";
            let revision = db.insert(sql, (to_ms(db.latest), who, &text))?;
            let line = Line {
                who: Some(who),
                text: format!("policy revision {revision}"),
                detail: serde_json::to_value(settings).unwrap_or_default(),
                ..Line::default()
            };
            db.ledger(now, Event::PolicyChanged, line)?;
            Ok(revision)
        })
    }

    /// The policy and its revision; 0 before the first.
    pub fn settings(&self) -> Result<(i64, Settings)> {
        self.read("read the policy", |db| db.settings())
    }

    /// Switches deletion on or off. Off, there are plans but no permits.
    pub fn switch_deletion(&self, on: bool, who: &str, now: Timestamp) -> Result<()> {
        self.write("switch deletion", now, |db| {
            if db.switch()? == on {
                return Ok(());
            }
            let word = if on { "on" } else { "off" };
            db.set_meta("deletion", word)?;
            let text = format!("deletion switched {word}");
            db.ledger(now, Event::Switched, Line { who: Some(who), text, ..Line::default() })
        })
    }

    /// Whether deletion is switched on.
    pub fn deletion_is_on(&self) -> Result<bool> {
        self.read("read the switch", |db| db.switch())
    }

    /// Accepts a clock that shows less than it did before (it had been wrong). What was recorded in the
    /// future has to be verified again before it counts.
    pub fn accept_clock(&self, who: &str, now: Timestamp) -> Result<()> {
        self.write("accept the clock", now, |db| {
            let latest = db.latest;
            db.set_meta("clock", &to_ms(now).to_string())?;
            let detail = json!({ "before": latest.to_string() });
            let text = format!("{now} is right, {latest} was not");
            db.ledger(now, Event::ClockAccepted, Line { who: Some(who), text, detail, ..Line::default() })
        })
    }

    pub(crate) fn write<T>(
        &self,
        action: &'static str,
        now: Timestamp,
        work: impl FnOnce(&Db<'_>) -> Result<T>,
    ) -> Result<T> {
        self.store.write(action, now, work)
    }

    pub(crate) fn read<T>(&self, action: &'static str, work: impl FnOnce(&Db<'_>) -> Result<T>) -> Result<T> {
        self.store.read(action, work)
    }
}

impl Db<'_> {
    /// The newest policy and its revision.
    pub(crate) fn settings(&self) -> Result<(i64, Settings)> {
        let sql = "SELECT revision, json FROM settings ORDER BY revision DESC LIMIT 1";
        let row = |row: &rusqlite::Row<'_>| Ok((get::<i64>(row, "revision")?, get::<String>(row, "json")?));
        let Some((revision, text)) = self.one(sql, [], row)? else { return Ok((0, Settings::default())) };
        let settings = serde_json::from_str(&text).map_err(|e| Error::damaged("settings", e))?;
        Ok((revision, settings))
    }
}
