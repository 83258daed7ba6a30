//! What pages show of raw files, centres, looks that nobody watches, workers, and deletions that are scheduled in Prefect.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use beamline::settings::{Given, Scheduled, Source};
use custody::{Kind, ScanName};
use engine::{Clock, Engine, Registry, Worker};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::desk::{Desk, FOLDER, SCAN, STEM, location, wait_for};

#[test]
fn the_page_of_a_scan_shows_what_its_raw_file_says() {
    let desk = Desk::open();
    desk.raw();
    let anna = desk.anna();
    let told = anna.json("/api/metadata/ALS-1_user/foam").json();
    let truth = scan::open(desk.folder.join("data/raw").join(FOLDER).join("foam.h5")).unwrap();
    let truth = &truth.info().metadata;
    assert!(truth.len() > 20, "{truth:?}");
    assert_eq!(told["values"], json!(truth));
    let page = anna.get("/scans/ALS-1_user/foam").text();
    let rows = page.split("class=\"metadata\"").nth(1).unwrap().split("</table>").next().unwrap();
    for path in truth.keys() {
        assert!(rows.contains(&format!("<code>{path}</code>")), "{path}: {rows}");
    }
    assert!(rows.contains("LBNL Beamline 8.3.2"), "{rows}");
    assert!(page.contains("121 of 4 rows × 96 columns") && page.contains("0.000° to 180.000°"), "{page}");
    // Another file under the name is read anew, and one that is no scan is told as such.
    let path = desk.folder.join("data/raw").join(FOLDER).join("foam.h5");
    std::fs::write(&path, b"no scan").unwrap();
    let broken = anna.json("/api/metadata/ALS-1_user/foam");
    assert_eq!(broken.status, 409, "{}", broken.text());
    let page = anna.get("/scans/ALS-1_user/foam");
    assert!(page.status == 200 && page.text().contains("foam.h5"), "{}", page.text());
}

#[test]
fn the_first_page_tells_the_centre_with_its_doubt_and_reads_a_newer_report() {
    let desk = Desk::open();
    desk.raw();
    let name = ScanName::new(FOLDER, STEM).unwrap();
    let report = |run: &str, center: serde_json::Value| {
        let text = json!({ "plan": { "center": center } }).to_string();
        let now = desk.engine.clock().now();
        desk.beamline.custody.keep_paper(&name, "report", run, text.as_bytes(), now).unwrap();
    };
    let anna = desk.anna();
    assert!(!anna.get("/").text().contains("centre "), "nothing is known yet");
    report(
        "one",
        json!({ "center": 1283.253, "uncertainty": 0.048, "confidence": 0.98, "verdict": "found" }),
    );
    let page = anna.get("/").text();
    assert!(page.contains("centre 1283.25 ± 0.05, confidence 0.98"), "{page}");
    report("two", json!({ "center": 1279.0, "confidence": 0.31, "verdict": "ambiguous" }));
    let page = anna.get("/").text();
    assert!(page.contains("centre 1279.00, <b>ambiguous</b> confidence 0.31"), "{page}");
    assert_eq!(anna.json("/api/scans").json()["scans"][0]["center"]["verdict"], "ambiguous");
}

#[test]
fn a_look_whose_page_was_left_ends_and_one_that_was_reloaded_goes_on() {
    let desk = Desk::open();
    desk.raw();
    let ben = desk.ben();
    let begin = || location(&ben.post("/again/ALS-1_user/foam", &[("act", "strip")]));
    let leave = |look: &str| assert_eq!(ben.post(&format!("{look}/leave"), &[]).status, 204);
    // The first keeps the others waiting.
    let all: Vec<String> = (0..4).map(|_| begin()).collect();
    let page = ben.get(&all[3]).text();
    if page.contains("data-poll") {
        assert!(
            page.contains(&format!("data-leave=\"{}/leave\"", all[3])) && page.contains("<noscript>"),
            "{page}"
        );
    }
    leave(&all[2]);
    leave(&all[3]);
    let reloaded = ben.get(&all[3]).text();
    assert!(!reloaded.contains("it was stopped"), "{reloaded}");
    assert_eq!(desk.anna().post(&format!("{}/leave", all[3]), &[]).status, 403);
    // Who asks counts as there, so the one that was left is not asked about before the others have ended.
    for one in [&all[0], &all[1], &all[3]] {
        wait_for(&ben, one, &["Use ", "Nothing to show"]);
    }
    assert_eq!(ben.post("/looks/none/leave", &[]).status, 404);
}

#[test]
fn what_dead_looks_left_goes_after_a_time() {
    let desk = Desk::open();
    let folder = desk.folder.join("state/looks");
    let made = |name: &str, hours: u64| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.join("recfoam")).unwrap();
        let at = SystemTime::now() - Duration::from_secs(3600 * hours);
        std::fs::File::open(&path).unwrap().set_modified(at).unwrap();
        path
    };
    let (old, young) = (made(".tmpOLD", 5), made(".tmpYOUNG", 0));
    let kept = desk.folder.join("kept");
    std::fs::create_dir(&kept).unwrap();
    let link = folder.join("link");
    std::os::unix::fs::symlink(&kept, &link).unwrap();
    desk.raw();
    location(&desk.ben().post("/again/ALS-1_user/foam", &[("act", "try")]));
    for _ in 0..100 {
        if !old.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!old.exists() && young.exists() && kept.exists() && link.exists());
}

#[test]
fn workers_of_another_time_and_workers_that_ended_do_not_count() {
    let desk = Desk::open();
    let count = || desk.anna().get("/").text();
    assert!(count().contains(" no worker"), "{}", count());
    // A demonstration whose clock ran ahead of this one, and whose worker was killed.
    let ahead = Timestamp::now().checked_add(SignedDuration::from_hours(200)).unwrap();
    let later = Engine::open(desk.folder.join("state/runs.db"), Clock::scaled(ahead, 1.0)).unwrap();
    let worker = Worker::new(later.store(), Registry::new());
    let killed = desk.runtime.spawn(worker.run(std::future::pending()));
    let seen = || desk.runtime.block_on(desk.engine.workers()).unwrap();
    while seen().is_empty() {
        std::thread::sleep(Duration::from_millis(20));
    }
    killed.abort();
    assert!(seen()[0].until > desk.engine.clock().now(), "by its time alone it would count");
    assert!(count().contains(" no worker"), "{}", count());
    // One of now counts for as long as it works.
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let worker = Worker::new(desk.engine.store(), Registry::new());
    let working = desk.runtime.spawn(worker.run(async move {
        let _ = ended.await;
    }));
    wait_for(&desk.anna(), "/", &["1 worker"]);
    end.send(()).unwrap();
    desk.runtime.block_on(working).unwrap().unwrap();
    assert!(count().contains(" no worker"), "it ended in order: {}", count());
}

#[test]
fn the_viewer_shows_two_reconstructions_of_one_scan_beside_each_other() {
    let desk = Desk::open();
    desk.raw();
    let recipe = |center: &str| {
        let mut recipe = reconstruct::Recipe::default();
        recipe.apply(&["center.method=fixed".into(), format!("center.value={center}")]).unwrap();
        recipe
    };
    let aside = crate::sides::volume(&desk, &format!("scratch/{FOLDER}/replaced/1"), &recipe("46"), "one", 1);
    let now = crate::sides::volume(&desk, &format!("scratch/{FOLDER}"), &recipe("49.25"), "two", 2);
    let anna = desk.anna();
    let page = anna.get("/compare/ALS-1_user/foam").text();
    let link = format!("/view/copy%3A{now}#with=copy%3A{aside}");
    assert!(page.contains(&format!("href=\"{link}\"")), "{page}");
    let slice = |copy: i64| {
        let info = anna.json(&format!("/api/volumes/copy%3A{copy}"));
        assert_eq!(info.status, 200, "{}", info.text());
        assert!(info.json()["name"].as_str().unwrap().ends_with(&format!("copy {copy}")), "{}", info.text());
        anna.get(&format!("/api/volumes/copy%3A{copy}/slice?axis=z&index=1")).body
    };
    let (one, other) = (slice(now), slice(aside));
    assert!(one.len() == 96 * 96 * 4 && one != other, "each shows its own");
    assert_eq!(one, anna.get("/api/volumes/data%3AALS-1_user%2Ffoam/slice?axis=z&index=1").body);
    let raw = 1;
    for id in [format!("copy%3A{raw}"), "copy%3A99".into(), "copy%3A-1".into(), "copy%3Ax".into()] {
        assert_eq!(anna.json(&format!("/api/volumes/{id}")).status, 404, "{id}");
    }
}

/// A Prefect server that answers once, and then no more.
struct Prefect {
    at: Timestamp,
    asked: std::sync::atomic::AtomicUsize,
}

#[async_trait::async_trait]
impl Source for Prefect {
    fn name(&self) -> String {
        "Prefect at http://prefect:4200/api".into()
    }
    async fn read(&self, _: &[String]) -> Result<Given, String> {
        Ok(Given::new())
    }
    async fn may_decide(&self) -> Result<(), String> {
        Ok(())
    }
    async fn wants_kept(&self, _: &ScanName, _: &str, _: &str) -> Result<Option<String>, String> {
        Ok(None)
    }
    async fn deletions(&self, _: usize) -> Result<Vec<Scheduled>, String> {
        match self.asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => Ok(vec![Scheduled {
                scan: ScanName::new(FOLDER, STEM).unwrap(),
                site: "alcf".into(),
                path: format!("{SCAN}.h5"),
                at: self.at,
            }]),
            _ => Err("connection refused".into()),
        }
    }
    async fn is_controlled(&self, _: &ScanName) -> Result<bool, String> {
        Ok(false)
    }
    async fn set_controlled(&self, _: &ScanName) -> Result<(), String> {
        Ok(())
    }
}

#[test]
fn deletions_that_prefect_schedules_are_shown_next_to_go() {
    let desk = Desk::open();
    for site in ["data", "alcf"] {
        desk.copy(STEM, site, "raw", Kind::Raw, &[("foam.h5", 8_510_000_000)], "test");
    }
    let anna = desk.anna();
    assert!(anna.get("/").text().contains("Nothing is scheduled to be deleted."));
    let at = Timestamp::now().checked_add(SignedDuration::from_hours(47)).unwrap();
    desk.app.schedules_are_with(Arc::new(Prefect { at, asked: 0.into() }));
    let page = wait_for(&anna, "/", &["8.5 GB</", "each verified at data"]);
    assert!(page.contains("raw data of") && page.contains("/scans/ALS-1_user/foam"), "{page}");
    assert!(page.contains("As Prefect at http://prefect:4200/api said"), "{page}");
    let told = anna.json("/api/now").json();
    assert_eq!(told["next"][0]["site"], "alcf");
    assert_eq!(told["next"][0]["kept_at"], json!(["data"]));
    assert_eq!(told["elsewhere"]["fault"], json!(null));
}

#[test]
fn a_silent_prefect_is_said_and_nothing_is_made_up() {
    let desk = Desk::open();
    desk.app.schedules_are_with(Arc::new(Prefect { at: Timestamp::now(), asked: 1.into() }));
    let page = wait_for(&desk.anna(), "/", &["connection refused"]);
    assert!(page.contains("connection refused. What is scheduled there is not known."), "{page}");
    assert!(!page.contains("Nothing is scheduled"), "{page}");
}
