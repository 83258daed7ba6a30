//! A real Prefect server for one test: its own folder, its own port, gone when dropped, also when the test dies.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A server.
pub struct Server {
    major: u32,
    child: Child,
    pid: i32,
    port: u16,
    home: TempDir,
    program: PathBuf,
    settings: Vec<(String, String)>,
}

/// Where `make prefect` put it: `.tools/prefect3` of this checkout, or of the one that `BEAMRAIL_TOOLS` names.
fn installed(major: u32) -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools");
    let tools = std::env::var_os("BEAMRAIL_TOOLS").map_or(own, PathBuf::from);
    tools.join(format!("prefect{major}"))
}

/// Starts Prefect 3 or 2 with these settings. `None`, with the word why, where it is not installed.
pub fn start(major: u32, settings: &[(&str, &str)]) -> Option<Server> {
    let folder = installed(major);
    let (program, database) = (folder.join("bin/prefect"), folder.join("home/prefect.db"));
    if !program.exists() || !database.exists() {
        println!("skipped: Prefect {major} is not installed in {}; run make prefect", folder.display());
        return None;
    }
    let home = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy(&database, home.path().join("prefect.db")).expect("the database with its tables");
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let settings: Vec<(String, String)> =
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (child, pid) = launch(&program, home.path(), port, &settings);
    let server = Server { major, child, pid, port, home, program, settings };
    server.wait_until_up();
    Some(server)
}

/// A shell holds the server and a pipe to us: when we are gone, however, the pipe ends and the shell kills it.
fn launch(program: &Path, home: &Path, port: u16, settings: &[(String, String)]) -> (Child, i32) {
    let log =
        std::fs::OpenOptions::new().create(true).append(true).open(home.join("server.log")).expect("a log");
    // A group of its own: Prefect 2 serves in a child, which outlives it.
    let script = "setsid \"$0\" server start --host 127.0.0.1 --port \"$1\" >/dev/null & echo $!; read -r _; kill -9 -$!";
    let mut child = Command::new("sh")
        .args(["-c", script])
        .arg(program)
        .arg(port.to_string())
        .env("PREFECT_HOME", home)
        .env("PREFECT_API_URL", format!("http://127.0.0.1:{port}/api"))
        .env("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        .env("PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY", "false")
        .env("DO_NOT_TRACK", "1")
        .env_remove("PREFECT_API_KEY")
        .envs(settings.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("a shell");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("its output"))
        .read_line(&mut line)
        .expect("the server's pid");
    let pid = line.trim().parse().expect("a pid");
    (child, pid)
}

#[allow(dead_code, reason = "each test binary uses its part")]
impl Server {
    /// The address of the API.
    pub fn api(&self) -> String {
        format!("http://127.0.0.1:{}/api", self.port)
    }

    /// Its port on the loopback interface.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Prefect's own program, set up for this server.
    pub fn cli(&self, arguments: &[&str]) -> (bool, String) {
        let told = Command::new(&self.program)
            .args(arguments)
            .env("PREFECT_HOME", self.home.path())
            .env("PREFECT_API_URL", self.api())
            .env("DO_NOT_TRACK", "1")
            .env("COLUMNS", "200")
            .envs(self.settings.iter().map(|(name, value)| {
                let name =
                    if name == "PREFECT_SERVER_API_AUTH_STRING" { "PREFECT_API_AUTH_STRING" } else { name };
                (name, value.as_str())
            }))
            .output()
            .expect("the prefect program");
        let text =
            String::from_utf8_lossy(&told.stdout).into_owned() + &String::from_utf8_lossy(&told.stderr);
        (told.status.success(), text)
    }

    /// The Python that has the `prefect` package.
    pub fn python(&self) -> PathBuf {
        self.program.with_file_name("python")
    }

    /// The end of what the server wrote.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.home.path().join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n")
    }

    fn kill_process(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid) {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }

    /// Kills it with -9.
    pub fn kill(&mut self) {
        self.kill_process();
    }

    /// Starts it again on the same port and database, after [`kill`](Self::kill).
    pub fn start_again(&mut self) {
        // Prefect 2 gives up at once while closed connections hold the port: up to a minute.
        let bind = "import socket, sys; socket.socket().bind(('127.0.0.1', int(sys.argv[1])))";
        let is_free = || {
            let mut python = Command::new(self.python());
            let tried = python.args(["-c", bind, &self.port.to_string()]).stderr(Stdio::null()).status();
            tried.is_ok_and(|status| status.success())
        };
        let begun = Instant::now();
        while self.major == 2 && !is_free() && begun.elapsed() < Duration::from_secs(100) {
            std::thread::sleep(Duration::from_millis(500));
        }
        let (child, pid) = launch(&self.program, self.home.path(), self.port, &self.settings);
        (self.child, self.pid) = (child, pid);
        self.wait_until_up();
    }

    fn wait_until_up(&self) {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(120) {
            if answers(self.port) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the Prefect server did not start:\n{}", self.log());
    }
}

/// Whether it answers `GET /api/health`.
fn answers(port: u16) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let asked = stream.write_all(b"GET /api/health HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n");
    let mut answer = String::new();
    asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.contains(" 200 ")
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill_process();
        if std::thread::panicking() {
            println!("the server's last words:\n{}", self.log());
        }
    }
}
