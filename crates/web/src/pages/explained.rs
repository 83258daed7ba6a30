//! Where a run's time went, against the runs before it.

use beamline::explain::{Against, Explanation, Spent};
use maud::{Markup, html};

use crate::words::{rate, span};

/// So many earlier runs are needed before one is called abnormal.
const ENOUGH: usize = 5;

/// Tables of where the time went.
pub(crate) fn explained(one: &Explanation) -> Markup {
    let run = &one.measured;
    let mut spent: Vec<_> = run.spent.iter().filter(|(_, seconds)| **seconds >= 0.05).collect();
    spent.sort_by(|a, b| b.1.total_cmp(a.1));
    html! {
        @if !one.abnormal.is_empty() {
            ul class="abnormal" {
                @for finding in &one.abnormal {
                    li { b { (finding.what) } ": " (finding.text)
                        @if finding.lost_s >= 0.05 { " (cost about " (span(finding.lost_s)) ")" }
                    }
                }
            }
        } @else if one.past < ENOUGH {
            p class="note" { "Fewer than " (ENOUGH) " earlier runs of this flow completed: nothing can be called slow yet." }
        } @else { p class="note" { "Nothing was abnormal against " (one.past) " earlier runs." } }
        div class="tables" {
            table {
                caption { "Where the time went" }
                thead { tr { th { "On" } th class="num" { "Time" } th class="num" { "Part" } } }
                tbody {
                    @for (kind, seconds) in spent {
                        tr { td { (words(*kind)) } td class="num" { (span(*seconds)) }
                            td class="num" { (part(*seconds, run.total_s)) } }
                    }
                    tr class="sum" { td { "Together" } td class="num" { (span(run.total_s)) } td {} }
                    @if let Some(total) = &one.total {
                        tr { td { "Usually" } td class="num" { (span(total.median)) }
                            td { (span(total.p10)) " to " (span(total.p90)) } }
                    }
                }
            }
            @if let Some(job) = &run.reconstruction {
                table {
                    caption { "Reconstruction on " (job.host) ": " (job.slices) " slices in " (span(job.wall_s)) ", "
                        (job.threads) " threads" }
                    thead { tr { th { "Stage" } th class="num" { "A slice" } th class="num" { "Usually" } } }
                    tbody {
                        @for stage in job.stages.iter().filter(|stage| stage.busy_s >= 0.0005) {
                            @let against = one.stages_against.get(&stage.stage);
                            tr class=[against.filter(|one| one.slow).map(|_| "slow")] {
                                td { (stage.stage) }
                                td class="num" { (milli(stage.busy_s / job.slices.max(1) as f64)) }
                                td class="num" { (against.map(|one| milli(one.median)).unwrap_or_default()) }
                            }
                        }
                    }
                }
            }
            @if !one.steps_against.is_empty() {
                table {
                    caption { "Steps against " (one.past) " earlier runs" }
                    thead { tr { th { "Step" } th class="num" { "Now" } th class="num" { "Usually" } th { "80 % between" } } }
                    tbody {
                        @for (key, against) in one.steps_against.iter().filter(|(_, one)| worth(one)) {
                            tr class=[against.slow.then_some("slow")] {
                                td { (key) @if against.slow { " " b { "slow" } } }
                                td class="num" { (value(against, against.value)) }
                                td class="num" { (value(against, against.median)) }
                                td { (value(against, against.p10)) " to " (value(against, against.p90)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Steps that only note something are no news.
fn worth(against: &Against) -> bool {
    against.unit == "B/s" || against.value >= 0.1 || against.median >= 0.1
}

fn value(against: &Against, value: f64) -> String {
    if against.unit == "B/s" { rate(value) } else { span(value) }
}

fn milli(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1e3)
}

fn part(seconds: f64, total: f64) -> String {
    if total > 0.0 { format!("{:.0} %", 100.0 * seconds / total) } else { String::new() }
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
