//! Runs, from asking for one to explaining it, with the real binary and three sites in a folder.

mod common;
#[path = "common/sites.rs"]
mod sites;

use common::Dir;
use sites::{SCAN, scan, sites};

#[test]
fn a_scan_goes_through_three_sites_and_is_explained() {
    let dir = Dir::new();
    sites(&dir);
    scan(&dir);
    let run = dir.run(&["run", "dispatcher", "--file", SCAN, "--wait", "--progress", "plain"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let id = run.stdout.trim().to_owned();
    assert_eq!(id.len(), 36, "{id}");
    for line in ["raw to nersc: done", "reconstruct: done", "tiff to nersc: done", "zarr to als: done"] {
        assert!(run.stderr.contains(line), "'{line}' is not in {}", run.stderr);
    }
    // What was made is there, at both homes, and right.
    for home in ["nersc", "als"] {
        let folder = format!("{home}/scratch/BLS-00564_dyparkinson");
        assert!(dir.ok(&["verify", &folder]).contains("digests match"));
    }

    // Lists and details, for people and programs.
    let list = dir.ok(&["runs"]);
    assert!(list.contains("dispatcher: BLS-00564_dyparkinson/20230224_132553_sea_shell"), "{list}");
    assert!(list.contains(&id[28..]), "{list}");
    let page = dir.json(&["runs", "list", "--flow", "alcf_recon_flow", "--json"]);
    let recon = page["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(page["items"][0]["state"]["type"], "COMPLETED");
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    let about =
        dir.json(&["runs", "list", "--scan", SCAN.trim_end_matches(".h5"), "--state", "completed", "--json"]);
    let about: Vec<&str> =
        about["items"].as_array().unwrap().iter().map(|run| run["flow"].as_str().unwrap()).collect();
    for flow in ["dispatcher", "new_832_file_flow", "alcf_recon_flow"] {
        assert_eq!(about.iter().filter(|one| **one == flow).count(), 1, "{flow} in {about:?}");
    }
    let show = dir.ok(&["runs", "show", &recon[28..]]);
    assert!(show.contains("reconstruct") && show.contains("Completed"), "{show}");
    assert!(dir.ok(&["runs", "logs", &recon]).contains("job "));
    let explained = dir.json(&["runs", "explain", &recon, "--json"]);
    let sum: f64 = explained["spent"].as_object().unwrap().values().map(|part| part.as_f64().unwrap()).sum();
    let total = explained["total_s"].as_f64().unwrap();
    assert!((sum - total).abs() < 1e-3 && total > 0.0, "{sum} of {total}");
    assert!(explained["spent"]["compute"].as_f64().unwrap() > 0.0);
    assert_eq!(explained["reconstruction"]["slices"], 16);
    let text = dir.ok(&["runs", "explain", &recon]);
    for words in ["computing", "raw to alcf", "gridrec", "fewer than 5"] {
        assert!(text.contains(words), "'{words}' is not in {text}");
    }

    // Custody.
    let custody = dir.ok(&["custody"]);
    for words in ["raw", "tiff", "zarr", "als (", "nersc (", "alcf ("] {
        assert!(custody.contains(words), "'{words}' is not in {custody}");
    }
    let show = dir.json(&["custody", "show", SCAN, "--json"]);
    let raw = show["copies"].as_array().unwrap().iter().filter(|copy| copy["kind"] == "raw").count();
    assert_eq!(raw, 3);
    assert_eq!(show["papers"].as_array().unwrap().len(), 3);
    assert!(dir.ok(&["reconcile"]).contains("nothing else"));
}

#[test]
fn runs_are_started_once_later_cancelled_and_done_by_a_worker() {
    let dir = Dir::new();
    sites(&dir);
    scan(&dir);
    let ask = ["run", "new_832_file_flow", "--file", SCAN, "--key", "one", "--json"];
    let (first, again) = (dir.json(&ask), dir.json(&ask));
    assert_eq!((&first["run"], &first["new"], &again["new"]), (&again["run"], &true.into(), &false.into()));
    let later = dir.json(&["run", "transfer_check", "--in", "2 hours", "--json"]);
    let later = later["run"].as_str().unwrap();
    assert!(dir.ok(&["runs", "show", later]).contains("Scheduled"));

    let run = dir.run(&["worker", "--once", "--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("\"COMPLETED\": 1"), "{}", run.stdout);
    assert!(dir.file("nersc/raw").join(SCAN).is_file());

    assert!(dir.ok(&["runs", "cancel", later, "--reason", "not needed"]).contains("Cancelled"));
    dir.refused(&["runs", "cancel", "00000000-0000-7000-8000-000000000000"], 3, &["no run"]);
    dir.refused(&["runs", "resume", later], 3, &["stays as it is"]);

    // A failed run says why, with the code of bad input, and can be tried again once the cause is gone.
    let missing = SCAN.replace("sea_shell", "lost");
    let run = dir.run(&["run", "new_832_file_flow", "--file", &missing, "--wait", "--progress", "none"]);
    assert!(run.code == 1 || run.code == 3, "{} {}", run.code, run.stderr);
    assert!(run.stderr.contains("is not there") && run.stderr.contains("runs retry"), "{}", run.stderr);
    let failed = dir.json(&["runs", "list", "--state", "failed", "--json"]);
    let failed = failed["items"][0]["id"].as_str().unwrap().to_owned();
    std::fs::copy(dir.file("als/raw").join(SCAN), dir.file("als/raw").join(&missing)).unwrap();
    dir.ok(&["runs", "retry", &failed, "--wait", "--progress", "none"]);
    assert!(dir.file("nersc/raw").join(&missing).is_file());
}

#[test]
fn wrong_asks_are_explained_before_anything_is_made() {
    let dir = Dir::new();
    dir.refused(&["runs"], 3, &["there is no configuration", "beamrail init"]);
    sites(&dir);
    dir.refused(&["run", "alcf_recon"], 2, &["did you mean alcf_recon_flow?"]);
    dir.refused(&["run", "dispatcher", "--file", "../x.h5"], 3, &[".."]);
    dir.refused(&["run", "dispatcher", "--file", "x.txt"], 3, &[".h5"]);
    dir.refused(&["run", "alcf_recon_flow", "--file", SCAN, "--set", "nonsense=1"], 2, &["nonsense"]);
    dir.refused(&["run", "alcf_recon_flow", "--file", SCAN, "--set", "center=left"], 2, &["center"]);
    dir.refused(&["run", "reconcile", "--file", SCAN], 2, &["takes no --file"]);
    dir.refused(&["run", "reconcile", "--at", "tomorrow"], 2, &["no time"]);
    dir.refused(&["run", "reconcile", "--in", "soon"], 2, &["whole number"]);
    dir.refused(&["run", "reconcile", "--set", "adopt"], 2, &["key=value"]);
    dir.refused(&["runs", "show", "zz"], 2, &["is no run"]);
    dir.refused(&["runs", "show", "abcdef01"], 3, &["there is no run"]);
    dir.refused(&["custody", "show", "a/b"], 3, &["knows no scan"]);
    dir.refused(&["custody", "hold", "a/b"], 3, &["knows no scan"]);
    let none = dir.json(&["runs", "list", "--json"]);
    assert!(none["items"].as_array().unwrap().is_empty(), "{none}");
    // Parameters of the recipe and of the flow are told apart.
    let run = dir.json(&[
        "run",
        "alcf_recon_flow",
        "--file",
        SCAN,
        "--set",
        "stripes.sigma=4",
        "--set",
        "center=48.5",
        "--json",
    ]);
    let show = dir.json(&["runs", "show", run["run"].as_str().unwrap(), "--json"]);
    assert_eq!(show["run"]["parameters"]["set"][0], "stripes.sigma=4");
    assert_eq!(show["run"]["parameters"]["center"], 48.5);
}

#[test]
fn a_centre_that_is_not_believed_waits_for_a_person() {
    let dir = Dir::new();
    sites(&dir);
    // Nothing but noise: no centre can be found.
    std::fs::create_dir_all(dir.file("als/raw/BLS-00564_dyparkinson")).unwrap();
    std::fs::create_dir_all(dir.file("nersc/raw/BLS-00564_dyparkinson")).unwrap();
    let file = format!("nersc/raw/{SCAN}");
    dir.ok(&["simulate", &file, "--width", "96", "--rows", "16", "--angles", "91", "--noise", "5"]);
    let probe = dir.run(&["reconstruct", &file, "-o", "probe"]);
    if probe.code == 0 {
        println!("skipped: this noise does not hide the centre");
        return;
    }
    let run = dir.run(&["run", "alcf_recon_flow", "--file", SCAN, "--wait", "--progress", "none"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("Centre needed") && run.stderr.contains("--set center="), "{}", run.stderr);
    let id = run.stdout.trim().to_owned();
    assert!(dir.ok(&["runs", "show", &id]).contains("center.png"));
    dir.ok(&["runs", "resume", &id, "--set", "center=48", "--wait", "--progress", "none"]);
    assert!(dir.ok(&["verify", "nersc/scratch/BLS-00564_dyparkinson"]).contains("digests match"));
}
