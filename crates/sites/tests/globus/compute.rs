//! Jobs behind Globus Compute: started once, found again, ended, and never taken for finished when they are not.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sites::{Compute, GlobusCompute, GlobusEndpoint, JobHandle, JobSpec, JobState};
use standin::globus::{Fault, Kind as Trouble};

use super::bench::{Globe, until};

/// What each script begins with: take the folder, count the starts.
const PREFACE: &str = r#"#!/bin/sh
while [ "$1" != --job-dir ]; do shift; done
dir=$2
echo started >> "$dir/starts"
echo '{"event": "progress", "stage": "slices", "done": 1, "total": 4}' >> "$dir/progress.jsonl"
status() { echo "{\"exit_code\": $1, \"error\": null, \"retry_helps\": false, \"manifest\": $2, \"finished\": \"now\"}" > "$dir/status.tmp"; mv "$dir/status.tmp" "$dir/status.json"; exit $1; }
"#;

struct Job {
    globe: Globe,
    compute: GlobusCompute,
}

impl Job {
    fn new(script: &str) -> Self {
        let globe = Globe::new();
        let compute = Self::facility(&globe);
        let program = globe.bench.path("alcf", "beamrail µ");
        std::fs::write(&program, format!("{PREFACE}{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { globe, compute }
    }

    /// The facility as a new process would have it.
    fn facility(globe: &Globe) -> GlobusCompute {
        let settings = GlobusEndpoint {
            endpoint: globe.standin.endpoint(),
            poll: Duration::from_millis(20),
            ..GlobusEndpoint::default()
        };
        let root = globe.bench.folder.path().join("alcf");
        GlobusCompute::new("polaris", globe.link.clone(), settings, Arc::new(globe.site("alcf")), root)
    }

    fn dir(&self) -> PathBuf {
        self.globe.bench.path("alcf", "jobs/run µ 1")
    }

    fn spec(&self, attempt: u32) -> JobSpec {
        JobSpec {
            program: self.globe.bench.path("alcf", "beamrail µ"),
            args: vec!["reconstruct".into(), "a scan; rm -rf /µ.h5".into()],
            job_dir: self.dir(),
            env: vec![("BEAMRAIL_X".into(), "µ".into())],
            attempt,
        }
    }

    async fn end(&self, handle: &JobHandle) -> JobState {
        let begun = Instant::now();
        loop {
            let state = self.compute.state(handle).await.unwrap();
            if state.is_over() || begun.elapsed() > Duration::from_secs(20) {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn starts(&self) -> usize {
        std::fs::read_to_string(self.dir().join("starts")).unwrap_or_default().lines().count()
    }

    fn accepted(&self) -> u64 {
        self.globe.standin.counts()["jobs"]["accepted"].as_u64().unwrap()
    }
}

#[tokio::test]
async fn a_job_runs_once_and_says_how_it_ended() {
    let job = Job::new("echo \"$BEAMRAIL_X\" >&2; status 0 '\"abc\"'");
    let handle = job.compute.start(&job.spec(1)).await.unwrap();
    assert!(handle.task.is_some());
    let state = job.end(&handle).await;
    assert_eq!(state.succeeded(), Some("abc"), "{state:?}");
    assert_eq!(job.compute.log_tail(&handle, 100).await.unwrap(), "µ");
    // Asked again, by this process or another that knows the folder only: the same job.
    let again = Job::facility(&job.globe).start(&job.spec(1)).await.unwrap();
    assert_eq!(again.task, handle.task);
    let found = JobHandle { task: None, ..handle };
    assert_eq!(job.compute.state(&found).await.unwrap().succeeded(), Some("abc"));
    assert_eq!((job.starts(), job.accepted()), (1, 1));
    // The next attempt runs anew.
    let second = job.compute.start(&job.spec(2)).await.unwrap();
    assert!(job.end(&second).await.succeeded().is_some());
    assert_eq!((job.starts(), job.accepted()), (2, 2));
}

#[tokio::test]
async fn exit_codes_and_errors_come_back() {
    let job = Job::new("echo 'the log' >&2; status 3 null");
    let handle = job.compute.start(&job.spec(1)).await.unwrap();
    let JobState::Finished(status) = job.end(&handle).await else { panic!("not finished") };
    assert_eq!((status.exit_code, status.manifest), (3, None));

    let job = Job::new("echo dying >&2; kill -9 $$");
    let handle = job.compute.start(&job.spec(1)).await.unwrap();
    let state = job.end(&handle).await;
    assert!(state.succeeded().is_none(), "{state:?}");
    // Ended well, it says, and committed nothing.
    let job = Job::new("exit 0");
    let handle = job.compute.start(&job.spec(1)).await.unwrap();
    let state = job.end(&handle).await;
    assert!(matches!(state, JobState::Died { .. }), "{state:?}");

    let mut spec = job.spec(2);
    spec.program = "/nowhere/beamrail".into();
    let handle = job.compute.start(&spec).await.unwrap();
    let JobState::Finished(status) = job.end(&handle).await else { panic!("not finished") };
    assert!(status.exit_code == 127 && status.error.unwrap().contains("beamrail check"));
}

#[tokio::test]
async fn a_lost_answer_makes_no_second_job() {
    for trouble in [Trouble::LostAnswer, Trouble::LostRequest, Trouble::RateLimit { retry_after: None }] {
        let job = Job::new("sleep 0.2; status 0 '\"abc\"'");
        job.globe.standin.fault(Fault::new(trouble.clone()).on("POST", "*/submit"));
        let handle = match job.compute.start(&job.spec(1)).await {
            Ok(handle) => handle,
            // Nobody knows; whoever asks again finds it, or starts it.
            Err(error) => {
                assert!(error.retry_helps(), "{error}");
                job.compute.start(&job.spec(1)).await.unwrap()
            }
        };
        assert!(job.end(&handle).await.succeeded().is_some(), "{trouble:?}");
        assert_eq!((job.starts(), job.accepted()), (1, 1), "{trouble:?}");
    }
}

#[tokio::test]
async fn waiting_is_told_apart_from_running() {
    let job = Job::new("sleep 0.5; status 0 '\"abc\"'");
    let offline = job.globe.standin.fault(Fault::new(Trouble::EndpointOffline).at(1, 0));
    let handle = job.compute.start(&job.spec(1)).await.unwrap();
    let state = job.compute.state(&handle).await.unwrap();
    assert!(matches!(state, JobState::Queued { .. }), "{state:?}");
    job.globe.standin.disarm(offline);
    let mut seen = false;
    until("the job to run", || job.starts() == 1).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        match job.compute.state(&handle).await.unwrap() {
            JobState::Running { .. } => seen = true,
            state if state.is_over() => break,
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(seen && job.end(&handle).await.succeeded().is_some());
}

#[tokio::test]
async fn a_lost_worker_is_no_end_of_the_job() {
    let job = Job::new("sleep 0.3; status 0 '\"abc\"'");
    job.globe.standin.fault(Fault::new(Trouble::WorkerLost));
    let handle = job.compute.start(&job.spec(1)).await.unwrap();
    let state = job.end(&handle).await;
    assert!(matches!(&state, JobState::Died { .. }), "{state:?}");
    let second = job.compute.start(&job.spec(2)).await.unwrap();
    assert!(job.end(&second).await.succeeded().is_some());
    let job = Job::new("status 0 '\"abc\"'");
    job.globe.standin.fault(Fault::new(Trouble::JobFailed { message: "Traceback\nImportError: no".into() }));
    let handle = job.compute.start(&job.spec(1)).await.unwrap();
    let JobState::Died { log } = job.end(&handle).await else { panic!("not died") };
    assert!(log.contains("ImportError"), "{log}");
}

#[tokio::test]
async fn a_job_is_cancelled_through_its_folder() {
    let job = Job::new("while [ ! -e \"$dir/cancel\" ]; do sleep 0.05; done; status 130 null");
    let handle = job.compute.start(&job.spec(1)).await.unwrap();
    until("the job to run", || job.starts() == 1).await;
    let state = job.compute.cancel(&handle, Duration::from_secs(5)).await.unwrap();
    assert!(matches!(&state, JobState::Finished(status) if status.exit_code == 130), "{state:?}");

    // One that still waits never begins.
    let job = Job::new("status 0 '\"abc\"'");
    let offline = job.globe.standin.fault(Fault::new(Trouble::EndpointOffline).at(1, 0));
    let handle = job.compute.start(&job.spec(1)).await.unwrap();
    let state = job.compute.cancel(&handle, Duration::from_secs(5)).await.unwrap();
    assert!(matches!(&state, JobState::Finished(status) if status.exit_code == 130), "{state:?}");
    job.globe.standin.disarm(offline);
    let state = job.end(&handle).await;
    assert!(matches!(&state, JobState::Finished(status) if status.exit_code == 130), "{state:?}");
    assert_eq!(job.starts(), 0);
}

#[tokio::test]
async fn a_question_is_answered_by_a_worker() {
    let job = Job::new("");
    let ran = job.compute.ask(
        &["-c", "echo \"$0 µ\"", "beamrail 0.1.0"],
        "/bin/sh".as_ref(),
        "jobs/ask",
        Duration::from_secs(10),
    );
    let ran = ran.await.unwrap();
    assert_eq!((ran.rc, ran.stdout.as_str()), (Some(0), "beamrail 0.1.0 µ\n"));
    assert!(ran.python.starts_with("3."));
}
