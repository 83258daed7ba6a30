//! `beamrail run` and `beamrail watch` where a server is named: runs are made there, once, also when it was away.

use std::time::{Duration, Instant};

use prefect::{FlowRun, StateType};
use serde_json::json;

use crate::common::Dir;
use crate::{Worker, client, ok, run, server, sites};

const FLOW: &str = "new_832_file_flow";

/// The server's runs of the flow.
fn there(server: &server::Server) -> Vec<FlowRun> {
    let (client, runtime) = client(server);
    let filter = json!({ "flows": { "name": { "any_": [FLOW] } } });
    runtime.block_on(client.flow_runs(filter)).unwrap()
}

#[test]
fn runs_are_made_at_the_server_and_wait_for_it_where_nobody_does() {
    let Some(mut server) = server::start(3, &[]) else { return };
    let dir = Dir::new();
    sites::sites(&dir);
    sites::scan(&dir);
    // Without the deployment there is nothing to make a run of.
    let early = run(&dir, &server, &["run", FLOW, "--file", sites::SCAN]);
    assert_eq!(early.code, 4, "{}", early.stderr);
    assert!(early.stderr.contains("beamrail prefect setup"), "{}", early.stderr);
    ok(&dir, &server, &["prefect", "setup"]);

    let worker = Worker::start(&dir, &server, &[]);
    let asked = ["run", FLOW, "--file", sites::SCAN, "--key", "by hand", "--wait", "--progress", "plain"];
    let done = run(&dir, &server, &asked);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.stderr.contains("shown at http://") && done.stderr.contains(": done"), "{}", done.stderr);
    let seen = there(&server);
    assert_eq!(seen.len(), 1, "{seen:#?}");
    assert_eq!(seen[0].id.to_string(), done.stdout.trim());
    assert_eq!(seen[0].state_type(), Some(StateType::Completed));
    assert!(
        seen[0].deployment_id.is_some() && seen[0].name.starts_with("new_832_file_flow: BLS"),
        "{seen:#?}"
    );
    assert!(dir.file("nersc/raw").join(sites::SCAN).exists());
    // The same key is the same run.
    let again = run(&dir, &server, &["run", FLOW, "--file", sites::SCAN, "--key", "by hand"]);
    assert_eq!((again.code, &again.stdout), (0, &done.stdout), "{}", again.stderr);
    assert!(again.stderr.contains("had its run already"), "{}", again.stderr);

    // The server is away. A person is told what to do; a watch keeps what it found.
    server.kill();
    let away = run(&dir, &server, &["run", FLOW, "--file", sites::SCAN]);
    assert_eq!((away.code, away.stdout.as_str()), (4, ""), "{}", away.stderr);
    assert!(away.stderr.contains("did not answer") && away.stderr.contains("--here"), "{}", away.stderr);
    let found = sites::SCAN.replace("132553_sea_shell", "170000_found");
    std::fs::copy(dir.file("als/raw").join(sites::SCAN), dir.file("als/raw").join(&found)).unwrap();
    let watch = ["watch", "als/raw", "--flow", FLOW, "--quiet", "0 s", "--backlog", "1 day", "--once"];
    let watched = run(&dir, &server, &watch);
    assert_eq!(watched.code, 0, "{}", watched.stderr);
    assert!(watched.stdout.contains("ordered"), "{}", watched.stdout);
    assert!(watched.stderr.contains("wait in the outbox"), "{}", watched.stderr);

    // It is back: the worker of the same state folder makes the run, and does it.
    server.start_again();
    let home = dir.file("nersc/raw").join(&found);
    let begun = Instant::now();
    while !home.exists() {
        let log = || std::fs::read_to_string(dir.file("worker.log")).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(60), "{:#?}\n{}", there(&server), log());
        std::thread::sleep(Duration::from_millis(200));
    }
    // Watched once more, it is known, and no second run is made.
    let known = ok(&dir, &server, &watch);
    assert!(known.contains("known") && !known.contains("its run is"), "{known}");
    assert_eq!(worker.stop(), 0);
    let found_runs = there(&server).into_iter().filter(|one| one.name.contains("170000_found")).count();
    assert_eq!(found_runs, 1, "{:#?}", there(&server));
}
