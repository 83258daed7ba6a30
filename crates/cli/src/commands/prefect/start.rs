//! `beamrail run` where a Prefect server is named: the run is made there, for operators to see and workers to take.

use std::collections::BTreeMap;
use std::time::Duration;

use ::prefect::{Client, FlowRun, StateType, TaskRun};
use engine::NewRun;
use serde_json::json;
use uuid::Uuid;
use worker::PrefectStarts;

use super::super::beam::{Beam, time};
use super::super::live::say;
use super::super::stop_on_signals;
use crate::exit::{Exit, Failure};
use crate::output::{self, seconds};
use crate::progress::Mode;

/// How often the server is asked how a run stands.
const LOOK: Duration = Duration::from_secs(1);

/// How a run is started: the flags of `beamrail run`.
pub(crate) struct Start {
    pub(crate) wait: bool,
    pub(crate) json: bool,
    pub(crate) progress: Mode,
}

/// Makes the run of the flow's deployment, and follows it where that is asked for.
pub(crate) fn start(
    beam: &Beam,
    client: &Client,
    flow: &str,
    new: NewRun,
    how: &Start,
) -> Result<(), Failure> {
    let starts = PrefectStarts::new(client, &beam.config)?;
    let client = starts.client();
    let later = new.at;
    let made = beam.wait(starts.make(flow, new)).map_err(away)?;
    let id = made.id.to_string();
    let there = beam.wait(starts.page(made.id))?;
    if !how.wait {
        let state = made.state.as_ref();
        if how.json {
            let state = state.map(|state| json!({ "type": state.kind.as_str(), "name": state.label() }));
            return output::print_json(&json!({
                "run": id, "name": made.name, "state": state, "server": client.settings().api.as_str(), "page": there,
            }));
        }
        output::print(&id)?;
        match (state.filter(|state| state.kind != StateType::Scheduled), later) {
            (Some(state), _) => say(&format!("this key had its run already: {}", state.label())),
            (None, Some(at)) => say(&format!("begins at {}", time(at))),
            (None, None) => {}
        }
        say(&format!("shown at {there}"));
        return Ok(());
    }
    let run = follow(beam, client, made.id, &there, how.progress)?;
    let state = run.state.as_ref();
    if how.json {
        let state = state.map(
            |state| json!({ "type": state.kind.as_str(), "name": state.label(), "message": state.message }),
        );
        output::print_json(&json!({
            "run": id, "name": run.name, "state": state, "server": client.settings().api.as_str(), "page": there,
        }))?;
    } else {
        output::print(&id)?;
    }
    ending(&run, &there)
}

/// A server that is away: what was not made, and the two ways on.
fn away(error: worker::Error) -> Failure {
    let helps = error.retry_helps();
    let failure = Failure::from(error);
    match helps {
        true => failure
            .hint(
                "the same command again, when the server is back; with --key it makes one run however often",
            )
            .hint("--here, which makes the run in this state folder's journal; Prefect does not show it"),
        false => failure,
    }
}

/// Follows a run to its end, or until it waits for a person, or Ctrl-C lets go of it.
fn follow(beam: &Beam, client: &Client, id: Uuid, page: &str, mode: Mode) -> Result<FlowRun, Failure> {
    let stop = stop_on_signals()?;
    if mode != Mode::None {
        say(&format!("shown at {page}"));
    }
    let mut told: BTreeMap<Uuid, String> = BTreeMap::new();
    let (mut silent, mut alone) = (false, false);
    loop {
        let seen = beam.wait(async {
            Ok::<_, ::prefect::Error>((client.flow_run(id).await?, client.task_runs(id).await?))
        });
        let (run, tasks) = match seen {
            Ok((Some(run), tasks)) => (run, tasks),
            Ok((None, _)) => {
                return Err(Failure::new(Exit::Failed, format!("run {id} was deleted in Prefect")));
            }
            // It goes on without us.
            Err(error) if error.retry_helps() && !stop.requested() => {
                if !std::mem::replace(&mut silent, true) {
                    say(&format!("Prefect does not answer; the run goes on: {error}"));
                }
                std::thread::sleep(LOOK);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        silent = false;
        tasks.iter().for_each(|task| tell(task, &mut told, mode));
        let kind = run.state_type();
        if kind.is_some_and(|kind| kind.is_terminal() || kind == StateType::Paused) || stop.requested() {
            return Ok(run);
        }
        let due = run.next_scheduled_start_time.is_none_or(|at| at <= beam.now());
        if kind == Some(StateType::Scheduled) && due && !std::mem::replace(&mut alone, true) {
            warn_where_nobody_works(beam, client, &run)?;
        }
        std::thread::sleep(LOOK);
    }
}

fn warn_where_nobody_works(beam: &Beam, client: &Client, run: &FlowRun) -> Result<(), Failure> {
    let Some(pool) = &run.work_pool_name else { return Ok(()) };
    let workers = beam.wait(client.workers(pool))?;
    if !workers.iter().any(|one| one.status.as_deref() == Some("ONLINE")) {
        say(&format!(
            "no worker of pool {pool} gives signs of life; it begins when one does: beamrail worker"
        ));
    }
    Ok(())
}

/// A line for each step that stands differently.
fn tell(task: &TaskRun, told: &mut BTreeMap<Uuid, String>, mode: Mode) {
    let Some(state) = &task.state else { return };
    if mode == Mode::None || told.get(&task.id).is_some_and(|before| before == state.label()) {
        return;
    }
    told.insert(task.id, state.label().to_owned());
    if mode == Mode::Json {
        let step = json!({
            "event": "step", "step": task.task_key, "state": state.kind.as_str(), "name": state.label(),
            "message": state.message,
        });
        return say(&step.to_string());
    }
    let why = state.message.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
    let took = task.start_time.zip(task.end_time).map(|(from, to)| to.duration_since(from).as_secs_f64());
    match (state.kind, took) {
        (StateType::Completed, Some(took)) => {
            say(&format!("{}: done in {}", task.task_key, seconds(took.max(0.0))))
        }
        (StateType::Completed, None) => say(&format!("{}: done", task.task_key)),
        _ => say(&format!("{}: {}{why}", task.task_key, state.label().to_lowercase())),
    }
}

/// How the command ends whose run stands so.
fn ending(run: &FlowRun, page: &str) -> Result<(), Failure> {
    let label = run.state.as_ref().map(|state| state.label().to_owned()).unwrap_or_default();
    let message = run.state.as_ref().and_then(|state| state.message.clone()).unwrap_or_else(|| label.clone());
    let told = |what: &str| format!("run {:?} {what}: {message}", run.name);
    let look = format!("prefect flow-run logs {}", run.id);
    match run.state_type() {
        Some(StateType::Completed) => Ok(()),
        Some(StateType::Failed | StateType::Crashed) => Err(Failure::new(Exit::Failed, told("failed"))
            .hint(look)
            .hint(format!("Retry at {page}, once the cause is gone"))),
        Some(StateType::Paused) => {
            Err(Failure::new(Exit::Failed, told("waits for a person")).hint(format!("Resume at {page}")))
        }
        Some(StateType::Cancelled | StateType::Cancelling) => {
            Err(Failure::new(Exit::Interrupted, told("was cancelled")))
        }
        _ => Err(Failure::new(Exit::Interrupted, format!("run {:?} goes on: {label}", run.name))
            .hint(page.to_owned())),
    }
}
