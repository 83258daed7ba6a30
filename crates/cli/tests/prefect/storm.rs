//! Two workers, the real binary, on hosts of their own and one queue: reconstructions on three sites while one worker is
//! killed with runs in its hands, the server is killed and stays away, its database is locked and answers are lost.
//! Jobs are counted where they ran: each notes its start in its folder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use prefect::{FlowRun, NewFlowRun, StateType};
use serde_json::json;

use crate::common::Dir;
use crate::proxy::{Proxy, Weather};
use crate::{client, is_long, ok, server, sites};

/// Runs at once, by the flow's limit.
const LIMIT: usize = 3;
/// How long each job sleeps before it reconstructs.
const SLEEP: u32 = 3;

const SLOT_WAIT: (&str, &str) = ("PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS", "2");

/// The beamline with nothing but a reconstruction whose results go to one place.
fn configured(dir: &Dir) {
    sites::sites(dir);
    let home = format!("return_to = [\"nersc\"]\nconcurrency = {LIMIT}\nwrite = [\"tiff\"]\n");
    let config = sites::CONFIG
        .replace("return_to = [\"nersc\", \"als\"]\n", &home)
        .replace("site = \"alcf\"\n", &format!("site = \"alcf\"\nslots = {LIMIT}\n"));
    // Nothing goes, so no runs for later are made.
    let lines: Vec<&str> = config.lines().filter(|line| !line.starts_with("retention")).collect();
    std::fs::write(dir.file("beamrail.toml"), lines.join("\n") + "\n").unwrap();
    sites::held_jobs(dir, SLEEP);
    let config = std::fs::read_to_string(dir.file("beamrail.toml")).unwrap();
    std::fs::write(dir.file("b.toml"), config.replace("folder = \"state\"", "folder = \"state-b\"")).unwrap();
}

/// A worker's process.
struct Worker(Child);

impl Worker {
    fn start(dir: &Dir, api: &str, name: &str, config: &str) -> Self {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(dir.file(&format!("{name}.log")))
            .unwrap();
        let mut command: Command =
            dir.command(&["worker", "--name", name, "--config", config, "--concurrency", "2"]);
        Worker(command.env("PREFECT_API_URL", api).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// With -9.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// How many of these runs the server knows as at work in this process.
    fn holds(&self, runs: &[FlowRun]) -> usize {
        let mine = |run: &&FlowRun| {
            let pid = run.infrastructure_pid.as_deref().and_then(|text| text.split(':').nth(1));
            run.state_type() == Some(StateType::Running) && pid == Some(&self.0.id().to_string())
        };
        runs.iter().filter(mine).count()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts and ends of each job that was asked for, by its folder: milliseconds since 1970.
fn jobs(dir: &Dir) -> BTreeMap<PathBuf, (Vec<i64>, Option<i64>)> {
    let Ok(folders) = std::fs::read_dir(dir.file("alcf/.beamrail/jobs")) else { return BTreeMap::new() };
    let of = |folder: PathBuf| {
        let text = std::fs::read_to_string(folder.join("starts")).unwrap_or_default();
        let starts = text.lines().filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
        let status = std::fs::metadata(folder.join("status.json")).and_then(|status| status.modified()).ok();
        let ended = status
            .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok())
            .map(|at| at.as_millis() as i64);
        (folder, (starts, ended))
    };
    folders.map(|folder| of(folder.unwrap().path())).collect()
}

#[test]
fn two_real_workers_share_a_queue_through_a_storm() {
    if !is_long("a storm over two real workers") {
        return;
    }
    let Some(mut server) = server::start(3, &[SLOT_WAIT]) else { return };
    let (count, away) = (18, 30);
    let dir = Dir::new();
    configured(&dir);
    let folder = dir.file("nersc/raw/BLS-1_storm");
    std::fs::create_dir_all(&folder).unwrap();
    let scan = |index: usize| format!("BLS-1_storm/20230224_1325{index:02}_shell.h5");
    let first = format!("nersc/raw/{}", scan(0));
    dir.ok(&["simulate", &first, "--width", "96", "--rows", "4", "--angles", "91"]);
    for index in 1..count {
        std::fs::copy(dir.file(&first), dir.file("nersc/raw").join(scan(index))).unwrap();
    }
    ok(&dir, &server, &["prefect", "setup"]);
    let (prefect, runtime) = client(&server);
    let weather = Weather { seed: 832, busy: 120, lost: 10 };
    let proxy = runtime.block_on(Proxy::start(server.port(), weather));
    let deployment =
        runtime.block_on(prefect.deployment("alcf_recon_flow", "alcf_recon_flow")).unwrap().unwrap();
    let begun = Instant::now();
    for index in 0..count {
        let new = NewFlowRun {
            name: Some(format!("storm {index}")),
            parameters: json!({ "file_path": scan(index), "center": 47.5 }),
            ..NewFlowRun::default()
        };
        runtime.block_on(prefect.run_deployment(deployment.id, &new)).unwrap();
    }
    let filter = json!({ "flow_runs": { "name": { "like_": "storm " } } });
    let runs = || runtime.block_on(prefect.flow_runs(filter.clone())).unwrap_or_default();
    let within = |seconds: u64, is_so: &dyn Fn() -> bool, what: &str| {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < Duration::from_secs(seconds), "{what}: {:#?}", jobs(&dir));
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let mut a = Worker::start(&dir, &proxy.api, "a", "beamrail.toml");
    let b = Worker::start(&dir, &proxy.api, "b", "b.toml");
    within(120, &|| a.holds(&runs()) > 0 && b.holds(&runs()) > 0, "a worker gets no runs");
    a.kill();
    let held = a.holds(&runs());
    assert!(held > 0, "it was killed with nothing in its hands");
    let again = Worker::start(&dir, &proxy.api, "a", "beamrail.toml");
    let ended = || jobs(&dir).values().filter(|(_, end)| end.is_some()).count();
    let at_work = || jobs(&dir).values().filter(|(starts, end)| !starts.is_empty() && end.is_none()).count();
    within(300, &|| ended() >= count / 3 && at_work() > 0, "it does not go on");
    server.kill();
    let before = ended();
    std::thread::sleep(Duration::from_secs(away));
    let meanwhile = ended() - before;
    assert!(meanwhile > 0, "no job ended without the server");
    server.start_again();
    within(
        600,
        &|| {
            let runs = runs();
            runs.len() == count && runs.iter().all(|run| run.state_type().is_some_and(StateType::is_terminal))
        },
        "not all end",
    );
    let took = begun.elapsed().as_secs_f64();

    for run in runs() {
        assert_eq!(run.state_type(), Some(StateType::Completed), "{run:#?}");
        let tasks = runtime.block_on(prefect.task_runs(run.id)).unwrap();
        let state = |task: &prefect::TaskRun| task.state.as_ref().map(|state| state.kind);
        assert!(tasks.iter().all(|task| state(task) == Some(StateType::Completed)), "{tasks:#?}");
    }
    let all = jobs(&dir);
    assert_eq!(all.len(), count, "a job for each scan");
    for (folder, (starts, end)) in &all {
        assert!(starts.len() == 1 && end.is_some(), "{}: {starts:?}", folder.display());
    }
    let at = |time: i64| all.values().filter(|(from, to)| from[0] <= time && Some(time) <= *to).count();
    let most = all.values().map(|(from, _)| at(from[0])).max().unwrap();
    assert_eq!(most, LIMIT, "the limit is reached and never passed");
    for index in 0..count {
        let manifest = scan(index).replace("20230224", "rec20230224").replace(".h5", ".manifest.json");
        dir.ok(&["verify", &format!("nersc/scratch/{manifest}"), "--progress", "none"]);
    }
    let seen = |one: &std::sync::atomic::AtomicU64| one.load(Ordering::SeqCst);
    let (busy, lost) = (seen(&proxy.tally.busy), seen(&proxy.tally.lost));
    assert!(busy > 0 && lost > 0);
    println!(
        "{count} reconstructions in {took:.0} s by two workers, at most {most} jobs at once; one worker killed with {held} runs in \
         its hands; the server away for {away} s ({meanwhile} jobs ended meanwhile); of {} requests {busy} found the database \
         locked and {lost} lost their answer; each job was started once",
        seen(&proxy.tally.requests)
    );
    drop((again, b));
}
