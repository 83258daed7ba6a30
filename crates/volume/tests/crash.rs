//! Killed writers and full disks: no half file under a final name, and the same volume after resuming.
//!
//! The writer is this test binary itself, started again to run `child` alone with a folder in
//! `BEAMRAIL_VOLUME_CHILD`.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{listing, spec, values};
use volume::fs::is_part_name;
use volume::{Compression, OmeVersion, OmeZarr, Result, TiffStack, VolumeSpec, Window};

const CHILD: &str = "BEAMRAIL_VOLUME_CHILD";
const WINDOW: Window = Window { min: -1.0, max: 4.0, start: 0.0, end: 3.0 };

fn volume_spec() -> VolumeSpec {
    spec([96, 300, 520])
}

/// Writes (or goes on writing) everything that is not there yet.
fn write(folder: &Path) -> Result<()> {
    let spec = volume_spec();
    let stack = TiffStack::open_existing(&folder.join("rec"), "s", &spec)?;
    let zarr =
        OmeZarr::open_existing(&folder.join("rec.zarr"), &spec, OmeVersion::V04, Compression::default())?;
    let n = spec.slice_voxels();
    let there = |names: Vec<String>| names.iter().all(|name| folder.join(name).is_file());
    for slab in 0..zarr.slabs(0) {
        let rows = values(slab * 32 * n..(slab + 1) * 32 * n);
        for (z, slice) in rows.chunks(n).enumerate().map(|(i, s)| (slab * 32 + i, s)) {
            if !there(vec![stack.path(z)]) {
                stack.write(z, slice)?;
            }
        }
        if !there(zarr.slab_files(0, slab)?) {
            zarr.write_slab(slab, &rows)?;
        }
    }
    zarr.build_missing(&|level, slab| zarr.slab_files(level, slab).is_ok_and(there))?;
    zarr.finish(WINDOW)?;
    Ok(())
}

/// Not a test of its own: what the other tests start and kill.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    if let Err(error) = write(&PathBuf::from(folder)) {
        eprintln!("error: {error}");
        assert!(error.is_disk_full(), "{error}");
        // Told apart from success and from a failed assertion by the caller.
        let _ = std::fs::write("/dev/stderr", "DISK FULL\n");
    }
}

fn start(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Files under their final names must be what an undisturbed run writes.
fn assert_whole(folder: &Path, undisturbed: &BTreeMap<String, Vec<u8>>) -> usize {
    let mut halves = 0;
    for (name, bytes) in listing(folder) {
        if is_part_name(name.rsplit('/').next().unwrap()) {
            halves += 1;
        } else if !matches!(name.as_str(), "rec.zarr/.zattrs" | "rec.zarr/.zmetadata") {
            // Those two change once, when the window is known.
            assert!(undisturbed.get(&name) == Some(&bytes), "{name} is not whole");
        }
    }
    halves
}

#[test]
fn killed_at_any_moment_and_resumed_gives_the_same_files() {
    let (calm, shaken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(calm.path()).unwrap();
    let undisturbed = listing(calm.path());
    let mut killed = 0;
    for i in 0..12u64 {
        let mut child = start(shaken.path());
        std::thread::sleep(Duration::from_millis(8 + i * 17 % 60));
        child.kill().unwrap();
        if !child.wait().unwrap().success() {
            killed += 1;
        }
        assert_whole(shaken.path(), &undisturbed);
    }
    assert!(killed > 0, "no run was interrupted");
    assert!(start(shaken.path()).wait().unwrap().success());
    assert_eq!(assert_whole(shaken.path(), &undisturbed), 0, "an unfinished file was left");
    assert!(listing(shaken.path()) == undisturbed);
}

#[test]
fn a_full_disk_is_an_error_and_leaves_whole_files_only() {
    let dir = tempfile::tempdir().unwrap();
    // A file system of 8 MiB in a mount namespace of its own; the volume takes 100.
    let script = "mount -t tmpfs -o size=8m tmpfs \"$1\" && \"$2\" --exact child --nocapture; \
                  code=$?; cp -a \"$1/.\" \"$3/\"; exit $code";
    let copy = tempfile::tempdir().unwrap();
    let run = |flags: &str| {
        Command::new("unshare")
            .args([flags, "sh", "-c", script, "sh"])
            .args([dir.path(), &std::env::current_exe().unwrap(), copy.path()])
            .env(CHILD, dir.path())
            .output()
    };
    let usable = |flags: &str| {
        Command::new("unshare")
            .args([flags, "sh", "-c", "mount -t tmpfs tmpfs /mnt"])
            .output()
            .is_ok_and(|o| o.status.success())
    };
    let Some(flags) = ["-m", "-rm"].into_iter().find(|f| usable(f)) else {
        println!("skipped: no mount namespaces here, so no small file system");
        return;
    };
    let out = run(flags).unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success() && text.contains("DISK FULL"), "{text}");
    assert!(text.contains("make room, then resume"), "{text}");
    let calm = tempfile::tempdir().unwrap();
    write(calm.path()).unwrap();
    assert_eq!(assert_whole(copy.path(), &listing(calm.path())), 0, "half files were left");
    assert!(listing(copy.path()).len() > 10);
}
