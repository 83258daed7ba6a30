//! What stands before every handler, from the outside in: looks of faults, security headers, rate, host, who it is,
//! and whether an action comes from our own page.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use bytes::BytesMut;
use http_body_util::BodyExt;

use crate::access::{By, Role, Visitor};
use crate::app::Shared;
use crate::fault::Fault;
use crate::pages::layout;
use crate::session;

/// Who is at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub IpAddr);

/// The largest body of a request: forms and answers are small.
const BODY: usize = 64 << 10;
/// A larger one is read so far before it is refused.
const DRAIN: usize = 1 << 20;
/// How long an answer may take, but for streams.
const LONGEST: Duration = Duration::from_secs(30);
/// Nothing from elsewhere, no inline script or style, in nobody's frame, forms to ourselves only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
    connect-src 'self'; font-src 'self'; worker-src 'self'; manifest-src 'self'; form-action 'self'; \
    frame-ancestors 'none'; base-uri 'none'; object-src 'none'";

/// Headers of every answer that its handler did not set itself.
pub(crate) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let set = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
        ),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in set {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Counts, and gives faults their looks: a page where a browser asks, JSON elsewhere.
pub(crate) async fn faces(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let html = wants_html(request.headers(), request.uri());
    let head = request.method() == Method::HEAD;
    let volumes = request.uri().path().starts_with("/api/volumes");
    let began = Instant::now();
    let response = next.run(request).await;
    app.metrics.answered(response.status().as_u16(), began.elapsed());
    let Some(fault) = fault_of(&response) else { return response };
    let visitor = response.extensions().get::<Visitor>().cloned();
    let mut shown = match html {
        true => (fault.status, layout::fault(&app, visitor.as_ref(), &fault)).into_response(),
        // The viewer's API calls it `error`, whoever refuses.
        false if volumes => {
            (fault.status, axum::Json(serde_json::json!({ "error": fault.what }))).into_response()
        }
        false => (fault.status, axum::Json(fault.problem())).into_response(),
    };
    for name in [header::RETRY_AFTER, header::WWW_AUTHENTICATE, header::ALLOW] {
        if let Some(value) = response.headers().get(&name) {
            shown.headers_mut().insert(name, value.clone());
        }
    }
    if head {
        *shown.body_mut() = Body::empty();
    }
    shown
}

/// The fault of an answer; the framework's own refusals are given words.
fn fault_of(response: &Response) -> Option<Fault> {
    if let Some(fault) = response.extensions().get::<Fault>() {
        return Some(fault.clone());
    }
    let typed = response.headers().contains_key(header::CONTENT_TYPE);
    let plain = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/plain"));
    let what = match response.status() {
        StatusCode::NOT_FOUND if !typed => "there is nothing at this address",
        StatusCode::METHOD_NOT_ALLOWED => "this address does not take that method",
        StatusCode::PAYLOAD_TOO_LARGE => "the request is too large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE if plain => "the request has a content type that is not read here",
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY if plain => "the request cannot be read",
        _ => return None,
    };
    Some(Fault::new(response.status(), what))
}

/// Whether a person's browser asks for a page.
fn wants_html(headers: &HeaderMap, uri: &Uri) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    !uri.path().starts_with("/api/") && accepts.is_some_and(|text| text.contains("text/html"))
}

/// Refuses peers that ask too often, and answers that take too long.
pub(crate) async fn bounds(State(app): State<Shared>, request: Request, next: Next) -> Response {
    if let Err(seconds) = app.rates.take(peer(&request), Instant::now()) {
        return Fault::new(StatusCode::TOO_MANY_REQUESTS, "too many requests from this address")
            .after(seconds)
            .into_response();
    }
    match tokio::time::timeout(LONGEST, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Fault::new(StatusCode::SERVICE_UNAVAILABLE, "the answer took too long")
            .hint("try again; the server's log and disks tell why")
            .after(5)
            .into_response(),
    }
}

/// Refuses names that are not ours: a page elsewhere whose name was made to point here (DNS rebinding) comes with
/// its own. An address in numbers cannot be rebound.
pub(crate) async fn host(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let Some(name) = authority.or(given).and_then(host_name) else {
        return Fault::bad("the request names no host").into_response();
    };
    if name.parse::<IpAddr>().is_ok() || app.hosts.contains(&name.to_lowercase()) {
        return next.run(request).await;
    }
    Fault::new(StatusCode::MISDIRECTED_REQUEST, "this dashboard does not go by that host name")
        .hint("use its address, or add the name to hosts in [web] of beamrail.toml")
        .into_response()
}

/// `example.org:80` without the port; `[::1]:80` without brackets.
fn host_name(authority: &str) -> Option<&str> {
    let name = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => authority.rsplit_once(':').map_or(authority, |(name, _)| name),
    };
    (!name.is_empty() && name.len() <= 255).then_some(name)
}

/// Finds out who it is. What needs nobody goes on without.
pub(crate) async fn sign_in(State(app): State<Shared>, mut request: Request, next: Next) -> Response {
    let found = visitor(&app, request.headers());
    let path = request.uri().path();
    // A link to a volume carries its own secret.
    let public = matches!(path, "/login" | "/health" | "/ready")
        || path.starts_with("/static/")
        || path.starts_with("/share/");
    if let Some(visitor) = &found {
        request.extensions_mut().insert(viewer::CsrfToken(visitor.csrf.clone()));
        request.extensions_mut().insert(visitor.clone());
    } else if !public {
        let browser = wants_html(request.headers(), request.uri());
        let reading = matches!(*request.method(), Method::GET | Method::HEAD);
        if browser && reading && app.access.has_tokens() {
            let next = request.uri().path_and_query().map_or("/", |path| path.as_str());
            let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
            return Redirect::to(&format!("/login?next={next}")).into_response();
        }
        let mut refused = Fault::new(StatusCode::UNAUTHORIZED, "sign in first")
            .hint("open /login, or send Authorization: Bearer TOKEN")
            .into_response();
        refused.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return refused;
    }
    let mut response = next.run(request).await;
    if let Some(visitor) = found {
        response.extensions_mut().insert(visitor);
    }
    response
}

fn visitor(app: &Shared, headers: &HeaderMap) -> Option<Visitor> {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")));
    if let Some((_, token)) = bearer {
        // A wrong token is not made up for by a cookie.
        let (who, role) = app.access.holder(token)?;
        return Some(Visitor { csrf: app.csrf("bearer"), who, role, by: By::Bearer });
    }
    if let Some(secret) = session::of_cookies(headers)
        && let Some((who, role)) = app.sessions.find(secret)
    {
        let csrf = app.csrf(&format!("session {secret}"));
        return Some(Visitor { csrf, who, role, by: By::Session });
    }
    if let Some((who, role)) = app.access.by_proxy(headers) {
        let csrf = app.csrf(&format!("proxy {who}"));
        return Some(Visitor { csrf, who, role, by: By::Proxy });
    }
    app.access.is_open().then(|| Visitor {
        who: "local".into(),
        role: Role::Administer,
        by: By::Open,
        csrf: app.csrf("open"),
    })
}

/// Lets an action through only if our own page sent it: by the browser's word (`Sec-Fetch-Site`, `Origin`) and by a
/// token that other pages cannot know, in the form's field `csrf` or the header `X-CSRF-Token`.
pub(crate) async fn actions(State(app): State<Shared>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return next.run(request).await;
    }
    let login = request.uri().path() == "/login";
    let visitor = request.extensions().get::<Visitor>().cloned();
    let refuse = |why: &str| {
        Fault::forbidden(format!("refused: {why}"))
            .hint("open the page again and press its button; programs send Authorization: Bearer TOKEN")
            .into_response()
    };
    if let Err(why) = same_site(request.headers()) {
        return refuse(why);
    }
    let (parts, body) = request.into_parts();
    let Some(bytes) = whole(body).await else {
        return Fault::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a request may have {BODY} bytes"))
            .into_response();
    };
    let by = visitor.as_ref().map(|visitor| visitor.by);
    if by != Some(By::Bearer) {
        let wanted = match (&visitor, login) {
            (_, true) => app.csrf("login"),
            (Some(visitor), false) => visitor.csrf.clone(),
            (None, false) => return refuse("nobody is signed in"),
        };
        let given = csrf_of(&parts.headers, &bytes);
        // Digests are compared, in constant time.
        let fits = |text: &String| blake3::hash(text.as_bytes()) == blake3::hash(wanted.as_bytes());
        if !given.as_ref().is_some_and(fits) {
            return refuse("the form's token is missing or old");
        }
    }
    next.run(Request::from_parts(parts, Body::from(bytes))).await
}

/// The body, if it is no larger than it may be. What is too large is read a little further without being kept, so that
/// its sender gets to hear the answer.
async fn whole(mut body: Body) -> Option<Bytes> {
    let mut kept = BytesMut::new();
    let mut read = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        read = read.saturating_add(data.len());
        if read <= BODY {
            kept.extend_from_slice(&data);
        } else if read > DRAIN {
            break;
        }
    }
    (read <= BODY).then(|| kept.freeze())
}

/// What the browser itself says of where the request comes from. Programs say nothing.
fn same_site(headers: &HeaderMap) -> Result<(), &'static str> {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    match text(HeaderName::from_static("sec-fetch-site")) {
        None | Some("same-origin" | "none") => {}
        Some(_) => return Err("another site's page sent it"),
    }
    let Some(origin) = text(header::ORIGIN) else { return Ok(()) };
    let of_origin = origin.split_once("://").map(|(_, rest)| rest);
    match (of_origin, text(header::HOST)) {
        (Some(origin), Some(host)) if origin.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err("its origin is another"),
    }
}

fn csrf_of(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    if let Some(value) = headers.get("x-csrf-token") {
        return value.to_str().ok().map(str::to_owned);
    }
    let form = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    let mut pairs = url::form_urlencoded::parse(body);
    pairs.find(|(key, _)| form && key == "csrf").map(|(_, value)| value.into_owned())
}

/// Who asks; nobody where the server did not say (tests that call the router itself).
pub(crate) fn peer(request: &Request) -> IpAddr {
    let peer = request.extensions().get::<Peer>();
    peer.map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_without_their_ports() {
        for (given, name) in [
            ("example.org", Some("example.org")),
            ("example.org:8320", Some("example.org")),
            ("[::1]:8320", Some("::1")),
            ("[::1]", Some("::1")),
            ("[::1", None),
            ("", None),
            (":80", None),
        ] {
            assert_eq!(host_name(given), name, "{given}");
        }
    }

    #[test]
    fn other_sites_are_told_by_the_browser() {
        let ask = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            same_site(&headers).is_ok()
        };
        let host = ("host", "127.0.0.1:8320");
        assert!(ask(&[host]));
        assert!(ask(&[host, ("sec-fetch-site", "same-origin"), ("origin", "http://127.0.0.1:8320")]));
        assert!(!ask(&[host, ("sec-fetch-site", "cross-site")]));
        assert!(!ask(&[host, ("sec-fetch-site", "same-site")]));
        assert!(!ask(&[host, ("origin", "http://127.0.0.1:9000")]));
        assert!(!ask(&[host, ("origin", "null")]));
    }
}
