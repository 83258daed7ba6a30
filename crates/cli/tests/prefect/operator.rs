//! What operators keep in Prefect besides days: secrets, what the dispatcher starts, and who holds custody.

use std::process::Stdio;

use prefect::StateType;
use serde_json::json;

use crate::common::{Dir, Run};
use crate::globus::{CLIENT, SCAN, SECRET, World};
use crate::{Worker, client, is_long, json_of, ok, run, server, sites, through};

#[test]
fn a_worker_takes_its_secrets_from_prefect() {
    if !is_long("secrets in Prefect") {
        return;
    }
    let Some(server) = server::start(3, &[]) else { return };
    let world = World::new();
    world.scan();
    let at_server = |mut command: std::process::Command| {
        command.env("PREFECT_API_URL", server.api());
        command
    };
    let (prefect, runtime) = client(&server);
    let kept =
        |name: &str| runtime.block_on(prefect.secret(name)).unwrap().map(|one| one.expose().to_owned());
    // Nothing is copied unless it is asked for.
    Run::of(at_server(world.command(&["prefect", "setup"])), &["prefect", "setup"]);
    assert_eq!(kept("globus-client-secret"), None);
    let arguments = ["prefect", "setup", "--secrets"];
    let made = Run::of(at_server(world.command(&arguments)), &arguments);
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(!made.stdout.contains(SECRET) && !made.stderr.contains(SECRET));
    assert_eq!(kept("globus-client-secret").as_deref(), Some(SECRET));
    assert_eq!(kept("globus-client-id").as_deref(), Some(CLIENT));
    // What is there is people's: another environment does not overwrite it.
    let mut other = at_server(world.command(&arguments));
    other.env("GLOBUS_CLIENT_SECRET", "another");
    assert_eq!(Run::of(other, &arguments).code, 0);
    assert_eq!(kept("globus-client-secret").as_deref(), Some(SECRET));

    // A worker without them in its environment moves files through Globus all the same.
    let bare = |arguments: &[&str]| {
        let mut command = at_server(world.dir.command(arguments));
        command.envs(world.standin.env());
        command.env_remove("GLOBUS_CLIENT_ID").env_remove("GLOBUS_CLIENT_SECRET");
        command
    };
    let log = std::fs::File::create(world.dir.file("worker.log")).unwrap();
    let child = bare(&["worker"]).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let worker = Worker(child);
    let file = format!("{SCAN}.h5");
    let arguments = ["run", "alcf_recon_flow", "--file", &file, "--wait", "--progress", "plain"];
    let done = Run::of(bare(&arguments), &arguments);
    let log = std::fs::read_to_string(world.dir.file("worker.log")).unwrap();
    assert_eq!(done.code, 0, "{}\n{log}", done.stderr);
    world.sound();
    assert_eq!(worker.stop(), 0);
    // Nowhere in the state folder, the logs, or what the stand-in keeps.
    assert!(crate::globus::clean(world.dir.path()) > 20);
    let logs = runtime.block_on(prefect.flow_run_logs(done.stdout.trim().parse().unwrap())).unwrap();
    assert!(!logs.is_empty() && logs.iter().all(|line| !line.message.contains(SECRET)));
}

#[test]
fn the_dispatcher_obeys_and_custody_moves_by_a_persons_word() {
    if !is_long("decision-settings and --custody-here") {
        return;
    }
    let Some(server) = server::start(3, &[]) else { return };
    let dir = Dir::new();
    sites::sites(&dir);
    sites::scan(&dir);
    ok(&dir, &server, &["prefect", "setup"]);
    let (prefect, runtime) = client(&server);
    let decide = |reconstruct: bool| {
        let value =
            json!({ "new_832_file_flow/new_file_832": true, "alcf_recon_flow/alcf_recon_flow": reconstruct });
        runtime.block_on(prefect.update_variable("decision_settings", &value)).unwrap();
    };
    let children = |id: &str| {
        let filter = json!({ "flow_runs": { "parent_flow_run_id": { "any_": [id] } } });
        let mut names: Vec<String> =
            runtime.block_on(prefect.flow_runs(filter)).unwrap().into_iter().map(|run| run.name).collect();
        names.iter_mut().for_each(|name| name.truncate(name.find(':').unwrap_or(name.len())));
        names.sort();
        names
    };
    let worker = Worker::start(&dir, &server, &[]);
    let given = json!({ "file_path": sites::SCAN });
    decide(false);
    let (state, id) = through(&server, "dispatcher/run_832_dispatcher", given.clone());
    assert_eq!((state, children(&id)), (StateType::Completed, vec!["new_832_file_flow".to_owned()]));
    decide(true);
    let (state, id) = through(&server, "dispatcher/run_832_dispatcher", given);
    assert_eq!(state, StateType::Completed);
    assert_eq!(children(&id), ["alcf_recon_flow", "new_832_file_flow"]);

    // The host with custody is gone for good; a person says which takes its place.
    let config = std::fs::read_to_string(dir.file("beamrail.toml")).unwrap();
    std::fs::write(dir.file("b.toml"), config.replace("folder = \"state\"", "folder = \"state-b\"")).unwrap();
    let before = json_of(&dir, &server, &["prefect", "status", "--json"])["custody"]["mark"].clone();
    assert_eq!(worker.stop(), 0);
    let taken = run(&dir, &server, &["prefect", "setup", "--custody-here", "--config", "b.toml"]);
    assert_eq!(taken.code, 0, "{}", taken.stderr);
    assert!(
        taken.stderr.contains("custody was with") && taken.stderr.contains("it is here now"),
        "{}",
        taken.stderr
    );
    let after = json_of(&dir, &server, &["prefect", "status", "--json"])["custody"]["mark"].clone();
    assert!(after.is_string() && after != before, "{before} {after}");
    // Who had it deletes nothing any more, whatever is due.
    let value = json!({ "delete_alcf832_files_after_days": 0 });
    runtime.block_on(prefect.update_variable("pruning_config", &value)).unwrap();
    ok(&dir, &server, &["prune", "on"]);
    ok(&dir, &server, &["prune", "run"]);
    let results = dir.file("alcf/scratch/BLS-00564_dyparkinson/rec20230224_132553_sea_shell.zarr");
    assert!(results.exists(), "it was deleted by one who does not hold custody");
    assert!(ok(&dir, &server, &["prune", "history"]).contains("custody is with"));
    // The new owner reads what there is, and its worker does the runs of custody.
    let worker = Worker::start(&dir, &server, &["--config", "b.toml"]);
    let (state, id) = through(&server, "reconcile/reconcile", json!({}));
    assert_eq!(state, StateType::Completed);
    let by = runtime.block_on(prefect.flow_run(id.parse().unwrap())).unwrap().unwrap().infrastructure_pid;
    assert!(by.as_deref().is_some_and(|pid| pid.ends_with(after.as_str().unwrap())), "{by:?} {after}");
    assert_eq!(worker.stop(), 0);
}
