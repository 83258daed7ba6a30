//! Settings: every value with its origin, no secrets; retention is changed where policy allows, and the plan obeys.

use crate::desk::{Desk, location};

const SET: &str = "/settings/retention";

#[test]
fn every_value_has_its_origin_and_secrets_are_nowhere() {
    let desk = Desk::open();
    let told = desk.anna().json("/api/settings").json();
    let of = |key: &str| {
        told["settings"].as_array().unwrap().iter().find(|one| one["key"] == key).unwrap().clone()
    };
    assert_eq!(
        (of("beamline.id")["value"].as_str(), of("beamline.id")["line"].as_u64()),
        (Some("8.3.2"), Some(3))
    );
    assert_eq!(of("watch.quiet")["from"], "default");
    assert_eq!(of("flows.alcf_recon_flow.set.stripes.sigma")["value"], "2.5");
    let names: Vec<&str> =
        told["environment"].as_array().unwrap().iter().map(|one| one[0].as_str().unwrap()).collect();
    assert!(names.contains(&"GLOBUS_CLIENT_SECRET"));
    assert!(
        told["environment"].as_array().unwrap().iter().all(|one| one[1].is_boolean()),
        "only whether it is set"
    );
    let page = desk.anna().get("/settings").text();
    assert!(page.contains("sites.alcf.retention.raw") && page.contains("line "), "{page}");
    for token in ["look-0123456789", "operate-0123456789", "administer-0123456789"] {
        assert!(!page.contains(token) && !told.to_string().contains(token));
    }
    assert!(!page.contains("<button>Change</button>"), "anna may look");
}

#[test]
fn a_rule_is_changed_in_the_file_and_the_next_plan_obeys() {
    let desk = Desk::open();
    let before = desk.beamline.custody.plan(desk.beamline.now()).unwrap();
    let form = [("site", "alcf"), ("area", "scratch"), ("rule", "5 days")];
    assert_eq!(desk.ben().post(SET, &form).status, 403, "operating is not enough");
    location(&desk.cleo().post(SET, &form));
    let (revision, policy) = desk.beamline.custody.settings().unwrap();
    assert_eq!(policy.sites["alcf"].areas["scratch"].retention.to_string(), "5 days");
    assert!(revision > before.revision, "older plans are void");
    let text = std::fs::read_to_string(desk.folder.join("beamrail.toml")).unwrap();
    assert!(
        text.contains("scratch = \"5 days\"")
            && text.contains("raw = \"2 days after the copy at data is verified\""),
        "{text}"
    );
    // Whoever opens the beamline next finds the same.
    let again = beamline::config::Config::read(&desk.folder.join("beamrail.toml")).unwrap();
    assert_eq!(again.policy(), policy);
    let page = desk.anna().get("/settings").text();
    assert!(
        page.contains("was 2 days when this server began") && page.contains("The file has changed"),
        "{page}"
    );
    let lines = desk.audit();
    assert!(
        lines
            .iter()
            .any(|line| line["who"] == "cleo" && line["on"] == "scratch at alcf" && line["event"] == "done"),
        "{lines:?}"
    );
}

#[test]
fn what_policy_forbids_and_what_is_no_rule_changes_nothing() {
    let desk = Desk::open();
    let text = || std::fs::read_to_string(desk.folder.join("beamrail.toml")).unwrap();
    let before = (text(), desk.beamline.custody.settings().unwrap());
    for (site, area, rule, status, says) in [
        ("alcf", "scratch", "soon", 422, "must be"),
        ("alcf", "scratch", "<script>alert(1)</script>", 422, "&lt;script&gt;"),
        ("alcf", "raw", "2 days after the copy at mars is verified", 422, "mars"),
        ("alcf", "raw", "2 days after the copy at alcf is verified", 422, "another"),
        ("data", "raw", "2 days", 409, "keeps raw data for good"),
        ("mars", "raw", "2 days", 409, "there is no raw at mars"),
        ("alcf", "../raw", "2 days", 409, "there is no"),
    ] {
        let answer = desk.cleo().post(SET, &[("site", site), ("area", area), ("rule", rule)]);
        let page = answer.text();
        assert_eq!(answer.status, status, "{site} {area} {rule}: {page}");
        assert!(page.contains(says) && !page.contains("<script>alert"), "{rule}: {page}");
    }
    assert_eq!(desk.cleo().post(SET, &[("site", "alcf")]).status, 422);
    let custody = &desk.beamline.custody;
    custody
        .authority_heard("Prefect at http://p:4200/api", &serde_json::json!({}), desk.beamline.now())
        .unwrap();
    let kept = desk.cleo().post(SET, &[("site", "alcf"), ("area", "scratch"), ("rule", "5 days")]);
    assert_eq!(kept.status, 409);
    assert!(kept.text().contains("is kept in Prefect at http://p:4200/api"));
    assert!(desk.cleo().get("/settings").text().contains("Kept in Prefect"));
    assert_eq!((text(), desk.beamline.custody.settings().unwrap()), before, "nothing was changed");
}
