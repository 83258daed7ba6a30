//! The official fixtures of every call that the crate makes, asked for by the client itself and compared field
//! for field. They are those of globus-sdk; what is not in the table is a call that the crate does not make, but
//! for `get_task`, `ls`, `event_list`, `skipped_errors`, `endpoint_search` and `pause_info` of Transfer, of which
//! there are no fixtures.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod common;

use common::{Reply, Request, Server, TOKEN, shared};
use globus::compute::{Dialect, Function, Submission};
use globus::flows::FlowDocument;
use globus::transfer::{DeleteDocument, Item, SuccessfulTransfer, TransferDocument};
use globus::{Error, Globus, Scope};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// One canned answer.
#[derive(Debug, Clone)]
struct Canned {
    method: String,
    path: String,
    status: u16,
    body: Value,
    metadata: Value,
    /// The query that asks for it, where a set has pages.
    query: Option<Map<String, Value>>,
}

/// The answers of one case of a set.
fn case(set: &str, case: &str) -> Option<Vec<Canned>> {
    let file = shared()?.join(format!("data/globus/{set}.json"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let parsed: Value = serde_json::from_str(&text).unwrap();
    let answers = parsed["cases"][case].as_array().unwrap_or_else(|| panic!("{set} has no case {case}"));
    let one = |answer: &Value| Canned {
        method: answer["method"].as_str().unwrap().into(),
        path: answer["path"].as_str().unwrap().into(),
        status: answer["status"].as_u64().unwrap() as u16,
        body: answer["json"].clone(),
        metadata: answer["metadata"].clone(),
        query: answer["matchers"][0]["params_dict"].as_object().cloned(),
    };
    Some(answers.iter().map(one).collect())
}

/// A server that knows these answers, and that no task is pending.
async fn server(canned: &[Canned]) -> Server {
    let canned = canned.to_vec();
    Server::new(move |request: &Request| {
        let fits = |one: &&Canned| {
            let asked = |(key, value): (&String, &Value)| {
                request.query.contains(&format!("{key}={}", value.as_str().unwrap_or_default()))
            };
            one.method == request.method
                && one.path == request.path
                && match &one.query {
                    // The first page of several is asked for by nothing.
                    None => !request.query.contains("marker="),
                    Some(query) => {
                        query.iter().all(asked)
                            && request.query.contains("marker=") == query.contains_key("marker")
                    }
                }
        };
        match canned.iter().find(fits) {
            Some(one) => Reply::Json(one.status, one.body.clone()),
            None if request.path == "/v0.10/task_list" => Reply::Json(200, json!({"DATA": [], "total": 0})),
            None => Reply::Json(404, json!({"code": "NoFixture", "message": request.line()})),
        }
    })
    .await
}

/// Every field of the fixture is in the value, under its name and with its content.
fn same(set: &str, parsed: &impl Serialize, fixture: &Value) {
    let ours = serde_json::to_value(parsed).unwrap();
    compare(set, &ours, fixture);
}

fn compare(at: &str, ours: &Value, fixture: &Value) {
    match (ours, fixture) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (key, value) in theirs {
                let own = ours.get(key).unwrap_or_else(|| panic!("{at}: {key} was lost"));
                compare(&format!("{at}.{key}"), own, value);
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            assert_eq!(ours.len(), theirs.len(), "{at}");
            ours.iter().zip(theirs).for_each(|(own, their)| compare(at, own, their));
        }
        (ours, theirs) => assert_eq!(ours, theirs, "{at}"),
    }
}

/// The only answer of a case, a client of a server that gives it, and the last part of its path.
async fn ready(set: &str, name: &str) -> Option<(Canned, Server, Globus)> {
    let canned = case(set, name)?;
    let server = server(&canned).await;
    let globus = server.client();
    Some((canned[0].clone(), server, globus))
}

fn part(canned: &Canned, at: usize) -> String {
    canned.path.split('/').nth(at).unwrap().to_owned()
}

#[tokio::test]
async fn auth() {
    let Some(canned) = case("auth.oauth2_client_credentials_tokens", "default") else { return };
    let status = case("transfer.get_submission_id", "default").unwrap();
    let server = server(&[canned.clone(), status].concat()).await;
    server.client().transfer().submission_id().await.unwrap();
    let seen = server.seen.lock().unwrap().clone();
    // base64 of client-1:correct-horse-battery-staple
    assert!(seen[0].authorization.starts_with("Basic Y2xpZW50LTE6"), "{}", seen[0].authorization);
    assert_eq!(
        common::decode(&seen[0].body),
        "grant_type=client_credentials&scope=urn:globus:auth:scope:transfer.api.globus.org:all"
    );
    let token = canned[0].metadata["access_token"].as_str().unwrap();
    assert_eq!(seen[1].authorization, format!("Bearer {token}"));

    let canned = case("auth.oauth2_client_credentials_tokens", "openid").unwrap();
    let life = self::server(&canned).await.client().auth().ensure(&Scope::openid()).await.unwrap();
    assert!((172_700..=172_740).contains(&life.as_secs()), "{life:?}");

    for name in ["forbidden", "unauthorized"] {
        let (canned, _server, globus) = ready("auth.userinfo", name).await.unwrap();
        let error = globus.auth().userinfo().await.unwrap_err();
        let api = error.api().unwrap();
        assert_eq!(json!(api.status), canned.metadata["http_status"]);
        assert_eq!(json!(api.code), canned.metadata["code"]);
        assert_eq!(json!(api.message), canned.metadata["message"]);
        assert_eq!(json!(api.request_id), canned.metadata["error_id"]);
    }
}

#[tokio::test]
async fn transfer_tasks() {
    let Some((canned, _server, globus)) = ready("transfer.get_submission_id", "default").await else {
        return;
    };
    assert_eq!(json!(globus.transfer().submission_id().await.unwrap()), canned.body["value"]);

    let (canned, server, globus) = ready("transfer.submit_transfer", "default").await.unwrap();
    let number = canned.metadata["submission_id"].as_str().unwrap();
    let mut document = TransferDocument::new(number, "a", "b");
    document.items.push(Item::file("/x", "/y"));
    let accepted = globus.transfer().submit_transfer(&document).await.unwrap();
    same("submit_transfer", &accepted, &canned.body);
    assert_eq!(server.asked().last().unwrap().json(), document.body().unwrap());
    assert_eq!(server.asked()[0].authorization, format!("Bearer {TOKEN}"));

    let (canned, _server, globus) = ready("transfer.submit_transfer", "failure").await.unwrap();
    let error = globus.transfer().submit_transfer(&document).await.unwrap_err();
    let text = error.to_string();
    assert!(!error.retry_helps());
    for part in ["ClientError.BadRequest.NoTransferItems", "A transfer requires at least one item"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(json!(error.api().unwrap().request_id), canned.metadata["request_id"]);

    let (canned, _server, globus) = ready("transfer.submit_delete", "default").await.unwrap();
    let mut document = DeleteDocument::new(canned.metadata["submission_id"].as_str().unwrap(), "a");
    document.add("/x");
    same("submit_delete", &globus.transfer().submit_delete(&document).await.unwrap(), &canned.body);

    let (canned, _server, globus) = ready("transfer.cancel_task", "default").await.unwrap();
    same("cancel_task", &globus.transfer().cancel(&part(&canned, 3)).await.unwrap(), &canned.body);

    let (canned, _server, globus) = ready("transfer.task_list", "default").await.unwrap();
    let tasks = globus.transfer().tasks("status:SUCCEEDED", 10).await.unwrap();
    same("task_list", &tasks, &canned.body["DATA"]);
    assert!(tasks.iter().all(|task| task.other.is_empty()), "{:?}", tasks[0].other);
    assert!(tasks[0].failure(&[]).is_none());

    // There is no fixture of the task's own list; the administrator's has the same entries.
    let canned = case("transfer.endpoint_manager_task_successful_transfers", "default").unwrap();
    let entries: Vec<SuccessfulTransfer> = serde_json::from_value(canned[0].body["DATA"].clone()).unwrap();
    same("successful_transfers", &entries, &canned[0].body["DATA"]);
}

#[tokio::test]
async fn transfer_collections() {
    let Some((canned, _server, globus)) = ready("transfer.get_endpoint", "default").await else { return };
    let endpoint = globus.transfer().endpoint(&part(&canned, 3)).await.unwrap();
    same("get_endpoint", &endpoint, &canned.body);
    assert!(endpoint.other.is_empty(), "{:?}", endpoint.other);

    let (canned, _server, globus) = ready("transfer.operation_mkdir", "default").await.unwrap();
    assert!(globus.transfer().mkdir(&part(&canned, 4), "/x").await.unwrap());
    let (canned, _server, globus) = ready("transfer.operation_rename", "default").await.unwrap();
    same("rename", &globus.transfer().rename(&part(&canned, 4), "/x", "/y").await.unwrap(), &canned.body);

    let (canned, _server, globus) = ready("transfer.operation_stat", "default").await.unwrap();
    let found = globus.transfer().stat(&part(&canned, 4), "/x").await.unwrap().unwrap();
    same("stat", &found, &canned.body);
    // 2023-12-18 16:52:50 UTC, by date(1).
    assert_eq!(found.modified_ns(), Some(1_702_918_370_000_000_000));
    let (canned, _server, globus) = ready("transfer.operation_stat", "not_found").await.unwrap();
    assert_eq!(globus.transfer().stat(&part(&canned, 4), "/x").await.unwrap(), None);
    let (canned, _server, globus) = ready("transfer.operation_stat", "permission_denied").await.unwrap();
    let error = globus.transfer().stat(&part(&canned, 4), "/x").await.unwrap_err();
    assert!(error.is_denied() && error.to_string().contains("give this client read and write permission"));
    assert!(error.to_string().contains("[request aaabbbccc]"), "{error}");
}

#[tokio::test]
async fn compute() {
    let Some((canned, server, globus)) = ready("compute.v3.register_function", "default").await else {
        return;
    };
    let function = Function::runner(Dialect::Text);
    let id = globus.compute().register(&function).await.unwrap();
    assert_eq!(json!(id), canned.metadata["function_id"]);
    assert_eq!(server.asked()[0].json(), function.body());

    let (canned, _server, globus) = ready("compute.v3.submit", "default").await.unwrap();
    let submission = Submission {
        function: canned.metadata["function_id"].as_str().unwrap().into(),
        tasks: vec![vec![json!(1)], vec![json!(2)]],
        task_group: canned.metadata["task_group_id"].as_str().map(str::to_owned),
        user_endpoint_config: Map::new(),
        resource_specification: Map::new(),
        dialect: Dialect::Text,
    };
    same("submit", &globus.compute().submit(&part(&canned, 3), &submission).await.unwrap(), &canned.body);

    let (canned, _server, globus) = ready("compute.v2.get_function", "default").await.unwrap();
    same("get_function", &globus.compute().function(&part(&canned, 3)).await.unwrap(), &canned.body);
    let (canned, _server, globus) = ready("compute.v2.get_task_group", "default").await.unwrap();
    let group = globus.compute().task_group(&part(&canned, 3)).await.unwrap().unwrap();
    same("get_task_group", &group, &canned.body);
    assert_eq!(globus.compute().task_group("other").await.unwrap(), None);

    let (canned, _server, globus) = ready("compute.v2.get_task", "default").await.unwrap();
    let task = globus.compute().task(&part(&canned, 3)).await.unwrap();
    same("get_task", &task, &canned.body);
    assert!(task.other.is_empty() && task.details.as_ref().unwrap().other.is_empty());
    assert_eq!(task.began(), Some(1_692_742_841.843_334));
    let (canned, server, globus) = ready("compute.v2.get_task_batch", "default").await.unwrap();
    let id = canned.metadata["task_id"].as_str().unwrap();
    let tasks = globus.compute().tasks(&[id]).await.unwrap();
    same("batch_status", &tasks, &canned.body["results"]);
    assert_eq!(server.asked()[0].json(), json!({"task_ids": [id]}));

    let (canned, _server, globus) = ready("compute.v2.get_endpoint_status", "default").await.unwrap();
    let status = globus.compute().endpoint_status(&part(&canned, 3)).await.unwrap();
    same("endpoint_status", &status, &canned.body);
    assert!(status.is_online());
    let (canned, _server, globus) = ready("compute.v2.get_endpoint", "default").await.unwrap();
    let endpoint = globus.compute().endpoint(&part(&canned, 3)).await.unwrap();
    same("get_endpoint", &endpoint, &canned.body);
    assert!(endpoint.other.is_empty(), "{:?}", endpoint.other);
    assert_eq!(Dialect::of(endpoint.endpoint_version.as_deref()), Dialect::Pickle);
    let (canned, _server, globus) = ready("compute.v2.get_version", "all").await.unwrap();
    same("version", &globus.compute().version().await.unwrap(), &canned.body);
}

#[tokio::test]
async fn flows() {
    let Some((canned, _server, globus)) = ready("flows.get_flow", "default").await else { return };
    let id = part(&canned, 2);
    let flow = globus.flows().get(&id).await.unwrap();
    same("get_flow", &flow, &canned.body);
    assert!(flow.other.is_empty(), "{:?}", flow.other);
    assert_eq!(flow.globus_auth_scope, Some(Scope::flow(&id).unwrap().to_string()));

    let document = FlowDocument { title: Some("t".into()), ..FlowDocument::default() };
    let (canned, _server, globus) = ready("flows.create_flow", "default").await.unwrap();
    let flow = globus.flows().create(&document).await.unwrap();
    same("create_flow", &flow, &canned.body);
    let (_, _server, globus) = ready("flows.create_flow", "bad_admin_principal_error").await.unwrap();
    let error = globus.flows().create(&document).await.unwrap_err();
    let api = error.api().unwrap();
    assert_eq!((api.status, api.code.as_str()), (422, "UNPROCESSABLE_ENTITY"));
    assert!(api.message.contains("Unrecognized principal string") && api.request_id.is_some(), "{error}");
    let (canned, _server, globus) = ready("flows.update_flow", "default").await.unwrap();
    same("update_flow", &globus.flows().update(&part(&canned, 2), &document).await.unwrap(), &canned.body);
    let (canned, _server, globus) = ready("flows.delete_flow", "default").await.unwrap();
    globus.flows().delete(&part(&canned, 2)).await.unwrap();

    let (canned, server, globus) = ready("flows.run_flow", "default").await.unwrap();
    let id = part(&canned, 2);
    let body = canned.metadata["request_params"]["body"].clone();
    let label = canned.metadata["request_params"]["label"].as_str().unwrap();
    let tags = vec!["jazz-fans".to_owned()];
    let run = globus.flows().run(&id, Scope::flow(&id).unwrap(), &body, label, &tags).await.unwrap();
    same("run_flow", &run, &canned.body);
    assert!(run.other.is_empty(), "{:?}", run.other);
    assert_eq!(server.asked()[0].json(), json!({"body": body, "label": label, "tags": tags}));
    let asked = common::decode(&server.seen.lock().unwrap()[0].body);
    assert!(asked.ends_with(&format!("scope={}", Scope::flow(&id).unwrap())), "{asked}");
    let (canned, _server, globus) = ready("flows.run_flow", "missing_scope_error").await.unwrap();
    let id = part(&canned, 2);
    let error = globus.flows().run(&id, Scope::flow(&id).unwrap(), &body, label, &[]).await.unwrap_err();
    assert!(error.to_string().contains("requires the following scope: frobulate[demuddle]"), "{error}");

    let (canned, _server, globus) = ready("flows.get_run", "default").await.unwrap();
    let run = globus.flows().run_status(&part(&canned, 2)).await.unwrap();
    same("get_run", &run, &canned.body);
    assert!(run.other.is_empty() && run.status.is_over());
    let (canned, _server, globus) = ready("flows.cancel_run", "default").await.unwrap();
    let run = globus.flows().cancel(&part(&canned, 2)).await.unwrap();
    same("cancel_run", &run, &canned.body);
    assert_eq!(run.why(), "FlowCanceled: The Flow Instance was canceled by the user");

    for name in ["default", "paginated"] {
        let canned = case("flows.get_run_logs", name).unwrap();
        let server = self::server(&canned).await;
        let log = server.client().flows().log(&part(&canned[0], 2)).await.unwrap();
        let all: Vec<Value> =
            canned.iter().flat_map(|one| one.body["entries"].as_array().unwrap().clone()).collect();
        same("get_run_logs", &log, &json!(all));
    }
    let (canned, _server, globus) = ready("flows.list_runs", "default").await.unwrap();
    same("list_runs", &globus.flows().runs("any").await.unwrap(), &canned.body["runs"]);
    // Those of one flow: the answer that is asked for by its id.
    let canned = case("flows.list_runs", "filter_flow_id").unwrap();
    let server = self::server(&canned).await;
    let of = canned[0].query.as_ref().unwrap()["filter_flow_id"].as_str().unwrap();
    same("list_runs", &server.client().flows().runs(of).await.unwrap(), &canned[0].body["runs"]);
    // The run with a tag is looked for on all pages; no fixture has tags, so the last page gets one.
    let mut canned = case("flows.list_runs", "paginated").unwrap();
    canned[2].body["runs"][19]["tags"] = json!(["mine"]);
    let server = self::server(&canned).await;
    let last = &canned[2].body["runs"][19];
    let found = server.client().flows().tagged("any", "mine", 3).await.unwrap().unwrap();
    same("list_runs", &found, last);
    assert_eq!(server.client().flows().tagged("any", "mine", 2).await.unwrap(), None);
}

/// The list in `README.md`: each set of the corpus is parsed here, or is named there as of a call that is not made.
#[test]
fn every_set_is_parsed_or_out_of_scope() {
    let Some(folder) = shared() else { return };
    let readme = include_str!("../README.md");
    let (parsed, out) = readme.split_once("### Fixtures of calls that are not made").unwrap();
    let mut sets = 0;
    for entry in std::fs::read_dir(folder.join("data/globus")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(set) = name.strip_suffix(".json") else { continue };
        sets += 1;
        let here = include_str!("fixtures.rs").contains(&format!("(\"{set}\""));
        let listed = (parsed.contains(&format!("| `{set}` |")), out.contains(&format!("`{set}`")));
        assert_eq!(listed, (here, !here), "{set}");
    }
    assert_eq!(sets, 110);
}

/// Every refusal of the whole corpus, whichever call it was recorded for, is read as one: with its status and its code.
#[tokio::test]
async fn every_refusal_is_understood() {
    let Some(folder) = shared() else { return };
    let mut refusals = 0;
    for entry in std::fs::read_dir(folder.join("data/globus")).unwrap() {
        let path = entry.unwrap().path();
        let set: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        for answers in set["cases"].as_object().unwrap().values() {
            for answer in answers.as_array().unwrap() {
                let status = answer["status"].as_u64().unwrap() as u16;
                if status < 400 {
                    continue;
                }
                refusals += 1;
                let body = answer["json"].clone();
                let server = Server::new(move |request: &Request| match request.path.contains("/token") {
                    true => Reply::Json(599, json!({})),
                    false => Reply::Json(status, body.clone()),
                })
                .await;
                let error = server.client().compute().task("x").await.unwrap_err();
                let text = error.to_string();
                match &error {
                    Error::Consent(consent) => {
                        assert!(!consent.scopes.is_empty(), "{}: {text}", path.display())
                    }
                    error => {
                        let api = error.api().unwrap_or_else(|| panic!("{}: {text}", path.display()));
                        assert_eq!(api.status, status);
                        assert!(!api.code.is_empty(), "{}: {text}", path.display());
                    }
                }
            }
        }
    }
    // As they were counted when the corpus was made.
    assert_eq!(refusals, 27);
}
