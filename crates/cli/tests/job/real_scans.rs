//! Real scans from three light sources: inspect, centre, reconstruct.

use crate::support::{Bench, shared};

fn through(scan: &str, expected_center: Option<f64>, rows: &str) {
    let Some(path) = shared(&format!("scans/{scan}")) else { return };
    let path = path.to_str().unwrap();
    let bench = Bench::new();
    let inspected = bench.json(&["inspect", path]);
    assert!(inspected["scan"]["projections"].as_u64().unwrap() > 50, "{inspected}");
    let mut arguments = vec!["reconstruct", path, "-o", "out", "--rows", rows];
    let answer = bench.json(&["center", path]);
    println!("{scan}: {answer}");
    match expected_center {
        Some(expected) => {
            let center = answer["center"].as_f64().unwrap();
            assert_eq!(answer["verdict"], "found", "{answer}");
            assert!((center - expected).abs() <= 0.5, "{center}");
        }
        // Nobody knows the truth: whatever the answer, an unbelieved centre must be said to be one.
        None => arguments.extend(["--set", "center.accept_unbelieved=true"]),
    }
    bench.ok(&arguments);
    let stem = path.rsplit_once('/').unwrap().1.split_once('.').unwrap().0;
    bench.ok(&["verify", &format!("out/rec{stem}.manifest.json")]);
    assert!(bench.path(&format!("out/rec{stem}.preview.png")).exists());
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(bench.path(&format!("out/rec{stem}.report.json"))).unwrap())
            .unwrap();
    assert_eq!(report["schema"], 1);
    println!("{scan} warnings: {}", report["warnings"]);
}

#[test]
fn tooth_of_the_aps() {
    through("tooth.h5", Some(295.75), ":");
}

#[test]
fn diamond_24737() {
    through("diamond_24737.h5", Some(86.0), ":");
}

#[test]
fn diad_k11_18014_with_external_links() {
    through("k11-18014-nexus/k11-18014.nxs", None, ":");
}
