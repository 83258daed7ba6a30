//! A world of sites with files, beside custody: what is really there, whatever custody believes. Contents are
//! numbers; two files are the same if their numbers are.
#![allow(dead_code, reason = "each test uses its part of the world")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;

use custody::*;
use jiff::{SignedDuration, Timestamp};

/// A file as it really is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Real {
    pub content: u64,
    pub size: u64,
    pub mtime_ns: i64,
}

pub struct World {
    pub custody: Custody,
    pub now: Timestamp,
    /// Site, then path from its root.
    pub disks: BTreeMap<String, BTreeMap<String, Real>>,
    pub away: Vec<String>,
    _folder: tempfile::TempDir,
}

pub fn digest(content: u64) -> String {
    blake3::hash(&content.to_le_bytes()).to_hex().to_string()
}

pub fn scan(n: u64) -> ScanName {
    ScanName::new("ALS-00001_u", format!("20260101_{n:06}_x")).unwrap()
}

pub fn rel(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

pub fn start() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// The three sites of the beamline with the periods of the production set-up.
pub fn settings() -> Settings {
    let mut settings = Settings::default();
    for (site, raw, scratch, counted) in [
        ("als", "7 days after the copy at nersc is verified", "3 days", true),
        ("nersc", "never", "7 days", true),
        ("alcf", "2 days", "2 days", false),
    ] {
        let area = |path: &str, rule: &str| AreaPolicy {
            path: rel(path),
            retention: rule.parse().unwrap(),
            derived: Keep::Expire,
        };
        let areas = [("raw".into(), area("raw", raw)), ("scratch".into(), area("scratch", scratch))];
        settings.sites.insert(site.into(), SitePolicy { counted, digests: true, areas: areas.into() });
    }
    settings.export.allowed_sites = ["als".to_owned()].into();
    settings.export.folders = vec!["EC-*".into()];
    settings
}

/// The files of a dataset: path below its base, and content.
pub fn files_of(dataset: &DatasetId) -> Vec<(String, u64)> {
    let stem = dataset.scan.stem();
    let number: u64 = stem.bytes().map(u64::from).fold(7, |h, b| h.wrapping_mul(31).wrapping_add(b));
    match dataset.kind {
        Kind::Raw => vec![(format!("{stem}.h5"), number)],
        Kind::Tiff => (0..3).map(|z| (format!("rec{stem}/{stem}_{z:05}.tiff"), number + 1 + z)).collect(),
        Kind::Zarr => (0..3).map(|z| (format!("rec{stem}.zarr/0/{z}"), number + 10 + z)).collect(),
        Kind::Sidecars => vec![(format!("rec{stem}.report.json"), number + 20)],
    }
}

pub fn size_of(content: u64) -> u64 {
    1000 + content % 1000
}

impl World {
    pub fn new() -> Self {
        // In memory where there is such a place: these tests are about decisions, not about power cuts.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let custody = Custody::open(&folder.path().join("custody.db")).unwrap();
        custody.configure(&settings(), "test", start()).unwrap();
        custody.switch_deletion(true, "test", start()).unwrap();
        let disks = ["als", "nersc", "alcf"].map(|site| (site.to_owned(), BTreeMap::new())).into();
        Self { custody, now: start(), disks, away: vec![], _folder: folder }
    }

    pub fn pass(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    pub fn days(&mut self, days: i64) {
        self.pass(days * 86_400);
    }

    pub fn area(dataset: &DatasetId) -> &'static str {
        if dataset.kind == Kind::Raw { "raw" } else { "scratch" }
    }

    pub fn base(dataset: &DatasetId) -> RelPath {
        rel(Self::area(dataset)).join(dataset.scan.folder())
    }

    /// Writes a copy's files.
    pub fn write(&mut self, site: &str, dataset: &DatasetId) {
        let mtime_ns = i64::try_from(self.now.as_nanosecond()).unwrap() + 5;
        let disk = self.disks.get_mut(site).unwrap();
        for (path, content) in files_of(dataset) {
            let real = Real { content, size: size_of(content), mtime_ns };
            disk.insert(format!("{}/{path}", Self::base(dataset)), real);
        }
    }

    pub fn new_copy(site: &str, dataset: &DatasetId) -> NewCopy {
        let entry = |(path, content): (String, u64)| {
            FileEntry::new(path, size_of(content), Some(digest(content))).unwrap()
        };
        NewCopy {
            dataset: dataset.clone(),
            site: site.into(),
            area: Self::area(dataset).into(),
            base: Self::base(dataset),
            files: FileList::new(files_of(dataset).into_iter().map(entry).collect()).unwrap(),
            by: "test".into(),
        }
    }

    /// Writes, registers and verifies.
    pub fn put(&mut self, site: &str, dataset: &DatasetId) -> CopyId {
        self.write(site, dataset);
        let id = self.custody.register(&Self::new_copy(site, dataset), self.now).unwrap();
        self.verify(id, Level::Digested).unwrap();
        id
    }

    pub fn verify(&self, id: CopyId, level: Level) -> Result<CopyRecord> {
        let copy = self.custody.copy(id)?;
        let seen = self.look(&copy.site, &copy.base, &copy.dataset);
        self.custody.verify(id, &Verification { level, seen, by: "test".into() }, self.now)
    }

    /// An honest observation of a dataset's place.
    pub fn look(&self, site: &str, base: &RelPath, dataset: &DatasetId) -> Observation {
        let reach = if self.away.iter().any(|away| away == site) {
            Reach::Unreachable("away".into())
        } else {
            let tops: Vec<String> =
                files_of(dataset).iter().map(|(p, _)| p.split('/').next().unwrap().to_owned()).collect();
            let below = format!("{base}/");
            let seen = self.disks[site].iter().filter_map(|(path, real)| {
                let path = path.strip_prefix(&below)?;
                tops.iter().any(|top| path.split('/').next() == Some(top)).then(|| Seen {
                    mtime_ns: Some(real.mtime_ns),
                    blake3: Some(digest(real.content)),
                    identity: Some(format!("{site}:{path}")),
                    ..Seen::file(path, real.size)
                })
            });
            Reach::Seen(seen.collect())
        };
        Observation { site: site.into(), base: base.clone(), observed_at: self.now, reach }
    }

    pub fn evidence(&self, item: &PlanItem) -> Evidence {
        Evidence {
            doomed: self.look(&item.site, &item.base, &item.dataset),
            witnesses: item.witnesses.iter().map(|w| self.look(&w.site, &w.base, &w.dataset)).collect(),
        }
    }

    pub fn ask(&self, plan: &Plan, copy: CopyId) -> Result<DeletePermit> {
        let item = plan.items.iter().find(|item| item.copy == copy).expect("it is in the plan");
        self.custody.permit(plan.id, copy, &self.evidence(item), self.now)
    }

    /// Does what an order says.
    pub fn delete(&mut self, permit: DeletePermit) {
        let order = permit.redeem(self.now).unwrap();
        let mut gone = vec![];
        for file in order.files() {
            let path = order.base().join(&file.path);
            self.disks.get_mut(order.site()).unwrap().remove(path.as_str()).expect("only what is there");
            gone.push(file.path.clone());
        }
        self.custody.record_deleted(&order.receipt(&gone, vec![]), self.now).unwrap();
    }

    /// Plans, announces, and acts on what may go; returns what went.
    pub fn prune(&mut self) -> Vec<CopyId> {
        let plan = self.custody.plan(self.now).unwrap();
        for one in &plan.announce {
            self.custody.announced(one.copy, one.due, "test", self.now).unwrap();
        }
        let mut gone = vec![];
        for item in &plan.items {
            if let Ok(permit) = self.ask(&plan, item.copy) {
                self.delete(permit);
                gone.push(item.copy);
            }
        }
        gone
    }

    /// Whether the disk of a site really holds a dataset, whole and right.
    pub fn holds(&self, site: &str, dataset: &DatasetId) -> bool {
        files_of(dataset).iter().all(|(path, content)| {
            let real = self.disks[site].get(&format!("{}/{path}", Self::base(dataset)));
            real.is_some_and(|real| real.content == *content && real.size == size_of(*content))
        })
    }
}
