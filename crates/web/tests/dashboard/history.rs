//! 100,000 runs in the journal: every page's milliseconds.

use std::time::Duration;

use crate::beam::Beam;

const RUNS: usize = 100_000;

/// Writes a history as the engine would have written it, in one transaction.
fn fill(beam: &Beam) -> String {
    let mut journal = rusqlite::Connection::open(beam.folder.join("state/runs.db")).unwrap();
    journal.busy_timeout(Duration::from_secs(20)).unwrap();
    let tx = journal.transaction().unwrap();
    let now = beam.engine.clock().now().as_microsecond();
    let mut last = String::new();
    {
        let mut run = tx
            .prepare(
                "INSERT INTO runs (id, flow, name, parameters, tags, state_type, state_name, state_time, created, due,
                   expected, started, ended, pool, queue, attempt, output, error)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?9, ?11, ?12, 'default', 'default', 1, ?13, ?14)",
            )
            .unwrap();
        let mut tag = tx.prepare("INSERT INTO run_tags (tag, run) VALUES (?1, ?2)").unwrap();
        let mut step = tx
            .prepare(
                "INSERT INTO steps (run, generation, key, name, kind, position, state_type, state_name, state_time,
                   attempt, output, acted, started, attempt_started, running_since, ended)
                 VALUES (?1, 1, ?2, ?2, ?3, ?4, 'COMPLETED', 'Completed', ?5, 1, ?6, 1, ?7, ?7, ?7, ?5)",
            )
            .unwrap();
        let mut history = tx
            .prepare(
                "INSERT INTO history (run, step, type, name, details, time, fence)
                 VALUES (?1, ?2, ?3, ?3, 'null', ?4, 1)",
            )
            .unwrap();
        for n in 0..RUNS {
            // One every two minutes, the newest now.
            let at = now - (RUNS - n) as i64 * 120_000_000;
            let millis = (at / 1000) as u64;
            let id = format!("{:08x}-{:04x}-7000-8000-{n:012x}", millis >> 16, millis & 0xffff);
            let scan = format!("ALS-{:05}_user/scan_{:06}", n / 200, n / 2);
            let flow = ["alcf_recon_flow", "new_832_file_flow"][n % 2];
            let (kind, error) = match n % 50 {
                0 => ("FAILED", Some(r#"{"kind":"fatal","message":"the disk is full"}"#)),
                1 if n > RUNS - 2000 => ("SCHEDULED", None),
                _ => ("COMPLETED", None),
            };
            let waits = kind == "SCHEDULED";
            let end = at + 60_000_000 + (n as i64 % 7) * 1_000_000;
            run.execute(rusqlite::params![
                id,
                flow,
                format!("{flow}: {scan}"),
                format!("{{\"file_path\":\"{scan}.h5\"}}"),
                format!("[\"scan:{scan}\"]"),
                kind,
                kind,
                end,
                at,
                waits.then_some(now + 86_400_000_000),
                (!waits).then_some(at),
                (!waits).then_some(end),
                (kind == "COMPLETED").then(|| format!("{{\"scan\":\"{scan}\"}}")),
                error
            ])
            .unwrap();
            tag.execute((format!("scan:{scan}"), &id)).unwrap();
            let moved = r#"{"copied":8510000000,"bytes":8510000000,"seconds":34.0}"#;
            for (position, (name, what)) in
                [("raw to alcf", "local"), ("reconstruct", "external")].iter().enumerate()
            {
                let from = at + position as i64 * 30_000_000;
                let to = from + 30_000_000;
                let output = if *what == "local" { moved } else { "{}" };
                step.execute((&id, name, what, position as i64, to, output, from)).unwrap();
                history.execute((&id, Some(name), "RUNNING", from)).unwrap();
                history.execute((&id, Some(name), "COMPLETED", to)).unwrap();
            }
            for (kind, time) in [("PENDING", at), ("RUNNING", at), (kind, end)] {
                history.execute((&id, None::<&str>, kind, time)).unwrap();
            }
            if kind == "COMPLETED" {
                last = id;
            }
        }
    }
    tx.commit().unwrap();
    last
}

/// Not a gate on time: what it prints is recorded in BENCHMARKS.md.
#[test]
fn pages_with_100_000_runs_in_history() {
    if std::env::var("BEAMRAIL_LONG").is_err() {
        println!("skipped: 100,000 runs take a minute to write; set BEAMRAIL_LONG=1");
        return;
    }
    let beam = Beam::open();
    let last = fill(&beam);
    for n in 0..40 {
        beam.scan(
            &format!("ALS-{:05}_user", RUNS / 200 - 1),
            &format!("scan_{:06}", RUNS / 2 - 1 - n),
            &["als", "nersc"],
            &["nersc"],
        );
    }
    let scan = format!("ALS-{:05}_user/scan_{:06}", RUNS / 200 - 1, RUNS / 2 - 1);
    let client = beam.client();
    let pages = [
        "/".to_owned(),
        "/scans".to_owned(),
        "/scans?name=scan_04".to_owned(),
        format!("/scans/{scan}"),
        "/runs".to_owned(),
        "/runs?state=failed".to_owned(),
        "/runs?flow=alcf_recon_flow&state=completed".to_owned(),
        "/runs?name=scan_000001".to_owned(),
        "/runs?name=nothing-has-this".to_owned(),
        format!("/runs?scan={scan}"),
        format!("/runs/{last}"),
        "/api/now".to_owned(),
        "/api/runs".to_owned(),
        format!("/api/runs/{last}/explain"),
        "/metrics".to_owned(),
    ];
    println!("{:>9} {:>9}  page", "first", "median");
    for page in &pages {
        let first = client.get(page);
        assert_eq!(first.status, 200, "{page}: {}", first.text());
        let mut times: Vec<Duration> = (0..7).map(|_| client.get(page).took).collect();
        times.sort();
        println!("{:6.1} ms {:6.1} ms  {page}", first.took.as_secs_f64() * 1e3, times[3].as_secs_f64() * 1e3);
    }
    let text = client.get("/runs").text();
    assert!(text.contains("Older runs") && text.matches("runline").count() == 50, "{text}");
}
