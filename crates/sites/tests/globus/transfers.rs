//! Transfers: what arrives, and what happens when something goes wrong on the way.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use custody::{Kind, Level, Reach};
use sites::{Error, Progress, Storage, Watch};
use standin::globus::{Fault, Kind as Trouble};

use super::bench::{Globe, SECRET, until};
use super::common::{Bench, bytes, raw_name, tree, zarr_files};

/// The folder in which parts arrive; empty once all is in place.
fn parts(globe: &Globe, site: &str, kind: Kind) -> usize {
    let base = globe.bench.path(site, Bench::base(kind).as_str());
    let Ok(found) = std::fs::read_dir(base) else { return 0 };
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    found.map(name).filter(|name| name.starts_with(".beamrail-part-")).count()
}

#[tokio::test]
async fn a_scan_and_its_results_arrive_whole() {
    let globe = Globe::new();
    let raw = globe.raw("als", 3_000_000);
    let done = globe.send(Kind::Raw, &raw, "als", "nersc", "k1", &Watch::default()).await.unwrap();
    assert_eq!((done.level, done.copied, done.reused), (Level::TransferChecksummed, 3_000_000, 0));
    let at = |site: &str| globe.bench.path(site, &format!("{}/{}", Bench::base(Kind::Raw), raw_name()));
    assert_eq!(std::fs::read(at("nersc")).unwrap(), bytes(7, 3_000_000));
    let time = |site: &str| std::fs::metadata(at(site)).unwrap().modified().unwrap();
    let (from, to) = (time("als"), time("nersc"));
    let apart = from.max(to).duration_since(from.min(to)).unwrap();
    assert!(apart < Duration::from_secs(1), "{apart:?}");
    let Reach::Seen(seen) = &done.seen.reach else { panic!("not reached") };
    assert_eq!(seen.iter().find(|one| one.path == raw_name()).unwrap().size, 3_000_000);

    let files = globe.bench.write("nersc", Kind::Zarr, &zarr_files());
    let done = globe.send(Kind::Zarr, &files, "nersc", "alcf", "k2", &Watch::default()).await.unwrap();
    assert_eq!(done.copied, files.bytes());
    let base = Bench::base(Kind::Zarr);
    let mut expected = zarr_files();
    expected.sort();
    until("our folder to go", || parts(&globe, "alcf", Kind::Zarr) == 0).await;
    assert_eq!(tree(&globe.bench.path("alcf", base.as_str())), expected);
    // One submission each, whose label carries scan and run.
    assert_eq!(globe.posts("20260101_000001_x"), [1, 1]);
    assert_eq!((globe.posts("run-k1"), globe.posts("run-k2")), (vec![1], vec![1]));
}

#[tokio::test]
async fn what_is_there_already_is_compared_and_not_moved() {
    let globe = Globe::new();
    let raw = globe.raw("als", 1_000_000);
    globe.raw("nersc", 1_000_000);
    let done = globe.send(Kind::Raw, &raw, "als", "nersc", "k", &Watch::default()).await.unwrap();
    assert_eq!((done.copied, done.reused), (0, 1_000_000));
    // Something else of that name is left alone, and nothing is submitted.
    globe.raw("alcf", 999);
    let error = globe.send(Kind::Raw, &raw, "als", "alcf", "other", &Watch::default()).await.unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    assert!(error.to_string().contains("999 bytes, the source 1000000"), "{error}");
    let path = globe.bench.path("alcf", &format!("{}/{}", Bench::base(Kind::Raw), raw_name()));
    assert_eq!(std::fs::metadata(path).unwrap().len(), 999);
    assert!(globe.posts("run-other").is_empty());
}

#[tokio::test]
async fn lost_answers_make_no_second_transfer() {
    let refused = Trouble::Status { status: 503, code: None, message: None, retry_after: None };
    let limit = Trouble::RateLimit { retry_after: Some(1) };
    let all = [Trouble::LostAnswer, Trouble::LostRequest, limit, refused, Trouble::ExpiredToken];
    for path in ["/v0.10/transfer", "/v0.10/submission_id", "/v0.10/task/*", "*/rename", "*/mkdir", "*/stat"]
    {
        // Every trouble where it is worst, the worst trouble everywhere.
        let some = if path == "/v0.10/transfer" { all.len() } else { 1 };
        for trouble in all.iter().take(some) {
            let globe = Globe::new();
            let raw = globe.raw("als", 50_000);
            let mut fault = Fault::new(trouble.clone());
            fault.path = Some(path.to_owned());
            globe.standin.fault(fault);
            let done = globe.send(Kind::Raw, &raw, "als", "nersc", "k", &Watch::default()).await;
            // A rename whose answer is lost before it was done is tried by the step again.
            let done = match done {
                Err(error) if path == "*/rename" && error.retry_helps() => {
                    globe.send(Kind::Raw, &raw, "als", "nersc", "k", &Watch::default()).await
                }
                other => other,
            };
            assert!(done.is_ok(), "{path} {trouble:?}: {}", done.unwrap_err());
            assert_eq!(globe.posts("run-k").len(), 1, "{path} {trouble:?}");
            let arrived = globe.bench.path("nersc", &format!("{}/{}", Bench::base(Kind::Raw), raw_name()));
            assert_eq!(std::fs::read(arrived).unwrap(), bytes(7, 50_000), "{path} {trouble:?}");
        }
    }
}

#[tokio::test]
async fn a_transfer_is_found_again_after_a_crash() {
    let globe = Globe::new();
    let raw = globe.raw("als", 400_000);
    let slow = globe.standin.fault(Fault::new(Trouble::SlowTransfer { bytes_per_second: 50_000 }).at(1, 0));
    {
        // Whoever waited is gone in the middle, at three different points.
        for patience in [60, 200, 400] {
            let never = Watch::default();
            let sending = globe.send(Kind::Raw, &raw, "als", "nersc", "k", &never);
            let ended = tokio::time::timeout(Duration::from_millis(patience), sending).await;
            assert!(ended.is_err(), "it was not in the middle");
        }
    }
    globe.standin.disarm(slow);
    let done = globe.send(Kind::Raw, &raw, "als", "nersc", "k", &Watch::default()).await.unwrap();
    assert_eq!(done.level, Level::TransferChecksummed);
    assert_eq!(globe.posts("run-k").len(), 1, "submitted again");
    // And once more when all is done: nothing is moved, nothing is asked.
    globe.send(Kind::Raw, &raw, "als", "nersc", "k", &Watch::default()).await.unwrap();
    assert_eq!(globe.posts("run-k").len(), 1);
}

#[tokio::test]
async fn faults_end_right_or_with_the_right_advice() {
    let file = |code: &str| Trouble::FileFault { code: code.into(), details: "Path: /x".into() };
    let failed = |code: &str| Trouble::TaskFailed { code: code.into(), description: "because".into() };
    for (trouble, times, expected, retry) in [
        (file("PERMISSION_DENIED"), 0, "give this client read permission", false),
        (file("FILE_NOT_FOUND"), 0, "a source file is not there", false),
        (failed("QUOTA_EXCEEDED"), 1, "the destination is full; make room there", false),
        (failed("DEADLINE_EXPIRED"), 1, "before its deadline", true),
        (failed("CANCELED"), 1, "was cancelled", false),
        (Trouble::Inactive, 0, "waits for credentials or a consent", false),
        // These end well by themselves.
        (file("CONNECT_FAILED"), 2, "", false),
        (Trouble::Corrupt, 1, "", false),
    ] {
        let globe = Globe::new();
        let raw = globe.raw("als", 100_000);
        globe.standin.fault(Fault::new(trouble.clone()).at(1, times));
        let done = globe.send(Kind::Raw, &raw, "als", "nersc", "k", &Watch::default()).await;
        match (expected, done) {
            ("", done) => {
                done.unwrap();
                let path = globe.bench.path("nersc", &format!("{}/{}", Bench::base(Kind::Raw), raw_name()));
                assert_eq!(std::fs::read(path).unwrap(), bytes(7, 100_000), "{trouble:?}");
            }
            (words, Err(error)) => {
                let text = error.to_string();
                assert!(text.contains(words), "{trouble:?}: {text}");
                assert_eq!(error.retry_helps(), retry, "{trouble:?}: {text}");
                assert!(!text.contains(SECRET));
                // Nothing under a name that counts.
                let path = globe.bench.path("nersc", &format!("{}/{}", Bench::base(Kind::Raw), raw_name()));
                assert!(!path.exists(), "{trouble:?}");
            }
            (words, Ok(_)) => panic!("{trouble:?}: no error, expected {words}"),
        }
    }
}

#[tokio::test]
async fn another_try_after_a_failed_task_is_a_new_task() {
    let globe = Globe::new();
    let raw = globe.raw("als", 100_000);
    let failed = Trouble::TaskFailed { code: "DEADLINE_EXPIRED".into(), description: String::new() };
    globe.standin.fault(Fault::new(failed));
    globe.send(Kind::Raw, &raw, "als", "nersc", "k", &Watch::default()).await.unwrap_err();
    globe.send(Kind::Raw, &raw, "als", "nersc", "k", &Watch::default()).await.unwrap();
    assert_eq!(globe.posts("run-k"), [1, 1]);
}

#[tokio::test]
async fn a_pause_is_told_and_waited_for() {
    let globe = Globe::new();
    let raw = globe.raw("als", 100_000);
    let paused = globe.standin.fault(Fault::new(Trouble::Paused).at(1, 0));
    let said: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let told = said.clone();
    let watch = Watch::new(move |progress| told.lock().unwrap().push(progress.clone()));
    let wait = async {
        let heard = |said: &Mutex<Vec<Progress>>| {
            said.lock()
                .unwrap()
                .iter()
                .any(|one| one.note.as_deref().is_some_and(|note| note.contains("paused")))
        };
        until("the pause to be told", || heard(&said)).await;
        globe.standin.disarm(paused);
    };
    let (done, ()) = tokio::join!(globe.send(Kind::Raw, &raw, "als", "nersc", "k", &watch), wait);
    done.unwrap();
    let last = said.lock().unwrap().last().cloned().unwrap();
    assert_eq!((last.bytes, last.total_bytes, last.total_files), (100_000, 100_000, 1));
}

#[tokio::test]
async fn cancelling_cancels_the_task_and_leaves_nothing() {
    let globe = Globe::new();
    let raw = globe.raw("als", 400_000);
    globe.standin.fault(Fault::new(Trouble::SlowTransfer { bytes_per_second: 20_000 }).at(1, 0));
    let watch = Watch::default();
    let stop = async {
        until("the transfer to begin", || !globe.posts("run-k").is_empty()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        watch.stop();
    };
    let (done, ()) = tokio::join!(globe.send(Kind::Raw, &raw, "als", "nersc", "k", &watch), stop);
    assert!(matches!(done.unwrap_err(), Error::Cancelled));
    until("our folder to go", || parts(&globe, "nersc", Kind::Raw) == 0).await;
    let counts = globe.standin.counts();
    let all = counts["submissions"].as_object().unwrap().values();
    let mine: Vec<_> =
        all.filter(|one| one["label"].as_str().is_some_and(|label| label.contains("run-k"))).collect();
    assert_eq!(mine.len(), 1);
    assert_eq!(mine[0]["status"], "FAILED");
}

#[tokio::test]
async fn a_source_that_changes_on_the_way_is_not_kept() {
    let globe = Globe::new();
    let raw = globe.raw("als", 300_000);
    let slow = globe.standin.fault(Fault::new(Trouble::SlowTransfer { bytes_per_second: 100_000 }).at(1, 0));
    let path = globe.bench.path("als", &format!("{}/{}", Bench::base(Kind::Raw), raw_name()));
    let touch = async {
        until("the transfer to begin", || !globe.posts("run-k").is_empty()).await;
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)).unwrap();
        globe.standin.disarm(slow);
    };
    let watch = Watch::default();
    let (done, ()) = tokio::join!(globe.send(Kind::Raw, &raw, "als", "nersc", "k", &watch), touch);
    let error = done.unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error}");
    let arrived = globe.bench.path("nersc", &format!("{}/{}", Bench::base(Kind::Raw), raw_name()));
    assert!(!arrived.exists());
    let there = globe.site("nersc").stat(&Bench::base(Kind::Raw)).await.unwrap();
    assert!(there.is_some());
}
