//! Every request of the client beside the one that the official SDK sends for the same call: method, path, query and
//! body. The SDK runs in a venv (globus-sdk 4.9.1) against a recorder of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use std::collections::BTreeMap;
use std::process::Command;

use common::{Reply, Request, Server, python};
use globus::compute::{Dialect, Function, Submission};
use globus::flows::FlowDocument;
use globus::transfer::{DeleteDocument, Filter, Item, Notify, SyncLevel, TransferDocument};
use globus::{Globus, Scope};
use serde_json::{Map, Value, json};

fn id(n: u8) -> String {
    let digit = n.to_string();
    format!("{}-1111-4111-8111-{}", digit.repeat(8), digit.repeat(12))
}

fn submission() -> Submission {
    Submission {
        function: id(6),
        tasks: vec![vec![json!({"µ": [1, null]})], vec![json!("x")]],
        task_group: Some(id(3)),
        user_endpoint_config: [("account".to_owned(), json!("IRIBeta"))].into_iter().collect(),
        resource_specification: [("num_nodes".to_owned(), json!(1))].into_iter().collect(),
        dialect: Dialect::Text,
    }
}

/// What the SDK sent, by name.
fn recorded(python: &std::path::Path) -> BTreeMap<String, Value> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bodies.json");
    let bodies = json!({"register": Function::runner(Dialect::Text).body(), "submit": submission().body()});
    std::fs::write(&file, bodies.to_string()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/record_sdk.py");
    let output = Command::new(python).arg(script).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|one| (one["name"].as_str().unwrap().to_owned(), one)).collect()
}

/// Makes the call of that name; what comes back does not matter here.
async fn ask(globus: &Globus, name: &str) -> bool {
    let (transfer, compute, flows) = (globus.transfer(), globus.compute(), globus.flows());
    let mut document = TransferDocument::new("s", id(1), id(2));
    let definition = json!({"StartAt": "A", "States": {"A": {"Type": "Pass", "End": true}}});
    match name {
        "token" => drop(transfer.with_data_access(&[id(1)]).await),
        "submission_id" => drop(transfer.submission_id().await),
        "transfer_short" => {
            document.label = Some("t".into());
            (document.verify_checksum, document.sync_level) = (Some(true), Some(SyncLevel::Checksum));
            document.items.push(Item::folder("/a/", "/b/"));
            drop(transfer.submit_transfer(&document).await);
        }
        "transfer_full" => {
            let mut document = document.notify(Notify::NONE);
            document.label = Some("scan ü 1".into());
            document.sync_level = Some(SyncLevel::Mtime);
            let yes = Some(true);
            (document.verify_checksum, document.preserve_timestamp, document.encrypt_data) = (yes, yes, yes);
            (document.fail_on_quota_errors, document.delete_destination_extra) = (yes, yes);
            document.skip_source_errors = Some(false);
            document.deadline = Some("2026-11-23T13:00:00+00:00".into());
            let mut file = Item::file("/a/µ.h5", "/b/µ.h5");
            file.external_checksum = Some("abc".into());
            file.checksum_algorithm = Some("SHA256".into());
            document.items = vec![file, Item::folder("/d/", "/e/")];
            document.filter_rules = vec![Filter::exclude("*.tmp").only("file"), Filter::include("keep*")];
            drop(transfer.submit_transfer(&document).await);
        }
        "delete_short" => {
            let mut document = DeleteDocument::new("s", id(1));
            document.add("/a/x");
            drop(transfer.submit_delete(&document).await);
        }
        "delete_full" => {
            let mut document = DeleteDocument::new("s", id(1)).notify(Notify::NONE);
            document.label = Some("l".into());
            (document.recursive, document.ignore_missing) = (Some(true), Some(true));
            document.interpret_globs = Some(false);
            document.deadline = Some("2026-11-23T13:00:00+00:00".into());
            document.add("/a/x");
            document.add("/a/y");
            drop(transfer.submit_delete(&document).await);
        }
        "task" => drop(transfer.task(&id(3)).await),
        "cancel" => drop(transfer.cancel(&id(3)).await),
        "pause_info" => drop(transfer.pause_info(&id(3)).await),
        "events" => drop(transfer.events(&id(3), 3).await),
        "successful" => drop(transfer.successful_transfers(&id(3)).await),
        "skipped" => drop(transfer.skipped_errors(&id(3)).await),
        "tasks" => drop(transfer.tasks("status:ACTIVE", 3).await),
        "ls" => drop(transfer.ls(&id(1), "/a µ/", 100).await),
        "stat" => drop(transfer.stat(&id(1), "/a µ").await),
        "mkdir" => drop(transfer.mkdir(&id(1), "/a µ").await),
        "rename" => drop(transfer.rename(&id(1), "/a", "/b").await),
        "endpoint" => drop(transfer.endpoint(&id(1)).await),
        "search" => drop(transfer.search("als", 5).await),
        "register" => drop(compute.register(&Function::runner(Dialect::Text)).await),
        "submit" => drop(compute.submit(&id(5), &submission()).await),
        "function" => drop(compute.function(&id(6)).await),
        "compute_task" => drop(compute.task(&id(3)).await),
        "batch_status" => drop(compute.tasks(&[id(3)]).await),
        "task_group" => drop(compute.task_group(&id(3)).await),
        "compute_endpoint" => drop(compute.endpoint(&id(5)).await),
        "endpoint_status" => drop(compute.endpoint_status(&id(5)).await),
        "version" => drop(compute.version().await),
        "create_flow" => {
            let document = FlowDocument {
                title: Some("t".into()),
                definition: Some(definition),
                input_schema: Some(json!({})),
                keywords: Some(vec!["a".into()]),
                ..FlowDocument::default()
            };
            drop(flows.create(&document).await);
        }
        "update_flow" => {
            let (title, definition) = (Some("t2".into()), Some(definition));
            let document = FlowDocument { title, definition, ..FlowDocument::default() };
            drop(flows.update(&id(4), &document).await);
        }
        "get_flow" => drop(flows.get(&id(4)).await),
        "run" => {
            let (scope, body) = (Scope::flow(&id(4)).unwrap(), json!({"input": {"x": "µ"}}));
            drop(flows.run(&id(4), scope, &body, "l", &["a".to_owned()]).await);
        }
        "run_status" => drop(flows.run_status(&id(3)).await),
        "runs" => drop(flows.runs(&id(4)).await),
        "log" => drop(flows.log(&id(3)).await),
        "cancel_run" => drop(flows.cancel(&id(3)).await),
        "delete_flow" => drop(flows.delete(&id(4)).await),
        _ => return false,
    }
    true
}

fn query(request: &Request) -> Value {
    let pairs = request.query.split('&').filter_map(|pair| pair.split_once('='));
    let decoded = pairs.map(|(key, value)| (common::decode(key), json!(common::decode(value))));
    Value::Object(decoded.collect::<Map<_, _>>())
}

#[tokio::test]
async fn requests_are_those_of_the_official_sdk() {
    let Some(python) = python("globus_sdk") else { return };
    let theirs = recorded(&python);
    assert_eq!(theirs.len(), 37);
    for (name, their) in &theirs {
        let server = Server::new(|request: &Request| match request.path.as_str() {
            "/v0.10/task_list" => Reply::Json(200, json!({"DATA": [], "total": 0})),
            _ => Reply::Json(599, json!({})),
        })
        .await;
        assert!(ask(&server.client(), name).await, "no call {name}");
        let asked = match name.as_str() {
            "token" => server.seen.lock().unwrap().clone(),
            _ => server.asked(),
        };
        let ours = asked.last().unwrap_or_else(|| panic!("{name}: nothing was sent"));
        assert_eq!(
            (json!(ours.method), json!(ours.path)),
            (their["method"].clone(), their["path"].clone()),
            "{name}"
        );
        assert_eq!(query(ours), their["query"], "{name}");
        if name == "token" {
            let form = Request { query: ours.body.clone(), ..ours.clone() };
            assert_eq!(query(&form), their["body"]);
            assert!(ours.authorization.starts_with("Basic ") && their["basic"] == true);
            continue;
        }
        // The SDK sends nothing with a cancellation; an empty object says as much.
        let body = if ours.body == "{}" { Value::Null } else { ours.json() };
        assert_eq!(body, their["body"], "{name}");
    }
}
