//! Two or three sites in a folder, with custody beside them.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::path::{Path, PathBuf};

use custody::*;
use jiff::{SignedDuration, Timestamp};
use sites::{Digests, LocalStorage, Storage, Transferred, Watch};

pub struct Bench {
    pub folder: tempfile::TempDir,
    pub custody: Custody,
    pub now: Timestamp,
}

pub fn rel(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

pub fn scan() -> ScanName {
    ScanName::new("ALS-00001_u", "20260101_000001_x").unwrap()
}

pub fn dataset(kind: Kind) -> DatasetId {
    DatasetId::new(scan(), kind)
}

pub fn settings() -> Settings {
    let mut settings = Settings::default();
    for (site, raw, scratch, counted) in [
        ("als", "7 days", "3 days", true),
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
    settings.export.allowed_sites = ["als".to_owned(), "nersc".to_owned()].into();
    settings
}

/// Bytes that no two offsets share by accident.
pub fn bytes(seed: u64, size: usize) -> Vec<u8> {
    let mut out = vec![0; size];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::within(folder)
    }

    pub fn within(folder: tempfile::TempDir) -> Self {
        let custody = Custody::open(&folder.path().join("custody.db")).unwrap();
        // Files get the real time, so custody's clock begins with it.
        let now = Timestamp::now();
        custody.configure(&settings(), "test", now).unwrap();
        custody.switch_deletion(true, "test", now).unwrap();
        for site in ["als", "nersc", "alcf"] {
            std::fs::create_dir(folder.path().join(site)).unwrap();
        }
        Self { folder, custody, now }
    }

    pub fn days(&mut self, days: i64) {
        self.now = self.now.checked_add(SignedDuration::from_hours(24 * days)).unwrap();
    }

    pub fn storage(&self, site: &str) -> LocalStorage {
        LocalStorage::new(site, self.folder.path().join(site))
    }

    pub fn path(&self, site: &str, path: &str) -> PathBuf {
        self.folder.path().join(site).join(path)
    }

    pub fn base(kind: Kind) -> RelPath {
        let area = if kind == Kind::Raw { "raw" } else { "scratch" };
        rel(area).join(scan().folder())
    }

    /// Writes files at a site and returns their list without digests.
    pub fn write(&self, site: &str, kind: Kind, files: &[(String, Vec<u8>)]) -> FileList {
        let mut entries = vec![];
        for (path, bytes) in files {
            let full = self.path(site, &format!("{}/{path}", Self::base(kind)));
            std::fs::create_dir_all(full.parent().unwrap()).unwrap();
            std::fs::write(&full, bytes).unwrap();
            entries.push(FileEntry::new(path.as_str(), bytes.len() as u64, None).unwrap());
        }
        FileList::new(entries).unwrap()
    }

    pub fn request(&self, kind: Kind, files: &FileList, from: &str, to: &str) -> TransferRequest {
        let base = Self::base(kind);
        TransferRequest {
            dataset: dataset(kind),
            from: from.into(),
            from_base: base.clone(),
            to: to.into(),
            to_base: base,
            files: files.clone(),
            run: "run".into(),
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
        let mut request = self.request(kind, files, from, to);
        request.run = format!("run {key}");
        let permit = self.custody.permit_transfer(&request, self.now).unwrap();
        let id = permit.id().to_owned();
        let (source, target) = (self.storage(from), self.storage(to));
        let result = source.transfer(permit, &target, key, watch, self.now).await;
        let failure = result.as_ref().err().map(ToString::to_string);
        self.custody.end_transfer(&id, failure.as_deref(), self.now).unwrap();
        result
    }

    /// Registers and verifies what is at a site by reading it all.
    pub async fn adopt(&self, site: &str, kind: Kind, files: &FileList) -> CopyId {
        let area = if kind == Kind::Raw { "raw" } else { "scratch" };
        let (base, site) = (Self::base(kind), site.to_owned());
        let seen = self.storage(&site).observe(&base, files, Digests::All, self.now).await;
        let new = NewCopy {
            dataset: dataset(kind),
            site,
            area: area.into(),
            base,
            files: files.clone(),
            by: "test".into(),
        };
        let how = Verification { level: Level::Digested, seen, by: "test".into() };
        self.custody.adopt(&new, &how, self.now).unwrap().id
    }

    /// Looks at everything a plan's item wants looked at.
    pub async fn evidence(&self, item: &PlanItem) -> Evidence {
        let look = |site: &str| self.storage(site);
        let files = self.custody.files(item.copy).unwrap();
        let doomed =
            look(&item.site).observe(&item.base, &files, Digests::Of(item.digest.clone()), self.now).await;
        let mut witnesses = vec![];
        for witness in &item.witnesses {
            let files = self.custody.files(witness.copy).unwrap();
            let digests = Digests::Of(witness.digest.clone());
            witnesses.push(look(&witness.site).observe(&witness.base, &files, digests, self.now).await);
        }
        Evidence { doomed, witnesses }
    }
}

/// All files below a folder, hidden ones too, with their bytes.
pub fn tree(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = vec![];
    let mut stack = vec![folder.to_owned()];
    while let Some(at) = stack.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                stack.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
                // Pipes would wait for a writer.
                let bytes = if path.is_file() { std::fs::read(&path).unwrap_or_default() } else { vec![] };
                found.push((name, bytes));
            }
        }
    }
    found.sort();
    found
}

/// A raw file's list of one entry.
pub fn raw_name() -> String {
    format!("{}.h5", scan().stem())
}

/// A small dataset with folders in folders, and a file that is larger than "small".
pub fn zarr_files() -> Vec<(String, Vec<u8>)> {
    let top = format!("rec{}.zarr", scan().stem());
    let mut files: Vec<(String, Vec<u8>)> =
        (0..40).map(|n| (format!("{top}/0/{}/{n}", n % 3), bytes(n, 1000 + n as usize))).collect();
    files.push((format!("{top}/big"), bytes(99, 9 << 20)));
    files.push((format!("{top}/empty"), vec![]));
    files
}
