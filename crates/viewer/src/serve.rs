//! The viewer by itself on the loopback interface, for a user's own machine.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use crate::viewer::Viewer;

impl Viewer {
    /// Serves pages, volumes and links on `listener` until `stop` ends.
    ///
    /// Whoever can connect can see the volumes, so the listener should be a loopback one. Requests under
    /// another host's name are refused: a page elsewhere could otherwise read the volumes through a name of
    /// its own that leads here.
    ///
    /// # Errors
    /// What the listener says.
    pub async fn serve(
        self,
        listener: tokio::net::TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let (pages, _) = self.router().split_for_parts();
        let app = pages.merge(self.link_router()).layer(middleware::from_fn(local_only));
        axum::serve(listener, app).with_graceful_shutdown(stop).await
    }
}

/// Refuses requests that did not mean this machine, and changes that a page of another origin asks for.
async fn local_only(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let local = host.and_then(|host| host.parse::<Uri>().ok()).is_some_and(|uri| {
        matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]")) && uri.path_and_query().is_none()
    });
    if !local {
        return (StatusCode::FORBIDDEN, "this viewer answers to localhost only\n").into_response();
    }
    let site = HeaderName::from_static("sec-fetch-site");
    let elsewhere = headers.get(site).is_some_and(|from| {
        from != HeaderValue::from_static("same-origin") && from != HeaderValue::from_static("none")
    });
    if elsewhere && !request.method().is_safe() {
        return (StatusCode::FORBIDDEN, "changes are made from the viewer's own page only\n").into_response();
    }
    next.run(request).await
}
