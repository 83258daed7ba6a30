//! The rotation centre of simulated scans, where the truth is known, through files.

use crate::support::Bench;

fn error(bench: &Bench, scan: &str, truth: f64) -> f64 {
    let answer = bench.json(&["center", scan]);
    assert_eq!(answer["verdict"], "found", "{scan}: {answer}");
    assert!(answer["confidence"].as_f64().unwrap() >= 0.5, "{scan}: {answer}");
    (answer["center"].as_f64().unwrap() - truth).abs()
}

fn check(name: &str, centers: &[f64], more: &[&str], limit: f64) {
    let bench = Bench::new();
    for (index, &center) in centers.iter().enumerate() {
        let scan = format!("{name}{index}.h5");
        let text = center.to_string();
        let mut options = vec!["--width", "512", "--rows", "24", "--center", &text];
        options.extend_from_slice(more);
        bench.simulate(&scan, &options);
        let error = error(&bench, &scan, center);
        println!("{name} centre {center}: error {error:.3}");
        assert!(error <= limit, "{name} centre {center}: off by {error}");
    }
}

#[test]
fn clean_180_degree_scans_within_a_twentieth_of_a_pixel() {
    check("clean", &[256.0, 250.5, 261.3871], &["--angles", "361", "--noise", "0", "--rings", "0"], 0.05);
}

#[test]
fn noisy_180_degree_scans_within_a_tenth_of_a_pixel() {
    check("noisy", &[255.0, 259.5, 247.2713], &["--angles", "361"], 0.1);
}

#[test]
fn full_turns_within_a_tenth_of_a_pixel() {
    check("turn", &[254.0, 258.5, 263.1417], &["--angles", "361", "--range", "360"], 0.1);
}

#[test]
fn half_acquisition_within_a_tenth_of_a_pixel() {
    check("half", &[440.0, 60.5], &["--range", "360", "--half-acquisition", "--angles", "721"], 0.1);
}

/// A narrow trial window in air without noise had nothing but rounding to compare, and outscored everything.
#[test]
fn air_without_noise_beside_the_object_is_no_centre() {
    let bench = Bench::new();
    let options = "--clean --width 256 --rows 6 --angles 397 --center 136.5 --seed 227508";
    bench.ok(&[&["simulate", "clean.h5"], &options.split(' ').collect::<Vec<_>>()[..]].concat());
    assert!(error(&bench, "clean.h5", 136.5) <= 0.05);
}

#[test]
fn an_empty_scan_is_declined_and_nothing_is_made() {
    let bench = Bench::new();
    bench.simulate(
        "air.h5",
        &["--width", "128", "--rows", "8", "--angles", "90", "--transmission", "0.99999"],
    );
    let answer = bench.json(&["center", "air.h5"]);
    assert_eq!(answer["verdict"], "featureless", "{answer}");
    let ran = bench.run(&["reconstruct", "air.h5", "-o", "out"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("--center"), "{}", ran.stderr);
    assert!(!bench.path("out/recair").exists() && !bench.path("out/recair.zarr").exists());
}

#[test]
fn a_centre_outside_the_image_is_refused() {
    let bench = Bench::new();
    bench.simulate("s.h5", &["--width", "96", "--rows", "4", "--angles", "60"]);
    for center in ["-3", "96", "1e9", "nan"] {
        let ran = bench.run(&["reconstruct", "s.h5", "-o", "out", &format!("--center={center}")]);
        assert!(ran.code == 3 || ran.code == 2, "{center}: {} {}", ran.code, ran.stderr);
        assert!(!bench.path("out/recs").exists());
    }
}
