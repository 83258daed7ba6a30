//! The beamline that a command works on: its configuration, journal and records, opened.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use beamline::config::{Config, Environment};
use beamline::identity::Identity;
use beamline::settings::{self, Source};
use beamline::{Beamline, flows};
use custody::ScanName;
use engine::{Clock, Engine, Orchestrator, Registry, Run, RunFilter, RunId};
use jiff::Timestamp;
use serde_json::Value;
use worker::PrefectSettings;

use super::live::say;
use crate::exit::{Exit, Failure};

/// Which beamline: a flag that several commands share.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct BeamArgs {
    /// The configuration [default: $BEAMRAIL_CONFIG, ./beamrail.toml, then the user's and the system's folder]
    #[arg(long, value_name = "FILE", global = true, help_heading = "Beamline")]
    pub(crate) config: Option<PathBuf>,
}

/// In the state folder, while a Prefect server has the schedules: its address.
const PREFECT_MARKER: &str = "prefect-server";

/// In the state folder: which run of Prefect is which run here.
pub(crate) const PREFECT_LEDGER: &str = "prefect.db";

/// A beamline, opened.
pub(crate) struct Beam {
    pub(crate) config: Config,
    pub(crate) engine: Engine,
    pub(crate) beamline: Arc<Beamline>,
    pub(crate) registry: Registry,
    runtime: tokio::runtime::Runtime,
}

impl Beam {
    /// Reads the configuration and opens what it names.
    pub(crate) fn open(args: &BeamArgs) -> Result<Self, Failure> {
        Self::with(Config::load(args.config.as_deref())?, Clock::system())
    }

    /// As [`open`](Self::open), with the settings and secrets that operators keep in Prefect, where
    /// `PREFECT_API_URL` names a server: for what acts on them.
    pub(crate) fn open_with_settings(args: &BeamArgs) -> Result<Self, Failure> {
        let mut config = Config::load(args.config.as_deref())?;
        let Some(client) = super::prefect::client()? else { return Self::with(config, Clock::system()) };
        std::fs::create_dir_all(&config.state).map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot make {}: {error}", config.state.display()))
        })?;
        let mark = worker::mark(&config.state.join(PREFECT_LEDGER))?;
        let source = PrefectSettings::new(&client, mark)?;
        let runtime = super::globus::runtime()?;
        let asked = runtime.block_on(async {
            let secrets = source.secrets().await.map_err(|error| error.to_string())?;
            Ok::<_, String>((secrets, source.read(&[settings::ALLOCATION.to_owned()]).await?))
        });
        match asked {
            Ok((secrets, given)) => {
                config.environment =
                    Environment::before(move |name| secrets.get(name).map(|one| one.expose().to_owned()));
                settings::at_start(&mut config, &given);
            }
            Err(why) => say(&format!("credentials come from the environment alone: {why}")),
        }
        let beam = Self::with(config, Clock::system())?;
        beam.beamline.settings.attach(Arc::new(source));
        let _ = beam.beamline.orders.set(worker::ORDERS);
        Ok(beam)
    }

    /// A configuration, at another time.
    pub(crate) fn with(config: Config, clock: Clock) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime =
            runtime.map_err(|error| Failure::new(Exit::Failed, format!("cannot start threads: {error}")))?;
        let exe = std::env::current_exe().ok();
        let (engine, beamline) = config.open(clock, exe.as_deref())?;
        let registry = flows::registry(&beamline);
        Ok(Self { config, engine, beamline, registry, runtime })
    }

    /// Waits for something.
    pub(crate) fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Lets something go on beside.
    pub(crate) fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.runtime.spawn(future)
    }

    /// Now, by the beamline's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.engine.clock().now()
    }

    /// Tells the engine what the configuration says of the flows, where it does not know already.
    pub(crate) fn deploy(&self) -> Result<(), Failure> {
        if self.is_on_prefect() { self.deploy_without_schedules() } else { self.deploy_whole() }
    }

    /// As [`deploy`](Self::deploy), by a worker: it decides for all commands on this journal who has the schedules,
    /// a Prefect server or the journal.
    pub(crate) fn deploy_as_worker(&self, server: Option<&str>) -> Result<(), Failure> {
        let marker = self.config.state.join(PREFECT_MARKER);
        let written = match server {
            Some(server) => std::fs::write(&marker, format!("{server}\n")),
            None => match std::fs::remove_file(&marker) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        };
        written.map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot write {}: {error}", marker.display()))
        })?;
        if server.is_none() {
            self.beamline.custody.authority_ends(&who(), self.now())?;
        }
        if server.is_some() { self.deploy_without_schedules() } else { self.deploy_whole() }
    }

    /// Whether the runs of this journal come from a Prefect server: by the environment, or by its last worker.
    pub(crate) fn is_on_prefect(&self) -> bool {
        let named = std::env::var("PREFECT_API_URL").is_ok_and(|text| !text.trim().is_empty());
        named || self.config.state.join(PREFECT_MARKER).exists()
    }

    fn deploy_whole(&self) -> Result<(), Failure> {
        self.deploy_these(self.config.deployments(&self.registry))
    }

    /// Prefect has the schedules, pools and queues.
    fn deploy_without_schedules(&self) -> Result<(), Failure> {
        let mut wanted = self.config.deployments(&self.registry);
        for one in &mut wanted {
            one.schedules.clear();
            (one.pool, one.queue) = ("default".to_owned(), "default".to_owned());
        }
        self.deploy_these(wanted)
    }

    fn deploy_these(&self, wanted: Vec<engine::Deployment>) -> Result<(), Failure> {
        self.wait(async {
            let known = self.engine.deployments().await?;
            for one in &known {
                if !wanted.iter().any(|other| other.name == one.name) {
                    self.engine.remove_deployment(&one.name).await?;
                }
            }
            for mut one in wanted {
                let before = known.iter().find(|other| other.name == one.name);
                // Paused by a person, not by the file.
                one.paused = before.is_some_and(|before| before.paused);
                if before != Some(&one) {
                    self.engine.deploy(one).await?;
                }
            }
            Ok::<_, engine::Error>(())
        })?;
        Ok(())
    }

    /// The run that `text` names: its id, or the end or beginning of it that only one run has.
    pub(crate) fn run_id(&self, text: &str) -> Result<RunId, Failure> {
        let text = text.trim().to_lowercase();
        if let Ok(id) = text.parse::<RunId>() {
            return Ok(id);
        }
        let plain = text.len() >= 4 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        if !plain {
            return Err(Failure::usage(format!("{text:?} is no run; give its id, or its last 8 letters"))
                .hint("beamrail runs list"));
        }
        let mut found = Vec::new();
        let mut filter = RunFilter { limit: 1000, ..RunFilter::default() };
        for _ in 0..20 {
            let page = self.wait(self.engine.runs(filter.clone()))?;
            let fits = |run: &Run| {
                let id = run.id.to_string();
                id.ends_with(&text) || id.starts_with(&text)
            };
            found.extend(page.items.iter().filter(|run| fits(run)).map(|run| run.id));
            match page.next {
                Some(next) => filter.before = Some(next),
                None => break,
            }
        }
        match found.as_slice() {
            [one] => Ok(*one),
            [] => {
                Err(Failure::new(Exit::BadInput, format!("there is no run {text}"))
                    .hint("beamrail runs list"))
            }
            many => Err(Failure::usage(format!("{} runs have ids like {text}; give more of it", many.len()))),
        }
    }
}

/// The last letters of a run's id: enough to name it by hand.
pub(crate) fn short(id: RunId) -> String {
    let id = id.to_string();
    id.get(id.len().saturating_sub(8)..).unwrap_or(&id).to_owned()
}

/// A scan as people name it: `folder/stem`, with `.h5` or without, or any path that ends so.
pub(crate) fn scan(text: &str) -> Result<ScanName, Failure> {
    let with = if text.ends_with(".h5") { text.to_owned() } else { format!("{text}.h5") };
    Identity::of_trigger(&with)
        .map(|identity| identity.name)
        .map_err(|refused| Failure::usage(format!("scan {refused}")).hint("beamrail custody list"))
}

/// Who acts, for the ledger.
pub(crate) fn who() -> String {
    let name = |key: &str| std::env::var(key).ok().filter(|name| !name.trim().is_empty());
    let user = name("SUDO_USER").or_else(|| name("USER")).or_else(|| name("LOGNAME"));
    user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// `key=value` pairs of `--set`.
pub(crate) fn pairs(set: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut pairs = BTreeMap::new();
    for one in set {
        let (key, value) = one
            .split_once('=')
            .filter(|(key, _)| !key.trim().is_empty())
            .ok_or_else(|| Failure::usage(format!("--set {one}: write --set key=value")))?;
        pairs.insert(key.trim().to_owned(), value.to_owned());
    }
    Ok(pairs)
}

/// A value as a person types it: JSON where it is, else text.
pub(crate) fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// A time for people, in this host's time zone, to the second.
pub(crate) fn time(at: Timestamp) -> String {
    at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}
