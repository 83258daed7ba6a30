//! The server itself: one listener, a bounded number of connections, slow senders cut off, an end that lets answers
//! go out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

use crate::Error;
use crate::app::Shared;
use crate::guard::Peer;

/// Connections at once; more wait in the system's queue.
const CONNECTIONS: usize = 512;
/// A request's headers must be here by then.
const HEADERS: Duration = Duration::from_secs(10);
/// Bytes of a request's headers.
const HEADER_BYTES: usize = 32 << 10;
/// How long answers may go on after the end was asked for.
const GRACE: Duration = Duration::from_secs(3);

/// A server that listens, and is not yet serving.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
}

impl Server {
    /// Listens. An address that others can reach needs somebody to be known: a token or a proxy.
    ///
    /// # Errors
    /// The address is taken, or may not be listened on so.
    pub async fn bind(app: Shared, listen: SocketAddr, router: Router) -> Result<Self, Error> {
        if !listen.ip().is_loopback() && app.access.is_open() {
            return Err(Error::Open { listen });
        }
        let listener = TcpListener::bind(listen).await.map_err(|source| Error::Listen { listen, source })?;
        let address = listener.local_addr().map_err(|source| Error::Listen { listen, source })?;
        Ok(Self { listener, address, router })
    }

    /// Where it listens; the port is known now.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` comes; then answers have a few seconds to end.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let (end, ended) = watch::channel(false);
        tokio::pin!(stop);
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { break };
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = self.listener.accept() => accepted,
            };
            let Ok((stream, peer)) = accepted else {
                // Out of files, or a connection that was gone before it was taken.
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let _ = stream.set_nodelay(true);
            let router = self.router.clone();
            let mut ended = ended.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let router = router.clone();
                    let mut request = request.map(Body::new);
                    request.extensions_mut().insert(Peer(peer.ip().to_canonical()));
                    router.oneshot(request)
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADERS)
                    .max_buf_size(HEADER_BYTES)
                    .serve_connection(TokioIo::new(stream), service);
                tokio::pin!(connection);
                tokio::select! {
                    // A peer that went away is no error of ours.
                    _ = connection.as_mut() => {}
                    _ = ended.changed() => {
                        connection.as_mut().graceful_shutdown();
                        let _ = tokio::time::timeout(GRACE, connection).await;
                    }
                }
                drop(place);
            });
        }
        let _ = end.send(true);
        // Live streams never end by themselves; whoever still has a place after the grace is left.
        let all = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(GRACE, places.acquire_many(all)).await;
    }
}
