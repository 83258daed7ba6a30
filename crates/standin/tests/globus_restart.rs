//! The stand-in is killed in the middle of its work and started again, as services are.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use common::{CLIENT, SECRET};
use serde_json::{Value, json};

const ALS: &str = "00000000-0000-4000-8000-000000000000";
const NERSC: &str = "10000000-0000-4000-8000-000000000001";

/// The binary at work; killed at the end of the test, however that comes.
struct Service {
    child: Child,
    told: Value,
    token: String,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_beamrail-standin"))
            .args(["globus", "--client", &format!("{CLIENT}:{SECRET}"), "--state"])
            .arg(folder.join("state"))
            .arg("--collection")
            .arg(format!("als={ALS}={}", folder.join("als").display()))
            .arg("--collection")
            .arg(format!("nersc={NERSC}={}", folder.join("nersc").display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut service = Self { child, told: serde_json::from_str(&line).unwrap(), token: String::new() };
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("{CLIENT}:{SECRET}"));
        let scopes = "urn:globus:auth:scope:transfer.api.globus.org:all https://auth.globus.org/scopes/facd7ccc-c5f4-42aa-916b-a0e270e2c2a9/all";
        let form = format!("grant_type=client_credentials&scope={}", scopes.replace(' ', "+"));
        let (status, answer) =
            service.send("POST", "/v2/oauth2/token", &format!("Basic {basic}"), &form).unwrap();
        assert_eq!(status, 200, "{answer}");
        service.token = answer["access_token"].as_str().unwrap().to_owned();
        service.told["compute_token"] = answer["other_tokens"][0]["access_token"].clone();
        service
    }

    /// One request on a connection of its own; none if no answer came.
    fn send(&self, method: &str, path: &str, authorization: &str, body: &str) -> Option<(u16, Value)> {
        let address = self.told["base_url"].as_str().unwrap().strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: standin\r\nConnection: close\r\nAuthorization: {authorization}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, serde_json::from_str(body).ok()?))
    }

    fn transfer(&self, method: &str, path: &str, body: &Value) -> Option<Value> {
        self.send(method, path, &format!("Bearer {}", self.token), &body.to_string())
            .map(|(_, answer)| answer)
    }

    fn compute(&self, method: &str, path: &str, body: &Value) -> Value {
        let token = self.told["compute_token"].as_str().unwrap();
        self.send(method, path, &format!("Bearer {token}"), &body.to_string()).unwrap().1
    }

    fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        self.send(method, path, "", &body.to_string()).unwrap().1
    }

    /// kill -9, and a new one on the same state.
    fn killed(mut self, folder: &Path) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        drop(self);
        Self::start(folder)
    }
}

/// Asks until the answer is there, for ten seconds.
fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

#[test]
fn a_transfer_survives_kills_and_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path());
    let data: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::create_dir_all(folder.path().join("als/scan")).unwrap();
    std::fs::write(folder.path().join("als/scan/a"), b"first").unwrap();
    std::fs::write(folder.path().join("als/scan/b"), &data).unwrap();
    service.control(
        "POST",
        "/standin/faults",
        &json!({"file": "*/b", "fault": {"kind": "slow_transfer", "bytes_per_second": 400_000}}),
    );
    // The answer is lost and the service killed: the task is there all the same.
    service.control(
        "POST",
        "/standin/faults",
        &json!({"path": "/v0.10/transfer", "fault": {"kind": "lost_answer"}}),
    );
    let submission = "33333333-3333-4333-8333-333333333333";
    let document = json!({
        "DATA_TYPE": "transfer", "submission_id": submission, "source_endpoint": ALS, "destination_endpoint": NERSC,
        "verify_checksum": true, "label": "kill me",
        "DATA": [{"DATA_TYPE": "transfer_item", "source_path": "/scan", "destination_path": "/scan", "recursive": true}],
    });
    assert_eq!(service.transfer("POST", "/v0.10/transfer", &document), None, "the answer is lost");
    let service = service.killed(folder.path());
    let answer = service.transfer("POST", "/v0.10/transfer", &document).unwrap();
    assert_eq!(answer["code"], "Duplicate");
    let task = format!("/v0.10/task/{}", answer["task_id"].as_str().unwrap());
    until("bytes move", || {
        let moved = service.transfer("GET", &task, &json!({}))?["bytes_transferred"].as_u64()?;
        (moved > 5).then_some(())
    });
    let service = service.killed(folder.path());
    let ended = until("the transfer ends", || {
        service.transfer("GET", &task, &json!({})).filter(|task| task["status"] != "ACTIVE")
    });
    assert_eq!((&ended["status"], &ended["files_transferred"]), (&json!("SUCCEEDED"), &json!(2)), "{ended}");
    assert_eq!(std::fs::read(folder.path().join("nersc/scan/b")).unwrap(), data);
    let counts = service.control("GET", "/standin/counts", &json!({}));
    assert_eq!((&counts["transfers"], &counts["submissions"][submission]["posts"]), (&json!(1), &json!(2)));
    let state = std::fs::read_to_string(folder.path().join("state/state.json")).unwrap();
    assert!(!state.contains(SECRET), "the client's secret is not kept");
}

#[test]
fn a_compute_task_outlives_the_web_service() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path());
    let source = "def f(mark):\n    import time\n    open(mark, 'a').write('x')\n    time.sleep(1.5)\n    return 'dönε'\n";
    let pack = |text: &str| format!("{}\n{text}", text.chars().count());
    let function =
        json!({"function_name": "f", "function_code": pack(&format!("st\nf:{source}")), "serialized": true});
    let function =
        service.compute("POST", "/v3/functions", &function)["function_uuid"].as_str().unwrap().to_owned();
    let mark = folder.path().join("mark");
    let payload = pack(&format!("11\n{}", json!([mark]))) + &pack("11\n{}");
    let body = json!({"tasks": {&function: [payload]}, "result_serializers": ["globus_compute_sdk.serialize.JSONData"]});
    let endpoint = service.told["endpoint"].as_str().unwrap().to_owned();
    let answer = service.compute("POST", &format!("/v3/endpoints/{endpoint}/submit"), &body);
    let task = format!("/v2/tasks/{}", answer["tasks"][&function][0].as_str().unwrap());
    until("the function has begun", || mark.exists().then_some(()));
    let service = service.killed(folder.path());
    assert_eq!(service.told["endpoint"], endpoint.as_str(), "the endpoint keeps its id");
    let ended = until("the task ends", || {
        let task = service.compute("GET", &task, &json!({}));
        task.get("completion_t").is_some().then_some(task)
    });
    assert_eq!(
        (&ended["status"], &ended["result"]),
        (&json!("success"), &json!("11\n\"d\\u00f6n\\u03b5\"")),
        "{ended}"
    );
    assert_eq!(std::fs::read_to_string(mark).unwrap(), "x", "the function ran once");
    assert_eq!(service.control("GET", "/standin/counts", &json!({}))["jobs"]["started"], 1);
}

#[test]
fn a_worker_that_was_not_noted_is_found_and_not_started_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::start(folder.path());
    let source = "def f(mark):\n    import time\n    open(mark, 'a').write('x')\n    time.sleep(1)\n";
    let pack = |text: &str| format!("{}\n{text}", text.chars().count());
    let function =
        json!({"function_name": "f", "function_code": pack(&format!("st\nf:{source}")), "serialized": true});
    let function =
        service.compute("POST", "/v3/functions", &function)["function_uuid"].as_str().unwrap().to_owned();
    let mark = folder.path().join("mark");
    let payload = pack(&format!("11\n{}", json!([mark]))) + &pack("11\n{}");
    let endpoint = service.told["endpoint"].as_str().unwrap().to_owned();
    let answer = service.compute(
        "POST",
        &format!("/v3/endpoints/{endpoint}/submit"),
        &json!({"tasks": {&function: [payload]}}),
    );
    let id = answer["tasks"][&function][0].as_str().unwrap().to_owned();
    until("the function has begun", || mark.exists().then_some(()));
    service.child.kill().unwrap();
    service.child.wait().unwrap();
    // As if the kill had come between the start of the worker and the note of it.
    let file = folder.path().join("state/state.json");
    let mut state: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    state["jobs"][&id]["process"] = json!({"pid": 0, "started": 0});
    std::fs::write(&file, state.to_string()).unwrap();
    let service = Service::start(folder.path());
    until("the task ends", || {
        (service.compute("GET", &format!("/v2/tasks/{id}"), &json!({}))["status"] == "success").then_some(())
    });
    assert_eq!(std::fs::read_to_string(mark).unwrap(), "x", "the function ran once");
}

#[test]
fn wrong_arguments_are_refused_with_what_to_give() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, word) in [
        (&["--listen", "0.0.0.0:0"][..], "loopback"),
        (&["--collection", "als"][..], "NAME=UUID=DIR"),
        (&["--client", "id"][..], "ID:SECRET"),
        (&["--compute", "cloud"][..], "amqp:URL"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_beamrail-standin"))
            .args(["globus", "--state"])
            .arg(folder.path())
            .args(arguments)
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && told.contains(word) && output.stdout.is_empty(),
            "{arguments:?}: {told}"
        );
    }
}
