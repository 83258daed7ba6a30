//! `beamrail runs`: what ran, what runs, what waits, and what to do about it.

use std::collections::BTreeMap;

use clap::Subcommand;
use engine::{Level, Orchestrator, Run, RunFilter, StateType, Step};
use serde_json::{Value, json};

use super::beam::{Beam, BeamArgs, pairs, scan, short, time, value};
use super::explain;
use super::live::say;
use crate::exit::Failure;
use crate::grid::Grid;
use crate::output::{self, Table, seconds};
use crate::progress::Mode;

/// List runs, show one, steer it, and explain where its time went
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    beam: BeamArgs,

    /// Print JSON
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List runs, newest first (what `beamrail runs` does)
    List(ListArgs),
    /// Show a run: state, parameters, steps, error, question
    Show {
        /// The run's id, or its last letters
        id: String,
    },
    /// Print a run's log
    Logs {
        /// The run's id, or its last letters
        id: String,
        /// Go on until the run ends
        #[arg(long, short)]
        follow: bool,
    },
    /// Stop a run and its work outside
    Cancel {
        /// The run's id, or its last letters
        id: String,
        /// Why, for the history
        #[arg(long, value_name = "TEXT", default_value = "cancelled by hand")]
        reason: String,
    },
    /// Try a run again that did not complete; finished steps are kept
    Retry {
        /// The run's id, or its last letters
        id: String,
        /// Keep none: begin anew
        #[arg(long)]
        from_start: bool,
        /// Show its steps until it ends
        #[arg(long)]
        wait: bool,
    },
    /// Let a paused run go on, with the answer that it asked for
    Resume {
        /// The run's id, or its last letters
        id: String,
        /// The answer: center=1280.5
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Show its steps until it ends
        #[arg(long)]
        wait: bool,
    },
    /// Say where a run's time went, against earlier runs of its flow
    Explain {
        /// The run's id, or its last letters
        id: String,
    },
}

#[derive(Debug, Clone, Default, clap::Args)]
struct ListArgs {
    /// Only runs in this state: scheduled, running, paused, completed, failed, ...
    #[arg(long, value_name = "STATE")]
    state: Vec<StateType>,

    /// Only runs of this flow
    #[arg(long, value_name = "FLOW")]
    flow: Option<String>,

    /// Only runs about this scan
    #[arg(long, value_name = "SCAN")]
    scan: Option<String>,

    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 30)]
    limit: u32,
}

/// Lists, shows or steers.
pub(crate) fn run(args: &Args, progress: Mode) -> Result<(), Failure> {
    let beam = Beam::open(&args.beam)?;
    let engine = &beam.engine;
    match &args.command {
        None => list(&beam, &ListArgs { limit: 30, ..ListArgs::default() }, args.json),
        Some(Command::List(filter)) => list(&beam, filter, args.json),
        Some(Command::Show { id }) => show(&beam, id, args.json),
        Some(Command::Logs { id, follow }) => logs(&beam, id, *follow, args.json),
        Some(Command::Cancel { id, reason }) => {
            let id = beam.run_id(id)?;
            let state = beam.wait(engine.cancel(id, reason))?;
            answer(args.json, id, &state)
        }
        Some(Command::Retry { id, from_start, wait }) => {
            let id = beam.run_id(id)?;
            let state = beam.wait(engine.retry(id, *from_start))?;
            if *wait { follow_on(&beam, id, progress, args.json) } else { answer(args.json, id, &state) }
        }
        Some(Command::Resume { id, set, wait }) => {
            let id = beam.run_id(id)?;
            let answers: BTreeMap<String, Value> =
                pairs(set)?.into_iter().map(|(key, text)| (key, value(&text))).collect();
            let state = beam.wait(engine.resume(id, answers))?;
            if *wait { follow_on(&beam, id, progress, args.json) } else { answer(args.json, id, &state) }
        }
        Some(Command::Explain { id }) => explain::explain(&beam, beam.run_id(id)?, args.json),
    }
}

fn answer(as_json: bool, id: engine::RunId, state: &engine::State) -> Result<(), Failure> {
    if as_json {
        return output::print_json(&json!({ "run": id, "state": state }));
    }
    let why = state.message.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    output::print(&format!("{} {}{why}", short(id), state.name))
}

fn follow_on(beam: &Beam, id: engine::RunId, progress: Mode, as_json: bool) -> Result<(), Failure> {
    let run = super::run::wait_for(beam, id, progress)?;
    if as_json {
        output::print_json(&run)?;
    }
    super::live::ending(beam, &run)
}

fn list(beam: &Beam, args: &ListArgs, as_json: bool) -> Result<(), Failure> {
    let mut filter = RunFilter {
        flow: args.flow.clone(),
        states: args.state.clone(),
        limit: args.limit.clamp(1, 1000),
        ..RunFilter::default()
    };
    if let Some(text) = &args.scan {
        filter.tags = vec![beamline::identity::tag(&scan(text)?)];
    }
    let page = beam.wait(beam.engine.runs(filter))?;
    if as_json {
        return output::print_json(&page);
    }
    let mut grid = Grid::new(&["run", "state", "created", ">took", "name"]);
    for run in &page.items {
        grid.row([
            short(run.id),
            run.state.name.clone(),
            time(run.created),
            took(run, beam),
            run.name.clone(),
        ]);
    }
    if grid.is_empty() {
        say("no runs");
    }
    output::print(&grid.text())?;
    if page.next.is_some() {
        let counts = beam.wait(beam.engine.counts())?;
        let all: u64 = counts.values().sum();
        say(&format!("the newest {} of {all}; --limit shows more", page.items.len()));
    }
    Ok(())
}

/// How long it has been at work, or when it begins.
fn took(run: &Run, beam: &Beam) -> String {
    let Some(from) = run.started else {
        let later = run.due.filter(|due| *due > beam.now());
        return later.map(|due| format!("from {}", time(due))).unwrap_or_default();
    };
    let to = run.ended.unwrap_or_else(|| beam.now());
    seconds(to.duration_since(from).as_secs_f64().max(0.0))
}

fn show(beam: &Beam, id: &str, as_json: bool) -> Result<(), Failure> {
    let id = beam.run_id(id)?;
    let run = beam.wait(beam.engine.run(id))?;
    let steps = beam.wait(beam.engine.steps(id))?;
    let artifacts = beam.wait(beam.engine.artifacts(id))?;
    if as_json {
        return output::print_json(&json!({ "run": run, "steps": steps, "artifacts": artifacts }));
    }
    let mut table = Table::default();
    table.row("run", run.id.to_string());
    table.row("flow", run.flow.as_str()).row("name", run.name.as_str());
    let why = run.state.message.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    table.row("state", format!("{}{why}", run.state.name));
    table.row("created", time(run.created));
    if !run.state.kind.is_terminal() {
        table.maybe("due", run.due.map(time));
    }
    table.maybe("started", run.started.map(time));
    table.maybe("ended", run.ended.map(|at| format!("{}, after {}", time(at), took(&run, beam))));
    table.maybe("worker", run.worker.clone());
    table.maybe("started by", run.parent.map(|parent| parent.to_string()));
    if !run.tags.is_empty() {
        table.row("tags", run.tags.join(" "));
    }
    if let Some(parameters) = run.parameters.as_object() {
        for (key, value) in parameters.iter().filter(|(_, value)| !value.is_null()) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            table.row(&format!("  {key}"), text);
        }
    }
    if let Some(error) = &run.error {
        let code = error.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
        table.row("error", format!("{}{code}", error.message));
    }
    if let Some(ask) = run.ask.as_ref().filter(|_| run.state.kind == StateType::Paused) {
        table.row("asks", format!("{}: {}", ask.title, ask.message));
        table.row("answer", format!("beamrail runs resume {} --set {}=VALUE", short(run.id), ask.key));
    }
    for artifact in artifacts.iter().filter(|artifact| artifact.kind == engine::ArtifactKind::Image) {
        table.maybe(&artifact.key, artifact.data.as_str());
    }
    let mut grid = Grid::new(&["step", "state", ">took", ">tries", ""]);
    for step in steps.iter().filter(|step| step.generation == run.generation) {
        grid.row([
            step.key.clone(),
            step.state.name.clone(),
            step_took(step, beam),
            step.attempt.to_string(),
            step_note(step),
        ]);
    }
    let steps = if grid.is_empty() { String::new() } else { format!("\n{}", grid.text()) };
    output::print(&format!("{}{steps}", table.text()))
}

fn step_took(step: &Step, beam: &Beam) -> String {
    let Some(from) = step.started else { return String::new() };
    let to = step.ended.unwrap_or_else(|| beam.now());
    seconds(to.duration_since(from).as_secs_f64().max(0.0))
}

/// What matters of a step in a few words.
fn step_note(step: &Step) -> String {
    if let Some(error) = &step.error {
        return error.message.lines().next().unwrap_or_default().to_owned();
    }
    let number = |key: &str| step.output.as_ref().and_then(|output| output.get(key)).and_then(Value::as_f64);
    match (number("copied"), number("seconds"), number("bytes")) {
        (Some(0.0), _, Some(bytes)) => format!("{}, there already", output::bytes(bytes as u64)),
        (Some(copied), Some(taken), _) if taken > 0.0 => {
            format!("{}, {}/s", output::bytes(copied as u64), output::bytes((copied / taken) as u64))
        }
        _ => step.state.message.clone().unwrap_or_default(),
    }
}

fn logs(beam: &Beam, id: &str, follow: bool, as_json: bool) -> Result<(), Failure> {
    let id = beam.run_id(id)?;
    let stop = super::stop_on_signals()?;
    let mut after = 0;
    loop {
        let run = beam.wait(beam.engine.run(id))?;
        let lines = beam.wait(beam.engine.logs(id, after, 1000))?;
        let mut text = String::new();
        for line in &lines {
            after = line.id;
            if as_json {
                text += &serde_json::to_string(line).unwrap_or_default();
            } else {
                let level = match line.level {
                    Level::Debug => "debug ",
                    Level::Info => "",
                    Level::Warning => "warning ",
                    Level::Error => "error ",
                };
                let step = line.step.as_ref().map(|step| format!("{step}: ")).unwrap_or_default();
                text += &format!("{} {level}{step}{}", time(line.time), line.message);
            }
            text.push('\n');
        }
        if !text.is_empty() {
            output::print(&text)?;
        }
        if lines.len() == 1000 {
            continue;
        }
        if !follow || run.state.kind.is_terminal() || stop.requested() {
            return Ok(());
        }
        beam.wait(tokio::time::sleep(std::time::Duration::from_millis(300)));
    }
}
