//! Our client, the stand-in, RabbitMQ, and the real globus-compute-endpoint 4.19: from a submission to the
//! answer of the program that the runner has started.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, and tell what is skipped"
)]

mod common;
#[path = "../../../tests/globus/endpoint.rs"]
mod endpoint;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{CLIENT, SECRET, Site, long};
use endpoint::{ENDPOINT, Services, Workers};
use globus::compute::{Dialect, EndpointTemplate, Function, Ran, RunnerSpec, Submission};
use globus::{Globus, Settings};

/// Runs a program through the whole path, with workers from somewhere.
fn whole_path(workers: impl FnOnce(&Services) -> Workers) -> Option<Services> {
    let mut services = long().then(endpoint::begin)??;
    let site = Site::with(|config| services.config(config));
    services.start(&site.standin().base_url(), (CLIENT, SECRET), &workers(&services));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(ask(&site, services.folder()));
    let ran = outcome.unwrap_or_else(|why| panic!("{why}\n{}\n{}", site.standin().counts(), services.told()));
    assert_eq!((ran.rc, ran.stdout.trim()), (Some(3), "rec µ\u{1f52c}"), "{ran:?}");
    services.stop();
    Some(services)
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
    whole_path(|_| Workers::Local);
}

#[test]
fn a_program_runs_in_a_pbs_job() {
    let configured = |services: &Services| {
        let template = EndpointTemplate {
            name: "a test".into(),
            account: "IRIBeta".into(),
            queue: "debug".into(),
            filesystems: "home:eagle".into(),
            nodes: 1,
            walltime: "00:05:00".into(),
            interface: "lo".into(),
            worker_init: format!("export PATH={}", services.path()),
        };
        let (config, user) = template.split();
        Workers::Pbs(config, user.replace("strategy_period: 60", "strategy_period: 2"))
    };
    let Some(services) = whole_path(configured) else { return };
    let (asked, job) = services.batch();
    assert!(asked.contains("qsub ") && asked.contains("-q debug") && asked.contains("mpiexec "), "{asked}");
    assert!(job.contains("#PBS -l walltime=00:05:00\n"), "{job}");
}
