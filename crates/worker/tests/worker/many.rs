//! Two workers with a journal each on one queue, one of which dies.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use prefect::{Client, Settings, StateType};

use crate::common::{acts, deployments, run, start, until};
use crate::server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_share_a_queue_and_nothing_is_done_twice() {
    let long = std::env::var_os("BEAMRAIL_LONG").is_some();
    let count = if long { 200 } else { 10 };
    let Some(server) = server::start(3, &[]) else { return };
    let client = Client::new(Settings::new(&server.api()).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let wanted = worker::Wanted::new("beamline", deployments());
    worker::plan(&client, wanted).await.unwrap().apply(&client).await.unwrap();
    let world = folder.path().join("world");
    let journals = ["host-a", "host-b"].map(|name| folder.path().join(name));
    for made in journals.iter().chain([&world]) {
        std::fs::create_dir(made).unwrap();
    }
    let mut a = Process::start(&server.api(), &journals[0]);
    let begun = Instant::now();
    let mut runs = Vec::new();
    for index in 0..count / 2 {
        runs.push(run(&client, "short", &format!("run-{index}"), &world).await);
    }
    // It dies with runs in its hands. The other begins then, or it could have taken them all.
    let held = holding(&journals[0]).await;
    let b = start(&client, &journals[1], 3);
    a.kill();
    for index in count / 2..count {
        runs.push(run(&client, "short", &format!("run-{index}"), &world).await);
    }
    // Another process takes the first one's journal up, when the second has runs of its own.
    holding(&journals[1]).await;
    let again = start(&client, &journals[0], 3);
    for id in runs {
        let ended = until(&client, id, StateType::Completed).await;
        assert!(ended.infrastructure_pid.is_some());
    }
    let (again, b) = (again.stop().await, b.stop().await);
    println!("{count} runs in {:.1} s, killed with {held}: {again:?}, {b:?}", begun.elapsed().as_secs_f64());
    assert!(b.claimed > 0, "both had some");
    let done = acts(&world);
    assert_eq!(done.len(), count * 4);
    for (act, times) in &done {
        // Work of the process that was at work when it died is done again; work outside is found again.
        assert!(*times == 1 || (*times == 2 && !act.ends_with("/last")), "{act}: {times}");
    }
    let twice = done.values().filter(|times| **times == 2).count();
    assert!(twice <= 3 * 2, "at most two steps of each run that it had: {twice}");
}

/// Waits until a journal has runs that have not ended, and says how many.
async fn holding(journal: &Path) -> i64 {
    let patience = Instant::now();
    while holds(journal) == 0 {
        assert!(patience.elapsed() < Duration::from_secs(30), "{} gets no runs", journal.display());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    holds(journal)
}

/// The runs that a journal has and that have not ended.
fn holds(journal: &Path) -> i64 {
    let Ok(connection) = rusqlite::Connection::open(journal.join("runs.db")) else { return 0 };
    let count = "SELECT count(*) FROM runs WHERE state_type = 'RUNNING'";
    connection.query_row(count, [], |row| row.get(0)).unwrap_or(0)
}

/// A worker in a process of its own. It ends with its standard input, so it does not outlive the test.
struct Process(Child);

impl Process {
    fn start(api: &str, journal: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "many::a_worker_of_its_own", "--nocapture"])
            .env("BEAMRAIL_TEST_API", api)
            .env("BEAMRAIL_TEST_JOURNAL", journal)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        Process(child.unwrap())
    }

    /// With -9.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Not a test by itself: the process that the test above kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_of_its_own() {
    let Some(journal) = std::env::var_os("BEAMRAIL_TEST_JOURNAL").map(PathBuf::from) else { return };
    let api = std::env::var("BEAMRAIL_TEST_API").unwrap();
    let client = Client::new(Settings::new(&api).unwrap()).unwrap();
    let worker = start(&client, &journal, 3);
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    ended.await.unwrap().unwrap();
    worker.stop().await;
}
