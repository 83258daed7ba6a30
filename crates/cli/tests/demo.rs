//! The demo: everything it says happens.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod common;

use common::Dir;

#[test]
fn the_demo_carries_a_scan_through_its_life_and_can_be_repeated() {
    let dir = Dir::new();
    for _ in 0..2 {
        let run = dir.run(&["demo", "--size", "tiny", "--no-serve"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let text = format!("{}\n{}", run.stdout, run.stderr);
        for line in lines_in_the_readme() {
            assert!(
                text.lines().any(|said| shape(said) == line),
                "the README shows '{line}', which is not in: {text}"
            );
        }
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
fn the_demo_tells_the_same_story_through_globus() {
    let dir = Dir::new();
    let run = dir.run(&["demo", "--size", "tiny", "--globus", "--no-serve"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let text = format!("{}\n{}", run.stdout, run.stderr);
    // Which copies are checksummed by Globus and which read back differs; so do the last two figures.
    let same = lines_in_the_readme()
        .into_iter()
        .filter(|line| !line.contains("digested") && !line.contains("checksummed"));
    for line in same {
        assert!(
            text.lines().any(|said| shape(said) == line),
            "the plain demo says '{line}', which is not in: {text}"
        );
    }
    for words in ["two days later", "freed", "last copies announced", "1 compute tasks, for 0 of them twice"]
    {
        assert!(text.contains(words), "'{words}' is not in: {text}");
    }
    let config = std::fs::read_to_string(dir.file("beamrail-demo/beamrail.toml")).unwrap();
    assert_eq!(
        (config.matches("kind = \"globus\"").count(), config.matches("kind = \"globus-compute\"").count()),
        (3, 1)
    );
    let raw = |site: &str| {
        dir.file("beamrail-demo").join(site).join("raw/DEMO-00832_user").read_dir().map_or(0, Iterator::count)
    };
    assert_eq!((raw("als"), raw("nersc"), raw("alcf")), (1, 1, 0));
}

/// What the README says that the demo prints, figures left out.
fn lines_in_the_readme() -> Vec<String> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let block = readme.split("<!-- demo -->\n```\n").nth(1).and_then(|rest| rest.split("\n```").next());
    let lines: Vec<String> = block.expect("the README has a demo block").lines().map(shape).collect();
    assert!(lines.len() > 10);
    lines
}

/// A line without its figures, units and spacing.
fn shape(line: &str) -> String {
    let plain: String =
        line.chars().map(|c| if c.is_ascii_digit() || ".+-".contains(c) { ' ' } else { c }).collect();
    plain
        .split_whitespace()
        .filter(|word| !["s", "B", "kB", "MB", "GB", "ms"].contains(word))
        .collect::<Vec<_>>()
        .join(" ")
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
