//! Looks: one slice, or one row at candidate centres, made in this process while somebody waits for it. One at a
//! time, few in line, each within its time; what nobody asks for any more is stopped, and nothing stays on disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use custody::ScanName;
use reconstruct::job::Existing;
use reconstruct::plan::{OmeZarr, Write};
use reconstruct::{Action, Event, JobOptions, Observer, Recipe, Stop};
use tokio::sync::Semaphore;

use crate::app::Shared;
use crate::fault::Fault;
use crate::session::random_text;

/// Looks that wait for their turn or are at work.
const IN_LINE: usize = 6;
/// Finished looks that are kept in memory for their pages.
const KEPT: usize = 24;
/// A look ends by then.
const LONGEST: Duration = Duration::from_secs(240);
/// Nobody has asked for so long: the page was left.
const ABANDONED: Duration = Duration::from_secs(40);
/// Who left a page and has not come back by then (a reload comes back) does not wait any more.
const BACK: Duration = Duration::from_secs(4);
/// What a look of a process that died left on the disk goes after this long.
const LEFT: Duration = Duration::from_secs(3600);
/// Memory of one look in bytes.
const MEMORY: u64 = 2 << 30;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Aim {
    /// The middle slice with the whole recipe.
    Slice,
    /// One row at candidate centres: the middle candidate and the distance of two; the recipe's own search and
    /// what surrounds its answer, where nothing is said.
    Strip(Option<(f64, f64)>),
}

/// What has become of a look.
#[derive(Debug, Clone)]
pub(crate) enum Stage {
    /// In line.
    Waiting,
    /// At work, and what it does now.
    Working(String),
    /// The picture of the slice.
    Slice { picture: Arc<Vec<u8>>, center: Option<f64>, warnings: Vec<String>, seconds: f64 },
    /// Tiles, left to right.
    Strip { tiles: Vec<(f64, Arc<Vec<u8>>)>, caption: String, seconds: f64 },
    /// Why there is nothing.
    Failed(String),
}

impl Stage {
    /// Whether nothing more comes.
    pub(crate) fn ended(&self) -> bool {
        !matches!(self, Stage::Waiting | Stage::Working(_))
    }
}

/// One look.
pub(crate) struct Look {
    pub id: String,
    pub scan: ScanName,
    pub aim: Aim,
    /// The fields of the form that differ from its base.
    pub fields: Vec<(String, String)>,
    stop: Stop,
    now: Mutex<(Stage, Instant)>,
}

impl Look {
    /// How it stands; asking keeps it alive.
    pub(crate) fn stage(&self) -> Stage {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.1 = Instant::now();
        now.0.clone()
    }

    /// The page was left: unless somebody asks again soon, nobody waits for it.
    pub(crate) fn leave(&self) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.1 = Instant::now().checked_sub(ABANDONED - BACK).unwrap_or(now.1);
    }

    /// Ends it early.
    pub(crate) fn stop(&self) {
        self.stop.request();
        self.end(Stage::Failed("it was stopped".into()));
    }

    fn peek(&self) -> (bool, bool) {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        (now.0.ended(), now.1.elapsed() > ABANDONED)
    }

    fn set(&self, stage: Stage) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if !now.0.ended() {
            now.0 = stage;
        }
    }

    fn end(&self, stage: Stage) {
        self.set(stage);
    }
}

impl Observer for Look {
    fn event(&self, event: &Event) {
        if let Event::Stage { message, .. } = event {
            self.set(Stage::Working(message.clone()));
        }
    }
}

/// All looks of this process.
pub(crate) struct Looks {
    folder: PathBuf,
    all: Mutex<BTreeMap<u64, Arc<Look>>>,
    place: Arc<Semaphore>,
}

impl Looks {
    /// None yet; their folders are made in the state folder.
    pub(crate) fn new(state: &Path) -> Self {
        let folder = state.join("looks");
        sweep(&folder);
        Self { folder, all: Mutex::default(), place: Arc::new(Semaphore::new(1)) }
    }

    /// The look of that id.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Look>> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().find(|look| look.id == id).cloned()
    }

    fn enter(&self, look: &Arc<Look>) -> Result<(), Fault> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.values().filter(|look| !look.peek().0).count() >= IN_LINE {
            return Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, "too many looks are being made already")
                .hint("wait until one has ended")
                .after(20));
        }
        while all.len() >= KEPT {
            let Some(oldest) = all.iter().find(|(_, look)| look.peek().0).map(|(key, _)| *key) else { break };
            all.remove(&oldest);
        }
        let next = all.keys().next_back().map_or(0, |last| last + 1);
        all.insert(next, look.clone());
        Ok(())
    }
}

/// Begins a look at a raw file; returns its id at once.
pub(crate) fn begin(
    app: &Shared,
    scan: ScanName,
    raw: PathBuf,
    recipe: Recipe,
    aim: Aim,
    fields: Vec<(String, String)>,
) -> Result<String, Fault> {
    let id = random_text().map_err(|error| Fault::internal(format!("no randomness: {error}")))?;
    let id: String = id.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
    let now = Mutex::new((Stage::Waiting, Instant::now()));
    let look = Arc::new(Look { id: id.clone(), scan, aim, fields, stop: Stop::new(), now });
    app.looks.enter(&look)?;
    let folder = app.looks.folder.clone();
    tokio::task::spawn_blocking(move || sweep(&folder));
    tokio::spawn(attend(app.clone(), look, raw, recipe));
    Ok(id)
}

/// Waits for the look's turn and stays with it to its end.
async fn attend(app: Shared, look: Arc<Look>, raw: PathBuf, recipe: Recipe) {
    let tick = Duration::from_millis(500);
    let place = loop {
        match tokio::time::timeout(tick, app.looks.place.clone().acquire_owned()).await {
            Ok(Ok(place)) => break place,
            Ok(Err(_)) => return,
            Err(_) => {}
        }
        let (ended, left) = look.peek();
        if left {
            look.stop();
        }
        if ended || left {
            return app.live.tell();
        }
    };
    look.set(Stage::Working("opening the scan".into()));
    app.live.tell();
    let folder = app.looks.folder.clone();
    let (began, worker) = (Instant::now(), look.clone());
    // The place goes along: who was given up for lost still has it until the thread has really ended.
    let mut work = tokio::task::spawn_blocking(move || {
        // The folder goes with all that is in it before anybody hears of the end.
        let made = scratch(&folder).and_then(|folder| make(&worker, &raw, recipe, folder.path()));
        worker.end(made.unwrap_or_else(|error| Stage::Failed(error.to_string())));
        drop(place);
    });
    loop {
        match tokio::time::timeout(tick, &mut work).await {
            Ok(Ok(())) => break,
            Ok(Err(_)) => {
                look.end(Stage::Failed("the work broke off; the server's log may say why".into()));
                break;
            }
            Err(_) if began.elapsed() > LONGEST => {
                look.stop.request();
                let limit = LONGEST.as_secs();
                look.end(Stage::Failed(format!("it took more than {limit} s; a full run has no such limit")));
                break;
            }
            Err(_) if look.peek().1 => {
                look.stop();
                break;
            }
            Err(_) => {}
        }
    }
    app.live.tell();
}

/// Removes what looks left that could not clean up. The folder is for looks alone, and none takes nearly as long.
fn sweep(folder: &Path) {
    let Ok(list) = std::fs::read_dir(folder) else { return };
    for entry in list.flatten() {
        // Of the entry itself: a link is not followed.
        let Ok(about) = entry.metadata() else { continue };
        let old = about.modified().ok().and_then(|at| at.elapsed().ok()).is_some_and(|age| age > LEFT);
        if about.is_dir() && old {
            #[expect(
                clippy::disallowed_methods,
                reason = "state/looks holds copies of what looks drew, and no data"
            )]
            // What cannot be removed now may be the next time.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// A fresh folder of our own, which goes when it is dropped.
fn scratch(above: &Path) -> reconstruct::Result<tempfile::TempDir> {
    let made = std::fs::create_dir_all(above).and_then(|()| tempfile::tempdir_in(above));
    made.map_err(|source| reconstruct::Error::io("cannot make a folder in", above, source))
}

fn make(look: &Look, raw: &Path, recipe: Recipe, folder: &Path) -> reconstruct::Result<Stage> {
    let began = Instant::now();
    match look.aim {
        Aim::Strip(around) => {
            let sweep =
                around.map(|(middle, step)| (middle - 4.0 * step, middle + 4.0 * step + step / 10.0, step));
            let drawn = reconstruct::centering::strip(raw, &Default::default(), &recipe, sweep, &look.stop)?;
            let png = |tile: &Vec<u8>| {
                let png = crate::data::pictures::png(tile, drawn.size, drawn.size);
                png.map_err(|error| {
                    reconstruct::Error::io("cannot encode", raw, std::io::Error::other(error))
                })
            };
            let tiles =
                drawn.candidates.iter().zip(&drawn.tiles).map(|(at, tile)| Ok((*at, Arc::new(png(tile)?))));
            let tiles = tiles.collect::<reconstruct::Result<Vec<_>>>()?;
            let caption = match around {
                Some((middle, _)) => {
                    format!("One detector row at candidate centres around column {middle:.2}")
                }
                None => drawn.caption,
            };
            Ok(Stage::Strip { tiles, caption, seconds: began.elapsed().as_secs_f64() })
        }
        Aim::Slice => {
            let options = JobOptions {
                scan: raw.to_path_buf(),
                open: Default::default(),
                output: folder.to_path_buf(),
                recipe,
                rows: None,
                write: Write { tiff: true, zarr: false, ome_zarr: OmeZarr::V04 },
                memory: Some(MEMORY),
                // Half of the machine: pages are to be answered meanwhile.
                threads: Some((reconstruct::job::available_threads() / 2).max(1)),
                existing: Existing::Overwrite,
            };
            let outcome = reconstruct::execute(&options, Action::Quick, look, &look.stop)?;
            let path = reconstruct::paths::Paths::new(raw, folder)?.preview();
            let picture = std::fs::read(&path)
                .map_err(|source| reconstruct::Error::io("cannot read", &path, source))?;
            Ok(Stage::Slice {
                picture: Arc::new(picture),
                center: outcome.center.map(|center| center.center),
                warnings: outcome.warnings.iter().map(|one| one.message.clone()).collect(),
                seconds: began.elapsed().as_secs_f64(),
            })
        }
    }
}
