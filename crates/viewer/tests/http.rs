//! The viewer over HTTP, on volumes whose voxels are known by formula.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;
use viewer::{Entry, Library, Options, Place, Sharing, Shelf, Viewer};
use volume::{Compression, DataType, OmeVersion, OmeZarr, Pyramid, Scaling, TiffStack, VolumeSpec};

/// The value of a voxel: each has its own.
fn voxel(z: usize, y: usize, x: usize) -> f32 {
    (z * 1_000_000 + y * 1000 + x) as f32 * 0.25
}

fn slice(spec: &VolumeSpec, z: usize) -> Vec<f32> {
    let [_, ny, nx] = spec.shape;
    (0..ny * nx).map(|i| voxel(z, i / nx, i % nx)).collect()
}

fn spec(shape: [usize; 3]) -> VolumeSpec {
    VolumeSpec {
        shape,
        first_row: 0,
        row_step: 1,
        voxel_um: Some([0.65; 3]),
        dtype: DataType::F32,
        scaling: None,
        unit: "1/cm".into(),
        name: "rec_a".into(),
        provenance: Value::Null,
    }
}

/// Writes slabs of a volume as OME-Zarr, and the slices of those slabs as TIFFs.
fn write(root: &Path, name: &str, spec: &VolumeSpec, version: OmeVersion, slabs: usize, tiffs: bool) {
    let path = root.join(format!("{name}.zarr"));
    let zarr = OmeZarr::create(&path, spec, version, Compression::default()).unwrap();
    let stack = tiffs.then(|| TiffStack::create(&root.join(name), name, spec).unwrap());
    let mut pyramid = Pyramid::new(&zarr, 0..zarr.slabs(0));
    for slab in 0..slabs {
        let rows = slab * 32..((slab + 1) * 32).min(spec.shape[0]);
        let slices: Vec<Vec<f32>> = rows.clone().map(|z| slice(spec, z)).collect();
        for (z, slice) in rows.zip(&slices) {
            if let Some(stack) = &stack {
                stack.write(z, slice).unwrap();
            }
        }
        let stored = volume::Voxels::from_values(&slices.concat(), spec.dtype, spec.scaling);
        zarr.write_slab_stored(slab, stored.view()).unwrap();
        pyramid.push_stored(slab, stored.view()).unwrap();
    }
    if slabs == zarr.slabs(0) {
        let mut histogram = volume::Histogram::new();
        histogram.add(&slice(spec, spec.shape[0] / 2));
        zarr.finish(histogram.window()).unwrap();
        std::fs::write(root.join(format!("{name}.manifest.json")), "{}").unwrap();
    } else {
        std::fs::create_dir(root.join(format!("{name}.work"))).unwrap();
    }
}

struct Service(Viewer);

impl Service {
    fn new(paths: &[PathBuf]) -> Self {
        Self(Viewer::new(Shelf::new(paths).unwrap(), &Options::default()))
    }

    async fn send(&self, request: Request<Body>) -> Response<Body> {
        let (pages, _) = self.0.router().split_for_parts();
        pages.merge(self.0.link_router()).oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str) -> Response<Body> {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        serde_json::from_slice(&bytes(response).await).unwrap()
    }

    async fn values(&self, path: &str) -> Vec<f32> {
        let response = self.get(path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let bytes = bytes(response).await;
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

async fn bytes(response: Response<Body>) -> Vec<u8> {
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn slices_of_every_axis_and_source_are_the_voxels() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec([70, 300, 290]);
    for (name, version, tiffs) in [("a", OmeVersion::V04, true), ("b", OmeVersion::V05, false)] {
        write(dir.path(), name, &spec, version, 3, tiffs);
    }
    let only = dir.path().join("only");
    std::fs::create_dir(&only).unwrap();
    std::fs::rename(dir.path().join("a"), only.join("t")).unwrap();
    std::fs::create_dir(dir.path().join("a")).unwrap();
    for file in std::fs::read_dir(only.join("t")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), dir.path().join("a").join(file.file_name())).unwrap();
    }
    let service = Service::new(&[dir.path().to_owned(), only]);
    for id in ["a", "b", "t"] {
        let info = service.json(&format!("/api/volumes/{id}")).await;
        assert_eq!(info["levels"][0]["shape"], serde_json::json!([70, 300, 290]), "{id}");
        assert_eq!(info["levels"][1]["shape"], serde_json::json!([35, 150, 145]), "{id}");
        // TIFF has it as a fraction of centimetres.
        assert!((info["levels"][0]["scale"][2].as_f64().unwrap() - 0.65).abs() < 1e-12, "{id}");
        assert_eq!((&info["unit"], &info["length_unit"]), (&"1/cm".into(), &"um".into()));
        assert_eq!(info["rows"]["done"], 70);
        let base = format!("/api/volumes/{id}/slice?level=0");
        let z = service.values(&format!("{base}&axis=z&index=41&x0=200&y0=17&w=90&h=31")).await;
        assert!((0..z.len()).all(|i| z[i] == voxel(41, 17 + i / 90, 200 + i % 90)), "{id} z");
        let y = service.values(&format!("{base}&axis=y&index=255&x0=250&y0=0&w=40")).await;
        assert_eq!(y.len(), 70 * 40);
        assert!((0..y.len()).all(|i| y[i] == voxel(i / 40, 255, 250 + i % 40)), "{id} y");
        let x = service.values(&format!("{base}&axis=x&index=289&x0=100&y0=30&w=200&h=40")).await;
        assert!((0..x.len()).all(|i| x[i] == voxel(30 + i / 200, 100 + i % 200, 289)), "{id} x");
        // The mean of eight children lies at their centre; a TIFF stack has every second voxel instead.
        let l1 = service
            .values(&format!("/api/volumes/{id}/slice?level=1&axis=z&index=5&x0=3&y0=4&w=1&h=1"))
            .await;
        let middle = voxel(10, 8, 6) + 0.25 * 0.5 * 1_001_001.0;
        let expected = if id == "t" { voxel(10, 8, 6) } else { middle };
        assert!((l1[0] - expected).abs() <= expected.abs() * 1e-6, "{id}: {} {expected}", l1[0]);
    }
}

#[tokio::test]
async fn bricks_are_windowed_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec([40, 30, 20]);
    write(dir.path(), "a", &spec, OmeVersion::V04, 2, false);
    let service = Service::new(&[dir.path().to_owned()]);
    let (lo, hi) = (f64::from(voxel(30, 0, 0)), f64::from(voxel(34, 0, 0)));
    let response = service
        .get(&format!("/api/volumes/a/brick?level=0&z0=29&z1=36&y0=3&y1=9&x0=1&x1=20&lo={lo}&hi={hi}"))
        .await;
    assert_eq!(header(&response, "beamrail-shape"), "7,6,19");
    let found = bytes(response).await;
    assert_eq!(found.len(), 7 * 6 * 19);
    for (i, &byte) in found.iter().enumerate() {
        let value = f64::from(voxel(29 + i / 114, 3 + i / 19 % 6, 1 + i % 19));
        let exact = ((value - lo) / (hi - lo) * 255.0).clamp(0.0, 255.0);
        // Half a step from rounding, and a little from float32 arithmetic.
        assert!((f64::from(byte) - exact).abs() <= 0.51, "{i}: {byte} {exact}");
    }
}

#[tokio::test]
async fn what_is_no_number_is_told_and_drawn_black() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec([1, 2, 3]);
    let stack = TiffStack::create(&dir.path().join("t"), "t", &spec).unwrap();
    stack.write(0, &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, 1.0, 2.0]).unwrap();
    let service = Service::new(&[dir.path().join("t")]);
    let info = service.json("/api/volumes/t").await;
    assert_eq!((&info["histogram"]["not_finite"], &info["state"]), (&3.into(), &"unmanaged".into()));
    let values = service.values("/api/volumes/t/slice?axis=z&index=0").await;
    assert!(values[0].is_nan() && values[1] == f32::INFINITY && values[5] == 2.0);
    let brick = bytes(service.get("/api/volumes/t/brick?lo=0&hi=2").await).await;
    assert_eq!(brick, [0, 255, 0, 0, 128, 255]);
}

#[tokio::test]
async fn integers_come_as_the_values_they_stand_for() {
    let dir = tempfile::tempdir().unwrap();
    let scaling = Some(Scaling { min: -1.0, max: 1e8 });
    let spec = VolumeSpec { dtype: DataType::U16, scaling, ..spec([40, 30, 20]) };
    write(dir.path(), "a", &spec, OmeVersion::V05, 2, true);
    let service = Service::new(&[dir.path().to_owned()]);
    let info = service.json("/api/volumes/a").await;
    let (start, end) = (info["window"]["start"].as_f64().unwrap(), info["window"]["end"].as_f64().unwrap());
    // The window was taken from slice 20.
    assert!(start > 4.9e6 && end < 5.1e6, "{start} {end}");
    for axis in ["z", "y"] {
        let values = service.values(&format!("/api/volumes/a/slice?axis={axis}&index=7&w=1&h=1")).await;
        let exact = if axis == "z" { voxel(7, 0, 0) } else { voxel(0, 7, 0) };
        // Half a step of 65535 in the range.
        assert!((values[0] - exact).abs() <= 1e8 / 65535.0 * 0.51, "{axis}: {} {exact}", values[0]);
    }
}

#[tokio::test]
async fn a_volume_is_visible_while_it_grows() {
    let dir = tempfile::tempdir().unwrap();
    let spec = VolumeSpec { first_row: 100, row_step: 2, ..spec([100, 280, 270]) };
    write(dir.path(), "a", &spec, OmeVersion::V04, 2, true);
    let service = Service::new(&[dir.path().join("a.zarr")]);
    let info = service.json("/api/volumes/a").await;
    assert_eq!((&info["state"], &info["rows"]["done"]), (&"growing".into(), &64.into()));
    assert_eq!(info["rows"]["ranges"], serde_json::json!([[0, 64]]));
    let there = service.values("/api/volumes/a/slice?axis=z&index=63&w=9&h=1").await;
    assert_eq!(there[8], voxel(63, 0, 8));
    let none = service.get("/api/volumes/a/slice?axis=z&index=64").await;
    assert_eq!(none.status(), StatusCode::NO_CONTENT);
    assert_eq!(header(&none, "cache-control"), "no-store");
    // A slice across: rows that are there, and NaN below them.
    let response = service.get("/api/volumes/a/slice?axis=y&index=3&w=1").await;
    assert_eq!(header(&response, "beamrail-absent"), "36");
    let across = service.values("/api/volumes/a/slice?axis=y&index=3&w=1").await;
    assert!((0..100).all(|z| if z < 64 { across[z] == voxel(z, 3, 0) } else { across[z].is_nan() }));
    // Level 1 has its first slab of 32 from both; a job of one slab would have none, and gets samples.
    let means = service.get("/api/volumes/a/slice?axis=z&index=3&level=1&w=2&h=1").await;
    assert_eq!(header(&means, "beamrail-sampled"), "");
    let brick = service.get("/api/volumes/a/brick?level=0&z0=60&z1=68&lo=0&hi=1").await;
    assert_eq!(header(&brick, "beamrail-absent"), (4 * 280 * 270).to_string());

    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a", &spec, OmeVersion::V04, 1, true);
    let service = Service::new(&[dir.path().join("a.zarr")]);
    let samples = service.get("/api/volumes/a/slice?axis=z&index=3&level=1&x0=2&y0=5&w=1&h=1").await;
    assert_eq!(header(&samples, "beamrail-sampled"), "1");
    let samples = service.values("/api/volumes/a/slice?axis=z&index=3&level=1&x0=2&y0=5&w=1&h=1").await;
    assert_eq!(samples, [voxel(6, 10, 4)]);
}

#[tokio::test]
async fn finished_volumes_may_be_kept_and_others_not() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a", &spec([40, 30, 20]), OmeVersion::V04, 2, true);
    let service = Service::new(&[dir.path().to_owned()]);
    let version = service.json("/api/volumes/a").await["version"].as_str().unwrap().to_owned();
    let path = format!("/api/volumes/a/slice?axis=z&index=1&v={version}");
    let first = service.get(&path).await;
    assert_eq!(header(&first, "cache-control"), "private, max-age=31536000, immutable");
    let etag = header(&first, "etag").to_owned();
    let again = Request::get(&path).header("if-none-match", &etag).body(Body::empty()).unwrap();
    assert_eq!(service.send(again).await.status(), StatusCode::NOT_MODIFIED);
    let old = service.get("/api/volumes/a/slice?axis=z&index=1&v=0000").await;
    assert_eq!(header(&old, "cache-control"), "private, no-cache");
    let other = service.get("/api/volumes/a/slice?axis=z&index=2").await;
    assert_ne!(header(&other, "etag"), etag);
}

#[tokio::test]
async fn zarr_files_come_whole_and_in_ranges() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a", &spec([40, 30, 20]), OmeVersion::V05, 2, false);
    let file = std::fs::read(dir.path().join("a.zarr/0/c/0/0/0")).unwrap();
    let service = Service::new(&[dir.path().to_owned()]);
    let whole = service.get("/zarr/a/0/c/0/0/0").await;
    assert_eq!((whole.status(), header(&whole, "accept-ranges")), (StatusCode::OK, "bytes"));
    assert_eq!(bytes(whole).await, file);
    let head = Request::head("/zarr/a/0/c/0/0/0").body(Body::empty()).unwrap();
    let head = service.send(head).await;
    assert_eq!(header(&head, "content-length"), file.len().to_string());
    assert!(bytes(head).await.is_empty());
    let part =
        |range: &str| Request::get("/zarr/a/0/c/0/0/0").header("range", range).body(Body::empty()).unwrap();
    let index = service.send(part("bytes=-20")).await;
    assert_eq!(index.status(), StatusCode::PARTIAL_CONTENT);
    let n = file.len();
    assert_eq!(header(&index, "content-range"), format!("bytes {}-{}/{n}", n - 20, n - 1));
    assert_eq!(bytes(index).await, &file[n - 20..]);
    let beyond = service.send(part(&format!("bytes={n}-"))).await;
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    // Without a link pages of other origins get nothing.
    let own = service.get("/zarr/a/zarr.json").await;
    assert_eq!(
        (header(&own, "access-control-allow-origin"), header(&own, "content-type")),
        ("", "application/json")
    );
    assert_eq!(service.get("/zarr/a/0/c/9/0/0").await.status(), StatusCode::NOT_FOUND);
}

/// One volume that may be shared until it is found to be export-controlled.
struct Controlled(PathBuf, std::sync::Arc<std::sync::atomic::AtomicBool>);

impl Library for Controlled {
    fn find(&self, id: &str) -> Result<Option<Place>, String> {
        let mut place = Place::at(&self.0).filter(|_| id == "a b");
        if let (Some(place), true) = (&mut place, self.1.load(std::sync::atomic::Ordering::SeqCst)) {
            place.sharing = Sharing::Refused("export-controlled".into());
        }
        Ok(place)
    }

    fn list(&self) -> Result<Vec<Entry>, String> {
        Ok(vec![Entry { id: "a b".into(), name: "a b".into() }])
    }
}

#[tokio::test]
async fn links_open_one_volume_and_end_with_its_export_control() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a", &spec([40, 30, 20]), OmeVersion::V04, 2, false);
    let controlled = std::sync::Arc::<std::sync::atomic::AtomicBool>::default();
    let library = Controlled(dir.path().join("a.zarr"), controlled.clone());
    let service = Service(Viewer::new(library, &Options::default()));
    let make = || {
        Request::post("/api/volumes/a%20b/share")
            .header("content-type", "application/json")
            .body(Body::from(r#"{"hours":24}"#))
            .unwrap()
    };
    let link: Value = serde_json::from_slice(&bytes(service.send(make()).await).await).unwrap();
    let path = link["path"].as_str().unwrap();
    assert!(path.ends_with("/a%20b.zarr/"), "{path}");
    let metadata = service.get(&format!("{path}.zattrs")).await;
    assert_eq!(metadata.status(), StatusCode::OK);
    assert_eq!(header(&metadata, "access-control-allow-origin"), "*");
    assert_eq!(header(&metadata, "referrer-policy"), "no-referrer");
    let asks =
        Request::options(format!("{path}0/0/0/0")).header("origin", "https://x.example").body(Body::empty());
    let asks = service.send(asks.unwrap()).await;
    assert_eq!(
        (asks.status(), header(&asks, "access-control-allow-headers")),
        (StatusCode::NO_CONTENT, "Range, If-None-Match")
    );
    let forged = path.replacen("/share/", "/share/f", 1);
    assert_eq!(service.get(&format!("{forged}.zattrs")).await.status(), StatusCode::FORBIDDEN);
    assert!(!viewer::redact(path).contains(path.split('/').nth(2).unwrap()));

    controlled.store(true, std::sync::atomic::Ordering::SeqCst);
    // The library is asked again after a second.
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    assert_eq!(service.get(&format!("{path}.zattrs")).await.status(), StatusCode::FORBIDDEN);
    let refused = service.send(make()).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(String::from_utf8(bytes(refused).await).unwrap().contains("export-controlled"));
}

#[tokio::test]
async fn nothing_outside_and_nothing_absurd_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a", &spec([40, 30, 20]), OmeVersion::V04, 2, true);
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("a.zarr/0/link")).unwrap();
    std::os::unix::fs::symlink("/etc", dir.path().join("a.zarr/etc")).unwrap();
    let service = Service::new(&[dir.path().to_owned()]);
    let names = [
        "..%2fa.manifest.json",
        "%2e%2e/a.manifest.json",
        "../a.manifest.json",
        "0/../../a/x",
        "etc/passwd",
        "0/link",
        "%2Fetc%2Fpasswd",
        "0//0",
        ".git/config",
        "0",
        "%00",
        "0/%00",
        "0/0\\0",
        "%c0%ae%c0%ae/x",
        "....//x",
        ".zattrs/",
        ".zattrs%00",
    ];
    let mut paths: Vec<String> =
        names.iter().flat_map(|n| [format!("/zarr/a/{n}"), format!("/share/x/a.zarr/{n}")]).collect();
    for id in
        ["b", "..", "%2e%2e", "a%2f..%2fa", "%00", "a%00", "%ff", "'%20or%201=1--", "<script>", "a.zarr"]
    {
        paths.extend([
            format!("/api/volumes/{id}"),
            format!("/api/volumes/{id}/slice?axis=z&index=0"),
            format!("/zarr/{id}/.zattrs"),
        ]);
    }
    for query in [
        "",
        "axis=z",
        "axis=w&index=0",
        "axis=z&index=40",
        "axis=z&index=-1",
        "axis=z&index=1e3",
        "axis=z&index=4294967295",
        "axis=z&index=0&level=9",
        "axis=z&index=0&level=256",
        "axis=z&index=0&x0=20",
        "axis=z&index=0&w=0",
        "axis=z&index=0&w=21",
        "axis=z&index=0&x0=4294967295&w=4294967295",
        "axis=z&index=NaN",
        "axis=z&index=0&h=99999999999999999999",
        "axis=z&index=0&axis=y",
        "axis=z%00&index=0",
    ] {
        paths.push(format!("/api/volumes/a/slice?{query}"));
    }
    for query in [
        "lo=1",
        "lo=1&hi=1",
        "lo=2&hi=1",
        "lo=NaN&hi=1",
        "lo=0&hi=inf",
        "z0=5&z1=5",
        "z0=9&z1=3",
        "z1=41",
        "level=7",
        "y0=-1",
        "x1=99999999999",
    ] {
        paths.push(format!("/api/volumes/a/brick?{query}"));
    }
    assert!(paths.len() > 90, "{}", paths.len());
    for path in &paths {
        let Ok(request) = Request::get(path).body(Body::empty()) else { continue };
        let response = service.send(request).await;
        assert!(response.status().is_client_error(), "{path}: {}", response.status());
        let told = String::from_utf8_lossy(&bytes(response).await).into_owned();
        assert!(!told.contains("root:") && !told.contains(dir.path().to_str().unwrap()), "{path}: {told}");
    }
    for body in ["", "{}", r#"{"hours":0}"#, r#"{"hours":-1}"#, r#"{"hours":1e99}"#, "[]", "null", "\0"] {
        let request = Request::post("/api/volumes/a/share")
            .header("content-type", "application/json")
            .body(Body::from(body));
        let response = service.send(request.unwrap()).await;
        assert!(response.status().is_client_error(), "{body}: {}", response.status());
    }
}

#[tokio::test]
async fn the_page_is_whole_and_has_nothing_inline() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a", &spec([4, 3, 2]), OmeVersion::V04, 1, true);
    let service = Service::new(&[dir.path().to_owned()]);
    let page = service.get("/view/a").await;
    assert!(header(&page, "content-security-policy").starts_with("default-src 'self'"));
    let html = String::from_utf8(bytes(page).await).unwrap();
    for path in ["/view/assets/viewer.js", "/view/assets/viewer.css"] {
        assert!(html.contains(path));
        let asset = service.get(path).await;
        assert_eq!(asset.status(), StatusCode::OK);
        let etag = header(&asset, "etag").to_owned();
        let again = Request::get(path).header("if-none-match", etag).body(Body::empty()).unwrap();
        assert_eq!(service.send(again).await.status(), StatusCode::NOT_MODIFIED);
    }
    assert!(
        !html.contains(" style=")
            && !html.contains("<script>")
            && !html.contains("http:")
            && !html.contains("https:")
    );
    // The volume's description comes with the page, whatever its name is.
    let name = "a<!--<script>";
    write(dir.path(), name, &spec([4, 3, 2]), OmeVersion::V04, 1, true);
    let service = Service::new(&[dir.path().to_owned()]);
    for id in ["a", "a%3C%21--%3Cscript%3E"] {
        let html = String::from_utf8(bytes(service.get(&format!("/view/{id}")).await).await).unwrap();
        let (_, rest) = html.split_once("id=\"volume\">").unwrap();
        let (text, _) = rest.split_once("</script>").unwrap();
        assert!(!text.contains('<'), "{text}");
        let told: Value = serde_json::from_str(text).unwrap();
        assert_eq!(told, service.json(&format!("/api/volumes/{id}")).await);
    }
    let html = String::from_utf8(bytes(service.get("/view/none").await).await).unwrap();
    assert!(html.contains("id=\"volume\"></script>"), "the script asks, and says why");
    assert_eq!(service.get("/view/assets/..%2Fpage.html").await.status(), StatusCode::NOT_FOUND);
    let (_, described) = service.0.router().split_for_parts();
    let described = serde_json::to_value(described).unwrap();
    for path in [
        "/api/volumes",
        "/api/volumes/{id}",
        "/api/volumes/{id}/slice",
        "/api/volumes/{id}/brick",
        "/api/volumes/{id}/share",
    ] {
        assert!(described["paths"][path].is_object(), "{path}");
    }
}
