//! Our client drives the stand-in through the calls that the official SDK has driven it through.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::{CLIENT, SECRET, Site};
use globus::compute::{Dialect, Function, Submission};
use globus::flows::{ReconstructionFlow, RunStatus};
use globus::transfer::{DeleteDocument, Fault as Hold, Filter, Item, Outcome, SyncLevel, TransferDocument};
use globus::{Error, Globus, Settings};
use serde_json::json;
use standin::globus::{Fault, Kind};

const ALS: &str = "00000000-0000-4000-8000-000000000000";
const NERSC: &str = "10000000-0000-4000-8000-000000000001";
const MAPPED: &str = "20000000-0000-4000-8000-000000000002";

fn client(site: &Site, secret: &str) -> Globus {
    let variables = site.standin().env();
    let settings = Settings::from_env(|name| match name {
        "GLOBUS_CLIENT_ID" => Some(CLIENT.to_owned()),
        "GLOBUS_CLIENT_SECRET" => Some(secret.to_owned()),
        _ => variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()),
    });
    let mut settings = settings.unwrap();
    // Neither the services' rates nor the waits between tries are looked at here.
    settings.retry.scale = 0.05;
    settings.limits.requests_per_second = 10_000;
    settings.limits.compute_per_ten_seconds = 10_000;
    Globus::new(settings).unwrap()
}

fn run(test: impl AsyncFnOnce(&Site, Globus)) {
    let site = Site::start();
    for name in ["als", "nersc", "mapped"] {
        std::fs::create_dir_all(site.folder.path().join(name)).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test(&site, client(&site, SECRET)));
}

fn put(site: &Site, path: &str, data: &[u8]) {
    let file = site.folder.path().join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, data).unwrap();
}

fn get(site: &Site, path: &str) -> Vec<u8> {
    std::fs::read(site.folder.path().join(path)).unwrap()
}

fn document(submission: &str) -> TransferDocument {
    TransferDocument::new(submission, ALS, NERSC)
}

/// Looks at a task until it is as wanted, for ten seconds.
async fn becomes(globus: &Globus, id: &str, wanted: Outcome) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let outcome = globus.transfer().task(id).await.unwrap().outcome();
        if outcome == wanted {
            return;
        }
        assert!(Instant::now() < end, "{outcome:?} instead of {wanted:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn collections_and_files() {
    run(async |site, globus| {
        let transfer = globus.transfer();
        assert_eq!(globus.auth().userinfo().await.unwrap().sub, CLIENT);
        assert_eq!(transfer.endpoint(ALS).await.unwrap().display_name.as_deref(), Some("als"));
        assert_eq!(transfer.search("ners", 10).await.unwrap().len(), 1);
        assert!(transfer.endpoint("33333333-3333-4333-8333-333333333333").await.unwrap_err().is_not_found());
        put(site, "als/a/µ.h5", b"12345");
        put(site, "als/a/b/c", b"");
        let names: Vec<_> =
            transfer.ls(ALS, "/a", 10).await.unwrap().into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["b", "µ.h5"]);
        assert!(matches!(transfer.ls(ALS, "/a", 1).await, Err(Error::TooMany { .. })));
        let all = transfer.ls_recursive(ALS, "/a", Default::default()).await.unwrap();
        assert_eq!(all.iter().map(|found| found.path.as_str()).collect::<Vec<_>>(), ["b", "b/c", "µ.h5"]);
        assert_eq!(transfer.stat(ALS, "/a/µ.h5").await.unwrap().unwrap().size, Some(5));
        assert_eq!(transfer.stat(ALS, "/a/none").await.unwrap(), None);
        assert!(transfer.stat(ALS, "/../x").await.unwrap_err().is_denied());
        assert!(transfer.mkdir(ALS, "/new").await.unwrap());
        assert!(!transfer.mkdir(ALS, "/new").await.unwrap());
        transfer.rename(ALS, "/a/b/c", "/new/c").await.unwrap();
        assert!(transfer.stat(ALS, "/new/c").await.unwrap().is_some());

        put(site, "mapped/x", b"x");
        let refused = transfer.ls(MAPPED, "/", 10).await.unwrap_err();
        assert!(
            matches!(&refused, Error::Consent(consent) if consent.scopes[0].contains(MAPPED)),
            "{refused}"
        );
        transfer.with_data_access(&[MAPPED]).await.unwrap();
        assert_eq!(transfer.ls(MAPPED, "/", 10).await.unwrap().len(), 1);
        assert!(transfer.with_data_access(&[ALS]).await.is_err(), "a guest collection has no data_access");

        let wrong = client(site, "wrong").transfer().endpoint(ALS).await.unwrap_err();
        assert!(matches!(wrong, Error::Credentials { .. }), "{wrong}");
    });
}

#[test]
fn transfers_and_deletions() {
    run(async |site, globus| {
        let transfer = globus.transfer();
        put(site, "als/scan/a.h5", &[7; 100_000]);
        put(site, "als/scan/sub/b", b"b");
        put(site, "als/scan/c.tmp", b"c");
        let id = transfer.submission_id().await.unwrap();
        let mut asked = document(&id);
        asked.items.push(Item::folder("/scan/", "/copy/"));
        asked.label = Some("scan and run".to_owned());
        asked.sync_level = Some(SyncLevel::Checksum);
        asked.verify_checksum = Some(true);
        asked.preserve_timestamp = Some(true);
        asked.filter_rules.push(Filter::exclude("*.tmp").only("file"));
        let accepted = transfer.submit_transfer(&asked).await.unwrap();
        // The same again is the same task.
        assert_eq!(transfer.submit_transfer(&asked).await.unwrap().task_id, accepted.task_id);
        let ended = transfer.wait(&accepted.task_id, |_| ()).await.unwrap();
        assert_eq!((ended.outcome(), ended.files_transferred), (Outcome::Succeeded, Some(2)));
        assert_eq!(get(site, "nersc/copy/sub/b"), b"b");
        assert!(!site.folder.path().join("nersc/copy/c.tmp").exists());
        assert_eq!(transfer.successful_transfers(&accepted.task_id).await.unwrap().len(), 2);
        assert_eq!(transfer.skipped_errors(&accepted.task_id).await.unwrap().len(), 0);
        assert_eq!(transfer.events(&accepted.task_id, 10).await.unwrap()[0].code, "SUCCEEDED");
        assert_eq!(transfer.tasks("label:scan and run/status:SUCCEEDED", 10).await.unwrap().len(), 1);

        let mut delete = DeleteDocument::new(transfer.submission_id().await.unwrap(), NERSC);
        delete.add("/copy");
        delete.recursive = Some(true);
        let accepted = transfer.submit_delete(&delete).await.unwrap();
        assert_eq!(transfer.wait(&accepted.task_id, |_| ()).await.unwrap().outcome(), Outcome::Succeeded);
        assert!(!site.folder.path().join("nersc/copy").exists());
    });
}

#[test]
fn what_goes_wrong_is_told_apart() {
    run(async |site, globus| {
        let transfer = globus.transfer();
        put(site, "als/f", b"0123456789");
        let submit = async |number: u32, change: &dyn Fn(&mut TransferDocument)| {
            let mut asked = document(&format!("99999999-9999-4999-8999-{number:012}"));
            asked.items.push(Item::file("/f", format!("/f{number}")));
            asked.verify_checksum = Some(true);
            change(&mut asked);
            transfer.submit_transfer(&asked).await.unwrap().task_id
        };
        let arm = |fault: Fault| site.standin().fault(fault);
        for (number, (code, hold)) in [
            ("PERMISSION_DENIED", Hold::PermissionDenied),
            ("FILE_NOT_FOUND", Hold::FileNotFound),
            ("QUOTA_EXCEEDED", Hold::Quota),
        ]
        .into_iter()
        .enumerate()
        {
            let fault =
                arm(Fault::new(Kind::FileFault { code: code.to_owned(), details: String::new() }).at(1, 0));
            let id = submit(number as u32, &|_| ()).await;
            becomes(&globus, &id, Outcome::Held(hold)).await;
            site.standin().disarm(fault);
            becomes(&globus, &id, Outcome::Succeeded).await;
        }
        let fault =
            arm(Fault::new(Kind::FileFault { code: "QUOTA_EXCEEDED".to_owned(), details: String::new() }));
        let id = submit(10, &|asked| asked.fail_on_quota_errors = Some(true)).await;
        becomes(&globus, &id, Outcome::Failed(Hold::Quota)).await;
        site.standin().disarm(fault);
        for (number, kind, outcome) in [
            (11, Kind::Paused, Outcome::Paused),
            (12, Kind::Inactive, Outcome::Inactive),
            (13, Kind::CollectionOffline, Outcome::Held(Hold::EndpointDown)),
        ] {
            let fault = arm(Fault::new(kind));
            let id = submit(number, &|_| ()).await;
            becomes(&globus, &id, outcome.clone()).await;
            if outcome == Outcome::Paused {
                assert_eq!(transfer.pause_info(&id).await.unwrap().len(), 1);
            }
            site.standin().disarm(fault);
            becomes(&globus, &id, Outcome::Succeeded).await;
        }
        arm(Fault::new(Kind::Corrupt));
        let id = submit(14, &|_| ()).await;
        becomes(&globus, &id, Outcome::Succeeded).await;
        assert_eq!(get(site, "nersc/f14"), b"0123456789");
        let fault = arm(Fault::new(Kind::SlowTransfer { bytes_per_second: 1 }));
        let id = submit(15, &|_| ()).await;
        transfer.cancel(&id).await.unwrap();
        becomes(&globus, &id, Outcome::Cancelled).await;
        site.standin().disarm(fault);
        let soon = (jiff::Timestamp::now() + Duration::from_secs(1)).to_string();
        let id = submit(16, &|asked| {
            asked.items[0] = Item::file("/absent", "/absent");
            asked.deadline = Some(soon.clone());
        })
        .await;
        becomes(&globus, &id, Outcome::DeadlineExpired).await;
        let id = submit(17, &|asked| {
            asked.items.push(Item::file("/absent", "/absent"));
            asked.skip_source_errors = Some(true);
        })
        .await;
        becomes(&globus, &id, Outcome::Incomplete { skipped: 1 }).await;
    });
}

#[test]
fn requests_that_fail_are_repeated_only_where_that_is_safe() {
    run(async |site, globus| {
        let transfer = globus.transfer();
        put(site, "als/f", b"0123456789");
        for kind in [
            Kind::RateLimit { retry_after: Some(0) },
            Kind::RateLimit { retry_after: None },
            Kind::Status { status: 503, code: None, message: None, retry_after: None },
            Kind::LostAnswer,
            Kind::LostRequest,
            Kind::ExpiredToken,
            Kind::Slow { milliseconds: 100 },
        ] {
            site.standin().fault(Fault::new(kind.clone()).on("GET", "/v0.10/endpoint/*"));
            transfer
                .endpoint(ALS)
                .await
                .unwrap_or_else(|error| std::panic::panic_any(format!("{kind:?}: {error}")));
            site.standin().fault(Fault::new(kind.clone()).on("POST", "/v0.10/transfer"));
            let mut asked = document(&transfer.submission_id().await.unwrap());
            asked.items.push(Item::file("/f", "/f"));
            let id = transfer.submit_transfer(&asked).await.unwrap().task_id;
            becomes(&globus, &id, Outcome::Succeeded).await;
        }
        let counts = site.standin().counts();
        assert_eq!(counts["transfers"], 7, "each submission made one task: {counts}");

        let compute = globus.compute();
        let source = "def f():\n    return 'é'\n".to_owned();
        let function = Function { name: "f".to_owned(), source, description: None, dialect: Dialect::Text };
        let function = compute.register(&function).await.unwrap();
        let group = "77777777-7777-4777-8777-777777777777".to_owned();
        let submission = Submission {
            function: function.clone(),
            tasks: vec![Vec::new()],
            task_group: Some(group.clone()),
            user_endpoint_config: Default::default(),
            resource_specification: Default::default(),
            dialect: Dialect::Text,
        };
        let endpoint = site.standin().endpoint();
        assert!(compute.endpoint_status(&endpoint).await.unwrap().is_online());
        site.standin().fault(Fault::new(Kind::LostAnswer).on("POST", "/v3/endpoints/*"));
        let lost = compute.submit(&endpoint, &submission).await.unwrap_err();
        assert!(matches!(lost, Error::Uncertain { .. }), "{lost}");
        let found = compute.task_group(&group).await.unwrap().unwrap();
        assert_eq!(found.tasks.len(), 1, "it was taken, and is found by its group");
        let end = Instant::now() + Duration::from_secs(10);
        let value = loop {
            let task =
                compute.tasks(&[&found.tasks[0].id]).await.unwrap().remove(&found.tasks[0].id).unwrap();
            if let Ok(value) = task.value() {
                assert!(task.began().is_some());
                break value;
            }
            assert!(Instant::now() < end, "{task:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!(value, json!("é"));
        assert_eq!(site.standin().counts()["jobs"]["accepted"], 1);
    });
}

#[test]
fn the_flow_of_the_beamline() {
    run(async |site, globus| {
        let (flows, compute) = (globus.flows(), globus.compute());
        let source = "def f(path):\n    open(path, 'w').write('rec')\n    return {'rc': 0}\n".to_owned();
        let function = Function { name: "f".to_owned(), source, description: None, dialect: Dialect::Text };
        let function = compute.register(&function).await.unwrap();
        let wanted = ReconstructionFlow { data_access: vec![MAPPED.to_owned()] };
        let flow = flows.create(&wanted.document("Reconstruction flow")).await.unwrap();
        flows.update(&flow.id, &wanted.document("Renamed")).await.unwrap();
        assert_eq!(flows.get(&flow.id).await.unwrap().title, "Renamed");
        let body = json!({"input": {
            "compute": {"endpoint": site.standin().endpoint(), "function": function,
                        "kwargs": {"path": site.folder.path().join("als/rec")}},
            "transfer": {"source": {"id": ALS}, "destination": {"id": MAPPED}, "label": "home",
                         "items": [{"source_path": "/rec", "destination_path": "/rec"}]},
        }});
        let ended = async |label: &str, scope: globus::Scope| {
            let started = flows.run(&flow.id, scope, &body, label, &["scan".to_owned()]).await.unwrap();
            let end = Instant::now() + Duration::from_secs(10);
            loop {
                let run = flows.run_status(&started.run_id).await.unwrap();
                if run.status != RunStatus::Active {
                    return run;
                }
                assert!(Instant::now() < end, "{run:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let good = ended("good", wanted.scope(&flow.id).unwrap()).await;
        assert_eq!(good.status, RunStatus::Succeeded, "{good:?}");
        assert_eq!(get(site, "mapped/rec"), b"rec");
        let log = flows.log(&good.run_id).await.unwrap();
        assert_eq!(log.last().unwrap().code, "FlowSucceeded");
        assert_eq!(good.returned(), Some(json!({"rc": 0})));
        assert_eq!(flows.runs(&flow.id).await.unwrap().len(), 1);
        assert_eq!(flows.tagged(&flow.id, "scan", 9).await.unwrap().map(|run| run.run_id), Some(good.run_id));
        assert_eq!(flows.tagged(&flow.id, "another", 9).await.unwrap(), None);
        flows.delete(&flow.id).await.unwrap();
    });
}

/// A call: its method and path, whether sending it twice is harmless, and itself.
type Call<'a> = (&'a str, &'a str, bool, Box<dyn Fn(u32) -> Called<'a> + 'a>);
type Called<'a> = std::pin::Pin<Box<dyn Future<Output = globus::Result<()>> + 'a>>;

fn call<'a, F: Future<Output = globus::Result<()>> + 'a>(
    method: &'a str,
    path: &'a str,
    harmless: bool,
    ask: impl Fn(u32) -> F + 'a,
) -> Call<'a> {
    (method, path, harmless, Box::new(move |number| Box::pin(ask(number))))
}

#[test]
fn every_fault_at_every_call() {
    run(async |site, globus| {
        let (transfer, compute, flows) = (globus.transfer(), globus.compute(), globus.flows());
        put(site, "als/f", b"0123456789");
        let id = |number: u32| format!("88888888-8888-4888-8888-{number:012}");
        let mut asked = document(&id(0));
        asked.items.push(Item::file("/f", "/f"));
        let task = &transfer.submit_transfer(&asked).await.unwrap().task_id;
        let source = "def f():\n    return 1\n".to_owned();
        let function = Function { name: "f".to_owned(), source, description: None, dialect: Dialect::Text };
        let known = &compute.register(&function).await.unwrap();
        let submission = Submission {
            function: known.clone(),
            tasks: vec![Vec::new()],
            task_group: Some(id(1)),
            user_endpoint_config: Default::default(),
            resource_specification: Default::default(),
            dialect: Dialect::Text,
        };
        let endpoint = &site.standin().endpoint();
        let job = &compute.submit(endpoint, &submission).await.unwrap().tasks[known][0].clone();
        let wanted = ReconstructionFlow::default();
        let flow = &flows.create(&wanted.document("A flow")).await.unwrap().id;
        let body = &json!({"input": {"compute": {"endpoint": endpoint, "function": known, "kwargs": {}}}});
        let scope = || wanted.scope(flow).unwrap();
        let started = &flows.run(flow, scope(), body, "a run", &[]).await.unwrap().run_id;

        let (id, asked, submission, function, wanted) = (&id, &asked, &submission, &function, &wanted);
        let (transfer, compute, flows, scope) = (&transfer, &compute, &flows, &scope);
        let calls = [
            call("GET", "/v2/oauth2/userinfo", true, async |_| globus.auth().userinfo().await.map(drop)),
            call("GET", "/v0.10/endpoint/*", true, async |_| transfer.endpoint(ALS).await.map(drop)),
            call("GET", "/v0.10/endpoint_search", true, async |_| transfer.search("als", 5).await.map(drop)),
            call("GET", "*/ls", true, async |_| transfer.ls(ALS, "/", 99).await.map(drop)),
            call("GET", "*/stat", true, async |_| transfer.stat(ALS, "/f").await.map(drop)),
            call("POST", "*/mkdir", true, async |n| transfer.mkdir(ALS, &format!("/d{n}")).await.map(drop)),
            call("POST", "*/rename", false, async |n| {
                put(site, &format!("als/from{n}"), b"");
                transfer.rename(ALS, &format!("/from{n}"), &format!("/to{n}")).await.map(drop)
            }),
            call("GET", "/v0.10/submission_id", true, async |_| transfer.submission_id().await.map(drop)),
            call("POST", "/v0.10/transfer", true, async |n| {
                let mut asked = asked.clone();
                asked.submission_id = id(1000 + n);
                transfer.submit_transfer(&asked).await.map(drop)
            }),
            call("POST", "/v0.10/delete", true, async |n| {
                let mut asked = DeleteDocument::new(id(2000 + n), NERSC);
                asked.add("/f");
                asked.ignore_missing = Some(true);
                transfer.submit_delete(&asked).await.map(drop)
            }),
            call("GET", "/v0.10/task/*", true, async |_| transfer.task(task).await.map(drop)),
            call("GET", "/v0.10/task_list", true, async |_| transfer.tasks("", 5).await.map(drop)),
            call("POST", "*/cancel", true, async |_| transfer.cancel(task).await.map(drop)),
            call("GET", "*/event_list", true, async |_| transfer.events(task, 5).await.map(drop)),
            call("GET", "*/successful_transfers", true, async |_| {
                transfer.successful_transfers(task).await.map(drop)
            }),
            call("GET", "*/skipped_errors", true, async |_| transfer.skipped_errors(task).await.map(drop)),
            call("GET", "*/pause_info", true, async |_| transfer.pause_info(task).await.map(drop)),
            call("POST", "/v3/functions", true, async |_| compute.register(function).await.map(drop)),
            call("GET", "/v2/functions/*", true, async |_| compute.function(known).await.map(drop)),
            call("POST", "*/submit", false, async |_| compute.submit(endpoint, submission).await.map(drop)),
            call("GET", "/v2/taskgroup/*", true, async |_| compute.task_group(&id(1)).await.map(drop)),
            call("GET", "/v2/tasks/*", true, async |_| compute.task(job).await.map(drop)),
            call("POST", "/v2/batch_status", true, async |_| compute.tasks(&[job]).await.map(drop)),
            call("GET", "/v2/endpoints/*", true, async |_| compute.endpoint(endpoint).await.map(drop)),
            call("GET", "*/status", true, async |_| compute.endpoint_status(endpoint).await.map(drop)),
            call("GET", "/v2/version", true, async |_| compute.version().await.map(drop)),
            call("POST", "/flows", false, async |_| {
                flows.create(&wanted.document("Another")).await.map(drop)
            }),
            call("PUT", "/flows/*", true, async |_| {
                flows.update(flow, &wanted.document("Renamed")).await.map(drop)
            }),
            call("GET", "/flows/*", true, async |_| flows.get(flow).await.map(drop)),
            call("POST", "*/run", false, async |_| {
                flows.run(flow, scope(), body, "again", &[]).await.map(drop)
            }),
            call("GET", "/runs/*", true, async |_| flows.run_status(started).await.map(drop)),
            call("GET", "/runs", true, async |_| flows.runs(flow).await.map(drop)),
            call("GET", "*/log", true, async |_| flows.log(started).await.map(drop)),
        ];
        let status = |status| Kind::Status { status, code: None, message: None, retry_after: None };
        let kinds = [
            Kind::RateLimit { retry_after: Some(0) },
            Kind::RateLimit { retry_after: None },
            status(503),
            status(500),
            Kind::LostAnswer,
            Kind::LostRequest,
            Kind::ExpiredToken,
            Kind::Slow { milliseconds: 20 },
            Kind::Permission,
        ];
        let made = || {
            let counts = site.standin().counts();
            ["/transfers", "/jobs/accepted", "/flow_runs"]
                .map(|path| counts.pointer(path).unwrap().as_u64().unwrap())
        };
        let mut number = 0;
        for kind in &kinds {
            for (method, path, harmless, ask) in &calls {
                number += 1;
                let before = made();
                let fault = site.standin().fault(Fault::new(kind.clone()).on(method, path));
                let outcome = ask(number).await;
                site.standin().disarm(fault);
                let told = format!("{kind:?} at {method} {path}: {outcome:?}");
                let unsure =
                    !harmless && matches!(kind, Kind::LostAnswer | Kind::LostRequest | Kind::Status { .. });
                match &outcome {
                    Err(error) if *kind == Kind::Permission => assert!(error.is_denied(), "{told}"),
                    Err(error) if unsure => assert!(error.retry_helps(), "{told}"),
                    Ok(()) => assert_ne!(*kind, Kind::Permission, "{told}"),
                    // Nobody needs a token to ask for the version.
                    Err(_) => assert!(*path == "/v2/version" && *kind == Kind::ExpiredToken, "{told}"),
                }
                let after = made();
                let more = after.iter().zip(before).map(|(after, before)| after - before).sum::<u64>();
                // A flow's run may by now have submitted a job of its own.
                assert!(more <= 1 || *path == "*/run", "{told}: {more} made");
            }
        }
    });
}
