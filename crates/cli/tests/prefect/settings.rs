//! Days that operators change in Prefect, deletions that they cancel, and a server that is silent.

use prefect::StateType;
use serde_json::{Value, json};

use crate::common::Dir;
use crate::{Worker, client, is_long, json_of, ok, run, server, sites, through};

/// Beams with a scan that was moved and reconstructed, by runs in the journal.
fn reconstructed(dir: &Dir, server: &server::Server) {
    sites::sites(dir);
    sites::scan(dir);
    ok(
        dir,
        server,
        &["run", "new_832_file_flow", "--file", sites::SCAN, "--here", "--wait", "--progress", "none"],
    );
    ok(
        dir,
        server,
        &["run", "alcf_recon_flow", "--file", sites::SCAN, "--here", "--wait", "--progress", "none"],
    );
}

/// What a plan lets go, as "kind at site".
fn goes(dir: &Dir, server: &server::Server) -> Vec<String> {
    let plan = json_of(dir, server, &["prune", "plan", "--json"]);
    let text = |item: &Value| {
        let kind = item["dataset"]["kind"].as_str().unwrap_or_default();
        format!("{kind} at {}", item["site"].as_str().unwrap_or_default())
    };
    let mut all: Vec<String> = plan["items"].as_array().unwrap().iter().map(text).collect();
    all.sort();
    all
}

const RESULTS: &str = "alcf/scratch/BLS-00564_dyparkinson/rec20230224_132553_sea_shell.zarr";

#[test]
fn the_next_plan_obeys_and_nothing_goes_while_the_server_is_silent() {
    if !is_long("days that operators change") {
        return;
    }
    let Some(mut server) = server::start(3, &[]) else { return };
    let dir = Dir::new();
    reconstructed(&dir, &server);
    ok(&dir, &server, &["prefect", "setup"]);
    let set = |server: &server::Server, days: Value| {
        let (client, runtime) = client(server);
        let value = json!({ "delete_alcf832_files_after_days": days });
        runtime.block_on(client.update_variable("pruning_config", &value)).unwrap();
    };
    set(&server, json!(5));
    assert!(goes(&dir, &server).is_empty(), "the operator wants five days");
    set(&server, json!(0));
    let now = goes(&dir, &server);
    assert!(now.contains(&"zarr at alcf".to_owned()) && now.contains(&"raw at alcf".to_owned()), "{now:?}");

    // Deletion is on, and the server is away.
    ok(&dir, &server, &["prune", "on"]);
    server.kill();
    let told = run(&dir, &server, &["prune", "run"]);
    assert_eq!(told.code, 0, "{}", told.stderr);
    assert!(dir.file(RESULTS).exists(), "nothing is deleted: {}", told.stdout);
    let history = json_of(&dir, &server, &["prune", "history", "--json"]).to_string();
    assert!(history.contains("settings-silent") && history.contains("settings-unknown"), "{history}");

    // It is back, and says what nobody understands.
    server.start_again();
    set(&server, json!("soon"));
    ok(&dir, &server, &["prune", "run"]);
    assert!(dir.file(RESULTS).exists());
    let plan = run(&dir, &server, &["prune", "plan"]);
    assert!(plan.stderr.contains("delete_alcf832_files_after_days"), "{}", plan.stderr);

    // A block of the document's kind comes before the variable.
    let (prefect, runtime) = client(&server);
    let block = json!({ "delete_alcf832_files_after_days": 0 });
    assert!(runtime.block_on(prefect.create_block("json", "pruning-config", &block)).unwrap());
    ok(&dir, &server, &["prune", "run"]);
    assert!(!dir.file(RESULTS).exists());
    assert!(dir.file("nersc/raw").join(sites::SCAN).exists());
}

#[test]
fn deletions_are_runs_in_prefect_that_can_be_cancelled() {
    if !is_long("deletions that are cancelled") {
        return;
    }
    let Some(server) = server::start(3, &[]) else { return };
    let dir = Dir::new();
    sites::sites(&dir);
    sites::scan(&dir);
    ok(&dir, &server, &["prefect", "setup"]);
    ok(&dir, &server, &["prune", "on"]);
    let (client, runtime) = client(&server);
    let set = |days: i64| {
        let value = json!({ "delete_alcf832_files_after_days": days, "delete_nersc832_files_after_days": 7 });
        runtime.block_on(client.update_variable("pruning_config", &value)).unwrap();
    };
    set(1);
    let worker = Worker::start(&dir, &server, &[]);
    let given = json!({ "file_path": format!("/global/raw/{}", sites::SCAN) });
    assert_eq!(through(&server, "dispatcher/run_832_dispatcher", given).0, StateType::Completed);

    // A run for each copy that has a date, as often as its message is delivered.
    let scheduled = || {
        let filter = json!({ "flow_runs": { "state": { "type": { "any_": ["SCHEDULED"] } } } });
        let runs = runtime.block_on(client.flow_runs(filter)).unwrap();
        let mut names: Vec<(String, uuid::Uuid)> = runs
            .into_iter()
            .filter(|run| run.name.starts_with("delete "))
            .map(|run| (run.name, run.id))
            .collect();
        names.sort();
        names
    };
    let begun = std::time::Instant::now();
    while scheduled().len() < 10 && begun.elapsed().as_secs() < 20 {
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    let runs = scheduled();
    let named = |text: &str| runs.iter().find(|(name, _)| name == text).map(|(_, id)| *id);
    let raw = named(&format!("delete alcf: {}", sites::SCAN)).unwrap_or_else(|| panic!("{runs:?}"));
    assert!(
        named("delete nersc: BLS-00564_dyparkinson/rec20230224_132553_sea_shell.zarr").is_some(),
        "{runs:?}"
    );
    let at = runtime.block_on(client.flow_run(raw)).unwrap().unwrap().next_scheduled_start_time.unwrap();
    let hours = at.duration_since(jiff::Timestamp::now()).as_hours();
    assert!((22..=24).contains(&hours), "in a day: {at}");

    // A person cancels one and shortens the time of all: the sweep takes what is due, and leaves that one.
    let (well, told) = server.cli(&["flow-run", "cancel", &raw.to_string()]);
    assert!(well, "{told}");
    set(0);
    assert_eq!(through(&server, "prune/prune", json!({})).0, StateType::Completed);
    assert!(!dir.file(RESULTS).exists());
    assert!(dir.file("alcf/raw").join(sites::SCAN).exists(), "its deletion was cancelled");
    let history = json_of(&dir, &server, &["prune", "history", "--json"]).to_string();
    assert!(history.contains("kept-elsewhere") && history.contains("was cancelled"), "{history}");

    // Retried, it plans anew and goes.
    let again =
        prefect::Proposal::new(StateType::Scheduled).named("AwaitingRetry").at(jiff::Timestamp::now());
    assert!(runtime.block_on(client.propose(raw, &again)).unwrap().is_accept());
    let begun = std::time::Instant::now();
    while dir.file("alcf/raw").join(sites::SCAN).exists() {
        assert!(
            begun.elapsed().as_secs() < 40,
            "{}",
            std::fs::read_to_string(dir.file("worker.log")).unwrap()
        );
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert_eq!(worker.stop(), 0);
}
