//! Why something is not allowed. Each reason has a code, for the ledger and for whoever counts them.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::files::{Finding, summary};
use crate::names::Level;
use crate::rule::Age;

/// Why a deletion or a transfer is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "code")]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant says what it and its fields mean")]
pub enum Reason {
    SwitchedOff,
    SettingsUnknown { source: String, why: String },
    KeptElsewhere { source: String, why: String },
    NotInPlan { plan: i64 },
    PlanTooOld { made: Timestamp, valid: Age },
    PolicyChanged { planned: i64, now: i64 },
    ClockWentBack { latest: Timestamp },
    TimeInFuture { what: String, at: Timestamp },
    NoSuchArea { site: String, area: String },
    OutsideArea { path: String, area: String },
    NotPresent { state: String },
    NotVerified { site: String, level: Option<Level>, needed: Level },
    Held { who: String, why: String, until: Option<Timestamp> },
    InUse { run: String },
    BeingWritten { transfer: String },
    BeingRead { transfer: String },
    BeingDeleted { site: String },
    NotDue { due: Timestamp },
    NeverDue,
    WaitsFor { site: String },
    LastCopy,
    KeepOne,
    NotCounted { site: String },
    NotAllowedThere { site: String },
    DiffersThere { site: String },
    NeedsScrub { site: String, verified: Timestamp, limit: Age },
    RawNotSafe,
    PaperMissing { paper: String },
    NotAnnounced,
    AnnouncedTooLate { earliest: Timestamp },
    Unreachable { site: String, why: String },
    EvidenceMissing { site: String },
    EvidenceOld { site: String, observed: Timestamp },
    EvidenceElsewhere { site: String, base: String },
    Changed { site: String, findings: Vec<Finding> },
    CannotTell { site: String, path: String },
    SameFile { site: String, path: String },
    ExportControlled { place: String },
    UnknownPlace { place: String },
    PermitVoid { permit: String },
    WitnessGone { site: String },
}

impl Reason {
    /// The code, as in JSON.
    pub fn code(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        value.get("code").and_then(|code| code.as_str()).unwrap_or("unknown").to_owned()
    }

    /// Whether waiting, and looking again, can be enough.
    pub fn passes_with_time(&self) -> bool {
        matches!(
            self,
            Self::SettingsUnknown { .. }
                | Self::PlanTooOld { .. }
                | Self::PolicyChanged { .. }
                | Self::NotInPlan { .. }
                | Self::InUse { .. }
                | Self::BeingWritten { .. }
                | Self::BeingRead { .. }
                | Self::BeingDeleted { .. }
                | Self::NotDue { .. }
                | Self::WaitsFor { .. }
                | Self::NotAnnounced
                | Self::AnnouncedTooLate { .. }
                | Self::Unreachable { .. }
                | Self::EvidenceMissing { .. }
                | Self::EvidenceOld { .. }
                | Self::PermitVoid { .. }
                | Self::WitnessGone { .. }
        )
    }

    /// Whether it only means that the time has not come.
    pub fn is_waiting(&self) -> bool {
        matches!(self, Self::NotDue { .. } | Self::NeverDue | Self::WaitsFor { .. })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SwitchedOff => {
                write!(f, "deletion is switched off (plan only); the operator switches it on")
            }
            Self::SettingsUnknown { source, why } => {
                write!(f, "the settings in force are kept in {source}, and are not known: {why}")
            }
            Self::KeptElsewhere { source, why } => write!(f, "{source}: {why}"),
            Self::NotInPlan { plan } => write!(f, "plan {plan} does not allow it; make a new plan"),
            Self::PlanTooOld { made, valid } => {
                write!(f, "the plan of {made} is older than {valid}; make a new plan")
            }
            Self::PolicyChanged { planned, now } => write!(
                f,
                "the policy changed since the plan (revision {planned}, now {now}); make a new plan"
            ),
            Self::ClockWentBack { latest } => write!(
                f,
                "the clock went back (it showed {latest} before); set it right, or accept it on purpose"
            ),
            Self::TimeInFuture { what, at } => {
                write!(f, "{what} has a time in the future ({at}); check the clock and verify again")
            }
            Self::NoSuchArea { site, area } => write!(f, "the policy knows no area {area} at {site}"),
            Self::OutsideArea { path, area } => write!(f, "{path} is outside the area {area}"),
            Self::NotPresent { state } => write!(f, "the copy is {state}"),
            Self::NotVerified { site, level: Some(level), needed } => {
                write!(f, "the copy at {site} is verified as {level} only, {needed} is needed")
            }
            Self::NotVerified { site, .. } => write!(f, "the copy at {site} was never verified"),
            Self::Held { who, why, until: Some(until) } => write!(f, "{who} holds it until {until}: {why}"),
            Self::Held { who, why, until: None } => write!(f, "{who} holds it: {why}"),
            Self::InUse { run } => write!(f, "run {run} uses it"),
            Self::BeingWritten { transfer } => write!(f, "transfer {transfer} is writing it"),
            Self::BeingRead { transfer } => write!(f, "transfer {transfer} is reading it"),
            Self::BeingDeleted { site } => write!(f, "the copy at {site} is being deleted"),
            Self::NotDue { due } => write!(f, "it stays until {due}"),
            Self::NeverDue => write!(f, "the policy lets it stay"),
            Self::WaitsFor { site } => write!(f, "it stays until the copy at {site} is verified"),
            Self::LastCopy => write!(f, "no other verified copy counts"),
            Self::KeepOne => write!(f, "the policy keeps one copy"),
            Self::NotCounted { site } => write!(f, "the policy does not count the copy at {site}"),
            Self::NotAllowedThere { site } => {
                write!(f, "the scan is export-controlled and may not be at {site}")
            }
            Self::DiffersThere { site } => write!(f, "the copy at {site} has another content"),
            Self::NeedsScrub { site, verified, limit } => write!(
                f,
                "the copy at {site} was last verified at {verified}, longer than {limit} ago; verify it in full"
            ),
            Self::RawNotSafe => write!(f, "the raw scan is not verified at a counted site"),
            Self::PaperMissing { paper } => write!(f, "custody has no {paper} to make it again from"),
            Self::NotAnnounced => write!(f, "it is the last copy, and its date was not announced"),
            Self::AnnouncedTooLate { earliest } => {
                write!(f, "it is the last copy; by its announcement it stays until {earliest}")
            }
            Self::Unreachable { site, why } => write!(f, "{site} cannot be reached: {why}"),
            Self::EvidenceMissing { site } => write!(f, "nobody looked at the copy at {site}"),
            Self::EvidenceOld { site, observed } => {
                write!(f, "the copy at {site} was looked at {observed}, not just now")
            }
            Self::EvidenceElsewhere { site, base } => {
                write!(f, "what was looked at ({base} at {site}) is not the copy in question")
            }
            Self::Changed { site, findings } => {
                write!(f, "the copy at {site} is not what was verified: {}", summary(findings))
            }
            Self::CannotTell { site, path } => write!(
                f,
                "whether {path} at {site} changed cannot be told: neither a time nor a digest is known"
            ),
            Self::SameFile { site, path } => {
                write!(f, "{path} at {site} is the very same file on the disk, not another copy")
            }
            Self::ExportControlled { place } => {
                write!(f, "the scan is export-controlled and {place} is not allowed to have it")
            }
            Self::UnknownPlace { place } => write!(f, "the policy knows no site or service {place}"),
            Self::PermitVoid { permit } => {
                write!(f, "permit {permit} is void, something else was done meanwhile; ask for a new one")
            }
            Self::WitnessGone { site } => {
                write!(f, "the copy at {site}, which was to remain, does not count any more; make a new plan")
            }
        }
    }
}
