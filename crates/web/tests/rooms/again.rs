//! Reconstruct again: the form, the looks before it, the run.

use engine::Orchestrator;

use crate::desk::{Desk, SCAN, location, wait_for};

const PAGE: &str = "/again/ALS-1_user/foam";

#[test]
fn the_form_shows_every_parameter_with_its_range_and_marks_what_was_changed() {
    let desk = Desk::open();
    desk.raw();
    let page = desk.ben().get(PAGE).text();
    for parameter in reconstruct::recipe::PARAMETERS {
        assert!(page.contains(&format!("name=\"p.{}\"", parameter.key)), "{}", parameter.key);
    }
    assert!(page.contains("the recipe of alcf_recon_flow") && page.contains("0 values"), "{page}");
    assert!(page.contains("value=\"2.5\""), "the flow's own setting is where it begins");
    assert!(page.contains("greater than 0, at most 1000"));
    let changed = desk.ben().get(&format!("{PAGE}?p.stripes.sigma=4")).text();
    assert!(changed.contains("1 value") && changed.contains("was 2.5"), "{changed}");
    assert!(desk.ben().get("/scans/ALS-1_user/foam").text().contains(PAGE));
    assert_eq!(desk.ben().get("/again/ALS-1_user/unknown").status, 404);
}

#[test]
fn what_is_wrong_is_told_at_its_field_and_escaped() {
    let desk = Desk::open();
    desk.raw();
    let fields = [
        ("act", "run"),
        ("flow", "alcf_recon_flow"),
        ("p.stripes.sigma", "-1"),
        ("p.binning.factor", "3"),
        ("p.lens.center", "<script>alert(1)</script>"),
        ("p.center.method", "fixed"),
    ];
    let answer = desk.ben().post(PAGE, &fields);
    let page = answer.text();
    assert_eq!(answer.status, 422, "{page}");
    assert!(page.contains("3 values cannot be used") && !page.contains("<script>alert"), "{page}");
    for (field, message) in
        [("p-stripes.sigma", "-1.0 is out of range"), ("p-binning.factor", "allowed: a whole number")]
    {
        let at = page.split(&format!("id=\"{field}\"")).nth(1).unwrap();
        let next = at.split("class=\"entry").next().unwrap();
        assert!(next.contains(message), "{field}: {next}");
    }
    // A contradiction between two fields that are right by themselves.
    let answer =
        desk.ben().post(PAGE, &[("act", "run"), ("flow", "alcf_recon_flow"), ("p.center.method", "fixed")]);
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("center.value"), "{}", answer.text());
    for (more, status) in [(("at", "left"), 422), (("p.no.such", "1"), 422), (("act", "delete"), 400)] {
        let act = if more.0 == "at" { ("act", "strip") } else { ("act", "run") };
        let fields = if more.0 == "act" { vec![more] } else { vec![act, more] };
        assert_eq!(desk.ben().post(PAGE, &fields).status, status, "{more:?}");
    }
    assert!(desk.audit().is_empty(), "nothing was asked for: {:?}", desk.audit());
}

#[test]
fn a_run_gets_what_differs_from_its_flow_and_one_key_gives_one_run() {
    let desk = Desk::open();
    desk.raw();
    let fields = [
        ("act", "run"),
        ("flow", "alcf_recon_flow"),
        ("key", "once"),
        ("p.stripes.sigma", "3"),
        ("p.center.method", "fixed"),
        ("p.center.value", "49.25"),
        ("p.beam_hardening.coefficients", "0, 1, 0.5"),
    ];
    let first = location(&desk.ben().post(PAGE, &fields));
    assert_eq!(location(&desk.ben().post(PAGE, &fields)), first, "sent twice, run once");
    let id = first.strip_prefix("/runs/").unwrap().parse().unwrap();
    let run = desk.runtime.block_on(desk.engine.run(id)).unwrap();
    assert_eq!(run.flow, "alcf_recon_flow");
    assert_eq!(run.tags, [format!("scan:{SCAN}")]);
    assert_eq!(run.parameters["file_path"], format!("{SCAN}.h5"));
    let set: Vec<&str> =
        run.parameters["set"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    let wanted = [
        "beam_hardening.coefficients=[0.0, 1.0, 0.5]",
        "stripes.sigma=3.0",
        "center.method=\"fixed\"",
        "center.value=49.25",
    ];
    assert_eq!(set, wanted);
    // As the job reads it.
    let set: Vec<String> = std::iter::once("stripes.sigma=2.5").chain(set).map(str::to_owned).collect();
    let recipe = reconstruct::Recipe::resolve("default", &set).unwrap();
    assert_eq!((recipe.stripes.sigma, recipe.center.value), (3.0, Some(49.25)));
    let lines = desk.audit();
    assert_eq!((lines[0]["event"].as_str(), lines[0]["who"].as_str()), (Some("asked"), Some("ben")));
    assert!(lines[0]["action"].as_str().unwrap().contains("stripes.sigma=3.0"));
    assert_eq!(lines[1]["outcome"], format!("run {id}"));
}

#[test]
fn looking_alone_starts_nothing_and_controlled_scans_stay() {
    let desk = Desk::open();
    desk.raw();
    let fields = [("act", "run"), ("flow", "alcf_recon_flow")];
    let refused = desk.anna().post(PAGE, &fields);
    assert_eq!(refused.status, 403);
    assert!(desk.anna().get(PAGE).text().contains("needs the role operate"));
    assert_eq!(desk.browser().post(PAGE, &fields).status, 403, "a form without its token");
    let browser = desk.browser();
    let with =
        [("csrf", browser.csrf(PAGE)), ("act", "run".to_owned()), ("flow", "alcf_recon_flow".to_owned())];
    let with: Vec<(&str, &str)> = with.iter().map(|(key, value)| (*key, value.as_str())).collect();
    location(&browser.post(PAGE, &with));
    let scan = custody::ScanName::new("EC-7_x", "s").unwrap();
    desk.beamline.custody.sight(&scan, None, "test", desk.beamline.now()).unwrap();
    let closed = desk.ben().post("/again/EC-7_x/s", &fields);
    assert_eq!(closed.status, 409);
    assert!(closed.text().contains("export-controlled and may not be at alcf"), "{}", closed.text());
    assert!(desk.ben().get("/again/EC-7_x/s").text().contains("export-controlled"));
}

#[test]
fn a_centre_is_chosen_by_looking_and_tried_on_one_slice() {
    let desk = Desk::open();
    desk.raw();
    let ben = desk.ben();
    let coarse =
        location(&ben.post(PAGE, &[("act", "strip"), ("at", "48"), ("step", "2"), ("p.stripes.sigma", "3")]));
    let page = wait_for(&ben, &coarse, &["Use 48.00", "Nothing to show"]);
    assert_eq!(page.matches("class=\"tile\"").count(), 9, "{page}");
    for (field, value) in [("at", "50.000"), ("step", "0.500"), ("p.stripes.sigma", "3")] {
        assert!(page.contains(&format!("name=\"{field}\" value=\"{value}\"")), "{field}: {page}");
    }
    assert!(page.contains("p.center.value=50"), "a link takes it without looking further");
    let tile = ben.get(&format!("{coarse}/4.png"));
    assert_eq!((tile.status, tile.header("content-type")), (200, Some("image/png")));
    assert!(tile.body.starts_with(b"\x89PNG") && tile.body != ben.get(&format!("{coarse}/0.png")).body);
    assert_eq!(ben.get(&format!("{coarse}/9.png")).status, 404);
    let chosen = ben.get(&format!("{PAGE}?p.center.method=fixed&p.center.value=49.25")).text();
    assert!(chosen.contains("2 values"), "{chosen}");
    let tried = location(
        &ben.post(PAGE, &[("act", "try"), ("p.center.method", "fixed"), ("p.center.value", "49.25")]),
    );
    let page = wait_for(&ben, &tried, &["Take these parameters", "Nothing to show"]);
    assert!(page.contains("49.25") && page.contains("The middle slice, made in"), "{page}");
    assert!(ben.get(&format!("{tried}/0.png")).body.starts_with(b"\x89PNG"));
    let left = std::fs::read_dir(desk.folder.join("state/looks")).map(Iterator::count).unwrap_or(0);
    assert_eq!(left, 0, "nothing stays on disk");
    // Outside the detector: said, not failed silently.
    let outside = location(&ben.post(PAGE, &[("act", "strip"), ("at", "4000"), ("step", "1")]));
    assert!(wait_for(&ben, &outside, &["Nothing to show"]).contains("outside the image"));
    assert_eq!(ben.get("/looks/none").status, 404);
    assert_eq!(desk.anna().post(&format!("{tried}/stop"), &[]).status, 403);
}

#[test]
fn looks_are_few_and_can_be_stopped() {
    let desk = Desk::open();
    desk.raw();
    let ben = desk.ben();
    let begin = || ben.post(PAGE, &[("act", "try")]);
    let all: Vec<_> = (0..12).map(|_| begin()).collect();
    let refused = all.iter().filter(|answer| answer.status == 503).count();
    assert!(
        refused > 0,
        "twelve at once are too many: {:?}",
        all.iter().map(|one| one.status).collect::<Vec<_>>()
    );
    let last = location(all.iter().rfind(|answer| answer.status == 303).unwrap());
    location(&ben.post(&format!("{last}/stop"), &[]));
    wait_for(&ben, &last, &["it was stopped", "Take these parameters"]);
    for one in all.iter().filter(|answer| answer.status == 303) {
        wait_for(&ben, &location(one), &["it was stopped", "Take these parameters", "Nothing to show"]);
    }
    assert_eq!(begin().status, 303, "there is room again");
}

#[test]
fn programs_get_the_table_and_start_the_run() {
    let desk = Desk::open();
    desk.raw();
    let told = desk.anna().json("/api/again/ALS-1_user/foam").json();
    let sigma =
        told["parameters"].as_array().unwrap().iter().find(|one| one["key"] == "stripes.sigma").unwrap();
    assert_eq!((sigma["value"].as_str(), sigma["default"].as_str()), (Some("2.5"), Some("3")));
    assert_eq!(told["flows"][0]["facility"], "polaris");
    let send = |client: &crate::client::Client, body: serde_json::Value| {
        let headers = [("Content-Type", "application/json"), ("Accept", "application/json")];
        client.send("POST", "/api/again/ALS-1_user/foam", &headers, body.to_string().as_bytes())
    };
    let body = |value: serde_json::Value| serde_json::json!({ "flow": "alcf_recon_flow", "set": { "stripes.sigma": value } });
    assert_eq!(send(&desk.anna(), body(4.into())).status, 403);
    let wrong = send(&desk.ben(), body((-4).into()));
    assert_eq!(wrong.status, 422);
    assert!(wrong.json()["detail"].as_str().unwrap().starts_with("stripes.sigma: "), "{}", wrong.text());
    let started = send(&desk.ben(), body(4.into()));
    let id = started.json()["run"].as_str().unwrap().parse().unwrap();
    let run = desk.runtime.block_on(desk.engine.run(id)).unwrap();
    assert_eq!(run.parameters["set"], serde_json::json!(["stripes.sigma=4.0"]));
    assert_eq!(desk.anna().json("/api/results/ALS-1_user/foam").json(), serde_json::json!([]));
}
