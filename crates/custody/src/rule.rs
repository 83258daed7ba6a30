//! When a copy may go: "never", "2 days", "7 days after the copy at nersc is verified".

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A length of time in whole seconds, not negative; written "2 days", "48 hours", "90 s".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Age(i64);

/// Units, largest first, with the names that are read; the first is written.
const UNITS: [(i64, &[&str]); 5] = [
    (604_800, &["weeks", "week", "w"]),
    (86_400, &["days", "day", "d"]),
    (3_600, &["hours", "hour", "h"]),
    (60, &["minutes", "minute", "min"]),
    (1, &["seconds", "second", "s"]),
];
/// A thousand years: longer is a mistake.
const LONGEST: i64 = 365_250 * 86_400;

impl Age {
    /// So many seconds; negative numbers count as zero.
    pub const fn seconds(n: i64) -> Self {
        Self(if n < 0 { 0 } else { n })
    }
    /// So many hours.
    pub const fn hours(n: i64) -> Self {
        Self::seconds(n.saturating_mul(3_600))
    }
    /// So many days of 24 hours.
    pub const fn days(n: i64) -> Self {
        Self::seconds(n.saturating_mul(86_400))
    }
    /// The length in seconds.
    pub const fn as_seconds(self) -> i64 {
        self.0
    }

    /// `at` plus this age; the end of time where that cannot be expressed.
    pub fn after(self, at: Timestamp) -> Timestamp {
        at.checked_add(SignedDuration::from_secs(self.0)).unwrap_or(Timestamp::MAX)
    }

    /// `at` minus this age.
    pub fn before(self, at: Timestamp) -> Timestamp {
        at.checked_sub(SignedDuration::from_secs(self.0)).unwrap_or(Timestamp::MIN)
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Weeks are read but not written: policies speak of days.
        let fits = |unit: &&(i64, &[&str])| unit.0 != 604_800 && self.0 % unit.0 == 0;
        let (size, names) = UNITS.iter().find(fits).copied().unwrap_or((1, UNITS[4].1));
        let count = self.0 / size;
        write!(f, "{count} {}", if count == 1 { names[1] } else { names[0] })
    }
}

impl FromStr for Age {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let refuse = |reason: &str| Error::Value {
            name: "duration",
            value: text.to_owned(),
            reason: format!("{reason}; write for example \"2 days\" or \"48 hours\""),
        };
        let trimmed = text.trim();
        let split = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(split);
        let number: i64 = number.parse().map_err(|_| refuse("it must begin with a whole number"))?;
        let unit = unit.trim().to_ascii_lowercase();
        let (size, _) = UNITS
            .iter()
            .find(|(_, names)| names.contains(&unit.as_str()))
            .ok_or_else(|| refuse("the unit must be weeks, days, hours, minutes or seconds"))?;
        let seconds = number.checked_mul(*size).filter(|&s| s <= LONGEST);
        Ok(Self(seconds.ok_or_else(|| refuse("it is longer than a thousand years; write \"never\""))?))
    }
}

impl TryFrom<String> for Age {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Age> for String {
    fn from(age: Age) -> Self {
        age.to_string()
    }
}

/// When a copy may go, as far as its age is concerned.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Rule {
    /// It stays.
    #[default]
    Never,
    /// So long after this copy was first verified.
    After(Age),
    /// So long after the copy of the same dataset at another site was first verified.
    AfterVerified {
        /// How long after.
        age: Age,
        /// At which site.
        site: String,
    },
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::After(age) => write!(f, "{age}"),
            Self::AfterVerified { age, site } => write!(f, "{age} after the copy at {site} is verified"),
        }
    }
}

impl FromStr for Rule {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.as_slice() == ["never"] {
            return Ok(Self::Never);
        }
        let Some(at) = words.iter().position(|&word| word == "after") else {
            return Ok(Self::After(text.parse()?));
        };
        let age = words[..at].join(" ").parse()?;
        match words[at..] {
            ["after", "the", "copy", "at", site, "is", "verified"] => {
                Ok(Self::AfterVerified { age, site: site.to_owned() })
            }
            _ => Err(Error::Value {
                name: "retention",
                value: text.to_owned(),
                reason: "write \"never\", \"2 days\" or \"7 days after the copy at SITE is verified\"".into(),
            }),
        }
    }
}

impl TryFrom<String> for Rule {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        rule.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_written_back() {
        let age = |days| Age::days(days);
        let read = |text: &str| text.parse::<Rule>().unwrap();
        assert_eq!(read("never"), Rule::Never);
        assert_eq!(read(" 2 days "), Rule::After(age(2)));
        assert_eq!(read("1 week"), Rule::After(age(7)));
        assert_eq!(read("48h"), Rule::After(age(2)));
        let after = Rule::AfterVerified { age: age(7), site: "nersc".into() };
        assert_eq!(read("7 days after the copy at nersc is verified"), after);
        for text in ["never", "2 days", "1 day", "36 hours", "7 days after the copy at nersc is verified"] {
            assert_eq!(read(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_not_a_rule_says_how_to_write_one() {
        for text in [
            "",
            "days",
            "-2 days",
            "2",
            "2 fortnights",
            "1.5 days",
            "2 days after nersc",
            "99999999 weeks",
            "9999999999999999999 s",
            "after",
            "never ever",
            "Never mind",
        ] {
            let error = text.parse::<Rule>().unwrap_err().to_string();
            assert!(error.contains("write"), "{text:?}: {error}");
        }
    }
}
