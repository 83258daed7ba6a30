//! The login form: a token for a cookie.

use std::time::Instant;

use axum::Form;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{RequestExt, body::Body};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout;
use crate::app::Shared;
use crate::fault::Fault;
use crate::guard::peer;
use crate::session::{self, COOKIE};

/// Where to go afterwards.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Next {
    next: Option<String>,
}

/// What the form sends.
#[derive(Deserialize)]
pub(crate) struct Given {
    token: String,
    next: Option<String>,
}

/// `GET /login`.
pub(crate) async fn form(State(app): State<Shared>, Query(next): Query<Next>) -> Result<Markup, Fault> {
    if !app.access.has_tokens() {
        return Err(Fault::not_found("nobody signs in here with a token"));
    }
    Ok(shown(&app, next.next.as_deref(), None))
}

fn shown(app: &Shared, next: Option<&str>, wrong: Option<&str>) -> Markup {
    layout::bare(
        app,
        "Sign in",
        html! {
            section class="login" {
                h1 { "Sign in" }
                @if let Some(wrong) = wrong { p class="wrong" role="alert" { (wrong) } }
                form method="post" action="/login" {
                    input type="hidden" name="csrf" value=(app.csrf("login"));
                    input type="hidden" name="next" value=(own_path(next));
                    label for="token" { "Your token" }
                    input type="password" id="token" name="token" required autofocus autocomplete="current-password"
                        maxlength="200";
                    button class="main" { "Sign in" }
                }
                p class="hint" { "Whoever runs this dashboard gives tokens out." }
            }
        },
    )
}

/// A path of ours: what names a host would lead elsewhere.
fn own_path(next: Option<&str>) -> &str {
    let ours = |path: &&str| {
        path.starts_with('/')
            && !path.starts_with("//")
            && !path.contains('\\')
            && !path.chars().any(char::is_control)
    };
    next.filter(ours).unwrap_or("/")
}

/// `POST /login`.
pub(crate) async fn login(State(app): State<Shared>, request: Request<Body>) -> Result<Response, Fault> {
    let from = peer(&request);
    if let Err(seconds) = app.logins.take(from, Instant::now()) {
        return Err(Fault::new(StatusCode::TOO_MANY_REQUESTS, "too many tries to sign in").after(seconds));
    }
    let given = request.extract::<Form<Given>, _>().await;
    let Form(given) = given.map_err(|_| Fault::bad("the form cannot be read"))?;
    let Some((who, role)) = app.access.holder(&given.token) else {
        app.audit.login(from, None);
        let page = shown(&app, given.next.as_deref(), Some("This token is not known."));
        return Ok((StatusCode::UNAUTHORIZED, page).into_response());
    };
    app.audit.login(from, Some(&who));
    let secret = app.sessions.begin(who, role).map_err(|error| Fault::internal(error.to_string()))?;
    let secure = if app.secure { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age=604800{secure}");
    let next = own_path(given.next.as_deref()).to_owned();
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(&next)).into_response())
}

/// `POST /logout`.
pub(crate) async fn logout(State(app): State<Shared>, headers: HeaderMap) -> Response {
    if let Some(secret) = session::of_cookies(&headers) {
        app.sessions.end(secret);
    }
    let cookie = format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    ([(header::SET_COOKIE, cookie)], Redirect::to("/login")).into_response()
}

#[cfg(test)]
mod tests {
    use super::own_path;

    #[test]
    fn one_goes_on_to_our_own_pages_only() {
        for bad in ["https://x.org", "//x.org", "/\\x.org", "", "x", "/a\r\nSet-Cookie: b"] {
            assert_eq!(own_path(Some(bad)), "/", "{bad:?}");
        }
        assert_eq!(own_path(Some("/runs?state=failed")), "/runs?state=failed");
    }
}
