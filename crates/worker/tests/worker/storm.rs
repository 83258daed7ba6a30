//! Two workers as two processes with a journal each on one queue, and everything that can go wrong between them and
//! the server: one is killed in the middle, the server is killed and stays away, its database is locked, answers
//! are lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use prefect::{Client, Settings, StateType};

use crate::common::{acts, deployments, intervals, run, start, until_within};
use crate::proxy::{Proxy, Weather};
use crate::server;

/// Runs at once, by the deployment's limit.
const LIMIT: u32 = 4;
/// Runs at once of one worker.
const EACH: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_a_queue_through_a_storm_and_nothing_is_done_twice() {
    let long = std::env::var_os("BEAMRAIL_LONG").is_some();
    let (count, away) = if long { (200, 30) } else { (16, 2) };
    // A run that finds no place asks again after this time, not after half a minute.
    let Some(mut server) = server::start(3, &[SLOT_WAIT]) else { return };
    let client = Client::new(Settings::new(&server.api()).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut wanted = deployments();
    wanted.iter_mut().filter(|one| one.name == "short").for_each(|one| one.concurrency = Some(LIMIT));
    let wanted = worker::Wanted::new("beamline", wanted);
    worker::plan(&client, wanted).await.unwrap().apply(&client).await.unwrap();
    let world = folder.path().join("world");
    let journals = ["host-a", "host-b"].map(|name| folder.path().join(name));
    for made in journals.iter().chain([&world]) {
        std::fs::create_dir(made).unwrap();
    }
    // As the reference saw it with six clients on SQLite; and one answer in a hundred gets lost.
    let proxy = Proxy::start(server.port(), Weather { seed: 832, busy: 120, lost: 10 }).await;
    let begun = Instant::now();
    let mut runs = Vec::new();
    for index in 0..count {
        runs.push(run(&client, "short", &format!("run-{index}"), &world).await);
    }
    let mut a = Process::start(&proxy.api, &journals[0]);
    let mut b = Process::start(&proxy.api, &journals[1]);
    // Both have runs in their hands; then one dies, and another process takes its journal up.
    for journal in &journals {
        let patience = Instant::now();
        while holds(journal) == 0 {
            assert!(patience.elapsed() < Duration::from_secs(60), "{} gets no runs", journal.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let held = holds(&journals[0]);
    a.kill();
    let mut again = Process::start(&proxy.api, &journals[0]);
    // In the middle the server dies too.
    while acts(&world).keys().filter(|act| act.ends_with("/last")).count() < count / 3 {
        assert!(begun.elapsed() < Duration::from_secs(600), "it does not go on");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.kill();
    let before = acts(&world).len();
    tokio::time::sleep(Duration::from_secs(away)).await;
    let meanwhile = acts(&world).len() - before;
    server.start_again();
    for id in &runs {
        let ended = until_within(&client, *id, StateType::Completed, Duration::from_secs(1200)).await;
        assert!(ended.infrastructure_pid.is_some());
    }
    let took = begun.elapsed().as_secs_f64();
    again.stop();
    b.stop();

    let done = acts(&world);
    assert_eq!(done.len(), count * 4);
    for (act, times) in &done {
        // Work of the process that was at work when it died is done again; work outside is found again.
        assert!(*times == 1 || (*times == 2 && !act.ends_with("/last")), "{act}: {times}");
    }
    let twice = done.values().filter(|times| **times == 2).count();
    assert!(twice <= EACH * 2, "at most the two steps that each of its runs was at: {twice}");
    let most = most_at_once(&intervals(&world));
    assert!(most <= LIMIT as usize, "{most} runs at once, and the limit is {LIMIT}");
    let tasks: usize = {
        let mut all = 0;
        for id in &runs {
            let found = client.task_runs(*id).await.unwrap();
            let done = |task: &prefect::TaskRun| {
                task.state.as_ref().is_some_and(|state| state.kind == StateType::Completed)
            };
            assert!(found.iter().all(done), "{found:#?}");
            all += found.len();
        }
        all
    };
    assert_eq!(tasks, count * 4, "each step is told once");
    let shares = journals.each_ref().map(|journal| ended(journal));
    assert!(shares.iter().all(|share| *share > 0), "both had some: {shares:?}");
    let tally = |one: &std::sync::atomic::AtomicU64| one.load(Ordering::SeqCst);
    let seen = &proxy.tally;
    println!(
        "{count} runs in {took:.0} s by two processes ({} and {}), at most {most} at once; one killed with {held} in its \
         hands; the server away for {away} s ({meanwhile} steps done meanwhile); of {} requests {} found the database \
         locked and {} lost their answer; {twice} local steps were done again, no work outside was",
        shares[0],
        shares[1],
        tally(&seen.requests),
        tally(&seen.busy),
        tally(&seen.lost)
    );
}

const SLOT_WAIT: (&str, &str) = ("PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS", "2");

/// The most of these that lie over one another.
fn most_at_once(intervals: &BTreeMap<String, (u128, u128)>) -> usize {
    let at = |time: u128| intervals.values().filter(|(from, to)| *from <= time && time <= *to).count();
    intervals.values().map(|(from, _)| at(*from)).max().unwrap_or(0)
}

fn count(journal: &Path, state: &str) -> i64 {
    let Ok(connection) = rusqlite::Connection::open(journal.join("runs.db")) else { return 0 };
    let count = "SELECT count(*) FROM runs WHERE state_type = ?1";
    connection.query_row(count, [state], |row| row.get(0)).unwrap_or(0)
}

/// The runs that a journal has in work.
fn holds(journal: &Path) -> i64 {
    count(journal, "RUNNING")
}

fn ended(journal: &Path) -> i64 {
    count(journal, "COMPLETED")
}

/// A worker in a process of its own. It ends with its standard input, so it does not outlive the test.
struct Process(Child);

impl Process {
    fn start(api: &str, journal: &Path) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(journal.join("log")).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "storm::a_worker_of_its_own", "--nocapture"])
            .env("BEAMRAIL_TEST_API", api)
            .env("BEAMRAIL_TEST_JOURNAL", journal)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        Process(child.unwrap())
    }

    /// With -9.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// As on SIGTERM.
    fn stop(&mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Not a test by itself: the process that the test above starts and kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_of_its_own() {
    let Some(journal) = std::env::var_os("BEAMRAIL_TEST_JOURNAL").map(PathBuf::from) else { return };
    let api = std::env::var("BEAMRAIL_TEST_API").unwrap();
    let client = Client::new(Settings::new(&api).unwrap()).unwrap();
    let worker = start(&client, &journal, EACH);
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    ended.await.unwrap().unwrap();
    println!("{:?}", worker.stop().await);
}
