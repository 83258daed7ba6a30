//! Facilities and sites: looked at in the background, never waited for.

use engine::{NewRun, Orchestrator};
use serde_json::json;

use crate::desk::{Desk, location, wait_for};

#[test]
fn places_are_looked_at_in_the_background_and_say_who_must_do_what() {
    let desk = Desk::open();
    std::fs::rename(desk.folder.join("alcf"), desk.folder.join("elsewhere")).unwrap();
    let anna = desk.anna();
    let first = anna.get("/sites");
    assert_eq!(first.status, 200);
    let page = wait_for(&anna, "/sites", &["mkdir -m 2775"]);
    assert!(page.contains("something would fail") && page.contains("No such file"), "{page}");
    assert!(!page.contains("Look now"), "anna may look at the page only");
    let until = |field: &str| {
        for _ in 0..400 {
            let told = anna.json("/api/sites").json();
            if told["looking"] == false && !told[field][0]["health"].is_null() {
                return told;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("it never ended: {}", anna.json("/api/sites").text());
    };
    let told = until("facilities");
    let verdict = |place: &serde_json::Value| place["health"]["verdict"].as_str().unwrap().to_owned();
    let site = |name: &str| {
        told["sites"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
    };
    assert_eq!(verdict(&site("alcf")), "fault");
    assert_ne!(verdict(&site("data")), "fault", "{told}");
    // Seen a moment ago: nobody makes it look again at once.
    assert_eq!(desk.anna().post("/sites/check", &[]).status, 403);
    assert_eq!(desk.browser().post("/sites/check", &[]).status, 403, "a form without its token");
    location(&desk.ben().post("/sites/check", &[]));
    assert!(desk.audit().iter().any(|line| line["outcome"] == "done a moment ago"), "{:?}", desk.audit());
}

#[test]
fn what_runs_and_waits_is_counted() {
    let desk = Desk::open();
    for stem in ["a", "b"] {
        let new = NewRun::of("alcf_recon_flow", json!({ "file_path": format!("f/{stem}.h5") }));
        desk.runtime.block_on(desk.engine.create_run(new)).unwrap();
    }
    let told = desk.anna().json("/api/sites").json();
    let one = &told["facilities"][0];
    assert_eq!(
        (one["name"].as_str(), one["waiting"].as_u64(), one["running"].as_u64()),
        (Some("polaris"), Some(2), Some(0))
    );
    assert_eq!(one["flows"][0], "alcf_recon_flow");
    let page = desk.anna().get("/sites").text();
    assert!(page.contains("0 running") && page.contains("2 waiting here"), "{page}");
}
