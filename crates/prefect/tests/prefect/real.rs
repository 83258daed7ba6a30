//! Real servers: Prefect 3.9.1 behind a password and CSRF protection, and Prefect 2.20.20.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use engine::conformance::{Column, TABLE, check};
use jiff::{SignedDuration, Timestamp};
use prefect::{
    Cancellations, Client, Content, Credentials, Event, EventFilter, Log, NewDeployment, NewFlowRun,
    NewTaskRun, Policy, Proposal, RunResource, Secret, Settings, StateType, Taken, TaskSeen, Verdict,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::conformance::{Server as Judge, deployment};
use crate::server;

const PASSWORD: &str = "admin:s3cret:with colon";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prefect_3_shows_the_table_and_the_protocol() {
    let settings =
        [("PREFECT_SERVER_API_AUTH_STRING", PASSWORD), ("PREFECT_SERVER_CSRF_PROTECTION_ENABLED", "true")];
    let Some(server) = server::start(3, &settings) else { return };
    let basic = Credentials::Basic(Secret::new(PASSWORD));
    let client = Client::new(Settings::new(&server.api()).unwrap().with(basic).unwrap()).unwrap();
    assert_eq!(client.version().await.unwrap().to_string(), "3.9.1");
    let wrong = Credentials::Basic(Secret::new("admin:no"));
    let stranger = Client::new(Settings::new(&server.api()).unwrap().with(wrong).unwrap()).unwrap();
    assert_eq!(stranger.version().await.unwrap_err().status(), Some(401));
    stranger.health().await.unwrap();

    let zombie = zombie(&client).await;
    let run = protocol(&client).await;
    feed(&client, &run).await;
    places(&client).await;
    table(&client, &[]).await;
    crashed(&client, zombie).await;
    let tally = client.tally();
    println!("{} requests, {} busy answers", tally.requests, tally.busy);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prefect_2_shows_the_table_and_the_protocol() {
    let Some(server) = server::start(2, &[]) else { return };
    let client = Client::new(Settings::new(&server.api()).unwrap()).unwrap();
    assert_eq!(client.version().await.unwrap().to_string(), "2.20.20");
    protocol(&client).await;
    table(&client, &["try a cancelled run again"]).await;
    let told = client.automations().await.unwrap_err();
    assert!(told.to_string().contains("2.20.20 has no automations"), "{told}");
}

/// Every row of Prefect's column, asked of the server. `differs`: what this version answers otherwise (2.20 keeps a
/// cancelled run as it is).
async fn table(client: &Client, differs: &[&str]) {
    let judge = Judge::new(client).await;
    let (asked, wrong) = check(&judge, Column::Prefect).await;
    println!("{asked} of {} rows", TABLE.len());
    wrong.iter().for_each(|(row, answer)| println!("{}: {answer:?}", row.name));
    let names: Vec<&str> = wrong.iter().map(|(row, _)| row.name).collect();
    assert_eq!(names, differs);
    assert!(asked >= 30, "{asked}");
}

async fn accepted(client: &Client, run: Uuid, kind: StateType) {
    let verdict = client.propose(run, &Proposal::new(kind)).await.unwrap();
    assert!(verdict.is_accept(), "{kind}: {verdict:?}");
}

/// The way of a worker, from the pool to the graph. Returns what the run's events are told with.
async fn protocol(client: &Client) -> RunResource {
    settings_of_operators(client).await;
    // A pool of a type that Prefect does not know, its queue, and a worker.
    assert!(client.create_work_pool("pool", "beamrail", "for tests", &json!({})).await.unwrap());
    assert!(!client.create_work_pool("pool", "process", "", &json!({})).await.unwrap());
    assert_eq!(client.work_pool("pool").await.unwrap().unwrap().kind, "beamrail");
    assert!(client.work_pool("no such pool/..").await.unwrap().is_none());
    assert!(client.create_work_queue("pool", "bl832", Some(1), Some(4)).await.unwrap());
    assert!(!client.create_work_queue("pool", "bl832", Some(2), None).await.unwrap());
    client.heartbeat("pool", "host-a", 10).await.unwrap();
    let workers = client.workers("pool").await.unwrap();
    assert_eq!((workers[0].name.as_str(), workers[0].status.as_deref()), ("host-a", Some("ONLINE")));

    // A deployment, made and replaced; its form refuses what does not fit.
    let new = NewDeployment {
        work_pool_name: "pool".into(),
        work_queue_name: "bl832".into(),
        enforce_parameter_schema: true,
        parameter_openapi_schema: json!({ "title": "Parameters", "type": "object", "required": ["file_path"],
            "properties": { "file_path": { "type": "string", "title": "file_path", "position": 0 } } }),
        labels: BTreeMap::from([("engine".into(), "beamrail".into())]),
        schedules: vec![prefect::NewSchedule {
            active: false,
            schedule: prefect::Times::Cron {
                cron: "0 3 * * *".into(),
                timezone: "America/Los_Angeles".into(),
            },
            slug: Some("nightly".into()),
            parameters: json!({ "file_path": "nightly.h5" }),
        }],
        ..deployment(client, "new_832_file", None).await
    };
    let made = client.put_deployment(&new).await.unwrap();
    assert_eq!(client.put_deployment(&new).await.unwrap().id, made.id);
    let read = client.deployment("flow_of_new_832_file", "new_832_file").await.unwrap().unwrap();
    assert_eq!((read.id, read.schedules.len()), (made.id, 1));
    let misfit = NewFlowRun { parameters: json!({ "file_path": 7 }), ..NewFlowRun::default() };
    let error = client.run_deployment(made.id, &misfit).await.unwrap_err();
    assert!(error.is_conflict() || error.status() == Some(422), "{error}");

    // A run, made once; polled by its queue alone; claimed once.
    let wanted = NewFlowRun {
        name: Some("sea_shell".into()),
        parameters: json!({ "file_path": "BLS-00564/x.h5" }),
        idempotency_key: Some("scan-1".into()),
        tags: vec!["BLS-00564".into()],
        ..NewFlowRun::default()
    };
    let run = client.run_deployment(made.id, &wanted).await.unwrap();
    let other = NewFlowRun { parameters: json!({ "file_path": "other.h5" }), ..wanted.clone() };
    let again = client.run_deployment(made.id, &other).await.unwrap();
    assert_eq!((again.id, &again.parameters), (run.id, &wanted.parameters));
    let soon = Timestamp::now() + SignedDuration::from_secs(10);
    let queue = ["bl832".to_owned()];
    let polled = client.poll("pool", &queue, soon, 10).await.unwrap();
    assert_eq!(polled.iter().map(|run| run.id).collect::<Vec<_>>(), [run.id]);
    let nowhere = client.poll("pool", &["no such queue".to_owned()], soon, 10).await.unwrap_err();
    assert!(nowhere.is_not_found());
    let claim = Proposal::new(StateType::Pending).transition(Uuid::now_v7());
    assert!(client.propose(run.id, &claim).await.unwrap().is_accept());
    assert!(client.propose(run.id, &claim).await.unwrap().is_accept(), "the same claim again is the same");
    let second = client.propose(run.id, &Proposal::new(StateType::Pending)).await.unwrap();
    assert!(matches!(second, Verdict::Abort { .. }), "{second:?}");
    assert!(client.poll("pool", &queue, soon, 10).await.unwrap().is_empty());
    client.set_infrastructure(run.id, "host-a:4711").await.unwrap();
    accepted(client, run.id, StateType::Running).await;

    tasks_logs_artifacts(client, run.id).await;
    accepted(client, run.id, StateType::Completed).await;
    let ended = client.flow_run(run.id).await.unwrap().unwrap();
    assert_eq!(ended.state_type(), Some(StateType::Completed));
    assert_eq!(ended.infrastructure_pid.as_deref(), Some("host-a:4711"));
    assert!(ended.start_time.is_some() && ended.end_time.is_some());

    cancelled(client, made.id).await;
    RunResource { flow_run: run.id, name: run.name, flow: run.flow_id, deployment: Some(made.id) }
}

async fn tasks_logs_artifacts(client: &Client, run: Uuid) {
    let new = |key: &str, after: Vec<Uuid>| NewTaskRun {
        flow_run_id: run,
        name: format!("{key}-0"),
        task_key: key.into(),
        dynamic_key: "0".into(),
        inputs: BTreeMap::from([("after".into(), after)]),
        policy: Policy::default(),
    };
    let copy = client.task_run(&new("copy", vec![])).await.unwrap();
    assert_eq!(client.task_run(&new("copy", vec![])).await.unwrap().id, copy.id, "by its natural key");
    let recon = client.task_run(&new("recon", vec![copy.id])).await.unwrap();
    // The guard against lost answers rests on this: the server keeps the id in a task's state.
    let transition = Uuid::now_v7();
    let begin = Proposal::new(StateType::Running).transition(transition);
    assert!(client.propose_task(copy.id, &begin).await.unwrap().is_accept());
    let state = client.task_run_by_id(copy.id).await.unwrap().unwrap().state.unwrap();
    assert_eq!(state.state_details.transition_id, Some(transition));
    for (task, kind) in [(copy.id, "COMPLETED"), (recon.id, "RUNNING"), (recon.id, "COMPLETED")] {
        let kind = serde_json::from_value(json!(kind)).unwrap();
        let proposal = Proposal::new(kind).because("8.51 GB in 198 s");
        assert!(client.propose_task(task, &proposal).await.unwrap().is_accept());
    }
    let states = client.task_run_states(copy.id).await.unwrap();
    let kinds: Vec<StateType> = states.iter().map(|state| state.kind).collect();
    assert_eq!(kinds, [StateType::Pending, StateType::Running, StateType::Completed]);
    let graph = client.graph(run).await.unwrap();
    let parents = graph.pointer("/nodes").and_then(Value::as_array).unwrap().iter().filter_map(|node| {
        (node.pointer("/1/id")? == &json!(recon.id)).then(|| node.pointer("/1/parents/0/id").cloned())?
    });
    assert_eq!(parents.collect::<Vec<_>>(), [json!(copy.id)]);

    let line = |task, level, message: &str, micros: i64| Log {
        name: "prefect.flow_runs".into(),
        level,
        message: message.into(),
        timestamp: Timestamp::from_microsecond(1_764_000_000_000_000 + micros).unwrap(),
        flow_run_id: Some(run),
        task_run_id: task,
    };
    let lines =
        [line(None, 20, "one", 0), line(Some(copy.id), 30, "two é", 1), line(None, 40, "three", 2_000_000)];
    client.logs(&lines[..2], false).await.unwrap();
    // The second batch overlaps the first, as after a lost answer.
    client.logs(&lines, true).await.unwrap();
    let wait = Instant::now();
    let mut kept = client.flow_run_logs(run).await.unwrap();
    while kept.len() < 3 && wait.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        kept = client.flow_run_logs(run).await.unwrap();
    }
    let texts: Vec<&str> = kept.iter().map(|line| line.message.as_str()).collect();
    assert_eq!(texts, ["one", "two é", "three"]);

    let rows = json!([{ "step": "copy", "GB": 8.51 }]);
    let picture = Content::Image("data:image/png;base64,iVBORw0KGgo=".into());
    let link = Content::Link { url: "http://127.0.0.1:1/".into(), text: "viewer".into() };
    let bar =
        client.create_artifact(run, Some(recon.id), "Recon progress", &Content::Progress(37.5), None).await;
    client.update_artifact(bar.unwrap(), &Content::Progress(100.0)).await.unwrap();
    for (key, content) in [
        ("report", Content::Markdown("# Done".into())),
        ("transfers", Content::Table(rows)),
        ("slice", picture),
        ("viewer", link),
    ] {
        client.create_artifact(run, None, key, &content, Some("made by a test")).await.unwrap();
    }
    let mut shown: Vec<(String, String)> = client
        .artifacts(run)
        .await
        .unwrap()
        .into_iter()
        .map(|one| (one.key.unwrap_or_default(), one.data.to_string()))
        .collect();
    shown.sort();
    let keys: Vec<&str> = shown.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["recon-progress", "report", "slice", "transfers", "viewer"]);
    // Interfaces without bars and pictures get text.
    let bars = client.version().await.unwrap().has_pictures();
    let is_full = if bars { shown[0].1.parse() == Ok(100.0) } else { shown[0].1.contains("100 %") };
    assert!(is_full && shown[2].1.contains("![](data:image") != bars, "{shown:?}");
}

/// What operators keep in Prefect, under the names that the incumbent gave it.
async fn settings_of_operators(client: &Client) {
    let pruning = json!({ "delete_alcf832_files_after_days": 2 });
    assert!(client.setting("pruning-config").await.unwrap().is_none());
    // As a variable first, then the block, which wins.
    let old = json!({ "delete_alcf832_files_after_days": 9 });
    assert!(client.create_variable("pruning_config", &old, &["bl832"]).await.unwrap());
    assert!(!client.create_variable("pruning_config", &pruning, &[]).await.unwrap(), "left alone");
    assert_eq!(client.setting("pruning-config").await.unwrap(), Some(old));
    assert!(client.create_block("json", "pruning-config", &pruning).await.unwrap());
    assert!(!client.create_block("json", "pruning-config", &json!({})).await.unwrap(), "left alone");
    assert_eq!(client.setting("pruning_config").await.unwrap(), Some(pruning));
    let block = client.block("json", "pruning-config").await.unwrap().unwrap();
    client.update_block(block.id, &json!({ "delete_alcf832_files_after_days": 5 })).await.unwrap();
    let changed = client.json_block("pruning-config").await.unwrap().unwrap();
    assert_eq!(changed["delete_alcf832_files_after_days"], 5);

    assert!(client.create_block("secret", "globus-client-id", &json!("1111-2222")).await.unwrap());
    let secret = client.secret("globus_client_id").await.unwrap().unwrap();
    assert_eq!(secret.expose(), "1111-2222");
    let masked = client.block("secret", "globus-client-id").await.unwrap().unwrap();
    assert_ne!(masked.value(), Some(&json!("1111-2222")));
    assert!(client.secret("no-such-secret").await.unwrap().is_none());
}

/// A person stops a run: the worker hears of it, by push where there is one.
async fn cancelled(client: &Client, deployment: Uuid) {
    let new = NewFlowRun { parameters: json!({ "file_path": "c.h5" }), ..NewFlowRun::default() };
    let run = client.run_deployment(deployment, &new).await.unwrap().id;
    accepted(client, run, StateType::Pending).await;
    client.set_infrastructure(run, "host-a:1").await.unwrap();
    accepted(client, run, StateType::Running).await;
    let pushes = client.version().await.unwrap().has_events();
    // Where it pushes, the poll is too slow to be what told.
    let every = if pushes { Duration::from_secs(600) } else { Duration::from_millis(300) };
    let mut watch = Cancellations::watch(client, "pool", every);
    tokio::time::sleep(Duration::from_secs(1)).await;
    accepted(client, run, StateType::Cancelling).await;
    let asked = Instant::now();
    let told = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
    assert_eq!(told.ok().flatten(), Some(run));
    println!("a cancellation was heard of after {:.2} s", asked.elapsed().as_secs_f64());
    let ends = client.propose(run, &Proposal::new(StateType::Completed)).await.unwrap();
    assert!(matches!(ends, Verdict::Reject { .. }), "{ends:?}");
    accepted(client, run, StateType::Cancelled).await;
    assert!(client.cancelling("pool").await.unwrap().is_empty());
}

/// Events of tasks that REST moved: in the feed, without a second state.
async fn feed(client: &Client, run: &RunResource) {
    let new = NewFlowRun { parameters: json!({ "file_path": "f.h5" }), ..NewFlowRun::default() };
    let made = client.run_deployment(run.deployment.unwrap(), &new).await.unwrap();
    accepted(client, made.id, StateType::Pending).await;
    accepted(client, made.id, StateType::Running).await;
    let run = &RunResource { flow_run: made.id, ..run.clone() };
    let new = NewTaskRun {
        flow_run_id: run.flow_run,
        name: "late-0".into(),
        task_key: "late".into(),
        dynamic_key: "0".into(),
        inputs: BTreeMap::new(),
        policy: Policy::default(),
    };
    let task = client.task_run(&new).await.unwrap();
    let Verdict::Accept(state) =
        client.propose_task(task.id, &Proposal::new(StateType::Running)).await.unwrap()
    else {
        panic!("a task begins")
    };
    let seen = TaskSeen {
        id: task.id,
        name: "late-0",
        task_key: "late",
        dynamic_key: "0",
        run_count: 1,
        before: Some(StateType::Pending),
    };
    let event = Event::of_task(run, &seen, &state).unwrap();
    client.emit(std::slice::from_ref(&event)).await.unwrap();
    let mut socket = client.emitter().await.unwrap();
    let own =
        Event::new("beamrail.test", BTreeMap::from([("prefect.resource.id".into(), "beamrail.test".into())]));
    socket.send(&own).await.unwrap();
    socket.close().await.unwrap();
    let filter = EventFilter {
        names: vec![],
        any_resource: vec![format!("prefect.task-run.{}", task.id), "beamrail.test".into()],
        since: Some(Timestamp::now() - SignedDuration::from_mins(1)),
    };
    let begun = Instant::now();
    let mut found = Vec::new();
    while found.len() < 2 && begun.elapsed() < Duration::from_secs(15) {
        tokio::time::sleep(Duration::from_millis(300)).await;
        found = client.events(&filter).await.unwrap();
    }
    let mut ids: Vec<Uuid> = found.iter().map(|event| event.id).collect();
    ids.sort();
    let mut expected = vec![event.id, own.id];
    expected.sort();
    assert_eq!(ids, expected);
    assert_eq!(client.task_run_states(task.id).await.unwrap().len(), 2, "PENDING and one RUNNING");
}

/// Limits with leases.
async fn places(client: &Client) {
    assert!(client.create_limit("alcf", 1).await.unwrap());
    assert!(!client.create_limit("alcf", 2).await.unwrap());
    let minute = Duration::from_secs(60);
    let Taken::Lease(lease) = client.take_places(&["alcf"], 1, minute).await.unwrap() else {
        panic!("one is free")
    };
    assert!(matches!(client.take_places(&["alcf"], 1, minute).await.unwrap(), Taken::Full { .. }));
    assert!(client.renew_places(&lease, minute).await.unwrap());
    client.give_places_back(&lease).await.unwrap();
    assert_eq!(client.limit("alcf").await.unwrap().unwrap().active_slots, 0);
    assert!(!client.renew_places(&lease, minute).await.unwrap(), "it has ended");
}

/// A run whose worker gives one sign of life and no other.
async fn zombie(client: &Client) -> Uuid {
    let silence = Duration::from_secs(10);
    let made = client.create_automation(&prefect::zombies("Crash zombies", silence)).await.unwrap();
    assert!(client.automations().await.unwrap().iter().any(|one| one.id == made.id && one.enabled));
    client.create_work_pool("judged", "beamrail", "", &json!({})).await.unwrap();
    let new = deployment(client, "zombie", None).await;
    let deployment = client.put_deployment(&new).await.unwrap().id;
    let run = client.run_deployment(deployment, &NewFlowRun::default()).await.unwrap();
    accepted(client, run.id, StateType::Pending).await;
    accepted(client, run.id, StateType::Running).await;
    let about =
        RunResource { flow_run: run.id, name: run.name, flow: run.flow_id, deployment: Some(deployment) };
    client.emit(&[Event::heartbeat(&about)]).await.unwrap();
    run.id
}

/// The server itself has ended it, some time after.
async fn crashed(client: &Client, run: Uuid) {
    let begun = Instant::now();
    let mut state = None;
    while begun.elapsed() < Duration::from_secs(40) {
        state = client.flow_run(run).await.unwrap().unwrap().state_type();
        if state == Some(StateType::Crashed) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("the run of a silent worker is {state:?}");
}
