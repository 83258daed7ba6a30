//! Scans as they appear: a run is started once for each, when it is complete.
//!
//! The file system's own notice (inotify) makes a look come early; looks come anyway, since network file systems
//! give none. A look lists the folders, and judges each raw file: its name is no temporary one, its size and time
//! have stood still, its superblock says that it was closed and how long it is, and it holds all the frames that
//! it was laid out for. Then the run is created under a key made of the scan's name, so that a look after a
//! restart, or of two watchers, finds the same run. A file that waits has a reason, always.

mod folder;
mod notice;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use engine::{Engine, NewRun, Orchestrator, RunId};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

pub use notice::Notice;

use crate::error::Result;
use crate::identity::Identity;
use crate::runtime::Order;

/// What to watch for, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The deployment that is started; it has the flow's name.
    pub flow: String,
    /// How long size and time must stand still.
    pub quiet: Duration,
    /// How old scans may be that were there at the first look.
    pub backlog: Duration,
}

/// A folder to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// The raw area that it is, or lies in.
    pub raw: PathBuf,
    /// The folder itself.
    pub path: PathBuf,
    /// When it was first watched, by whichever process.
    pub first: Timestamp,
}

/// How a file stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Standing {
    /// Not complete, and why.
    Waiting {
        /// In words.
        why: String,
    },
    /// Its run exists.
    Started {
        /// The run.
        run: RunId,
        /// Made by this look; else by an earlier one.
        new: bool,
    },
    /// Its run is ordered elsewhere: a message of the outbox.
    Ordered {
        /// By this look; else by an earlier one.
        new: bool,
    },
    /// It can never be started as it is, and why. Looked at again when it changes.
    Refused {
        /// In words.
        why: String,
    },
    /// From before the watch began; `beamrail reconcile` finds those that were missed.
    Old,
}

/// Where the runs of scans are made.
#[derive(Clone, Copy)]
pub enum Starts<'a> {
    /// In the journal.
    Here(&'a dyn Orchestrator),
    /// Elsewhere, by an [`Order`] in the outbox of this journal, under this topic.
    Ordered(&'a Engine, &'static str),
}

/// A file, and how it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Seen {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// How it stands.
    #[serde(flatten)]
    pub standing: Standing,
}

/// What is remembered of a file between looks.
#[derive(Debug, Clone)]
struct Known {
    bytes: u64,
    changed: Option<SystemTime>,
    /// Since when neither size nor time changed.
    still: Timestamp,
    standing: Option<Standing>,
}

/// Looks at folders and starts runs.
pub struct Watcher {
    folders: Vec<Folder>,
    settings: Settings,
    known: BTreeMap<PathBuf, Known>,
}

impl Watcher {
    /// A watcher that has not looked yet.
    pub fn new(folders: Vec<Folder>, settings: Settings) -> Self {
        Self { folders, settings, known: BTreeMap::new() }
    }

    /// Looks once, starts what is complete, and tells what stands differently than at the look before.
    ///
    /// # Errors
    /// The journal cannot be written. Folders and files that cannot be read are told, not errors.
    pub async fn look(&mut self, runs: Starts<'_>, now: Timestamp) -> Result<Vec<Seen>> {
        let mut news = Vec::new();
        let mut present = BTreeMap::new();
        for folder in self.folders.clone() {
            let listed = folder::list(&folder.path);
            for (path, why) in listed.unreadable {
                self.tell(&mut present, &mut news, path, 0, None, now, Standing::Waiting { why });
            }
            for file in listed.files {
                let bytes = file.bytes;
                let still = self.still(&file, now);
                let standing = self.judge(&folder, &file, still, now);
                let standing = match standing {
                    Ok(identity) => self.start(runs, &identity, &file.path, now).await?,
                    Err(standing) => standing,
                };
                self.tell(&mut present, &mut news, file.path, bytes, file.changed, still, standing);
            }
        }
        // Files that went away are forgotten; one that comes again is a new file.
        self.known = present;
        Ok(news)
    }

    /// All files, as they stood at the last look.
    pub fn all(&self) -> Vec<Seen> {
        let seen = |(path, known): (&PathBuf, &Known)| {
            let standing = known.standing.clone()?;
            Some(Seen { path: path.clone(), bytes: known.bytes, standing })
        };
        self.known.iter().filter_map(seen).collect()
    }

    /// Whether some file waits only for time to pass, so that a look should come soon.
    pub fn impatient(&self) -> bool {
        self.known.values().any(|known| matches!(known.standing, Some(Standing::Waiting { .. })))
    }

    fn tell(
        &self,
        present: &mut BTreeMap<PathBuf, Known>,
        news: &mut Vec<Seen>,
        path: PathBuf,
        bytes: u64,
        changed: Option<SystemTime>,
        still: Timestamp,
        standing: Standing,
    ) {
        let before = self.known.get(&path).and_then(|known| known.standing.as_ref());
        let same = match (before, &standing) {
            (Some(Standing::Waiting { why: before }), Standing::Waiting { why }) => {
                kind_of(before) == kind_of(why)
            }
            (Some(Standing::Started { run: before, .. }), Standing::Started { run, .. }) => before == run,
            (Some(Standing::Ordered { .. }), Standing::Ordered { .. }) => true,
            (before, standing) => before == Some(standing),
        };
        if !same {
            news.push(Seen { path: path.clone(), bytes, standing: standing.clone() });
        }
        present.insert(path, Known { bytes, changed, still, standing: Some(standing) });
    }

    /// Since when the file stands still, as far as this watcher saw.
    fn still(&self, file: &folder::File, now: Timestamp) -> Timestamp {
        match self.known.get(&file.path) {
            Some(known) if known.bytes == file.bytes && known.changed == file.changed => known.still,
            _ => now,
        }
    }

    /// The scan, if its run may begin; else how the file stands.
    fn judge(
        &self,
        folder: &Folder,
        file: &folder::File,
        still: Timestamp,
        now: Timestamp,
    ) -> std::result::Result<Identity, Standing> {
        let known = self.known.get(&file.path).filter(|known| known.still == still);
        // Nothing about it changed, and it needs no other look.
        if let Some(
            done @ (Standing::Started { .. }
            | Standing::Ordered { .. }
            | Standing::Refused { .. }
            | Standing::Old),
        ) = known.and_then(|known| known.standing.clone())
        {
            return Err(done);
        }
        let refused = |why: String| Standing::Refused { why };
        let identity =
            Identity::of_file(&file.path, &folder.raw).map_err(|error| refused(error.to_string()))?;
        if identity.name.folder().parts().count() > 1 {
            let why = "lies deeper than <experiment folder>/<scan>.h5; move it up, flows would not find it";
            return Err(refused(why.into()));
        }
        let age = file.changed.and_then(|changed| Timestamp::try_from(changed).ok());
        let oldest = jiff::SignedDuration::try_from(self.settings.backlog)
            .ok()
            .and_then(|backlog| folder.first.checked_sub(backlog).ok());
        if age.zip(oldest).is_some_and(|(age, oldest)| age < oldest) {
            return Err(Standing::Old);
        }
        let quiet = jiff::SignedDuration::try_from(self.settings.quiet).unwrap_or(jiff::SignedDuration::MAX);
        // A file that was last written long ago needs not be looked at twice.
        let long_ago = age.is_some_and(|age| now.duration_since(age) >= quiet.saturating_mul(10));
        let stands = now.duration_since(still);
        if stands < quiet && !(long_ago && quiet > jiff::SignedDuration::ZERO) {
            let why = format!(
                "still: size and time must stand still for {} s, so far {} s",
                quiet.as_secs(),
                stands.as_secs()
            );
            return Err(Standing::Waiting { why });
        }
        complete(&file.path).map(|()| identity)
    }

    async fn start(
        &self,
        runs: Starts<'_>,
        identity: &Identity,
        path: &Path,
        now: Timestamp,
    ) -> Result<Standing> {
        let flow = &self.settings.flow;
        let scan = &identity.name;
        let mut file = format!("{}/{}.h5", scan.folder(), scan.stem());
        if scan.folder().is_root() {
            file = format!("{}.h5", scan.stem());
        }
        // The file's real ending, should it be .hdf5.
        if let Some(ending) = path.extension().and_then(|ending| ending.to_str()).filter(|text| *text != "h5")
        {
            return Ok(Standing::Refused {
                why: format!("ends in .{ending}; flows know raw scans by .h5, rename it"),
            });
        }
        let (name, parameters) = (format!("{flow}: {scan}"), json!({ "file_path": file }));
        match runs {
            Starts::Here(runs) => {
                let new = NewRun::of(flow, parameters).named(name).key(key(scan)).tag(identity.tag());
                let created = runs.start(flow, new).await?;
                Ok(Standing::Started { run: created.id, new: created.is_new })
            }
            Starts::Ordered(engine, topic) => {
                let (key, tags) = (key(scan), vec![identity.tag()]);
                let order = Order { key: key.clone(), flow: flow.clone(), name, parameters, tags, at: now };
                Ok(Standing::Ordered { new: engine.send(topic, &key, json!(order)).await? })
            }
        }
    }
}

/// The idempotency key of the run that a scan starts by appearing.
pub fn key(scan: &custody::ScanName) -> String {
    format!("scan {scan}")
}

/// Whether the file is a whole scan; else how it stands.
fn complete(path: &Path) -> std::result::Result<(), Standing> {
    let stands = |error: scan::Error| match error.retry_helps() {
        true => Standing::Waiting { why: format!("incomplete: {error}") },
        false => Standing::Refused { why: error.to_string() },
    };
    let waiting = |why: String| Err(Standing::Waiting { why: format!("incomplete: {why}") });
    match scan::completeness(path).map_err(stands)?.verdict {
        scan::Verdict::Complete => {}
        scan::Verdict::StillOpen(why) | scan::Verdict::Truncated(why) => return waiting(why),
        // What a copy that has only begun looks like.
        scan::Verdict::NotHdf5(why) | scan::Verdict::Unknown(why) => return waiting(why),
    }
    // Opening it counts the frames.
    scan::open(path).map(drop).map_err(stands)
}

/// What sort of reason it is: the words before the colon, and for incompleteness all.
fn kind_of(why: &str) -> &str {
    if why.starts_with("incomplete") { why } else { why.split(':').next().unwrap_or(why) }
}

/// When each folder was first watched, kept in a small file so that a restart knows what is old.
pub fn first_looks(file: &Path, folders: &[PathBuf], now: Timestamp) -> std::io::Result<Vec<Timestamp>> {
    let mut known: BTreeMap<PathBuf, Timestamp> = match std::fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => return Err(error),
    };
    let firsts = folders.iter().map(|folder| *known.entry(folder.clone()).or_insert(now)).collect();
    let part = file.with_extension("json.part");
    std::fs::write(&part, serde_json::to_vec_pretty(&known)?)?;
    std::fs::File::open(&part)?.sync_all()?;
    std::fs::rename(&part, file)?;
    Ok(firsts)
}
