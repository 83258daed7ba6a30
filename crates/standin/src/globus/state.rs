//! What the stand-in knows, on disk and in memory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bridge::Bridge;
use super::compute::{Endpoint, Function};
use super::faults::Armed;
use super::flows::{Flow, Run};
use super::http::{Request, new_id};
use super::jobs::Job;
use super::task::Task;
use super::{Collection, Config, StartError, auth, flowruns, jobs, moving};

/// How often what happens without an answer (progress) reaches the disk.
const SAVE_EVERY: Duration = Duration::from_millis(200);

/// Everything that survives a restart.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub struct State {
    pub tokens: BTreeMap<String, auth::Token>,
    pub submissions: BTreeMap<String, Submission>,
    pub tasks: BTreeMap<String, Task>,
    pub next_task: u64,
    pub flows: BTreeMap<String, Flow>,
    pub runs: BTreeMap<String, Run>,
    pub functions: BTreeMap<String, Function>,
    pub endpoints: BTreeMap<String, Endpoint>,
    pub jobs: BTreeMap<String, Job>,
    pub faults: Vec<Armed>,
    pub next_fault: u64,
    pub calls: BTreeMap<String, u64>,
    pub written: Written,
    /// The endpoint that is there from the start.
    pub endpoint: String,
}

/// One submission id and what became of it.
#[derive(Clone, Deserialize, Serialize)]
pub struct Submission {
    pub task_id: String,
    /// How often it was sent; only the first made a task.
    pub posts: u64,
}

/// What transfers have written, repeats included.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Written {
    pub files: u64,
    pub bytes: u64,
}

/// The running stand-in, shared by all its threads.
pub struct World {
    pub config: Config,
    state: Mutex<State>,
    changed: Condvar,
    dirty: AtomicBool,
    stopping: AtomicBool,
    saving: Mutex<()>,
    address: OnceLock<SocketAddr>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    pub bridge: OnceLock<Bridge>,
}

impl World {
    /// Reads the state, or starts a new one, and makes the folders.
    pub fn open(mut config: Config) -> Result<Arc<Self>, StartError> {
        let folder = config.state.clone();
        std::fs::create_dir_all(&folder).map_err(|error| StartError::File(folder.clone(), error))?;
        config.state =
            std::fs::canonicalize(&folder).map_err(|error| StartError::File(folder.clone(), error))?;
        for collection in &mut config.collections {
            let failed = |error| StartError::File(collection.folder.clone(), error);
            std::fs::create_dir_all(&collection.folder).map_err(failed)?;
            collection.folder = std::fs::canonicalize(&collection.folder).map_err(failed)?;
        }
        let file = config.state.join("state.json");
        let mut state: State = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| StartError::State(file, error))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(StartError::File(file, error)),
        };
        if let Some(id) = &config.endpoint {
            state.endpoint.clone_from(id);
        } else if state.endpoint.is_empty() {
            state.endpoint = new_id();
        }
        let id = state.endpoint.clone();
        state.endpoints.entry(id.clone()).or_insert_with(|| Endpoint::new(&id, "standin"));
        let world = Arc::new(Self {
            config,
            state: Mutex::new(state),
            changed: Condvar::new(),
            dirty: AtomicBool::new(true),
            stopping: AtomicBool::new(false),
            saving: Mutex::new(()),
            address: OnceLock::new(),
            threads: Mutex::new(Vec::new()),
            bridge: OnceLock::new(),
        });
        world.save().map_err(|error| StartError::File(world.file(), error))?;
        Ok(world)
    }

    /// Goes on with what was under way when the last process ended.
    pub fn take_up_again(self: &Arc<Self>) {
        self.spawn(|world| {
            while !world.stopping() {
                std::thread::sleep(SAVE_EVERY);
                // A disk that is full now may not be in a moment; what must be saved is saved by commit.
                let _ = world.save();
            }
        });
        Bridge::start_if_wanted(self);
        let (tasks, runs, jobs) = self.read(|state| {
            (
                state
                    .tasks
                    .values()
                    .filter(|task| task.is_open())
                    .map(|task| task.id.clone())
                    .collect::<Vec<_>>(),
                state.runs.values().filter(|run| run.is_open()).map(|run| run.id.clone()).collect::<Vec<_>>(),
                state.jobs.values().filter(|job| job.is_open()).map(|job| job.id.clone()).collect::<Vec<_>>(),
            )
        });
        tasks.into_iter().for_each(|id| moving::start(self, id));
        jobs.into_iter().for_each(|id| jobs::start(self, id));
        runs.into_iter().for_each(|id| flowruns::start(self, id));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the state.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// Changes the state; it reaches the disk within a moment.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.dirty.store(true, Ordering::Release);
        self.changed.notify_all();
        result
    }

    /// Changes the state and writes it before anybody is told.
    pub fn commit<T>(&self, change: impl FnOnce(&mut State) -> T) -> std::io::Result<T> {
        let result = self.change(change);
        self.save()?;
        Ok(result)
    }

    /// Waits until `ready` gives something, looking at every change; `None` if the stand-in stops first.
    pub fn until<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let mut state = self.lock();
        loop {
            if self.stopping() {
                return None;
            }
            if let Some(found) = ready(&mut state) {
                self.dirty.store(true, Ordering::Release);
                return Some(found);
            }
            let pause = Duration::from_millis(50);
            state = self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn file(&self) -> PathBuf {
        self.config.state.join("state.json")
    }

    fn save(&self) -> std::io::Result<()> {
        let _alone = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.dirty.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&*self.lock())?;
        let new = self.config.state.join("state.json.new");
        std::fs::write(&new, bytes).and_then(|()| std::fs::rename(&new, self.file())).inspect_err(|_| {
            self.dirty.store(true, Ordering::Release);
        })
    }

    /// Runs work on a thread that [`World::close`] waits for.
    pub fn spawn(self: &Arc<Self>, work: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let world = Arc::clone(self);
        if let Ok(thread) = std::thread::Builder::new().spawn(move || work(&world)) {
            let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
            threads.retain(|thread| !thread.is_finished());
            threads.push(thread);
        }
    }

    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Tells all threads to end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    /// Ends compute tasks and threads, and writes the state a last time.
    pub fn close(&self) {
        jobs::end_all(self);
        if let Some(bridge) = self.bridge.get() {
            bridge.stop();
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
        let _ = self.save();
    }

    pub fn listening(&self, address: SocketAddr) {
        let _ = self.address.set(address);
    }

    pub fn url(&self) -> String {
        self.address.get().map(|address| format!("http://{address}")).unwrap_or_default()
    }

    pub fn endpoint(&self) -> String {
        self.read(|state| state.endpoint.clone())
    }

    /// The collection of this name or UUID.
    pub fn collection(&self, name: &str) -> Option<&Collection> {
        self.config.collections.iter().find(|collection| collection.id == name || collection.name == name)
    }

    /// The collection of this UUID, or Transfer's error.
    pub fn endpoint_of(&self, request: &Request, id: &str) -> Result<&Collection, super::http::Answer> {
        self.config
            .collections
            .iter()
            .find(|collection| collection.id == id)
            .ok_or_else(|| request.refuse(404, "EndpointNotFound", &format!("No such endpoint '{id}'")))
    }

    /// Both names of a collection, to hold against a fault.
    pub fn names(&self, id: &str) -> Vec<String> {
        self.collection(id)
            .map(|collection| vec![collection.name.clone(), collection.id.clone()])
            .unwrap_or_default()
    }
}

/// A text field of a JSON object.
pub fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

/// A Boolean field of a JSON object; absent and null are false.
pub fn flag(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or(false)
}
