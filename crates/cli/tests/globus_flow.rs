//! A facility behind a Globus flow: the flow is made by the set-up, a run of it is the job, and a run is started once.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, and say what they skip"
)]

mod common;
#[path = "common/globus.rs"]
mod globus;

use std::process::Stdio;
use std::time::{Duration, Instant};

use globus::{CLIENT, SCAN, SECRET, World};
use serde_json::{Value, json};
use standin::globus::{Fault, Kind};

/// A world whose facility goes through a flow that the set-up has made, with a scan at nersc.
fn world() -> World {
    let world = World::new();
    world.scan();
    let told = world.ok(&["globus", "setup", "--flow"]);
    assert!(told.contains("created and written to"), "{told}");
    world
}

/// Runs of the flow, compute tasks that were taken, and processes that were started for them.
fn made(world: &World) -> [Value; 3] {
    let counts = world.standin.counts();
    [counts["flow_runs"].clone(), counts["jobs"]["accepted"].clone(), counts["jobs"]["started"].clone()]
}

#[test]
fn the_job_is_a_run_of_a_flow() {
    let world = world();
    assert!(world.ok(&["globus", "setup", "--flow"]).contains("as it should be"));
    let table = world.ok(&["check", "polaris"]);
    assert!(table.contains("reconstruct and bring home") && !table.contains("FAULT"), "{table}");
    let before = made(&world);
    let run = world.reconstruct();
    assert_eq!(run.code, 0, "{}", run.stderr);
    world.sound();
    assert_eq!(world.posts(), [1; 7]);
    let more = |before: &Value, after: &Value| after.as_u64().unwrap() - before.as_u64().unwrap();
    let after = made(&world);
    assert_eq!([0, 1, 2].map(|at| more(&before[at], &after[at])), [1, 1, 1]);
}

#[test]
fn lost_answers_start_nothing_twice() {
    let world = world();
    for (method, path, fault) in [
        ("POST", "*/run", Kind::LostAnswer),
        ("GET", "/runs/*", Kind::RateLimit { retry_after: Some(1) }),
        ("GET", "/runs", Kind::Status { status: 503, code: None, message: None, retry_after: None }),
        ("POST", "/v3/functions", Kind::LostAnswer),
    ] {
        world.standin.fault(Fault::new(fault).on(method, path));
    }
    let run = world.reconstruct();
    assert_eq!(run.code, 0, "{}", run.stderr);
    world.sound();
    assert_eq!(made(&world), [json!(1), json!(1), json!(1)]);
}

#[test]
fn a_run_that_waits_for_a_consent_is_red_and_ended() {
    let world = world();
    world.standin.fault(Fault::new(Kind::RunInactive).at(1, 0));
    let run = world.reconstruct();
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("give the consent that it asks for"), "{}", run.stderr);
    assert_eq!(made(&world)[0], 1);
    assert_eq!(world.standin.counts()["calls"]["POST /runs/{id}/cancel"], 1);
}

#[test]
fn a_function_that_fails_in_a_flow_is_red_with_its_words() {
    let world = world();
    let message = "Traceback (most recent call last):\nPermissionError: /eagle is read-only".to_owned();
    world.standin.fault(Fault::new(Kind::JobFailed { message }).at(1, 0));
    let run = world.reconstruct();
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("/eagle is read-only"), "{}", run.stderr);
}

#[test]
fn cancelling_ends_the_run_at_globus() {
    let world = world();
    world.standin.fault(Fault::new(Kind::SlowJob { milliseconds: 60_000 }));
    let file = format!("{SCAN}.h5");
    let arguments = ["run", "alcf_recon_flow", "--file", &file, "--wait", "--progress", "none"];
    let mut command = world.command(&arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while made(&world)[0] != 1 && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let runs: Value = serde_json::from_str(&world.ok(&["runs", "--json"])).unwrap();
    let id = runs["items"][0]["id"].as_str().unwrap();
    world.ok(&["runs", "cancel", id]);
    let status = child.wait().unwrap();
    assert!(!status.success());
    let counts = world.standin.counts();
    assert_eq!(counts["calls"]["POST /runs/{id}/cancel"], 1, "{counts}");
    assert_eq!(made(&world), [json!(1), json!(1), json!(0)]);
    assert!(begun.elapsed() < Duration::from_secs(60), "the job was waited for");
}

#[test]
fn a_flow_that_does_something_else_is_told_and_put_right() {
    let world = world();
    let flow: String = std::fs::read_to_string(world.dir.file("beamrail.toml")).unwrap();
    let flow =
        flow.lines().find_map(|line| line.strip_prefix("flow = ")).unwrap().trim_matches('"').to_owned();
    let variables = world.standin.env();
    let settings = ::globus::Settings::from_env(|name| match name {
        "GLOBUS_CLIENT_ID" => Some(CLIENT.to_owned()),
        "GLOBUS_CLIENT_SECRET" => Some(SECRET.to_owned()),
        _ => variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()),
    });
    let client = ::globus::Globus::new(settings.unwrap()).unwrap();
    let other = ::globus::flows::FlowDocument {
        definition: Some(json!({"StartAt": "Done", "States": {"Done": {"Type": "Pass", "End": true}}})),
        ..Default::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(client.flows().update(&flow, &other)).unwrap();
    let run = world.run(&["check", "polaris"]);
    assert!(run.code == 4 && run.stdout.contains("does something else"), "{}", run.stdout);
    assert!(run.stdout.contains("beamrail globus setup polaris --flow"), "{}", run.stdout);
    assert!(world.ok(&["globus", "setup", "--flow"]).contains("brought up to date"));
    assert!(!world.ok(&["check", "polaris"]).contains("FAULT"));
    // One that somebody else has made is left alone.
    let theirs = ::globus::flows::FlowDocument { title: Some("Reconstruction flow".into()), ..other };
    runtime.block_on(client.flows().update(&flow, &theirs)).unwrap();
    let run = world.run(&["globus", "setup", "--flow"]);
    assert!(run.code == 3 && run.stderr.contains("was not made by beamrail"), "{}", run.stderr);
    assert_eq!(runtime.block_on(client.flows().get(&flow)).unwrap().title, "Reconstruction flow");
}

#[test]
fn a_process_that_is_killed_finds_its_run_again() {
    if std::env::var_os("BEAMRAIL_LONG").is_none() {
        println!("skipped: waits for leases of 30 s; set BEAMRAIL_LONG=1");
        return;
    }
    let world = world();
    let started = |world: &World| made(world)[0] == 1;
    world.killed_and_taken_up(started, Fault::new(Kind::SlowJob { milliseconds: 3000 }));
    assert_eq!(made(&world), [json!(1), json!(1), json!(1)]);
}
