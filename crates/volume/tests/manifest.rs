//! The manifest: deterministic, complete, and not to be tricked.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use volume::manifest::{Finding, Problem};
use volume::{Error, FileRecord, Manifest, VerifyLevel, fs};

/// A results folder with a few files, and their records.
fn results(dir: &Path) -> Vec<FileRecord> {
    ["rec/a", "rec/sub/b", "rec.zarr/0/0"]
        .iter()
        .map(|name| {
            fs::create_folder(dir.join(name).parent().unwrap()).unwrap();
            fs::write_file(dir, name, &[name.as_bytes(), &[7; 1000]]).unwrap()
        })
        .collect()
}

fn findings(manifest: &Manifest, dir: &Path, level: VerifyLevel) -> Vec<Finding> {
    manifest.verify(dir, level, &|_, _| {}).unwrap().findings
}

#[test]
fn bytes_and_digest_do_not_depend_on_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = results(dir.path());
    let a = Manifest::new("rec", files.clone()).unwrap();
    files.reverse();
    let b = Manifest::new("rec", files.clone()).unwrap();
    assert_eq!((a.to_bytes(), a.digest()), (b.to_bytes(), b.digest()));
    let path = dir.path().join("rec.manifest.json");
    a.write(&path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), a.to_bytes());
    assert_eq!(Manifest::read(&Manifest::find(dir.path()).unwrap()).unwrap(), a);
    let json: serde_json::Value = serde_json::from_slice(&a.to_bytes()).unwrap();
    assert_eq!(json["files"].as_array().unwrap().len(), 3);
    files.push(files[0].clone());
    assert!(Manifest::new("rec", files).is_err());
}

#[test]
fn every_kind_of_damage_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = Manifest::new("rec", results(dir.path())).unwrap();
    let done = AtomicU64::new(0);
    let ok = manifest
        .verify(dir.path(), VerifyLevel::Digested, &|n, total| {
            assert_eq!(total, manifest.bytes());
            done.fetch_max(n, Ordering::Relaxed);
        })
        .unwrap();
    assert!(ok.is_ok(), "{ok:?}");
    assert_eq!(done.into_inner(), manifest.bytes());
    // Beside the folders of the manifest there may be other things.
    std::fs::write(dir.path().join("rec.report.json"), "{}").unwrap();
    assert!(findings(&manifest, dir.path(), VerifyLevel::Digested).is_empty());
    std::fs::write(dir.path().join("rec/sub/.c.part"), "half").unwrap();
    let mut changed = std::fs::read(dir.path().join("rec/a")).unwrap();
    changed[500] ^= 1;
    std::fs::write(dir.path().join("rec/a"), &changed).unwrap();
    std::fs::write(dir.path().join("rec/sub/b"), "short").unwrap();
    std::fs::remove_file(dir.path().join("rec.zarr/0/0")).unwrap();
    let all = findings(&manifest, dir.path(), VerifyLevel::Digested);
    let names: Vec<_> = all.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(names, ["rec.zarr/0/0", "rec/a", "rec/sub/.c.part", "rec/sub/b"]);
    assert!(matches!(all[0].problem, Problem::Missing));
    assert!(matches!(all[1].problem, Problem::Digest { .. }));
    assert!(matches!(all[2].problem, Problem::Extra));
    assert!(matches!(all[3].problem, Problem::Size { expected: 1009, found: 5 }));
    assert_eq!(findings(&manifest, dir.path(), VerifyLevel::Sized).len(), 3);
    assert_eq!(findings(&manifest, dir.path(), VerifyLevel::Listed).len(), 2);
}

#[test]
fn links_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = Manifest::new("rec", results(dir.path())).unwrap();
    // The same content behind a link, as a file and as a folder.
    std::fs::rename(dir.path().join("rec/a"), dir.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("../elsewhere", dir.path().join("rec/a")).unwrap();
    std::fs::rename(dir.path().join("rec/sub"), dir.path().join("other")).unwrap();
    std::os::unix::fs::symlink("../other", dir.path().join("rec/sub")).unwrap();
    let all = findings(&manifest, dir.path(), VerifyLevel::Digested);
    let links: Vec<_> =
        all.iter().filter(|f| f.problem == Problem::NotAFile).map(|f| f.path.as_str()).collect();
    assert_eq!(links, ["rec/a", "rec/sub/b"]);
}

#[test]
fn manifests_that_climb_out_or_lie_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let good = Manifest::new("rec", results(dir.path())).unwrap();
    let path = dir.path().join("x.manifest.json");
    for bad in ["../x", "/etc/passwd", "a/../../x", "a//b", "a/./b", "", "a\\b", "rec/", ".x.part"] {
        let record = FileRecord { path: bad.into(), size: 1, blake3: "0".repeat(64) };
        assert!(matches!(Manifest::new("rec", vec![record]), Err(Error::Parameter { .. })), "{bad}");
        let text = String::from_utf8(good.to_bytes()).unwrap();
        let text = text.replace("\"rec/a\"", &serde_json::Value::from(bad).to_string());
        std::fs::write(&path, text).unwrap();
        assert!(matches!(Manifest::read(&path), Err(Error::Format { .. })), "{bad}");
    }
    let text = String::from_utf8(good.to_bytes()).unwrap();
    for (from, to) in
        [("manifest/1", "manifest/9"), ("\"name\"", "\"title\""), ("\"blake3\": \"", "\"blake3\": \"zz")]
    {
        std::fs::write(&path, text.replace(from, to)).unwrap();
        assert!(Manifest::read(&path).is_err(), "{to}");
    }
    // Cut short anywhere it is not a manifest (the last byte is a newline).
    for n in 0..text.len() - 1 {
        std::fs::write(&path, &text[..n]).unwrap();
        assert!(Manifest::read(&path).is_err(), "{n} bytes");
    }
}
