//! From a scan to results and back: demo, reconstruct, verify, zarr, center, signals.

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::Dir;
use serde_json::json;

/// A scan that is reconstructed in about a second.
fn scan(dir: &Dir) {
    dir.ok(&["simulate", "scan.h5", "--width", "96", "--rows", "40", "--angles", "121", "--center", "47.75"]);
}

#[test]
fn verify_finds_what_is_missing_changed_or_foreign() {
    let dir = Dir::new();
    scan(&dir);
    let made = dir.json(&["reconstruct", "scan.h5", "-o", "out", "--json"]);
    assert_eq!(made["name"], "recscan");
    assert_eq!(made["shape"], json!([40, 96, 96]));
    let manifest = "out/recscan.manifest.json";
    assert!(dir.ok(&["verify", manifest]).contains("digests match"));
    let sound = dir.json(&["verify", "out", "--json"]);
    assert_eq!((&sound["ok"], &sound["findings"]), (&json!(true), &json!([])));

    let slice = dir.file("out/recscan/scan_00007.tiff");
    let mut bytes = std::fs::read(&slice).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&slice, &bytes).unwrap();
    std::fs::remove_file(dir.file("out/recscan/scan_00008.tiff")).unwrap();
    std::fs::write(dir.file("out/recscan/scan_99999.tiff"), "x").unwrap();
    let run = dir.run(&["verify", manifest]);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("error: ") && run.stderr.contains("3 files"), "{}", run.stderr);
    let findings: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(findings.len(), 3, "{findings:?}");
    for (finding, words) in findings.iter().zip([
        ["scan_00007.tiff", "another content"],
        ["scan_00008.tiff", "is missing"],
        ["scan_99999.tiff", "not in the manifest"],
    ]) {
        assert!(words.iter().all(|word| finding.contains(word)), "{finding}");
    }
    // Sizes alone cannot tell a changed bit.
    assert_eq!(dir.run(&["verify", manifest, "--level", "sized"]).stdout.lines().count(), 2);
    let run = dir.run(&["verify", manifest, "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((run.code, &answer["ok"]), (1, &json!(false)));
    assert_eq!(answer["findings"].as_array().map(Vec::len), Some(3));
}

#[test]
fn what_is_no_manifest_is_refused() {
    let dir = Dir::new();
    std::fs::write(dir.file("bad.manifest.json"), "{}").unwrap();
    let climbing = json!({"schema": "beamrail.manifest/1", "name": "x", "bytes": 1, "files":
        [{"path": "../secret", "size": 1, "blake3": "0".repeat(64)}]});
    std::fs::write(dir.file("climbs.json"), climbing.to_string()).unwrap();
    std::fs::create_dir(dir.file("empty")).unwrap();
    dir.refused(&["verify", "bad.manifest.json"], 3, &["bad.manifest.json"]);
    dir.refused(&["verify", "climbs.json"], 3, &["../secret"]);
    dir.refused(&["verify", "empty"], 3, &["manifest"]);
    dir.refused(&["verify", "absent.manifest.json"], 3, &["absent.manifest.json"]);
}

#[test]
fn a_tiff_stack_becomes_an_ome_zarr_with_a_manifest() {
    let dir = Dir::new();
    scan(&dir);
    dir.ok(&["reconstruct", "scan.h5", "-o", "out", "--write", "tiff", "--center", "47.75"]);
    assert!(!dir.file("out/recscan.zarr").exists());
    let made = dir.json(&["zarr", "out/recscan", "-o", "copy.zarr", "--raw", "scan.h5", "--json"]);
    assert_eq!(made["shape"], json!([40, 96, 96]));
    assert_eq!(made["dtype"], "float32");
    assert!((made["voxel_um"][0].as_f64().unwrap() - 0.65).abs() < 1e-6, "{made}");
    let attributes = std::fs::read_to_string(dir.file("copy.zarr/.zattrs")).unwrap();
    assert!(attributes.contains("micrometer") && attributes.contains("scan.h5"), "{attributes}");
    assert!(dir.ok(&["verify", "copy.zarr.manifest.json"]).contains("digests match"));

    dir.refused(&["zarr", "out/recscan", "-o", "copy.zarr"], 3, &["copy.zarr", "exists"]);
    dir.refused(&["zarr", "absent", "-o", "other.zarr"], 3, &["absent"]);
    dir.refused(&["zarr", "copy.zarr", "-o", "other.zarr"], 3, &["copy.zarr"]);
    dir.refused(&["zarr", "out/recscan", "-o", "other.zarr", "--pixel-size-um", "0"], 2, &["positive"]);
    dir.refused(&["zarr", "out/recscan", "-o", "other.zarr", "--raw", "absent.h5"], 3, &["absent.h5"]);
    assert!(!dir.file("other.zarr").exists());
    let other = ["zarr", "out/recscan", "-o", "other.zarr", "--ome-zarr", "0.5", "--pixel-size-um", "2.5"];
    assert!(dir.ok(&other).contains("2.5 × 2.5 × 2.5 µm"));
    assert!(dir.file("other.zarr/zarr.json").exists());
}

#[test]
fn the_centre_is_told_with_its_evidence() {
    let dir = Dir::new();
    scan(&dir);
    let table = dir.ok(&["center", "scan.h5", "--sweep", "44:52:2"]);
    assert!(table.contains("rotation centre") && table.contains("scan.center.png"), "{table}");
    let picture = std::fs::read(dir.file("scan.center.png")).unwrap();
    assert_eq!(&picture[1..4], b"PNG");
    let answer = dir.json(&["center", "scan.h5", "--json", "--no-picture", "--method", "vo"]);
    assert_eq!(answer["method"], "vo");
    assert!((answer["center"].as_f64().unwrap() - 47.75).abs() < 0.5, "{answer}");
    let confidence = answer["confidence"].as_f64().unwrap();
    assert!(
        (0.0..=1.0).contains(&confidence) && answer["verdict"].is_string() && answer["per_row"].is_array()
    );
    // Every candidate of a sweep is a reconstruction; thousands are a mistake.
    let run = dir.run(&["center", "scan.h5", "--sweep", "0:90:0.01"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
}

#[test]
fn a_centre_outside_the_image_is_bad_input() {
    let dir = Dir::new();
    scan(&dir);
    for center in ["-3", "96", "1e9"] {
        dir.refused(&["reconstruct", "scan.h5", "-o", "out", "--center", center], 3, &["cent"]);
    }
    let run = dir.run(&["reconstruct", "scan.h5", "-o", "out", "--rows", "30:90"]);
    assert!(run.code == 2 || run.code == 3, "{}", run.stderr);
    assert!(run.stderr.contains("0:40"), "{}", run.stderr);
    assert!(!dir.file("out/recscan").exists() && !dir.file("out/recscan.zarr").exists());
}

/// Ctrl-C: the job ends at a safe point with 130, says how to go on, and goes on.
#[test]
#[cfg(unix)]
fn an_interrupted_job_says_how_to_go_on() {
    let dir = Dir::new();
    dir.ok(&["simulate", "scan.h5", "--width", "256", "--rows", "256", "--angles", "361"]);
    for (folder, signal) in [("int", rustix::process::Signal::INT), ("term", rustix::process::Signal::TERM)] {
        let arguments = ["reconstruct", "scan.h5", "-o", folder];
        let child = dir.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let limit = Instant::now() + Duration::from_secs(60);
        while !dir.file(folder).join("recscan.work/plan.json").exists() {
            assert!(Instant::now() < limit, "no plan within a minute");
            std::thread::sleep(Duration::from_millis(5));
        }
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(130), "{stderr}");
        assert!(stderr.contains("--resume"), "{stderr}");
        assert!(output.stdout.is_empty());
        assert!(!dir.file(folder).join("recscan.manifest.json").exists());
    }
    dir.ok(&["reconstruct", "scan.h5", "-o", "int", "--resume"]);
    assert!(dir.ok(&["verify", "int"]).contains("digests match"));
}
