//! Peak memory is what `--memory` says.

use crate::support::{Bench, long};

fn peak(width: &str, rows: &str, angles: &str, budget: &str) -> f64 {
    let bench = Bench::new();
    bench.simulate("scan.h5", &["--width", width, "--rows", rows, "--angles", angles]);
    bench.ok(&["reconstruct", "scan.h5", "-o", "out", "--memory", budget]);
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
    assert!(peak("640", "96", "361", "300MiB") <= 1.2 * limit);
}

#[test]
fn a_production_scan_in_two_gibibytes() {
    if long("128 rows of 2560 columns and 1313 angles in 2 GiB") {
        assert!(peak("2560", "128", "1313", "2GiB") <= 1.2 * 2.0 * f64::from(1 << 30));
    }
}
