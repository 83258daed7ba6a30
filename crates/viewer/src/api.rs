//! What the page asks: which volumes, what one is like, and its voxels.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::blocks::{Reading, Region};
use crate::describe::{VolumeInfo, describe};
use crate::error::{Error, Problem, Result};
use crate::library::Entry;
use crate::open::{Opened, State};
use crate::pool::bytes_of;
use crate::viewer::Inner;

/// Voxels of one answer at most: 16 MiB of float32, or of uint8.
const SLICE_VOXELS: usize = 4 << 20;
const BRICK_VOXELS: usize = 16 << 20;

/// Size of what was sent, in voxels: "height,width" or "z,y,x".
const SHAPE: HeaderName = HeaderName::from_static("beamrail-shape");
/// How many of the voxels are not there yet.
const ABSENT: HeaderName = HeaderName::from_static("beamrail-absent");
/// "1" where a level that is not there yet was replaced by samples of level 0.
const SAMPLED: HeaderName = HeaderName::from_static("beamrail-sampled");

/// All volumes that can be looked at.
#[utoipa::path(get, path = "/api/volumes", tag = "volumes", operation_id = "list_volumes",
    responses((status = 200, description = "Ids and names", body = Vec<Entry>),
        (status = 503, description = "Too many requests at once", body = Problem)))]
pub(crate) async fn list(Shared(viewer): Shared<Arc<Inner>>) -> Result<Json<Vec<Entry>>> {
    let library = viewer.library.clone();
    let (list, _) = viewer.pool.run(0, move |_| library.list().map_err(Error::Library)).await?;
    Ok(Json(list))
}

/// What a volume is: levels, voxel size, contrast, histogram, and how much of it is there yet.
#[utoipa::path(get, path = "/api/volumes/{id}", tag = "volumes", operation_id = "describe_volume",
    params(("id" = String, Path, description = "Id of the volume")),
    responses((status = 200, description = "The volume", body = VolumeInfo),
        (status = 404, description = "No such volume", body = Problem),
        (status = 503, description = "Too many requests at once", body = Problem)))]
pub(crate) async fn info(
    Shared(viewer): Shared<Arc<Inner>>,
    Path(id): Path<String>,
) -> Result<Json<VolumeInfo>> {
    described(&viewer, id).await.map(Json)
}

/// The volume `id`, described.
pub(crate) async fn described(viewer: &Arc<Inner>, id: String) -> Result<VolumeInfo> {
    let opened = viewer.open(&id).await?;
    let cache = viewer.cache.clone();
    let job = move |stop: &_| describe(&id, &Reading { opened: &opened, cache: &cache, stop });
    let (info, _) = viewer.pool.run(32 << 20, job).await?;
    Ok(info)
}

/// An axis of the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = VolumeAxis)]
pub(crate) enum Axis {
    /// Detector rows.
    Z,
    /// Lines of a slice.
    Y,
    /// Columns of a slice.
    X,
}

/// A tile of a slice.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SliceQuery {
    /// The axis that the slice is perpendicular to. Columns and lines of the picture are x and y for z, x and z
    /// for y, y and z for x.
    #[param(inline)]
    axis: Axis,
    /// Which slice, counted in voxels of the level.
    index: u32,
    /// Level of the pyramid, 0 is the finest.
    #[serde(default)]
    #[param(default = 0)]
    level: u8,
    /// First column.
    #[serde(default)]
    #[param(default = 0)]
    x0: u32,
    /// First line.
    #[serde(default)]
    #[param(default = 0)]
    y0: u32,
    /// Columns; to the edge if not given. At most 4,194,304 voxels at once.
    w: Option<u32>,
    /// Lines; to the edge if not given.
    h: Option<u32>,
    /// The volume's version. If it is the present one, the answer may be kept for ever.
    v: Option<String>,
}

/// The range `start..start + length` of `n` voxels, to the end if no length is given.
fn side(name: &'static str, start: u32, length: Option<u32>, n: usize) -> Result<std::ops::Range<usize>> {
    let start = start as usize;
    let end = length.map_or(n, |length| start.saturating_add(length as usize));
    if start >= end || end > n {
        return Err(Error::parameter(
            name,
            format!("{start} to {end} is not within the {n} voxels of this level"),
        ));
    }
    Ok(start..end)
}

/// Voxels of a slice as float32, little-endian, line by line.
///
/// What is not there yet is NaN, and counted in the header `beamrail-absent`; 204 if nothing is there.
#[utoipa::path(get, path = "/api/volumes/{id}/slice", tag = "volumes", operation_id = "read_slice",
    params(("id" = String, Path, description = "Id of the volume"), SliceQuery),
    responses((status = 200, description = "float32, little-endian", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 204, description = "None of it is there yet"),
        (status = 304, description = "Unchanged"),
        (status = 400, description = "Outside of the volume, or too large", body = Problem),
        (status = 404, description = "No such volume or level", body = Problem),
        (status = 503, description = "Too many requests at once", body = Problem)))]
pub(crate) async fn slice(
    Shared(viewer): Shared<Arc<Inner>>,
    Path(id): Path<String>,
    Query(query): Query<SliceQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let opened = viewer.open(&id).await?;
    let level = usize::from(query.level);
    let [nz, ny, nx] = opened.level(level)?.shape;
    let at = |n| side("index", query.index, Some(1), n);
    let (x, y) = ((query.x0, query.w), (query.y0, query.h));
    let region: Region = match query.axis {
        Axis::Z => [at(nz)?, side("h", y.0, y.1, ny)?, side("w", x.0, x.1, nx)?],
        Axis::Y => [side("h", y.0, y.1, nz)?, at(ny)?, side("w", x.0, x.1, nx)?],
        Axis::X => [side("h", y.0, y.1, nz)?, side("w", x.0, x.1, ny)?, at(nx)?],
    };
    let (lines, columns) = match query.axis {
        Axis::Z => (region[1].len(), region[2].len()),
        Axis::Y => (region[0].len(), region[2].len()),
        Axis::X => (region[0].len(), region[1].len()),
    };
    let voxels = lines * columns;
    if voxels > SLICE_VOXELS {
        return Err(Error::parameter(
            "w",
            format!("{voxels} voxels at once are too many, {SLICE_VOXELS} are not"),
        ));
    }
    let tag = Tag::new(&opened, query.v.as_deref(), &format!("f32 {level} {region:?}"));
    if tag.matches(&headers) {
        return Ok(tag.not_modified());
    }
    let cache = viewer.cache.clone();
    let ((data, filled), room) = viewer
        .pool
        .run(voxels * 4, move |stop| {
            let mut out = vec![f32::NAN; voxels];
            let scaling = opened.scaling();
            let reading = Reading { opened: &opened, cache: &cache, stop };
            let filled =
                reading.fill(level, &region, &mut out, |from: volume::VoxelsRef<'_>, to: &mut [f32]| {
                    to.copy_from_slice(&from.values(scaling));
                })?;
            Ok((out, filled))
        })
        .await?;
    if filled.absent == voxels {
        return Ok((StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, "no-store")]).into_response());
    }
    let mut response =
        tag.answer(Body::from(bytes_of(data, room)), &format!("{lines},{columns}"), filled.absent);
    if filled.sampled {
        response.headers_mut().insert(SAMPLED, header::HeaderValue::from_static("1"));
    }
    Ok(response)
}

/// A box of a level.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct BrickQuery {
    /// Level of the pyramid, 0 is the finest.
    #[serde(default)]
    #[param(default = 0)]
    level: u8,
    /// First row.
    #[serde(default)]
    #[param(default = 0)]
    z0: u32,
    /// Row after the last; the level's end if not given. At most 16,777,216 voxels at once.
    z1: Option<u32>,
    /// First line.
    #[serde(default)]
    #[param(default = 0)]
    y0: u32,
    /// Line after the last.
    y1: Option<u32>,
    /// First column.
    #[serde(default)]
    #[param(default = 0)]
    x0: u32,
    /// Column after the last.
    x1: Option<u32>,
    /// Value that becomes 0, in the unit of the values; the contrast window's if not given.
    lo: Option<f64>,
    /// Value that becomes 255.
    hi: Option<f64>,
    /// The volume's version. If it is the present one, the answer may be kept for ever.
    v: Option<String>,
}

/// A box of voxels as uint8, z, y, x: `lo` and below is 0, `hi` and above 255.
///
/// NaN becomes 0, and so does what is not there yet, which the header `beamrail-absent` counts.
#[utoipa::path(get, path = "/api/volumes/{id}/brick", tag = "volumes", operation_id = "read_brick",
    params(("id" = String, Path, description = "Id of the volume"), BrickQuery),
    responses((status = 200, description = "uint8", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 304, description = "Unchanged"),
        (status = 400, description = "Outside of the volume, or too large", body = Problem),
        (status = 404, description = "No such volume or level", body = Problem),
        (status = 503, description = "Too many requests at once", body = Problem)))]
pub(crate) async fn brick(
    Shared(viewer): Shared<Arc<Inner>>,
    Path(id): Path<String>,
    Query(query): Query<BrickQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let opened = viewer.open(&id).await?;
    let level = usize::from(query.level);
    let [nz, ny, nx] = opened.level(level)?.shape;
    let length = |start: u32, end: Option<u32>| end.map(|end| end.saturating_sub(start));
    let region: Region = [
        side("z1", query.z0, length(query.z0, query.z1), nz)?,
        side("y1", query.y0, length(query.y0, query.y1), ny)?,
        side("x1", query.x0, length(query.x0, query.x1), nx)?,
    ];
    let shape: Vec<usize> = region.iter().map(ExactSizeIterator::len).collect();
    let voxels = shape.iter().fold(1usize, |n, &side| n.saturating_mul(side));
    if voxels > BRICK_VOXELS {
        return Err(Error::parameter(
            "z1",
            format!("{voxels} voxels at once are too many, {BRICK_VOXELS} are not"),
        ));
    }
    let window = match (query.lo, query.hi) {
        (Some(lo), Some(hi)) if lo.is_finite() && hi.is_finite() && lo < hi => Some((lo, hi)),
        (None, None) => None,
        _ => return Err(Error::parameter("lo", "give lo and hi, two numbers, lo below hi")),
    };
    let tag = Tag::new(&opened, query.v.as_deref(), &format!("u8 {level} {region:?} {window:?}"));
    if tag.matches(&headers) {
        return Ok(tag.not_modified());
    }
    let cache = viewer.cache.clone();
    let ((data, filled), room) = viewer
        .pool
        .run(voxels, move |stop| {
            let reading = Reading { opened: &opened, cache: &cache, stop };
            let (lo, hi) = match window {
                Some(window) => window,
                None => {
                    let window = crate::describe::window(&reading)?;
                    (window.start, window.end)
                }
            };
            let mut out = vec![0; voxels];
            let scaling = opened.scaling();
            let (offset, factor) = (lo as f32, (255.0 / (hi - lo)) as f32);
            let filled =
                reading.fill(level, &region, &mut out, |from: volume::VoxelsRef<'_>, to: &mut [u8]| {
                    for (to, v) in to.iter_mut().zip(from.values(scaling).iter()) {
                        // A cast saturates: minus infinity and NaN become 0, infinity 255.
                        *to = ((v - offset) * factor + 0.5) as u8;
                    }
                })?;
            Ok((out, filled))
        })
        .await?;
    let shape = format!("{},{},{}", shape[0], shape[1], shape[2]);
    Ok(tag.answer(Body::from(bytes_of(data, room)), &shape, filled.absent))
}

/// What may be kept of an answer, and by which name.
struct Tag {
    etag: Option<String>,
    /// The address names this version, so what it stands for never changes.
    immutable: bool,
}

impl Tag {
    fn new(opened: &Opened, version: Option<&str>, what: &str) -> Self {
        let finished = opened.state == State::Finished;
        let etag = finished.then(|| {
            let hash = blake3::hash(format!("{} {what}", opened.version).as_bytes());
            format!("\"{}\"", &hash.to_hex()[..24])
        });
        Self { etag, immutable: finished && version == Some(opened.version.as_str()) }
    }

    /// Whether the client has it.
    fn matches(&self, headers: &HeaderMap) -> bool {
        let asked = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
        matches!((asked, &self.etag), (Some(asked), Some(etag)) if asked.split(',').any(|one| one.trim() == etag))
    }

    fn headers(&self, response: &mut Response) {
        let keep = match (&self.etag, self.immutable) {
            (Some(_), true) => "private, max-age=31536000, immutable",
            (Some(_), false) => "private, no-cache",
            (None, _) => "no-store",
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static(keep));
        if let Some(value) = self.etag.as_ref().and_then(|etag| etag.parse().ok()) {
            headers.insert(header::ETAG, value);
        }
    }

    fn not_modified(&self) -> Response {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        self.headers(&mut response);
        response
    }

    fn answer(&self, body: Body, shape: &str, absent: usize) -> Response {
        let headers = [
            (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
            (SHAPE, shape.to_owned()),
            (ABSENT, absent.to_string()),
        ];
        let mut response = (headers, body).into_response();
        self.headers(&mut response);
        response
    }
}
