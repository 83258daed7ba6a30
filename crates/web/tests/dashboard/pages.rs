//! Pages with nothing, with little and with much on them, and with names that are hard to show.

use engine::StateType;

use crate::beam::Beam;

const HARD: &str = "20260704_141200_<script>alert('x')<script>&\"quoted\"";

#[test]
fn an_empty_beamline_says_what_to_do() {
    let beam = Beam::open();
    let client = beam.client();
    for (path, text) in [
        ("/", "beamrail watch"),
        ("/runs", "No run fits."),
        ("/scans", "No scan fits."),
        ("/scans/f/none", "custody knows no scan f/none"),
        ("/runs/00000000-0000-7000-8000-000000000000", "there is no run"),
        ("/nothing", "there is nothing at this address"),
    ] {
        let answer = client.get(path);
        assert!(answer.text().contains(text), "{path}: {}", answer.text());
        assert!(answer.text().starts_with("<!DOCTYPE html>"), "{path}");
        let whole = answer.status < 300 || answer.status == 404;
        assert!(whole, "{path}: {}", answer.status);
    }
}

#[test]
fn every_page_shows_one_scan_and_forty_with_names_that_are_hard_to_show() {
    let beam = Beam::open();
    let client = beam.client();
    let long = "x".repeat(120);
    beam.scan("ALS-00001_user", &long, &["als", "nersc"], &[]);
    let one = client.get("/").text();
    assert!(one.contains(&long) && one.contains("Not processed"), "{one}");
    for n in 0..38 {
        let name =
            beam.scan("ALS-00001_user", &format!("20260704_1412{n:02}_foam"), &["als", "nersc"], &["nersc"]);
        beam.start("alcf_recon_flow", &name.to_string(), "done");
    }
    let hard = beam.scan("ALS-00001_<b>user", HARD, &["als"], &["nersc"]);
    let failed = beam.run("alcf_recon_flow", &hard.to_string(), "fail");
    let asking = beam.run("alcf_recon_flow", "ALS-00001_user/20260704_141200_foam", "ask");
    beam.keep_working();
    let running = beam.start("alcf_recon_flow", &format!("ALS-00001_user/{long}"), "forever");
    beam.wait_for(running, StateType::Running);
    let encoded = "ALS-00001_%3Cb%3Euser";
    let hard_path: String = url::form_urlencoded::byte_serialize(HARD.as_bytes()).collect();
    let pages = [
        "/".to_owned(),
        "/scans".to_owned(),
        "/scans?name=foam&page=0".to_owned(),
        "/runs".to_owned(),
        "/runs?state=failed".to_owned(),
        "/runs?name=%3Cscript%3E".to_owned(),
        format!("/runs/{failed}"),
        format!("/runs/{asking}"),
        format!("/runs/{running}"),
        format!("/scans/ALS-00001_user/{long}"),
        format!("/scans/{encoded}/{}", hard_path.replace('+', "%20")),
    ];
    for page in &pages {
        let answer = client.get(page);
        let text = answer.text();
        assert_eq!(answer.status, 200, "{page}: {text}");
        for raw in ["<script>alert", "<b>user", "<b>8.51", "&\"quoted"] {
            assert!(!text.contains(raw), "{page} shows {raw} as it is");
        }
        assert!(!text.contains("style=") && !text.contains("onclick"), "{page} has what the policy forbids");
        assert!(!text.contains("http://") || text.contains("http://www.w3.org"), "{page} names another host");
    }
    let home = client.get("/").text();
    assert!(home.contains("Centre needed") && home.contains("Look and answer"), "{home}");
    assert!(home.contains("job in /x failed") && home.contains("Retry"));
    let failure = client.get(&format!("/runs/{failed}")).text();
    let order = ["What to do", "Read the end of the job", "Why", "exit code 1", "out of memory"];
    let places: Vec<usize> = order.iter().map(|text| failure.find(text).expect(text)).collect();
    assert!(places.is_sorted(), "what to do comes first: {places:?}");
    let question = client.get(&format!("/runs/{asking}")).text();
    for text in ["two peaks (0.6)", "Set centre and go on", "/pictures/evidence/"] {
        assert!(question.contains(text), "{text}: {question}");
    }
    assert!(!question.contains("runs resume X"), "what is for the terminal is not shown");
}

#[test]
fn a_running_run_shows_what_it_does() {
    let beam = Beam::open();
    beam.scan("f", "s", &["als", "nersc"], &[]);
    beam.keep_working();
    let running = beam.start("alcf_recon_flow", "f/s", "forever");
    beam.wait_for(running, StateType::Running);
    // Progress is written without being waited for.
    let text = |path: &str| beam.client().get(path).text();
    let page = format!("/runs/{running}");
    let shown = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        text(&page).contains("62 %")
    });
    assert!(shown, "{}", text(&page));
    assert!(text("/").contains("62 %"), "{}", text("/"));
    assert!(text("/runs?state=running").contains("alcf_recon_flow"));
}

#[test]
fn copies_are_shown_with_verification_digest_and_date() {
    let beam = Beam::open();
    beam.scan("f", "s", &["als", "nersc", "alcf"], &["alcf", "nersc"]);
    let page = beam.client().get("/scans/f/s").text();
    let digest = blake3::hash(b"x").to_hex().to_string();
    for text in ["digested", "blake3:", digest.as_str(), "stays (never)", "2 days", "7 days", "switched off"]
    {
        assert!(page.contains(text), "{text}: {page}");
    }
}

#[test]
fn health_readiness_and_metrics() {
    let beam = Beam::open();
    beam.scan("f", "s", &["als"], &["nersc"]);
    beam.run("alcf_recon_flow", "f/s", "done");
    let client = beam.client();
    assert_eq!(client.get("/health").text(), "ok\n");
    assert_eq!(client.get("/ready").text(), "ready\n");
    let metrics = client.get("/metrics").text();
    for line in [
        "beamrail_runs{state=\"COMPLETED\"} 1",
        "beamrail_copies{site=\"als\",kind=\"raw\"} 1",
        "beamrail_copies_bytes{site=\"als\",kind=\"raw\"} 8510000",
        "# TYPE beamrail_http_answers_total counter",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}
