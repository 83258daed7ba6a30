//! What the flows act through: sites, facilities, custody, the clock, and what the configuration says of each
//! flow.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use custody::{Custody, RelPath, ScanName, Settings};
use engine::{Clock, Orchestrator};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sites::{Compute, Storage};

use crate::error::{Error, Result};
use crate::settings::Keeper;

/// A beamline at work. One per process, shared by all flows.
pub struct Beamline {
    /// Its name, "8.3.2".
    pub id: String,
    /// Where bytes are, by the site's name.
    pub sites: BTreeMap<String, Arc<dyn Storage>>,
    /// Where jobs run, by the facility's name.
    pub facilities: BTreeMap<String, Facility>,
    /// Who holds which copy.
    pub custody: Arc<Custody>,
    /// Custody's policy, for the areas' folders and rules.
    pub policy: Settings,
    /// What the configuration says of the flows.
    pub flows: FlowSettings,
    /// Settings that operators change elsewhere.
    pub settings: Keeper,
    /// The time that custody counts by.
    pub clock: Clock,
    /// The outbox's topic of runs for later, where those are made elsewhere; else they are made in the journal.
    pub orders: OnceLock<&'static str>,
    /// The journal of runs, once there is one: for questions about other runs.
    pub runs: OnceLock<Arc<dyn Orchestrator>>,
}

/// A run for later that is made elsewhere: a message of the outbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The same key is the same run.
    pub key: String,
    /// The flow, by its name here.
    pub flow: String,
    /// The run's name.
    pub name: String,
    /// Its parameters.
    pub parameters: Value,
    /// Its tags.
    pub tags: Vec<String>,
    /// When it is to begin.
    pub at: Timestamp,
}

/// The tag of runs that delete one thing at one site, by which they are found.
pub fn prune_tag(site: &str, path: &str) -> String {
    format!("delete {site}:{path}")
}

/// A place that computes.
#[derive(Clone)]
pub struct Facility {
    /// Starts jobs and looks at them.
    pub compute: Arc<dyn Compute>,
    /// The site whose files its jobs see.
    pub site: String,
    /// Where its jobs see that site's root.
    pub site_root: PathBuf,
    /// Where job folders are made, from the site's root.
    pub jobs: RelPath,
    /// The program, `beamrail`.
    pub command: PathBuf,
    /// Arguments for every job (`--memory`, `--threads`).
    pub args: Vec<String>,
    /// Environment for every job.
    pub env: Vec<(String, String)>,
    /// How long a job may wait in the queue before the facility counts as too busy.
    pub queue_timeout: Duration,
    /// How long a job may run.
    pub run_timeout: Duration,
    /// How often a job is looked at.
    pub poll: Duration,
}

/// What the configuration says of the flows.
#[derive(Debug, Clone, Default)]
pub struct FlowSettings {
    /// The journey of a new scan.
    pub home: Home,
    /// The reconstruction flows, by name (`alcf_recon_flow`).
    pub recon: BTreeMap<String, ReconSettings>,
    /// What the dispatcher does.
    pub dispatcher: DispatcherSettings,
    /// More names of prune flows, as the incumbent had them (`prune_spot832`), with site and area. Each area
    /// has its `prune_<site>_<area>` anyway.
    pub prune_aliases: BTreeMap<String, (String, String)>,
    /// The service that datasets are told to (`catalogue`), if there is one; it must be one of the policy's.
    pub catalogue: Option<String>,
}

/// Where a new scan goes: detector host, data host, archives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Home {
    /// The site that the detector writes to; `None` where that is the data host itself.
    pub detector: Option<String>,
    /// The site where scans are kept at the beamline.
    pub data_host: String,
    /// The sites that get a copy from there (NERSC).
    pub archives: Vec<String>,
    /// The facility at the data host that makes the quick look, if there is one.
    pub quick_look: Option<String>,
}

/// What a reconstruction flow does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconSettings {
    /// The site that the raw scan is taken from.
    pub source: String,
    /// The facility.
    pub facility: String,
    /// The sites that the results go to.
    pub return_to: Vec<String>,
    /// The recipe: a name or a file that the facility's jobs see.
    pub recipe: String,
    /// `key=value` of the recipe.
    pub set: Vec<String>,
    /// What is written: `tiff`, `zarr`; empty for both.
    pub write: Vec<String>,
    /// Submissions in all, where trying again can help.
    pub attempts: u32,
}

/// What the dispatcher does with a scan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatcherSettings {
    /// Whether it moves the scan first.
    pub new_file: bool,
    /// The reconstruction flows that it starts, side by side.
    pub recon: Vec<String>,
    /// The flows that take the place of one whose facility is down or too busy, in this order.
    pub fallback: Vec<String>,
}

/// The areas that the flows know.
pub mod area {
    /// Raw scans.
    pub const RAW: &str = "raw";
    /// Results.
    pub const SCRATCH: &str = "scratch";
}

impl Beamline {
    /// Now, as custody counts.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Asks for the settings that say when files go, where they are kept elsewhere.
    pub async fn refresh(&self) -> Result<()> {
        Ok(self.settings.refresh(&self.custody, self.now()).await?)
    }

    /// A site's storage.
    pub fn site(&self, name: &str) -> Result<&Arc<dyn Storage>> {
        self.sites.get(name).ok_or_else(|| unknown("site", name, self.sites.keys()))
    }

    /// A facility.
    pub fn facility(&self, name: &str) -> Result<&Facility> {
        self.facilities.get(name).ok_or_else(|| unknown("facility", name, self.facilities.keys()))
    }

    /// The folder of a scan's experiment in an area, from the site's root.
    pub fn base(&self, site: &str, area: &str, scan: &ScanName) -> Result<RelPath> {
        let policy = self.policy.sites.get(site);
        let policy = policy.ok_or_else(|| unknown("site", site, self.policy.sites.keys()))?;
        let found = policy.areas.get(area).ok_or_else(|| unknown("area", area, policy.areas.keys()))?;
        Ok(found.path.join(scan.folder()))
    }

    /// The flow that prunes each area, by name.
    pub fn prune_flows(&self) -> BTreeMap<String, (String, String)> {
        let areas = self.policy.sites.iter().flat_map(|(site, policy)| {
            policy.areas.keys().map(move |area| (prune_flow(site, area), (site.clone(), area.clone())))
        });
        areas.chain(self.flows.prune_aliases.clone()).collect()
    }

    /// The pairs of sites between which the flows move bytes.
    pub fn pairs(&self) -> BTreeSet<(String, String)> {
        let home = &self.flows.home;
        let arrive = home.detector.iter().map(|detector| (detector.clone(), home.data_host.clone()));
        let archive = home.archives.iter().map(|archive| (home.data_host.clone(), archive.clone()));
        let recon = self.flows.recon.values().filter_map(|one| {
            let there = self.facilities.get(&one.facility)?.site.clone();
            let back = one.return_to.iter().map(|home| (there.clone(), home.clone()));
            Some(back.chain([(one.source.clone(), there.clone())]).collect::<Vec<_>>())
        });
        let all = arrive.chain(archive).chain(recon.flatten());
        all.filter(|(from, to)| from != to && !from.is_empty() && !to.is_empty()).collect()
    }
}

/// The name of the flow that prunes an area.
pub fn prune_flow(site: &str, area: &str) -> String {
    format!("prune_{site}_{area}")
}

fn unknown<'a>(what: &'static str, name: &str, known: impl Iterator<Item = &'a String>) -> Error {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let hint = match known.is_empty() {
        true => "the configuration names none".to_owned(),
        false => format!("the configuration has {}", known.join(", ")),
    };
    Error::Unknown { what, name: name.to_owned(), hint }
}
