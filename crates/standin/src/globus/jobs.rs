//! Compute tasks at work: a local process each, or a real endpoint behind RabbitMQ.
//!
//! A local process outlives the stand-in, as an endpoint outlives a connection: it leaves its result in a
//! file, and a stand-in that is started again finds it there.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::faults::{Kind as Fault, Victim};
use super::http::{new_id, now};
use super::state::{State, World, text};
use super::{Compute, compute};

/// The program that executes a packed task.
const WORKER: &str = include_str!("worker.py");

/// One compute task.
#[derive(Clone, Deserialize, Serialize)]
pub struct Job {
    pub id: String,
    pub owner: String,
    pub endpoint: String,
    pub function: String,
    pub group: String,
    pub created: String,
    /// Function and arguments, packed.
    pub buffer: String,
    pub serializers: Vec<String>,
    /// The same for equal function and arguments.
    pub fingerprint: String,
    /// As told by the service; `success` and `failed` are the ends.
    pub status: String,
    pub result: Option<String>,
    pub exception: Option<String>,
    pub details: Value,
    pub completed: Option<String>,
    /// How often a process was started for it.
    pub starts: u64,
    pub process: Option<Process>,
}

/// A process by its identity: a number alone may be another's by now.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Process {
    pub pid: i32,
    /// Ticks since the machine was started.
    pub started: u64,
}

impl Process {
    fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let rest = stat.rsplit_once(')')?.1;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // A zombie has ended; nobody has asked for its status yet.
        (*fields.first()? != "Z").then_some(())?;
        Some(Self { pid, started: fields.get(19)?.parse().ok()? })
    }

    fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    fn kill(&self) {
        if self.is_alive()
            && let Some(group) = Pid::from_raw(self.pid)
        {
            // It may have ended in between.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Job {
    pub fn new(owner: &str, endpoint: &str, function: &str, buffer: &str, group: &str) -> Self {
        Self {
            id: new_id(),
            owner: owner.to_owned(),
            endpoint: endpoint.to_owned(),
            function: function.to_owned(),
            group: group.to_owned(),
            created: now(),
            buffer: buffer.to_owned(),
            serializers: Vec::new(),
            fingerprint: String::new(),
            status: "received".to_owned(),
            result: None,
            exception: None,
            details: json!({}),
            completed: None,
            starts: 0,
            process: None,
        }
    }

    pub fn is_open(&self) -> bool {
        !matches!(self.status.as_str(), "success" | "failed")
    }

    /// Takes what a worker said: `{"data", "error"}`.
    pub fn take(&mut self, told: &Value) {
        if let Some(details) = told.get("details").filter(|details| details.is_object()) {
            self.details = details.clone();
        }
        let (data, failed) =
            (text(told, "data").unwrap_or("").to_owned(), told["error"].as_bool().unwrap_or(false));
        self.process = None;
        self.completed = Some(format!("{:.6}", jiff::Timestamp::now().as_nanosecond() as f64 / 1e9));
        if failed {
            self.status = "failed".to_owned();
            self.exception = Some(data);
        } else {
            self.status = "success".to_owned();
            self.result = Some(data);
        }
    }

    fn fail(&mut self, exception: &str) {
        self.take(&json!({"data": exception, "error": true}));
    }

    /// The task as the service tells it.
    pub fn to_document(&self) -> Value {
        let mut document = json!({"task_id": self.id, "status": self.status});
        if !self.is_open() {
            document["completion_t"] = json!(self.completed);
            document["details"] = self.details.clone();
        }
        if let Some(result) = &self.result {
            document["result"] = json!(result);
        }
        if let Some(exception) = &self.exception {
            document["exception"] = json!(exception);
            document["reason"] = json!(exception);
        }
        document
    }
}

/// Starts, or goes on with, a task.
pub fn start(world: &Arc<World>, id: String) {
    if matches!(world.config.compute, Compute::Amqp { .. }) {
        if let Some(bridge) = world.bridge.get() {
            bridge.submit(world, &id);
        }
        return;
    }
    world.spawn(move |world| {
        if let Err(error) = local(world, &id) {
            let text = format!("The stand-in could not run the task: {error}");
            world.change(|state| {
                state.jobs.get_mut(&id).filter(|job| job.is_open()).map(|job| job.fail(&text))
            });
        }
    });
}

fn folder(world: &World, id: &str) -> PathBuf {
    world.config.state.join("jobs").join(id)
}

fn is(victim: &str, state: &mut State, wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
    let names = [victim.to_owned()];
    state.meet(&Victim { collections: &names, ..Victim::default() }, wanted).map(|(_, kind)| kind)
}

/// The life of a task in a local process.
fn local(world: &World, id: &str) -> std::io::Result<()> {
    let Some(noted) = world.read(|state| state.jobs.get(id).map(|job| job.process.clone())) else {
        return Ok(());
    };
    // A stand-in that died between start and note has left a worker that says itself who it is.
    let process = noted.filter(|process| process.pid != 0).or_else(|| {
        let pid = std::fs::read_to_string(folder(world, id).join("pid")).ok()?.trim().parse().ok()?;
        Some(Process::of(pid).unwrap_or(Process { pid, started: 0 }))
    });
    let mut child = None;
    let process = match process {
        Some(process) => process,
        None => {
            world.change(|state| state.jobs.get_mut(id).map(|job| job.process = None));
            let Some(turn) = turn(world, id) else { return Ok(()) };
            if let Turn::Never = turn {
                return Ok(());
            }
            let spawned = spawn(world, id)?;
            let pid = i32::try_from(spawned.id()).unwrap_or(i32::MAX);
            let process = Process::of(pid).unwrap_or(Process { pid, started: 0 });
            child = Some(spawned);
            world.commit(|state| {
                if let Some(job) = state.jobs.get_mut(id) {
                    job.starts += 1;
                    job.process = Some(process.clone());
                }
            })?;
            process
        }
    };
    let result = folder(world, id).join("result.json");
    let lost = world.change(|state| {
        let endpoint = state.jobs.get(id)?.endpoint.clone();
        is(&endpoint, state, |kind| *kind == Fault::WorkerLost)
    });
    if lost.is_some() {
        // Not at once: the function is to have begun.
        std::thread::sleep(Duration::from_millis(300));
        process.kill();
    }
    loop {
        let ended = match &mut child {
            Some(child) => child.try_wait()?.is_some(),
            None => !process.is_alive(),
        };
        // Looked at before the file: a result that is written last is not missed.
        if ended {
            let told =
                std::fs::read(&result).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
            let lost = lost.is_some();
            world.commit(|state| {
                if let Some(job) = state.jobs.get_mut(id) {
                    match told {
                        Some(told) if !lost => job.take(&told),
                        _ => job.fail(
                            "Traceback (most recent call last):\n  ...\n\
                             parsl.executors.high_throughput.errors.WorkerLost: Task failure due to loss of worker 0 on host standin",
                        ),
                    }
                }
            })?;
            return Ok(());
        }
        if world.stopping() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

enum Turn {
    Now,
    Never,
}

/// Waits until the endpoint is online and has a free worker; faults may keep the task from ever starting.
fn turn(world: &World, id: &str) -> Option<Turn> {
    let endpoint = world.read(|state| state.jobs.get(id).map(|job| job.endpoint.clone()))?;
    let met = world.change(|state| {
        is(&endpoint, state, |kind| matches!(kind, Fault::JobFailed { .. } | Fault::SlowJob { .. }))
    });
    let mut not_before = Instant::now();
    match met {
        Some(Fault::JobFailed { message }) => {
            world.change(|state| state.jobs.get_mut(id).map(|job| job.fail(&message)));
            return Some(Turn::Never);
        }
        Some(Fault::SlowJob { milliseconds }) => not_before += Duration::from_millis(milliseconds),
        _ => {}
    }
    world.until(|state| {
        let offline = compute::offline(state, &endpoint, false);
        let busy = state.jobs.values().filter(|job| job.process.is_some()).count();
        let waits = offline || busy >= world.config.workers || Instant::now() < not_before;
        let job = state.jobs.get_mut(id)?;
        let status = if offline {
            "waiting-for-ep"
        } else if waits {
            "waiting-for-nodes"
        } else {
            "running"
        };
        job.status = status.to_owned();
        if !waits {
            // The place is taken before the process is there.
            job.process = Some(Process { pid: 0, started: 0 });
        }
        (!waits).then_some(Turn::Now)
    })
}

fn spawn(world: &World, id: &str) -> std::io::Result<std::process::Child> {
    use std::os::unix::process::CommandExt;
    let Compute::Local { python } = &world.config.compute else {
        return Err(std::io::Error::other("compute tasks go to a real endpoint"));
    };
    let folder = folder(world, id);
    std::fs::create_dir_all(&folder)?;
    let task = world.read(|state| {
        state
            .jobs
            .get(id)
            .map(|job| json!({"task_buffer": job.buffer, "result_serializers": job.serializers}))
    });
    std::fs::write(folder.join("task.json"), task.unwrap_or_default().to_string())?;
    std::fs::write(folder.join("worker.py"), WORKER)?;
    let log = std::fs::File::create(folder.join("log"))?;
    Command::new(python)
        .arg("worker.py")
        .current_dir(&folder)
        .envs(world.config.environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
}

/// Kills the processes of all tasks that have not ended.
pub fn end_all(world: &World) {
    let processes: Vec<Process> = world.read(|state| {
        state.jobs.values().filter(|job| job.is_open()).filter_map(|job| job.process.clone()).collect()
    });
    processes.iter().for_each(Process::kill);
}
