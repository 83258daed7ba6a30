//! Storage: the calendar, the plan, the question before a deletion, the switch.

use custody::Kind;
use engine::{Clock, Orchestrator};
use jiff::{SignedDuration, Timestamp};

use crate::desk::{Desk, STEM, location};

/// A raw scan at both sites, verified four days ago: its copy at alcf may go since two days.
fn due() -> (Desk, Clock) {
    let clock = Clock::manual(Timestamp::now());
    let desk = Desk::at(clock.clone());
    let file = format!("{STEM}.h5");
    for site in ["data", "alcf"] {
        desk.copy(STEM, site, "raw", Kind::Raw, &[(&file, 8_510_000_000)], "test");
    }
    desk.copy("other", "data", "scratch", Kind::Zarr, &[("recother.zarr/0/.zarray", 4_000_000_000)], "test");
    (desk, clock)
}

fn days(n: i64) -> std::time::Duration {
    SignedDuration::from_hours(24 * n).unsigned_abs()
}

#[test]
fn the_calendar_says_what_goes_when_and_why_it_may() {
    let (desk, _) = due();
    let told = desk.anna().json("/api/storage").json();
    assert_eq!(told["deletion"], false);
    let site = |name: &str| {
        told["sites"].as_array().unwrap().iter().find(|one| one["site"] == name).unwrap().clone()
    };
    assert_eq!(
        (site("alcf")["ours"].as_u64(), site("alcf")["soon"].as_u64()),
        (Some(8_510_000_000), Some(8_510_000_000))
    );
    assert_eq!(
        (site("data")["ours"].as_u64(), site("data")["copies"].as_u64()),
        (Some(12_510_000_000), Some(2))
    );
    assert_eq!(site("data")["soon"], 4_000_000_000_u64, "the seventh day counts");
    assert!(site("data")["capacity"].as_u64() > site("data")["used"].as_u64());
    let calendar = told["calendar"].as_array().unwrap();
    assert_eq!(calendar.len(), 2);
    assert_eq!((calendar[0]["site"].as_str(), calendar[0]["alone"].as_u64()), (Some("alcf"), Some(0)));
    assert_eq!(calendar[0]["kept_at"][0], "data");
    assert_eq!((calendar[1]["site"].as_str(), calendar[1]["alone"].as_u64()), (Some("data"), Some(1)));
    let page = desk.anna().get("/storage").text();
    for text in [
        "8.5 GB ours in 1 copy",
        "each verified at data",
        "without a verified copy elsewhere",
        "2 days after the copy at data is verified",
        "Deletion is switched off",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains("Make a plan now") && !page.contains("Switch deletion on"), "anna may look");
}

#[test]
fn a_deletion_says_what_it_does_asks_once_and_is_written_down() {
    let (desk, clock) = due();
    clock.advance(days(3));
    let ben = desk.ben();
    assert_eq!(ben.get("/storage/prune?site=alcf").status, 409, "no plan yet");
    assert_eq!(location(&ben.post("/storage/plan", &[])), "/storage#plan");
    let page = ben.get("/storage").text();
    assert!(page.contains("Delete 1 copy at alcf, 8.5 GB…"), "{page}");
    let question = ben.get("/storage/prune?site=alcf").text();
    assert!(
        question.contains("Delete 1 copy at alcf, 8.5 GB?") && question.contains("verified at data too"),
        "{question}"
    );
    assert!(question.contains("Deletion is switched off"));
    let plan = desk.beamline.custody.plans(1).unwrap()[0].0.to_string();
    let form = [("site", "alcf"), ("plan", plan.as_str())];
    assert_eq!(desk.anna().post("/storage/prune", &form).status, 403);
    assert_eq!(desk.browser().post("/storage/prune", &form).status, 403, "a form without its token");
    for (form, status) in [
        ([("site", "alcf"), ("plan", "999")], 409),
        ([("site", "data"), ("plan", plan.as_str())], 409),
        ([("site", "../alcf"), ("plan", plan.as_str())], 404),
        ([("site", "alcf"), ("plan", "x")], 422),
    ] {
        assert_eq!(ben.post("/storage/prune", &form).status, status, "{form:?}");
    }
    let run = location(&ben.post("/storage/prune", &form));
    assert_eq!(location(&ben.post("/storage/prune", &form)), run, "pressed twice, run once");
    let run = run.strip_prefix("/runs/").unwrap().parse().unwrap();
    assert_eq!(desk.runtime.block_on(desk.engine.run(run)).unwrap().flow, "prune_alcf_raw");
    let lines = desk.audit();
    assert!(lines.iter().any(|line| line["action"] == "delete what may go"
        && line["on"] == "site alcf"
        && line["event"] == "done"));
    clock.advance(days(2));
    assert_eq!(ben.get("/storage/prune?site=alcf").status, 409, "an old plan");
}

#[test]
fn the_switch_needs_an_administrator() {
    let (desk, _) = due();
    let on = || desk.beamline.custody.deletion_is_on().unwrap();
    assert_eq!(desk.ben().post("/storage/switch", &[("to", "on")]).status, 403);
    assert!(!desk.ben().get("/storage").text().contains("Switch deletion on"));
    assert_eq!(desk.cleo().post("/storage/switch", &[("to", "maybe")]).status, 400);
    assert!(!on());
    location(&desk.cleo().post("/storage/switch", &[("to", "on")]));
    assert!(on());
    let page = desk.anna().get("/storage").text();
    assert!(
        page.contains("Deletion is on") && page.contains("deletion switched on") && page.contains("cleo"),
        "{page}"
    );
    location(&desk.cleo().post("/storage/switch", &[("to", "off")]));
    assert!(!on());
}
