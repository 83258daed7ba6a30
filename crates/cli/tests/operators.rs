//! A day of operators: the ALCF flow on three sites, started, watched, stopped and pruned through Prefect's own program
//! and client, on real servers, with the real binary as worker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test says what it skipped and shows figures")]

mod common;
#[path = "../../../tests/prefect/server.rs"]
mod server;
#[path = "common/sites.rs"]
mod sites;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::Dir;
use server::Server;
use sites::SCAN;

/// A worker's process, ended with the test.
struct Worker(Child);

impl Worker {
    fn start(dir: &Dir, server: &Server) -> Self {
        let log = std::fs::File::create(dir.file("worker.log")).unwrap();
        let mut command = dir.command(&["worker", "--pool", "beamrail", "--name", "host-a"]);
        command.env("PREFECT_API_URL", server.api()).stdout(Stdio::null()).stderr(log);
        Worker(command.spawn().unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Prefect's program; it must succeed.
#[track_caller]
fn prefect(server: &Server, arguments: &[&str]) -> String {
    let (well, told) = server.cli(arguments);
    assert!(well, "prefect {}: {told}", arguments.join(" "));
    told
}

/// What is told must have all of these.
#[track_caller]
fn has(told: &str, words: &[&str]) {
    for word in words {
        assert!(told.contains(word), "'{word}' is not in: {told}");
    }
}

/// The first UUID in what the program says.
fn uuid(told: &str) -> String {
    let is_id = |word: &&str| word.len() == 36 && word.bytes().filter(|byte| *byte == b'-').count() == 4;
    let mut words = told.split(|c: char| !c.is_ascii_hexdigit() && c != '-');
    words.find(is_id).unwrap_or_else(|| panic!("no id in: {told}")).to_owned()
}

/// Asks the program until the run is so.
fn until(dir: &Dir, server: &Server, run: &str, state: &str) -> String {
    let begun = Instant::now();
    loop {
        let told = prefect(server, &["flow-run", "inspect", run]);
        if told.contains(&format!("name='{state}'"))
            || told.contains(&format!("type=StateType.{}", state.to_uppercase()))
        {
            return told;
        }
        let log = || std::fs::read_to_string(dir.file("worker.log")).unwrap_or_default();
        assert!(begun.elapsed() < Duration::from_secs(90), "no {state}: {told}\n{}", log());
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn a_day_on_prefect_3() {
    let Some(server) = server::start(3, &[]) else { return };
    day(3, &server);
}

#[test]
fn a_day_on_prefect_2() {
    let Some(server) = server::start(2, &[]) else { return };
    day(2, &server);
}

fn day(major: u32, server: &Server) {
    let dir = Dir::new();
    sites::sites(&dir);
    sites::scan(&dir);
    sites::held_jobs(&dir, 0);
    let mut setup = dir.command(&["prefect", "setup"]);
    let made = setup.env("PREFECT_API_URL", server.api()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let _worker = Worker::start(&dir, server);
    let long = std::env::var_os("BEAMRAIL_LONG").is_some();

    // Started as an operator does, and watched to its end.
    let file = format!("file_path=\"/global/raw/{SCAN}\"");
    let started = prefect(server, &["deployment", "run", "dispatcher/run_832_dispatcher", "-p", &file]);
    let id = uuid(&started);
    until(&dir, server, &id, "Completed");
    // A sub-run's end is told before that of its parent.
    let listed = prefect(server, &["flow-run", "ls", "--limit", "100", "--state-type", "COMPLETED"]);
    has(&listed, &["dispatcher", "alcf_recon_flow: BLS-00564", "new_832_file_flow: BLS-00564", "COMPLETED"]);
    let recon = listed.lines().find(|line| line.contains("alcf_recon_flow: BLS-00564")).map(uuid).unwrap();
    if major == 2 && !long {
        // Its program takes seconds a call, and the rest of the day is the same.
        has(&prefect(server, &["block", "ls"]), &["json", "pruning-config"]);
        println!("the rest of this day on Prefect 2.20, its pages among it, takes BEAMRAIL_LONG=1");
        return;
    }
    has(&prefect(server, &["flow-run", "logs", &recon]), &["INFO", "job ", "manifest"]);
    has(&prefect(server, &["work-pool", "inspect", "beamrail"]), &["beamrail", "READY"]);
    has(&prefect(server, &["artifact", "ls"]), &["steps"]);
    let shown = prefect(server, &["artifact", "inspect", "steps"]);
    has(&shown, &["Completed", "seconds"]);
    if major == 3 {
        has(&prefect(server, &["variable", "ls"]), &["pruning_config"]);
        has(
            &prefect(server, &["variable", "inspect", "pruning_config"]),
            &["delete_nersc832_files_after_days"],
        );
    }
    // Settings are variables there, and blocks where variables hold text alone.
    let blocks = prefect(server, &["block", "ls"]);
    if major == 2 {
        has(&blocks, &["json", "pruning-config"]);
    }
    has(&prefect(server, &["block", "type", "ls"]), &["json"]);
    // Whoever judges it by its files agrees.
    for home in ["nersc", "als"] {
        let folder = format!("{home}/scratch/BLS-00564_dyparkinson");
        assert!(dir.ok(&["verify", &folder]).contains("digests match"));
    }
    interface(&dir, server, major, &recon);
    incumbent(&dir, server);
    if long {
        asked(&dir, server, major);
        stopped(&dir, server);
    }
}

/// Prefect's own interface in a headless browser. `None`: there is no browser.
fn browse(dir: &Dir, server: &Server, major: u32, arguments: &[&str]) -> Option<String> {
    let playwright = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ui/node_modules/playwright-core");
    let chromium = Path::new("/usr/bin/chromium");
    if !playwright.exists() || !chromium.exists() {
        println!(
            "Prefect's interface was not looked at: chromium and playwright-core are missing; run make browser"
        );
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/prefect/ui.mjs");
    let mut looked = Command::new("node");
    looked.arg(script).arg(chromium).arg(&playwright).arg(format!("http://127.0.0.1:{}", server.port()));
    let begun = Instant::now();
    let looked = looked.arg(major.to_string()).args(arguments).arg(dir.path()).output().unwrap();
    println!("Prefect {major}: {:.1} s in the browser", begun.elapsed().as_secs_f64());
    let told = String::from_utf8_lossy(&looked.stdout).into_owned();
    println!("{told}");
    // For docs/img, and for whoever wants to see them.
    if let Some(kept) = std::env::var_os("BEAMRAIL_PICTURES").map(std::path::PathBuf::from) {
        for picture in dir.names().iter().filter(|name| name.ends_with(".png")) {
            std::fs::copy(dir.file(picture), kept.join(picture)).unwrap();
        }
    }
    assert!(looked.status.success(), "{told}{}", String::from_utf8_lossy(&looked.stderr));
    assert!(told.contains("requests to other hosts: none"), "{told}");
    Some(told)
}

/// The id of the reconstruction's deployment, for the page of its form.
fn deployment(server: &Server) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = ::prefect::Client::new(::prefect::Settings::new(&server.api()).unwrap()).unwrap();
    let found = runtime.block_on(client.deployment("alcf_recon_flow", "alcf_recon_flow")).unwrap();
    found.expect("the deployment").id.to_string()
}

/// Its pages: graph, artifacts, the picture of the result, form, pool.
fn interface(dir: &Dir, server: &Server, major: u32, run: &str) {
    let Some(told) = browse(dir, server, major, &["walk", run, &deployment(server)]) else { return };
    let prefix = if major == 2 { "prefect2" } else { "prefect" };
    for page in ["run", "artifacts", "preview", "form", "pool"] {
        assert!(told.contains(&format!("{prefix}-{page}: 0 errors of scripts")), "{told}");
        let picture = std::fs::read(dir.file(&format!("{prefix}-{page}.png"))).unwrap();
        // An empty page of this size has about 5 kB.
        assert!(picture.len() > 20_000, "{page}: {} bytes", picture.len());
    }
}

/// A centre that is not found: the run asks, an operator answers in the interface, and it goes on with that centre.
fn asked(dir: &Dir, server: &Server, major: u32) {
    let scan = SCAN.replace("132553_sea_shell", "160000_noise");
    let path = format!("als/raw/{scan}");
    dir.ok(&["simulate", &path, "--width", "96", "--rows", "16", "--angles", "91", "--noise", "5"]);
    // Started as file watchers do, so what asks is a run of a run.
    let file = format!("file_path=\"/global/raw/{scan}\"");
    prefect(server, &["deployment", "run", "dispatcher/run_832_dispatcher", "-p", &file]);
    let begun = Instant::now();
    let id = loop {
        let listed = prefect(server, &["flow-run", "ls", "--state-type", "PAUSED"]);
        if let Some(line) = listed.lines().find(|line| line.contains("alcf_recon_flow")) {
            break uuid(line);
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing asks: {listed}");
    };
    if browse(dir, server, major, &["resume", &id, "47.5"]).is_none() {
        return;
    }
    until(dir, server, &id, "Completed");
    let starts = |job: &std::path::PathBuf| std::fs::read_to_string(job.join("starts")).unwrap_or_default();
    assert!(jobs(dir).iter().any(|job| starts(job).contains("--center 47.5")), "no job has that centre");
}

/// A run is stopped from the command line; the job at the facility ends with it.
fn stopped(dir: &Dir, server: &Server) {
    // The job would wait until this is gone.
    std::fs::write(dir.file("hold"), "").unwrap();
    let before = jobs(dir);
    let file = format!("file_path=\"{SCAN}\"");
    let id = uuid(&prefect(server, &["deployment", "run", "alcf_recon_flow/alcf_recon_flow", "-p", &file]));
    let begun = Instant::now();
    let job = loop {
        if let Some(job) = jobs(dir).into_iter().find(|job| !before.contains(job) && running(job)) {
            break job;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "no job begins");
        std::thread::sleep(Duration::from_millis(50));
    };
    let asked = Instant::now();
    prefect(server, &["flow-run", "cancel", &id]);
    until(dir, server, &id, "Cancelled");
    while running(&job) {
        assert!(asked.elapsed() < Duration::from_secs(60), "the job is at work still");
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("a job was stopped within {:.1} s of `prefect flow-run cancel`", asked.elapsed().as_secs_f64());
}

fn jobs(dir: &Dir) -> Vec<std::path::PathBuf> {
    let folders = std::fs::read_dir(dir.file("alcf/.beamrail/jobs"));
    folders.map(|all| all.map(|one| one.unwrap().path()).collect()).unwrap_or_default()
}

/// Whether a process has this job's folder in its arguments.
fn running(job: &Path) -> bool {
    let wanted = job.to_string_lossy().into_owned();
    std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).any(|process| {
        std::fs::read(process.path().join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&wanted))
    })
}

/// The way in of file watcher and notebooks: a Python script with Prefect's own client.
fn incumbent(dir: &Dir, server: &Server) {
    let scan = SCAN.replace("132553_sea_shell", "150000_python");
    std::fs::copy(dir.file("als/raw").join(SCAN), dir.file("als/raw").join(&scan)).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/prefect/incumbent.py");
    let done = Command::new(server.python())
        .arg(script)
        .arg(format!("/global/raw/{scan}"))
        .env("PREFECT_API_URL", server.api())
        .env("PREFECT_HOME", dir.file("python-home"))
        .env("DO_NOT_TRACK", "1")
        .output()
        .unwrap();
    let (told, errors) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && told.starts_with("COMPLETED "), "{told}{errors}");
    let zarr = scan.replace("20230224", "rec20230224").replace(".h5", ".zarr");
    assert!(dir.file("nersc/scratch").join(zarr).exists());
}
