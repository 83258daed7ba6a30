//! Set-up, drift, takeover.

use prefect::StateType;
use serde_json::{Value, json};

use crate::common::{Dir, Run};
use crate::{Worker, client, items, json_of, ok, run, server, sites, through};

#[test]
fn without_a_server_there_is_nothing_to_set_up() {
    let dir = Dir::new();
    sites::sites(&dir);
    dir.refused(&["prefect", "setup"], 2, &["PREFECT_API_URL"]);
    let mut command = dir.command(&["prefect", "status"]);
    command.env("PREFECT_API_URL", "http://127.0.0.1:9/api");
    // Nobody listens there; the wait for a busy server is not for this one.
    let run = Run::of(command, &["prefect", "status"]);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(run.stderr.contains("did not answer"), "{}", run.stderr);
}

#[test]
fn setup_of_prefect_3_and_a_worker() {
    let Some(server) = server::start(3, &[]) else { return };
    life(&server);
}

#[test]
fn setup_of_prefect_2_and_a_worker() {
    if std::env::var_os("BEAMRAIL_LONG").is_none() {
        println!("skipped: set-up of Prefect 2.20; set BEAMRAIL_LONG=1");
        return;
    }
    let Some(server) = server::start(2, &[]) else { return };
    life(&server);
}

fn life(server: &server::Server) {
    let dir = Dir::new();
    sites::sites(&dir);
    sites::scan(&dir);
    let (client, runtime) = client(server);

    // A dry run makes nothing.
    let dry = json_of(&dir, server, &["prefect", "setup", "--dry-run", "--json"]);
    assert!(items(&dry, "missing").contains(&"work pool beamrail".to_owned()), "{dry:#}");
    assert!(runtime.block_on(client.work_pools()).unwrap().iter().all(|pool| pool.name != "beamrail"));

    // What an operator wrote is not overwritten, under whichever spelling.
    runtime.block_on(client.create_variable("decision_settings", &json!({ "x": true }), &[])).unwrap();
    let made = json_of(&dir, server, &["prefect", "setup", "--json"]);
    assert!(items(&made, "there").contains(&"setting decision-settings".to_owned()), "{made:#}");
    let again = json_of(&dir, server, &["prefect", "setup", "--json"]);
    assert_eq!(again["was_done"], true, "{again:#}");
    let kept = runtime.block_on(client.setting("decision-settings")).unwrap();
    assert_eq!(kept, Some(json!({ "x": true })));
    runtime.block_on(client.update_variable("decision_settings", &json!({}))).unwrap();

    // The names that triggers use, with forms and times.
    for name in [
        "dispatcher/run_832_dispatcher",
        "new_832_file_flow/new_file_832",
        "alcf_recon_flow/alcf_recon_flow",
        "prune_alcf_scratch/prune_alcf_scratch",
        "test_832_transfers/test_transfers_832",
    ] {
        let (flow, deployment) = name.split_once('/').unwrap();
        let found = runtime.block_on(client.deployment(flow, deployment)).unwrap();
        let found = found.unwrap_or_else(|| panic!("{name} is missing"));
        let form = found.parameter_openapi_schema.unwrap();
        assert!(form["properties"]["config"]["title"].is_string(), "{form:#}");
    }
    let check =
        runtime.block_on(client.deployment("test_832_transfers", "test_transfers_832")).unwrap().unwrap();
    assert_eq!(check.schedules[0].schedule["cron"], "0 */12 * * *");
    let pruning = runtime.block_on(client.setting("pruning-config")).unwrap().unwrap();
    assert_eq!(pruning["delete_nersc832_files_after_days"], 7);

    // What differs is told, then put right; a schedule that was switched off stays off.
    let id = check.id;
    runtime.block_on(client.update_deployment(id, &json!({ "description": "by hand" }))).unwrap();
    let status = json_of(&dir, server, &["prefect", "status", "--json"]);
    assert_eq!(status["drift"], true);
    assert_eq!(items(&status, "differs"), ["deployment test_832_transfers/test_transfers_832"]);
    ok(&dir, server, &["prefect", "setup"]);
    assert_eq!(json_of(&dir, server, &["prefect", "status", "--json"])["drift"], false);

    // A worker does what Prefect's own program asks for.
    let worker = Worker::start(&dir, server, &["--name", "host-a"]);
    let (state, id) = through(
        server,
        "dispatcher/run_832_dispatcher",
        json!({
        "file_path": format!("/global/raw/{}", sites::SCAN), "is_export_control": false, "config": null }),
    );
    assert_eq!(state, StateType::Completed, "{}", std::fs::read_to_string(dir.file("worker.log")).unwrap());
    assert!(dir.file("nersc/scratch/BLS-00564_dyparkinson/rec20230224_132553_sea_shell.zarr").exists());
    let (well, listed) = server.cli(&["flow-run", "inspect", &id]);
    assert!(well && listed.contains("Completed"), "{listed}");
    // Another name of a flow, and parameters that older scripts pass.
    let (state, _) = through(server, "test_832_transfers/test_transfers_832", json!({ "size": 10 }));
    assert_eq!(state, StateType::Completed);
    let status = json_of(&dir, server, &["prefect", "status", "--json"]);
    assert_eq!(status["workers"][0]["name"], "host-a", "{status:#}");
    assert_eq!(worker.stop(), 0);
    // Commands beside it know that Prefect has the schedules.
    ok(&dir, server, &["prune", "run"]);
    takeover(&dir, server);
}

/// Deployments of the incumbent are left alone, taken over when asked, and put back as they were.
fn takeover(dir: &Dir, server: &server::Server) {
    let (client, runtime) = client(server);
    let text = std::fs::read_to_string(dir.file("beamrail.toml")).unwrap();
    std::fs::write(
        dir.file("beamrail.toml"),
        text + "\n[flows.nersc_recon_flow]\nsource = \"nersc\"\nfacility = \"polaris\"\n",
    )
    .unwrap();
    runtime.block_on(async {
        client.create_work_pool("nersc_recon_flow_pool", "process", "", &json!({})).await.unwrap();
        let flow_id = client.flow("nersc_recon_flow").await.unwrap().id;
        let form = json!({ "title": "Parameters", "type": "object", "required": ["file_path"],
            "properties": { "file_path": { "type": "string", "title": "file_path", "position": 0 } } });
        let times = prefect::Times::Cron { cron: "5 4 * * *".into(), timezone: "America/Los_Angeles".into() };
        let old = prefect::NewDeployment {
            name: "nersc_recon_flow".into(),
            flow_id,
            description: "of old".into(),
            version: "abc".into(),
            tags: vec!["832".into()],
            parameters: json!({ "file_path": "x.h5" }),
            parameter_openapi_schema: form,
            enforce_parameter_schema: true,
            work_pool_name: "nersc_recon_flow_pool".into(),
            work_queue_name: "nersc_recon_flow_queue".into(),
            paused: false,
            concurrency_limit: None,
            schedules: vec![prefect::NewSchedule {
                active: false,
                schedule: times,
                slug: None,
                parameters: Value::Null,
            }],
            labels: std::collections::BTreeMap::new(),
        };
        let made = client.put_deployment(&old).await.unwrap();
        let code =
            json!({ "entrypoint": "orchestration/flows/bl832/nersc.py:nersc_recon_flow", "path": "." });
        client.update_deployment(made.id, &code).await.unwrap();
    });
    let whole = || {
        let whole = runtime.block_on(client.whole_deployment("nersc_recon_flow", "nersc_recon_flow"));
        let mut whole = whole.unwrap().unwrap();
        for field in ["updated", "last_polled", "status"] {
            whole.as_object_mut().unwrap().remove(field);
        }
        whole
    };
    let before = whole();
    let plan = json_of(dir, server, &["prefect", "setup", "--json"]);
    assert_eq!(items(&plan, "foreign"), ["deployment nersc_recon_flow/nersc_recon_flow"]);
    assert_eq!(whole(), before, "it is left alone");
    ok(dir, server, &["prefect", "setup", "--takeover"]);
    let taken = whole();
    assert_eq!(taken["work_pool_name"], "beamrail");
    assert_eq!(taken["entrypoint"], before["entrypoint"]);
    let status = json_of(dir, server, &["prefect", "status", "--json"]);
    assert_eq!(items(&status, "taken-over"), ["deployment nersc_recon_flow/nersc_recon_flow"]);
    // Set-up does not make it ours, and taking over twice keeps what it was first.
    ok(dir, server, &["prefect", "setup", "--takeover"]);
    assert_eq!(whole(), taken);
    assert_eq!(
        ok(dir, server, &["prefect", "setup", "--rollback"]).trim(),
        "nersc_recon_flow/nersc_recon_flow is what it was"
    );
    assert_eq!(whole(), before);
    let run = run(dir, server, &["prefect", "setup", "--rollback"]);
    assert!(run.stderr.contains("nothing was taken over"), "{}", run.stderr);
}
