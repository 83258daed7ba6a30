//! Transfer's tasks, and Compute's endpoints.

use beamline::config::{Config, FacilityKind, expand};
use serde_json::json;

use super::super::beam::BeamArgs;
use crate::exit::Failure;
use crate::grid::Grid;
use crate::output::{self, Table, bytes};

/// Transfer tasks of this client: list, look at one, cancel one
#[derive(Debug, clap::Args)]
pub(super) struct Task {
    /// The task; left out, the newest are listed
    #[arg(value_name = "ID")]
    id: Option<String>,

    /// Cancel it
    #[arg(long, requires = "id")]
    cancel: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How an endpoint of Globus Compute is
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// A facility of the configuration, or an endpoint's UUID; left out, all facilities of kind globus-compute
    #[arg(value_name = "FACILITY|UUID")]
    name: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn task(args: &Task) -> Result<(), Failure> {
    let (globus, runtime) = (super::client()?, super::runtime()?);
    let transfer = globus.transfer();
    let Some(id) = &args.id else {
        let tasks = runtime.block_on(transfer.tasks("", 50))?;
        if args.json {
            return output::print_json(&tasks);
        }
        let mut grid = Grid::new(&["task", "status", "label", ">bytes", ">faults", "asked"]);
        for task in tasks {
            let status = String::from(task.status.clone());
            let nice = task.nice_status.filter(|word| !word.eq_ignore_ascii_case("ok"));
            let status = nice.map_or(status.clone(), |nice| format!("{status} {nice}"));
            let label = task.label.unwrap_or_default();
            let asked = task.request_time.unwrap_or_default();
            grid.row([
                task.task_id,
                status,
                label,
                bytes(task.bytes_transferred),
                task.faults.to_string(),
                asked,
            ]);
        }
        return output::print(&grid.text());
    };
    if args.cancel {
        let done = runtime.block_on(transfer.cancel(id))?;
        return output::print(&format!("{}: {}", done.code, done.message));
    }
    let task = runtime.block_on(transfer.task(id))?;
    let events = runtime.block_on(transfer.events(id, 20))?;
    if args.json {
        return output::print_json(&json!({ "task": task, "events": events }));
    }
    let mut table = Table::default();
    table.row("task", id.clone()).row("status", String::from(task.status.clone()));
    table.maybe("label", task.label.clone());
    table.maybe("from", task.source_endpoint_display_name.clone());
    table.maybe("to", task.destination_endpoint_display_name.clone());
    let files = task.files_transferred.unwrap_or(0);
    let moved = format!(
        "{} in {files} of {} files, {} faults",
        bytes(task.bytes_transferred),
        task.files,
        task.faults
    );
    table.row("moved", moved);
    let rate = task.effective_bytes_per_second;
    if rate > 0 {
        table.row("rate", format!("{}/s", bytes(rate)));
    }
    if task.subtasks_pending + task.subtasks_retrying > 0 {
        let (waiting, again) = (task.subtasks_pending, task.subtasks_retrying);
        table.row("to do", format!("{waiting} of {} parts, {again} tried again", task.subtasks_total));
    }
    table.maybe("asked", task.request_time.clone());
    table.maybe("ended", task.completion_time.clone());
    table.maybe("deadline", task.deadline.clone());
    let active = task.outcome() == globus::transfer::Outcome::Active;
    if let Some(failure) = task.failure(&[]).filter(|_| !active) {
        table.row("verdict", failure.to_string());
    }
    for event in events.iter().take(10) {
        table.row("event", format!("{} {} {}", event.time, event.code, event.description));
    }
    output::print(&table.text())
}

pub(super) fn endpoint(beam: &BeamArgs, args: &Status) -> Result<(), Failure> {
    let uuid = |text: &str| text.len() == 36 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let mut wanted: Vec<(String, String)> = Vec::new();
    match &args.name {
        Some(id) if uuid(id) => wanted.push((id.clone(), id.clone())),
        name => {
            let config = Config::load(beam.config.as_deref())?;
            let all = config.facilities.iter().filter(|(_, one)| one.kind == FacilityKind::GlobusCompute);
            for (facility, one) in
                all.filter(|(facility, _)| name.as_ref().is_none_or(|name| name == *facility))
            {
                let id = one.more.get("endpoint").map(String::as_str).unwrap_or_default();
                let id = expand(id, super::variable).map_err(|missing| {
                    Failure::usage(format!("facility {facility}: {missing} is not set"))
                })?;
                wanted.push((facility.clone(), id));
            }
            if wanted.is_empty() {
                return Err(Failure::usage("there is no such facility of kind globus-compute"));
            }
        }
    }
    let (globus, runtime) = (super::client()?, super::runtime()?);
    let mut told = Vec::new();
    for (name, id) in wanted {
        let status = runtime.block_on(globus.compute().endpoint_status(&id))?;
        let about = runtime.block_on(globus.compute().endpoint(&id)).ok();
        told.push((name, id, status, about));
    }
    if args.json {
        let all: Vec<_> = told
            .iter()
            .map(
                |(name, id, status, about)| json!({"name": name, "id": id, "status": status, "about": about}),
            )
            .collect();
        return output::print_json(&all);
    }
    let mut grid = Grid::new(&["facility", "endpoint", "status", "version", ">workers", ">idle", ">waiting"]);
    for (name, id, status, about) in told {
        let count = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        let load = &status.details;
        let version = about.and_then(|about| about.endpoint_version).unwrap_or_default();
        let numbers = [count(load.total_workers), count(load.idle_workers), count(load.pending_tasks)];
        let [workers, idle, waiting] = numbers;
        grid.row([name, id, status.status, version, workers, idle, waiting]);
    }
    output::print(&grid.text())
}
