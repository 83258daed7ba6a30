//! Full disks, forbidden folders, planted links, and processes that are killed in the middle.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod common;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::*;
use custody::*;
use sites::{Error, Storage, Watch};

/// The environment variable by which a test starts itself as the process that is killed.
const CHILD: &str = "BEAMRAIL_TEST_COPIER";

/// A small file system of its own, if we may mount one.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(path: PathBuf, megabytes: u32) -> Option<Self> {
        let options = format!("size={megabytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then_some(Self(path))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_leaves_nothing_behind() {
    let bench = Bench::new();
    let Some(_disk) = Tmpfs::mount(bench.path("nersc", ""), 24) else {
        println!("skipped: mounting a file system needs root");
        return;
    };
    let raw = bench.write("als", Kind::Raw, &[(raw_name(), bytes(1, 40 << 20))]);
    let top = format!("rec{}.zarr", scan().stem());
    let small: Vec<_> = (0..40u64).map(|n| (format!("{top}/{n}"), bytes(n, 1 << 20))).collect();
    let zarr = bench.write("als", Kind::Zarr, &small);
    for (kind, list) in [(Kind::Raw, &raw), (Kind::Zarr, &zarr)] {
        let error = bench.send(kind, list, "als", "nersc", "k", &Watch::default()).await.unwrap_err();
        assert!(matches!(error, Error::Full { .. }), "{kind}: {error}");
        assert!(error.to_string().contains("make room") && !error.retry_helps(), "{error}");
        assert_eq!(tree(&bench.path("nersc", "")), [], "{kind}");
        assert_eq!(std::fs::read_dir(bench.path("nersc", "")).unwrap().count(), 0, "no empty folders either");
    }
}

#[tokio::test]
async fn a_site_that_vanishes_and_comes_back_is_told_and_used() {
    let bench = Bench::new();
    let list = bench.write("als", Kind::Raw, &[(raw_name(), bytes(1, 100))]);
    let nersc = bench.storage("nersc");
    assert!(nersc.free_space().await.unwrap() > Some(0));
    let moved = bench.folder.path().join("elsewhere");
    std::fs::rename(bench.path("nersc", ""), &moved).unwrap();
    assert!(matches!(nersc.free_space().await.unwrap_err(), Error::Unreachable { .. }));
    std::fs::rename(&moved, bench.path("nersc", "")).unwrap();
    let _done = bench.send(Kind::Raw, &list, "als", "nersc", "k", &Watch::default()).await.unwrap();
}

#[tokio::test]
async fn a_read_only_folder_is_told_with_what_to_do() {
    let bench = Bench::new();
    let list = bench.write("als", Kind::Raw, &[(raw_name(), bytes(1, 100))]);
    let Some(disk) = Tmpfs::mount(bench.path("nersc", ""), 4) else {
        println!("skipped: mounting a file system needs root");
        return;
    };
    let read_only = Command::new("mount").args(["-o", "remount,ro"]).arg(&disk.0).status().unwrap();
    assert!(read_only.success());
    let error = bench.send(Kind::Raw, &list, "als", "nersc", "k", &Watch::default()).await.unwrap_err();
    assert!(error.to_string().contains("mounted read-only") && !error.retry_helps(), "{error}");
}

#[tokio::test]
async fn planted_links_are_neither_read_nor_written_nor_deleted_through() {
    let bench = Bench::new();
    let outside = bench.folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("victim"), "safe").unwrap();
    let files = zarr_files();
    let list = bench.write("als", Kind::Zarr, &files);
    let folder = bench.path("nersc", "scratch");
    // A link in the place of the experiment's folder.
    std::fs::create_dir(&folder).unwrap();
    symlink(&outside, folder.join("ALS-00001_u")).unwrap();
    let error = bench.send(Kind::Zarr, &list, "als", "nersc", "k", &Watch::default()).await.unwrap_err();
    assert!(matches!(error, Error::Link { .. }), "{error}");
    std::fs::remove_file(folder.join("ALS-00001_u")).unwrap();
    // A link in the place of the result.
    std::fs::create_dir(folder.join("ALS-00001_u")).unwrap();
    let top = format!("rec{}.zarr", scan().stem());
    symlink(&outside, folder.join("ALS-00001_u").join(&top)).unwrap();
    let error = bench.send(Kind::Zarr, &list, "als", "nersc", "k", &Watch::default()).await.unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    std::fs::remove_file(folder.join("ALS-00001_u").join(&top)).unwrap();
    // A link in the source.
    let source = bench.path("als", &format!("scratch/ALS-00001_u/{top}/big"));
    std::fs::rename(&source, bench.folder.path().join("big")).unwrap();
    symlink(bench.folder.path().join("big"), &source).unwrap();
    let error = bench.send(Kind::Zarr, &list, "als", "nersc", "k", &Watch::default()).await.unwrap_err();
    assert!(matches!(error, Error::Link { .. }), "{error}");
    assert_eq!(tree(&outside), [("victim".to_owned(), b"safe".to_vec())]);
    assert_eq!(tree(&bench.path("nersc", "")), []);
}

#[tokio::test]
async fn a_permit_deletes_only_the_files_that_were_seen() {
    let mut bench = Bench::new();
    let list = bench.write("als", Kind::Raw, &[(raw_name(), bytes(1, 100))]);
    bench.write("nersc", Kind::Raw, &[(raw_name(), bytes(1, 100))]);
    let als = bench.adopt("als", Kind::Raw, &list).await;
    bench.adopt("nersc", Kind::Raw, &list).await;
    bench.days(8);
    let path = bench.path("als", &format!("raw/ALS-00001_u/{}", raw_name()));
    std::fs::write(path.with_file_name("neighbour.h5"), "stays").unwrap();
    let plan = bench.custody.plan(bench.now).unwrap();
    let ask = async || {
        let evidence = bench.evidence(&plan.items[0]).await;
        bench.custody.permit(plan.id, als, &evidence, bench.now)
    };
    let permit = ask().await.unwrap();
    // Between the permit and the act somebody puts another file in its place.
    let keep = path.with_extension("keep");
    std::fs::rename(&path, &keep).unwrap();
    std::fs::write(&path, bytes(2, 100)).unwrap();
    let receipt = bench.storage("als").delete(permit, bench.now).await.unwrap();
    assert_eq!((receipt.deleted(), receipt.failed().len()), (0, 1));
    assert_eq!(std::fs::read(&path).unwrap(), bytes(2, 100));
    bench.custody.record_deleted(&receipt, bench.now).unwrap();
    // The right one is back: now it goes, and its neighbours stay.
    std::fs::remove_file(&path).unwrap();
    std::fs::rename(&keep, &path).unwrap();
    let receipt = bench.storage("als").delete(ask().await.unwrap(), bench.now).await.unwrap();
    assert_eq!((receipt.deleted(), receipt.bytes()), (1, 100));
    bench.custody.record_deleted(&receipt, bench.now).unwrap();
    assert_eq!(bench.custody.copy(als).unwrap().state, State::Deleted);
    assert_eq!(
        tree(&bench.path("als", "")),
        [("raw/ALS-00001_u/neighbour.h5".to_owned(), b"stays".to_vec())]
    );
}

#[tokio::test]
async fn deleting_a_folder_leaves_no_empty_folders_and_nothing_else() {
    let mut bench = Bench::new();
    let list = bench.write("als", Kind::Zarr, &zarr_files());
    bench.write("nersc", Kind::Zarr, &zarr_files());
    let als = bench.adopt("als", Kind::Zarr, &list).await;
    bench.adopt("nersc", Kind::Zarr, &list).await;
    std::fs::write(bench.path("als", "scratch/ALS-00001_u/other"), "stays").unwrap();
    bench.days(4);
    let plan = bench.custody.plan(bench.now).unwrap();
    let evidence = bench.evidence(&plan.items[0]).await;
    let permit = bench.custody.permit(plan.id, als, &evidence, bench.now).unwrap();
    let receipt = bench.storage("als").delete(permit, bench.now).await.unwrap();
    assert_eq!((receipt.deleted(), receipt.failed().len()), (list.count(), 0));
    let left = std::fs::read_dir(bench.path("als", "scratch/ALS-00001_u")).unwrap();
    assert_eq!(left.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>(), ["other"]);
    bench.custody.record_deleted(&receipt, bench.now).unwrap();
}

/// Not a test by itself: the process that the next test starts, and kills.
#[tokio::test]
async fn copier_that_is_killed() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let folder = PathBuf::from(folder);
    let custody = Custody::open(&folder.join("child.db")).unwrap();
    custody.configure(&settings(), "test", jiff::Timestamp::now()).unwrap();
    for (kind, list) in [(Kind::Zarr, zarr_list()), (Kind::Raw, raw_list())] {
        let base = Bench::base(kind);
        let request = TransferRequest {
            dataset: dataset(kind),
            from: "als".into(),
            from_base: base.clone(),
            to: "nersc".into(),
            to_base: base,
            files: list,
            run: "run".into(),
        };
        let now = jiff::Timestamp::now();
        let permit = custody.permit_transfer(&request, now).unwrap();
        let (als, nersc) = (["als", "nersc"]).map(|s| sites::LocalStorage::new(s, folder.join(s))).into();
        let _done = als.transfer(permit, &nersc, "k", &Watch::default(), now).await.unwrap();
    }
}

fn raw_files() -> Vec<(String, Vec<u8>)> {
    vec![(raw_name(), bytes(3, 600 << 20))]
}

fn raw_list() -> FileList {
    FileList::new(vec![FileEntry::new(raw_name(), 600 << 20, None).unwrap()]).unwrap()
}

/// Enough files for two batches.
fn many_files() -> Vec<(String, Vec<u8>)> {
    let top = format!("rec{}.zarr", scan().stem());
    (0..3000u64).map(|n| (format!("{top}/0/{n}"), bytes(n, 3000))).collect()
}

fn zarr_list() -> FileList {
    let entry = |(path, bytes): (String, Vec<u8>)| FileEntry::new(path, bytes.len() as u64, None).unwrap();
    FileList::new(many_files().into_iter().map(entry).collect()).unwrap()
}

#[tokio::test]
async fn a_killed_copy_goes_on_where_it_was_if_the_source_is_the_same() {
    let bench = Bench::new();
    let zarr = bench.write("als", Kind::Zarr, &many_files());
    let raw = bench.write("als", Kind::Raw, &raw_files());
    let note = bench.path("nersc", &format!("raw/ALS-00001_u/.{}", raw_name()));
    let start = || {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "copier_that_is_killed"]).env(CHILD, bench.folder.path());
        child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let notes = || {
        let begins = note.file_name().unwrap().to_str().unwrap().to_owned();
        let names = std::fs::read_dir(note.parent().unwrap()).into_iter().flatten().flatten();
        names
            .map(|e| e.file_name().into_string().unwrap())
            .find(|n| n.starts_with(&begins) && n.contains(".at."))
    };
    // Killed at all sorts of moments, and at last when a checkpoint of the large file was noted.
    for pause in [3, 20, 60, 120, 200] {
        let mut child = start();
        std::thread::sleep(Duration::from_millis(pause));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut child = start();
    let begun = Instant::now();
    while notes().is_none() && child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!bench.path("nersc", &format!("raw/ALS-00001_u/{}", raw_name())).exists());
    let done = bench.send(Kind::Raw, &raw, "als", "nersc", "k", &Watch::default()).await.unwrap();
    assert!(done.reused >= 256 << 20, "{} bytes were not copied again", done.reused);
    let done = bench.send(Kind::Zarr, &zarr, "als", "nersc", "k", &Watch::default()).await.unwrap();
    assert_eq!(done.copied, 0);
    assert_eq!(tree(&bench.path("nersc", "")), tree(&bench.path("als", "")));
}

#[tokio::test]
async fn a_part_of_another_source_or_with_other_bytes_is_not_gone_on_with() {
    for change in ["source", "part"] {
        let bench = Bench::new();
        let size = 300 << 20;
        let list = bench.write("als", Kind::Raw, &[(raw_name(), bytes(1, size))]);
        let source = bench.path("als", &format!("raw/ALS-00001_u/{}", raw_name()));
        let folder = bench.path("nersc", "raw/ALS-00001_u");
        // An attempt that stops answering after its first checkpoint leaves part and note behind.
        let copied = folder.clone();
        let watch = Watch::new(move |_| {
            let names: Vec<_> = std::fs::read_dir(&copied).into_iter().flatten().flatten().collect();
            for entry in names {
                let name = entry.file_name().into_string().unwrap();
                if name.contains(".at.") && !name.contains(".new.") {
                    let saved = copied.with_file_name("saved");
                    if std::fs::create_dir(&saved).is_ok() {
                        let part = name.replace(".at.", ".");
                        std::fs::copy(copied.join(&part), saved.join(&part)).unwrap();
                        std::fs::copy(copied.join(&name), saved.join(&name)).unwrap();
                    }
                }
            }
        });
        let _done = bench.send(Kind::Raw, &list, "als", "nersc", "k", &watch).await.unwrap();
        let saved = folder.with_file_name("saved");
        std::fs::remove_file(folder.join(raw_name())).unwrap();
        for entry in std::fs::read_dir(&saved).unwrap() {
            let entry = entry.unwrap();
            std::fs::rename(entry.path(), folder.join(entry.file_name())).unwrap();
        }
        std::fs::remove_dir(&saved).unwrap();
        let mut expected = bytes(1, size);
        if change == "source" {
            expected[5] ^= 1;
            std::fs::write(&source, &expected).unwrap();
        } else {
            let part = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path());
            let part = part.into_iter().find(|p| !p.to_str().unwrap().contains(".at.")).unwrap();
            let file = std::fs::OpenOptions::new().write(true).open(part).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, b"x", 7).unwrap();
        }
        let done = bench.send(Kind::Raw, &list, "als", "nersc", "k", &Watch::default()).await.unwrap();
        assert_eq!(done.reused, 0, "{change}");
        assert!(std::fs::read(folder.join(raw_name())).unwrap() == expected, "{change}");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    }
}

#[tokio::test]
async fn an_unreadable_source_is_told_and_small_files_are_written_whole() {
    let bench = Bench::new();
    let als = bench.storage("als");
    als.make_folder(&rel("a/b")).await.unwrap();
    als.write_small(&rel("a/b/c"), b"one").await.unwrap();
    als.write_small(&rel("a/b/c"), b"two").await.unwrap();
    assert_eq!(als.read_small(&rel("a/b/c"), 3).await.unwrap(), b"two");
    assert!(matches!(als.read_small(&rel("a/b/c"), 2).await.unwrap_err(), Error::TooMany { .. }));
    assert!(matches!(als.read_small(&rel("a/x"), 2).await.unwrap_err(), Error::Missing { .. }));
    als.rename(&rel("a/b/c"), &rel("a/d")).await.unwrap();
    als.write_small(&rel("a/b/c"), b"three").await.unwrap();
    assert!(matches!(als.rename(&rel("a/b/c"), &rel("a/d")).await.unwrap_err(), Error::Exists { .. }));
    assert_eq!(als.read_small(&rel("a/d"), 9).await.unwrap(), b"two");
    let mode = bench.path("als", "a/b").metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o2775);
    let all = als.list(&RelPath::root(), sites::ListLimits::default()).await.unwrap();
    assert_eq!(all.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(), ["a", "a/b", "a/b/c", "a/d"]);
    for limits in [sites::ListLimits { entries: 3, depth: 9 }, sites::ListLimits { entries: 9, depth: 1 }] {
        assert!(matches!(als.list(&RelPath::root(), limits).await.unwrap_err(), Error::TooMany { .. }));
    }
}
