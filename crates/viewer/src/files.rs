//! The files of an OME-Zarr as they are, for programs that read Zarr over HTTP: GET, HEAD, single ranges.
//!
//! Files are opened below the volume's folder by the kernel, step by step and never through a link, so no
//! path leads out of it whatever it says.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path as Segments, State as Shared};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use rustix::fs::{Mode, OFlags};

use crate::error::{Error, Result};
use crate::library::{Place, Sharing};
use crate::open::State;
use crate::viewer::Inner;

/// Bytes that are read from a file at once.
const PIECE: usize = 256 << 10;

/// A file of an OME-Zarr, for a viewer that may see the volume.
pub(crate) async fn own(
    Shared(viewer): Shared<Arc<Inner>>,
    Segments((id, file)): Segments<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response> {
    let (place, state) = viewer.place(&id).await?;
    serve(&viewer, place, state, &file, &method, &headers).await
}

/// A file of an OME-Zarr, for whoever has a link to it.
pub(crate) async fn shared(
    Shared(viewer): Shared<Arc<Inner>>,
    Segments((token, name, file)): Segments<(String, String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let answer = async {
        // Programs tell an OME-Zarr by the end of its address.
        let id = name.strip_suffix(".zarr").ok_or_else(|| Error::NotFound("such link".into()))?;
        viewer.sealer.check(id, &token)?;
        let (place, state) = viewer.place(id).await?;
        if let Sharing::Refused(reason) = &place.sharing {
            return Err(Error::Refused(format!("this volume may not be shared: {reason}")));
        }
        serve(&viewer, place, state, &file, &method, &headers).await
    };
    let mut response = answer.await.into_response();
    open_to_pages(response.headers_mut());
    // The address holds a secret; it is nobody else's business where a reader came from.
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// What a browser asks before a page of another origin may read a link.
pub(crate) async fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    open_to_pages(response.headers_mut());
    response
}

/// Lets pages of any origin (Neuroglancer's, for one) read the answer; without cookies, which no link needs.
fn open_to_pages(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Range, If-None-Match"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Content-Length, Content-Range, Accept-Ranges, ETag"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// An id as a segment of an address.
pub fn escape(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Whether a path can name a file of a Zarr hierarchy: no hidden files but Zarr's own, nothing that climbs.
fn is_zarr_path(path: &str) -> bool {
    path.len() <= 512
        && path.split('/').all(|part| {
            let hidden =
                part.starts_with('.') && ![".zarray", ".zattrs", ".zgroup", ".zmetadata"].contains(&part);
            !part.is_empty() && !hidden && !part.contains(['\\', '\0'])
        })
}

/// Opens `path` below `root`. The root itself is what the library says; below it no link is followed.
fn open_below(root: &Path, path: &str) -> std::io::Result<File> {
    let mut folder =
        rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let (parents, name) = path.rsplit_once('/').map_or(("", path), |(parents, name)| (parents, name));
    for part in parents.split('/').filter(|part| !part.is_empty()) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        folder = rustix::fs::openat(&folder, part, flags, Mode::empty())?;
    }
    // NONBLOCK: a pipe in the folder must not hold a thread.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(&folder, name, flags, Mode::empty())?))
}

async fn serve(
    viewer: &Inner,
    place: Place,
    state: State,
    path: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response> {
    let missing = || Error::NotFound(format!("file {path} in {}", place.name));
    let root = place.zarr.clone().ok_or_else(|| Error::NotFound(format!("OME-Zarr of {}", place.name)))?;
    if !is_zarr_path(path) {
        return Err(missing());
    }
    let name = path.to_owned();
    let (opened, _) = viewer
        .pool
        .run(0, move |_| {
            let opened = open_below(&root, &name).and_then(|file| Ok((file.metadata()?, file)));
            Ok(opened.map(|(meta, file)| (Arc::new(file), meta)))
        })
        .await?;
    let (file, meta) = match opened {
        Ok((file, meta)) if meta.is_file() => (file, meta),
        // Chunks that are not there are a matter of course to Zarr; so is what was never there.
        Ok(_) => return Err(missing()),
        Err(e)
            if matches!(e.raw_os_error().map(rustix::io::Errno::from_raw_os_error), Some(errno)
            if [rustix::io::Errno::NOENT, rustix::io::Errno::NOTDIR, rustix::io::Errno::LOOP,
                rustix::io::Errno::NAMETOOLONG, rustix::io::Errno::ACCESS].contains(&errno)) =>
        {
            return Err(missing());
        }
        Err(source) => return Err(Error::Io { what: path.to_owned(), source }),
    };
    let size = meta.size();
    let etag =
        format!("\"{:x}-{:x}-{:x}\"", meta.ino(), size, meta.mtime() as u64 ^ meta.mtime_nsec() as u64);
    let json = path.rsplit('/').next().is_some_and(|name| name.starts_with('.') || name.ends_with(".json"));
    let keep = if state == State::Finished { "private, max-age=3600" } else { "no-cache" };
    let mut answer = HeaderMap::new();
    let text = |value: String| HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static(""));
    answer.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    answer.insert(header::ETAG, text(etag.clone()));
    let kind = if json { "application/json" } else { "application/octet-stream" };
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if headers.get(header::IF_NONE_MATCH).is_some_and(|asked| asked.as_bytes() == etag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, answer).into_response());
    }
    let asked = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let (status, start, length) = match asked.map(|range| parse_range(range, size)) {
        None | Some(Asked::Whole) => (StatusCode::OK, 0, size),
        Some(Asked::Part(start, end)) => {
            answer.insert(header::CONTENT_RANGE, text(format!("bytes {start}-{}/{size}", end - 1)));
            (StatusCode::PARTIAL_CONTENT, start, end - start)
        }
        Some(Asked::Nothing) => {
            answer.insert(header::CONTENT_RANGE, text(format!("bytes */{size}")));
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, answer).into_response());
        }
    };
    answer.insert(header::CONTENT_LENGTH, text(length.to_string()));
    let body = if *method == Method::HEAD { Body::empty() } else { body(file, start, length) };
    Ok((status, answer, body).into_response())
}

/// What a Range header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// Everything: no range, or one of a kind that may be ignored (several parts, other units).
    Whole,
    /// Bytes from the first to before the second.
    Part(u64, u64),
    /// Bytes that the file does not have.
    Nothing,
}

/// Parses a single range (RFC 9110, 14.2); several, or what is no range at all, mean the whole file.
fn parse_range(range: &str, size: u64) -> Asked {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|set| set.trim().split_once('-')) else {
        return Asked::Whole;
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !digits(first) || !digits(last) || first.len() + last.len() == 0 {
        return Asked::Whole;
    }
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    if first.is_empty() {
        let length = number(last).min(size);
        return if length == 0 { Asked::Nothing } else { Asked::Part(size - length, size) };
    }
    let (first, end) =
        (number(first), if last.is_empty() { size } else { number(last).saturating_add(1).min(size) });
    if !last.is_empty() && number(last) < first {
        return Asked::Whole;
    }
    if first >= size { Asked::Nothing } else { Asked::Part(first, end) }
}

/// The bytes of a file, read piece by piece as the client takes them.
fn body(file: Arc<File>, start: u64, length: u64) -> Body {
    let pieces = stream::try_unfold((start, start + length), move |(at, end)| {
        let file = file.clone();
        async move {
            if at >= end {
                return Ok::<_, std::io::Error>(None);
            }
            let size = PIECE.min((end - at) as usize);
            let read = tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; size];
                file.read_exact_at(&mut piece, at).map(|()| piece)
            });
            let piece = read.await.map_err(std::io::Error::other)??;
            Ok(Some((Bytes::from(piece), (at + size as u64, end))))
        }
    });
    Body::from_stream(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_specification_has_them() {
        for (range, asked) in [
            ("bytes=0-0", Asked::Part(0, 1)),
            ("bytes=2-", Asked::Part(2, 10)),
            ("bytes=-3", Asked::Part(7, 10)),
            ("bytes=-30", Asked::Part(0, 10)),
            ("bytes=4-99", Asked::Part(4, 10)),
            ("bytes=4-18446744073709551615", Asked::Part(4, 10)),
            ("bytes=10-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=99999999999999999999-", Asked::Nothing),
            ("bytes=5-4", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=1-2,4-5", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("rows=1-2", Asked::Whole),
        ] {
            assert_eq!(parse_range(range, 10), asked, "{range}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Asked::Nothing);
    }

    #[test]
    fn only_zarr_paths_are_looked_for() {
        for good in [".zattrs", "0/.zarray", "0/1/2/3", "0/c/0/0/0", "zarr.json", "labels/a/0.0.0"] {
            assert!(is_zarr_path(good), "{good}");
        }
        for bad in [
            "",
            "/",
            "..",
            "0/../../x",
            "/etc/passwd",
            "0//1",
            "0/",
            ".git/config",
            "0/.x.part",
            "a\\b",
            "a\0",
        ] {
            assert!(!is_zarr_path(bad), "{bad}");
        }
    }

    #[test]
    fn no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("v.zarr");
        std::fs::create_dir_all(root.join("0")).unwrap();
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        std::fs::write(root.join("0/a"), "a").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("link")).unwrap();
        std::os::unix::fs::symlink("..", root.join("up")).unwrap();
        assert!(open_below(&root, "0/a").is_ok());
        for path in ["link", "up/secret", "../secret"] {
            let opened = open_below(&root, path);
            assert!(opened.is_err() || path.starts_with(".."), "{path}");
        }
        // `..` is kept out by the names that are allowed.
        assert!(!is_zarr_path("../secret"));
    }
}
