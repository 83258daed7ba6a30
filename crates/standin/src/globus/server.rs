//! The HTTP server. hyper is used directly, because a lost answer (the connection closed after the
//! request was carried out) is not something that a web framework can be asked for.

use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

use super::faults::Effect;
use super::http::{Request, Service};
use super::state::World;
use super::{StartError, auth, compute, control, endpoints, fileops, flows, submit, tasks};

/// Bytes in one request, beyond what any of the services accept.
const LARGEST: usize = 32 << 20;

/// The thread that serves, and the way to end it.
pub struct Server {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// The answer is to be lost: hyper closes the connection when a service fails.
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost, as a fault has asked for")]
struct Lost;

impl Server {
    pub fn start(world: &Arc<World>) -> Result<Self, StartError> {
        let address = world.config.listen;
        let failed = |error| StartError::Listen(address, error);
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        world.listening(listener.local_addr().map_err(failed)?);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let world = Arc::clone(world);
        let thread = std::thread::Builder::new()
            .name("standin".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = accept(listener, world) => {}
                        _ = stopped => {}
                    }
                });
                runtime.shutdown_timeout(Duration::from_millis(500));
            })
            .map_err(failed)?;
        Ok(Self { stop, thread })
    }

    pub fn stop(self) {
        // Gone already means that it has ended by itself.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

async fn accept(listener: TcpListener, world: Arc<World>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&world), request));
            // A connection that ends badly is the client's affair, or ours on purpose.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    world: Arc<World>,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, Lost> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let body = Limited::new(body, LARGEST).collect().await.map_err(|_| Lost)?.to_bytes();
    let request = Request {
        service: Service::of(&path),
        method: head.method.as_str().to_owned(),
        query: url::form_urlencoded::parse(head.uri.query().unwrap_or("").as_bytes()).into_owned().collect(),
        authorization: head
            .headers
            .get("authorization")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned),
        path,
        body,
    };
    let mut lose = false;
    let told = match world.meet_request(&request) {
        Effect::Drop => return Err(Lost),
        Effect::Refuse(answer) => answer,
        effect => {
            lose = matches!(effect, Effect::LoseAnswer);
            if let Effect::Wait(milliseconds) = effect {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            }
            // Handlers read folders: they run where blocking is allowed.
            tokio::task::spawn_blocking(move || route(&world, &request).unwrap_or_else(|refusal| refusal))
                .await
                .map_err(|_| Lost)?
        }
    };
    if lose {
        return Err(Lost);
    }
    let mut response =
        hyper::Response::builder().status(told.status).header("content-type", "application/json");
    if let Some(seconds) = told.retry_after {
        response = response.header("retry-after", seconds);
    }
    if let Some(id) = told.body.get("request_id").and_then(|id| id.as_str()) {
        response = response.header("x-request-id", id);
    }
    response.body(Full::from(told.body.to_string())).map_err(|_| Lost)
}

fn route(world: &Arc<World>, request: &Request) -> super::http::Reply {
    let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    let method = request.method.as_str();
    match request.service {
        Service::Control => control::route(world, request, method, &parts),
        Service::Auth => auth::route(world, request, method, &parts),
        Service::Flows => flows::route(world, request, method, &parts),
        Service::Compute => compute::route(world, request, method, &parts),
        Service::Transfer => {
            let token = auth::authorize(world, request, auth::TRANSFER)?;
            match (method, &parts[1..]) {
                ("GET", ["submission_id"]) => submit::submission_id(world),
                ("POST", ["transfer" | "delete"]) => submit::submit(world, request, &token),
                (_, ["task_list"] | ["task", ..]) => {
                    tasks::route(world, request, &token, method, &parts[1..])
                }
                ("GET", ["endpoint", id]) => endpoints::get(world, request, id),
                ("GET", ["endpoint_search"]) => endpoints::search(world, request),
                (_, ["operation", "endpoint", id, operation]) => {
                    fileops::route(world, request, &token, method, id, operation)
                }
                _ => Err(request.not_found()),
            }
        }
    }
}
