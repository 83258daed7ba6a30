//! Who may come in, who may do what, and that what they come in with is shown nowhere.

use std::collections::BTreeMap;

use engine::{Orchestrator, StateType};
use web::{Access, App, Role, Server};

use crate::beam::Beam;

const LOOK: &str = "look-0123456789abcdef0123456789";
const OPERATE: &str = "operate-0123456789abcdef0123456789";
const PROXY: &str = "proxy-0123456789abcdef0123456789";

fn access() -> Access {
    let mut access = Access::default();
    access.add("anna", Role::Look, LOOK).unwrap();
    access.add("ben", Role::Operate, OPERATE).unwrap();
    access.trust_proxy("X-Remote-User", PROXY, BTreeMap::from([("carla".into(), Role::Operate)])).unwrap();
    access
}

#[test]
fn nobody_comes_in_without_a_token() {
    let beam = Beam::with(access());
    beam.scan("f", "s", &["als"], &[]);
    let client = beam.client();
    for path in ["/", "/runs", "/scans/f/s", "/live", "/pictures/thumb/f/s", "/papers/report/f/s"] {
        let answer = client.get(path);
        assert_eq!(answer.status, 303, "{path}");
        assert!(answer.header("location").unwrap().starts_with("/login?next=%2F"), "{path}");
    }
    for path in ["/api/now", "/api/runs", "/api/openapi.json", "/metrics"] {
        assert_eq!(client.json(path).status, 401, "{path}");
    }
    for path in ["/health", "/ready", "/login"] {
        assert_eq!(client.get(path).status, 200, "{path}");
    }
    for token in ["", "x", "look-0123456789abcdef0123456780"] {
        let wrong = client.clone().with("Authorization", &format!("Bearer {token}"));
        assert_eq!(wrong.json("/api/now").status, 401);
    }
}

#[test]
fn a_token_becomes_a_session_that_ends() {
    let beam = Beam::with(access());
    let client = beam.client();
    let csrf = client.csrf("/login");
    let wrong = client.post("/login", &[("csrf", &csrf), ("token", "nonsense"), ("next", "/")]);
    assert_eq!(wrong.status, 401);
    assert!(wrong.text().contains("not known") && !wrong.text().contains("nonsense"));
    let right = client.post("/login", &[("csrf", &csrf), ("token", OPERATE), ("next", "//evil.org")]);
    assert_eq!((right.status, right.header("location")), (303, Some("/")));
    let cookie = right.header("set-cookie").unwrap().to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains(OPERATE));
    let signed = client.clone().with("Cookie", cookie.split(';').next().unwrap());
    let home = signed.get("/");
    assert_eq!(home.status, 200);
    assert!(home.text().contains("ben") && !home.text().contains(OPERATE));
    let out = signed.post("/logout", &[("csrf", &signed.csrf("/"))]);
    assert_eq!(out.status, 303);
    assert_eq!(signed.get("/").status, 303, "the session is over");
}

#[test]
fn looking_is_not_operating() {
    let beam = Beam::with(access());
    let scan = beam.scan("f", "s", &["als"], &[]);
    let run = beam.run("alcf_recon_flow", "f/s", "fail");
    let paths = [
        format!("/runs/{run}/retry"),
        format!("/runs/{run}/cancel"),
        format!("/runs/{run}/resume"),
        "/hold/f/s".to_owned(),
        "/release/f/s".to_owned(),
    ];
    let bearer = |token: &str| beam.client().with("Authorization", &format!("Bearer {token}"));
    for path in &paths {
        let answer = bearer(LOOK).post(path, &[]);
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.text().contains("needs the role operate"));
    }
    let json = [("Content-Type", "application/json")];
    let hold = br#"{"scan":"f/s","reason":"x"}"#;
    assert_eq!(bearer(LOOK).send("POST", "/api/scan/hold", &json, hold).status, 403);
    assert!(beam.beamline.custody.holds(Some(&scan)).unwrap().is_empty());
    assert!(!bearer(LOOK).get("/scans/f/s").text().contains("Release all holds"));
    assert!(!bearer(LOOK).get(&format!("/runs/{run}")).text().contains("/retry"));
    assert_eq!(bearer(OPERATE).send("POST", "/api/scan/hold", &json, hold).status, 200);
    assert_eq!(beam.beamline.custody.holds(Some(&scan)).unwrap()[0].who, "ben");
    assert_eq!(bearer(OPERATE).post(&paths[0], &[]).status, 303);
    let state = beam.runtime.block_on(beam.engine.run(run)).unwrap().state;
    assert_eq!(state.kind, StateType::Scheduled);
}

#[test]
fn a_proxy_speaks_for_people_with_its_secret_alone() {
    let beam = Beam::with(access());
    let client = beam.client().with("X-Remote-User", "carla");
    assert_eq!(client.json("/api/me").status, 401);
    let trusted = client.clone().with("X-Beamrail-Proxy-Secret", PROXY);
    let me = trusted.json("/api/me").json();
    assert_eq!((me["who"].as_str(), me["role"].as_str()), (Some("carla"), Some("operate")));
    let forged = client.with("X-Beamrail-Proxy-Secret", "proxy-0123456789abcdef0123456780");
    assert_eq!(forged.json("/api/me").status, 401);
}

#[test]
fn secrets_appear_nowhere() {
    let beam = Beam::with(access());
    beam.scan("f", "s", &["als"], &[]);
    beam.run("alcf_recon_flow", "f/s", "fail");
    let client = beam.client().with("Authorization", &format!("Bearer {OPERATE}"));
    let json = [("Content-Type", "application/json")];
    client.send("POST", "/api/scan/hold", &json, br#"{"scan":"f/s","reason":"x"}"#);
    let mut all = String::new();
    for path in ["/", "/runs", "/scans", "/scans/f/s", "/api/now", "/api/me", "/api/openapi.json", "/metrics"]
    {
        all += &client.get(path).text();
    }
    for file in std::fs::read_dir(beam.folder.join("state")).unwrap() {
        all += &String::from_utf8_lossy(&std::fs::read(file.unwrap().path()).unwrap());
    }
    for secret in [LOOK, OPERATE, PROXY] {
        assert!(!all.contains(secret));
    }
}

#[test]
fn an_address_that_others_reach_needs_somebody_to_be_known() {
    let beam = Beam::open();
    let listen = "0.0.0.0:0".parse().unwrap();
    let bind = |access: Access| {
        let app = App::new(beam.config.clone(), beam.engine.clone(), beam.beamline.clone(), access).unwrap();
        let router = web::router(&app);
        beam.runtime.block_on(Server::bind(app, listen, router))
    };
    let error = bind(Access::default()).err().unwrap().to_string();
    assert!(error.contains("BEAMRAIL_WEB_ACCESS_FILE"), "{error}");
}

#[test]
fn tokens_cannot_be_tried_for_long() {
    let beam = Beam::with(access());
    let client = beam.client();
    let csrf = client.csrf("/login");
    let statuses: Vec<u16> = (0..14)
        .map(|n| client.post("/login", &[("csrf", &csrf), ("token", &format!("guess {n}"))]).status)
        .collect();
    assert_eq!(statuses[0], 401);
    assert_eq!(*statuses.last().unwrap(), 429, "{statuses:?}");
    let log = std::fs::read_to_string(beam.folder.join("state/audit.jsonl")).unwrap();
    assert!(log.contains("login-refused") && !log.contains("guess"), "{log}");
}
