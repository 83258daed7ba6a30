//! `beamrail run`: start a flow, now or later, and follow it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use beamline::config::parameter;
use beamline::identity::Identity;
use custody::Age;
use engine::{Engine, NewRun, Orchestrator, Run, RunId, StateType, Worker};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::beam::{Beam, BeamArgs, pairs, short, time};
use super::live::{ending, follow, say};
use super::worker::with_couriers;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::progress::Mode;

/// Start a flow, now or at a time
///
/// The flow's run is done by a worker (`beamrail worker`). With --wait its steps are shown until it ends; where no
/// worker is running, this command does the run itself.
///
/// Where PREFECT_API_URL names a server, the run is made there, as one of the flow's deployment: workers take it, and
/// operators see it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    beam: BeamArgs,

    /// The flow: new_832_file_flow, alcf_recon_flow, dispatcher, ... (left out, they are listed)
    #[arg(value_name = "FLOW")]
    flow: Option<String>,

    /// The raw scan: <experiment folder>/<scan>.h5, or any path that ends so
    #[arg(long, value_name = "PATH")]
    file: Option<String>,

    /// A parameter of the flow, or of its recipe (stripes.sigma=4); may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// Begin at this time: 2026-05-01T18:00 (of the beamline's time zone), or with zone: 2026-05-01T18:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "after")]
    at: Option<String>,

    /// Begin after this time: "2 hours"
    #[arg(long = "in", value_name = "DURATION")]
    after: Option<String>,

    /// The same key for the same flow gives the same run, however often it is asked for
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Make the run in this state folder's journal, where PREFECT_API_URL names a server too; Prefect does not show it
    #[arg(long)]
    here: bool,

    /// Show its steps until it ends; the exit code says how
    #[arg(long)]
    wait: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Starts the run, and follows it.
pub(crate) fn run(args: &Args, progress: Mode) -> Result<(), Failure> {
    let beam = Beam::open_with_settings(&args.beam)?;
    let Some(flow) = &args.flow else { return list(&beam, args.json) };
    let new = new_run(&beam, args, flow)?;
    if let Some(client) = super::prefect::client()?.filter(|_| !args.here) {
        let how = super::prefect::Start { wait: args.wait, json: args.json, progress };
        return super::prefect::start(&beam, &client, flow, new, &how);
    }
    if !args.here && beam.is_on_prefect() {
        say(
            "Prefect does not show this run: PREFECT_API_URL is not set, and the worker here takes its runs from there",
        );
    }
    let later = new.at;
    beam.deploy()?;
    let created = beam.wait(beam.engine.start(flow, new))?;
    if !args.wait {
        let run = beam.wait(beam.engine.run(created.id))?;
        if args.json {
            return output::print_json(
                &json!({ "run": created.id, "new": created.is_new, "state": run.state }),
            );
        }
        output::print(&created.id.to_string())?;
        match (created.is_new, later) {
            (false, _) => say(&format!("this key had its run already: {}", run.state.name)),
            (true, Some(at)) => say(&format!("begins at {}", time(at))),
            (true, None) if !has_worker(&beam, &run.pool)? => {
                say("no worker is running; it begins when one does: beamrail worker");
            }
            (true, None) => {}
        }
        return Ok(());
    }
    let run = wait_for(&beam, created.id, progress)?;
    if args.json {
        output::print_json(&run)?;
    } else {
        output::print(&run.id.to_string())?;
    }
    ending(&beam, &run)
}

/// The flows that can be run.
fn list(beam: &Beam, as_json: bool) -> Result<(), Failure> {
    if as_json {
        let flows: Vec<Value> = beam
            .registry
            .iter()
            .map(|flow| {
                json!({ "name": flow.name(), "description": flow.description(), "parameters": flow.schema() })
            })
            .collect();
        return output::print_json(&flows);
    }
    let mut table = output::Table::default();
    for flow in beam.registry.iter() {
        table.row(flow.name(), flow.description());
    }
    output::print(&table.text())
}

/// The run that the flags ask for, its parameters checked.
fn new_run(beam: &Beam, args: &Args, flow: &str) -> Result<NewRun, Failure> {
    let known = beam.registry.get(flow).ok_or_else(|| {
        let names = beam.registry.iter().map(engine::Flow::name);
        let near = names
            .map(|name| (strsim::jaro_winkler(flow, name), name))
            .filter(|(likeness, _)| *likeness > 0.8)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, name)| format!("; did you mean {name}?"));
        Failure::usage(format!("there is no flow {flow}{}", near.unwrap_or_default()))
            .hint("beamrail run, which lists them")
    })?;
    let schema = known.schema();
    let has = |key: &str| schema.pointer(&format!("/properties/{key}")).is_some();
    let mut parameters = Map::new();
    let mut recipe: Vec<Value> = Vec::new();
    for (key, text) in pairs(&args.set)? {
        // The recipe's parameters have a section before a point; the flow's have none.
        if !has(&key) && key.contains('.') && has("set") {
            recipe.push(json!(format!("{key}={text}")));
        } else {
            parameters.insert(key.clone(), parameter(schema, &key, &text));
        }
    }
    if !recipe.is_empty() {
        let given = parameters.entry("set").or_insert_with(|| json!([]));
        if let Some(given) = given.as_array_mut() {
            given.append(&mut recipe);
        }
    }
    let mut tags = Vec::new();
    let mut name = None;
    if let Some(file) = &args.file {
        if !has("file_path") {
            return Err(
                Failure::usage(format!("{flow} takes no --file")).hint(format!("beamrail run {flow}"))
            );
        }
        parameters.insert("file_path".into(), json!(file));
    }
    if let Some(Value::String(file)) = parameters.get("file_path") {
        let identity = Identity::of_trigger(file)
            .map_err(|error| Failure::new(Exit::BadInput, format!("--file {error}")))?;
        name = Some(format!("{flow}: {}", identity.name));
        tags.push(identity.tag());
    }
    let parameters = Value::Object(parameters);
    engine::schema::check(schema, &parameters)
        .map_err(|reason| Failure::usage(format!("parameters of {flow}: {reason}")))?;
    Ok(NewRun {
        name,
        tags,
        at: begin(beam, args)?,
        idempotency_key: args.key.clone(),
        ..NewRun::of(flow, parameters)
    })
}

/// When it is to begin.
fn begin(beam: &Beam, args: &Args) -> Result<Option<Timestamp>, Failure> {
    if let Some(text) = &args.after {
        let age: Age = text.parse().map_err(|error| Failure::usage(format!("--in: {error}")))?;
        return Ok(Some(age.after(beam.now())));
    }
    let Some(text) = &args.at else { return Ok(None) };
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Some(at));
    }
    let zone = jiff::tz::TimeZone::get(&beam.config.beamline.time_zone)
        .map_err(|error| Failure::new(Exit::BadInput, error.to_string()))?;
    let civil: jiff::civil::DateTime = text.parse().map_err(|_| {
        Failure::usage(format!(
            "--at {text:?} is no time; write 2026-05-01T18:00, or with zone 2026-05-01T18:00Z"
        ))
    })?;
    let at = civil.to_zoned(zone).map_err(|error| Failure::usage(format!("--at {text}: {error}")))?;
    Ok(Some(at.timestamp()))
}

/// Whether a worker of that pool has given a sign of life. One of this host must be a process still.
pub(crate) fn has_worker(beam: &Beam, pool: &str) -> Result<bool, Failure> {
    Ok(beam.wait(lives(beam.engine.clone(), pool.to_owned()))?)
}

async fn lives(engine: Engine, pool: String) -> engine::Result<bool> {
    let now = engine.clock().now();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let is_process = |pid: u32| {
        let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
        // One that may not be signalled is there, and somebody else's.
        pid.is_some_and(|pid| {
            !matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH))
        })
    };
    let workers = engine.workers().await?;
    Ok(workers.iter().any(|worker| {
        let here = worker.host == host;
        worker.pool == pool
            && worker.lives(now)
            && (!here || (worker.pid != std::process::id() && is_process(worker.pid)))
    }))
}

/// Follows a run to its end; works on it here while nobody else does. Ctrl-C lets go of it: it is not cancelled.
pub(crate) fn wait_for(beam: &Beam, id: RunId, progress: Mode) -> Result<Run, Failure> {
    let stop = super::stop_on_signals()?;
    let run = beam.wait(beam.engine.run(id))?;
    let due = run.state.kind == StateType::Scheduled && run.due.is_some_and(|due| due > beam.now());
    if due {
        say(&format!("begins at {}", run.due.map(time).unwrap_or_default()));
    }
    let over = Arc::new(AtomicBool::new(false));
    let standing_by = beam.spawn(stand_by(beam, &run, progress, over.clone()));
    let followed =
        beam.wait(follow(&beam.engine, id, progress, || stop.requested() || standing_by.is_finished()));
    over.store(true, Ordering::Relaxed);
    match beam.wait(standing_by) {
        Ok(Ok(())) => followed,
        Ok(Err(error)) => Err(error.into()),
        Err(error) => Err(Failure::new(Exit::Failed, format!("the worker broke: {error}"))),
    }
}

/// Works as a worker of the run's pool from when no other is there, until it is `over`.
fn stand_by(
    beam: &Beam,
    run: &Run,
    progress: Mode,
    over: Arc<AtomicBool>,
) -> impl Future<Output = engine::Result<()>> + Send + use<> {
    let (engine, pool, id) = (beam.engine.clone(), run.pool.clone(), run.id);
    let worker = Worker::new(engine.store(), beam.registry.clone()).pool(&pool);
    let worker = with_couriers(worker, &beam.config);
    let pause = Duration::from_millis(100);
    async move {
        while lives(engine.clone(), pool.clone()).await? {
            tokio::time::sleep(pause).await;
            if over.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        if progress != Mode::None && !over.load(Ordering::Relaxed) {
            say(&format!("run {}: no worker is running, so it is done here", short(id)));
        }
        let stopped = async move {
            while !over.load(Ordering::Relaxed) {
                tokio::time::sleep(pause).await;
            }
        };
        worker.run(stopped).await.map(drop)
    }
}
