//! `beamrail prefect` and `beamrail worker` on a real Prefect server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test says what it skipped")]

#[path = "../common/mod.rs"]
mod common;
mod custody;
mod dashboard;
#[path = "../common/globus.rs"]
mod globus;
mod operator;
#[path = "../../../worker/tests/worker/proxy.rs"]
mod proxy;
#[path = "../../../../tests/prefect/server.rs"]
mod server;
mod settings;
mod setup;
#[path = "../common/sites.rs"]
mod sites;
mod start;
mod storm;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Dir, Run};
use prefect::{Client, NewFlowRun, Settings, StateType};
use serde_json::Value;

/// The binary with the server's address in its environment.
pub(crate) fn command(dir: &Dir, server: &server::Server, arguments: &[&str]) -> Command {
    let mut command = dir.command(arguments);
    command.env("PREFECT_API_URL", server.api());
    command
}

pub(crate) fn run(dir: &Dir, server: &server::Server, arguments: &[&str]) -> Run {
    Run::of(command(dir, server, arguments), arguments)
}

#[track_caller]
pub(crate) fn ok(dir: &Dir, server: &server::Server, arguments: &[&str]) -> String {
    let run = run(dir, server, arguments);
    assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
    run.stdout
}

#[track_caller]
pub(crate) fn json_of(dir: &Dir, server: &server::Server, arguments: &[&str]) -> Value {
    serde_json::from_str(&ok(dir, server, arguments)).unwrap()
}

/// The items of a plan in this state, as "kind name".
pub(crate) fn items(plan: &Value, state: &str) -> Vec<String> {
    let all = plan["items"].as_array().unwrap().iter();
    let text = |one: &Value| {
        format!("{} {}", one["kind"].as_str().unwrap_or_default(), one["name"].as_str().unwrap_or_default())
    };
    all.filter(|one| one["state"] == state).map(text).collect()
}

/// A worker's process, ended as a service manager does.
pub(crate) struct Worker(pub(crate) Child);

impl Worker {
    pub(crate) fn start(dir: &Dir, server: &server::Server, arguments: &[&str]) -> Self {
        let mut all = vec!["worker"];
        all.extend(arguments);
        let log = std::fs::File::options().create(true).append(true).open(dir.file("worker.log")).unwrap();
        let child = command(dir, server, &all).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Worker(child)
    }

    pub(crate) fn stop(mut self) -> i32 {
        let pid = rustix::process::Pid::from_raw(self.0.id() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.0.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn client(server: &server::Server) -> (Client, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    (Client::new(Settings::new(&server.api()).unwrap()).unwrap(), runtime)
}

/// Starts a deployment and waits for the end of its run.
pub(crate) fn through(server: &server::Server, name: &str, parameters: Value) -> (StateType, String) {
    let (client, runtime) = client(server);
    let (flow, deployment) = name.split_once('/').unwrap();
    runtime.block_on(async {
        let found = client.deployment(flow, deployment).await.unwrap().expect("the deployment");
        let new = NewFlowRun { parameters, ..NewFlowRun::default() };
        let id = client.run_deployment(found.id, &new).await.unwrap().id;
        let begun = Instant::now();
        loop {
            let state = client.flow_run(id).await.unwrap().unwrap().state.unwrap();
            if state.kind.is_terminal() {
                return (state.kind, id.to_string());
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{name} does not end: {state:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
}

/// Minutes on a busy machine: not for every day.
pub(crate) fn is_long(what: &str) -> bool {
    let long = std::env::var_os("BEAMRAIL_LONG").is_some();
    if !long {
        println!("skipped: {what}; set BEAMRAIL_LONG=1");
    }
    long
}
