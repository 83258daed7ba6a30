//! Peak memory is what `--memory` says.

use crate::support::{Bench, long};

fn peak(width: &str, rows: &str, angles: &str, budget: &str, more: &[&str]) -> f64 {
    let bench = Bench::new();
    bench.simulate("scan.h5", &["--width", width, "--rows", rows, "--angles", angles]);
    bench.ok(&[&["reconstruct", "scan.h5", "-o", "out", "--memory", budget], more].concat());
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(bench.path("out/recscan.report.json")).unwrap()).unwrap();
    let peak = report["peak_memory"].as_f64().unwrap();
    println!("{width} x {angles} x {rows} with {budget}: peak {:.2} GiB", peak / f64::from(1 << 30));
    peak
}

#[test]
fn a_small_budget_is_kept() {
    // 640 columns: an output slab of 52 MB, lower levels of 17 MB, and the rows being read.
    let limit = 300.0 * f64::from(1 << 20);
    assert!(peak("640", "96", "361", "300MiB", &[]) <= 1.2 * limit);
}

/// The budget had room for fewer threads than there were, and all of them took scratch.
#[test]
fn many_threads_keep_a_small_budget() {
    let limit = 450.0 * f64::from(1 << 20);
    assert!(peak("1024", "64", "1600", "450MiB", &["--threads", "64"]) <= 1.2 * limit);
}

#[test]
fn a_production_scan_in_two_gibibytes() {
    if long("128 rows of 2560 columns and 1313 angles in 2 GiB") {
        assert!(peak("2560", "128", "1313", "2GiB", &[]) <= 1.2 * 2.0 * f64::from(1 << 30));
    }
}

/// What `inspect` foretells against what the job then takes, each in a process of its own.
fn foretold(width: &str, rows: &str, angles: &str, budget: &str, dtype: &str) {
    let bench = Bench::new();
    bench.simulate("scan.h5", &["--width", width, "--rows", rows, "--angles", angles]);
    let more = ["--memory", budget, "--threads", "2", "--set", dtype];
    let answer = bench.json(&[&["inspect", "scan.h5"], &more[..]].concat());
    let left: Vec<_> =
        std::fs::read_dir(bench.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["scan.h5"], "inspect leaves nothing behind");
    let made = bench.json(&[&["reconstruct", "scan.h5", "-o", "out"], &more[..]].concat());
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(bench.path("out/recscan.report.json")).unwrap()).unwrap();
    let said = &answer["estimate"]["choices"][0];
    let case = format!("{width} columns x {rows} rows x {angles} angles in {budget}, {dtype}");
    for (what, said, found) in [
        (
            "bytes",
            said["tiff_bytes"].as_f64().unwrap() + said["zarr_bytes"].as_f64().unwrap(),
            made["bytes"].as_f64().unwrap(),
        ),
        ("memory", said["memory_bytes"].as_f64().unwrap(), report["peak_memory"].as_f64().unwrap()),
    ] {
        println!(
            "{case}: {what} said {:.1} MB, found {:.1} MB: {:.3}",
            said / 1e6,
            found / 1e6,
            said / found
        );
        assert!((0.8..1.2).contains(&(said / found)), "{case}: {what} said {said}, found {found}");
    }
    // Time is for people to read: other programs run here too.
    println!(
        "{case}: CPU s said {:.1}, found {:.1}; seconds said {:.1}, found {:.1}",
        said["cpu_s"], report["cpu_s"], said["seconds"], report["wall_s"]
    );
}

#[test]
fn inspect_foretells_bytes_and_memory_within_a_fifth() {
    foretold("512", "96", "361", "1GiB", "output.dtype=float32");
    foretold("1024", "64", "300", "1GiB", "output.dtype=float32");
    foretold("1024", "64", "300", "1GiB", "output.dtype=uint16");
    if long("what inspect foretells at 2560 columns") {
        foretold("2560", "64", "1313", "4GiB", "output.dtype=float32");
        foretold("2560", "128", "1313", "2GiB", "output.dtype=float32");
    }
}
