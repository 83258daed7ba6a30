//! Two workers, the real binary, on hosts of their own and one queue: reconstructions on three sites, and many moves of new
//! scans, while one worker is killed with runs in its hands, the server is killed and stays away, its database is locked
//! and answers are lost. Jobs are counted where they ran: each notes its start in its folder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use prefect::{FlowRun, NewFlowRun, StateType};
use serde_json::{Value, json};

use crate::common::Dir;
use crate::proxy::{Proxy, Weather};
use crate::{client, is_long, ok, server, sites};

/// How long the server is away, in seconds.
const AWAY: u64 = 30;

const SLOT_WAIT: (&str, &str) = ("PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS", "2");

/// What goes through the storm.
struct Load {
    /// What a run is called.
    what: &'static str,
    flow: &'static str,
    deployment: &'static str,
    /// Runs.
    count: usize,
    /// Runs at once, by the flow's limit; a worker does one less.
    limit: usize,
    /// The site with the scans, and the one whose jobs are counted.
    scans: &'static str,
    jobs: &'static str,
    /// How long each job sleeps before it begins.
    sleep: u32,
    /// A beamline that does nothing but this.
    config: fn(usize) -> String,
    /// More parameters than the scan.
    given: fn() -> Value,
    /// What must have come of a scan.
    judge: fn(&Dir, &str),
}

/// Reconstructions whose results go to one place.
const RECONSTRUCTIONS: Load = Load {
    what: "reconstructions",
    flow: "alcf_recon_flow",
    deployment: "alcf_recon_flow",
    count: 18,
    limit: 3,
    scans: "nersc",
    jobs: "alcf",
    sleep: 3,
    config: |limit| {
        let home = format!("return_to = [\"nersc\"]\nconcurrency = {limit}\nwrite = [\"tiff\"]\n");
        sites::CONFIG
            .replace("return_to = [\"nersc\", \"als\"]\n", &home)
            .replace("site = \"alcf\"\n", &format!("site = \"alcf\"\nslots = {limit}\n"))
    },
    given: || json!({ "center": 47.5 }),
    judge: |dir, scan| {
        let manifest = scan.replace("20230224", "rec20230224").replace(".h5", ".manifest.json");
        dir.ok(&["verify", &format!("nersc/scratch/{manifest}"), "--progress", "none"]);
    },
};

/// New scans: a quick look, which is a job, and a copy to an archive.
const MOVES: Load = Load {
    what: "moves of new scans",
    flow: "new_832_file_flow",
    deployment: "new_file_832",
    count: 200,
    limit: 4,
    scans: "als",
    jobs: "als",
    sleep: 1,
    config: |limit| {
        let moves = format!("send_to = [\"nersc\"]\nquick_look = \"look\"\nconcurrency = {limit}\n");
        let look = "\n[facilities.look]\nkind = \"local\"\nsite = \"als\"\nslots = 20\n";
        sites::CONFIG.replace("send_to = [\"nersc\"]\n", &moves) + look
    },
    given: || json!({}),
    judge: |dir, scan| {
        let bytes = |site: &str| std::fs::read(dir.file(site).join("raw").join(scan)).unwrap();
        assert!(bytes("als") == bytes("nersc"), "{scan} is not whole at nersc");
    },
};

impl Load {
    fn scan(&self, index: usize) -> String {
        format!("BLS-1_storm/20230224_{:06}_shell.h5", 132_500 + index)
    }

    /// Two hosts, and the scans.
    fn prepare(&self, dir: &Dir) {
        sites::sites(dir);
        let config = (self.config)(self.limit);
        // Nothing goes, so no runs for later are made.
        let lines: Vec<&str> = config.lines().filter(|line| !line.starts_with("retention")).collect();
        std::fs::write(dir.file("beamrail.toml"), lines.join("\n") + "\n").unwrap();
        sites::held_jobs(dir, self.sleep);
        let config = std::fs::read_to_string(dir.file("beamrail.toml")).unwrap();
        let other = config.replace("folder = \"state\"", "folder = \"state-b\"");
        std::fs::write(dir.file("b.toml"), other).unwrap();
        let raw = dir.file(self.scans).join("raw");
        std::fs::create_dir_all(raw.join("BLS-1_storm")).unwrap();
        let first = format!("{}/raw/{}", self.scans, self.scan(0));
        dir.ok(&["simulate", &first, "--width", "96", "--rows", "16", "--angles", "91"]);
        for index in 1..self.count {
            std::fs::copy(dir.file(&first), raw.join(self.scan(index))).unwrap();
        }
    }

    /// Starts and ends of each job that was asked for, by its folder: milliseconds since 1970.
    fn jobs(&self, dir: &Dir) -> BTreeMap<PathBuf, (Vec<i64>, Option<i64>)> {
        let folders = std::fs::read_dir(dir.file(self.jobs).join(".beamrail/jobs"));
        let Ok(folders) = folders else { return BTreeMap::new() };
        let of = |folder: PathBuf| {
            let text = std::fs::read_to_string(folder.join("starts")).unwrap_or_default();
            let starts = text.lines().filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
            let status =
                std::fs::metadata(folder.join("status.json")).and_then(|status| status.modified()).ok();
            let ended = status
                .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok())
                .map(|at| at.as_millis() as i64);
            (folder, (starts, ended))
        };
        folders.map(|folder| of(folder.unwrap().path())).collect()
    }
}

/// A worker's process.
struct Worker(Child);

impl Worker {
    fn start(dir: &Dir, api: &str, name: &str, config: &str, each: usize) -> Self {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(dir.file(&format!("{name}.log")))
            .unwrap();
        let each = each.to_string();
        let mut command: Command =
            dir.command(&["worker", "--name", name, "--config", config, "--concurrency", &each]);
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

#[test]
fn two_real_workers_share_a_queue_through_a_storm() {
    if is_long("a storm over two real workers") {
        storm(&RECONSTRUCTIONS);
    }
}

#[test]
fn two_real_workers_do_200_runs_through_a_storm() {
    if is_long("200 runs by two real workers in a storm") {
        storm(&MOVES);
    }
}

fn storm(load: &Load) {
    let Some(mut server) = server::start(3, &[SLOT_WAIT]) else { return };
    let dir = Dir::new();
    load.prepare(&dir);
    ok(&dir, &server, &["prefect", "setup"]);
    let (prefect, runtime) = client(&server);
    let proxy = runtime.block_on(Proxy::start(server.port(), Weather { seed: 832, busy: 120, lost: 10 }));
    let found = runtime.block_on(prefect.deployment(load.flow, load.deployment)).unwrap();
    let deployment = found.unwrap().id;
    let begun = Instant::now();
    for index in 0..load.count {
        let mut parameters = (load.given)();
        parameters["file_path"] = json!(load.scan(index));
        let new = NewFlowRun { name: Some(format!("storm {index}")), parameters, ..NewFlowRun::default() };
        runtime.block_on(prefect.run_deployment(deployment, &new)).unwrap();
    }
    let filter = json!({ "flow_runs": { "name": { "like_": "storm " } } });
    let runs = || runtime.block_on(prefect.flow_runs(filter.clone())).unwrap_or_default();
    let within = |seconds: u64, is_so: &dyn Fn() -> bool, what: &str| {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < Duration::from_secs(seconds), "{what}: {:#?}", load.jobs(&dir));
            std::thread::sleep(Duration::from_millis(500));
        }
    };
    let ended = || load.jobs(&dir).values().filter(|(_, end)| end.is_some()).count();
    let at_work =
        || load.jobs(&dir).values().filter(|(starts, end)| !starts.is_empty() && end.is_none()).count();
    // Jobs wait while the file is there, so what must come together does, on however busy a machine.
    let hold = dir.file("hold");
    let all_at_work = |seconds: u64| {
        std::fs::write(&hold, "").unwrap();
        within(seconds, &|| at_work() == load.limit, "the limit is not reached");
    };
    let each = load.limit - 1;
    let mut a = Worker::start(&dir, &proxy.api, "a", "beamrail.toml", each);
    let b = Worker::start(&dir, &proxy.api, "b", "b.toml", each);
    within(300, &|| ended() >= load.count / 6, "it does not begin");
    all_at_work(180);
    within(60, &|| a.holds(&runs()) > 0 && b.holds(&runs()) > 0, "a worker gets no runs");
    a.kill();
    let held = a.holds(&runs());
    assert!(held > 0, "it was killed with nothing in its hands");
    let again = Worker::start(&dir, &proxy.api, "a", "beamrail.toml", each);
    std::fs::remove_file(&hold).unwrap();
    within(900, &|| ended() >= load.count / 2, "it does not go on");
    all_at_work(180);
    server.kill();
    std::fs::remove_file(&hold).unwrap();
    let before = ended();
    std::thread::sleep(Duration::from_secs(AWAY));
    let meanwhile = ended() - before;
    assert!(meanwhile > 0, "no job ended without the server");
    server.start_again();
    let is_over = |run: &FlowRun| run.state_type().is_some_and(StateType::is_terminal);
    within(
        1200,
        &|| {
            std::thread::sleep(Duration::from_secs(1));
            let runs = runs();
            runs.len() == load.count && runs.iter().all(is_over)
        },
        "not all end",
    );
    let took = begun.elapsed().as_secs_f64();

    let mut shares: BTreeMap<String, usize> = BTreeMap::new();
    for run in runs() {
        assert_eq!(run.state_type(), Some(StateType::Completed), "{run:#?}");
        let tasks = runtime.block_on(prefect.task_runs(run.id)).unwrap();
        let state = |task: &prefect::TaskRun| task.state.as_ref().map(|state| state.kind);
        assert!(
            !tasks.is_empty() && tasks.iter().all(|task| state(task) == Some(StateType::Completed)),
            "{tasks:#?}"
        );
        let mark =
            run.infrastructure_pid.as_deref().and_then(|pid| pid.rsplit(':').next().map(str::to_owned));
        *shares.entry(mark.unwrap()).or_default() += 1;
    }
    let shares: Vec<usize> = shares.into_values().collect();
    assert_eq!(shares.len(), 2, "both had some: {shares:?}");
    let all = load.jobs(&dir);
    assert_eq!(all.len(), load.count, "a job for each scan");
    for (folder, (starts, end)) in &all {
        assert!(starts.len() == 1 && end.is_some(), "{}: {starts:?}", folder.display());
        let status = std::fs::read_to_string(folder.join("status.json")).unwrap();
        let status: Value = serde_json::from_str(&status).unwrap();
        assert_eq!(status["exit_code"], 0, "{}: {status:#}", folder.display());
    }
    let at = |time: i64| all.values().filter(|(from, to)| from[0] <= time && Some(time) <= *to).count();
    let most = all.values().map(|(from, _)| at(from[0])).max().unwrap();
    assert_eq!(most, load.limit, "the limit is reached and never passed");
    (0..load.count).for_each(|index| (load.judge)(&dir, &load.scan(index)));
    let seen = |one: &std::sync::atomic::AtomicU64| one.load(Ordering::SeqCst);
    let (busy, lost) = (seen(&proxy.tally.busy), seen(&proxy.tally.lost));
    assert!(busy > 0 && lost > 0);
    let (count, what) = (load.count, load.what);
    println!(
        "{count} {what} in {took:.0} s by two workers ({shares:?}), at most {most} jobs at once; one worker killed with {held} \
         runs in its hands; the server away for {AWAY} s ({meanwhile} jobs ended meanwhile); of {} requests {busy} found the \
         database locked and {lost} lost their answer; each job was started once",
        seen(&proxy.tally.requests)
    );
    drop((again, b));
}
