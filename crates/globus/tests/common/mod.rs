//! A small HTTP server that answers as a test says and remembers what it was asked.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, and say what they skip"
)]

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use globus::{Credentials, Globus, RetryPolicy, Secret, Settings};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The client's secret in all tests; it must appear nowhere.
pub const SECRET: &str = "correct-horse-battery-staple";
/// The token that the server gives first.
pub const TOKEN: &str = "tok-en";

/// What the server was asked.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: String,
    pub authorization: String,
    pub body: String,
}

impl Request {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// What it answers.
#[derive(Debug, Clone)]
pub enum Reply {
    Json(u16, Value),
    With(u16, Vec<(&'static str, String)>, String),
    /// The request was read, and the connection ends.
    Silence,
    /// After a while.
    Late(Duration, u16, Value),
}

type Handler = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

/// The server. It ends with its value.
pub struct Server {
    pub url: String,
    pub seen: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers tokens by itself and the rest by `handler`.
    pub async fn new(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (handler, log): (Handler, _) = (Arc::new(handler), seen.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, handler.clone(), log.clone()));
            }
        });
        Self { url, seen, task }
    }

    /// Answers what is in the list, one after the other, and then 599.
    pub async fn script(replies: Vec<Reply>) -> Self {
        let replies = Mutex::new(VecDeque::from(replies));
        Self::new(move |_| replies.lock().unwrap().pop_front().unwrap_or(Reply::Json(599, json!({})))).await
    }

    /// What was asked, tokens left out.
    pub fn asked(&self) -> Vec<Request> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|one| !one.path.ends_with("/token")).cloned().collect()
    }

    pub fn lines(&self) -> Vec<String> {
        self.asked().iter().map(Request::line).collect()
    }

    /// A client of this server that hardly waits.
    pub fn client(&self) -> Globus {
        Globus::new(self.settings()).unwrap()
    }

    pub fn settings(&self) -> Settings {
        settings(&self.url)
    }
}

/// Settings for a server on this host, with waits a thousandth as long.
pub fn settings(url: &str) -> Settings {
    let credentials = Credentials { id: "client-1".into(), secret: Secret::new(SECRET) };
    let mut settings = Settings::new(credentials).unwrap();
    for base in [&mut settings.auth, &mut settings.transfer, &mut settings.flows, &mut settings.compute] {
        *base = url.parse().unwrap();
    }
    settings.retry = RetryPolicy { scale: 0.001, ..RetryPolicy::default() };
    settings.limits.requests_per_second = 0;
    settings.limits.compute_per_ten_seconds = 0;
    settings
}

/// An answer of the token endpoint.
pub fn token(text: &str, scope: &str, life: u64) -> Value {
    json!({ "access_token": text, "scope": scope, "expires_in": life, "token_type": "Bearer",
            "resource_server": "somewhere", "other_tokens": [] })
}

async fn serve(mut stream: TcpStream, handler: Handler, log: Arc<Mutex<Vec<Request>>>) {
    let mut buffer = Vec::new();
    loop {
        let Some(request) = read(&mut stream, &mut buffer).await else { return };
        let mut reply = handler(&request);
        if request.path == "/v2/oauth2/token" && matches!(reply, Reply::Json(599 | 404, _)) {
            let scope = decode(&request.body).split("scope=").nth(1).unwrap_or_default().to_owned();
            let scope = scope.split('[').next().unwrap_or_default().to_owned();
            reply = Reply::Json(200, token(TOKEN, &scope, 172_800));
        }
        log.lock().unwrap().push(request);
        let (status, headers, body) = match reply {
            Reply::Json(status, value) => (status, vec![], value.to_string()),
            Reply::With(status, headers, body) => (status, headers, body),
            Reply::Silence => return,
            Reply::Late(wait, status, value) => {
                tokio::time::sleep(wait).await;
                (status, vec![], value.to_string())
            }
        };
        let mut head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Request> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let length: usize = header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    while buffer.len() < head_end + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8_lossy(&buffer[head_end..head_end + length]).into_owned();
    buffer.drain(..head_end + length);
    let mut first = head.lines().next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let (path, query) = target.split_once('?').map_or((target.as_str(), ""), |parts| parts);
    let authorization = header("authorization").unwrap_or_default();
    Some(Request { method, path: path.to_owned(), query: query.to_owned(), authorization, body })
}

/// Percent signs and plus signs as what they stand for.
pub fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                let digits = std::str::from_utf8(&digits).unwrap_or("00").to_owned();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The folder of shared data; `None` (with a word) where it is absent.
pub fn shared() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = std::env::var_os("BEAMRAIL_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    if !folder.join("data/globus").is_dir() {
        println!("skipped: no shared data in {}", folder.display());
        return None;
    }
    Some(folder)
}

/// A Python that has Globus's own packages; `None` (with a word) where there is none.
pub fn python(package: &str) -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let named = std::env::var_os("BEAMRAIL_GLOBUS_PYTHON").map(PathBuf::from);
    // globus-sdk has Auth, Transfer and Flows; each globus-worker-VERSION has Compute as well. That of globus-old is
    // years older, and is there for the worker alone.
    let installed =
        std::fs::read_dir(root.join(".tools")).into_iter().flatten().flatten().map(|one| one.path());
    let globus = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("globus-") && name != "globus-old"
    };
    let mut ours: Vec<PathBuf> = installed.filter(globus).map(|path| path.join("bin/python")).collect();
    ours.sort();
    let has = |python: &PathBuf| {
        let mut command = std::process::Command::new(python);
        command.args(["-c", &format!("import {package}")]).stderr(std::process::Stdio::null());
        python.exists() && command.status().is_ok_and(|status| status.success())
    };
    let found = named.into_iter().chain(ours).find(has);
    if found.is_none() {
        println!("skipped: no Python with {package} (make judges)");
    }
    found
}
