//! The same volume however it is made: in parts, with little memory, with any number of threads, with
//! some of its rows.

use crate::support::{Bench, tiff};

const SIZE: [&str; 6] = ["--width", "160", "--rows", "150", "--angles", "121"];

fn manifest(bench: &Bench, folder: &str) -> String {
    std::fs::read_to_string(bench.path(&format!("{folder}/recscan.manifest.json"))).unwrap()
}

#[test]
fn parts_memory_and_threads_do_not_change_a_bit() {
    let bench = Bench::new();
    bench.simulate("scan.h5", &SIZE);
    bench.ok(&["reconstruct", "scan.h5", "-o", "whole", "--threads", "2"]);
    let whole = manifest(&bench, "whole");

    bench.ok(&["reconstruct", "scan.h5", "-o", "single", "--threads", "1"]);
    assert_eq!(manifest(&bench, "single"), whole);
    bench.ok(&["reconstruct", "scan.h5", "-o", "small", "--threads", "3", "--memory", "180MiB"]);
    assert_eq!(manifest(&bench, "small"), whole);

    bench.ok(&["reconstruct", "scan.h5", "-o", "parts", "--plan"]);
    let mut parts: Vec<_> = ["2/3", "1/3", "3/3"]
        .iter()
        .map(|part| bench.start(&["reconstruct", "scan.h5", "-o", "parts", "--part", part]))
        .collect();
    for part in &mut parts {
        assert!(part.wait().unwrap().success());
    }
    bench.ok(&["reconstruct", "scan.h5", "-o", "parts", "--finish"]);
    assert_eq!(manifest(&bench, "parts"), whole);
    assert!(!bench.path("parts/recscan.work").exists());
    for folder in ["whole", "single", "small", "parts"] {
        bench.ok(&["verify", &format!("{folder}/recscan.manifest.json")]);
    }
}

#[test]
fn zarr_0_5_in_parts_is_the_same_too() {
    let bench = Bench::new();
    bench.simulate("scan.h5", &SIZE);
    let options = [
        "--ome-zarr",
        "0.5",
        "--dtype",
        "uint16",
        "--set",
        "output.scale_min=-5",
        "--set",
        "output.scale_max=40",
    ];
    let run = |folder: &str, more: &[&str]| {
        let mut arguments = vec!["reconstruct", "scan.h5", "-o", folder];
        arguments.extend_from_slice(&options);
        arguments.extend_from_slice(more);
        bench.ok(&arguments);
    };
    run("whole", &[]);
    run("parts", &["--plan"]);
    run("parts", &["--part", "1/2"]);
    run("parts", &["--part", "2/2"]);
    run("parts", &["--finish"]);
    assert_eq!(manifest(&bench, "parts"), manifest(&bench, "whole"));
}

#[test]
fn a_slice_is_the_same_in_every_job_that_contains_it() {
    slices_agree(&[]);
}

/// Filled angles tie the two rows of a pair together, as gridrec does.
#[test]
fn a_slice_with_filled_angles_is_the_same_in_every_job_that_contains_it() {
    slices_agree(&["--set", "angles.fill=true"]);
}

fn slices_agree(more: &[&str]) {
    let bench = Bench::new();
    bench.simulate("scan.h5", &SIZE);
    let center = [&["--center", "80.25", "--write", "tiff"], more].concat();
    let run = |folder: &str, rows: &str| {
        let mut arguments = vec!["reconstruct", "scan.h5", "-o", folder, "--rows", rows];
        arguments.extend_from_slice(&center);
        bench.ok(&arguments);
    };
    run("all", ":");
    run("odd", "31:77");
    run("steps", "3::5");
    for (folder, row) in [("odd", 31), ("odd", 76), ("odd", 50), ("steps", 3), ("steps", 8), ("steps", 148)] {
        let slice =
            |folder: &str| tiff(&bench.path(&format!("{folder}/recscan/scan_{row:05}.tiff")), 160 * 160);
        assert_eq!(slice(folder), slice("all"), "{folder} row {row}");
    }
}

#[test]
fn parts_need_their_plan_and_finish_needs_all_parts() {
    let bench = Bench::new();
    bench.simulate("scan.h5", &SIZE);
    let ran = bench.run(&["reconstruct", "scan.h5", "-o", "out", "--part", "1/2"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("--plan"), "{}", ran.stderr);
    bench.ok(&["reconstruct", "scan.h5", "-o", "out", "--plan"]);
    bench.ok(&["reconstruct", "scan.h5", "-o", "out", "--part", "1/2"]);
    let ran = bench.run(&["reconstruct", "scan.h5", "-o", "out", "--finish"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("not reconstructed yet"), "{}", ran.stderr);
    assert!(!bench.path("out/recscan.manifest.json").exists());
}

#[test]
fn too_little_memory_is_refused_with_the_amount_needed() {
    let bench = Bench::new();
    bench.simulate("scan.h5", &SIZE);
    let ran = bench.run(&["reconstruct", "scan.h5", "-o", "out", "--memory", "1MiB"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("at least"), "{}", ran.stderr);
}
