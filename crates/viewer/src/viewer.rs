//! The viewer as a whole: what requests share, and which address leads where.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Json, Path, State as Shared};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, options};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::blocks::Cache;
use crate::error::{Error, Problem, Result};
use crate::library::{Library, Place, Sharing};
use crate::open::{Opened, State};
use crate::pool::Pool;
use crate::share::Sealer;
use crate::{api, files, page};

/// Volumes that are held open.
const OPEN: u64 = 64;
/// For how long a volume is not looked for again.
const FRESH: Duration = Duration::from_secs(1);

/// Limits of a viewer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Bytes of decoded chunks that are kept.
    pub cache_bytes: u64,
    /// Bytes of answers that are being made or sent; more have to wait, up to 20 s.
    pub answer_bytes: usize,
    /// Slices and bricks that are read at once.
    pub jobs: usize,
    /// Key of links. A random one, as by default, ends all links with the process.
    pub link_key: [u8; 32],
}

impl Default for Options {
    fn default() -> Self {
        let jobs = std::thread::available_parallelism().map_or(4, |n| n.get() + 2);
        Self { cache_bytes: 512 << 20, answer_bytes: 256 << 20, jobs, link_key: random_key() }
    }
}

/// A key nobody knows.
fn random_key() -> [u8; 32] {
    let mut key = [0; 32];
    let mut filled = 0;
    while filled < key.len() {
        match rustix::rand::getrandom(&mut key[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            // Only kernels older than this program's others have none; then links do not work across calls.
            Err(_) => break,
        }
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&key).update(&std::process::id().to_le_bytes());
    *hasher.finalize().as_bytes()
}

/// What a viewer holds and has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of decoded chunks.
    pub cache_bytes: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Reads that ended early because their client had gone.
    pub given_up: u64,
}

/// The volumes of a library, over HTTP. Clones share everything.
#[derive(Clone)]
pub struct Viewer(Arc<Inner>);

impl std::fmt::Debug for Viewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Viewer").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub(crate) library: Arc<dyn Library>,
    pub(crate) cache: Cache,
    pub(crate) pool: Arc<Pool>,
    pub(crate) sealer: Sealer,
    /// Volumes that were looked at in the last second, or are known not to have changed.
    fresh: moka::sync::Cache<String, Arc<Opened>>,
    known: moka::sync::Cache<String, Arc<Opened>>,
}

impl Inner {
    /// The volume `id`, opened. Library and disk are asked once a second at most.
    pub(crate) async fn open(self: &Arc<Self>, id: &str) -> Result<Arc<Opened>> {
        if let Some(opened) = self.fresh.get(id) {
            return Ok(opened);
        }
        let (viewer, id) = (self.clone(), id.to_owned());
        let (opened, _) = self
            .pool
            .run(0, move |_| {
                let place = viewer.library.find(&id).map_err(Error::Library)?;
                let Some(place) = place else {
                    viewer.known.invalidate(&id);
                    return Err(Error::NotFound(format!("volume {id}")));
                };
                let opened = match viewer.known.get(&id) {
                    Some(opened) if opened.is_current(&place) => opened,
                    _ => Arc::new(Opened::open(place)?),
                };
                viewer.known.insert(id.clone(), opened.clone());
                viewer.fresh.insert(id, opened.clone());
                Ok(opened)
            })
            .await?;
        Ok(opened)
    }

    /// Where the volume `id` is, and whether it is finished.
    pub(crate) async fn place(self: &Arc<Self>, id: &str) -> Result<(Place, State)> {
        let opened = self.open(id).await?;
        Ok((opened.place.clone(), opened.state))
    }
}

impl Viewer {
    /// A viewer of a library.
    pub fn new(library: impl Library, options: &Options) -> Self {
        Self(Arc::new(Inner {
            library: Arc::new(library),
            cache: Cache::new(options.cache_bytes),
            pool: Arc::new(Pool::new(options.jobs, options.answer_bytes)),
            sealer: Sealer::new(options.link_key),
            fresh: moka::sync::Cache::builder().max_capacity(OPEN).time_to_live(FRESH).build(),
            known: moka::sync::Cache::builder().max_capacity(OPEN).build(),
        }))
    }

    /// What it holds and has done.
    pub fn stats(&self) -> Stats {
        let (given_up, reads) = self.0.pool.counts();
        Stats { cache_bytes: self.0.cache.held(), reads, given_up }
    }

    /// Everything that only a user who may see the volumes gets: `/view/{id}` and `/view/assets/`,
    /// `/api/volumes`, `/zarr/{id}/`. Described for OpenAPI where it is an API.
    pub fn router(&self) -> OpenApiRouter {
        let pages: OpenApiRouter<Arc<Inner>> = OpenApiRouter::new()
            .route("/view/assets/{file}", get(page::asset))
            .route("/view/{id}", get(page::page))
            .route("/zarr/{id}/{*file}", get(files::own));
        OpenApiRouter::new()
            .routes(routes!(api::list))
            .routes(routes!(api::info))
            .routes(routes!(api::slice))
            .routes(routes!(api::brick))
            .routes(routes!(share))
            .merge(pages)
            .with_state(self.0.clone())
    }

    /// What whoever has a link gets: `/share/{token}/{id}.zarr/`. It needs no other protection, and must have
    /// none that asks for a cookie.
    pub fn link_router(&self) -> axum::Router {
        axum::Router::new()
            .route("/share/{token}/{name}/{*file}", get(files::shared).merge(options(files::preflight)))
            .with_state(self.0.clone())
    }
}

/// How long a link shall live.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewVolumeLink)]
pub(crate) struct NewLink {
    /// 1 to 720 hours.
    #[schema(minimum = 1, maximum = 720)]
    hours: u64,
}

/// A link to a volume's OME-Zarr.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = VolumeLink)]
pub(crate) struct Link {
    /// Its path on this server, to be given to Neuroglancer, napari or a person.
    path: String,
    /// When it ends, in seconds since 1970.
    expires: u64,
}

/// Makes a link to a volume's OME-Zarr: read-only, for a while, for whoever has it.
#[utoipa::path(post, path = "/api/volumes/{id}/share", tag = "volumes", operation_id = "share_volume",
    params(("id" = String, Path, description = "Id of the volume")),
    request_body = NewLink,
    responses((status = 200, description = "The link", body = Link),
        (status = 400, description = "Not a number of hours", body = Problem),
        (status = 403, description = "The volume may not be shared", body = Problem),
        (status = 404, description = "No such volume, or it has no OME-Zarr", body = Problem),
        (status = 503, description = "Too many requests at once", body = Problem)))]
pub(crate) async fn share(
    Shared(viewer): Shared<Arc<Inner>>,
    Path(id): Path<String>,
    Json(NewLink { hours }): Json<NewLink>,
) -> Result<Response> {
    let opened = viewer.open(&id).await?;
    if let Sharing::Refused(reason) = &opened.place.sharing {
        return Err(Error::Refused(format!("{} may not be shared: {reason}", opened.place.name)));
    }
    if opened.zarr().is_none() {
        return Err(Error::NotFound(format!("OME-Zarr of {}", opened.place.name)));
    }
    let (token, expires) = viewer.sealer.token(&id, hours)?;
    let path = format!("/share/{token}/{}.zarr/", files::escape(&id));
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(Link { path, expires })).into_response())
}
