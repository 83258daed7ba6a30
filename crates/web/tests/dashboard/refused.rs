//! Requests that must not get anywhere: paths that climb, text that wants to be code, hosts that are not ours, bodies
//! that are too large. Nothing but 4xx comes back, and never what was asked for.

use crate::beam::Beam;
use crate::client::{Answer, Client};

/// What nobody may read: outside every site, and inside a site but in nobody's copy.
const SECRET: &str = "this must stay where it is";

/// Ways out of a folder.
const CLIMBS: [&str; 26] = [
    "..",
    "../secret",
    "../../secret",
    "../../../../../../etc/passwd",
    "..%2f..%2fsecret",
    "..%2F..%2F..%2Fetc%2Fpasswd",
    "%2e%2e/%2e%2e/secret",
    "%2e%2e%2f%2e%2e%2fsecret",
    "%252e%252e%252fsecret",
    "..%252f..%252fsecret",
    "..%c0%af..%c0%afsecret",
    "..%5c..%5csecret",
    "..\\..\\secret",
    "....//....//secret",
    "./../secret",
    ".%2e/.%2e/secret",
    "%2fetc%2fpasswd",
    "/etc/passwd",
    "//etc/passwd",
    "%00/etc/passwd",
    "f/..%00.h5",
    "f/%00",
    "f/s%00.png",
    "file:%2f%2f%2fetc%2fpasswd",
    "~%2f.ssh%2fid_rsa",
    "f/link",
];

/// Text that wants to be code somewhere.
const CODE: [&str; 22] = [
    "' OR '1'='1",
    "'; DROP TABLE runs; --",
    "1; SELECT * FROM runs",
    "\" OR \"\"=\"",
    "%' OR name LIKE '%",
    "1 UNION SELECT 1,2,3",
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "{{7*7}}",
    "${7*7}",
    "#{7*7}",
    "%{7*7}",
    "$(id)",
    "`id`",
    "|id",
    ";id;",
    "&& id",
    "\r\nSet-Cookie: x=y",
    "%0d%0aSet-Cookie:%20x=y",
    "\u{202e}gnp.x",
    "../../x.h5\0",
    "\u{fffd}\u{1f41a}",
];

/// Addresses that take a name at their end.
const PREFIXES: [&str; 8] = [
    "/scans/",
    "/runs/",
    "/pictures/thumb/",
    "/pictures/preview/",
    "/pictures/evidence/",
    "/papers/report/",
    "/api/runs/",
    "/static/",
];

fn sound(answer: &Answer, what: &str) {
    assert!((400..500).contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
    let text = answer.text();
    assert!(!text.contains(SECRET) && !text.contains("root:"), "{what} gave it away");
    // In JSON it is text, whatever it looks like.
    let page = answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html"));
    assert!(
        !page || !(text.contains("<script>alert") || text.contains("<img src=x")),
        "{what}: code came back"
    );
    assert!(answer.header("set-cookie").is_none(), "{what}: a header was smuggled in");
}

fn beam() -> Beam {
    let beam = Beam::open();
    beam.scan("f", "s", &["als"], &["nersc"]);
    std::fs::write(beam.folder.join("secret"), SECRET).unwrap();
    std::fs::write(beam.folder.join("als/secret"), SECRET).unwrap();
    std::fs::create_dir_all(beam.folder.join("nersc/scratch/f")).unwrap();
    std::os::unix::fs::symlink(beam.folder.join("secret"), beam.folder.join("nersc/scratch/f/link")).unwrap();
    std::os::unix::fs::symlink(&beam.folder, beam.folder.join("nersc/scratch/f/recs.zarr")).unwrap();
    beam
}

#[test]
fn paths_that_climb_and_text_that_wants_to_be_code_get_nothing_but_4xx() {
    let beam = beam();
    let client = beam.client();
    let mut count = 0;
    for prefix in PREFIXES {
        for climb in CLIMBS {
            let path = format!("{prefix}{climb}");
            sound(&client.get(&path), &path);
            count += 1;
        }
        for code in CODE {
            let encoded: String = url::form_urlencoded::byte_serialize(code.as_bytes()).collect();
            let path = format!("{prefix}f/{encoded}");
            sound(&client.get(&path), &path);
            count += 1;
        }
    }
    println!("{count} requests, nothing but 4xx");
    assert!(count > 100);
}

#[test]
fn filters_take_text_for_text() {
    let beam = beam();
    beam.run("alcf_recon_flow", "f/s", "done");
    let client = beam.client();
    for code in CODE {
        let encoded: String = url::form_urlencoded::byte_serialize(code.as_bytes()).collect();
        for filter in ["/runs?name=", "/runs?flow=", "/scans?name=", "/api/runs?name=", "/api/runs?flow="] {
            let answer = client.get(&format!("{filter}{encoded}"));
            // A search for odd text is a search that finds nothing.
            assert!(answer.status == 200 || (400..500).contains(&answer.status), "{filter}{code}");
            let text = answer.text();
            let page = !filter.starts_with("/api/");
            assert!(
                !page || !(text.contains("<script>alert") || text.contains("<img src=x")),
                "{filter}{code}"
            );
            assert!(!text.contains("alcf_recon_flow: f/s"), "{filter}{code} found what it should not");
        }
        for filter in
            ["/runs?state=", "/runs?before=", "/api/runs?state=", "/api/runs?limit=", "/api/scan?name="]
        {
            sound(&client.get(&format!("{filter}{encoded}")), filter);
        }
    }
}

#[test]
fn a_picture_is_only_what_custody_lists_and_no_link_is_followed() {
    let beam = beam();
    let name = custody::ScanName::new("f", "s").unwrap();
    beam.copy(&name, "nersc", "scratch", custody::Kind::Zarr, &["recs.zarr/.zattrs".to_owned()]);
    let client = beam.client();
    sound(&client.get("/pictures/thumb/f/s"), "a volume that is a link");
    let run = beam.run("alcf_recon_flow", "f/s", "ask");
    std::os::unix::fs::symlink(beam.folder.join("secret"), beam.folder.join("alcf/scratch/f.png")).unwrap();
    std::fs::create_dir_all(beam.folder.join("alcf/scratch/f")).unwrap();
    let picture = beam.folder.join("alcf/scratch/f/rec.center.png");
    std::os::unix::fs::symlink(beam.folder.join("secret"), &picture).unwrap();
    sound(&client.get(&format!("/pictures/evidence/{run}")), "evidence that is a link");
    std::fs::remove_file(&picture).unwrap();
    std::fs::write(&picture, b"\x89PNG\r\n").unwrap();
    assert_eq!(client.get(&format!("/pictures/evidence/{run}")).status, 200);
}

#[test]
fn names_that_are_not_ours_are_refused() {
    let beam = beam();
    let ask = |host: &str| {
        let bytes =
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\nConnection: close\r\n\r\n");
        beam.client().raw(bytes.as_bytes()).status
    };
    for host in ["localhost", "127.0.0.1", "[::1]:1", "dash.example.org", "DASH.example.org:8320"] {
        assert_eq!(ask(host), 200, "{host}");
    }
    for host in
        ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "dash.example.org.evil", "x"]
    {
        assert_eq!(ask(host), 421, "{host}");
    }
    for host in ["", ":80", "[::1"] {
        assert!((400..500).contains(&ask(host)), "{host:?}");
    }
    let none = beam.client().raw(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert!((400..500).contains(&none.status), "{}", none.status);
}

#[test]
fn requests_that_are_malformed_or_too_large_are_refused() {
    let beam = beam();
    let client = beam.client();
    let host = format!("Host: {}\r\n", beam.address);
    let large = "x".repeat(80 << 10);
    for (what, bytes) in [
        ("no HTTP", "hello\r\n\r\n".to_owned()),
        ("a bad header", format!("GET / HTTP/1.1\r\n{host}Bad Header: x\r\n\r\n")),
        ("a huge path", format!("GET /{large} HTTP/1.1\r\n{host}\r\n")),
        ("a huge header", format!("GET / HTTP/1.1\r\n{host}X-Large: {large}\r\n\r\n")),
        (
            "two lengths",
            format!("POST /login HTTP/1.1\r\n{host}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
        ),
        ("a method nobody knows", format!("BREW / HTTP/1.1\r\n{host}Connection: close\r\n\r\n")),
        (
            "a method that changes",
            format!("PUT / HTTP/1.1\r\n{host}Connection: close\r\nContent-Length: 0\r\n\r\n"),
        ),
        ("trace", format!("TRACE / HTTP/1.1\r\n{host}Connection: close\r\n\r\n")),
    ] {
        let answer = client.raw(bytes.as_bytes());
        let fine = answer.status == 0 || (400..500).contains(&answer.status);
        assert!(fine, "{what}: {}", answer.status);
    }
    assert_eq!(client.get("/health").status, 200, "it still answers");
    let body = format!("csrf={}&reason={large}", client.csrf("/"));
    let answer = client.send(
        "POST",
        "/hold/f/s",
        &[("Content-Type", "application/x-www-form-urlencoded")],
        body.as_bytes(),
    );
    assert_eq!(answer.status, 413);
}

#[test]
fn every_answer_has_its_security_headers() {
    let beam = beam();
    let check = |client: &Client, path: &str| {
        let answer = client.get(path);
        let policy =
            answer.header("content-security-policy").unwrap_or_else(|| panic!("{path} has no policy"));
        for part in ["default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"]
        {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}: {name}");
        }
    };
    let client = beam.client();
    for path in ["/", "/runs", "/scans/f/s", "/nothing", "/api/now", "/api/runs/x", "/health", "/metrics"] {
        check(&client, path);
    }
}
