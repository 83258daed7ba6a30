//! Policy: sites and their areas, what counts, how long things stay, where controlled scans may be.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::names::Level;
use crate::path::RelPath;
use crate::rule::{Age, Rule};

/// The least notice that is given before the last copy of derived data goes.
pub const LEAST_NOTICE: Age = Age::hours(48);

/// All that custody decides by. It comes from the configuration; each change is kept as a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The sites, by name.
    pub sites: BTreeMap<String, SitePolicy>,
    /// Services that receive bytes without being sites (a catalogue), by name.
    pub services: BTreeSet<String>,
    /// From this level on a copy counts as verified.
    pub level: Level,
    /// A verification older than this has to be done again before a deletion may rest on it.
    pub scrub_after: Age,
    /// How long before the last copy of derived data goes its date is announced; at least 48 hours.
    pub notice: Age,
    /// How long a plan may be acted on.
    pub plan_valid: Age,
    /// How old an observation may be at the moment of the act.
    pub evidence_valid: Age,
    /// How soon after it was minted a permit must be used.
    pub permit_valid: Age,
    /// Export control.
    pub export: ExportPolicy,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sites: BTreeMap::new(),
            services: BTreeSet::new(),
            level: Level::TransferChecksummed,
            scrub_after: Age::days(30),
            notice: LEAST_NOTICE,
            plan_valid: Age::hours(24),
            evidence_valid: Age::seconds(600),
            permit_valid: Age::seconds(120),
            export: ExportPolicy::default(),
        }
    }
}

/// One site.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SitePolicy {
    /// Whether a raw copy here counts as the one that is kept.
    pub counted: bool,
    /// Whether files can be read here for their digest. If so, a deletion asks for a sample of digests.
    pub digests: bool,
    /// Its areas, by name (`raw`, `scratch`).
    pub areas: BTreeMap<String, AreaPolicy>,
}

/// One area of a site: a folder with a retention rule.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AreaPolicy {
    /// The folder, relative to the site's root.
    pub path: RelPath,
    /// When a copy here may go.
    pub retention: Rule,
    /// Whether the last copy of derived data may go. Raw data is always `keep-one`.
    pub derived: Keep,
}

/// What must remain of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// One verified copy stays.
    KeepOne,
    /// The last copy may go too, if it can be made again and was announced.
    #[default]
    Expire,
}

/// Which scans are export-controlled, and where those may be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExportPolicy {
    /// The mark of a scan that comes without a flag and matches no pattern.
    pub default: bool,
    /// Experiment folders whose scans are controlled whatever the flag says; `*` and `?` are wild.
    pub folders: Vec<String>,
    /// The sites at which controlled scans may be.
    pub allowed_sites: BTreeSet<String>,
}

impl Settings {
    /// Refuses settings that contradict themselves.
    pub fn check(&self) -> Result<()> {
        let refuse = |name, value: &dyn ToString, reason: String| {
            Err(Error::Value { name, value: value.to_string(), reason })
        };
        if self.level < Level::Sized {
            return refuse("level", &self.level, "a name proves nothing; use transfer-checksummed".into());
        }
        if self.notice < LEAST_NOTICE {
            let reason = format!("the last copy of derived data needs a notice of at least {LEAST_NOTICE}");
            return refuse("notice", &self.notice, reason);
        }
        for (name, age) in [
            ("plan_valid", self.plan_valid),
            ("evidence_valid", self.evidence_valid),
            ("permit_valid", self.permit_valid),
            ("scrub_after", self.scrub_after),
        ] {
            if age.as_seconds() == 0 {
                return refuse(name, &age, "it must be longer than nothing".into());
            }
        }
        for site in &self.export.allowed_sites {
            if !self.sites.contains_key(site) {
                return refuse("export.allowed_sites", site, "no such site; name one of the sites".into());
            }
        }
        for (site, policy) in &self.sites {
            if self.services.contains(site) {
                return refuse("services", site, "it is a site already; use another name".into());
            }
            for (area, one) in &policy.areas {
                let waits = match &one.retention {
                    Rule::AfterVerified { site, .. } => Some(site),
                    _ => None,
                };
                if waits.is_some_and(|other| !self.sites.contains_key(other) || other == site) {
                    let reason = format!("{site}.{area} must wait for a copy at another known site");
                    return refuse("retention", &one.retention, reason);
                }
                let twin = policy.areas.iter().find(|(name, twin)| *name != area && twin.path == one.path);
                if let Some((twin, _)) = twin {
                    return refuse("area", area, format!("{site}.{twin} has the same path; merge them"));
                }
            }
        }
        Ok(())
    }

    /// The policy of an area.
    pub fn area(&self, site: &str, area: &str) -> Option<&AreaPolicy> {
        self.sites.get(site)?.areas.get(area)
    }

    /// Whether a scan may be at `place` (a site or a service), its export mark considered.
    pub fn may_be_at(&self, controlled: bool, place: &str) -> bool {
        match controlled {
            true => self.export.allowed_sites.contains(place),
            false => self.sites.contains_key(place) || self.services.contains(place),
        }
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for anything and `?` for one character.
/// Letters are compared without case: a mark must not be missed for a capital.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (p, t): (Vec<char>, Vec<char>) =
        (pattern.to_lowercase().chars().collect(), text.to_lowercase().chars().collect());
    // The classic two-finger match: on a mismatch go back to the last star and let it take one more.
    let (mut i, mut j, mut star) = (0, 0, None);
    while j < t.len() {
        if i < p.len() && p[i] == '*' {
            star = Some((i, j));
            i += 1;
        } else if i < p.len() && (p[i] == '?' || p[i] == t[j]) {
            i += 1;
            j += 1;
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            i = at + 1;
            j = taken + 1;
        } else {
            return false;
        }
    }
    p[i..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_people_expect() {
        for (pattern, text, expected) in [
            ("EC-*", "EC-00042_miller", true),
            ("EC-*", "DEC-00042", false),
            ("*secret*", "ALS-1_Secret_x", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("", "x", false),
            ("a*b*c", "a__b__b__c", true),
            ("a*b*c", "a__c__b", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn settings_that_would_weaken_a_promise_are_refused() {
        let area = |rule: &str| AreaPolicy { retention: rule.parse().unwrap(), ..AreaPolicy::default() };
        let with = |change: &dyn Fn(&mut Settings)| {
            let mut settings = Settings::default();
            settings.sites.insert("als".into(), SitePolicy::default());
            change(&mut settings);
            settings.check().is_ok()
        };
        assert!(with(&|_| ()));
        assert!(!with(&|s| s.level = Level::Listed));
        assert!(!with(&|s| s.notice = Age::hours(47)));
        assert!(!with(&|s| s.permit_valid = Age::seconds(0)));
        assert!(!with(&|s| s.export.allowed_sites = ["nowhere".to_owned()].into()));
        for rule in ["1 day after the copy at nowhere is verified", "1 day after the copy at als is verified"]
        {
            assert!(!with(&|s| {
                let site = s.sites.get_mut("als").unwrap();
                site.areas.insert("raw".into(), area(rule));
            }));
        }
    }
}
