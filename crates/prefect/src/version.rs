//! Which server it is, and what it can do.
//!
//! The API version is the same number on Prefect 2.20 and 3.9; only `/admin/version` tells them apart, and
//! they refuse each other's fields. So every difference is a question to [`ServerVersion`].

use std::fmt;

/// The version of a server, from `/admin/version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerVersion {
    text: String,
    parts: (u32, u32, u32),
}

impl ServerVersion {
    /// Reads "3.9.1", "2.20.20", "3.9.2.dev1+5.gabc".
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut parts = text.splitn(3, '.').map(|part| {
            let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u32>().ok()
        });
        let (major, minor) = (parts.next()??, parts.next()??);
        let patch = parts.next().flatten().unwrap_or(0);
        Some(ServerVersion { text: text.to_owned(), parts: (major, minor, patch) })
    }

    /// Whether this client can speak with it at all: 2.20 and later 2.x, and 3.
    pub fn is_supported(&self) -> bool {
        matches!(self.parts, (2, 20.., _) | (3, _, _))
    }

    /// Whether this client was run against it: 2.20, 3.8 and 3.9.
    pub fn is_tested(&self) -> bool {
        matches!(self.parts, (2, 20, _) | (3, 8 | 9, _))
    }

    fn three(&self) -> bool {
        self.parts.0 >= 3
    }

    /// Events by `POST /events` and websocket, and automations.
    pub fn has_events(&self) -> bool {
        self.three()
    }

    /// Labels of flows, runs, deployments.
    pub fn has_labels(&self) -> bool {
        self.three()
    }

    /// PENDING may be proposed again under another name ("Submitting").
    pub fn has_submitting(&self) -> bool {
        self.three()
    }

    /// Concurrency limits of deployments, and parameters and slugs of their schedules.
    pub fn has_deployment_limits(&self) -> bool {
        self.three()
    }

    /// The form of a deployment can be changed after it was made.
    pub fn has_changeable_forms(&self) -> bool {
        self.three()
    }

    /// Variables of any JSON value; before, they are strings.
    pub fn has_json_variables(&self) -> bool {
        self.three()
    }

    /// Artifacts that are pictures and bars; before, the interface shows their bytes.
    pub fn has_pictures(&self) -> bool {
        self.three()
    }

    /// Places under a limit that are let go when nobody renews them.
    pub fn has_leases(&self) -> bool {
        self.three() && self.parts.1 >= 5
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_what_they_can() {
        for (text, supported, tested, events) in [
            ("3.9.1", true, true, true),
            ("3.8.8", true, true, true),
            ("3.10.0", true, false, true),
            ("2.20.20", true, true, false),
            ("2.19.9", false, false, false),
            ("3.9.2.dev1+5.gabc", true, true, true),
            ("4.0.0", false, false, true),
        ] {
            let version = ServerVersion::parse(text).unwrap();
            assert_eq!(
                (version.is_supported(), version.is_tested(), version.has_events()),
                (supported, tested, events),
                "{text}"
            );
            assert_eq!(version.to_string(), text);
        }
        for text in ["", "x", "3", "0.8.4x?", "a.b.c"] {
            let parsed = ServerVersion::parse(text);
            assert!(parsed.is_none_or(|version| !version.is_supported()), "{text}");
        }
    }
}
