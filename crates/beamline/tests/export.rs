//! An export-controlled scan: whichever way it is asked for, no byte leaves the allowed sites.

mod common;

use common::{Bench, FOLDER, STEM, file_path, outcome, put_scan};
use engine::{Orchestrator, StateType};
use serde_json::{Value, json};

/// What is at the sites that may not have it.
fn abroad(bench: &Bench) -> Value {
    json!(["nersc", "alcf"].map(|site| outcome::tree(&bench.root().join(site))))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_way_leads_a_controlled_scan_abroad() {
    let bench = Bench::with(|beam| {
        // Ways that an operator might configure: straight from the detector, from the data host, to each facility.
        let mut direct = beam.flows.recon.get("alcf_recon_flow").unwrap().clone();
        direct.source = "als".to_owned();
        let mut host = beam.flows.recon.get("nersc_recon_flow").unwrap().clone();
        host.source = "data".to_owned();
        let mut home = host.clone();
        home.facility = "here".to_owned();
        home.return_to = vec!["nersc".to_owned(), "alcf".to_owned()];
        for (name, flow) in
            [("direct_recon_flow", direct), ("host_recon_flow", host), ("home_recon_flow", home)]
        {
            beam.flows.recon.insert(name.to_owned(), flow);
        }
        beam.flows.dispatcher.recon = beam.flows.recon.keys().cloned().collect();
    });
    let folder = "EC-00001_user";
    put_scan(bench.root(), folder, STEM);
    put_scan(bench.root(), FOLDER, STEM);
    let before = abroad(&bench);
    let by_folder = format!("/global/raw/{folder}/{STEM}.h5");
    let long = std::env::var_os("BEAMRAIL_LONG").is_some();
    let mut tried = 0;
    // By folder, whatever the flag says; and by flag.
    for (path, flag) in [(by_folder, json!(false)), (file_path(), json!(true))] {
        let given = json!({ "file_path": path, "is_export_control": flag });
        let without = json!({ "file_path": path });
        let moved = bench.run("new_832_file_flow", given.clone()).await;
        assert_eq!(moved.state.kind, StateType::Completed, "{:?}", moved.error);
        assert_eq!(moved.output.as_ref().unwrap()["kept_from"], json!(["nersc"]));
        assert_eq!(moved.output.as_ref().unwrap()["catalogued"], false, "the catalogue is abroad too");
        let worth = |name: &str| name != "transfer_check" && (long || !name.starts_with("prune_"));
        let names = bench.registry.iter().map(|flow| flow.name().to_owned());
        let flows: Vec<String> = names.filter(|name| worth(name)).collect();
        for flow in &flows {
            let parameters = match flow.as_str() {
                name if name.starts_with("prune") => json!({}),
                "reconcile" => json!({ "adopt": true, "start_missed": true }),
                _ => without.clone(),
            };
            let run = bench.run(flow, parameters).await;
            tried += 1;
            assert_eq!(abroad(&bench), before, "{flow}");
            if flow.ends_with("_recon_flow") {
                assert_eq!(run.state.kind, StateType::Failed, "{flow}");
            }
            if run.state.kind != StateType::Completed {
                // Asked again, and from the start.
                for from_start in [false, true] {
                    bench.engine.retry(run.id, from_start).await.unwrap();
                    bench.until_ended(run.id).await;
                    tried += 1;
                    assert_eq!(abroad(&bench), before, "{flow}, again");
                }
            }
        }
    }
    bench.work().await;
    assert_eq!(abroad(&bench), before);
    let data = outcome::tree(&bench.root().join("data"));
    assert!(data.contains_key(&format!("raw/{folder}/{STEM}.h5")), "at home it is moved: {data:?}");
    let ledger =
        bench.beam.custody.ledger(&custody::LedgerFilter { limit: 10_000, ..Default::default() }).unwrap();
    let refused = ledger.iter().filter(|e| e.event == custody::Event::Refused).count();
    assert!(refused > 0, "the gate was asked, and says so");
    println!("{tried} ways tried, {refused} transfers refused in the ledger, no byte at nersc or alcf");
}
