//! The runner function, executed by plain Python as a worker would: what it starts, tells, cancels and ends.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use globus::compute::{RUNNER_SOURCE, Ran, RunnerSpec};
use serde_json::{Value, json};

/// What the worker does: the source in a namespace of its own, one call, the result as JSON.
const WORKER: &str = "import json, sys\n\
    ns = {}\n\
    exec(open(sys.argv[1], encoding='utf-8').read(), ns)\n\
    print(json.dumps(ns['beamrail_job'](json.load(open(sys.argv[2], encoding='utf-8')))))\n";

/// A folder for one test. Whatever still runs in it is ended with it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("runner.py"), RUNNER_SOURCE).unwrap();
        Self { folder }
    }

    fn job_dir(&self) -> PathBuf {
        self.folder.path().join("jöb")
    }

    /// A shell script as a job.
    fn spec(&self, script: &str) -> RunnerSpec {
        let args = vec!["-c".to_owned(), script.to_owned(), "job".to_owned()];
        let mut spec = RunnerSpec::new("/bin/sh", args, self.job_dir().to_str().unwrap());
        (spec.poll, spec.grace) = (0.02, 0.3);
        spec
    }

    fn start(&self, spec: &RunnerSpec) -> Child {
        let number = std::fs::read_dir(self.folder.path()).unwrap().count();
        let file = self.folder.path().join(format!("spec-{number}.json"));
        std::fs::write(&file, serde_json::to_string(spec).unwrap()).unwrap();
        // A worker under a batch system often has no locale.
        Command::new("python3")
            .args(["-c", WORKER])
            .arg(self.folder.path().join("runner.py"))
            .arg(file)
            .env("LC_ALL", "C")
            .env("PYTHONUTF8", "0")
            .env("PYTHONCOERCECLOCALE", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn run(&self, spec: &RunnerSpec) -> Ran {
        end(self.start(spec))
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.job_dir().join(name)).unwrap_or_default()
    }
}

fn end(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    Ran::read(value).unwrap()
}

/// Waits for something, ten seconds at most.
fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat"));
    stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z')))
}

#[test]
fn exit_code_tails_and_status_come_back() {
    let place = Place::new();
    let mut spec = place.spec(
        "echo out $VALUE; echo err >&2; printf '{\"exit_code\": 3, \"error\": \"centre\", \"retry_helps\": false, \
         \"manifest\": null, \"finished\": \"now\"}' > \"$1/status.json\"; echo said > \"$1/log\"; exit 3",
    );
    spec.args.push(spec.job_dir.clone());
    spec.env.insert("VALUE".into(), "µ 𝄞".into());
    let ran = place.run(&spec);
    assert_eq!((ran.rc, ran.how.as_str()), (Some(3), "ended"));
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str(), ran.log.as_str()),
        ("out µ 𝄞\n", "err\n", "said\n")
    );
    let status = ran.status.clone().unwrap();
    assert_eq!((status.exit_code, status.error.as_deref()), (3, Some("centre")));
    assert_eq!(ran.tail(), "out µ 𝄞\nerr\nsaid");
    assert!(!ran.host.is_empty() && ran.python.starts_with("3.") && ran.file.is_none());
    let launched: Value = serde_json::from_str(&place.read("launch.json")).unwrap();
    assert_eq!((&launched["attempt"], &launched["job_dir"]), (&json!(1), &json!(spec.job_dir)));
    assert!(launched["pid"].is_u64() && launched["start_ticks"].is_u64());
}

#[test]
fn arguments_that_are_not_ascii_arrive_as_they_are() {
    let place = Place::new();
    let mut spec = place.spec("printf '%s|' \"$@\"");
    spec.args.extend(["µm", "a b", "", "--x=𝄞", "'\"\\"].map(str::to_owned));
    assert_eq!(place.run(&spec).stdout, "µm|a b||--x=𝄞|'\"\\|");
}

#[test]
fn a_signal_and_a_missing_program_are_told() {
    let place = Place::new();
    assert_eq!(place.run(&place.spec("kill -9 $$")).rc, Some(-9));
    let place = Place::new();
    let mut spec = place.spec("");
    spec.program = "/nowhere/beamrail".into();
    let ran = place.run(&spec);
    assert_eq!(ran.rc, Some(127));
    assert!(ran.how.contains("does not start"), "{}", ran.how);
}

#[test]
fn a_large_report_stays_in_the_folder_and_a_small_one_comes_along() {
    let place = Place::new();
    let report = place.folder.path().join("rec.report.json");
    std::fs::write(&report, format!("{{\"µ\": \"{}\"}}", "x".repeat(100))).unwrap();
    let mut spec = place.spec("exit 0");
    spec.report = report.to_str().map(str::to_owned);
    assert_eq!(place.run(&spec).report, Some(std::fs::read_to_string(&report).unwrap()));

    let place = Place::new();
    let mut spec =
        RunnerSpec { report: spec.report.clone(), ..place.spec("head -c 50000 /dev/zero | tr '\\0' y") };
    std::fs::write(&report, "x".repeat(300_000)).unwrap();
    spec.limit = 100_000;
    let ran = place.run(&spec);
    assert_eq!(ran.report, None);
    assert!(serde_json::to_string(&ran).unwrap().len() < 20_000);
    let file = ran.file.unwrap();
    let whole: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(whole["report"].as_str().unwrap().len(), 300_000);
    // A tail is what it says, and no more.
    assert_eq!(whole["stdout"].as_str().unwrap().len(), 8192);
}

#[test]
fn a_cancel_file_ends_the_job_and_all_its_processes() {
    // One that ends by itself when it sees the file; one that has to be ended; one whose child ignores SIGTERM.
    for (script, polite) in [
        ("echo $$ > \"$1/pid\"; while [ ! -e \"$1/cancel\" ]; do sleep 0.02; done; exit 130", true),
        ("echo $$ > \"$1/pid\"; sleep 60", false),
        (
            "sh -c 'trap \"\" TERM; echo $$ > \"$0/child\"; while :; do sleep 0.1; done' \"$1\" & echo $$ > \"$1/pid\"; wait; sleep 60",
            false,
        ),
    ] {
        let place = Place::new();
        let mut spec = place.spec(script);
        spec.args.push(spec.job_dir.clone());
        let child = place.start(&spec);
        wait("the job to start", || !place.read("pid").is_empty());
        if script.contains("child") {
            wait("its child to start", || !place.read("child").is_empty());
        }
        std::fs::write(place.job_dir().join("cancel"), "").unwrap();
        let ran = end(child);
        assert_eq!(ran.how, "cancelled", "{script}");
        assert_eq!(ran.rc, Some(if polite { 130 } else { -15 }), "{script}");
        for file in ["pid", "child"] {
            let pid = place.read(file);
            if !pid.is_empty() {
                wait("its processes to end", || !alive(&pid));
            }
        }
    }
}

#[test]
fn processes_that_a_job_leaves_behind_are_ended() {
    let place = Place::new();
    let mut spec = place.spec("sleep 60 & echo $! > \"$1/child\"; exit 0");
    spec.args.push(spec.job_dir.clone());
    assert_eq!(place.run(&spec).rc, Some(0));
    wait("the child to end", || !alive(&place.read("child")));
}

#[test]
fn the_walltime_ends_a_job() {
    let place = Place::new();
    let mut spec = place.spec("sleep 60");
    spec.walltime = Some(0.2);
    let ran = place.run(&spec);
    assert_eq!((ran.how.as_str(), ran.rc), ("walltime", Some(-15)));
}

#[test]
fn a_task_that_was_submitted_twice_runs_once() {
    let place = Place::new();
    let mut spec = place.spec(
        "echo run >> \"$1/runs\"; sleep 0.5; printf '{\"exit_code\": 0, \"manifest\": \"m\"}' > \"$1/status.json\"",
    );
    spec.args.push(spec.job_dir.clone());
    let first = place.start(&spec);
    wait("the job to start", || !place.read("runs").is_empty());
    let second = place.start(&spec);
    let (first, second) = (end(first), end(second));
    assert_eq!((first.how.as_str(), second.how.as_str()), ("ended", "adopted"));
    assert_eq!((first.rc, second.rc), (Some(0), Some(0)));
    assert_eq!(second.status.unwrap().manifest.as_deref(), Some("m"));
    // And one that comes when all is over.
    assert_eq!(place.run(&spec).how, "ended before");
    assert_eq!(place.read("runs"), "run\n");
    // The next attempt runs, and an old wish to cancel is not for it.
    std::fs::write(place.job_dir().join("cancel"), "").unwrap();
    spec.attempt = 2;
    assert_eq!(place.run(&spec).how, "ended");
    assert_eq!(place.read("runs"), "run\nrun\n");
}

#[test]
fn a_job_cancelled_before_it_began_does_not_begin() {
    let place = Place::new();
    std::fs::create_dir(place.job_dir()).unwrap();
    std::fs::write(place.job_dir().join("cancel"), "").unwrap();
    let mut spec = place.spec("echo run > \"$1/runs\"");
    spec.args.push(spec.job_dir.clone());
    let ran = place.run(&spec);
    assert_eq!((ran.rc, ran.how.as_str()), (Some(130), "cancelled before it began"));
    assert_eq!(place.read("runs"), "");
}
