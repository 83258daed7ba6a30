//! Preflight: is everything there that the configuration names, and who must do what. One place for `beamrail check`,
//! which tries everything, and for the dashboard, which only looks.

mod globus;
mod local;

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use self::globus::Globe;
use crate::config::{Config, FacilityKind, SiteKind};

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Well.
    Ok,
    /// Worth knowing; work goes on.
    Warning,
    /// Something would fail.
    Fault,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Look {
    /// "site als"
    pub place: String,
    /// "raw folder"
    pub what: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// Who must do what about it.
    pub action: Option<String>,
}

/// How closely things are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Whether something is written, renamed and deleted where rights are to be known.
    pub writes: bool,
    /// How long a worker behind a queue is waited for; `None`: none is asked.
    pub patience: Option<Duration>,
}

impl Depth {
    /// Looks and changes nothing.
    pub const GLANCE: Self = Self { writes: false, patience: None };
}

/// What was looked at so far, for one place.
struct Looks<'a> {
    place: String,
    all: &'a mut Vec<Look>,
}

impl Looks<'_> {
    fn ok(&mut self, what: &str, found: impl Into<String>) {
        self.push(what, Verdict::Ok, found.into(), None);
    }

    fn bad(&mut self, what: &str, verdict: Verdict, found: impl Into<String>, action: impl Into<String>) {
        self.push(what, verdict, found.into(), Some(action.into()));
    }

    fn push(&mut self, what: &str, verdict: Verdict, found: String, action: Option<String>) {
        self.all.push(Look { place: self.place.clone(), what: what.to_owned(), verdict, found, action });
    }
}

/// The state folder: on a disk of this host, writable.
pub fn state(config: &Config) -> Vec<Look> {
    let mut all = Vec::new();
    local::state(config, &mut Looks { place: "state".into(), all: &mut all });
    all
}

/// A site of the configuration; nothing where it has none of that name.
pub async fn site(config: &Config, name: &str, depth: Depth) -> Vec<Look> {
    let mut all = Vec::new();
    let mut looks = Looks { place: format!("site {name}"), all: &mut all };
    match config.sites.get(name) {
        Some(one) if one.kind == SiteKind::Globus => {
            Globe::new(config, depth).site(config, name, one, &mut looks).await;
        }
        Some(one) => local::site(one, &mut looks),
        None => {}
    }
    all
}

/// A facility of the configuration; nothing where it has none of that name.
pub async fn facility(config: &Config, name: &str, depth: Depth) -> Vec<Look> {
    let mut all = Vec::new();
    let mut looks = Looks { place: format!("facility {name}"), all: &mut all };
    match config.facilities.get(name) {
        Some(one) if one.kind == FacilityKind::GlobusCompute => {
            Globe::new(config, depth).facility(config, name, one, &mut looks).await;
        }
        Some(one) => local::facility(config, one, &mut looks),
        None => {}
    }
    all
}

/// As `beamrail --version` says it.
fn own_version() -> String {
    format!("beamrail {}", env!("CARGO_PKG_VERSION"))
}
