//! Three collections, of which this host sees one; custody beside them.

use std::sync::Arc;
use std::time::Duration;

use custody::{FileList, Kind};
use globus::{Credentials, RetryPolicy, Secret, Settings};
use sites::{Exchange, GlobusStorage, Link, LocalStorage, Storage, Transferred, Watch};
use standin::globus::{Config, Standin};

use super::common::{Bench, bytes, raw_name};

/// The client's secret; nobody should ever see it.
pub const SECRET: &str = "correct-horse-battery-staple";

pub struct Globe {
    pub bench: Bench,
    pub standin: Standin,
    pub link: Arc<Link>,
}

/// The id of a collection.
pub fn id(site: &str) -> String {
    let digit = match site {
        "als" => "a",
        "nersc" => "b",
        _ => "c",
    };
    format!("{}-0000-4000-8000-000000000000", digit.repeat(8))
}

pub fn settings(url: &str) -> Settings {
    let credentials = Credentials { id: "client-1".into(), secret: Secret::new(SECRET) };
    let mut settings = Settings::new(credentials).unwrap();
    let url = format!("{url}/");
    for base in [&mut settings.auth, &mut settings.transfer, &mut settings.flows, &mut settings.compute] {
        *base = url.parse().unwrap();
    }
    settings.retry = RetryPolicy { scale: 0.02, ..RetryPolicy::default() };
    settings.limits.requests_per_second = 0;
    settings.limits.compute_per_ten_seconds = 0;
    settings
}

impl Globe {
    pub fn new() -> Self {
        Self::with(|config| config)
    }

    pub fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let bench = Bench::new();
        // As the configuration has it: what only Globus sees is not read for digests.
        let mut policy = super::common::settings();
        for site in ["nersc", "alcf"] {
            policy.sites.get_mut(site).unwrap().digests = false;
        }
        bench.custody.configure(&policy, "test", bench.now).unwrap();
        let mut config = Config::new(bench.folder.path().join("standin")).client("client-1", SECRET);
        config = config.retry_delay(Duration::from_millis(30));
        for site in ["als", "nersc", "alcf"] {
            config = config.collection(site, &id(site), bench.folder.path().join(site));
        }
        let standin = Standin::start(change(config)).unwrap();
        let link = Arc::new(Self::link_of(&bench, &standin, true));
        Self { bench, standin, link }
    }

    pub fn link_of(bench: &Bench, standin: &Standin, exchange: bool) -> Link {
        let url = standin.base_url();
        let link = Link::new(bench.folder.path().join("notes"), move || Ok(settings(&url)));
        let link = link.with_poll(Duration::from_millis(10), Duration::from_millis(40));
        match exchange {
            true => link.with_exchange(Exchange::new(id("als"), "/", bench.storage("als"))),
            false => link,
        }
    }

    /// A site as this beamline has it: of als, this host sees the folder.
    pub fn site(&self, name: &str) -> GlobusStorage {
        let storage = GlobusStorage::new(name, self.link.clone(), id(name), "/");
        match name {
            "als" => storage.with_local(LocalStorage::new(name, self.bench.folder.path().join(name))),
            _ => storage,
        }
    }

    pub async fn send(
        &self,
        kind: Kind,
        files: &FileList,
        from: &str,
        to: &str,
        key: &str,
        watch: &Watch,
    ) -> sites::Result<Transferred> {
        let mut request = self.bench.request(kind, files, from, to);
        request.run = format!("run-{key}");
        let permit = self.bench.custody.permit_transfer(&request, self.bench.now).unwrap();
        let id = permit.id().to_owned();
        let (source, target) = (self.site(from), self.site(to));
        let result = source.transfer(permit, &target, key, watch, self.bench.now).await;
        let failure = result.as_ref().err().map(ToString::to_string);
        self.bench.custody.end_transfer(&id, failure.as_deref(), self.bench.now).unwrap();
        result
    }

    /// A raw scan at a site.
    pub fn raw(&self, site: &str, size: usize) -> FileList {
        self.bench.write(site, Kind::Raw, &[(raw_name(), bytes(7, size))])
    }

    /// What the stand-in says of the submissions whose label holds this word: how often each was posted.
    pub fn posts(&self, word: &str) -> Vec<u64> {
        let counts = self.standin.counts();
        let all = counts["submissions"].as_object().unwrap().values();
        let mine = all.filter(|one| one["label"].as_str().is_some_and(|label| label.contains(word)));
        mine.map(|one| one["posts"].as_u64().unwrap()).collect()
    }
}

/// Waits for something, ten seconds at most.
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
