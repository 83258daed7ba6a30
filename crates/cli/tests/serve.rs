//! The dashboard of the real binary: a demonstration's scan in it, started, looked at and ended as people do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use common::Dir;

/// A process that is ended whatever becomes of the test.
struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    fn start(dir: &Dir, arguments: &[&str]) -> Self {
        let mut command = dir.command(arguments);
        command.env_remove("BEAMRAIL_WEB_TOKEN").env_remove("BEAMRAIL_WEB_ACCESS_FILE");
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    /// The rest of the first line that holds these words, after them.
    fn line(&mut self, words: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "it ended before it said {words:?}");
            if let Some((_, rest)) = line.split_once(words) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Ends it as a person or a service manager does. Returns its exit code.
    fn end(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(20) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it did not end");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status and body of a page at `address` ("127.0.0.1:8320").
fn get(address: &str, path: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/html\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), answer[end + 4..].to_vec())
}

#[test]
fn a_demonstration_is_live_in_the_dashboard_until_it_is_ended() {
    let dir = Dir::new();
    let mut demo = Running::start(&dir, &["demo", "--size", "tiny", "--listen", "127.0.0.1:0"]);
    let address = demo.line("http://");
    // From its beginning, before there is a scan.
    assert_eq!(get(&address, "/").0, 200);
    let scan = demo.line("live in the dashboard: http://");
    let (host, path) = scan.split_once('/').unwrap();
    assert_eq!(host, address);
    let (status, page) = get(&address, &format!("/{path}"));
    let page = String::from_utf8(page).unwrap();
    assert_eq!(status, 200, "{page}");
    for words in ["Rotation centre", "digested", "1/cm", "projections of", "Copies"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let name = path.strip_prefix("scans/").unwrap();
    for picture in ["thumb", "slice", "preview"] {
        let (status, bytes) = get(&address, &format!("/pictures/{picture}/{name}"));
        assert_eq!((status, bytes.get(1..4)), (200, Some(b"PNG".as_slice())), "{picture}");
    }
    let (_, home) = get(&address, "/");
    let home = String::from_utf8(home).unwrap();
    for words in ["Done", "als", "nersc", "alcf", "Next to go", "raw data"] {
        assert!(home.contains(words), "{words}: {home}");
    }
    assert_eq!(demo.end(), Some(0));

    // And afterwards, by itself.
    let mut serve = Running::start(
        &dir,
        &["serve", "--config", "beamrail-demo/beamrail.toml", "--listen", "127.0.0.1:0"],
    );
    let address = serve.line("http://");
    let (status, runs) = get(&address, "/runs");
    assert_eq!(status, 200);
    assert!(String::from_utf8(runs).unwrap().contains("dispatcher"));
    let mut open = TcpStream::connect(&address).unwrap();
    open.write_all(format!("GET /live HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    let mut first = [0; 12];
    open.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    assert_eq!(serve.end(), Some(0), "a page that watches does not keep it");
}

#[test]
fn an_address_that_others_reach_is_refused_without_tokens() {
    let dir = Dir::new();
    std::fs::create_dir_all(dir.file("als/raw")).unwrap();
    let text = "[beamline]\nid = \"x\"\n[sites.als]\nkind = \"local\"\nroot = \"als\"\nraw = \"raw\"\n";
    std::fs::write(dir.file("beamrail.toml"), text).unwrap();
    let run = dir.run(&["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(run.stderr.contains("BEAMRAIL_WEB_ACCESS_FILE"), "{}", run.stderr);
    dir.refused(&["serve", "--listen", "nowhere"], 2, &["--listen"]);
}
