//! Two workers with state folders of their own: one holds custody, the other reports to it.

use std::time::{Duration, Instant};

use prefect::StateType;
use serde_json::{Value, json};

use crate::common::Dir;
use crate::{Worker, client, is_long, json_of, ok, run, server, sites, through};

/// The same beamline on another host: the same sites, another state folder.
fn host_b(dir: &Dir) {
    let config = std::fs::read_to_string(dir.file("beamrail.toml")).unwrap();
    std::fs::write(dir.file("b.toml"), config.replace("folder = \"state\"", "folder = \"state-b\"")).unwrap();
}

/// Copies that a state folder knows, as "kind at site: level".
fn known(dir: &Dir, server: &server::Server, config: &str) -> Vec<String> {
    let listed = run(dir, server, &["custody", "show", sites::SCAN, "--config", config, "--json"]);
    let shown: Value = serde_json::from_str(&listed.stdout).unwrap_or_default();
    let text = |copy: &Value| {
        let of = |key: &str| copy[key].as_str().unwrap_or_default().to_owned();
        let kind = copy["kind"].as_str().unwrap_or_default();
        format!("{kind} at {}: {}", of("site"), of("level"))
    };
    shown["copies"].as_array().map(|copies| copies.iter().map(text).collect()).unwrap_or_default()
}

#[test]
fn one_worker_holds_custody_and_the_other_reports_to_it() {
    if !is_long("two workers and one custody") {
        return;
    }
    let Some(server) = server::start(3, &[]) else { return };
    let dir = Dir::new();
    sites::sites(&dir);
    sites::scan(&dir);
    host_b(&dir);
    ok(&dir, &server, &["prefect", "setup"]);
    ok(&dir, &server, &["prune", "on"]);
    let (prefect, runtime) = client(&server);
    let set = |days: i64| {
        let value = json!({ "delete_alcf832_files_after_days": days });
        runtime.block_on(prefect.update_variable("pruning_config", &value)).unwrap();
    };
    set(1);
    let a = Worker::start(&dir, &server, &["--name", "a", "--queue", "scans"]);
    let given = json!({ "file_path": sites::SCAN });
    assert_eq!(through(&server, "new_832_file_flow/new_file_832", given.clone()).0, StateType::Completed);
    // The second worker does the reconstruction, with records of its own.
    let b =
        Worker::start(&dir, &server, &["--name", "b", "--queue", "reconstructions", "--config", "b.toml"]);
    assert_eq!(through(&server, "alcf_recon_flow/alcf_recon_flow", given).0, StateType::Completed);
    let status = json_of(&dir, &server, &["prefect", "status", "--json"]);
    assert_eq!(status["workers"].as_array().unwrap().len(), 2, "{status:#}");

    // The owner comes to know of what it made and brought, by runs that everybody sees.
    let begun = Instant::now();
    let wanted = ["zarr at nersc: transfer-checksummed", "tiff at als: transfer-checksummed", "zarr at alcf"];
    loop {
        let copies = known(&dir, &server, "beamrail.toml");
        if wanted.iter().all(|one| copies.iter().any(|copy| copy.starts_with(one))) {
            break;
        }
        let log = std::fs::read_to_string(dir.file("worker.log")).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(60), "{copies:?}\n{log}");
        std::thread::sleep(Duration::from_millis(500));
    }

    // Where custody is not, nothing is deleted, whoever asks.
    set(0);
    let results = dir.file("alcf/scratch/BLS-00564_dyparkinson/rec20230224_132553_sea_shell.zarr");
    assert!(results.exists());
    ok(&dir, &server, &["prune", "on", "--config", "b.toml"]);
    ok(&dir, &server, &["prune", "run", "--config", "b.toml"]);
    assert!(results.exists(), "b does not hold custody");
    let history = ok(&dir, &server, &["prune", "history", "--config", "b.toml"]);
    assert!(history.contains("custody is with"), "{history}");
    // What is due is pruned by the owner, on the word of both.
    assert_eq!(through(&server, "prune/prune", json!({})).0, StateType::Completed);
    assert!(!results.exists(), "{}", ok(&dir, &server, &["prune", "plan"]));
    let filter = json!({ "flows": { "name": { "any_": ["prune", "custody_report"] } } });
    for run in runtime.block_on(prefect.flow_runs(filter)).unwrap() {
        let by = run.infrastructure_pid.clone().unwrap_or_default();
        let mark = status["custody"]["mark"].as_str().unwrap();
        assert!(run.state_type() == Some(StateType::Scheduled) || by.ends_with(mark), "{run:?}");
    }
    assert_eq!((a.stop(), b.stop()), (0, 0));
}

#[test]
fn a_scan_that_one_worker_knows_as_controlled_is_kept_by_all() {
    if !is_long("export marks among workers") {
        return;
    }
    let Some(server) = server::start(3, &[]) else { return };
    let dir = Dir::new();
    sites::sites(&dir);
    sites::scan(&dir);
    let config = std::fs::read_to_string(dir.file("beamrail.toml")).unwrap();
    std::fs::write(dir.file("beamrail.toml"), config + "\n[export]\nallowed_sites = [\"als\"]\n").unwrap();
    host_b(&dir);
    let flags = ["--here", "--wait", "--progress", "none"];
    let mut first =
        vec!["run", "new_832_file_flow", "--file", sites::SCAN, "--set", "is_export_control=true"];
    first.extend(flags);
    ok(&dir, &server, &first);
    assert!(!dir.file("nersc/raw").join(sites::SCAN).exists());
    // Asked elsewhere, without the flag, by somebody who does not know.
    let mut second = vec!["run", "new_832_file_flow", "--file", sites::SCAN, "--config", "b.toml"];
    second.extend(flags);
    ok(&dir, &server, &second);
    assert!(!dir.file("nersc/raw").join(sites::SCAN).exists(), "it may not leave als");
    assert!(known(&dir, &server, "b.toml").iter().all(|copy| !copy.contains("nersc")));
}
