//! The judgement whether a copy may go, by what is recorded. It is made for the plan, and again at the moment
//! of the act, where fresh observations have to confirm it (`permit`).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::keep::{Announced, Hold, PAPERS, hold};
use crate::names::{Kind, Level};
use crate::reason::Reason;
use crate::records::{CopyId, CopyRecord, State};
use crate::rule::{Age, Rule};
use crate::settings::{Keep, Settings};
use crate::store::{CLOCK_TOLERANCE, Db, get, maybe_time, to_ms};
use crate::{Result, ScanName};

/// A transfer that nobody ended is forgotten after this time.
const TRANSFER_LIFE: Age = Age::days(7);

/// All that is recorded of one scan, as the judge needs it.
pub(crate) struct Dossier {
    pub settings: Settings,
    pub now: Timestamp,
    /// The latest time ever shown, if the clock lies clearly behind it.
    pub went_back: Option<Timestamp>,
    pub controlled: bool,
    pub copies: Vec<CopyRecord>,
    holds: Vec<Hold>,
    /// Kind, site and run of each running use.
    uses: Vec<(Kind, String, String)>,
    /// Number, kind, source and target of each open transfer.
    transfers: Vec<(String, Kind, String, String)>,
    announced: BTreeMap<CopyId, Announced>,
    papers: BTreeSet<String>,
    /// Copies that a permit which is still good is about to delete.
    pub live: BTreeSet<CopyId>,
}

/// What speaks for and against deleting a copy.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    /// When its rule lets it go.
    pub due: Option<Timestamp>,
    /// What forbids it. Empty: it may go if a witness confirms.
    pub reasons: Vec<Reason>,
    /// Other copies of the same data, one of which has to be confirmed.
    pub by_copies: Vec<CopyId>,
    /// Or: copies of the raw scan, one of which has to be confirmed, for derived data that can be made again.
    pub by_raw: Vec<CopyId>,
    /// The date to announce, if that is all that is missing.
    pub announce: Option<Timestamp>,
    /// Copies to be verified in full before they can be witnesses.
    pub scrub: Vec<CopyId>,
}

impl Db<'_> {
    /// Reads the dossier of a scan.
    pub(crate) fn dossier(
        &self,
        settings: &Settings,
        scan: &ScanName,
        now: Timestamp,
    ) -> Result<Option<Dossier>> {
        let Some(row) = self.scan_row(scan)? else { return Ok(None) };
        let id = row.id;
        let copies = self.copies_of(id)?;
        let mut announced = BTreeMap::new();
        let mut live = BTreeSet::new();
        for copy in copies.iter().filter(|copy| copy.state.is_there()) {
            if let Some(one) = self.announcement(copy.id)? {
                announced.insert(copy.id, one);
            }
            if copy.state == State::Deleting && self.has_live_permit(copy.id, now)? {
                live.insert(copy.id);
            }
        }
        let holds = self.all(
            "SELECT holds.*, scans.folder, scans.stem FROM holds JOIN scans ON scans.id = holds.scan
             WHERE holds.scan = ? AND released_at IS NULL ORDER BY holds.id",
            [id],
            hold,
        )?;
        let uses = self.all("SELECT * FROM uses WHERE scan = ? AND ended_at IS NULL", [id], |row| {
            let until = maybe_time(get(row, "until")?)?;
            let kind = get::<String>(row, "kind")?.parse()?;
            Ok((until, (kind, get(row, "site")?, get(row, "run")?)))
        })?;
        let ended = |until: &Option<Timestamp>| until.is_some_and(|until| until < now);
        let transfers = self.all(
            "SELECT * FROM transfers WHERE scan = ? AND ended_at IS NULL AND minted_at > ?",
            (id, to_ms(TRANSFER_LIFE.before(now))),
            |row| {
                let kind = get::<String>(row, "kind")?.parse()?;
                Ok((get(row, "id")?, kind, get(row, "source")?, get(row, "target")?))
            },
        )?;
        let papers =
            self.all("SELECT DISTINCT paper FROM papers WHERE scan = ?", [id], |row| get(row, "paper"))?;
        Ok(Some(Dossier {
            settings: settings.clone(),
            now,
            went_back: self.went_back(now).then_some(self.latest),
            controlled: row.mark.controlled,
            copies,
            holds: holds.into_iter().filter(|hold| !ended(&hold.until)).collect(),
            uses: uses.into_iter().filter(|(until, _)| !ended(until)).map(|(_, one)| one).collect(),
            transfers,
            announced,
            papers: papers.into_iter().collect(),
            live,
        }))
    }
}

impl Dossier {
    /// A copy of this scan.
    pub fn copy(&self, id: CopyId) -> Option<&CopyRecord> {
        self.copies.iter().find(|copy| copy.id == id)
    }

    /// Whether `copy` may be deleted.
    pub fn judge(&self, copy: &CopyRecord) -> Judgement {
        let mut judgement = Judgement { due: self.due(copy).ok(), ..Judgement::default() };
        self.judge_itself(copy, &mut judgement.reasons);
        let mut against = Vec::new();
        self.find_copies(copy, &mut judgement, &mut against);
        if judgement.by_copies.is_empty() && copy.dataset.kind != Kind::Raw {
            self.find_raw(copy, &mut judgement, &mut against);
        }
        if judgement.by_copies.is_empty() && judgement.by_raw.is_empty() {
            against.insert(0, Reason::LastCopy);
            judgement.reasons.append(&mut against);
        }
        judgement
    }

    /// What in the copy itself, and in what is going on, forbids its deletion.
    fn judge_itself(&self, copy: &CopyRecord, reasons: &mut Vec<Reason>) {
        let site = || copy.site.clone();
        if let Some(latest) = self.went_back {
            reasons.push(Reason::ClockWentBack { latest });
        }
        match self.settings.area(&copy.site, &copy.area) {
            None => reasons.push(Reason::NoSuchArea { site: site(), area: copy.area.clone() }),
            Some(area) if !copy.base.is_within(&area.path) => {
                reasons
                    .push(Reason::OutsideArea { path: copy.base.to_string(), area: area.path.to_string() });
            }
            Some(_) => {}
        }
        match copy.state {
            State::Present => {}
            State::Deleting if self.live.contains(&copy.id) => {
                reasons.push(Reason::BeingDeleted { site: site() });
            }
            // A deletion that broke off is gone on with.
            State::Deleting => {}
            other => reasons.push(Reason::NotPresent { state: other.name().into() }),
        }
        if copy.level < Some(self.settings.level) {
            reasons.push(Reason::NotVerified {
                site: site(),
                level: copy.level,
                needed: self.settings.level,
            });
        }
        for at in [copy.first_verified_at, copy.verified_at].into_iter().flatten() {
            if at > CLOCK_TOLERANCE.after(self.now) {
                reasons.push(Reason::TimeInFuture { what: format!("the verification at {}", copy.site), at });
                break;
            }
        }
        match self.due(copy) {
            Ok(due) if self.now < due => reasons.push(Reason::NotDue { due }),
            Ok(_) => {}
            Err(reason) => reasons.push(reason),
        }
        for hold in &self.holds {
            let (who, why) = (hold.who.clone(), hold.reason.clone());
            reasons.push(Reason::Held { who, why, until: hold.until });
        }
        let kind = copy.dataset.kind;
        for (_, _, run) in self.uses.iter().filter(|(k, s, _)| *k == kind && *s == copy.site) {
            reasons.push(Reason::InUse { run: run.clone() });
        }
        for (transfer, k, from, to) in &self.transfers {
            if *k == kind && *to == copy.site {
                reasons.push(Reason::BeingWritten { transfer: transfer.clone() });
            } else if *k == kind && *from == copy.site {
                reasons.push(Reason::BeingRead { transfer: transfer.clone() });
            }
        }
    }

    /// When the rule of its area lets a copy go, or why it does not.
    fn due(&self, copy: &CopyRecord) -> std::result::Result<Timestamp, Reason> {
        let Some(area) = self.settings.area(&copy.site, &copy.area) else { return Err(Reason::NeverDue) };
        let first = |copy: &CopyRecord| copy.first_verified_at.or(copy.verified_at);
        match &area.retention {
            Rule::Never => Err(Reason::NeverDue),
            Rule::After(age) => match first(copy) {
                Some(at) => Ok(age.after(at)),
                None => Err(Reason::WaitsFor { site: copy.site.clone() }),
            },
            Rule::AfterVerified { age, site } => self
                .copies
                .iter()
                .filter(|other| other.dataset.kind == copy.dataset.kind && other.site == *site)
                .filter(|other| matches!(other.state, State::Present | State::Deleting | State::Deleted))
                .filter(|other| other.level >= Some(self.settings.level) && other.is_like(copy))
                .filter_map(first)
                .min()
                .map(|at| age.after(at))
                .ok_or_else(|| Reason::WaitsFor { site: site.clone() }),
        }
    }

    /// Finds the other copies of the same data that count.
    fn find_copies(&self, copy: &CopyRecord, judgement: &mut Judgement, against: &mut Vec<Reason>) {
        let keep = self.settings.area(&copy.site, &copy.area).map(|area| area.derived);
        let counted = copy.dataset.kind == Kind::Raw || keep == Some(Keep::KeepOne);
        for other in self.copies.iter().filter(|o| o.id != copy.id && o.dataset.kind == copy.dataset.kind) {
            let like = other.is_like(copy);
            match self.counts(other, counted) {
                _ if !other.state.is_there() => {}
                Ok(()) if !like => against.push(Reason::DiffersThere { site: other.site.clone() }),
                Ok(()) => judgement.by_copies.push(other.id),
                Err(reason) => {
                    if matches!(reason, Reason::NeedsScrub { .. }) && like {
                        judgement.scrub.push(other.id);
                    }
                    against.push(reason);
                }
            }
        }
    }

    /// Whether the last copy of derived data may go: it can be made again, and it was announced.
    fn find_raw(&self, copy: &CopyRecord, judgement: &mut Judgement, against: &mut Vec<Reason>) {
        let mut missing = Vec::new();
        let keep = self.settings.area(&copy.site, &copy.area).map(|area| area.derived);
        if keep != Some(Keep::Expire) {
            missing.push(Reason::KeepOne);
        }
        for paper in PAPERS.iter().filter(|paper| !self.papers.contains(**paper)) {
            missing.push(Reason::PaperMissing { paper: (*paper).to_owned() });
        }
        let mut raw = Vec::new();
        for other in self.copies.iter().filter(|o| o.dataset.kind == Kind::Raw && o.state.is_there()) {
            match self.counts(other, true) {
                Ok(()) => raw.push(other.id),
                Err(reason) => {
                    if matches!(reason, Reason::NeedsScrub { .. }) {
                        judgement.scrub.push(other.id);
                    }
                    missing.push(reason);
                }
            }
        }
        if raw.is_empty() {
            missing.insert(0, Reason::RawNotSafe);
        } else {
            // Copies of the raw scan that do not count do not matter when one does.
            missing.retain(|reason| matches!(reason, Reason::KeepOne | Reason::PaperMissing { .. }));
        }
        let notice = self.settings.notice;
        let standing = self.announced.get(&copy.id).filter(|one| one.at <= self.now);
        let earliest = standing.map(|one| one.due.max(notice.after(one.at)));
        let told = earliest.is_some_and(|earliest| earliest <= self.now);
        if missing.is_empty() && told {
            judgement.by_raw = raw;
            return;
        }
        if missing.is_empty() && standing.is_none() {
            // Announced as early as the notice allows, so that the copy goes on its day.
            judgement.announce = judgement
                .due
                .filter(|due| notice.before(*due) <= self.now)
                .map(|due| due.max(notice.after(self.now)))
                .filter(|_| judgement.reasons.iter().all(Reason::is_waiting));
        }
        against.append(&mut missing);
        match earliest {
            Some(earliest) if !told => against.push(Reason::AnnouncedTooLate { earliest }),
            Some(_) => {}
            None => against.push(Reason::NotAnnounced),
        }
    }

    /// Whether another copy counts as one that remains.
    fn counts(&self, other: &CopyRecord, counted: bool) -> std::result::Result<(), Reason> {
        let site = || other.site.clone();
        let needed: Level = self.settings.level;
        match other.state {
            State::Present => {}
            State::Deleting => return Err(Reason::BeingDeleted { site: site() }),
            state => return Err(Reason::NotPresent { state: format!("{} at {}", state.name(), other.site) }),
        }
        if other.level < Some(needed) {
            return Err(Reason::NotVerified { site: site(), level: other.level, needed });
        }
        let Some(policy) = self.settings.sites.get(&other.site) else {
            return Err(Reason::UnknownPlace { place: site() });
        };
        if counted && !policy.counted {
            return Err(Reason::NotCounted { site: site() });
        }
        if !self.settings.may_be_at(self.controlled, &other.site) {
            return Err(Reason::NotAllowedThere { site: site() });
        }
        let kind = other.dataset.kind;
        if let Some((id, ..)) = self.transfers.iter().find(|(_, k, _, to)| *k == kind && *to == other.site) {
            return Err(Reason::BeingWritten { transfer: id.clone() });
        }
        let verified = other.verified_at.unwrap_or(Timestamp::MIN);
        if verified > CLOCK_TOLERANCE.after(self.now) {
            let what = format!("the verification at {}", other.site);
            return Err(Reason::TimeInFuture { what, at: verified });
        }
        let limit = self.settings.scrub_after;
        if limit.after(verified) < self.now {
            return Err(Reason::NeedsScrub { site: site(), verified, limit });
        }
        Ok(())
    }
}
