//! Jobs as processes: found again, ended, and never started twice. The jobs are shell scripts that keep to the
//! contract of the job folder.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sites::{Compute, JobHandle, JobSpec, JobState, LocalCompute};

/// The environment variable by which a test starts itself as the process that is killed.
const CHILD: &str = "BEAMRAIL_TEST_STARTER";

/// What each script begins with: take the folder, write the lock and the progress, count the starts. The count comes
/// last: who sees it finds the others.
const PREFACE: &str = r#"#!/bin/sh
while [ "$1" != --job-dir ]; do shift; done
dir=$2
echo "{\"pid\": $$}" > "$dir/lock"
echo '{"event": "stage", "message": "reading"}' >> "$dir/progress.jsonl"
echo started >> "$dir/starts"
status() { echo "{\"exit_code\": $1, \"error\": null, \"retry_helps\": false, \"manifest\": $2, \"finished\": \"now\"}" > "$dir/status.tmp"; mv "$dir/status.tmp" "$dir/status.json"; exit $1; }
"#;

struct Job {
    folder: tempfile::TempDir,
    compute: LocalCompute,
}

impl Job {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("beamrail with space");
        std::fs::write(&program, format!("{PREFACE}{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Self { folder, compute: LocalCompute::new("here") }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("job")
    }

    fn spec(&self, attempt: u32) -> JobSpec {
        spec(self.folder.path(), attempt)
    }

    async fn end(&self, handle: &JobHandle) -> JobState {
        let begun = Instant::now();
        loop {
            let state = self.compute.state(handle).await.unwrap();
            if state.is_over() || begun.elapsed() > Duration::from_secs(20) {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn starts(&self) -> usize {
        std::fs::read_to_string(self.dir().join("starts")).unwrap_or_default().lines().count()
    }

    /// Waits until the script has begun.
    async fn begun(&self) {
        let begun = Instant::now();
        while self.starts() == 0 && begun.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn spec(folder: &Path, attempt: u32) -> JobSpec {
    JobSpec {
        program: folder.join("beamrail with space"),
        args: vec!["reconstruct".into(), "a scan; rm -rf /.h5".into()],
        job_dir: folder.join("job"),
        env: vec![],
        attempt,
    }
}

fn alive(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

fn number(path: &Path) -> u64 {
    let value: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    value["pid"].as_u64().unwrap()
}

#[tokio::test]
async fn a_job_runs_in_a_session_of_its_own_and_says_how_it_ended() {
    let job = Job::new("ps -o sid= -p $$ > $dir/session; sleep 0.3; status 0 '\"abc\"'");
    assert_eq!(job.compute.state(&handle_of(&job)).await.unwrap(), JobState::NotStarted);
    let handle = job.compute.start(&job.spec(1)).await.unwrap();
    job.begun().await;
    let JobState::Running { progress } = job.compute.state(&handle).await.unwrap() else { unreachable!() };
    assert_eq!(progress.unwrap()["message"], "reading");
    assert_eq!(job.end(&handle).await.succeeded(), Some("abc"));
    let session: u32 = std::fs::read_to_string(job.dir().join("session")).unwrap().trim().parse().unwrap();
    assert_eq!(Some(session), handle.pid, "it leads its own session");
}

fn handle_of(job: &Job) -> JobHandle {
    let (host, boot) = (String::new(), String::new());
    JobHandle { job_dir: job.dir(), attempt: 1, host, pid: None, start_ticks: None, boot, task: None }
}

#[tokio::test]
async fn only_exit_0_with_a_manifest_is_a_success() {
    for (script, success) in [
        ("status 0 null", false),
        ("status 3 '\"abc\"'", false),
        ("exit 0", false),
        ("status 0 '\"abc\"'", true),
    ] {
        let job = Job::new(script);
        let handle = job.compute.start(&job.spec(1)).await.unwrap();
        let state = job.end(&handle).await;
        assert!(state.is_over());
        assert_eq!(state.succeeded().is_some(), success, "{script}: {state:?}");
    }
    let job = Job::new("echo out of memory >&2; kill -9 $$");
    let handle = job.compute.start(&job.spec(1)).await.unwrap();
    let JobState::Died { log } = job.end(&handle).await else { unreachable!() };
    assert!(log.contains("out of memory"), "{log}");
}

#[tokio::test]
async fn the_same_attempt_is_found_and_the_next_one_starts_anew() {
    let job = Job::new("sleep 0.3; status 1 null");
    let first = job.compute.start(&job.spec(1)).await.unwrap();
    // While it runs: the same attempt, and even the next one, find it.
    job.begun().await;
    assert_eq!(job.compute.start(&job.spec(1)).await.unwrap(), first);
    assert_eq!(job.compute.start(&job.spec(2)).await.unwrap(), first);
    job.end(&first).await;
    // When it has ended: the same attempt finds how, the next one tries again.
    assert_eq!(job.compute.start(&job.spec(1)).await.unwrap(), first);
    assert_eq!(job.starts(), 1);
    let second = job.compute.start(&job.spec(2)).await.unwrap();
    assert_ne!(second.pid, first.pid);
    job.end(&second).await;
    assert_eq!(job.starts(), 2);
}

#[tokio::test]
async fn many_starters_at_once_start_one_job() {
    let job = Job::new("sleep 0.5; status 0 '\"abc\"'");
    let starts: Vec<_> = (0..16)
        .map(|_| {
            let (compute, spec) = (job.compute.clone(), job.spec(1));
            tokio::spawn(async move { compute.start(&spec).await })
        })
        .collect();
    for start in starts {
        start.await.unwrap().unwrap();
    }
    assert_eq!(job.end(&handle_of(&job)).await.succeeded(), Some("abc"));
    assert_eq!(job.starts(), 1);
}

#[tokio::test]
async fn a_job_is_asked_first_and_ended_with_all_its_processes_if_it_does_not_listen() {
    let polite = Job::new("while [ ! -e $dir/cancel ]; do sleep 0.05; done; status 130 null");
    let handle = polite.compute.start(&polite.spec(1)).await.unwrap();
    polite.begun().await;
    let state = polite.compute.cancel(&handle, Duration::from_secs(10)).await.unwrap();
    assert!(matches!(state, JobState::Finished(status) if status.exit_code == 130));

    let deaf = Job::new(
        "trap '' TERM; sleep 600 & echo \"{\\\"pid\\\": $!}\" > $dir/new; mv $dir/new $dir/child; while :; do sleep 1; done",
    );
    let handle = deaf.compute.start(&deaf.spec(1)).await.unwrap();
    deaf.begun().await;
    while !deaf.dir().join("child").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let child = number(&deaf.dir().join("child"));
    assert!(alive(child));
    let state = deaf.compute.cancel(&handle, Duration::from_millis(100)).await.unwrap();
    assert!(matches!(state, JobState::Died { .. }), "{state:?}");
    assert!(!alive(child), "what it started is ended too");
}

#[tokio::test]
async fn a_program_that_is_missing_is_told_and_nothing_counts_as_started() {
    let job = Job::new("");
    let spec = JobSpec { program: "no-such-program".into(), ..job.spec(1) };
    let error = job.compute.start(&spec).await.unwrap_err().to_string();
    assert!(error.contains("no such program"), "{error}");
    assert_eq!(job.compute.state(&handle_of(&job)).await.unwrap(), JobState::NotStarted);
    // Once the configuration is right, the same attempt starts.
    let right = Job::new("status 0 '\"abc\"'");
    let handle = right.compute.start(&right.spec(1)).await.unwrap();
    assert!(right.end(&handle).await.succeeded().is_some());
}

/// Not a test by itself: the process that the next test starts, and kills.
#[tokio::test]
async fn starter_that_is_killed() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let _handle = LocalCompute::new("here").start(&spec(Path::new(&folder), 1)).await.unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[tokio::test]
async fn a_job_outlives_a_killed_starter_and_is_adopted_not_started_again() {
    // Killed at several moments: before, while and after the job was started.
    for pause in [0, 5, 10, 20, 40, 80, 160] {
        let job = Job::new("sleep 1; status 0 '\"abc\"'");
        let mut starter = Command::new(std::env::current_exe().unwrap());
        starter.args(["--exact", "starter_that_is_killed"]).env(CHILD, job.folder.path());
        let mut starter = starter.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(pause)).await;
        starter.kill().unwrap();
        starter.wait().unwrap();
        let handle = job.compute.start(&job.spec(1)).await.unwrap();
        assert_eq!(job.end(&handle).await.succeeded(), Some("abc"), "after {pause} ms");
        assert_eq!(job.starts(), 1, "after {pause} ms");
    }
}

#[tokio::test]
async fn an_adopted_job_of_which_only_the_lock_is_known_can_be_ended() {
    let job = Job::new("while :; do sleep 0.1; done");
    let handle = job.compute.start(&job.spec(1)).await.unwrap();
    job.begun().await;
    // As after a crash between starting the job and noting its number.
    let path = job.dir().join("launch.json");
    let mut note: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    note["pid"] = serde_json::Value::Null;
    note["start_ticks"] = serde_json::Value::Null;
    std::fs::write(&path, note.to_string()).unwrap();
    let state = job.compute.cancel(&handle, Duration::from_millis(50)).await.unwrap();
    assert!(matches!(state, JobState::Died { .. } | JobState::NotStarted), "{state:?}");
    assert!(!alive(u64::from(handle.pid.unwrap())));
}
