//! Flows, and workers that can be stopped and killed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engine::{
    ArtifactKind, Ask, Clock, Context, Deployment, Engine, External, Failure, Flow, Identity, NewRun,
    OnCancel, Registry, StepContext, StepOptions, join_all,
};
use prefect::{Client, FlowRun, NewFlowRun, StateType};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;
use worker::{Options, Summary, Worker};

/// What a flow is told: a name, and the folder of the world outside.
#[derive(Debug, Clone, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Names what is done.
    pub name: String,
    /// The folder.
    pub world: PathBuf,
}

/// Work outside: a line for each time it is done, with the time.
fn act(parameters: &Parameters, what: &str) -> Result<(), Failure> {
    use std::io::Write;
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    let file = std::fs::OpenOptions::new().create(true).append(true).open(parameters.world.join("acts"));
    file.and_then(|mut file| file.write_all(format!("{now} {}/{what}\n", parameters.name).as_bytes()))
        .map_err(|error| Failure::fatal(error.to_string()))
}

/// What was done, in order: milliseconds since 1970, and what.
pub fn lines(world: &Path) -> Vec<(u128, String)> {
    let text = std::fs::read_to_string(world.join("acts")).unwrap_or_default();
    let parsed = text.lines().map(|line| line.split_once(' ').expect("a time and an act"));
    parsed.map(|(time, act)| (time.parse().expect("a time"), act.to_owned())).collect()
}

/// From when to when each name was at work, by what it did and by its job.
pub fn intervals(world: &Path) -> BTreeMap<String, (u128, u128)> {
    let mut times: BTreeMap<String, Vec<u128>> = BTreeMap::new();
    for (time, act) in lines(world) {
        times.entry(act.split('/').next().unwrap_or_default().to_owned()).or_default().push(time);
    }
    for (name, (starts, ends)) in jobs(world) {
        times.entry(name).or_default().extend(starts.into_iter().chain(ends));
    }
    let ends = |all: Vec<u128>| (*all.iter().min().expect("a time"), *all.iter().max().expect("a time"));
    times.into_iter().map(|(name, all)| (name, ends(all))).collect()
}

/// How often what was done.
pub fn acts(world: &Path) -> BTreeMap<String, u32> {
    let mut all = BTreeMap::new();
    for (_, act) in lines(world) {
        *all.entry(act).or_default() += 1;
    }
    all
}

async fn short(context: Context, parameters: Parameters) -> Result<Value, Failure> {
    let given = &parameters;
    context.step("first", StepOptions::new(), |_| async move { act(given, "first") }).await?;
    let branch = |side: &'static str| {
        let scope = context.scope(side);
        scope.step("work", StepOptions::new(), move |step| async move {
            step.info(format!("working on the {side}"));
            step.progress(1.0, "done");
            act(given, side)
        })
    };
    join_all([branch("left"), branch("right")]).await?;
    context.artifact("note", ArtifactKind::Markdown, json!("# all done"), Some("a note"));
    context.external("last", StepOptions::new(), Job(parameters.clone())).await?;
    Ok(json!({ "name": parameters.name }))
}

/// Work outside, which must be started once whatever dies.
struct Job(Parameters);

impl External for Job {
    type Handle = String;
    type Output = ();

    async fn prepare(&self, identity: &Identity) -> Result<String, Failure> {
        Ok(identity.label())
    }

    async fn start(&self, label: &String, _: &StepContext) -> Result<String, Failure> {
        act(&self.0, "last")?;
        Ok(label.clone())
    }

    async fn find(&self, label: &String) -> Result<Option<String>, Failure> {
        let there = acts(&self.0.world).contains_key(&format!("{}/last", self.0.name));
        Ok(there.then(|| label.clone()))
    }

    async fn wait(&self, _: &String, _: &StepContext) -> Result<(), Failure> {
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(())
    }

    async fn cancel(&self, _: &String) -> Result<(), Failure> {
        Ok(())
    }
}

/// Work outside in the middle: a process that takes its time, whoever lives.
async fn haul(context: Context, parameters: Parameters) -> Result<(), Failure> {
    let given = &parameters;
    context.step("first", StepOptions::new(), |_| async move { act(given, "first") }).await?;
    context.external("job", StepOptions::new(), Outside(parameters.clone())).await?;
    let branch = |side: &'static str| {
        context.scope(side).step("work", StepOptions::new(), move |_| async move { act(given, side) })
    };
    join_all([branch("left"), branch("right")]).await.map(drop)
}

/// How many seconds a job of [`haul`] sleeps.
fn seconds() -> &'static str {
    if std::env::var_os("BEAMRAIL_LONG").is_some() { "3" } else { "1.5" }
}

/// A process with a folder of its own, in which it notes each start and its end.
struct Outside(Parameters);

impl Outside {
    fn folder(&self) -> PathBuf {
        self.0.world.join("jobs").join(&self.0.name)
    }
}

impl External for Outside {
    type Handle = String;
    type Output = ();

    async fn prepare(&self, identity: &Identity) -> Result<String, Failure> {
        Ok(identity.label())
    }

    async fn start(&self, label: &String, _: &StepContext) -> Result<String, Failure> {
        let (folder, fatal) = (self.folder(), |error: std::io::Error| Failure::fatal(error.to_string()));
        std::fs::create_dir_all(&folder).map_err(fatal)?;
        std::fs::write(folder.join("asked"), "").map_err(fatal)?;
        // None goes on while the gate is there.
        let script = "date +%s%3N >>starts; while [ -e ../../gate ]; do sleep 0.05; done; sleep \"$0\"; date +%s%3N >>ends";
        let mut job = std::process::Command::new("sh");
        job.args(["-c", script, seconds()]).current_dir(&folder);
        job.stdin(std::process::Stdio::null()).spawn().map_err(fatal)?;
        Ok(label.clone())
    }

    async fn find(&self, label: &String) -> Result<Option<String>, Failure> {
        // What was asked for a moment ago may not have noted its start yet.
        for _ in 0..100 {
            if !self.folder().join("asked").exists() {
                return Ok(None);
            }
            if self.folder().join("starts").exists() {
                return Ok(Some(label.clone()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(None)
    }

    async fn wait(&self, _: &String, _: &StepContext) -> Result<(), Failure> {
        while !self.folder().join("ends").exists() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn cancel(&self, _: &String) -> Result<(), Failure> {
        Ok(())
    }
}

/// The starts and ends that jobs noted, by name: milliseconds since 1970.
pub fn jobs(world: &Path) -> BTreeMap<String, (Vec<u128>, Vec<u128>)> {
    let times = |path: PathBuf| -> Vec<u128> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| line.parse().expect("a time")).collect()
    };
    let folders = std::fs::read_dir(world.join("jobs")).into_iter().flatten();
    let folders = folders.map(|folder| folder.expect("a folder").path());
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    folders.map(|path| (name(&path), (times(path.join("starts")), times(path.join("ends"))))).collect()
}

/// Waits in its second step until the file `go-<name>` is there, or it is cancelled.
async fn slow(context: Context, parameters: Parameters) -> Result<(), Failure> {
    let given = &parameters;
    context.step("first", StepOptions::new(), |_| async move { act(given, "first") }).await?;
    let go = parameters.world.join(format!("go-{}", parameters.name));
    // It ends by itself when it is cancelled, and says so.
    let waited = context.step("wait", StepOptions::new().on_cancel(OnCancel::Finish), |step| {
        let go = go.clone();
        async move {
            while !go.exists() {
                tokio::select! {
                    () = step.cancelled() => { act(given, "stopped")?; return Err(Failure::cancelled("stopped")) }
                    () = tokio::time::sleep(Duration::from_millis(20)) => (),
                }
            }
            Ok(())
        }
    });
    waited.await?;
    context.step("last", StepOptions::new(), |_| async move { act(given, "last") }).await
}

async fn asks(context: Context, parameters: Parameters) -> Result<(), Failure> {
    let given = &parameters;
    let ask = Ask::new("Centre needed", "the axis was not found");
    let center: f64 = context.pause_for_input("center", ask).await?;
    context.step("use", StepOptions::new(), |_| async move { act(given, &format!("center {center}")) }).await
}

async fn parent(context: Context, parameters: Parameters) -> Result<Value, Failure> {
    let given = json!({ "name": parameters.name, "world": parameters.world });
    let flow = match parameters.name.split('-').next() {
        Some("asking") => "asks",
        Some("waiting") => "slow",
        _ => "short",
    };
    context.sub_run("child", NewRun::of(flow, given)).await
}

async fn fails(context: Context, parameters: Parameters) -> Result<(), Failure> {
    let given = &parameters;
    context.step("first", StepOptions::new(), |_| async move { act(given, "first") }).await?;
    let fixed = parameters.world.join(format!("go-{}", parameters.name));
    context
        .step("breaks", StepOptions::new(), |_| {
            let fixed = fixed.exists();
            async move { if fixed { act(given, "breaks") } else { Err(Failure::fatal("the disk is full")) } }
        })
        .await
}

pub fn registry() -> Registry {
    Registry::new()
        .with(Flow::new("short", short).describe("Four steps"))
        .with(Flow::new("haul", haul))
        .with(Flow::new("slow", slow))
        .with(Flow::new("asks", asks))
        .with(Flow::new("parent", parent))
        .with(Flow::new("fails", fails))
}

/// A deployment of each flow, in queue bl832.
pub fn deployments() -> Vec<Deployment> {
    let one = |flow: &Flow| Deployment { queue: "bl832".into(), ..Deployment::of(flow.name(), flow) };
    registry().iter().map(one).collect()
}

/// A worker at work.
pub struct AtWork {
    pub engine: Engine,
    stop: oneshot::Sender<()>,
    task: JoinHandle<worker::Result<Summary>>,
}

/// Starts a worker on the journal of a folder.
pub fn start(client: &Client, folder: &Path, concurrency: usize) -> AtWork {
    let engine = Engine::open(folder.join("runs.db"), Clock::system()).unwrap();
    let options = Options {
        name: folder.file_name().unwrap().to_string_lossy().into_owned(),
        queues: vec!["bl832".into()],
        concurrency,
        poll: Duration::from_millis(200),
        beat: Duration::from_secs(2),
        drain: Duration::from_millis(200),
        lease: Duration::from_secs(3),
        ..Options::new("beamline")
    };
    let tell = |text: &str| println!("worker: {text}");
    let ledger = folder.join("prefect.db");
    let worker = Worker::new(client.clone(), engine.clone(), registry(), &ledger, options, tell).unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(worker.run(async move {
        let _ = stopped.await;
    }));
    AtWork { engine, stop, task }
}

impl AtWork {
    /// As on SIGTERM.
    pub async fn stop(self) -> Summary {
        let _ = self.stop.send(());
        self.task.await.unwrap().unwrap()
    }
}

/// Starts a deployment.
pub async fn run(client: &Client, flow: &str, name: &str, world: &Path) -> Uuid {
    let deployment = client.deployment(flow, flow).await.unwrap().expect("a deployment").id;
    let new = NewFlowRun {
        name: Some(name.to_owned()),
        parameters: json!({ "name": name, "world": world }),
        ..NewFlowRun::default()
    };
    client.run_deployment(deployment, &new).await.unwrap().id
}

/// Waits until the server has the run in this state.
pub async fn until(client: &Client, run: Uuid, kind: StateType) -> FlowRun {
    until_within(client, run, kind, Duration::from_secs(40)).await
}

/// Waits so long for this state.
pub async fn until_within(client: &Client, run: Uuid, kind: StateType, patience: Duration) -> FlowRun {
    let begun = Instant::now();
    let mut found = None;
    while begun.elapsed() < patience {
        found = client.flow_run(run).await.ok().flatten();
        match found {
            Some(found) if found.state_type() == Some(kind) => return found,
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    panic!("no {kind}: {found:#?}");
}

/// The states of a run's tasks, by task.
pub async fn tasks(client: &Client, run: Uuid) -> BTreeMap<String, Vec<StateType>> {
    let mut all = BTreeMap::new();
    for task in client.task_runs(run).await.unwrap() {
        let states = client.task_run_states(task.id).await.unwrap();
        all.insert(task.task_key, states.into_iter().map(|state| state.kind).collect());
    }
    all
}
