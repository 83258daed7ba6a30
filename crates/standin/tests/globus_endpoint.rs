//! Our client, the stand-in, RabbitMQ, and the real globus-compute-endpoint 4.19: from a submission to the
//! answer of the program that the runner has started.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, and tell what is skipped"
)]

mod common;
#[path = "common/endpoint.rs"]
mod endpoint;

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{CLIENT, SECRET, Site, long, tool};
use endpoint::{broker, script, told};
use globus::compute::{Dialect, Function, Ran, RunnerSpec, Submission};
use globus::{Globus, Settings};
use standin::globus::Compute;

/// The endpoint asks there, whatever it is told: its code has the port of a local web service in it.
const PORT: u16 = 5000;
const ENDPOINT: &str = "55555555-5555-4555-8555-555555555555";

const LOCAL: &str = "  provider: {type: LocalProvider, init_blocks: 1, min_blocks: 0, max_blocks: 1}\n";

/// As on Polaris, but for the launcher: there is no MPI here.
const PBS: &str = "  provider:
    type: PBSProProvider
    account: IRIBeta
    queue: debug
    scheduler_options: '#PBS -l filesystems=home:eagle'
    launcher: {type: SimpleLauncher}
    walltime: '00:05:00'
    init_blocks: 1
    min_blocks: 0
    max_blocks: 1
";

/// Runs a program through the whole path; `provider` says how the endpoint gets its workers.
fn whole_path(provider: &str, path: &dyn Fn(&Path) -> String, after: &dyn Fn(&Path)) {
    if !long() {
        return;
    }
    let Some(python) = tool("globus-sdk/bin/python") else { return };
    // One at a time, whoever runs them: there is one such port.
    let lock = std::fs::File::create(std::env::temp_dir().join("beamrail-test-port-5000.lock")).unwrap();
    lock.lock().unwrap();
    if TcpListener::bind(("127.0.0.1", PORT)).is_err() {
        println!("skipped: port {PORT}, which the endpoint has built in, is taken");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some((_broker, amqp)) = broker(folder.path()) else { return };
    let site = Site::with(|config| {
        let compute = Compute::Amqp { url: amqp, python };
        config.listen(([127, 0, 0, 1], PORT).into()).endpoint(ENDPOINT).compute(compute)
    });
    let path = path(folder.path());
    let Some(_endpoint) = endpoint::endpoint(folder.path(), &site.standin().base_url(), provider, &path)
    else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(ask(&site, folder.path()));
    let ran =
        outcome.unwrap_or_else(|why| panic!("{why}\n{}\n{}", site.standin().counts(), told(folder.path())));
    assert_eq!((ran.rc, ran.stdout.trim()), (Some(3), "rec µ\u{1f52c}"), "{ran:?}");
    after(folder.path());
}

async fn ask(site: &Site, folder: &Path) -> Result<Ran, String> {
    let variables = site.standin().env();
    let settings = Settings::from_env(|name| match name {
        "GLOBUS_CLIENT_ID" => Some(CLIENT.to_owned()),
        "GLOBUS_CLIENT_SECRET" => Some(SECRET.to_owned()),
        _ => variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()),
    });
    let globus =
        Globus::new(settings.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
    let compute = globus.compute();
    let function =
        compute.register(&Function::runner(Dialect::Text)).await.map_err(|error| error.to_string())?;
    let words =
        vec!["-c".to_owned(), "echo \"rec $1\"; exit 3".to_owned(), "sh".to_owned(), "µ\u{1f52c}".to_owned()];
    let spec =
        RunnerSpec { poll: 0.05, ..RunnerSpec::new("/bin/sh", words, folder.join("jöb").to_string_lossy()) };
    let submission = Submission {
        function,
        tasks: vec![spec.arguments()],
        task_group: None,
        user_endpoint_config: Default::default(),
        resource_specification: Default::default(),
        dialect: Dialect::Text,
    };
    let submitted = compute.submit(ENDPOINT, &submission).await.map_err(|error| error.to_string())?;
    let id = &submitted.tasks[&submission.function][0];
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let task = compute.task(id).await.map_err(|error| error.to_string())?;
        if let Some(failure) = task.failure() {
            return Err(failure);
        }
        if let Ok(value) = task.value() {
            let status = compute.endpoint_status(ENDPOINT).await.map_err(|error| error.to_string())?;
            if !status.is_online() || task.began().is_none() {
                return Err(format!("{status:?} {task:?}"));
            }
            return Ran::read(value).map_err(|error| error.to_string());
        }
        if Instant::now() > end {
            return Err(format!("not within two minutes: {task:?}"));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[test]
fn a_program_runs_through_a_real_endpoint() {
    whole_path(LOCAL, &|_| String::new(), &|_| {});
}

#[test]
fn a_program_runs_in_a_pbs_job() {
    let commands = |folder: &Path| {
        let bin = folder.join("pbs");
        std::fs::create_dir_all(&bin).unwrap();
        script(&bin.join("qsub"), include_str!("judges/pbs/qsub"));
        script(&bin.join("qstat"), include_str!("judges/pbs/qstat"));
        script(&bin.join("qdel"), include_str!("judges/pbs/qdel"));
        format!("{}:", bin.display())
    };
    let looked_at = |folder: &Path| {
        let jobs = std::fs::read_dir(folder.join("pbs/jobs")).unwrap().count();
        assert!(jobs > 0, "the worker came by qsub");
        let calls = std::fs::read_to_string(folder.join("pbs/calls")).unwrap();
        assert!(calls.contains("qsub"), "{calls}");
    };
    whole_path(PBS, &commands, &looked_at);
}
