//! The configuration, `beamrail.toml`: what it may say, and where it is found.
//!
//! A file is read as a whole: every mistake is reported, each with its line, an unknown key with the one that
//! was probably meant. There are no secrets in it; a key that looks like one is refused with the name of the
//! environment variable to use. `${NAME}` stands for an environment variable in `endpoint`, `collection`,
//! `function` and `flow`, and is looked up when the place is used, so that the rest works without it.

mod absent;
mod build;
mod deploy;
mod effective;
mod environment;
mod error;
mod facilities;
mod find;
mod flows;
mod kinds;
mod operator;
mod policy;
mod read;
mod sections;
mod web;
mod whole;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use custody::{Age, ExportPolicy, Keep, Level, RelPath, Rule};

pub use deploy::parameter;
pub use effective::{Origin, Setting, write_retention};
pub use environment::Environment;
pub use error::{Error, Problem};
pub use find::{FILE_NAME, find, places};
pub use flows::FLOWS;
pub use kinds::{FacilityKind, SiteKind};
pub use operator::{CUSTODY_QUEUE, is_custodial};

/// One beamline's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// `[beamline]`.
    pub beamline: BeamlineSection,
    /// The folder of journal and custody's database.
    pub state: PathBuf,
    /// `[sites.NAME]`.
    pub sites: BTreeMap<String, Site>,
    /// `[facilities.NAME]`.
    pub facilities: BTreeMap<String, Facility>,
    /// `[flows.NAME]`.
    pub flows: BTreeMap<String, Flow>,
    /// `[watch]`.
    pub watch: Watch,
    /// `[export]`.
    pub export: ExportPolicy,
    /// `[custody]`.
    pub custody: CustodySection,
    /// `[prefect]`.
    pub prefect: PrefectSection,
    /// `[schedules.NAME]`.
    pub schedules: BTreeMap<String, Schedule>,
    /// `[web]`.
    pub web: Web,
    /// What `${NAME}` and credentials are looked up in; not from the file.
    pub environment: Environment,
}

/// Who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeamlineSection {
    /// "8.3.2"
    pub id: String,
    /// In which schedules speak: "America/Los_Angeles".
    pub time_zone: String,
    /// The site at which raw scans arrive.
    pub data_host: Option<String>,
    /// Whether a catalogue is told of datasets.
    pub catalogue: bool,
}

/// Where runs go on a Prefect server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefectSection {
    /// The work pool of all flows that name none of their own.
    pub pool: String,
    /// One queue for all flows that name none of their own, but those that custody's owner does; where it is not
    /// said, a queue for each kind of work.
    pub queue: Option<String>,
}

impl Default for PrefectSection {
    fn default() -> Self {
        Self { pool: "beamrail".to_owned(), queue: None }
    }
}

/// A place that stores.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// What it is.
    pub kind: SiteKind,
    /// Its root folder, as the site sees it.
    pub root: PathBuf,
    /// Its areas: `raw`, `scratch`.
    pub areas: BTreeMap<String, Area>,
    /// Whether a raw copy here counts as the one that is kept.
    pub counted: bool,
    /// Whether files can be read for their digest here.
    pub digests: bool,
    /// A file that the root must hold to be believed: an empty mount point holds none.
    pub marker: Option<String>,
    /// The folder in which this host sees a Globus site's root.
    pub local: Option<PathBuf>,
    /// Whether a Globus site's data needs a consent of its own: mapped collections do, guest collections do not.
    pub data_access: bool,
    /// What its kind needs besides: the collection of a Globus site.
    pub more: BTreeMap<String, String>,
}

/// A folder of a site with its rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Area {
    /// Relative to the root.
    pub path: RelPath,
    /// When a copy may go.
    pub retention: Rule,
    /// Whether the last copy of derived data may go.
    pub derived: Keep,
}

/// A place that computes.
#[derive(Debug, Clone, PartialEq)]
pub struct Facility {
    /// What it is.
    pub kind: FacilityKind,
    /// The site that it sees.
    pub site: String,
    /// Where its jobs see the site's root, if not there.
    pub site_root: Option<PathBuf>,
    /// The command that runs beamrail there.
    pub command: String,
    /// Where job folders are made, from the site's root.
    pub jobs: RelPath,
    /// The memory that a job may use: "8 GiB".
    pub memory: Option<String>,
    /// Threads of a job.
    pub threads: Option<u32>,
    /// Runs at once of each flow that reconstructs there; no limit if absent, as where a scheduler has queues.
    pub slots: Option<u32>,
    /// How long a job may run.
    pub walltime: Age,
    /// How long a job may wait in the queue.
    pub queue_limit: Age,
    /// How often a job is looked at.
    pub poll: Option<Age>,
    /// Whether account, queue, nodes and the like are sent along with each task, for an endpoint whose template
    /// asks for them.
    pub template: bool,
    /// What its kind needs besides: endpoint, account, queue.
    pub more: BTreeMap<String, String>,
}

/// What a flow works with.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Flow {
    /// The site that the raw scan comes from.
    pub source: Option<String>,
    /// The facility that reconstructs.
    pub facility: Option<String>,
    /// The sites that results go to.
    pub return_to: Vec<String>,
    /// The sites that the raw scan goes to, one after the other, each from the one before.
    pub send_to: Vec<String>,
    /// A built-in recipe, or a recipe file (relative to the configuration's folder).
    pub recipe: Option<String>,
    /// Parameters of the recipe that are changed.
    pub set: BTreeMap<String, String>,
    /// What is written: "tiff", "zarr"; both where it is not said.
    pub write: Vec<String>,
    /// The facility at the data host that makes a quick look of a new scan.
    pub quick_look: Option<String>,
    /// The area that a prune flow of this name is about, at the source.
    pub area: Option<String>,
    /// The flows that a dispatcher starts, in its order.
    pub flows: Vec<String>,
    /// Flows of a dispatcher of which the next is tried when one cannot be had.
    pub fail_over: Vec<String>,
    /// How often a failed run is tried again.
    pub retries: u32,
    /// How many runs at once.
    pub concurrency: Option<u32>,
    /// The pool whose workers take its runs.
    pub pool: Option<String>,
    /// The queue in the pool.
    pub queue: Option<String>,
}

/// `beamrail watch`.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    /// Folders, absolute.
    pub folders: Vec<PathBuf>,
    /// The flow that a complete scan starts.
    pub flow: Option<String>,
    /// How long a file's size and time must stand still.
    pub quiet: Age,
    /// How often folders are listed, whatever the file system tells.
    pub poll: Age,
    /// How old scans may be that were there before the first look.
    pub backlog: Age,
}

/// What custody judges by, besides sites and export control.
#[derive(Debug, Clone, PartialEq)]
pub struct CustodySection {
    /// From which level a copy counts as verified.
    pub level: Level,
    /// A verification older than this is done again before a deletion rests on it.
    pub scrub_after: Age,
    /// How long before the last copy of derived data goes it is announced.
    pub notice: Age,
}

/// A run by the clock.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// The flow.
    pub flow: String,
    /// "0 3 * * *"
    pub cron: Option<String>,
    /// "12 hours"
    pub every: Option<Age>,
    /// Whether missed times are caught up: all, latest, none.
    pub catch_up: String,
    /// Parameters of the run.
    pub set: BTreeMap<String, String>,
}

/// `beamrail serve`: where it listens and by whom it believes that somebody was authenticated. Tokens are not here:
/// they are in the file that `BEAMRAIL_WEB_ACCESS_FILE` names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Web {
    /// Address and port; loopback where it is not said.
    pub listen: Option<std::net::SocketAddr>,
    /// Host names by which browsers may call it, besides this host's own.
    pub hosts: Vec<String>,
    /// Browsers reach it by https (a proxy in front), so cookies may be kept to that.
    pub https: bool,
    /// The header in which a proxy that authenticates says who somebody is.
    pub proxy_header: Option<String>,
    /// What those may do: look, operate, administer. Who is not named may look.
    pub roles: BTreeMap<String, String>,
}

impl Config {
    /// Reads a file and checks it as a whole.
    ///
    /// # Errors
    /// The file cannot be read, or all that is wrong in it.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_path_buf(), source })?;
        Self::parse(&text, path)
    }

    /// The configuration that `text` says; `path` names it, and relative paths in it start at its folder.
    ///
    /// # Errors
    /// All that is wrong in it.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        whole::parse(text, path)
    }

    /// Finds and reads the configuration: `flag`, `$BEAMRAIL_CONFIG`, the current directory, the user's and
    /// the system's folder, in this order.
    ///
    /// # Errors
    /// There is none, it cannot be read, or all that is wrong in it.
    pub fn load(flag: Option<&Path>) -> Result<Self, Error> {
        Self::read(&find(flag)?)
    }

    /// The journal of runs.
    pub fn journal(&self) -> PathBuf {
        self.state.join("runs.db")
    }

    /// Custody's database.
    pub fn custody_database(&self) -> PathBuf {
        self.state.join("custody.db")
    }

    /// The site at which raw scans arrive: the one that is named, else the first stop of a new scan, else the
    /// source of a reconstruction, else the only site.
    pub fn data_host(&self) -> Option<&str> {
        let named = self.beamline.data_host.as_deref();
        let moved = self.flows.get("new_832_file_flow").and_then(|flow| flow.send_to.first());
        let source = self.flows.values().filter_map(|flow| flow.source.as_deref()).next();
        let only = self.sites.keys().next().filter(|_| self.sites.len() == 1);
        named.or(moved.map(String::as_str)).or(source).or(only.map(String::as_str))
    }
}

/// `text` with `${NAME}` replaced by the environment's values.
///
/// # Errors
/// The name of the variable that is not set.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, tail)) = after.split_once('}') else {
            break;
        };
        result += before;
        result += &lookup(name).ok_or_else(|| name.to_owned())?;
        rest = tail;
    }
    Ok(result + rest)
}
