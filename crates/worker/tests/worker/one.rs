//! One worker: the life of a run, seen from Prefect.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use engine::Orchestrator;
use prefect::{Client, Keyset, Settings, StateType};
use serde_json::{Value, json};

use crate::common::{acts, deployments, registry, run, start, tasks, until};
use crate::server;
use StateType::{Cancelled, Completed, Failed, Paused, Pending, Running, Scheduled};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_of_prefect_3_are_done_here_and_told_there() {
    let Some(server) = server::start(3, &[]) else { return };
    life(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_of_prefect_2_are_done_here_and_told_there() {
    if std::env::var_os("BEAMRAIL_LONG").is_none() {
        println!("skipped: the same on Prefect 2.20; set BEAMRAIL_LONG=1");
        return;
    }
    let Some(server) = server::start(2, &[]) else { return };
    life(server).await;
}

async fn life(mut server: server::Server) {
    let client = Client::new(Settings::new(&server.api()).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    set_up(&client).await;
    let (world, journal) = (folder.path().join("world"), folder.path().join("host-a"));
    for made in [&world, &journal] {
        std::fs::create_dir(made).unwrap();
    }
    let worker = start(&client, &journal, 4);

    // With steps, edges, logs, artifacts; started by Prefect's own program.
    let given = [format!("name={}", json!("greeting")), format!("world={}", json!(world))];
    let (well, told) = server.cli(&["deployment", "run", "short/short", "-p", &given[0], "-p", &given[1]]);
    assert!(well, "{told}");
    let id = client.flow_runs(json!({})).await.unwrap().first().expect("the run").id;
    let ended = until(&client, id, Completed).await;
    assert_eq!(
        acts(&world),
        BTreeMap::from(["first", "left", "right", "last"].map(|act| (format!("greeting/{act}"), 1)))
    );
    let states = tasks(&client, id).await;
    assert_eq!(states.keys().collect::<Vec<_>>(), ["first", "last", "left/work", "right/work"]);
    let plain = |task: &str| states[task] == [Pending, Running, Completed];
    assert!(["first", "left/work", "right/work"].into_iter().all(plain), "{states:?}");
    assert_eq!(states["last"].last(), Some(&Completed), "{states:?}");
    assert_eq!(
        edges(&client, id).await,
        [
            ("first", vec![]),
            ("last", vec!["left/work", "right/work"]),
            ("left/work", vec!["first"]),
            ("right/work", vec!["first"]),
        ]
        .map(|(to, from)| (to.to_owned(), from.into_iter().map(str::to_owned).collect::<Vec<_>>()))
    );
    let lines = client.flow_run_logs(id).await.unwrap();
    assert!(
        lines.iter().any(|line| line.message == "working on the left" && line.task_run_id.is_some()),
        "{lines:?}"
    );
    let keys: Vec<String> =
        client.artifacts(id).await.unwrap().into_iter().filter_map(|one| one.key).collect();
    for key in ["note", "steps", "left-work"] {
        assert!(keys.iter().any(|other| other == key), "{keys:?}");
    }
    assert!(ended.infrastructure_pid.is_some());
    let (_, listed) = server.cli(&["work-pool", "inspect", "beamline"]);
    assert!(listed.contains("beamrail"), "{listed}");

    // How long it takes from the wish to the first step, and how often the server is asked for a step.
    let before = client.tally().requests;
    let id = run(&client, "short", "timed", &world).await;
    let begun = Instant::now();
    while !acts(&world).contains_key("timed/first") {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!(
        "the first step was done {:.2} s after the run was asked for (polls are 0.2 s apart)",
        begun.elapsed().as_secs_f64()
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (idle, settled) = (client.tally().requests, Instant::now());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let rate = (client.tally().requests - idle) as f64 / settled.elapsed().as_secs_f64();
    let spent = (idle - before) as f64 - rate * (begun.elapsed() - settled.elapsed()).as_secs_f64();
    println!("about {spent:.0} requests for a run of 4 steps, {rate:.1} a second without one");
    until(&client, id, Completed).await;

    // A person stops it.
    let id = run(&client, "slow", "stopped", &world).await;
    until(&client, id, Running).await;
    let asked = Instant::now();
    let (well, told) = server.cli(&["flow-run", "cancel", &id.to_string()]);
    assert!(well, "{told}");
    until(&client, id, Cancelled).await;
    println!(
        "a cancelled run was stopped {:.1} s later, Prefect's own program included",
        asked.elapsed().as_secs_f64()
    );
    assert_eq!(acts(&world).get("stopped/stopped"), Some(&1));
    assert_eq!(tasks(&client, id).await["wait"].last(), Some(&Cancelled));

    // It asks a person, who answers here.
    let id = run(&client, "asks", "asking", &world).await;
    let paused = until(&client, id, Paused).await;
    assert!(paused.state.unwrap().message.unwrap_or_default().contains("axis"));
    let here = worker
        .engine
        .runs(engine::RunFilter { flow: Some("asks".into()), ..Default::default() })
        .await
        .unwrap();
    let answers = BTreeMap::from([("center".to_owned(), json!(1280.5))]);
    worker.engine.resume(here.items[0].id, answers).await.unwrap();
    until(&client, id, Completed).await;
    assert_eq!(acts(&world).get("asking/center 1280.5"), Some(&1));

    // It asks, and is answered in the interface's form; what does not fit is refused, and it waits on.
    let id = run(&client, "asks", "asking-there", &world).await;
    let paused = until(&client, id, Paused).await;
    let keys = Keyset::of("Suspended", "center-1");
    assert_eq!(paused.state.unwrap().state_details.run_input_keyset, Some(keys.details()));
    let form = question(&client, id, &keys).await;
    assert_eq!(form["properties"]["center"]["type"], "number", "{form}");
    assert!(!client.resume_with(id, &json!({ "center": "left" })).await.unwrap().is_accept());
    assert!(!client.resume(id).await.unwrap().is_accept(), "the form wants an answer");
    assert!(client.resume_with(id, &json!({ "center": 640.25 })).await.unwrap().is_accept());
    until(&client, id, Completed).await;
    assert_eq!(acts(&world).get("asking-there/center 640.25"), Some(&1));

    // So does a run of another run, which is how a dispatcher's reconstruction asks.
    let id = run(&client, "parent", "asking-below", &world).await;
    let child = child(&client, id).await;
    until(&client, child, Paused).await;
    question(&client, child, &Keyset::of("Paused", "center-1")).await;
    assert_eq!(client.flow_run(id).await.unwrap().unwrap().state_type(), Some(Running));
    assert!(client.resume_with(child, &json!({ "center": 7.5 })).await.unwrap().is_accept());
    until(&client, child, Completed).await;
    until(&client, id, Completed).await;
    assert_eq!(acts(&world).get("asking-below/center 7.5"), Some(&1));

    // A person pauses it there, and lets it go on there.
    let id = run(&client, "slow", "halted", &world).await;
    until(&client, id, Running).await;
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    assert!(client.propose(id, &prefect::Proposal::suspended("by-hand", later)).await.unwrap().is_accept());
    tokio::time::sleep(Duration::from_secs(2)).await;
    std::fs::write(world.join("go-halted"), "").unwrap();
    let here =
        worker.engine.runs(engine::RunFilter { name_contains: Some("halted".into()), ..Default::default() });
    let here = here.await.unwrap().items[0].id;
    let begun = Instant::now();
    while worker.engine.run(here).await.unwrap().state.kind != engine::StateType::Paused {
        assert!(begun.elapsed() < Duration::from_secs(10), "it pauses between two steps");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!acts(&world).contains_key("halted/last"));
    assert!(client.resume(id).await.unwrap().is_accept());
    until(&client, id, Completed).await;
    assert_eq!(acts(&world).get("halted/last"), Some(&1));

    // A run of another run.
    let id = run(&client, "parent", "nested", &world).await;
    until(&client, id, Completed).await;
    let filter = json!({ "flow_runs": { "parent_flow_run_id": { "any_": [id] } } });
    let children = client.flow_runs(filter).await.unwrap();
    assert_eq!(children.len(), 1);
    until(&client, children[0].id, Completed).await;
    assert_eq!(tasks(&client, children[0].id).await.len(), 4);

    // It fails, is mended, and is tried again as the interface does; what was done is not done again.
    let id = run(&client, "fails", "broken", &world).await;
    let failed = until(&client, id, Failed).await;
    assert!(failed.state.unwrap().message.unwrap_or_default().contains("disk is full"));
    std::fs::write(world.join("go-broken"), "").unwrap();
    let again = prefect::Proposal::new(Scheduled).named("AwaitingRetry").at(jiff::Timestamp::now());
    assert!(client.propose(id, &again).await.unwrap().is_accept());
    until(&client, id, Completed).await;
    assert_eq!(acts(&world).get("broken/first"), Some(&1));

    // The server dies; the run goes on, and is told when it is back.
    let id = run(&client, "slow", "orphan", &world).await;
    until(&client, id, Running).await;
    server.kill();
    std::fs::write(world.join("go-orphan"), "").unwrap();
    let begun = Instant::now();
    while !acts(&world).contains_key("orphan/last") {
        assert!(begun.elapsed() < Duration::from_secs(10), "it goes on without the server");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.start_again();
    until(&client, id, Completed).await;
    let states = tasks(&client, id).await;
    assert_eq!(states["last"], [Pending, Running, Completed], "told once");

    ends_below_are_told_once(&client, &mut server, &worker.engine, &world).await;

    // The worker is told to stop; the run is handed back, and goes on where it was with the next.
    let id = run(&client, "slow", "handed", &world).await;
    until(&client, id, Running).await;
    while !acts(&world).contains_key("handed/first") {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let summary = worker.stop().await;
    assert_eq!(summary.given_back, 1, "{summary:?}");
    let back = until(&client, id, Scheduled).await;
    assert_eq!(back.state.unwrap().name.as_deref(), Some("AwaitingRetry"));
    println!("{summary:?}");
    std::fs::write(world.join("go-handed"), "").unwrap();
    let worker = start(&client, &journal, 4);
    until(&client, id, Completed).await;
    assert_eq!(acts(&world).get("handed/first"), Some(&1), "not done again");
    worker.stop().await;
    // The wait of the run that was handed back is the only step that was at work when its worker left.
    assert!(acts(&world).values().all(|count| *count == 1), "{:?}", acts(&world));
}

/// A run and its run both end while the server is away. The parent's report tells the child's end first; it was then told
/// all over again, and a call that failed in the middle of it left the child RUNNING there for ever.
async fn ends_below_are_told_once(
    client: &Client,
    server: &mut server::Server,
    engine: &engine::Engine,
    world: &std::path::Path,
) {
    // An older run, so that reports are held up by it until the two have ended.
    let before = run(client, "slow", "blocking", world).await;
    until(client, before, Running).await;
    let id = run(client, "parent", "waiting-below", world).await;
    let child = child(client, id).await;
    until(client, child, Running).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.kill();
    std::fs::write(world.join("go-blocking"), "").unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    std::fs::write(world.join("go-waiting-below"), "").unwrap();
    let filter = engine::RunFilter { flow: Some("parent".into()), ..Default::default() };
    let begun = Instant::now();
    while engine.runs(filter.clone()).await.unwrap().items.iter().any(|run| !run.state.kind.is_terminal()) {
        assert!(begun.elapsed() < Duration::from_secs(10), "both end without the server");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.start_again();
    until(client, id, Completed).await;
    // Time for a report that should not come.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let states = client.flow_run_states(child).await.unwrap();
    let states: Vec<StateType> = states.into_iter().map(|state| state.kind).collect();
    assert_eq!(states, [Pending, Running, Completed], "told once");
    for (task, states) in tasks(client, child).await {
        assert_eq!(states, [Pending, Running, Completed], "{task} told once");
    }
}

/// The form of a question, as soon as it is there.
async fn question(client: &Client, run: uuid::Uuid, keys: &Keyset) -> Value {
    let begun = Instant::now();
    loop {
        if let Some(form) = client.question(run, keys).await.unwrap() {
            return form;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "no form");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The run of a run, as soon as it is there.
async fn child(client: &Client, run: uuid::Uuid) -> uuid::Uuid {
    let filter = json!({ "flow_runs": { "parent_flow_run_id": { "any_": [run] } } });
    let begun = Instant::now();
    loop {
        if let Some(child) = client.flow_runs(filter.clone()).await.unwrap().first() {
            return child.id;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "no child of {run}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Set-up makes what is missing, and nothing the second time.
async fn set_up(client: &Client) {
    let wanted = || worker::Wanted::new("beamline", deployments());
    let plan = worker::plan(client, wanted()).await.unwrap();
    assert!(!plan.is_done());
    plan.apply(client).await.unwrap();
    let plan = worker::plan(client, wanted()).await.unwrap();
    assert!(plan.is_done(), "{:?}", plan.items);
    // Somebody changed the form; it is put right.
    let found = client.deployment("short", "short").await.unwrap().unwrap();
    client.update_deployment(found.id, &json!({ "description": "by hand" })).await.unwrap();
    let plan = worker::plan(client, wanted()).await.unwrap();
    assert!(!plan.is_done(), "{:?}", plan.items);
    plan.apply(client).await.unwrap();
    assert!(worker::plan(client, wanted()).await.unwrap().is_done());
    // A pool of another kind of worker is not touched.
    client.create_work_pool("python", "process", "", &json!({})).await.unwrap();
    assert!(worker::plan(client, worker::Wanted::new("python", deployments())).await.is_err());
    assert_eq!(registry().iter().count(), deployments().len());
}

/// The graph as the interface draws it: each task with what it follows, by name.
async fn edges(client: &Client, run: uuid::Uuid) -> Vec<(String, Vec<String>)> {
    let graph = client.graph(run).await.unwrap();
    let nodes = graph["nodes"].as_array().unwrap();
    let name = |id: &Value| {
        let node = nodes.iter().find(|node| node[1]["id"] == *id).expect("a node");
        node[1]["label"].as_str().unwrap().to_owned()
    };
    let mut all: Vec<(String, Vec<String>)> = nodes
        .iter()
        .map(|node| {
            let mut from: Vec<String> =
                node[1]["parents"].as_array().unwrap().iter().map(|parent| name(&parent["id"])).collect();
            from.sort();
            (name(&node[1]["id"]), from)
        })
        .collect();
    all.sort();
    all
}
