//! What real servers were seen to do that one would not expect, on cue.

use std::collections::BTreeMap;

use jiff::Timestamp;
use prefect::{
    Client, Credentials, Error, Log, NewDeployment, NewFlowRun, NewTaskRun, Policy, Proposal, Secret,
    Settings, StateType, Verdict,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::fake::{Answer, Fake, flow_run, ok, verdict};

fn version(path: &str, text: &str) -> Option<Answer> {
    (path == "/admin/version").then(|| ok(json!(text)))
}

fn running(transition: &Value) -> Value {
    json!({ "id": Uuid::now_v7(), "type": "RUNNING", "name": "Running", "timestamp": "2026-11-22T13:53:35Z",
        "state_details": { "transition_id": transition } })
}

/// One call in five to a server on SQLite is turned away at once, and is not lost.
#[tokio::test]
async fn a_busy_server_is_asked_again() {
    for status in [408, 429, 502, 503] {
        let fake = Fake::start(move |_, before| {
            if before < 2 {
                Answer::Json(status, json!({ "exception_message": "Service Unavailable" }))
            } else {
                ok(json!(true))
            }
        })
        .await;
        let client = fake.client();
        client.health().await.unwrap();
        assert_eq!(fake.asked("/health").len(), 3, "{status}");
        assert_eq!((client.tally().requests, client.tally().busy), (3, 2));
    }
    let fake = Fake::start(|_, _| Answer::Json(503, json!({}))).await;
    let error = fake.client().health().await.unwrap_err();
    assert!(matches!(error, Error::Busy { tries: 4, status: 503, .. }) && error.retry_helps(), "{error}");
}

#[tokio::test]
async fn a_server_that_is_away_is_told_from_one_that_lost_its_answer() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = Client::new(
        Settings::new(&format!("http://{nobody}/api"))
            .unwrap()
            .patience(prefect::Patience { tries: 1, ..prefect::Patience::default() }),
    )
    .unwrap();
    let error = client.health().await.unwrap_err();
    assert!(error.retry_helps() && !error.may_have_happened(), "{error}");
    let fake = Fake::start(|_, _| Answer::Lost).await;
    let error = fake.client().health().await.unwrap_err();
    assert!(error.retry_helps() && error.may_have_happened(), "{error}");
}

/// The answer to "RUNNING" is lost; sent again it is the same transition, and "already made" is no refusal.
#[tokio::test]
async fn a_lost_answer_to_a_run_costs_nothing() {
    let run = Uuid::now_v7();
    let fake = Fake::start(|seen, before| match before {
        0 => Answer::Lost,
        1 => Answer::Json(503, json!({})),
        _ => ok(verdict(
            "REJECT",
            running(&seen.body["state"]["state_details"]["transition_id"]),
            "This run has already made this state transition.",
        )),
    })
    .await;
    let verdict = fake.client().propose(run, &Proposal::new(StateType::Running)).await.unwrap();
    assert!(verdict.is_accept(), "{verdict:?}");
    let ids: Vec<Value> = fake
        .asked(&format!("/flow_runs/{run}/set_state"))
        .iter()
        .map(|seen| seen.body["state"]["state_details"]["transition_id"].clone())
        .collect();
    assert_eq!(ids.len(), 3);
    assert!(ids[0].is_string() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

/// Tasks have no such guard: RUNNING sent twice is stored twice. So the task is read first.
#[tokio::test]
async fn a_lost_answer_to_a_task_is_looked_for() {
    for stored in [true, false] {
        let task = Uuid::now_v7();
        let transition = Uuid::now_v7();
        let fake = Fake::start(move |seen, before| {
            if seen.path.ends_with("set_state") {
                if before == 0 {
                    Answer::Lost
                } else {
                    ok(verdict("ACCEPT", running(&json!(transition)), ""))
                }
            } else {
                let state = if stored { running(&json!(transition)) } else { running(&Value::Null) };
                ok(json!({ "id": task, "name": "t", "task_key": "t", "dynamic_key": "0", "state": state }))
            }
        })
        .await;
        let proposal = Proposal::new(StateType::Running).transition(transition);
        assert!(fake.client().propose_task(task, &proposal).await.unwrap().is_accept());
        let sent = fake.asked(&format!("/task_runs/{task}/set_state")).len();
        assert_eq!(sent, if stored { 1 } else { 2 });
    }
}

/// "Error validating state:" is a fault of the server, not a wish to stop.
#[tokio::test]
async fn a_fault_is_no_verdict() {
    let fake = Fake::start(|_, before| {
        let reason =
            if before == 0 { "Error validating state: OperationalError" } else { "This run is terminal" };
        ok(verdict("ABORT", Value::Null, reason))
    })
    .await;
    let heard = fake.client().propose(Uuid::now_v7(), &Proposal::new(StateType::Pending)).await.unwrap();
    assert_eq!(heard, Verdict::Abort { reason: "This run is terminal".to_owned() });
    let fake = Fake::start(|_, _| ok(verdict("ABORT", Value::Null, "Error validating state: x"))).await;
    let error = fake.client().propose(Uuid::now_v7(), &Proposal::new(StateType::Pending)).await.unwrap_err();
    assert!(error.retry_helps(), "{error}");
}

fn deployment() -> NewDeployment {
    NewDeployment {
        name: "d".into(),
        flow_id: Uuid::nil(),
        description: String::new(),
        version: "1".into(),
        tags: vec![],
        parameters: json!({}),
        parameter_openapi_schema: json!({}),
        enforce_parameter_schema: true,
        work_pool_name: "p".into(),
        work_queue_name: "q".into(),
        paused: false,
        concurrency_limit: Some(1),
        schedules: vec![prefect::NewSchedule {
            active: true,
            schedule: prefect::Times::Cron { cron: "0 3 * * *".into(), timezone: "UTC".into() },
            slug: Some("nightly".into()),
            parameters: json!({ "a": 1 }),
        }],
        labels: BTreeMap::from([("engine".into(), "beamrail".into())]),
    }
}

/// The API version is 0.8.4 on both, and each refuses fields that the other has.
#[tokio::test]
async fn each_server_is_sent_the_fields_it_knows() {
    for (text, three) in [("2.20.20", false), ("3.9.1", true)] {
        let fake = Fake::start(move |seen, _| {
            version(&seen.path, text)
                .unwrap_or_else(|| ok(json!({ "id": Uuid::nil(), "name": "d", "flow_id": Uuid::nil() })))
        })
        .await;
        let client = fake.client();
        client.put_deployment(&deployment()).await.unwrap();
        client.create_variable("v", &json!({ "days": 2 }), &[]).await.unwrap();
        let sent = &fake.asked("/deployments/")[0].body;
        for field in ["labels", "concurrency_limit", "concurrency_options"] {
            assert_eq!(sent.get(field).is_some(), three, "{text}: {field}");
        }
        for field in ["slug", "parameters"] {
            assert_eq!(sent["schedules"][0].get(field).is_some(), three, "{text}: {field}");
        }
        assert_eq!(fake.asked("/variables/")[0].body["value"].is_string(), !three);
        assert_eq!(fake.asked("/admin/version").len(), 1, "asked for once");
        let events = client.emit(&[prefect::Event::new("x", BTreeMap::new())]).await;
        assert_eq!(events.is_ok(), three, "{events:?}");
    }
    let old = Fake::start(|_, _| ok(json!("2.14.3"))).await;
    let told = old.client().version().await.unwrap_err();
    assert!(told.to_string().contains("2.20") && !told.retry_helps(), "{told}");
}

/// As "prefect/3.9.1 (API 0.8.4)" the server would let go of our places after 300 s without renewals.
#[tokio::test]
async fn we_do_not_pass_for_prefects_own_client() {
    let fake = Fake::start(|_, _| ok(json!(true))).await;
    fake.client().health().await.unwrap();
    let asked = &fake.asked("/health")[0];
    assert!(asked.header("user-agent").starts_with("beamrail/"), "{}", asked.header("user-agent"));
    assert_eq!(asked.header("x-prefect-api-version"), "0.8.4");
}

/// A tag with a limit stops an SQLite server for a minute when a task begins; log lines with a worker's id are
/// refused with their whole batch.
#[tokio::test]
async fn tasks_carry_no_tags_and_lines_no_worker() {
    let fake = Fake::start(|seen, _| match seen.path.as_str() {
        "/task_runs/" => ok(json!({ "id": Uuid::nil(), "name": "t", "task_key": "t", "dynamic_key": "0" })),
        _ => ok(Value::Null),
    })
    .await;
    let task = NewTaskRun {
        flow_run_id: Uuid::nil(),
        name: "copy".into(),
        task_key: "copy".into(),
        dynamic_key: "1".into(),
        inputs: BTreeMap::from([("after".into(), vec![Uuid::max()])]),
        policy: Policy::default(),
    };
    fake.client().task_run(&task).await.unwrap();
    let sent = &fake.asked("/task_runs/")[0].body;
    assert_eq!(sent["tags"], json!([]));
    assert_eq!(sent["task_inputs"]["after"], json!([{ "input_type": "task_run", "id": Uuid::max() }]));
    fake.client().logs(&[line("hello", 1)], false).await.unwrap();
    assert!(fake.asked("/logs/")[0].body[0].get("worker_id").is_none());
}

fn line(message: &str, second: i64) -> Log {
    Log {
        name: "prefect.flow_runs".into(),
        level: 20,
        message: message.into(),
        timestamp: Timestamp::from_second(second).unwrap(),
        flow_run_id: Some(Uuid::nil()),
        task_run_id: None,
    }
}

#[tokio::test]
async fn lines_whose_answer_was_lost_are_not_doubled() {
    let fake = Fake::start(|seen, before| match (seen.path.as_str(), before) {
        ("/logs/", 0) => Answer::Lost,
        // The server has the first line, in its own spelling of the time.
        ("/logs/filter", _) => ok(json!([{ "name": "n", "level": 20, "message": "one",
            "timestamp": "1970-01-01T00:00:01.000000+00:00", "flow_run_id": Uuid::nil(), "task_run_id": null }])),
        _ => ok(Value::Null),
    })
    .await;
    fake.client().logs(&[line("one", 1), line("two", 2)], false).await.unwrap();
    let sent = fake.asked("/logs/");
    assert_eq!(sent.len(), 2);
    let again: Vec<&Value> = sent[1].body.as_array().unwrap().iter().map(|line| &line["message"]).collect();
    assert_eq!(again, ["two"]);
}

/// CSRF protection is checked before the password, so a wrong password looks like a missing token at first.
#[tokio::test]
async fn a_token_against_forgery_is_fetched_when_asked_for() {
    let fake = Fake::start(|seen, _| {
        let basic = seen.header("authorization") == "Basic YWRtaW46czNjcmV0";
        match seen.path.as_str() {
            "/csrf-token" if basic => {
                ok(json!({ "token": "tok", "client": "x", "expiration": "2026-11-22T13:53:35Z" }))
            }
            "/csrf-token" => Answer::Json(401, json!({ "exception_message": "Unauthorized" })),
            _ if seen.header("prefect-csrf-token") != "tok" => {
                Answer::Json(403, json!({ "detail": "Missing CSRF token." }))
            }
            _ => ok(flow_run(Uuid::nil())),
        }
    })
    .await;
    let with = |pair: &str| {
        let settings = Settings::new(&fake.api).unwrap().with(Credentials::Basic(Secret::new(pair))).unwrap();
        Client::new(settings).unwrap()
    };
    let right = with("admin:s3cret");
    right.flow("f").await.unwrap();
    right.flow("f").await.unwrap();
    assert_eq!(fake.asked("/csrf-token").len(), 1, "once an hour is enough");
    let sent = fake.asked("/flows/").last().unwrap().clone();
    assert_eq!(fake.asked("/csrf-token")[0].query, format!("client={}", sent.header("prefect-csrf-client")));
    let error = with("admin:wrong-pw").flow("f").await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }) && !error.retry_helps(), "{error}");
    assert!(!error.to_string().contains("wrong-pw"));
}

/// Unknown fields are 422, parameters that do not fit 409; neither message repeats what was sent.
#[tokio::test]
async fn refusals_are_told_without_the_values() {
    let fake = Fake::start(|seen, _| {
        if seen.path == "/block_documents/" {
            return Answer::Json(
                422,
                json!({ "exception_detail": [{ "loc": ["body", "data"], "msg": "not permitted",
                "input": seen.body }] }),
            );
        }
        if seen.path.ends_with("filter") {
            ok(json!([{ "id": Uuid::nil() }]))
        } else {
            ok(json!({ "id": Uuid::nil(), "slug": "secret" }))
        }
    })
    .await;
    let error =
        fake.client().create_block("secret", "globus-client-secret", &json!("s3cret")).await.unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(told.contains("body.data: not permitted") && !told.contains("s3cret"), "{told}");
    assert_eq!(error.status(), Some(422));
}

/// A run that is made again because its answer was lost is the same run.
#[tokio::test]
async fn a_creation_is_repeated_under_the_same_key() {
    let fake = Fake::start(|seen, before| {
        version(&seen.path, "3.9.1")
            .unwrap_or_else(|| if before == 0 { Answer::Lost } else { ok(flow_run(Uuid::nil())) })
    })
    .await;
    fake.client().run_deployment(Uuid::nil(), &NewFlowRun::default()).await.unwrap();
    let sent = fake.asked(&format!("/deployments/{}/create_flow_run", Uuid::nil()));
    assert_eq!(sent.len(), 2);
    assert!(sent[0].body["idempotency_key"].is_string());
    assert_eq!(sent[0].body, sent[1].body);
}

/// Answers that are no JSON (a proxy's page) and redirects are told, not followed.
#[tokio::test]
async fn a_redirect_is_not_followed() {
    let fake = Fake::start(|_, _| Answer::Json(307, json!({}))).await;
    let error = fake.client().health().await.unwrap_err();
    assert_eq!(error.status(), Some(307), "{error}");
}
