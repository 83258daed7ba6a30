//! The page: one document for every volume, with its script and style beside it. The script reads the
//! volume's id from the address.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};

use crate::api;
use crate::viewer::Inner;

/// What the page sends back with everything it changes, in the header `x-csrf-token`.
///
/// Whoever protects the viewer puts it into the request's extensions; without one the page sends none.
#[derive(Debug, Clone)]
pub struct CsrfToken(pub String);

/// The content security policy that the page works under: nothing but this server, nothing inline.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'";

/// Name, kind and content of what the page consists of. The build of `ui/` is committed, so that
/// compiling needs no node.
const ASSETS: [(&str, &str, &str); 3] = [
    ("icon.svg", "image/svg+xml", include_str!("icon.svg")),
    ("viewer.js", "text/javascript; charset=utf-8", include_str!("../../../ui/dist/viewer.js")),
    ("viewer.css", "text/css; charset=utf-8", include_str!("../../../ui/dist/viewer.css")),
];

const PAGE: &str = include_str!("page.html");

/// Escapes text for an attribute.
fn attribute(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

/// The page of any volume. Its head is sent at once, so that script and style are fetched while the volume is
/// opened; the volume's description follows in it. Where there is none, the script asks for it and says why.
pub(crate) async fn page(
    Shared(viewer): Shared<Arc<Inner>>,
    Path(id): Path<String>,
    token: Option<Extension<CsrfToken>>,
) -> Response {
    let token = token.map_or(String::new(), |Extension(CsrfToken(token))| attribute(&token));
    let (head, tail) = PAGE.split_once("{{volume}}").unwrap_or((PAGE, ""));
    let head = head.replacen("{{csrf}}", &token, 1);
    let described = async move {
        let volume = api::described(&viewer, id).await.ok();
        let volume = volume.and_then(|volume| serde_json::to_string(&volume).ok());
        // Within a script element nothing but `<` can end it, or begin a comment.
        volume.unwrap_or_default().replace('<', "\\u003c") + tail
    };
    let parts = stream::once(async { head }).chain(stream::once(described));
    let body = Body::from_stream(parts.map(Ok::<_, Infallible>));
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body).into_response()
}

/// Script and style.
pub(crate) async fn asset(Path(name): Path<String>, asked: HeaderMap) -> Response {
    let Some((_, kind, content)) = ASSETS.iter().find(|(known, ..)| *known == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let etag = format!("\"{}\"", &blake3::hash(content.as_bytes()).to_hex()[..24]);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(value) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, value);
    }
    if asked.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, *content).into_response()
}
