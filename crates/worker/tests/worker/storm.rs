//! Two workers as two processes with a journal each on one queue, and everything that can go wrong between them and
//! the server: one is killed in the middle, the server is killed and stays away, its database is locked, answers
//! are lost. What happened is counted outside: in the folders of the jobs, and in what the steps wrote.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prefect::{Client, Settings, StateType};
use uuid::Uuid;

use crate::common::{acts, deployments, intervals, jobs, lines, run, start, until_within};
use crate::proxy::{Proxy, Weather};
use crate::server;

/// Runs at once, by the deployment's limit.
const LIMIT: u32 = 4;
/// Runs at once of one worker.
const EACH: usize = 3;
/// The flow, and its steps as the server knows them.
const FLOW: &str = "haul";
const STEPS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_a_queue_through_a_storm_and_nothing_is_done_twice() {
    let long = std::env::var_os("BEAMRAIL_LONG").is_some();
    let (count, away) = if long { (200, 30) } else { (12, 4) };
    // A run that finds no place asks again after this time, not after half a minute.
    let Some(mut server) = server::start(3, &[SLOT_WAIT]) else { return };
    let client = Client::new(Settings::new(&server.api()).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut wanted = deployments();
    wanted.iter_mut().filter(|one| one.name == FLOW).for_each(|one| one.concurrency = Some(LIMIT));
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
    // Jobs wait at the gate until it is gone, so what must come together does, on however busy a machine.
    let gate = world.join("gate");
    std::fs::write(&gate, "").unwrap();
    let mut runs = Vec::new();
    for index in 0..count {
        runs.push(run(&client, FLOW, &format!("run-{index}"), &world).await);
    }
    let mut a = Process::start(&proxy.api, &journals[0]);
    let mut b = Process::start(&proxy.api, &journals[1]);
    // As many as may be are at work, more than one worker takes; then one dies with its share, and another process takes
    // its journal up.
    let ended = || jobs(&world).values().filter(|(_, ends)| !ends.is_empty()).count();
    let at_work =
        || jobs(&world).values().filter(|(starts, ends)| !starts.is_empty() && ends.is_empty()).count();
    within(120, || at_work() == LIMIT as usize, "the limit is not reached").await;
    a.kill();
    let held = holds(&journals[0]);
    assert!(held > 0 && holds(&journals[1]) > 0, "it was killed with nothing in its hands");
    let mut again = Process::start(&proxy.api, &journals[0]);
    std::fs::remove_file(&gate).unwrap();
    // In the middle the server dies too, while jobs are at work; they end, and their runs go on.
    within(600, || ended() >= count / 3, "it does not go on").await;
    std::fs::write(&gate, "").unwrap();
    within(180, || at_work() == LIMIT as usize, "the limit is not reached again").await;
    server.kill();
    let from = now();
    std::fs::remove_file(&gate).unwrap();
    tokio::time::sleep(Duration::from_secs(away)).await;
    within(60, || lines(&world).iter().any(|(time, _)| *time > from), "nothing goes on").await;
    let to = now();
    server.start_again();
    for id in &runs {
        let ended = until_within(&client, *id, StateType::Completed, Duration::from_secs(1200)).await;
        assert!(ended.infrastructure_pid.is_some());
    }
    let took = begun.elapsed().as_secs_f64();
    again.stop();
    b.stop();

    // Work outside: once, whoever died.
    let done = jobs(&world);
    assert_eq!(done.len(), count);
    for (name, (starts, ends)) in &done {
        assert_eq!((starts.len(), ends.len()), (1, 1), "the job of {name}");
    }
    // Steps of the process that was at work when it died are done again, and no others.
    let acts = acts(&world);
    assert_eq!(acts.len(), count * (STEPS - 1));
    assert!(acts.values().all(|times| *times <= 2), "{acts:?}");
    let twice = acts.values().filter(|times| **times == 2).count();
    assert!(twice <= held as usize * 2, "at most the two steps that each of its {held} runs was at: {twice}");
    let most = most_at_once(&intervals(&world));
    assert_eq!(most, LIMIT as usize, "the limit is reached and never passed");
    for id in &runs {
        let found = client.task_runs(*id).await.unwrap();
        let done = |task: &prefect::TaskRun| {
            task.state.as_ref().is_some_and(|state| state.kind == StateType::Completed)
        };
        assert!(found.len() == STEPS && found.iter().all(done), "each step is told once: {found:#?}");
    }
    // What was done while nobody heard it was told when somebody did.
    let meanwhile = told_later(&client, &runs, &world, from, to).await;
    assert!(meanwhile > 0, "nothing went on without the server");
    let shares = journals.each_ref().map(|journal| count_of(journal, "COMPLETED"));
    assert!(shares.iter().all(|share| *share > 0), "both had some: {shares:?}");
    let tally = |one: &std::sync::atomic::AtomicU64| one.load(Ordering::SeqCst);
    let seen = &proxy.tally;
    assert!(tally(&seen.busy) > 0 && tally(&seen.lost) > 0);
    println!(
        "{count} runs in {took:.0} s by two processes ({} and {}), at most {most} at once; one killed with {held} in its \
         hands; the server away for {away} s ({meanwhile} steps done meanwhile, and told later); of {} requests {} found the \
         database locked and {} lost their answer; {twice} local steps were done again, no work outside was",
        shares[0],
        shares[1],
        tally(&seen.requests),
        tally(&seen.busy),
        tally(&seen.lost)
    );
}

/// How many steps were done between two times (milliseconds since 1970). Each was told after the second.
async fn told_later(client: &Client, runs: &[Uuid], world: &Path, from: u128, to: u128) -> usize {
    let mut count = 0;
    for (_, act) in lines(world).into_iter().filter(|(time, _)| (from..to).contains(time)) {
        let (name, step) = act.split_once('/').unwrap();
        let index: usize = name.trim_start_matches("run-").parse().unwrap();
        let key = if step == "first" { step.to_owned() } else { format!("{step}/work") };
        let tasks = client.task_runs(runs[index]).await.unwrap();
        let task = tasks.iter().find(|task| task.task_key == key).unwrap();
        let told = task.state.as_ref().and_then(|state| state.timestamp).unwrap();
        let restarted = Timestamp::from_millisecond(i64::try_from(to).unwrap()).unwrap();
        assert!(told > restarted, "{act} was told at {told}, while the server was dead");
        count += 1;
    }
    count
}

fn now() -> u128 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()
}

/// Waits until it is so.
async fn within(seconds: u64, is_so: impl Fn() -> bool, what: &str) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(seconds), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const SLOT_WAIT: (&str, &str) = ("PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS", "2");

/// The most of these that lie over one another.
fn most_at_once(intervals: &BTreeMap<String, (u128, u128)>) -> usize {
    let at = |time: u128| intervals.values().filter(|(from, to)| *from <= time && time <= *to).count();
    intervals.values().map(|(from, _)| at(*from)).max().unwrap_or(0)
}

fn count_of(journal: &Path, state: &str) -> i64 {
    let Ok(connection) = rusqlite::Connection::open(journal.join("runs.db")) else { return 0 };
    let count = "SELECT count(*) FROM runs WHERE state_type = ?1";
    connection.query_row(count, [state], |row| row.get(0)).unwrap_or(0)
}

/// The runs that a journal has in work.
fn holds(journal: &Path) -> i64 {
    count_of(journal, "RUNNING")
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
