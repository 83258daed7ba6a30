//! What is sent again and what is not; tokens; and what a lost answer means.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{Reply, Request, SECRET, Server, settings, token};
use globus::compute::{Dialect, Function, Submission};
use globus::transfer::{Item, TransferDocument};
use globus::{Error, Globus, Scope};
use serde_json::{Map, Value, json};

fn busy(status: u16) -> Reply {
    Reply::Json(status, json!({"code": "ServiceUnavailable", "message": "try later", "request_id": "r1"}))
}

fn submission() -> Submission {
    Submission {
        function: "f".into(),
        tasks: vec![vec![json!(1)]],
        task_group: Some("g".into()),
        user_endpoint_config: Map::new(),
        resource_specification: Map::new(),
        dialect: Dialect::Text,
    }
}

/// A server that gives tokens, answers the first calls from the list, and then `last`.
async fn after(first: Vec<Reply>, last: Value) -> Server {
    let first = Mutex::new(std::collections::VecDeque::from(first));
    Server::new(move |request: &Request| match request.path.ends_with("/token") {
        true => Reply::Json(599, json!({})),
        false => first.lock().unwrap().pop_front().unwrap_or_else(|| Reply::Json(200, last.clone())),
    })
    .await
}

#[tokio::test]
async fn reading_is_tried_again_as_the_sdk_does() {
    let task = json!({"task_id": "t", "status": "received"});
    for status in [429, 500, 502, 503, 504] {
        let server = after(vec![busy(status), Reply::Silence, busy(status)], task.clone()).await;
        assert_eq!(server.client().compute().task("t").await.unwrap().task_id, "t", "{status}");
        assert_eq!(server.asked().len(), 4, "{status}");
    }
    // Five repetitions, then the service's words, with the number of the request.
    let server = after(vec![busy(503); 20], task.clone()).await;
    let error = server.client().compute().task("t").await.unwrap_err();
    assert_eq!(server.asked().len(), 6);
    assert!(error.retry_helps() && error.to_string().contains("[request r1]"), "{error}");
    for status in [400, 403, 404, 409, 422, 501] {
        let server = after(vec![busy(status); 3], task.clone()).await;
        assert!(server.client().compute().task("t").await.is_err());
        assert_eq!(server.asked().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_collections_own_failure_is_told_at_once() {
    let fault =
        |status| Reply::Json(status, json!({"code": "ExternalError.DirListingFailed", "message": "down"}));
    let server = after(vec![fault(502)], json!({})).await;
    let error = server.client().transfer().ls("c", "/", 10).await.unwrap_err();
    assert_eq!(server.asked().len(), 1);
    assert!(error.to_string().contains("the collection itself failed"), "{error}");
    // But for 503, which the SDK repeats whatever is said.
    let server = after(vec![fault(503)], json!({"DATA": []})).await;
    server.client().transfer().ls("c", "/", 10).await.unwrap();
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn the_service_says_how_long_to_wait() {
    let wait = |seconds: &str| Reply::With(429, vec![("Retry-After", seconds.into())], "{}".into());
    let ok = json!({"task_id": "t", "status": "received"});
    let timed = |reply: Reply| {
        let ok = ok.clone();
        async move {
            let server = after(vec![reply], ok).await;
            // A tenth of the time: 2 s are 0.2 s, a year is 1 s (ten at most), nonsense is the usual half second.
            let mut settings = server.settings();
            settings.retry.scale = 0.1;
            let begun = Instant::now();
            Globus::new(settings).unwrap().compute().task("t").await.unwrap();
            begun.elapsed()
        }
    };
    let two = timed(wait("2")).await;
    assert!(two >= Duration::from_millis(200), "{two:?}");
    let year = timed(wait("31536000")).await;
    assert!((Duration::from_secs(1)..Duration::from_secs(8)).contains(&year), "{year:?}");
    let date = timed(wait("Wed, 21 Oct 2015 07:28:00 GMT")).await;
    assert!(date >= Duration::from_millis(25), "{date:?}");
}

#[tokio::test]
async fn a_compute_task_is_never_submitted_twice_by_accident() {
    let taken = json!({"request_id": "r", "task_group_id": "g", "endpoint_id": "e", "tasks": {"f": ["t"]}});
    // The answer is lost, garbled, or comes from a proxy: nobody knows.
    for reply in [
        Reply::Silence,
        Reply::With(200, vec![], "{\"task".into()),
        Reply::With(200, vec![], "<html>".into()),
    ] {
        let server = after(vec![reply.clone()], taken.clone()).await;
        let error = server.client().compute().submit("e", &submission()).await.unwrap_err();
        assert!(matches!(error, Error::Uncertain { .. }) && error.retry_helps(), "{reply:?}: {error}");
        assert_eq!(server.asked().len(), 1, "{reply:?}");
    }
    for status in [500, 502, 504] {
        let server = after(vec![busy(status)], taken.clone()).await;
        assert!(server.client().compute().submit("e", &submission()).await.is_err());
        assert_eq!(server.asked().len(), 1, "{status}");
    }
    // Not taken, says the service: then again.
    for status in [429, 503] {
        let server = after(vec![busy(status)], taken.clone()).await;
        server.client().compute().submit("e", &submission()).await.unwrap();
        assert_eq!(server.asked().len(), 2, "{status}");
    }
    // Nobody listens: it was not taken.
    let nobody = Globus::new(settings("http://127.0.0.1:9/")).unwrap();
    let error = nobody.compute().submit("e", &submission()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    // A late answer is a lost one.
    let server = after(vec![Reply::Late(Duration::from_secs(5), 200, taken.clone())], taken.clone()).await;
    let mut settings = server.settings();
    settings.timeout = Duration::from_millis(200);
    let error = Globus::new(settings).unwrap().compute().submit("e", &submission()).await.unwrap_err();
    assert!(matches!(error, Error::Uncertain { .. }), "{error}");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_transfer_is_sent_again_under_its_number() {
    let accepted = |code: &str| {
        json!({"DATA_TYPE": "transfer_result", "code": code, "message": "m", "request_id": "r", "resource": "/x",
               "submission_id": "s", "task_id": "t", "task_link": null})
    };
    let mut document = TransferDocument::new("s", "a", "b");
    document.items.push(Item::file("/x", "/y"));
    let none = Reply::Json(200, json!({"DATA": [], "total": 0}));
    let first = vec![none.clone(), Reply::Silence, busy(500), Reply::Json(202, accepted("Duplicate"))];
    let server = after(first, json!({})).await;
    let answer = server.client().transfer().submit_transfer(&document).await.unwrap();
    assert_eq!((answer.code.as_str(), answer.task_id.as_str()), ("Duplicate", "t"));
    let sent = server.asked();
    let lines: Vec<String> = sent.iter().map(Request::line).collect();
    assert_eq!(lines[1..], ["POST /v0.10/transfer"; 3]);
    assert!(sent[1..].iter().all(|one| one.json()["submission_id"] == "s"));
    // The service takes no more than a hundred; the hundred-and-first is not even sent.
    let server = after(vec![Reply::Json(200, json!({"DATA": [], "total": 100}))], json!({})).await;
    let error = server.client().transfer().submit_transfer(&document).await.unwrap_err();
    assert!(matches!(error, Error::Busy { pending: 100 }) && error.retry_helps());
    assert_eq!(server.asked().len(), 1);
    // An answer about something else is none.
    let mut other = accepted("Accepted");
    other["submission_id"] = json!("other");
    let server = after(vec![none, Reply::Json(202, other)], json!({})).await;
    assert!(server.client().transfer().submit_transfer(&document).await.is_err());
}

#[tokio::test]
async fn a_token_is_renewed_once_when_it_is_refused() {
    let given = AtomicU32::new(0);
    let server = Server::new(move |request: &Request| {
        if request.path.ends_with("/token") {
            let n = given.fetch_add(1, Ordering::Relaxed);
            return Reply::Json(200, token(&format!("t{n}"), Scope::compute().name(), 3600));
        }
        match request.authorization == "Bearer t0" {
            true => {
                Reply::Json(401, json!({"code": "AuthenticationFailed", "message": "Token is not active"}))
            }
            false => Reply::Json(200, json!({"task_id": "t", "status": "received"})),
        }
    })
    .await;
    let globus = server.client();
    globus.compute().task("t").await.unwrap();
    globus.compute().task("t").await.unwrap();
    let bearers: Vec<String> = server.asked().iter().map(|one| one.authorization.clone()).collect();
    assert_eq!(bearers, ["Bearer t0", "Bearer t1", "Bearer t1"]);

    // Refused again: that is the answer.
    let server = after(vec![Reply::Json(401, json!({"code": "x", "message": "no"})); 9], json!({})).await;
    let error = server.client().compute().task("t").await.unwrap_err();
    assert_eq!(server.asked().len(), 2);
    assert!(error.is_denied(), "{error}");
}

#[tokio::test]
async fn tokens_are_kept_until_shortly_before_their_end() {
    let life = AtomicU32::new(0);
    let server = Server::new(move |request: &Request| match request.path.ends_with("/token") {
        // The first ends in one second, so it is renewed after half of it.
        true => {
            let life = if life.fetch_add(1, Ordering::Relaxed) == 0 { 1 } else { 3600 };
            Reply::Json(200, token("t", Scope::compute().name(), life))
        }
        false => Reply::Json(200, json!({"task_id": "t", "status": "received"})),
    })
    .await;
    let globus = server.client();
    let tokens = || server.seen.lock().unwrap().iter().filter(|one| one.path.ends_with("/token")).count();
    globus.compute().task("t").await.unwrap();
    globus.compute().task("t").await.unwrap();
    assert_eq!(tokens(), 1);
    tokio::time::sleep(Duration::from_millis(600)).await;
    globus.compute().task("t").await.unwrap();
    globus.compute().task("t").await.unwrap();
    assert_eq!(tokens(), 2);
    // Many at once ask once.
    let server = after(vec![], json!({"task_id": "t", "status": "received"})).await;
    let globus = server.client();
    let many: Vec<_> = (0..20)
        .map(|_| {
            let globus = globus.clone();
            tokio::spawn(async move { globus.compute().task("t").await.map(drop) })
        })
        .collect();
    for one in many {
        one.await.unwrap().unwrap();
    }
    let asked = server.seen.lock().unwrap().iter().filter(|one| one.path.ends_with("/token")).count();
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn a_wider_scope_is_asked_for_and_kept_at_renewal() {
    let server = after(vec![], json!({"value": "s"})).await;
    let globus = server.client();
    globus.transfer().submission_id().await.unwrap();
    globus.transfer().with_data_access(&["c1"]).await.unwrap();
    globus.transfer().with_data_access(&["c2"]).await.unwrap();
    globus.transfer().with_data_access(&["c1"]).await.unwrap();
    globus.transfer().submission_id().await.unwrap();
    let seen = server.seen.lock().unwrap().clone();
    let scopes: Vec<String> = seen
        .iter()
        .filter(|one| one.path.ends_with("/token"))
        .map(|one| common::decode(&one.body).split("scope=").nth(1).unwrap().to_owned())
        .collect();
    let all = "urn:globus:auth:scope:transfer.api.globus.org:all";
    let access = |id| format!("*https://auth.globus.org/scopes/{id}/data_access");
    assert_eq!(
        scopes,
        [
            all.to_owned(),
            format!("{all}[{}]", access("c1")),
            format!("{all}[{} {}]", access("c1"), access("c2")),
        ]
    );
}

#[tokio::test]
async fn consent_and_credentials_become_instructions() {
    let scope =
        "urn:globus:auth:scope:transfer.api.globus.org:all[*https://auth.globus.org/scopes/c1/data_access]";
    for body in [
        json!({"code": "ConsentRequired", "message": "Missing", "request_id": "X1", "required_scopes": [scope]}),
        json!({"code": "ConsentRequired", "message": "Missing", "request_id": "X1", "required_scope": scope}),
    ] {
        let server = after(vec![Reply::Json(403, body)], json!({})).await;
        let error = server.client().transfer().ls("c1", "/", 10).await.unwrap_err();
        let text = error.to_string();
        for part in
            ["data_access = true for collection c1", "client client-1", "[request X1]", "session consent"]
        {
            assert!(text.contains(part), "{text}");
        }
        assert!(!error.retry_helps());
    }
    let refused =
        json!({"errors": [{"code": "UNAUTHORIZED", "detail": format!("bad secret {SECRET}"), "id": "i"}]});
    let server = Server::new(move |_| Reply::Json(401, refused.clone())).await;
    let error = server.client().compute().task("t").await.unwrap_err();
    assert!(matches!(error, Error::Credentials { .. }), "{error}");
    assert!(error.to_string().contains("the client client-1: bad secret (secret)"), "{error}");
    let unknown = json!({"errors": [{"code": "UNKNOWN_SCOPE_ERROR", "detail": "Unknown Scope", "id": "i"}]});
    let server = Server::new(move |_| Reply::Json(400, unknown.clone())).await;
    let error = server.client().transfer().with_data_access(&["guest"]).await.unwrap_err();
    assert!(error.to_string().contains("a guest collection has no data_access"), "{error}");
}

#[tokio::test]
async fn the_secret_and_the_tokens_are_never_printed() {
    let server = after(vec![Reply::With(200, vec![], "no json".into())], json!({})).await;
    let globus = server.client();
    let mut texts = vec![format!("{globus:?} {globus:#?} {:?}", globus.settings())];
    texts.push(globus.compute().task("t").await.unwrap_err().to_string());
    texts.push(format!("{globus:?}"));
    // An answer to the request for a token that is none, and holds one.
    let odd = json!({"access_token": "very-secret-token", "expires_in": "soon"});
    let server = Server::new(move |_| Reply::Json(200, odd.clone())).await;
    let error = server.client().compute().task("t").await.unwrap_err();
    texts.extend([error.to_string(), format!("{error:?}")]);
    for text in texts {
        for secret in [SECRET, common::TOKEN, "very-secret-token"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test]
async fn ids_cannot_lead_to_another_call() {
    let server = after(vec![], json!({"task_id": "t", "status": "received"})).await;
    let globus = server.client();
    for odd in ["", ".", ".."] {
        assert!(globus.compute().task(odd).await.is_err(), "{odd:?}");
    }
    globus.compute().task("a/../../v3/x?y#z").await.unwrap();
    assert_eq!(server.lines(), ["GET /v2/tasks/a%2F..%2F..%2Fv3%2Fx%3Fy%23z"]);
}

#[tokio::test]
async fn folders_are_listed_whole_or_not_at_all() {
    let entry = |name: &str, kind: &str| json!({"DATA_TYPE": "file", "name": name, "type": kind, "size": 1});
    let page = |request: &Request| {
        let query = common::decode(&request.query);
        let value =
            |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)).unwrap_or("").to_owned();
        (value("path="), value("offset=").parse::<u64>().unwrap_or(0))
    };
    let server = Server::new(move |request: &Request| {
        let data = match page(request) {
            (path, _) if path == "/r/" => {
                vec![entry("b", "dir"), entry("a.h5", "file"), entry("l", "invalid_symlink")]
            }
            (path, _) if path == "/r/b/" => vec![entry("c", "dir")],
            (path, 0) if path == "/r/b/c/" => vec![entry("1", "file")],
            (path, 1) if path == "/r/b/c/" => vec![entry("2", "file")],
            (path, _) if path == "/bad/" => vec![entry("../../etc", "dir")],
            _ => return Reply::Json(599, json!({})),
        };
        let total = if page(request).0 == "/r/b/c/" { 2 } else { data.len() };
        Reply::Json(200, json!({"DATA_TYPE": "file_list", "DATA": data, "total": total}))
    })
    .await;
    let (globus, limits) = (server.client(), globus::transfer::Limits::default());
    let found = globus.transfer().ls_recursive("c", "/r", limits).await.unwrap();
    let paths: Vec<&str> = found.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(paths, ["a.h5", "b", "b/c", "b/c/1", "b/c/2", "l"]);
    for limits in
        [globus::transfer::Limits { entries: 5, ..limits }, globus::transfer::Limits { depth: 1, ..limits }]
    {
        let error = globus.transfer().ls_recursive("c", "/r", limits).await.unwrap_err();
        assert!(matches!(error, Error::TooMany { .. }), "{error}");
    }
    assert!(globus.transfer().ls_recursive("c", "/bad", limits).await.is_err());
}

#[tokio::test]
async fn a_wait_ends_at_every_end_and_is_no_success_by_itself() {
    let task =
        |status: &str| json!({"task_id": "t", "type": "TRANSFER", "status": status, "nice_status": "OK"});
    for (status, fine) in [("SUCCEEDED", true), ("FAILED", false), ("INACTIVE", false)] {
        let server = after(vec![Reply::Json(200, task("ACTIVE"))], task(status)).await;
        let mut looks = 0;
        let ended = server.client().transfer().wait("t", |_| looks += 1).await.unwrap();
        assert_eq!((looks, ended.outcome().success().is_ok()), (2, fine), "{status}");
    }
}

#[tokio::test]
async fn a_payload_beyond_the_limit_is_not_sent() {
    let server = after(vec![], json!({})).await;
    let mut large = submission();
    large.tasks = vec![vec![json!("x".repeat(6_000_000))]];
    let error = server.client().compute().submit("e", &large).await.unwrap_err();
    assert!(error.to_string().contains("job folder"), "{error}");
    assert!(server.asked().is_empty());
    let runner = Function::runner(Dialect::Text);
    assert!(
        runner.body()["function_code"]
            .as_str()
            .unwrap()
            .contains("\nst\nbeamrail_job:def beamrail_job(spec):")
    );
}
