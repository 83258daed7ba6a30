//! The demo: everything it says happens.

mod common;

use common::Dir;

#[test]
fn the_demo_carries_a_scan_through_its_life_and_can_be_repeated() {
    let dir = Dir::new();
    for _ in 0..2 {
        let text = dir.ok(&["demo", "--size", "tiny", "--no-serve"]);
        for words in [
            "watch sees it",
            "digests match",
            "Custody: which site holds which copy",
            "computing",
            "two days later",
            "freed",
            "the true one is",
            "last copies announced",
            "two days after the announcement",
        ] {
            assert!(text.contains(words), "'{words}' is not in: {text}");
        }
    }
    let folder = dir.file("beamrail-demo");
    let scans = |site: &str| {
        let folder = folder.join(site).join("raw/DEMO-00832_user");
        std::fs::read_dir(folder).map_or(0, |entries| {
            entries.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().ends_with(".h5")).count()
        })
    };
    // Raw data is kept at two sites, and gone from where it was only computed on.
    assert_eq!((scans("als"), scans("nersc"), scans("alcf")), (2, 2, 0));
    let config = folder.join("beamrail.toml");
    let config = config.to_str().unwrap();
    let custody = dir.json(&["custody", "--json", "--config", config]);
    assert_eq!(custody.as_array().unwrap().len(), 2);
    let history = dir.ok(&["prune", "history", "--config", config]);
    assert!(history.contains("deleted") && history.contains("alcf"), "{history}");
}

#[test]
fn the_demo_takes_a_scan_and_leaves_it_alone() {
    let dir = Dir::new();
    dir.ok(&["simulate", "scan.h5", "--width", "96", "--rows", "16", "--angles", "91"]);
    let before = std::fs::read(dir.file("scan.h5")).unwrap();
    let text = dir.ok(&["demo", "--dir", "mine", "--scan", "scan.h5"]);
    assert!(text.contains("_scan.h5"), "{text}");
    assert_eq!(std::fs::read(dir.file("scan.h5")).unwrap(), before);
    std::fs::write(dir.file("bad.h5"), "no").unwrap();
    let run = dir.run(&["demo", "--dir", "mine", "--scan", "bad.h5"]);
    assert!(run.code == 3 && run.stderr.contains("bad.h5"), "{}", run.stderr);
}
