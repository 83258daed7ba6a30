//! `beamrail runs explain`: where the time went, as tables.

use beamline::explain::{Against, Explanation, Spent, explain as measure};
use engine::RunId;

use super::beam::{Beam, time};
use crate::exit::Failure;
use crate::grid::Grid;
use crate::output::{self, Table, bytes, seconds};

/// Explains a run.
pub(crate) fn explain(beam: &Beam, id: RunId, as_json: bool) -> Result<(), Failure> {
    let explained = beam.wait(measure(&beam.engine, &beam.beamline.custody, id))?;
    if as_json {
        return output::print_json(&explained);
    }
    let begun = beam.wait(engine::Orchestrator::run(&beam.engine, id))?.created;
    output::print(&text(&explained, &time(begun)))
}

fn text(explained: &Explanation, begun: &str) -> String {
    let run = &explained.measured;
    let mut head = Table::default();
    head.row("run", format!("{} ({}), {}", run.run, run.flow, run.state));
    head.row("due", begun);
    let total = explained.total.as_ref().map(|against| usual(against, explained.past)).unwrap_or_default();
    head.row("took", format!("{}{total}", seconds(run.total_s)));
    let mut text = head.text() + "\nwhere the time went\n";
    let mut parts: Vec<_> = run.spent.iter().collect();
    parts.sort_by(|a, b| b.1.total_cmp(a.1));
    let mut grid = Grid::new(&["", ">time", ">part"]);
    for (kind, spent) in parts.into_iter().filter(|(_, spent)| **spent >= 0.0005) {
        let part = if run.total_s > 0.0 { 100.0 * spent / run.total_s } else { 0.0 };
        grid.row([words(*kind).into(), seconds(*spent), format!("{part:.0} %")]);
    }
    text += &grid.text();
    let mut grid = Grid::new(&["step", ">time", ">queue", ">checking", ">moved", ">rate", "usually"]);
    // Steps that only note something take no time worth a line.
    let least = (run.total_s * 0.01).clamp(0.02, 1.0);
    let (mut short, mut short_s) = (0, 0.0);
    for step in &run.steps {
        let abnormal = explained.steps_against.get(&step.key).is_some_and(|against| against.slow);
        if step.seconds < least && step.bytes.is_none() && !abnormal {
            short += 1;
            short_s += step.seconds;
            continue;
        }
        let dash = |value: f64| if value < 0.0005 { String::new() } else { seconds(value) };
        let against = explained.steps_against.get(&step.key);
        grid.row([
            step.key.clone(),
            seconds(step.seconds),
            dash(step.queue_s),
            dash(step.verify_s),
            step.bytes.map(bytes).unwrap_or_default(),
            step.rate().map(|rate| format!("{}/s", bytes(rate as u64))).unwrap_or_default(),
            against.map(range).unwrap_or_default(),
        ]);
    }
    if !grid.is_empty() {
        text += &format!("\nsteps\n{}", grid.text());
    }
    if short > 0 {
        text += &format!("and {short} short ones, {} together\n", seconds(short_s));
    }
    if let Some(job) = &run.reconstruction {
        text += &format!(
            "\nreconstruction on {}: {} slices in {} on {} threads\n",
            job.host,
            job.slices,
            seconds(job.wall_s),
            job.threads
        );
        let mut grid = Grid::new(&["stage", ">thread time", ">computing", ">a slice", "usually a slice"]);
        for stage in job.stages.iter().filter(|stage| stage.busy_s >= 0.0005) {
            let milli = |seconds: f64| format!("{:.1} ms", seconds * 1e3);
            let against = explained.stages_against.get(&stage.stage);
            grid.row([
                stage.stage.clone(),
                seconds(stage.busy_s),
                format!("{:.0} %", (100.0 * stage.cpu_s / stage.busy_s.max(1e-9)).min(100.0)),
                milli(stage.busy_s / job.slices.max(1) as f64),
                against
                    .map(|a| format!("{} ({} to {})", milli(a.median), milli(a.p10), milli(a.p90)))
                    .unwrap_or_default(),
            ]);
        }
        text += &grid.text();
    }
    text += "\nabnormal\n";
    for finding in &explained.abnormal {
        let lost = if finding.lost_s >= 0.05 {
            format!(" (cost about {})", seconds(finding.lost_s))
        } else {
            String::new()
        };
        text += &format!("{}: {}{lost}\n", finding.what, finding.text);
    }
    if explained.abnormal.is_empty() {
        text += match explained.past {
            0..5 => "nothing can be said yet: fewer than 5 earlier runs of this flow completed\n",
            _ => "nothing\n",
        };
    }
    text
}

fn words(kind: Spent) -> &'static str {
    match kind {
        Spent::Waiting => "waiting for a worker, or to be tried again",
        Spent::Person => "waiting for a person",
        Spent::Queue => "in the facility's queue",
        Spent::Transfer => "moving bytes",
        Spent::Compute => "computing",
        Spent::Verification => "checking what was moved and made",
        Spent::Other => "everything else",
        Spent::Subrun => "in other runs",
    }
}

fn usual(against: &Against, past: usize) -> String {
    format!(
        "; {past} earlier runs: median {}, 80 % between {} and {}, {:.0} % were no slower",
        seconds(against.median),
        seconds(against.p10),
        seconds(against.p90),
        100.0 * against.rank
    )
}

fn range(against: &Against) -> String {
    let show = |value: f64| match against.unit {
        "B/s" => format!("{}/s", bytes(value as u64)),
        _ => seconds(value),
    };
    let mark = if against.slow { "  SLOW" } else { "" };
    format!("{} ({} to {}){mark}", show(against.median), show(against.p10), show(against.p90))
}
