//! One run against those before it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Explanation, Measured, Spent};

/// So many earlier values are needed before one is called abnormal.
const ENOUGH: usize = 5;
/// Called abnormal from so many robust standard deviations (1.4826 times the median absolute deviation) above the
/// median: 3 is the stricter of the usual marks (Miller 1991, Leys et al. 2013). Of a hundred reconstructions that
/// were recorded in production it names the slowest.
const MARK: f64 = 3.0;
/// And from so many times the median: what takes 10 % longer is nothing to run after.
const TIMES: f64 = 1.5;
/// And from so many seconds lost.
const LEAST: f64 = 1.0;
/// A spread below this part of the median is taken for it, so that a few equal values do not make every other
/// value abnormal.
const SPREAD: f64 = 0.05;

/// A value among the earlier ones.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Against {
    /// The value: seconds, or bytes per second, as `unit` says.
    pub value: f64,
    /// "s", "B/s", "s/slice"
    pub unit: &'static str,
    /// How many earlier values there are.
    pub count: usize,
    /// Their median.
    pub median: f64,
    /// 10 % of them are below.
    pub p10: f64,
    /// 10 % of them are above.
    pub p90: f64,
    /// The part of them that are no slower, 0 to 1.
    pub rank: f64,
    /// Whether it is abnormally slow.
    pub slow: bool,
}

/// Something abnormal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What: `step tiff to nersc`, `stage read`, `queue of reconstruct`.
    pub what: String,
    /// In words, with figures.
    pub text: String,
    /// About how many seconds it cost against the median.
    pub lost_s: f64,
}

/// Sets `one` against `past`.
pub fn compare(one: Measured, past: &[Measured]) -> Explanation {
    let mut abnormal = Vec::new();
    let totals: Vec<f64> = past.iter().map(|run| run.total_s).collect();
    let total = slow_if_more(one.total_s, "s", &totals, 1.0);
    let mut steps_against = BTreeMap::new();
    for step in &one.steps {
        let same = |run: &'_ Measured| -> Vec<super::StepTime> {
            run.steps.iter().filter(|other| other.name == step.name).cloned().collect()
        };
        let others: Vec<super::StepTime> = past.iter().flat_map(same).collect();
        let queues: Vec<f64> = others.iter().map(|other| other.queue_s).collect();
        if let Some(against) = slow_if_more(step.queue_s, "s", &queues, 1.0).filter(|against| against.slow) {
            abnormal.push(Finding {
                what: format!("queue of {}", step.name),
                text: format!("waited {} in the queue, usually {}", span(step.queue_s), span(against.median)),
                lost_s: step.queue_s - against.median,
            });
        }
        let rates: Vec<f64> = others.iter().filter_map(super::StepTime::rate).collect();
        let against = match step.rate() {
            Some(rate) if !rates.is_empty() => {
                let bytes = step.bytes.unwrap_or_default() as f64;
                // Compared as seconds for this many bytes, told as a rate.
                let times: Vec<f64> = rates.iter().map(|rate| bytes / rate).collect();
                slow_if_more(step.work_s, "s", &times, 1.0).map(|times| {
                    if times.slow {
                        abnormal.push(Finding {
                            what: format!("step {}", step.name),
                            text: format!(
                                "moved {:.2} GB at {:.0} MB/s, usually {:.0} MB/s: {} instead of {}",
                                bytes / 1e9,
                                rate / 1e6,
                                bytes / times.median / 1e6,
                                span(step.work_s),
                                span(times.median)
                            ),
                            lost_s: step.work_s - times.median,
                        });
                    }
                    let flip = |seconds: f64| if seconds > 0.0 { bytes / seconds } else { 0.0 };
                    Against {
                        value: rate,
                        unit: "B/s",
                        median: flip(times.median),
                        p10: flip(times.p90),
                        p90: flip(times.p10),
                        ..times
                    }
                })
            }
            _ => {
                let times: Vec<f64> = others.iter().map(|other| other.work_s).collect();
                let against = slow_if_more(step.work_s, "s", &times, 1.0);
                let counts = !matches!(step.kind, Spent::Person | Spent::Waiting);
                if let Some(against) = against.as_ref().filter(|against| against.slow && counts) {
                    abnormal.push(Finding {
                        what: format!("step {}", step.name),
                        text: format!("took {}, usually {}", span(step.work_s), span(against.median)),
                        lost_s: step.work_s - against.median,
                    });
                }
                against
            }
        };
        let checks: Vec<f64> = others.iter().map(|other| other.verify_s).collect();
        if let Some(checked) = slow_if_more(step.verify_s, "s", &checks, 1.0).filter(|checked| checked.slow) {
            abnormal.push(Finding {
                what: format!("verification of {}", step.name),
                text: format!("took {}, usually {}", span(step.verify_s), span(checked.median)),
                lost_s: step.verify_s - checked.median,
            });
        }
        steps_against.extend(against.map(|against| (step.key.clone(), against)));
        if step.attempts > 1 && step.kind != Spent::Waiting {
            abnormal.push(Finding {
                what: format!("step {}", step.name),
                text: format!("was begun {} times; `beamrail runs logs` says why", step.attempts),
                lost_s: 0.0,
            });
        }
    }
    let stages_against = stages(&one, past, &mut abnormal);
    waits(&one, past, &mut abnormal);
    abnormal.sort_by(|a, b| b.lost_s.total_cmp(&a.lost_s));
    Explanation { measured: one, past: past.len(), total, steps_against, stages_against, abnormal }
}

/// Stages, by their seconds per slice.
fn stages(one: &Measured, past: &[Measured], abnormal: &mut Vec<Finding>) -> BTreeMap<String, Against> {
    let mut all = BTreeMap::new();
    let Some(job) = one.reconstruction.as_ref().filter(|job| job.slices > 0) else { return all };
    let slices = job.slices as f64;
    let threads = job.threads.max(1) as f64;
    for stage in &job.stages {
        let others: Vec<f64> = past
            .iter()
            .filter_map(|run| run.reconstruction.as_ref().filter(|job| job.slices > 0))
            .filter_map(|job| {
                let same = job.stages.iter().find(|other| other.stage == stage.stage)?;
                Some(same.busy_s / job.slices as f64)
            })
            .collect();
        let Some(against) = slow_if_more(stage.busy_s / slices, "s/slice", &others, slices) else { continue };
        if against.slow {
            let usual = against.median * slices;
            // Threads that are busy and not computing wait: for the disk, or for a processor.
            let idle = 1.0 - stage.cpu_s / stage.busy_s.max(1e-9);
            let why = match idle {
                idle if idle > 0.5 => ", mostly waiting (disk, or other programs on the processors)",
                _ => ", computing",
            };
            abnormal.push(Finding {
                what: format!("stage {}", stage.stage),
                text: format!(
                    "took {} of thread time, usually {}{why} on {}",
                    span(stage.busy_s),
                    span(usual),
                    if job.host.is_empty() { "its host" } else { &job.host }
                ),
                lost_s: (stage.busy_s - usual) / threads,
            });
        }
        all.insert(stage.stage.clone(), against);
    }
    all
}

/// Time before and between the steps.
fn waits(one: &Measured, past: &[Measured], abnormal: &mut Vec<Finding>) {
    for (kind, what, words) in [
        (Spent::Waiting, "waiting", "waited to be taken up or tried again"),
        (Spent::Person, "person", "waited for a person"),
    ] {
        let of = |run: &Measured| run.spent.get(&kind).copied().unwrap_or(0.0);
        let others: Vec<f64> = past.iter().map(of).collect();
        if let Some(against) = slow_if_more(of(one), "s", &others, 1.0).filter(|against| against.slow) {
            abnormal.push(Finding {
                what: what.to_owned(),
                text: format!("{words} for {}, usually {}", span(of(one)), span(against.median)),
                lost_s: of(one) - against.median,
            });
        }
    }
}

/// A value where more is slower. `scale` makes seconds of it.
fn slow_if_more(value: f64, unit: &'static str, others: &[f64], scale: f64) -> Option<Against> {
    let mut sorted: Vec<f64> = others.iter().copied().filter(|other| other.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let median = quantile(&sorted, 0.5)?;
    let mut off: Vec<f64> = sorted.iter().map(|other| (other - median).abs()).collect();
    off.sort_by(f64::total_cmp);
    let spread = (1.4826 * quantile(&off, 0.5)?).max(SPREAD * median).max(1e-9);
    let slow = sorted.len() >= ENOUGH
        && (value - median) / spread > MARK
        && value > TIMES * median
        && (value - median) * scale > LEAST;
    let below = sorted.iter().filter(|other| **other <= value).count();
    Some(Against {
        value,
        unit,
        count: sorted.len(),
        median,
        p10: quantile(&sorted, 0.1)?,
        p90: quantile(&sorted, 0.9)?,
        rank: below as f64 / sorted.len() as f64,
        slow,
    })
}

/// The quantile of sorted values, between neighbours in proportion.
fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let place = part * (sorted.len().checked_sub(1)?) as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    let (low, high) = (sorted.get(low)?, sorted.get(high)?);
    Some(low + (high - low) * place.fract())
}

/// Seconds for people.
fn span(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s => format!("{:.1} min", s / 60.0),
    }
}
