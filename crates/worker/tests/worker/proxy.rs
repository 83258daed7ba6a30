//! What stands between a worker and its server: answers of a busy database, and answers that never arrive, by a seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// What a server on SQLite answers at once when the database is locked.
const BUSY: &str = "{\"exception_message\":\"Service Unavailable\"}";

/// How often what happens to a request, in thousandths.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    pub seed: u64,
    /// It is turned away: 503, and nothing was done.
    pub busy: u64,
    /// It is done, and the connection ends before the answer.
    pub lost: u64,
}

/// What happened.
#[derive(Debug, Default)]
pub struct Tally {
    pub requests: AtomicU64,
    pub busy: AtomicU64,
    pub lost: AtomicU64,
}

/// The proxy. Its port closes with the test's runtime.
pub struct Proxy {
    pub api: String,
    pub tally: Arc<Tally>,
}

impl Proxy {
    /// Before the server at this port of the loopback interface.
    pub async fn start(server: u16, weather: Weather) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = format!("http://{}/api", listener.local_addr().unwrap());
        let tally: Arc<Tally> = Arc::default();
        let kept = tally.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let kept = kept.clone();
                // An end in the middle is the client's to deal with.
                tokio::spawn(async move { serve(client, server, weather, &kept).await });
            }
        });
        Proxy { api, tally }
    }
}

/// One request and its answer; then the connection ends.
async fn serve(mut client: TcpStream, server: u16, weather: Weather, tally: &Tally) -> Option<()> {
    let (head, body) = request(&mut client).await?;
    let number = tally.requests.fetch_add(1, Ordering::SeqCst);
    let chance = mixed(weather.seed ^ number) % 1000;
    if chance < weather.busy {
        tally.busy.fetch_add(1, Ordering::SeqCst);
        let answer = format!(
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{BUSY}",
            BUSY.len()
        );
        return client.write_all(answer.as_bytes()).await.ok();
    }
    let mut upstream = TcpStream::connect(("127.0.0.1", server)).await.ok()?;
    let is_socket = head.to_ascii_lowercase().contains("upgrade: websocket");
    // Both sides end after this answer, so its length need not be understood.
    let head = if is_socket { head } else { closing(&head) };
    upstream.write_all(head.as_bytes()).await.ok()?;
    upstream.write_all(&body).await.ok()?;
    if is_socket {
        return copy_bidirectional(&mut client, &mut upstream).await.map(drop).ok();
    }
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await.ok()?;
    if chance < weather.busy + weather.lost {
        tally.lost.fetch_add(1, Ordering::SeqCst);
        return None;
    }
    client.write_all(&answer).await.ok()
}

/// A request's head with its last empty line, and its body.
async fn request(client: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if client.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    };
    let mut body = read.split_off(end);
    let head = String::from_utf8(read).ok()?;
    let length: usize = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Some(0), |(_, value)| value.trim().parse().ok())?;
    while body.len() < length {
        if client.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, body))
}

fn closing(head: &str) -> String {
    let kept = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let mut lines: Vec<&str> = kept.filter(|line| !line.is_empty()).collect();
    lines.push("connection: close");
    lines.join("\r\n") + "\r\n\r\n"
}

/// splitmix64: the same numbers for the same seed.
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
