//! What people do on pages: it is done, written down, and only when our own page sent it.

use engine::{Orchestrator, StateType};
use serde_json::json;

use crate::beam::Beam;

#[test]
fn an_answer_lets_a_run_go_on() {
    let beam = Beam::open();
    beam.scan("f", "s", &["als"], &[]);
    let run = beam.run("alcf_recon_flow", "f/s", "ask");
    let client = beam.client();
    let page = format!("/runs/{run}");
    let csrf = client.csrf(&page);
    let wrong = client.post(&format!("{page}/resume"), &[("csrf", &csrf), ("answer", "in the middle")]);
    assert_eq!(wrong.status, 422, "{}", wrong.text());
    assert_eq!(beam.runtime.block_on(beam.engine.run(run)).unwrap().state.kind, StateType::Paused);
    let right = client.post(&format!("{page}/resume"), &[("csrf", &csrf), ("answer", "1283.25")]);
    assert_eq!((right.status, right.header("location")), (303, Some(page.as_str())));
    beam.work();
    let run = beam.runtime.block_on(beam.engine.run(run)).unwrap();
    assert_eq!(run.output, Some(json!({ "center": 1283.25 })));
}

#[test]
fn cancel_and_retry() {
    let beam = Beam::open();
    let run = beam.start("alcf_recon_flow", "f/s", "done");
    let client = beam.client();
    let page = format!("/runs/{run}");
    let csrf = client.csrf(&page);
    assert_eq!(client.post(&format!("{page}/cancel"), &[("csrf", &csrf)]).status, 303);
    let state = || beam.runtime.block_on(beam.engine.run(run)).unwrap().state;
    assert_eq!(state().kind, StateType::Cancelled);
    assert!(state().message.unwrap().contains("local"), "who did it is said");
    assert_eq!(client.post(&format!("{page}/retry"), &[("csrf", &csrf)]).status, 303);
    beam.work();
    assert_eq!(state().kind, StateType::Completed);
    let again = client.post(&format!("{page}/retry"), &[("csrf", &csrf)]);
    assert_eq!(again.status, 409, "what has completed stays so");
    assert!(again.text().contains("stays as it is"), "{}", again.text());
    let log = std::fs::read_to_string(beam.folder.join("state/audit.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["event"].as_str().unwrap(), line["action"].as_str().unwrap()))
        .collect();
    let wanted = [
        ("asked", "cancel"),
        ("done", "cancel"),
        ("asked", "retry"),
        ("done", "retry"),
        ("asked", "retry"),
        ("refused", "retry"),
    ];
    assert_eq!(told, wanted);
    assert!(lines.iter().all(|line| line["who"] == "local" && line["on"] == format!("run {run}")));
}

#[test]
fn holds_are_placed_and_released() {
    let beam = Beam::open();
    let scan = beam.scan("f", "s", &["als"], &[]);
    let client = beam.client();
    let csrf = client.csrf("/scans/f/s");
    let hold = |form: &[(&str, &str)]| client.post("/hold/f/s", form).status;
    assert_eq!(hold(&[("csrf", &csrf), ("reason", "for the paper"), ("days", "0")]), 400);
    assert_eq!(hold(&[("csrf", &csrf), ("reason", "for the paper"), ("days", "30")]), 303);
    let page = client.get("/scans/f/s").text();
    assert!(page.contains("for the paper") && page.contains("until"), "{page}");
    assert!(client.get("/").text().contains("held"));
    assert_eq!(client.post("/hold/f/misspelt", &[("csrf", &csrf)]).status, 404);
    assert_eq!(client.post("/release/f/s", &[("csrf", &csrf)]).status, 303);
    assert!(beam.beamline.custody.holds(Some(&scan)).unwrap()[0].released_at.is_some());
}

#[test]
fn what_another_page_sends_is_refused() {
    let beam = Beam::open();
    beam.scan("f", "s", &["als"], &[]);
    let run = beam.start("alcf_recon_flow", "f/s", "done");
    let client = beam.client();
    let csrf = client.csrf("/");
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let own = format!("http://{}", beam.address);
    let body = format!("csrf={csrf}");
    let with = |more: &[(&str, &str)], body: &str| {
        let headers: Vec<(&str, &str)> = form.iter().chain(more).copied().collect();
        client.send("POST", &format!("/runs/{run}/cancel"), &headers, body.as_bytes()).status
    };
    let refused = [
        ("no token", with(&[("Origin", own.as_str())], "")),
        ("a wrong token", with(&[("Origin", own.as_str())], "csrf=0000")),
        ("another's origin", with(&[("Origin", "http://evil.example")], &body)),
        ("no origin to speak of", with(&[("Origin", "null")], &body)),
        ("another port", with(&[("Origin", "http://127.0.0.1:1")], &body)),
        ("another site by the browser", with(&[("Sec-Fetch-Site", "cross-site")], &body)),
        ("a sibling by the browser", with(&[("Sec-Fetch-Site", "same-site")], &body)),
    ];
    for (what, status) in refused {
        assert_eq!(status, 403, "{what}");
    }
    // A form that calls itself text could be sent without the browser asking first.
    let text = [("Content-Type", "text/plain"), ("Origin", own.as_str())];
    assert_eq!(client.send("POST", &format!("/runs/{run}/cancel"), &text, body.as_bytes()).status, 403);
    let json = [("Content-Type", "application/json")];
    assert_eq!(client.send("POST", &format!("/api/runs/{run}/cancel"), &json, b"{}").status, 403);
    let state = beam.runtime.block_on(beam.engine.run(run)).unwrap().state;
    assert_eq!(state.kind, StateType::Scheduled, "nothing was done");
    assert_eq!(with(&[("Origin", own.as_str()), ("Sec-Fetch-Site", "same-origin")], &body), 303);
}
