//! Whole journeys of a scan, on four local sites, with a facility that pretends.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod common;

use common::{Bench, DAY, FOLDER, STEM, file_path, outcome, put_scan, put_scan_at, scan};
use custody::{Kind, Level, State};
use engine::{NewRun, Orchestrator, StateType};
use serde_json::json;

/// Where verified copies of a kind are.
fn verified_at(bench: &Bench, kind: Kind) -> Vec<String> {
    let copies = bench.beam.custody.copies(&scan()).unwrap();
    let good = |copy: &&custody::CopyRecord| {
        copy.dataset.kind == kind
            && copy.state == State::Present
            && copy.level >= Some(Level::TransferChecksummed)
    };
    let mut sites: Vec<String> = copies.iter().filter(good).map(|copy| copy.site.clone()).collect();
    sites.sort();
    sites
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_goes_out_is_reconstructed_and_its_copies_go_on_their_days() {
    let bench = Bench::new();
    put_scan(bench.root(), FOLDER, STEM);
    let moved = bench.green("new_832_file_flow", json!({ "file_path": file_path(), "config": null })).await;
    assert_eq!(moved["copies"].as_array().unwrap().len(), 2);
    assert!(moved["preview"].as_str().unwrap().ends_with(".preview.png"), "{moved}");
    assert_eq!(moved["catalogued"], true);
    assert_eq!(verified_at(&bench, Kind::Raw), ["als", "data", "nersc"]);

    let made = bench.green("alcf_recon_flow", json!({ "file_path": file_path() })).await;
    assert_eq!(verified_at(&bench, Kind::Raw), ["alcf", "als", "data", "nersc"]);
    for kind in [Kind::Tiff, Kind::Zarr, Kind::Sidecars] {
        assert_eq!(verified_at(&bench, kind), ["alcf", "data", "nersc"], "{kind}");
    }
    assert_eq!(made["home"].as_array().unwrap().len(), 6);
    for paper in custody::PAPERS {
        assert!(bench.beam.custody.paper(&scan(), paper).unwrap().is_some(), "{paper}");
    }
    let recipe = bench.beam.custody.paper(&scan(), "recipe").unwrap().unwrap();
    let recipe = String::from_utf8(recipe).unwrap();
    assert!(reconstruct::Recipe::parse(&recipe, "paper").is_ok(), "{recipe}");
    assert!(bench.beam.custody.uses().unwrap().is_empty());
    let tree = outcome::tree(&bench.root().join("nersc"));
    assert!(tree.contains_key(&format!("scratch/{FOLDER}/rec{STEM}/{STEM}_00002.tiff")), "{tree:?}");
    assert_eq!(outcome::work(bench.root())["copied twice"], json!([]));

    // Nobody switched deletion on: the days pass and nothing goes.
    let before = outcome::trees(bench.root());
    bench.clock.advance(2 * DAY + DAY / 24);
    bench.work().await;
    assert_eq!(outcome::trees(bench.root()), before);

    bench.beam.custody.switch_deletion(true, "operator", bench.clock.now()).unwrap();
    let swept = bench.green("prune", json!({})).await;
    assert!(swept["bytes"].as_u64().unwrap() > 0, "{swept}");
    assert_eq!(verified_at(&bench, Kind::Raw), ["data", "nersc"], "als after 1 day, alcf after 2");
    assert_eq!(verified_at(&bench, Kind::Tiff), ["data", "nersc"]);
    bench.clock.advance(DAY);
    // The scheduled runs do it by themselves.
    bench.work().await;
    assert_eq!(verified_at(&bench, Kind::Tiff), ["nersc"], "data after 3 days");
    assert!(outcome::tree(&bench.root().join("data/scratch")).is_empty());
    // The last copy goes on its seventh day, having been announced two days before.
    bench.clock.advance(2 * DAY);
    let announced = bench.green("prune", json!({})).await;
    assert_eq!(announced["announced"], 3, "{announced}");
    assert_eq!(verified_at(&bench, Kind::Tiff), ["nersc"]);
    bench.clock.advance(2 * DAY);
    bench.green("prune", json!({})).await;
    assert!(verified_at(&bench, Kind::Tiff).is_empty());
    assert!(outcome::tree(&bench.root().join("nersc/scratch")).is_empty());
    // Raw data has no such day.
    bench.clock.advance(400 * DAY);
    bench.green("prune", json!({})).await;
    assert_eq!(verified_at(&bench, Kind::Raw), ["data", "nersc"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_centre_that_is_not_believed_is_asked_for() {
    let bench = Bench::new();
    put_scan_at(bench.root(), "nersc", FOLDER, STEM);
    std::fs::write(bench.root().join("fake.json"), r#"{"center": true}"#).unwrap();
    let run = bench.run("alcf_recon_flow", json!({ "file_path": file_path() })).await;
    assert_eq!((run.state.kind, run.state.name.as_str()), (StateType::Paused, "Centre needed"));
    let ask = run.ask.unwrap();
    let picture = &ask.evidence["picture"];
    let shown = bench.root().join(picture["site"].as_str().unwrap()).join(picture["path"].as_str().unwrap());
    assert_eq!(std::fs::read(shown).unwrap(), b"candidates");
    assert!(ask.message.contains("not believed"), "{}", ask.message);

    bench.engine.resume(run.id, [("center".to_owned(), json!(61.5))].into()).await.unwrap();
    let run = bench.until_ended(run.id).await;
    assert_eq!(run.state.kind, StateType::Completed, "{:?}", run.error);
    let slice = bench.root().join(format!("nersc/scratch/{FOLDER}/rec{STEM}/{STEM}_00000.tiff"));
    assert!(std::fs::read_to_string(slice).unwrap().ends_with("at 61.5"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rerun_with_another_centre_doubles_nothing_and_loses_nothing() {
    let bench = Bench::new();
    bench.reconstructed().await;
    let slices = |site: &str| {
        let tree = outcome::tree(&bench.root().join(site));
        tree.keys().filter(|path| path.ends_with(".tiff") && !path.contains("/replaced/")).count()
    };
    assert_eq!((slices("nersc"), slices("data"), slices("alcf")), (3, 3, 3));
    bench.green("alcf_recon_flow", json!({ "file_path": file_path(), "center": 70.0 })).await;
    assert_eq!((slices("nersc"), slices("data"), slices("alcf")), (3, 3, 3));
    let new = bench.root().join(format!("nersc/scratch/{FOLDER}/rec{STEM}/{STEM}_00000.tiff"));
    assert!(std::fs::read_to_string(new).unwrap().ends_with("at 70"));
    let kept = outcome::tree(&bench.root().join("nersc/scratch").join(FOLDER).join("replaced"));
    assert_eq!(kept.keys().filter(|path| path.ends_with(".tiff")).count(), 3, "{kept:?}");
    // The old ones are known, and go by the same rule.
    let found = bench.green("reconcile", json!({})).await;
    assert_eq!(found["unregistered"], json!([]));
    assert_eq!((&found["vanished"], &found["changed"]), (&json!([]), &json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_red_and_says_why() {
    let bench = Bench::new();
    put_scan_at(bench.root(), "nersc", FOLDER, STEM);
    std::fs::write(bench.root().join("fake.json"), r#"{"fail": "out of memory"}"#).unwrap();
    let run = bench.run("alcf_recon_flow", json!({ "file_path": file_path() })).await;
    let error = run.error.unwrap();
    assert_eq!((run.state.kind, error.code.as_deref()), (StateType::Failed, Some("job-failed")));
    assert!(error.message.contains("out of memory"), "{error}");
    assert!(error.message.contains("the last line of the log"), "{error}");

    let missing = bench.run("alcf_recon_flow", json!({ "file_path": "x/nothing.h5" })).await;
    assert!(missing.error.unwrap().message.contains("is not there"));
    for bad in ["../../etc/passwd", "", "a/b.txt", "raw/../x/y.h5"] {
        let run = bench.run("new_832_file_flow", json!({ "file_path": bad })).await;
        assert_eq!(run.error.unwrap().code.as_deref(), Some("bad-input"), "{bad:?}");
    }
    let unknown = bench.run("new_832_file_flow", json!({ "file_path": file_path(), "sned": true })).await;
    assert_eq!(unknown.error.unwrap().code.as_deref(), Some("bad-parameters"));
    // A half-written scan does not begin its journey.
    let half = bench.root().join("als/raw").join(FOLDER);
    std::fs::create_dir_all(&half).unwrap();
    std::fs::write(half.join(format!("{STEM}.h5")), b"not yet").unwrap();
    let run = bench.run("new_832_file_flow", json!({ "file_path": file_path() })).await;
    assert!(run.error.unwrap().message.contains("not complete"));
    assert!(!bench.root().join("data/raw").join(FOLDER).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_are_not_what_the_manifest_says_are_not_believed() {
    let bench = Bench::new();
    put_scan_at(bench.root(), "nersc", FOLDER, STEM);
    bench.green("nersc_recon_flow", json!({ "file_path": file_path() })).await;
    // The facility's disk loses a slice; a job that goes on from the manifest says that all is well.
    let slice = bench.root().join(format!("nersc/scratch/{FOLDER}/rec{STEM}/{STEM}_00001.tiff"));
    std::fs::write(slice, "rot").unwrap();
    let copy = bench.beam.custody.copies(&scan()).unwrap();
    let tiff = copy.iter().find(|copy| copy.dataset.kind == Kind::Tiff && copy.site == "nersc").unwrap();
    let found = bench.green("reconcile", json!({})).await;
    assert_eq!(found["changed"], json!([tiff.id]));
    assert_eq!(bench.beam.custody.copy(tiff.id).unwrap().state, State::Suspect);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_facility_takes_over_when_one_is_down() {
    let bench = Bench::new();
    put_scan(bench.root(), FOLDER, STEM);
    std::fs::write(bench.root().join("fake.alcf.json"), r#"{"down": true}"#).unwrap();
    let done =
        bench.green("dispatcher", json!({ "file_path": file_path(), "is_export_control": false })).await;
    let leg = &done["reconstructed"]["alcf_recon_flow"];
    assert_eq!((&leg["leg"], &leg["by"]), (&json!("done"), &json!("nersc_recon_flow")), "{done}");
    assert_eq!(leg["instead_of"], json!(["alcf_recon_flow"]));
    assert_eq!(verified_at(&bench, Kind::Zarr), ["data", "nersc"]);

    // All down: red, and it says so.
    std::fs::write(bench.root().join("fake.nersc.json"), r#"{"down": true}"#).unwrap();
    let run = bench.run("dispatcher", json!({ "file_path": file_path() })).await;
    assert_eq!(run.state.kind, StateType::Failed);
    assert_eq!(run.error.unwrap().code.as_deref(), Some(beamline::flows::FACILITY_DOWN));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_facilities_work_side_by_side() {
    let bench = Bench::with(|beam| {
        beam.flows.dispatcher.recon = vec!["alcf_recon_flow".into(), "nersc_recon_flow".into()];
        // Both bring results to the data host; nersc's own scratch is nersc's.
        beam.flows.recon.get_mut("alcf_recon_flow").unwrap().return_to = vec!["data".into()];
    });
    put_scan(bench.root(), FOLDER, STEM);
    let done = bench.green("dispatcher", json!({ "file_path": file_path() })).await;
    assert_eq!(done["reconstructed"].as_object().unwrap().len(), 2, "{done}");
    assert_eq!(verified_at(&bench, Kind::Tiff), ["alcf", "data", "nersc"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quick_look_that_fails_stops_no_move() {
    let bench = Bench::new();
    put_scan(bench.root(), FOLDER, STEM);
    std::fs::write(bench.root().join("fake.data.json"), r#"{"down": true}"#).unwrap();
    let moved = bench.green("new_832_file_flow", json!({ "file_path": file_path() })).await;
    assert_eq!((&moved["preview"], moved["copies"].as_array().unwrap().len()), (&json!(null), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_flight_check_leaves_nothing_behind() {
    let bench = Bench::new();
    let checked = bench.green("transfer_check", json!({})).await;
    let pairs: Vec<(String, String)> = checked
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["from"].as_str().unwrap().into(), one["to"].as_str().unwrap().into()))
        .collect();
    let expected = [
        ("alcf", "data"),
        ("alcf", "nersc"),
        ("als", "data"),
        ("data", "nersc"),
        ("nersc", "alcf"),
        ("nersc", "data"),
    ];
    assert_eq!(pairs, expected.map(|(from, to)| (from.to_owned(), to.to_owned())));
    let mut left = Vec::new();
    for site in ["als", "data", "nersc", "alcf"] {
        for folder in ["sent", "received"] {
            let folder = bench.root().join(site).join(".beamrail/checks").join(folder);
            left.extend(std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(left.is_empty(), "{left:?}");
    // A site that is away is named; the others are checked all the same.
    std::fs::rename(bench.root().join("alcf"), bench.root().join("away")).unwrap();
    let run = bench.run("transfer_check", json!({})).await;
    let error = run.error.unwrap().message;
    assert!(error.contains("nersc to alcf") && !error.contains("als to data"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reconcile_finds_what_was_missed_and_what_went() {
    let bench = Bench::new();
    bench.reconstructed().await;
    put_scan_at(bench.root(), "data", FOLDER, "20260102_120000_missed");
    let gone = bench.root().join(format!("alcf/raw/{FOLDER}/{STEM}.h5"));
    std::fs::remove_file(gone).unwrap();
    let id = bench.engine.create_run(NewRun::of("reconcile", json!({ "adopt": true }))).await.unwrap().id;
    let found = bench.until_ended(id).await.output.unwrap();
    assert_eq!(found["missed"], json!([format!("{FOLDER}/20260102_120000_missed.h5")]));
    assert_eq!(found["vanished"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["adopted"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(verified_at(&bench, Kind::Raw), ["als", "data", "nersc"]);
    // Adopted is not missed any more; a run for what is missed is started once.
    put_scan_at(bench.root(), "data", FOLDER, "20260103_120000_late");
    for _ in 0..2 {
        let found = bench.green("reconcile", json!({ "start_missed": true })).await;
        assert!(found["missed"].as_array().unwrap().len() <= 1, "{found}");
    }
    let runs = engine::RunFilter { flow: Some("dispatcher".into()), ..engine::RunFilter::default() };
    assert_eq!(bench.engine.runs(runs).await.unwrap().items.len(), 1);
}
