//! Simulated scans: simulate, inspect, and what is refused of both.

mod common;

use common::Dir;

/// Flags of a scan that takes no time.
const TINY: [&str; 6] = ["--width", "64", "--rows", "6", "--angles", "45"];

fn simulate(dir: &Dir, name: &str, more: &[&str]) -> serde_json::Value {
    let mut arguments = vec!["simulate", name, "--json"];
    arguments.extend(TINY);
    arguments.extend(more);
    dir.json(&arguments)
}

#[test]
fn a_simulated_scan_says_its_truth_and_inspect_reads_it_back() {
    let dir = Dir::new();
    for layout in ["dxfile", "als"] {
        let name = format!("{layout}.h5");
        let truth = simulate(&dir, &name, &["--layout", layout, "--center", "30.25", "--seed", "7"]);
        assert_eq!(truth["center"], 30.25);
        assert_eq!(truth["options"]["seed"], 7);

        let inspection = dir.json(&["inspect", &name, "--json"]);
        let scan = &inspection["scan"];
        assert_eq!(scan["layout"], layout, "{inspection}");
        assert_eq!((scan["projections"].as_u64(), scan["rows"].as_u64()), (Some(45), Some(6)));
        assert_eq!(scan["columns"], 64);
        assert_eq!(inspection["completeness"]["verdict"]["verdict"], "complete");
        let pixel = scan["pixel_size_um"].as_f64().unwrap();
        assert!((pixel - 0.65).abs() < 1e-6, "{pixel}");
        assert_eq!(inspection["estimate"]["shape"], serde_json::json!([6, 64, 64]));
        assert!(inspection["problem"].is_null(), "{inspection}");

        let table = dir.ok(&["inspect", &name]);
        for words in
            ["complete", "45 of 6 rows × 64 columns", "0.65 µm", "180.000°", "reconstruction", "64 × 64 × 6"]
        {
            assert!(table.contains(words), "'{words}' is not in: {table}");
        }
    }
}

#[test]
fn the_same_options_give_the_same_scan_and_files_are_not_replaced() {
    let dir = Dir::new();
    let first = simulate(&dir, "a.h5", &["--seed", "3"]);
    let second = simulate(&dir, "b.h5", &["--seed", "3"]);
    assert_eq!(first["center"], second["center"]);
    assert_eq!(first["options"], second["options"]);
    let other = simulate(&dir, "c.h5", &["--seed", "4"]);
    assert_ne!(first["center"], other["center"]);

    let before = std::fs::read(dir.file("a.h5")).unwrap();
    dir.refused(&["simulate", "a.h5"], 3, &["a.h5", "exists", "--overwrite"]);
    assert_eq!(std::fs::read(dir.file("a.h5")).unwrap(), before);
    simulate(&dir, "a.h5", &["--seed", "4", "--overwrite"]);
    assert_ne!(std::fs::read(dir.file("a.h5")).unwrap(), before);
    assert_eq!(dir.names(), ["a.h5", "b.h5", "c.h5"]);
}

#[test]
fn clean_means_without_faults_but_those_asked_for() {
    let dir = Dir::new();
    let clean = simulate(&dir, "a.h5", &["--clean"]);
    for fault in ["photons", "rings", "zingers", "flat_drift", "read_noise"] {
        assert_eq!(clean["options"][fault], 0.0, "{fault}");
    }
    let noisy = simulate(&dir, "b.h5", &["--clean", "--noise", "500"]);
    assert_eq!(noisy["options"]["photons"], 500.0);
    assert_eq!(noisy["options"]["rings"], 0.0);
}

#[test]
fn progress_takes_the_form_asked_for_and_stays_on_stderr() {
    let dir = Dir::new();
    let mut arguments = vec!["simulate", "a.h5", "--overwrite", "--json", "--progress"];
    arguments.extend(TINY);
    let with = |mode: &str| {
        let mut arguments = arguments.clone();
        arguments.insert(5, mode);
        let run = dir.run(&arguments);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let _: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        run.stderr
    };
    assert_eq!(with("none"), "");
    assert!(with("plain").starts_with("simulating a.h5"));
    assert!(with("auto").starts_with("simulating a.h5"), "not a terminal: plain lines");
    let lines = with("json");
    for line in lines.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(event["event"].is_string(), "{line}");
    }
    assert!(lines.lines().count() >= 2, "{lines}");
    with("bar");
}

#[test]
fn what_is_no_scan_is_refused() {
    let dir = Dir::new();
    simulate(&dir, "good.h5", &[]);
    let good = std::fs::read(dir.file("good.h5")).unwrap();
    std::fs::write(dir.file("empty.h5"), "").unwrap();
    std::fs::write(dir.file("text.h5"), "this is not HDF5\n".repeat(100)).unwrap();
    std::fs::write(dir.file("half.h5"), &good[..good.len() / 2]).unwrap();
    std::fs::write(dir.file("head.h5"), &good[..100]).unwrap();
    std::fs::create_dir(dir.file("folder.h5")).unwrap();
    let before = dir.names();
    for name in ["absent.h5", "empty.h5", "text.h5", "half.h5", "head.h5", "folder.h5"] {
        dir.refused(&["inspect", name], 3, &[name]);
        dir.refused(&["inspect", name, "--json"], 3, &[name]);
        dir.refused(&["center", name], 3, &[name]);
        dir.refused(&["reconstruct", name], 3, &[name]);
        dir.refused(&["reconstruct", name, "--quick"], 3, &[name]);
        dir.refused(&["reconstruct", name, "--plan"], 3, &[name]);
    }
    assert_eq!(dir.names(), before, "nothing half-made");
}
