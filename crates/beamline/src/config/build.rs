//! From the file to a beamline at work.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use custody::{Age, Custody};
use engine::{Clock, Engine};
use serde_json::{Map, Value, json};
use sites::{
    Compute, Exchange, GlobusCompute, GlobusEndpoint, GlobusStorage, Link, LocalCompute, LocalStorage,
    Storage,
};

use super::absent::Absent;
use super::{Config, Error, FacilityKind, SiteKind, expand};
use crate::runtime::{Beamline, DispatcherSettings, Facility, FlowSettings, Home, ReconSettings};
use crate::settings::{Keeper, Places};

/// The service that is told of datasets, as custody's policy names it.
pub(super) const CATALOGUE: &str = "catalogue";
/// How often a local job is looked at.
const POLL: Duration = Duration::from_millis(500);
/// How often a job behind a service is looked at.
const REMOTE_POLL: Duration = Duration::from_secs(5);

impl Config {
    /// Opens the records, tells custody the policy, and puts sites and facilities together. `exe` runs the jobs
    /// of local facilities whose command is `beamrail`; without it, that is looked up in PATH.
    ///
    /// # Errors
    /// The state folder cannot be made, or a database in it cannot be opened.
    pub fn open(&self, clock: Clock, exe: Option<&Path>) -> Result<(Engine, Arc<Beamline>), Error> {
        std::fs::create_dir_all(&self.state)
            .map_err(|source| Error::Io { path: self.state.clone(), source })?;
        let engine = Engine::open(self.journal(), clock.clone())?;
        let custody = Custody::open(&self.custody_database())?;
        let policy = self.policy();
        let settings = Keeper::new(policy.clone(), Places::of(self));
        // What was set elsewhere stays in force until it is read again.
        custody.configure(&settings.standing(&custody)?, &format!("{}", self.path.display()), clock.now())?;
        let link = Arc::new(self.link());
        let sites = self.storages(&link);
        let beamline = Arc::new(Beamline {
            id: self.beamline.id.clone(),
            facilities: self.computes(exe, &link, &sites),
            sites,
            custody: Arc::new(custody),
            policy,
            flows: self.flow_settings(),
            settings,
            clock,
            orders: OnceLock::new(),
            runs: OnceLock::new(),
        });
        // Set once, here, so it cannot be set already.
        let _ = beamline.runs.set(Arc::new(engine.clone()));
        Ok((engine, beamline))
    }

    /// The way to Globus, with credentials from the environment once they are needed.
    pub fn link(&self) -> Link {
        let environment = self.environment.clone();
        let source = move || globus::Settings::from_env(|name| environment.get(name));
        let link = Link::new(self.state.join("globus"), source);
        // The first site that both Globus and this host see: small files pass through it.
        let exchange = self.sites.iter().find_map(|(name, site)| {
            let (local, collection) = (site.local.as_ref()?, site.more.get("collection")?);
            let collection = expand(collection, |name| self.environment.get(name)).ok()?;
            Some(Exchange::new(collection, site.root.to_string_lossy(), LocalStorage::new(name, local)))
        });
        match exchange {
            Some(exchange) => link.with_exchange(exchange),
            None => link,
        }
    }

    /// Every site's storage.
    pub fn storages(&self, link: &Arc<Link>) -> BTreeMap<String, Arc<dyn Storage>> {
        let storage = |name: &String, site: &super::Site| -> Arc<dyn Storage> {
            match (site.kind, &site.marker) {
                (SiteKind::Local, None) => Arc::new(LocalStorage::new(name, &site.root)),
                (SiteKind::Local, Some(marker)) => {
                    Arc::new(LocalStorage::new(name, &site.root).with_marker(marker))
                }
                (SiteKind::Globus, _) => {
                    let collection = site.more.get("collection").map(String::as_str).unwrap_or_default();
                    let collection = match expand(collection, |name| self.environment.get(name)) {
                        Ok(collection) => collection,
                        Err(missing) => return Arc::new(unset(name, site.kind.name(), &missing)),
                    };
                    let root = site.root.to_string_lossy();
                    let storage = GlobusStorage::new(name, link.clone(), collection, root)
                        .with_data_access(site.data_access);
                    match &site.local {
                        Some(local) => Arc::new(storage.with_local(LocalStorage::new(name, local))),
                        None => Arc::new(storage),
                    }
                }
            }
        };
        self.sites.iter().map(|(name, site)| (name.clone(), storage(name, site))).collect()
    }

    /// A facility behind Globus Compute.
    ///
    /// # Errors
    /// The name of a variable that is not set.
    pub fn globus_compute(
        &self,
        name: &str,
        link: &Arc<Link>,
        site: &Arc<dyn Storage>,
    ) -> Result<GlobusCompute, String> {
        let Some(one) = self.facilities.get(name) else { return Err(name.to_owned()) };
        let text = |key: &str| {
            one.more.get(key).map(|text| expand(text, |name| self.environment.get(name))).transpose()
        };
        let root = self.sites.get(&one.site).map(|site| site.root.clone()).unwrap_or_default();
        // What the endpoint's template asks for, by the names that the set-up prints.
        let mut config = Map::new();
        for key in ["account", "queue", "filesystems", "nodes"].into_iter().filter(|_| one.template) {
            if let Some(value) = text(key)? {
                let value = value.parse::<u64>().map_or(json!(value), |number| json!(number));
                config.insert(key.to_owned(), value);
            }
        }
        if one.template {
            config.insert("walltime".to_owned(), Value::String(clock(one.walltime)));
        }
        let settings = GlobusEndpoint {
            endpoint: text("endpoint")?.unwrap_or_default(),
            function: text("function")?,
            flow: text("flow")?,
            config,
            walltime: Some(duration(one.walltime).as_secs_f64()),
            poll: one.poll.map_or(REMOTE_POLL, duration),
        };
        let site_root = one.site_root.clone().unwrap_or(root);
        Ok(GlobusCompute::new(name, link.clone(), settings, site.clone(), site_root))
    }

    fn computes(
        &self,
        exe: Option<&Path>,
        link: &Arc<Link>,
        sites: &BTreeMap<String, Arc<dyn Storage>>,
    ) -> BTreeMap<String, Facility> {
        let facility = |name: &String, one: &super::Facility| {
            let compute: Arc<dyn Compute> = match (one.kind, sites.get(&one.site)) {
                (FacilityKind::Local, _) => Arc::new(LocalCompute::new(name)),
                (FacilityKind::GlobusCompute, Some(site)) => match self.globus_compute(name, link, site) {
                    Ok(compute) => Arc::new(compute),
                    Err(missing) => Arc::new(unset(name, one.kind.name(), &missing)),
                },
                (other, _) => {
                    let reason = "is not in this version".to_owned();
                    Arc::new(Absent { name: name.clone(), kind: other.name(), reason })
                }
            };
            let usual = if one.kind == FacilityKind::Local { POLL } else { REMOTE_POLL };
            let command = match (one.kind, one.command.as_str(), exe) {
                (FacilityKind::Local, "beamrail", Some(exe)) => exe.to_path_buf(),
                (_, command, _) => PathBuf::from(command),
            };
            let mut args = Vec::new();
            if let Some(memory) = &one.memory {
                args.extend(["--memory".to_owned(), memory.clone()]);
            }
            if let Some(threads) = one.threads {
                args.extend(["--threads".to_owned(), threads.to_string()]);
            }
            let root = self.sites.get(&one.site).map(|site| site.root.clone()).unwrap_or_default();
            Facility {
                compute,
                site: one.site.clone(),
                site_root: one.site_root.clone().unwrap_or(root),
                // Below the site, so that whoever sees the site sees the job.
                jobs: one.jobs.clone(),
                command,
                args,
                env: Vec::new(),
                queue_timeout: duration(one.queue_limit),
                run_timeout: duration(one.walltime),
                poll: one.poll.map_or(usual, duration),
            }
        };
        self.facilities.iter().map(|(name, one)| (name.clone(), facility(name, one))).collect()
    }

    fn flow_settings(&self) -> FlowSettings {
        let data_host = self.data_host().unwrap_or_default().to_owned();
        let move_flow = self.flows.get("new_832_file_flow");
        let home = Home {
            detector: move_flow.and_then(|flow| flow.source.clone()).filter(|site| *site != data_host),
            archives: move_flow
                .map(|flow| flow.send_to.iter().filter(|site| **site != data_host).cloned().collect())
                .unwrap_or_default(),
            quick_look: move_flow.and_then(|flow| flow.quick_look.clone()),
            data_host,
        };
        let recon = self.flows.iter().filter_map(|(name, flow)| {
            let settings = ReconSettings {
                source: flow.source.clone()?,
                facility: flow.facility.clone()?,
                return_to: flow.return_to.clone(),
                recipe: self.recipe(flow),
                set: flow.set.iter().map(|(key, value)| format!("{key}={value}")).collect(),
                write: flow.write.clone(),
                attempts: flow.retries.saturating_add(1),
            };
            name.ends_with("_recon_flow").then(|| (name.clone(), settings))
        });
        let dispatcher = self.flows.get("dispatcher").map(|flow| DispatcherSettings {
            new_file: flow.flows.iter().any(|name| name == "new_832_file_flow"),
            recon: flow.flows.iter().filter(|name| name.ends_with("_recon_flow")).cloned().collect(),
            fallback: flow.fail_over.clone(),
        });
        let prunes = self.flows.iter().filter_map(|(name, flow)| {
            let place = (flow.source.clone()?, flow.area.clone()?);
            name.starts_with("prune_").then(|| (name.clone(), place))
        });
        FlowSettings {
            home,
            recon: recon.collect(),
            dispatcher: dispatcher.unwrap_or_default(),
            prune_aliases: prunes.collect(),
            catalogue: self.beamline.catalogue.then(|| CATALOGUE.to_owned()),
        }
    }

    /// A recipe's name, or the path of its file from the configuration's folder.
    fn recipe(&self, flow: &super::Flow) -> String {
        let recipe = flow.recipe.clone().unwrap_or_else(|| "default".to_owned());
        if !recipe.ends_with(".toml") {
            return recipe;
        }
        let folder = self.path.parent().unwrap_or(Path::new("."));
        std::path::absolute(folder.join(&recipe)).map_or(recipe, |path| path.display().to_string())
    }
}

fn unset(name: &str, kind: &'static str, missing: &str) -> Absent {
    let reason = format!("cannot be used: {missing} is not set; set it in the environment of beamrail");
    Absent { name: name.to_owned(), kind, reason }
}

/// As batch systems write it: "01:30:00".
fn clock(age: Age) -> String {
    let seconds = age.as_seconds().max(0);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn duration(age: Age) -> Duration {
    Duration::from_secs(u64::try_from(age.as_seconds()).unwrap_or(0))
}
