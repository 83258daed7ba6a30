//! What sites and facilities can be. More is read than this version can use, so that one file serves all.

use super::Error;

/// What a site is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SiteKind {
    /// A folder that this host sees.
    Local,
    /// A Globus collection.
    Globus,
}

/// What a facility is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FacilityKind {
    /// Processes of this host.
    Local,
    /// Slurm.
    Slurm,
    /// PBS.
    Pbs,
    /// NERSC's Superfacility API.
    Sfapi,
    /// The Integrated Research Infrastructure's API.
    Iri,
    /// Globus Compute.
    GlobusCompute,
}

impl SiteKind {
    /// All, with the names in the file.
    pub const ALL: [(&'static str, Self); 2] = [("local", Self::Local), ("globus", Self::Globus)];

    /// The name in the file.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// The keys that only this kind has.
    pub(super) fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Local => &["marker"],
            Self::Globus => &["collection"],
        }
    }
}

impl FacilityKind {
    /// All, with the names in the file.
    pub const ALL: [(&'static str, Self); 6] = [
        ("local", Self::Local),
        ("slurm", Self::Slurm),
        ("pbs", Self::Pbs),
        ("sfapi", Self::Sfapi),
        ("iri", Self::Iri),
        ("globus-compute", Self::GlobusCompute),
    ];

    /// The name in the file.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// The keys that only this kind has.
    pub(super) fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Local => &[],
            Self::Slurm => &["host", "account", "partition", "qos", "constraint", "nodes"],
            Self::Pbs => &["host", "account", "queue", "filesystems", "nodes"],
            Self::Sfapi => &["machine", "account", "qos", "constraint", "nodes"],
            Self::Iri => &["api", "resource", "account", "queue", "nodes"],
            Self::GlobusCompute => {
                &["endpoint", "function", "flow", "account", "queue", "nodes", "filesystems"]
            }
        }
    }

    /// An error where this version cannot use it.
    ///
    /// # Errors
    /// [`Error::NotYet`].
    pub fn usable(self, facility: &str) -> Result<(), Error> {
        match self {
            Self::Local | Self::GlobusCompute => Ok(()),
            other => {
                Err(Error::NotYet { what: format!("facility {facility}"), kind: other.name().to_owned() })
            }
        }
    }
}
