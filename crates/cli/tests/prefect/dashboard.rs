//! The dashboard where a server is named: what is started on its pages is made there, for operators to see.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use prefect::{FlowRun, StateType};
use serde_json::{Value, json};

use crate::common::Dir;
use crate::{Worker, client, command, ok, server, sites, through};

const TOKEN: &str = "for-this-test-alone-0123456789";

/// The dashboard's process.
struct Dashboard {
    child: Child,
    address: String,
}

impl Dashboard {
    fn start(dir: &Dir, server: &server::Server) -> Self {
        let mut serve = command(dir, server, &["serve", "--listen", "127.0.0.1:0"]);
        serve.env("BEAMRAIL_WEB_TOKEN", TOKEN).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = serve.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().trim_start_matches("http://").to_owned();
        Self { child, address }
    }

    /// Status and body.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_run_that_is_started_on_a_page_is_made_at_the_server() {
    let Some(mut server) = server::start(3, &[]) else { return };
    let dir = Dir::new();
    sites::sites(&dir);
    sites::scan(&dir);
    ok(&dir, &server, &["prefect", "setup"]);
    let worker = Worker::start(&dir, &server, &[]);
    // The scan is known, and its raw file is where reconstructions begin.
    let given = json!({ "file_path": sites::SCAN });
    assert_eq!(through(&server, "new_832_file_flow/new_file_832", given).0, StateType::Completed);
    let dashboard = Dashboard::start(&dir, &server);
    assert_eq!(worker.stop(), 0);

    let again = format!("/api/again/{}", sites::SCAN.trim_end_matches(".h5"));
    let wanted = json!({ "flow": "alcf_recon_flow", "set": { "stripes.sigma": 4 }, "key": "k1" }).to_string();
    let (status, told) = dashboard.ask("POST", &again, &wanted);
    assert_eq!(status, 200, "{told}");
    let told: Value = serde_json::from_str(&told).unwrap();
    let (here, there) = (told["run"].as_str().unwrap(), told["prefect_run"].as_str().unwrap());
    assert!(told["page"].as_str().unwrap().ends_with(&format!("/runs/flow-run/{there}")), "{told}");
    let (prefect, runtime) = client(&server);
    let filter = json!({ "flows": { "name": { "any_": ["alcf_recon_flow"] } } });
    let runs = || -> Vec<FlowRun> { runtime.block_on(prefect.flow_runs(filter.clone())).unwrap() };
    let made = runs();
    assert_eq!(made.len(), 1, "{made:#?}");
    assert!(made[0].id.to_string() == there && made[0].deployment_id.is_some(), "{made:#?}");
    assert!(made[0].name.ends_with("(again, by admin)"), "{}", made[0].name);
    assert_eq!(made[0].parameters["set"], json!(["stripes.sigma=4.0"]));
    // Sent twice, it is one run.
    let twice: Value = serde_json::from_str(&dashboard.ask("POST", &again, &wanted).1).unwrap();
    assert_eq!((&twice["run"], runs().len()), (&told["run"], 1));

    // Its page says where it is, until a worker of this state folder takes it: then it is the run's own.
    let page = format!("/runs/{here}?there={there}");
    assert_eq!(dashboard.ask("GET", &format!("/runs/{here}"), "").0, 404);
    let (status, waiting) = dashboard.ask("GET", &page, "");
    assert!(status == 200 && waiting.contains("Prefect has this run"), "{waiting}");
    let worker = Worker::start(&dir, &server, &[]);
    let begun = Instant::now();
    while runs()[0].state_type() != Some(StateType::Completed) {
        let log = || std::fs::read_to_string(dir.file("worker.log")).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(60), "{:#?}\n{}", runs(), log());
        std::thread::sleep(Duration::from_millis(200));
    }
    let (status, own) = dashboard.ask("GET", &page, "");
    assert!(status == 200 && own.contains("Where the time went"), "{own}");
    assert_eq!(worker.stop(), 0);

    // The server is away: nothing is made anywhere, and it is said.
    server.kill();
    let other = wanted.replace("k1", "k2");
    let (status, told) = dashboard.ask("POST", &again, &other);
    assert_eq!(status, 503, "{told}");
    assert!(told.contains("did not answer") && told.contains("try again when the server is back"), "{told}");
    let listed = dir.json(&["runs", "list", "--json"]);
    let again_runs = listed.to_string().matches("(again, by admin)").count();
    assert_eq!(again_runs, 1, "{listed:#}");
}
