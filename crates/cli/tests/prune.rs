//! Deletion from the command line: off at first, on by the operator, held scans kept, everything in the ledger.

mod common;
#[path = "common/sites.rs"]
mod sites;

use common::Dir;
use sites::{SCAN, scan, sites};

#[test]
fn copies_go_only_when_deletion_is_on_and_nobody_holds_them() {
    let dir = Dir::new();
    sites(&dir);
    scan(&dir);
    // To alcf too, where raw data may go at once; the plan is made by hand here.
    dir.ok(&["run", "new_832_file_flow", "--file", SCAN, "--wait", "--progress", "none"]);
    dir.ok(&["run", "alcf_recon_flow", "--file", SCAN, "--wait", "--progress", "none"]);
    let there = dir.file("alcf/raw").join(SCAN);
    assert!(there.is_file());

    let plan = dir.json(&["prune", "plan", "--json"]);
    assert_eq!(plan["switched_on"], false);
    let goes = |plan: &serde_json::Value| {
        plan["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|item| item["kind"] == "raw" || item["dataset"]["kind"] == "raw")
            .count()
    };
    assert_eq!(goes(&plan), 1, "{plan}");
    assert!(dir.ok(&["prune"]).contains("rests on the copies at"));
    let run = dir.run(&["prune", "run", "--progress", "none"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("deletion is off") && there.is_file(), "{}", run.stderr);

    assert!(dir.ok(&["prune", "on"]).contains("deletion is on"));
    assert!(dir.ok(&["custody", "hold", SCAN, "--reason", "for the paper"]).contains("is held"));
    dir.ok(&["prune", "run", "--progress", "none"]);
    assert!(there.is_file(), "a held scan was deleted");
    assert!(dir.ok(&["prune", "plan"]).contains("holds it: for the paper"));
    assert!(dir.ok(&["custody", "show", SCAN]).contains("for the paper"));

    assert!(dir.ok(&["custody", "release", SCAN]).contains("1 hold released"));
    let text = dir.ok(&["prune", "run", "--progress", "none"]);
    assert!(text.contains("deleted") && text.contains("are free now"), "{text}");
    assert!(!there.exists(), "what may go is still there");
    // The others stay: raw where it is kept, results whose time has not come.
    assert!(dir.file("als/raw").join(SCAN).is_file() && dir.file("nersc/raw").join(SCAN).is_file());
    assert!(dir.ok(&["verify", "nersc/scratch/BLS-00564_dyparkinson"]).contains("digests match"));
    let history = dir.ok(&["prune", "history"]);
    for words in ["switched", "refused", "deleted", "holds it"] {
        assert!(history.contains(words), "'{words}' is not in {history}");
    }
    let ledger = dir.json(&["prune", "history", "--json"]);
    assert!(
        ledger.as_array().unwrap().iter().any(|entry| entry["event"] == "deleted" && entry["site"] == "alcf")
    );
    assert!(dir.ok(&["prune", "off"]).contains("deletion is off"));
}

#[test]
fn reconcile_finds_what_was_missed_and_adopts_it() {
    let dir = Dir::new();
    sites(&dir);
    scan(&dir);
    let found = dir.json(&["reconcile", "--progress", "none", "--json"]);
    assert_eq!(found["missed"][0], SCAN, "{found}");
    assert_eq!(found["unregistered_files"], 1);
    let text = dir.ok(&["reconcile", "--adopt", "--progress", "none"]);
    assert!(text.contains("adopted"), "{text}");
    let show = dir.json(&["custody", "show", SCAN, "--json"]);
    assert_eq!(show["copies"][0]["level"], "digested", "{show}");
    assert!(dir.ok(&["reconcile", "--progress", "none"]).contains("nothing else"));
    // A copy that vanishes is written down as lost.
    std::fs::remove_file(dir.file("als/raw").join(SCAN)).unwrap();
    assert!(dir.ok(&["reconcile", "--progress", "none"]).contains("vanished"));
    assert!(dir.ok(&["custody", "show", SCAN]).contains("lost"));
}
