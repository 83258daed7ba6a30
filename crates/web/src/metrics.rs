//! For machines that watch: health, readiness, and metrics in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use engine::{Orchestrator, StateType};

use crate::app::Shared;
use crate::fault::Fault;

/// Counts of answers.
#[derive(Default)]
pub(crate) struct Counters {
    /// By the hundreds of the status.
    answers: [AtomicU64; 6],
    micros: AtomicU64,
}

impl Counters {
    pub(crate) fn answered(&self, status: u16, took: Duration) {
        if let Some(count) = self.answers.get(usize::from(status / 100)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// `GET /health`: the process answers.
pub(crate) async fn health() -> &'static str {
    "ok\n"
}

/// `GET /ready`: journal and custody can be read.
pub(crate) async fn ready(State(app): State<Shared>) -> Result<&'static str, Fault> {
    let unready = |_: Fault| {
        Fault::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "journal or custody cannot be read").after(10)
    };
    app.engine.last_change().await.map_err(Fault::from).map_err(unready)?;
    app.custody(|custody| custody.deletion_is_on()).await.map_err(unready)?;
    Ok("ready\n")
}

/// `GET /metrics`.
pub(crate) async fn metrics(State(app): State<Shared>) -> Result<Response, Fault> {
    let counts = app.engine.counts().await?;
    let workers = app.engine.workers().await?;
    let undelivered = app.engine.undelivered().await?.len();
    let now = app.now();
    let live = workers.iter().filter(|worker| worker.lives(now)).count();
    let copies = app.custody(|custody| custody.present(None)).await?;
    let mut held: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for copy in &copies {
        let entry = held.entry((copy.site.clone(), copy.dataset.kind.name().to_owned())).or_default();
        entry.0 += 1;
        entry.1 += copy.bytes;
    }
    let mut text = Exposition::default();
    text.family("beamrail_info", "gauge", "The version that answers.");
    text.sample(
        "beamrail_info",
        &[("version", env!("CARGO_PKG_VERSION")), ("beamline", &app.beamline.id)],
        1.0,
    );
    text.family("beamrail_uptime_seconds", "gauge", "Since the server began.");
    text.sample("beamrail_uptime_seconds", &[], app.began.elapsed().as_secs_f64());
    text.family("beamrail_runs", "gauge", "Runs in the journal, by type of state.");
    for kind in StateType::ALL {
        let count = counts.get(&kind).copied().unwrap_or(0);
        text.sample("beamrail_runs", &[("state", kind.as_str())], count as f64);
    }
    text.family("beamrail_workers", "gauge", "Workers that are alive.");
    text.sample("beamrail_workers", &[], live as f64);
    text.family(
        "beamrail_undelivered_messages",
        "gauge",
        "Messages in the outbox that wait or were given up.",
    );
    text.sample("beamrail_undelivered_messages", &[], undelivered as f64);
    text.family("beamrail_copies", "gauge", "Copies that custody expects on disks.");
    for ((site, kind), (count, _)) in &held {
        text.sample("beamrail_copies", &[("site", site), ("kind", kind)], *count as f64);
    }
    text.family("beamrail_copies_bytes", "gauge", "Bytes of those copies.");
    for ((site, kind), (_, bytes)) in &held {
        text.sample("beamrail_copies_bytes", &[("site", site), ("kind", kind)], *bytes as f64);
    }
    text.family("beamrail_http_answers_total", "counter", "Answers, by the hundreds of their status.");
    for (class, count) in app.metrics.answers.iter().enumerate().skip(1) {
        let count = count.load(Ordering::Relaxed) as f64;
        text.sample("beamrail_http_answers_total", &[("class", &format!("{class}xx"))], count);
    }
    text.family("beamrail_http_seconds_total", "counter", "Time spent on answers.");
    let seconds = app.metrics.micros.load(Ordering::Relaxed) as f64 / 1e6;
    text.sample("beamrail_http_seconds_total", &[], seconds);
    text.family("beamrail_live_pages", "gauge", "Pages that are told of changes.");
    text.sample("beamrail_live_pages", &[], app.live.watching() as f64);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.0).into_response())
}

/// Prometheus' text format, version 0.0.4.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> =
            labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Exposition::default();
        text.sample("a", &[("site", "x\"y\\z\n")], 1.5);
        assert_eq!(text.0, "a{site=\"x\\\"y\\\\z\\n\"} 1.5\n");
    }
}
