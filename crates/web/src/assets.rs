//! Style sheet, script and icon: compiled in, named by their digest, so that browsers may keep them for good.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::fault::Fault;

struct Asset {
    name: &'static str,
    kind: &'static str,
    body: &'static str,
}

static ALL: [Asset; 3] = [
    Asset {
        name: "beamrail.css",
        kind: "text/css; charset=utf-8",
        body: include_str!("../assets/beamrail.css"),
    },
    Asset {
        name: "live.js",
        kind: "text/javascript; charset=utf-8",
        body: include_str!("../assets/live.js"),
    },
    Asset { name: "icon.svg", kind: "image/svg+xml", body: include_str!("../assets/icon.svg") },
];

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = blake3::Hasher::new();
    for asset in &ALL {
        hasher.update(asset.body.as_bytes());
    }
    hasher.finalize().to_hex().chars().take(12).collect()
});

/// The address of an asset.
pub(crate) fn url(name: &str) -> String {
    format!("/static/{}/{name}", *VERSION)
}

/// `GET /static/{version}/{name}`.
pub(crate) async fn asset(Path((_, name)): Path<(String, String)>) -> Result<Response, Fault> {
    let found = ALL.iter().find(|asset| asset.name == name);
    let asset = found.ok_or_else(|| Fault::not_found("there is no such file"))?;
    let headers =
        [(header::CONTENT_TYPE, asset.kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    Ok((headers, asset.body).into_response())
}
